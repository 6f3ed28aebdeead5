"""Write a checkpoint that ours, the original, PyLate and sentence-transformers open, whole or not at all.

The decision here: ColBERT's own layout serves all four, so no files are added
for the others (they look for HF_ColBERT in config.json, then for
`linear.weight` and artifact.metadata), and a modules.json is never written: with
it, the others ignore artifact.metadata. A model of one vector per text has no projection
and no settings: it is a transformer as AutoModel opens it. Settings that this file cannot
express are refused, not dropped. PyLate alone leaves out punctuation whatever
mask_punctuation says: give it skiplist_words=[] then.

Files of a folder
  config.json             the transformer's, its architecture HF_ColBERT
  model.safetensors       `bert.*` (or what the architecture calls itself) and `linear.weight`
  artifact.metadata       ColBERT's settings, JSON
  tokenizer.json, vocab.txt, tokenizer_config.json, ...   copies of those of the start
  training.json           how it was made
  README.md               the card
  meta.json               written last: format, precision, sha256 of every file, and of itself

In int8 the weights are in model.int8.safetensors, a name that no other package
opens (each would take the codes for numbers). A matrix `name` (R, C) is int8 and
has `name.scale`, float32 (R, G): a row is G parts of 64 numbers, or one if C is no
multiple of 64, and a part is codes * scale. All else is float32: vectors, the
projection, and matrices of fewer than 16 rows. So all-MiniLM-L6-v2 takes 25 MB,
and its token vectors lose 0.0002 of a cosine on average, 0.0008 at most; one
scale a row, token types too, would save 1.4 MB and lose 0.0008 and 0.0054
(11,500 tokens, random projection). vocab.txt is left out if there is a
tokenizer.json. `convert.convert` makes of it what the others open.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lotte import artifact, extras
from lotte.errors import CorruptFileError, LotteError, MismatchError, unknown, writing
from retrievers.colbert.model import bert_cpu, checkpoint, config
from retrievers.colbert.model.checkpoint import PROJECTION, QUANTIZED, WEIGHTS
from retrievers.colbert.model.config import ModelConfig
from retrievers.colbert.model.tensors import SCALE
from retrievers.colbert.model.tokens import TextTokens, load

if TYPE_CHECKING:
    from torch import Tensor

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
FORMAT = 1
GROUP = 64  # numbers with a scale of their own
FEWEST_ROWS = 16  # a matrix of fewer costs nothing to keep, and the two token types are added to every token
TRAINING = "training.json"
README = "README.md"
_CONFIG = "config.json"
# of BERT, of byte-pair encodings and of sentence pieces; a start has some of them
_TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
              "vocab.json", "merges.txt", "spm.model", "sentencepiece.bpe.model")  # fmt: skip
_OWN = {_CONFIG, WEIGHTS, QUANTIZED, config.METADATA, TRAINING, README, artifact.META, *_TOKENIZER,
        config.MODULES, config.SETTINGS, checkpoint.PICKLE}  # fmt: skip
# what config.json says of other files, of other numbers, or of the model's past
_LEFT_OUT = ("_name_or_path", "auto_map", "dtype", "torch_dtype", "quantization_config", "transformers_version")


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """What is written of a model."""

    described: Mapping[str, Any]  # the transformer's config.json
    state: Mapping[str, "Tensor"]  # its tensors, named as in transformers without a prefix; a pooler is left out
    projection_HI: "Tensor | None"  # (numbers in a vector, numbers in a hidden state); None: one vector a text
    tokenizer: Path  # the folder with the tokenizer's files, that of the checkpoint the training began with
    settings: ModelConfig  # a prompt that is one word of the vocabulary is written as the marker it is


@dataclass(frozen=True, kw_only=True)
class Papers:
    """What is written beside a model."""

    training: Mapping[str, Any]  # goes to training.json, as it is
    readme: str  # the card, Markdown
    extra: Mapping[str, bytes] = field(default_factory=dict)  # further files, name -> content


def write(folder: Path, model: TrainedModel, papers: Papers, *, precision: Precision = "fp32") -> Path:
    """Write a checkpoint and return its folder, which is whole or absent; one that is there is replaced.

    precision  "fp32"; "fp16", half the size; "int8", a quarter, which other packages open after `convert`

    Raises  ValueError if tensors and config.json do not fit, or an extra file has a name that is taken or a path
            LotteError if a tensor holds NaN or numbers too large for the precision, as after a training that diverged
            MismatchError if artifact.metadata cannot say the settings, or the vocabulary lacks a marker
            CorruptFileError if the tokenizer is missing, UnavailableError if the disk is full or read-only
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if taken := sorted(name for name in papers.extra if name in _OWN or not is_plain(name)):
        raise ValueError(f"extra: {taken[0]!r} is not the name of a further file in the checkpoint's folder")
    extras.package("torch", "writing a checkpoint")
    extras.package("safetensors", "writing a checkpoint")
    source = _tokenizer(model.tokenizer)
    renamed: dict[str, str] = {}
    if model.projection_HI is not None:
        TextTokens(source, model.settings)  # says so if the vocabulary lacks a marker
        settings, renamed = _markers(model.settings, source)
        model = replace(model, settings=replace(settings, dim=settings.dim or model.projection_HI.shape[0]))
    _check(model)
    stored = _stored(model, precision)
    files = _files(model, papers)
    meta = {"format": FORMAT, "kind": "checkpoint", "precision": precision, "extra": sorted(papers.extra)}
    with writing(folder.parent), artifact.folder(folder, meta, seal=True) as part:
        for name, content in files.items():
            (part / name).write_bytes(content)
        if model.projection_HI is not None:
            _refuse_loss(model.settings, config.read(part))
        for name in _TOKENIZER:
            twice = precision == "int8" and name == "vocab.txt" and source.suffix == ".json"
            if (model.tokenizer / name).exists() and not twice:
                _copy(model.tokenizer / name, part / name, renamed)
        _save(stored, part / (QUANTIZED if precision == "int8" else WEIGHTS))
    return folder


