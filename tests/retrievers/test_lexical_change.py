"""A lexical index that is changed is the index of the changed collection, to the last bit; or it is what it was."""

import json

import numpy as np
import pytest
from lexical_index import KINDS

from lotte.collection import OwnIds
from lotte.errors import MismatchError, UnavailableError
from retrievers import index_folder, index_meta, load

FIRST = {"a": "salt melts the ice", "b": "the tide follows the moon", "c": "ice floats", "d": "", "e": "the moon of ice"}
MORE = {"f": "ice ice ice and a tide", "g": "glass is not ice"}
QUERIES = {str(number): text for number, text in enumerate(["ice", "the moon", "tide and salt", "glass", "nothing of it"])}


def tsv(path, docs):
    path.write_text("".join(f"{doc_id}\t{text}\n" for doc_id, text in docs.items()))
    return OwnIds(path)


def numbered(path, texts):
    from lotte.collection import Collection

    path.write_text("".join(f"{row}\t{text}\n" for row, text in enumerate(texts)))
    return Collection(path)


def corpus(folder, docs):
    from lotte.reading import read_corpus

    folder.mkdir()
    rows = [{"_id": doc_id, "title": "", "text": text} for doc_id, text in docs.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_corpus(folder)


@pytest.fixture(params=KINDS)
def system(request):
    return load(request.param)


def same_arrays(path, other):
    names = sorted(file.name for file in path.glob("*.npy"))
    assert names == sorted(file.name for file in other.glob("*.npy"))
    for name in names:
        assert np.array_equal(np.load(path / name), np.load(other / name)), name
    assert (path / "doc_ids.txt").read_bytes() == (other / "doc_ids.txt").read_bytes()


def test_a_changed_index_has_the_arrays_of_one_that_is_built_anew(tmp_path, system):
    system.index(corpus(tmp_path / "first", FIRST), tmp_path / "i")
    system.change(tmp_path / "i", delete=["b", "d"], add=tsv(tmp_path / "more.tsv", MORE))
    left = {doc_id: text for doc_id, text in (FIRST | MORE).items() if doc_id not in "bd"}
    system.index(corpus(tmp_path / "changed", left), tmp_path / "anew")
    same_arrays(tmp_path / "i", tmp_path / "anew")


def test_a_changed_index_answers_as_one_that_is_built_anew(tmp_path, system):
    system.index(corpus(tmp_path / "first", FIRST), tmp_path / "i")
    system.change(tmp_path / "i", delete=[], add=tsv(tmp_path / "more.tsv", MORE))
    anew = system.index(corpus(tmp_path / "changed", FIRST | MORE), tmp_path / "anew")
    assert system.open(tmp_path / "i").search(QUERIES, k=9).hits == anew.search(QUERIES, k=9).hits


def test_change_after_change_is_the_last_state(tmp_path, system):
    """A document that comes again has its new text."""
    system.index(corpus(tmp_path / "first", FIRST), tmp_path / "i")
    system.change(tmp_path / "i", delete=["a"], add=None)
    system.change(tmp_path / "i", delete=[], add=tsv(tmp_path / "more.tsv", {"a": "another text of glass", **MORE}))
    system.change(tmp_path / "i", delete=["f"], add=tsv(tmp_path / "last.tsv", {"h": "the last of salt"}))
    left = {key: text for key, text in FIRST.items() if key != "a"}
    left |= {"a": "another text of glass", "g": MORE["g"], "h": "the last of salt"}
    system.index(corpus(tmp_path / "changed", left), tmp_path / "anew")
    same_arrays(tmp_path / "i", tmp_path / "anew")


def test_numbered_passages_keep_their_numbers(tmp_path, system):
    system.index(numbered(tmp_path / "collection.tsv", FIRST.values()), tmp_path / "i")
    system.change(tmp_path / "i", delete=["0", "3"], add=tsv(tmp_path / "more.tsv", {"12": "glass"}))
    assert list(index_folder.read(tmp_path / "i").doc_ids) == ["1", "2", "4", "12"]
    assert system.open(tmp_path / "i").search({"": "glass"}, k=1).doc_ids("") == ["12"]


def test_a_changed_index_is_whole(tmp_path, system):
    system.index(corpus(tmp_path / "first", FIRST), tmp_path / "i")
    system.change(tmp_path / "i", delete=["a"], add=tsv(tmp_path / "more.tsv", MORE))
    assert list(index_meta.damaged(tmp_path / "i", index_meta.read(tmp_path / "i"))) == []


@pytest.mark.parametrize(
    ("delete", "add", "message"),
    [
        (["a", "zz"], {}, "document 'zz' is not in {i}; nothing was deleted"),
        ([], {"c": "again"}, "document 'c' is in {i} already; --delete it first, or use another id"),
        (["c"], {"c": "again", "e": "again"}, "document 'e' is in {i} already; --delete it first, or use another id"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_changes_nothing(tmp_path, system, delete, add, message):
    system.index(corpus(tmp_path / "first", FIRST), tmp_path / "i")
    before = {file.name: file.read_bytes() for file in (tmp_path / "i").iterdir()}
    with pytest.raises(MismatchError) as caught:
        system.change(tmp_path / "i", delete=delete, add=tsv(tmp_path / "more.tsv", add) if add else None)
    assert str(caught.value) == message.format(i=tmp_path / "i")
    assert {file.name: file.read_bytes() for file in (tmp_path / "i").iterdir()} == before


def test_texts_that_are_gone_are_asked_for(tmp_path, system):
    system.index(corpus(tmp_path / "first", FIRST), tmp_path / "i")
    (tmp_path / "first" / "corpus.jsonl").unlink()
    with pytest.raises(UnavailableError, match=r"needs the texts, but the collection of .* is no longer at .*corpus\.jsonl; put the"):
        system.change(tmp_path / "i", delete=["a"], add=None)


def test_the_same_change_twice_is_one(tmp_path, system, capsys):
    system.index(corpus(tmp_path / "first", FIRST), tmp_path / "i")
    more = tsv(tmp_path / "more.tsv", MORE)
    system.change(tmp_path / "i", delete=["a"], add=more)
    before = (tmp_path / "i" / "meta.json").read_bytes()
    system.change(tmp_path / "i", delete=["a"], add=more)
    assert "already has this change; nothing to do" in capsys.readouterr().err
    assert (tmp_path / "i" / "meta.json").read_bytes() == before


def test_a_change_that_another_process_made_meanwhile_is_not_lost(tmp_path, system, monkeypatch):
    """The other change comes between the reading of the index and the writing of the new one."""
    from retrievers import lexical_change

    system.index(corpus(tmp_path / "first", FIRST), tmp_path / "i")
    texts = lexical_change._texts

    def meanwhile(found):
        monkeypatch.setattr(lexical_change, "_texts", texts)
        system.change(tmp_path / "i", delete=["b"], add=None)
        return texts(found)

    monkeypatch.setattr(lexical_change, "_texts", meanwhile)
    with pytest.raises(MismatchError, match="was changed by another process meanwhile; run the command again"):
        system.change(tmp_path / "i", delete=["a"], add=None)
    assert list(index_folder.read(tmp_path / "i").doc_ids) == ["a", "c", "d", "e"]


def test_an_index_of_somebodys_weights_is_built_whole(tmp_path):
    (tmp_path / "weights.jsonl").write_text('{"id": "a", "contents": "x", "vector": {"ice": 2}}\n')
    made = load("bm25", [f"weights={tmp_path / 'weights.jsonl'}"])
    with pytest.raises(UnavailableError, match="an index of a weights file cannot be changed"):
        made.change(tmp_path / "i", delete=["a"], add=None)
