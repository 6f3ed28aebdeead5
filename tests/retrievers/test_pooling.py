"""Tokens that say nearly the same become one: the twin's clusters, and an index that is smaller and works as any other."""

import json

import numpy as np
import pytest
import tiny_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from late_vectors import texts, unit

pytest.importorskip("numba", reason="late interaction needs the extra 'colbert'")
from lotte import Doc, Docs
from lotte.errors import CorruptFileError, LotteError, MismatchError
from retrievers import load
from retrievers.colbert.kernels import pooling, reference
from retrievers.colbert.kernels.arrays import Pooling, TokenVectors
from retrievers.colbert.model import checkpoint as checkpoints


def tokens_of(lengths, dim=32, seed=0):
    rows = unit(np.random.default_rng(seed).normal(size=(sum(lengths), dim)))
    return TokenVectors(rows, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.sampled_from([8, 40, 128]), st.data())
@settings(max_examples=60, deadline=None)
def test_clusters_are_those_of_the_twin(seed, count, dim, data):
    rows = unit(np.random.default_rng(seed).normal(size=(count, dim)))
    wanted = data.draw(st.integers(1, count - 1))
    labels = pooling.clusters(rows, wanted)
    found = sorted(np.flatnonzero(labels == label).tolist() for label in range(wanted))
    distances = np.clip(1 - rows.astype(np.float64) @ rows.T.astype(np.float64), 0, 2)
    assert found == reference.ward(distances, wanted)


def test_clusters_are_numbered_by_their_first_tokens():
    rows = unit(np.random.default_rng(0).normal(size=(30, 16)))
    labels = pooling.clusters(rows, 12).tolist()
    assert list(dict.fromkeys(labels)) == list(range(12))


def test_equal_tokens_become_one():
    rows = np.repeat(unit(np.random.default_rng(0).normal(size=(5, 16))), 3, axis=0)
    assert pooling.clusters(rows, 5).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]


@pytest.mark.parametrize(
    "factor, lengths", [(1.5, [1, 1, 2, 34]), (2.0, [1, 1, 2, 26]), (4.0, [1, 1, 2, 13]), (100.0, [1, 1, 2, 2])]
)
def test_a_share_of_the_tokens_stays_and_one_at_least(factor, lengths):
    found = pooling.pooled(tokens_of([1, 1, 2, 51]), Pooling(factor=factor))
    assert np.diff(found.starts).tolist() == lengths


def test_a_document_without_a_token_has_none():
    assert np.diff(pooling.pooled(tokens_of([0, 9, 0]), Pooling(factor=2.0)).starts).tolist() == [0, 5, 0]


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_what_becomes_of_them_has_length_1_and_the_same_kind(kind):
    tokens = tokens_of([20, 31])
    found = pooling.pooled(tokens._replace(vectors=tokens.vectors.astype(kind)), Pooling(factor=3.0))
    assert found.vectors.dtype == kind
    np.testing.assert_allclose(np.linalg.norm(found.vectors.astype(np.float32), axis=1), 1, atol=1e-3)


def test_protected_tokens_stay_as_they_are():
    tokens = tokens_of([20])
    found = pooling.pooled(tokens, Pooling(factor=4.0, protected=3))
    assert (found.vectors[:3] == tokens.vectors[:3]).all() and len(found.vectors) == 3 + 17 // 4


def test_a_cluster_is_the_mean_of_its_tokens():
    tokens = tokens_of([25])
    found, labels = pooling.pooled(tokens, Pooling(factor=2.0)), pooling.clusters(tokens.vectors[1:], 12)
    means = unit(np.stack([tokens.vectors[1:][labels == label].mean(axis=0) for label in range(12)]))
    np.testing.assert_allclose(found.vectors[1:], means, atol=1e-6)


DOCS = Docs(tuple(Doc(f"d{row}", text) for row, text in enumerate(texts(40))))


def num_tokens(system, path):
    return system.open(path).arrays.num_tokens


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_an_index_of_pooled_tokens_is_smaller_and_is_asked_as_any_other(small_checkpoint, tmp_path, bits):
    whole, half = (
        load("colbertv2", [f"checkpoint={small_checkpoint}", f"bits={bits}", f"pool={factor}"]) for factor in (1, 2)
    )
    for system, name in ((whole, "whole"), (half, "half")):
        system.index(DOCS, tmp_path / name)
    assert num_tokens(half, tmp_path / "half") < 0.6 * num_tokens(whole, tmp_path / "whole")
    run = half.open(tmp_path / "half").search({doc.doc_id: doc.text for doc in DOCS}, k=3)
    assert sum(doc.doc_id in run.doc_ids(doc.doc_id) for doc in DOCS) >= 30  # of weights without a meaning


