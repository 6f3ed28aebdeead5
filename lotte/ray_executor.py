"""Steps on a Ray cluster: the workers are actors, and a process of its own gives each of them one step after another.

That process holds the connection, so that what Ray says, and how it ends, does not reach the command: if it ends, by
a raylet that was killed, it is started again and is given the steps that are left. An actor that dies costs its step,
which the next one gets; one that is at a step for too long is killed. Nothing goes through Ray but a step and that it
is done: what a step makes is on a disk that all see.
"""

import multiprocessing
import os
import pickle
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Thread
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from lotte import extras
from lotte.errors import LotteError, MismatchError, UnavailableError, named, reason, shown
from lotte.executor import Advance, WorkStep, deaf, end_with
from lotte.processors import num_processors
from lotte.ray_worker import Worker, pickled, versions

ANSWERS_WITHIN = 40.0  # seconds, for a cluster that is said to run and whose port answers; Ray itself gives up after 20
STARTS_WITHIN = 120.0  # seconds, for one that is started here: under load Ray needs half a minute, and several tries
TRIES = 4  # of a step whose worker ends, of a worker that does not come up, of the process that holds the connection
LOOK = 0.2  # seconds between two looks at what is done
_LOST = 3  # how the process ends when there is no node any more


@dataclass(frozen=True)
class ClusterRequest:
    """What there is to be: how many workers, where, and what they must see."""

    count: int  # 0: as many as the cluster has processors
    begin: Callable[[], None] | None
    address: str
    step_timeout: float
    folder: Path
    reads: Sequence[str]

    @property
    def whose(self) -> str:
        """Return how a message names the cluster."""
        return f"the Ray cluster at {self.address}" if self.address else "Ray"


class RayPool:
    """Workers of a cluster, and the process that gives them steps."""

    def __init__(self, asked: ClusterRequest) -> None:
        extras.package("ray", "--executor ray")
        self._asked = asked
        self._process: Any = None
        self._with_token = False
        self._start()

    def _start(self) -> None:
        if host_port := _host_port(self._asked.address):
            _require_answer(self._asked.address, *host_port)
        context: Any = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        with deaf():
            self._process = context.Process(target=_drive, args=(theirs, self._asked), name="ray driver")
            self._process.start()
        theirs.close()
        within = ANSWERS_WITHIN if self._asked.address else STARTS_WITHIN
        try:
            if not self._pipe.poll(within):
                raise UnavailableError(
                    f"{self._asked.whose} did not answer within {within:.0f} s: is it a Ray cluster, or overloaded?"
                )
            kind, *facts = self._pipe.recv()
        except EOFError:
            self.end()
            raise UnavailableError(f"{self._asked.whose} ended while it was being connected to; try again") from None
        except BaseException:
            self.end()
            raise
        if kind == "failed":
            self.end()
            raise pickle.loads(facts[0])
        if kind == "token":
            self.end()
            if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token" and not self._with_token:
                self._with_token = True  # Ray itself does so for "auto", and not for an address
                self._start()
            else:
                raise UnavailableError(
                    f"{self._asked.whose} wants its token: set RAY_AUTH_TOKEN to what `ray get-auth-token` says there"
                )

    def run(self, steps: list[WorkStep], advance: Advance) -> None:
        """Run all steps; start again what holds the connection, if that ends."""
        left = dict(enumerate(steps))
        for attempt in range(TRIES):
            with suppress(EOFError, ConnectionError):  # the process is no more
                self._round(left, advance)
                return
            self.end()
            if attempt < TRIES - 1:
                self._start()
        raise UnavailableError(
            f"{self._asked.whose} was lost {TRIES} times. What was finished is kept: run the same command again."
        )

    def _round(self, left: dict[int, WorkStep], advance: Advance) -> None:
        """Send the steps that are left, and take them out as they are done."""
        self._pipe.send([(number, step.name, pickle.dumps(step.task)) for number, step in left.items()])
        while True:
            kind, *facts = self._pipe.recv()
            if kind == "done":
                advance(left.pop(facts[0]).weight)
            elif kind == "failed":
                raise pickle.loads(facts[0])
            elif kind == "end":
                return

    def end(self) -> None:
        """End the process, and with it its workers, and a cluster that it started."""
        process, self._process = self._process, None
        self._pipe.close()  # which it takes for the end
        if process:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()


