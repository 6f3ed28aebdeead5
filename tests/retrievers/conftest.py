"""What several tests of this room are given."""

import pytest
import tiny_checkpoint
from late_vectors import texts
from lexical_index import DOCS, KINDS

import retrievers
from lotte import Doc, Docs
from lotte.collection import Collection
from retrievers import load


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory):
    return tiny_checkpoint.write(tmp_path_factory.mktemp("checkpoint"), dim=32)


@pytest.fixture(scope="session")
def late_system(small_checkpoint):
    return load("colbertv2", [f"checkpoint={small_checkpoint}"])


@pytest.fixture
def sixty_documents():
    return Docs(tuple(Doc(f"d{row}", text) for row, text in enumerate(texts(60))))


@pytest.fixture
def late_index(late_system, sixty_documents, tmp_path):
    late_system.index(sixty_documents, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def sixty_on_disk(sixty_documents, tmp_path):
    """The same documents as a collection on disk."""
    (tmp_path / "docs").mkdir()
    rows = "".join(f"{row}\t{doc.text}\n" for row, doc in enumerate(sixty_documents))
    (tmp_path / "docs" / "collection.tsv").write_text(rows)
    return tmp_path / "docs"


@pytest.fixture
def five_documents(tmp_path):
    (tmp_path / "docs").mkdir()
    path = tmp_path / "docs" / "collection.tsv"
    path.write_text("".join(f"{row}\t{text}\n" for row, text in enumerate(DOCS)))
    return path


@pytest.fixture(params=KINDS)
def lexical_index(request, five_documents, tmp_path):
    retrievers.load(request.param).index(Collection(five_documents), tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def bm25_index(five_documents, tmp_path):
    retrievers.load("bm25").index(Collection(five_documents), tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def written_checkpoint(tmp_path):
    return tiny_checkpoint.write(tmp_path / "tiny")
