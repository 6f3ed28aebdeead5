"""SPLADE: the weights are the model's, the search is exact over bm25's engine, and another kind of model is one line."""

import json
import shutil

import numpy as np
import pytest
import tiny_checkpoint
from command import lotte
from places import TINY

from lotte import Doc, Docs, LotteError
from lotte.errors import CorruptFileError, MismatchError

pytest.importorskip("torch", reason="needs lotte-bench[train]")
pytest.importorskip("sentence_transformers", reason="needs lotte-bench[dense]")
pytest.importorskip("transformers", reason="needs lotte-bench[train]")

import torch
import transformers

from retrievers import index_folder, lexical, load, registry
from retrievers.sparse import rows

WORDS = tiny_checkpoint.WORDS
DOCS = Docs(tuple(Doc(f"d{row}", f"{word} {WORDS[-row]} bread water") for row, word in enumerate(WORDS[:40])))
QUERIES = {"q1": "bread and garden", "q2": "moon light", "empty": ""}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A SPLADE as a folder of transformers."""
    return tiny_checkpoint.masked_lm(tmp_path_factory.mktemp("splade") / "splade")


def weights(folder, text):
    """Return the weights of all words for a text: the largest log(1 + relu(logit)) over its tokens."""
    network = transformers.AutoModelForMaskedLM.from_pretrained(folder)
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        return torch.log1p(torch.relu(network(**tokens).logits[0])).max(dim=0).values.numpy()


def dense(encoder, texts, most=0):
    found = encoder.rows(texts, batch=4, most=most)
    made = np.zeros((len(texts), len(encoder.words)), np.float32)
    made[np.repeat(np.arange(len(texts)), found.lengths), found.ids] = found.weights
    return made


def test_a_weight_is_the_largest_of_a_text_s_tokens(model):
    encoder = load("splade", [f"checkpoint={model}"]).doc_encoder
    texts = ["bread and water", "moon", ""]
    np.testing.assert_allclose(dense(encoder, texts), [weights(model, text) for text in texts], atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_scores_are_the_products_of_all_weights(model, tmp_path, monkeypatch, compiled):
    monkeypatch.setattr(lexical, "WORTH_COMPILED", -1.0 if compiled else float("inf"))
    recipe = load("splade", [f"checkpoint={model}"])
    run = recipe.index(DOCS, tmp_path / "index").search(QUERIES, k=40)
    docs = dense(recipe.doc_encoder, [doc.text for doc in DOCS]).astype(np.float64)
    for query_id, text in QUERIES.items():
        scores = {f"d{row}": score for row, score in enumerate(docs @ dense(recipe.query_encoder, [text])[0])}
        found = {hit.doc_id: hit.score for hit in run.hits[query_id]}
        assert found == pytest.approx(scores, rel=1e-5)


def test_words_that_a_text_lacks_are_in_the_index(model, tmp_path):
    load("splade", [f"checkpoint={model}"]).index(DOCS, tmp_path / "index")
    counts = json.loads((tmp_path / "index" / "meta.json").read_text())["counts"]
    assert counts["documents"] == 40 and counts["postings"] > 40 * 8


def test_the_heaviest_words_alone_are_looked_for_where_that_is_asked(model, tmp_path):
    recipe = load("splade", [f"checkpoint={model}", "query_terms=2"])
    index = recipe.index(DOCS, tmp_path / "index")
    kept = index.asked({"q": "bread and garden"})[0]
    everything = dense(recipe.query_encoder, ["bread and garden"])[0]
    assert sorted(kept.factors, reverse=True) == np.sort(everything)[::-1][:2].tolist()
    facts = index.search_facts(QUERIES, k=5)
    assert facts["exact"] is False and 0 <= facts["recall_against_exact"]["value"] <= 1


def test_an_index_keeps_the_heaviest_words_of_a_passage_where_that_is_asked(model, tmp_path):
    load("splade", [f"checkpoint={model}", "doc_terms=3"]).index(DOCS, tmp_path / "index")
    assert json.loads((tmp_path / "index" / "meta.json").read_text())["counts"]["postings"] == 120


def test_a_build_that_was_stopped_goes_on_with_the_next_block(model, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 10)
    recipe = load("splade", [f"checkpoint={model}"])
    recipe.index(DOCS, tmp_path / "whole")
    encode, asked = type(recipe.doc_encoder).rows, []

    def stopping(self, texts, **options):
        asked.append(len(texts))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return encode(self, texts, **options)

    monkeypatch.setattr(type(recipe.doc_encoder), "rows", stopping)
    with pytest.raises(KeyboardInterrupt):
        recipe.index(DOCS, tmp_path / "index")
    with (tmp_path / ".index.unfinished" / rows.ENCODED).open("ab") as file:
        file.write(b"half a block")
    recipe.index(DOCS, tmp_path / "index")
    assert len(asked) == 5
    for name in ("posting_rows.npy", "posting_weights.npy", "words.npy"):
        assert (tmp_path / "index" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list((tmp_path / "index").glob(".encoded*"))


def test_an_index_says_by_itself_how_it_is_asked(model, tmp_path):
    index = load("splade", [f"checkpoint={model}"]).index(DOCS, tmp_path / "index")
    assert registry.open_index(index_folder.described(tmp_path / "index")).search(QUERIES, k=5) == index.search(QUERIES, k=5)


def test_a_plain_bert_is_refused_where_the_library_would_make_weights_up(tmp_path):
    plain = tiny_checkpoint.write(tmp_path / "bert", "plain", hidden=32, layers=1, heads=2, inner=64, positions=64)
    (plain / "modules.json").unlink()
    with pytest.raises(MismatchError, match=r"bert is a BertModel, .* this one would get random weights"):
        load("splade", [f"checkpoint={plain}"]).index(DOCS, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_bi_encoder_is_refused(tmp_path):
    plain = tiny_checkpoint.write(tmp_path / "bi-encoder", "plain", hidden=32, layers=1, heads=2, inner=64, positions=64)
    with pytest.raises(MismatchError, match=r"has a module Pooling, .*; dense takes it"):
        load("splade", [f"checkpoint={plain}"]).index(DOCS, tmp_path / "index")


def test_a_head_that_no_file_has_is_told(model, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(model, tmp_path / "headless")
    state = {name: value for name, value in load_file(model / "model.safetensors").items() if "transform" not in name}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CorruptFileError, match=r"lacks the tensor 'cls\.predictions\.transform"):
        load("splade", [f"checkpoint={folder}"]).index(DOCS, tmp_path / "index")


def test_a_vocabulary_that_is_not_the_tokenizer_s_is_refused(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": config["vocab_size"] + 1}))
    with pytest.raises(MismatchError, match=r"has \d+ words in its config.json and \d+ in its tokenizer"):
        load("splade", [f"checkpoint={folder}"]).index(DOCS, tmp_path / "index")


def test_other_weights_than_those_of_the_index_are_told(model, tmp_path):
    moved = shutil.copytree(model, tmp_path / "model")
    load("splade", [f"checkpoint={moved}"]).index(DOCS, tmp_path / "index")
    other = tiny_checkpoint.masked_lm(tmp_path / "second", seed=4)
    shutil.copy(other / "model.safetensors", moved)
    from retrievers.sparse.encoder import sparse_network

    sparse_network.cache_clear()
    with pytest.raises(MismatchError, match="was made with other weights of"):
        load("splade", [f"checkpoint={moved}"]).open(tmp_path / "index").search(QUERIES, k=2)


@pytest.mark.parametrize("option", ["query_terms=-1", "doc_terms=-1", "doc_maxlen=-1", "batch=0", "precision=int8"])
def test_an_option_that_cannot_be_is_one_line(model, option):
    with pytest.raises(LotteError, match=option.partition("=")[0]):
        load("splade", [f"checkpoint={model}", option])


def test_a_record_shows_the_model(model, tmp_path):
    done = lotte("eval", str(TINY / "science" / "test"), "--retriever", "splade", "-o", f"checkpoint={model}",
                 "--out", str(tmp_path / "out"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(next((tmp_path / "out").rglob("*search.json")).read_text())
    assert (record["retriever"]["family"], record["retriever"]["model"]["id"]) == ("learned-sparse", "splade")
