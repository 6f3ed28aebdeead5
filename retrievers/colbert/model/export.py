"""Write a checkpoint that ours, the original, PyLate and sentence-transformers open, whole or not at all.

What is settled here: ColBERT's own layout serves all four, so nothing stands
beside it for the others (they look for HF_ColBERT in config.json, then for
`linear.weight` and artifact.metadata), and a modules.json is never written: where
it stands, nobody reads artifact.metadata. Settings for which that file has no
word are refused, not dropped. PyLate alone leaves out punctuation whatever
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
tokenizer.json. `expand` makes of it what the others open.
"""

import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lotte import artifact, extras
from lotte.errors import CorruptFileError, LotteError, MismatchError, unknown, writing
from retrievers.colbert.model import bert_cpu, checkpoint, config, tensors
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


def write(
    folder: Path,
    *,
    described: Mapping[str, Any],
    state: Mapping[str, "Tensor"],
    projection_HI: "Tensor",
    tokenizer: Path,
    settings: ModelConfig,
    training: Mapping[str, Any],
    readme: str,
    precision: Precision = "fp32",
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a checkpoint and return its folder, which is whole or absent; one that is there is replaced.

    described      the transformer's config.json
    state          its tensors, named as transformers names them without a prefix; a pooler is left out
    projection_HI  (numbers in a vector, numbers in a hidden state)
    tokenizer      the folder with the tokenizer's files, that of the checkpoint the training began with
    settings       a prompt that is one word of the vocabulary is written as the marker it is
    training       goes to training.json, as it is
    readme         the card, Markdown
    precision      "fp32"; "fp16", half the size; "int8", a quarter, which other packages open after `expand`
    extra          further files, name -> content

    Raises  ValueError if tensors and config.json do not fit, or an extra file has a name that is taken or a path
            LotteError if a tensor holds NaN or numbers too large for the precision, as after a training that diverged
            MismatchError if artifact.metadata cannot say the settings, or the vocabulary lacks a marker
            CorruptFileError if the tokenizer is missing, UnavailableError if the disk is full or read-only
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    extra = extra or {}
    if taken := sorted(name for name in extra if name in _OWN or not _plain(name)):
        raise ValueError(f"extra: {taken[0]!r} is no name of a further file in the checkpoint's folder")
    extras.package("torch", "writing a checkpoint")
    extras.package("safetensors", "writing a checkpoint")
    from safetensors.torch import save_file

    source = _tokenizer(tokenizer)
    TextTokens(source, settings)  # says so if the vocabulary lacks a marker
    settings, renamed = _markers(settings, source)
    settings = replace(settings, dim=settings.dim or projection_HI.shape[0])
    _check(described, state, projection_HI, settings)
    stored = _stored(_prefixed(described, state), projection_HI, precision)
    files = {
        _CONFIG: _json({name: value for name, value in described.items() if name not in _LEFT_OUT}
                       | {"architectures": ["HF_ColBERT"], "torch_dtype": "float32"}),
        config.METADATA: _json(_metadata(settings)),
        TRAINING: _json(training),
        README: readme.encode(),
        **extra,
    }  # fmt: skip
    meta: dict[str, Any] = {"format": FORMAT, "kind": "checkpoint", "precision": precision, "extra": sorted(extra)}
    with writing(folder.parent), artifact.folder(folder, meta, seal=True) as part:
        for name, content in files.items():
            (part / name).write_bytes(content)
        _refuse_loss(settings, config.read(part))
        for name in _TOKENIZER:
            twice = precision == "int8" and name == "vocab.txt" and source.suffix == ".json"
            if (tokenizer / name).exists() and not twice:
                _copy(tokenizer / name, part / name, renamed)
        save_file(stored, part / (QUANTIZED if precision == "int8" else WEIGHTS), metadata={"format": "pt"})
    return folder


def expand(folder: Path, out: Path, *, precision: Literal["fp32", "fp16"] = "fp32") -> Path:
    """Write a checkpoint that `write` made once more, with plain numbers, and return the folder `out`.

    So other packages open what was written in int8; what int8 lost stays lost.

    Raises  MismatchError if `write` did not make the folder, CorruptFileError if it is damaged
    """
    meta = artifact.meta(folder)
    if not meta or meta.get("kind") != "checkpoint" or meta.get("format") != FORMAT:
        raise MismatchError(f"{folder} is no checkpoint that `lotte train` wrote (its meta.json does not say so)")
    names = meta.get("extra")
    if not isinstance(names, list) or not all(isinstance(name, str) and _plain(name) for name in names):
        raise CorruptFileError(f"{folder / artifact.META}: 'extra' is no list of file names")
    found = checkpoint.find(folder)
    (file,) = found.weights
    torch, state = extras.package("torch", "writing a checkpoint"), tensors.read(file, trust=False)
    (step,) = found.projection()
    state.pop(PROJECTION)
    prefix = _prefix(found.described)
    try:
        readme = (folder / README).read_text(encoding="utf-8")
        extra = {name: (folder / name).read_bytes() for name in names}
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{folder} is not complete: {error}") from None
    return write(
        out,
        described=found.described,
        state={name.removeprefix(prefix): torch.tensor(array) for name, array in state.items()},
        projection_HI=step.weight_HI,
        tokenizer=folder,
        settings=found.settings,
        training=config.read_json(folder / TRAINING),
        readme=readme,
        precision=precision,
        extra=extra,
    )


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


def _stored(state: Mapping[str, "Tensor"], projection_HI: "Tensor", precision: Precision) -> dict[str, "Tensor"]:
    """Return copies of all tensors as the file holds them."""
    import torch

    number = torch.float16 if precision == "fp16" else torch.float32
    out: dict[str, Tensor] = {}
    for name, tensor in {**state, PROJECTION: projection_HI}.items():
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


def _check(
    described: Mapping[str, Any], state: Mapping[str, "Tensor"], projection_HI: "Tensor", settings: ModelConfig
) -> None:
    """Refuse tensors that config.json or the settings do not describe: our reader would refuse them too."""
    width = described.get("hidden_size", described.get("dim"))
    if list(projection_HI.shape) != [settings.dim, width]:
        raise ValueError(f"projection_HI is {list(projection_HI.shape)}, not {[settings.dim, width]}")
    if not bert_cpu.fits(described):
        return
    wanted = bert_cpu.shapes(described)
    found = {name: tuple(value.shape) for name, value in state.items() if not checkpoint.is_spare(name)}
    if wrong := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        name = wrong[0]
        raise ValueError(f"state: {name!r} is {found.get(name, 'missing')}; config.json asks for {wanted.get(name)}")


def _prefixed(described: Mapping[str, Any], state: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Return the tensors that have a part in the hidden states, under the names of ColBERT's layout."""
    prefix = _prefix(described)
    return {f"{prefix}{name}": value for name, value in state.items() if not checkpoint.is_spare(name)}


def _prefix(described: Mapping[str, Any]) -> str:
    """Return what stands before the names: as HF_ColBERT, a model around the model, calls the inner one."""
    if described.get("model_type") == "bert":
        return "bert."  # without transformers, whose import takes seconds
    extras.package("transformers", "a model that is no BERT")
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
        "similarity": "cosine",
    }  # fmt: skip


def _refuse_loss(settings: ModelConfig, said: ModelConfig) -> None:
    """Refuse settings that come back as others from the file that was written."""
    if settings.expansion == "fixed":  # what is not read then
        settings = replace(settings, expansion_length=said.expansion_length)
    for name in (field.name for field in fields(settings)):
        if (wanted := getattr(settings, name)) != (found := getattr(said, name)):
            raise MismatchError(
                f"{config.METADATA} has no word for {name}={wanted!r} (it would be read as {found!r}); train with that"
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
    settings = replace(settings, query_marker=query_marker, query_prompt=query_prompt,
                       doc_marker=doc_marker, doc_prompt=doc_prompt)  # fmt: skip
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


def _plain(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not set("/\\:\0") & set(name)


def _json(value: Mapping[str, Any]) -> bytes:
    return artifact.readable(dict(value), sort=False).encode()
