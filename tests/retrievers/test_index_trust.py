"""An index folder is looked at, not obeyed: it names no code of others, and damage in it is found."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from command import error, lotte
from lexical_index import DOCS, KINDS, rewrite
from places import HOUSE

import retrievers
from leaderboard.cli.search import search_
from lotte import artifact
from lotte.collection import Collection
from lotte.errors import CorruptFileError, MismatchError, UnavailableError
from retrievers import index_folder, index_meta, registry
from retrievers.retriever import search_one
from retrievers.texts import IndexTexts

MAKER = """
import dataclasses, pathlib
from retrievers import index_folder
from retrievers.systems.overlap import Overlap

@dataclasses.dataclass(frozen=True)
class Mine:
    depth: int = 1
    width: int = 2

    def index(self, corpus, path):
        with index_folder.write_index(path, self, corpus) as (folder, counts):
            (folder / "notes.txt").write_text("mine")
        return self.open(path)

    def open(self, path):
        index_folder.open_checked(path, self)
        return self

    def search(self, queries, *, k):
        import lotte
        return lotte.Run.of({query: {"0": 1.0} for query in queries}, depth=k)

def make(*, depth: int = 1):
    return Mine(depth, width=4)

def words(*, lowercase: bool = True):
    return Overlap(lowercase)
