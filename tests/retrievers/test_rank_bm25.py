"""rank_bm25 is the library, as it is: its scores, over the words its README would use."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from lotte import Doc, Docs, Run
from lotte.errors import LotteError
from retrievers import load

text = st.lists(st.sampled_from(["Tide", "tide,", "moon", "the", "ice"]), max_size=8).map(" ".join)


@settings(max_examples=60)
@given(texts=st.lists(text, min_size=1, max_size=8), query=text)
def test_the_scores_are_the_librarys(tmp_path_factory, texts, query):
    corpus = Docs(tuple(Doc(f"d{row}", text) for row, text in enumerate(texts)))
    run = load("rank_bm25").index(corpus, tmp_path_factory.mktemp("r") / "index").search({"q": query}, k=99)
    bags = [text.lower().split() for text in texts]
    expected = BM25Okapi(bags).get_scores(query.lower().split()).tolist() if any(bags) else []
    scored = {f"d{row}": score for row, score in enumerate(expected) if abs(score) > 1e-30}
    assert dict(run.hits["q"]) == pytest.approx(scored, rel=1e-5)
    assert Run.of({"q": dict(run.hits["q"])}, depth=99) == run


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("k1=0", "rank_bm25: k1 is above 0, not 0.0"),
        ("b=1", "rank_bm25: b is 0 or more, and below 1, not 1.0"),
        ("epsilon=nan", "rank_bm25: epsilon is 0 or more, not nan"),
    ],
)
def test_options_with_which_the_library_divides_by_zero_are_refused(option, message):
    with pytest.raises(LotteError) as raised:
        load("rank_bm25", [option])
    assert str(raised.value) == message
