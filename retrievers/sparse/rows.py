"""Weights of passages before they become postings: stored as they are computed, then read a part at a time.

A batch of postings has counts of words, as whole numbers of 32 bits; here these are the bits of weights, and `as_made`
turns them back.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotte import Corpus
from lotte.progress import Progress
from retrievers.batches import Batch, Integers
from retrievers.postings import Totals, Weights

ENCODED = ".encoded.partial-0"  # is not part of an index
CHUNK = 2048  # passages that are encoded together; a build that was stopped goes on with the next


class SparseRows(NamedTuple):
    """Weights of texts, end to end.

    Shapes
      N  texts      P  weights of all texts
    """

    lengths: NDArray[np.int32]  # (N,) weights of each text
    ids: NDArray[np.int32]  # (P,) the words, ascending within a text
    weights: NDArray[np.float32]  # (P,) above 0


Encode = Callable[[Sequence[str]], SparseRows]


def encode(folder: Path, corpus: Corpus, encode: Encode, title: str) -> Path:
    """Leave the weights of all passages in a file, those alone that are not there yet. Returns the file."""
    path = folder / ENCODED
    done = _cut(path)
    with Progress(len(corpus), "passages", title, done=done) as progress, path.open("ab") as file:
        for first in range(done, len(corpus), CHUNK):
            texts = [corpus[row].text for row in range(first, min(first + CHUNK, len(corpus)))]
            made = encode(texts)
            sizes = np.array([len(made.lengths), len(made.ids)], dtype=np.int64)
            file.write(b"".join(part.tobytes() for part in (sizes, *made)))
            file.flush()
            progress.advance(len(texts))
    return path


def read(path: Path) -> Iterator[SparseRows]:
    """Yield the weights of a file, those together that were made together."""
    with path.open("rb") as file:
        while head := file.read(16):
            texts, count = np.frombuffer(head, dtype=np.int64).tolist()
            lengths = np.frombuffer(file.read(4 * texts), dtype=np.int32)
            ids = np.frombuffer(file.read(4 * count), dtype=np.int32)
            yield SparseRows(lengths, ids, np.frombuffer(file.read(4 * count), dtype=np.float32))


def _cut(path: Path) -> int:
    """Return how many passages a file has; what a stopped build did not finish is cut off."""
    if not path.exists():
        return 0
    done, at, size = 0, 0, path.stat().st_size
    with path.open("r+b") as file:
        while len(head := file.read(16)) == 16:
            texts, count = np.frombuffer(head, dtype=np.int64).tolist()
            end = at + 16 + 4 * texts + 8 * count
            if texts != CHUNK or end > size:
                break
            done, at = done + texts, end
            file.seek(at)
        file.truncate(at)
    return done


def batch_of(rows: SparseRows, words: Sequence[str]) -> Batch:
    """Return the postings of some texts.

    words  of the vocabulary, by number
    """
    used, word = np.unique(rows.ids, return_inverse=True)
    named = [words[number] for number in used.tolist()]
    by_letters = np.array(sorted(range(len(named)), key=named.__getitem__), dtype=np.int64)
    place = np.empty(len(named), dtype=np.int64)
    place[by_letters] = np.arange(len(named))
    row = np.repeat(np.arange(len(rows.lengths), dtype=np.int32), rows.lengths)
    order = np.argsort(place[word], kind="stable")  # rows rise already, and do within a word
    documents = np.bincount(place[word], minlength=len(named))
    bits = np.ascontiguousarray(rows.weights).view(np.int32)
    return Batch(named, by_letters, documents, row[order], bits[order], rows.lengths.astype(np.int64))


def as_made(totals: Totals) -> Weights:
    """Return weights as they were made."""

    def weights(bits_P: NDArray[Any], lengths_P: Integers, documents_P: Integers) -> NDArray[np.float64]:
        return np.ascontiguousarray(bits_P).view(np.float32).astype(np.float64)

    return weights
