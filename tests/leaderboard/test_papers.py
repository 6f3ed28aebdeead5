"""What the papers printed is kept as printed; ours stands beside it where a record of the same data is."""

from importlib import import_module
from pathlib import Path

import pytest
from board import board
from records import make

from leaderboard import catalogue, papers
from leaderboard.record.schema import Record
from lotte.errors import UnknownNameError
from retrievers import names
from retrievers.systems import ance, bm25, colbert, colbertv2, splade, tasb

DONE = Path("results/x.json")


def record(system: str, dataset: str, measure: str, value: float, *, counts=None, level="self-run", **more) -> Record:
    known = catalogue.release(dataset)
    counts = counts or {"documents": known.counts.documents, "queries": known.counts.queries}
    return Record.of(
        created="2026-11-21T08:00:00+00:00",
        retriever={"name": system, "options": more.get("options", {}), "index": {}},
        dataset={"name": dataset, "source": "local", "counts": counts},
        measures={"official": measure, "aggregate": {measure: {"value": value}}, "per_query": {}},
        run={},
        cost=more.get("cost", {}),
        platform={},
        implementation={},
        contamination=[],
        verification={"level": level},
    )


def cells(records=(), **chosen) -> dict[tuple[str, str], papers.PaperCell]:
    found = papers.tables([(DONE, one) for one in records], **chosen)
    return {(cell.row, cell.column): cell for table in found for cell in table.cells}


@pytest.mark.parametrize("name", names())
def test_what_was_published_is_of_datasets_that_we_know(name):
    published = import_module(f"retrievers.systems.{name}").PUBLISHED
    assert [dataset for dataset in published if dataset not in catalogue.published()] == []


@pytest.mark.parametrize(
    ("system", "column"),
    [(colbertv2, "ColBERTv2"), (bm25, "BM25"), (colbert, "ColBERT"), (ance, "ANCE"), (splade, "SPLADEv2"), (tasb, "TAS-B")]
)
def test_the_tables_agree_with_what_the_systems_say_was_published(system, column):
    """Two people typed these numbers, from two copies of the paper."""
    checked = 0
    for table in papers.tables([], paper="colbertv2"):
        data = next(one for one in papers._data("colbertv2")["tables"] if one["number"] == table.number)
        for row, name, published, address in papers._cells(data):
            if name == column and address.get("dataset") in system.PUBLISHED and not row.startswith("beir"):
                assert published == pytest.approx(100 * system.PUBLISHED[address["dataset"]]), (table.number, row)
                checked += 1
    assert checked >= (24 if system is not tasb else 12)


def test_every_table_that_was_asked_for_is_there_and_every_cell_has_a_source():
    numbers = {paper: [table.number for table in papers.tables([], paper=paper)] for paper in papers.PAPERS}
    assert numbers == {
        "colbertv2": ["1", "4", "5a", "5b", "7"], "colbert": ["1", "2", "3", "4"], "tct_colbert": ["1", "2", "3"],
    }  # fmt: skip
    for table in papers.tables([]):
        assert table.source and len(table.cells) == len(table.rows) * len(table.columns)
        assert table.cells


def test_every_dataset_of_a_cell_is_one_that_can_be_run():
    assert set(papers.datasets()) <= set(catalogue.published())


def test_lotte_counts_in_table_1_are_those_of_the_catalogue_as_far_as_they_are_printed():
    for (row, column), cell in cells(paper="colbertv2", number="1").items():
        topic, kind = row.lower().split()
        counts = catalogue.release(f"lotte/{topic}/{column.split()[0]}/{kind}").counts
        exact = counts.queries if "questions" in column else counts.documents
        assert abs(exact - cell.published) <= (0 if "questions" in column else 500 if exact < 2e6 else 50_000)


def test_a_cell_without_a_record_says_not_run_and_one_with_a_record_has_the_gap():
    before = cells(paper="colbertv2", number="5b")
    assert before["NQ-dev", "ColBERTv2"].note == "not run" and before["NQ-dev", "ColBERTv2"].published == 68.9
    assert before["NQ-dev", "SPLADEv2"].note == "not run" and before["NQ-dev", "ANCE"].published == "-"
    assert before["Writing search", "RocketQAv2"].note == "weights for Paddle alone"
    after = cells([record("colbertv2", "openqa/nq", "Success@5", 0.6955)], paper="colbertv2", number="5")
    cell = after["NQ-dev", "ColBERTv2"]
    assert (cell.ours, cell.gap, cell.note) == (pytest.approx(69.55), pytest.approx(0.65), "")
    assert cell.show(cell.ours) == "69.5" or cell.show(cell.ours) == "69.6"
    assert after["NQ-dev", "ColBERT"].note == "not run"




