"""`lotte board sweep`: a grid of options, each cell a record, an index for those that share one, documents encoded once."""

import json
from pathlib import Path

import pytest
from board import board
from places import TINY

from leaderboard import sweep
from leaderboard.evaluate import Order
from lotte.errors import LotteError, UnknownNameError
from retrievers import load, names, registry
from retrievers.systems.bm25 import BM25

SEARCH = "lotte/science/test/search"


def swept(folder, *words):
    done = board("sweep", SEARCH, "--data", TINY, "--out", folder, "--json", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def grid(*over, retrievers=("bm25",), options=()):
    chosen = sweep.Study(title="", retrievers=retrievers, options=options, over=over)
    return [(cell.retriever, dict(cell.swept)) for cell in sweep.cells(chosen, TINY, load)]


def test_every_combination_is_a_cell_with_quality_and_cost(tmp_path):
    rows = swept(tmp_path, "--retriever", "bm25", "--over", "k1=0.5,1.5", "--over", "b=0,1")
    assert [(row["k1"], row["b"]) for row in rows] == [("0.5", "0"), ("0.5", "1"), ("1.5", "0"), ("1.5", "1")]
    assert all(row["value"] >= 0 and row["ms_a_query"] > 0 and row["index_bytes"] > 0 for row in rows)


def test_a_cell_is_a_record_of_its_options(tmp_path):
    row = swept(tmp_path, "--retriever", "bm25", "--over", "k1=0.5")[0]
    assert row["record"] == f"{tmp_path}/records/k1=0.5/bm25/{SEARCH}.json"
    record = json.loads(Path(row["record"]).read_text())
    assert record["retriever"]["options"] | {"k1": 0.5, "b": 0.4} == record["retriever"]["options"]
    assert board("table", tmp_path / "records", "--json").stdout.count("\n") == 1


def test_a_cell_that_is_there_is_not_run_again(tmp_path, monkeypatch):
    first = swept(tmp_path, "--retriever", "bm25", "--over", "k1=0.5,1.5")
    monkeypatch.setattr("leaderboard.cost.timed_search", None)  # which a cell that is run calls
    assert swept(tmp_path, "--retriever", "bm25", "--over", "k1=0.5,1.5") == first


def test_a_sweep_that_was_stopped_goes_on(tmp_path, monkeypatch):
    from leaderboard import cost

    real, asked = cost.timed_search, []

    def stops(index, queries, **how):
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.append(1)
        return real(index, queries, **how)

    monkeypatch.setattr(cost, "timed_search", stops)
    board("sweep", SEARCH, "--data", TINY, "--out", tmp_path, "--retriever", "bm25", "--over", "k1=0.5,1.5,2.5")
    monkeypatch.setattr(cost, "timed_search", lambda *words, **how: asked.append(2) or real(*words, **how))
    assert len(swept(tmp_path, "--retriever", "bm25", "--over", "k1=0.5,1.5,2.5")) == 3
    assert asked == [1, 2, 2]


def test_a_value_may_be_a_multiple_of_another_option_of_the_cell():
    assert grid("probe=1,2", "candidates=probe*4096,100", retrievers=("colbertv2",), options=("checkpoint=shipped",)) == [
        ("colbertv2", {"probe": probe, "candidates": candidates})
        for probe, candidates in [("1", "4096"), ("1", "100"), ("2", "8192"), ("2", "100")]
    ]


def test_cells_that_come_out_the_same_are_one():
    assert grid("k1=1.5,1.5") == [("bm25", {"k1": "1.5"})]


def test_semicolons_set_values_with_commas_apart():
    cells = grid("weights=0.1,1;0.3,1", retrievers=("hybrid",), options=("of=bm25+overlap", "method=scores"))
    assert [swept["weights"] for _, swept in cells] == ["0.1,1", "0.3,1"]


def test_each_of_several_systems_has_the_options_that_it_knows():
    assert grid("k1=0.5,1.5", retrievers=("bm25", "overlap")) == [
        ("bm25", {"k1": "0.5"}), ("bm25", {"k1": "1.5"}), ("overlap", {}),
    ]  # fmt: skip


def test_a_path_names_no_folder_and_is_still_a_cell(tmp_path):
    cell = sweep.Cell("bm25", {"checkpoint": "runs/mine"}, load("bm25"))
    assert "/" not in cell.name and cell.name != sweep.Cell("bm25", {"checkpoint": "runs/other"}, load("bm25")).name


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ("k1=", "--over takes an option and its values, as in bits=1,2,4, not 'k1='"),
        ("k1", "--over takes an option and its values, as in bits=1,2,4, not 'k1'"),
        ("k1=1,,2", "--over takes an option and its values, as in bits=1,2,4, not 'k1=1,,2'"),
        ("k9=1", f"bm25 has no option 'k9'; it takes {registry._signature(BM25)}"),
        ("b=2", "bm25: b must be from 0 to 1, not 2.0"),
    ],
)
def test_what_is_wrong_with_the_grid_is_told_before_anything_is_run(tmp_path, over, message):
    done = board("sweep", SEARCH, "--data", TINY, "--out", tmp_path / "s", "--retriever", "bm25", "--over", over)
    assert (done.returncode, done.stderr) == (1, f"error: {message}\n")
    assert not (tmp_path / "s").exists()


