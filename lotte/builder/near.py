"""Which of some texts are nearly another text, of which there may be any number: these pass by once.

A text is the set of its runs of words, and two are near if the runs that both
have are a certain share of the runs that either has. So that not every text is
compared with every other, each has a sketch, the least SKETCH hashes of its
runs: two texts that share half of all their runs share two of their sketches in
all but one of 500,000 pairs, and more similar ones in fewer still. Where
sketches share two, all runs of both are compared, so what is said to be near is.

In memory is the sketch of each text, 300 bytes; all of its runs lie in a file.

Source  Broder 1997, doi:10.1109/SEQUEN.1997.666900: resemblance as the share of runs, and sketches of least hashes
"""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte.word_runs import BITS, Hashes, Rows, runs

SKETCH = 24
_FEW = 4  # runs; of a text with fewer, one in common is enough to compare all
_TEXTS = 4_096  # hashed together
_PAIRS = 1 << 22  # of equal hashes that are counted together


class NearTexts:
    """Texts, and which of them are nearly one of those that pass by.

    scratch   a file for their runs; the caller removes it
    length    words of a run
    shortest  words of a text that is compared at all
    least     share of the runs of both that both must have
    """

    def __init__(self, scratch: Path, *, length: int, shortest: int, least: float) -> None:
        self._scratch, self._length, self._shortest, self._least = scratch, length, shortest, least
        self._file = scratch.open("wb")
        self._texts: list[str] = []
        self._ends = array("q")  # of each text's runs in the file
        self._keys: list[Hashes] = []
        self._rows: list[Rows] = []

    def add(self, text: str) -> int:
        """Take a text in. Returns its row: how many there were before it."""
        row = len(self._ends) + len(self._texts)
        self._texts.append(text)
        if len(self._texts) == _TEXTS:
            self._flush()
        return row

    def close(self) -> None:
        """Say that no more is added."""
        self._flush()
        self._file.close()
        keys, rows = np.concatenate([_none(np.uint64), *self._keys]), np.concatenate([_none(np.int64), *self._rows])
        order = np.argsort(keys, kind="stable")
        self._sorted, self._row_of = keys[order], rows[order]
        self._sizes = np.diff(np.frombuffer(self._ends, np.int64), prepend=0)
        self._found = np.zeros(len(self._sizes), bool)
        self._runs = np.memmap(self._scratch, np.uint64, "r") if len(keys) else keys
        self._keys, self._rows = [], []

    def passing(self, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Give (row, number) for each text that is near one of these and was near none before.

        number  of that one among these
        """
        for first in range(0, len(texts), _TEXTS):
            hashes, starts = self._sets(texts[first : first + _TEXTS])
            for number, row in self._candidates(hashes, starts, 0, len(starts) - 1):
                if self._found[row]:
                    continue
                its_runs = self._runs[self._ends[row] - self._sizes[row] : self._ends[row]]
                other = hashes[starts[number] : starts[number + 1]]
                both = len(np.intersect1d(its_runs, other, assume_unique=True))
                if both >= self._least * (len(its_runs) + len(other) - both):
                    self._found[row] = True
                    yield row, first + number

    def _flush(self) -> None:
        hashes, starts = self._sets(self._texts)
        first, end = len(self._ends), self._ends[-1] if self._ends else 0
        keys, owners = _sketches(hashes, starts, 0, len(starts) - 1)
        self._keys.append(keys)
        self._rows.append(owners + first)
        self._ends.extend((starts[1:] + end).tolist())
        self._file.write(hashes.tobytes())
        self._texts = []

    def _sets(self, texts: Sequence[str]) -> tuple[Hashes, Rows]:
        """Return the runs of each text, sorted and each once, one text behind the other, and where each begins."""
        if not texts:
            return _none(np.uint64), np.zeros(1, np.int64)
        hashes, owners = runs(texts, self._length, shortest=self._shortest)
        both = np.sort(owners.astype(np.uint64) << np.uint64(BITS) | hashes)  # faster than by two keys
        both = both[np.append(True, both[1:] != both[:-1])[: len(both)]]
        counts = np.bincount((both >> np.uint64(BITS)).astype(np.int64), minlength=len(texts))
        return both & np.uint64((1 << BITS) - 1), np.append(0, np.cumsum(counts))

    def _candidates(self, hashes: Hashes, starts: Rows, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Give (number, row) of the texts, from first to end, whose sketches share enough, in this order."""
        keys, numbers = _sketches(hashes, starts, first, end)
        left, right = (np.searchsorted(self._sorted, keys, side) for side in ("left", "right"))
        times = right - left
        if times.sum() > _PAIRS and end - first > 1:  # one title that thousands have
            middle = (first + end) // 2
            yield from self._candidates(hashes, starts, first, middle)
            yield from self._candidates(hashes, starts, middle, end)
            return
        places = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times) + np.repeat(left, times)
        rows, of = self._row_of[places], np.repeat(numbers, times)
        open_ones = ~self._found[rows]
        pairs, shared = np.unique(np.stack([of[open_ones], rows[open_ones]], axis=1), axis=0, return_counts=True)
        fewer = np.minimum(np.diff(starts)[pairs[:, 0]], self._sizes[pairs[:, 1]])
        yield from map(tuple, pairs[shared >= np.where(fewer < _FEW, 1, 2)].tolist())


def _sketches(hashes: Hashes, starts: Rows, first: int, end: int) -> tuple[Hashes, Rows]:
    """Return the least hashes of each text from first to end, and whose they are."""
    owners = np.repeat(np.arange(first, end), np.diff(starts[first : end + 1]))
    part = np.arange(starts[first], starts[end])
    small = part - starts[owners] < SKETCH
    return hashes[part[small]], owners[small]


def _none(kind: type[Any]) -> NDArray[Any]:
    return np.zeros(0, kind)
