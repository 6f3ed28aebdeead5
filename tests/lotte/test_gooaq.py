"""A URL names a post or it does not; of several questions about one answer, the seed takes one."""

import json
import re
from collections import Counter
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotte.builder.counts import ChosenCounts, CommunityCounts, spelled
from lotte.builder.gooaq import Candidate, chosen, read, shuffle_key
from lotte.builder.links import Link, link
from lotte.builder.spec import BuildOptions
from lotte.errors import CorruptFileError

SITES = {
    "coffee.stackexchange.com": "coffee.stackexchange.com",
    "superuser.com": "superuser.com",
    "writing.stackexchange.com": "writing.stackexchange.com",
    "writers.stackexchange.com": "writing.stackexchange.com",
}
C, S, W = "coffee.stackexchange.com", "superuser.com", "writing.stackexchange.com"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (f"https://{C}/questions/12/how-hot", Link(C, 12, 0)),
        (f"https://{C}/questions/12", Link(C, 12, 0)),
        (f"https://{C}/questions/12/", Link(C, 12, 0)),
        (f"http://www.{C}/questions/12/how-hot/34", Link(C, 12, 34)),
        (f"https://{C}/questions/12/how-hot/34#34", Link(C, 12, 34)),
        (f"https://{C}/questions/12/how-hot?noredirect=1&lq=1#:~:text=a/b", Link(C, 12, 0)),
        (f"https://{C}/q/12", Link(C, 12, 0)),
        (f"https://{C}/q/12/345", Link(C, 12, 0)),
        (f"https://{C}/a/34", Link(C, 0, 34)),
        (f"https://{C}/a/34/345", Link(C, 0, 34)),
        ("HTTPS://SuperUser.com/questions/7/caf%C3%A9-é", Link(S, 7, 0)),
        ("https://superuser.com:443/q/7", Link(S, 7, 0)),
        ("https://writers.stackexchange.com/q/7", Link(W, 7, 0)),
        (f"https://{C}/questions/tagged/12", "no post"),
        (f"https://{C}/questions", "no post"),
        (f"https://{C}", "no post"),
        (f"https://{C}/users/12/name", "no post"),
        (f"https://{C}/questions/12abc", "no post"),
        (f"https://{C}/questions/0", "no post"),
        (f"https://{C}/questions/12/slug/34/56", "no post"),
        (f"https://{C}/x/questions/12", "no post"),
        (f"https://{C}/questions/\u0661\u0662", "no post"),
        (f"https://{C}/?next=/questions/12", "no post"),
        ("https://coffee.meta.stackexchange.com/questions/12", "meta site"),
        ("https://meta.superuser.com/q/12", "meta site"),
        ("https://tea.stackexchange.com/q/12", "community not built"),
        ("https://stackoverflow.com/questions/12", "community not built"),
        (f"https://{C}.evil.example/questions/12", "elsewhere"),
        (f"https://{C}@evil.example/questions/12", "elsewhere"),
        (f"https://evil.example/https://{C}/questions/12", "elsewhere"),
        (f"ftp://{C}/questions/12", "elsewhere"),
        (f"//{C}/questions/12", "elsewhere"),
        (f"https://{C}:8080/questions/12", "elsewhere"),
        (f" https://{C}/questions/12", "elsewhere"),
        ("", "elsewhere"),
        ("not a url", "elsewhere"),
    ],
)
def test_a_url_names_a_post_or_says_why_not(url, found):
    assert link(url, SITES) == found


chunks = st.sampled_from(
    ["https://", "http://", "www.", C, S, "evil.example", "/", "/questions/", "/q/", "/a/", "12", "34", "-slug", "?x=1", "#34",
     ":443", "@", "tagged", "\u0661", "%2F", "..", " ", "\n", "\x00"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=60), st.lists(chunks, max_size=10).map("".join)))
def test_no_url_makes_it_fall_over_and_none_gets_an_answer_that_names_no_post(url):
    found = link(url, SITES)
    if isinstance(found, Link):
        parts = urlsplit(url.replace("\n", "").replace("\x00", "").strip() if "\n" in url or "\x00" in url else url)
        assert parts.scheme.lower() in ("http", "https")
        assert SITES[(parts.hostname or "").removeprefix("www.")] == found.site
        path = re.split("[?#]", url.partition("//")[2])[0]
        numbers = [int(number) for number in re.findall("[0-9]+", path.partition("/")[2])]
        assert numbers and found.question_id in (0, *numbers) and found.answer_id in (0, *numbers)
        assert re.match(r"(questions|q|a)/[0-9]+(/|$)", path.partition("/")[2])


