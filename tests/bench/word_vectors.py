"""colbertv2 with a table of word vectors in place of a transformer, to run whole commands at sizes that no CPU encodes.

    PYTHONPATH=tests/bench python tests/bench/bench_eval.py --retriever word_vectors:retriever --passages 280000 ...

A word has a vector drawn from its letters; where it stands it is turned by noise, so that no two tokens of a collection
are the same and the cosine of a token to its word is about 0.85. Queries are padded to 32 tokens by their own words.
Everything behind the encoder, from the sample to the run, is colbertv2's own.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import numpy as np

from retrievers.colbert.kernels.arrays import Pooling, TokenVectors
from retrievers.colbert.retriever import LateInteraction

DIM, QUERY = 128, 32
TURNED = 0.6  # length of the noise beside a word's vector of length 1
NOISES = 1 << 16


class WordEncoder:
    """What colbertv2 asks of an encoder."""

    dim, numbers, precision = DIM, np.float16, "fp32"

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self._numbers: dict[str, int] = {}
        self._table = np.zeros((0, DIM), np.float32)
        shared = draw.normal(size=DIM)
        self._shared = shared / np.linalg.norm(shared)
        noise = draw.normal(size=(NOISES, DIM)).astype(np.float32)
        self._noise = TURNED * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        self.checkpoint = SimpleNamespace(pooling=Pooling(), folder=Path(tempfile.gettempdir(), "no-checkpoint"))

    def facts(self) -> dict[str, Any]:
        return {"id": "word vectors", "sha256": "0" * 64, "dim": DIM, "precision": "fp32"}

    def docs(self, texts: Sequence[str]) -> TokenVectors:
        words = [text.split() for text in texts]
        starts = np.concatenate([[0], np.cumsum([len(some) for some in words], dtype=np.int64)])
        return TokenVectors(self._vectors([word for some in words for word in some]).astype(np.float16), starts)

    def queries(self, texts: Sequence[str]) -> list[np.ndarray]:
        asked = [text.split() or ["nothing"] for text in texts]
        return [self._vectors([words[place % len(words)] for place in range(QUERY)]) for words in asked]

    def _vectors(self, words: list[str]) -> np.ndarray:
        new = dict.fromkeys(word for word in words if word not in self._numbers)
        if new:
            rows = [np.random.default_rng(crc32(word.encode())).normal(size=DIM) for word in new]
            made = np.asarray(rows) / np.linalg.norm(rows, axis=1, keepdims=True) + 0.35 * self._shared
            self._numbers |= {word: len(self._table) + row for row, word in enumerate(new)}
            self._table = np.concatenate([self._table, made / np.linalg.norm(made, axis=1, keepdims=True)]).astype(np.float32)
        ids = np.fromiter((self._numbers[word] for word in words), np.int64, len(words))
        place = (ids * 40_503 + np.arange(len(ids)) * 2_654_435) % NOISES
        vectors = self._table[ids] + self._noise[place]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@cache
def _encoder() -> WordEncoder:
    return WordEncoder()


@dataclass(frozen=True)
class WordVectors(LateInteraction):
    checkpoint: str = "word vectors"
    name: str = "word_vectors"

    @property
    def encoder(self) -> Any:
        return _encoder()


def retriever(bits: int = 2, search: str = "auto") -> WordVectors:
    return WordVectors(bits=bits, search=search)


if __name__ == "__main__":
    sys.exit(__doc__)
