"""Work on a collection, some documents at a time, by the workers of the command.

A step leaves a file of arrays, whole or not at all. The command takes the files in their order and removes them, so
what comes out does not depend on who made them, and a command that was stopped finds what is there.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import artifact, executor

FOLDER = ".blocks"  # in the folder of an index that is being made
AT_ONCE = 256  # blocks that are there before the first is taken: so many are on the disk at most

Arrays = dict[str, NDArray[Any]]
Rows = Sequence[int]
Task = Callable[[Rows, Path, executor.Advance], None]  # a function of a module, or a partial of one


def save(path: Path, **arrays: Any) -> None:
    """Write arrays into one file, whole or not at all."""
    artifact.sweep(path.parent, path.name)
    part = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with part.open("wb") as file:
            np.savez(file, **arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def made(
    folder: Path, name: str, groups: Sequence[Rows], task: "Task", advance: Callable[[int], None]
) -> Iterator[Arrays]:
    """Yield what a task makes of each group of rows, in their order.

    name     of the kind of block; with the group's first row it names the file
    task     gets a group, the file it is to leave, and what to tell of rows that are done
    """
    place = folder_for(folder)
    for first in range(0, len(groups), AT_ONCE):
        some = {place / f"{name}.{group[0]:010}.npz": group for group in groups[first : first + AT_ONCE]}
        steps = [
            executor.WorkStep(path.stem, len(group), _BlockStep(task, group, path))
            for path, group in some.items()
            if not path.is_file()
        ]
        advance(sum(map(len, some.values())) - sum(step.weight for step in steps))
        executor.current().run(steps, advance=advance)
        for path in some:
            with np.load(path, allow_pickle=False) as arrays:
                yield dict(arrays)
            path.unlink()


def folder_for(index: Path) -> Path:
    """Return where in the folder of an index things lie that are gone when it is whole."""
    place = index / FOLDER
    place.mkdir(exist_ok=True)
    return place


def done(index: Path) -> None:
    """Remove that folder."""
    shutil.rmtree(index / FOLDER, ignore_errors=True)


class _BlockStep:
    """A task with a group of rows and its file, as a step."""

    def __init__(self, task: "Task", group: Rows, path: Path) -> None:
        self._task, self._group, self._path = task, group, path

    def __call__(self, advance: executor.Advance, /) -> None:
        self._task(self._group, self._path, advance)


def groups(first: int, count: int, size: int) -> list[range]:
    """Return the rows from the first on in groups of a size; the last may be smaller.

    >>> groups(4, 9, 3)
    [range(4, 7), range(7, 9)]
    """
    return [range(begin, min(begin + size, count)) for begin in range(first, count, size)]
