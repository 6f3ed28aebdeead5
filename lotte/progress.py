"""How far long work has come: a bar on a terminal, a line now and then in a log, nothing for short work.

All of it goes to stderr, because stdout is data. `advance` may be called a
million times a second and from any thread: it only counts, and what people see
is made anew ten times a second on a terminal and twice a minute in a log.
"""

import sys
from math import inf
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Self

from lotte.terminal import say, visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

BAR_PAUSE = 0.1  # seconds between two looks of a bar
LINE_PAUSE = 30.0  # seconds between two lines of a log; shorter work writes none
_shown = Lock()  # held by the work that is shown; what is a part of it is not shown by itself


class Progress:
    """Count towards a total, and show how far it is, how fast it goes and how long it will take.

    total  how much there is to do, in `unit`; 0 if nobody knows
    unit   a plural, "passages"; "bytes" are shown as kB, MB and GB
    title  what is done, "indexing"; may be changed on the way
    done   how much of it an earlier run did: shown, and no part of the rate
    """

    def __init__(self, total: int, unit: str, title: str, *, done: int = 0) -> None:
        self.total, self.unit, self.title = total, unit, title
        self._done = self._before = done
        self._lock = Lock()
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        self._start = self._shown = monotonic()
        self._is_part = not _shown.acquire(blocking=False)
        self._pause = inf if self._is_part else LINE_PAUSE
        if not self._is_part and sys.stderr.isatty():
            self._begin_bar()
        return self

    def advance(self, amount: int = 1) -> None:
        """Say that so much more is done, in the unit of the total."""
        with self._lock:
            self._done += amount
            if (now := monotonic()) - self._shown >= self._pause:
                self._shown = now
                self._show(now)

    def __exit__(self, *error: object) -> None:
        now = monotonic()
        if self._bar:
            self._show(now)
            self._bar.stop()
        elif self._shown > self._start:  # who has read the first line wants to read the last
            self._show(now)
        if not self._is_part:
            _shown.release()

    def _begin_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = SpinnerColumn(), BarColumn(), TextColumn("{task.description}", markup=False)
        # stdout is left alone: rich would send to stderr what is printed there while the bar stands
        self._bar = Bar(*columns, console=Console(stderr=True), redirect_stdout=False, transient=True)
        self._bar.add_task(self._line(self._start), total=self.total or None)
        self._bar.start()
        self._pause = BAR_PAUSE

    def _show(self, now: float) -> None:
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self._done, description=self._line(now))
        else:
            say(self._line(now))

    def _line(self, now: float) -> str:
        return line(visible(self.title), self._done, self.total, self.unit, now - self._start, before=self._before)


def line(title: str, done: int, total: int, unit: str, seconds: float, *, before: int = 0) -> str:
    """Return how far it is, at which rate, and how long it will take if the rate stays.

    >>> line("indexing", 250_000, 1_000_000, "passages", 10)
    'indexing: 250,000 of 1,000,000 passages, 25,000/s, 0:30 left'
    >>> line("reading dumps", 3_000_000_000, 0, "bytes", 60)
    'reading dumps: 3.0 GB, 50.0 MB/s'
    >>> line("training", 150, 400, "steps", 100, before=100)
    'training: 150 of 400 steps, 0.5/s, 8:20 left'
    >>> line("indexing", 0, 7, "passages", 0)
    'indexing: 0 of 7 passages'
    """
    text = f"{title}: {_amount(done, unit)}"
    if total:
        text = f"{title}: {_amount(done, unit).removesuffix(f' {unit}')} of {_amount(total, unit)}"
    if done > before and seconds > 0:
        rate = (done - before) / seconds
        text += f", {_amount(rate, unit).removesuffix(f' {unit}')}/s"
        if total > done:
            text += f", {clock((total - done) / rate)} left"
    return text


def clock(seconds: float) -> str:
    """Return minutes and seconds, and hours if there are any.

    >>> clock(59.6), clock(3_661)
    ('1:00', '1:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _amount(count: float, unit: str) -> str:
    if unit != "bytes":
        return f"{count:,.0f} {unit}" if count >= 10 or count == int(count) else f"{count:.1f} {unit}"
    for size, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:,.1f} {name}"
    return f"{count:.0f} bytes"
