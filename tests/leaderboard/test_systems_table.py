"""`lotte board table`: every system on every dataset, what it costs, and the means."""

import json

import pytest
from board import board
from made_records import EVIL, made

from leaderboard import systems_table
from leaderboard.interval import interval
from lotte.errors import UnavailableError

ONE, TWO = "one/test", "two/test"
COST = {
    "index_bytes": 3_000_000, "index_seconds": 12.5, "latency_ms": {"p50": 4.25}, "peak_memory_bytes": {"host": 2_000_000_000},
}  # fmt: skip
GOOD, BAD, LIKE_GOOD = [1.0] * 30, [0.0] * 30, [1.0] * 29 + [0.0]


def put(folder, system, on, values, **sections):
    return made(system, on, values, **sections).write(folder / system / f"{on}.json")


@pytest.fixture
def results(tmp_path):
    for on in (ONE, TWO):
        put(tmp_path / "r", "good", on, GOOD, cost=COST)
        put(tmp_path / "r", "alike", on, LIKE_GOOD)
        put(tmp_path / "r", "bad", on, BAD)
    return tmp_path / "r"


def rows(results, *words):
    done = board("table", results, "--json", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_row_has_quality_and_cost(results):
    first = rows(results)[0]
    expected = {
        "dataset": ONE, "measure": "Success@5", "system": "good", "value": 1.0, "low": 1.0, "high": 1.0, "mark": "best",
        "queries": 30, "index_bytes": 3_000_000, "index_seconds": 12.5, "ms_a_query": 4.25,
        "peak_memory_bytes": 2_000_000_000, "stages": "", "machine": "a CPU, 2 cores",
    }  # fmt: skip
    assert first == expected


def test_the_best_and_those_that_chance_could_explain_are_marked(results):
    marks = {row["system"]: row["mark"] for row in rows(results) if row["dataset"] == ONE}
    assert marks == {"good": "best", "alike": "not worse beyond chance", "bad": ""}


def test_the_mean_of_datasets_has_the_interval_of_queries_drawn_within_each(results):
    means = {row["system"]: row for row in rows(results) if row["dataset"] == "mean of 2"}
    assert means["alike"]["value"] == pytest.approx(29 / 30) and means["alike"]["queries"] == 60
    assert means["bad"]["mark"] == "" and (means["bad"]["low"], means["bad"]["high"]) == (0.0, 0.0)
    low, _ = interval(LIKE_GOOD)
    assert low < means["alike"]["low"] < 29 / 30  # narrower than that of one dataset


def test_the_cost_of_a_mean_is_the_mean_of_costs(tmp_path):
    for on, seconds in ((ONE, 10.0), (TWO, 20.0)):
        put(tmp_path, "good", on, GOOD, cost={"index_seconds": seconds, "peak_memory_bytes": {"host": seconds}})
    mean = rows(tmp_path)[-1]
    assert (mean["index_seconds"], mean["peak_memory_bytes"]) == (15.0, 20)


def test_a_system_that_lacks_a_dataset_is_in_no_mean_and_is_said(results):
    put(results, "half", ONE, GOOD)
    done = board("table", results)
    assert done.stderr == "mean of 2: not on all of its datasets, so left out: half\n"
    assert "mean of 2\tSuccess@5\thalf" not in done.stdout


def test_search_and_forum_are_averaged_apart_and_the_pool_not_at_all(tmp_path):
    for topic in ("science", "writing", "pooled"):
        for kind in ("search", "forum"):
            put(tmp_path, "good", f"lotte/{topic}/test/{kind}", GOOD)
    titles = [row["dataset"] for row in rows(tmp_path)][6:]
    assert titles == ["lotte/*/test/forum: mean of 2", "lotte/*/test/search: mean of 2"]


def test_datasets_of_other_measures_have_no_mean_together(tmp_path):
    put(tmp_path, "good", ONE, GOOD)
    put(tmp_path, "good", TWO, GOOD, measure="nDCG@10")
    assert len(rows(tmp_path)) == 2


def test_one_measure_is_shown_of_those_that_have_it(results):
    put(results, "other", ONE, BAD, measure="nDCG@10")
    done = board("table", results, "--measure", "nDCG@10", "--dataset", "one/*")
    assert [line.split("\t")[2] for line in done.stdout.splitlines()[1:]] == ["other"]
    assert "left out: good on one/test has no nDCG@10" in done.stderr


def test_what_another_tool_scored_is_shown_and_never_marked(results):
    put(results, "theirs", ONE, GOOD, verification={"level": "imported"})
    marks = {row["system"]: row["mark"] for row in rows(results) if row["dataset"] == ONE}
    assert marks["theirs"] == "imported" and marks["good"] == "best"


def test_of_two_measurements_of_a_system_the_newer_counts(results):
    newer = made("good", ONE, BAD, created="2027-01-01T00:00:00+00:00")
    newer.write(results / "again" / "one.json")
    done = board("table", results, "--dataset", ONE, "--json")
    assert done.stderr == f"{ONE}: 1 older measurements of the same systems are left out\n"
    assert {row["system"]: row["value"] for row in map(json.loads, done.stdout.splitlines())}["good"] == 0.0


def test_records_of_other_data_under_one_name_are_not_compared(results):
    put(results / "x", "good", ONE, BAD, dataset={"qrels_sha256": "f" * 64})
    names = list(dict.fromkeys(row["dataset"] for row in rows(results, "--dataset", ONE)))
    assert names[0] == ONE and names[1].startswith(f"{ONE}@") and len(names) == 2


def test_stages_are_shown_with_their_cost_inner_ones_in_brackets(tmp_path):
    inner = [{"stage": "bm25", "milliseconds_a_query": 0.5}, {"stage": "overlap", "milliseconds_a_query": None}]
    stages = [{"stage": "hybrid(of=bm25+overlap)", "milliseconds_a_query": 2.04, "stages": inner}]
    put(tmp_path, "crossencoder", ONE, GOOD, retriever={"search": {"k": 10, "stages": stages}})
    assert rows(tmp_path)[0]["stages"] == "hybrid(of=bm25+overlap) 2.0 ms [bm25 0.5 ms; overlap]"


@pytest.mark.parametrize("stages", ["bm25", [1], [{"stage": 5}], {"stage": "x"}, None])
def test_what_is_no_list_of_stages_is_nothing(tmp_path, stages):
    put(tmp_path, "odd", ONE, GOOD, retriever={"search": {"k": 10, "stages": stages}})
    assert rows(tmp_path)[0]["stages"] == ""


def test_a_file_that_is_no_record_is_said_and_left_out(results):
    (results / "broken.json").write_text("{")
    done = board("table", results)
    assert done.returncode == 0 and done.stderr.startswith(f"left out: {results / 'broken.json'}")


@pytest.mark.parametrize(
    ("ending", "begins", "best"),
    [
        ("md", "| dataset | system | quality |", "| one/test, Success@5 | good | **1.0000** |"),
        ("tsv", "dataset\tmeasure\tsystem\tvalue", "one/test\tSuccess@5\tgood\t1.0000\t1.0000\t1.0000\tbest"),
        ("html", "<!doctype html>", "<td>good</td><td><b>1.0000</b></td>"),
    ],
)
def test_the_table_is_written_as_its_ending_says(results, tmp_path, ending, begins, best):
    done = board("table", results, "--out", tmp_path / f"t.{ending}")
    text = (tmp_path / f"t.{ending}").read_text()
    assert done.stderr == f"{tmp_path}/t.{ending}: 9 rows\n"
    assert text.startswith(begins) and best in text


def test_names_of_strangers_are_text(tmp_path):
    put(tmp_path / "r", "x", ONE, GOOD, retriever={"name": f"a|b {EVIL}"})
    for ending in ("md", "html"):
        board("table", tmp_path / "r", "--out", tmp_path / f"t.{ending}")
        assert "<script>" not in (tmp_path / f"t.{ending}").read_text()
    assert "a\\|b" in (tmp_path / "t.md").read_text()


def test_another_ending_is_told_before_records_are_read(tmp_path):
    done = board("table", tmp_path / "nowhere", "--out", "t.pdf")
    assert done.stderr == "error: a table is written to a file that ends in .md, .tsv, .html, not 't.pdf'\n"


def test_no_record_is_one_line(tmp_path):
    with pytest.raises(UnavailableError, match="no record of any measure is in"):
        systems_table.rows([tmp_path], print)
