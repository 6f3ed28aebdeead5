"""Where a step runs: here, in processes of this machine, on the workers of a Ray cluster, or as one part of several.

The one place that knows. A step is a function of its own with arguments that
can be pickled, leaves a whole artifact or nothing, and reads no other step of
the same round; so it may run anywhere, in any order, and once more if its
process died. What is Ray's own is in `ray_executor`.
"""

import functools
import heapq
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import wait as wait_for
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lotte.errors import LotteError, UnavailableError, shown
from lotte.processors import num_processors

T = TypeVar("T")
Advance = Callable[[int], None]


class StepFunction(Protocol):
    """What a step does. It says how much of its weight is done as it goes on."""

    def __call__(self, advance: Advance, /) -> object: ...


@dataclass(frozen=True)
class WorkStep:
    """A piece of work that runs in one process."""

    name: str
    weight: int  # how long it takes, in any unit; bytes of input, mostly
    task: StepFunction


@dataclass(frozen=True)
class Place:
    """Where the command line says that steps run.

    Raises  LotteError for options that do not go together
    """

    executor: str = "local"  # processes of this machine; or ray
    address: str = ""  # of a Ray cluster that runs; "": one that is started here, and ends with the command
    step_timeout: float = 0.0  # seconds after which a step is given to another worker; 0: never

    def __post_init__(self) -> None:
        if self.executor not in ("local", "ray"):
            raise LotteError(f"--executor is local or ray, not {self.executor!r}")
        for flag, value in (("--ray-address", self.address), ("--step-timeout", self.step_timeout)):
            if value and self.executor != "ray":
                raise LotteError(f"{flag} goes with --executor ray")
        if not 0 <= self.step_timeout < float("inf"):
            raise LotteError(f"--step-timeout is a number of seconds, 0 for none, not {self.step_timeout}")

    def count(self, workers: int) -> int:
        """Return how many workers there are to be, if so many were asked for; 0: one a core, or all a cluster has."""
        return workers if workers or self.executor == "ray" else num_processors()


HERE = Place()


class Pool(Protocol):
    """Processes that run steps."""

    def run(self, steps: "list[WorkStep]", advance: Advance, /) -> None:
        """Run all steps. Raises what a step raised, once those that run are finished."""

    def end(self) -> None:
        """End the processes."""


class Workers:
    """Where steps run: here, or in processes, which begin when they are first needed and serve every round to come.

    count   processes; with 1, all steps run in this one, unless they run on a cluster, which has 0 for all it has
    begin   what each process does first; a function of a module
    place   of the processes
    folder  that the steps write into: every worker must see it
    reads   files and folders that the steps read: every worker must see them
    """

    def __init__(
        self,
        count: int,
        begin: Callable[[], None] | None = None,
        place: Place = HERE,
        folder: Path | None = None,
        reads: Iterable[Path] = (),
    ) -> None:
        self.count, self._begin, self._place = count, begin, place
        self._folder, self._reads = folder, [str(path.absolute()) for path in reads]
        self._processes: Pool | None = None

    @property
    def several(self) -> bool:
        """Whether steps run elsewhere, side by side."""
        return self.count > 1 or self._place.executor == "ray"

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *stopped: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._processes:
            self._processes.end()
            self._processes = None

    def run(self, steps: Iterable[WorkStep], *, small: int = 0, advance: Advance = lambda used: None) -> None:
        """Run all steps, the longest first. Returns when all are done.

        small    when all steps together weigh no more, they run here: new processes take a third of a second to begin
        advance  is told of progress, in the unit of the weights, in this process

        Raises  what a step raised, once those that run are finished; the others are not begun
        """
        longest_first = sorted(steps, key=lambda step: (-step.weight, step.name))
        few = len(longest_first) <= 1 or sum(step.weight for step in longest_first) <= small
        on_cluster = bool(longest_first) and self._place.executor == "ray"
        if not on_cluster and (self.count <= 1 or (few and not self._processes)):
            for step in longest_first:
                step.task(advance)
        else:
            self._processes = self._processes or self._started(longest_first)
            try:
                self._processes.run(longest_first, advance)
            except BaseException:
                self._end()  # another round gets new ones
                raise

    def _started(self, steps: list[WorkStep]) -> Pool:
        if self._place.executor != "ray":
            return _Processes(steps, self.count, self._begin)
        from lotte.ray_executor import ClusterRequest, RayPool

        assert self._folder is not None  # of workers of a cluster
        place, folder = self._place, self._folder.absolute()
        return RayPool(ClusterRequest(self.count, self._begin, place.address, place.step_timeout, folder, self._reads))


_ALONE = Workers(1)
_current: ContextVar[Workers] = ContextVar("workers")


def current() -> Workers:
    """Return the workers of this command: one, this process, unless it said otherwise."""
    return _current.get(_ALONE)