def test_a_multiple_of_what_is_no_whole_number_is_one_line():
    with pytest.raises(LotteError, match=r"--over b=k1\*2: k1 is '0.5', which is not a whole number"):
        grid("k1=0.5", "b=k1*2")


def test_without_a_system_it_is_one_line(tmp_path):
    done = board("sweep", SEARCH, "--data", TINY, "--out", tmp_path)
    assert done.stderr == "error: `lotte board sweep` needs --retriever NAME; `lotte list retrievers` shows the names\n"


def test_an_unknown_study_is_told_with_those_there_are():
    with pytest.raises(UnknownNameError, match=r"no study is named 'figure-3'; .*there are colbertv2-figure-3, "):
        sweep.study("figure-3")


@pytest.mark.parametrize("name", sweep.STUDIES)
def test_a_study_of_a_paper_asks_for_what_only_the_user_has(name):
    if sweep.STUDIES[name].needs:
        with pytest.raises(LotteError, match=f"{name} needs checkpoint="):
            sweep.require_all(name, sweep.STUDIES[name])
    sweep.require_all(name, sweep.STUDIES[name].changed((), ("checkpoint=x",), ()))


@pytest.mark.parametrize("name", [name for name, one in sweep.STUDIES.items() if set(one.retrievers) <= set(names())])
def test_a_study_has_options_that_its_systems_know(name):
    chosen = sweep.STUDIES[name].changed((), ("checkpoint=shipped",), ())
    assert sweep.cells(chosen, TINY, load)
    said = {pair.partition("=")[0] for pair in (*chosen.options, *chosen.over)}
    assert all(any(registry.takes(system, key) for system in chosen.retrievers) for key in said)


def test_figure_3_has_the_papers_grid():
    chosen = sweep.study("colbertv2-figure-3").changed((), ("checkpoint=shipped",), ())
    cells = [cell.swept for cell in sweep.cells(chosen, TINY, load)]
    assert len(cells) == 12
    assert {(cell["probe"], cell["candidates"]) for cell in cells} == {
        (str(probe), str(probe * 2**power)) for probe in (1, 2, 4) for power in (12, 14)
    }


def test_what_is_said_takes_the_place_of_what_a_study_says():
    changed = sweep.study("colbertv2-figure-3").changed((), ("probe=8",), ("search=pruned,paper",))
    assert changed.over == ("bits=1,2", "candidates=probe*4096,probe*16384", "search=pruned,paper")
    assert changed.options == ("probe=8",)


@pytest.fixture
def late(tmp_path):
    pytest.importorskip("numba", reason="late interaction needs the extra 'colbert'")
    import tiny_checkpoint

    return [f"checkpoint={tiny_checkpoint.write(tmp_path / 'checkpoint', dim=32)}"]


def test_documents_are_encoded_once_and_an_index_is_made_once_for_what_it_depends_on(late, tiny, tmp_path, monkeypatch):
    from retrievers.colbert.index.build import Encoding

    encoded, real = [], Encoding.vectors
    monkeypatch.setattr(Encoding, "vectors", lambda self, rows: encoded.extend(rows) or real(self, rows))
    chosen = sweep.Study(
        title="", retrievers=("colbertv2",), options=(*late, "search=paper"), over=("bits=1,2,4", "pool=1,2", "probe=1,2")
    )
    cells = sweep.cells(chosen, tmp_path / "s", load)
    assert len(list(sweep.run(cells, [tiny], Order(out=tmp_path), tmp_path / "s"))) == 12
    assert sorted(encoded) == list(range(len(tiny.corpus)))
    assert len(list((tmp_path / "s" / "index").iterdir())) == 6


def test_where_vectors_are_kept_is_in_no_record(late, tiny, tmp_path):
    chosen = sweep.Study(title="", retrievers=("colbertv2",), options=tuple(late), over=("bits=1",))
    (one,) = sweep.run(sweep.cells(chosen, tmp_path / "s", load), [tiny], Order(out=tmp_path), tmp_path / "s")
    assert "vectors" not in one.record.retriever.options


def test_the_picture_has_a_line_for_each_number_of_bits(tmp_path, late):
    words = ["--retriever", "colbertv2", "-o", late[0], "--over", "bits=1,2", "--over", "probe=1,2"]
    done = board("sweep", SEARCH, "--data", TINY, "--out", tmp_path / "s", *words, "--plot", tmp_path / "p.svg")
    assert done.returncode == 0 and done.stderr.endswith(f"{tmp_path}/p.svg: Latency against quality\n")
    text = (tmp_path / "p.svg").read_text()
    assert "<!-- bits=1 -->" in text and "<!-- bits=2 -->" in text and "<!-- probe 2 -->" in text
