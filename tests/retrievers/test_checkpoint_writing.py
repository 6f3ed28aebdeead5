"""What is written is what is read: by us, by the original, by PyLate and by sentence-transformers, with the same vectors.

The other packages cannot be installed together, so each is run by an
interpreter of its own: LOTTE_PEER_PYTHON names them, with ":" between.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import tiny_checkpoint
import trained_checkpoint
from trained_checkpoint import parts

from lotte import artifact
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnavailableError, UnknownNameError
from retrievers.colbert.model.checkpoint import find
from retrievers.colbert.model.config import ModelConfig, read_json
from retrievers.colbert.model.encoder import Encoder

torch = pytest.importorskip("torch", reason="needs lotte-bench[colbert]")
from safetensors.numpy import load_file, save_file  # noqa: E402

from retrievers.colbert.model import export  # noqa: E402
from retrievers.colbert.model.convert import Wanted, convert  # noqa: E402

QUERIES = ["how to bake bread", "?", "the star " * 70, "What is the best way, to grow a plant?"]


DOCS = [*QUERIES, "soil", "water, plant & moon! (a garden)", "éß 日本語 “light”", "a b c d e f g h " * 40]


PACKAGES = {"colbert-ai": "colbert", "pylate": "pylate", "sentence-transformers": "sentence_transformers"}


# run by the other package's interpreter: its name, our folder, the texts, where the vectors go
PEER = """
import json, sys
import numpy as np
package, folder, texts, out = sys.argv[1:]
texts = json.load(open(texts))
if package == "colbert-ai":
    from colbert.infra import ColBERTConfig
    from colbert.modeling.checkpoint import Checkpoint
    Checkpoint.loaded_extensions = True  # else it compiles what searches its index
    model = Checkpoint(folder, colbert_config=ColBERTConfig())
    queries = [vectors.numpy() for vectors in model.queryFromText(texts["queries"], bsize=2)]
    docs = [vectors.numpy() for vectors in model.docFromText(texts["docs"], bsize=2, keep_dims=False)[0]]
elif package == "pylate":
    from pylate.models import ColBERT
    model = ColBERT(folder, device="cpu")
    queries, docs = (model.encode(texts[kind], is_query=kind == "queries") for kind in ("queries", "docs"))
else:
    from sentence_transformers import MultiVectorEncoder
    model = MultiVectorEncoder(folder, device="cpu")
    queries = [vectors.cpu().numpy() for vectors in model.encode_query(texts["queries"])]
    docs = [vectors.cpu().numpy() for vectors in model.encode_document(texts["docs"])]
