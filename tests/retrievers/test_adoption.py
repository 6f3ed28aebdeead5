"""An index of PyLate or RAGatouille is taken over with the ids its user gave, and shows its texts."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from command import lotte
from foreign_index import DOCLENS, Made

from lotte.collection import Collection, OwnIds, RowIds, of_tsv
from lotte.dataset import Doc, Docs
from lotte.errors import CorruptFileError, MismatchError
from retrievers import index_folder, load
from retrievers.colbert.index import foreign, foreign_ids
from retrievers.texts import IndexTexts

pytest.importorskip("torch", reason="needs lotte-bench[colbert]")

LENGTHS = [length for doclens in DOCLENS for length in doclens]
IDS = {place: f"doc-{place}" for place, length in enumerate(LENGTHS) if length}  # 1 and 6 were deleted
WANTED = [IDS.get(place, f"deleted:{place}") for place in range(len(LENGTHS))]


@pytest.fixture
def pylate(tmp_path) -> Path:
    """A folder as PyLate has it: an index of fast-plaid, and the ids beside it."""
    folder = tmp_path / "indexes" / "mine"
    folder.mkdir(parents=True)
    Made(folder / "fast_plaid_index", "fast-plaid")
    ids_beside(folder, IDS)
    return folder


def ids_beside(folder, ids, protocol=pickle.DEFAULT_PROTOCOL):
    (folder / "plaid_ids_to_documents_ids.pkl").write_bytes(pickle.dumps(ids, protocol))


@pytest.fixture
def ragatouille(tmp_path) -> Path:
    made = Made(tmp_path / "rag")
    names = {str(place): "two" if place in (0, 2) else f"one-{place}" for place in IDS}
    made.json("pid_docid_map", names)
    made.json("collection", [f"text {place}" for place in IDS])
    return made.folder


def adopt(folder, out, corpus=None):
    system = load("colbertv2", [])
    assert system.adopts(folder)
    system.adopt(folder, out, corpus)
    return index_folder.open_checked(out, system)


def ids_of(folder):
    return list(adopt(folder, folder.parent / "ours").doc_ids)


def texts_of(out, *doc_ids):
    said = []
    texts = IndexTexts(index_folder.open_checked(out, load("colbertv2", [])), said.append)
    return [texts[doc_id] for doc_id in doc_ids], said


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_an_index_of_pylate_keeps_its_ids(pylate, protocol):
    ids_beside(pylate, IDS, protocol)
    assert ids_of(pylate) == WANTED


def test_the_folder_within_pylates_is_the_same_index(pylate):
    assert ids_of(pylate / "fast_plaid_index") == WANTED


def test_an_index_of_the_original_has_pylates_ids_in_it(tmp_path):
    made = Made(tmp_path / "theirs")
    ids_beside(made.folder, IDS)
    assert ids_of(made.folder) == WANTED


def test_ids_that_are_numbers_or_have_blanks_become_words(pylate, capsys):
    ids_beside(pylate, {place: place + 100 if place else "my notes.md" for place in IDS})
    assert ids_of(pylate)[:3] == ["my%20notes.md", "deleted:1", "102"]
    said = "plaid_ids_to_documents_ids.pkl: 1 ids are not words, and are written with %: 'my notes.md' is 'my%20notes.md'"
    assert said in capsys.readouterr().err


def test_a_map_in_json_is_read_in_the_place_of_the_pickle(pylate):
    ids_beside(pylate, {0: object})
    (pylate / "plaid_ids_to_documents_ids.json").write_text(json.dumps(IDS))
    assert ids_of(pylate) == WANTED


class Shell:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_code_is_refused_with_the_command_that_writes_json(pylate, protocol):
    ids_beside(pylate, {0: Shell(pylate / "ran")}, protocol)
    with pytest.raises(CorruptFileError, match="is a pickle with the instruction") as caught:
        ids_of(pylate)
    assert "python -c" in str(caught.value) and "\n" not in str(caught.value)
    assert not (pylate / "ran").exists() and not (pylate.parent / "ours").exists()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a"], "is a pickle with the instruction EMPTY_LIST"),
        ({0: ("a", "b")}, "is a pickle with the instruction TUPLE2"),
        ({0: 1.5}, "is a pickle with the instruction BINFLOAT"),
        ({0: np.int64(3)}, "is a pickle with the instruction"),
        ({0: {1: "a"}}, "is a pickle with an entry 0: {1: 'a'}"),
        ({"one": "a"}, "expected place and id, found 'one': 'a'"),
        ({-1: "a"}, "expected place and id, found -1: 'a'"),
    ],
)
def test_a_pickle_that_is_no_map_of_places_and_ids_is_one_line(pylate, ids, message):
    ids_beside(pylate, ids)
    with pytest.raises(CorruptFileError) as caught:
        ids_of(pylate)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04}", b"\x80\x04u.", b"noise", pickle.dumps(IDS)[:-9], b"\x80\x04]."])
def test_a_torn_pickle_is_one_line(pylate, content):
    (pylate / "plaid_ids_to_documents_ids.pkl").write_bytes(content)
    with pytest.raises(CorruptFileError) as caught:
        ids_of(pylate)
    assert "plaid_ids_to_documents_ids.pkl" in str(caught.value) and "\n" not in str(caught.value)


def test_a_map_of_another_index_is_refused(pylate):
    ids_beside(pylate, {**IDS, 9: "x"})
    with pytest.raises(MismatchError, match="names document 9, and the index ends at 6"):
        ids_of(pylate)
    ids_beside(pylate, {0: "a"})
    with pytest.raises(MismatchError, match="has no id for 4 of 7 documents, the first of which is 2; does it belong to another"):
        ids_of(pylate)


def test_passages_of_one_document_of_ragatouille_have_ids_of_their_own(ragatouille, capsys):
    assert ids_of(ragatouille) == ["two/0", "deleted:1", "two/1", "one-3", "one-4", "one-5", "deleted:6"]
    assert "pid_docid_map.json: 1 ids have several passages each: 'two' is 'two/0'" in capsys.readouterr().err


def test_ragatouilles_texts_come_with_it(ragatouille):
    adopt(ragatouille, ragatouille.parent / "ours")
    assert texts_of(ragatouille.parent / "ours", "two/1", "one-5") == (["text 2", "text 5"], [])


def test_texts_of_another_number_are_refused(ragatouille):
    (ragatouille / "collection.json").write_text('["only one"]')
    with pytest.raises(MismatchError, match=r"collection.json has 1 texts, and pid_docid_map.json 5 passages"):
        ids_of(ragatouille)


def test_a_collection_gives_an_index_its_ids_and_texts(tmp_path):
    made = Made(tmp_path / "theirs")
    rows = [f"name{place}\ttext {place}\n" for place in range(len(LENGTHS))]
    (tmp_path / "mine.tsv").write_text("".join(rows))
    folder = adopt(made.folder, tmp_path / "ours", of_tsv(tmp_path / "mine.tsv"))
    assert list(folder.doc_ids) == [f"name{place}" for place in range(len(LENGTHS))]
    assert texts_of(tmp_path / "ours", "name2") == (["text 2"], [])


def test_a_numbered_collection_shows_the_texts_of_places(tmp_path):
    made = Made(tmp_path / "theirs")
    (tmp_path / "collection.tsv").write_text("".join(f"{place}\ttext {place}\n" for place in range(len(LENGTHS))))
    corpus = of_tsv(tmp_path / "collection.tsv")
    folder = adopt(made.folder, tmp_path / "ours", corpus)
    assert isinstance(corpus, Collection) and isinstance(folder.doc_ids, RowIds)
    assert texts_of(tmp_path / "ours", "2") == (["text 2"], [])


def test_a_collection_shows_the_texts_of_pylates_ids(pylate, tmp_path):
    rows = [f"doc-{place}\ttext {place}\n" for place in (5, 4, 3, 2, 0, 99)]
    (tmp_path / "more.tsv").write_text("".join(rows))
    corpus = of_tsv(tmp_path / "more.tsv")
    assert isinstance(corpus, OwnIds)
    adopt(pylate, tmp_path / "ours", corpus)
    assert texts_of(tmp_path / "ours", "doc-2", "doc-5") == (["text 2", "text 5"], [])


def test_a_collection_that_was_not_indexed_is_refused(pylate, tmp_path):
    with pytest.raises(MismatchError, match="has document 'doc-0', which is not in the collection"):
        adopt(pylate, tmp_path / "ours", Docs((Doc("other", "text"),)))
    made = Made(tmp_path / "theirs")
    with pytest.raises(MismatchError, match="has 7 documents, and the collection 1; which documents they are"):
        adopt(made.folder, tmp_path / "ours", Docs((Doc("other", "text"),)))
    assert not (tmp_path / "ours").exists()


def test_the_command_takes_an_index_and_its_collection(pylate, tmp_path):
    (tmp_path / "mine.tsv").write_text("".join(f"doc-{place}\ttext {place}\n" for place in range(7)))
    words = ("index", "--retriever", "colbertv2", pylate, "--out", tmp_path / "ours")
    done = lotte(*words, "--collection", tmp_path / "mine.tsv")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'ours'}\n"), done.stderr
    assert texts_of(tmp_path / "ours", "doc-3")[0] == ["text 3"]
    done = lotte("index", "--retriever", "bm25", tmp_path / "mine.tsv", "--collection", "x", "--out", tmp_path / "b")
    assert done.returncode == 1 and done.stderr.endswith("mine.tsv is not one that can be read\n")
    done = lotte("index", "--collection", "x", "--add", "y", "--out", tmp_path / "b")
    assert done.stderr == "error: --collection needs an index of another program, to be taken over\n"


def test_an_index_without_a_map_has_its_places_for_ids(tmp_path):
    made = Made(tmp_path / "theirs")
    assert foreign.lengths(made.folder) == LENGTHS
    assert isinstance(foreign_ids.read(made.folder, LENGTHS, print), RowIds)
