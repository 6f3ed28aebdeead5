"""The best documents of queries, compiled: the twin of `Postings.scores` with `topk.best`, to the last bit.

Documents are gone through in windows that stay in a core's cache. In each window the postings of one word after
another are added up, in the order of the query, as the twin does. Once k documents are known, a window is left out
if the largest weights that the words have in it cannot reach the last of these (as in block-max WAND), and in a window
the common words that cannot (MaxScore, Turtle and Flood 1995): what the others add up to says which documents may
still be among the best, and those are added up in full, each word looked up.

A key is a score in its upper 32 bits, as a float32 that is not negative, and a place in its lower ones: larger keys
are the better hits, in the order of a run.
"""

from typing import Any, NamedTuple

import numba as nb
import numpy as np

from retrievers.colbert.kernels.compile import compiled, inlined
from retrievers.kernels import largest
from retrievers.kernels.largest import BLOCK, LANES, STEPS

WINDOW = 1 << 16  # documents; their sums take 256 kB
DEEP = 1 << 12  # documents for each hit, from which on it pays to leave words out
_FAR, _FEW = 0.4, 4  # which words are left out: a share of what must be reached; each a share of all their postings
_POSTING, _LOOK_UP = 0.85, 40.0  # ns: adding one up, finding one
_NONE = 0xFFFFFFFF  # all keys with a score are larger


@compiled
def _found(rows: Any, begin: int, end: int, row: int) -> int:
    """Return where the first row of at least `row` stands."""
    last, step = begin, 8
    while last < end and rows[last] < row:  # it is near, as a rule
        begin, last, step = last + 1, last + step, step * 4
    last = min(last, end)
    while begin < last:
        middle = (begin + last) >> 1
        if rows[middle] < row:
            begin = middle + 1
        else:
            last = middle
    return begin


