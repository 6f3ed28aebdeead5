"""What the kernels speak of: a codec, a query, the arrays of a segment. Nothing here reads a file or computes much.

A token is the number of its centroid, and a code of 1, 2 or 4 bits for each number of the residual. Centroids are
bytes too: what their rounding loses the residual has, so nothing is lost, the table takes a quarter, and products
with a query are sums of bytes.

Legend  N tokens  D documents  K centroids  H dimensions  P bytes of a packed residual  Q query tokens
        B blocks of 32 query tokens
Source  Santhanam et al. 2022, arXiv:2112.01488, section 3.3
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[Any]  # of any width: rows, starts, centroids

BITS = (1, 2, 4)
LANES = 32  # query tokens that the kernels score at once
UNIT = 2.0**-14  # a step of a centroid score in 16 bits: from -2 to 2, as vectors have length 1
COARSE = 7  # bits that a centroid score in 8 bits has less: steps of 2 ** -7, from -1 to 1


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """How many tokens of a document become one vector."""

    factor: float = 1.0  # 1 or more; of what is not protected a share of 1 / factor stays, one vector at least
    protected: int = 1  # first tokens of a document that stay as they are: [CLS]


class TokenVectors(NamedTuple):
    """The vectors of some documents' tokens, end to end; those of document d are vectors[starts[d] : starts[d + 1]]."""

    vectors: NDArray[Any]  # (N, H), float16 or float32, rows of length 1
    starts: NDArray[np.int64]  # (D + 1,)


class Encoded(NamedTuple):
    """Tokens as stored: 2 or 4 bytes for the centroid, H * bits / 8 for the residual, 1 for the length."""

    centroid_ids_N: Integers  # number of the centroid, uint16 where that is enough, else uint32
    residuals_NP: Bytes
    lengths_N: Bytes  # of the decoded vector before it is scaled to length 1, by `Codec.inverse_lengths`


@dataclass(frozen=True, eq=False)
class Codec:
    shifted: Bytes  # (K, H): a centroid is (shifted - 128) * step
    step: float
    cutoffs: Floats  # (2 ** bits - 1,), ascending; a number equal to a cutoff belongs below it
    weights: Floats  # (2 ** bits,), ascending: what a code stands for
    inverse_lengths: Floats  # (256,): what to multiply a decoded vector by
    exact: Floats | None = None  # (K, H) centroids of an index made by others, which has them in floats
    two_level: bool = False  # whether a token's centroid is looked for by two levels: `reference.nearest_in_groups`

    @property
    def bits(self) -> int:
        return len(self.weights).bit_length() - 1

    @property
    def num_centroids(self) -> int:
        return len(self.shifted)

    @property
    def dim(self) -> int:
        return int(self.shifted.shape[1])

    @property
    def id_type(self) -> Any:
        return np.uint16 if self.num_centroids <= 2**16 else np.uint32

    @cached_property
    def centroids(self) -> Floats:
        """Return the centroids in float32, (K, H)."""
        if self.exact is not None:
            return self.exact
        return (self.shifted.astype(np.float32) - 128) * np.float32(self.step)

    @property
    def level_step(self) -> float:
        """Return what a step of `levels` is worth."""
        return float(self.weights[-1] - self.weights[0]) / 255 or 1.0

    @cached_property
    def level_error(self) -> float:
        """Return by how much a weight is rounded at the most where it is a level."""
        return float(np.abs(self.levels * self.level_step - (self.weights - self.weights[0])).max())

    @property
    def levels(self) -> Bytes:
        """Return the weights above the least one, as bytes: (2 ** bits,)."""
        return np.rint((self.weights - self.weights[0]) / self.level_step).astype(np.uint8)


def packed_width(dim: int, bits: int) -> int:
    """Return the bytes of a packed residual. Raises ValueError where a row would not end on a byte."""
    if bits not in BITS:
        raise ValueError(f"bits are 1, 2 or 4, not {bits}")
    if dim * bits % 8:
        raise ValueError(f"{dim} dimensions of {bits} bits do not end on a byte")
    return dim * bits // 8


class Reach(NamedTuple):
    """How many groups of centroids a point looks into."""

    groups: int  # at most: those with the largest products
    share: int  # in 256ths: a product that is less than so much of the largest one is too small; 0: none is


