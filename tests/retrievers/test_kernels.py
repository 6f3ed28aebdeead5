"""The compiled stages of late interaction say what the plain ones say: all bit widths, ragged lengths, empties, ties."""

import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba", reason="the compiled kernels need the extra 'colbert'")
from retrievers.colbert.kernels import centroids, cpu, reference
from retrievers.colbert.kernels.arrays import CentroidScores, Codec, SearchContext, Segment, quantised

# dimensions, bits, and bytes of a centroid's number: rows of a register or several, of a part of one, of bytes that no
# register divides, of plain loops. To compile for a shape takes seconds, so not every two of them meet
ALL_SHAPES = [(128, 2, 2), (96, 2, 4), (128, 4, 2), (48, 1, 2), (20, 2, 4), (128, 2, 4), (128, 1, 4), (64, 2, 2), (24, 1, 2), (8, 4, 4), (384, 2, 2), (96, 4, 2)]


IS_ASKED_FOR = os.environ.get("LOTTE_KERNELS") or "played_tiles" in sys.modules  # test_forms.py runs this file again


SHAPES = st.sampled_from(ALL_SHAPES[:5] if IS_ASKED_FOR else ALL_SHAPES)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@st.composite
def cases(draw):
    """A codec, a query, and a segment: some documents empty, some alike, centroid numbers in both widths."""
    dim, bits, id_bytes = draw(SHAPES)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    num_centroids = draw(st.sampled_from([1, 2, 4, 7, 64]))
    weights = np.sort(random.normal(0, 0.05, 2**bits)).astype(np.float32)
    codec = Codec(
        random.integers(1, 256, (num_centroids, dim), dtype=np.uint8), 0.003, weights[:-1], weights,
        np.linspace(0.8, 1.2, 256).astype(np.float32),
    )  # fmt: skip
    counts = np.array(draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 16, 31, 33, 70]), min_size=1, max_size=9)))
    starts = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
    ids = random.integers(0, num_centroids, starts[-1]).astype(f"u{id_bytes}")
    residuals = random.integers(0, 256, (starts[-1], dim * bits // 8), dtype=np.uint8)
    if draw(st.booleans()):  # the same token all over: every maximum is a tie
        ids[:], residuals[:] = 0, residuals[:1] if len(residuals) else residuals
    query = quantised(unit(random.normal(size=(draw(st.sampled_from([1, 5, 31, 32, 33, 70])), dim))))
    return codec, query, segment(codec, ids, residuals, random.integers(0, 256, starts[-1], dtype=np.uint8), starts)


def segment(codec, ids, residuals, lengths, starts):
    """A segment whose inverted lists are those of its tokens; a token of no centroid that there is has no list."""
    stream = []
    inside = np.minimum(ids, codec.num_centroids - 1)
    made = cpu.lists(inside, starts, codec.num_centroids, lambda size: stream.append(np.zeros(size, np.uint8)) or stream[0])
    return Segment(ids, residuals, lengths, starts, stream[0], made)


def all_rows(segment):
    return np.arange(segment.num_documents, dtype=np.int32)


@given(cases(), st.sampled_from([1, 2, 3, 4, 5, 8, 16, 17, 40]))  # more than 16 of 64 are sorted
@settings(max_examples=60, deadline=None)
def test_the_best_centroids_and_their_scores_are_the_same_integers(case, probe):
    codec, query, _ = case
    scores, truth = cpu.centroid_scores(codec, query, probe), reference.context(codec, query, probe).scores
    assert all((ours == theirs).all() for ours, theirs in zip(scores, truth, strict=True))


@given(cases())
@settings(max_examples=60, deadline=None)
def test_maxsim_by_bytes_is_the_same(case):
    codec, query, segment = case
    context, rows = reference.context(codec, query, 1), all_rows(segment)[::-1].copy()
    ours, truth = (kernels.quantized_maxsim(segment, context, rows) for kernels in (cpu, reference))
    np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-4)


@given(cases())
@settings(max_examples=60, deadline=None)
def test_maxsim_by_bytes_of_listed_tokens_is_the_same(case):
    codec, query, segment = case
    context, rows = reference.context(codec, query, 1), all_rows(segment)[::-1].copy()
    wanted = np.arange(codec.num_centroids) % 2 == 0
    listed, truly = (kernels.tokens_in(segment, wanted, rows) for kernels in (cpu, reference))
    of_documents = np.split(listed.tokens, listed.starts[1:-1])
    assert [sorted(tokens.tolist()) for tokens in of_documents] == [tokens.tolist() for tokens in truly]
    ours = cpu.quantized_maxsim(segment, context, rows, listed)
    np.testing.assert_allclose(ours, reference.quantized_maxsim(segment, context, rows, truly), rtol=1e-5, atol=1e-4)


@given(cases())
@settings(max_examples=60, deadline=None)
def test_one_token_maxsim_is_the_same(case):
    codec, query, segment = case
    context, rows = reference.context(codec, query, 1), all_rows(segment)[::-1].copy()
    ours, truth = (kernels.one_token_maxsim(segment, context, rows) for kernels in (cpu, reference))
    np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-4)


