"""The review of a result submitted in a pull request: it is checked, scored again, and answered.

The input is a folder of records, and ours. It may add one record and its run, and change nothing: anything else
is reported and refused. All of it is data; names are checked before a file is opened, and no number in it is
trusted. The answer is Markdown: the score from the run, and the paired comparison with every record of the dataset.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from leaderboard import catalogue, compare_rows
from leaderboard.record.audit import inspected
from leaderboard.record.label import labels
from leaderboard.record.loaded_dataset import LoadedDataset, find
from leaderboard.record.read import read, readable
from leaderboard.record.schema import Record
from leaderboard.record.sections import IMPORTED, RESCORED, SELF_RUN, DatasetFacts
from leaderboard.record.store import settings
from leaderboard.record.verify import rescore
from lotte.builder import manifest
from lotte.dataset import Dataset
from lotte.errors import LotteError, UnavailableError, named, shown

LARGEST = 1 << 30  # bytes of a file that is looked at
HOW_TO = "docs/hand-in.md"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class DataPlaces:
    """Where the dataset of a record is looked for."""

    data: Path
    builds: Sequence[Path] = ()  # whose records are known by the id of the build
    fetch: Callable[[str], object] | None = None  # downloads a published dataset to `data`; None: nothing is


@dataclass(frozen=True)
class Review:
    """What is answered."""

    problems: tuple[str, ...]  # why it is not taken; none: it may be
    answer: str  # Markdown


def review(theirs: Path, ours: Path, where: DataPlaces, say: Callable[[str], None]) -> Review:
    """Look at a folder of records that somebody hands in, beside the one of the board.

    Raises  UnavailableError if one of the two is not a folder
    """
    for folder in (theirs, ours):
        if not folder.is_dir():
            raise UnavailableError(f"{folder} is not a folder; two folders of records are needed, theirs and ours")
    try:
        path, problems = _brought(theirs, ours)
        if path is None:
            return _refused(problems)
        record = inspected(path, theirs, {})
        if not isinstance(record, Record):
            return _refused([line.replace(f"{theirs}/", "") for line in record])
        if problems := [*_claims(record), *_again(record, ours, say)]:
            return _refused(problems)
        loaded = LoadedDataset.of(_dataset(record.dataset, where))
        if problems := list(rescore(path, record, loaded)):
            return _refused(problems)
    except LotteError as error:
        return _refused([str(error).replace(f"{theirs}/", "")])
    return Review((), _answer(path, record, ours, say))


def _brought(theirs: Path, ours: Path) -> tuple[Path | None, list[str]]:
    """Return the one record that is new, or what else a folder does."""
    there, here = _tree(theirs), _tree(ours)
    if odd := sorted(name for name in there if not (theirs / name).is_file() or (theirs / name).is_symlink()):
        return None, [f"{named(odd[0], 200)} is a link or no plain file"]
    if large := [name for name in there.keys() - here.keys() if there[name] > LARGEST]:
        return None, [f"{named(large[0], 200)} is larger than {LARGEST >> 20:,} MB"]
    gone = [f"{name} is taken away" for name in sorted(here.keys() - there.keys())]
    changed = [
        f"{name} is changed"
        for name in sorted(here.keys() & there.keys())
        if here[name] != there[name] or not _same(theirs / name, ours / name)
    ]
    new = sorted(there.keys() - here.keys())
    records = [name for name in new if name.endswith(".json")]
    runs = [name for name in new if name.endswith((".trec", ".trec.gz"))]
    if gone or changed:
        return None, [*gone, *changed]
    if len(records) != 1 or len(runs) != 1 or len(new) != 2:
        found = ", ".join(named(name, 200) for name in new[:5]) or "nothing"
        return None, [f"wanted one new record and its run, SYSTEM/DATASET.json and .trec beside it; found {found}"]
    record, run = theirs / records[0], theirs / runs[0]
    if run.parent != record.parent:
        return None, [f"{runs[0]} is not beside {records[0]}"]
    return record, []


def _tree(folder: Path) -> dict[str, int]:
    """Return every file and link below a folder with its size; no link is followed."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in [*names, *(one for one in folders if Path(parent, one).is_symlink())]:
            path = Path(parent, name)
            found[path.relative_to(folder).as_posix()] = path.lstat().st_size
    return found