vectors = {f"q{n}": v for n, v in enumerate(queries)} | {f"d{n}": v for n, v in enumerate(docs)}
np.savez(out, **{name: np.asarray(value, np.float32) for name, value in vectors.items()})
"""


def expanded(folder, out, precision="fp32"):
    """Return a checkpoint written once more with plain numbers, without a graph."""
    return convert(find(folder), out, Wanted(precision=precision, onnx=False))


@pytest.fixture
def start(tmp_path):
    return tiny_checkpoint.write(tmp_path / "start", layers=1)


def vectors(folder):
    encoder = Encoder.load(folder, device="cpu", precision="fp32")
    docs = encoder.docs(DOCS)
    return encoder.queries(QUERIES), [docs.vectors[begin:end] for begin, end in pairwise(docs.starts.tolist())]


def same(folder, other, tolerance=0.0):
    (queries, docs), (other_queries, other_docs) = vectors(folder), vectors(other)
    np.testing.assert_allclose(queries, other_queries, atol=tolerance)
    for doc, other_doc in zip(docs, other_docs, strict=True):
        np.testing.assert_allclose(doc, other_doc, atol=tolerance)


def interpreter(package):
    """Return the first of the interpreters named that has a package, and skip the test if none has it."""
    named = os.environ.get("LOTTE_PEER_PYTHON", "")
    for python in filter(None, named.split(os.pathsep)):
        probe = f"import importlib.util as u, sys; sys.exit(u.find_spec({PACKAGES[package]!r}) is None)"
        if package == "sentence-transformers":  # before 6 it had no model of many vectors
            probe = "import importlib.metadata as m, sys; sys.exit(int(m.version('sentence-transformers').split('.')[0]) < 6)"
        if subprocess.run([python, "-c", probe], capture_output=True).returncode == 0:
            return python
    pytest.skip(f"needs an interpreter with {package} named in LOTTE_PEER_PYTHON")


def peer(package, folder, tmp_path):
    """Return the vectors of QUERIES and DOCS that another package gives for a folder."""
    texts, out = tmp_path / "texts.json", tmp_path / f"{package}.npz"
    texts.write_text(json.dumps({"queries": QUERIES, "docs": DOCS}))
    command = [interpreter(package), "-c", PEER, package, str(folder), str(texts), str(out)]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(command, capture_output=True, text=True, env=quiet, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-4000:]
    with np.load(out) as found:
        return [[found[f"{kind}{n}"] for n in range(len(texts))] for kind, texts in (("q", QUERIES), ("d", DOCS))]


def agrees(package, folder, tmp_path):
    """Assert that a package gives our vectors, and return the largest difference."""
    theirs, ours = peer(package, folder, tmp_path), vectors(folder)
    worst = 0.0
    for kind, found, wanted in zip(("query", "document"), theirs, ours, strict=True):
        for number, (their, our) in enumerate(zip(found, wanted, strict=True)):
            assert their.shape == our.shape, (kind, number)
            worst = max(worst, float(np.abs(their - our).max(initial=0)))
    print(f"{package} {folder.name}: largest difference {worst:.2e}", file=sys.__stderr__)
    assert worst < 1e-4
    return worst


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("precision", export.PRECISIONS)
def test_other_packages_open_it_and_give_the_same_vectors(start, tmp_path, package, precision):
    """int8 through `convert`; fp16 is computed in float32 by all. Lengths of our own, so that no default helps."""
    interpreter(package)
    settings = ModelConfig(query_maxlen=20, doc_maxlen=50)
    folder = trained_checkpoint.write(tmp_path / precision, **parts(start) | {"settings": settings}, precision=precision)
    if precision == "int8":
        folder = expanded(folder, tmp_path / "expanded")
    agrees(package, folder, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("layout", ["pylate", "multi_vector"])
def test_markers_of_pylate_are_understood_by_all(tmp_path, package, layout):
    """A training that began with a model of PyLate: its marker is the word "[Q] ", with a blank."""
    interpreter(package)
    folder = trained_checkpoint.write(tmp_path / "ours", **parts(tiny_checkpoint.write(tmp_path / "start", layout, layers=1)))
    agrees(package, folder, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_other_packages_do_not_take_codes_for_numbers(start, tmp_path, package):
    """An int8 folder is refused by all of them: no vectors are better than wrong ones."""
    interpreter(package)
    folder = trained_checkpoint.write(tmp_path / "int8", **parts(start), precision="int8")
    with pytest.raises(AssertionError, match=r"model\.safetensors"):
        peer(package, folder, tmp_path)


@pytest.mark.parametrize("layout", ["original", "pylate", "multi_vector"])
def test_what_is_written_is_the_model_that_was_read(tmp_path, layout):
    """Settings, markers and vectors are those of the start, whatever layout that had."""
    start = tiny_checkpoint.write(tmp_path / "start", layout, layers=1, query_maxlen=24, doc_maxlen=60)
    folder = trained_checkpoint.write(tmp_path / "ours", **parts(start))
    same(start, folder)
    wanted = ModelConfig(dim=32, query_maxlen=24, doc_maxlen=60)
    if layout != "original":
        wanted = replace(wanted, query_marker="[Q]", doc_marker="[D]")
    assert find(folder).settings == wanted


def test_the_folder_has_the_files_of_the_original_and_says_what_they_are(start, tmp_path):
    folder = trained_checkpoint.write(tmp_path / "ours", **parts(start), extra={"overlap.bin": b"\0\1"})
    names = {
        "config.json",
        "model.safetensors",
        "artifact.metadata",
        "tokenizer.json",
        "vocab.txt",
        "tokenizer_config.json",
    }
    assert {path.name for path in folder.iterdir()} == names | {
        "training.json",
        "README.md",
        "meta.json",
        "overlap.bin",
    }
    assert read_json(folder / "artifact.metadata") == read_json(start / "artifact.metadata")
    described = read_json(folder / "config.json")
    assert described["architectures"] == ["HF_ColBERT"] and described["torch_dtype"] == "float32"
    assert load_file(folder / "model.safetensors").keys() == load_file(start / "model.safetensors").keys()
    meta = artifact.meta(folder)
    assert (meta["kind"], meta["format"], meta["precision"]) == ("checkpoint", 1, "fp32")
    assert meta["files"] == {path.name: artifact.sha256(path) for path in folder.iterdir() if path.name != "meta.json"}


@pytest.mark.parametrize("precision", export.PRECISIONS)
def test_training_and_card_come_back_as_they_were(start, tmp_path, precision):
    folder = trained_checkpoint.write(tmp_path / "ours", **parts(start), precision=precision, extra={"more": b"more"})
    for where in (folder, expanded(folder, tmp_path / "expanded")):
        assert read_json(where / export.TRAINING) == parts(start)["training"]
        assert (where / export.README).read_text().startswith("# A card\n") and (where / "more").read_bytes() == b"more"


def test_the_same_model_is_the_same_bytes(start, tmp_path):
    one, two = (trained_checkpoint.write(tmp_path / name, **parts(start), precision="int8") for name in ("one", "two"))
    assert artifact.meta(one) == artifact.meta(two) and find(one).sha256 == find(two).sha256


def test_half_precision_loses_little_and_int8_little_more(start, tmp_path):
    """Largest loss of a cosine here: 1e-6 in fp16, 4e-4 in int8."""
    queries, _ = vectors(trained_checkpoint.write(tmp_path / "fp32", **parts(start)))
    for precision, most in (("fp16", 1e-5), ("int8", 2e-3)):
        found, _ = vectors(trained_checkpoint.write(tmp_path / precision, **parts(start), precision=precision))
        assert 0 < (1 - (queries * found).sum(2)).max() < most


def test_int8_expanded_is_the_model_that_int8_is(start, tmp_path):
    folder = trained_checkpoint.write(tmp_path / "int8", **parts(start), precision="int8")
    assert find(folder).weights == [folder / "model.int8.safetensors"] and not (folder / "vocab.txt").exists()
    same(folder, expanded(folder, tmp_path / "expanded"))
    same(folder, expanded(folder, tmp_path / "half", precision="fp16"), 2e-3)
    same(folder, expanded(folder, folder))  # onto itself
    assert find(folder).weights == [folder / "model.safetensors"]


def test_another_architecture_is_written_under_its_own_name(start, tmp_path):
    """DistilBERT, which no code of ours computes: names, prefix and vectors are those of transformers."""
    transformers = pytest.importorskip("transformers")
    described = {"model_type": "distilbert", "dim": 48, "n_layers": 1, "n_heads": 4, "hidden_dim": 96,
                 "vocab_size": len(tiny_checkpoint.VOCABULARY), "max_position_embeddings": 512}  # fmt: skip
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**described))
    given = parts(start) | {"described": described, "state": model.state_dict()}
    folder = trained_checkpoint.write(tmp_path / "int8", **given, precision="int8")
    assert "distilbert.embeddings.word_embeddings.weight.scale" in load_file(folder / "model.int8.safetensors")
    same(folder, expanded(folder, tmp_path / "expanded"))
    same(folder, trained_checkpoint.write(tmp_path / "fp32", **given), 0.05)


def test_a_pooler_is_left_out_and_no_tensor_is_shared(start, tmp_path):
    given = parts(start)
    shared = given["state"]["embeddings.LayerNorm.weight"]
    state = given["state"] | {
        "pooler.dense.weight": torch.ones(48, 48),
        "encoder.layer.0.output.LayerNorm.weight": shared,
    }
    folder = trained_checkpoint.write(tmp_path / "ours", **given | {"state": state})
    assert not any("pooler" in name for name in load_file(folder / "model.safetensors"))


def test_words_alone_are_a_tokenizer(start, tmp_path):
    (start / "tokenizer.json").unlink()
    folder = trained_checkpoint.write(tmp_path / "int8", **parts(start), precision="int8")
    assert (folder / "vocab.txt").exists()
    same(folder, expanded(folder, tmp_path / "expanded"))


def test_a_write_that_fails_leaves_what_was_there(start, tmp_path, monkeypatch):
    folder = trained_checkpoint.write(tmp_path / "ours", **parts(start))
    before = artifact.meta(folder)
    monkeypatch.setattr("safetensors.torch.save_file", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    for target in (folder, tmp_path / "other"):
        with pytest.raises(KeyboardInterrupt):
            trained_checkpoint.write(target, **parts(start) | {"readme": "new"})
    assert artifact.meta(folder) == before and {path.name for path in tmp_path.iterdir()} == {"start", "ours"}


def test_a_full_disk_is_one_line(start, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(UnavailableError, match="no space left on the device"):
        trained_checkpoint.write(tmp_path / "ours", **parts(start))


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"expansion": "off"}, "artifact.metadata cannot express expansion='off' (it would be read as 'fixed'), so other packages would give other vectors"),
        ({"doc_prompt": "a text: "}, "artifact.metadata cannot express doc_prompt='a text: ' (it would be read as ''), so other packages would give other vectors"),
        ({"query_marker": None}, "artifact.metadata cannot express query_marker=None (it would be read as '[unused0]'), so other packages would give other vectors"),
        ({"skiplist": (".",)}, "artifact.metadata cannot express skiplist=('.',)"),
    ],
)  # fmt: skip
def test_settings_that_the_layout_cannot_say_are_refused(start, tmp_path, settings, wanted):
    given = parts(start)
    with pytest.raises(MismatchError) as caught:
        trained_checkpoint.write(tmp_path / "ours", **given | {"settings": replace(given["settings"], **settings)})
    assert str(caught.value).startswith(wanted) and not (tmp_path / "ours").exists()


@pytest.mark.parametrize("settings", [{"skiplist": ()}, {"attend_to_mask_tokens": True}, {"expansion_length": 99}])
def test_settings_that_it_can_say_come_back(start, tmp_path, settings):
    given = parts(start)
    wanted = replace(given["settings"], **settings)
    found = find(trained_checkpoint.write(tmp_path / "ours", **given | {"settings": wanted})).settings
    assert found == replace(wanted, expansion_length=32)


def test_bad_input_is_refused_before_anything_is_written(start, tmp_path):
    given, state = parts(start), parts(start)["state"]
    name = "encoder.layer.0.output.dense.weight"
    for change, kind, wanted in (
        ({"precision": "int4"}, UnknownNameError, "no precision is named 'int4'"),
        ({"extra": {"../x": b""}}, ValueError, "extra: '../x' is not the name"),
        ({"extra": {"meta.json": b""}}, ValueError, "extra: 'meta.json' is not the name"),
        ({"projection_HI": torch.ones(32, 47)}, ValueError, "projection_HI is [32, 47], not [32, 48]"),
        ({"state": state | {name: torch.ones(48, 95)}}, ValueError, f"state: '{name}' is (48, 95); config.json requires (48, 96)"),
        ({"state": {k: v for k, v in state.items() if k != name}}, ValueError, f"state: '{name}' is missing"),
        ({"state": state | {"more": torch.ones(1)}}, ValueError, "state: 'more' is (1,); config.json requires None"),
        ({"state": state | {name: torch.full((48, 96), np.nan)}}, LotteError, f"the tensor 'bert.{name}' holds numbers that fp32 cannot hold"),
        ({"state": state | {name: torch.full((48, 96), 1e5)}, "precision": "fp16"}, LotteError, f"the tensor 'bert.{name}' holds numbers that fp16 cannot hold"),
        ({"tokenizer": tmp_path}, CorruptFileError, f"{tmp_path} has no tokenizer.json and no vocab.txt"),
        ({"settings": replace(given["settings"], doc_marker="[Passage]")}, MismatchError, f"{start / 'tokenizer.json'} has no token"),
        ({"described": {**given["described"], "model_type": "nobody"}}, MismatchError, "config.json: transformers knows no"),
    ):  # fmt: skip
        with pytest.raises(kind) as caught:
            trained_checkpoint.write(tmp_path / "ours", **given | change)
        assert str(caught.value).startswith(wanted) and "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"start"}


WORDS = "bert.embeddings.word_embeddings.weight"


INNER = "bert.encoder.layer.0.intermediate.dense.weight"


@pytest.mark.parametrize(
    ("edit", "wanted"),
    [
        (lambda state: state.pop(f"{WORDS}.scale"), f"lacks the tensor '{WORDS}.scale', which its int8 '{WORDS}' needs"),
        (lambda state: state.update({f"{INNER}.scale": np.ones((7, 1), np.float32)}),
         f"the int8 {INNER} is [96, 48], its .scale [7, 1] of float32; no match"),
        (lambda state: state.update({f"{INNER}.scale": np.ones((96, 5), np.float32)}), f"the int8 {INNER} is [96, 48], its .scale [96, 5] of"),
        (lambda state: state.update({f"{INNER}.scale": np.ones((96, 0), np.float32)}), f"the int8 {INNER} is [96, 48], its .scale [96, 0] of"),
        (lambda state: state.update({f"{INNER}.scale": np.ones((96, 1), np.int32)}), f"the int8 {INNER} is [96, 48], its .scale [96, 1] of int32;"),
        (lambda state: state.update({INNER: np.ones(96, np.int8)}), f"the int8 {INNER} is [96], its .scale [96, 1] of float32;"),
        (lambda state: state[f"{WORDS}.scale"].__setitem__(3, np.nan), f"{WORDS} holds numbers that are not finite"),
        (lambda state: state["bert.embeddings.LayerNorm.bias"].fill(np.inf), "bert.embeddings.LayerNorm.bias holds numbers"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_line(start, tmp_path, edit, wanted):
    folder = trained_checkpoint.write(tmp_path / "int8", **parts(start), precision="int8")
    path = folder / "model.int8.safetensors"
    state = {name: value.copy() for name, value in load_file(path).items()}
    edit(state)
    save_file(state, path)
    for read in (lambda: Encoder.load(folder, device="cpu"), lambda: expanded(folder, tmp_path / "expanded")):
        with pytest.raises(CorruptFileError) as caught:
            read()
        message = str(caught.value)
        assert message.startswith(str(path)) and wanted in message and "\n" not in message
    assert not (tmp_path / "expanded").exists()


def test_a_folder_without_one_of_its_files_is_not_expanded(start, tmp_path):
    folder = trained_checkpoint.write(tmp_path / "int8", **parts(start), precision="int8", extra={"more": b"more"})
    (folder / "more").unlink()
    with pytest.raises(CorruptFileError, match=r"int8 is not complete: .*more"):
        expanded(folder, tmp_path / "expanded")


def test_a_folder_that_names_files_elsewhere_is_not_expanded(start, tmp_path):
    folder = trained_checkpoint.write(tmp_path / "int8", **parts(start), precision="int8")
    meta = artifact.meta(folder)
    (folder / "meta.json").write_text(json.dumps(meta | {"extra": ["../start/config.json"]}))
    with pytest.raises(CorruptFileError, match="'extra' is not a list of file names"):
        expanded(folder, tmp_path / "expanded")
