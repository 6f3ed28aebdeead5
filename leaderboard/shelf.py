"""The folder of records: where each one stands, where its dataset is, and whether all of it is whole.

A record stands at SYSTEM/DATASET.json, its run beside it. Names come from
strangers, so a name that could climb out of the folder, or be markup on a
page, is refused. Several settings of one system are told apart by an ending:
DATASET@1a2b3c4d.json.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from leaderboard.result import Result, read
from leaderboard.verify import HASHES, Truth, inspect, place, rescore
from lotte import artifact
from lotte.dataset import Dataset
from lotte.errors import LotteError, UnavailableError
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


def records(folder: Path) -> list[Path]:
    """Return every record below a folder, in order of path; files and folders that begin with a dot are none."""
    if not folder.is_dir():
        raise UnavailableError(f"{folder} is no folder of records; `lotte eval` and `lotte board add` make one")
    found = (path.relative_to(folder) for path in folder.rglob("*.json"))
    return [folder / path for path in sorted(found) if not any(part.startswith(".") for part in path.parts)]


def everything(folder: Path, data: Path, report: Report, *, quick: bool = False) -> Iterator[str]:
    """Yield a line, "path: problem", for every problem of every record in a folder.

    data   where datasets are looked for; those of records whose dataset is not there are inspected only
    quick  inspect only
    """
    whole: list[tuple[str, Path]] = []
    ids: dict[str, Path] = {}
    versions: dict[tuple[str, str], dict[tuple[str, ...], list[Path]]] = {}
    paths = records(folder)
    with Progress(len(paths), "records", "reading") as progress:
        for path in paths:
            progress.advance()
            report.records += 1
            try:
                result = read(path)
            except LotteError as error:
                report.bad += 1
                yield str(error)
                continue
            problems = list(inspect(path, result))
            if not problems:
                problems += _misplaced(path, result, folder)
            if (same := ids.setdefault(artifact.digest(vars(result)), path)) is not path:
                problems.append(f"the same record as {same}")
            yield from (f"{path}: {problem}" for problem in problems)
            report.bad += bool(problems)
            if problems:
                continue
            if result.run.get("file") is None:
                report.left["their scores were imported without a run"] += 1
                continue
            name, source = str(result.dataset["name"]), str(result.dataset["source"])
            hashes = tuple(str(result.dataset[key]) for key in HASHES)
            versions.setdefault((name, source), {}).setdefault(hashes, []).append(path)
            whole.append((name, path))
    yield from _several_versions(versions, report)
    if quick:
        report.left["--quick was asked for"] += len(whole)
        return
    corpora: dict[object, str] = {}
    whole.sort()
    with Progress(len(whole), "records", "scoring again") as progress:
        for name, group in groupby(whole, key=lambda pair: pair[0]):
            members = [path for _, path in group]
            try:
                truth = Truth.of(find(name, data), corpora)
            except LotteError as error:
                report.left[f"{name}: {error}"] += len(members)
                progress.advance(len(members))
                continue
            for path in members:
                progress.advance()
                report.rescored += 1
                problems = list(rescore(path, read(path), truth))
                report.bad += bool(problems)
                yield from (f"{path}: {problem}" for problem in problems)


def find(name: str, data: Path) -> Dataset:
    """Return a dataset by the name in a record: from the data folder, or one that stands in it under that name.

    Raises  UnavailableError if it is not there; what else reading it raises
    """
    from leaderboard import catalogue
    from lotte import reading

    if name in catalogue.names(data):
        return catalogue.load(name, data)
    for folder in (data / name, data.parent / name, data):
        if reading.is_readable(folder):
            try:
                found = reading.read(folder)
            except UnavailableError:
                continue
            if here := [dataset for dataset in found if dataset.name == name]:
                return here[0]
    raise UnavailableError(f"no dataset of that name is in {data}; point --data at the folder that it was scored from")


def _misplaced(path: Path, result: Result, folder: Path) -> list[str]:
    wanted = place(result)
    found = path.relative_to(folder).with_suffix("")
    if found.parent == wanted.parent and found.name.partition("@")[0] == wanted.name:
        return []
    return [f"is of {result.dataset['name']} by {result.retriever['name']}, and should stand at {wanted}.json"]


def _several_versions(
    versions: Mapping[tuple[str, str], Mapping[tuple[str, ...], list[Path]]], report: Report
) -> Iterator[str]:
    """Yield the records that say they are of the same data as others, and have other hashes than most of them."""
    for (name, source), by_hashes in sorted(versions.items()):
        most, *others = sorted(by_hashes.items(), key=lambda item: (-len(item[1]), item[0]))
        for hashes, paths in others:
            key = next(key for key, a, b in zip(HASHES, hashes, most[0], strict=True) if a != b)
            there = most[0][HASHES.index(key)]
            for path in paths:
                report.bad += 1
                yield (
                    f"{path}: dataset.{key}: {len(most[1]):,} other records of {name} ({source}) have {there[:8]}, "
                    f"this one {hashes[HASHES.index(key)][:8]}"
                )
