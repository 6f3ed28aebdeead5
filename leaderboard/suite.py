"""Suites: several datasets under one name, run without repeating finished ones, and averaged on demand.

An average is computed from records each time and stored nowhere; one that lacks
a part is not a number but a list of what is missing. LoTTE's is the mean of its
five topics, search and forum separately, without the pool.
CQADupStack counts as one dataset of BEIR, the mean of its twelve. BRIGHT,
FreshStack, NanoBEIR and the decontaminated sets of BEIR are the mean of theirs.

A dataset is finished if its record and run are complete and have the same data
(by hash), system, settings, model and code. Code with uncommitted changes is the same if no file of it is
newer than the record.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotte.errors import LotteError, MismatchError, UnavailableError, UnknownNameError

if TYPE_CHECKING:
    from leaderboard.evaluate import Order
    from leaderboard.record.loaded_dataset import LoadedDataset
    from leaderboard.record.schema import Record
    from lotte import Dataset
    from retrievers import Retriever

SUITES = (
    "lotte", "beir", "openqa", "bright", "bright-long", "freshstack", "limit", "nanobeir", "decontaminated", "paper",
)  # fmt: skip
TOPICS = ("writing", "recreation", "science", "technology", "lifestyle")
KINDS = ("search", "forum")
# Santhanam et al. 2022, table 5a; FiQA is fiqa, Touche the second version
COLBERTV2_BEIR = (
    "dbpedia-entity", "fiqa", "nq", "hotpotqa", "nfcorpus", "trec-covid", "webis-touche2020",
    "arguana", "climate-fever", "fever", "quora", "scidocs", "scifact",
)  # fmt: skip
OPENQA = ("openqa/nq", "openqa/tq", "openqa/squad")


@dataclass(frozen=True)
class Mean:
    """A mean that is defined: which datasets, each with the same weight. A part may be a mean itself."""

    name: str  # "lotte/test/search"
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Average:
    """A mean over the datasets of a suite."""

    name: str
    measure: str
    value: float | None  # None if a part is missing
    parts: int
    missing: tuple[str, ...]


def datasets(suite: str) -> list[str]:
    """Return the names of the datasets of a suite, those of one collection side by side.

    Raises  UnknownNameError for another name than those of SUITES
    """
    match suite:
        case "lotte":
            return _lotte("test")
        case "beir":
            return [part for name in _beir() for part in _cqadupstack(name)]
        case "openqa":
            return list(OPENQA)
        case "bright" | "bright-long" | "freshstack" | "limit" | "nanobeir" | "decontaminated":
            return list(_of_one_benchmark()[suite])
        case "paper":
            from leaderboard import papers

            return papers.datasets()
    raise UnknownNameError(f"no suite is named {suite!r}; there are {', '.join(SUITES)}")


def means() -> list[Mean]:
    """Return every mean that the suites have."""
    from lotte.benchmarks import beir

    defined = [Mean("beir/cqadupstack", tuple(f"beir/{name}" for name in beir.MEANS["cqadupstack"]))]
    for split in ("test", "dev"):
        for kind in KINDS:
            defined.append(Mean(f"lotte/{split}/{kind}", tuple(f"lotte/{topic}/{split}/{kind}" for topic in TOPICS)))
    defined.append(Mean("beir (18)", tuple(_beir())))
    defined.append(Mean("beir (13 of ColBERTv2)", tuple(f"beir/{name}" for name in COLBERTV2_BEIR)))
    defined.append(Mean("openqa", OPENQA))
    return defined + [
        Mean(_MEAN.get(suite, suite), parts) for suite, parts in _of_one_benchmark().items() if suite != "limit"
    ]


_MEAN = {"decontaminated": "beir (8 decontaminated)"}


def _of_one_benchmark() -> dict[str, tuple[str, ...]]:
    """Return the suites that are a benchmark, or one kind of its sets."""
    from lotte.benchmarks import beir, bright, freshstack, limit, nanobeir

    def named(benchmark: str, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"{benchmark}/{name}".rstrip("/") for name in names)

    return {
        "bright": named("bright", bright.DOMAINS),
        "bright-long": named("bright", (name for name in bright.NAMES if name.endswith(bright.LONG))),
        "freshstack": named("freshstack", freshstack.NAMES),
        "limit": named("limit", limit.NAMES),
        "nanobeir": named("nanobeir", nanobeir.NAMES),
        "decontaminated": named("beir", (name for name in beir.NAMES if name.endswith("/decontaminated"))),
    }


def averages(records: Iterable["Record"]) -> list[Average]:
    """Return every mean that at least one of these records has a part in. They are one system's.

    Raises  MismatchError if two records are of one dataset, or the parts of a mean have other measures
    """
    from leaderboard.record.sections import IMPORTED

    values: dict[str, tuple[str, float]] = {}
    for record in records:
        name = record.dataset.name
        if record.verification.level == IMPORTED:
            continue
        if name in values:
            raise MismatchError(f"two records are of {name}; an average takes one system with one choice of settings")
        values[name] = (record.official, record.value)
    computed = []
    for mean in means():
        present = [values[part] for part in mean.parts if part in values]
        if not present:
            continue
        measures = dict.fromkeys(measure for measure, _ in present)
        if len(measures) > 1:
            raise MismatchError(f"{mean.name} would be a mean of {' and '.join(measures)}, which has no meaning")
        missing = tuple(part for part in mean.parts if part not in values)
        value = None if missing else fsum(value for _, value in present) / len(present)
        if value is not None:
            values[mean.name] = (present[0][0], value)
        computed.append(Average(mean.name, present[0][0], value, len(mean.parts), missing))
    return computed


def run(suite: str, name: str, system: "Retriever", order: "Order", data: Path) -> Iterator["Record"]:
    """Evaluate a system on a suite. Yields a record for each dataset, those that are finished already first.

    Datasets that are not on this disk are reported and left out. One collection is
    indexed once; a stopped run goes on where it stopped.

    Raises  as `evaluate`; UnavailableError if none of the suite is here
    """
    from leaderboard import catalogue
    from leaderboard.evaluate import evaluate

    names = datasets(suite)
    present = set(catalogue.on_disk(data))
    if absent := [dataset for dataset in names if dataset not in present]:
        order.say(f"not in {data}, so left out: {', '.join(absent)}")
    if len(absent) == len(names):
        raise UnavailableError(f"none of the {len(names)} datasets of {suite!r} is in {data}; `lotte fetch` gets them")
    chosen = [catalogue.load(dataset, data) for dataset in names if dataset in present]
    done, left = divide(name, system, chosen, order)
    if done:
        order.say(f"already finished: {', '.join(record.dataset.name for record in done)}")
    yield from done
    yield from evaluate(name, system, left, order)


def divide(
    name: str,
    system: "Retriever",
    chosen: Sequence["Dataset"],
    order: "Order",
    corpora: dict[object, str] | None = None,
) -> tuple[list["Record"], list["Dataset"]]:
    """Return the records of the datasets that are finished, and the datasets that are left.

    corpora  hashes of collections that are known from earlier calls, which this one adds to
    """
    from leaderboard.record.loaded_dataset import LoadedDataset
    from leaderboard.record.place import stem

    corpora = {} if corpora is None else corpora
    done, left = [], []
    for dataset in chosen:
        target = stem(order.out, name, dataset)
        path = target.with_name(f"{target.name}.json")
        if not path.is_file():
            left.append(dataset)  # and its hashes are not needed
            continue
        record, why = finished(path, name, system, LoadedDataset.of(dataset, corpora), order)
        if record is None:
            order.say(f"{dataset.name} is run again: {why}")
            left.append(dataset)
        else:
            done.append(record)
    return done, left


def finished(
    path: Path, name: str, system: "Retriever", loaded: "LoadedDataset", order: "Order"
) -> tuple["Record | None", str]:
    """Return the record at `path` if running the dataset again would make the same one, else None and why not."""
    from leaderboard.measure import parse
    from leaderboard.record.read import read
    from leaderboard.record.store import settings
    from leaderboard.record.verify import inspect
    from retrievers.options import recorded_options
    from retrievers.retriever import Fits

    try:
        record = read(path)
    except LotteError as error:
        return None, str(error)
    if problem := next(inspect(path, record), ""):
        return None, problem
    if isinstance(system, Fits):  # the record is of the system as the dataset wants it
        system = system.fitted(loaded.dataset.facts)
    options = recorded_options(system)
    made = settings(record)
    compared: list[tuple[str, Any, Any]] = [
        ("the system", name, made["name"]),
        ("an option", _plain(options), made["options"]),
        ("k", order.k, made["k"]),
        ("the model", _model(system), made["model"]),
        *((key, loaded.facts[key], sha256) for key, sha256 in record.dataset.hashes.items()),
    ]
    for what, current, recorded in compared:
        if current != recorded:
            return None, f"{what} differs: its record has {recorded!r:.80}, but {current!r:.80} was requested"
    names = [loaded.dataset.measure, *map(str, order.measures)]
    if lacking := [measure for measure in names if str(parse(measure)) not in record.measures.aggregate]:
        return None, f"its record has no {lacking[0]}"
    if why := _other_code(record):
        return None, why
    return record, ""


def _other_code(record: "Record") -> str:
    """Return in what way the code that made a record is not the code that runs now; "" if it is the same."""
    from leaderboard import machine

    made, now = record.implementation, machine.code()
    if now["commit"] is None:
        version, current = (
            libraries.get("lotte-bench") for libraries in (record.platform.libraries, machine.machine()["libraries"])
        )
        return "" if version == current else f"it was made by version {version}, and this is {current}"
    if made.commit != now["commit"]:
        return f"it was made by commit {str(made.commit)[:8]}, and this is {now['commit'][:8]}"
    if made.dirty or now["dirty"]:
        newest = max(
            path.stat().st_mtime
            for package in ("lotte", "retrievers", "leaderboard")
            for path in (machine.HOUSE / package).rglob("*.py")
        )
        try:
            created = datetime.fromisoformat(record.created).timestamp()
        except ValueError:
            return f"its record was created at {record.created!r:.40}, which is not a time"
        if newest > created:
            return "the code has changed since, and the change is in no commit"
    return ""


def _model(system: "Retriever") -> Any:
    model: Mapping[str, Any] | None = getattr(getattr(system, "card", None), "model", None)
    return (model or {}).get("sha256")


def _plain(options: Any) -> Any:
    """Return options as a record has them: what went through JSON."""
    import json

    return json.loads(json.dumps(options))


def _lotte(split: str) -> list[str]:
    return [f"lotte/{topic}/{split}/{kind}" for topic in (*TOPICS, "pooled") for kind in KINDS]


def _beir() -> list[str]:
    """Return the 18 of BEIR, CQADupStack as one."""
    from lotte.benchmarks import beir

    single = [name for name in beir.NAMES if "/" not in name]
    return [f"beir/{name}" for name in sorted([*single, *beir.MEANS])]


def _cqadupstack(name: str) -> list[str]:
    from lotte.benchmarks import beir

    return [f"beir/{part}" for part in beir.MEANS.get(name.removeprefix("beir/"), (name.removeprefix("beir/"),))]
