"""Postings: for each word the documents that contain it, and what it is worth in each.

Built in two passes, so that memory holds the vocabulary and one block of
documents, however large the corpus: the texts are read once, counts go to a
file block by block, and with all counts known the postings are put in place.

Shapes
  P  postings, of all words end to end      D  documents      W  words
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Protocol, TypeAlias

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from retrievers.arrays import mapped, spans
from retrievers.vocabulary import Vocabulary

STARTS, ROWS, WEIGHTS = "posting_starts.npy", "posting_rows.npy", "posting_weights.npy"
BLOCK = 1 << 22  # words of text in a block; some 150 MB while it is worked on

Integers: TypeAlias = NDArray[np.int64]


class Weigh(Protocol):
    """What a word is worth in a document."""

    def __call__(
        self, counts_P: Integers, lengths_P: Integers, documents_P: Integers, lengths_D: Integers
    ) -> NDArray[np.float64]:
        """counts_P     how often the word is in the document
        lengths_P    words in that document
        documents_P  documents with the word
        lengths_D    words in each document there is
        """
        ...


@dataclass(frozen=True)
class Postings:
    vocabulary: Vocabulary
    starts: Integers  # (W + 1,) into P
    rows: NDArray[np.uint32]  # (P,), ascending within a word
    weights: NDArray[np.float32]  # (P,)

    @classmethod
    def open(cls, folder: Path) -> "Postings":
        vocabulary, rows = Vocabulary.open(folder), mapped(folder / ROWS, np.int32, None)
        weights = mapped(folder / WEIGHTS, np.float32, len(rows))
        starts = mapped(folder / STARTS, np.int64, len(vocabulary) + 1)
        spans(folder / STARTS, starts, len(rows))
        # without a sign a damaged row is too large, which NumPy refuses, and never counts from the end
        return cls(vocabulary, starts, rows.view(np.uint32), weights)

    def scores(self, numbers: Iterable[int], num_documents: int) -> NDArray[np.float32]:
        """Return, for each document, the sum of what these words are worth in it."""
        scores = np.zeros(num_documents, dtype=np.float32)
        for number in numbers:
            posting = slice(self.starts[number], self.starts[number + 1])
            scores[self.rows[posting]] += self.weights[posting]  # a row is once in a word's postings
        return scores


def write(folder: Path, texts: Iterable[list[str]], weigh: Weigh) -> dict[str, int]:
    """Write the postings of documents, each given as its words. Returns the counts of what is there."""
    numbers: dict[str, int] = {}  # word -> number, in order of appearance
    lengths = array("q")
    with TemporaryFile(dir=folder) as file:
        sizes = [_spill(block, file) for block in _blocks(texts, numbers, lengths)]
        lengths_D = np.frombuffer(lengths, dtype=np.int64)
        documents_W = _documents(file, sizes, len(numbers))
        words = sorted(numbers)
        by_word = np.fromiter(map(numbers.__getitem__, words), dtype=np.int64, count=len(words))
        starts = np.zeros(len(words) + 1, dtype=np.int64)
        np.cumsum(documents_W[by_word], out=starts[1:])
        free = np.empty(len(words), dtype=np.int64)  # by appearance: where the word's next posting goes
        free[by_word] = starts[:-1]
        rows_P = open_memmap(folder / ROWS, "w+", dtype=np.int32, shape=(int(starts[-1]),))
        weights_P = open_memmap(folder / WEIGHTS, "w+", dtype=np.float32, shape=(int(starts[-1]),))
        for word_P, row_P, counts_P in _read(file, sizes):
            place_P = free[word_P] + _within_runs(word_P)
            rows_P[place_P] = row_P
            weights_P[place_P] = weigh(counts_P, lengths_D[row_P], documents_W[word_P], lengths_D)
            free += np.bincount(word_P, minlength=len(words))
    rows_P.flush()
    weights_P.flush()
    np.save(folder / STARTS, starts)
    Vocabulary.write(folder, words)
    return {
        "documents": len(lengths_D),
        "words": len(words),
        "postings": int(starts[-1]),
        "tokens": int(lengths_D.sum()),
    }


def _blocks(texts: Iterable[list[str]], numbers: dict[str, int], lengths: "array[int]") -> Iterator[Integers]:
    """Yield blocks of documents as (word << 32 | row) for each word of their texts."""
    block, first = array("q"), 0
    for words in texts:
        block.extend([numbers.setdefault(word, len(numbers)) for word in words])
        lengths.append(len(words))
        if len(block) >= BLOCK:
            yield _keys(block, lengths, first)
            block, first = array("q"), len(lengths)
    if block:
        yield _keys(block, lengths, first)


def _keys(block: "array[int]", lengths: "array[int]", first: int) -> Integers:
    rows = np.repeat(np.arange(first, len(lengths)), lengths[first:])
    return np.frombuffer(block, dtype=np.int64) << 32 | rows


def _spill(keys: Integers, file: IO[bytes]) -> int:
    """Append each key once, ascending, and how often it is there. Returns how many keys that are."""
    once, counts = np.unique(keys, return_counts=True)
    file.write(once.tobytes())
    file.write(counts.astype(np.int64).tobytes())
    return len(once)


def _read(file: IO[bytes], sizes: list[int]) -> Iterator[tuple[Integers, Integers, Integers]]:
    """Yield word, row and count of the postings of each block, by word and within it by row."""
    file.seek(0)
    for size in sizes:
        keys = np.frombuffer(file.read(8 * size), dtype=np.int64)
        counts = np.frombuffer(file.read(8 * size), dtype=np.int64)
        yield keys >> 32, keys & 0xFFFFFFFF, counts


def _documents(file: IO[bytes], sizes: list[int], num_words: int) -> Integers:
    documents_W = np.zeros(num_words, dtype=np.int64)
    for word_P, _, _ in _read(file, sizes):
        documents_W += np.bincount(word_P, minlength=num_words)
    return documents_W


def _within_runs(sorted_: Integers) -> Integers:
    """Return 0, 1, 2, ... for each run of equal numbers.

    >>> _within_runs(np.array([4, 4, 4, 7, 9, 9])).tolist()
    [0, 1, 2, 0, 0, 1]
    """
    begins = np.flatnonzero(np.diff(sorted_, prepend=-1))
    return np.arange(len(sorted_)) - np.repeat(begins, np.diff(begins, append=len(sorted_)))
