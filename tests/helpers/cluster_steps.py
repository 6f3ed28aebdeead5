"""Steps for the workers of a cluster: what leaves a file, and what ends its worker, its node or its driver once."""

import os
import signal
import time
from pathlib import Path

from lotte import artifact
from lotte.errors import CorruptFileError


def leave(folder: Path, name: str, advance) -> None:
    artifact.write_whole(folder / f"{name}.txt", f"what {name} makes\n")


def first_time(folder: Path, name: str) -> bool:
    try:
        (folder / f"{name}.began").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def end(folder: Path, name: str, whom: str, advance) -> None:
    """Kill a process the first time, and be at it until that is felt; the second time leave a file."""
    if first_time(folder, name):
        raylet = os.getppid()
        victim = {"worker": os.getpid(), "raylet": raylet, "driver": parent_of(raylet)}[whom]
        os.kill(victim, signal.SIGKILL)
        time.sleep(60)
    leave(folder, name, advance)


def hang(folder: Path, name: str, advance) -> None:
    """Stop the worker the first time, so that nothing in it can notice."""
    if first_time(folder, name):
        os.kill(os.getpid(), signal.SIGSTOP)
    leave(folder, name, advance)


def always_end(advance) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(advance) -> None:
    raise CorruptFileError("x.7z: is damaged")
