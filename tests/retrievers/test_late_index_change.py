"""Documents are deleted and added without harm to readers, scores or ids."""

import json

import numpy as np
import pytest
from command import error
from late_vectors import answers, vectors

pytest.importorskip("torch", reason="late interaction needs the extra 'colbert'")
from lotte import Doc, Docs
from lotte.errors import CorruptFileError, MismatchError
from retrievers import index_folder, index_meta
from retrievers.colbert import Arrays, build_index
from retrievers.colbert import retriever as recipe
from retrievers.colbert.index import build
from retrievers.colbert.index import folder as folders
from retrievers.colbert.search import cpu as search
from retrievers.colbert.search.config import SearchConfig


def test_deleted_documents_are_not_found_and_the_others_keep_their_ids(late_system, late_index, sixty_documents):
    before = answers(late_system, late_index)
    late_system.change(late_index, delete=["d3", "d17"], add=None)
    after = answers(late_system, late_index)
    assert after.doc_ids("q") == [doc_id for doc_id in before.doc_ids("q") if doc_id not in ("d3", "d17")]
    assert dict(after.hits["q"]).items() <= dict(before.hits["q"]).items()
    with pytest.raises(MismatchError, match=r"document 'd3' is not in .*; nothing was deleted"):
        late_system.change(late_index, delete=["d4", "d3"], add=None)
    with pytest.raises(MismatchError, match=r"document '' is not in .*; nothing was deleted"):
        late_system.change(late_index, delete=[""], add=None)
    assert answers(late_system, late_index) == after


def test_added_documents_are_found_by_their_own_ids(late_system, late_index):
    late_system.change(late_index, delete=(), add=Docs((Doc("mine", "telescope star moon sky"), Doc("empty", ""))))
    assert "mine" in answers(late_system, late_index, "telescope star moon sky", k=62).doc_ids("q")
    with pytest.raises(MismatchError, match=r"document 'mine' is in .* already"):
        late_system.change(late_index, delete=(), add=Docs((Doc("mine", "again"),)))
    late_system.change(late_index, delete=["mine"], add=None)
    assert "mine" not in answers(late_system, late_index, "telescope star moon sky", k=62).doc_ids("q")
    late_system.change(late_index, delete=(), add=Docs((Doc("mine", "bread flour"),)))
    assert "mine" in answers(late_system, late_index, k=62).doc_ids("q")


def test_readers_are_undisturbed_while_a_writer_works(late_system, late_index, sixty_documents):
    reader = late_system.open(late_index)
    before = reader.search({"q": "bread flour oven"}, k=60)
    late_system.change(late_index, delete=[doc.doc_id for doc in sixty_documents][:40], add=None)  # so many that what is left is rewritten
    assert len(list(late_index.glob("cells.*.npy"))) == 1 and not (late_index / "cells.0000.npy").exists()
    assert reader.search({"q": "bread flour oven"}, k=60) == before
    assert set(answers(late_system, late_index).doc_ids("q")) == {f"d{row}" for row in range(40, 60)}


def test_a_reader_that_opens_while_files_are_replaced_opens_the_new_ones(late_system, late_index, sixty_documents, monkeypatch):
    real = folders.open_arrays

    def late(folder, meta):  # meta.json was read, and before the files are opened a writer is done
        monkeypatch.setattr(folders, "open_arrays", real)
        late_system.change(late_index, delete=[doc.doc_id for doc in sixty_documents][:40], add=None)
        return real(folder, meta)

    monkeypatch.setattr(folders, "open_arrays", late)
    assert set(answers(late_system, late_index).doc_ids("q")) == {f"d{row}" for row in range(40, 60)}


def test_added_ids_that_are_gone_are_not_made_up(late_system, late_index):
    late_system.change(late_index, delete=(), add=Docs((Doc("mine", "bread"),)))
    (late_index / "doc_ids.0001.txt").unlink()
    with pytest.raises(CorruptFileError, match=r"doc_ids\.0001\.txt is missing"):
        late_system.open(late_index)


def test_compaction_changes_no_score(late_system, late_index, sixty_documents):
    gone = [f"d{row}" for row in range(0, 60, 3)]  # a third
    before = dict(answers(late_system, late_index).hits["q"])
    late_system.change(late_index, delete=gone, add=None)
    after = answers(late_system, late_index)
    assert dict(after.hits["q"]) == pytest.approx({key: before[key] for key in before if key not in gone})
    assert not list(late_system.damaged(late_index))
    late_system.change(late_index, delete=(), add=Docs((Doc("new", "bread flour oven"),)))
    assert "new" in answers(late_system, late_index).doc_ids("q")


