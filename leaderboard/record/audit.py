"""The check of a folder of records: each record, its path, and that all use the same data."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from leaderboard.record.loaded_dataset import LoadedDataset, find
from leaderboard.record.read import parsed, read, record_files
from leaderboard.record.schema import Record, summary
from leaderboard.record.sections import HASHES, DatasetFacts
from leaderboard.record.store import stem_of
from leaderboard.record.verify import inspect, rescore
from lotte.errors import LotteError
from lotte.progress import Progress


@dataclass
class Report:
    """What a check of many records came to."""

    records: int = 0
    rescored: int = 0
    bad: int = 0  # records with a problem
    left: Counter[str] = field(default_factory=Counter)  # why not re-scored -> how many

    def lines(self) -> list[str]:
        """Return what was checked, and what was not, for people."""
        whole = f"{self.records:,} records: {self.records - self.bad:,} without a problem, {self.bad:,} with"
        return [f"{whole}; {self.rescored:,} scored again from their runs"] + [
            f"{number:,} not scored again: {why}" for why, number in sorted(self.left.items())
        ]


def audit(folder: Path, data: Path, report: Report, *, quick: bool = False) -> Iterator[str]:
    """Yield a line, "path: problem", for every problem of every record in a folder.

    data    where datasets are looked for; those of records whose dataset is not there are inspected only
    report  is filled in on the way
    quick   inspect only

    Raises  UnavailableError if it is not a folder
    """
    whole: dict[Path, DatasetFacts] = {}  # of what is without a problem, as far as can be seen without its dataset
    ids: dict[str, Path] = {}
    paths = record_files(folder)
    with Progress(len(paths), "records", "reading") as progress:
        for path in paths:
            progress.advance()
            report.records += 1
            record = inspected(path, folder, ids)
            if not isinstance(record, Record):
                report.bad += 1
                yield from record
            elif record.run.file is None:
                report.left["their scores were imported without a run"] += 1
            else:
                whole[path] = record.dataset
    yield from _several_versions(whole, report)
    if quick:
        report.left["--quick was asked for"] += len(whole)
    else:
        yield from _rescored(whole, data, report)


def inspected(path: Path, folder: Path, ids: dict[str, Path]) -> Record | list[str]:
    """Return the record of a file, or the lines of what is wrong with it. `ids` are those of the records before it."""
    try:
        record = parsed(path)
    except LotteError as error:
        return [str(error)]
    if isinstance(record, list):
        return [f"{path}: {summary(record)}; run `lotte eval` again"]
    problems = list(inspect(path, record)) or _misplaced(path, record, folder)
    if (same := ids.setdefault(record.id, path)) is not path:
        problems.append(f"the same record as {same}")
    return [f"{path}: {problem}" for problem in problems] or record


def _misplaced(path: Path, record: Record, folder: Path) -> list[str]:
    wanted, stem = stem_of(record), path.relative_to(folder).with_suffix("")
    if stem.parent == wanted.parent and stem.name.partition("@")[0] == wanted.name:
        return []
    return [f"is of {record.dataset.name} by {record.retriever.name}, and should stand at {wanted}.json"]


def _several_versions(whole: Mapping[Path, DatasetFacts], report: Report) -> Iterator[str]:
    """Yield the records that say they are of the same data as others, and have other hashes than most of them."""
    versions: dict[tuple[str, str], dict[tuple[str | None, ...], list[Path]]] = {}
    for path, dataset in whole.items():
        of_name = versions.setdefault((dataset.name, dataset.source), {})
        of_name.setdefault(tuple(dataset.hashes.values()), []).append(path)
    for (name, source), by_hashes in sorted(versions.items()):
        most, *others = sorted(by_hashes.items(), key=lambda item: (-len(item[1]), item[0]))
        for hashes, paths in others:
            key, there, own = next(row for row in zip(HASHES, most[0], hashes, strict=True) if row[1] != row[2])
            others_have = f"{len(most[1]):,} other records of {name} ({source}) have {str(there)[:8]}"
            for path in paths:
                report.bad += 1
                yield f"{path}: dataset.{key}: {others_have}, this one {str(own)[:8]}"


def _rescored(whole: Mapping[Path, DatasetFacts], data: Path, report: Report) -> Iterator[str]:
    """Yield what is wrong with records now that they are scored again from their runs, a dataset after the other."""
    corpora: dict[object, str] = {}
    with Progress(len(whole), "records", "scoring again") as progress:
        for name in sorted({dataset.name for dataset in whole.values()}):
            paths = [path for path, dataset in whole.items() if dataset.name == name]
            try:
                loaded = LoadedDataset.of(find(name, data), corpora)
            except LotteError as error:
                report.left[f"{name}: {error}"] += len(paths)
                progress.advance(len(paths))
                continue
            for path in paths:
                progress.advance()
                report.rescored += 1
                problems = list(rescore(path, read(path), loaded))
                report.bad += bool(problems)
                yield from (f"{path}: {problem}" for problem in problems)
