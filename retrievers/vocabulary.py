"""The words of an index, sorted, so that a word's number is found without reading them all.

On disk the words are one array of bytes and one of offsets, both opened with
mmap: a vocabulary of millions opens at once, and a look-up touches twenty words.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrievers.arrays import mapped, spans

LETTERS, STARTS = "words.npy", "word_starts.npy"


@dataclass(frozen=True)
class Vocabulary(Sequence[bytes]):
    """Words as UTF-8, ascending; that is also the order of their code points."""

    letters: NDArray[np.uint8]  # all words, end to end
    starts: NDArray[np.int64]  # where each begins, and one more: where the last one ends

    @classmethod
    def write(cls, folder: Path, words: Iterable[str]) -> None:
        """words  sorted, each once"""
        spelled = [word.encode() for word in words]
        starts = np.zeros(len(spelled) + 1, dtype=np.int64)
        np.cumsum([len(word) for word in spelled], out=starts[1:])
        np.save(folder / LETTERS, np.frombuffer(b"".join(spelled), dtype=np.uint8))
        np.save(folder / STARTS, starts)

    @classmethod
    def open(cls, folder: Path) -> "Vocabulary":
        """Open the files of an index. Raises CorruptFileError if they do not fit together."""
        letters, starts = mapped(folder / LETTERS, np.uint8, None), mapped(folder / STARTS, np.int64, None)
        spans(folder / STARTS, starts, len(letters))
        return cls(letters, starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> bytes:  # type: ignore[override]  # it is never sliced
        return self.letters[self.starts[number] : self.starts[number + 1]].tobytes()

    def numbers(self, words: Iterable[str]) -> list[int]:
        """Return the number of each word, one for each time it is there; unknown words are left out."""
        found = []
        for word in words:
            spelled = word.encode("utf-8", "surrogatepass")  # an unpaired surrogate is in no index, and no error
            number = bisect_left(self, spelled)
            if number < len(self) and self[number] == spelled:
                found.append(number)
        return found
