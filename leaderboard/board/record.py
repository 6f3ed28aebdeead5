"""What the board keeps of a result file, and the reading of a folder of them.

Anybody can write a file with a valid id, so nothing in it is believed beyond
its form: each field is looked at before a page is made of it, a mean must be
the mean of its queries' values, and what is wrong is left out with one line.
What may be missing is None, and a page says "unknown".

Of the values of each query only the official measure's are kept: ten thousand
records stay in memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np

from leaderboard import result as results
from leaderboard import shelf
from leaderboard.resample import Floats
from leaderboard.result import Result, Section
from leaderboard.verify import IMPORTED, REPRODUCED, RESCORED, SELF_RUN, TOLERANCE
from lotte import artifact
from lotte.errors import CorruptFileError, LotteError
from lotte.parsing import json_object
from lotte.progress import Progress

LEVELS = (REPRODUCED, RESCORED, SELF_RUN, IMPORTED)  # of verification, the best first
SEEN = ("none", "unknown", "some", "heavy")  # of contamination, the least first
_LARGEST = 1e300


@dataclass(frozen=True, kw_only=True)
class Record:
    """One result, without the values of each query but for the official measure's."""

    id: str
    file: Path
    result: Result
    dataset: str
    measure: str
    value: float
    ci95: tuple[float, float] | None
    query_ids: tuple[str, ...]  # in order; shared by all records that have the same ones
    values: Floats  # of query_ids
    seen: str  # one of SEEN
    level: str  # one of LEVELS, or what else the record says

    @property
    def name(self) -> str:
        return str(self.result.retriever.get("name"))

    @property
    def family(self) -> str:
        return text(self.result.retriever.get("family")) or "unknown"

    @property
    def options(self) -> Section:
        return section(self.result.retriever, "options")

    @property
    def parameters(self) -> float | None:
        """How many the model has; 0 if there is no model, None if nobody says."""
        if self.result.retriever.get("model") is None and self.family == "lexical":
            return 0
        return number(section(self.result.retriever, "model").get("parameters"))

    @property
    def index_bytes(self) -> float | None:
        return number(self.result.cost.get("index_bytes"))

    @property
    def bytes_per_document(self) -> float | None:
        return number(self.result.cost.get("bytes_per_document"))

    @property
    def latency(self) -> float | None:
        """Milliseconds of the median question."""
        return number(section(self.result.cost, "latency_ms").get("p50"))

    @property
    def queries_per_second(self) -> float | None:
        return number(self.result.cost.get("queries_per_second"))

    @property
    def contamination(self) -> list[Section]:
        return [one for one in _list(self.result.contamination) if isinstance(one, Mapping)]

    @property
    def machine(self) -> str:
        """What a latency may be compared on: the GPU, or else the processor and how many cores of it."""
        platform = self.result.platform
        if gpus := [found for gpu in _list(platform.get("gpu")) if (found := text(gpu))]:
            return gpus[0].partition(",")[0] + (f" x {len(gpus)}" if len(gpus) > 1 else "")
        cores = number(platform.get("cores"))
        return (text(platform.get("cpu")) or "unknown machine") + (f", {cores:.0f} cores" if cores else "")


def read(folder: Path, say: Callable[[str], None], *, without: Path | None = None) -> list[Record]:
    """Return the records of all JSON files below a folder, in the order of their names.

    say      is told of every file that is left out, in one line
    without  a folder in it that is not looked at
    """
    files = [file for file in shelf.records(folder) if without is None or without not in file.parents]
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    found: dict[str, Record] = {}
    with Progress(len(files), "records", "reading") as progress:
        for file in files:
            progress.advance()
            try:
                read = results.read(file)  # which has held the id to be the hash of the rest
                record = of(file, json_object(file)["id"], read, shared)
            except LotteError as error:
                say(f"left out: {_one_line(error)}")
                continue
            if record.id in found:
                say(f"left out: {file} is the same record as {found[record.id].file}")
            else:
                found[record.id] = record
    return list(found.values())


