"""What the clusters of an index hold is counted from its documents: held against the obvious count."""

from collections import Counter, defaultdict

import numpy as np
import pytest

pytest.importorskip("numba", reason="late interaction needs the extra 'colbert'")
from lotte.errors import MismatchError
from retrievers import load
from retrievers.colbert import clusters


@pytest.fixture
def texts(sixty_documents):
    return {doc.doc_id: doc.text for doc in sixty_documents}


def plainly(system, index, texts):
    """Return cluster -> how often each of its tokens is there, by a loop over documents and tokens."""
    opened = system.open(index)
    segment, held = opened.arrays.segments[0], defaultdict(Counter)
    for row, doc_id in enumerate(opened._doc_ids):
        ids = segment.centroid_ids[segment.starts[row] : segment.starts[row + 1]]
        for cluster, token in zip(ids.tolist(), system.encoder.tokens_of_doc(texts[doc_id]), strict=True):
            held[cluster][token] += 1
    return held


def test_the_counts_are_those_of_a_loop(late_system, late_index, texts):
    held = plainly(late_system, late_index, texts)
    found = clusters.study(late_system.open(late_index), texts)
    assert sorted(found.index.tokens_of_cluster) == sorted(map(len, held.values()))
    spread = Counter(token for tokens in held.values() for token in tokens)
    assert sorted(found.index.clusters_of_token) == sorted(spread.values())
    assert found.counts["tokens"] == sum(map(Counter.total, held.values()))
    assert found.counts["distinct_tokens"] == len(spread)
    assert found.counts["clusters"] - found.counts["empty_clusters"] == len(held)


def test_an_example_has_the_most_frequent_tokens_with_how_often_they_are_here_and_in_all(late_system, late_index, texts):
    held = plainly(late_system, late_index, texts)
    in_all = sum(held.values(), Counter())
    found = clusters.study(late_system.open(late_index), texts, examples=4)
    assert len(found.examples) == 4
    for example in found.examples:
        tokens = held[example.cluster]
        assert (example.tokens, example.distinct) == (tokens.total(), len(tokens))
        assert dict((token, (here, of)) for token, here, of in example.most) == {
            token: (tokens[token], in_all[token]) for token, _, _ in example.most
        }
        assert [here for _, here, _ in example.most] == sorted(tokens.values(), reverse=True)[: len(example.most)]


def test_files_of_few_tokens_change_no_count(late_system, late_index, texts, monkeypatch):
    whole = clusters.study(late_system.open(late_index), texts)
    monkeypatch.setattr(clusters, "HELD", 50)
    parts = clusters.study(late_system.open(late_index), texts)
    assert [*parts.index.rows(), *parts.random.rows()] == [*whole.index.rows(), *whole.random.rows()]
    assert parts.examples == whole.examples


def test_random_vectors_fill_clusters_of_the_same_sizes():
    sizes = np.array([5, 0, 7, 1])
    deal = clusters._Deal(sizes, seed=3)
    dealt = np.concatenate([deal.some(count) for count in (4, 0, 9)])
    assert np.bincount(dealt, minlength=4).tolist() == sizes.tolist()


def test_a_collection_of_more_tokens_than_numpy_draws_from_is_dealt_out_in_heaps(monkeypatch):
    monkeypatch.setattr(clusters, "DEALT", 4)
    sizes = np.array([5, 0, 7, 1])
    deal = clusters._Deal(sizes, seed=3)
    dealt = np.concatenate([deal.some(count) for count in (4, 9)])
    assert np.bincount(dealt, minlength=4).tolist() == sizes.tolist()


def test_random_clusters_hold_more_tokens(late_system, late_index, texts):
    found = clusters.study(late_system.open(late_index), texts)
    assert found.random.tokens_of_cluster.mean() > found.index.tokens_of_cluster.mean()


def test_the_stop_words_are_the_tokens_in_most_clusters(late_system, late_index, texts):
    held = plainly(late_system, late_index, texts)
    spread = Counter(token for tokens in held.values() for token in tokens)
    found = clusters.study(late_system.open(late_index), texts)
    (most, _), second = spread.most_common(2)[0], spread.most_common(2)[1][1]
    assert found.counts["left_out_as_most_frequent"] == 1 and spread[most] > second
    expected = sorted(len(tokens.keys() - {most}) for tokens in held.values())
    assert sorted(found.index.tokens_without_frequent) == expected


def test_documents_that_were_deleted_or_added_count_as_they_are(late_system, late_index, texts):
    from lotte import Doc, Docs

    late_system.change(late_index, delete=["d3", "d17"], add=Docs((Doc("mine", "telescope star"),)))
    texts |= {"d3": "gone", "d17": "gone", "mine": "telescope star"}
    found = clusters.study(late_system.open(late_index), texts)
    tokens = late_system.encoder.tokens
    left = [text for doc_id, text in texts.items() if doc_id not in ("d3", "d17")]
    assert found.counts["documents"] == 59
    assert found.counts["tokens"] == int(tokens.docs(left).kept.sum())


def test_a_text_that_is_not_the_one_indexed_is_named(late_system, late_index, texts):
    texts["d7"] += " and more"
    with pytest.raises(MismatchError, match="document 'd7' is not the text that was indexed, so its tokens are not known"):
        clusters.study(late_system.open(late_index), texts)


def test_pooled_vectors_are_of_no_one_token(small_checkpoint, sixty_documents, texts, tmp_path):
    pooled = load("colbertv2", [f"checkpoint={small_checkpoint}", "pool=2"])
    index = pooled.index(sixty_documents, tmp_path / "pooled")
    with pytest.raises(MismatchError, match="2 tokens became one vector in this index"):
        clusters.study(index, texts)


def test_an_index_without_a_token_is_one_line(late_system, tmp_path):
    from lotte import Docs

    index = late_system.index(Docs(()), tmp_path / "empty")
    with pytest.raises(MismatchError, match="has no token"):
        clusters.study(index, {})
