"""Weights that somebody else made: read as they are, looked for by bm25's engine; a line that is none is named."""

import gzip
import json

import pytest

from lotte import Doc, Docs, LotteError
from lotte.errors import CorruptFileError, MismatchError, UnavailableError
from retrievers import index_folder, load, registry

VECTORS = {
    "d1": {"moon": 31, "tide": 4.5},
    "d2": {"moon": 2, "##ing": 7, "sea": 1},
    "d3": {},
    "d4": {"tide": 4.5, "sea": 0},
}
DOCS = Docs(tuple(Doc(doc_id, "a text that is not read") for doc_id in VECTORS))


def written(path, vectors=VECTORS, order=None):
    """Write weights in Anserini's form."""
    lines = [json.dumps({"id": one, "contents": "text", "vector": vectors[one]}) + "\n" for one in order or vectors]
    path.write_bytes(gzip.compress("".join(lines).encode()) if path.suffix == ".gz" else "".join(lines).encode())
    return path


def found(run, query="q"):
    return [(hit.doc_id, hit.score) for hit in run.hits[query]]


@pytest.fixture
def weights(tmp_path):
    return written(tmp_path / "weights.jsonl")


def test_a_score_is_the_sum_of_what_the_words_are_worth(weights, tmp_path):
    index = load("bm25", [f"weights={weights}"]).index(DOCS, tmp_path / "index")
    run = index.search({"q": "Moon, tide!", "twice": "tide tide", "none": "sun"}, k=9)
    assert found(run) == [("d1", 35.5), ("d4", 4.5), ("d2", 2.0)]
    assert found(run, "twice") == [("d4", 9.0), ("d1", 9.0)]
    assert found(run, "none") == []


def test_a_weight_of_nothing_is_no_posting(weights, tmp_path):
    index = load("bm25", [f"weights={weights}"]).index(DOCS, tmp_path / "index")
    assert found(index.search({"q": "sea"}, k=9)) == [("d2", 1.0)]


def test_queries_have_weights_of_their_own(weights, tmp_path):
    queries = written(tmp_path / "queries.jsonl", {"q": {"moon": 0.5, "##ing": 2}, "other": {}})
    index = load("bm25", [f"weights={weights}", f"query_weights={queries}"]).index(DOCS, tmp_path / "index")
    run = index.search({"q": "what this says is not read", "other": "moon"}, k=9)
    assert found(run) == [("d1", 15.5), ("d2", 15.0)]
    assert found(run, "other") == []


def test_as_counts_they_go_into_bm25_s_formula(tmp_path):
    texts = {"d1": "moon moon tide", "d2": "moon sea", "d3": "tide tide tide sea"}
    counts = {doc_id: {word: text.split().count(word) for word in text.split()} for doc_id, text in texts.items()}
    corpus = Docs(tuple(Doc(doc_id, text) for doc_id, text in texts.items()))
    weighed = load("bm25", [f"weights={written(tmp_path / 'tf.jsonl', counts)}", "weights_as=tf"])
    plain = load("bm25").index(corpus, tmp_path / "plain").search({"q": "moon tide"}, k=9)
    assert weighed.index(corpus, tmp_path / "weighed").search({"q": "moon tide"}, k=9) == plain


@pytest.mark.parametrize("name", ["mixed.jsonl", "mixed.jsonl.gz"])
def test_lines_may_stand_in_any_order(tmp_path, name):
    mixed = written(tmp_path / name, order=["d2", "d4", "d1", "d3"])
    index = load("bm25", [f"weights={mixed}"]).index(DOCS, tmp_path / "index")
    assert found(index.search({"q": "moon"}, k=9)) == [("d1", 31.0), ("d2", 2.0)]


