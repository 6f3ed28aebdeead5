"""`lotte eval --keep-stages`: what each stage ranks is a file, which stands for the stage in the next pipeline."""

import json

import pytest
from places import TINY

from leaderboard.evaluate import Order, evaluate
from lotte import ranking
from lotte.benchmarks.lotte import read
from retrievers import load

NESTED = "of=hybrid(of=bm25(k1=1.2)+overlap)+rank_bm25"
SEARCH = "lotte/science/test/search"


def run_of(out, system="hybrid"):
    return (out / system / f"{SEARCH}.trec").read_bytes()


@pytest.fixture
def kept(tmp_path, tiny):
    list(evaluate("hybrid", load("hybrid", [NESTED]), [tiny], Order(out=tmp_path / "out", stages=tmp_path / "kept")))
    return tmp_path / "kept" / SEARCH


def test_every_stage_is_a_file_inner_ones_too(kept):
    systems = sorted(path.name.partition(".")[0].partition("-")[0] for path in kept.iterdir())
    assert systems == ["bm25", "hybrid", "overlap", "rank_bm25"]


def test_a_file_has_what_the_stage_alone_ranks(kept, tiny, tmp_path):
    index = load("bm25", ["k1=1.2"]).index(tiny.corpus, tmp_path / "bm25")
    (file,) = kept.glob("bm25-*.trec")
    assert ranking.read(file, tiny.queries, tiny.corpus.doc_ids).filled(tiny.queries) == index.search(tiny.queries, k=1000)


def test_files_in_place_of_the_stages_give_the_same_ranking(kept, tiny, tmp_path):
    (inner,) = kept.glob("hybrid-*.trec")
    again = load("hybrid", [f"of={inner}+{kept / 'rank_bm25.trec'}"])
    list(evaluate("hybrid", again, [tiny], Order(out=tmp_path / "again")))
    assert run_of(tmp_path / "again") == run_of(tmp_path / "out")


def test_a_record_has_the_stages_within_a_stage(kept, tmp_path):
    record = json.loads((tmp_path / "out" / "hybrid" / f"{SEARCH}.json").read_text())
    inner, last = record["retriever"]["search"]["stages"]
    assert [stage["stage"] for stage in inner["stages"]] == ["bm25(k1=1.2)", "overlap"]
    assert "stages" not in last and last["milliseconds_a_query"] > 0


def test_a_stage_that_is_a_file_is_not_written_again(kept, tiny, tmp_path):
    (inner,) = kept.glob("hybrid-*.trec")
    said = []
    order = Order(out=tmp_path / "again", stages=tmp_path / "more", say=said.append)
    list(evaluate("hybrid", load("hybrid", [f"of={inner}+{inner}"]), [tiny], order))
    assert f"{SEARCH}: there is no stage to keep: the system has none, or its stages are ranking files" in said
    assert not list((tmp_path / "more").rglob("*.trec"))


def test_somebodys_run_is_not_written_over(typed, tmp_path):
    mine = tmp_path / "kept" / SEARCH / "bm25.trec"
    mine.parent.mkdir(parents=True)
    mine.write_text("0 Q0 3 1 2.0 mine\n")
    done = typed("eval", SEARCH, "--retriever", "hybrid", "-o", "of=bm25+overlap", "--keep-stages", tmp_path / "kept")
    assert done.returncode == 1 and mine.read_text() == "0 Q0 3 1 2.0 mine\n"
    assert f"error: {mine} exists and is not a run of bm25: its first line ends in 'mine'" in done.stderr


def test_the_command_says_where_they_are(typed, tmp_path):
    done = typed("eval", SEARCH, "--retriever", "hybrid", "-o", "of=bm25+overlap", "--keep-stages", tmp_path / "kept")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f"{tmp_path}/kept/{SEARCH}/{name}.trec: the ranking of {name}" for name in ("bm25", "overlap")
    ]


def test_a_ranking_of_somebody_has_no_stages(typed, tmp_path):
    done = typed("eval", SEARCH, "--run", "x.trec", "--keep-stages", tmp_path / "kept")
    assert done.stderr == "error: --keep-stages needs a retriever with stages, but --run is a ranking without any\n"


def test_documents_are_encoded_once_for_all_question_sets_of_a_collection(tmp_path, monkeypatch):
    pytest.importorskip("numba", reason="late interaction needs the extra 'colbert'")
    import tiny_checkpoint

    from retrievers.colbert.index.build import Encoding

    checkpoint = tiny_checkpoint.write(tmp_path / "checkpoint", dim=32)
    encoded, real = [], Encoding.vectors
    monkeypatch.setattr(Encoding, "vectors", lambda self, rows: encoded.extend(rows) or real(self, rows))
    both = [read(TINY / "science" / "test", kind) for kind in ("search", "forum")]
    records = list(evaluate("colbertv2", load("colbertv2", [f"checkpoint={checkpoint}"]), both, Order(out=tmp_path / "out")))
    assert [record.dataset.name for record in records] == [SEARCH, "lotte/science/test/forum"]
    assert sorted(encoded) == list(range(len(both[0].corpus)))
