"""Where an export is written: a folder that is whole or absent, and that knows itself to be an export.

It is filled beside its place and moved there when it is whole; what a killed process left is removed by the next. An
older export that stands there is replaced, anything else is left alone.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotte import artifact
from lotte.errors import MismatchError, UnavailableError, writing

SAID = "lotte-export.json"  # written last: what was exported, and how ids were mapped


@dataclass(frozen=True)
class ExportRequest:
    """What is asked for beside the engine."""

    index: Path
    out: Path | None
    say: Callable[[str], None]
    numbers: str = ""  # of the vectors: float32, float16, bfloat16, int8; "": what suits the engine
    collection: str = ""  # name of the collection, table or schema; "": passages
    url: str = ""  # of a server that is to have it, in place of a folder

    @property
    def name(self) -> str:
        return self.collection or "passages"


@contextmanager
def placed(wanted: ExportRequest, engine: str, needed: float, facts: Mapping[str, Any]) -> Iterator[Path]:
    """Give an empty folder; when the block ends well, it stands where it is wanted.

    needed  bytes that it will take, about
    facts   what it says of itself

    Raises  MismatchError if something else stands there, UnavailableError where the disk is too small
    """
    assert wanted.out is not None
    out = wanted.out.resolve()
    _require_free(out)
    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        artifact.settle(out)
        _require_room(out.parent, needed)
        part = out.with_name(f".{out.name}.partial-{os.getpid()}")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            yield part
            artifact.write_json(part / SAID, {"engine": engine, "index": str(wanted.index.resolve()), **facts})
            artifact.put(part, out)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _require_free(out: Path) -> None:
    artifact.recover(out)
    if out.is_dir() and (not any(out.iterdir()) or (out / SAID).is_file()):
        return
    if out.exists():
        raise MismatchError(f"{out} is there and is no export; choose a folder that is empty or new")


def _require_room(folder: Path, needed: float) -> None:
    if (free := shutil.disk_usage(folder).free) < needed:
        raise UnavailableError(
            f"{folder} has {free / 1e6:,.0f} MB left, and the export takes about {needed / 1e6:,.0f} MB; make room, or "
            "choose another folder"
        )