def test_every_number_is_of_a_system_of_ours_or_says_why_there_is_none():
    for paper in papers.PAPERS:
        for table in papers._data(paper)["tables"]:
            for row, column, published, address in papers._cells(table):
                where = paper, table["number"], row, column, published
                assert address.get("system") in names() or address.get("why") or "count" in address, where
    for table in papers.tables([]):
        assert all(cell.note for cell in table.cells if cell.published != "-")


def test_an_index_of_weights_is_no_match_of_plain_bm25():
    weighed = record("bm25", "openqa/nq", "Success@5", 0.9, options={"weights": "unicoil.jsonl"})
    assert cells([weighed], paper="colbertv2", number="5b")["NQ-dev", "BM25"].note == "not run"


def test_a_number_of_other_data_is_shown_without_a_gap():
    mini = record("bm25", "lotte/science/test/search", "Success@5", 0.9, counts={"documents": 4, "queries": 3})
    cell = cells([mini], paper="colbertv2", number="5b")["Science search", "BM25"]
    assert (cell.ours, cell.gap) == (90.0, None)
    assert cell.note == "other data: 4 documents, published 1,694,164"


def test_an_imported_record_fills_no_cell_and_the_best_known_of_several_is_shown():
    imported = record("bm25", "openqa/nq", "Success@5", 0.9, level="imported")
    assert cells([imported], paper="colbertv2", number="5b")["NQ-dev", "BM25"].note == "not run"
    several = [
        record("bm25", "openqa/nq", "Success@5", 0.1),
        record("bm25", "openqa/nq", "Success@5", 0.2, level="reproduced"),
    ]
    cell = cells(several, paper="colbertv2", number="5b")["NQ-dev", "BM25"]
    assert (cell.ours, cell.note) == (20.0, "the first of 2 records")


def test_latency_has_no_gap_and_room_is_in_the_unit_of_the_table():
    one = record("colbert", "msmarco/dev", "MRR@10", 0.36, cost={"index_bytes": 154 * 2**30, "latency_ms": {"p50": 20.0}},
                 options={"similarity": "l2", "dim": 128, "bytes": 2, "first": ""})  # fmt: skip
    found = cells([one], paper="colbert", number="4")
    assert found["End-to-end L2, 128 x 2", "space GiB"].gap == 0
    assert found["End-to-end L2, 128 x 2", "MRR@10"].gap == pytest.approx(0)
    assert found["Re-rank cosine, 24 x 2", "MRR@10"].note == "not run"
    latency = cells([one], paper="colbert", number="2")["ColBERT L2 (end-to-end)", "latency ms"]
    assert (latency.published, latency.ours, latency.gap) == (458, 20.0, None)
    assert cells([one], paper="colbert", number="2")["ColBERT L2 (end-to-end)", "R@50"].note == "its record has no R@50"


def test_an_unknown_table_or_paper_is_a_line():
    with pytest.raises(UnknownNameError, match="no paper is named 'splade'; there are colbertv2, colbert, tct_colbert"):
        papers.tables([], paper="splade")
    with pytest.raises(UnknownNameError, match="no table '9' is kept of colbert; there are 1, 2, 3, 4"):
        papers.tables([], paper="colbert", number="9")


def test_the_command_prints_a_line_for_each_cell(tmp_path):
    make(tmp_path / "results", name="bm25")
    done = board("paper", "--paper", "colbertv2", "--table", "5b", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("\n") == 1 + 15 * 6
    assert (
        "ColBERTv2\t5b\tScience search\tBM25\tpercent\t32.7\t66.7\t\tother data: 4 documents, published 1,694,164\t"
        in done.stdout
    )
    assert "ColBERTv2\t5b\tNQ-dev\tColBERTv2\tpercent\t68.9\t\t\tnot run\t" in done.stdout
    (tmp_path / "results" / "bad.json").write_text("{")
    done = board("paper", "--table", "3", "--json", cwd=tmp_path)
    assert "left out: results/bad.json: not JSON" in done.stderr
