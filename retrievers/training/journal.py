"""The training log, step by step: log.jsonl, and TensorBoard files if it is installed."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from lotte import artifact
from lotte.errors import CorruptFileError
from lotte.parsing import json_of

LOG = "log.jsonl"  # a line for every step


class Journal:
    """What a folder says of each step. Opened, it is cut where a training goes on."""

    def __init__(self, folder: Path, step: int) -> None:
        path = folder / LOG
        with suppress(FileNotFoundError):
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _before(line, step)]
            artifact.write_whole(path, "".join(f"{line}\n" for line in kept))
        self._log = path.open("a", buffering=1, encoding="utf-8")  # a line is there once it is written
        self._board = _board(folder, step)

    def __enter__(self) -> Self:
        return self

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take down the numbers of a step, by name."""
        self._log.write(artifact.json_line({"step": step, **numbers}))
        for name, value in numbers.items() if self._board else ():
            self._board.add_scalar(name, value, step)

    def __exit__(self, *error: object) -> None:
        self._log.close()
        if self._board:
            self._board.close()


def _before(line: str, step: int) -> bool:
    try:
        return int(json_of(line, LOG)["step"]) <= step
    except (CorruptFileError, ValueError, KeyError, TypeError):
        return False  # the end of a line that was never finished


def _board(folder: Path, step: int) -> Any:
    """Return TensorBoard's writer, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
