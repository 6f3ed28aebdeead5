"""The best documents of queries, compiled: the twin of `Postings.scores` with `topk.best`, to the last bit.

Documents are gone through in windows that stay in a core's cache. In each window the postings of one word after
another are added up, in the order of the query, as the twin does. Once k documents are known, a window is left out
if the largest weights that the words have in it cannot reach the last of these (as in block-max WAND), and in a window
the common words that cannot (MaxScore, Turtle and Flood 1995): what the others add up to says which documents may
still be among the best, and those are added up in full, each word looked up.

A key is a score in its upper 32 bits, as a float32 that is not negative, and a place in its lower ones: larger keys
are the better hits, in the order of a run.
"""

from typing import Any

import numba as nb
import numpy as np

from retrievers.colbert.kernels.compile import compiled

WINDOW = 1 << 16  # documents; their sums take 256 kB
DEEP = 1 << 12  # documents for each hit, from which on it pays to leave words out
BLOCK = 256
_LANES = 16  # a group is every 16th document of a block
_STEPS = 1 << 12
_FAR, _FEW = 0.4, 4  # which words are left out: a share of what must be reached; each a share of all their postings
_POSTING, _LOOK_UP = 0.85, 40.0  # ns: adding one up, finding one


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
def _select(keys: Any, count: int, k: int) -> Any:
    """Put the k largest of `count` keys in front. Returns the least of these."""
    low, high = 0, count - 1
    while low < high:
        a, b, c = keys[low], keys[(low + high) >> 1], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while keys[i] > pivot:
                i += 1
            while keys[j] < pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            break
    least = keys[0]
    for one in range(1, k):
        least = min(least, keys[one])
    return least


