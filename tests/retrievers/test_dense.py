"""One vector a passage: made as the model says, kept as they are made, searched as the recipe says; all else is a line."""

import json
import shutil

import numpy as np
import pytest
import tiny_checkpoint
from command import error, lotte
from places import TINY

from lotte import Doc, Docs, LotteError
from lotte.errors import CorruptFileError, MismatchError

pytest.importorskip("torch", reason="needs lotte-bench[train]")
pytest.importorskip("sentence_transformers", reason="needs lotte-bench[dense]")
pytest.importorskip("transformers", reason="needs lotte-bench[train]")

import torch
import transformers

from retrievers import index_folder, load, registry
from retrievers.dense import vectors
from retrievers.dense.model import ModelFolder

SIZE = {"hidden": 32, "layers": 1, "heads": 2, "inner": 64, "positions": 64}
WORDS = tiny_checkpoint.WORDS
DOCS = Docs(tuple(Doc(f"d{row}", f"{word} {WORDS[-row]} bread water") for row, word in enumerate(WORDS[:40])))
QUERIES = {"q1": "bread and garden", "q2": "moon light", "empty": ""}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A bi-encoder as sentence-transformers keeps one: the mean of all tokens."""
    return tiny_checkpoint.write(tmp_path_factory.mktemp("model") / "bi-encoder", "plain", **SIZE)


@pytest.fixture(scope="module")
def bare(model, tmp_path_factory):
    """The same as a folder of transformers, which says nothing of pooling."""
    folder = tmp_path_factory.mktemp("bare") / "bare"
    shutil.copytree(model, folder)
    for name in ("modules.json", "config_sentence_transformers.json"):
        (folder / name).unlink()
    return folder


def described(folder, copy, name="config.json", **changes):
    """Return a copy of a folder with other values in one of its files of JSON."""
    shutil.copytree(folder, copy)
    path = copy / name
    said = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(said | changes))
    return copy


def states(folder, text):
    """Return the last hidden states of a text, as transformers makes them."""
    network = transformers.AutoModel.from_pretrained(folder)
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        return network(**tokens).last_hidden_state[0].numpy()


def encoded(option_list, texts):
    return load("dense", option_list).doc_encoder.vectors(texts, batch=8)


@pytest.mark.parametrize(
    ("pooling", "pool"),
    [("mean", lambda h: h.mean(axis=0)), ("cls", lambda h: h[0]), ("max", lambda h: h.max(axis=0)), ("lasttoken", lambda h: h[-1])],
)
def test_a_vector_is_pooled_as_the_option_says(bare, pooling, pool):
    made = encoded([f"checkpoint={bare}", f"pooling={pooling}"], ["bread and water"])
    np.testing.assert_allclose(made[0], pool(states(bare, "bread and water")), atol=1e-5)


def test_what_the_checkpoint_says_of_pooling_and_similarity_is_the_default(model):
    expected = states(model, "moon light").mean(axis=0)
    made = encoded([f"checkpoint={model}"], ["moon light"])
    np.testing.assert_allclose(made[0], expected / np.linalg.norm(expected), atol=1e-5)


def test_a_folder_that_says_nothing_is_pooled_by_the_mean_and_says_so(bare, capsys):
    from retrievers.dense.encoder import network

    network.cache_clear()
    encoder = load("dense", [f"checkpoint={bare}"]).doc_encoder
    assert encoder.similarity == "dot" and encoder.facts()["pooling"] == "mean"
    assert "specifies no pooling" in capsys.readouterr().err


def test_prompts_are_the_checkpoint_s_own_or_those_of_the_options_or_none(model, tmp_path):
    prompts = {"query": "question ", "passage": "search "}
    folder = described(model, tmp_path / "prompts", "config_sentence_transformers.json", prompts=prompts)
    recipe = load("dense", [f"checkpoint={folder}"])
    plain = encoded([f"checkpoint={model}"], ["question moon", "search moon", "light moon", "moon"])
    made = recipe.query_encoder("cosine").vectors(["moon"], batch=1), recipe.doc_encoder.vectors(["moon"], batch=1)
    np.testing.assert_allclose(np.concatenate(made), plain[:2], atol=1e-5)
    np.testing.assert_allclose(encoded([f"checkpoint={folder}", "doc_prompt=light "], ["moon"])[0], plain[2], atol=1e-5)
    np.testing.assert_allclose(encoded([f"checkpoint={folder}", "doc_prompt=none"], ["moon"])[0], plain[3], atol=1e-5)


def test_a_text_is_cut_at_maxlen(model):
    short, long = encoded([f"checkpoint={model}", "doc_maxlen=4"], ["bread water", "bread water moon light"])
    np.testing.assert_allclose(short, long, atol=1e-6)


def test_the_best_passage_is_that_of_the_largest_product(model, tmp_path):
    recipe = load("dense", [f"checkpoint={model}"])
    run = recipe.index(DOCS, tmp_path / "index").search(QUERIES, k=5)
    docs = recipe.doc_encoder.vectors([doc.text for doc in DOCS], batch=32).astype(np.float64)
    query = recipe.query_encoder("cosine").vectors([QUERIES["q1"]], batch=1)[0].astype(np.float64)
    best = np.argsort(-(docs @ query), kind="stable")[:5]
    assert run.doc_ids("q1") == [f"d{row}" for row in best]
    assert [hit.score for hit in run.hits["q1"]] == pytest.approx((docs @ query)[best].tolist(), abs=1e-6)


@pytest.mark.parametrize("search", ["exact", "hnsw"])
def test_some_documents_alone_have_the_scores_that_they_have_among_all(model, tmp_path, search):
    if search == "hnsw":
        pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    index = load("dense", [f"checkpoint={model}", f"search={search}"]).index(DOCS, tmp_path / "index")
    some = {f"d{row}" for row in range(0, 40, 3)}
    everything = load("dense", [f"checkpoint={model}"]).open(tmp_path / "index").search(QUERIES, k=40)
    wanted = {query_id: tuple(hit for hit in hits if hit.doc_id in some)[:4] for query_id, hits in everything.hits.items()}
    assert index.search_among(QUERIES, some, k=4).hits == wanted


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_vectors_are_kept_as_the_option_says_and_mapped(model, tmp_path, kind):
    load("dense", [f"checkpoint={model}", f"vectors={kind}"]).index(DOCS, tmp_path / "index")
    kept = np.load(tmp_path / "index" / "vectors.npy", mmap_mode="r")
    assert (kept.shape, kept.dtype) == ((40, 32), kind)


@pytest.mark.parametrize("search", ["hnsw", "ivf"])
def test_a_search_that_looks_at_a_part_gives_exact_scores_and_its_recall(model, tmp_path, search):
    pytest.importorskip("faiss", reason="needs lotte-bench[dense]")
    options = [f"checkpoint={model}", "lists=5"]
    index = load("dense", [*options, f"search={search}", "probe=5"]).index(DOCS, tmp_path / "index")
    exact = load("dense", options).open(tmp_path / "index").search(QUERIES, k=5)
    assert index.search(QUERIES, k=5) == exact
    facts = index.search_facts(QUERIES, k=5)
    assert facts["exact"] is False and facts["recall_against_exact"]["value"] == 1


def test_a_search_that_the_index_has_nothing_for_is_one_line(model, tmp_path):
    load("dense", [f"checkpoint={model}"]).index(DOCS, tmp_path / "index")
    with pytest.raises(MismatchError, match=r"was built without search=hnsw: build it again with -o search=hnsw"):
        load("dense", [f"checkpoint={model}", "search=hnsw"]).open(tmp_path / "index")


def test_more_lists_than_there_are_cannot_be_looked_at(model, tmp_path):
    options = [f"checkpoint={model}", "search=ivf", "lists=5"]
    with pytest.raises(MismatchError, match="probe is 9, and 40 passages make 5 lists"):
        load("dense", [*options, "probe=9"]).index(DOCS, tmp_path / "index")
    assert not (tmp_path / "index").exists()
    load("dense", options).index(DOCS, tmp_path / "index")
    with pytest.raises(MismatchError, match=r"probe is 9, and .*index has 5 lists"):
        load("dense", [*options, "probe=9"]).open(tmp_path / "index")


def test_a_build_that_was_stopped_goes_on_with_the_next_block(model, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "CHUNK", 10)
    recipe = load("dense", [f"checkpoint={model}"])
    recipe.index(DOCS, tmp_path / "whole")
    encode, asked = type(recipe.doc_encoder).vectors, []

    def stopping(self, texts, *, batch):
        asked.append(len(texts))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return encode(self, texts, batch=batch)

    monkeypatch.setattr(type(recipe.doc_encoder), "vectors", stopping)
    with pytest.raises(KeyboardInterrupt):
        recipe.index(DOCS, tmp_path / "index")
    assert not (tmp_path / "index").exists()
    recipe.index(DOCS, tmp_path / "index")
    assert asked == [10, 10, 10, 10, 10]  # the third is asked for twice, the first two are there
    assert (tmp_path / "index" / "vectors.npy").read_bytes() == (tmp_path / "whole" / "vectors.npy").read_bytes()
    assert not (tmp_path / "index" / "model.json").exists()


def test_vectors_of_other_weights_under_the_same_name_are_not_used(model, tmp_path):
    moved = shutil.copytree(model, tmp_path / "model")
    index = load("dense", [f"checkpoint={moved}"]).index(DOCS, tmp_path / "index")
    assert index.search(QUERIES, k=2)
    shutil.copy(tiny_checkpoint.write(tmp_path / "other", "plain", seed=5, **SIZE) / "model.safetensors", moved)
    from retrievers.dense.encoder import network

    network.cache_clear()
    with pytest.raises(MismatchError, match="was made with other weights of"):
        load("dense", [f"checkpoint={moved}"]).open(tmp_path / "index").search(QUERIES, k=2)


def test_a_model_of_two_towers_has_one_for_queries_and_one_for_passages(model, tmp_path):
    other = tiny_checkpoint.write(tmp_path / "queries", "plain", seed=3, **SIZE)
    index = load("dense", [f"checkpoint={model}", f"query_checkpoint={other}"]).index(DOCS, tmp_path / "index")
    ours = encoded([f"checkpoint={other}"], ["moon light"])[0] @ encoded([f"checkpoint={model}"], [DOCS[7].text])[0]
    scores = {hit.doc_id: hit.score for hit in index.search(QUERIES, k=40).hits["q2"]}
    assert scores["d7"] == pytest.approx(float(ours), abs=1e-5)


def test_towers_of_two_widths_are_told_before_anything_is_encoded(model, tmp_path):
    wide = tiny_checkpoint.write(tmp_path / "wide", "plain", **{**SIZE, "hidden": 48})
    with pytest.raises(MismatchError, match="not two towers of one model"):
        load("dense", [f"checkpoint={model}", f"query_checkpoint={wide}"]).index(DOCS, tmp_path / "index")


@pytest.mark.parametrize(("tower", "kind"), [("ctx_encoder", "DPRContextEncoder"), ("question_encoder", "DPRQuestionEncoder")])
def test_each_of_dpr_s_own_encoders_is_the_bert_that_it_is(bare, tmp_path, tower, kind):
    from safetensors.numpy import load_file, save_file

    folder = described(bare, tmp_path / tower, model_type="dpr", architectures=[kind], projection_dim=0)
    state = load_file(bare / "model.safetensors")
    save_file({f"{tower}.bert_model.{name}": value for name, value in state.items()}, folder / "model.safetensors")
    made = load("dpr", [f"checkpoint={folder}", "query_checkpoint=", "doc_maxlen=64"]).doc_encoder.vectors(["moon light"], batch=1)
    np.testing.assert_allclose(made[0], states(bare, "moon light")[0], atol=1e-5)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("pooling=median", "pooling must be one of mean, cls"),
        ("similarity=euclidean", "similarity must be one of dot, cosine"),
        ("doc_maxlen=-1", "doc_maxlen must be 1 or more"),
        ("query_maxlen=-3", "query_maxlen must be 1 or more"),
        ("search=lsh", "search must be one of exact, hnsw, ivf"),
        ("vectors=int8", "vectors must be one of float32, float16"),
        ("batch=0", "batch must be 1 or more"),
        ("precision=int4", "precision must be one of fp32"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(model, option, said):
    with pytest.raises(LotteError, match=said):
        load("dense", [f"checkpoint={model}", option])


def test_more_tokens_than_positions_are_told(model, tmp_path):
    with pytest.raises(MismatchError, match="has 64 positions, but a text may have 65 tokens"):
        load("dense", [f"checkpoint={model}", "doc_maxlen=65"]).index(DOCS, tmp_path / "index")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("BertForSequenceClassification", "ends in BertForSequenceClassification, .*; crossencoder takes one"),
        ("BertForQuestionAnswering", "ends in BertForQuestionAnswering"),
        ("BertForMaskedLM", "trained to fill in words; splade takes one"),
        ("HF_ColBERT", "ends in HF_ColBERT, .*; colbertv2 takes one"),
    ],
)
def test_a_checkpoint_with_another_head_is_refused(bare, tmp_path, head, said):
    folder = described(bare, tmp_path / "other", architectures=[head])
    with pytest.raises(MismatchError, match=said):
        load("dense", [f"checkpoint={folder}"]).index(DOCS, tmp_path / "index")
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("layout", ["pylate", "multi_vector", "original"])
def test_a_late_interaction_model_is_refused(tmp_path, layout):
    folder = tiny_checkpoint.write(tmp_path / layout, layout, **SIZE)
    with pytest.raises(MismatchError):
        load("dense", [f"checkpoint={folder}"]).index(DOCS, tmp_path / "index")


def test_a_module_of_somebody_else_s_code_is_not_run(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "foreign")
    listed = json.loads((folder / "modules.json").read_text())
    listed[1]["type"] = "modeling.Pooling"
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "modeling.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(MismatchError, match="custom code, which is not run"):
        load("dense", [f"checkpoint={folder}"]).index(DOCS, tmp_path / "index")


def test_a_weight_that_no_file_has_is_told_and_not_made_up(model, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(model, tmp_path / "part")
    state = load_file(model / "model.safetensors")
    del state["encoder.layer.0.output.dense.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CorruptFileError, match=r"lacks the tensor 'encoder\.layer\.0\.output\.dense\.weight'"):
        load("dense", [f"checkpoint={folder}"]).index(DOCS, tmp_path / "index")


def test_a_similarity_that_is_no_product_is_refused_unless_another_is_said(model, tmp_path):
    folder = described(model, tmp_path / "far", "config_sentence_transformers.json", similarity_fn_name="euclidean")
    with pytest.raises(MismatchError, match="uses similarity 'euclidean'"):
        load("dense", [f"checkpoint={folder}"]).index(DOCS, tmp_path / "index")
    assert load("dense", [f"checkpoint={folder}", "similarity=dot"]).doc_encoder.similarity == "dot"


def test_a_pickle_is_opened_with_trust_alone(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save(dict(transformers.AutoModel.from_pretrained(model).state_dict()), folder / "pytorch_model.bin")
    with pytest.raises(MismatchError, match="is a pickle, which can run any code"):
        load("dense", [f"checkpoint={folder}"]).index(DOCS, tmp_path / "index")
    assert load("dense", [f"checkpoint={folder}", "trust=true"]).doc_encoder.dim == 32


def test_an_empty_collection_has_an_index_that_finds_nothing(model, tmp_path):
    run = load("dense", [f"checkpoint={model}"]).index(Docs(()), tmp_path / "index").search(QUERIES, k=3)
    assert run.doc_ids("q1") == []


def test_vectors_that_are_damaged_are_one_line(model, tmp_path):
    load("dense", [f"checkpoint={model}"]).index(DOCS, tmp_path / "index")
    np.save(tmp_path / "index" / "vectors.npy", np.zeros((40, 32), np.int32))
    with pytest.raises(CorruptFileError, match=r"vectors\.npy"):
        load("dense", [f"checkpoint={model}"]).open(tmp_path / "index")


def test_an_index_says_by_itself_how_it_is_asked(model, tmp_path):
    index = load("dense", [f"checkpoint={model}", "similarity=dot"]).index(DOCS, tmp_path / "index")
    assert registry.open_index(index_folder.described(tmp_path / "index")).search(QUERIES, k=5) == index.search(QUERIES, k=5)


def test_a_record_shows_the_model_and_how_it_was_searched(model, tmp_path):
    done = lotte("eval", str(TINY / "science" / "test"), "--retriever", "dense", "-o", f"checkpoint={model}",
                 "--out", str(tmp_path / "out"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(next((tmp_path / "out").rglob("*search.json")).read_text())
    assert record["retriever"]["model"]["id"] == "bi-encoder" and record["retriever"]["family"] == "dense"
    assert record["retriever"]["search"]["exact"] is True


def test_a_checkpoint_that_is_nowhere_is_one_line(tmp_path):
    line = error("eval", TINY / "science" / "test", "--retriever", "dense", "-o", "checkpoint=nowhere", "--out", tmp_path)
    assert "nowhere" in line


def test_queries_and_passages_share_the_weights_of_one_model(model):
    recipe = load("dense", [f"checkpoint={model}", "query_maxlen=4", "query_prompt=question "])
    assert recipe.doc_encoder.model is recipe.query_encoder("cosine").model
    assert len({recipe.doc_encoder.maxlen, recipe.query_encoder("cosine").maxlen}) == 2


def test_a_name_is_settled_before_weights_are_read(model):
    assert ModelFolder.of(str(model)).kinds == ["Transformer", "Pooling"]
