"""Readers of checkpoints: every file of the layouts that there are, found, loaded, and asked for vectors."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tiny_checkpoint
import trained_checkpoint
from reader import Reader, once
from safetensors.numpy import load_file, save_file

from lotte import artifact
from retrievers.colbert.model import checkpoint
from retrievers.colbert.model.encoder import Encoder
from retrievers.contamination import check
from retrievers.contamination.fingerprint import Fingerprint

SMALL = {"dim": 16, "hidden": 16, "inner": 16, "heads": 2, "layers": 1, "positions": 64}


def layout(name: str, folder: Path) -> None:
    tiny_checkpoint.write(folder / "model", name, **SMALL)


def words(folder: Path) -> None:
    """Leave BERT's list of word pieces and no tokenizer.json."""
    layout("original", folder)
    (folder / "model" / "tokenizer.json").unlink()


def sharded(folder: Path) -> None:
    layout("original", folder)
    model = folder / "model"
    state = load_file(model / "model.safetensors")
    names = sorted(state)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: state[name] for name in some}, model / file)
    where = {name: file for file, some in parts.items() for name in some}
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def written(folder: Path) -> None:
    """Write what a training writes, in bytes."""
    layout("original", folder)
    nothing = np.zeros(0, np.uint64)
    fingerprint = Fingerprint(questions=nothing, question_runs=nothing, passage_runs=nothing, least_runs=nothing)
    papers = {
        "training": {"data": [{"name": "x"}], "start": {"id": "y", "seen": ["z"]}, "steps": 3},
        "extra": {"training_fingerprint.npz": fingerprint.content()},
    }
    parts = trained_checkpoint.parts(folder / "model")
    trained_checkpoint.write(folder / "written", **parts | papers, precision="int8")


def encode(model: Path) -> None:
    encoder = Encoder.load(checkpoint.find(model).folder, device="cpu")
    for vectors in (encoder.queries(["how to water it", ""]), encoder.docs(["the garden.", "", "\ud800 x"]).vectors):
        assert np.isfinite(vectors).all(), "a vector is not finite"
    assert encoder.facts()["sha256"]


def whole(folder: Path) -> None:
    """Do what `lotte check`, `lotte eval` and `lotte train` do with a checkpoint that was trained."""
    encode(folder / "written")
    check.Seen.read(folder / "written")
    Fingerprint.load(folder / "written")
    assert all(isinstance(name + problem, str) for name, problem in artifact.damaged(folder / "written"))


def mended(content: bytes) -> bytes:
    """Give a file of safetensors the length of its header, so that what is changed in it is read."""
    end = content.find(b"}}")
    return struct.pack("<Q", end + 2 - 8) + content[8:] if end > 0 else content


def of(name: str, make: Callable[[Path], object], *files: str) -> list[Reader]:
    made = once(make)
    return [Reader(f"{name}-{file}", f"model/{file}", made, lambda folder: encode(folder / "model")) for file in files]


TRAINED = once(written)
READERS = [
    *of("original", lambda folder: layout("original", folder), "config.json", "artifact.metadata", "tokenizer.json",
        "model.safetensors"),
    *of("words", words, "vocab.txt", "tokenizer_config.json"),
    *of("sharded", sharded, "model.safetensors.index.json", "model-2.safetensors"),
    *of("pylate", lambda folder: layout("pylate", folder), "modules.json", "config_sentence_transformers.json",
        "tokenizer_config.json"),
    *of("multi", lambda folder: layout("multi_vector", folder), "modules.json", "config_sentence_transformers.json",
        "sentence_bert_config.json", "2_MultiVectorMask/config.json", "1_Dense/config.json",
        "1_Dense/model.safetensors"),
    *of("plain", lambda folder: layout("plain", folder), "config.json", "modules.json"),
    *(Reader(f"trained-{file}", f"written/{file}", TRAINED, whole)
      for file in ("config.json", "model.int8.safetensors", "meta.json", "training.json", "training_fingerprint.npz")),
    Reader("trained-weights-header", "written/model.int8.safetensors", TRAINED, whole, mended),
]  # fmt: skip
