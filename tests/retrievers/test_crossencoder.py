"""A cross-encoder ranks again what a first stage found, reads no pair twice, and says what it lacks."""

import json

import pytest
import tiny_checkpoint
from command import error, lotte
from places import TINY

from lotte import Doc, Docs, LotteError
from lotte.errors import MismatchError, UnavailableError

pytest.importorskip("torch", reason="needs lotte-bench[train]")
pytest.importorskip("transformers", reason="needs lotte-bench[train]")

from retrievers import index_folder, load, registry
from retrievers.systems.crossencoder import LONGEST
from retrievers.training import teacher
from retrievers.training.teacher import CrossEncoder

WORDS = tiny_checkpoint.WORDS[30:]  # none that an index leaves out
DOCS = Docs(tuple(Doc(f"d{row}", f"{WORDS[row]} {WORDS[row + 1]} {WORDS[row + 2]} {WORDS[0]}") for row in range(12)))
QUERIES = {"q1": f"{WORDS[3]} {WORDS[6]} {WORDS[9]}", "q2": f"{WORDS[7]} {WORDS[8]}", "q3": "zzz"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A cross-encoder in a folder, as one that was downloaded."""
    return tiny_checkpoint.cross_encoder(tmp_path_factory.mktemp("cross") / "cross")


@pytest.fixture
def index(checkpoint, tmp_path):
    return load("crossencoder", [f"checkpoint={checkpoint}", "depth=5"]).index(DOCS, tmp_path / "index")


def test_what_was_read_is_in_the_order_of_the_model_s_logits(checkpoint, index):
    model = CrossEncoder.load(checkpoint, maxlen=64)
    hits = index.search(QUERIES, k=5).hits["q1"]
    texts = dict(DOCS.docs)
    logits = [
        model.score(model.read([QUERIES["q1"]], [texts[hit.doc_id]]), model.rounded()).item()
        for hit in hits
    ]
    assert [hit.score for hit in hits] == pytest.approx(logits, abs=1e-4)
    assert logits == sorted(logits, reverse=True)


def test_what_was_read_is_what_the_first_stage_found_best(index, tmp_path):
    first = load("bm25").index(DOCS, tmp_path / "bm25").search(QUERIES, k=5)
    found = index.search(QUERIES, k=5)
    assert {query_id: sorted(found.doc_ids(query_id)) for query_id in QUERIES} == {
        query_id: sorted(first.doc_ids(query_id)) for query_id in QUERIES
    }


def test_below_the_depth_the_first_stage_s_order_stays(index, tmp_path):
    first = load("bm25").index(DOCS, tmp_path / "bm25").search(QUERIES, k=12)
    found = index.search(QUERIES, k=12)
    assert found.doc_ids("q1")[5:] == first.doc_ids("q1")[5:]
    scores = [hit.score for hit in found.hits["q1"]]
    assert scores == sorted(scores, reverse=True)


def test_a_query_that_the_first_stage_found_nothing_for_finds_nothing(index):
    assert index.search(QUERIES, k=5).doc_ids("q3") == []


def test_the_texts_of_a_collection_that_is_no_file_are_kept_in_the_index(checkpoint, index, tmp_path):
    again = load("crossencoder", [f"checkpoint={checkpoint}", "depth=5"]).open(tmp_path / "index")
    assert again.search(QUERIES, k=5) == index.search(QUERIES, k=5)


def test_a_collection_that_is_gone_is_one_line(checkpoint, tmp_path):
    from lotte.collection import Collection

    rows = tmp_path / "collection.tsv"
    rows.write_text("".join(f"{row}\t{doc.text}\n" for row, doc in enumerate(DOCS.docs)))
    index = load("crossencoder", [f"checkpoint={checkpoint}"]).index(Collection(rows), tmp_path / "index")
    rows.unlink()
    with pytest.raises(UnavailableError, match="its collection is missing or has changed"):
        index.search(QUERIES, k=5)


def scored_pairs(monkeypatch):
    """Count the pairs that are read from now on."""
    counted, scored = [], teacher.scored

    def counting(model, pairs, candidates):
        counted.append(sum(map(len, candidates.values())))
        return scored(model, pairs, candidates)

    monkeypatch.setattr(teacher, "scored", counting)
    return counted


def test_a_score_that_is_in_the_file_is_not_made_again(checkpoint, tmp_path, monkeypatch):
    options = [f"checkpoint={checkpoint}", f"scores={tmp_path / 'scores' / 'kept.jsonl'}"]
    made = load("crossencoder", [*options, "depth=3"]).index(DOCS, tmp_path / "index").search(QUERIES, k=5)
    counted = scored_pairs(monkeypatch)
    assert load("crossencoder", [*options, "depth=3"]).open(tmp_path / "index").search(QUERIES, k=5) == made
    assert counted == []


def test_a_deeper_run_reads_what_is_new_alone(checkpoint, tmp_path, monkeypatch):
    options = [f"checkpoint={checkpoint}", f"scores={tmp_path / 'kept.jsonl'}"]
    load("crossencoder", [*options, "depth=3"]).index(DOCS, tmp_path / "index").search({"q1": QUERIES["q1"]}, k=5)
    counted = scored_pairs(monkeypatch)
    deeper = load("crossencoder", [*options, "depth=5"]).open(tmp_path / "index").search({"q1": QUERIES["q1"]}, k=5)
    assert counted == [2]
    alone = load("crossencoder", [f"checkpoint={checkpoint}", "depth=5"]).open(tmp_path / "index")
    assert deeper == alone.search({"q1": QUERIES["q1"]}, k=5)


def test_a_line_that_a_killed_process_did_not_finish_is_made_again(checkpoint, tmp_path):
    kept = tmp_path / "kept.jsonl"
    options = [f"checkpoint={checkpoint}", f"scores={kept}", "depth=3"]
    made = load("crossencoder", options).index(DOCS, tmp_path / "index").search(QUERIES, k=5)
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-9])
    assert load("crossencoder", options).open(tmp_path / "index").search(QUERIES, k=5) == made
    assert kept.read_bytes() == whole


def test_scores_of_another_model_are_not_taken(checkpoint, tmp_path):
    kept = tmp_path / "kept.jsonl"
    load("crossencoder", [f"checkpoint={checkpoint}", f"scores={kept}"]).index(DOCS, tmp_path / "index").search(QUERIES, k=5)
    other = load("crossencoder", [f"checkpoint={checkpoint}", f"scores={kept}", "maxlen=32"]).open(tmp_path / "index")
    with pytest.raises(MismatchError, match="name another file"):
        other.search(QUERIES, k=5)


@pytest.mark.parametrize("text", ["my notes", "my notes\nand more", '{"mine": 1}\n'])
def test_a_file_that_is_no_file_of_scores_is_left_as_it_is(checkpoint, tmp_path, text):
    mine = tmp_path / "notes.txt"
    mine.write_text(text)
    index = load("crossencoder", [f"checkpoint={checkpoint}", f"scores={mine}"]).index(DOCS, tmp_path / "index")
    with pytest.raises(MismatchError, match="it is left unchanged: name another file"):
        index.search(QUERIES, k=5)
    assert mine.read_text() == text


@pytest.mark.parametrize("line", ['["q", {"d1": NaN}]', '["q", {"d1": true}]', '["q"]', "{}", '["q", {"d1": "2"}]'])
def test_a_line_that_is_no_score_is_named(checkpoint, tmp_path, line):
    kept = tmp_path / "kept.jsonl"
    index = load("crossencoder", [f"checkpoint={checkpoint}", f"scores={kept}"]).index(DOCS, tmp_path / "index")
    index.search(QUERIES, k=5)
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join([lines[0], line]) + "\n")
    again = load("crossencoder", [f"checkpoint={checkpoint}", f"scores={kept}"]).open(tmp_path / "index")
    with pytest.raises(LotteError, match=r"kept\.jsonl:2: "):
        again.search(QUERIES, k=5)


def test_it_ranks_again_what_a_hybrid_found(checkpoint, tmp_path):
    options = [f"checkpoint={checkpoint}", "first=hybrid(of=bm25+overlap, method=scores, weights=0.1,1)", "depth=4"]
    index = load("crossencoder", options).index(DOCS, tmp_path / "index")
    assert len(index.search(QUERIES, k=4).hits["q1"]) == 4
    stage = index.search_facts(QUERIES, k=4)["stages"][0]["stage"]
    assert stage == "hybrid(of=bm25+overlap, method=scores, weights=0.1,1)"


def test_an_index_says_by_itself_how_it_is_asked(index, tmp_path):
    again = registry.open_index(index_folder.described(tmp_path / "index"))
    assert again.search(QUERIES, k=5) == index.search(QUERIES, k=5)


def test_pairs_are_as_long_as_the_checkpoint_takes(index):
    assert index.search_facts(QUERIES, k=5)["maxlen"] == min(64, LONGEST)


@pytest.mark.parametrize(
    "options, said",
    [
        (["first=bm25+overlap"], "first is one system"),
        (["first=bm52"], "first: 'bm52' is neither a system"),
        (["depth=0"], "depth must be 1 or more"),
        (["precision=int8"], "precision must be fp32 or bf16"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(checkpoint, options, said):
    with pytest.raises(LotteError, match=said):
        load("crossencoder", [f"checkpoint={checkpoint}", *options])


def test_a_model_with_two_outputs_is_told_before_anything_is_indexed(tmp_path):
    two = tiny_checkpoint.write(tmp_path / "two", "plain", hidden=32, layers=1, heads=2, inner=64, positions=64)
    with pytest.raises(MismatchError, match="has 2 outputs, and a cross-encoder has one"):
        load("crossencoder", [f"checkpoint={two}"]).index(DOCS, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_record_shows_the_model_and_the_first_stage(checkpoint, tmp_path):
    done = lotte("eval", str(TINY / "science" / "test"), "--retriever", "crossencoder", "-o", f"checkpoint={checkpoint}",
                 "--out", str(tmp_path / "out"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(next((tmp_path / "out").rglob("*search.json")).read_text())
    assert record["retriever"]["model"]["id"] == "cross"
    assert [stage["stage"] for stage in record["retriever"]["search"]["stages"]] == ["bm25"]
    assert len(record["contamination"]) == 2


def test_a_checkpoint_that_is_nowhere_is_one_line(tmp_path):
    line = error("eval", TINY / "science" / "test", "--retriever", "crossencoder", "-o", "checkpoint=nowhere", "--out", tmp_path)
    assert "nowhere" in line