"""


def flip(path, place, bit=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def damage(lexical_index):
    return [name for name, _ in index_meta.damaged(lexical_index, index_meta.read(lexical_index))]


def test_a_callable_that_an_index_names_is_not_called(bm25_index, tmp_path):
    rewrite(bm25_index, lambda meta: meta.update(recipe={"retriever": "os:makedirs", "options": {"name": f"{tmp_path}/no"}}))
    for words in (["search", bm25_index, "ice"], ["index", "--out", bm25_index, "--delete", "1"]):
        assert "code from outside this package; if you trust it, name it: --retriever module:function" in error(*words)
    lotte("check", bm25_index)
    assert not (tmp_path / "no").exists()


@pytest.fixture
def mymaker(tmp_path, monkeypatch):
    (tmp_path / "mymaker.py").write_text(MAKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_code_of_others_is_named_each_time(mymaker, five_documents, tmp_path):
    named, index = ["--retriever", "mymaker:make"], tmp_path / "index"
    made = lotte("index", *named, "-o", "depth=3", five_documents.parent, "--out", index)
    assert (made.returncode, made.stderr) == (0, "")
    assert "mymaker" in error("search", index, "ice")
    assert lotte("check", index).stderr.endswith("whole\n")
    done = lotte("search", index, "ice", *named)
    assert (done.stdout, done.stderr) == ("1\t1.0000\t0\tsalt melts the ice\n", "")


def test_check_finds_code_of_others_in_the_folder_of_the_command_as_index_does(five_documents, tmp_path):
    (tmp_path / "heremaker.py").write_text(MAKER)

    def run(*words):
        code = "from leaderboard.cli import main; main()"
        return subprocess.run(  # -P: as the installed command, which does not look in the folder by itself
            [sys.executable, "-P", "-c", code, *words, "--retriever", "heremaker:make"],
            capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(HOUSE)},
        )  # fmt: skip

    assert run("index", "docs", "--out", "index").stderr == ""
    assert run("check", "index").stderr == "index: an index of 5 documents by heremaker:make(depth=1, width=4), whole\n"


@pytest.mark.parametrize("name", ["mymaker:make", "mymaker:Mine", "mymaker:words"])
def test_an_index_says_what_it_was_asked_for_by_and_is_opened_by_that(mymaker, five_documents, tmp_path, name):
    lotte("index", "--retriever", name, five_documents.parent, "--out", tmp_path / "index")
    assert index_meta.read(tmp_path / "index")["recipe"]["retriever"] == name
    done = lotte("search", tmp_path / "index", "salt ice", "-k", "1", "--retriever", name)
    assert (done.stdout, done.stderr) == ("1\t1.0000\t0\tsalt melts the ice\n", "")


def test_a_system_of_ours_that_code_of_others_made_is_not_opened_by_the_file_alone(mymaker, five_documents, tmp_path):
    lotte("index", "--retriever", "mymaker:words", five_documents.parent, "--out", tmp_path / "index")
    assert "made by 'mymaker:words', code from outside this package" in error("search", tmp_path / "index", "ice")


@pytest.mark.parametrize("name", ["mymaker:make", "mymaker:Mine"])
def test_an_index_of_before_is_opened_by_a_name_of_its_module(mymaker, five_documents, tmp_path, name):
    index = tmp_path / "index"
    lotte("index", "--retriever", name, five_documents.parent, "--out", index)
    rewrite(index, lambda meta: meta["recipe"].update(retriever="mymaker:retriever"))
    assert lotte("search", index, "ice", "--retriever", name).stdout == "1\t1.0000\t0\tsalt melts the ice\n"


def test_an_index_of_another_module_is_refused(mymaker, five_documents, tmp_path):
    index = tmp_path / "index"
    lotte("index", "--retriever", "mymaker:make", five_documents.parent, "--out", index)
    rewrite(index, lambda meta: meta["recipe"].update(retriever="othermaker:make"))
    wanted = r"was built by othermaker:make\(.*; you asked for mymaker:make\("
    assert re.search(wanted, error("search", index, "ice", "--retriever", "mymaker:make"))


def test_another_system_than_the_one_that_made_an_index_is_refused(bm25_index):
    assert "says the index was made by 'bm25', not by 'overlap'" in error("search", bm25_index, "ice", "--retriever", "overlap")


@pytest.mark.parametrize("options", [{"k1": "0.9"}, {"k1": [0.9]}, {"k1": True}, {"b": {}}, {"trusted": 1}])
def test_options_that_a_system_does_not_declare_are_refused(bm25_index, options):
    rewrite(bm25_index, lambda meta: meta["recipe"]["options"].update(options))
    with pytest.raises(CorruptFileError, match=r"meta\.json: bm25 has no option"):
        registry.recorded(index_meta.read(bm25_index)["recipe"], bm25_index / "meta.json")


def test_what_is_said_each_time_is_neither_written_nor_read():
    trusting = retrievers.load("colbertv2", ["checkpoint=shipped", "trust=true"])
    recipe = index_folder.recipe_of(trusting)
    assert "trust" not in recipe["options"]
    recipe["options"]["trust"] = True
    assert not registry.recorded(recipe, "meta.json").trust
    assert registry.recorded(recipe, "meta.json", options=["trust=true"]).trust


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recipe", []), ("recipe", {"retriever": 3, "options": {}}), ("corpus", "x"), ("counts", None),
        ("corpus", {"sha256": 1, "path": None, "documents": 5}), ("corpus", {"sha256": None, "path": None, "documents": -1}),
        ("segments", [{"number": 0}]), ("segments", {}), ("deleted", "../kept.0001.npy"), ("files", {"../x": "0" * 64}),
        ("sources", [{"path": "/etc/hostname"}]), ("sizes", {"places.npy": "long"}),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_one_line(bm25_index, key, value):
    rewrite(bm25_index, lambda meta: meta.update({key: value}))
    with pytest.raises(CorruptFileError, match=rf"meta\.json: {key}.* cannot be|files names"):
        index_meta.read(bm25_index)


def test_names_of_files_do_not_climb(bm25_index):
    part = {"number": 0, "documents": 5, "tokens": 9, "distance": 0.5, "paths": []}
    rewrite(bm25_index, lambda meta: meta.update(segments=[{**part, "doc_ids": "../docs/collection.tsv"}]))
    with pytest.raises(CorruptFileError, match=r"segments\.doc_ids cannot be"):
        index_folder.read(bm25_index)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", '{"a": NaN', "\xff"])
def test_a_meta_that_is_no_json_is_one_line(bm25_index, text):
    (bm25_index / "meta.json").write_text(text, encoding="latin-1")
    with pytest.raises(CorruptFileError, match=r"meta\.json: not JSON"):
        index_meta.read(bm25_index)


def texts_of(lexical_index):
    said = []
    return IndexTexts(index_folder.read(lexical_index), said.append), said


def test_a_collection_that_was_touched_and_is_the_same_is_shown(bm25_index, five_documents):
    five_documents.write_bytes(five_documents.read_bytes())
    texts, said = texts_of(bm25_index)
    assert (texts["2"], said) == ("ice floats", [])


def test_another_collection_in_its_place_is_not_shown(bm25_index, five_documents):
    rows = five_documents.read_text().splitlines()
    five_documents.write_text("".join(f"{row}\t{text}\n" for row, text in enumerate(reversed(DOCS))))
    assert len(rows) == len(DOCS)
    texts, said = texts_of(bm25_index)
    assert (texts["2"], said) == ("", [f"no texts: the collection of {bm25_index} is no longer at {five_documents}"])


def test_a_file_that_only_an_index_names_is_not_shown(bm25_index, tmp_path):
    secret = tmp_path / "secret.tsv"
    secret.write_text("0\tmy password\n1\ta\n2\tb\n3\tc\n4\td\n")

    def point(meta):
        meta["corpus"]["path"] = meta["sources"][0]["path"] = str(secret)

    rewrite(bm25_index, point)
    texts, said = texts_of(bm25_index)
    assert (texts["0"], len(said)) == ("", 1)


def test_an_index_of_before_shows_the_texts_whose_hash_it_has(bm25_index):
    meta = {key: value for key, value in index_meta.read(bm25_index).items() if key not in ("digest", "sizes", "files", "sources")}
    artifact.write_whole(bm25_index / "meta.json", json.dumps(meta))
    texts, said = texts_of(bm25_index)
    assert (texts["2"], said) == ("ice floats", [])


def test_every_flipped_byte_is_found(lexical_index):
    random = np.random.default_rng(0)
    for path in sorted(lexical_index.iterdir()):
        whole = path.read_bytes()
        for place in {0, len(whole) - 1, *random.integers(0, max(1, len(whole)), 20).tolist()} if whole else ():
            flip(path, place, int(random.integers(8)))
            try:
                assert damage(lexical_index) == [path.name]
            except (CorruptFileError, UnavailableError, MismatchError):
                assert path.name == "meta.json"
            path.write_bytes(whole)
    assert damage(lexical_index) == []


def test_a_file_too_many_and_one_too_few_are_found(lexical_index):
    (lexical_index / "places.npy").rename(lexical_index / "strange.npy")
    assert damage(lexical_index) == ["places.npy", "strange.npy"]


def test_what_is_small_is_looked_at_whenever_an_index_is_opened(lexical_index):
    flip(lexical_index / "places.npy", -2)
    with pytest.raises(CorruptFileError, match=r"places\.npy: not what was written"):
        index_folder.read(lexical_index)


def test_opening_hashes_no_file(lexical_index, monkeypatch):
    """A sha256 of what is small took a tenth of opening; its sum is what is looked at."""
    monkeypatch.setattr(artifact, "sha256", None)
    assert index_folder.read(lexical_index).meta["sums"].keys() == {path.name for path in lexical_index.iterdir()} - {"meta.json", ".lock"}


def test_an_index_without_sums_is_held_to_its_hashes(lexical_index):
    rewrite(lexical_index, lambda meta: meta.pop("sums"))
    index_folder.read(lexical_index)
    flip(lexical_index / "places.npy", -2)
    with pytest.raises(CorruptFileError, match=r"places\.npy: not what was written"):
        index_folder.read(lexical_index)


def test_searching_looks_at_an_index_once(bm25_index, monkeypatch, capsys):
    looked = []
    monkeypatch.setattr(index_meta, "check_small", lambda path, meta: looked.append(path))
    search_(bm25_index, "ice")
    assert looked == [bm25_index] and "\tsalt melts the ice\n" in capsys.readouterr().out


def test_an_index_that_was_replaced_since_it_was_described_is_opened_as_it_is_now(bm25_index, tmp_path):
    described = index_folder.described(bm25_index)
    (tmp_path / "other.tsv").write_text("0\ticebergs and ice\n1\tice\n2\tsand\n")
    retrievers.load("bm25").index(Collection(tmp_path / "other.tsv"), bm25_index)
    found = search_one(registry.open_index(described), "ice", k=5)
    assert [hit.doc_id for hit in found] == ["1", "0"]


def test_what_is_large_is_as_long_as_it_was(bm25_index, monkeypatch):
    monkeypatch.setattr(index_meta, "SMALL", 0)
    path = bm25_index / "posting_rows.npy"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CorruptFileError, match=r"posting_rows\.npy: \d+ bytes, where \d+ were written"):
        retrievers.load("bm25").open(bm25_index)


@pytest.mark.parametrize("name", KINDS)
def test_damage_that_nobody_hashed_is_an_answer_or_one_line(name, five_documents, tmp_path):
    """An index of before, every byte of every array: what NumPy makes of it is never a traceback or another document."""
    system, index = retrievers.load(name), tmp_path / "index"
    system.index(Collection(five_documents), index)
    meta = {key: value for key, value in index_meta.read(index).items() if key not in ("digest", "sizes", "files")}
    artifact.write_whole(index / "meta.json", json.dumps(meta))
    random = np.random.default_rng(1)
    for path in sorted(index.glob("*.npy")):
        whole = path.read_bytes()
        for place in random.permutation(len(whole))[:120].tolist():
            flip(path, place, int(random.integers(8)))
            try:
                run = system.open(index).search({"q": "ice moon salt tide"}, k=3)
                assert set(run.doc_ids("q")) <= {"0", "1", "2", "3", "4"}
            except CorruptFileError as error:
                assert str(index) in str(error)
            path.write_bytes(whole)
