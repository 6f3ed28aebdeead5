"""`lotte check A --against B`: what it prints, what drift does to scores, and the page."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from command import error, lotte
from drifting import CAUSES, EVIL, NEW_POSTS, OLD_POSTS, SITE, answer, built, dumps


@pytest.fixture(scope="module")
def later(tmp_path_factory) -> Path:
    return dumps(tmp_path_factory.mktemp("later"), NEW_POSTS)


@pytest.fixture(scope="module")
def two(tmp_path_factory, later) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("two")
    return built(place / "before", dumps(place / "dumps", OLD_POSTS, whole=False)), built(place / "after", later)


def told(*words: object) -> list[dict]:
    done = lotte("check", *words, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_change_is_an_object_with_its_cause(two, later):
    rows = [row for row in told(two[0], "--against", two[1], "--dumps", later) if row["row"] == "change" and row["what"] != "judgments"]
    assert {(row["what"], row["change"], row["post"]): row["cause"] for row in rows} == CAUSES


def test_an_edit_has_a_similarity_and_the_words_that_changed(two):
    (row,) = [row for row in told(two[0], "--against", two[1]) if row.get("post") == 11 and row["change"] == "edited"]
    assert (row["similarity"], row["went"], row["came"]) == (0.8889, ["weeks"], ["months"])


def test_the_table_counts_by_community_and_cause(two, later):
    done = lotte("check", two[0], "--against", two[1], "--dumps", later)
    head, *lines = done.stdout.splitlines()
    assert head == "part\tsite\twhat\tchange\tcause\tcount"
    assert f"food/test\t{SITE}\tpassages\tlost\tvote lost\t1" in lines
    assert f"food/test\t{SITE}\tpassages\tsame\t\t2" in lines


def test_the_counts_are_those_of_the_two_builds_side_by_side(two):
    """`lotte check A B` counts the same things by another way."""
    beside = {row["what"]: row for row in told(*two)}
    counts = [row for row in told(two[0], "--against", two[1]) if row["row"] == "count" and row["what"] == "passages"]
    names = {"same": "same", "lost": "lost", "added": "added", "edited": "changed"}
    for change, name in names.items():
        assert sum(row["count"] for row in counts if row["change"] == change) == beside["passages"][name]


def test_the_same_build_on_both_sides_is_one_line(two):
    done = lotte("check", two[0], "--against", two[0], "--score", "overlap")
    assert done.stdout == f"{two[0]} and {two[0]} hold the same: 7 passages, 3 questions, 7 judgments, in 1 parts; no drift\n"


def test_scores_of_all_questions_are_those_that_eval_prints(two):
    (row,) = [row for row in told(two[0], "--against", two[1], "--score", "bm25") if row["row"] == "score"]
    for folder, side in zip(two, ("before", "after"), strict=True):
        done = lotte("eval", folder / "food" / "test", "--retriever", "bm25", "--out", folder.parent / "results", "--json")
        assert json.loads(done.stdout.splitlines()[0])["value"] == row[side]
    assert (row["dataset"], row["measure"], row["in_both"]) == ("food/test/forum", "Success@5", 3)


@pytest.fixture(scope="module")
def turned(tmp_path_factory) -> tuple[Path, Path]:
    """Two builds of which the second has six passages that hide the answer to one question."""
    place = tmp_path_factory.mktemp("turned")
    noise = [answer(40 + n, 3, "which rind may be eaten which rind may be eaten", 1) for n in range(6)]
    before = built(place / "before", dumps(place / "old", OLD_POSTS, whole=False))
    return before, built(place / "after", dumps(place / "new", [*OLD_POSTS, *noise], whole=False))


def test_a_question_that_turned_is_told_with_whether_its_judgments_changed(turned):
    rows = told(turned[0], "--against", turned[1], "--score", "bm25 k1=1.2")
    (one,) = [row for row in rows if row["row"] == "turned"]
    assert (one["query"], one["before"], one["after"], one["judgments"]) == ("Which rind may be eaten", 1.0, 0.0, "the same")
    (score,) = [row for row in rows if row["row"] == "score"]
    assert (score["system"], score["lost"], score["gained"]) == ("bm25 k1=1.2", 1, 0)
    assert score["low"] <= score["difference"] <= score["high"] and score["difference"] == pytest.approx(-1 / 3)


def test_an_unknown_system_is_one_line_before_anything_is_read(tmp_path):
    assert error("check", tmp_path, "--against", tmp_path, "--score", "bm52").startswith("no retriever is named 'bm52'")


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page(tmp_path_factory, turned) -> str:
    place = tmp_path_factory.mktemp("page")
    evil = [row.replace("deleted in the years", EVIL.replace("<", "&amp;lt;").replace(">", "&amp;gt;")) for row in OLD_POSTS]
    before = built(place / "before", dumps(place / "old", evil, whole=False))
    done = lotte("check", before, "--against", turned[1], "--score", "bm25", "--page", place / "drift.html")
    assert done.returncode == 0, done.stderr
    return (place / "drift.html").read_text()


def test_the_page_is_one_file_that_loads_and_runs_nothing(page):
    tags = Page(page).tags
    assert not [tag for tag, _ in tags if tag in ("script", "link", "img", "iframe")]
    assert not re.search(r"url\(|@import", page)
    (policy,) = [attrs["content"] for tag, attrs in tags if tag == "meta" and "http-equiv" in attrs]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


def test_the_policy_of_the_page_allows_its_own_style(page):
    import base64
    import hashlib

    style = re.search("<style>(.*)</style>", page, re.DOTALL)
    assert f"sha256-{base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()}" in page


def test_texts_of_strangers_are_escaped_in_the_page(page):
    assert EVIL not in page and "&lt;script&gt;alert(1)" in page


def test_the_page_has_pictures_of_changes_causes_and_scores(page):
    tags = [(tag, attrs.get("class", "")) for tag, attrs in Page(page).tags]
    for name in ("share", "differences", "bars"):
        assert ("svg", name) in tags
    assert "Which rind may be eaten" in page and "<del>" in page and "<ins>" in page


def test_a_page_that_is_no_html_is_one_line(two):
    assert error("check", two[0], "--against", two[1], "--page", "drift.pdf") == (
        "--page takes a file that ends in .html, not 'drift.pdf'"
    )


def test_dumps_that_are_no_folder_are_one_line(two):
    assert error("check", two[0], "--against", two[1], "--dumps", "nowhere") == (
        "nowhere is no folder; --dumps takes one with <site>.7z or <site>/Posts.xml"
    )


def test_options_of_a_drift_without_against_are_one_line(two):
    assert error("check", two[0], "--score", "bm25") == (
        "--dumps, --score and --page belong to --against, which names the build to hold beside it"
    )


def test_three_builds_are_one_too_many(two):
    assert error("check", two[0], two[1], "--against", two[1]) == (
        f"{two[1]} and --against {two[1]} are two builds to hold beside {two[0]}; leave out one"
    )


def test_a_system_has_a_mean_over_several_question_sets(turned, tmp_path):
    folders = [shutil.copytree(folder, tmp_path / folder.parent.name) for folder in turned]
    for folder in folders:
        shutil.copytree(folder / "food" / "test", folder / "meals" / "dev")
    rows = [row for row in told(folders[0], "--against", folders[1], "--score", "bm25") if row["row"] == "score"]
    assert [row["dataset"] for row in rows] == ["food/test/forum", "meals/dev/forum", "all"]
    assert rows[2]["difference"] == pytest.approx((rows[0]["difference"] + rows[1]["difference"]) / 2)
