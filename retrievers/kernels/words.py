"""Texts to numbered words, and numbered words to postings: compiled twins of what `retrievers.batches` says plainly.

A text is read as UTF-8. Which characters a word is made of, a table says, with one byte for each code point there is:

  LETTER, DIGIT        begin a word and go on with it
  MARK, JOINER         go on with one; a joiner may stand before its first letter as well
  SINGLE               is a word, with the marks behind it
  IN_LETTERS, IN_DIGITS  go on with a word between two letters, or two digits
"""

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.kernels.compile import compiled, inlined

LETTER, DIGIT, MARK, JOINER, SINGLE, IN_LETTERS, IN_DIGITS = 1, 2, 4, 8, 16, 32, 64
_BEGINS, _GOES_ON = LETTER | DIGIT, LETTER | DIGIT | MARK | JOINER


@compiled
def _decoded(data: Any, at: int) -> tuple[int, int]:
    """Return the code point that begins at a byte, and where the next one begins."""
    first = nb.int64(data[at])
    if first < 0x80:
        return first, at + 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | (nb.int64(data[at + 1]) & 0x3F), at + 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | (nb.int64(data[at + 1]) & 0x3F) << 6 | (nb.int64(data[at + 2]) & 0x3F), at + 3
    high = (first & 0x07) << 18 | (nb.int64(data[at + 1]) & 0x3F) << 12
    return high | (nb.int64(data[at + 2]) & 0x3F) << 6 | (nb.int64(data[at + 3]) & 0x3F), at + 4


@compiled
def _word(data: Any, at: int, end: int, classes: Any) -> tuple[int, int, int]:
    """Return where the next word begins and ends, and how many characters it has; `end` twice if there is none."""
    while at < end:
        begin, letters = at, 0
        code, after = _decoded(data, at)
        kind = classes[code]
        if kind & SINGLE:
            letters, at = 1, after
            while at < end:
                code, after = _decoded(data, at)
                if not classes[code] & MARK:
                    break
                letters, at = letters + 1, after
            return begin, at, letters
        while kind & JOINER and after < end:
            letters, at = letters + 1, after
            code, after = _decoded(data, at)
            kind = classes[code]
        if not kind & _BEGINS:
            at = at if letters and not kind & JOINER else after  # a single character may stand behind joiners
            continue
        before = kind
        while True:
            while kind & _GOES_ON:
                before, letters, at = kind, letters + 1, after
                if at >= end:
                    return begin, at, letters
                code, after = _decoded(data, at)
                kind = classes[code]
            if not kind & (IN_LETTERS | IN_DIGITS) or after >= end:
                return begin, at, letters
            code, beyond = _decoded(data, after)
            next_ = classes[code]
            if not (
                (kind & IN_LETTERS and before & (LETTER | MARK) and next_ & LETTER)
                or (kind & IN_DIGITS and before & (DIGIT | MARK) and next_ & DIGIT)
            ):
                return begin, at, letters
            letters, at, after, kind = letters + 1, after, beyond, next_
    return end, end, 0


# A different word: fields of one array, which counts no more references than one and reads one piece of memory
_KNOWN = np.dtype([("begin", np.int64), ("stop", np.int64), ("hash", np.uint64)], align=True)


@inlined
def _hashed(data: Any, begin: int, stop: int) -> Any:
    """Return FNV-1a's hash of a word, whose lower bits are mixed once more."""
    key = nb.uint64(0xCBF29CE484222325)
    for place in range(begin, stop):
        key = (key ^ nb.uint64(data[place])) * nb.uint64(0x100000001B3)
    return key ^ key >> nb.uint64(29)


@inlined
def _slot(data: Any, begin: int, stop: int, key: Any, known: Any, table: Any) -> Any:
    """Return where a word stands in the table, or the free slot where it is to stand."""
    mask = nb.uint64(len(table) - 1)
    slot = key & mask
    while True:
        number = table[slot] - 1  # said once: with the table as the condition of the loop it took a sixth longer
        if number < 0:
            break
        other = known[number]
        if other.hash == key and other.stop - other.begin == stop - begin:
            same, place = other.begin, begin
            while place < stop and data[same] == data[place]:
                same, place = same + 1, place + 1
            if place == stop:
                break
        slot = (slot + nb.uint64(1)) & mask
    return slot


