"""Any checkpoint, written once more for other packages: the same vectors, its lengths on the card, a graph beside it."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import tiny_checkpoint

pytest.importorskip("torch", reason="needs lotte-bench[train]")

from lotte.errors import MismatchError
from retrievers.colbert.model import onnx_graph
from retrievers.colbert.model.checkpoint import find
from retrievers.colbert.model.convert import UsedLengths, Wanted, convert
from retrievers.colbert.model.encoder import Encoder
from retrievers.colbert.retriever import WEIGHTS

TEXTS = ["how to bake bread", "?", "the star " * 70, "What is the best way, to grow a plant?", "éß 日本語 “light”"]


def vectors(folder):
    encoder = Encoder.load(folder, device="cpu", precision="fp32")
    docs = encoder.docs(TEXTS)
    return [*encoder.queries(TEXTS), *(docs.vectors[begin:end] for begin, end in pairwise(docs.starts.tolist()))]


def same(folder, other, tolerance=0.0):
    for ours, theirs in zip(vectors(folder), vectors(other), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance)


@pytest.mark.parametrize("layout", ["original", "pylate", "multi_vector"])
def test_every_layout_leaves_in_the_one_that_all_open(tmp_path, layout):
    source = tiny_checkpoint.write(tmp_path / "start", layout, layers=1, query_maxlen=24, doc_maxlen=60)
    folder = convert(find(source), tmp_path / "out", Wanted(onnx=False))
    assert (folder / "artifact.metadata").is_file() and not (folder / "modules.json").exists()
    same(source, folder)


def test_the_checkpoint_that_ships_leaves_in_float32_with_the_same_vectors(tmp_path):
    folder = convert(find(WEIGHTS), tmp_path / "out", Wanted(onnx=False))
    assert (folder / "model.safetensors").is_file() and not (folder / "model.int8.safetensors").exists()
    same(WEIGHTS, folder)


def test_the_weights_may_be_read_by_whoever_may_read_the_rest(tmp_path):
    folder = convert(find(tiny_checkpoint.write(tmp_path / "start", layers=1)), tmp_path / "out", Wanted(onnx=False))
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_what_is_written_once_more_again_says_its_lengths_once(tmp_path):
    source = tiny_checkpoint.write(tmp_path / "start", layers=1)
    first = convert(find(source), tmp_path / "first", Wanted(onnx=False))
    second = convert(find(first), tmp_path / "second", Wanted(onnx=False))
    assert (second / "README.md").read_text().count("| trained with; what other packages take | 32 | 180 |") == 1


def test_the_card_says_the_lengths_that_results_used(tmp_path):
    source = tiny_checkpoint.write(tmp_path / "start", layers=1)
    used = [UsedLengths(32, 300, 12), UsedLengths(64, 300, 1)]
    card = (convert(find(source), tmp_path / "out", Wanted(onnx=False, used=used)) / "README.md").read_text()
    assert "| results on 12 datasets | 32 | 300 |\n| results on 1 datasets | 64 | 300 |\n" in card


def test_a_model_without_a_projection_is_none_of_late_interaction(tmp_path):
    source = tiny_checkpoint.write(tmp_path / "start", "plain", layers=1)
    with pytest.raises(MismatchError, match="start has no projection, so it is not a late-interaction model"):
        convert(find(source), tmp_path / "out", Wanted(onnx=False))
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_in_it_is_not_replaced(tmp_path):
    source = tiny_checkpoint.write(tmp_path / "start", layers=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("a year of work")
    with pytest.raises(MismatchError, match="mine exists and is not a checkpoint that was written here"):
        convert(find(source), tmp_path / "mine", Wanted(onnx=False))
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "a year of work"


def run_graph(content, source):
    """Return what onnxruntime makes of our tokens: the vectors of queries, then those of documents, as `vectors`."""
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, which runs a graph")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    encoder, found = Encoder.load(source, device="cpu", precision="fp32"), []
    for tokens in (encoder.tokens.queries(TEXTS), encoder.tokens.docs(TEXTS)):
        widths = np.diff(tokens.starts)
        ids = np.zeros((len(TEXTS), widths.max()), np.int64)
        mask = (np.arange(widths.max()) < tokens.seen[:, None]).astype(np.int64)
        for row, (begin, end) in enumerate(pairwise(tokens.starts.tolist())):
            ids[row, : end - begin] = tokens.ids[begin:end]
        (out,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        kept = [tokens.kept[begin:end] for begin, end in pairwise(tokens.starts.tolist())]
        found += [row[: len(keep)][keep] for row, keep in zip(out, kept, strict=True)]
    return found


@pytest.mark.parametrize("layout", ["original", "pylate", "multi_vector"])
def test_a_graph_gives_the_same_vectors_in_onnxruntime(tmp_path, layout):
    pytest.importorskip("onnx", reason="needs onnx, which writes a graph")
    source = tiny_checkpoint.write(tmp_path / "start", layout)
    for ours, theirs in zip(vectors(source), run_graph(onnx_graph.content(find(source)), source), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_the_graph_of_the_checkpoint_that_ships_gives_its_vectors_in_onnxruntime(tmp_path):
    pytest.importorskip("onnx", reason="needs onnx, which writes a graph")
    folder = convert(find(WEIGHTS), tmp_path / "out", Wanted(onnx=True))
    content = (folder / onnx_graph.NAME).read_bytes()
    for ours, theirs in zip(vectors(folder), run_graph(content, folder), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_the_graph_is_the_same_bytes_each_time(tmp_path):
    pytest.importorskip("onnx", reason="needs onnx, which writes a graph")
    source = tiny_checkpoint.write(tmp_path / "start", layers=1)
    assert onnx_graph.content(find(source)) == onnx_graph.content(find(source))


def test_a_projection_that_no_matrix_does_is_refused(tmp_path):
    source = find(tiny_checkpoint.write(tmp_path / "start", layers=1))
    step = replace(source.projection()[0], activation="Tanh")

    class Bent(type(source)):
        def projection(self):
            return [step]

    bent = Bent(name="bent", folder=source.folder, revision=None, settings=source.settings)
    with pytest.raises(MismatchError, match="the projection of bent has a bias, an activation or a residual"):
        convert(bent, tmp_path / "out", Wanted(onnx=False))
