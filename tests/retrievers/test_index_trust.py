"""What an index folder of anybody's may cause: nothing but a search by a system of ours, and lines that name its damage."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from command import error, lotte
from places import HOUSE

import retrievers
from leaderboard.cli.index import search_
from lotte import Doc, Docs, artifact
from lotte.collection import Collection
from lotte.errors import CorruptFileError, MismatchError, UnavailableError
from retrievers import index_folder, index_meta, registry
from retrievers.index_folder import IndexFolder
from retrievers.retriever import search_one
from retrievers.texts import IndexTexts

KINDS = ["bm25", "overlap", "rank_bm25"]
DOCS = ["salt melts the ice", "the tide follows the moon", "ice floats", "a moon of ice", ""]
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


@pytest.fixture
def collection(tmp_path):
    (tmp_path / "docs").mkdir()
    path = tmp_path / "docs" / "collection.tsv"
    path.write_text("".join(f"{row}\t{text}\n" for row, text in enumerate(DOCS)))
    return path


@pytest.fixture(params=KINDS)
def index(request, collection, tmp_path):
    retrievers.load(request.param).index(Collection(collection), tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def bm25(collection, tmp_path):
    retrievers.load("bm25").index(Collection(collection), tmp_path / "index")
    return tmp_path / "index"


def rewrite(index, change):
    """Change meta.json as its maker could have: with a digest that fits."""
    meta = json.loads((index / "meta.json").read_text())
    change(meta)
    index_meta.write(index, meta)


def flip(path, place, bit=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def damage(index):
    return [name for name, _ in index_meta.damaged(index, index_meta.read(index))]


# a file is not obeyed -------------------------------------------------------------------------------------------


def test_a_callable_that_an_index_names_is_not_called(bm25, tmp_path):
    rewrite(bm25, lambda meta: meta.update(recipe={"retriever": "os:makedirs", "options": {"name": f"{tmp_path}/no"}}))
    for words in (["search", bm25, "ice"], ["index", "--out", bm25, "--delete", "1"]):
        assert "code that is not ours; if you trust that code, name it: --retriever module:function" in error(*words)
    lotte("check", bm25)
    assert not (tmp_path / "no").exists()


@pytest.fixture
def mymaker(tmp_path, monkeypatch):
    (tmp_path / "mymaker.py").write_text(MAKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_code_of_others_is_named_each_time(mymaker, collection, tmp_path):
    named, index = ["--retriever", "mymaker:make"], tmp_path / "index"
    made = lotte("index", *named, "-o", "depth=3", collection.parent, "--out", index)
    assert (made.returncode, made.stderr) == (0, "")
    assert "mymaker" in error("search", index, "ice")
    assert lotte("check", index).stderr.endswith("whole\n")
    done = lotte("search", index, "ice", *named)
    assert (done.stdout, done.stderr) == ("1\t1.0000\t0\tsalt melts the ice\n", "")


def test_check_finds_code_of_others_in_the_folder_of_the_command_as_index_does(collection, tmp_path):
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
def test_an_index_says_what_it_was_asked_for_by_and_is_opened_by_that(mymaker, collection, tmp_path, name):
    lotte("index", "--retriever", name, collection.parent, "--out", tmp_path / "index")
    assert index_meta.read(tmp_path / "index")["recipe"]["retriever"] == name
    done = lotte("search", tmp_path / "index", "salt ice", "-k", "1", "--retriever", name)
    assert (done.stdout, done.stderr) == ("1\t1.0000\t0\tsalt melts the ice\n", "")


def test_a_system_of_ours_that_code_of_others_made_is_not_opened_by_the_file_alone(mymaker, collection, tmp_path):
    lotte("index", "--retriever", "mymaker:words", collection.parent, "--out", tmp_path / "index")
    assert "made by 'mymaker:words', code that is not ours" in error("search", tmp_path / "index", "ice")


@pytest.mark.parametrize("name", ["mymaker:make", "mymaker:Mine"])
def test_an_index_of_before_is_opened_by_a_name_of_its_module(mymaker, collection, tmp_path, name):
    index = tmp_path / "index"
    lotte("index", "--retriever", name, collection.parent, "--out", index)
    rewrite(index, lambda meta: meta["recipe"].update(retriever="mymaker:retriever"))
    assert lotte("search", index, "ice", "--retriever", name).stdout == "1\t1.0000\t0\tsalt melts the ice\n"


def test_an_index_of_another_module_is_refused(mymaker, collection, tmp_path):
    index = tmp_path / "index"
    lotte("index", "--retriever", "mymaker:make", collection.parent, "--out", index)
    rewrite(index, lambda meta: meta["recipe"].update(retriever="othermaker:make"))
    wanted = r"was built by othermaker:make\(.*; you asked for mymaker:make\("
    assert re.search(wanted, error("search", index, "ice", "--retriever", "mymaker:make"))


def test_another_system_than_the_one_that_made_an_index_is_refused(bm25):
    assert "says the index was made by 'bm25', not by 'overlap'" in error("search", bm25, "ice", "--retriever", "overlap")


@pytest.mark.parametrize("options", [{"k1": "0.9"}, {"k1": [0.9]}, {"k1": True}, {"b": {}}, {"trusted": 1}])
def test_options_that_a_system_does_not_declare_are_refused(bm25, options):
    rewrite(bm25, lambda meta: meta["recipe"]["options"].update(options))
    with pytest.raises(CorruptFileError, match=r"meta\.json: bm25 has no option"):
        registry.recorded(index_meta.read(bm25)["recipe"], bm25 / "meta.json")


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
def test_a_value_that_cannot_be_is_one_line(bm25, key, value):
    rewrite(bm25, lambda meta: meta.update({key: value}))
    with pytest.raises(CorruptFileError, match=rf"meta\.json: {key}.* cannot be|files names"):
        index_meta.read(bm25)


def test_names_of_files_do_not_climb(bm25):
    part = {"number": 0, "documents": 5, "tokens": 9, "distance": 0.5, "paths": []}
    rewrite(bm25, lambda meta: meta.update(segments=[{**part, "doc_ids": "../docs/collection.tsv"}]))
    with pytest.raises(CorruptFileError, match=r"segments\.doc_ids cannot be"):
        index_folder.read(bm25)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", '{"a": NaN', "\xff"])
def test_a_meta_that_is_no_json_is_one_line(bm25, text):
    (bm25 / "meta.json").write_text(text, encoding="latin-1")
    with pytest.raises(CorruptFileError, match=r"meta\.json: no JSON"):
        index_meta.read(bm25)


# texts ----------------------------------------------------------------------------------------------------------


def texts_of(index):
    said = []
    return IndexTexts(index_folder.read(index), said.append), said


def test_a_collection_that_was_touched_and_is_the_same_is_shown(bm25, collection):
    collection.write_bytes(collection.read_bytes())
    texts, said = texts_of(bm25)
    assert (texts["2"], said) == ("ice floats", [])


def test_another_collection_in_its_place_is_not_shown(bm25, collection):
    rows = collection.read_text().splitlines()
    collection.write_text("".join(f"{row}\t{text}\n" for row, text in enumerate(reversed(DOCS))))
    assert len(rows) == len(DOCS)
    texts, said = texts_of(bm25)
    assert (texts["2"], said) == ("", [f"no texts: the collection of {bm25} is not at {collection} any more"])


def test_a_file_that_only_an_index_names_is_not_shown(bm25, tmp_path):
    secret = tmp_path / "secret.tsv"
    secret.write_text("0\tmy password\n1\ta\n2\tb\n3\tc\n4\td\n")

    def point(meta):
        meta["corpus"]["path"] = meta["sources"][0]["path"] = str(secret)

    rewrite(bm25, point)
    texts, said = texts_of(bm25)
    assert (texts["0"], len(said)) == ("", 1)


def test_an_index_of_before_shows_the_texts_whose_hash_it_has(bm25):
    meta = {key: value for key, value in index_meta.read(bm25).items() if key not in ("digest", "sizes", "files", "sources")}
    artifact.write_whole(bm25 / "meta.json", json.dumps(meta))
    texts, said = texts_of(bm25)
    assert (texts["2"], said) == ("ice floats", [])


# damage is found ------------------------------------------------------------------------------------------------


def test_every_flipped_byte_is_found(index):
    random = np.random.default_rng(0)
    for path in sorted(index.iterdir()):
        whole = path.read_bytes()
        for place in {0, len(whole) - 1, *random.integers(0, max(1, len(whole)), 20).tolist()} if whole else ():
            flip(path, place, int(random.integers(8)))
            try:
                assert damage(index) == [path.name]
            except (CorruptFileError, UnavailableError, MismatchError):
                assert path.name == "meta.json"
            path.write_bytes(whole)
    assert damage(index) == []


def test_a_file_too_many_and_one_too_few_are_found(index):
    (index / "places.npy").rename(index / "strange.npy")
    assert damage(index) == ["places.npy", "strange.npy"]


def test_what_is_small_is_looked_at_whenever_an_index_is_opened(index):
    flip(index / "places.npy", -2)
    with pytest.raises(CorruptFileError, match=r"places\.npy: not what was written"):
        index_folder.read(index)


def test_opening_hashes_no_file(index, monkeypatch):
    """A sha256 of what is small took a tenth of opening; its sum is what is looked at."""
    monkeypatch.setattr(artifact, "sha256", None)
    assert index_folder.read(index).meta["sums"].keys() == {path.name for path in index.iterdir()} - {"meta.json", ".lock"}


def test_an_index_without_sums_is_held_to_its_hashes(index):
    rewrite(index, lambda meta: meta.pop("sums"))
    index_folder.read(index)
    flip(index / "places.npy", -2)
    with pytest.raises(CorruptFileError, match=r"places\.npy: not what was written"):
        index_folder.read(index)


def test_searching_looks_at_an_index_once(bm25, monkeypatch, capsys):
    looked = []
    monkeypatch.setattr(index_meta, "check_small", lambda path, meta: looked.append(path))
    search_(bm25, "ice")
    assert looked == [bm25] and "\tsalt melts the ice\n" in capsys.readouterr().out


def test_an_index_that_was_replaced_since_it_was_described_is_opened_as_it_is_now(bm25, tmp_path):
    described = index_folder.described(bm25)
    (tmp_path / "other.tsv").write_text("0\ticebergs and ice\n1\tice\n2\tsand\n")
    retrievers.load("bm25").index(Collection(tmp_path / "other.tsv"), bm25)
    found = search_one(registry.open_index(described), "ice", k=5)
    assert [hit.doc_id for hit in found] == ["1", "0"]


def test_what_is_large_is_as_long_as_it_was(bm25, monkeypatch):
    monkeypatch.setattr(index_meta, "SMALL", 0)
    path = bm25 / "posting_rows.npy"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CorruptFileError, match=r"posting_rows\.npy: \d+ bytes, where \d+ were written"):
        retrievers.load("bm25").open(bm25)


@pytest.mark.parametrize("name", KINDS)
def test_damage_that_nobody_hashed_is_an_answer_or_one_line(name, collection, tmp_path):
    """An index of before, every byte of every array: what NumPy makes of it is never a traceback or another document."""
    system, index = retrievers.load(name), tmp_path / "index"
    system.index(Collection(collection), index)
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


# nothing is lost ------------------------------------------------------------------------------------------------


def test_an_index_with_somebody_s_file_in_it_is_not_replaced(bm25, collection):
    (bm25 / "thesis.txt").write_text("years of work")
    with pytest.raises(MismatchError, match=r"has thesis\.txt, which is no part of the index"):
        retrievers.load("bm25").index(Collection(collection), bm25)
    assert (bm25 / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("exchanges", [True, False])
def test_an_old_folder_or_the_new_one_stands_at_every_moment(tmp_path, monkeypatch, exchanges):
    """A stop behind each step of a replacement, on systems that exchange two names at once and on others."""
    for stop in range(6):
        place = tmp_path / str(stop) / "index"
        for name in ("index", "new"):
            (place.parent / name).mkdir(parents=True)
            (place.parent / name / "meta.json").write_text(name)
        with monkeypatch.context() as patch:
            if not exchanges:
                patch.setattr(artifact, "_exchange", lambda one, other: False)
            left = [stop]
            for owner, step in ((artifact.Path, "replace"), (artifact.shutil, "rmtree")):
                patch.setattr(owner, step, stopping(getattr(owner, step), left))
            with contextlib.suppress(InterruptedError):
                artifact.put(place.parent / "new", place)
        artifact.recover(place)
        assert (place / "meta.json").read_text() in ("index", "new")
        artifact.settle(place)


def stopping(step, left):
    def run(*words, **options):
        if left[0] == 0:
            raise InterruptedError
        left[0] -= 1
        return step(*words, **options)

    return run


def test_what_dead_processes_were_writing_is_removed(tmp_path):
    dead = tmp_path / ".index.partial-999999999"
    dead.mkdir()
    (tmp_path / ".x.json.partial-999999999").write_text("half")
    artifact.write_whole(tmp_path / "x.json", "{}")
    with artifact.folder(tmp_path / "index", {}):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "x.json"]


def test_two_writers_of_one_index_do_not_meet(collection, tmp_path):
    system = retrievers.load("bm25")
    with index_folder.write_index(tmp_path / "index", system, Collection(collection)) as (_, counts):
        with pytest.raises(UnavailableError, match="is being written by another process"):
            system.index(Collection(collection), tmp_path / "index")
        counts |= {"documents": 5}


@pytest.mark.parametrize("doc_id", ["a\rb", "a\nb", "\ufeffa", "a\x1b[31m", "a\u2028b", "a b", ""])
def test_an_id_that_no_file_of_ids_can_hold_is_refused_before_the_work(doc_id, tmp_path):
    class Unread(Docs):
        def __iter__(self):
            raise AssertionError("the texts were read")

    with pytest.raises(CorruptFileError, match="an id is one word"):
        retrievers.load("bm25").index(Unread((Doc(doc_id, "ice"),)), tmp_path / "index")
    assert not list(tmp_path.iterdir())


def test_ids_are_lines_of_any_characters(tmp_path):
    index_folder.write_doc_ids(tmp_path / "doc_ids.txt", ["a\rb", "c"])
    shutil.copy(tmp_path / "doc_ids.txt", tmp_path / "copy.txt")
    assert index_folder._doc_ids(tmp_path / "copy.txt", 2) == ["a\rb", "c"]


def test_an_index_folder_is_what_it_says(bm25):
    found = index_folder.read(bm25)
    assert isinstance(found, IndexFolder) and set(found.meta["files"]) == set(found.meta["sizes"])


@pytest.mark.parametrize("key", ["files", "sizes", "sums"])
@pytest.mark.parametrize("name", ["../places.npy", "a" * 201, "\ud800.npy"])
def test_a_name_that_no_file_of_an_index_has_is_refused(bm25, key, name):
    value = "0" * 64 if key == "files" else 1
    rewrite(bm25, lambda meta: meta[key].update({name: value}))
    with pytest.raises(CorruptFileError, match=f"{key} names .*, which is no file of the index"):
        index_meta.read(bm25)


def test_an_index_with_sizes_and_no_hashes_is_refused(bm25):
    rewrite(bm25, lambda meta: meta.pop("files"))
    with pytest.raises(CorruptFileError, match="expected files with their sha256, and sizes"):
        index_meta.read(bm25)
