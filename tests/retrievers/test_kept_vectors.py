"""`-o vectors=FOLDER`: documents' vectors are kept, and an index made of them is the one that encoding makes."""

from dataclasses import replace

import pytest

pytest.importorskip("numba", reason="late interaction needs the extra 'colbert'")
from retrievers import load
from retrievers.colbert.index.build import Encoding


@pytest.fixture
def encoded(monkeypatch):
    """The rows that were encoded, of any collection."""
    rows, real = [], Encoding.vectors
    monkeypatch.setattr(Encoding, "vectors", lambda self, some: rows.extend(some) or real(self, some))
    return rows


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "meta.json"}


@pytest.mark.parametrize("options", [{}, {"bits": 4}, {"pool": 2.0}, {"centroids": 8}])
def test_an_index_of_kept_vectors_has_the_bytes_of_one_that_encoded(late_system, sixty_documents, tmp_path, options, encoded):
    kept = replace(late_system, vectors=str(tmp_path / "kept"))
    kept.index(sixty_documents, tmp_path / "first")
    encoded.clear()
    replace(kept, **options).index(sixty_documents, tmp_path / "second")
    assert encoded == []
    replace(late_system, **options).index(sixty_documents, tmp_path / "plain")
    assert files(tmp_path / "second") == files(tmp_path / "plain")


@pytest.mark.parametrize("changed", [{"doc_maxlen": 20}, {"precision": "int8"}])
def test_what_vectors_depend_on_has_a_place_of_its_own(late_system, sixty_documents, tmp_path, changed, encoded):
    kept = replace(late_system, vectors=str(tmp_path / "kept"))
    kept.index(sixty_documents, tmp_path / "first")
    encoded.clear()
    replace(kept, **changed).index(sixty_documents, tmp_path / "second")
    assert len(encoded) == 60


def test_another_collection_is_encoded(late_system, sixty_documents, tmp_path, encoded):
    from lotte import Docs

    kept = replace(late_system, vectors=str(tmp_path / "kept"))
    kept.index(sixty_documents, tmp_path / "first")
    encoded.clear()
    kept.index(Docs(sixty_documents.docs[:7]), tmp_path / "second")
    assert len(encoded) == 7


def test_the_length_of_queries_is_no_matter(late_system, sixty_documents, tmp_path, encoded):
    kept = replace(late_system, vectors=str(tmp_path / "kept"))
    kept.index(sixty_documents, tmp_path / "first")
    encoded.clear()
    replace(kept, query_maxlen=48).index(sixty_documents, tmp_path / "second")
    assert encoded == []


def test_what_was_encoded_outlives_a_kill(late_system, sixty_documents, tmp_path, encoded, monkeypatch):
    from retrievers.colbert.index import build

    monkeypatch.setattr(build, "CHUNK", 20)
    real = build.Encoding.vectors

    def stops(self, rows):
        if len(encoded) >= 40:
            raise KeyboardInterrupt
        return real(self, rows)

    monkeypatch.setattr(build.Encoding, "vectors", stops)
    kept = replace(late_system, vectors=str(tmp_path / "kept"))
    with pytest.raises(KeyboardInterrupt):
        kept.index(sixty_documents, tmp_path / "index")
    (journal,) = (tmp_path / "kept").glob("*/sample.jsonl")
    journal.write_bytes(journal.read_bytes() + b"[3, 4")  # a line that a kill tore
    monkeypatch.setattr(build.Encoding, "vectors", real)
    kept.index(sixty_documents, tmp_path / "index")
    assert sorted(encoded) == list(range(60))
    late_system.index(sixty_documents, tmp_path / "plain")
    assert files(tmp_path / "index") == files(tmp_path / "plain")


def test_an_index_does_not_say_where_vectors_are_kept(small_checkpoint, sixty_documents, tmp_path):
    system = load("colbertv2", [f"checkpoint={small_checkpoint}", f"vectors={tmp_path / 'kept'}"])
    system.index(sixty_documents, tmp_path / "index")
    assert "vectors" not in (tmp_path / "index" / "meta.json").read_text()