@contextmanager
def at_work(workers: Workers) -> Iterator[None]:
    """Let workers be those of the command until the block ends, and end them then."""
    token = _current.set(workers)
    try:
        with workers:
            yield
    finally:
        _current.reset(token)


def shard(items: Sequence[T], weight: Callable[[T], int], part: int, parts: int) -> list[T]:
    """Return part `part` (from 1) of `parts`, so that all parts together are everything and take about as long.

    Everybody who asks with the same items gets the same division.

    >>> [shard([5, 4, 3, 3], abs, part, 2) for part in (1, 2)]
    [[5, 3], [4, 3]]
    """
    if not 1 <= part <= parts:
        raise ValueError(f"part {part} of {parts}")
    loads = [(0, number) for number in range(1, min(parts, len(items)) + 1)]  # no later one is ever the emptiest
    mine: list[T] = []
    for item in sorted(items, key=weight, reverse=True):
        load, number = heapq.heappop(loads)
        heapq.heappush(loads, (load + weight(item), number))
        if number == part:
            mine.append(item)
    return mine


_SHORT = re.compile("[0-9]{1,9}").fullmatch


def parse_shard(text: str) -> tuple[int, int]:
    """Read "2/5".

    >>> parse_shard("2/5")
    (2, 5)
    """
    part, slash, parts = text.partition("/")
    if not (slash and all(map(_SHORT, (part, parts))) and 1 <= int(part) <= int(parts)):
        raise LotteError(f"--shard takes the number of a part and of all parts, as in 1/4, not {shown(text)}")
    return int(part), int(parts)


_channel: "SimpleQueue[int] | None" = None


def _begin(channel: "SimpleQueue[int]", begin: Callable[[], None] | None) -> None:
    """In a new worker: remember where progress goes, and end when the parent does, even by kill -9."""
    global _channel
    _channel = channel
    end_with(multiprocessing.parent_process())
    if begin:
        begin()


def end_with(parent: Any) -> None:
    """End this process when its parent does, even by kill -9; Ctrl-C, which reaches every process, is the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def prepare(modules: Iterable[str]) -> None:
    """Let the server that processes come from import what these will need, while this process does something else.

    Only the first call of a process names modules; without one, they are those of the first steps.
    """
    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.get_context("forkserver").set_forkserver_preload(sorted(modules))
        with deaf():
            forkserver.ensure_running()


def _context(steps: list[WorkStep]) -> Any:
    """Return how processes begin: never as a fork of this one, whose threads (a progress bar, Arrow's) would be cut."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    prepare({_function(step.task).__module__ for step in steps})
    return multiprocessing.get_context("forkserver")


@contextmanager
def deaf() -> Iterator[None]:
    """Let a process begin that never hears of Ctrl-C: it goes to all of a terminal, and one of them speaks for all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _later() -> Iterator[None]:
    """Put Ctrl-C off to the end of the block, in which processes begin: half begun, they would die with a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    # a handler and not a mask: the signal may come to any thread, and masks are each thread's own
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


def _function(task: Any) -> Any:
    return task.func if isinstance(task, functools.partial) else type(task)


def _do(task: StepFunction) -> Any:
    assert _channel is not None
    return task(_channel.put)


class _Processes:
    """Processes that wait for steps, and the channel on which these say how far they are."""

    def __init__(self, steps: list[WorkStep], count: int, begin: Callable[[], None] | None) -> None:
        context = _context(steps)
        self._channel: SimpleQueue[int] = context.SimpleQueue()
        asked = (self._channel, begin)
        most = 61 if sys.platform == "win32" else 1000  # what one wait of Windows can watch; more than there are cores
        self._pool = ProcessPoolExecutor(min(count, most), mp_context=context, initializer=_begin, initargs=asked)

    def run(self, steps: list[WorkStep], advance: Advance) -> None:
        with self._telling(advance):
            try:
                with _later():
                    running: set[Future[Any]] = {self._pool.submit(_do, step.task) for step in steps}
                try:
                    while running:
                        done, running = wait(running, return_when=FIRST_COMPLETED)
                        for future in done:
                            future.result()
                except Exception:
                    for future in running:
                        future.cancel()
                    wait(running)  # for those that run. Ctrl-C ends this, but in `end` Python 3.12.1 may hang after it
                    raise
            except BrokenProcessPool:
                raise UnavailableError(
                    "a worker process was killed, most likely for want of memory. What was finished is kept: run the "
                    "same command again, with fewer --workers if it happens once more."
                ) from None
            except KeyboardInterrupt:
                for process in list((self._pool._processes or {}).values()):
                    process.kill()  # what it is at would take minutes, and is begun again
                raise

    def end(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def _telling(self, advance: Advance) -> Iterator[None]:
        ended = threading.Event()  # not a last message: a worker that was killed may hold the lock for writing

        def listen() -> None:
            while True:
                last = ended.wait(0.05)
                while not self._channel.empty():
                    advance(self._channel.get())
                if last:
                    return

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            yield
        finally:
            ended.set()
            listener.join(timeout=1)
