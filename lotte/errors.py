"""Errors a reader can act on: what we wanted, what we found, what to do next."""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path


class LotteError(Exception):
    """Base of every error raised on purpose. The CLI prints it without a traceback."""


class UnknownNameError(LotteError):
    """Nobody answers to that name."""


class CorruptFileError(LotteError):
    """The bytes on disk are not the bytes we were promised."""


class MismatchError(LotteError):
    """Two things that are each fine do not belong together."""


class UnavailableError(LotteError):
    """A package, a device, a file or room on a disk that this step needs is not here."""


def shown(value: object, most: int = 80) -> str:
    """Return how a value from a file is quoted in a message: as Python writes it, cut after so many characters.

    >>> print(shown("a\\tb"), shown("9" * 5000, most=8))
    'a\\tb' '9999999...
    """
    try:
        text = repr(value[: most + 1] if isinstance(value, str | bytes) else value)
    except (RecursionError, ValueError):  # nested too deeply, or a number too long, to be written at all
        return type(value).__name__
    return text if len(text) <= most else f"{text[:most]}..."


def reason(error: BaseException, most: int = 160) -> str:
    """Return what another library says is wrong, as a part of a line: the first of its lines, cut.

    >>> reason(ValueError("not JSON; see a page\\nline 2")), reason(KeyError()), reason(ValueError("x" * 99), most=3)
    ('not JSON', 'KeyError', 'xxx...')
    """
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    # after a semicolon Python gives advice to programmers
    text = str(error).strip().partition("\n")[0].partition(";")[0].strip().rstrip(".")
    return (text if len(text) <= most else f"{text[:most]}...") or type(error).__name__


def named(text: str, most: int = 80) -> str:
    """Return an id as a message names it: as it stands if it is a short word, else quoted and cut.

    most  characters of it

    >>> named("MED-10"), named("MED\\x1b10")
    ('MED-10', "'MED\\\\x1b10'")
    """
    return text if text.isprintable() and " " not in text and 0 < len(text) <= most else shown(text, most)


_LISTED = ("retriever", "dataset", "measure")  # by `lotte list`


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a name nobody answers to, with the nearest name there is.

    >>> print(unknown("retriever", "colbert2", ["bm25", "colbertv2"]))
    no retriever is named 'colbert2'; did you mean 'colbertv2'? `lotte list retrievers` shows all 2
    """
    known = sorted(known)
    way = f"`lotte list {kind}s` shows all {len(known)}" if kind in _LISTED else f"there are {', '.join(known)}"
    return UnknownNameError(f"no {kind} is named {shown(name)}; {did_you_mean(name, known)}{way}")


def absent(path: Path, hint: str = "") -> UnavailableError:
    """Return the error for a file that cannot be read: a folder stands there, a pipe, or nothing.

    hint  the rest of the line: what makes it, or which file is wanted
    """
    if path.exists() and not path.is_dir():
        return UnavailableError(f"{path} is a pipe or a device, and can be read only once; write it to a file")
    return UnavailableError(f"{path} is {'a folder, but a file is needed' if path.is_dir() else 'not there'}{hint}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question about the nearest name there is, with a blank after it; "" if none is near.

    >>> did_you_mean("colbert2", ["bm25", "colbertv2"]), did_you_mean("x", ["bm25"])
    ("did you mean 'colbertv2'? ", '')
    """
    near = get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""


# EFBIG is what a file size limit (ulimit -f) gives, EDQUOT a user's quota: to a reader all three are "full"
_FULL = {
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file may not grow this large here (ulimit -f, or the file system)",
}


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the system says about a full or read-only disk into one line with a way out."""
    try:
        yield
    except Exception as error:
        code = error.errno if isinstance(error, OSError) else _code(error)
        if code in _FULL:
            raise UnavailableError(
                f"{_FULL[code]} while writing under {folder}. What was finished is kept: make room, "
                "then run the same command again and it goes on from there."
            ) from error
        if code in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise UnavailableError(
                f"{getattr(error, 'filename', None) or folder} may not be written ({os.strerror(code)}); "
                "choose another folder"
            ) from error
        raise


def _code(error: Exception) -> int | None:
    """Return the system's number of an error of a library in Rust, safetensors, which has it in its text alone."""
    os_error = re.search(r"\(os error (\d+)\)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(os_error[1]) if os_error else None
