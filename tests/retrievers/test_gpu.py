"""The GPU kernels answer as the judge does, and search on a GPU finds what search on a CPU finds, or more.

Without a GPU they run under Triton's interpreter, which conftest.py asks for.
"""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from places import HOUSE

pytest.importorskip("numba", reason="needs lotte-bench[colbert]")

from on_gpu import few, runs, seeds, tensor

from lotte.errors import CorruptFileError, UnavailableError
from retrievers.colbert.index.folder import ColbertIndex
from retrievers.colbert.kernels import cpu, gpu, reference
from retrievers.colbert.kernels.arrays import Codec, Segment, quantised
from retrievers.colbert.search import gpu as gpu_search
from retrievers.colbert.search.config import SearchConfig
from retrievers.colbert.search.cpu import TopK, search

HOME = str(HOUSE)
ENV = {**os.environ, "PYTHONPATH": HOME}


bits_and_dim = st.sampled_from([(1, 16), (1, 128), (2, 16), (2, 96), (2, 128), (4, 32), (4, 48)])
maybe = st.booleans()
ragged = st.lists(st.sampled_from([0, 1, 3, 64, 70]), min_size=1, max_size=5)
query_lengths = st.lists(st.sampled_from([1, 5, 32, 33, 140]), min_size=1, max_size=3)


def some_codec(rng, bits, dim, centroid_ids=40):
    weights = np.sort(rng.normal(0, 0.1, 2**bits)).astype(np.float32)
    return Codec(rng.integers(60, 196, (centroid_ids, dim)).astype(np.uint8), 0.01, weights[1:], weights, np.ones(256, "f4"))


