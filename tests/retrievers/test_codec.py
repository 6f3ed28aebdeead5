"""Centroids and codes: the same on any number of threads, and as exact as the literature says."""

import numpy as np
import pytest
from late_vectors import unit, vectors

pytest.importorskip("torch", reason="late interaction needs the extra 'colbert'")
from retrievers.colbert.index import codec, kmeans
from retrievers.colbert.index.codec import CodecConfig
from retrievers.colbert.kernels import reference
from retrievers.colbert.kernels.arrays import packed_width


def test_centroids_are_the_same_on_any_number_of_threads():
    points = np.random.default_rng(0).integers(-90, 90, (40_000, 32)).astype(np.int8)
    first, *others = [kmeans.kmeans(points, 50, iterations=3, seed=7, threads=threads) for threads in (1, 2, 5)]
    assert all((first.shifted == other.shifted).all() and first.step == other.step for other in others)
    assert len(np.unique(first.shifted, axis=0)) == 50


def test_k_means_finds_clusters_that_are_there():
    random = np.random.default_rng(1)
    centres = unit(random.normal(size=(8, 32)))
    points = unit(centres[np.arange(4000) % 8] + 0.05 * random.normal(size=(4000, 32)))
    found = kmeans.kmeans(np.rint(points * 127).astype(np.int8), 32, iterations=10, seed=0)
    centroids = (found.shifted.astype(np.float32) - 128) * found.step
    assert ((centres @ centroids.T).max(axis=1) > 0.98).all()
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=0.02)


def test_empty_clusters_are_filled_again():
    points = np.repeat(np.eye(2, 8, dtype=np.int8) * 100, 50, axis=0)
    found = kmeans.kmeans(points, 3, iterations=2, seed=0)
    assert found.shifted.shape == (3, 8)
    assert (np.linalg.norm(found.shifted.astype(float) - 128, axis=1) > 100).all()


@pytest.mark.parametrize("bits, least", [(1, 0.9), (2, 0.96), (4, 0.99)])
def test_more_bits_keep_more_of_a_vector(bits, least):
    rows, _ = vectors(400)
    made = codec.train(rows, len(rows), CodecConfig(bits=bits, centroids=32))
    encoded = codec.encode(made, rows)
    decoded = reference.decode(made, encoded.centroid_ids_N, encoded.residuals_NP)
    cosines = (decoded * rows.astype(np.float32)).sum(axis=1)
    assert least < cosines.mean() <= 1
    assert encoded.residuals_NP.shape[1] == 32 * bits // 8 and encoded.centroid_ids_N.dtype == np.uint16


@pytest.mark.parametrize("steps, error", [(2, 0.3634), (4, 0.1175), (16, 0.009497)])
def test_a_codebook_has_the_least_error_there_is(steps, error):
    """Max 1960, "Quantizing for minimum distortion", table I: the errors for a normal distribution."""
    numbers = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    cutoffs, weights = codec.codebook(numbers, steps)
    found = float(((weights[np.searchsorted(cutoffs, numbers)] - numbers) ** 2).mean())
    assert found == pytest.approx(error, rel=0.03)


def test_a_codec_of_the_paper_has_the_paper_s_size():
    assert (
        packed_width(128, 1) + 4 == 20
        and packed_width(128, 2) + 4 == 36
        and packed_width(128, 4) + 4 == 68
    )
    with pytest.raises(ValueError, match="12 dimensions of 1 bits do not end on a byte"):
        packed_width(12, 1)
