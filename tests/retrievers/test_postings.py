"""Postings are what counting by hand gives, whatever the size of the blocks; a vocabulary finds its words."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrievers import postings
from retrievers.vocabulary import Vocabulary

word = st.sampled_from(["a", "b", "ab", "\u00e9", "z", "\U0001f600", "word"])
texts = st.lists(st.lists(word, max_size=8), max_size=12)


def remember(counts_P, lengths_P, documents_P, lengths_D):
    """A weight from which every argument can be told."""
    return counts_P + 100.0 * lengths_P + 10_000.0 * documents_P + 1_000_000.0 * len(lengths_D)


@settings(max_examples=60)
@given(texts=texts, block=st.sampled_from([1, 3, 1 << 20]))
def test_every_posting_is_there_once_with_its_counts(tmp_path_factory, texts, block):
    folder = tmp_path_factory.mktemp("postings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "BLOCK", block)
        counts = postings.write(folder, iter(texts), remember)
    found = postings.Postings.open(folder)
    documents = Counter(word for text in texts for word in set(text))
    expected = {
        word: [
            (row, remember(text.count(word), len(text), documents[word], texts))
            for row, text in enumerate(texts)
            if word in text
        ]
        for word in sorted(documents)
    }
    assert {
        found.vocabulary[number].decode(): list(zip(found.rows[a:b].tolist(), found.weights[a:b].tolist(), strict=True))
        for number, (a, b) in enumerate(zip(found.starts[:-1], found.starts[1:], strict=True))
    } == expected
    assert counts == {
        "documents": len(texts),
        "words": len(documents),
        "postings": sum(documents.values()),
        "tokens": sum(map(len, texts)),
    }
    assert not [path for path in folder.iterdir() if path.suffix != ".npy"]


def test_scores_add_up_a_word_as_often_as_it_is_asked(tmp_path):
    postings.write(tmp_path, [["a", "b"], ["b"], []], lambda counts_P, *_: np.arange(1.0, len(counts_P) + 1))
    found = postings.Postings.open(tmp_path)  # a: row 0 with 1; b: rows 0 and 1 with 2 and 3
    numbers = found.vocabulary.numbers(["b", "a", "b", "unknown"])
    assert found.scores(numbers, 3).tolist() == [5.0, 6.0, 0.0]


@given(st.sets(st.text(min_size=1, max_size=4)), st.lists(st.text(max_size=4)))
def test_a_vocabulary_finds_its_words_and_no_others(tmp_path_factory, known, others):
    known = {word for word in known if not any("\ud800" <= letter <= "\udfff" for letter in word)}
    folder = tmp_path_factory.mktemp("vocabulary")
    Vocabulary.write(folder, sorted(known))
    vocabulary = Vocabulary.open(folder)
    assert vocabulary.numbers(sorted(known)) == list(range(len(known)))
    asked = [*others, *known, *others]
    assert vocabulary.numbers(asked) == [sorted(known).index(word) for word in asked if word in known]


def test_half_a_character_is_in_no_index_and_no_error(tmp_path):
    Vocabulary.write(tmp_path, ["?", "a"])
    assert Vocabulary.open(tmp_path).numbers(["\ud800", "a"]) == [1]