@dataclass(frozen=True, eq=False)
class Groups:
    """Centroids in groups, each with a centre: who looks for the nearest centroid may look at the centres first."""

    centres: Bytes  # (G, H), shifted by 128 as centroids are
    members: NDArray[np.int32]  # (K,): numbers of centroids, group by group, ascending in each
    starts: NDArray[np.int64]  # (G + 1,): group g has members[starts[g] : starts[g + 1]]

    @property
    def bits(self) -> int:
        """Return how many bits the number of a group takes."""
        return (len(self.centres) - 1).bit_length()

    @property
    def drop(self) -> int:
        """Return how many low bits a product with a centre is compared without: product and number then fit 32 bits."""
        return max(0, (self.centres.shape[1] << 15).bit_length() + self.bits - 31)

    def order(self, dots_NG: NDArray[np.int32], reach: Reach) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the groups, the one with the largest product first, and which of them points look into, (N, groups).

        dots_NG  products of the points with the centres
        """
        products_NG = dots_NG.astype(np.int64) >> self.drop
        order = np.argsort(-products_NG, axis=1, kind="stable")[:, : reach.groups]
        falling = np.take_along_axis(products_NG, order, axis=1)
        reached = (falling * 256 >= falling[:, :1] * reach.share) | (reach.share == 0)
        reached[:, :1] = True
        return order, reached


@dataclass(frozen=True, eq=False)
class Query:
    """A query's tokens, in float32 and as signed bytes with one step; 32 tokens a block, the last filled with 0."""

    vectors: Floats  # (Q, H), rows of length 1
    lanes: NDArray[np.int8]  # (B, 32, H)
    step: float

    @property
    def count(self) -> int:
        return len(self.vectors)

    def least(self, codec: Codec) -> NDArray[np.int32]:
        """Return what the least weight in all dimensions adds to a dot product with `shifted - 128`: (B, 32)."""
        sums_BL = self.lanes.sum(axis=2, dtype=np.int32)
        return np.rint(sums_BL * (float(codec.weights[0]) / codec.step)).astype(np.int32)

    def doubts(self, codec: Codec) -> Floats:
        """Return how far below the best of a document's scores by bytes one may be that is the best, (B, 32).

        The rounding of a query, of levels, and of centroids of others, adds up over the dimensions as chance does: six
        standard deviations of the difference of two tokens, and all that lengths and centroid scores are rounded by.
        In a lane without a token nobody is close: -inf.
        """
        low, scale = float(codec.inverse_lengths[0]), float(codec.inverse_lengths[-1])
        of_token = codec.level_error**2 + (0 if codec.exact is None else codec.step**2 / 12)
        chance = (self.step**2 / 12 + scale**2 * of_token) ** 0.5
        doubts = np.full(len(self.lanes) * LANES, -np.inf, np.float32)
        doubts[: self.count] = 6 * 2**0.5 * chance
        doubts[: self.count] += 1.5 * (scale - low) / 255 + 2 * scale * (UNIT + self.step * codec.step)
        return doubts.reshape(-1, LANES)


def quantised(vectors_QH: Floats) -> Query:
    """Return a query in bytes. Raises ValueError if there is no token, or a number is not finite."""
    vectors = np.ascontiguousarray(vectors_QH, np.float32)
    if vectors.ndim != 2 or not len(vectors):
        raise ValueError(f"a query is (tokens, dimensions) with at least one token, not {vectors_QH.shape}")
    top = float(np.abs(vectors).max())
    if not np.isfinite(top):
        raise ValueError("a query has a number that is not finite")
    step = top / 127 or 1.0
    blocks = -(-len(vectors) // LANES)
    lanes = np.zeros((blocks * LANES, vectors.shape[1]), np.int8)
    lanes[: len(vectors)] = np.rint(vectors / np.float32(step))
    return Query(vectors, lanes.reshape(blocks, LANES, -1), step)


class CentroidScores(NamedTuple):
    """Centroids times query, with the least weight of the residual added, and the centroids to probe."""

    fine: NDArray[np.int16]  # (B, K, 32), in steps of UNIT
    coarse: NDArray[np.int8]  # the same in steps that are 2 ** COARSE times as large
    probed: NDArray[np.int32]  # (Q, P): of each query token the best centroids, best first


@dataclass(frozen=True, eq=False)
class SearchContext:
    """A query as it meets the segments of one index."""

    codec: Codec
    query: Query
    scores: CentroidScores


class TokenArrays(NamedTuple):
    """The tokens of a segment, as compiled code takes them."""

    centroid_ids: Integers  # (N,) uint16 or uint32
    residuals: Bytes  # (N, P)
    lengths: Bytes  # (N,)
    starts: NDArray[np.int64]  # (D + 1,): document d has the tokens starts[d] to starts[d + 1]


class InvertedLists(NamedTuple):
    """The rows of each centroid, as compiled code takes them."""

    stream: Bytes  # of each centroid the rows, ascending, as differences of 7 bits a byte
    starts: NDArray[np.int64]  # (K + 1,): where each centroid's bytes start


@dataclass(frozen=True, eq=False)
class Segment:
    """Some documents, coded and listed. The arrays may lie in mapped files that are larger than memory."""

    centroid_ids: Integers  # (N,) uint16 or uint32
    residuals: Bytes  # (N, P)
    lengths: Bytes  # (N,)
    starts: NDArray[np.int64]  # (D + 1,)
    lists: Bytes  # the rows of each centroid, ascending, as differences of 7 bits a byte
    list_starts: NDArray[np.int64]  # (K + 1,): where each centroid's rows start

    @property
    def cells(self) -> Integers:
        """The former name of `centroid_ids`, for scripts that were written for it."""
        return self.centroid_ids

    @property
    def num_documents(self) -> int:
        return len(self.starts) - 1

    @property
    def num_tokens(self) -> int:
        return len(self.centroid_ids)

    @cached_property
    def tokens(self) -> TokenArrays:
        return TokenArrays(self.centroid_ids, self.residuals, self.lengths, self.starts)

    @cached_property
    def inverted(self) -> InvertedLists:
        return InvertedLists(self.lists, self.list_starts)
