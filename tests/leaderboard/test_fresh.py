"""Old beside fresh: two sets of questions, whose means are compared by topic and over topics."""

import json
import random
from pathlib import Path

import pytest
from board import board
from command import lotte
from made_records import made
from places import DUMPS, SPEC

from leaderboard import fresh
from leaderboard.board import site
from leaderboard.board.entry import entry_of
from lotte.errors import UnavailableError

DAY = "2024-01-01"
DRAW = random.Random(3)
VALUES = {(topic, age, system): [float(DRAW.random() < chance) for _ in range(count)]
          for topic, age, count in (("science", "old", 60), ("science", "new", 40), ("writing", "old", 50), ("writing", "new", 30))
          for system, chance in (("bm25", 0.5), ("trained", 0.8 if age == "old" else 0.4))}  # fmt: skip


def record(topic: str, age: str, system: str, values=None, **dataset: object):
    name = f"lotte/{topic}/test/forum"
    facts = {"since": DAY, "fresh_twin_of": name} if age == "new" else {}
    on = name if age == "old" else f"lotte/{topic}/test-since-{DAY}/forum"
    return made(system, on, values or VALUES[topic, age, system], dataset={"facts": facts, **dataset})


def entries(*records) -> list:
    return [entry_of(Path(f"{number}.json"), one, {}) for number, one in enumerate(records)]


ALL = [record(*key) for key in VALUES]


def tables(*records, beside: str = "", told: list[str] | None = None) -> dict[str, fresh.FreshTable]:
    said = [] if told is None else told
    return {table.title: table for table in fresh.tables(entries(*records), said.append, beside=beside)}


def row(table: fresh.FreshTable, system: str) -> fresh.OldAndFresh:
    return next(row for row in table.rows if row.system == system)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_each_topic_has_both_means_and_their_difference():
    one = row(tables(*ALL)["lotte/science/test/forum"], "trained")
    old, new = (mean(VALUES["science", age, "trained"]) for age in ("old", "new"))
    assert (one.old, one.fresh, one.difference) == pytest.approx((old, new, new - old), abs=1e-8)
    assert (one.old_queries, one.fresh_queries) == (60, 40)


def test_the_mean_counts_each_topic_the_same():
    table = tables(*ALL)["mean of 2: lotte/*/test/forum"]
    of_topics = [mean(VALUES[topic, "new", "trained"]) - mean(VALUES[topic, "old", "trained"]) for topic in ("science", "writing")]
    assert row(table, "trained").difference == pytest.approx(mean(of_topics), abs=1e-8)


def test_the_interval_is_that_of_a_plain_bootstrap_for_two_samples():
    """The same by hand, with other draws: the ends agree as far as 10,000 draws do."""
    draw, drawn = random.Random(11), []
    for _ in range(4_000):
        differences = []
        for topic in ("science", "writing"):
            old, new = (VALUES[topic, age, "trained"] for age in ("old", "new"))
            differences.append(mean(draw.choices(new, k=len(new))) - mean(draw.choices(old, k=len(old))))
        drawn.append(mean(differences))
    drawn.sort()
    low, high = row(tables(*ALL)["mean of 2: lotte/*/test/forum"], "trained").ci95
    assert (low, high) == pytest.approx((drawn[100], drawn[-101]), abs=0.02)


def test_both_sides_are_drawn_apart():
    """The same values on both sides: drawn together, every difference would be 0."""
    same = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    low, high = tables(record("science", "old", "bm25", same), record("science", "new", "bm25", same))[
        "lotte/science/test/forum"
    ].rows[0].ci95
    assert low < 0 < high


def test_beside_an_untrained_system_its_part_is_subtracted():
    table = tables(*ALL, beside="bm25")["mean of 2: lotte/*/test/forum"]
    trained, plain = row(table, "trained"), row(table, "bm25")
    assert trained.beyond == pytest.approx(trained.difference - plain.difference, abs=1e-8)
    assert (plain.beyond, plain.beyond_ci95) == (0, (0, 0))
    assert trained.beyond_ci95[0] < trained.beyond < trained.beyond_ci95[1] < 0


def test_a_system_beside_that_is_not_there_is_one_line():
    with pytest.raises(UnavailableError, match="no system called 'bm52' was scored on old and fresh"):
        tables(*ALL, beside="bm52")


def test_a_pool_stands_beside_the_topics_and_is_in_no_mean():
    pool = [record("pooled", age, "bm25", [1.0, 0.0]) for age in ("old", "new")]
    found = tables(*ALL, *pool)
    assert "lotte/pooled/test/forum" in found
    assert [title for title in found if title.startswith("mean")] == ["mean of 2: lotte/*/test/forum"]


