"""A build's manifest: the files that a complete build must have.

It also covers itself: `digest` is the sha256 of everything else in it, in one
canonical spelling. Builds from before it had a digest are checked by the counts
that can be recomputed.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lotte import artifact
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnavailableError, shown
from lotte.parsing import json_file
from lotte.paths import inside, why_not

NAME = "manifest.json"
FORMAT = "lotte-build/1"
DIGEST = "digest"
_KEYS = {"bad_rows", "counts", DIGEST, "files", "format", "fresh", "inputs", "licence", "missing", "name", "notes",
         "seed", "spec", "versions"}  # fmt: skip
_COUNTED = {"passages": "collection.tsv", "search": "questions.search.tsv", "forum": "questions.forum.tsv"}


def write(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Write the manifest of a build, with what covers it. Returns it as it is read."""
    record = record | {DIGEST: artifact.digest(record)}
    artifact.write_json(folder / NAME, record)
    return read(folder)


def read(folder: Path) -> dict[str, Any]:
    """Return the manifest of a build.

    Raises  UnavailableError if there is none, CorruptFileError if it is not JSON or lists no files,
            MismatchError if another version wrote it
    """
    path = folder / NAME
    try:
        manifest = json_file(path)
    except FileNotFoundError:
        raise UnavailableError(
            f"{folder} has no {NAME}, so it is not a complete build. Run the `lotte build` that began it once more."
        ) from None
    except (OSError, LotteError) as error:
        raise CorruptFileError(f"{path} cannot be read: {error}. Build again.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        stated = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise MismatchError(f"{path} has format {shown(stated)}, this is {FORMAT!r}; build again, or use its version")
    files = manifest.get("files")
    if not isinstance(files, dict) or {*map(type, files.values())} - {str} or any(map(why_not, files)):
        raise CorruptFileError(f"{path} does not list the files of its folder with their sha256. Build again.")
    return manifest


def build_id(folder: Path) -> str:
    """Return what a build is known by: the sha256 of its manifest."""
    return id_of(folder, read(folder))


def id_of(folder: Path, manifest: dict[str, Any]) -> str:
    """Same, of a manifest that was read: the sha256 of what it was before it had a digest, so that a build made
    again has the id it had.

    Raises  ValueError or RecursionError for what no file can hold
    """
    if DIGEST not in manifest:
        return artifact.sha256(folder / NAME)
    return hashlib.sha256(artifact.readable(_content(manifest)).encode()).hexdigest()


def _content(manifest: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in manifest.items() if key != DIGEST}


def differences(folder: Path, advance: Callable[[int], None] = lambda used: None) -> Iterator[str]:
    """Give one line for each file that is missing, changed, or not in the manifest, and for a changed manifest."""
    manifest = read(folder)
    files: dict[str, str] = manifest["files"]
    for name, recorded in files.items():
        path = folder / name
        if not path.is_file():
            yield f"missing\t{name}"
            continue
        if (sha256 := artifact.sha256(path)) != recorded:
            yield f"changed\t{name}\tsha256 {sha256[:16]}, the manifest says {recorded[:16]}"
        advance(path.stat().st_size)
    yield from _own(folder, manifest)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name in files or name == NAME:
            continue
        if artifact.is_left_over(path):
            yield f"left over\t{name}\tof a process that was killed; the same `lotte build` removes it"
        else:
            yield f"extra\t{name}"


def _own(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Give a line for whatever shows that the manifest itself was changed."""
    try:
        if DIGEST in manifest and artifact.digest(_content(manifest)) != manifest[DIGEST]:
            yield f"changed\t{NAME}\tits digest is of another content"
        elif artifact.readable(manifest).encode() != (folder / NAME).read_bytes():
            yield f"changed\t{NAME}\tit is not written as a build writes it"
        elif odd := sorted(manifest.keys() - _KEYS):
            yield f"changed\t{NAME}\tit holds {shown(odd[0])}, which no build writes"
        elif DIGEST not in manifest:
            yield from _recounted(folder, manifest)
    except (ValueError, RecursionError):  # NaN, or an unpaired surrogate
        yield f"changed\t{NAME}\tit holds what no build writes"


def _recounted(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Give a line for each count of the manifest that the files do not bear out."""
    try:
        said = manifest["counts"]["parts"].items()
        parts = {part: {what: counts[what] for what in _COUNTED} for part, counts in said}
        paths = {part: inside(folder, part) for part in parts}
    except (KeyError, TypeError, AttributeError, LotteError):
        yield f"changed\t{NAME}\tit does not count passages and questions"
        return
    for part, counts in parts.items():
        for what, file in _COUNTED.items():
            if (path := paths[part] / file).is_file() and (num_lines := _lines(path)) != counts[what]:
                yield f"changed\t{NAME}\t{part}: {shown(counts[what])} {what}, and {file} has {num_lines} lines"


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
