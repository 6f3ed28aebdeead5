"""Whether a record can be believed: what it says against its run, its dataset and itself.

Two depths. `inspect` needs no dataset: the record's shape, means against
values, the run's sha256, counts against the release it claims to be. `rescore`
has the dataset: hashes and counts of what is on this disk, and every value
computed again from the run. A number that was sent in is only ever compared.

A problem is a line that names what was wanted and what was found. Values agree
if they differ by at most TOLERANCE: other machines add in another order.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from leaderboard import result as results
from leaderboard.result import Result
from lotte import artifact, ranking
from lotte.dataset import Corpus, Dataset, corpus_sha256, identity
from lotte.errors import CorruptFileError, LotteError, shown
from lotte.paths import why_not

SELF_RUN, RESCORED, REPRODUCED, IMPORTED = "self-run", "rescored", "reproduced", "imported"
LEVELS = (SELF_RUN, RESCORED, REPRODUCED, IMPORTED)
TOLERANCE = 1e-6
HASHES = ("corpus_sha256", "queries_sha256", "qrels_sha256")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_LONGEST = 200  # characters of it: with an ending, a file system takes it
_LONGEST_TEXT = 1000  # characters of a name that a line is printed with
_SHOWN = 3  # queries of a measure whose values differ, by name; the rest is counted
_SECTIONS = ("retriever", "dataset", "measures", "run", "cost", "platform", "implementation", "verification")
_TEXTS = {"retriever": ("name",), "dataset": ("name", "source"), "measures": ("official",), "verification": ("level",)}
_MAPS = {"dataset": ("counts",), "measures": ("aggregate", "per_query")}
_IF_THERE: Mapping[str, Mapping[str, type]] = {  # what may be missing, or null, and else is of this kind
    "retriever": {"family": str, "options": dict, "model": dict, "index": dict, "search": dict, "training_data": list},
    "dataset": {"facts": dict},
    "run": {"origin": dict},
    "platform": {"gpu": list, "libraries": dict},
    "verification": {"log": list},
}
_KINDS: Mapping[Any, str] = {str: "a text", dict: "an object", list: "a list"}


@dataclass(frozen=True)
class Truth:
    """A dataset on this disk, with what a record must say of it."""

    dataset: Dataset
    facts: Mapping[str, Any]  # the three hashes, and counts

    @classmethod
    def of(cls, dataset: Dataset, corpora: dict[object, str] | None = None) -> "Truth":
        """Read all of the dataset, once. `corpora` remembers the hashes of collections that several datasets ask."""
        corpora = {} if corpora is None else corpora
        if (key := _identity(dataset.corpus)) not in corpora:
            corpora[key] = corpus_sha256(dataset.corpus)
        return cls(dataset, identity(dataset, corpora[key]))


def place(result: Result) -> Path:
    """Return where a record stands below a folder of records, without its ending: system/dataset.

    Raises  CorruptFileError if a name of it cannot be part of a path
    """
    system = str(result.retriever.get("name")).replace(":", ".").replace("/", "__")
    parts = [system, *str(result.dataset.get("name")).split("/")]
    for part in parts:
        if not is_name(part):
            raise CorruptFileError(
                f"the name of a system or dataset is made of letters, digits and ._+-, found {shown(part, 60)}"
            )
    return Path(*parts)


def is_name(text: str) -> bool:
    """Whether this can be a part of a path: it climbs nowhere, is hidden nowhere, and is no markup on a page."""
    return len(text) <= _LONGEST and _NAME.fullmatch(text) is not None


def beside(record: Path, name: object) -> Path | None:
    """Return the file of this name in the folder of a record; None if it is no name of a file there."""
    if not isinstance(name, str) or "/" in name or why_not(name):
        return None
    return record.parent / name


def read(path: Path) -> Result:
    """Return a record whose fields are of the kinds that everything relies on. It is not held to anything else.

    Raises  as `leaderboard.result.read`; CorruptFileError for a field of another kind
    """
    result = results.read(path)
    require_form(result, path)
    return result


def require_form(result: Result, path: Path) -> None:
    """Raise CorruptFileError for a record, or what was made one, with a field of another kind than is relied on."""
    if problems := list(_malformed(result)) or list(_without_numbers(result)):
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CorruptFileError(f"{path}: {problems[0]}{more}; run `lotte eval` again")


def inspect(path: Path, result: Result) -> Iterator[str]:
    """Yield what is wrong with a record that can be seen without its dataset. Reads its run once, for the hash."""
    if malformed := list(_malformed(result)):
        yield from malformed
        return
    try:
        place(result)
    except CorruptFileError as error:
        yield str(error)
    level = result.verification["level"]
    if level not in LEVELS:
        yield f"verification.level: wanted one of {', '.join(LEVELS)}, found {shown(level)}"
    yield from _unlike_release(result)
    if level == IMPORTED and result.run.get("file") is None:
        return  # a score without a run: there is nothing to hold it to
    yield from _unlike_means(result)
    for key in HASHES:
        if not re.fullmatch(r"[0-9a-f]{64}", str(result.dataset.get(key))):
            yield f"dataset.{key}: wanted a sha256, found {shown(result.dataset.get(key))}"
    yield from _unlike_run(path, result)
    yield from _unlike_log(path, result)


def rescore(path: Path, result: Result, truth: Truth) -> Iterator[str]:
    """Yield what is wrong with a record, now that its dataset is here: hashes, counts, and values from the run.

    The record has passed `inspect`. If it is of other data its run is not scored.
    """
    dataset = truth.dataset
    wrong = [
        f"dataset.{key}: {dataset.name} here has {truth.facts[key][:8]}, the record {str(result.dataset[key])[:8]}"
        for key in HASHES
        if result.dataset[key] != truth.facts[key]
    ]
    stated = result.dataset["counts"]
    wrong += [
        f"dataset.counts.{key}: {dataset.name} here has {here:,}, the record {count(stated.get(key))}"
        for key, here in truth.facts["counts"].items()
        if stated.get(key) != here
    ]
    facts = result.dataset.get("facts")
    answers = facts.get("answers_sha256") if isinstance(facts, Mapping) else None
    if (wanted := dataset.facts.get("answers_sha256")) != answers:
        wrong.append(f"dataset.facts.answers_sha256: wanted {str(wanted)[:8]}, found {str(answers)[:8]}")
    yield from wrong
    if wrong:
        return
    if result.measures["official"] != dataset.measure:
        yield f"measures.official: {dataset.name} is measured by {dataset.measure}, found {result.measures['official']}"
    yield from _unlike_scores(path, result, dataset)


def _identity(corpus: Corpus) -> object:
    path = getattr(corpus, "path", None)
    return path.resolve() if path else id(corpus)


def _malformed(result: Result) -> Iterator[str]:
    """Yield which sections or fields are not of the kind that everything else relies on."""
    for section in _SECTIONS:
        value = getattr(result, section)
        if not isinstance(value, Mapping):
            yield f"{section}: wanted an object, found {value!r:.60}"
            continue
        for key in _TEXTS.get(section, ()):
            if not isinstance(value.get(key), str):
                yield f"{section}.{key}: wanted a text, found {shown(value.get(key), 60)}"
            elif len(value[key]) > _LONGEST_TEXT:
                yield f"{section}.{key}: wanted {_LONGEST_TEXT:,} characters at most, found {len(value[key]):,}"
        for key in _MAPS.get(section, ()):
            if not isinstance(value.get(key), Mapping):
                yield f"{section}.{key}: wanted an object, found {value.get(key)!r:.60}"
        for key, kind in _IF_THERE.get(section, {}).items():
            if value.get(key) is not None and not isinstance(value[key], kind):
                yield f"{section}.{key}: wanted {_KINDS[kind]}, found {value[key]!r:.60}"
    if not isinstance(result.contamination, list):
        yield f"contamination: wanted a list, found {result.contamination!r:.60}"


def _without_numbers(result: Result) -> Iterator[str]:
    """Yield which values and counts of a record are no numbers."""
    aggregate, counts = result.measures["aggregate"], result.dataset["counts"]
    if (official := result.measures["official"]) not in aggregate:
        yield f"measures.aggregate: wanted {official[:60]}, which is official"
    for name, one in aggregate.items():
        if not isinstance(one, Mapping) or not is_number(one.get("value")):
            yield f"measures.aggregate.{name[:60]}: wanted a value that is a number, found {one!r:.60}"
    for name, values in result.measures["per_query"].items():
        if name not in aggregate:
            yield f"measures.per_query.{name[:60]}: values without a mean"
        if not isinstance(values, Mapping) or not all(map(is_number, values.values())):
            yield f"measures.per_query.{name[:60]}: wanted a number for each query"
    for key, count in counts.items():
        if count is not None and not (type(count) is int and 0 <= count < 1 << 63):
            yield f"dataset.counts.{key[:60]}: wanted a whole number, found {count!r:.60}"


def _unlike_release(result: Result) -> Iterator[str]:
    """Yield how a record that claims a published dataset differs from what is published of it."""
    from leaderboard import catalogue

    if result.dataset["source"] != "release" or (known := catalogue.release(str(result.dataset["name"]))) is None:
        return
    counts = result.dataset["counts"]
    for key in ("documents", "queries", "judgments"):
        wanted, found = getattr(known.counts, key), counts.get(key)
        if wanted is not None and found != wanted:
            yield f"dataset.counts.{key}: {known.name} as published has {wanted:,}, the record {count(found)}"
    if result.measures["official"] != known.measure:
        yield f"measures.official: {known.name} is measured by {known.measure}, found {result.measures['official']}"


def _unlike_means(result: Result) -> Iterator[str]:
    """Yield which means are not those of the values beside them."""
    from leaderboard.measure import parse

    aggregate, per_query = result.measures["aggregate"], result.measures["per_query"]
    if (official := result.measures["official"]) not in aggregate:
        yield f"measures.aggregate: wanted {official}, which is official, found {', '.join(aggregate) or 'none'}"
    if odd := sorted(aggregate.keys() ^ per_query.keys()):
        yield f"measures: wanted a mean and values by query of each, found one without the other: {shown(odd[0])}"
    judged = result.dataset["counts"].get("judged_queries")
    for name in sorted(aggregate.keys() & per_query.keys()):
        stated, values = aggregate[name], per_query[name]
        try:
            parse(name)
        except LotteError as error:
            yield f"measures.aggregate: {error}"
            continue
        value: Any = stated.get("value") if isinstance(stated, Mapping) else None
        if not is_number(value) or not isinstance(values, Mapping) or not all(map(is_number, values.values())):
            yield f"measures.{name}: wanted numbers, found {value!r:.60} for its mean or something else for a query"
        elif len(values) != judged:
            yield f"measures.per_query.{name}: wanted values of {count(judged)} judged queries, found {len(values):,}"
        elif not values or abs(sum(values.values()) / len(values) - value) > TOLERANCE:
            mean = f"{sum(values.values()) / len(values):.6f}" if values else "none"
            yield f"measures.aggregate.{name}: its values have the mean {mean}, the record says {value:.6f}"


def _unlike_run(path: Path, result: Result) -> Iterator[str]:
    name, wanted = result.run.get("file"), result.run.get("sha256")
    if (file := beside(path, name)) is None:
        yield f"run.file: wanted the name of a file beside the record, found {name!r:.60}"
    elif not file.is_file():
        yield f"run.file: {name} is not beside the record"
    elif (found := artifact.sha256(file)) != wanted:
        yield f"run.sha256: the record says {str(wanted)[:8]}, {name} has {found[:8]}"


def _unlike_log(path: Path, result: Result) -> Iterator[str]:
    """Yield what is missing of the evidence for repetitions, and of them if a record is said to be reproduced."""
    log = result.verification.get("log")
    entries = [entry for entry in log if isinstance(entry, Mapping)] if isinstance(log, list) else []
    if result.verification["level"] == REPRODUCED and not any(entry.get("what") == REPRODUCED for entry in entries):
        yield "verification.log: wanted who reproduced it, found nobody"
    for entry in entries:
        if "evidence" not in entry and entry.get("what") != REPRODUCED:
            continue
        for key in ("evidence", "run"):
            name, wanted = entry.get(key), entry.get(f"{key}_sha256")
            if (file := beside(path, name)) is None or not file.is_file():
                yield f"verification.log: {str(name)[:200]} of the repetition is not beside the record"
            elif (found := artifact.sha256(file)) != wanted:
                yield f"verification.log: {name} should have sha256 {str(wanted)[:8]}, it has {found[:8]}"


def _unlike_scores(path: Path, result: Result, dataset: Dataset) -> Iterator[str]:
    """Yield which values of a record are not those of its run."""
    from leaderboard.interval import interval
    from leaderboard.measure import mean, parse, scores

    try:
        found = ranking.read(path.parent / result.run["file"], dataset.queries, dataset.corpus.doc_ids)
    except LotteError as error:
        yield str(error)
        return
    run = dataset.scored_part(found.filled(dataset.queries))
    if run.depth != result.run.get("depth"):
        yield f"run.depth: the run goes {run.depth:,} deep, the record says {count(result.run.get('depth'))}"
    level = int(dataset.facts.get("relevance_level", "1"))
    if result.measures.get("relevance_level") != level:
        yield f"measures.relevance_level: wanted {level}, found {shown(result.measures.get('relevance_level'))}"
        return
    measures = {name: parse(name) for name in result.measures["aggregate"]}
    computed = scores(run, dataset.judge(run), measures.values(), level=level)
    for name, measure in measures.items():
        values, stated = computed[measure], result.measures["per_query"][name]
        if odd := sorted(values.keys() ^ stated.keys()):
            yield f"measures.per_query.{name}: query {shown(odd[0])} is only in the record, or only in the dataset"
            continue
        off = [query_id for query_id in values if abs(values[query_id] - stated[query_id]) > TOLERANCE]
        if off:
            some = ", ".join(f"{shown(i)} {values[i]:.4f} and not {stated[i]:.4f}" for i in off[:_SHOWN])
            yield (
                f"measures.{name}: the run is worth {mean(values):.6f}, the record says "
                f"{result.mean(name):.6f}; {len(off):,} queries differ: {some}"
            )
            continue
        ends, ci95 = interval(list(values.values())), result.measures["aggregate"][name].get("ci95")
        if not _close(ends, ci95):
            yield f"measures.{name}: the 95 % interval is {ends[0]:.6f} to {ends[1]:.6f}, the record says {ci95!r:.60}"


def _close(wanted: Iterable[float], found: Any) -> bool:
    wanted = list(wanted)
    return (
        isinstance(found, list)
        and len(found) == len(wanted)
        and all(is_number(b) and abs(a - b) <= TOLERANCE for a, b in zip(wanted, found, strict=True))
    )


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and isfinite(value)


def count(value: Any) -> str:
    return f"{value:,}" if type(value) is int else repr(value)
