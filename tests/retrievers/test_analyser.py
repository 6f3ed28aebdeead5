"""Text becomes the words that Lucene's EnglishAnalyzer makes of it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrievers.analyser import MAX_LETTERS, STOP_WORDS, english, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The moon's tides", "moon tide"),
        ("dogs' dog\u2019s DOG'S O\u2019Neill's", "dog dog dog o\u2019neil"),
        ("running ponies nationalization", "run poni nation"),
        ("3.14 1,000,000 1,a a,1 1. 2", "3.14 1,000,000 1 1 1 2"),
        ("U.S.A. e.g. example.com foo.", "u.s.a e.g example.com foo"),
        ("C++ C# .net node.js", "c c net node.j"),
        ("snake_case __init__ ___ a_", "snake_cas __init__ a_"),
        ("x\u00b2 \u00bd 5\u20ac", "x 5"),
        ("caf\u00e9 cafe\u0301", "caf\u00e9 cafe\u0301"),
        ("\u6f22\u5b57 \u304b\u306a \u30ab\u30bf\u30ab\u30ca", "\u6f22 \u5b57 \u304b \u306a \u30ab\u30bf\u30ab\u30ca"),
        ("\ud55c\uad6d\uc5b4 \u043c\u0438\u0440", "\ud55c\uad6d\uc5b4 \u043c\u0438\u0440"),
        ("to be or not to be", ""),
        ("'quoted' \"words\" (here)", "quot word here"),
        ("'s s' '", "s s"),
        ("tab\tline\nform\x0cfeed\u2028end", "tab line form feed end"),
        ("", ""),
    ],
)
def test_words(text, expected):
    assert english(text) == expected.split(" ") if expected else english(text) == []


def test_there_are_lucenes_33_stop_words():
    assert len(STOP_WORDS) == 33
    assert english(" ".join(STOP_WORDS)) == []


def test_a_very_long_word_is_cut_as_lucene_cuts_it():
    assert [len(word) for word in words("a" * (2 * MAX_LETTERS + 1) + " b")] == [MAX_LETTERS, MAX_LETTERS, 1, 1]


@given(st.text())
def test_any_text_at_all_has_words_without_blanks(text):
    assert all(word and not any(letter.isspace() for letter in word) for word in english(text))


def test_threads_do_not_mix_their_words():
    texts = [f"running{number} ponies nationalization" for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(english, texts)) == [english(text) for text in texts]
