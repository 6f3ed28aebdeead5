"""The lines of a text file, each with its number, whatever they were written with.

Plain or .gz; LF or CRLF; with a byte order mark or without. A line ends at
"\\n" and nowhere else: `str.splitlines` would also cut at U+2028, which
passages contain. A line that is not UTF-8 is named.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, cast

from lotte.errors import CorruptFileError, absent

_BLOCK = 1 << 20
LONGEST = 64 << 20  # bytes of a line that is packed, or of a document


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (1, first line), (2, second line), ... without their ends.

    Raises  UnavailableError if there is no such file,
            CorruptFileError if a line is not UTF-8, or a .gz ends too early
    """
    number = held = 0  # held: blank lines that are rows only if something comes after them
    try:
        with opened(path) as file:
            packed = path.suffix == ".gz"  # which may grow without end; a plain file is as long as it is
            for number, raw in enumerate(iter(partial(file.readline, LONGEST), b"") if packed else file, start=1):
                if packed and len(raw) == LONGEST:
                    raise CorruptFileError(f"{path}:{number}: a line of more than {LONGEST >> 20} MB; it is refused")
                text = raw.decode()
                if text.endswith("\r\n"):
                    text = text[:-2]
                elif text.endswith("\n"):
                    text = text[:-1]
                if number == 1:
                    text = text.removeprefix("\ufeff")
                if not text or (text.isspace() and is_blank(text)):
                    held += 1
                    continue
                if held:
                    yield from ((number - back, "") for back in range(held, 0, -1))
                    held = 0
                yield number, text
        if number == 1:
            require_line_ends(raw, path)
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{path}:{number}: not UTF-8 at byte {error.start} of the line") from None
    except DAMAGED as error:
        raise CorruptFileError(f"{path}:{number + 1}: the .gz is damaged ({error}); fetch it again") from None


def is_blank(text: str) -> bool:
    """Whether a line has nothing but blanks in it; tabs are between fields.

    >>> is_blank("  "), is_blank("a")
    (True, False)
    """
    return not text.strip(" ")


DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)  # what reading a .gz that was cut or changed may raise


@contextmanager
def whole_gz(path: Path) -> Iterator[None]:
    """Turn what reading a damaged .gz raises into one line."""
    try:
        yield
    except DAMAGED as error:
        raise CorruptFileError(f"{path}: the .gz is damaged ({error}); fetch it again") from None


def require_line_ends(only: bytes, path: Path) -> None:
    """Raise CorruptFileError if the only line of a file is several, each with a carriage return after it."""
    if b"\r" in only.rstrip(b"\r\n"):
        raise CorruptFileError(
            f"{path}:1: its only line has carriage returns in it, as old Mac files end their lines; write it with \\n"
        )


def opened(path: Path) -> IO[bytes]:
    """Return the file, unpacked if its name ends in .gz, to be read as bytes."""
    require_file(path)
    if path.suffix == ".gz":
        return io.BufferedReader(cast(io.RawIOBase, gzip.open(path)), _BLOCK)
    return path.open("rb")


def require_file(path: Path, hint: str = "") -> None:
    """Raise UnavailableError if there is no file: files are read more than once, so a pipe is none.

    hint  what to do about one that is not there
    """
    if not path.is_file():
        raise absent(path, hint)


def plain_or_gz(path: Path) -> Path:
    """Return this file, or its .gz where only that is there."""
    packed = path.with_name(f"{path.name}.gz")
    return packed if packed.is_file() and not path.is_file() else path
