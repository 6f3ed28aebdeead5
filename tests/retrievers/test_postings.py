"""Postings are what counting by hand gives, whatever the size of the batches; a vocabulary finds its words."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotte import Doc, Docs
from retrievers import batches, load, postings
from retrievers.analyser import BLANKS, ENGLISH
from retrievers.kernels import words
from retrievers.vocabulary import Vocabulary

word = st.sampled_from(["a", "b", "ab", "\u00e9", "z", "\U0001f600", "word"])
texts = st.lists(st.lists(word, max_size=8), max_size=12)


def remember(totals):
    """A weight from which every argument can be told."""
    return lambda counts_P, lengths_P, documents_P: (
        counts_P + 100.0 * lengths_P + 10_000.0 * documents_P + 1_000_000.0 * len(totals.lengths_D)
    )


def compiled(texts, size):
    """The batches of texts by compiled code, so many texts in each."""
    work = batches._CompiledNumbering(words, BLANKS)
    return [work(texts[first : first + size]) for first in range(0, len(texts), size)]


def plain(texts, size):
    return [batches.plain(texts[first : first + size], BLANKS) for first in range(0, len(texts), size)]


@settings(max_examples=60)
@given(texts=texts, size=st.sampled_from([1, 3, 99]), stretch=st.sampled_from([1, 4, 1 << 20]), make=st.sampled_from([plain, compiled]))
def test_every_posting_is_there_once_with_its_counts(tmp_path_factory, texts, size, stretch, make):
    folder = tmp_path_factory.mktemp("postings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "STRETCH", stretch)
        counts = postings.write(folder, iter(make([" ".join(text) for text in texts], size)), remember)
    found = postings.Postings.open(folder)
    documents = Counter(word for text in texts for word in set(text))
    expected = {
        word: [
            (row, text.count(word) + 100.0 * len(text) + 10_000.0 * documents[word] + 1_000_000.0 * len(texts))
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


@given(texts=st.lists(st.text(st.sampled_from("aAbB \u00e9'.,:_19\n\u2019\u0301\u6f22\u3042\u00b7\u03a3\u0660\u200d\U00020001\ud800"), max_size=20) | st.text(max_size=20), max_size=5), analyser=st.sampled_from([ENGLISH, BLANKS]))
def test_compiled_code_reads_texts_as_python_does(texts, analyser):
    expected, found = batches.plain(texts, analyser), batches._CompiledNumbering(words, analyser)(texts)
    assert [np.asarray(part).tolist() for part in found] == [np.asarray(part).tolist() for part in expected]


@pytest.mark.parametrize("letters", [254, 255, 256, 510, 511, 1000])
@pytest.mark.parametrize("end", ["", "'s", "\u00e9's", "_"])
def test_compiled_code_cuts_a_long_word_as_python_does(letters, end):
    texts = ["w" * letters + end, "\u6f22" + "\u0301" * letters + end]
    expected, found = batches.plain(texts, ENGLISH), batches._CompiledNumbering(words, ENGLISH)(texts)
    assert found.words == expected.words and found.counts.tolist() == expected.counts.tolist()


def test_more_words_than_the_table_begins_with_are_all_numbered():
    texts = [" ".join(f"w{number}" for number in range(first, first + 7_000)) for first in (0, 5_000, 10_000)]
    expected, found = batches.plain(texts, BLANKS), batches._CompiledNumbering(words, BLANKS)(texts)
    assert found.words == expected.words
    assert found.rows.tolist() == expected.rows.tolist()


@pytest.mark.parametrize("processors", [1, 2, 5])
def test_an_index_does_not_depend_on_processors_nor_on_compiled_code(tmp_path, monkeypatch, processors):
    corpus = Docs(tuple(Doc(str(row), f"salt {row % 7} melts the ice's edge, caf\u00e9 {row}") for row in range(300)))
    load("bm25").index(corpus, tmp_path / "plain")
    monkeypatch.setattr(batches, "FEW", 100)
    monkeypatch.setattr(batches, "BATCH", 500)
    monkeypatch.setattr(batches, "num_processors", lambda: processors)
    load("bm25").index(corpus, tmp_path / "compiled")
    monkeypatch.setattr(batches, "kernels", lambda name: None)
    load("bm25").index(corpus, tmp_path / "without")
    for path in (tmp_path / "plain").glob("*.npy"):
        assert path.read_bytes() == (tmp_path / "compiled" / path.name).read_bytes()
        assert path.read_bytes() == (tmp_path / "without" / path.name).read_bytes()


def test_a_small_collection_is_read_by_python_and_a_large_one_by_compiled_code(monkeypatch):
    asked = []
    monkeypatch.setattr(batches, "kernels", asked.append)
    monkeypatch.setattr(batches, "FEW", 10)
    assert [batch.words for batch in batches.batches(["a b"], BLANKS)] == [["a", "b"]]
    assert asked == []
    assert [batch.words for batch in batches.batches(["a b c d e f", "g"], BLANKS)] == [list("abcdef"), ["g"]]
    assert asked == ["words"]


def test_the_arrays_are_as_numpy_writes_them(tmp_path):
    postings.write(tmp_path, plain(["a b", "b"], 1), remember)
    for name in (postings.ROWS, postings.WEIGHTS):
        written = (tmp_path / name).read_bytes()
        np.save(tmp_path / name, np.load(tmp_path / name))
        assert (tmp_path / name).read_bytes() == written


def test_scores_add_up_a_word_as_often_as_it_is_asked(tmp_path):
    weigh = lambda totals: lambda counts_P, lengths_P, documents_P: np.arange(1.0, len(counts_P) + 1)  # noqa: E731
    postings.write(tmp_path, plain(["a b", "b", ""], 99), weigh)
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
