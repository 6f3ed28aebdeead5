"""Token pooling: tokens of a document that say nearly the same become one vector, their mean.

Ward's clustering over 1 - cosine, by chains of nearest neighbours: a chain of tokens, each the nearest to the one
before, ends in two that are nearest to each other, and these are merged. All sums have one order, so the same tokens
make the same vectors on every processor. `reference.ward` is the twin.

Legend  T tokens of a document that are clustered    H dimensions    C clusters
Source  Clavié, Chaffin and Adams 2024, "Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance
        Impact via Token Pooling", arXiv:2409.14683; Müllner 2011, "Modern hierarchical, agglomerative clustering
        algorithms", arXiv:1109.2378, figure 3
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrievers.colbert.kernels.arrays import Pooling, TokenVectors
from retrievers.colbert.kernels.ordered import SIDE, dot, numeric
from retrievers.colbert.kernels.products import ROWS, FloatWeights, float_product


def pooled(tokens: TokenVectors, pooling: Pooling) -> TokenVectors:
    """Return documents with fewer vectors, each of length 1, as those that are given are."""
    if pooling.factor <= 1:
        return tokens
    parts = [
        _document(tokens.vectors[first:last], pooling)
        for first, last in zip(tokens.starts[:-1], tokens.starts[1:], strict=True)
    ]
    lengths = [len(part) for part in parts]
    vectors = np.concatenate([tokens.vectors[:0], *parts])
    return TokenVectors(vectors, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


def _document(vectors_NH: NDArray[Any], pooling: Pooling) -> NDArray[Any]:
    """Return the protected tokens of a document and the means of its clusters, in the order they begin in."""
    protected = pooling.protected
    merged_TH = vectors_NH[protected:].astype(np.float32)
    count = max(int(len(merged_TH) // pooling.factor), 1)
    if count >= len(merged_TH):
        return vectors_NH
    labels = clusters(merged_TH, count)
    means = np.zeros((count, merged_TH.shape[1]), np.float32)
    _add_means(merged_TH, labels, means)
    return np.concatenate([vectors_NH[:protected], means.astype(vectors_NH.dtype)])


def clusters(vectors_TH: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """Return the cluster of each token, (T,): `count` of them, numbered in the order their first tokens have.

    vectors_TH  (T, H) float32, rows of length 1; more than `count`
    """
    tokens = len(vectors_TH)
    rows = np.zeros((-(-tokens // ROWS) * ROWS, vectors_TH.shape[1]), np.float32)
    rows[:tokens] = vectors_TH
    weights = FloatWeights(vectors_TH, None)
    products = np.empty((len(rows), weights.bias.size), np.float32)
    float_product(rows, weights, products)
    distances_TT = np.clip(1 - products[:tokens, :tokens], 0, 2).astype(np.float64)
    labels = np.empty(tokens, np.int32)
    _ward(distances_TT, count, labels)
    return labels


@numeric
def _ward(distances: Any, count: Any, labels: Any) -> None:
    """Write the cluster of each token; `distances` is overwritten."""
    tokens = len(distances)
    sizes, chain = np.ones(tokens, np.int64), np.empty(tokens, np.int64)
    pairs, heights, length = np.empty((tokens - 1, 2), np.int64), np.empty(tokens - 1, np.float64), 0
    for merge in range(tokens - 1):
        if not length:
            chain[0], length = np.argmax(sizes > 0), 1  # the first that is a cluster still
        while True:
            last = chain[length - 1]
            nearest = chain[length - 2] if length > 1 else -1
            least = distances[last, nearest] if length > 1 else np.inf
            for token in range(tokens):
                if sizes[token] and token != last and distances[last, token] < least:
                    nearest, least = token, distances[last, token]
            if length > 1 and nearest == chain[length - 2]:
                break
            chain[length] = nearest
            length += 1
        length -= 2
        gone, kept = min(last, nearest), max(last, nearest)
        pairs[merge, 0], pairs[merge, 1], heights[merge] = gone, kept, least
        _join(distances, sizes, gone, kept, least)
    _label(pairs, np.argsort(heights, kind="mergesort")[: tokens - count], labels)


@numeric
def _join(distances: Any, sizes: Any, gone: Any, kept: Any, height: Any) -> None:
    """Merge cluster `gone` into `kept`: how far the others are from both, by Ward's rule."""
    first, second = sizes[gone], sizes[kept]
    for other in range(len(sizes)):
        size = sizes[other]
        if size and other != gone and other != kept:
            near, far = distances[other, gone], distances[other, kept]
            square = (size + first) * near * near + (size + second) * far * far - size * height * height
            distance = np.sqrt(square / (size + first + second))
            distances[other, kept] = distance
            distances[kept, other] = distance
    sizes[kept] = first + second
    sizes[gone] = 0


@numeric
def _label(pairs: Any, lowest: Any, labels: Any) -> None:
    """Number the clusters that the lowest merges make, in the order of their first tokens."""
    tokens = len(labels)
    parent = np.arange(tokens)
    for merge in lowest:
        first, second = pairs[merge, 0], pairs[merge, 1]
        while parent[first] != first:
            first = parent[first]
        while parent[second] != second:
            second = parent[second]
        parent[max(first, second)] = min(first, second)
    found = 0
    for token in range(tokens):
        root = token
        while parent[root] != root:
            root = parent[root]
        if root == token:
            labels[token] = found
            found += 1
        else:
            labels[token] = labels[root]


@numeric
def _add_means(vectors: Any, labels: Any, means: Any) -> None:
    """Write the mean of each cluster, scaled to length 1."""
    sums = np.empty(SIDE, np.float32)
    for token in range(len(labels)):
        for d in range(vectors.shape[1]):
            means[labels[token], d] += vectors[token, d]
    for cluster in range(len(means)):
        length = np.sqrt(dot(means[cluster], means[cluster], sums))
        inverse = np.float32(1) / length if length > np.float32(0) else np.float32(0)
        for d in range(vectors.shape[1]):
            means[cluster, d] *= inverse
