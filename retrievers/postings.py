"""Postings: for each word the documents that contain it, and its weight in each.

Built in two passes, so that memory holds the vocabulary and a few batches of
documents, however large the corpus: the texts are read once, and the postings
of each batch go to a file by the letters of their words. Then the postings of
one stretch of the alphabet after another are gathered from all batches, weighed and written.

Shapes
  P  postings, of all words end to end      D  documents      W  words      R  batches
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from retrievers.arrays import mapped, spans
from retrievers.batches import Batch, Integers
from retrievers.vocabulary import Vocabulary

STARTS, ROWS, WEIGHTS = "posting_starts.npy", "posting_rows.npy", "posting_weights.npy"
ALIKE = repeat(1.0)  # factors of words that are all worth the same
STRETCH = 1 << 20  # postings that are weighed at a time, if no word has more; some 100 MB


class Totals(NamedTuple):
    """What is known once all documents are read."""

    lengths_D: Integers  # words of each document
    documents_W: Integers  # documents with each word, by first appearance


# what words are worth in documents, from how often each is there, the document's words, and documents with the word
Weights: TypeAlias = Callable[[NDArray[Any], Integers, Integers], NDArray[np.float64]]
Weigh: TypeAlias = Callable[[Totals], Weights]


@dataclass(frozen=True)
class Postings:
    """For each of W words the documents that have it, and what it is worth in each: P pairs in all."""

    vocabulary: Vocabulary
    starts: Integers  # (W + 1,) into P
    rows: NDArray[np.uint32]  # (P,), ascending within a word
    weights: NDArray[Any]  # (P,)

    @classmethod
    def open(cls, folder: Path, kind: Any = np.float32) -> "Postings":
        """Open the files of an index, as numbers of `kind`. Raises CorruptFileError if they do not fit together."""
        vocabulary, rows = Vocabulary.open(folder), mapped(folder / ROWS, np.int32, None)
        weights = mapped(folder / WEIGHTS, kind, len(rows))
        starts = mapped(folder / STARTS, np.int64, len(vocabulary) + 1)
        spans(folder / STARTS, starts, len(rows))
        # without a sign a damaged row is too large, which NumPy refuses, and never counts from the end
        return cls(vocabulary, starts, rows.view(np.uint32), weights)

    def scores(self, numbers: Iterable[int], num_documents: int, factors: Iterable[float] = ALIKE) -> NDArray[Any]:
        """Return, for each document, the sum of what these words are worth in it, each times its factor."""
        kind = self.weights.dtype
        scores = np.zeros(num_documents, dtype=kind)
        for number, factor in zip(numbers, factors, strict=False):
            posting = slice(self.starts[number], self.starts[number + 1])
            # a row is once in a word's postings
            scores[self.rows[posting]] += kind.type(factor) * self.weights[posting]
        return scores


def write(folder: Path, batches: Iterable[Batch], weigh: Weigh, kind: Any = np.float32) -> dict[str, int]:
    """Write the postings of all documents. Returns the counts of what is there."""
    numbers: dict[str, int] = {}  # word -> number, in order of appearance
    lengths = array("q")
    with TemporaryFile(dir=folder) as file:
        spilled = [_spill(batch, file, numbers, lengths) for batch in batches]
        totals = Totals(np.frombuffer(lengths, dtype=np.int64), np.zeros(len(numbers), dtype=np.int64))
        for run in spilled:
            totals.documents_W[run.words(file)] += run.documents(file)
        words = sorted(numbers)
        by_letters = np.fromiter(map(numbers.__getitem__, words), dtype=np.int64, count=len(words))
        place = np.empty(len(words), dtype=np.int64)
        place[by_letters] = np.arange(len(words))
        starts = np.zeros(len(words) + 1, dtype=np.int64)
        np.cumsum(totals.documents_W[by_letters], out=starts[1:])
        np.save(folder / STARTS, starts)
        Vocabulary.write(folder, words)
        num_words = len(words)
        del words, numbers
        weights = weigh(totals)
        count = int(starts[-1])
        with _npy(folder / ROWS, np.int32, count) as to_rows, _npy(folder / WEIGHTS, kind, count) as to_weights:
            for first, last, rows_P, counts_P in _gathered(file, spilled, place, starts):
                documents = np.diff(starts[first : last + 1])
                weights_P = weights(counts_P, totals.lengths_D[rows_P], np.repeat(documents, documents))
                to_rows.write(rows_P.tobytes())
                to_weights.write(weights_P.astype(kind).tobytes())
    return {
        "documents": len(totals.lengths_D),
        "words": num_words,
        "postings": int(starts[-1]),
        "tokens": int(totals.lengths_D.sum()),
    }


def _npy(path: Path, kind: Any, count: int) -> IO[bytes]:
    """Return a file of so many numbers that begins as np.save begins it."""
    file = path.open("wb")
    write_array_header_1_0(file, {"descr": np.dtype(kind).str, "fortran_order": False, "shape": (count,)})
    return file


class _Run(NamedTuple):
    """A batch in the file: for each of its words, by letters, number and documents; then rows; then counts."""

    at: int
    num_words: int
    num_postings: int

    def words(self, file: IO[bytes], first: int = 0, last: int | None = None) -> NDArray[np.int32]:
        return self._part(file, 0, first, self.num_words if last is None else last)

    def documents(self, file: IO[bytes], first: int = 0, last: int | None = None) -> NDArray[np.int32]:
        return self._part(file, self.num_words, first, self.num_words if last is None else last)

    def rows(self, file: IO[bytes], first: int, last: int) -> NDArray[np.int32]:
        return self._part(file, 2 * self.num_words, first, last)

    def counts(self, file: IO[bytes], first: int, last: int) -> NDArray[np.int32]:
        return self._part(file, 2 * self.num_words + self.num_postings, first, last)

    def _part(self, file: IO[bytes], begin: int, first: int, last: int) -> NDArray[np.int32]:
        file.seek(self.at + 4 * (begin + first))
        return np.frombuffer(file.read(4 * (last - first)), dtype=np.int32)


def _spill(batch: Batch, file: IO[bytes], numbers: dict[str, int], lengths: "array[int]") -> _Run:
    """Append a batch to the file."""
    run = _Run(file.tell(), len(batch.words), len(batch.rows))
    number = np.array([numbers.setdefault(word, len(numbers)) for word in batch.words], dtype=np.int32)
    rows = batch.rows + np.int32(len(lengths))
    for part in (number[batch.by_letters], batch.documents.astype(np.int32), rows, batch.counts):
        file.write(part.tobytes())
    lengths.frombytes(batch.lengths.tobytes())
    return run


def _gathered(
    file: IO[bytes], runs: list[_Run], place: Integers, starts: Integers
) -> Iterator[tuple[int, int, NDArray[np.int32], NDArray[np.int32]]]:
    """Yield stretches of the alphabet: first and last word, and row and count of their postings, by word, then row.

    place  of each word in the alphabet, by its number
    """
    bounds = _bounds(starts)
    words_at = np.empty((len(runs), len(bounds)), dtype=np.int64)  # where each stretch begins, in every run
    postings_at = np.empty((len(runs), len(bounds)), dtype=np.int64)
    for number, run in enumerate(runs):
        words_at[number] = np.searchsorted(place[run.words(file)], bounds)
        postings_at[number] = np.concatenate([[0], np.cumsum(run.documents(file), dtype=np.int64)])[words_at[number]]
    for stretch, (first, last) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        free = starts[first:last] - starts[first]  # where each word's next posting goes
        rows_P, counts_P = (np.empty(int(starts[last] - starts[first]), dtype=np.int32) for _ in range(2))
        for number, run in enumerate(runs):
            here = words_at[number, stretch], words_at[number, stretch + 1]
            word = place[run.words(file, *here)] - first
            documents = run.documents(file, *here)
            begins = np.cumsum(documents) - documents
            there = postings_at[number, stretch], postings_at[number, stretch + 1]
            to_P = np.repeat(free[word] - begins, documents) + np.arange(there[1] - there[0])
            rows_P[to_P], counts_P[to_P] = run.rows(file, *there), run.counts(file, *there)
            free[word] += documents
        yield first, last, rows_P, counts_P


def _bounds(starts: Integers) -> Integers:
    """Return where stretches of words begin, and where the last ends; each has STRETCH postings, or one word."""
    bounds = [0]
    while bounds[-1] < len(starts) - 1:
        last = int(np.searchsorted(starts, starts[bounds[-1]] + STRETCH, "right")) - 1
        bounds.append(max(last, bounds[-1] + 1))
    return np.array(bounds, dtype=np.int64)
