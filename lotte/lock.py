"""One at a time: what several commands may write into one folder, they write one after the other.

The lock is the system's own, on a file in the folder: it ends with the process
that holds it, however that ends, so nothing has to be cleared up after a kill.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lotte.errors import writing

NAME = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder if need be, wait until no other process holds its lock, and hold it.

    Where the system or its file system knows no locks, nothing is held.
    """
    path = folder / NAME
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    while True:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("w")
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            break
        file.close()  # whoever held it has removed the file: another one may stand there, with another lock
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()
