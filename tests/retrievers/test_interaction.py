"""K-NRM, Conv-KNRM and Duet: their words, their numbers against plain loops, their folders, what they rank."""

from math import exp, log

import numpy as np
import pytest
import torch
import toy_training

import retrievers
from lotte.dataset import Doc, Docs
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnavailableError
from retrievers.interaction.model import WEIGHTS, InteractionModel
from retrievers.interaction.models import MODELS, Kernels
from retrievers.interaction.task import InteractionTask
from retrievers.interaction.words import FIRST, PADDING, UNKNOWN, Words, vectors
from retrievers.training.loop import fit
from retrievers.training.settings import Fit

TEXTS = ["bread needs yeast", "yeast and flour", "the moon and bread", "a moon of flour", "yeast feeds bread"]
KINDS = sorted(MODELS)


def test_a_word_of_one_passage_is_not_known():
    assert Words.of(TEXTS).numbers(["needs"], 1).tolist() == [[UNKNOWN]]


def test_frequent_words_have_the_first_numbers():
    words = Words.of(TEXTS)
    assert words.known[:2] == ("bread", "yeast")


def test_texts_are_cut_and_padded():
    words = Words.of(TEXTS)
    assert words.numbers(["bread yeast flour", "yeast"], 2).tolist() == [[FIRST, FIRST + 1], [FIRST + 1, PADDING]]


def test_the_idf_is_the_logarithm_of_passages_by_passages_with_the_word():
    words = Words.of(TEXTS)
    assert words.idf_V[FIRST].item() == pytest.approx(log(5 / 3))


def test_padding_has_the_idf_0():
    assert Words.of(TEXTS).idf_V[PADDING] == 0


def test_words_of_the_same_passages_have_similar_vectors():
    texts = ["cat paw fur"] * 4 + ["star moon sky"] * 4
    words = Words.of(texts)
    vector = dict(zip(words.known, vectors(words, texts, 2, seed=0)[FIRST:], strict=True))
    assert vector["cat"] @ vector["paw"] > 0.9 > 0.5 > abs(vector["cat"] @ vector["moon"])


def test_vectors_have_length_1():
    words = Words.of(TEXTS)
    lengths = vectors(words, TEXTS, 4, seed=0)[UNKNOWN:].norm(dim=-1)
    assert lengths.numpy() == pytest.approx(1, abs=1e-5)


def kernels_by_loops(query, doc, real_query, real_doc):
    means, widths = [1.0] + [0.9 - 0.2 * step for step in range(10)], [1e-3] + [0.1] * 10
    out = []
    for mean, width in zip(means, widths, strict=True):
        total = 0.0
        for q, real in zip(query, real_query, strict=True):
            near = sum(
                exp(-((float(np.dot(q, d)) - mean) ** 2) / (2 * width**2)) for d, is_real in zip(doc, real_doc, strict=True) if is_real
            )
            total += 0.01 * log(max(near, 1e-10)) if real else 0.0
        out.append(total)
    return out


