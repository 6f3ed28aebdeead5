"""Steps for the workers of a cluster: what leaves a file, and what ends its worker, its node or its driver once."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from lotte import artifact
from lotte.errors import CorruptFileError
from retrievers import blocks


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


def save_rows(folder: Path, rows, path: Path, advance) -> None:
    """Leave the rows of a block, and end the worker of the second block once, when its file is half written."""
    with (folder / "made").open("a") as file:
        file.write(f"{rows[0]}\n")
    if rows[0] == 3 and first_time(folder, "second"):
        path.with_name(f".{path.name}.partial-{os.getpid()}").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    blocks.save(path, rows=np.array(rows))
    advance(len(rows))