def some_segment(rng, codec, lengths):
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    centroid_ids = rng.integers(0, codec.num_centroids, starts[-1]).astype(codec.id_type)
    residuals = rng.integers(0, 256, (starts[-1], codec.dim * codec.bits // 8)).astype(np.uint8)
    return listed(codec, centroid_ids, residuals, starts)


def listed(codec, centroid_ids, residuals, starts):
    stream = []
    made = cpu.lists(centroid_ids, starts, codec.num_centroids, lambda n: stream.append(np.empty(n, np.uint8)) or stream[0])
    return Segment(centroid_ids, residuals, np.zeros(len(centroid_ids), np.uint8), starts, stream[0], made)


def some_query(rng, dim, length):
    vectors = rng.normal(size=(length, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def some_queries(rng, codec, lengths):
    return [quantised(some_query(rng, codec.dim, length)) for length in lengths]


def on_device(codec, segment, queries):
    tables = gpu.tables(codec, gpu.device())
    return tables, gpu.segment(segment, codec, gpu.device()), gpu.batch(tables, queries)


def in_full(codec, query, segment, rows):
    return reference.exact_maxsim(segment, reference.context(codec, query, 1), rows)


@runs
@few
@given(seeds, bits_and_dim, query_lengths, st.integers(1, 4))
def test_centroids_are_scored_and_chosen_as_on_a_cpu(rng, shape, lengths, probe):
    codec = some_codec(rng, *shape)
    codec = replace(codec, shifted=codec.shifted[rng.integers(0, 20, 40)])  # half of them twice: ties
    queries = some_queries(rng, codec, lengths)
    tables, _, asked = on_device(codec, some_segment(rng, codec, [1]), queries)
    probed = gpu_search.best_centroids(tables, asked, probe)
    for i, query in enumerate(queries):
        scores = reference.centroid_scores(codec, query)
        flat = scores.transpose(1, 0, 2).reshape(40, -1)[:, : query.count]
        assert np.array_equal(probed.scores[i, :, : query.count].cpu(), flat)
        centroid_ids = reference.best_centroids(scores, query.count, probe)
        assert np.array_equal(probed.ids[i, : query.count].cpu(), centroid_ids)
        assert (probed.ids[i, query.count :] == probed.ids[i, 0]).all()
        assert np.array_equal(probed.values[i, : query.count].cpu(), np.take_along_axis(flat.T, centroid_ids.astype(int), 1))


@runs
@few
@given(seeds, ragged, query_lengths, st.integers(1, 4), st.booleans())
def test_candidates_and_gains_are_those_of_the_judge(rng, documents, lengths, probe, masked):
    codec = some_codec(rng, 2, 16)
    segment, queries = some_segment(rng, codec, documents), some_queries(rng, codec, lengths)
    allowed = rng.integers(0, 2, len(documents)).astype(np.uint8) if masked else None
    tables, part, asked = on_device(codec, segment, queries)
    probed = gpu_search.best_centroids(tables, asked, probe)
    rows, gains = gpu_search.gather(part, probed, asked.counts, None if allowed is None else tensor(allowed))
    for i, query in enumerate(queries):
        wanted, wanted_gains = reference.gather(segment, reference.context(codec, query, probe))
        keep = np.ones(len(wanted), bool) if allowed is None else allowed[wanted] > 0
        found = rows[i].cpu().numpy() >= 0
        assert rows[i].cpu().numpy()[found].tolist() == wanted[keep].tolist()
        assert gains[i].cpu().numpy()[found].tolist() == wanted_gains[keep].tolist()


@runs
@few
@given(seeds, ragged, query_lengths)
def test_centroid_interaction_is_what_the_judge_says(rng, documents, lengths):
    codec = some_codec(rng, 2, 16)
    segment, queries = some_segment(rng, codec, documents), some_queries(rng, codec, lengths)
    tables, part, asked = on_device(codec, segment, queries)
    rows = rng.integers(0, len(documents), (len(queries), 6))
    for ours, kind in ((lambda scores: scores, "fine"), (gpu.coarse, "coarse")):
        scores = ours(gpu.centroid_scores(tables, asked))
        totals = gpu.centroid_interaction(part, scores, tensor(rows)).cpu().numpy()
        for i, query in enumerate(queries):
            context = reference.context(codec, query, 1)
            context = replace(context, scores=context.scores._replace(coarse=getattr(context.scores, kind)))
            wanted = reference.centroid_interaction(segment, context, rows[i])
            assert totals[i].tolist() == wanted.tolist()
        assert (gpu.centroid_interaction(part, scores, tensor(0 * rows - 1)) == gpu.EMPTY).all()


@runs
@given(st.lists(st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 1e-30, 2.5]), min_size=1, max_size=20), st.integers(1, 25))
def test_of_equals_the_smaller_row_is_better(values, count):
    values = np.array(values, np.float32) + np.float32(0)  # no minus zero: a score has none, and it is less here
    rows = np.random.default_rng(0).permutation(len(values))
    kept, scores = gpu.best(tensor(rows), tensor(values), count)
    order = np.lexsort((rows, -values))[:count]
    assert kept.tolist() == rows[order].tolist() and scores.tolist() == values[order].tolist()


NEAR = {"float32": 2e-5, "float16": 2e-2, "bfloat16": 2e-1}


@runs
@few
@given(seeds, bits_and_dim, ragged, query_lengths, st.sampled_from(["float32", "float16"]), maybe, maybe)
def test_maxsim_over_packed_codes_is_maxsim_over_vectors(rng, shape, documents, lengths, kind, exact, pairs):
    check_maxsim(rng, shape, documents, lengths, kind, exact, pairs)


@pytest.mark.gpu
@runs
def test_maxsim_takes_bfloat16():  # the interpreter multiplies its bits as whole numbers
    check_maxsim(np.random.default_rng(1), (2, 128), [0, 7, 200], [32, 5], "bfloat16", False, True)


def check_maxsim(rng, shape, documents, lengths, kind, exact, pairs):
    torch, codec = gpu.package("torch"), some_codec(rng, *shape)
    if exact:  # as an index of others has them
        codec = replace(codec, exact=codec.centroids + rng.normal(0, 0.01, codec.shifted.shape).astype(np.float32))
    segment, queries = some_segment(rng, codec, documents), some_queries(rng, codec, lengths)
    tables, part, asked = on_device(codec, segment, queries)
    rows = rng.integers(0, len(documents), (len(queries), 4) if pairs else 4)
    vectors = asked.vectors + 3.0 * (asked.vectors == 0)  # where there is no token: nobody is to look
    found = gpu.exact_maxsim(tables, part, vectors.to(getattr(torch, kind)), asked.counts, tensor(rows))
    for i, query in enumerate(queries):
        wanted = in_full(codec, query, segment, rows[i] if pairs else rows)
        assert np.allclose(found[i].cpu(), wanted, atol=NEAR[kind] * np.sqrt(query.count))
    assert torch.isneginf(gpu.exact_maxsim(tables, part, asked.vectors, asked.counts, tensor(rows * 0 - 1))).all()


@runs
@few
@given(seeds, ragged, query_lengths)
def test_tokens_of_other_centroids_do_not_count(rng, documents, lengths):
    codec = some_codec(rng, 2, 32)
    segment, queries = some_segment(rng, codec, documents), some_queries(rng, codec, lengths)
    wanted = rng.integers(0, 2, (len(queries), codec.num_centroids)).astype(np.uint8)
    tables, part, asked = on_device(codec, segment, queries)
    rows = np.tile(np.arange(len(documents)), (len(queries), 1))
    found = gpu.exact_maxsim(tables, part, asked.vectors, asked.counts, tensor(rows), tensor(wanted))
    row_N = np.repeat(np.arange(len(documents)), np.diff(segment.starts))
    for i, query in enumerate(queries):
        kept = wanted[i][segment.centroid_ids] > 0
        starts = np.concatenate([[0], np.cumsum(np.bincount(row_N[kept], minlength=len(documents)))])
        vectors = reference.decode(codec, segment.centroid_ids[kept], segment.residuals[kept])
        assert np.allclose(found[i].cpu(), reference.maxsim(query.vectors, vectors, starts), atol=1e-4)


CONFIGS = [
    SearchConfig(algorithm="exact"),
    SearchConfig(algorithm="pruned", probe=2),
    SearchConfig(algorithm="pruned", probe=1, candidates=9, refined=4, full=1),
    SearchConfig(algorithm="paper", probe=1),
    SearchConfig(algorithm="paper", probe=2, candidates=5),
]


def some_index(rng, bits, segments, deleted):
    codec = some_codec(rng, bits, 32)
    parts = [some_segment(rng, codec, rng.integers(0, 9, documents)) for documents in segments]
    twice = parts[0]  # every document of the first segment a second time: ties, which the smaller row wins
    starts = np.concatenate([twice.starts, twice.starts[1:] + twice.starts[-1]])
    parts.append(listed(codec, np.tile(twice.centroid_ids, 2), np.tile(twice.residuals, (2, 1)), starts))
    index = ColbertIndex(codec, tuple(parts), None)
    kept = rng.integers(0, 3, index.num_documents).clip(max=1).astype(np.uint8)
    return replace(index, alive=kept if deleted else None)


def judged(index, vectors, k, config, mask):
    """The rows of each segment that the judge's stages would score in full; all of them, if these are paper's bounds."""
    query, settled, every = quantised(vectors), config.settled(k, index.num_documents), index.codec.num_centroids
    probe = settled.probe or every
    while True:
        found, context = [], reference.context(index.codec, query, probe)
        for base, segment in zip(index.bases, index.segments, strict=True):
            rows, gains = reference.gather(segment, context)
            kept = mask[base + rows] > 0
            found.append((segment, rows[kept], gains[kept]))
        if sum(len(rows) for _, rows, _ in found) >= k or probe >= every:
            break
        lengths = np.concatenate([np.diff(segment.starts) for segment in index.segments])
        probe = every if ((lengths > 0) & (mask > 0)).sum() <= settled.candidates else min(4 * probe, every)
    for segment, rows, gains in found:
        if config.algorithm == "pruned":
            rows = rows[np.lexsort((rows, -gains))][: settled.candidates]
            if len(rows) > settled.refined:  # and all of these are scored in full
                totals = reference.centroid_interaction(segment, context, rows)
                rows = rows[np.lexsort((rows, -totals))][: settled.refined]
        yield rows


@runs
@settings(max_examples=16)
@example(np.random.default_rng(13), 2, [12], CONFIGS[2], 4, [2, 1], True)  # widened by 4, and not 2; then interact
@given(seeds, *map(st.sampled_from, ([1, 2, 4], [[12], [0, 12], [1]], CONFIGS, [1, 4, 100], [[1], [2, 1], [33, 140]])), maybe)  # fmt: skip
def test_a_search_finds_what_the_judge_finds_and_exact_is_the_cpu(rng, bits, segments, config, k, lengths, deleted):
    index = some_index(rng, bits, segments, deleted)
    allowed = rng.integers(0, 4, index.num_documents).clip(max=1).astype(np.uint8)
    mask = allowed if index.alive is None else allowed & index.alive
    queries = [some_query(rng, 32, length) for length in lengths]
    found = gpu_search.search(gpu_search.GpuIndex.of(index), queries, k=k, config=config, allowed=allowed)
    exact = search(index, queries, k=k, config=CONFIGS[0], allowed=allowed)
    for vectors, ours, theirs in zip(queries, found, exact, strict=True):
        rows, scores, chosen = [], [], judged(index, vectors, k, config, mask)
        for base, segment, some in zip(index.bases, index.segments, chosen, strict=True):
            rows += (base + some).tolist()
            scores += in_full(index.codec, quantised(vectors), segment, some).tolist()
        if config.algorithm == "exact":
            wanted = theirs
        elif config.algorithm == "paper" and config.candidates:  # bounds in float16 choose: what is found is right
            of_row = dict(zip(rows, scores, strict=True))
            wanted = TopK(ours.rows, np.array([of_row[row] for row in ours.rows.tolist()], np.float32))
        else:
            order = [i for i in np.lexsort((rows, -np.array(scores)))[:k] if np.isfinite(scores[i])]
            wanted = TopK(np.array(rows, np.int64)[order], np.array(scores, np.float32)[order])
        assert ours.rows.dtype == np.int64 and ours.scores.dtype == np.float32
        assert len(ours.rows) == len(wanted.rows) and np.allclose(ours.scores, wanted.scores, atol=1e-4)
        assert same_but_for_last_bits(ours, wanted)


def same_but_for_last_bits(ours, theirs):
    """The same rows in the same order, where neighbours do not have the same score to 1e-4."""
    close = np.abs(np.diff(theirs.scores, append=-np.inf)) < 1e-4
    firm = ~(close | np.concatenate([[False], close[:-1]]))
    firm[-1:] = False  # of two that are close only one may have room
    return np.array_equal(ours.rows[firm], theirs.rows[firm])


@runs
def test_a_token_of_a_centroid_that_there_is_not_is_refused():
    index = some_index(np.random.default_rng(0), 2, [6, 3], False)
    centroid_ids = np.full_like(index.segments[0].centroid_ids, index.codec.num_centroids)
    damaged = replace(index, segments=(replace(index.segments[0], centroid_ids=centroid_ids),))
    with pytest.raises(CorruptFileError, match="a token of centroid"):
        gpu_search.GpuIndex.of(damaged)


@runs
def test_copies_come_in_the_order_of_their_rows():
    rng = np.random.default_rng(3)
    codec = some_codec(rng, 2, 32)
    one = some_segment(rng, codec, [5])
    index = ColbertIndex(codec, (listed(codec, np.tile(one.centroid_ids, 9), np.tile(one.residuals, (9, 1)), np.arange(0, 46, 5)),) * 2, None)  # fmt: skip
    for config in CONFIGS[:2]:
        (found,) = gpu_search.search(gpu_search.GpuIndex.of(index), [some_query(rng, 32, 8)], k=11, config=config)
        assert found.rows.tolist() == list(range(11))


@runs
def test_the_answer_does_not_depend_on_the_block_a_query_is_in(monkeypatch):
    rng = np.random.default_rng(4)
    index = gpu_search.GpuIndex.of(some_index(rng, 2, [6, 3], True))
    queries = [some_query(rng, 32, length) for length in (1, 40, 5)]
    for config in CONFIGS[::2]:
        together = gpu_search.search(index, queries, k=5, config=config)
        monkeypatch.setattr(gpu_search, "AT_ONCE", 2)
        monkeypatch.setattr(gpu_search, "SCORES", 7)
        monkeypatch.setattr(gpu_search, "ENTRIES", 1)
        apart = gpu_search.search(index, queries, k=5, config=config)
        monkeypatch.undo()
        assert [found.rows.tolist() for found in together] == [found.rows.tolist() for found in apart]


@pytest.mark.parametrize("name", ["torch", "triton"])
def test_a_missing_package_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnavailableError, match=f"needs {name}, which is not installed: pip install {name}"):
        gpu.package(name)


def test_importing_the_kernels_imports_neither_torch_nor_triton():
    code = "import sys, retrievers.colbert.search.gpu; print({'torch', 'triton'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HOME, env=ENV)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@runs
def test_what_does_not_fit_the_kernels_is_refused():
    rng = np.random.default_rng(5)
    with pytest.raises(ValueError, match="1,024 dimensions at most, not 1,025"):
        gpu.nearest(np.zeros((1, 1025), np.int8), np.zeros((1, 1025), np.uint8))
    with pytest.raises(ValueError, match="dimensions that 16 divides, not 24"):
        gpu.tables(some_codec(rng, 2, 24), gpu.device())
    index = gpu_search.GpuIndex.of(some_index(rng, 2, [3], False))
    with pytest.raises(ValueError, match="a query has 16 dimensions, and the index 32"):
        gpu_search.search(index, [some_query(rng, 16, 3)], k=1, config=CONFIGS[0])
    with pytest.raises(ValueError, match=r"for 1 queries not \(2, 3\)"):
        asked = gpu.batch(index.codec, some_queries(rng, index.codec.codec, [2]))
        gpu.exact_maxsim(index.codec, index.segments[0], asked.vectors, asked.counts, tensor(np.zeros((2, 3), int)))
    assert gpu_search.search(index, [], k=1, config=CONFIGS[0]) == []
