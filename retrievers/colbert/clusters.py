"""What the clusters of an index hold: how many tokens share one, over how many a token is spread, and which they are.

An index knows the centroid of each token and not which token it is, so its documents are read and tokenised again.
The baseline is random: the same tokens assigned at random to clusters of the same sizes, so that a cluster says nothing
about a token. The counts go through files of a few million tokens each, by cluster, so memory does not grow with
the collection.

Source  Santhanam et al. 2022, arXiv:2112.01488, appendix A: Figure 2, Table 6
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import picture
from lotte.errors import MismatchError, writing
from lotte.progress import Progress
from retrievers.colbert.late_index import DocTexts, LateIndex

HELD = 1 << 23  # tokens that are counted at once: 64 MB, and what sorting them takes
FREQUENT = 0.01  # of the tokens: those in most clusters, which are the stop words
FEW = 16  # tokens of a cluster that stands for little else
QUANTILES = (0, 5, 25, 50, 75, 90, 95, 100)
SHOWN = 8  # tokens of an example
DEALT = 9 * 10**8  # tokens of a heap that is dealt out: NumPy draws from 10**9 at the most

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Spread:
    """How tokens and clusters meet. Clusters without a token, and tokens that the collection lacks, are not counted."""

    vectors: str  # "index" or "random"
    tokens_of_cluster: Integers  # different ones
    clusters_of_token: Integers
    tokens_without_frequent: Integers  # of a cluster, the stop words left out; clusters of nothing else have none

    def series(self) -> dict[str, Integers]:
        """Return what Figure 2 shows, by name."""
        return {
            "distinct tokens per cluster": self.tokens_of_cluster,
            "distinct tokens per cluster, without the most frequent": self.tokens_without_frequent,
            "clusters per token": self.clusters_of_token,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the same in quantiles, the mean, and the share of FEW or fewer."""
        return [
            {
                "vectors": self.vectors,
                "what": what,
                **{f"p{q}": int(v) for q, v in zip(QUANTILES, np.percentile(values, QUANTILES), strict=True)},
                "mean": round(float(values.mean()), 2),
                f"at_most_{FEW}": round(float(np.mean(values <= FEW)), 4),
            }
            for what, values in self.series().items()
            if len(values)
        ]


@dataclass(frozen=True)
class ClusterExample:
    """A cluster, and which tokens it holds."""

    cluster: int
    tokens: int  # all of them
    distinct: int
    most: tuple[tuple[str, int, int], ...]  # the most frequent ones: token, how often here, how often in all

    def row(self, *, as_json: bool) -> dict[str, Any]:
        """Return a row of Table 6; the tokens as a text, or as values."""
        most: Any = [{"token": token, "here": here, "in_all": in_all} for token, here, in_all in self.most]
        if not as_json:
            most = ", ".join(f"{token} {here} of {in_all}" for token, here, in_all in self.most)
        return {"cluster": self.cluster, "tokens": self.tokens, "distinct": self.distinct, "most": most}


@dataclass(frozen=True)
class ClusterStudy:
    """An index's clusters beside those of random vectors, and some of them token by token."""

    counts: Mapping[str, int]
    index: Spread
    random: Spread
    examples: tuple[ClusterExample, ...]


def study(index: LateIndex, texts: DocTexts, *, examples: int = 10, seed: int = 0) -> ClusterStudy:
    """Read all documents of an index again, and count.

    texts     doc_id -> text, as it was indexed
    examples  clusters that are shown, drawn by the seed among those with more than stop words

    Raises  as `LateIndex.tokens`; MismatchError if the index has no token
    """
    counted, words, documents = index.cluster_sizes()
    if not counted.sum():
        raise MismatchError("the index has no token, so its clusters hold nothing")
    with writing(Path(gettempdir())), TemporaryDirectory(prefix="lotte-clusters-") as folder:
        ours = _Counter(Path(folder) / "index", counted, words)
        drawn = _Counter(Path(folder) / "random", counted, words)
        deal = _Deal(counted, seed)
        with Progress(int(counted.sum()), "tokens", "reading the documents again") as progress:
            for part in index.tokens(texts):
                ours.add(part.centroid_ids, part.token_ids)
                drawn.add(deal.some(len(part.token_ids)), part.token_ids)
                progress.advance(len(part.token_ids))
        ours.count()
        drawn.count()
        frequent = _most(ours.clusters_of_token)
        shown = ours.examples(examples, frequent, seed)
        return ClusterStudy(
            {
                "documents": documents,
                "tokens": int(counted.sum()),
                "distinct_tokens": int(np.count_nonzero(ours.clusters_of_token)),
                "clusters": len(counted),
                "empty_clusters": int(np.count_nonzero(counted == 0)),
                "left_out_as_most_frequent": len(frequent),
            },
            ours.spread("index", frequent),
            drawn.spread("random", frequent),
            tuple(_example(index, cluster, tokens, ours) for cluster, tokens in shown),
        )


def plot(found: ClusterStudy, path: Path) -> None:
    """Draw Figure 2, the shares of clusters and tokens that have so many or fewer, into a .png, .svg or .pdf."""
    figure = picture.figure(path, 10, 4.2)
    panels = figure.subplots(1, 2)
    for spread in (found.index, found.random):
        (most, few, clusters), label = spread.series().values(), spread.vectors
        _curve(panels[0], few, f"{label}, without the most frequent tokens")
        _curve(panels[0], most, f"{label}, all tokens")
        _curve(panels[1], clusters, label)
    for axes, unit, what in zip(
        panels, ("clusters", "tokens"), ("distinct tokens of a cluster", "clusters of a token"), strict=True
    ):
        axes.set_xscale("log", base=2)
        axes.set(xlabel=what, ylabel=f"share of {unit} with so many or fewer", ylim=(0, 1.02))
        axes.legend(fontsize=7, frameon=False, loc="lower right")
    picture.save(figure, path)