def test_kernels_are_what_plain_loops_make():
    draw = np.random.default_rng(0)
    query, doc = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (draw.normal(size=(4, 6)), draw.normal(size=(9, 6))))
    real_query, real_doc = np.array([1, 1, 1, 0], bool), np.array([1] * 7 + [0, 0], bool)
    tensors = [torch.from_numpy(array)[None] for array in (query.astype(np.float32), doc.astype(np.float32), real_query, real_doc)]
    found = Kernels()(*tensors)[0].tolist()
    assert found == pytest.approx(kernels_by_loops(query, doc, real_query, real_doc), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_score(kind):
    model = InteractionModel.begin(kind, TEXTS, dim=4, seed=0).eval()
    query, doc = model.read(["bread yeast"], ["yeast and flour"])
    with torch.no_grad():
        padded = model(torch.nn.functional.pad(query, (0, 9)), torch.nn.functional.pad(doc, (0, 40)))
        assert torch.allclose(model(query, doc), padded, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_words_that_nobody_knows_match_nothing(kind):
    model = InteractionModel.begin(kind, TEXTS, dim=4, seed=0).eval()
    with torch.no_grad():
        model.net.vectors.weight[UNKNOWN] = 0
        scores = model(*model.read(["xyzzy", "xyzzy"], ["xyzzy", "plugh"]))
    assert scores[0] == scores[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Each kind after a short training on the toy's questions."""
    folder = tmp_path_factory.mktemp("trained")
    pairs = toy_training.pairs(folder / "pairs", validation=4)
    texts = [pairs.passage(pid) for part in pairs.parts for pid in part.pids]
    ranking = {qid: sorted({*toy_training.wrong(pairs)[qid][:6], *pairs.positives[qid]}) for qid in pairs.validation}
    best = {}
    for kind in KINDS:
        model = InteractionModel.begin(kind, texts, dim=8, seed=1)
        config = Fit(steps=60, batch=8, nway=3, lr=2e-2, in_batch=False)
        lines = toy_training.lines(pairs, 64, nway=3)
        facts = fit(InteractionTask(model, pairs, ranking), lines, folder / kind, config, data="toy", title=kind)
        model.save(folder / kind / "checkpoint", {"start": "drawn"})
        best[kind] = facts["best"]
    return folder, best


@pytest.mark.parametrize("kind", KINDS)
def test_training_learns_what_is_right(trained, kind):
    assert trained[1][kind] > 0.9


DOCS = Docs((Doc("a", "moon server light"), Doc("b", "yeast server light"), Doc("c", "moon router light"), Doc("d", "soil")))


@pytest.mark.parametrize("kind", KINDS)
def test_the_trained_one_ranks_the_first_ranking_again(trained, kind, tmp_path):
    folder, _ = trained
    system = retrievers.load(kind, [f"checkpoint={folder / kind / 'checkpoint'}"])
    run = system.index(DOCS, tmp_path / "index").search({"q": "how to light server"}, k=3)
    assert run.doc_ids("q")[0] == "b"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_below_the_depth_keeps_its_place(trained, kind, tmp_path):
    folder, _ = trained
    options = [f"checkpoint={folder / kind / 'checkpoint'}", "depth=1"]
    index = retrievers.load(kind, options).index(DOCS, tmp_path / "index")
    first = retrievers.load("bm25").index(DOCS, tmp_path / "bm25").search({"q": "light server"}, k=3)
    assert index.search({"q": "light server"}, k=3).doc_ids("q") == first.doc_ids("q")


def test_a_query_that_the_first_stage_found_nothing_for_has_no_hits(trained, tmp_path):
    folder, _ = trained
    index = retrievers.load("knrm", [f"checkpoint={folder / 'knrm' / 'checkpoint'}"]).index(DOCS, tmp_path / "index")
    assert index.search({"q": "zebra"}, k=3).hits["q"] == ()


def test_a_model_of_another_kind_is_named(trained):
    folder, _ = trained
    with pytest.raises(MismatchError, match="holds 'duet', but knrm was requested"):
        InteractionModel.load("knrm", folder / "duet" / "checkpoint")


def test_a_folder_without_a_model_says_what_makes_one(tmp_path):
    with pytest.raises(UnavailableError, match="`lotte train knrm` made"):
        InteractionModel.load("knrm", tmp_path)


def test_weights_that_were_changed_are_told(trained, tmp_path):
    folder, _ = trained
    made = InteractionModel.load("knrm", folder / "knrm" / "checkpoint").save(tmp_path / "copy", {})
    content = bytearray((made / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (made / WEIGHTS).write_bytes(content)
    with pytest.raises((CorruptFileError, MismatchError), match=r"model\.safetensors"):
        InteractionModel.load("knrm", made)


def test_passages_without_a_common_word_cannot_be_learnt_from():
    with pytest.raises(MismatchError, match="no word is in two of the 2 passages"):
        InteractionModel.begin("knrm", ["one", "two"], dim=4, seed=0)


def test_a_depth_below_1_is_refused():
    with pytest.raises(LotteError, match="depth must be 1 or more"):
        retrievers.load("duet", ["checkpoint=x", "depth=0"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_passage_without_words_has_a_score(kind):
    model = InteractionModel.begin(kind, TEXTS, dim=4, seed=0).eval()
    with torch.no_grad():
        assert torch.isfinite(model(*model.read(["bread"], [""]))).all()
