"""What the lexical systems have in common: an index of postings, and a search that adds up what words are worth."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lotte import Corpus, Queries, Run
from lotte.progress import Progress
from retrievers import index_folder, postings
from retrievers.analyser import Analyser
from retrievers.arrays import mapped
from retrievers.batches import batches
from retrievers.kernels import kernels
from retrievers.postings import Postings
from retrievers.topk import FoundHits, Numbers, Scores, best, places

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

WORTH_COMPILED = 0.8  # seconds of NumPy after which compiled code is called; importing it takes as long
ROOM = 1 << 22  # hits that are held while queries are answered
Found = tuple[NDArray[Any], Scores]  # rows and scores, best first


def write(
    path: Path, recipe: "DataclassInstance", corpus: Corpus, analyser: Analyser, weigh: postings.Weigh,
    *, kind: Any = np.float32, distinct: bool = False,
) -> None:  # fmt: skip
    """Write an index, or nothing.

    kind  of number that a weight is
    distinct  whether a word counts once in a document
    """
    with index_folder.write_index(path, recipe, corpus) as (folder, counts):
        title = f"{recipe.name}: indexing"  # type: ignore[attr-defined]
        counts |= fill(folder, corpus.doc_ids, (doc.text for doc in corpus), analyser, weigh, title=title, kind=kind)
        counts |= {"tokens": counts["postings"]} if distinct else {}


def fill(
    folder: Path, doc_ids: Sequence[str], texts: Iterable[str], analyser: Analyser, weigh: postings.Weigh,
    *, title: str, kind: Any = np.float32,
) -> dict[str, int]:  # fmt: skip
    """Leave the files of a lexical index in a folder; return the counts of what is there.

    texts  of the documents, in the order of their ids
    """
    with Progress(len(doc_ids), "passages", title) as progress:

        def counted() -> Iterator[str]:
            for text in texts:
                progress.advance()
                yield text

        counts = postings.write(folder, batches(counted(), analyser), weigh, kind)
    np.save(folder / "places.npy", places(doc_ids))
    return counts


class LexicalIndex:
    """An index that answers with the documents whose words add up to most.

    words  of a query
    mean   whether a score is what the words are worth together, divided by how many they are
    """

    def __init__(
        self,
        found: index_folder.IndexFolder,
        postings: Postings,
        words: Callable[[str], list[str]],
        *,
        mean: bool = False,
    ) -> None:
        self._path, self._doc_ids, self._postings = found.path, found.doc_ids, postings
        self._place: Numbers = mapped(found.path / "places.npy", np.int32, len(found.doc_ids))
        self._words, self._mean, self._seconds = words, mean, 0.0
        self._compiled: _CompiledSearch | None = None

    def search(self, queries: Queries, *, k: int) -> Run:
        with index_folder.using(self._path):
            return Run(FoundHits(self._found(queries, k), self._doc_ids))

    def _found(self, queries: Queries, k: int) -> Mapping[str, Found]:
        words = [self._words(text) for text in queries.values()]
        if self._compiled is None and self._is_worth_compiled(len(words)) and (scores := kernels("scores")):
            self._compiled = _CompiledSearch(scores, self._postings, self._place)
        if self._compiled:
            found: Iterable[Found] = self._compiled.found(words, k, self._plainly)
        else:
            found = map(self._plainly, map(self._postings.vocabulary.numbers, words), [k] * len(words))
        if self._mean:
            sizes = np.array([max(len(one), 1) for one in words], dtype=np.float32)
            found = ((rows, scores / size) for (rows, scores), size in zip(found, sizes, strict=True))
        return dict(zip(queries, found, strict=True))

    def _plainly(self, numbers: list[int], k: int) -> Found:
        """Return what compiled code returns, without it. Slow, obvious, and the judge."""
        if not numbers:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        with np.errstate(over="ignore"):  # an infinite score is refused
            scores = self._postings.scores(numbers, len(self._doc_ids)).astype(np.float32, copy=False)
        return best(scores, self._place, k)

    def _is_worth_compiled(self, num_queries: int) -> bool:
        """Return whether NumPy will have taken long by then, if these are queries of six words."""
        self._seconds += num_queries * (3e-4 + 1.5e-8 * len(self._doc_ids))
        return self._seconds > WORTH_COMPILED


class _CompiledSearch:
    """The search, compiled. It knows the largest weights of each word that was ever asked for."""

    def __init__(self, kernels: ModuleType, postings: Postings, place: Numbers) -> None:
        self._kernels, self._postings, self._place = kernels, postings, np.asarray(place)
        if len(place) and int(place.min()) < 0:
            raise IndexError("a place is negative")
        self._rows = np.zeros(len(place), dtype=np.int32)  # by place
        self._rows[self._place] = np.arange(len(place), dtype=np.int32)
        self._windows: dict[int, tuple[NDArray[np.float64], NDArray[np.int64]]] = {}  # of a word, as the kernel has it
        self._refused: set[int] = set()  # words with rows or weights that compiled code does not take

    def found(self, words: Sequence[list[str]], k: int, plainly: Callable[[list[int], int], Found]) -> Iterator[Found]:
        """Yield the answer to each query.

        plainly  answers a query with a word whose weights or rows are not as compiled code takes them
        """
        depth = max(1, min(k, len(self._place)))
        step = max(1, ROOM // depth)
        for first in range(0, len(words), step):
            numbers = self._numbers(words[first : first + step])
            self._look_at({number for one in numbers for number in one})
            taken = [bool(one) and k > 0 and not any(map(self._refused.__contains__, one)) for one in numbers]
            keys = self._keys([one for one, take in zip(numbers, taken, strict=True) if take], depth)
            answers = zip(self._rows[keys & 0xFFFFFFFF], (keys >> 32).astype(np.uint32).view(np.float32), strict=True)
            sizes = iter(np.count_nonzero(keys, axis=1).tolist())
            for one, take in zip(numbers, taken, strict=True):
                if take:
                    size, (rows, scores) = next(sizes), next(answers)
                    yield rows[:size].copy(), scores[:size].copy()
                else:
                    yield plainly(one, k)

    def _numbers(self, words: Sequence[list[str]]) -> list[list[int]]:
        """Return the numbers of the words of each query, those that are in the index."""
        spelled = [word.encode("utf-8", "surrogatepass") for word in chain.from_iterable(words)]
        ends = np.cumsum([len(word) for word in spelled], dtype=np.int64)
        vocabulary, asked = self._postings.vocabulary, np.frombuffer(b"".join(spelled), dtype=np.uint8)
        found = iter(self._kernels.looked_up(vocabulary.letters, vocabulary.starts, asked, ends).tolist())
        return [[number for number in (next(found) for _ in one) if number >= 0] for one in words]

    def _look_at(self, numbers: set[int]) -> None:
        """Find the windows of words that were not asked for before."""
        if new := sorted(numbers - self._windows.keys()):
            arrays = *self._spans(new), self._postings.rows, self._postings.weights
            most, places = self._kernels.windows(*arrays, len(self._place), self._kernels.WINDOW)
            self._refused.update(number for number, one in zip(new, most, strict=True) if np.isnan(one).any())
            self._windows |= zip(new, zip(most, places, strict=True), strict=True)

    def _spans(self, numbers: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where the postings of words begin and end. Raises IndexError if there are none at such a place."""
        at, starts = np.array(numbers, dtype=np.int64), self._postings.starts
        begins, ends = starts[at], starts[at + 1]
        if ((begins < 0) | (begins > ends) | (ends > len(self._postings.rows))).any():
            raise IndexError("postings begin or end where none are")
        return begins, ends

    def _keys(self, numbers: list[list[int]], depth: int) -> NDArray[np.uint64]:
        """Return the keys of the best documents of each query, best first."""
        different = {number: at for at, number in enumerate(sorted(set(chain.from_iterable(numbers))))}
        words = np.array([different[number] for one in numbers for number in one], dtype=np.int64)
        firsts = np.cumsum([0, *map(len, numbers)], dtype=np.int64)
        windows = -(-len(self._place) // self._kernels.WINDOW)
        most, places = np.zeros((len(different), windows)), np.zeros((len(different), windows + 1), dtype=np.int64)
        for number, at in different.items():
            most[at], places[at] = self._windows[number]
        weights = self._postings.weights
        sums = np.zeros(self._kernels.WINDOW, dtype=weights.dtype)
        bits = sums.view(np.dtype(f"i{weights.dtype.itemsize}"))
        asked = self._kernels.AskedWords(firsts, words, most, places)
        indexed = self._kernels.Indexed(self._postings.rows, weights, self._place)
        keys: NDArray[np.uint64] = self._kernels.best(asked, indexed, sums, bits, depth, self._kernels.DEEP)
        keys.sort(axis=1)
        return keys[:, ::-1]