def _curve(axes: Any, values: Integers, label: str) -> None:
    if len(values):
        numbers, times = np.unique(values, return_counts=True)
        axes.step(numbers, np.cumsum(times) / len(values), where="post", label=label)


class _Deal:
    """Deals tokens out to clusters, each of which gets as many as it has, in an order of the seed."""

    def __init__(self, sizes: Integers, seed: int) -> None:
        self._random, heaps = np.random.default_rng(seed), int(sizes.sum()) // DEALT + 1
        self._heaps = [sizes // heaps + (number < sizes % heaps) for number in range(heaps)]

    def some(self, count: int) -> Integers:
        dealt = []
        while count:
            if not (left := int(self._heaps[-1].sum())):
                self._heaps.pop()
                continue
            given = self._random.multivariate_hypergeometric(self._heaps[-1], min(count, left))
            self._heaps[-1] -= given
            dealt.append(np.repeat(np.arange(len(given), dtype=np.int64), given))
            self._random.shuffle(dealt[-1])
            count -= len(dealt[-1])
        return np.concatenate(dealt) if dealt else np.zeros(0, np.int64)


class _Counter:
    """Pairs of cluster and token, counted in parts of neighbouring clusters, each in a file."""

    def __init__(self, folder: Path, sizes: Integers, words: int) -> None:
        folder.mkdir()
        self._folder, self._words = folder, words
        self._part_of = (np.cumsum(sizes) - sizes) // HELD  # of each cluster: those of a part are side by side
        self._clusters = len(sizes)
        self.clusters_of_token: Integers = np.zeros(words, np.int64)
        self.times: Integers = np.zeros(words, np.int64)  # of each token, in all clusters
        self._distinct: Integers = np.zeros(len(sizes), np.int64)

    def add(self, clusters: Integers, tokens: Integers) -> None:
        keys, parts = clusters * self._words + tokens, self._part_of[clusters]
        order = np.argsort(parts, kind="stable")
        numbers, begins = np.unique(parts[order], return_index=True)
        for number, some in zip(numbers.tolist(), np.split(keys[order], begins[1:]), strict=True):
            with (self._folder / f"{number}.keys").open("ab") as file:
                file.write(some.tobytes())

    def count(self) -> None:
        """Count what was added; leave each part as its different pairs and how often each is there."""
        for path in sorted(self._folder.glob("*.keys")):
            pairs, times = np.unique(np.fromfile(path, np.int64), return_counts=True)
            path.unlink()
            np.save(path.with_suffix(".npy"), np.stack([pairs, times]))
            self.clusters_of_token += np.bincount(pairs % self._words, minlength=self._words)
            self.times += np.bincount(pairs % self._words, times, self._words).astype(np.int64)
            self._distinct += np.bincount(pairs // self._words, minlength=self._clusters)

    def _parts(self) -> Iterable[tuple[Integers, Integers, Integers]]:
        """Give cluster, token and number of the pairs, a part at a time."""
        for path in sorted(self._folder.glob("*.npy")):
            pairs, times = np.load(path)
            yield pairs // self._words, pairs % self._words, times

    def spread(self, vectors: str, frequent: Integers) -> Spread:
        """Return what was counted.

        frequent  tokens that are left out where stop words are
        """
        others = np.zeros(self._clusters, np.int64)
        for clusters, tokens, _ in self._parts():
            others += np.bincount(clusters[~np.isin(tokens, frequent)], minlength=self._clusters)
        held, found = self._distinct > 0, self.clusters_of_token > 0
        return Spread(vectors, self._distinct[held], self.clusters_of_token[found], others[held])

    def examples(self, count: int, frequent: Integers, seed: int) -> list[tuple[int, list[tuple[int, int]]]]:
        """Return some clusters, drawn by the seed: number, and (token, how often) of each, the most frequent first."""
        telling = np.unique(np.concatenate([part[0][~np.isin(part[1], frequent)] for part in self._parts()]))
        if not len(telling):  # a collection of a few words has nothing else
            telling = np.flatnonzero(self._distinct)
        chosen = np.sort(np.random.default_rng(seed).permutation(telling)[:count])
        shown: dict[int, list[tuple[int, int]]] = {cluster: [] for cluster in chosen.tolist()}
        for clusters, tokens, times in self._parts():
            rows = np.flatnonzero(np.isin(clusters, chosen))
            for row in rows[np.lexsort([tokens[rows], -times[rows]])].tolist():
                shown[int(clusters[row])].append((int(tokens[row]), int(times[row])))
        return list(shown.items())


def _most(clusters_of_token: Integers) -> Integers:
    """Return the tokens that are in most clusters: FREQUENT of those there are, rounded up."""
    count = int(np.ceil(FREQUENT * np.count_nonzero(clusters_of_token)))
    return np.argsort(-clusters_of_token, kind="stable")[:count]


def _example(index: LateIndex, cluster: int, tokens: Sequence[tuple[int, int]], counted: _Counter) -> ClusterExample:
    names = index.spelled(token for token, _ in tokens[:SHOWN])
    most = [(name, here, int(counted.times[token])) for name, (token, here) in zip(names, tokens, strict=False)]
    return ClusterExample(cluster, sum(here for _, here in tokens), len(tokens), tuple(most))
