"""doc2query: expansions are made once, or are somebody else's, and BM25 searches documents with them."""

import gzip
import json
from dataclasses import replace

import pytest

pytest.importorskip("transformers", reason="doc2query needs the extra 'train'")
import tiny_checkpoint
import tiny_seq2seq

from lotte import Doc, Docs
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnavailableError
from retrievers import expansions, index_folder, load, registry, seq2seq
from retrievers.systems import doc2query

DOCS = Docs(tuple(Doc(f"d{row}", text) for row, text in enumerate(["salt and sea", "moon tide", "blue sky", "", "glass of sand"] * 4)))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_seq2seq.write(tmp_path_factory.mktemp("t5"))


@pytest.fixture
def system(model, tmp_path):
    return load("doc2query", [f"checkpoint={model}", "samples=3", "maxlen=6", f"expansions={tmp_path / 'kept.jsonl'}"])


@pytest.fixture
def sampled(monkeypatch):
    """The texts that a model was asked to expand."""
    texts, real = [], seq2seq.Seq2Seq.sample
    monkeypatch.setattr(seq2seq.Seq2Seq, "sample", lambda self, some, how: texts.extend(some) or real(self, some, how))
    return texts


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def theirs(path, rows, key="predicted_queries"):
    text = "".join(json.dumps({"id": doc_id, key: queries}) + "\n" for doc_id, queries in rows.items())
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return load("doc2query", [f"expansions={path}"])


def found(index, query):
    return index.search({"q": query}, k=30).doc_ids("q")


def test_every_document_has_its_samples_in_a_file_that_says_what_made_it(system, tmp_path):
    system.index(DOCS, tmp_path / "index")
    header, *rows = lines(tmp_path / "kept.jsonl")
    assert header["made_by"] == "doc2query" and header["of"]["samples"] == 3
    assert [row["id"] for row in rows] == list(DOCS.doc_ids)
    assert {len(row["predicted_queries"]) for row in rows} == {3}


def test_a_document_is_found_by_a_word_that_only_its_expansion_has(system, tmp_path):
    index = system.index(DOCS, tmp_path / "index")
    row = next(row for row in lines(tmp_path / "kept.jsonl")[1:] if row["id"] == "d3")  # whose text is empty
    word = next(word for query in row["predicted_queries"] for word in query.split() if word not in ("the", "a", "of", "and"))
    assert "d3" in found(index, word)


def test_what_is_kept_is_not_made_again(system, tmp_path, sampled):
    system.index(DOCS, tmp_path / "index")
    assert len(sampled) == len(DOCS)
    replace(system, k1=1.5).index(DOCS, tmp_path / "again")
    assert len(sampled) == len(DOCS)


def test_the_same_seed_samples_the_same_and_another_seed_does_not(system, tmp_path):
    made = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        replace(system, expansions=str(tmp_path / name), seed=seed).index(DOCS, tmp_path / f"index-{name}")
        made.append((tmp_path / name).read_text().partition("\n")[2])
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("torn", [b"", b'{"id": "d9", "predic', b'{"id": "d8", "predicted_queries": []}\n'])
def test_a_file_that_was_stopped_goes_on_and_is_as_if_it_never_was(system, tmp_path, sampled, torn):
    system.index(DOCS, tmp_path / "index")
    whole = (tmp_path / "kept.jsonl").read_bytes()
    batch = b"".join(line + b"\n" for line in whole.split(b"\n")[: 1 + expansions.BATCH])
    (tmp_path / "kept.jsonl").write_bytes(batch + torn)
    sampled.clear()
    system.index(DOCS, tmp_path / "again")
    assert len(sampled) == len(DOCS) - expansions.BATCH
    assert (tmp_path / "kept.jsonl").read_bytes() == whole


def test_a_first_line_that_a_kill_tore_is_written_again(system, tmp_path):
    system.index(DOCS, tmp_path / "index")
    whole = (tmp_path / "kept.jsonl").read_bytes()
    (tmp_path / "kept.jsonl").write_bytes(whole[:40])
    system.index(DOCS, tmp_path / "again")
    assert (tmp_path / "kept.jsonl").read_bytes() == whole


def test_without_a_name_expansions_stand_in_the_index_and_outlive_a_stop(system, tmp_path, sampled, monkeypatch):
    inside = replace(system, expansions="")
    real = seq2seq.Seq2Seq.sample

    def stops(self, some, how):
        if len(sampled) >= expansions.BATCH:
            raise KeyboardInterrupt
        return real(self, some, how)

    monkeypatch.setattr(seq2seq.Seq2Seq, "sample", stops)
    with pytest.raises(KeyboardInterrupt):
        inside.index(DOCS, tmp_path / "index")
    monkeypatch.setattr(seq2seq.Seq2Seq, "sample", real)
    inside.index(DOCS, tmp_path / "index")
    assert len(sampled) == len(DOCS)
    assert len(lines(tmp_path / "index" / "expansions.jsonl")) == 1 + len(DOCS)
    assert registry.open_index(index_folder.described(tmp_path / "index")).search({"q": "moon"}, k=3).hits["q"]


@pytest.mark.parametrize("changed", [{"samples": 2}, {"seed": 5}, {"top_k": 2}])
def test_a_file_of_other_settings_is_left_as_it_is(system, tmp_path, changed):
    system.index(DOCS, tmp_path / "index")
    before = (tmp_path / "kept.jsonl").read_bytes()
    with pytest.raises(MismatchError, match=r"kept.jsonl has expansions by other settings than .*; it is left unchanged"):
        replace(system, **changed).index(DOCS, tmp_path / "other")
    assert (tmp_path / "kept.jsonl").read_bytes() == before


