"""Which records are compared, and the rows that `lotte board compare` prints.

Records must be of one dataset. With folders, one per system, each dataset that
all of them have is compared, and then their mean: a dataset that one of them
lacks is reported and left out. By topic or community, the queries are grouped
as the dataset on this disk states (`lotte.query_groups`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from math import fsum
from pathlib import Path
from typing import Any, TypeAlias

from leaderboard import compare as comparing
from leaderboard import repeats
from leaderboard.compare import Comparison, Table
from leaderboard.letter_display import Standing, standings
from leaderboard.record.loaded_dataset import find
from leaderboard.record.read import read, record_files
from leaderboard.record.schema import Record
from leaderboard.record.sections import IMPORTED
from lotte.dataset import qrels_sha256, queries_sha256
from lotte.errors import LotteError, MismatchError, UnavailableError
from lotte.query_groups import GROUPINGS, query_groups

PrintedRow: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class ComparisonRows:
    """A comparison of some systems on one dataset, or on the mean of several."""

    dataset: str
    measure: str
    pairs: tuple[PrintedRow, ...]
    standings: tuple[PrintedRow, ...]
    groups: tuple[PrintedRow, ...] = ()  # wins, ties and losses of each pair by topic or community
    repeats: tuple[PrintedRow, ...] = ()  # measurements of one system, which are compared as one
    talk: tuple[str, ...] = ()  # for stderr

    def saying(self, *lines: str) -> "ComparisonRows":
        """Return the same with more to say."""
        return replace(self, talk=(*self.talk, *lines))


@dataclass(frozen=True)
class _Systems:
    """What is compared: systems, each with a record of every dataset. Of one that was measured again, the first."""

    names: Sequence[str]
    records: Sequence[Mapping[str, Record]]  # of each system, by dataset
    has_labels: bool = False  # rows call a system by its label, and not by its name here

    @cached_property
    def firsts(self) -> list[int]:
        """For each system the number of the first one that is the same system."""
        return repeats.firsts([list(by_dataset.values()) for by_dataset in self.records])

    def on_one(
        self, dataset: str, measure: str, by: str, data: Path | None, *, needs_groups: bool = True
    ) -> tuple[ComparisonRows, Table]:
        """Return the rows of a dataset, and the values of the systems that are not repeats."""
        kept = [number for number, first in enumerate(self.firsts) if first == number]
        records = [self.records[number][dataset] for number in kept]
        chosen = measure or records[0].official
        names = None if self.has_labels else [self.names[number] for number in kept]
        table = comparing.table(records, chosen, names=names)
        rows = self.on([dataset], chosen, [table], _imported(records))
        try:
            return _grouped(rows, records[0], table, by, data) if by and data else rows, table
        except UnavailableError as error:
            if needs_groups:
                raise
            return rows.saying(str(error)), table

    def on(
        self, datasets: Sequence[str], measure: str, tables: Sequence[Table], talk: Sequence[str] = ()
    ) -> ComparisonRows:
        """Return the rows of these datasets, of which these are the values of the systems that are not repeats."""
        again = [
            repeats.row(
                self.names[first],
                [self.records[first][dataset] for dataset in datasets],
                self.names[number],
                [self.records[number][dataset] for dataset in datasets],
                measure,
            )
            for number, first in enumerate(self.firsts)
            if first != number
        ]
        pairs = comparing.compare_macro(dict(zip(datasets if len(datasets) > 1 else [""], tables, strict=True)))
        means = {
            system: fsum(fsum(table[system].values()) / len(table[system]) for table in tables) / len(tables)
            for system in tables[0]
        }
        return ComparisonRows(
            dataset=datasets[0] if len(datasets) == 1 else f"mean of {len(datasets)}",
            measure=measure,
            pairs=tuple(map(_pair_row, pairs)),
            standings=tuple(map(_standing_row, standings(means, pairs))),
            repeats=tuple(again),
            talk=(*talk, *map(repeats.line, again)),
        )


def compare(
    paths: Sequence[Path], measure: str = "", *, by: str = "", data: Path | None = None
) -> list[ComparisonRows]:
    """Compare records of one dataset, or folders of records, by a measure; by default, the dataset's own.

    by    "topic" or "community": count wins, ties and losses by it too
    data  where datasets lie; what their questions belong to is read from there

    Raises  LotteError for fewer than two, records and folders mixed, or another `by`; MismatchError if nothing is
            shared; UnavailableError if no dataset here says its questions' groups; else as `leaderboard.compare.table`
    """
    if by and by not in GROUPINGS:
        raise LotteError(f"questions are grouped by {' or '.join(GROUPINGS)}, not by {by!r}")
    if len(paths) < 2:
        raise LotteError("a comparison takes two records, or two folders of records, or more")
    folders = [path.is_dir() for path in paths]
    if any(folders) and not all(folders):
        raise LotteError(
            f"{paths[folders.index(True)]} is a folder and {paths[folders.index(False)]} is not; "
            "name records of one dataset, or a folder for each system"
        )
    if any(folders):
        return _by_folder(paths, measure, by, data)
    records = [read(path) for path in paths]
    dataset = records[0].dataset.name
    systems = _Systems(list(map(str, paths)), [{dataset: record} for record in records], has_labels=True)
    return [systems.on_one(dataset, measure, by, data)[0]]


def _by_folder(paths: Sequence[Path], measure: str, by: str, data: Path | None) -> list[ComparisonRows]:
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    by_dataset = [_records_of(path) for path in paths]
    shared = [name for name in by_dataset[0] if all(name in records for records in by_dataset)]
    if not shared:
        raise MismatchError(f"{' and '.join(names)} have no dataset in common")
    systems = _Systems(names, [{name: records[name] for name in shared} for records in by_dataset])
    small = [name for name in shared if _questions(by_dataset[0][name]) < 2]
    all_rows, tables = [], {}
    for name in (name for name in shared if name not in small):
        rows, tables[name] = systems.on_one(name, measure, by, data, needs_groups=False)
        all_rows.append(rows)
    if not all_rows:
        raise LotteError(f"{' and '.join(names)} share datasets of fewer than 2 queries only: {', '.join(small)}")
    left = sorted({name for records in by_dataset for name in records} - set(shared))
    talk = [f"not in all of them, so left out of the mean: {', '.join(left)}"] if left else []
    talk += [f"too few queries, so left out: {', '.join(small)}"] if small else []
    if len({rows.measure for rows in all_rows}) > 1:
        talk.append("no mean: the datasets are measured by different measures")
    elif len(all_rows) > 1:
        return [*all_rows, systems.on(list(tables), all_rows[0].measure, list(tables.values()), talk)]
    return [*all_rows[:-1], all_rows[-1].saying(*talk)]


def _records_of(folder: Path) -> dict[str, Record]:
    """Return the records of a folder by their datasets. Raises MismatchError if two are of one dataset."""
    records: dict[str, Record] = {}
    for file in record_files(folder):
        record = read(file)
        if records.setdefault(name := record.dataset.name, record) is not record:
            raise MismatchError(f"{folder} has two records of {name}; compare records by their files")
    return records


def _questions(record: Record) -> int:
    """Return how many questions a record has values of."""
    return len(next(iter(record.measures.per_query.values()), {}))


def _standing_row(standing: Standing) -> PrintedRow:
    between = "" if all(len(letter) == 1 for letter in standing.letters) else " "
    letters = between.join(standing.letters)
    return {"rank": standing.rank, "system": standing.system, "mean": standing.mean, "groups": letters}


def _pair_row(pair: Comparison) -> PrintedRow:
    return {
        "a": pair.a,
        "b": pair.b,
        "mean_a": pair.mean_a,
        "mean_b": pair.mean_b,
        "difference": pair.difference,
        "low": pair.ci95[0],
        "high": pair.ci95[1],
        "p": pair.p,
        "p_holm": pair.p_holm,
        "queries": pair.n,
        "wins": pair.wins,
        "ties": pair.ties,
        "losses": pair.losses,
    }


def _grouped(rows: ComparisonRows, record: Record, table: Table, by: str, data: Path) -> ComparisonRows:
    """Return the comparison with wins, ties and losses by topic or community."""
    dataset, facts = find(rows.dataset, data), record.dataset
    if (queries_sha256(dataset.queries), qrels_sha256(dataset.qrels)) != (facts.queries_sha256, facts.qrels_sha256):
        raise UnavailableError(
            f"{rows.dataset} in {data} is not the one of the records, so its {by} tells nothing here"
        )
    groups = query_groups(dataset).get(by)
    if groups is None:
        raise UnavailableError(f"nothing in {data} tells the questions of {rows.dataset} apart by {by}")
    group_rows = [
        {by: group, "a": a, "b": b, "queries": tally.n, "wins": tally.wins, "ties": tally.ties,
         "losses": tally.losses, "difference": tally.difference}
        for a, b in combinations(table, 2)
        for group, tally in comparing.tally(table[a], table[b], groups).items()
    ]  # fmt: skip
    return replace(rows, groups=tuple(group_rows))


def _imported(records: Sequence[Record]) -> tuple[str, ...]:
    names = [record.retriever.name for record in records if record.verification.level == IMPORTED]
    return (f"imported, so of another tool: {', '.join(names)}",) if names else ()
