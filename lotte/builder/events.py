"""What is kept of millions of events: for each post the newest of a kind, or a sum.

Memory grows with the posts that have such an event, not with the events: what
is no longer the newest is dropped whenever the list has doubled.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_FEW = 1 << 20  # numbers below which nothing is dropped


class _Table:
    """Rows of `width` numbers, the first of which is a post."""

    def __init__(self, width: int, reduced: Callable[[Ints], Ints]) -> None:
        self._width, self._reduced, self._limit = width, reduced, _FEW
        self.numbers = array("q")

    def add(self, *row: int) -> None:
        self.numbers.extend(array("q", row))  # all or, if one is too large, none
        if len(self.numbers) > self._limit:
            self.reduce()

    def extend(self, rows: Ints) -> None:
        self.numbers.frombytes(np.ascontiguousarray(rows).tobytes())
        if len(self.numbers) > self._limit:
            self.reduce()

    def reduce(self) -> Ints:
        """Return what is left, one row a post, by post."""
        rows = self._reduced(np.frombuffer(self.numbers, dtype=np.int64).reshape(-1, self._width))
        self.numbers = array("q", rows.tobytes())
        self._limit = max(_FEW, 2 * len(self.numbers))
        return rows


class Newest:
    """The newest event of each post on the day or before, as two numbers of the owner's choice; and who had later ones.

    Rows of a dump may come in any order: a later time is newer and, at one time, a larger row id.
    """

    def __init__(self) -> None:
        self._events = _Table(5, _newest)
        self._later = _Table(1, lambda rows: np.unique(rows).reshape(-1, 1))
        self._posts = array("q")

    def add(self, post_id: int, when: int, row_id: int, first: int = 0, second: int = 0) -> None:
        """Take in an event of the day or before."""
        self._events.add(post_id, when, row_id, first, second)

    def add_later(self, post_id: int) -> None:
        """Take in that there is an event after the day."""
        self._later.add(post_id)

    def close(self) -> None:
        """Say that everything was added."""
        self._posts = array("q", self._events.reduce()[:, 0].tobytes())
        self._later.reduce()

    def has_later(self, post_id: int) -> bool:
        """Whether the post had an event after the day."""
        later = self._later.numbers
        at = bisect_left(later, post_id)
        return at < len(later) and later[at] == post_id

    def of(self, post_id: int) -> tuple[int, int, int] | None:
        """Return time and both numbers of the newest event of a post, None if there was none."""
        at = bisect_left(self._posts, post_id)
        if at == len(self._posts) or self._posts[at] != post_id:
            return None
        _, when, _, first, second = self._events.numbers[5 * at : 5 * at + 5]
        return when, first, second

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give (post, time) of the newest of each post."""
        return zip(self._posts, self._events.numbers[1::5], strict=True)


class Firsts:
    """The lowest number of each post, of all that were added."""

    def __init__(self) -> None:
        self._table = _Table(2, _lowest)
        self._posts = array("q")

    def add(self, post_id: int, number: int) -> None:
        """Take in a number of a post."""
        self._table.add(post_id, number)

    def close(self) -> None:
        """Say that everything was added."""
        self._posts = array("q", self._table.reduce()[:, 0].tobytes())

    def of(self, post_id: int) -> int:
        """Return the lowest number of a post, 0 if nothing was added."""
        at = bisect_left(self._posts, post_id)
        return self._table.numbers[2 * at + 1] if at < len(self._posts) and self._posts[at] == post_id else 0


class Sums:
    """Ups less downs of each post: of the day and before, and of all days."""

    def __init__(self) -> None:
        self._table = _Table(3, _sums)
        self._posts = array("q")
        self._codes = array("q")  # what was added last, one number each: it is millions of times
        self._found: tuple[int | None, tuple[int, int]] = None, (0, 0)  # of the post that was asked for last

    def add(self, post_id: int, is_down: bool, is_later: bool) -> None:
        """Add one up or down to a post."""
        self._codes.append(post_id << 2 | is_later << 1 | is_down)
        if len(self._codes) > _FEW:
            self._count()

    def close(self) -> None:
        """Say that everything was added."""
        self._count()
        self._posts = array("q", self._table.reduce()[:, 0].tobytes())

    def _count(self) -> None:
        codes, self._codes = np.frombuffer(self._codes, dtype=np.int64), array("q")
        one = 1 - 2 * (codes & 1)
        rows = np.column_stack([codes >> 2, np.where(codes & 2, 0, one), one])
        self._table.extend(_sums(rows))

    def of(self, post_id: int) -> tuple[int, int]:
        """Return both sums of a post, 0 if nothing was added."""
        if self._found[0] != post_id:
            at = bisect_left(self._posts, post_id)
            is_there = at < len(self._posts) and self._posts[at] == post_id
            then, ever = self._table.numbers[3 * at + 1 : 3 * at + 3] if is_there else (0, 0)
            self._found = post_id, (then, ever)
        return self._found[1]


def _newest(rows: Ints) -> Ints:
    rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
    newest: Ints = rows[np.append(rows[1:, 0] != rows[:-1, 0], True)[: len(rows)]]
    return newest


def _lowest(rows: Ints) -> Ints:
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    lowest: Ints = rows[np.append(True, rows[1:, 0] != rows[:-1, 0])[: len(rows)]]
    return lowest


def _sums(rows: Ints) -> Ints:
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    starts = np.flatnonzero(np.append(True, rows[1:, 0] != rows[:-1, 0])[: len(rows)])
    if not len(starts):
        return rows
    sums: Ints = np.column_stack([rows[starts, 0], np.add.reduceat(rows[:, 1:], starts, axis=0)])
    return sums
