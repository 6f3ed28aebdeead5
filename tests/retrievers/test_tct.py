"""TCT-ColBERT: which tokens are in the mean, the exact product, and the hybrid of the paper."""

import numpy as np
import pytest
import tiny_checkpoint
from late_vectors import texts

from lotte import Doc, Docs, LotteError, Run
from lotte.errors import MismatchError
from retrievers import load
from retrievers.colbert.model import checkpoint
from retrievers.colbert.model.config import ModelConfig
from retrievers.colbert.model.tct import TctEncoder, TctTokens, means
from retrievers.dense import vectors

DOCS = Docs(tuple(Doc(f"d{row}", text) for row, text in enumerate(texts(60))))
QUERIES = {"q1": "how to keep yeast warm", "q2": "router, disk!", "q3": ""}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny_checkpoint.write(tmp_path_factory.mktemp("tct") / "tct", "plain", hidden=32, layers=2, heads=2, inner=64)


def spelled(tokens, row=0):
    ids = tokens.ids[tokens.starts[row] : tokens.starts[row + 1]]
    return [tiny_checkpoint.VOCABULARY[number] for number in ids]


def read(plain, **settings):
    lengths = {"query_maxlen": 12, "doc_maxlen": 10, **settings}
    return TctTokens(checkpoint.find(plain).tokenizer, ModelConfig(**lengths))


# what is read


def test_a_query_is_the_text_of_the_paper_filled_up_with_masks(plain):
    tokens = read(plain).queries(["what is water"])
    assert spelled(tokens) == ["[CLS]", "[", "q", "]", "what", "is", "water", *["[MASK]"] * 5]
    assert tokens.seen.tolist() == [12]  # masks are looked at
    assert tokens.kept.tolist() == [False] * 4 + [True] * 8  # and in the mean


def test_a_passage_has_no_separator_and_no_mask(plain):
    tokens = read(plain).docs(["the moon"])
    assert spelled(tokens) == ["[CLS]", "[", "d", "]", "the", "moon"]
    assert tokens.kept.tolist() == [False] * 4 + [True] * 2


def test_what_is_too_long_is_cut(plain):
    long = read(plain).docs(["moon " * 30]), read(plain).queries(["moon " * 30])
    assert [len(tokens.ids) for tokens in long] == [10, 12]
    assert "[MASK]" not in spelled(long[1])


def test_vectors_are_those_of_transformers_and_the_mean_of_the_paper(plain):
    torch = pytest.importorskip("torch", reason="needs lotte-bench[train]")
    pytest.importorskip("transformers", reason="needs lotte-bench[train]")
    encoder = TctEncoder.load(plain, query_maxlen=36, doc_maxlen=154)
    found = checkpoint.find(plain)
    model, tokenizer = found.model(), read(plain, query_maxlen=36, doc_maxlen=154)._doc_tokenizer
    tokenizer.no_truncation()

    def wanted(text, most):
        ids = tokenizer.encode(text, add_special_tokens=False).ids[:most]
        with torch.inference_mode():
            hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        return hidden[4:].mean(0).numpy()

    query, doc = "how to bake bread", "the bread is baked in a hot oven"
    np.testing.assert_allclose(encoder.queries([query])[0], wanted(f"[CLS] [Q] {query}" + "[MASK]" * 36, 36), atol=2e-5)
    np.testing.assert_allclose(encoder.docs([doc]).vectors[0], wanted(f"[CLS] [D] {doc}", 154), atol=2e-5)


def test_torch_gives_the_same_vectors(plain):
    pytest.importorskip("torch", reason="needs lotte-bench[train]")
    compiled = TctEncoder.load(plain, query_maxlen=12, doc_maxlen=16)
    torch = TctEncoder._in_torch(compiled.checkpoint, "cpu", "fp32")
    some = [doc.text for doc in DOCS.docs]
    np.testing.assert_allclose(torch.docs(some).vectors, compiled.docs(some).vectors, atol=2e-5)
    np.testing.assert_allclose(torch.queries(some), compiled.queries(some), atol=2e-5)


def test_what_stands_beside_a_passage_has_no_part_in_its_vector(plain):
    encoder = TctEncoder.load(plain, query_maxlen=12, doc_maxlen=16)
    some = [doc.text for doc in DOCS.docs]
    together = encoder.docs(some).vectors
    assert together.dtype == np.float32
    for row in (0, 17, 59):
        np.testing.assert_array_equal(encoder.docs([some[row]]).vectors[0], together[row])


def test_a_passage_without_a_word_has_a_vector_of_zeros(plain):
    vectors = TctEncoder.load(plain, query_maxlen=12, doc_maxlen=16).docs(["", "moon"]).vectors
    assert not vectors[0].any() and vectors[1].any()


def test_a_mean_is_of_a_text_s_own_rows():
    hidden = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    assert means(hidden, np.array([2, 0, 1])).tolist() == [[2, 3], [0, 0], [5, 6]]


# what is found