def of(file: Path, id_: str, read: Result, shared: dict[tuple[str, ...], tuple[str, ...]]) -> Record:
    """Return what the board keeps of a result.

    shared  query_ids that other records have, so that they are held once

    Raises  CorruptFileError if it lacks what a page cannot do without
    """
    for one in ("retriever", "dataset", "measures", "run", "cost", "platform", "implementation", "verification"):
        if not isinstance(getattr(read, one), Mapping):
            raise CorruptFileError(f"{file}: {one!r} is no object of JSON; run `lotte eval` again")
    dataset, measure, name = read.dataset.get("name"), read.measures.get("official"), read.retriever.get("name")
    for what, found in (("dataset", dataset), ("official measure", measure), ("retriever", name)):
        if not (isinstance(found, str) and found.strip()):
            raise CorruptFileError(f"{file}: the {what} has no name; run `lotte eval` again")
    assert isinstance(dataset, str) and isinstance(measure, str)
    aggregate = section(section(read.measures, "aggregate"), measure)
    value = number(aggregate.get("value"))
    if value is None:
        raise CorruptFileError(f"{file}: {measure} is {_short(aggregate.get('value'))}, and a score is a finite number")
    per_query = section(section(read.measures, "per_query"), measure)
    values = {query_id: number(per_query[query_id]) for query_id in sorted(per_query)}
    bad = next((query_id for query_id, one in values.items() if one is None), None)
    if bad is not None:  # an id may be empty
        raise CorruptFileError(f"{file}: {measure} of query {_short(bad)} is {_short(per_query[bad])}, and no number")
    scores = [one for one in values.values() if one is not None]
    if scores and abs(fsum(scores) / len(scores) - value) > TOLERANCE:
        raise CorruptFileError(
            f"{file}: it says {measure} is {value:.6g}, and the mean of its {len(scores):,} queries is "
            f"{fsum(scores) / len(scores):.6g}; `lotte board verify` says more"
        )
    query_ids = tuple(values)
    return Record(
        id=id_,
        file=file,
        result=replace(read, measures={key: one for key, one in read.measures.items() if key != "per_query"}),
        dataset=dataset,
        measure=measure,
        value=value,
        ci95=pair(aggregate.get("ci95")),
        query_ids=shared.setdefault(query_ids, query_ids),
        values=np.array(scores, dtype=np.float64),
        seen=_seen(read.contamination),
        level=text(read.verification.get("level")) or "unknown",
    )


def section(of: Section, name: str) -> Section:
    """Return a section of a record; an empty one if it is missing, or no object."""
    found = of.get(name)
    return found if isinstance(found, Mapping) else {}


def number(value: Any) -> float | None:
    """Return a finite number, or None for everything else: text, true, a whole number that no float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST < value < _LARGEST:
        return None
    return float(value)


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def pair(value: Any) -> tuple[float, float] | None:
    """Return the two ends of an interval."""
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        low, high = number(value[0]), number(value[1])
        if low is not None and high is not None:
            return min(low, high), max(low, high)
    return None


def labels(records: Iterable[Record]) -> dict[str, str]:
    """Return id -> what a system is called: its name, and the options that systems of that name differ in.

    Two models under one name are told apart by the model's id, or its weights' hash.
    """
    named: dict[str, list[Record]] = {}
    for one in records:
        named.setdefault(one.name, []).append(one)
    found = {}
    for name, group in named.items():
        told = [dict(_told(one)) for one in group]
        keys = sorted({key for one in told for key in one})
        differ = [key for key in keys if len({artifact.canonical(one.get(key)) for one in told}) > 1]
        for one, tells in zip(group, told, strict=True):
            shown = [f"{key}={_plain(tells[key])}" for key in differ if key in tells]
            found[one.id] = f"{name}({', '.join(shown)})" if shown else name
    return found


def _told(record: Record) -> Iterator[tuple[str, Any]]:
    yield from record.options.items()
    model = section(record.result.retriever, "model")
    for key, length in (("id", 60), ("revision", 8), ("sha256", 8)):
        if isinstance(model.get(key), str):
            yield f"model {key}", model[key][:length]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else artifact.canonical(value)


def _seen(contamination: Any) -> str:
    """Return the worst of what is known; "train" and "test" are what other boards say for heavy."""
    said = [text(one.get("level")) for one in _list(contamination) if isinstance(one, Mapping)]
    known = [{"train": "heavy", "test": "heavy", "none-known": "none"}.get(one, one) for one in said]
    return max((one if one in SEEN else "unknown" for one in known), key=SEEN.index, default="unknown")


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _one_line(error: LotteError) -> str:
    return " ".join(str(error).split())


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."
