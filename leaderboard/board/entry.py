"""A record as the board shows it: with its label, its machine, and its contamination.

Anybody can write a file with a valid id, so a mean must be that of its queries'
values, and an invalid record is left out, with one line.

Of the per-query values only the official measure's are kept, so that ten
thousand records fit in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leaderboard.record.label import labels
from leaderboard.record.read import read, record_files
from leaderboard.record.schema import Record
from leaderboard.record.sections import IMPORTED, REPRODUCED, RESCORED, SELF_RUN
from leaderboard.record.verify import unlike_mean
from leaderboard.resample import Floats
from lotte.errors import CorruptFileError, LotteError
from lotte.progress import Progress

LEVELS = (REPRODUCED, RESCORED, SELF_RUN, IMPORTED)  # of verification, the best first
SEEN = ("none", "unknown", "some", "heavy")  # of contamination, the least first
_ELSEWHERE = {"train": "heavy", "test": "heavy", "none-known": "none"}  # what other boards say


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A record as the board shows it."""

    record: Record  # without the values of each query
    file: Path
    label: str  # the system's name, and the options that systems of that name differ in
    machine: str  # what a latency may be compared on
    seen: str  # one of SEEN
    query_ids: tuple[str, ...]  # in order; shared by all entries that have the same ones
    values: Floats  # of query_ids, of the official measure

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def value(self) -> float:
        """The mean of the official measure."""
        return self.record.value

    @property
    def ci95(self) -> tuple[float, float] | None:
        """The 95 % interval of that mean."""
        return self.record.measures.aggregate[self.record.official].ci95

    @property
    def by_query(self) -> dict[str, float]:
        """query_id -> value of the official measure."""
        return dict(zip(self.query_ids, self.values.tolist(), strict=True))

    @property
    def level(self) -> str:
        """How far it was verified: one of LEVELS, or what else the record says."""
        return self.record.verification.level or "unknown"

    @property
    def family(self) -> str:
        return self.record.retriever.family or "unknown"

    @property
    def parameters(self) -> float | None:
        """How many the model has; 0 if there is no model, None if nobody says."""
        if (model := self.record.retriever.model) is None:
            return 0 if self.family == "lexical" else None
        return model.parameters


def read_entries(folder: Path, say: Callable[[str], None], *, without: Path | None = None) -> list[Entry]:
    """Return the records of all JSON files below a folder, in the order of their names.

    say      is called with one line for every file that is left out
    without  a folder in it that is not looked at
    """
    files = [file for file in record_files(folder) if without is None or without not in file.parents]
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    entries: dict[str, Entry] = {}
    with Progress(len(files), "records", "reading") as progress:
        for file in files:
            progress.advance()
            try:
                entry = entry_of(file, read(file), shared)
            except LotteError as error:
                say(f"left out: {' '.join(str(error).split())}")
                continue
            if entry.id in entries:
                say(f"left out: {file} is the same record as {entries[entry.id].file}")
            else:
                entries[entry.id] = entry
    names = labels([entry.record for entry in entries.values()])
    return [replace(entry, label=label) for entry, label in zip(entries.values(), names, strict=True)]


def entry_of(file: Path, record: Record, shared: dict[tuple[str, ...], tuple[str, ...]]) -> Entry:
    """Return what the board keeps of a record; its label is the system's name alone.

    shared  query_ids that other records have, so that they are held once

    Raises  CorruptFileError if the official mean is not that of its values
    """
    values = record.measures.per_query.get(record.official, {})
    if values and (problem := unlike_mean(record, record.official)):
        raise CorruptFileError(f"{file}: {problem}; `lotte board verify` says more")
    query_ids = tuple(sorted(values))
    measures = {key: part for key, part in record.content["measures"].items() if key != "per_query"}
    return Entry(
        record=replace(
            record,
            measures=replace(record.measures, per_query={}),
            content={**record.content, "measures": measures},
        ),
        file=file,
        label=record.retriever.name,
        machine=machine_of(record),
        seen=_seen(record),
        query_ids=shared.setdefault(query_ids, query_ids),
        values=np.array([values[query_id] for query_id in query_ids], dtype=np.float64),
    )


def machine_of(record: Record) -> str:
    """Return the GPU, or else the processor and how many cores of it."""
    cpu, cores, gpus = record.platform.cpu, record.platform.cores, record.platform.gpu
    if gpus := tuple(filter(None, gpus)):
        return gpus[0].partition(",")[0] + (f" x {len(gpus)}" if len(gpus) > 1 else "")
    return (cpu or "unknown machine") + (f", {cores} cores" if cores else "")


def _seen(record: Record) -> str:
    """Return the worst of what is known of the training data against the test."""
    levels = [_ELSEWHERE.get(said.level or "", said.level) for said in record.contamination]
    return max((level if level in SEEN else "unknown" for level in levels), key=SEEN.index, default="unknown")
