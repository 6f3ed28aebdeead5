"""The nearest vectors: the same to the last bit however many are asked at once, by whatever means, ties and all."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="needs lotte-bench[colbert]")

from retrievers.dense import search
from retrievers.dense.search import ExactSearch

RNG = np.random.default_rng(7)


def made(vectors, place=None, **options):
    place = RNG.permutation(len(vectors)) if place is None else place
    longest = float(np.linalg.norm(vectors.astype(np.float64), axis=1).max(initial=0))
    return ExactSearch(vectors, place, longest, **{"threads": 2, **options})


def require_plain(index, queries, k):
    """Fail unless each query finds what the plain way finds, bit for bit."""
    found = list(index.found(queries, k))
    assert len(found) == len(queries)
    for query, (rows, scores) in zip(queries, found, strict=True):
        expected_rows, expected_scores = index.plainly(query, k)
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_array_equal(scores, expected_scores)


def numbers(*shape, kind=np.float32):
    return RNG.standard_normal(shape).astype(kind)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize(("rows", "dim", "queries", "k"), [(1, 1, 1, 1), (700, 17, 5, 10), (20_000, 24, 40, 100), (9_000, 16, 1, 1000)])
def test_the_best_are_those_of_exact_products(rows, dim, queries, k, kind):
    require_plain(made(numbers(rows, dim, kind=kind)), numbers(queries, dim), k)


def test_equal_scores_are_in_the_order_of_a_run_at_the_cut_too():
    require_plain(made(np.round(numbers(12_000, 6))), np.round(numbers(30, 6)), 50)


def test_more_equal_rows_than_there_is_room_for_are_told_apart_by_their_places():
    require_plain(made(np.tile(numbers(1, 12), (30_000, 1))), numbers(4, 12), 20)


def test_more_hits_than_rows_are_all_rows():
    require_plain(made(numbers(30, 8)), numbers(3, 8), 30)
    (rows, _), = made(numbers(30, 8)).found(numbers(1, 8), 99)
    assert sorted(rows) == list(range(30))


@pytest.mark.parametrize(("rows", "k"), [(0, 5), (5, 0)])
def test_nothing_is_found_where_nothing_is_or_is_asked_for(rows, k):
    (found, scores), = made(numbers(rows, 8)).found(numbers(1, 8), k)
    assert len(found) == len(scores) == 0


def test_a_query_s_answer_does_not_depend_on_who_asks_with_it():
    index, queries = made(numbers(15_000, 48)), numbers(search.QUERIES + 9, 48)
    together = list(index.found(queries, 10))
    for place in (0, 5, len(queries) - 1):
        (alone,) = index.found(queries[place : place + 1], 10)
        np.testing.assert_array_equal(alone[1], together[place][1])


@pytest.mark.parametrize("make", [lambda: numbers(9_000, 16), lambda: np.round(numbers(9_000, 3)), lambda: numbers(20, 16)])
def test_a_gpu_s_products_give_the_same(make):
    torch = pytest.importorskip("torch", reason="needs lotte-bench[train]")
    vectors = make()
    require_plain(made(vectors, gpu=str(torch.device("cpu"))), np.round(numbers(search.FOR_GPU, vectors.shape[1])), 25)


def test_without_compiled_code_the_answer_is_the_same(monkeypatch):
    index, queries = made(np.round(numbers(500, 5))), np.round(numbers(3, 5))
    compiled = list(index.found(queries, 10))
    monkeypatch.setattr(search, "kernels", lambda name: None)
    for ours, plain in zip(compiled, index.found(queries, 10), strict=True):
        np.testing.assert_array_equal(ours[0], plain[0])


def test_it_finds_what_faiss_finds():
    faiss = pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    vectors, queries = numbers(5_000, 32), numbers(20, 32)
    flat = faiss.IndexFlatIP(32)
    flat.add(vectors)
    for (rows, scores), their_scores, their_rows in zip(made(vectors).found(queries, 10), *flat.search(queries, 10), strict=True):
        assert rows.tolist() == their_rows.tolist()
        np.testing.assert_allclose(scores, their_scores, rtol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_a_query_that_is_no_vector_is_refused(bad):
    query = numbers(1, 8)
    query[0, 3] = bad
    with pytest.raises(ValueError, match="too large, or holds a value that is not a number"):
        list(made(numbers(10, 8)).found(query, 3))
