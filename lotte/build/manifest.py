"""A build's manifest: what a folder must hold to be what it says it is."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lotte import artifact
from lotte.errors import CorruptFileError, MismatchError, UnavailableError

NAME = "manifest.json"
FORMAT = "lotte-build/1"


def read(folder: Path) -> dict[str, Any]:
    """Return the manifest of a build.

    Raises  UnavailableError if there is none, CorruptFileError if it is no JSON,
            MismatchError if another version wrote it
    """
    path = folder / NAME
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnavailableError(
            f"{folder} has no {NAME}, so it is no whole build. Run the `lotte build` that began it once more."
        ) from None
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"{path} cannot be read: {error}. Build again.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise MismatchError(f"{path} has format {found!r}, this is {FORMAT!r}; build again, or use its version")
    return manifest


def build_id(folder: Path) -> str:
    """Return what a build is known by: the sha256 of its manifest."""
    return artifact.sha256(folder / NAME)


def differences(folder: Path, advance: Callable[[int], None] = lambda used: None) -> Iterator[str]:
    """Give one line for each file that is missing, changed, or not in the manifest."""
    files: dict[str, str] = read(folder)["files"]
    for name, wanted in files.items():
        path = folder / name
        if not path.is_file():
            yield f"missing\t{name}"
            continue
        if (found := artifact.sha256(path)) != wanted:
            yield f"changed\t{name}\tsha256 {found[:16]}, the manifest says {wanted[:16]}"
        advance(path.stat().st_size)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in files and name != NAME:
            yield f"extra\t{name}"