def test_strangers_among_the_added_are_reported(late_index, late_system, capsys):
    late_system.change(late_index, delete=(), add=Docs(tuple(Doc(f"x{i}", "日本語 ñ ß é ” %& 77 zq") for i in range(30))))
    assert "farther from their centroids" in capsys.readouterr().err


def test_only_documents_that_are_asked_for_are_found(late_system, late_index):
    run = answers(late_system, late_index, among=["d5", "d9", "nobody"])
    assert sorted(run.doc_ids("q")) == ["d5", "d9"]


def test_empty_documents_lose_nothing(late_system, tmp_path):
    """They keep the three vectors that the model gives any text, as in the original; nothing else moves."""
    full = [Doc("a", "bread flour oven yeast"), Doc("b", "telescope star moon")]
    late_system.index(Docs((Doc("empty", ""), full[0], Doc("dots", "..."), full[1])), tmp_path / "index")
    run = answers(late_system, tmp_path / "index", "bread flour", k=4)
    assert sorted(run.doc_ids("q")) == ["a", "b", "dots", "empty"]
    lengths = np.diff(np.load(tmp_path / "index" / "starts.0000.npy"))
    assert lengths[0] == lengths[2] == 3


def test_a_document_without_any_token_is_found_by_nothing(tmp_path):
    rows, lengths = vectors(50)
    assert (lengths == 0).any()
    index = build_index(tmp_path / "index", Arrays(rows, lengths))
    for algorithm in ("paper", "pruned", "exact"):
        found = search.search(index, [rows[:4].astype(np.float32)], k=50, config=SearchConfig(algorithm=algorithm))
        assert sorted(found[0].rows.tolist()) == np.flatnonzero(lengths).tolist()


def test_what_an_index_will_take_is_said_before_and_held_to(late_system, late_index, sixty_documents, capsys, monkeypatch):
    monkeypatch.setattr(recipe, "FEW", 0)
    capsys.readouterr()
    late_system.index(sixty_documents, late_index)
    line = next(line for line in capsys.readouterr().err.splitlines() if " tokens, " in line)
    assert line.startswith("60 documents of about ") and " MB on disk" in line and " MB of memory" in line
    meta = json.loads((late_index / "meta.json").read_text())
    plan = build.plan(60, meta["counts"]["tokens"] / 60, 32, late_system.codec_config)
    arrays = sum((late_index / f"{name}.0000.npy").stat().st_size for name in ("cells", "residuals", "lengths", "lists"))
    assert plan.centroids == meta["counts"]["centroids"]
    assert 0.5 < plan.disk / (arrays + plan.centroids * 32) < 2


def test_a_bad_line_of_added_documents_is_named(late_index, tmp_path):
    (tmp_path / "more.tsv").write_text("a\tone\nb two\n")
    assert error("index", "--out", str(late_index), "--add", str(tmp_path / "more.tsv")) == (
        f"{tmp_path}/more.tsv:2: expected an id and a text with a tab between, found 1 fields"
    )
    (tmp_path / "more.tsv").write_text("a\tone\na\ttwo\n")
    assert error("index", "--out", str(late_index), "--add", str(tmp_path / "more.tsv")) == (
        f"{tmp_path}/more.tsv:2: document 'a' is on line 1 already"
    )


def test_a_change_is_both_or_neither_and_the_same_command_goes_on(late_system, late_index, monkeypatch):
    before = answers(late_system, late_index)
    add = Docs((Doc("d3", "telescope star moon sky"),))
    with monkeypatch.context() as patch:
        patch.setattr(index_meta, "write", lambda folder, meta: (_ for _ in ()).throw(InterruptedError))
        with pytest.raises(InterruptedError):
            late_system.change(late_index, delete=["d3", "d4"], add=add)
    assert answers(late_system, late_index) == before
    for _ in range(2):  # and once more, as somebody does who does not know that it was done
        late_system.change(late_index, delete=["d3", "d4"], add=add)
    assert index_folder.read(late_index).meta["counts"]["deleted"] == 2
    found = answers(late_system, late_index, k=99).doc_ids("q")
    assert (found.count("d3"), found.count("d4"), len(found)) == (1, 0, 59)
    assert list(folders.verify(late_index)) == []