@given(cases())
@settings(max_examples=60, deadline=None)
def test_centroid_interaction_is_the_same_integers(case):
    codec, query, segment = case
    context, rows = reference.context(codec, query, 1), all_rows(segment)[::-1].copy()
    ours, truth = (kernels.centroid_interaction(segment, context, rows) for kernels in (cpu, reference))
    assert (ours == truth).all()


def measured(codec, segment):
    """Return a codec and a segment with the lengths that tokens have, a few of them longer or shorter than any byte says."""
    ids, residuals = segment.centroid_ids, segment.residuals
    vectors = codec.centroids[ids] + codec.weights[reference.unpack(residuals, bits=codec.bits)]
    inverse = 1 / np.maximum(np.linalg.norm(vectors, axis=1), 1e-6) if len(ids) else np.ones(1)
    low, high = np.quantile(inverse, [0.02, 0.98])
    lengths = np.rint((inverse - low) / max(high - low, 1e-12) * 255).clip(0, 255).astype(np.uint8)
    codec = replace(codec, inverse_lengths=np.linspace(low, high, 256).astype(np.float32))
    return codec, replace(segment, lengths=lengths[: len(ids)])


@given(cases())
@settings(max_examples=60, deadline=None)
def test_the_tokens_that_bytes_cannot_tell_from_the_best_are_the_same(case):
    codec, query, segment = case
    context, rows = reference.context(codec, query, 1), all_rows(segment)
    close = cpu.Close.of(segment, context, rows)
    cpu.quantized_maxsim(segment, context, rows, None, close)
    bits = np.unpackbits(close.masks.view(np.uint8), axis=1, bitorder="little").astype(bool)
    assert not bits[:, query.count :].any()
    for row, truth in enumerate(reference.close_tokens(segment, context, rows)):
        some = slice(segment.starts[row], segment.starts[row + 1])
        if some.start == some.stop:
            continue
        by_bytes = reference.token_scores(segment, context, some)
        gap = by_bytes - by_bytes.max(axis=0) + query.doubts(codec).ravel()[: query.count]
        assert ((bits[close.starts[row] : close.starts[row + 1], : query.count] == truth) | (np.abs(gap) < 1e-4)).all()


