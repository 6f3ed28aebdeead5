"""Toy trainings in processes of their own, which begin with torch imported: they are forks of one that has it.

A fork ends as any process does, through the end of its interpreter. `torchrun` starts processes the slow way: a test
that is not about the launcher has its processes from here.

As a program it answers lines of JSON: `{"folder": ..., "settings": ..., "environment": ...}` with the process's
number, `{"wait": number}` with its exit code, `{"poll": number}` with its exit code or null.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from places import HOUSE, TESTS


class Forks:
    """The process that is forked; `with Forks() as forks: forks.start(folder, settings)`."""

    def __enter__(self) -> "Forks":
        path = os.pathsep.join([str(TESTS / "helpers"), str(HOUSE)])
        env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def asked(self, **question: Any) -> Any:
        """Ask the process that is forked, and return what it answers."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def start(self, folder: Path, settings: dict[str, Any], **environment: str) -> "Fork":
        """Start one training in `folder`."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        said = folder.parent / f"said{environment.get('RANK', '')}.txt"
        environment["SAID"] = str(said)
        return Fork(self, self.asked(folder=str(folder), settings=settings, environment=environment), said)

    def ranks(self, folder: Path, settings: dict[str, Any], count: int = 2) -> "list[Fork]":
        """Start one training in several processes, with the variables that torchrun sets."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        return [
            self.start(
                folder, settings, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count),
                MASTER_ADDR="127.0.0.1", MASTER_PORT=port,
            )
            for rank in range(count)
        ]  # fmt: skip


@dataclass(frozen=True)
class Fork:
    """One process, as far as a test needs what subprocess.Popen has."""

    forks: Forks
    pid: int
    said: Path

    def poll(self) -> int | None:
        code = self.forks.asked(poll=self.pid)
        return None if code is None else int(code)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def ended(forks: Sequence[Fork]) -> list[tuple[int, str]]:
    """Wait for all of them; return the exit code of each, and what it said."""
    return [(int(one.forks.asked(wait=one.pid)), one.said.read_text()) for one in forks]


def answer(question: dict[str, Any]) -> dict[str, Any] | None:
    """Answer, and return what is to be done where this is the fork, else nothing."""
    if "folder" in question:
        if number := os.fork():
            print(number, flush=True)
            return None
        return question
    ((what, number),) = question.items()
    if number not in _ended:
        done, status = os.waitpid(number, os.WNOHANG if what == "poll" else 0)
        if done:
            _ended[number] = os.waitstatus_to_exitcode(status)
    print(json.dumps(_ended.get(number)), flush=True)
    return None


_ended: dict[int, int] = {}


def main() -> None:
    import torch
    import toy_training
    from transformers.models.bert import modeling_bert  # noqa: F401 - this and the others: what every training imports

    import retrievers.training.loop
    import retrievers.training.objective
    import retrievers.training.student  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        if job := answer(json.loads(line)):
            break
    else:
        return
    with open(job["environment"].pop("SAID"), "w") as said, open(os.devnull, "r+") as nothing:
        for number, file in ((0, nothing), (1, nothing), (2, said)):
            os.dup2(file.fileno(), number)
    os.environ.update(job["environment"])
    toy_training.run(Path(job["folder"]), job["settings"])


if __name__ == "__main__":
    main()
