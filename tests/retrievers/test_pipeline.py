"""A system of systems is a value: a text names its stages, and its index has a part for each."""

import json
import shutil

import pytest

from lotte import Doc, Docs, Queries, Run, ranking
from lotte.errors import LotteError, MismatchError, UnknownNameError
from retrievers import index_folder, load, pipeline, registry
from retrievers.pipeline import FileStage, SystemStage
from retrievers.systems.bm25 import BM25

DOCS = Docs(
    (
        Doc("a", "bread is baked of flour and water"),
        Doc("b", "the moon turns around the earth"),
        Doc("c", "flour comes from a mill"),
        Doc("d", "water boils at a hundred degrees"),
    )
)
QUERIES: Queries = {"q1": "how is bread baked with flour", "q2": "water on the moon"}


@pytest.mark.parametrize(
    "text",
    ["bm25", "bm25(k1=1.2)", "bm25(k1=1.2, b=0.3)", "hybrid(of=bm25+overlap, method=scores, weights=0.1,1)",
     "hybrid(of=bm25(k1=1.2)+hybrid(of=overlap+rank_bm25))", "runs/some.trec"],
)  # fmt: skip
def test_what_a_stage_spells_is_read_as_the_same_stage(text):
    stage = pipeline.stage(text, "first")
    assert stage.spelled() == text
    assert pipeline.stage(stage.spelled(), "first") == stage


def test_options_in_brackets_are_those_of_the_system():
    assert pipeline.stage("bm25(b=0.3, k1=1.2)", "first") == SystemStage(BM25(k1=1.2, b=0.3))


def test_a_plus_within_brackets_divides_the_inner_stages_alone():
    named = pipeline.stages("hybrid(of=bm25+overlap)+ runs/x.trec", "of")
    assert [type(stage) for stage in named] == [SystemStage, FileStage]


@pytest.mark.parametrize("text", ["nothing", "bm25(k1=1.2", "bm25 k1=1.2)", "bm25(k2=1)", "bm25(k1=many)", "my.mod:make", ""])
def test_a_text_that_names_no_stage_is_one_line(text):
    with pytest.raises(LotteError) as error:
        pipeline.stage(text, "first")
    assert "\n" not in str(error.value)


def test_an_unknown_system_is_told_with_those_there_are():
    with pytest.raises(UnknownNameError, match=r"first: 'bm52' is neither a system nor a ranking file; systems are .*bm25, "):
        pipeline.stage("bm52", "first")


@pytest.fixture
def index(tmp_path):
    load("hybrid", ["of=bm25+overlap"]).index(DOCS, tmp_path / "index")
    return tmp_path / "index"


def test_an_option_that_has_its_default_does_not_name_a_part():
    assert pipeline.stage("bm25(k1=0.9)", "of").part == pipeline.stage("bm25", "of").part


def test_an_option_that_only_says_how_to_search_does_not_name_a_part():
    wide, plain = (pipeline.stage(f"colbertv2(checkpoint=x{more})", "of").part for more in (", probe=8, trust=true", ""))
    assert wide == plain != pipeline.stage("colbertv2(checkpoint=x, bits=4)", "of").part


def test_an_index_has_a_whole_part_for_each_stage(index):
    parts = index_folder.described(index).meta["parts"]
    assert sorted(name.partition("-")[0] for name in parts) == ["bm25", "overlap"]
    assert all(index_folder.is_index(index / name) for name in parts)


def test_stages_in_another_order_and_other_weights_ask_the_same_index(index):
    other = load("hybrid", ["of=overlap+bm25", "method=rrf", "weights=1,0"]).open(index)
    alone = load("overlap").index(DOCS, index.parent / "overlap").search(QUERIES, k=4)
    assert {query_id: [hit.doc_id for hit in hits] for query_id, hits in alone.hits.items()} == {
        query_id: [hit.doc_id for hit in hits if hit.score > 0] for query_id, hits in other.search(QUERIES, k=4).hits.items()
    }


def test_a_stage_that_was_not_indexed_is_one_line(index):
    with pytest.raises(MismatchError, match=r"has indexes of bm25-\w+, overlap-\w+, and none of bm25\(k1=2.0\)"):
        load("hybrid", ["of=overlap+bm25(k1=2)"]).open(index)


def test_the_index_alone_says_how_it_is_asked(index):
    again = registry.open_index(index_folder.described(index))
    assert again.search(QUERIES, k=4) == load("hybrid", ["of=bm25+overlap"]).open(index).search(QUERIES, k=4)


def test_an_index_is_built_over_one_that_has_parts(index):
    load("hybrid", ["of=bm25+rank_bm25"]).index(DOCS, index)
    assert sorted(name.partition("-")[0] for name in index_folder.described(index).meta["parts"]) == ["bm25", "rank_bm25"]


def test_a_folder_that_is_no_part_is_kept(index):
    (index / "mine").mkdir()
    with pytest.raises(MismatchError, match="has mine, which is not part of the index"):
        load("hybrid", ["of=bm25+rank_bm25"]).index(DOCS, index)


@pytest.mark.parametrize("file", ["words.npy", "meta.json"])
def test_a_flipped_byte_of_a_part_is_found(index, file):
    from retrievers import index_meta

    part = next(path for path in index.iterdir() if path.name.startswith("bm25"))
    content = bytearray((part / file).read_bytes())
    content[-3] ^= 1
    (part / file).write_bytes(content)
    damage = list(index_meta.damaged(index, index_folder.described(index).meta))
    assert [name for name, _ in damage] == [f"{part.name}/{file}"]


