"""What a GPU does while an index is built, nearest centroids and sums, has the bytes of a CPU."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba", reason="needs lotte-bench[colbert]")

from on_gpu import few, runs, seeds, tensor

from retrievers.colbert.index import build
from retrievers.colbert.index import codec as codecs
from retrievers.colbert.index.codec import CodecConfig
from retrievers.colbert.kernels import cpu, gpu, reference
from retrievers.colbert.kernels.arrays import Groups, Reach
from retrievers.colbert.kernels.gpu_two_level import GpuTwoLevel


@runs
@few
@given(seeds, *map(st.sampled_from, ([0, 1, 127, 130], [1, 2, 128, 129, 300], [16, 48, 128, 272], [1, 2, 127])))
def test_the_nearest_centroid_is_the_first_of_equals(rng, num_points, num_centroids, dim, top):
    points = rng.integers(-top - 1, top + 1, (num_points, dim)).astype(np.int8)
    centroids = (128 + rng.integers(-top, top + 1, (num_centroids, dim))).astype(np.uint8)
    assert np.array_equal(gpu.nearest(points, centroids), reference.nearest(points, centroids))


@runs
@pytest.mark.parametrize(("near", "far"), [(129, 0), (127, 255)])
def test_the_largest_products_there_are_fit(near, far):
    points = np.full((1, 1024), -128, np.int8)
    centroids = np.array([[near], [far], [far]], np.uint8).repeat(1024, 1)
    assert gpu.nearest(points, centroids).tolist() == reference.nearest(points, centroids).tolist()


@runs
def test_points_that_are_on_the_device_stay_there():
    rng = np.random.default_rng(0)
    points, centroids = rng.integers(-9, 9, (50, 32)).astype(np.int8), rng.integers(0, 256, (7, 32)).astype(np.uint8)
    centroid_ids = gpu.nearest(tensor(points), tensor(centroids))
    assert str(centroid_ids.dtype) == "torch.int32" and np.array_equal(centroid_ids.cpu(), reference.nearest(points, centroids))
    for ours, theirs in zip(gpu.sums(tensor(points), centroid_ids, 7), cpu.sums(points, centroid_ids.cpu().numpy(), 7), strict=True):
        assert np.array_equal(ours.cpu(), theirs)


@runs
@few
@given(seeds, *map(st.sampled_from, ([0, 1, 40], [1, 40, 150], [1, 6, 20], [2, 127], [(1, 0), (4, 200), (16, 154), (20, 0)])))
def test_the_nearest_centroid_of_some_groups_is_that_of_the_judge(rng, num_points, num_centroids, num_groups, top, reach):
    points = rng.integers(-top - 1, top + 1, (num_points, 32)).astype(np.int8)
    centroids, centres = (
        (128 + rng.integers(-top, top + 1, (count, 32))).astype(np.uint8) for count in (num_centroids, num_groups)
    )
    of_group = rng.integers(0, num_groups, num_centroids)
    members = np.argsort(of_group, kind="stable")
    starts = np.searchsorted(of_group[members], np.arange(num_groups + 1))
    groups = Groups(centres, members.astype(np.int32), starts.astype(np.int64))
    found = GpuTwoLevel(centroids, groups, Reach(*reach), gpu.device()).nearest(tensor(points))
    assert found.cpu().tolist() == reference.nearest_in_groups(points, centroids, groups, Reach(*reach)).tolist()


@runs
@pytest.mark.parametrize("assignment", ["exact", "two_level"])
def test_an_index_built_on_a_gpu_has_the_same_bytes(tmp_path, monkeypatch, assignment):
    rng = np.random.default_rng(2)
    rows, lengths = rng.normal(size=(400, 32)), np.array([0, 3, 97, 200, 100])
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    monkeypatch.setattr(gpu, "POINTS", 150)
    monkeypatch.setattr(codecs, "SLICE", 64)
    made = []
    for name, where, threads in (("cpu", None, 1), ("gpu", gpu.device(), 2)):
        (tmp_path / name).mkdir()
        config = CodecConfig(centroids=40, assignment=assignment)
        source = build.Arrays(rows, lengths)
        build.build(tmp_path / name, source, config, threads=threads, say=lambda line: None, gpu=where)
        made.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert made[0] == made[1] and "centroids.npy" in made[0]
