"""Tokens find their centroids by two levels: the twin's answer, the same bytes however it is cut, nearly all the nearest."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from late_vectors import answers, built, unit, vectors, without_hashes

pytest.importorskip("numba", reason="late interaction needs the extra 'colbert'")
from lotte import Doc, Docs
from retrievers.colbert import retriever as recipe
from retrievers.colbert.index import build, codec, kmeans
from retrievers.colbert.index.codec import CodecConfig
from retrievers.colbert.kernels import cpu, reference
from retrievers.colbert.kernels.arrays import Groups, Reach


@st.composite
def in_groups(draw, dims=(24, 128)):
    """Points, centroids, and any groups of them: some empty, some of more than a register has lanes, centres alike."""
    random, dim = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.sampled_from(dims))
    top = draw(st.sampled_from([2, 127]))  # coarse numbers make ties
    num_centroids, num_groups = draw(st.integers(1, 300)), draw(st.sampled_from([1, 3, 16, 33]))
    points, centroids, centres = (
        random.integers(-top - 1, top + 1, (count, dim)).astype(np.int8)
        for count in (draw(st.integers(0, 200)), num_centroids, num_groups)
    )
    group_K = random.integers(0, draw(st.integers(1, num_groups)), num_centroids)
    members = np.argsort(group_K, kind="stable")
    starts = np.searchsorted(group_K[members], np.arange(num_groups + 1))
    shifted = [rows.view(np.uint8) ^ 128 for rows in (centroids, centres)]
    return points, shifted[0], Groups(shifted[1], members.astype(np.int32), starts.astype(np.int64))


@given(in_groups(), st.sampled_from([(1, 0), (3, 128), (3, 0), (16, 154), (16, 230), (16, 0), (16, 256)]))
@settings(max_examples=60, deadline=None)
def test_the_nearest_centroid_of_some_groups_is_the_same(case, reach):
    points_NH, centroids_KH, groups = case
    found = cpu.TwoLevel(centroids_KH, groups, Reach(*reach))
    truth = reference.nearest_in_groups(points_NH, centroids_KH, groups, Reach(*reach))
    assert (found.nearest(points_NH) == truth).all() and (found._by_product(points_NH) == truth).all()


@given(in_groups())
@settings(max_examples=60, deadline=None)
def test_the_nearest_centroid_of_all_groups_is_the_nearest_of_all(case):
    points_NH, centroids_KH, groups = case
    truth = reference.nearest(points_NH, centroids_KH)
    for nearest in (reference.nearest_in_groups, lambda *given: cpu.TwoLevel(*given[1:]).nearest(given[0])):
        assert (nearest(points_NH, centroids_KH, groups, Reach(len(groups.centres), 0)) == truth).all()


@given(in_groups(dims=[128]), st.integers(1, 70))
@settings(max_examples=20, deadline=None)
def test_where_a_batch_of_points_begins_changes_no_centroid(case, batch):
    points_NH, centroids_KH, groups = case
    found = cpu.TwoLevel(centroids_KH, groups, Reach(16, 154))
    parts = [found.nearest(points_NH[first : first + batch]) for first in range(0, len(points_NH), batch)]
    assert np.concatenate([[], *parts]).tolist() == found.nearest(points_NH).tolist()


@pytest.mark.parametrize("dim", [128, 384])
def test_the_largest_products_with_centres_fit(dim):
    """4,096 groups and products as large, and as small, as bytes make them."""
    points_NH = np.repeat(np.array([[-128], [127]], np.int8), dim, axis=1)
    centres = np.repeat(np.array([[0], [255]], np.uint8), dim, axis=1)[np.arange(4096) % 2]
    groups = Groups(centres, np.arange(4096, dtype=np.int32), np.arange(4097))
    truth = reference.nearest_in_groups(points_NH, centres, groups, Reach(3, 0))
    assert truth.tolist() == cpu.TwoLevel(centres, groups, Reach(3, 0)).nearest(points_NH).tolist() == [0, 1]


def test_auto_takes_two_levels_from_many_centroids_on(tmp_path, monkeypatch):
    rows, lengths = vectors(300)
    _, exact = built(tmp_path / "exact", rows, lengths, assignment="exact")
    _, by_two = built(tmp_path / "two_level", rows, lengths, assignment="two_level")
    assert "assignment" not in json.loads(exact["codec.json"])  # the bytes of an index of before
    assert json.loads(by_two["codec.json"])["assignment"] == "two_level"
    assert built(tmp_path / "few", rows, lengths)[1] == exact
    monkeypatch.setattr(kmeans, "MANY_CENTROIDS", 512)
    assert built(tmp_path / "many", rows, lengths)[1] == by_two


def test_of_a_codec_of_two_levels_every_part_is_coded_as_the_whole_is():
    """So --add, which codes a segment of its own, goes on as the index began."""
    rows = unit(np.random.default_rng(0).normal(size=(5000, 32))).astype(np.float16)
    made = codec.train(rows, len(rows), CodecConfig(centroids=600, assignment="two_level"))
    whole = codec.encode(made, rows)
    some = codec.encode(made, rows[1000:1700], threads=2)
    assert whole.centroid_ids_N[1000:1700].tolist() == some.centroid_ids_N.tolist()
    points = reference.as_bytes(rows.astype(np.float32))
    truth = reference.nearest_in_groups(points, made.shifted, kmeans.groups_of(made.shifted), kmeans.REACH)
    assert whole.centroid_ids_N.tolist() == truth.tolist() != reference.nearest(points, made.shifted).tolist()


def test_two_levels_find_nearly_all_nearest_centroids():
    """4,096 centroids as k-means leaves them, and points around directions as frequent as words are."""
    random = np.random.default_rng(0)
    frequent = 1 / np.arange(1, 6001) ** 0.9
    senses = unit(random.normal(size=(6000, 64)) + 1.5 * random.normal(size=(60, 64))[random.integers(0, 60, 6000)])
    rows = unit(senses[random.choice(6000, 60_000, p=frequent / frequent.sum())] + 0.07 * random.normal(size=(60_000, 64)))
    points = reference.as_bytes(rows)
    made = kmeans.kmeans(points[:40_000], 4096, iterations=2, seed=0, two_level=True)
    found, truth = (kmeans.nearest(points[40_000:], made.shifted, threads=2, two_level=how) for how in (True, False))
    assert (found == truth).mean() > 0.96


def test_the_groups_of_centroids_are_all_of_them_and_the_same_on_any_number_of_threads():
    shifted = np.random.default_rng(0).integers(1, 256, (1000, 32)).astype(np.uint8)
    one, three = (kmeans.groups_of(shifted, threads=threads) for threads in (1, 3))
    assert sorted(one.members.tolist()) == list(range(1000)) and one.starts[-1] == 1000 and len(one.centres) == 96
    assert all((getattr(one, name) == getattr(three, name)).all() for name in ("centres", "members", "starts"))


@pytest.mark.parametrize("made", [CodecConfig, lambda **given: recipe.LateInteraction("shipped", **given)])
def test_an_assignment_that_there_is_not_is_one_line(made):
    with pytest.raises(ValueError, match="assignment must be one of auto, exact, two_level, not 'nearest'"):
        made(assignment="nearest")


def test_more_dimensions_than_two_levels_take_are_looked_through_in_full():
    assert not kmeans.takes_two_levels("auto", 1 << 16, 1032) and kmeans.takes_two_levels("auto", 1 << 16, 1024)
    with pytest.raises(ValueError, match="assignment=two_level takes 1,024 dimensions at most, not 1,032"):
        kmeans.takes_two_levels("two_level", 10, 1032)


def test_a_plan_knows_of_two_levels():
    exact, auto = (build.plan(200_000, 120, 128, CodecConfig(assignment=name)) for name in ("exact", "auto"))
    assert auto.products < exact.products / 20 and auto.disk == exact.disk
    few = [build.plan(100, 120, 128, CodecConfig(assignment=name)).products for name in ("exact", "auto")]
    assert few[0] == few[1]


def test_an_index_from_before_there_was_a_choice_opens_and_grows_by_exact_assignment(late_system, late_index, monkeypatch):
    without_hashes(late_index)
    meta = json.loads((late_index / "meta.json").read_text())
    del meta["recipe"]["options"]["assignment"]
    (late_index / "meta.json").write_text(json.dumps(meta))
    monkeypatch.setattr(kmeans, "MANY_CENTROIDS", 1)
    monkeypatch.setattr(kmeans, "groups_of", None)  # no two levels
    late_system.change(late_index, delete=(), add=Docs((Doc("mine", "telescope star moon sky"),)))
    assert "mine" in answers(late_system, late_index, "telescope star moon sky", k=61).doc_ids("q")
