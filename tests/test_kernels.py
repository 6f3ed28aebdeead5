"""The compiled stages of late interaction say what the plain ones say: all bit widths, ragged lengths, empties, ties."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba", reason="the compiled kernels need the extra 'colbert'")

from retrievers.colbert.kernels import candidates as cpu_rows
from retrievers.colbert.kernels import centroids as cpu_cells
from retrievers.colbert.kernels import cpu, reference
from retrievers.colbert.kernels.arrays import Codec, quantised

SHAPES = st.sampled_from([(128, 1), (128, 2), (128, 4), (64, 2), (96, 2), (48, 1), (24, 1), (8, 4), (20, 2), (384, 2), (96, 4)])


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@st.composite
def cases(draw):
    """A codec, a query, and a segment's arrays: some documents empty, some alike, cells in both widths."""
    dim, bits = draw(SHAPES)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    num_cells = draw(st.sampled_from([1, 2, 4, 7, 64]))
    weights = np.sort(random.normal(0, 0.05, 2**bits)).astype(np.float32)
    codec = Codec(
        random.integers(1, 256, (num_cells, dim), dtype=np.uint8), 0.003, weights[:-1], weights,
        np.linspace(0.8, 1.2, 256).astype(np.float32),
    )  # fmt: skip
    lengths = np.array(draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 16, 31, 33, 70]), min_size=1, max_size=9)))
    starts = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
    cells = random.integers(0, num_cells, starts[-1]).astype(draw(st.sampled_from([np.uint16, np.uint32])))
    residuals = random.integers(0, 256, (starts[-1], dim * bits // 8), dtype=np.uint8)
    if draw(st.booleans()):  # the same token all over: every maximum is a tie
        cells[:], residuals[:] = 0, residuals[:1] if len(residuals) else residuals
    query = quantised(unit(random.normal(size=(draw(st.sampled_from([1, 5, 31, 32, 33, 70])), dim))))
    return codec, query, cells, residuals, random.integers(0, 256, starts[-1], dtype=np.uint8), starts


@given(cases(), st.sampled_from([1, 2, 3, 4, 5, 8, 16, 17, 40]))  # more than 16 of 64 are sorted
@settings(max_examples=60, deadline=None)
def test_the_best_cells_and_their_scores_are_the_same_integers(case, probe):
    codec, query, *_ = case
    scores = cpu.cell_scores(codec, query, probe)
    truth = reference.cell_scores(codec, query)
    assert (scores.fine == truth).all()
    assert (scores.coarse == reference.coarse(truth)).all()
    assert (scores.cells == reference.best_cells(truth, query.count, min(probe, codec.num_centroids))).all()


@given(cases())
@settings(max_examples=60, deadline=None)
def test_scores_by_bytes_are_the_same(case):
    codec, query, cells, residuals, lengths, starts = case
    scores = reference.cell_scores(codec, query)
    rows = np.arange(len(starts) - 1, dtype=np.int32)[::-1].copy()
    arrays = (cells, residuals, lengths, starts)
    wanted = np.arange(codec.num_centroids) % 2 == 0
    lists = (
        (None, None),
        (cpu.tokens_in(cells, starts, wanted, rows), reference.tokens_in(cells, starts, wanted, rows)),
    )
    for listed, truly in lists:
        if listed is not None:
            of_documents = np.split(listed.tokens, listed.starts[1:-1])
            assert [sorted(tokens.tolist()) for tokens in of_documents] == [tokens.tolist() for tokens in truly]
        ours = cpu.quick_maxsim(codec, query, *arrays, scores, rows, listed)
        truth = reference.quick_maxsim(codec, query, *arrays, scores, rows, truly)
        np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-4)
    coarse = reference.coarse(scores)
    ours = cpu.leading_maxsim(codec, query, *arrays, coarse, rows)
    np.testing.assert_allclose(ours, reference.leading_maxsim(codec, query, *arrays, coarse, rows), rtol=1e-5, atol=1e-4)
    assert (cpu.interact(cells, starts, coarse, rows) == reference.interact(cells, starts, coarse, rows)).all()


def measured(codec, cells, residuals):
    """Return a codec and bytes for the lengths that tokens have, a few of them longer or shorter than any byte says."""
    vectors = codec.centroids[cells] + codec.weights[reference.unpack(residuals, bits=codec.bits)]
    inverse = 1 / np.maximum(np.linalg.norm(vectors, axis=1), 1e-6) if len(cells) else np.ones(1)
    low, high = np.quantile(inverse, [0.02, 0.98])
    lengths = np.rint((inverse - low) / max(high - low, 1e-12) * 255).clip(0, 255).astype(np.uint8)
    return replace(codec, inverse_lengths=np.linspace(low, high, 256).astype(np.float32)), lengths[: len(cells)]


@given(cases())
@settings(max_examples=60, deadline=None)
def test_the_tokens_that_bytes_cannot_tell_from_the_best_are_the_same(case):
    codec, query, cells, residuals, lengths, starts = case
    scores, rows = reference.cell_scores(codec, query), np.arange(len(starts) - 1, dtype=np.int32)
    close = cpu.Close.of(codec, query, starts, rows)
    cpu.quick_maxsim(codec, query, cells, residuals, lengths, starts, scores, rows, None, close)
    bits = np.unpackbits(close.masks.view(np.uint8), axis=1, bitorder="little").astype(bool)
    assert not bits[:, query.count :].any()
    for row, truth in enumerate(reference.close_tokens(codec, query, cells, residuals, lengths, starts, scores, rows)):
        some = slice(starts[row], starts[row + 1])
        if some.start == some.stop:
            continue
        by_bytes = reference.token_scores(codec, query, cells[some], residuals[some], lengths[some], scores)
        gap = by_bytes - by_bytes.max(axis=0) + query.doubts(codec).ravel()[: query.count]
        assert ((bits[close.starts[row] : close.starts[row + 1], : query.count] == truth) | (np.abs(gap) < 1e-4)).all()


@given(cases(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_score_in_float32_is_maxsim_over_the_decoded_vectors(case, of_others):
    codec, query, cells, residuals, _, starts = case
    if of_others:
        near = np.random.default_rng(0).uniform(-0.5, 0.5, codec.centroids.shape) * codec.step
        codec = replace(codec, exact=(codec.centroids + near).astype(np.float32))
    codec, lengths = measured(codec, cells, residuals)
    rows = np.arange(len(starts) - 1, dtype=np.int32)
    close = cpu.Close.of(codec, query, starts, rows)
    scores = cpu.cell_scores(codec, query, 1).fine
    cpu.quick_maxsim(codec, query, cells, residuals, lengths, starts, scores, rows, None, close)
    some = rows[::-2].copy()
    ours = cpu.maxsim_of(codec, query, cells, residuals, lengths, starts, some, close, some)
    truth = reference.full_maxsim(codec, query, cells, residuals, starts, some)
    np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-4)


@given(cases(), st.lists(st.integers(1, 40), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_maxsim_of_several_queries_is_the_same(case, lengths):
    *_, starts = case
    starts_B = np.concatenate([[0], np.cumsum(lengths)])
    sims = np.random.default_rng(0).normal(size=(starts[-1], starts_B[-1])).astype(np.float32)
    ours = cpu.maxsims(sims, starts, starts_B)
    np.testing.assert_allclose(ours, reference.maxsims(sims, starts, starts_B), rtol=1e-5, atol=1e-5)


@given(cases())
@settings(max_examples=40, deadline=None)
def test_decoding_is_the_same(case):
    codec, _, cells, residuals, *_ = case
    for one in (codec, replace(codec, exact=codec.centroids + np.float32(0.01))):  # of an index of others
        ours = cpu.decode(one, cells, residuals)
        np.testing.assert_allclose(ours, reference.decode(one, cells, residuals), atol=1e-5)


@given(st.integers(0, 2**32), st.integers(0, 20), st.sampled_from([3, 16, 128]))
def test_vectors_become_the_same_bytes(seed, count, dim):
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    vectors[::5] = 0
    assert (cpu.as_bytes(vectors) == reference.as_bytes(vectors)).all()


@given(
    st.integers(0, 200), st.integers(1, 300), st.sampled_from([4, 24, 64, 128]), st.integers(0, 2**32), st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_the_nearest_centroid_is_the_first_of_equals(points, centroids, dim, seed, coarse):
    random = np.random.default_rng(seed)
    top = 2 if coarse else 127  # coarse numbers make ties
    points_NH = random.integers(-top, top + 1, (points, dim)).astype(np.int8)
    centroids_KH = random.integers(128 - top, 129 + top, (centroids, dim)).astype(np.uint8)
    truth = reference.nearest(points_NH, centroids_KH)
    assert (cpu.nearest(points_NH, centroids_KH) == truth).all()
    assert (cpu_cells._nearest_by_product(points_NH, centroids_KH) == truth).all()


@given(cases(), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_candidates_and_what_they_promise_are_the_same(case, probe):
    codec, query, cells, _, _, starts = case
    made = []
    list_starts = cpu.lists(
        cells, starts, codec.num_centroids, lambda size: made.append(np.zeros(size, np.uint8)) or made[0]
    )
    of_rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    lists = [np.unique(of_rows[cells == cell]) for cell in range(codec.num_centroids)]
    scores, _, probed = cpu.cell_scores(codec, query, probe)
    scratch = cpu.Scratch(len(starts) - 1)
    for _ in range(2):  # what a first query left behind must not matter
        rows = cpu.gather(made[0], list_starts, probed, None, scratch)
        truth = reference.gather(lists, probed, scores)
        assert rows.tolist() == truth[0].tolist()
        assert cpu.promises(made[0], list_starts, probed, scores, rows, scratch).tolist() == truth[1].tolist()
    allowed = (np.arange(len(starts) - 1) % 2).astype(np.uint8)
    rows = cpu.gather(made[0], list_starts, probed, allowed, scratch)
    assert rows.tolist() == [row for row in truth[0] if allowed[row]]


def test_long_differences_take_several_bytes():
    cells = np.zeros(3, np.uint16)
    starts = np.zeros(40_001, np.int64)  # documents 0, 200 and 39,999 have a token, the others none
    starts[1:], starts[201:], starts[40_000:] = 1, 2, 3
    made = []
    list_starts = cpu.lists(cells, starts, 1, lambda size: made.append(np.zeros(size, np.uint8)) or made[0])
    rows = cpu.gather(made[0], list_starts, np.zeros((1, 1), np.int32), None, cpu.Scratch(40_000))
    assert rows.tolist() == [0, 200, 39_999]
    assert list_starts.tolist() == [0, 1 + 2 + 3]


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=50), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_of_equal_candidates_the_smaller_rows_stay(values, count):
    rows = np.random.default_rng(0).permutation(len(values)).astype(np.int32)
    ours = cpu.best(rows, np.array(values), count)
    order = sorted(range(len(values)), key=lambda i: (-values[i], rows[i]))[:count]
    assert ours.tolist() == sorted(rows[i] for i in order)


@given(st.sampled_from([1, 2, 4]), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_packing_and_unpacking_is_nothing(bits, seed):
    codes = np.random.default_rng(seed).integers(0, 2**bits, (7, 32), dtype=np.uint8)
    packed = reference.pack(codes, bits=bits)
    assert packed.shape == (7, 32 * bits // 8)
    assert (reference.unpack(packed, bits=bits) == codes).all()


@given(st.sampled_from([1, 2, 4]), st.integers(1, 40), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_residuals_become_the_codes_that_their_cutoffs_ask_for(bits, tokens, seed):
    random = np.random.default_rng(seed)
    cutoffs = np.sort(random.normal(0, 0.1, 2**bits - 1)).astype(np.float32)
    weights = np.sort(random.normal(0, 0.1, 2**bits)).astype(np.float32)
    codec = Codec(
        random.integers(1, 256, (5, 32), dtype=np.uint8), 0.01, cutoffs, weights,
        np.linspace(0.5, 2, 256).astype(np.float32),
    )  # fmt: skip
    cells = random.integers(0, 5, tokens).astype(np.int32)
    vectors = codec.centroids[cells] + random.normal(0, 0.1, (tokens, 32)).astype(np.float32)
    ours = cpu.residuals(codec, vectors, cells)
    rest = vectors - codec.centroids[cells]
    assert (
        ours.residuals_NP == reference.pack((rest[:, :, None] > cutoffs).sum(axis=2).astype(np.uint8), bits=bits)
    ).all()
    lengths = np.linalg.norm(codec.centroids[cells] + weights[reference.unpack(ours.residuals_NP, bits=bits)], axis=1)
    inside = (1 / lengths > 0.5) & (1 / lengths < 2)
    assert np.abs(codec.inverse_lengths[ours.lengths_N] - 1 / lengths)[inside].max(initial=0) <= 1.5 / 255 / 2 + 1e-4


@pytest.mark.parametrize("kernels", ["plain", "vectors"])
def test_less_than_the_processor_has_answers_the_same(kernels):
    """Run this file again with other kernels: where a processor has no more than these, the tests above ran them."""
    if not (cpu.explicit() if kernels == "plain" else cpu_cells.tiled(128)):
        pytest.skip(f"this processor has no more than {kernels}, or fewer were asked for")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", __file__, "-p", "no:cacheprovider", "-k", "not answers_the_same"],
        env={**os.environ, "LOTTE_KERNELS": kernels}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_code_for_matrix_registers_answers_the_same_where_vectors_play_them():
    if not cpu.explicit() or cpu_cells.tiled(128):
        pytest.skip("this processor has matrix registers, or no vectors that could play them")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", __file__, "-p", "played_tiles", "-p", "no:cacheprovider", "-k", "not answers_the_same"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_compiled_code_is_kept_until_one_of_the_sources_changes():
    """By numba itself: until the file of the function does, and most of what is compiled is written elsewhere."""
    assert {made._cache._cache_file._source_stamp for made in (cpu_cells._best_cells, cpu_rows._gather)} == {cpu_cells.SOURCES}


def test_where_nothing_may_be_written_code_is_compiled_anew(monkeypatch, capsys):
    import numba

    njit = numba.njit

    def nowhere(function, **options):
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function 'f': no locator available for file 'x.py'")
        return njit(function, **options)

    monkeypatch.setattr(numba, "njit", nowhere)
    cpu_cells._say_once.cache_clear()
    assert [cpu_cells.compiled(lambda x: x + 1)(2) for _ in range(2)] == [3, 3]
    assert capsys.readouterr().err.count("\n") == 1


def test_the_last_tokens_of_a_file_are_read_without_passing_its_end(tmp_path):
    """Vector code reads 64 bytes at a time; behind a mapped file there may be nothing at all."""
    random = np.random.default_rng(0)
    weights = np.array([-0.1, -0.03, 0.03, 0.1], np.float32)
    codec = Codec(
        random.integers(1, 256, (4, 128), dtype=np.uint8), 0.003, weights[:-1], weights, np.ones(256, np.float32)
    )
    tokens = 4096 // 32  # residuals fill one page to its last byte
    (tmp_path / "residuals").write_bytes(random.bytes(4096))
    residuals = np.memmap(tmp_path / "residuals", np.uint8, "r").reshape(tokens, 32)
    cells, starts = np.zeros(tokens, np.uint16), np.array([0, tokens - 1, tokens])
    query = quantised(unit(random.normal(size=(32, 128))))
    scores = reference.cell_scores(codec, query)
    rows, lengths = np.array([0, 1], np.int32), np.zeros(tokens, np.uint8)
    ours = cpu.quick_maxsim(codec, query, cells, residuals, lengths, starts, scores, rows)
    truth = reference.quick_maxsim(codec, query, cells, residuals, lengths, starts, scores, rows)
    np.testing.assert_allclose(ours, truth, rtol=1e-5)


def test_a_damaged_file_reads_nobody_elses_memory():
    random = np.random.default_rng(0)
    weights = np.array([-0.1, -0.03, 0.03, 0.1], np.float32)
    codec = Codec(
        random.integers(1, 256, (4, 128), dtype=np.uint8), 0.003, weights[:-1], weights, np.ones(256, np.float32)
    )
    query = quantised(unit(random.normal(size=(32, 128))))
    scores = reference.cell_scores(codec, query)
    starts, rows = np.array([0, 8]), np.zeros(1, np.int32)
    cells, residuals, lengths = np.full(8, 65_535, np.uint16), np.zeros((8, 32), np.uint8), np.zeros(8, np.uint8)
    last, coarse = np.full(8, 3, np.uint16), reference.coarse(scores)
    for function in (lambda c: cpu.interact(c, starts, coarse, rows),
                     lambda c: cpu.leading_maxsim(codec, query, c, residuals, lengths, starts, coarse, rows),
                     lambda c: cpu.tokens_in(c, starts, np.arange(4) == 3, rows).tokens,
                     lambda c: cpu.quick_maxsim(codec, query, c, residuals, lengths, starts, scores, rows),
                     lambda c: cpu.decode(codec, c, residuals)):  # fmt: skip
        assert (function(cells) == function(last)).all()
    # a row that the index does not have; a list that goes on behind its end; rows below the first one
    for far in ([255, 255, 127], [255], [254, *[255] * 8, 1], [*[128] * 9, 1]):
        lists = (np.array(far, np.uint8), np.array([0, len(far)]), np.zeros((1, 1), np.int32))
        scratch = cpu.Scratch(1)
        assert len(cpu.gather(*lists, None, scratch)) == 0 and not scratch.marks.any()
        assert cpu.promises(*lists, scores, np.zeros(1, np.int32), scratch) == 0
