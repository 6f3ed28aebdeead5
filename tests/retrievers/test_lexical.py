"""Compiled search answers as NumPy does, bit for bit: scores, ties and ranks, whatever is left out on the way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotte import Doc, Docs
from lotte.errors import CorruptFileError
from retrievers import lexical, load
from retrievers.kernels import scores as kernels
from retrievers.postings import Postings
from retrievers.topk import best
from retrievers.vocabulary import Vocabulary

WORDS = 8


def made_up(seed, num_documents, kind, ties):
    """Postings of eight words, from one in every second document to one in three, and an order of the documents."""
    rng = np.random.default_rng(seed)
    rows, weights = [], []
    for word in range(WORDS):
        count = min(num_documents, max(1, num_documents >> (1 + 2 * (word % 4))), num_documents if word < 6 else 3)
        centre = rng.integers(num_documents)
        near = np.unique(np.clip(rng.normal(centre, num_documents / 8, count).astype(np.int64), 0, num_documents - 1))
        rows.append(near if word % 2 else np.sort(rng.choice(num_documents, count, replace=False)))
        heights = rng.integers(1, 4, len(rows[-1])) / 3 if ties else rng.random(len(rows[-1])) + 1e-3
        weights.append(heights * (1 + word))
    starts = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    vocabulary = Vocabulary(np.zeros(WORDS, np.uint8), np.arange(WORDS + 1))
    found = Postings(vocabulary, starts, np.concatenate(rows).astype(np.uint32), np.concatenate(weights).astype(kind))
    return found, rng.permutation(num_documents).astype(np.int32)


def answered(postings, place, numbers, k, window, deep, most=None, factors=None):
    """Rows and scores of the best documents of one query, by compiled code."""
    at = np.array(numbers)
    begins, ends = postings.starts[at], postings.starts[at + 1]
    largest, places = kernels.windows(begins, ends, postings.rows, postings.weights, len(place), window)
    most = largest if most is None else np.repeat(np.array(most, dtype=np.float64)[:, None], largest.shape[1], axis=1)
    sums = np.zeros(window, postings.weights.dtype)
    bits = sums.view(f"i{sums.itemsize}")
    firsts = np.array([0, len(numbers)])
    factors = np.array([1] * len(numbers) if factors is None else factors, dtype=postings.weights.dtype)
    asked = kernels.AskedWords(firsts, np.arange(len(numbers)), most, places, factors)
    keys = kernels.best(asked, kernels.Indexed(postings.rows, postings.weights, place), sums, bits, k, deep)[0]
    assert not sums.any()
    keys = np.sort(keys[keys > 0])[::-1]
    return np.argsort(place)[keys & 0xFFFFFFFF].tolist(), (keys >> 32).astype(np.uint32).view(np.float32).tolist()


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_documents=st.sampled_from([1, 100, 256, 257, 1000, 5000]),
    kind=st.sampled_from([np.float32, np.float64]),
    ties=st.booleans(),
    numbers=st.lists(st.integers(0, WORDS - 1), min_size=1, max_size=10),
    k=st.sampled_from([1, 2, 10, 100, 6000]),
    window=st.sampled_from([256, 1024]),
    deep=st.sampled_from([0, 1 << 30]),
    weighed=st.booleans(),
)
def test_the_best_are_the_best_of_all_sums(seed, num_documents, kind, ties, numbers, k, window, deep, weighed):
    postings, place = made_up(seed, num_documents, kind, ties)
    factors = np.random.default_rng(seed).random(len(numbers)) * 3 if weighed else np.ones(len(numbers))
    rows, scores = best(postings.scores(numbers, num_documents, factors).astype(np.float32), place, k)
    assert answered(postings, place, numbers, k, window, deep, factors=factors) == (rows.tolist(), scores.tolist())


@pytest.mark.parametrize(("deep", "expected"), [(0, ([5], [9.0])), (1 << 30, ([700], [100.0]))])
def test_a_word_that_cannot_matter_is_left_out_where_few_hits_are_asked_for(deep, expected):
    """Its weights are told smaller than they are: who leaves it out does not see that one of them is larger."""
    rare, common = np.array([5]), np.arange(1024)
    vocabulary, starts = Vocabulary(np.zeros(2, np.uint8), np.arange(3)), np.array([0, 1, 1025])
    weights = np.ones(1025, np.float32)
    weights[0], weights[1 + 700] = 8, 100
    postings = Postings(vocabulary, starts, np.concatenate([rare, common]).astype(np.uint32), weights)
    assert answered(postings, np.arange(1024, dtype=np.int32), [1, 0], 1, 256, deep, most=[1, 8]) == expected


@pytest.mark.parametrize(("told", "expected"), [(9.0, 6), (10.0, 700)])
def test_a_window_without_a_weight_that_reaches_the_best_is_left_out(told, expected):
    """The largest weight of the third window is told: what is larger there is seen only if the window is looked at."""
    weights, rows = np.array([9.0, 9.5, 100.0], np.float32), np.array([5, 6, 700], np.uint32)
    most, places = np.array([[9.5, 0, told, 0]]), np.array([[0, 2, 2, 3, 3]])
    sums, place = np.zeros(256, np.float32), np.arange(1024, dtype=np.int32)
    asked = kernels.AskedWords(np.array([0, 1]), np.array([0]), most, places, np.ones(1, np.float32))
    keys = kernels.best(asked, kernels.Indexed(rows, weights, place), sums, sums.view(np.int32), 1, 1 << 30)
    assert (keys & 0xFFFFFFFF).tolist() == [[expected]]


@pytest.mark.parametrize("tiny", [1e-46, 1e-60])
def test_a_sum_that_is_none_as_float32_is_no_hit(tiny):
    vocabulary = Vocabulary(np.zeros(1, np.uint8), np.arange(2))
    postings = Postings(vocabulary, np.array([0, 2]), np.array([0, 1], np.uint32), np.array([tiny, 1.0]))
    assert answered(postings, np.array([1, 0], np.int32), [0], 9, 256, 0) == ([1], [1.0])


@pytest.mark.parametrize(
    ("rows", "weights"),
    [([1, 0], [1, 1]), ([0, 0], [1, 1]), ([0, 9], [1, 1]), ([0, 1], [1, -1]), ([0, 1], [np.inf, 1]), ([0, 1], [1, np.nan])],
)
def test_postings_that_compiled_code_does_not_take_are_known(rows, weights):
    asked = np.array([0]), np.array([2]), np.array(rows, np.uint32), np.array(weights, np.float32), 2, 256
    assert np.isnan(kernels.windows(*asked)[0]).all()


@given(st.sets(st.text(min_size=1, max_size=4)), st.lists(st.text(max_size=4)))
def test_compiled_code_finds_words_as_python_does(tmp_path_factory, known, others):
    known = {word for word in known if not any("\ud800" <= letter <= "\udfff" for letter in word)}
    folder = tmp_path_factory.mktemp("vocabulary")
    Vocabulary.write(folder, sorted(known))
    vocabulary = Vocabulary.open(folder)
    asked = [*others, *known, "\ud800"]
    spelled = [word.encode("utf-8", "surrogatepass") for word in asked]
    ends = np.cumsum([len(word) for word in spelled], dtype=np.int64)
    letters = np.frombuffer(b"".join(spelled), dtype=np.uint8)
    found = kernels.looked_up(vocabulary.letters, vocabulary.starts, letters, ends)
    assert [number for number in found.tolist() if number >= 0] == vocabulary.numbers(asked)


text = st.lists(st.sampled_from(["Tide", "tide,", "moon", "the", "ice", "salt's"]), max_size=8).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(["bm25", "overlap", "rank_bm25"]), texts=st.lists(text, min_size=1, max_size=9), queries=st.lists(text, max_size=4), k=st.integers(1, 9))
def test_a_system_answers_the_same_compiled(tmp_path_factory, name, texts, queries, k):
    corpus = Docs(tuple(Doc(f"d{row}", text) for row, text in enumerate(texts)))
    asked = {str(number): query for number, query in enumerate(queries)}
    folder = tmp_path_factory.mktemp("i") / "index"
    plain = load(name).index(corpus, folder).search(asked, k=k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lexical, "WORTH_COMPILED", -1.0)
        index = load(name).open(folder)
        assert index.search(asked, k=k) == plain
        assert index._compiled


def test_without_numba_numpy_answers(tmp_path, monkeypatch):
    index = load("bm25").index(Docs((Doc("0", "moon"), Doc("1", "salt"))), tmp_path / "index")
    monkeypatch.setattr(lexical, "WORTH_COMPILED", -1.0)
    monkeypatch.setattr(lexical, "kernels", lambda name: None)
    assert index.search({"q": "moon"}, k=9).doc_ids("q") == ["0"]


@pytest.mark.parametrize("bad", [2**31 - 1, -1])
def test_a_row_out_of_range_is_one_line_compiled_too(tmp_path, monkeypatch, bad):
    load("bm25").index(Docs((Doc("0", "moon"), Doc("1", "moon salt"))), tmp_path / "index")
    monkeypatch.setattr(lexical, "WORTH_COMPILED", -1.0)
    index = load("bm25").open(tmp_path / "index")
    np.load(tmp_path / "index" / "posting_rows.npy", mmap_mode="r+")[1] = bad
    with pytest.raises(CorruptFileError, match="the index is damaged"):
        index.search({"q": "moon"}, k=1)