def test_the_search_is_that_of_a_flat_index_of_faiss(plain, tmp_path):
    faiss = pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    system = load("tct_colbert", [f"checkpoint={plain}"])
    run = system.index(DOCS, tmp_path / "index").search(QUERIES, k=20)
    vectors = np.load(tmp_path / "index" / "vectors.npy")
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    scores, rows = index.search(system.encoder.queries(list(QUERIES.values())), 20)
    for query_id, found, values in zip(QUERIES, rows, scores, strict=True):
        assert run.doc_ids(query_id) == [f"d{row}" for row in found]
        np.testing.assert_allclose([hit.score for hit in run.hits[query_id]], values, rtol=1e-5)


def test_of_equal_passages_the_larger_id_is_first(plain, tmp_path):
    same = (3, 10, 11, 29)
    docs = Docs(tuple(Doc(f"d{row:02}", "the moon" if row in same else text) for row, text in enumerate(texts(40))))
    run = load("tct_colbert", [f"checkpoint={plain}"]).index(docs, tmp_path / "index").search({"q": "the moon"}, k=40)
    assert [doc_id for doc_id in run.doc_ids("q") if int(doc_id[1:]) in same] == ["d29", "d11", "d10", "d03"]


def test_a_build_that_was_stopped_goes_on_to_the_same_file(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "CHUNK", 16)
    system = load("tct_colbert", [f"checkpoint={plain}"])
    system.index(DOCS, tmp_path / "whole")
    encoded, docs = [], TctEncoder.docs

    def dying(self, some):
        encoded.append(len(some))
        if len(encoded) == 3:
            raise KeyboardInterrupt
        return docs(self, some)

    monkeypatch.setattr(TctEncoder, "docs", dying)
    with pytest.raises(KeyboardInterrupt):
        system.index(DOCS, tmp_path / "index")
    (tmp_path / ".index.unfinished" / "vectors.npy").open("ab").write(b"half a vector")
    system.index(DOCS, tmp_path / "index")
    assert encoded == [16, 16, 16, 16, 12]
    assert (tmp_path / "index" / "vectors.npy").read_bytes() == (tmp_path / "whole" / "vectors.npy").read_bytes()


def test_the_hybrid_with_a_sparse_run_is_equation_7(plain, tmp_path):
    """alpha s(d) + e(d), and who is missing in a ranking has its least score."""
    stages = f"bm25+tct_colbert(checkpoint={plain})"
    system = load("hybrid", [f"of={stages}", "method=scores", "weights=0.1,1", "depth=20"])
    run = system.index(DOCS, tmp_path / "hybrid").search(QUERIES, k=20)
    sparse = load("bm25").index(DOCS, tmp_path / "bm25").search(QUERIES, k=20)
    dense = load("tct_colbert", [f"checkpoint={plain}"]).index(DOCS, tmp_path / "tct").search(QUERIES, k=20)
    wanted = {}
    for query_id in QUERIES:
        s, e = (dict(one.hits[query_id]) for one in (sparse, dense))
        low_s, low_e = min(s.values(), default=0.0), min(e.values(), default=0.0)
        wanted[query_id] = {doc_id: 0.1 * s.get(doc_id, low_s) + e.get(doc_id, low_e) for doc_id in s | e}
    assert run == Run.of(wanted, depth=20)
    assert run != dense


# what cannot be


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("query_maxlen=4", r"query_maxlen must be 5 or more \(4 tokens precede each text\), not 4"),
        ("doc_maxlen=0", "doc_maxlen must be 5 or more"),
        ("threads=-1", "threads must be 0 or more, not -1"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(plain, option, says):
    with pytest.raises(LotteError, match=says):
        load("tct_colbert", [f"checkpoint={plain}", option])


def test_more_tokens_than_the_checkpoint_has_positions_are_one_line(plain, tmp_path):
    with pytest.raises(MismatchError, match="doc_maxlen=600 is more than the 512 positions of tct"):
        load("tct_colbert", [f"checkpoint={plain}", "doc_maxlen=600"]).index(DOCS, tmp_path / "index")


def test_a_late_interaction_checkpoint_is_told_from_one_of_one_vector(tmp_path):
    late = tiny_checkpoint.write(tmp_path / "late")
    with pytest.raises(MismatchError, match="late has a projection: it gives a vector for each token, and is for colbert"):
        load("tct_colbert", [f"checkpoint={late}"]).index(DOCS, tmp_path / "index")


def test_a_tokenizer_that_reads_the_markers_otherwise_is_one_line(tmp_path):
    other = tiny_checkpoint.write(tmp_path / "other", "pylate")  # where "[Q] " is one token
    with pytest.raises(MismatchError, match=r"reads '\[CLS\] \[Q\]' as 2 tokens, and TCT-ColBERT's first 4 are"):
        TctTokens(checkpoint.find(other).tokenizer, ModelConfig())


def test_published_weights_that_cannot_be_had_are_one_line_with_the_command_that_makes_others(tmp_path, monkeypatch):
    from lotte.errors import UnavailableError

    def offline(*_, **__):
        raise UnavailableError("there is no network")

    monkeypatch.setattr(checkpoint, "find", offline)
    with pytest.raises(UnavailableError, match=r"^there is no network; `lotte train tct_colbert` makes another$"):
        load("tct_colbert").index(DOCS, tmp_path / "index")


def test_a_checkpoint_that_is_not_here_is_one_line(tmp_path):
    with pytest.raises(LotteError, match="nowhere"):
        load("tct_colbert", [f"checkpoint={tmp_path / 'nowhere'}"]).index(DOCS, tmp_path / "index")
