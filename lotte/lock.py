"""One at a time: what several commands may write into one folder, they write one after the other.

The lock is the system's own, on a file in the folder: it ends with the process
that holds it, however that ends, so nothing has to be cleared up after a kill.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lotte.errors import UnavailableError, writing

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder if need be, wait until no other process holds its lock, and hold it.

    Where the system or its file system knows no locks, nothing is held.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path, file = folder / NAME, None
    while fcntl and file is None:
        file = _locked(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if file:
            path.unlink(missing_ok=True)
            file.close()


@contextmanager
def exclusive_lock(folder: Path, *, name: str = NAME, shared: bool = False, busy: str = "") -> Iterator[None]:
    """Do the same without waiting, in a folder that is there.

    name    of the file
    shared  whether others may hold it too, if they share it
    busy    the message if another process holds it

    Raises  UnavailableError if another process holds it
    """
    try:
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB if fcntl else 0
        file = _locked(folder / name, how) if fcntl else None
        if fcntl and file is None:
            raise BlockingIOError
    except BlockingIOError:
        busy = busy or f"{folder} is being written by another process; try again when it is done"
        raise UnavailableError(busy) from None
    try:
        yield
    finally:
        if file:
            file.close()


def _locked(path: Path, how: int) -> IO[str] | None:
    """Open a file and lock it; None if another file stands there by then, with another lock.

    Raises  BlockingIOError if it is locked, and is not to be waited for
    """
    with writing(path.parent):
        file = path.open("w")
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        file.close()
        raise
    except OSError:  # a file system without locks
        return file
    with suppress(OSError):
        if os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
    file.close()
    return None