def test_a_system_that_lacks_a_topic_is_in_no_mean_and_it_is_said():
    told: list[str] = []
    some = [one for one in ALL if not (one.retriever.name == "trained" and "writing" in one.dataset.name)]
    table = tables(*some, told=told)["mean of 2: lotte/*/test/forum"]
    assert [one.system for one in table.rows] == ["bm25"]
    assert told == ["mean of 2: lotte/*/test/forum: not on all of its topics, so left out: trained"]


def test_of_two_datasets_of_one_name_that_of_most_systems_counts():
    told: list[str] = []
    other = record("science", "old", "bm25", [0.0, 0.0], corpus_sha256="e" * 64)
    table = tables(*ALL, other, told=told)["lotte/science/test/forum"]
    assert row(table, "bm25").old_queries == 60
    assert told == ["lotte/science/test/forum: 2 datasets of that name have records; that of most systems, or the newest, counts"]


def test_without_a_twin_there_is_no_table():
    assert tables(*(one for one in ALL if "since" not in one.dataset.name)) == {}


def written(folder: Path, *records) -> Path:
    for one in records:
        file = folder / one.retriever.name / f"{one.dataset.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        one.write(file)
    return folder


def test_the_command_prints_a_row_for_each_system_and_dataset(tmp_path):
    done = board("fresh", written(tmp_path / "results", *ALL), "--beside", "bm25", "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["dataset"].rpartition("lotte/")[2], row["system"]) for row in rows] == [
        (name, system) for name in ("science/test/forum", "writing/test/forum", "*/test/forum") for system in ("trained", "bm25")
    ]
    assert rows[0].keys() == {
        "dataset", "since", "measure", "system", "old", "fresh", "difference", "low", "high", "old_queries", "fresh_queries",
        "beyond", "beyond_low", "beyond_high",
    }  # fmt: skip


def test_the_command_says_how_the_interval_is_made(tmp_path):
    assert "bootstrap for two samples" in board("fresh", written(tmp_path / "results", *ALL)).stderr


def test_the_command_says_where_twins_come_from(tmp_path):
    done = board("fresh", written(tmp_path / "results", ALL[0]))
    assert (done.returncode, done.stdout) == (1, "")
    assert "`lotte eval OLD FRESH" in done.stderr


def test_the_site_has_a_page_of_it_and_leads_there(tmp_path):
    site.build(written(tmp_path / "results", *ALL), tmp_path / "site")
    page = (tmp_path / "site" / "fresh.html").read_text(encoding="utf-8")
    assert "mean of 2: lotte/*/test/forum" in page and "bootstrap for two samples" in page
    assert 'href="fresh.html"' in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


def test_a_site_without_twins_has_no_such_page(tmp_path):
    site.build(written(tmp_path / "results", ALL[0]), tmp_path / "site")
    assert not (tmp_path / "site" / "fresh.html").exists()
    assert "fresh.html" not in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A build of the sample and its fresh twin, scored: where records are, and the command as it ended."""
    folder = tmp_path_factory.mktemp("twins")
    for name, more in (("old", ()), ("new", ("--fresh", "--since", "2015-01-01"))):
        done = lotte("build", "--dumps", DUMPS, "--spec", SPEC, "--topic", "technology", "--out", folder / name, *more)
        assert done.returncode == 0, done.stderr
    done = lotte("eval", folder / "old", folder / "new", "--retriever", "overlap", "--out", folder / "results")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_eval_scores_both_under_names_of_their_own(scored):
    assert [line.split("\t")[0] for line in scored[1].stdout.splitlines()] == [
        f"lotte/{topic}/{split}/forum" for split in ("test", "test-since-2015-01-01") for topic in ("pooled", "technology")
    ]


def test_eval_of_both_says_the_difference(scored):
    assert "lotte/technology/test/forum, since 2015-01-01: Success@5 of overlap is " in scored[1].stderr


def test_records_of_fresh_datasets_are_verified_like_others(scored):
    folder, _ = scored
    done = board("verify", folder / "results", "--data", folder / "new")
    assert done.returncode == 0, done.stderr
    assert "4 records: 4 without a problem, 0 with; 2 scored again" in done.stderr


def test_without_names_eval_takes_the_tests_of_a_fresh_build_too(scored):
    folder, _ = scored
    done = lotte("eval", "--data", folder / "new", "--retriever", "overlap", "--out", folder / "others")
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [
        f"lotte/{topic}/test-since-2015-01-01/forum" for topic in ("pooled", "technology")
    ]


def test_a_fresh_build_is_published_under_its_split(scored):
    folder, _ = scored
    done = lotte("publish", folder / "new", "--to", "folder", "--out", folder / "published")
    assert done.returncode == 0, done.stderr
    assert (folder / "published" / "data" / "technology" / "test" / "forum-queries.parquet").is_file()
