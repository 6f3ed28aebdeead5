"""ColBERT v1: MaxSim in full with vectors of zeros in it, over what FAISS or another system found."""

import json
from itertools import pairwise

import numpy as np
import pytest
import tiny_checkpoint
from command import lotte
from hypothesis import given
from hypothesis import strategies as st
from late_vectors import texts
from places import TINY

from lotte import Doc, Docs, LotteError
from lotte.errors import CorruptFileError, MismatchError
from retrievers import load
from retrievers.colbert import stored_vectors
from retrievers.colbert.stored_vectors import StoredVectors

DOCS = Docs(tuple(Doc(f"d{row}", text) for row, text in enumerate(texts(60))))
QUERIES = {"q1": "how to keep yeast warm", "q2": "router, disk!", "q3": "what is a star"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint.write(tmp_path_factory.mktemp("late") / "late", dim=16, doc_maxlen=16)


def made(checkpoint, *options):
    return load("colbert", [f"checkpoint={checkpoint}", "doc_maxlen=16", "sub_vectors=4", *options])


def plain(query, docs, similarity, zeros):
    """ColBERT v1's scores as it writes them, with a vector of zeros where a document has one."""
    scores = []
    for doc, padded in zip(docs, zeros, strict=True):
        rows = np.vstack([doc, np.zeros((1, doc.shape[1]))]) if padded else doc
        if similarity == "cosine":
            scores.append((query @ rows.T).max(1).sum())
        else:
            scores.append((-np.square(query[:, None] - rows[None]).sum(-1)).max(1).sum())
    return scores


@given(st.integers(0, 2**32 - 1), st.sampled_from(["l2", "cosine"]), st.integers(1, 40))
def test_scores_are_those_of_the_formula(seed, similarity, at_once):
    """However many tokens are scored at once, and also of a document without a token."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(0, 7, 9)
    zeros = (draw.random(9) < 0.5) | (lengths == 0)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    vectors = draw.normal(size=(int(starts[-1]), 8)).astype(np.float16)
    query = draw.normal(size=(5, 8)).astype(np.float32)
    docs = [vectors[begin:end].astype(np.float64) for begin, end in pairwise(starts)]
    rows = draw.permutation(9)[:6]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_vectors, "AT_ONCE", at_once)
        found = StoredVectors(vectors, starts, zeros).scores(query, rows, similarity)
    wanted = plain(query, [docs[row] for row in rows], similarity, zeros[rows])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_rows_of_zeros_behind_a_short_query_are_worth_nothing():
    stored = StoredVectors(np.eye(4, dtype=np.float32), np.array([0, 4]), np.array([False]))
    query = np.eye(4, dtype=np.float32)[:2]
    longer = np.vstack([query, np.zeros((3, 4), np.float32)])
    for similarity, wanted in (("cosine", 2.0), ("l2", 0.0)):
        assert stored.scores(longer, np.array([0]), similarity) == stored.scores(query, np.array([0]), similarity) == wanted


@pytest.mark.parametrize("similarity", ["l2", "cosine"])
@pytest.mark.parametrize("options", [[], ["mask_punctuation=true"], ["bytes=4"]])
def test_searched_whole_every_hit_has_the_score_of_the_formula(checkpoint, tmp_path, similarity, options):
    pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    system = made(checkpoint, f"similarity={similarity}", *options)
    run = system.index(DOCS, tmp_path / "index").search(QUERIES, k=60)
    encoder, rows = system.encoder, {doc.doc_id: row for row, doc in enumerate(DOCS.docs)}
    packed = encoder.docs([doc.text for doc in DOCS.docs])
    docs = [packed.vectors[begin:end] for begin, end in pairwise(packed.starts)]
    docs = [doc.astype(np.float16) if "bytes=4" not in options else doc for doc in docs]
    read = encoder.tokens.docs([doc.text for doc in DOCS.docs])
    lengths = np.diff(read.starts)
    zeros = (lengths < 16) | (np.diff(packed.starts) < lengths)
    assert zeros.any() and not zeros.all()
    for query_id, query in zip(QUERIES, encoder.queries(list(QUERIES.values())), strict=True):
        hits = run.hits[query_id]
        found = [rows[hit.doc_id] for hit in hits]
        wanted = plain(query, [docs[row].astype(np.float64) for row in found], similarity, zeros[found])
        np.testing.assert_allclose([hit.score for hit in hits], wanted, rtol=1e-4, atol=1e-4)


def test_punctuation_has_vectors_unless_it_is_left_out(checkpoint):
    text = ["star, moon!"]
    whole, masked = (made(checkpoint, option).encoder.docs(text) for option in ("seed=0", "mask_punctuation=true"))
    assert len(whole.vectors) - len(masked.vectors) == 2


def test_of_equal_documents_the_larger_id_is_first(checkpoint, tmp_path):
    """Wherever they stand among the others."""
    pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    same = {3, 10, 11, 29}
    docs = Docs(tuple(Doc(f"d{row:02}", "the moon" if row in same else text) for row, text in enumerate(texts(40))))
    for options in ([], ["first=bm25"]):
        run = made(checkpoint, *options).index(docs, tmp_path / "index").search({"q": "the moon"}, k=40)
        assert [doc_id for doc_id in run.doc_ids("q") if int(doc_id[1:]) in same] == ["d29", "d11", "d10", "d03"]


# end to end


def test_what_faiss_finds_is_what_its_own_index_finds(tmp_path):
    faiss = pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    from retrievers.colbert import ivfpq

    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(900, 16)).astype(np.float32)
    shape = ivfpq.Shape.fitting(900, 10, 4)
    ivfpq.write(tmp_path, vectors, shape, 0, print)
    ours = ivfpq.TokenIndex(tmp_path, shape, dim=16, tokens=900).nearest(vectors[:20], nprobe=3, depth=50, threads=1)
    index = faiss.IndexIVFPQ(faiss.IndexFlatL2(16), 16, 10, 4, 8)
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
    index.cp.seed = index.pq.cp.seed = 1
    faiss.omp_set_num_threads(1)
    index.train(vectors)
    index.add(vectors)
    index.nprobe = 3
    assert shape == ivfpq.Shape(10, 4, 8)
    np.testing.assert_array_equal(ours, index.search(vectors[:20], 50)[1])


def test_with_all_partitions_and_all_tokens_the_best_of_all_documents_are_found(checkpoint, tmp_path):
    pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    (tmp_path / "all.tsv").write_text("".join(f"{query}\td{row}\t{row + 1}\n" for query in QUERIES for row in range(60)))
    index = made(checkpoint).index(DOCS, tmp_path / "index")
    again = made(checkpoint, f"first={tmp_path / 'all.tsv'}").open(tmp_path / "index")
    assert index.search(QUERIES, k=60) == again.search(QUERIES, k=60)


def test_fewer_tokens_find_fewer_documents(checkpoint, tmp_path):
    pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    made(checkpoint).index(DOCS, tmp_path / "index")
    found = made(checkpoint, "nprobe=1", "faiss_depth=1").open(tmp_path / "index").search(QUERIES, k=60)
    assert all(0 < len(hits) < 33 for hits in found.hits.values())  # 32 tokens took one each


def test_a_small_collection_gets_fewer_partitions_and_that_is_said(checkpoint, tmp_path, capsys):
    pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    made(checkpoint).index(Docs(DOCS.docs[:5]), tmp_path / "index")
    counts = json.loads((tmp_path / "index" / "meta.json").read_text())["counts"]
    assert counts["partitions"] == max(1, counts["tokens"] // 39) and counts["code_bits"] < 8
    assert f"only {counts['tokens']:,} vectors: using {counts['partitions']:,} partitions instead of 2,000" in capsys.readouterr().err


def test_a_collection_of_nothing_finds_nothing(checkpoint, tmp_path):
    pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    assert made(checkpoint).index(Docs(()), tmp_path / "index").search(QUERIES, k=5).hits == dict.fromkeys(QUERIES, ())


@pytest.mark.parametrize("option", ["nprobe=3", "faiss_depth=7", "similarity=cosine", "threads=1", "query_maxlen=16"])
def test_how_it_is_asked_is_said_with_any_index(checkpoint, tmp_path, option):
    pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    made(checkpoint).index(DOCS, tmp_path / "index")
    assert made(checkpoint, option).open(tmp_path / "index").search(QUERIES, k=3)


def test_a_build_that_was_stopped_goes_on_to_the_same_files(checkpoint, tmp_path, monkeypatch):
    from retrievers.colbert.model.encoder import Encoder

    monkeypatch.setattr(stored_vectors, "CHUNK", 16)
    system = made(checkpoint, "first=bm25")
    system.index(DOCS, tmp_path / "whole")
    encoded, encode = [], Encoder.encode

    def dying(self, tokens, numbers=None):
        encoded.append(len(tokens.starts) - 1)
        if len(encoded) == 3:
            raise KeyboardInterrupt
        return encode(self, tokens, numbers)

    monkeypatch.setattr(Encoder, "encode", dying)
    with pytest.raises(KeyboardInterrupt):
        system.index(DOCS, tmp_path / "index")
    (tmp_path / ".index.unfinished" / "vectors.npy").open("ab").write(b"half a vector")
    system.index(DOCS, tmp_path / "index")
    assert encoded == [16, 16, 16, 16, 12]
    for name in ("vectors.npy", "starts.npy", "zeros.npy"):
        assert (tmp_path / "index" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


# ranking again


def test_what_is_ranked_again_is_what_the_first_stage_found_best_and_below_it_the_order_stays(checkpoint, tmp_path):
    first = load("bm25").index(DOCS, tmp_path / "bm25").search(QUERIES, k=12)
    found = made(checkpoint, "first=bm25", "depth=5").index(DOCS, tmp_path / "index").search(QUERIES, k=12)
    for query_id in QUERIES:
        assert sorted(found.doc_ids(query_id)[:5]) == sorted(first.doc_ids(query_id)[:5])
        assert found.doc_ids(query_id)[5:] == first.doc_ids(query_id)[5:]
        scores = [hit.score for hit in found.hits[query_id]]
        assert scores == sorted(scores, reverse=True)


def test_ranking_again_needs_no_faiss(checkpoint, tmp_path, monkeypatch):
    from retrievers.colbert import ivfpq

    monkeypatch.setattr(ivfpq, "package", lambda: pytest.fail("FAISS was asked for"))
    assert made(checkpoint, "first=bm25").index(DOCS, tmp_path / "index").search(QUERIES, k=3).hits["q1"]


def test_an_index_for_ranking_again_is_not_searched_whole(checkpoint, tmp_path):
    made(checkpoint, "first=bm25").index(DOCS, tmp_path / "index")
    with pytest.raises(MismatchError, match=r"was built for re-ranking \(first\), without a FAISS index"):
        made(checkpoint).open(tmp_path / "index").search(QUERIES, k=3)


def test_a_first_stage_that_found_nothing_at_all_is_said(checkpoint, tmp_path, capsys):
    index = made(checkpoint, "first=bm25").index(DOCS, tmp_path / "index")
    assert index.search({"q": "zzz"}, k=3).hits == {"q": ()}
    assert capsys.readouterr().err == ""
    index.search_facts({"q": "zzz"}, k=3)
    assert capsys.readouterr().err == "bm25 found nothing for any of the queries\n"


def test_a_run_with_documents_that_the_collection_lacks_is_one_line(checkpoint, tmp_path):
    (tmp_path / "other.trec").write_text("q1 Q0 d1 1 2.0 x\nq1 Q0 elsewhere 2 1.0 x\n")
    with pytest.raises(LotteError, match="elsewhere"):
        made(checkpoint, f"first={tmp_path / 'other.trec'}").index(DOCS, tmp_path / "index")


# the checkpoint


def test_a_checkpoint_that_was_trained_with_l2_is_for_colbert_and_not_for_colbertv2(tmp_path):
    late = tiny_checkpoint.write(tmp_path / "late", dim=16, similarity="l2")
    assert made(late, "first=bm25").index(DOCS, tmp_path / "index").search(QUERIES, k=3).hits["q1"]
    with pytest.raises(MismatchError, match="late was trained with similarity 'l2', and colbertv2 compares by cosine; colbert takes both"):
        load("colbertv2", [f"checkpoint={late}"]).index(DOCS, tmp_path / "other")


def test_a_similarity_that_nobody_knows_is_one_line(tmp_path):
    late = tiny_checkpoint.write(tmp_path / "late", dim=16, similarity="dot")
    with pytest.raises(MismatchError, match="has similarity 'dot'; supported are 'cosine' and 'l2'"):
        made(late, "first=bm25").index(DOCS, tmp_path / "index")


# what cannot be


def test_vectors_that_are_no_numbers_are_one_line(checkpoint, tmp_path):
    index = made(checkpoint, "first=bm25").index(DOCS, tmp_path / "index")
    index._stored = StoredVectors(np.full_like(index._stored.vectors, np.nan), index._stored.starts, index._stored.zeros)
    with pytest.raises(CorruptFileError, match="the index is damaged"):
        index.search(QUERIES, k=3)


def test_more_partitions_than_there_are_files_for_are_told_before_room_is_made_for_them(checkpoint, tmp_path):
    pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    index = made(checkpoint).index(DOCS, tmp_path / "index")
    index._folder.meta["counts"]["partitions"] = 1 << 40
    with pytest.raises(CorruptFileError, match=r"centres\.npy: expected"):
        index.search(QUERIES, k=3)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("checkpoint=", "checkpoint names a folder, .*; `lotte train colbert` makes one"),
        ("nprobe=2001", "nprobe must be at most the number of partitions, 2000, not 2001"),
        ("bytes=3", "bytes must be 2 or 4, not 3"),
        ("similarity=dot", "similarity must be one of l2, cosine, not 'dot'"),
        ("partitions=0", "partitions must be 1 or more, not 0"),
        ("faiss_depth=0", "faiss_depth must be 1 or more, not 0"),
        ("first=bm25+overlap", "first is one system, or hybrid"),
        ("threads=-1", "threads must be 0 or more, not -1"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(checkpoint, option, says):
    with pytest.raises(LotteError, match=says):
        load("colbert", [f"checkpoint={checkpoint}", option])


def test_parts_that_do_not_divide_a_vector_are_told_before_anything_is_encoded(checkpoint, tmp_path):
    pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    with pytest.raises(MismatchError, match="sub_vectors=5 does not divide the 16 numbers of a vector; take one of 1, 2, 4, 8, 16"):
        load("colbert", [f"checkpoint={checkpoint}", "sub_vectors=5"]).index(DOCS, tmp_path / "index")
    assert not list(tmp_path.iterdir())


def test_other_weights_than_those_of_the_index_are_one_line(tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "late", dim=16)
    system = made(folder, "first=bm25")
    system.index(DOCS, tmp_path / "index")
    from retrievers.systems import colbert

    tiny_checkpoint.write(folder, dim=16, seed=1)
    colbert._encoder.cache_clear()
    with pytest.raises(MismatchError, match=r"was built with weights .* and .* has .* now; build the index again"):
        made(folder, "first=bm25").open(tmp_path / "index").search(QUERIES, k=3)


@pytest.mark.parametrize(("key", "value"), [("partitions", 0), ("sub_vectors", 5), ("code_bits", 9), ("partitions", "9")])
def test_counts_that_no_index_has_are_one_line(checkpoint, tmp_path, key, value):
    pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    index = made(checkpoint).index(DOCS, tmp_path / "index")
    index._folder.meta["counts"][key] = value
    with pytest.raises(CorruptFileError, match="no FAISS index has"):
        index.search(QUERIES, k=3)


def test_the_record_says_how_it_was_asked(checkpoint, tmp_path):
    index = made(checkpoint, "first=bm25", "depth=7").index(DOCS, tmp_path / "index")
    index.search(QUERIES, k=3)
    facts = index.search_facts(QUERIES, k=3)
    assert (facts["similarity"], facts["depth"], facts["stages"][0]["stage"]) == ("l2", 7, "bm25")


def test_the_commands_take_it(checkpoint, tmp_path):
    words = ["--retriever", "colbert", "-o", f"checkpoint={checkpoint}", "-o", "first=bm25"]
    done = lotte("eval", TINY / "science" / "test", *words, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "out").rglob("*search*.json")
    said = json.loads(record.read_text())["retriever"]
    assert (said["name"], said["options"]["first"], said["index"]["dim"]) == ("colbert", "bm25", 16)
