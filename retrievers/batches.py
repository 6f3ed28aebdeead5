"""Documents, in batches, as postings: which words they have, and how often.

A small collection is read by Python. A larger one is read by compiled code
where numba is installed, a batch on each processor, and Python sees a word
once a batch. The postings are the same, and do not depend on processors.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from types import ModuleType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lotte.processors import num_processors
from retrievers.analyser import Analyser
from retrievers.kernels import kernels

KNOWN = 1 << 20  # words whose form in the index is remembered; some 150 MB
FEW = 1 << 22  # characters of a small collection; Python takes two seconds for as many
BATCH = 1 << 23  # characters of a batch; compiled code takes some 80 MB for as many

Integers: TypeAlias = NDArray[np.int64]


class Batch(NamedTuple):
    """Postings of some documents, by word in the order of its letters, and within it by document.

    Shapes
      V  words      P  postings      N  documents
    """

    words: list[str]  # each once, by first appearance
    by_letters: Integers  # (V,) places in `words`
    documents: Integers  # (V,) how many have it, in the order of letters
    rows: NDArray[np.int32]  # (P,) which document, from 0
    counts: NDArray[np.int32]  # (P,) how often the word is in it
    lengths: Integers  # (N,) words of each document


def batches(texts: Iterable[str], analyser: Analyser) -> Iterator[Batch]:
    """Yield the postings of all documents, in their order."""
    parts = _parts(texts)
    first = list(islice(parts, 2))
    parts = chain(first, parts)
    if len(first) > 1 and (words := kernels("words")):
        yield from _in_threads(parts, _CompiledNumbering(words, analyser))
    else:
        yield from (plain(part, analyser) for part in parts)


def _parts(texts: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    left = FEW
    for text in texts:
        part.append(text)
        left -= len(text) + 1
        if left <= 0:
            yield part
            part, left = [], BATCH
    if part:
        yield part


def _in_threads(parts: Iterator[list[str]], work: Callable[[list[str]], Batch]) -> Iterator[Batch]:
    """Yield what is made of each part, in order. No more parts are held than there are processors, and one."""
    threads = num_processors()
    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future[Batch]] = deque()
        for part in parts:
            running.append(pool.submit(work, part))
            if len(running) > threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def plain(texts: list[str], analyser: Analyser) -> Batch:
    """Return a batch. Slow and simple: the reference for `_CompiledNumbering`."""
    numbers: dict[str, int] = {}
    found = [[numbers.setdefault(word, len(numbers)) for word in analyser(text)] for text in texts]
    lengths = np.array([len(words) for words in found], dtype=np.int64)
    words = list(numbers)
    by_letters, place = _by_letters(words)
    keys = place[np.fromiter(chain.from_iterable(found), dtype=np.int64, count=int(lengths.sum()))]
    once, counts = np.unique(keys << 32 | np.repeat(np.arange(len(texts)), lengths), return_counts=True)
    documents = np.bincount(once >> 32, minlength=len(words))
    return Batch(words, by_letters, documents, (once & 0xFFFFFFFF).astype(np.int32), counts.astype(np.int32), lengths)


class _CompiledNumbering:
    """The same by compiled code, which any number of threads may run at a time."""

    def __init__(self, kernels: ModuleType, analyser: Analyser) -> None:
        self._kernels, self._analyser = kernels, analyser
        self._classes = kernels.table(analyser.kinds())
        self._known: dict[bytes, str | None] = {}  # word as it is written -> as it is indexed
        self._first: list[str] = []  # the words of the first batch, by letters

    def __call__(self, texts: list[str]) -> Batch:
        spelled = [self._analyser.fold(text).encode("utf-8", "surrogatepass") for text in texts]
        ends = np.cumsum([len(text) for text in spelled], dtype=np.int64)
        data = b"".join(spelled)
        data = data.lower() if self._analyser.any_case else data  # of bytes: the letters of ASCII
        letters = np.frombuffer(data, dtype=np.uint8)
        numbers, lengths, begins, stops = self._kernels.numbered(letters, ends, self._classes, self._analyser.longest)
        words, word = self._indexed_as([data[a:b] for a, b in zip(begins.tolist(), stops.tolist(), strict=True)])
        by_letters, place = _by_letters(words, self._first)
        self._first = self._first or [words[number] for number in by_letters.tolist()]
        placed = np.where(word >= 0, place[word], -1) if words else word
        return Batch(words, by_letters, *self._kernels.counted(numbers, lengths, placed, len(words)))

    def _indexed_as(self, written: list[bytes]) -> tuple[list[str], Integers]:
        """Return words of the index by first appearance, and which one each word is; -1: none."""
        known = self._known = self._known if len(self._known) < KNOWN else {}
        new = [word for word in written if word not in known]
        as_texts = [word.decode("utf-8", "surrogatepass") for word in new]
        known.update(zip(new, self._analyser.indexed_as(as_texts), strict=True))
        numbers: dict[str | None, int] = {None: -1}
        found = [numbers.setdefault(known[word], len(numbers) - 1) for word in written]
        del numbers[None]
        return list(numbers), np.array(found, dtype=np.int64)  # type: ignore[arg-type]  # None is out


def _by_letters(words: list[str], sorted_before: Sequence[str] = ()) -> tuple[Integers, Integers]:
    """Return the places of words in the order of their letters, and where in that order each word is.

    sorted_before  words that may be among them, by letters: these take no time
    """
    number_of = {word: number for number, word in enumerate(words)}
    before = [word for word in sorted_before if word in number_of]
    in_order = sorted(before + sorted(number_of.keys() - before)) if before else sorted(words)
    by_letters = np.fromiter(map(number_of.__getitem__, in_order), dtype=np.int64, count=len(words))
    place = np.empty(len(words), dtype=np.int64)
    place[by_letters] = np.arange(len(words))
    return by_letters, place
