"""What the lexical systems have in common: an index of postings, and a search that adds up word weights."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotte import Corpus, Queries, Run, executor
from lotte.progress import Progress
from lotte.sent_corpus import SentCorpus, sent
from retrievers import blocks, index_folder, lexical_shards, postings
from retrievers.analyser import Analyser
from retrievers.arrays import mapped
from retrievers.batches import Batch, batches
from retrievers.kernels import kernels
from retrievers.postings import Postings
from retrievers.topk import FoundHits, Numbers, Scores, best, places

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

WORTH_COMPILED = 0.8  # seconds of NumPy after which compiled code is called; importing it takes as long
BLOCK = 1 << 15  # documents that a worker reads at once
ROOM = 1 << 22  # hits that are held while queries are answered
Found = tuple[NDArray[Any], Scores]  # rows and scores, best first


class AskedQuery(NamedTuple):
    """The words of a query, or their numbers, and what each is worth in it, 0 or more."""

    words: list[Any]
    factors: list[float]


def write(
    path: Path, recipe: "DataclassInstance", corpus: Corpus, analyser: Analyser, weigh: postings.Weigh,
    *, kind: Any = np.float32, distinct: bool = False, history: index_folder.History | None = None, shards: int = 0,
) -> None:  # fmt: skip
    """Write an index, or nothing.

    kind  of number that a weight is
    distinct  whether a word counts once in a document
    history  of an index that is changed
    shards  parts that it has; 0: it is one whole
    """
    with index_folder.write_index(path, recipe, corpus, history) as (folder, counts):
        title = f"{recipe.name}: indexing"  # type: ignore[attr-defined]
        if executor.current().several:
            counts |= _fill_spread(folder, corpus, analyser, weigh, title, kind)
        else:
            texts = (doc.text for doc in corpus)
            counts |= fill(folder, corpus.doc_ids, texts, analyser, weigh, title=title, kind=kind)
        counts |= {"tokens": counts["postings"]} if distinct else {}
        if shards:
            lexical_shards.split(folder, corpus.doc_ids, shards, index_folder.recipe_of(recipe))
            counts |= {"shards": shards}


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


def _fill_spread(
    folder: Path, corpus: Corpus, analyser: Analyser, weigh: postings.Weigh, title: str, kind: Any
) -> dict[str, int]:
    """Do what `fill` does, with the workers of the command: they read the texts, and this process gathers."""
    with Progress(len(corpus), "passages", title) as progress:
        task = partial(_read_block, sent(corpus, blocks.folder_for(folder)), analyser)
        groups = blocks.groups(0, len(corpus), BLOCK)
        made = blocks.made(folder, "batch", groups, task, progress.advance)
        counts = postings.write(folder, chain.from_iterable(map(_batches_of, made)), weigh, kind)
    np.save(folder / "places.npy", places(corpus.doc_ids))
    blocks.done(folder)
    return counts


def _read_block(
    corpus: SentCorpus, analyser: Analyser, rows: Sequence[int], path: Path, advance: executor.Advance
) -> None:
    """Read some documents, in a worker."""
    opened = corpus.opened()
    read = list(batches((opened[row].text for row in rows), analyser))
    arrays = {f"{number}.{name}": value for number, batch in enumerate(read) for name, value in batch._asdict().items()}
    for number, batch in enumerate(read):
        words = "\n".join(batch.words).encode("utf-8", "surrogatepass")  # no word has a blank in it
        arrays[f"{number}.words"] = np.frombuffer(words, np.uint8)
    blocks.save(path, **arrays)
    advance(len(rows))


def _batches_of(arrays: blocks.Arrays) -> Iterator[Batch]:
    """Yield the batches of a block."""
    for number in range(len(arrays) // len(Batch._fields)):
        words, *others = (arrays[f"{number}.{name}"] for name in Batch._fields)
        spelled = words.tobytes().decode("utf-8", "surrogatepass")
        yield Batch(spelled.split("\n") if spelled else [], *others)


class LexicalIndex:
    """An index that answers with the documents whose words add up to most.

    words  of a query
    mean   whether a score is what the words are worth together, divided by how many they are
    weighed  the words of queries and what each is worth; None: `words`, each of which is worth 1
    """

    def __init__(
        self,
        found: index_folder.IndexFolder,
        postings: Postings,
        words: Callable[[str], list[str]],
        *,
        mean: bool = False,
        weighed: Callable[[Queries], list[AskedQuery]] | None = None,
    ) -> None:
        self._path, self._doc_ids, self._postings = found.path, found.doc_ids, postings
        self._place: Numbers = mapped(found.path / "places.npy", np.int32, len(found.doc_ids))
        self._words, self._mean, self._weighed, self._seconds = words, mean, weighed, 0.0
        self._compiled: _CompiledSearch | None = None

    def search(self, queries: Queries, *, k: int) -> Run:
        with index_folder.using(self._path):
            return Run(FoundHits(self._found(queries, k), self._doc_ids))

    def found(self, queries: Queries, k: int) -> Mapping[str, Found]:
        """Return rows and scores of each query, best first."""
        with index_folder.using(self._path):
            return self._found(queries, k)

    def search_among(self, queries: Queries, doc_ids: Collection[str], *, k: int) -> Run:
        """Answer every query with at most k of these documents, with the scores that they have among all."""
        rows = index_folder.rows_among(self._row_of, doc_ids)
        with index_folder.using(self._path):
            asked = self._asked(queries)
            found = self._scaled((self._plainly(self._known(one), k, rows) for one in asked), asked)
            return Run(FoundHits(dict(zip(queries, found, strict=True)), self._doc_ids))

    @cached_property
    def _row_of(self) -> Mapping[str, int]:
        return {doc_id: row for row, doc_id in enumerate(self._doc_ids)}

    def _asked(self, queries: Queries) -> list[AskedQuery]:
        if self._weighed:
            return self._weighed(queries)
        return [AskedQuery(words, [1.0] * len(words)) for words in map(self._words, queries.values())]

    def _found(self, queries: Queries, k: int) -> Mapping[str, Found]:
        asked = self._asked(queries)
        if self._compiled is None and self._is_worth_compiled(asked) and (scores := kernels("scores")):
            self._compiled = _CompiledSearch(scores, self._postings, self._place)
        if self._compiled:
            found: Iterable[Found] = self._compiled.found(asked, k, self._plainly)
        else:
            found = (self._plainly(self._known(one), k) for one in asked)
        return dict(zip(queries, self._scaled(found, asked), strict=True))

    def _scaled(self, found: Iterable[Found], asked: Sequence[AskedQuery]) -> Iterable[Found]:
        """Return scores divided by how many words a query has, where a score is a mean."""
        if not self._mean:
            return found
        sizes = np.array([max(len(one.words), 1) for one in asked], dtype=np.float32)
        return ((rows, scores / size) for (rows, scores), size in zip(found, sizes, strict=True))

    def _known(self, query: AskedQuery) -> AskedQuery:
        """Return the numbers of those words that are in the index."""
        known = AskedQuery([], [])
        for word, factor in zip(*query, strict=True):
            for number in self._postings.vocabulary.numbers([word]):
                known.words.append(number)
                known.factors.append(factor)
        return known

    def _plainly(self, query: AskedQuery, k: int, among: NDArray[np.int64] | None = None) -> Found:
        """Return what compiled code returns, without it. Slow and simple: the reference.

        among  rows that may be found; None: all
        """
        if not query.words:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        with np.errstate(over="ignore"):  # an infinite score is refused
            scores = self._postings.scores(query.words, len(self._doc_ids), query.factors)
            scores = scores.astype(np.float32, copy=False)
            if among is None:
                return best(scores, self._place, k)
            rows, found = best(scores[among], self._place[among], k)
            return among[rows], found

    def _is_worth_compiled(self, asked: Sequence[AskedQuery]) -> bool:
        """Return whether NumPy will have taken long by then, with six words taking as long as is measured."""
        num_queries = len(asked) if self._weighed is None else sum(len(query.words) for query in asked) / 6
        self._seconds += num_queries * (3e-4 + 1.5e-8 * len(self._doc_ids))
        return self._seconds > WORTH_COMPILED


class _CompiledSearch:
    """The search, compiled. It caches the largest weights of each word that was searched for."""

    def __init__(self, kernels: ModuleType, postings: Postings, place: Numbers) -> None:
        self._kernels, self._postings, self._place = kernels, postings, np.asarray(place)
        if len(place) and int(place.min()) < 0:
            raise IndexError("a place is negative")
        self._rows = np.zeros(len(place), dtype=np.int32)  # by place
        self._rows[self._place] = np.arange(len(place), dtype=np.int32)
        self._windows: dict[int, tuple[NDArray[np.float64], NDArray[np.int64]]] = {}  # of a word, as the kernel has it
        self._refused: set[int] = set()  # words with rows or weights that compiled code does not take

    def found(
        self, queries: Sequence[AskedQuery], k: int, plainly: Callable[[AskedQuery, int], Found]
    ) -> Iterator[Found]:
        """Yield the answer to each query.

        plainly  answers a query with a word whose weights or rows are not as compiled code takes them
        """
        depth = max(1, min(k, len(self._place)))
        step = max(1, ROOM // depth)
        for first in range(0, len(queries), step):
            numbers = self._numbers(queries[first : first + step])
            self._look_at({number for one in numbers for number in one.words})
            taken = [
                bool(one.words) and k > 0 and not any(map(self._refused.__contains__, one.words)) for one in numbers
            ]
            keys = self._keys([one for one, take in zip(numbers, taken, strict=True) if take], depth)
            answers = zip(self._rows[keys & 0xFFFFFFFF], (keys >> 32).astype(np.uint32).view(np.float32), strict=True)
            sizes = iter(np.count_nonzero(keys, axis=1).tolist())
            for one, take in zip(numbers, taken, strict=True):
                if take:
                    size, (rows, scores) = next(sizes), next(answers)
                    yield rows[:size].copy(), scores[:size].copy()
                else:
                    yield plainly(one, k)

    def _numbers(self, queries: Sequence[AskedQuery]) -> list[AskedQuery]:
        """Return the numbers of the words of each query, those that are in the index."""
        spelled = [word.encode("utf-8", "surrogatepass") for query in queries for word in query.words]
        ends = np.cumsum([len(word) for word in spelled], dtype=np.int64)
        vocabulary, asked = self._postings.vocabulary, np.frombuffer(b"".join(spelled), dtype=np.uint8)
        found = iter(self._kernels.looked_up(vocabulary.letters, vocabulary.starts, asked, ends).tolist())
        known = []
        for query in queries:
            numbers = [next(found) for _ in query.words]
            if -1 in numbers:
                pairs = [pair for pair in zip(numbers, query.factors, strict=True) if pair[0] >= 0]
                known.append(AskedQuery([number for number, _ in pairs], [factor for _, factor in pairs]))
            else:
                known.append(AskedQuery(numbers, query.factors))
        return known

    def _look_at(self, numbers: set[int]) -> None:
        """Find the windows of words that were not searched for before."""
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

    def _keys(self, queries: list[AskedQuery], depth: int) -> NDArray[np.uint64]:
        """Return the keys of the best documents of each query, best first."""
        numbers = [query.words for query in queries]
        different = {number: at for at, number in enumerate(sorted(set(chain.from_iterable(numbers))))}
        words = np.array([different[number] for one in numbers for number in one], dtype=np.int64)
        factors = np.array([factor for one in queries for factor in one.factors], dtype=self._postings.weights.dtype)
        firsts = np.cumsum([0, *map(len, numbers)], dtype=np.int64)
        windows = -(-len(self._place) // self._kernels.WINDOW)
        most, places = np.zeros((len(different), windows)), np.zeros((len(different), windows + 1), dtype=np.int64)
        for number, at in different.items():
            most[at], places[at] = self._windows[number]
        weights = self._postings.weights
        sums = np.zeros(self._kernels.WINDOW, dtype=weights.dtype)
        bits = sums.view(np.dtype(f"i{weights.dtype.itemsize}"))
        asked = self._kernels.AskedWords(firsts, words, most, places, factors)
        indexed = self._kernels.Indexed(self._postings.rows, weights, self._place)
        keys: NDArray[np.uint64] = self._kernels.best(asked, indexed, sums, bits, depth, self._kernels.DEEP)
        keys.sort(axis=1)
        return keys[:, ::-1]
