"""The path of a record in a folder of records, with its run beside it.

The path is SYSTEM/DATASET.json. Names are untrusted, so a name that could
lead out of the folder, or be markup on a page, is refused. A suffix
distinguishes several settings of one system: DATASET@1a2b3c4d.json.
"""

import re
import shutil
from pathlib import Path
from typing import Any

from leaderboard.record.read import read
from leaderboard.record.schema import Record
from lotte import artifact
from lotte.errors import CorruptFileError, LotteError, MismatchError, shown, writing
from lotte.paths import why_not

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_LONGEST = 200  # characters of it: with an ending, a file system takes it


def stem_of(record: Record) -> Path:
    """Return where a record stands below a folder of records, without its ending: system/dataset.

    Raises  CorruptFileError if a name of it cannot be part of a path
    """
    system = record.retriever.name.replace(":", ".").replace("/", "__")
    parts = [system, *record.dataset.name.split("/")]
    for part in parts:
        if not is_name(part):
            raise CorruptFileError(
                f"the name of a system or dataset is made of letters, digits and ._+-, found {shown(part, 60)}"
            )
    return Path(*parts)


def is_name(text: str) -> bool:
    """Whether this can be a part of a path: it leads out of no folder, is not hidden, and is not markup on a page."""
    return len(text) <= _LONGEST and _NAME.fullmatch(text) is not None


def beside(path: Path, name: object) -> Path | None:
    """Return the file of this name in the folder of a record; None if it is not a valid file name there."""
    if not isinstance(name, str) or "/" in name or why_not(name):
        return None
    return path.parent / name


def settings(record: Record) -> dict[str, Any]:
    """Return what makes a record one of the same system: its options, its model, how deep it searched."""
    retriever = record.retriever
    return {
        "name": retriever.name,
        "options": retriever.options,
        "model": retriever.model.sha256 if retriever.model else None,
        "k": retriever.search.k if retriever.search else None,
    }


def store(record: Record, source: Path, target: Path) -> Path:
    """Write a record and a copy of its run at TARGET.json and TARGET.trec. Returns the record's path.

    The run is there before the record that names it, and under another name
    than that of a record it replaces: whoever reads, reads two that belong
    together.

    source  the folder that the run lies in

    Raises  MismatchError if the run is not the one that the record names
    """
    path = target.with_name(f"{target.name}.json")
    old = _run_of(path)
    if record.run.file is not None:
        copy = _stored_run(record, source / record.run.file, target)
        record = record.changed(run={**record.content["run"], "file": copy.name})
    record.write(path)
    if old and old.name != record.run.file:
        old.unlink(missing_ok=True)
    return path


def _stored_run(record: Record, run: Path, target: Path) -> Path:
    """Copy the run of a record to TARGET.trec, or beside another one that stands there. Returns where it is."""
    stated = str(record.run.sha256)
    ending = ".trec.gz" if run.suffix == ".gz" else ".trec"
    copy = target.with_name(f"{target.name}{ending}")
    if copy.exists() and copy.resolve() != run.resolve() and artifact.sha256(copy) != stated:
        copy = target.with_name(f"{target.name}.{stated[:8]}{ending}")
    if copy.resolve() != run.resolve():
        with writing(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            if (sha256 := _copy(run, copy)) != stated:
                copy.unlink()
                raise MismatchError(f"{run} has sha256 {sha256[:8]}, the record says {stated[:8]}")
    return copy


def _run_of(path: Path) -> Path | None:
    try:
        return beside(path, read(path).run.file)
    except LotteError:
        return None


def _copy(source: Path, target: Path) -> str:
    """Copy a file whole or not at all. Returns the sha256 of what was copied."""
    with source.open("rb") as file, artifact.Writer(target) as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
    return copy.sha256
