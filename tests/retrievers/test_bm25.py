"""bm25 is Lucene's BM25: as a plain twin counts it, as bm25s and rank_bm25 do, and as Anserini scored with it."""

from collections import Counter
from math import log
from pathlib import Path

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from leaderboard.measure import R, mean, nDCG, scores
from lotte import Doc, Docs, Run, reading
from lotte.errors import LotteError
from retrievers import load
from retrievers.analyser import english

WORDS = ["tide", "moon", "salt", "ice", "glass", "sky", "wave", "sea"]  # each its own stem
text = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
texts = st.lists(text, min_size=1, max_size=10)
options = st.tuples(st.sampled_from([0.0, 0.9, 1.2, 3.0]), st.sampled_from([0.0, 0.4, 1.0]))


def corpus_of(texts: list[str]) -> Docs:
    return Docs(tuple(Doc(str(row), text) for row, text in enumerate(texts)))


def search(texts: list[str], query: str, folder: Path, k1: float, b: float, k: int = 99) -> Run:
    index = load("bm25", [f"k1={k1}", f"b={b}"]).index(corpus_of(texts), folder / "index")
    return index.search({"q": query}, k=k)


def lucene(texts: list[str], query: str, k1: float, b: float) -> dict[str, float]:
    """Return doc_id -> score, by the formula as it is printed. Slow and simple: the reference for `bm25`.

    Source  Kamphuis et al. 2020, Which BM25 Do You Mean?, table 1, "Lucene (accurate)"
    """
    bags = [Counter(english(text)) for text in texts]
    mean_length = sum(bag.total() for bag in bags) / len(bags)
    found = {}
    for row, bag in enumerate(bags):
        score = 0.0
        for word in english(query):
            if word in bag:
                documents = sum(word in other for other in bags)
                idf = log(1 + (len(bags) - documents + 0.5) / (documents + 0.5))
                score += idf * bag[word] / (bag[word] + k1 * (1 - b + b * bag.total() / mean_length))
                found[str(row)] = score
    return found


@settings(max_examples=60)
@given(texts=texts, query=text, options=options)
def test_agrees_with_its_plain_twin(tmp_path_factory, texts, query, options):
    run = search(texts, query, tmp_path_factory.mktemp("bm25"), *options)
    assert dict(run.hits["q"]) == pytest.approx(lucene(texts, query, *options), rel=1e-5)


@settings(max_examples=60)
@given(texts=texts, query=text, options=options)
def test_agrees_with_an_index_that_bm25s_built_itself(tmp_path_factory, texts, query, options):
    bags, words = [english(text) for text in texts], english(query)
    if not any(bags) or not words:
        return
    judge = bm25s.BM25(method="lucene", k1=options[0], b=options[1])
    judge.index(bags, show_progress=False)
    expected = judge.get_scores_from_ids(judge.get_tokens_ids(words))
    run = search(texts, query, tmp_path_factory.mktemp("bm25"), *options)
    found = dict(run.hits["q"])
    assert [found.get(str(row), 0.0) for row in range(len(texts))] == pytest.approx(expected.tolist(), rel=1e-5)


@settings(max_examples=60)
@given(texts=texts, word=st.sampled_from(WORDS), options=options.filter(lambda pair: pair[0] > 0 and pair[1] < 1))
def test_ranks_as_rank_bm25_for_one_word(tmp_path_factory, texts, word, options):
    """With one word the two formulas differ by a factor: that word's idf, and k1 + 1."""
    bags = [english(text) for text in texts]
    if not any(bags):
        return
    expected = BM25Okapi(bags, k1=options[0], b=options[1]).get_scores([word])
    found = dict(search(texts, word, tmp_path_factory.mktemp("bm25"), *options).hits["q"])
    rows = [int(doc_id) for doc_id in found]
    factors = [expected[row] / found[str(row)] for row in rows]
    assert factors == pytest.approx([factors[0]] * len(factors) if factors else [], rel=1e-4, abs=1e-6)
    assert all(expected[row] == 0 for row in set(range(len(texts))) - set(rows))


@settings(max_examples=30)
@given(texts=texts, query=text, k=st.integers(1, 5))
def test_the_cut_keeps_the_best_and_the_larger_ids(tmp_path_factory, texts, query, k):
    folder = tmp_path_factory.mktemp("bm25")
    whole, cut = (search(texts, query, folder, 0.9, 0.4, depth) for depth in (99, k))
    assert cut.hits["q"] == whole.hits["q"][:k]
    assert Run.of({"q": dict(whole.hits["q"])}, depth=99) == whole


def test_a_word_asked_twice_counts_twice(tmp_path):
    once, twice = (search(["moon tide", "salt"], query, tmp_path, 0.9, 0.4) for query in ("moon", "moon moon"))
    assert twice.hits["q"][0].score == pytest.approx(2 * once.hits["q"][0].score)


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["the of"]])
def test_a_corpus_without_words_answers_nothing(tmp_path, texts):
    assert search(texts, "moon the", tmp_path, 0.9, 0.4) == Run({"q": ()})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("k1=-1", "bm25: k1 must be 0 or more, not -1.0"),
        ("k1=nan", "bm25: k1 must be 0 or more, not nan"),
        ("b=1.5", "bm25: b must be from 0 to 1, not 1.5"),
        ("b=x", "bm25: b takes float, not 'x'"),
        ("c=1", "bm25 has no option 'c'; it takes (k1: float = 0.9, b: float = 0.4, weights: str = '', weights_as: str = '', query_weights: str = '', replicas: int = 0)"),
        ("name=mine", "bm25 has no option 'name'; it takes (k1: float = 0.9, b: float = 0.4, weights: str = '', weights_as: str = '', query_weights: str = '', replicas: int = 0)"),
        ("k1", "bm25: k1 has no value; write -o k1=VALUE"),
    ],
)  # fmt: skip
def test_an_option_out_of_range_is_one_line(option, message):
    with pytest.raises(LotteError) as raised:
        load("bm25", [option])
    assert str(raised.value) == message


def test_the_arrays_open_without_being_read(tmp_path):
    search(["moon tide", "salt"], "moon", tmp_path, 0.9, 0.4)
    arrays = {path.name for path in (tmp_path / "index").glob("*.npy")}
    assert arrays == {
        "places.npy", "posting_rows.npy", "posting_starts.npy", "posting_weights.npy", "word_starts.npy", "words.npy",
    }  # fmt: skip
    for name in arrays:
        assert isinstance(np.load(tmp_path / "index" / name, mmap_mode="r", allow_pickle=False), np.memmap)


def test_scifact_scores_what_anserini_scores(shared, tmp_path):
    """Anserini, one field: nDCG@10 .6789, R@100 .9253. What is left is Lucene's one-byte lengths."""
    (dataset,) = reading.read(shared / "scifact")
    run = load("bm25").index(dataset.corpus, tmp_path / "index").search(dataset.queries, k=100)
    values = scores(run, dataset.qrels, [nDCG @ 10, R @ 100])
    assert mean(values[nDCG @ 10]) == pytest.approx(0.679, abs=0.005)
    assert mean(values[R @ 100]) == pytest.approx(0.925, abs=0.005)