@compiled
def windows(begins: Any, ends: Any, rows: Any, weights: Any, num_documents: int, window: int) -> tuple[Any, Any]:
    """Return the largest weight of each word in each window; and where its postings begin there, and end in the last.

    A weight is NaN if rows do not rise, or a weight is negative or not finite.
    """
    found = np.zeros((len(begins), (num_documents + window - 1) // window), np.float64)
    places = np.zeros((len(begins), found.shape[1] + 1), np.int64)
    for word in range(len(begins)):
        at, end = begins[word], ends[word]
        fine = at == end or rows[end - 1] < num_documents
        for posting in range(nb.uint64(at + 1), nb.uint64(end)):
            fine &= rows[posting - nb.uint64(1)] < rows[posting]
        places[word, 0] = at
        for number in range(found.shape[1] if fine else 0):
            most, least, begin = weights.dtype.type(0), weights.dtype.type(0), at
            at = _found(rows, begin, end, (number + 1) * window)
            for posting in range(nb.uint64(begin), nb.uint64(at)):
                most, least = max(most, weights[posting]), min(least, weights[posting])
                fine &= weights[posting] - weights[posting] == 0
            fine &= least >= 0
            found[word, number], places[word, number + 1] = most, at
        if not fine:
            found[word] = np.nan
    return found, places


@compiled
def looked_up(letters: Any, starts: Any, asked: Any, ends: Any) -> Any:
    """Return the number of each word in a vocabulary, -1 if it is not there; the twin of `Vocabulary.numbers`."""
    numbers = np.empty(len(ends), np.int64)
    for word in range(len(ends)):
        first, size = (ends[word - 1] if word else 0), ends[word] - (ends[word - 1] if word else 0)
        low, high = 0, len(starts) - 1
        while low < high:
            middle = (low + high) >> 1
            begin, end = max(starts[middle], 0), min(starts[middle + 1], len(letters))
            place = 0
            while place < size and begin + place < end and letters[begin + place] == asked[first + place]:
                place += 1
            if begin + place < end and (place == size or letters[begin + place] > asked[first + place]):
                high = middle
            elif place == size:
                low = high = middle  # the same, or a damaged one
                break
            else:
                low = middle + 1
        begin, end = (max(starts[low], 0), min(starts[low + 1], len(letters))) if low < len(starts) - 1 else (0, -1)
        same = end - begin == size
        for place in range(size if same else 0):
            same &= letters[begin + place] == asked[first + place]
        numbers[word] = low if same else -1
    return numbers


class AskedWords(NamedTuple):
    """Queries, as numbers of words, and what is known of these words.

    Shapes
      T  words of all queries, end to end      U  different words      N  windows
    """

    firsts: Any  # (queries + 1,) into T
    words: Any  # (T,) into U
    most: Any  # (U, N) the largest weight of each word in each window, as `windows` finds it, and no NaN
    places: Any  # (U, N + 1) where its postings begin there, and end in the last
    factors: Any  # (T,) what each is worth in its query, 0 or more: its weights are multiplied with it


class Indexed(NamedTuple):
    """The postings of all words, as an index has them, and the place of each document."""

    rows: Any
    weights: Any
    place: Any


# A word of a query in a window: fields of one array, so that references to one are counted and not to six
_WORD = np.dtype(
    [
        ("at", np.int64),  # where its postings begin
        ("near", np.int64),  # where those of a block begin, or before
        ("stop", np.int64),  # where those of the window end
        ("by_most", np.int64),  # the word that is here in the order of largest weights, least first
        ("factor", np.float64),  # what its weights are multiplied with
        ("bound", np.float64),  # what the words up to this one in that order are worth together, at most
        ("left_out", np.bool_),
    ],
    align=True,
)


class _Room(NamedTuple):
    """What is written again for each query, and each window."""

    sums: Any  # of each document of a window; zeros between windows
    bits: Any  # the same memory as whole numbers
    maxima: Any  # of the groups of a window
    found: Any  # documents that may be among the best
    histogram: Any
    keys: Any  # of the best documents so far, in no order
    words: Any  # of a query: _WORD
    one: Any  # a sum
    one_bits: Any  # the same memory as a whole number


class _Best(NamedTuple):
    """What is known of the best documents while windows are looked at."""

    num_keys: int
    least: float  # what a document must reach
    last_key: int  # what its key must be larger than


class _Window(NamedTuple):
    """A window in which words are left out, those that weigh least."""

    first: int  # its first document
    size: int
    out: int  # words
    slack: float  # the share of a sum that rounding may make


@compiled
def _room(tables: Any, sums: Any, bits: Any, depth: int) -> Any:
    longest, size, one = 0, len(sums), np.empty(1, sums.dtype)
    for query in range(len(tables.firsts) - 1):
        longest = max(longest, tables.firsts[query + 1] - tables.firsts[query])
    return _Room(
        sums,
        bits,
        np.empty(size // LANES, bits.dtype),
        np.empty(size + size // LANES + 1, np.int64),
        np.empty(STEPS, np.int64),
        np.empty(2 * depth + size, np.uint64),
        np.empty(longest, _WORD),
        one,
        one.view(bits.dtype),
    )


@inlined
def _most(word: int, asked: Any, number: int, most: Any, words: Any) -> Any:
    """Return what a word is worth in a window at most."""
    return words[word].factor * most[asked[word], number]


@compiled
def _enter(asked: Any, number: int, tables: Any, words: Any) -> None:
    """Find where each word's postings are in a window, and order the words by what they are worth there."""
    most, places = tables.most, tables.places
    for word in range(len(asked)):
        other = word
        while other > 0 and _most(words[other - 1].by_most, asked, number, most, words) > _most(
            word, asked, number, most, words
        ):
            words[other].by_most = words[other - 1].by_most
            other -= 1
        words[other].by_most = word
    total = 0.0
    for other in range(len(asked)):
        total += _most(words[other].by_most, asked, number, most, words)
        words[other].bound = total
    for word in range(len(asked)):
        words[word].at = words[word].near = places[asked[word], number]
        words[word].stop = places[asked[word], number + 1]


@compiled
def _leave_out(most_out: int, limit: float, words: Any) -> tuple[int, int]:
    """Return how many words of a window need not be added up, and how many postings they have."""
    out, saved = 0, 0
    while out < most_out and words[out].bound < limit:
        saved += words[words[out].by_most].stop - words[words[out].by_most].at
        out += 1
    while out:
        last = words[words[out - 1].by_most].stop - words[words[out - 1].by_most].at
        if last * _FEW >= saved:
            break
        out -= 1  # a word that saves little lets too many documents through
        saved -= last
    return out, saved


@inlined
def _add_up(num_words: int, out: int, rows: Any, weights: Any, words: Any, sums: Any) -> None:
    """Add up a window's postings, word after word, without the words that are left out."""
    mask = nb.uint32(len(sums) - 1)
    for word in range(num_words):
        words[word].left_out = False
    for other in range(out):
        words[words[other].by_most].left_out = True
    for word in range(num_words):
        if not words[word].left_out:
            factor = weights.dtype.type(words[word].factor)
            for posting in range(nb.uint64(words[word].at), nb.uint64(words[word].stop)):  # or each is held against 0
                sums[rows[posting] & mask] += factor * weights[posting]


@inlined
def _summed(num_words: int, window: Any, best: Any, depth: int, indexed: Any, room: Any) -> tuple[int, float]:
    """Add a window up and write which documents may be among the best. Returns how many, and what these must reach."""
    _add_up(num_words, window.out, indexed.rows, indexed.weights, room.words, room.sums)
    groups, least = largest.group(room.bits, window.size, room.maxima), best.least
    if best.num_keys == 0 and 2 * depth <= groups:
        room.one_bits[0] = largest.reached(room.maxima, groups, depth, room.histogram)
        least = nb.float64(room.one[0])
    room.one[0] = least * (1 - 2.0**-22)
    if window.out:
        room.one[0] = least * (1 - window.slack) - room.words[window.out - 1].bound * (1 + window.slack)
    return largest.reaching(room.bits, room.maxima, groups, max(nb.int64(room.one_bits[0]), 1), room.found), least


@inlined
def _worth(word: Any, row: int, rows: Any, weights: Any) -> Any:
    """Return what a word is worth in a document; 0 if it is not there."""
    posting, zero = _found(rows, word.near, word.stop, row), weights.dtype.type(0)
    is_there = posting < word.stop and rows[posting] == row
    return weights.dtype.type(word.factor) * weights[posting] if is_there else zero


@inlined
def _reaches(row: int, reached: float, window: Any, least: float, rows: Any, weights: Any, words: Any) -> Any:
    """Return whether a document reaches a sum, as far as that is told without the order of the words."""
    other, slack = window.out - 1, window.slack
    while other >= 0 and reached + words[other].bound * (1 + slack) >= least * (1 - slack):
        reached += _worth(words[words[other].by_most], row, rows, weights)
        other -= 1
    return other < 0 and reached >= least * (1 - slack)


@compiled
def _look_up(num_words: int, here: int, window: Any, least: float, indexed: Any, room: Any) -> int:
    """Keep those of the documents found that reach a sum with the words that were left out. Returns how many.

    Their sums are written: what all words add up to, in the order of the query.
    """
    rows, weights, words, sums, found = indexed.rows, indexed.weights, room.words, room.sums, room.found
    block, kept = -1, 0
    for one in found[:here]:
        row = window.first + one
        if one // BLOCK != block:
            block = one // BLOCK
            for word in range(num_words):
                words[word].near = _found(rows, words[word].near, words[word].stop, window.first + block * BLOCK)
        if _reaches(row, nb.float64(sums[one]), window, least, rows, weights, words):
            total = sums.dtype.type(0)
            for word in range(num_words):
                total += _worth(words[word], row, rows, weights)
            sums[one], found[kept] = total, one
            kept += 1
    return kept


@compiled
def _take(here: int, first: int, best: Any, place: Any, room: Any) -> Any:
    """Add the keys of the documents found. Returns how many keys there are."""
    sums, keys, count = room.sums, room.keys, best.num_keys
    for one in room.found[:here]:
        key = nb.uint64(np.float32(sums[one]).view(np.uint32)) << nb.uint64(32) | nb.uint64(place[first + one])
        keys[count] = key
        count += key > best.last_key
    return count


@compiled
def _of_window(num_words: int, window: Any, saved: int, best: Any, depth: int, indexed: Any, room: Any) -> Any:
    """Return the best after a window, and whether words were left out in vain."""
    here, least = _summed(num_words, window, best, depth, indexed, room)
    in_vain = window.out > 0 and here * num_words * _LOOK_UP > saved * _POSTING
    if in_vain:  # looking them up takes longer than adding all up does
        room.bits[: (window.size + BLOCK - 1) // BLOCK * BLOCK] = 0
        window = _Window(window.first, window.size, 0, window.slack)
        here, least = _summed(num_words, window, best, depth, indexed, room)
    if window.out:
        here = _look_up(num_words, here, window, least, indexed, room)
    count, last_key = _take(here, window.first, best, indexed.place, room), best.last_key
    room.bits[: (window.size + BLOCK - 1) // BLOCK * BLOCK] = 0
    if count >= depth and (last_key == _NONE or count > depth + depth // 2):
        last_key, count = largest.select(room.keys, count, depth), depth
        least = max(least, nb.float64(np.uint32(last_key >> nb.uint64(32)).view(np.float32)))
    return _Best(count, least, last_key), in_vain


@compiled
def _of_query(asked: Any, factors: Any, tables: Any, indexed: Any, room: Any, depth: int, most_out: int) -> int:
    """Put the keys of a query's best documents in front. Returns how many there are."""
    slack = (len(asked) + 1) * 2.0**-22  # more than rounding makes of a sum
    may_reach, size = np.zeros(tables.most.shape[1]), len(room.sums)
    for word in range(len(asked)):
        room.words[word].factor = factors[word]
        for number in range(len(may_reach)):
            may_reach[number] += factors[word] * tables.most[asked[word], number]
    best = _Best(0, 0.0, nb.uint64(_NONE))
    for number in np.argsort(-may_reach):  # so that few are looked at
        if may_reach[number] == 0 or may_reach[number] * (1 + slack) < best.least * (1 - slack):
            break  # no document of this window and of those that follow is among the best
        _enter(asked, number, tables, room.words)
        out, saved = _leave_out(most_out, best.least * _FAR, room.words)
        window = _Window(number * size, min(size, len(indexed.place) - number * size), out, slack)
        best, in_vain = _of_window(len(asked), window, saved, best, depth, indexed, room)
        if in_vain:
            most_out = out - 1
    if best.num_keys > depth:
        largest.select(room.keys, best.num_keys, depth)
    return min(best.num_keys, depth)


@compiled
def best(tables: Any, indexed: Any, sums: Any, bits: Any, k: int, deep: int) -> Any:
    """Return the keys of the k best of each query, in no order, and 0 for none.

    sums     zeros of the type of the weights, as they are again in the end, for a window: a power of 2, from BLOCK on
    bits     the same memory as whole numbers
    deep     DEEP
    """
    firsts, num_documents = tables.firsts, len(indexed.place)
    depth = min(k, num_documents)
    best_keys = np.zeros((len(firsts) - 1, depth), np.uint64)
    room = _room(tables, sums, bits, depth)
    for query in range(len(firsts) - 1):
        asked = tables.words[firsts[query] : firsts[query + 1]]
        factors = tables.factors[firsts[query] : firsts[query + 1]]
        most_out = len(asked) if depth * deep <= num_documents else 0
        count = _of_query(asked, factors, tables, indexed, room, depth, most_out)
        best_keys[query, :count] = room.keys[:count]
    return best_keys
