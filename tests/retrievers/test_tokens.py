"""Texts become the tokens of the original: its marker, its masks, its punctuation without a vector."""

import json
import string
from dataclasses import replace

import numpy as np
import pytest
import tiny_checkpoint
from hypothesis import given
from hypothesis import strategies as st
from places import ORACLE

from lotte.errors import CorruptFileError, MismatchError
from retrievers.colbert.model.config import PUNCTUATION, ModelConfig, read
from retrievers.colbert.model.tokens import TextTokens, load

pytest.importorskip("tokenizers", reason="needs lotte-bench[colbert]")
pytest.importorskip("safetensors", reason="needs lotte-bench[colbert]")

oracle = pytest.mark.skipif(not ORACLE.is_dir(), reason=f"needs {ORACLE}, vectors of the original")
some_texts = st.lists(st.text(max_size=60), max_size=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_checkpoint.write(tmp_path_factory.mktemp("tokens") / "tiny")


@pytest.fixture(scope="module")
def tiny(folder):
    return TextTokens(folder / "tokenizer.json", read(folder))


def made(folder, **settings):
    return TextTokens(folder / "tokenizer.json", replace(ModelConfig(), **settings))


def spelled(tokens, reader):
    return list(reader.strings(tokens))


@oracle
def test_every_document_keeps_as_many_tokens_as_in_the_original():
    texts = json.loads((ORACLE / "texts.json").read_text())["docs"]
    tokens = TextTokens(ORACLE / "checkpoint" / "tokenizer.json", read(ORACLE / "checkpoint")).docs(texts)
    assert np.diff(tokens.kept_starts()).tolist() == np.load(ORACLE / "vectors.npz")["doclens"].tolist()


@oracle
def test_a_vocabulary_alone_gives_the_tokens_of_the_whole_tokenizer():
    texts = json.loads((ORACLE / "texts.json").read_text())["docs"]
    found = [
        TextTokens(ORACLE / "checkpoint" / name, ModelConfig()).docs(texts) for name in ("tokenizer.json", "vocab.txt")
    ]
    assert all(np.array_equal(*pair) for pair in zip(*found, strict=True))


def test_a_query_is_filled_up_with_masks_that_nothing_looks_at(tiny):
    tokens = tiny.queries(["how to bake bread"])
    words = ["[CLS]", "[unused0]", "how", "to", "bake", "bread", "[SEP]"]
    assert spelled(tokens, tiny) == [words + ["[MASK]"] * 25]
    assert tokens.seen.tolist() == [7] and tokens.kept.all()


def test_masks_are_looked_at_if_the_model_was_trained_so(folder):
    assert made(folder, attend_to_mask_tokens=True).queries(["star", ""]).seen.tolist() == [32, 32]


def test_an_empty_query_is_all_masks(tiny):
    assert spelled(tiny.queries([""]), tiny) == [["[CLS]", "[unused0]", "[SEP]"] + ["[MASK]"] * 29]


def test_punctuation_of_a_query_has_its_vectors(tiny):
    assert spelled(tiny.queries(["?!"]), tiny)[0][:5] == ["[CLS]", "[unused0]", "?", "!", "[SEP]"]


def test_a_long_query_ends_in_sep_at_its_length(tiny):
    (words,) = spelled(tiny.queries(["star " * 100]), tiny)
    assert words == ["[CLS]", "[unused0]"] + ["star"] * 29 + ["[SEP]"]


def test_a_document_keeps_its_marker_and_loses_its_punctuation(tiny):
    tokens = tiny.docs(["water, plant!", "", "?!,."])
    assert spelled(tokens, tiny) == [
        ["[CLS]", "[unused1]", "water", "plant", "[SEP]"],
        ["[CLS]", "[unused1]", "[SEP]"],
        ["[CLS]", "[unused1]", "[SEP]"],
    ]
    assert tokens.seen.tolist() == [7, 3, 7]  # punctuation is looked at


def test_only_ascii_punctuation_is_left_out(tiny):
    assert "”" in spelled(tiny.docs(["“star”"]), tiny)[0]
    assert not set(spelled(tiny.docs([string.punctuation]), tiny)[0]) & set(PUNCTUATION)


def test_punctuation_is_kept_where_the_checkpoint_says_so(folder):
    reader = made(folder, skiplist=())
    assert "," in spelled(reader.docs(["a, b"]), reader)[0]


def test_a_document_is_cut_at_its_length(folder):
    tokens = made(folder, doc_maxlen=10).docs(["star " * 100])
    assert tokens.starts.tolist() == [0, 10]


def test_without_expansion_a_query_is_as_long_as_its_words(folder):
    assert made(folder, expansion="off").queries(["star", "how to"]).starts.tolist() == [0, 4, 9]


def test_an_expansion_to_a_least_length_leaves_longer_queries_whole(folder):
    tokens = made(folder, expansion="min", expansion_length=8, query_maxlen=64).queries(["star", "star " * 20])
    assert np.diff(tokens.starts).tolist() == [8, 23] and tokens.seen.tolist() == [4, 23]


def test_a_prompt_that_is_a_token_is_a_marker_and_another_is_text(folder):
    as_marker = made(folder, query_marker=None, query_prompt="[unused0] ")
    assert spelled(as_marker.queries(["star"]), as_marker)[0][:4] == ["[CLS]", "[unused0]", "star", "[SEP]"]
    as_text = made(folder, query_marker=None, query_prompt="query question: ")
    assert spelled(as_text.queries(["star"]), as_text)[0][:5] == ["[CLS]", "query", "question", ":", "star"]


def test_a_length_in_the_tokenizers_file_is_not_ours(folder, tmp_path):
    described = json.loads((folder / "tokenizer.json").read_text())
    described["truncation"] = {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}
    described["padding"] = {
        "strategy": {"Fixed": 20}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "[PAD]",
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    assert len(load(tmp_path / "tokenizer.json").encode("star " * 7).ids) == 9


@given(texts=some_texts)
def test_texts_are_read_alike_in_any_company(tiny, texts):
    for read_texts in (tiny.docs, tiny.queries):
        together, alone = read_texts(texts), [read_texts([text]) for text in texts]
        assert together.ids.tolist() == [number for tokens in alone for number in tokens.ids]
        assert together.seen.tolist() == [tokens.seen[0] for tokens in alone]
        assert np.diff(together.kept_starts()).tolist() == [tokens.kept.sum() for tokens in alone]


def test_a_marker_that_the_vocabulary_lacks_is_named(folder):
    with pytest.raises(MismatchError) as caught:
        made(folder, doc_marker="[unused9]")
    path = folder / "tokenizer.json"
    assert str(caught.value) == f"{path} has no token '[unused9]', which the checkpoint names as its marker"


def test_a_length_without_room_for_words_is_refused(folder):
    with pytest.raises(MismatchError) as caught:
        made(folder, query_maxlen=3)
    assert str(caught.value) == "query_maxlen=3 leaves no room for words: 3 tokens are always there"


@pytest.mark.parametrize(("name", "content"), [("tokenizer.json", "{"), ("vocab.txt", "a\nb\n"), ("vocab.txt", "")])
def test_a_broken_tokenizer_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(CorruptFileError) as caught:
        load(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