@given(st.integers(0, 10**11), st.sampled_from(["questions", "q", "a"]))
def test_every_number_comes_back(number, kind):
    found = link(f"https://{C}/{kind}/{number}", SITES)
    if number == 0:
        assert found == "no post"
    else:
        assert found == (Link(C, 0, number) if kind == "a" else Link(C, number, 0))


def row(number: int, text: str, url: str, question_id: int = 1, answer: str = "x") -> Candidate:
    return Candidate(number, number, text, url, C, question_id, 0, answer)


def texts(rows, question_of=lambda question_id, answer_id: question_id, **options) -> list[str]:
    return [one.text for one in chosen(rows, question_of, BuildOptions(**options), ChosenCounts())]


ROWS = [row(1, "a?", "u1"), row(2, "b?", "u1"), row(3, "c?", "u2"), row(4, "d?", "u3", 2), row(5, "a?", "u4")]


def test_the_key_is_the_url_and_exact_repeats_go():
    assert texts(ROWS, search_shuffle=False) == ["a?", "c?", "d?"]
    assert texts(ROWS, search_shuffle=False, search_repeats="keep") == ["a?", "c?", "d?", "a?"]


def test_the_key_may_be_the_page_or_the_answer():
    assert texts(ROWS, search_shuffle=False, search_key="page") == ["a?", "d?"]
    same = [row(1, "a?", "u1", answer="x"), row(2, "b?", "u2", answer="x"), row(3, "c?", "u3", answer="y")]
    assert texts(same, search_shuffle=False, search_key="answer") == ["a?", "c?"]


def test_a_page_without_passages_gives_its_place_to_nobody():
    counts = ChosenCounts()
    assert chosen([row(1, "a?", "u1", 9)], lambda question_id, answer_id: 0, BuildOptions(), counts) == []
    assert counts == ChosenCounts(without_passages=1)


def test_the_order_is_drawn_by_the_seed_alone():
    assert texts(ROWS, seed=1) == texts(list(reversed(ROWS)), seed=1)
    orders = {tuple(texts(ROWS, seed=seed)) for seed in range(30)}
    assert len(orders) > 5
    assert {first[0] for first in orders} == {"a?", "b?", "c?", "d?"}


def test_the_place_in_the_shuffle_never_changes():
    """It decides which questions a collection has, so it is a promise."""
    assert shuffle_key(row(1, "a?", "u1"), 0)[0].hex()[:16] == "f9c1750b36cb8fa5"


def test_a_size_caps_each_community():
    assert len(texts(ROWS, search_size=2)) == 2


def test_a_count_is_spelled_for_the_manifest_whether_or_not_it_was_passed_on_as_json():
    counts = CommunityCounts(rows=Counter({"Posts.xml": 3}), owners=Counter({-2: 1}), watermarks=0, closed=0)
    assert spelled(counts) == {
        "accepted answers not in the file": 0, "answers": 0, "answers without their question": 0, "bad rows": 0, "closed": 0,
        "low score": 0, "owner -2": 1, "passages": 0, "questions": 0, "questions with an accepted answer": 0,
        "questions with passages": 0, "repeated ids": 0, "rows of Posts.xml": 3,
    }  # fmt: skip
    assert spelled(CommunityCounts(**json.loads(json.dumps(vars(counts))))) == spelled(counts)


def test_too_many_bad_lines_are_the_fault_of_the_file_which_is_named(tmp_path):
    gooaq = tmp_path / "gooaq.jsonl"
    gooaq.write_text('{"question": "a?", "answer_url": null}\n[]\n{\n')
    with pytest.raises(CorruptFileError) as error:
        read(gooaq, {}, BuildOptions(), tmp_path / "made", lambda used: None)
    assert str(error.value) == (
        f"2 of 3 rows are bad, more than the 1.00% that max_bad_share allows; the first: {gooaq}:2: not an object but list. "
        "Fetch the file again, or raise max_bad_share in the spec."
    )