@compiled
def _roomier(known: Any) -> tuple[Any, Any]:
    """Return the same words, and a table of them, with room for twice as many."""
    table, mask = np.zeros(4 * len(known), np.int32), nb.uint64(4 * len(known) - 1)
    for number in range(len(known)):
        slot = known[number].hash & mask
        while table[slot]:
            slot = (slot + nb.uint64(1)) & mask
        table[slot] = number + 1
    larger = np.empty(2 * len(known), known.dtype)
    larger[: len(known)] = known
    return larger, table


@compiled
def numbered(data: Any, ends: Any, classes: Any, longest: int) -> tuple[Any, Any, Any, Any]:
    """Number the words of some texts by first appearance.

    data     the texts as UTF-8, end to end
    ends     where each ends
    classes  what each code point is, see above
    longest  characters of a word, which is cut into such pieces; 0: any number

    Returns  the number of each word as it comes; words of each text; for each number where its word begins and ends
    """
    numbers = np.empty(len(data) + 1, np.int32)  # texts of a letter each stand end to end
    lengths, total, count, at = np.empty(len(ends), np.int64), 0, 0, 0
    # the table has at a slot that a hash gives, or behind it, which word, from 1; 0: none
    known, table = np.empty(1 << 12, _KNOWN), np.zeros(1 << 13, np.int32)
    for text in range(len(ends)):
        first, end = total, ends[text]
        while at < end:
            begin, at, letters = _word(data, at, end, classes)
            while begin < at:  # one piece, unless the word is too long
                stop = at
                if 0 < longest < letters:
                    stop, letters = begin, letters - longest
                    for _ in range(longest):
                        stop = _decoded(data, stop)[1]
                key = _hashed(data, begin, stop)
                slot = _slot(data, begin, stop, key, known, table)
                number = table[slot] - 1
                if number < 0:
                    number, count = count, count + 1
                    known[number].begin, known[number].stop, known[number].hash = begin, stop, key
                    table[slot] = count
                    if count == len(known):
                        known, table = _roomier(known)
                numbers[total], total, begin = number, total + 1, stop
        lengths[text] = total - first
    return numbers[:total].copy(), lengths, known["begin"][:count].copy(), known["stop"][:count].copy()


@compiled
def counted(numbers: Any, lengths: Any, word: Any, num_words: int) -> tuple[Any, Any, Any, Any]:
    """Turn the numbers of some texts into postings, by word and within it by row.

    word  which word each number is; -1: none

    Returns  documents of each word; row and count of each posting; words of each text
    """
    documents, seen = np.zeros(num_words, np.int64), np.full(num_words, -1, np.int64)
    kept = np.empty(len(lengths), np.int64)
    at = 0
    for text in range(len(lengths)):
        kept[text] = 0
        for _ in range(lengths[text]):
            one = word[numbers[at]]
            at += 1
            if one >= 0:
                kept[text] += 1
                if seen[one] != text:
                    seen[one] = text
                    documents[one] += 1
    free, total = np.empty(num_words, np.int64), 0
    for one in range(num_words):
        free[one] = total
        total += documents[one]
        seen[one] = -1
    rows, counts = np.empty(total, np.int32), np.empty(total, np.int32)
    at = 0
    for text in range(len(lengths)):
        for _ in range(lengths[text]):
            one = word[numbers[at]]
            at += 1
            if one >= 0:
                if seen[one] != text:
                    seen[one] = text
                    rows[free[one]], counts[free[one]] = text, 1
                    free[one] += 1
                else:
                    counts[free[one] - 1] += 1
    return documents, rows, counts, kept


def table(kinds: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return what each code point is, from the characters of each kind, letters first."""
    classes = np.zeros(0x110000, np.uint8)
    for number, characters in enumerate(kinds):
        classes[np.frombuffer(characters.encode("utf-32-le", "surrogatepass"), np.uint32)] |= 1 << number
    return classes
