"""What a late-interaction model was trained with: lengths, markers, which tokens count.

The one decision here: three spellings of the same settings (ColBERT's
artifact.metadata, PyLate's and sentence-transformers' JSON) become one
dataclass, and nothing else of the package reads those files.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal, TypeVar

from lotte.errors import CorruptFileError, MismatchError, shown
from lotte.parsing import json_file, require_plain
from lotte.paths import why_not
from retrievers.colbert.kernels.arrays import Pooling

METADATA = "artifact.metadata"  # ColBERT's settings, JSON
SETTINGS = "config_sentence_transformers.json"  # PyLate's, and those of sentence-transformers
MODULES = "modules.json"  # the parts of a model of PyLate or sentence-transformers, in order
PUNCTUATION = tuple(string.punctuation)

Json = Mapping[str, Any]
Value = TypeVar("Value")

LONGEST = 1 << 16  # tokens of a text, numbers in a vector
LARGEST = 1 << 24  # of any other count: tokens of a vocabulary, positions of a model without an embedding of each
DEEPEST = 1000  # layers of a transformer: what config.json says is read before the tensors are
_KINDS = {bool: "true or false", str: "a text", list: "a list", dict: "settings with names"}
# what the transformer's config.json says, if it says it; the words of BERT, and those of others for the same
_COUNTS = (
    "hidden_size",
    "dim",
    "num_attention_heads",
    "n_heads",
    "intermediate_size",
    "hidden_dim",
    "vocab_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_LAYERS = ("num_hidden_layers", "n_layers")
_FRACTIONS = ("layer_norm_eps", "layer_norm_epsilon")
_TEXTS = ("model_type", "hidden_act", "position_embedding_type")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The settings that decide which vectors a text gets.

    Lengths count every token of a text, those of the tokenizer and the marker too.
    """

    dim: int | None = None  # numbers in a vector; None: as many as the projection gives
    query_maxlen: int = 32
    doc_maxlen: int = 180
    # a token put after the first one; None if the model has none
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
    similarity: str = "cosine"  # or "l2": by which it was trained

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
        raise CorruptFileError(f"{folder / METADATA}: config is {shown(metadata)}, not settings with names")
    path = folder / METADATA
    similarity = setting(path, metadata, "similarity", "cosine")
    if similarity not in ("cosine", "l2"):
        raise MismatchError(f"{path} has similarity {shown(similarity)}; supported are 'cosine' and 'l2'")
    return ModelConfig(
        dim=length(path, metadata, "dim", 0) or None,
        query_maxlen=length(path, metadata, "query_maxlen", 32),
        doc_maxlen=length(path, metadata, "doc_maxlen", 220 if metadata else 180),
        query_marker=setting(path, metadata, "query_token_id", "") or "[unused0]",
        doc_marker=setting(path, metadata, "doc_token_id", "") or "[unused1]",
        skiplist=PUNCTUATION if setting(path, metadata, "mask_punctuation", True) else (),
        attend_to_mask_tokens=setting(path, metadata, "attend_to_mask_tokens", False),
        similarity=similarity,
    )


def _sentence_transformers(folder: Path) -> ModelConfig:
    path = folder / SETTINGS
    settings = read_json(path) if path.exists() else {}
    kinds = {kind for kind, _ in modules(folder)}
    if "MultiVectorMask" in kinds:
        return _multi_vector(folder, settings)
    if "Pooling" in kinds:  # one vector per text was its aim; it serves as ColBERT's encoder, with ColBERT's settings
        return ModelConfig()
    # a prefix that is null is none, one that is not there is PyLate's
    query_marker, doc_marker = (
        setting(path, settings, name, "" if name in settings else default) or None
        for name, default in (("query_prefix", "[Q] "), ("document_prefix", "[D] "))
    )
    return ModelConfig(
        query_maxlen=length(path, settings, "query_length", 32),
        doc_maxlen=length(path, settings, "document_length", 180),
        query_marker=query_marker,
        doc_marker=doc_marker,
        query_prompt=_prompt(path, settings, "query"),
        doc_prompt=_prompt(path, settings, "document"),
        skiplist=_words(path, settings, PUNCTUATION),
        expansion="fixed" if setting(path, settings, "do_query_expansion", True) else "off",
        attend_to_mask_tokens=setting(path, settings, "attend_to_expansion_tokens", False),
    )


def _multi_vector(folder: Path, settings: Json) -> ModelConfig:
    paths = {kind: path for kind, path in modules(folder)}
    own = paths.get("Transformer", folder) / "sentence_bert_config.json"
    knobs = read_json(own) if own.exists() else {}
    mask_file = paths["MultiVectorMask"] / "config.json"
    mask = read_json(mask_file)
    if mask.get("keep_only_token_ids") or "query" in setting(mask_file, mask, "skiplist_tasks", list[Any]()):
        raise MismatchError(f"{mask_file} has keep_only_token_ids or a skiplist for queries, which is not supported")
    growth = setting(own, knobs, "query_expansion", dict[str, Any]())
    expansion: Literal["fixed", "min", "off"] = "off"
    query_maxlen = length(own, knobs, "query_length", 512)
    if knobs.get("query_expansion") is not None:
        expansion = "min" if setting(own, growth, "strategy", "fixed") == "min" else "fixed"
        if expansion == "fixed":
            query_maxlen = length(own, growth, "length", 32)
    return ModelConfig(
        query_maxlen=query_maxlen,
        doc_maxlen=length(own, knobs, "document_length", 512),
        # a prompt that is one token of the vocabulary is a marker: the tokenizer finds that out
        query_marker=None,
        doc_marker=None,
        query_prompt=_prompt(folder / SETTINGS, settings, "query"),
        doc_prompt=_prompt(folder / SETTINGS, settings, "document"),
        skiplist=_words(mask_file, mask, ()),
        expansion=expansion,
        expansion_length=length(own, growth, "length", 32),
        expansion_token=setting(own, growth, "token", "") or None,
        attend_to_mask_tokens=setting(own, growth, "attend", False),
    )


