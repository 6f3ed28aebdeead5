"""What several tests of this room are given."""

import pytest
import tiny_checkpoint
from late_vectors import texts

from lotte import Doc, Docs
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