@given(cases(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_score_in_float32_is_maxsim_over_the_decoded_vectors(case, of_others):
    codec, query, segment = case
    if of_others:
        near = np.random.default_rng(0).uniform(-0.5, 0.5, codec.centroids.shape) * codec.step
        codec = replace(codec, exact=(codec.centroids + near).astype(np.float32))
    codec, segment = measured(codec, segment)
    context, rows = SearchContext(codec, query, cpu.centroid_scores(codec, query, 1)), all_rows(segment)
    close = cpu.Close.of(segment, context, rows)
    cpu.quantized_maxsim(segment, context, rows, None, close)
    some = rows[::-2].copy()
    ours, truth = cpu.exact_maxsim(segment, context, some, close, some), reference.exact_maxsim(segment, context, some)
    np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-4)


@given(cases(), st.lists(st.integers(1, 40), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_maxsim_of_several_queries_is_the_same(case, lengths):
    starts = case[-1].starts
    starts_B = np.concatenate([[0], np.cumsum(lengths)])
    sims = np.random.default_rng(0).normal(size=(starts[-1], starts_B[-1])).astype(np.float32)
    ours = cpu.maxsims(sims, starts, starts_B)
    np.testing.assert_allclose(ours, reference.maxsims(sims, starts, starts_B), rtol=1e-5, atol=1e-5)


@given(cases())
@settings(max_examples=40, deadline=None)
def test_decoding_is_the_same(case):
    codec, _, segment = case
    centroid_ids, residuals = segment.centroid_ids, segment.residuals
    for one in (codec, replace(codec, exact=codec.centroids + np.float32(0.01))):  # of an index of others
        ours = cpu.decode(one, centroid_ids, residuals)
        np.testing.assert_allclose(ours, reference.decode(one, centroid_ids, residuals), atol=1e-5)


@given(st.integers(0, 2**32), st.integers(0, 20), st.sampled_from([3, 16, 128]))
def test_vectors_become_the_same_bytes(seed, count, dim):
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    vectors[::5] = 0
    assert (cpu.as_bytes(vectors) == reference.as_bytes(vectors)).all()


@given(
    st.integers(0, 200), st.integers(1, 300), st.sampled_from([4, 24, 64, 128]), st.integers(0, 2**32), st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_the_nearest_centroid_is_the_first_of_equals(points, num_centroids, dim, seed, coarse):
    random = np.random.default_rng(seed)
    top = 2 if coarse else 127  # coarse numbers make ties
    points_NH = random.integers(-top, top + 1, (points, dim)).astype(np.int8)
    centroids_KH = random.integers(128 - top, 129 + top, (num_centroids, dim)).astype(np.uint8)
    truth = reference.nearest(points_NH, centroids_KH)
    assert (cpu.nearest(points_NH, centroids_KH) == truth).all()
    assert (centroids._nearest_by_product(points_NH, centroids_KH) == truth).all()


@given(cases(), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_candidates_and_their_gains_are_the_same(case, probe):
    codec, query, segment = case
    context, scratch = reference.context(codec, query, probe), cpu.Scratch(segment.num_documents)
    wanted, gains = reference.gather(segment, context)
    for _ in range(2):  # what a first query left behind must not matter
        rows = cpu.gather(segment, context, None, scratch)
        assert rows.tolist() == wanted.tolist()
        assert cpu.probe_gains(segment, context, rows, scratch).tolist() == gains.tolist()


@given(cases(), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_of_the_candidates_only_those_that_are_allowed_are_found(case, probe):
    codec, query, segment = case
    context, allowed = reference.context(codec, query, probe), (all_rows(segment) % 2).astype(np.uint8)
    rows = cpu.gather(segment, context, allowed, cpu.Scratch(segment.num_documents))
    assert rows.tolist() == [row for row in reference.gather(segment, context)[0] if allowed[row]]


def listed(stream, list_starts, documents):
    """A segment of nothing but inverted lists, and a query that probes the first of them."""
    none = np.empty(0, np.uint8)
    scores = CentroidScores(np.zeros((1, 1, 32), np.int16), np.zeros((1, 1, 32), np.int8), np.zeros((1, 1), np.int32))
    starts = np.zeros(documents + 1, np.int64)
    return Segment(none, none.reshape(0, 1), none, starts, stream, list_starts), SearchContext(None, None, scores)


def test_long_differences_take_several_bytes():
    starts = np.zeros(40_001, np.int64)  # documents 0, 200 and 39,999 have a token, the others none
    starts[1:], starts[201:], starts[40_000:] = 1, 2, 3
    made = []
    list_starts = cpu.lists(
        np.zeros(3, np.uint16), starts, 1, lambda size: made.append(np.zeros(size, np.uint8)) or made[0]
    )
    rows = cpu.gather(*listed(made[0], list_starts, 40_000), None, cpu.Scratch(40_000))
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
    centroid_ids = random.integers(0, 5, tokens).astype(np.int32)
    vectors = codec.centroids[centroid_ids] + random.normal(0, 0.1, (tokens, 32)).astype(np.float32)
    ours = cpu.residuals(codec, vectors, centroid_ids)
    rest = vectors - codec.centroids[centroid_ids]
    assert (
        ours.residuals_NP == reference.pack((rest[:, :, None] > cutoffs).sum(axis=2).astype(np.uint8), bits=bits)
    ).all()
    lengths = np.linalg.norm(codec.centroids[centroid_ids] + weights[reference.unpack(ours.residuals_NP, bits=bits)], axis=1)
    inside = (1 / lengths > 0.5) & (1 / lengths < 2)
    assert np.abs(codec.inverse_lengths[ours.lengths_N] - 1 / lengths)[inside].max(initial=0) <= 1.5 / 255 / 2 + 1e-4


def one_codec(random):
    weights = np.array([-0.1, -0.03, 0.03, 0.1], np.float32)
    shifted = random.integers(1, 256, (4, 128), dtype=np.uint8)
    return Codec(shifted, 0.003, weights[:-1], weights, np.ones(256, np.float32))


def test_the_last_tokens_of_a_file_are_read_without_passing_its_end(tmp_path):
    """Vector code reads 64 bytes at a time; behind a mapped file there may be nothing at all."""
    random = np.random.default_rng(0)
    codec, tokens = one_codec(random), 4096 // 32  # residuals fill one page to its last byte
    (tmp_path / "residuals").write_bytes(random.bytes(4096))
    residuals = np.memmap(tmp_path / "residuals", np.uint8, "r").reshape(tokens, 32)
    starts, lengths = np.array([0, tokens - 1, tokens]), np.zeros(tokens, np.uint8)
    context = reference.context(codec, quantised(unit(random.normal(size=(32, 128)))), 1)
    part, rows = segment(codec, np.zeros(tokens, np.uint16), residuals, lengths, starts), np.array([0, 1], np.int32)
    ours, truth = (kernels.quantized_maxsim(part, context, rows) for kernels in (cpu, reference))
    np.testing.assert_allclose(ours, truth, rtol=1e-5)


@pytest.mark.parametrize(
    "stage",
    [
        lambda part, context, rows: cpu.centroid_interaction(part, context, rows),
        lambda part, context, rows: cpu.one_token_maxsim(part, context, rows),
        lambda part, context, rows: cpu.tokens_in(part, np.arange(4) == 3, rows).tokens,
        lambda part, context, rows: cpu.quantized_maxsim(part, context, rows),
        lambda part, context, rows: cpu.decode(context.codec, part.centroid_ids, part.residuals),
    ],
    ids=["centroid_interaction", "one_token_maxsim", "tokens_in", "quantized_maxsim", "decode"],
)
def test_a_token_of_no_centroid_reads_nobody_elses_memory(stage):
    random = np.random.default_rng(0)
    context = reference.context(one_codec(random), quantised(unit(random.normal(size=(32, 128)))), 1)
    damaged, last = (
        segment(context.codec, np.full(8, number, np.uint16), np.zeros((8, 32), np.uint8), np.zeros(8, np.uint8), np.array([0, 8]))
        for number in (65_535, 3)
    )
    rows = np.zeros(1, np.int32)
    assert (stage(damaged, context, rows) == stage(last, context, rows)).all()


# a row that the index does not have; a list that goes on after its end; rows below the first one
@pytest.mark.parametrize("stream", [[255, 255, 127], [255], [254, *[255] * 8, 1], [*[128] * 9, 1]])
def test_a_damaged_list_reads_nobody_elses_memory(stream):
    part, context = listed(np.array(stream, np.uint8), np.array([0, len(stream)]), 1)
    scratch = cpu.Scratch(1)
    assert len(cpu.gather(part, context, None, scratch)) == 0 and not scratch.marks.any()
    assert cpu.probe_gains(part, context, np.zeros(1, np.int32), scratch) == 0