def _host_port(address: str) -> tuple[str, int] | None:
    """Return where a cluster is asked, or None where Ray finds it itself. Raises LotteError for what is no address."""
    if address in ("", "auto"):
        return None
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise LotteError(f"--ray-address is HOST:PORT, ray://HOST:PORT or auto, not {shown(address)}")
    return host.strip("[]"), int(port)


def _require_answer(address: str, host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        raise UnavailableError(
            f"no Ray cluster answers at {address} ({reason(error)}); `ray start --head` starts one, `ray status` says "
            "where it is"
        ) from None


# ---- in the process that holds the connection


def _drive(pipe: Connection, asked: ClusterRequest) -> None:
    """Connect, say so, and run round after round."""
    end_with(multiprocessing.parent_process())
    with NamedTemporaryFile() as said:
        for number in (1, 2):  # Ray talks to whoever looks at it, and stdout is data
            os.dup2(said.fileno(), number)
        Thread(target=_refused, args=(said.name, pipe), daemon=True).start()
        try:
            ray = _connected(asked)
        except LotteError as error:
            pipe.send(("failed", pickled(error)))
            return
        silence = os.open(os.devnull, os.O_RDWR)
        for number in (1, 2):
            os.dup2(silence, number)
    pipe.send(("ready",))
    with suppress(EOFError, OSError), _visible(asked) as token:  # until the command closes the pipe
        crew = _Crew(ray, asked, pipe, token)
        while True:
            failed = crew.round(pipe.recv())
            pipe.send(("failed", failed) if failed else ("end",))
    ray.shutdown()


@contextmanager
def _visible(asked: ClusterRequest) -> Iterator[str]:
    """Leave a file in the folder that steps write into, which a worker sees if the disk is the same."""
    token = asked.folder / f".ray-{uuid4().hex}.partial-{os.getpid()}"
    token.touch()
    try:
        yield str(token)
    finally:
        token.unlink(missing_ok=True)


def _refused(said: str, pipe: Connection) -> None:
    """End this process when Ray says that a cluster wants a token: it would try on for 20 seconds."""
    with suppress(FileNotFoundError):
        while b"InvalidAuthToken" not in Path(said).read_bytes():
            sleep(LOOK)
        pipe.send(("token",))
        os._exit(_LOST)


def _connected(asked: ClusterRequest) -> Any:
    """Return Ray, connected. Raises UnavailableError or MismatchError, in one line."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    how: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL", "configure_logging": False}
    if not asked.address:
        how |= {"num_cpus": asked.count or num_processors(), "include_dashboard": False}
    for attempt in range(1 if asked.address else 3):
        try:
            ray.init(address=asked.address or "local", **how)
            return ray
        except Exception as error:  # whatever Ray raises: a start that failed under load works the next time
            ray.shutdown()
            said, last = " ".join(str(error).split()), attempt
    if "ersion mismatch" in said:
        raise MismatchError(f"{asked.whose} has another Ray or Python than this command: {said[:300]}")
    raise UnavailableError(f"{asked.whose} cannot be used ({last + 1} tries): {said[:300]}")


@dataclass(eq=False)
class _Hand:
    """An actor and what it is at."""

    actor: Any
    since: float
    step: int | None = None  # None while it gets ready


class _Crew:
    """The actors of a cluster, as many as there is work for."""

    def __init__(self, ray: Any, asked: ClusterRequest, pipe: Connection, token: str) -> None:
        self._ray, self._asked, self._pipe = ray, asked, pipe
        self._token = token
        self._at: dict[Any, _Hand] = {}  # what is waited for -> who is at it
        self._idle: list[_Hand] = []
        self._make = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Worker).remote
        self._not_up = 0

    def round(self, steps: list[tuple[int, str, bytes]]) -> bytes | None:
        """Run steps in their order, each again if its worker ends. Return what one raised, if one did."""
        tasks, names = {number: task for number, _, task in steps}, {number: name for number, name, _ in steps}
        waiting, tries, failed = deque(tasks), Counter[int](), None
        while waiting or any(hand.step is not None for hand in self._at.values()):
            self._hire(len(waiting))
            while waiting and self._idle:
                self._give(self._idle.pop(), waiting[0], tasks[waiting.popleft()])
            for hand, ref in self._done():
                again, error = self._taken(hand, ref)
                if again is not None:
                    tries[again] += 1
                    waiting.appendleft(again)
                    if tries[again] >= TRIES:
                        error = pickled(self._gave_up(names[again]))
                if error:  # what runs is finished, and no more is begun
                    failed, waiting = failed or error, deque()
            if self._pipe.poll():
                raise EOFError  # nothing is sent during a round, so it was closed
        return failed

    def _hire(self, wanted: int) -> None:
        """Ask for further workers, if there is work for them and the cluster has room."""
        there = len(self._at) + len(self._idle)
        coming = sum(hand.step is None for hand in self._at.values()) + len(self._idle)
        most = self._asked.count or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        for _ in range(min(wanted - coming, most - there)):
            hand = _Hand(self._make(), monotonic())
            facts = (self._token, os.getcwd(), sys.path, self._asked.reads, pickle.dumps(self._asked.begin))
            self._at[hand.actor.hello.remote(*facts)] = hand

    def _give(self, hand: _Hand, step: int, task: bytes) -> None:
        hand.step, hand.since = step, monotonic()
        self._at[hand.actor.do.remote(task)] = hand

    def _done(self) -> Iterator[tuple[_Hand, Any]]:
        """Yield what is done, or cannot be any more, after a short while at the latest."""
        done, _ = self._ray.wait(list(self._at), timeout=LOOK) if self._at else ([], [])
        late = [
            ref
            for ref, hand in self._at.items()
            if ref not in done and hand.step is not None and 0 < self._asked.step_timeout < monotonic() - hand.since
        ]
        for ref in late:
            self._ray.kill(self._at[ref].actor)
        yield from ((self._at.pop(ref), None) for ref in late)
        yield from ((self._at.pop(ref), ref) for ref in done)

    def _taken(self, hand: _Hand, ref: Any) -> tuple[int | None, bytes | None]:
        """Return the step that has to be done again, and what was raised. A worker that is well is idle then."""
        try:
            if ref is None:
                return hand.step, None
            said = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:  # it died, or its node
            if not any(node["Alive"] for node in self._ray.nodes()):
                os._exit(_LOST)
            if hand.step is None:
                return None, self._did_not_come(error)
            return hand.step, None
        if hand.step is None:
            self._not_up = 0
            if unfit := self._unfit(said):
                return None, pickled(unfit)
        elif said is None:
            self._pipe.send(("done", hand.step))
        self._idle.append(hand)
        return None, None if hand.step is None else said

    def _did_not_come(self, error: Exception) -> bytes | None:
        """Return the error for workers that do not come up, once they were tried often enough."""
        self._not_up += 1
        if self._not_up < TRIES:
            return None
        said = " ".join(str(error).split())
        if "lotte" in said and ("ModuleNotFoundError" in said or "ImportError" in said):
            return pickled(
                MismatchError(f"a worker of {self._asked.whose} has no lotte as it is here; install it on every node")
            )
        return pickled(UnavailableError(f"no worker of {self._asked.whose} comes up: {said[-300:]}"))

    def _unfit(self, said: dict[str, Any]) -> LotteError | None:
        """Return what is wrong with a worker that is ready: another version, or a path it does not see."""
        node = named(said["node"])
        for what, ours in versions().items():
            if (theirs := said["versions"].get(what)) != ours:
                return MismatchError(
                    f"a worker on {node} has {what} {theirs}, and this command {ours}: the same bytes are promised for "
                    "the same versions alone; install the same on every node"
                )
        if said["lacks"]:
            return UnavailableError(
                f"a worker on {node} does not see {said['lacks'][0]}: every node must have the folders that are read "
                "and written, on a disk that all share"
            )
        return None

    def _gave_up(self, name: str) -> LotteError:
        limit = self._asked.step_timeout
        or_hung = f", or took longer than --step-timeout {limit:g} s" if limit else ""
        return UnavailableError(
            f"step {name} ended its worker {TRIES} times{or_hung}; most likely it wants more memory than there is. "
            "What was finished is kept: run the same command again, with fewer --workers if it happens once more."
        )
