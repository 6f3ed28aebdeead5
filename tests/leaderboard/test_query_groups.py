"""Of which topic and community a question is, and what two systems win and lose of each."""

import json
from collections import Counter

import pytest
from board import board
from command import lotte
from places import DUMPS, GOOAQ, SPEC

from leaderboard.board import site
from leaderboard.evaluate import Order, evaluate
from lotte import Dataset, Docs, reading
from lotte.query_groups import query_groups
from retrievers import load


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "out"
    assert lotte("build", "--dumps", DUMPS, "--gooaq", GOOAQ, "--spec", SPEC, "--out", out).returncode == 0
    return out


@pytest.fixture(scope="module")
def pooled(built) -> Dataset:
    return reading.read(built / "pooled" / "test" / "forum")[0]


def test_the_questions_of_a_build_are_as_many_as_its_manifest_says(built, pooled):
    parts = json.loads((built / "manifest.json").read_text())["counts"]["parts"]
    found = query_groups(pooled)
    assert Counter(found["topic"].values()) == {
        topic: parts[f"{topic}/test"]["forum"] for topic in ("science", "technology", "lifestyle")
    }
    assert Counter(found["community"].values()) == {
        site: counts["forum"] for site, counts in parts["pooled/test"]["communities"].items()
    }


def test_a_question_of_the_pool_is_of_the_topic_that_asks_it(built, pooled):
    of = query_groups(pooled)["topic"]
    for topic in set(of.values()):
        (alone,) = reading.read(built / topic / "test" / "forum")
        assert sorted(alone.queries.values()) == sorted(pooled.queries[one] for one in of if of[one] == topic)


def test_one_group_is_no_grouping(built):
    assert query_groups(reading.read(built / "science" / "test" / "forum")[0]) == {}


def test_the_released_pool_is_its_topics_one_after_another():
    queries = {str(number): "?" for number in range(3869)}
    pool = Dataset(
        name="lotte/pooled/test/search", corpus=Docs(()), queries=queries, qrels={}, measure="Success@5", source="release"
    )
    found = query_groups(pool)["topic"]
    firsts = {topic: query_id for query_id, topic in reversed(found.items())}
    # spec sheet A.7: what is added to a topic's query ids in the pool
    assert firsts == {"writing": "0", "recreation": "1071", "science": "1995", "technology": "2612", "lifestyle": "3208"}


def test_a_damaged_attribution_is_no_grouping(built, pooled, tmp_path):
    folder = tmp_path / "pooled" / "test"
    folder.mkdir(parents=True)
    for file in (built / "pooled" / "test").iterdir():
        (folder / file.name).write_bytes(file.read_bytes()[: 40 if file.suffix == ".parquet" else None])
    assert query_groups(reading.read(folder / "forum")[0]) == {}


@pytest.fixture(scope="module")
def records(pooled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    for name in ("bm25", "overlap"):
        assert list(evaluate(name, load(name), [pooled], Order(out=folder)))
    return [folder / name / f"{pooled.name}.json" for name in ("bm25", "overlap")]


def test_the_command_counts_by_community_what_the_whole_counts_together(built, records):
    done = board("compare", *records, "--by", "community", "--data", built, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    (pair,) = (row for row in rows if row["kind"] == "pair")
    groups = [row for row in rows if row["kind"] == "group"]
    assert [row["community"] for row in groups] == sorted(
        f"{name}.stackexchange.example" for name in ("homelab", "houseplants", "stargazing")
    )
    for key in ("queries", "wins", "ties", "losses"):
        assert sum(row[key] for row in groups) == pair[key], key
    assert sum(row["difference"] * row["queries"] for row in groups) / pair["queries"] == pytest.approx(
        pair["difference"]
    )
    typed = board("compare", *records, "--by", "topic", "--data", built).stdout.split("\n\n")[2].splitlines()
    assert typed[0] == "dataset\tmeasure\ttopic\ta\tb\tqueries\twins\tties\tlosses\tdifference"
    assert [line.split("\t")[2] for line in typed[1:]] == ["lifestyle", "science", "technology"]


def test_what_nothing_tells_is_a_line(built, records, tmp_path):
    assert board("compare", *records, "--by", "author", "--data", built).stderr.endswith(
        "questions are grouped by topic or community, not by 'author'\n"
    )
    done = board("compare", *records, "--by", "topic", "--data", tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "collection.tsv is not there" in done.stderr


def test_the_page_of_a_pair_shows_topics_and_communities(built, records, tmp_path):
    pytest.importorskip("jinja2", reason="the board's pages need jinja2")
    site.build(records[0].parents[4], tmp_path / "site", data=built)
    (page,) = (file.read_text() for file in (tmp_path / "site" / "pair").iterdir())
    assert page.index(">By topic<") < page.index(">By community<") < page.index(">Questions that flip<")
    assert "houseplants.stackexchange.example" in page