def test_a_part_that_is_gone_is_found(index):
    from retrievers import index_meta

    part = next(path for path in index.iterdir() if path.name.startswith("bm25"))
    shutil.rmtree(part)
    assert [name for name, _ in index_meta.damaged(index, index_folder.described(index).meta)] == [f"{part.name}/meta.json"]


def test_what_a_stopped_run_indexed_is_not_indexed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(SystemStage, "index", whole := SystemStage.index)
    stopped = []

    def stops(self, corpus, folder):
        if stopped:
            raise KeyboardInterrupt
        whole(self, corpus, folder)
        stopped.append((folder / self.part / "meta.json").stat().st_mtime_ns)

    monkeypatch.setattr(SystemStage, "index", stops)
    with pytest.raises(KeyboardInterrupt):
        load("hybrid", ["of=bm25+overlap"]).index(DOCS, tmp_path / "index")
    monkeypatch.setattr(SystemStage, "index", whole)
    load("hybrid", ["of=bm25+overlap"]).index(DOCS, tmp_path / "index")
    part = next(path for path in (tmp_path / "index").iterdir() if path.name.startswith("bm25"))
    assert (part / "meta.json").stat().st_mtime_ns == stopped[0]


@pytest.fixture
def run_file(tmp_path):
    run = Run.of({"q1": {"c": 2.0, "a": 1.0}, "q2": {"b": 1.0}}, depth=10)
    ranking.write_trec(tmp_path / "some.trec", run, tag="some")
    return tmp_path / "some.trec"


def test_a_ranking_file_is_a_stage(tmp_path, run_file):
    index = load("hybrid", [f"of={run_file}+bm25", "method=rrf", "weights=1,0"]).index(DOCS, tmp_path / "index")
    assert [hit.doc_id for hit in index.search({"q1": "flour"}, k=10).hits["q1"] if hit.score] == ["c", "a"]


def test_a_ranking_of_another_collection_is_one_line_before_anything_is_indexed(tmp_path, run_file):
    with pytest.raises(MismatchError, match="document 'c' is not in the collection"):
        load("hybrid", [f"of={run_file}+bm25"]).index(Docs(DOCS.docs[:2]), tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_ranking_that_has_none_of_the_queries_is_one_line(tmp_path, run_file):
    index = load("hybrid", [f"of={run_file}+bm25"]).index(DOCS, tmp_path / "index")
    with pytest.raises(MismatchError, match=r"ranks nothing for query 'q9', nor for any other"):
        index.search({"q9": "flour"}, k=10)


def test_a_query_that_a_ranking_leaves_out_has_what_the_others_found(tmp_path, run_file):
    index = load("hybrid", [f"of={run_file}+bm25"]).index(DOCS, tmp_path / "index")
    assert index.search({"q1": "flour", "q9": "moon"}, k=10).doc_ids("q9") == ["b"]


def test_a_query_alone_that_a_ranking_leaves_out_finds_nothing_once_others_were_found(tmp_path, run_file):
    index = load("hybrid", [f"of={run_file}+{run_file}"]).index(DOCS, tmp_path / "index")
    index.search({"q1": "flour", "q9": "moon"}, k=10)
    assert index.search({"q9": "moon"}, k=10).doc_ids("q9") == []


def naming(index, stages):
    """Write other stages into an index's meta.json, as anybody could."""
    from lotte import artifact

    meta = json.loads((index / "meta.json").read_text())
    meta["recipe"]["options"]["of"] = stages
    del meta["digest"]
    (index / "meta.json").write_bytes(artifact.sealed(meta))


ASKING = {
    "a file": ("bm25+/etc/some.trec", "/etc/some.trec"),
    "a file within a stage": ("bm25+hybrid(of=overlap+/etc/some.trec)", "/etc/some.trec"),
    "a pickle": ("bm25+colbertv2(checkpoint=theirs, trust=true)", "trust=true"),
    "a file that is written to": ("bm25+crossencoder(checkpoint=theirs, scores=/etc/some.jsonl)", "scores=/etc/some.jsonl"),
    "a pickle of a first stage": (
        "bm25+crossencoder(checkpoint=theirs, first=colbertv2(checkpoint=theirs, trust=true))", "trust=true"
    ),
}  # fmt: skip


@pytest.mark.parametrize("stages, asked", ASKING.values(), ids=ASKING)
def test_what_is_said_each_time_is_not_done_because_an_index_says_it(index, stages, asked):
    naming(index, stages)
    with pytest.raises(LotteError) as error:
        registry.open_index(index_folder.described(index))
    assert f"asks for {asked!r}, which is allowed only on the command line: -o of=" in str(error.value)


def test_a_file_that_is_named_again_is_read(tmp_path, run_file):
    load("hybrid", [f"of={run_file}+bm25"]).index(DOCS, tmp_path / "index")
    index = registry.open_index(index_folder.described(tmp_path / "index"), options=[f"of={run_file}+bm25"])
    assert index.search({"q1": "flour"}, k=1).doc_ids("q1") == ["c"]


def test_code_that_an_index_names_as_a_stage_is_not_imported(index):
    naming(index, "bm25+antigravity:fly")
    with pytest.raises(UnknownNameError, match="'antigravity:fly' is neither a system nor a ranking file"):
        registry.open_index(index_folder.described(index))
