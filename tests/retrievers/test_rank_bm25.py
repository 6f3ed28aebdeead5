"""rank_bm25 is the library, as it is: its scores, over the words its README would use."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from lotte import Doc, Docs, Run
from lotte.errors import LotteError
from retrievers import index_folder, load
from retrievers.topk import places
from retrievers.vocabulary import Vocabulary

text = st.lists(st.sampled_from(["Tide", "tide,", "moon", "the", "ice"]), max_size=8).map(" ".join)


def library(texts, query, **options):
    """Return doc_id -> score as the library gives it, rounded to float32 as a run is."""
    bags = [text.lower().split() for text in texts]
    if not any(bags):
        return {}
    scores = BM25Okapi(bags, **options).get_scores(query.lower().split()).astype(np.float32).tolist()
    return {f"d{row}": score for row, score in enumerate(scores) if score}


def corpus_of(texts):
    return Docs(tuple(Doc(f"d{row}", text) for row, text in enumerate(texts)))


@settings(max_examples=100)
@given(texts=st.lists(text, min_size=1, max_size=8), query=text, k1=st.sampled_from([0.3, 1.5]), b=st.sampled_from([0.0, 0.75]), epsilon=st.sampled_from([0.0, 0.25]))
def test_the_scores_are_the_librarys_to_the_last_bit(tmp_path_factory, texts, query, k1, b, epsilon):
    index = load("rank_bm25", [f"k1={k1}", f"b={b}", f"epsilon={epsilon}"]).index(corpus_of(texts), tmp_path_factory.mktemp("r") / "i")
    run = index.search({"q": query}, k=99)
    assert dict(run.hits["q"]) == library(texts, query, k1=k1, b=b, epsilon=epsilon)
    assert Run.of({"q": dict(run.hits["q"])}, depth=99) == run


def test_the_mean_of_many_rarities_is_added_up_in_the_librarys_order(tmp_path):
    """Common words weigh a share of it; another order of the words ends in another last bit."""
    rng = random.Random(4)
    texts = [" ".join(["the", *(f"w{int(rng.paretovariate(0.4)) % 4000}" for _ in range(30))]) for _ in range(400)]
    run = load("rank_bm25").index(corpus_of(texts), tmp_path / "i").search({"q": "the w1 w2 the w77"}, k=999)
    assert dict(run.hits["q"]) == library(texts, "the w1 w2 the w77")


@settings(max_examples=30)
@given(texts=st.lists(text, min_size=1, max_size=8), query=text)
def test_an_index_of_before_there_were_postings_answers_the_same(tmp_path_factory, texts, query):
    recipe, folder = load("rank_bm25"), tmp_path_factory.mktemp("r")
    bags = [text.lower().split() for text in texts]
    words = sorted({word for bag in bags for word in bag})
    with index_folder.write_index(folder / "before", recipe, corpus_of(texts)) as (path, counts):
        Vocabulary.write(path, words)
        np.save(path / "tokens.npy", np.array([words.index(word) for bag in bags for word in bag], dtype=np.int32))
        np.save(path / "token_starts.npy", np.cumsum([0, *map(len, bags)], dtype=np.int64))
        np.save(path / "places.npy", places([f"d{row}" for row in range(len(texts))]))
        counts |= {"documents": len(texts)}
    found = recipe.open(folder / "before").search({"q": query}, k=99)
    assert dict(found.hits["q"]) == library(texts, query)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("k1=0", "rank_bm25: k1 must be above 0, not 0.0"),
        ("b=1", "rank_bm25: b must be 0 or more, and below 1, not 1.0"),
        ("epsilon=nan", "rank_bm25: epsilon must be 0 or more, not nan"),
    ],
)
def test_options_with_which_the_library_divides_by_zero_are_refused(option, message):
    with pytest.raises(LotteError) as raised:
        load("rank_bm25", [option])
    assert str(raised.value) == message