def test_expansions_of_another_collection_are_left_as_they_are(system, tmp_path):
    system.index(DOCS, tmp_path / "index")
    with pytest.raises(MismatchError, match="it is left unchanged"):
        system.index(Docs(DOCS.docs[:3]), tmp_path / "other")


@pytest.mark.parametrize("name", ["d2q.jsonl", "d2q.jsonl.gz"])
@pytest.mark.parametrize("key", ["predicted_queries", "predicted"])
def test_somebody_elses_expansions_are_taken_without_a_model(tmp_path, name, key, sampled):
    rows = {doc_id: [f"word{doc_id}", "shared"] for doc_id in DOCS.doc_ids}
    index = theirs(tmp_path / name, rows, key).index(DOCS, tmp_path / "index")
    assert found(index, "wordd7") == ["d7"] and len(found(index, "shared")) == len(DOCS)
    assert sampled == []


def test_expansions_may_be_of_some_documents_in_any_order(tmp_path, capsys):
    index = theirs(tmp_path / "d2q", {"d5": ["five"], "d1": ["one"], "stranger": ["x"]}).index(DOCS, tmp_path / "index")
    assert (found(index, "five"), found(index, "one"), found(index, "x")) == (["d5"], ["d1"], [])
    assert f"18 of 20 documents have no expansion in {tmp_path / 'd2q'}" in capsys.readouterr().err


def test_numbers_as_ids_and_one_text_in_place_of_a_list_are_understood(tmp_path):
    (tmp_path / "d2q").write_text('{"id": 0, "predicted_queries": "lonely"}\n')
    index = load("doc2query", [f"expansions={tmp_path / 'd2q'}"]).index(Docs((Doc("0", "text"),)), tmp_path / "index")
    assert found(index, "lonely") == ["0"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": "d0"}\n', r"d2q:1: expected {\"id\": .* found"),
        ('{"id": "d0", "predicted_queries": [1]}\n', "d2q:1: expected"),
        ('{"id": "d0", "predicted_queries": []}\nnothing\n', "d2q:2: not JSON"),
        ('{"id": "d1", "predicted": []}\n{"id": "d1", "predicted": []}\n', "d2q:2: document 'd1' is on line 1 already"),
        ('{"id": "x", "predicted": []}\n', "none of its ids is a document of the collection, whose first is 'd0'"),
    ],
)
def test_a_bad_file_is_one_line_and_is_left_as_it_is(tmp_path, content, message):
    (tmp_path / "d2q").write_text(content)
    with pytest.raises(LotteError, match=message):
        load("doc2query", [f"expansions={tmp_path / 'd2q'}"]).index(DOCS, tmp_path / "index")
    assert (tmp_path / "d2q").read_text() == content
    assert not (tmp_path / "index").exists()


def test_a_torn_line_of_somebody_elses_file_is_named_and_not_cut(tmp_path):
    content = '{"id": "d0", "predicted": []}\n{"id": "d1", "pred'
    (tmp_path / "d2q").write_text(content)
    with pytest.raises(CorruptFileError, match="d2q:2: not JSON"):
        load("doc2query", [f"expansions={tmp_path / 'd2q'}"]).index(DOCS, tmp_path / "index")
    assert (tmp_path / "d2q").read_text() == content


def test_a_packed_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UnavailableError, match=r"d2q.jsonl.gz is not there, and is to have expansions of documents"):
        load("doc2query", [f"expansions={tmp_path / 'd2q.jsonl.gz'}"]).index(DOCS, tmp_path / "index")


def test_an_index_of_expansions_that_are_others_now_is_refused(tmp_path):
    system = theirs(tmp_path / "d2q", {"d5": ["five"]})
    system.index(DOCS, tmp_path / "index")
    (tmp_path / "d2q").touch()
    assert found(system.open(tmp_path / "index"), "five") == ["d5"]
    theirs(tmp_path / "d2q", {"d5": ["fifth"]})
    with pytest.raises(MismatchError, match=r"was made with other expansions than .*d2q has now; index the collection again"):
        system.open(tmp_path / "index")


def test_an_index_outlives_the_file_of_its_expansions(tmp_path):
    system = theirs(tmp_path / "d2q", {"d5": ["five"]})
    system.index(DOCS, tmp_path / "index")
    (tmp_path / "d2q").unlink()
    assert found(system.open(tmp_path / "index"), "five") == ["d5"]


@pytest.mark.parametrize("wrong", ["samples=0", "top_k=0", "maxlen=0", "doc_maxlen=0", "b=2", "k1=-1"])
def test_an_option_out_of_range_is_one_line(wrong):
    with pytest.raises(LotteError, match=f"doc2query: {wrong.partition('=')[0]} must be "):
        load("doc2query", [wrong])


def test_a_checkpoint_of_another_kind_is_one_line(tmp_path):
    bert = tiny_checkpoint.write(tmp_path / "bert", "plain")
    with pytest.raises(CorruptFileError, match="bert is not a text-to-text model that transformers can read"):
        load("doc2query", [f"checkpoint={bert}"]).index(DOCS, tmp_path / "index")


def test_a_record_says_which_model_made_them_and_none_where_nobody_knows(system, tmp_path):
    assert system.card.model["sha256"] == system.found.sha256
    assert theirs(tmp_path / "d2q", {"d5": ["five"]}).card.model is None


def test_the_published_settings_are_the_defaults():
    settings = load("doc2query")
    assert (settings.samples, settings.top_k, settings.maxlen, settings.doc_maxlen) == (40, 10, 64, 512)
    assert (settings.k1, settings.b) == (0.82, 0.68) and doc2query.PUBLISHED["msmarco/dev"] == 0.277