def test_documents_that_come_later_are_pooled_too(small_checkpoint, tmp_path):
    system = load("colbertv2", [f"checkpoint={small_checkpoint}", "pool=3"])
    system.index(Docs(DOCS.docs[:39]), tmp_path / "index")
    before = num_tokens(system, tmp_path / "index")
    system.change(tmp_path / "index", delete=(), add=Docs(DOCS.docs[39:]))
    tokens = len(system.encoder.docs([DOCS.docs[39].text]).vectors)
    assert num_tokens(system, tmp_path / "index") - before == 1 + (tokens - 1) // 3


def test_an_index_of_another_pooling_is_refused(small_checkpoint, tmp_path):
    load("colbertv2", [f"checkpoint={small_checkpoint}", "pool=2"]).index(DOCS, tmp_path / "index")
    with pytest.raises(MismatchError, match=r"pool=2\.0.*; you asked for .*pool=3\.0"):
        load("colbertv2", [f"checkpoint={small_checkpoint}", "pool=3"]).open(tmp_path / "index")


def test_no_word_of_a_pooled_index_can_be_shown(small_checkpoint, tmp_path):
    index = load("colbertv2", [f"checkpoint={small_checkpoint}", "pool=2"]).index(DOCS, tmp_path / "index")
    with pytest.raises(MismatchError, match="2 tokens became one vector in this index"):
        index.explain("bread", "d3", DOCS.docs[3].text)


@pytest.mark.parametrize("factor", ["0.5", "-1", "nan", "inf"])
def test_a_pooling_that_cannot_be_is_one_line(small_checkpoint, factor):
    with pytest.raises(LotteError, match="pool must be 1 or more, or 0 for the checkpoint's"):
        load("colbertv2", [f"checkpoint={small_checkpoint}", f"pool={factor}"])


@pytest.fixture
def pooling_checkpoint(tmp_path):
    """A checkpoint of sentence-transformers with a module that pools; returns a call that writes its settings."""
    folder = tiny_checkpoint.write(tmp_path / "checkpoint", "multi_vector", dim=32)
    modules = json.loads((folder / "modules.json").read_text())
    name = f"{len(modules)}_HierarchicalTokenPooling"
    kind = "sentence_transformers.multi_vector_encoder.modules.token_pooling.HierarchicalTokenPooling"
    modules.append({"idx": len(modules), "name": str(len(modules)), "path": name, "type": kind})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / name).mkdir()

    def write(**said):
        (folder / name / "config.json").write_text(json.dumps(said))
        return folder

    return write


ASKED = {"pool_factor": 2, "num_protected_tokens": 1, "normalize_embeddings": True, "tasks": ["document"]}


def test_a_checkpoint_that_pools_is_opened_and_pools(pooling_checkpoint, tmp_path):
    folder = pooling_checkpoint(**ASKED)
    assert checkpoints.find(folder).pooling == Pooling(factor=2.0, protected=1)
    by_module, by_option = (load("colbertv2", [f"checkpoint={folder}", *pool]) for pool in ([], ["pool=2"]))
    by_module.index(DOCS, tmp_path / "module")
    by_option.index(DOCS, tmp_path / "option")
    for name in ("cells.0000.npy", "residuals.0000.npy", "starts.0000.npy"):
        if (tmp_path / "module" / name).exists():
            assert (tmp_path / "module" / name).read_bytes() == (tmp_path / "option" / name).read_bytes()


def test_an_option_counts_more_than_the_checkpoint(pooling_checkpoint):
    folder = pooling_checkpoint(**ASKED, more=1)
    assert load("colbertv2", [f"checkpoint={folder}", "pool=1"]).pooling.factor == 1


@pytest.mark.parametrize(
    "change, error, said",
    [
        ({"pool_factor": 0.5}, CorruptFileError, "expected a 'pool_factor' of 1 or more, found 0.5"),
        ({"pool_factor": "2"}, CorruptFileError, "expected a 'pool_factor' of 1 or more"),
        ({"num_protected_tokens": -1}, CorruptFileError, "expected 'num_protected_tokens' of 0 or more"),
        ({"normalize_embeddings": False}, MismatchError, "'normalize_embeddings' is off"),
        ({"tasks": ["query", "document"]}, MismatchError, "only documents are pooled here"),
    ],
)
def test_a_module_that_asks_for_what_we_do_not_do_is_one_line(pooling_checkpoint, change, error, said):
    with pytest.raises(error, match=said):
        checkpoints.find(pooling_checkpoint(**{**ASKED, **change}))
