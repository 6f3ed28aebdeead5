"""The vocabulary of an interaction model: each word's number, its rarity, and its initial vector."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retrievers import analyser

PADDING, UNKNOWN = 0, 1  # the numbers of no word, and of every word that is not known
FIRST = 2  # the number of the first known word
MOST = 60_000  # words that are known; the rest were seen once or twice
LEAST = 2  # passages that a word must be in


@dataclass(frozen=True)
class Words:
    """The known words, and their inverse document frequencies: log(passages / passages with the word)."""

    known: tuple[str, ...]
    idf: tuple[float, ...]
    rarest: float  # the idf of a word that is not known

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Words":
        """Return the words of some passages: those in at least two of them, the most frequent 60,000."""
        count, frequency = 0, Counter[str]()
        for text in texts:
            count += 1
            frequency.update(set(split(text)))
        chosen = sorted(frequency.items(), key=lambda item: (-item[1], item[0]))[:MOST]
        kept = [(word, number) for word, number in chosen if number >= LEAST]
        return cls(
            tuple(word for word, _ in kept), tuple(log(count / number) for _, number in kept), log(max(count, 2))
        )

    @cached_property
    def _number(self) -> Mapping[str, int]:
        return {word: number for number, word in enumerate(self.known, start=FIRST)}

    @cached_property
    def idf_V(self) -> Tensor:
        """Return (V,), the idf of every number; that of padding is 0."""
        return torch.tensor([0.0, self.rarest, *self.idf])

    def __len__(self) -> int:
        """Return V, how many numbers there are, padding's and the unknown word's among them."""
        return FIRST + len(self.known)

    def numbers(self, texts: Sequence[str], longest: int) -> NDArray[np.int64]:
        """Return (N, L), the numbers of the first `longest` words of N texts at most, padded at the end to the longest.

        L is 1 or more.
        """
        rows = [[self._number.get(word, UNKNOWN) for word in split(text)[:longest]] for text in texts]
        out_NL = np.zeros((len(texts), max(1, *map(len, rows))), np.int64)
        for row, some in enumerate(rows):
            out_NL[row, : len(some)] = some
        return out_NL


def split(text: str) -> list[str]:
    """Return the words of a text in lower case, with stop words and endings: a model may learn what they are worth.

    >>> split("The moon's tides")
    ['the', "moon's", 'tides']
    """
    return [word.lower() for word in analyser.words(text)]


def vectors(words: Words, texts: Sequence[str], dim: int, seed: int) -> Tensor:
    """Return (V, dim), a vector for every word, learnt from which passages it stands in.

    They are the left singular vectors of the matrix of words and passages, (1 + log tf) idf with columns of length 1,
    times the root of their singular values, each then of length 1: latent semantic analysis. A word that the passages
    say nothing of gets a drawn one.

    Source  Deerwester et al. 1990; a stand-in for word2vec, which the papers took from text of their own
    """
    rows, columns, values = [], [], []
    idf_V = words.idf_V.numpy()
    for column, text in enumerate(texts):
        numbers, counts = np.unique(words.numbers([text], len(text))[0], return_counts=True)
        real = numbers >= FIRST
        weight = (1 + np.log(counts[real])) * idf_V[numbers[real]]
        length = float(np.linalg.norm(weight))
        if length > 0:
            rows.append(numbers[real])
            columns.append(np.full(int(real.sum()), column))
            values.append(weight / length)
    torch.manual_seed(seed)
    drawn_VH = torch.nn.functional.normalize(torch.randn(len(words), dim), dim=-1)
    drawn_VH[PADDING] = 0
    if not rows:
        return drawn_VH
    place = torch.from_numpy(np.stack([np.concatenate(rows), np.concatenate(columns)]))
    matrix = torch.sparse_coo_tensor(
        place, torch.from_numpy(np.concatenate(values)).float(), (len(words), len(texts)), check_invariants=True
    )
    rank = min(dim, len(words), len(texts))
    left_VR, size_R, _ = torch.svd_lowrank(matrix, q=rank, niter=4)
    said_VR = left_VR * size_R.sqrt()
    out_VH = drawn_VH.clone()
    long = said_VR.norm(dim=-1) > 1e-6
    out_VH[long] = 0
    out_VH[long, :rank] = torch.nn.functional.normalize(said_VR[long], dim=-1)
    out_VH[PADDING] = 0
    return out_VH
