"""The codec of an index, trained on a sample and kept in its folder; and tokens coded by it.

Legend  N tokens  K centroids  H dimensions  P bytes of a packed residual
Source  Santhanam et al. 2022, arXiv:2112.01488, section 3.3
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import artifact
from lotte.errors import CorruptFileError, shown
from lotte.jsonl import parsed
from retrievers.arrays import mapped
from retrievers.colbert.index.kmeans import ASSIGNMENTS, Find, finder, kmeans, nearest, takes_two_levels
from retrievers.colbert.kernels import cpu
from retrievers.colbert.kernels.arrays import Codec, Encoded, Floats, Integers, packed_width
from retrievers.colbert.kernels.reference import unpack
from retrievers.index_meta import AGAIN

CENTROIDS, EXACT, TABLES = "centroids.npy", "exact.npy", "codec.json"
SLICE = 1 << 17  # tokens


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    bits: int = 2  # per number of the residual: 1, 2 or 4
    centroids: int = 0  # 0: the power of two at or below 16 * sqrt(tokens), as in the paper
    iterations: int = 4  # of k-means
    points: int = 39  # at most so many sampled tokens for a centroid: FAISS warns below; retrievers/LOG.md
    seed: int = 0
    assignment: str = (
        "auto"  # of tokens to centroids: exact, two_level (a few groups of them are looked at), or by size
    )

    def __post_init__(self) -> None:
        if self.assignment not in ASSIGNMENTS:
            raise ValueError(f"assignment must be one of {', '.join(ASSIGNMENTS)}, not {shown(self.assignment)}")


def num_centroids(tokens: float, config: CodecConfig) -> int:
    """Return how many centroids an index of so many tokens gets.

    Source  Santhanam et al. 2022, arXiv:2112.01488, section 3.4, footnote 3

    >>> num_centroids(597.9e6, CodecConfig()) == 2**18
    True
    """
    return config.centroids or 1 << int(np.log2(max(1.0, 16 * np.sqrt(max(tokens, 1.0)))))


def train(sample_NH: Any, tokens: float, config: CodecConfig, *, threads: int = 1, gpu: str | None = None) -> Codec:
    """Return the codec for an index of about so many tokens, from vectors of a sample of its documents.

    sample_NH  float16 or float32, (N, H), rows of length 1; may be a mapped file

    A twentieth of the sample, 50,000 at most, is held out of k-means: its residuals say where the codes are cut.

    Raises  ValueError if the sample is empty
    Source  github.com/stanford-futuredata/ColBERT, colbert/indexing/collection_indexer.py
    """
    packed_width(sample_NH.shape[1], config.bits)
    if not len(sample_NH):
        raise ValueError("there is no token to train a codec from")
    order = np.random.default_rng(config.seed).permutation(len(sample_NH))
    held_out = np.sort(order[: max(1, min(50_000, len(order) // 20))])
    rest = order[len(held_out) :] if len(order) > 1 else order
    wanted = min(num_centroids(tokens, config), len(rest))
    vectors = sample_NH[held_out].astype(np.float32)
    points = _points(sample_NH, np.sort(rest[: wanted * config.points]), float(np.abs(vectors).max()))
    how: Any = {
        "threads": threads, "gpu": gpu,
        "two_level": takes_two_levels(config.assignment, wanted, sample_NH.shape[1]),
    }  # fmt: skip
    found = kmeans(points, wanted, iterations=config.iterations, seed=config.seed, **how)
    centroid_ids = nearest(cpu.as_bytes(vectors), found.shifted, **how)
    residuals = vectors - (found.shifted[centroid_ids].astype(np.float32) - 128) * np.float32(found.step)
    cutoffs, weights = codebook(residuals.ravel(), 2**config.bits)
    codec = Codec(found.shifted, found.step, cutoffs, weights, np.ones(256, np.float32), two_level=how["two_level"])
    inverse = 1 / _lengths(codec, cpu.residuals(codec, vectors, centroid_ids))
    middle = float(np.median(inverse))  # a vector that decodes to next to nothing must not coarsen the table
    low, high = max(float(inverse.min()), 0.8 * middle), min(float(inverse.max()), 1.25 * middle)
    return replace(codec, inverse_lengths=np.linspace(low, high, 256).astype(np.float32))


def codebook(numbers: Floats, steps: int) -> tuple[Floats, Floats]:
    """Return where to cut numbers into `steps` codes, and what each code stands for, with the least square error.

    The authors cut at equal shares and take the middle of each. Moving cuts and values until neither moves has a
    quarter less error in the scores for the same bits (retrievers/LOG.md), and costs a sort.

    Source  Lloyd 1982, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28(2), method I
    """
    ordered = np.sort(numbers).astype(np.float64)  # in this order: half the bytes are sorted
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    weights = np.quantile(ordered, (np.arange(steps) + 0.5) / steps)
    for _ in range(100):
        ends = np.concatenate(
            [[0], np.searchsorted(ordered, (weights[1:] + weights[:-1]) / 2, "right"), [len(ordered)]]
        )
        counts = np.diff(ends)
        moved = np.where(counts > 0, np.diff(sums[ends]) / np.maximum(counts, 1), weights)
        if np.abs(moved - weights).max() < 1e-6:
            break
        weights = moved
    return ((weights[1:] + weights[:-1]) / 2).astype(np.float32), weights.astype(np.float32)


def _points(sample_NH: Any, rows: Integers, top: float) -> NDArray[np.int8]:
    """Return vectors in bytes, all with one step; the few numbers beyond `top` are cut."""
    points = np.empty((len(rows), sample_NH.shape[1]), np.int8)
    for first in range(0, len(rows), 1 << 12):  # a block that stays in the caches
        block = sample_NH[rows[first : first + (1 << 12)]].astype(np.float32)
        np.rint(np.multiply(block, 127 / (top or 1.0), out=block), out=block)
        points[first : first + len(block)] = np.clip(block, -127, 127, out=block)
    return points


def _lengths(codec: Codec, encoded: Encoded) -> Floats:
    """Return the lengths of decoded vectors before they are scaled, (N,)."""
    vectors = codec.centroids[encoded.centroid_ids_N] + codec.weights[unpack(encoded.residuals_NP, bits=codec.bits)]
    lengths: Floats = np.linalg.norm(vectors, axis=1)
    return lengths


def finder_of(codec: Codec, *, threads: int = 1, gpu: str | None = None) -> Find:
    """Return what finds the centroids of tokens as the codec wants them to be found: see `kmeans.finder`."""
    return finder(codec.shifted, two_level=codec.two_level, threads=threads, gpu=gpu)


def encode(
    codec: Codec, vectors_NH: NDArray[Any], *, threads: int = 1, gpu: str | None = None, find: Find | None = None
) -> Encoded:
    """Return tokens as an index stores them. A thread takes SLICE of them at most at a time, and makes several copies.

    vectors_NH  float16 or float32
    gpu         what torch calls a GPU that looks for the nearest centroids; None: the threads do
    find        what `finder_of` returned for the same codec and GPU, where there is more than one call
    """
    step = min(SLICE, max(1024, -(-len(vectors_NH) // threads)))  # so that all threads have work
    turns = Lock() if gpu else nullcontext()  # one thread has the GPU, the others get ready what it takes next
    found = find or finder_of(codec, threads=threads, gpu=gpu)

    def part(first: int) -> Encoded:
        vectors = vectors_NH[first : first + step].astype(np.float32, copy=False)
        points = cpu.as_bytes(vectors)
        with turns:
            centroid_ids = found(points)
        return cpu.residuals(codec, vectors, centroid_ids)

    firsts = range(0, max(1, len(vectors_NH)), step)
    if threads == 1 or len(firsts) == 1:
        parts = list(map(part, firsts))
    else:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(part, firsts))
    return parts[0] if len(parts) == 1 else Encoded(*map(np.concatenate, zip(*parts, strict=True)))


def save(codec: Codec, folder: Path) -> None:
    """Leave `centroids.npy`, `exact.npy` for centroids of others, and, last, `codec.json`."""
    np.save(folder / CENTROIDS, codec.shifted)
    tables: dict[str, Any] = {
        "step": codec.step,
        "cutoffs": codec.cutoffs.tolist(),
        "weights": codec.weights.tolist(),
        "inverse_lengths": codec.inverse_lengths[[0, -1]].tolist(),
    }
    if codec.two_level:
        tables["assignment"] = "two_level"
    if codec.exact is not None:
        halves = codec.exact.astype(np.float16)
        np.save(folder / EXACT, halves if np.array_equal(halves, codec.exact) else codec.exact)
        tables["exact"] = EXACT
    artifact.write_whole(folder / TABLES, artifact.readable(tables, ascii=True, sort=False))


def load(folder: Path) -> Codec:
    """Open what `save` left. Raises CorruptFileError if it is not whole."""
    shifted = mapped(folder / CENTROIDS, np.uint8, None, None)
    try:
        tables = parsed((folder / TABLES).read_bytes(), str(folder / TABLES))
        step = np.array(tables["step"], np.float64)
        low, high = np.array(tables["inverse_lengths"], np.float32)
        cutoffs, weights = (np.array(tables[name], np.float32) for name in ("cutoffs", "weights"))
    except FileNotFoundError:
        raise CorruptFileError(f"{folder / TABLES} is missing from the index; {AGAIN}") from None
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise CorruptFileError(f"{folder / TABLES} is incomplete ({error}); {AGAIN}") from None
    numbers = np.concatenate([[step, low, high], cutoffs.ravel(), weights.ravel()])
    if (
        step.ndim
        or cutoffs.ndim != 1
        or weights.ndim != 1
        or len(weights) not in (2, 4, 16)
        or len(cutoffs) != len(weights) - 1
        or not np.isfinite(numbers).all()
        or step <= 0
        or (np.diff(cutoffs) < 0).any()
        or (np.diff(weights) < 0).any()
    ):
        raise CorruptFileError(f"{folder / TABLES}: expected rising numbers, 2, 4 or 16 weights of them; {AGAIN}")
    if not shifted.size or shifted.shape[1] * (len(weights).bit_length() - 1) % 8:
        raise CorruptFileError(f"{folder / CENTROIDS}: no centroids of {len(weights)} weights; {AGAIN}")
    two_level = tables.get("assignment", "exact") == "two_level"
    exact = None
    if "exact" in tables:
        exact = mapped(folder / EXACT)
        if exact.dtype.kind != "f" or exact.shape != shifted.shape or not np.isfinite(exact).all():
            raise CorruptFileError(f"{folder / EXACT}: expected {shifted.shape} finite numbers; {AGAIN}")
        exact = exact.astype(np.float32)
    inverse_lengths = np.linspace(low, high, 256).astype(np.float32)
    return Codec(shifted, float(step), cutoffs, weights, inverse_lengths, exact, two_level)
