"""A reader of a foreign format, as the fuzzer sees it, and what may come of an input.

A reader reads, or refuses with one line (a LotteError). Everything else is wrong:
another exception, a message of several lines, too much memory, too much time.
"""

import importlib.util
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lotte.errors import LotteError

HERE = Path(__file__).parent
SECONDS = 20  # that one input may take
LONGEST = 500  # characters of a message, with two paths of a hundred


def _same(content: bytes) -> bytes:
    return content


@dataclass(frozen=True)
class Reader:
    """make writes a valid set of files into an empty folder; `file` is the one that is changed; read reads the set."""

    name: str
    file: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    mend: Callable[[bytes], bytes] = _same  # corrects the check sums that would hide what lies behind them
    group: str = ""  # the file in entries/ that has it: the readers of one share a process


def once(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return what makes the same files at less cost: they are made once in a process, and copied from then on."""
    made: list[tempfile.TemporaryDirectory[str]] = []

    def copy(folder: Path) -> None:
        if not made:
            place = tempfile.TemporaryDirectory(prefix="fuzz-")
            make(Path(place.name))
            made.append(place)
        shutil.copytree(made[0].name, folder, dirs_exist_ok=True)

    return copy


class _TooLong(BaseException):
    pass


def readers(group: str = "*") -> dict[str, Reader]:
    """Return every reader of every file in entries/, or of one of them: each has a list READERS."""
    found: dict[str, Reader] = {}
    for path in sorted((HERE / "entries").glob(f"{group}.py")):
        spec = importlib.util.spec_from_file_location(f"fuzz_{path.stem}", path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for reader in module.READERS:
            assert reader.name not in found, reader.name
            found[reader.name] = replace(reader, group=path.stem)
    return found


def valid(reader: Reader) -> bytes:
    """Return the file before anybody changes it."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        reader.make(Path(folder))
        return (Path(folder) / reader.file).read_bytes()


def outcome(reader: Reader, content: bytes) -> str:
    """Return "read", "refused", or what is wrong."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        reader.make(Path(folder))
        (Path(folder) / reader.file).write_bytes(content)
        try:
            with _limited():
                reader.read(Path(folder))
        except LotteError as error:
            message = str(error)
            if len(message.splitlines()) > 1:
                return f"wrong: a message of several lines: {message[:200]!r}"
            if len(message) > LONGEST:
                return f"wrong: a message of {len(message):,} characters: {message[:200]!r}"
            return "refused"
        except _TooLong:
            return f"wrong: more than {SECONDS} seconds"
        except Exception as error:
            return f"wrong: {type(error).__name__}: {str(error)[:200]}"
        return "read"


@contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