def _files(model: TrainedModel, papers: Papers) -> dict[str, bytes]:
    """Return the content of every file but the tensors' and the tokenizer's."""
    described = {name: value for name, value in model.described.items() if name not in (*_LEFT_OUT, "architectures")}
    late = model.projection_HI is not None
    own: dict[str, Any] = {"architectures": ["HF_ColBERT"]} if late else {}  # else a transformer as it is
    return {
        _CONFIG: _json({**described, **own, "torch_dtype": "float32"}),
        **({config.METADATA: _json(_metadata(model.settings))} if late else {}),
        TRAINING: _json(papers.training),
        README: papers.readme.encode(),
        **papers.extra,
    }


def _save(stored: dict[str, "Tensor"], path: Path) -> None:
    """Write tensors, to be read by whoever may read the files beside them: safetensors 0.8 lets nobody else."""
    from safetensors.torch import save_file

    save_file(stored, path, metadata={"format": "pt"})
    path.chmod((path.parent / _CONFIG).stat().st_mode & 0o777)


def quantized(weight_RC: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Return a matrix as int8 codes (R, C) and float32 scales (R, G): part = codes * scale, its largest at 127.

    A part is GROUP numbers of a row, or a whole row that these do not divide. One of
    zeros has the scale 0. Ties round to even, so a number is off by half a scale at most.
    """
    import torch

    rows, columns = weight_RC.shape
    width = GROUP if columns % GROUP == 0 else columns
    part_RGW = weight_RC.float().reshape(rows, columns // width, width)
    scale_RG1 = part_RGW.abs().amax(2, keepdim=True) / 127
    codes_RGW = torch.where(scale_RG1 > 0, part_RGW / scale_RG1, 0).round().clamp(-127, 127)
    return codes_RGW.flatten(1).to(torch.int8), scale_RG1.squeeze(2)


def _stored(model: TrainedModel, precision: Precision) -> dict[str, "Tensor"]:
    """Return copies of all tensors as the file holds them."""
    import torch

    number = torch.float16 if precision == "fp16" else torch.float32
    out: dict[str, Tensor] = {}
    projection = {} if model.projection_HI is None else {PROJECTION: model.projection_HI}
    for name, tensor in {**_prefixed(model), **projection}.items():
        plain = tensor.detach().to("cpu", number, copy=True).contiguous()
        if not plain.isfinite().all():
            raise LotteError(
                f"the tensor {name!r} holds numbers that {precision} cannot hold (NaN, or too large): has the training "
                "diverged? Nothing was written"
            )
        if precision == "int8" and plain.ndim == 2 and len(plain) >= FEWEST_ROWS and name != PROJECTION:
            out[name], out[f"{name}{SCALE}"] = quantized(plain)
        else:
            out[name] = plain
    return out


def _check(model: TrainedModel) -> None:
    """Refuse tensors that config.json or the settings do not describe: our reader would refuse them too."""
    described, width = model.described, model.described.get("hidden_size", model.described.get("dim"))
    if model.projection_HI is not None and list(model.projection_HI.shape) != [model.settings.dim, width]:
        raise ValueError(f"projection_HI is {list(model.projection_HI.shape)}, not {[model.settings.dim, width]}")
    if not bert_cpu.fits(described):
        return
    expected = bert_cpu.shapes(described)
    shapes = {name: tuple(value.shape) for name, value in model.state.items() if not checkpoint.is_spare(name)}
    if wrong := sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name)):
        name = wrong[0]
        raise ValueError(f"state: {name!r} is {shapes.get(name, 'missing')}; config.json requires {expected.get(name)}")


def _prefixed(model: TrainedModel) -> dict[str, "Tensor"]:
    """Return the tensors that have a part in the hidden states; with a projection by the names of ColBERT's layout."""
    prefix = "" if model.projection_HI is None else _prefix(model.described)
    return {f"{prefix}{name}": value for name, value in model.state.items() if not checkpoint.is_spare(name)}


def _prefix(described: Mapping[str, Any]) -> str:
    """Return what stands before the names: as HF_ColBERT, a model around the model, calls the inner one."""
    if described.get("model_type") == "bert":
        return "bert."  # without transformers, whose import takes seconds
    extras.package("transformers", "a model that is not a BERT")
    from transformers import MODEL_MAPPING, AutoConfig

    known = {name: value for name, value in described.items() if name not in _LEFT_OUT}
    mapping: Any = MODEL_MAPPING
    try:
        return f"{mapping[type(AutoConfig.for_model(**known))].base_model_prefix}."
    except (KeyError, TypeError, ValueError):
        raise MismatchError(f"config.json: transformers knows no model_type {known.get('model_type')!r}") from None


def _metadata(settings: ModelConfig) -> dict[str, Any]:
    return {
        "query_token_id": settings.query_marker, "doc_token_id": settings.doc_marker,
        "query_token": "[Q]", "doc_token": "[D]",  # how ColBERT prints the markers; nothing is read from it
        "query_maxlen": settings.query_maxlen, "doc_maxlen": settings.doc_maxlen, "dim": settings.dim,
        "mask_punctuation": settings.mask_punctuation, "attend_to_mask_tokens": settings.attend_to_mask_tokens,
        "similarity": settings.similarity,
    }  # fmt: skip


def _refuse_loss(settings: ModelConfig, said: ModelConfig) -> None:
    """Refuse settings that come back as others from the file that was written."""
    if settings.expansion == "fixed":  # what is not read then
        settings = replace(settings, expansion_length=said.expansion_length)
    for name, value in asdict(settings).items():
        if value != (read := getattr(said, name)):
            raise MismatchError(
                f"{config.METADATA} cannot express {name}={value!r} (it would be read as {read!r}), so other packages "
                "would give other vectors"
            )


def _markers(settings: ModelConfig, tokenizer: Path) -> tuple[ModelConfig, dict[str, str]]:
    """Return settings that spell markers as all packages read them, and the words to rename in the tokenizer.

    A prompt that is one word of the vocabulary is a marker, as for `TextTokens`. A
    blank at a marker's end, as in PyLate's "[Q] ", goes: with it sentence-transformers
    takes the marker for text.
    """
    find, renamed = load(tokenizer).token_to_id, {}

    def spelled(marker: str | None, prompt: str) -> tuple[str | None, str]:
        if marker is None:
            marker = next(
                (word for word in (prompt, prompt.removesuffix(" ")) if word and find(word) is not None), None
            )
            prompt = prompt if marker is None else ""
        if marker is not None and find(marker) is not None and find(marker.strip()) is None:
            renamed[marker] = marker = marker.strip()
        return marker, prompt

    query_marker, query_prompt = spelled(settings.query_marker, settings.query_prompt)
    doc_marker, doc_prompt = spelled(settings.doc_marker, settings.doc_prompt)
    settings = replace(
        settings, query_marker=query_marker, query_prompt=query_prompt, doc_marker=doc_marker, doc_prompt=doc_prompt
    )
    return settings, renamed


def _copy(source: Path, target: Path, renamed: Mapping[str, str]) -> None:
    """Copy a file of the tokenizer, with some words renamed wherever a JSON file names them."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {renamed.get(name, name): changed(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [changed(inner) for inner in value]
        return renamed.get(value, value) if isinstance(value, str) else value

    if renamed and source.suffix == ".json":
        target.write_bytes(_json(changed(config.read_json(source))))
    else:
        shutil.copyfile(source, target)


def _tokenizer(folder: Path) -> Path:
    for name in ("tokenizer.json", "vocab.txt"):
        if (folder / name).exists():
            return folder / name
    raise CorruptFileError(f"{folder} has no tokenizer.json and no vocab.txt; name the folder of the tokenizer's files")


def is_plain(name: str) -> bool:
    """Whether this names a file in the folder itself."""
    return bool(name) and name not in (".", "..") and not set("/\\:\0") & set(name)


def _json(value: Mapping[str, Any]) -> bytes:
    return artifact.readable(dict(value), sort=False).encode()
