"""`lotte check`: whether files on disk are unchanged since they were written.

All files are read. They determine the kind: a `manifest.json` is a build's; a
`meta.json` that of an index, a checkpoint or a training state; records are JSON
files with their runs beside them. Nothing in them is run.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from leaderboard.record.read import parsed, record_files
from leaderboard.record.schema import Record
from leaderboard.record.verify import inspect
from lotte import artifact
from lotte.errors import LotteError, UnavailableError
from lotte.parsing import json_object
from lotte.progress import Progress

Talk = Callable[[str], None]


class Checked(NamedTuple):
    """How something on disk is checked, and what to say of it."""

    differences: Iterator[str]  # a line for each part that is not what was written
    whole: Callable[[], str]  # what to say if there is none; raises LotteError for what only shows when it is used
    again: str  # what to do otherwise


def look(path: Path, retriever: str, say: Talk) -> Checked:
    """Return how a file or folder is checked.

    retriever  who made an index, if it was code of others: only then is that code run, to open the index

    Raises  LotteError if it is nothing that can be checked, or its own list of files cannot be read
    """
    from lotte.builder import manifest
    from retrievers import index_folder

    if (path / artifact.META).is_file():
        meta = json_object(path / artifact.META)
        if index_folder.is_index(path):
            return _index(path, retriever, say)
        if "digest" not in meta and "sizes" not in meta:
            say(f"{path / artifact.META} was written before it had a hash of itself: a change in it may go unnoticed")
        damaged = (f"{name}: {problem}" for name, problem in artifact.damaged(path))
        files = len(meta["files"]) if isinstance(meta.get("files"), dict) else 0
        return Checked(damaged, lambda: f"{path}: {files} files, all as they were written", "Fetch it again.")
    if (path / manifest.NAME).exists() or not (paths := _records(path)):
        return _build(path)
    return Checked(_wrong(paths), lambda: f"{path}: {len(paths):,} records, whole", "Run `lotte eval` again.")


def _build(folder: Path) -> Checked:
    from lotte.builder import manifest

    files = manifest.read(folder)["files"]
    size = sum((folder / name).stat().st_size for name in files if (folder / name).is_file())

    def differences() -> Iterator[str]:
        with Progress(size, "bytes", "checking") as progress:
            yield from manifest.differences(folder, progress.advance)

    return Checked(differences(), lambda: f"{folder}: {len(files)} files, all as the manifest says", "Build it again.")


def _index(path: Path, retriever: str, say: Talk) -> Checked:
    from retrievers import index_folder, index_meta, registry
    from retrievers.retriever import Checkable

    found = index_folder.described(path)
    meta, recipe = found.meta, found.meta["recipe"]
    known = bool(retriever) or recipe["retriever"] in registry.names()  # else its bytes are looked at, nothing is run
    system = registry.maker(found, retriever) if known else None
    damaged = (
        system.damaged(path)
        if isinstance(system, Checkable)
        else (f"{name}: {problem}" for name, problem in index_meta.damaged(path, meta))
    )

    def whole() -> str:
        if system:
            system.open(path)
        if "sizes" not in meta:
            say(f"{path} was made before indexes had hashes of all their files; files without a hash were only opened")
        documents = len(index_folder.read(path).doc_ids)
        return f"{path}: an index of {documents:,} documents by {index_folder.spelled(recipe)}, whole"

    return Checked(damaged, whole, "Build it again.")


def _records(path: Path) -> list[Path]:
    """Return the records that a path is or has; none if it is not a folder."""
    from lotte.builder import manifest

    if path.is_file():
        return [path]
    if (path / "config.json").is_file():
        raise UnavailableError(
            f"{path} has no {artifact.META} with the hashes of its files, which `lotte train` writes; it cannot be "
            "verified"
        )
    others = (manifest.NAME, artifact.META)  # of a build or an index further down
    return [file for file in record_files(path) if file.name not in others] if path.is_dir() else []


def _wrong(paths: list[Path]) -> Iterator[str]:
    """Yield what is wrong with records and their runs, as far as it can be seen without their datasets."""
    with Progress(len(paths), "records", "checking") as progress:
        for path in paths:
            progress.advance()
            try:
                record = parsed(path)
                problems = list(inspect(path, record)) if isinstance(record, Record) else record
                if isinstance(record, Record) and not problems and path.read_bytes() != record.text().encode():
                    problems = ["it says what was written, in other bytes"]
            except LotteError as error:
                yield str(error)
                continue
            yield from (f"{path}: {problem}" for problem in problems)