def modules(folder: Path) -> list[tuple[str, Path]]:
    """Return class name and folder of every module that modules.json lists, in order."""
    listed = read_json(folder / MODULES, kind=list)
    try:
        return [(str(entry["type"]).rpartition(".")[2], inside(folder, entry["path"], MODULES)) for entry in listed]
    except (KeyError, TypeError):
        raise CorruptFileError(f"{folder / MODULES} is not a list of modules with 'type' and 'path'") from None


def pooling(path: Path) -> Pooling:
    """Return what the config.json of a module HierarchicalTokenPooling says.

    Raises  CorruptFileError for a value that cannot be, MismatchError for one that we do not do
    """
    settings = read_json(path)
    factor, protected = settings.get("pool_factor", 1.0), settings.get("num_protected_tokens", 1)
    if type(factor) not in (int, float) or not 1 <= factor < inf:
        raise CorruptFileError(f"{path}: expected a 'pool_factor' of 1 or more, found {shown(factor)}")
    if type(protected) is not int or not 0 <= protected <= LONGEST:
        raise CorruptFileError(f"{path}: expected 'num_protected_tokens' of 0 or more, found {shown(protected)}")
    if not setting(path, settings, "normalize_embeddings", False):
        raise MismatchError(f"{path}: 'normalize_embeddings' is off, and an index has vectors of length 1")
    if settings.get("tasks", ["document"]) != ["document"]:
        raise MismatchError(f"{path}: 'tasks' are {shown(settings['tasks'])}, and only documents are pooled here")
    return Pooling(factor=float(factor), protected=protected)


def read_json(path: Path, *, kind: type = dict) -> Any:
    """Return what a JSON file holds, texts without an unpaired surrogate in them.

    Raises  CorruptFileError if it is not there or holds something else
    """
    try:
        value = json_file(path)
    except FileNotFoundError:
        raise CorruptFileError(f"{path} is not there; the checkpoint is not complete") from None
    if not isinstance(value, kind):
        raise CorruptFileError(f"{path} holds a {type(value).__name__} where a {kind.__name__} belongs")
    require_plain(value, path)
    return value


def transformer(path: Path) -> Json:
    """Return a transformer's config.json. What it says of sizes is in bounds, and everything that we read has its kind.

    Raises  CorruptFileError for what no transformer has
    """
    described: Json = read_json(path)
    for name in (*_COUNTS, *_LAYERS):
        count = length(path, described, name, 1, LARGEST)
        if name in _LAYERS and count > DEEPEST:
            raise CorruptFileError(f"{path}: {name} is {count}, and no model has more than {DEEPEST} layers")
    for name in _FRACTIONS:
        value = described.get(name)
        if value is not None and (type(value) not in (int, float) or not 0 <= value < inf):
            raise CorruptFileError(f"{path}: {name} is {shown(value)}, not a number of 0 or more")
    for name in _TEXTS:
        setting(path, described, name, "")
    setting(path, described, "architectures", list[Any]())
    return described


def inside(folder: Path, name: object, said_by: str) -> Path:
    """Return a file or folder in a folder; "" is the folder. What a stranger's file names must not lead out of it."""
    why = why_not(name) if isinstance(name, str) else "it is not text"
    if name and why:
        raise CorruptFileError(f"{folder / said_by} names {shown(name)}, which is not a path in the checkpoint: {why}")
    return folder / str(name)


def _prompt(path: Path, settings: Json, name: str) -> str:
    return setting(path, setting(path, settings, "prompts", dict[str, Any]()), name, "")


def _words(path: Path, settings: Json, default: tuple[str, ...]) -> tuple[str, ...]:
    words = setting(path, settings, "skiplist_words", list[Any](default))
    if not all(isinstance(word, str) for word in words):
        raise CorruptFileError(f"{path}: skiplist_words is {shown(words)}, not a list of texts")
    return tuple(words)


def setting(path: Path, settings: Json, name: str, default: Value) -> Value:
    """Return a setting of the default's kind, or the default. Raises CorruptFileError if it is of another kind."""
    value = settings.get(name)
    if value is None:
        return default
    if type(value) is not type(default):
        raise CorruptFileError(f"{path}: {shown(name)} is {shown(value)}, not {_KINDS[type(default)]}")
    return value


def length(path: Path, settings: Json, name: str, default: int, most: int = LONGEST) -> int:
    """Return a setting that counts something, or the default. Raises CorruptFileError if it is not a number above 0."""
    value = settings.get(name)
    if value is None:
        return default
    if type(value) is not int or not 0 < value <= most:
        raise CorruptFileError(f"{path}: {name} is {shown(value)}, not a number from 1 to {most:,}")
    return value
