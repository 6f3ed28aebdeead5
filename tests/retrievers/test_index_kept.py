"""An index is replaced whole or not at all, by one writer at a time, and with nothing of somebody else's."""

import contextlib
import shutil

import pytest
from lexical_index import rewrite

import retrievers
from lotte import Doc, Docs, artifact
from lotte.collection import Collection
from lotte.errors import CorruptFileError, MismatchError, UnavailableError
from retrievers import index_folder, index_meta
from retrievers.index_folder import IndexFolder


def test_an_index_with_somebody_s_file_in_it_is_not_replaced(bm25_index, five_documents):
    (bm25_index / "thesis.txt").write_text("years of work")
    with pytest.raises(MismatchError, match=r"has thesis\.txt, which is not part of the index"):
        retrievers.load("bm25").index(Collection(five_documents), bm25_index)
    assert (bm25_index / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("exchanges", [True, False])
def test_an_old_folder_or_the_new_one_stands_at_every_moment(tmp_path, monkeypatch, exchanges):
    """A stop after each step of a replacement, on systems that exchange two names at once and on others."""
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


def test_two_writers_of_one_index_do_not_meet(five_documents, tmp_path):
    system = retrievers.load("bm25")
    with index_folder.write_index(tmp_path / "index", system, Collection(five_documents)) as (_, counts):
        with pytest.raises(UnavailableError, match="is being written by another process"):
            system.index(Collection(five_documents), tmp_path / "index")
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


def test_an_index_folder_is_what_it_says(bm25_index):
    found = index_folder.read(bm25_index)
    assert isinstance(found, IndexFolder) and set(found.meta["files"]) == set(found.meta["sizes"])


@pytest.mark.parametrize("key", ["files", "sizes", "sums"])
@pytest.mark.parametrize("name", ["../places.npy", "a" * 201, "\ud800.npy"])
def test_a_name_that_no_file_of_an_index_has_is_refused(bm25_index, key, name):
    value = "0" * 64 if key == "files" else 1
    rewrite(bm25_index, lambda meta: meta[key].update({name: value}))
    with pytest.raises(CorruptFileError, match=f"{key} names .*, which is not a file of the index"):
        index_meta.read(bm25_index)


def test_an_index_with_sizes_and_no_hashes_is_refused(bm25_index):
    rewrite(bm25_index, lambda meta: meta.pop("files"))
    with pytest.raises(CorruptFileError, match="expected files with their sha256, and sizes"):
        index_meta.read(bm25_index)