@compiled
def _group(bits: Any, size: int, maxima: Any) -> int:
    """Write the largest of every group of a window. Returns how many groups there are."""
    for block in range(0, size, BLOCK):
        ours, groups = bits[block : block + BLOCK], maxima[block // _LANES : block // _LANES + _LANES]
        for lane in range(_LANES):
            most = ours[lane]  # kept in `groups`, it would not become vector code
            for row in range(1, BLOCK // _LANES):
                most = max(most, ours[row * _LANES + lane])
            groups[lane] = most
    return (size + BLOCK - 1) // BLOCK * _LANES


@compiled
def _reached(maxima: Any, groups: int, k: int, histogram: Any) -> int:
    """Return a number that k groups reach, and so k documents do, nearly as large as it may be; 1 at least.

    What is less than a sixteenth of the largest is not told apart, nor what differs by a thousandth.
    """
    most = nb.int64(maxima[0])
    for group in range(1, groups):
        most = max(most, nb.int64(maxima[group]))
    shift = nb.int64(13 if maxima.itemsize == 4 else 42)  # of bits; four times 2 ** 10 of such steps are a factor of 16
    low = most - (nb.int64(_STEPS - 1) << shift)
    histogram[:] = 0
    for group in range(groups):
        if maxima[group] >= low:
            histogram[(nb.int64(maxima[group]) - low) >> shift] += 1
    step, count = _STEPS - 1, histogram[_STEPS - 1]
    while step > 0 and count < k:
        step -= 1
        count += histogram[step]
    return max(low + (step << shift), 1) if count >= k else 1


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


@compiled
def _reaching(bits: Any, maxima: Any, groups: int, limit: int, found: Any) -> int:
    """Write which documents of a window reach the limit, block by block. Returns how many.

    Nothing is chosen by a branch, which would be guessed wrong a thousand times.
    """
    some, count = 0, 0
    for group in range(groups):
        found[len(found) - 1 - some] = group
        some += maxima[group] >= limit
    for one in range(some):
        group = found[len(found) - 1 - one]
        first = group // _LANES * BLOCK + group % _LANES
        for document in range(first, first + BLOCK, _LANES):
            found[count] = document
            count += bits[document] >= limit
    return count


@compiled
def best(
    firsts: Any, words: Any, most: Any, places: Any, rows: Any, weights: Any, place: Any, k: int, sums: Any, bits: Any,
    deep: int,
) -> Any:  # fmt: skip
    """Return the keys of the k best of each query, in no order, and 0 for none.

    Shapes
      Q  queries      T  words of all queries, end to end      U  different words      N  windows

    firsts   (Q + 1,) into T
    words    (T,) into U
    most     (U, N) the largest weight of each word in each window, as `windows` finds it, and no NaN
    places   (U, N + 1) where its postings begin there, and end in the last
    sums     zeros of the type of the weights, as they are again in the end, for a window: a power of 2, from BLOCK on
    bits     the same memory as whole numbers
    deep     DEEP
    """
    num_documents, size_of_window = len(place), len(sums)
    depth = min(k, num_documents)
    mask = nb.uint32(size_of_window - 1)
    none = nb.uint64(0xFFFFFFFF)  # all keys with a score are larger
    best_keys = np.zeros((len(firsts) - 1, depth), np.uint64)
    keys, maxima = np.empty(2 * depth + size_of_window, np.uint64), np.empty(size_of_window // _LANES, bits.dtype)
    found = np.empty(size_of_window + size_of_window // _LANES + 1, np.int64)
    histogram = np.empty(_STEPS, np.int64)
    longest = 0
    for query in range(len(firsts) - 1):
        longest = max(longest, firsts[query + 1] - firsts[query])
    at, near, stop = np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest, np.int64)
    by_most, bound, left_out = np.empty(longest, np.int64), np.empty(longest), np.empty(longest, np.bool_)
    may_reach, exact = np.empty(most.shape[1]), np.empty(1, sums.dtype)
    exact_bits = exact.view(bits.dtype)
    score = np.empty(1, np.float32)
    score_bits = score.view(np.uint32)
    for query in range(len(firsts) - 1):
        asked = words[firsts[query] : firsts[query + 1]]
        slack = (len(asked) + 1) * 2.0**-22  # more than rounding makes of a sum
        for number in range(len(may_reach)):
            may_reach[number] = 0
            for word in asked:
                may_reach[number] += most[word, number]
        count, least, last_key = 0, 0.0, none
        most_out = len(asked) if depth * deep <= num_documents else 0
        for number in np.argsort(-may_reach):  # so that few are looked at
            if may_reach[number] == 0 or may_reach[number] * (1 + slack) < least * (1 - slack):
                break  # no document of this window and of those that follow is among the best
            window = number * size_of_window
            size = min(size_of_window, num_documents - window)
            for word in range(len(asked)):
                other = word
                while other > 0 and most[asked[by_most[other - 1]], number] > most[asked[word], number]:
                    by_most[other] = by_most[other - 1]
                    other -= 1
                by_most[other] = word
            total = 0.0
            for other in range(len(asked)):
                total += most[asked[by_most[other]], number]
                bound[other] = total
            for word in range(len(asked)):
                at[word] = near[word] = places[asked[word], number]
                stop[word] = places[asked[word], number + 1]
            out, saved = 0, 0
            while out < most_out and bound[out] < least * _FAR:
                saved += stop[by_most[out]] - at[by_most[out]]
                out += 1
            while out and (stop[by_most[out - 1]] - at[by_most[out - 1]]) * _FEW < saved:
                out -= 1  # a word that saves little lets too many documents through
                saved -= stop[by_most[out]] - at[by_most[out]]
            while True:
                left_out[:] = False
                for other in range(out):
                    left_out[by_most[other]] = True
                for word in range(len(asked)):
                    if not left_out[word]:
                        for posting in range(at[word], stop[word]):
                            sums[rows[posting] & mask] += weights[posting]
                groups = _group(bits, size, maxima)
                if count == 0 and 2 * depth <= groups:
                    exact_bits[0] = _reached(maxima, groups, depth, histogram)
                    least = nb.float64(exact[0])
                lower = least * (1 - 2.0**-22)
                if out:
                    lower = least * (1 - slack) - bound[out - 1] * (1 + slack)
                exact[0] = lower
                here = _reaching(bits, maxima, groups, max(nb.int64(exact_bits[0]), 1), found)
                if out and here * len(asked) * _LOOK_UP > saved * _POSTING:
                    # looking them up takes longer than adding all up does
                    bits[: (size + BLOCK - 1) // BLOCK * BLOCK] = 0
                    most_out, out = out - 1, 0
                    continue
                break
            block = -1
            for one in found[:here]:
                score[0] = sums[one]
                if out:
                    row = window + one
                    if one // BLOCK != block:
                        block = one // BLOCK
                        for word in range(len(asked)):
                            near[word] = _found(rows, near[word], stop[word], window + block * BLOCK)
                    reached, other = nb.float64(sums[one]), out - 1
                    while other >= 0 and reached + bound[other] * (1 + slack) >= least * (1 - slack):
                        word = by_most[other]
                        posting = _found(rows, near[word], stop[word], row)
                        if posting < stop[word] and rows[posting] == row:
                            reached += weights[posting]
                        other -= 1
                    if other >= 0 or reached < least * (1 - slack):
                        continue
                    exact[0] = 0
                    for word in range(len(asked)):
                        posting = _found(rows, near[word], stop[word], row)
                        if posting < stop[word] and rows[posting] == row:
                            exact[0] += weights[posting]
                    score[0] = exact[0]
                key = nb.uint64(score_bits[0]) << nb.uint64(32) | nb.uint64(place[window + one])
                keys[count] = key
                count += key > last_key
            bits[: (size + BLOCK - 1) // BLOCK * BLOCK] = 0
            if count >= depth and (last_key == none or count > depth + depth // 2):
                last_key, count = _select(keys, count, depth), depth
                score_bits[0] = last_key >> nb.uint64(32)
                least = max(least, nb.float64(score[0]))
        if count > depth:
            _select(keys, count, depth)
            count = depth
        best_keys[query, :count] = keys[:count]
    return best_keys
