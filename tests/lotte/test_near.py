"""Near-duplicates: what is found is what comparing every text with every other finds, whatever passes by in whatever batch."""

import random
from itertools import product

import pytest

from lotte.builder import near
from lotte.builder.near import NearTexts

WORDS = [f"word{number}" for number in range(400)]


def runs_of(text: str, length: int) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[at : at + length]) for at in range(max(1, len(words) - length + 1))}


def share(text: str, other: str, length: int) -> float:
    mine, its = runs_of(text, length), runs_of(other, length)
    return len(mine & its) / len(mine | its)


def edited(text: str, chance: float, draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) if draw.random() < chance else word for word in text.split())


def found(tmp_path, texts, passing, length=5, shortest=8, least=0.5) -> dict[int, int]:
    those = NearTexts(tmp_path / "runs", length=length, shortest=shortest, least=least)
    assert [those.add(text) for text in texts] == list(range(len(texts)))
    those.close()
    return dict(those.passing(passing))


@pytest.fixture(scope="module")
def texts() -> tuple[list[str], list[str]]:
    draw = random.Random(5)
    old = [" ".join(draw.choices(WORDS, k=draw.randint(8, 120))) for _ in range(150)]
    return [edited(text, draw.choice([0, 0.02, 0.05, 0.1, 0.3]), draw) for text in old], old


@pytest.mark.parametrize("least", [0.3, 0.5, 0.8])
def test_what_is_near_is_what_comparing_all_with_all_finds(tmp_path, texts, least):
    new, old = texts
    wanted = {row for (row, text), other in product(enumerate(new), old) if share(text, other, 5) >= least}
    assert set(found(tmp_path, new, old, least=least)) == wanted
    assert 30 < len(wanted) < 140


def test_the_batches_make_no_difference(tmp_path, texts, monkeypatch):
    whole = found(tmp_path, *texts)
    monkeypatch.setattr(near, "_TEXTS", 7)
    assert found(tmp_path, *texts) == whole


def test_hashes_that_many_texts_have_make_no_difference(tmp_path, monkeypatch):
    texts, passing = ["how do I do it"] * 50 + ["what is it good for"] * 3, ["how do I do it", "what is it good for"] * 20
    whole = found(tmp_path, texts, passing, length=2, shortest=1)
    monkeypatch.setattr(near, "_PAIRS", 30)
    assert found(tmp_path, texts, passing, length=2, shortest=1) == whole
    assert [*whole.values()] == [0] * 50 + [1] * 3


def test_of_several_originals_the_first_is_named_and_once(tmp_path):
    text = "one two three four five six seven eight nine"
    those = NearTexts(tmp_path / "runs", length=5, shortest=8, least=0.5)
    those.add(text)
    those.close()
    assert list(those.passing(["something else entirely that shares no words at all", text, text])) == [(0, 1)]
    assert list(those.passing([text])) == []


def test_a_short_text_is_not_compared_and_a_short_title_is(tmp_path):
    assert found(tmp_path, ["it is so"], ["it is so"]) == {}
    assert found(tmp_path, ["Why?"], ["why"], length=2, shortest=1, least=0.7) == {0: 0}


def test_case_marks_and_apostrophes_make_no_difference(tmp_path):
    title, other = "Why doesn't my \u201cCold Brew\u201d taste of much?", "why doesnt my cold brew taste of much"
    assert found(tmp_path, [title], [other], length=2, shortest=1, least=1) == {0: 0}


def test_one_exchanged_word_in_a_title_is_another_question(tmp_path):
    assert found(tmp_path, ["How do I grow basil on a balcony?"], ["How do I grow thyme on a balcony?"],
                 length=2, shortest=1, least=0.7) == {}  # fmt: skip


def test_nothing_is_near_nothing(tmp_path):
    assert found(tmp_path, [], ["some words"]) == {}