def _same(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while block := first.read(_BLOCK):
            if block != second.read(_BLOCK):
                return False
    return True


def _claims(record: Record) -> Iterator[str]:
    """Yield what a record says of its own verification that nobody can say of himself."""
    if record.verification.level not in (SELF_RUN, RESCORED):
        yield f"verification.level: wanted {SELF_RUN} or {RESCORED}, found {shown(record.verification.level, 60)}"
    if any(entry.get("what") != RESCORED for entry in record.verification.log):
        yield f"verification.log: wanted entries of {RESCORED} alone"


def _again(record: Record, ours: Path, say: Callable[[str], None]) -> Iterator[str]:
    """Yield the record on the board that this one is again."""
    for path, other in readable(ours, say):
        same = other.dataset.name == record.dataset.name and other.dataset.hashes == record.dataset.hashes
        if same and settings(other) == settings(record):
            where = path.relative_to(ours)
            yield f"{where} is of the same system with the same settings; a repetition comes with --reproduces"


def _dataset(facts: DatasetFacts, where: DataPlaces) -> Dataset:
    """Return the dataset of a record. Only one that is published is fetched, and only for a record of the release."""
    for build in where.builds:
        if facts.source == f"build:{manifest.build_id(build)[:16]}":
            return find(facts.name, build)
    try:
        return find(facts.name, where.data)
    except LotteError:
        if where.fetch is None or facts.source != "release" or facts.name not in catalogue.published():
            raise
    where.fetch(facts.name)
    return find(facts.name, where.data)


def _refused(problems: Sequence[str]) -> Review:
    lines = ["### Not taken as it is", "", *(f"- {_text(problem)}" for problem in problems[:20])]
    if len(problems) > 20:
        lines.append(f"- and {len(problems) - 20:,} more")
    lines += ["", f"How a result is handed in stands in `{HOW_TO}`; push to this branch, and it is looked at again."]
    return Review(tuple(problems), "\n".join(lines) + "\n")


def _answer(path: Path, record: Record, ours: Path, say: Callable[[str], None]) -> str:
    """Return the score that the run has, and the comparison with the records of the dataset."""
    official = record.measures.aggregate[record.official]
    low, high = official.ci95 or (official.value, official.value)
    lines = [
        f"### {_text(record.retriever.name)} on {_text(record.dataset.name)}: {record.official} {official.value:.4f}",
        "",
        f"Scored again from `{_text(str(record.run.file))}`: every value is the run's. 95 % interval {low:.4f} to "
        f"{high:.4f}, {len(record.measures.per_query[record.official]):,} queries.",
        "",
    ]
    others = [
        (other_path, other)
        for other_path, other in readable(ours, say)
        if other.dataset.hashes == record.dataset.hashes and other.verification.level != IMPORTED
        if record.official in other.measures.per_query
    ]
    if not others or len(record.measures.per_query[record.official]) < 2:
        return (
            "\n".join([*lines, "No other record of this dataset is on the board, so there is nothing to compare."])
            + "\n"
        )
    (rows,) = compare_rows.compare([path, *(other_path for other_path, _ in others)], record.official)
    own = labels([read(path), *(other for _, other in others)])[0]
    lines += ["| beside | its mean | difference | 95 % interval | p (Holm) | better on | worse on |"]
    lines += ["|---|---:|---:|---|---:|---:|---:|"]
    for pair in rows.pairs:
        if own not in (pair["a"], pair["b"]):
            continue
        sign, other, mean = (1, "b", "mean_b") if pair["a"] == own else (-1, "a", "mean_a")
        ends = sorted((sign * pair["low"], sign * pair["high"]))
        better, worse = (pair["wins"], pair["losses"])[::sign]
        lines.append(
            f"| {_text(pair[other])} | {pair[mean]:.4f} | {sign * pair['difference']:+.4f} | "
            f"{ends[0]:+.4f} to {ends[1]:+.4f} | {pair['p_holm']:.4f} | {better:,} | {worse:,} |"
        )
    lines += ["", "Paired bootstrap and randomisation over queries; Holm over all pairs of the dataset."]
    return "\n".join([*lines, *(f"\n{_text(line)}" for line in rows.talk)]) + "\n"


def _text(text: str) -> str:
    """Return a stranger's words as Markdown shows them and does not read them."""
    shown_ = "".join(character if character.isprintable() else " " for character in text)
    return "".join(f"\\{character}" if character in "\\`*_{}[]<>()#+!|@~$&:" else character for character in shown_)
