"""The pages of a benchmark, a dataset and a pair say what the records say, and compare only what may be compared."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import made

from leaderboard.board import cost_plot, pair, site, table, texts
from leaderboard.board.benchmark_page import benchmark_pages, filled
from leaderboard.board.dataset_page import compared, dataset_pages
from leaderboard.board.entry import Entry, entry_of, read_entries
from leaderboard.record.read import read as read_record

pytest.importorskip("jinja2", reason="the board's pages need jinja2")


def read(*made_results, folder, say=None) -> list[Entry]:
    for number, one in enumerate(made_results):
        one.write(folder / f"{number:05}.json")
    told = []
    found = read_entries(folder, say or told.append)
    assert not told, told
    return found


def grouped(records):
    return [compared(one)[0] for one in dataset_pages(records)]


def test_the_mean_is_over_the_five_topics_and_pooled_stands_beside_it(tmp_path):
    shares = {"writing": 4, "recreation": 3, "science": 2, "technology": 1, "lifestyle": 0, "pooled": 4}
    one = [made("one", f"lotte/{topic}/test/search", [1] * hits + [0] * (4 - hits)) for topic, hits in shares.items()]
    two = [made("two", "lotte/writing/test/search"), made("two", "lotte/writing/test/forum")]
    (found,) = benchmark_pages(grouped(read(*one, *two, folder=tmp_path)))
    found = filled(found)
    assert [column.title for column in found.columns] == list(shares)
    assert [column.title for column in found.columns if column.counts] == list(shares)[:5]
    first, second = found.rows
    assert (first.label, first.mean) == ("one", pytest.approx((4 + 3 + 2 + 1 + 0) / 4 / 5))
    assert second.mean is None and [len(cell) for cell in second.cells] == [1, 0, 0, 0, 0, 0]
    assert first.ci95[0] <= first.mean <= first.ci95[1]


def test_a_release_without_all_topics_has_no_mean(tmp_path):
    names = ("lotte/writing/test/forum", "lotte/science/test/forum")
    (found,) = benchmark_pages(grouped(read(*(made("one", name) for name in names), folder=tmp_path)))
    assert filled(found).rows[0].mean is None
    own = [made("one", name, dataset={"source": "build:abc"}) for name in names]
    (found,) = benchmark_pages(grouped(read(*own, folder=tmp_path / "own")))
    assert filled(found).rows[0].mean == 0.75


def test_cqadupstack_is_one_column_if_all_of_it_is_there(tmp_path):
    from lotte.benchmarks import beir

    forums = [made("one", f"beir/{name}", measure="nDCG@10") for name in beir.MEANS["cqadupstack"]]
    fiqa = made("one", "beir/fiqa", measure="nDCG@10")
    (whole,) = benchmark_pages(grouped(read(*forums, fiqa, folder=tmp_path)))
    assert [(column.title, len(column.datasets)) for column in whole.columns] == [("cqadupstack", 12), ("fiqa", 1)]
    (part,) = benchmark_pages(grouped(read(*forums[:2], fiqa, folder=tmp_path / "part")))
    assert len(part.columns) == 3 and all(len(column.datasets) == 1 for column in part.columns)


def test_systems_that_nothing_tells_apart_share_a_rank(tmp_path):
    good, same, bad = [1.0] * 40, [1.0] * 39 + [0.0], [0.0] * 40
    (contest,) = grouped(
        read(made("good", values=good), made("same", values=same), made("bad", values=bad), folder=tmp_path)
    )
    assert {label: one.rank for label, one in contest.standings.items()} == {"good": 1, "same": 1, "bad": 3}
    lines = table.of_dataset(contest).lines
    assert [(line.entry.label, line.shared) for line in lines] == [("good", True), ("same", True), ("bad", False)]
    assert contest.standings["good"].letters == contest.standings["same"].letters != contest.standings["bad"].letters


def test_what_was_imported_is_shown_and_has_no_rank(tmp_path):
    imported = made("other", values=[1.0] * 4, verification={"level": "imported"})
    (contest,) = grouped(read(made("one"), made("two", values=[0, 0, 0, 1]), imported, folder=tmp_path))
    assert set(contest.standings) == {"one", "two"} and set(contest.entries) == {"one", "two", "other"}


def test_records_of_other_data_are_never_compared(tmp_path):
    other = made("two", dataset={"qrels_sha256": "f" * 64})
    found = grouped(read(made("one"), other, made("three", values=[1, 1, 1]), folder=tmp_path))
    assert [list(contest.entries) for contest in found] != [] and all(len(one.entries) == 1 for one in found)
    assert len({one.slug for one in found}) == 3


def test_of_two_records_of_one_system_the_newest_counts(tmp_path):
    old = made("one", values=[1, 1, 1, 1])
    new = made("one", created="2026-11-22T08:00:00+00:00")
    (contest,) = grouped(read(new, old, folder=tmp_path))
    assert contest.entries["one"].value == 0.75 and [one.value for one in contest.repeats["one"]] == [1.0]


def test_systems_of_one_name_are_told_apart_by_what_differs(tmp_path):
    records = read(
        made("bm25", retriever={"options": {"k1": 0.9, "b": 0.4}}),
        made("bm25", retriever={"options": {"k1": 1.2, "b": 0.4}}),
        made("overlap", retriever={"options": {"lowercase": True}}),
        folder=tmp_path,
    )
    assert sorted(one.label for one in records) == ["bm25(k1=0.9)", "bm25(k1=1.2)", "overlap"]


def test_flips_are_the_questions_that_differ_the_largest_first(tmp_path):
    (contest,) = grouped(read(made("a", values=[1, 0, 0.5, 1]), made("b", values=[1, 1, 0, 0]), folder=tmp_path))
    wins, losses = pair.flips(contest, "a", "b")
    assert [(flip.query_id, flip.of_a, flip.of_b) for flip in wins] == [("q3", 1.0, 0.0), ("q2", 0.5, 0.0)]
    assert [flip.query_id for flip in losses] == ["q1"]
    found = contest.comparison("a", "b")
    assert (found.wins, found.ties, found.losses) == (2, 1, 1) and sum(pair.bars(contest, "a", "b")) == 3
    assert contest.comparison("b", "a") == found.swapped


def test_a_pair_shows_texts_and_first_fives_where_the_dataset_is_at_hand(evil_results, evil_data, evil_site, tmp_path):
    bodies = [file.read_text(encoding="utf-8") for file in (evil_site / "pair").glob("*.html")]
    with_texts = [body for body in bodies if "quince" in body]
    assert len(with_texts) >= 2 and all("shown by their ids" not in body for body in with_texts)
    assert any("✓ relevant" in body for body in with_texts)
    shutil.copytree(evil_results, tmp_path / "results")
    for run in (tmp_path / "results").rglob("*.trec"):
        run.write_text(run.read_text().replace(" Q0 0 ", " Q0 1 "))
    site.build(tmp_path / "results", tmp_path / "board", data=tmp_path)
    bodies = [file.read_text(encoding="utf-8") for file in (tmp_path / "board" / "pair").glob("*.html")]
    assert not any("quince" in body for body in bodies) and all("shown by their ids" in body for body in bodies)
    assert any("has another sha256" in body for body in bodies)


def test_first_fives_are_those_of_the_run(evil_results):
    file = next(iter((evil_results / "1").rglob("*.json")))
    one = entry_of(file, read_record(file), {})
    found, why = texts.tops(one)
    assert not why
    expected = {}
    for line in next(iter((evil_results / "1").rglob("*.trec"))).read_text().splitlines():
        expected.setdefault(line.split()[0], []).append(line.split()[2])
    assert found == {query_id: tuple(doc_ids[:5]) for query_id, doc_ids in expected.items()}


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "a\\b", "", None])
def test_a_run_is_looked_for_beside_its_record_only(tmp_path, name):
    one = entry_of(tmp_path / "one.json", made(run={"file": name}), {})
    found, why = texts.tops(one)
    assert found == {} and why


costs = st.lists(st.tuples(st.sampled_from([1.0, 2.0, 3.0, 4.0]), st.sampled_from([0.1, 0.2, 0.3, 0.4])), max_size=12)


@given(costs)
def test_the_front_is_what_nothing_beats(points):
    found = cost_plot.front(points)
    for row, (cost, quality) in enumerate(points):
        beaten = any(
            other <= cost and better >= quality and (other, better) != (cost, quality) for other, better in points
        )
        same = [other for other in found if points[other] == (cost, quality)]
        assert bool(same) != beaten and len(same) <= 1, (row, points)
