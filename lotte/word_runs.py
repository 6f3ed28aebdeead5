"""Texts as runs of words: what near-duplicates and shared passages are found by. Hashes are the same on every machine.

Texts are compared as words: lower case, no punctuation, no apostrophes.
"""

import re
import unicodedata
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]  # of BITS bits
Rows: TypeAlias = NDArray[np.int64]

BITS = 40  # of a hash: a set of a million takes a stranger for one of its own once in a million times
_BASE = np.uint64(0x9E3779B97F4A7C13)  # odd, and no 1 mod 4: so that the order of words counts
_CACHED = 1 << 20  # words whose hash is remembered
_WORDS = re.compile(r"[^\W_]+").findall
_APOSTROPHES = re.compile("['\u2018\u2019\u02bc`]")


def words(text: str) -> list[str]:
    """Return the words that texts are compared by.

    >>> words("Why doesn\\u2019t <b>it</b> work_out?")
    ['why', 'doesnt', 'b', 'it', 'b', 'work', 'out']
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    plain: list[str] = _WORDS(_APOSTROPHES.sub("", text).casefold())
    return plain


def normalised(text: str) -> str:
    """Return the words of a text with blanks between. Texts with the same are the same to whoever compares them.

    >>> normalised("What's  a Cold-Brew?") == normalised("whats a cold brew")
    True
    """
    return " ".join(words(text))


def runs(texts: Sequence[str], length: int, *, shortest: int) -> tuple[Hashes, Rows]:
    """Return the hash of every run of so many words, and the row of its text, in the order of the rows.

    shortest  words of a text that has runs at all; one of so many that is shorter than a run is a run
    """
    split = [words(text) for text in texts]
    lengths = np.fromiter(map(len, split), np.int64, len(split))
    hashed = np.fromiter(map(_KNOWN.__getitem__, chain.from_iterable(split)), np.uint64, int(lengths.sum()))
    if len(_KNOWN) > _CACHED:
        _KNOWN.clear()
    starts = np.cumsum(lengths) - lengths
    hashes, owners = [], []
    for size in range(min(shortest, length), length + 1):
        texts_of_size = np.flatnonzero(lengths >= max(length, shortest) if size == length else lengths == size)
        counts = lengths[texts_of_size] - size + 1
        owner = np.repeat(texts_of_size, counts)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts) + starts[owner]
        run = np.zeros(len(owner), np.uint64)
        for word in range(size):
            run = run * _BASE + hashed[place + word]
        hashes.append(_mixed(run))
        owners.append(owner)
    all_owners = np.concatenate(owners)
    order = np.argsort(all_owners, kind="stable")
    return np.concatenate(hashes)[order], all_owners[order]


def hash_of(text: str) -> int:
    """Return the hash of a whole text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=BITS // 8).digest(), "little")


class _Known(dict[str, int]):
    """Hashes of words, each computed when it is met first."""

    def __missing__(self, word: str) -> int:
        self[word] = found = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
        return found


_KNOWN = _Known()


def _mixed(values: Hashes) -> Hashes:
    """Return 40 bits of each that all depend on all its bits, so that any of them may be sampled by.

    Source  Steele et al. 2014, doi:10.1145/2660193.2660195, figure 16 (mix64variant13)
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (values ^ (values >> np.uint64(31))) >> np.uint64(64 - BITS)
