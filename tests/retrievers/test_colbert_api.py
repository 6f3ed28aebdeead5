"""The Python API of late interaction, as docs/colbert.md shows it: token vectors in, an index like any other out."""

import json
import re

import numpy as np
import pytest
from command import error, lotte
from places import HOUSE

pytest.importorskip("numba", reason="late interaction needs the extra 'colbert'")

from lotte.errors import CorruptFileError, MismatchError, UnavailableError
from retrievers import colbert, index_folder, load
from retrievers.colbert import Arrays, CodecConfig, SearchConfig, build_index, open_index
from retrievers.colbert.index.meta import IndexMeta
from retrievers.colbert.search import search

DOCS = HOUSE / "docs" / "colbert.md"


def arrays(documents=12, dim=128, seed=0):
    rows = np.random.default_rng(seed).normal(size=(5 * documents, dim))
    return Arrays((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16), np.full(documents, 5))


@pytest.fixture
def made(tmp_path):
    build_index(tmp_path / "index", arrays(), doc_ids=[f"d{row}" for row in range(12)])
    return tmp_path / "index"


def test_the_example_of_the_documentation_runs_and_prints_what_it_says(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.S)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, DOCS, "exec"), {})
    assert capsys.readouterr().out.strip() == re.search(r"print\(.*\)  # (.*)", code)[1]


def test_an_index_of_vectors_is_checked_as_any_other(made):
    done = lotte("check", str(made))
    assert (done.returncode, done.stdout) == (0, "") and "an index of 12 documents by colbertv2(" in done.stderr


def test_an_index_of_vectors_is_searched_with_the_model_it_names(made):
    rows = [
        line.split("\t") for line in lotte("search", str(made), "why is the sky blue", "-k", "12").stdout.splitlines()
    ]
    assert sorted(row[2] for row in rows) == sorted(f"d{row}" for row in range(12))


def test_a_model_of_another_width_is_one_line(tmp_path):
    build_index(tmp_path / "index", arrays(dim=64))
    assert error("search", str(tmp_path / "index"), "why") == (
        "shipped makes vectors of 128 numbers, and the index has 64; build the index again"
    )


def test_documents_without_ids_have_the_numbers_of_their_rows(tmp_path):
    build_index(tmp_path / "index", arrays(3))
    assert list(index_folder.read(tmp_path / "index").doc_ids) == ["0", "1", "2"]


def test_the_settings_of_the_codec_are_those_that_it_is_opened_with(tmp_path):
    build_index(tmp_path / "index", arrays(), CodecConfig(bits=4, centroids=8, seed=5))
    load("colbertv2", ["checkpoint=shipped", "bits=4", "centroids=8", "seed=5"]).open(tmp_path / "index")
    with pytest.raises(MismatchError, match="bits=4"):
        load("colbertv2", ["checkpoint=shipped"]).open(tmp_path / "index")


@pytest.mark.parametrize(
    ("doc_ids", "error", "message"),
    [
        (["a", "b"], ValueError, "3 documents need as many ids; there are 2"),
        (["a", "b", "a"], MismatchError, "2 documents have the id 'a'"),
    ],
)
def test_ids_that_are_not_one_for_each_document_are_refused(tmp_path, doc_ids, error, message):
    with pytest.raises(error, match=message):
        build_index(tmp_path / "index", arrays(3), doc_ids=doc_ids)
    assert not list(tmp_path.iterdir())


def test_an_id_that_no_file_holds_is_refused(tmp_path):
    with pytest.raises(CorruptFileError, match=r"doc_ids: the document id 'a\\nb' has '\\n' in it"):
        build_index(tmp_path / "index", arrays(1), doc_ids=["a\nb"])


def test_what_is_no_index_is_not_written_over(tmp_path):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "thesis.txt").write_text("mine")
    with pytest.raises(MismatchError, match="exists and is not an index"):
        build_index(tmp_path / "index", arrays())


def test_a_build_that_fails_leaves_nothing(tmp_path):
    class Failing(Arrays):
        def vectors(self, rows):
            raise OSError("the vectors are gone")

    with pytest.raises(OSError):
        build_index(tmp_path / "index", Failing(np.zeros((3, 128), np.float16), np.array([3])))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_index_is_not_opened(tmp_path):
    with pytest.raises(UnavailableError, match="is not an index, or an incomplete one"):
        open_index(tmp_path)


def test_an_index_of_bm25_is_not_opened_as_one(tmp_path):
    from lotte import Doc, Docs

    load("bm25").index(Docs((Doc("a", "moon"),)), tmp_path / "index")
    with pytest.raises(CorruptFileError, match=r"meta\.json: no segments, so it is not a late-interaction index"):
        open_index(tmp_path / "index")


def test_deleted_documents_are_not_found_in_an_opened_index(made):
    load("colbertv2", ["checkpoint=shipped"]).change(made, delete=["d3"], add=None)
    index = open_index(made)
    (found,) = search(index, [np.eye(4, 128, dtype=np.float32)], k=12, config=SearchConfig())
    assert sorted(found.rows.tolist()) == [row for row in range(12) if row != 3]


@pytest.mark.parametrize("change", [False, True])
def test_meta_json_is_read_and_written_without_loss(made, change):
    if change:
        load("colbertv2", ["checkpoint=shipped"]).change(made, delete=["d3"], add=None)
    text = json.loads((made / "meta.json").read_text())
    assert IndexMeta.parse(text).json() == {key: value for key, value in text.items() if key != "digest"}


@pytest.mark.parametrize("counts", [{"tokens": "many"}, {"bits": None}, {"distance": True}, {"maker": 7}])
def test_a_count_that_cannot_be_is_one_line(made, counts):
    meta = json.loads((made / "meta.json").read_text())
    with pytest.raises(CorruptFileError, match=rf"meta\.json: counts\.{next(iter(counts))} cannot be"):
        IndexMeta.parse(meta | {"counts": meta["counts"] | counts}, made / "meta.json")


def test_every_name_of_the_api_is_there():
    assert all(getattr(colbert, name) for name in colbert.__all__)


def test_scripts_that_were_written_for_the_former_names_go_on_working(tmp_path):
    from retrievers.colbert import checkpoint
    from retrievers.colbert.building import Arrays, build
    from retrievers.colbert.codec import CodecConfig
    from retrievers.colbert.index import open_index

    vectors = np.eye(8, 128, dtype=np.float32)
    build(tmp_path, Arrays(vectors, np.full(4, 2)), CodecConfig(bits=1), threads=1, say=lambda line: None)
    (segment,) = open_index(tmp_path, {"segments": [{"number": 0}]}).segments
    assert segment.num_documents == 4 and segment.cells is segment.centroid_ids
    assert callable(checkpoint.find)
