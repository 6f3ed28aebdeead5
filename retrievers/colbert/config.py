"""What a late-interaction model was trained with: lengths, markers, which tokens count.

The one decision here: three spellings of the same settings (ColBERT's
artifact.metadata, PyLate's and sentence-transformers' JSON) become one
dataclass, and nothing else of the package reads those files.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lotte.errors import CorruptFileError, MismatchError
from lotte.parsing import json_file

METADATA = "artifact.metadata"  # ColBERT's settings, JSON
SETTINGS = "config_sentence_transformers.json"  # PyLate's, and those of sentence-transformers
MODULES = "modules.json"  # the parts of a model of PyLate or sentence-transformers, in order
PUNCTUATION = tuple(string.punctuation)

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The settings that decide which vectors a text gets.

    Lengths count every token of a text, those of the tokenizer and the marker too.
    """

    dim: int | None = None  # numbers in a vector; None: as many as the projection gives
    query_maxlen: int = 32
    doc_maxlen: int = 180
    # a token put behind the first one; None if the model has none
    query_marker: str | None = "[unused0]"
    doc_marker: str | None = "[unused1]"
    # text put before the text
    query_prompt: str = ""
    doc_prompt: str = ""
    # tokens of a document that get no vector
    skiplist: tuple[str, ...] = PUNCTUATION
    # how queries are filled up with mask tokens: to query_maxlen exactly, to expansion_length at least, not at all
    expansion: Literal["fixed", "min", "off"] = "fixed"
    expansion_length: int = 32  # read if expansion is "min"
    expansion_token: str | None = None  # None: the tokenizer's mask token
    attend_to_mask_tokens: bool = False

    @property
    def mask_punctuation(self) -> bool:
        return bool(self.skiplist)


def read(folder: Path) -> ModelConfig:
    """Return the settings of the checkpoint in a folder; ColBERT's defaults where it says nothing.

    Raises  CorruptFileError if a file is not JSON, or a length is not a number
            MismatchError if it asks for something that we do not do
    """
    if (folder / MODULES).exists():
        return _sentence_transformers(folder)
    metadata = read_json(folder / METADATA) if (folder / METADATA).exists() else {}
    metadata = metadata.get("config", metadata)  # some versions put the settings one level deeper
    if not isinstance(metadata, dict):
        raise CorruptFileError(f"{folder / METADATA}: config is {metadata!r:.60}, not settings with names")
    similarity = metadata.get("similarity") or "cosine"
    if similarity != "cosine":
        raise MismatchError(f"{folder / METADATA} asks for similarity {similarity!r}; only 'cosine' is supported")
    return ModelConfig(
        dim=length(folder / METADATA, metadata, "dim", 0) or None,
        query_maxlen=length(folder / METADATA, metadata, "query_maxlen", 32),
        doc_maxlen=length(folder / METADATA, metadata, "doc_maxlen", 220 if metadata else 180),
        query_marker=str(metadata.get("query_token_id") or "[unused0]"),
        doc_marker=str(metadata.get("doc_token_id") or "[unused1]"),
        skiplist=PUNCTUATION if metadata.get("mask_punctuation", True) else (),
        attend_to_mask_tokens=bool(metadata.get("attend_to_mask_tokens")),
    )


def _sentence_transformers(folder: Path) -> ModelConfig:
    path = folder / SETTINGS
    settings = read_json(path) if path.exists() else {}
    kinds = {kind for kind, _ in modules(folder)}
    if "MultiVectorMask" in kinds:
        return _multi_vector(folder, settings)
    if "Pooling" in kinds:  # one vector a text was its aim; it serves as ColBERT's encoder, with ColBERT's settings
        return ModelConfig()
    words = settings.get("skiplist_words")
    return ModelConfig(
        query_maxlen=length(path, settings, "query_length", 32),
        doc_maxlen=length(path, settings, "document_length", 180),
        query_marker=settings.get("query_prefix", "[Q] ") or None,
        doc_marker=settings.get("document_prefix", "[D] ") or None,
        query_prompt=_prompts(settings).get("query") or "",
        doc_prompt=_prompts(settings).get("document") or "",
        skiplist=PUNCTUATION if words is None else tuple(map(str, words)),
        expansion="off" if settings.get("do_query_expansion") is False else "fixed",
        attend_to_mask_tokens=bool(settings.get("attend_to_expansion_tokens")),
    )


def _multi_vector(folder: Path, settings: Json) -> ModelConfig:
    paths = {kind: path for kind, path in modules(folder)}
    own = paths.get("Transformer", folder) / "sentence_bert_config.json"
    knobs = read_json(own) if own.exists() else {}
    mask_file = paths["MultiVectorMask"] / "config.json"
    mask = read_json(mask_file)
    if mask.get("keep_only_token_ids") or "query" in (mask.get("skiplist_tasks") or ()):
        raise MismatchError(f"{mask_file} asks for keep_only_token_ids or a skiplist for queries, which we do not do")
    growth = knobs.get("query_expansion")
    expansion: Literal["fixed", "min", "off"] = "off"
    query_maxlen = length(own, knobs, "query_length", 512)
    if growth is not None:
        expansion = "min" if growth.get("strategy") == "min" else "fixed"
        if expansion == "fixed":
            query_maxlen = length(own, growth, "length", 32)
    growth = growth or {}
    return ModelConfig(
        query_maxlen=query_maxlen,
        doc_maxlen=length(own, knobs, "document_length", 512),
        # a prompt that is one token of the vocabulary is a marker: the tokenizer finds that out
        query_marker=None,
        doc_marker=None,
        query_prompt=_prompts(settings).get("query") or "",
        doc_prompt=_prompts(settings).get("document") or "",
        skiplist=tuple(map(str, mask.get("skiplist_words") or ())),
        expansion=expansion,
        expansion_length=length(own, growth, "length", 32),
        expansion_token=growth.get("token"),
        attend_to_mask_tokens=bool(growth.get("attend")),
    )


def modules(folder: Path) -> list[tuple[str, Path]]:
    """Return class name and folder of every module that modules.json lists, in order."""
    listed = read_json(folder / MODULES, kind=list)
    try:
        return [(str(entry["type"]).rpartition(".")[2], _inside(folder, str(entry["path"]))) for entry in listed]
    except (KeyError, TypeError):
        raise CorruptFileError(f"{folder / MODULES} is no list of modules with 'type' and 'path'") from None


def read_json(path: Path, *, kind: type = dict) -> Any:
    """Return what a JSON file holds. Raises CorruptFileError if it is not there or holds something else."""
    try:
        value = json_file(path)
    except FileNotFoundError:
        raise CorruptFileError(f"{path} is not there; the checkpoint is not complete") from None
    if not isinstance(value, kind):
        raise CorruptFileError(f"{path} holds a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _inside(folder: Path, name: str) -> Path:
    """Return a folder's subfolder. What a stranger's file names must not lead out of its folder."""
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise CorruptFileError(f"{folder / MODULES} names the path {name!r}, which leads out of the checkpoint")
    return path


def _prompts(settings: Json) -> Json:
    prompts = settings.get("prompts")
    return prompts if isinstance(prompts, dict) else {}


def length(path: Path, settings: Json, name: str, default: int) -> int:
    """Return a setting that counts something, or the default. Raises CorruptFileError if it is no number above 0."""
    value = settings.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CorruptFileError(f"{path}: {name} is {value!r}, not a number above 0")
    return value