def test_a_folder_of_files_is_read_whole(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    written(folder / "b.jsonl", order=["d3", "d4"])
    written(folder / "a.jsonl.gz", order=["d1", "d2"])
    (folder / "README").write_text("not read")
    index = load("bm25", [f"weights={folder}"]).index(DOCS, tmp_path / "index")
    assert found(index.search({"q": "tide"}, k=9)) == [("d4", 4.5), ("d1", 4.5)]


def test_an_index_is_opened_without_the_file(weights, tmp_path):
    recipe = load("bm25", [f"weights={weights}"])
    run = recipe.index(DOCS, tmp_path / "index").search({"q": "moon"}, k=9)
    weights.unlink()
    assert registry.open_index(index_folder.described(tmp_path / "index")).search({"q": "moon"}, k=9) == run


def test_numbers_are_ids_where_the_collection_has_numbers(tmp_path):
    path = tmp_path / "numbers.jsonl"
    path.write_text('{"id": 1, "vector": {"moon": 2}}\n{"id": 0, "vector": {"moon": 1}}\n')
    index = load("bm25", [f"weights={path}"]).index(Docs((Doc("0", ""), Doc("1", ""))), tmp_path / "index")
    assert found(index.search({"q": "moon"}, k=9)) == [("1", 2.0), ("0", 1.0)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", "expected a JSON object"),
        ('{"vector": {}}', "'id' must be a string"),
        ('{"id": true, "vector": {}}', "'id' must be a string"),
        ('{"id": "d2"}', "'vector' must be an object"),
        ('{"id": "d2", "vector": ["moon"]}', "'vector' must be an object"),
        ('{"id": "d2", "vector": {"moon": "2"}}', "the weight of 'moon' must be 0 or more, found '2'"),
        ('{"id": "d2", "vector": {"moon": -1}}', "the weight of 'moon' must be 0 or more"),
        ('{"id": "d2", "vector": {"moon": NaN}}', "the weight of 'moon' must be 0 or more"),
        ('{"id": "d2", "vector": {"moon": 1e39}}', "the weight of 'moon' must be 0 or more"),
        ('{"id": "d2", "vector": {"moon": true}}', "the weight of 'moon' must be 0 or more"),
        ('{"id": "d2", "vector": {"moon": 1, "moon": 2}}', "the key 'moon' occurs twice"),
        ('{"id": "d2", "vector": {"": 1}}', "is not a word"),
        ('{"id": "d2", "vector": {"\\ud800": 1}}', "is not a word"),
        ('{"id": "d1", "vector": {}}', "id 'd1' occurs twice"),
        ('{"id": "d9", "vector": {}}', "id 'd9' is not a document of the collection"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, said):
    path = tmp_path / "weights.jsonl"
    path.write_text('{"id": "d1", "vector": {"moon": 1}}\n' + line + "\n")
    with pytest.raises(LotteError, match=said) as raised:
        load("bm25", [f"weights={path}"]).index(DOCS, tmp_path / "index")
    assert str(raised.value).startswith(f"{path}:2: ")
    assert not (tmp_path / "index").exists()


def test_a_document_without_a_line_is_told(tmp_path):
    path = written(tmp_path / "weights.jsonl", order=["d1", "d2", "d4"])
    with pytest.raises(MismatchError, match="has no line for 1 of 4 documents; the first is 'd3'"):
        load("bm25", [f"weights={path}"]).index(DOCS, tmp_path / "index")


def test_a_line_too_many_is_told(tmp_path):
    path = written(tmp_path / "weights.jsonl", {**VECTORS, "d5": {}})
    with pytest.raises(MismatchError, match=r"weights\.jsonl:5: id 'd5' is not a document"):
        load("bm25", [f"weights={path}"]).index(DOCS, tmp_path / "index")


def test_a_query_without_a_line_is_told(weights, tmp_path):
    queries = written(tmp_path / "queries.jsonl", {"q": {"moon": 1}})
    index = load("bm25", [f"weights={weights}", f"query_weights={queries}"]).index(DOCS, tmp_path / "index")
    with pytest.raises(MismatchError, match=r"queries\.jsonl has no line for 1 of 2 queries; the first is 'other'"):
        index.search({"q": "", "other": ""}, k=3)


def test_a_query_that_is_there_twice_is_told(weights, tmp_path):
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"id": "q", "vector": {}}\n' * 2)
    with pytest.raises(CorruptFileError, match=r"queries\.jsonl:2: id 'q' occurs twice"):
        load("bm25", [f"weights={weights}", f"query_weights={queries}"]).index(DOCS, tmp_path / "index")


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UnavailableError, match="nowhere"):
        load("bm25", [f"weights={tmp_path / 'nowhere.jsonl'}"]).index(DOCS, tmp_path / "index")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["weights_as=impact"], "set -o weights=FILE too"),
        (["query_weights=q.jsonl"], "set -o weights=FILE too"),
        (["weights=w.jsonl", "weights_as=idf"], "weights_as must be impact or tf"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(options, said):
    with pytest.raises(LotteError, match=said):
        load("bm25", options)


def test_what_queries_weigh_is_read_where_the_command_says_so_alone(weights, tmp_path):
    queries = written(tmp_path / "queries.jsonl", {"q": {"moon": 1}})
    load("bm25", [f"weights={weights}", f"query_weights={queries}"]).index(DOCS, tmp_path / "index")
    recipe = index_folder.read(tmp_path / "index").meta["recipe"]
    assert recipe["options"]["weights"] == str(weights) and "query_weights" not in recipe["options"]
