"""Writes any supported checkpoint in float32, so that other packages open it.

The decision here: whatever the input layout, the output is in ColBERT's own, which PyLate, sentence-transformers and
colbert-ai open (export.py). Settings that this layout cannot express are refused, not dropped. The card gets a
section on where the weights are from and on lengths: those of the training decide what other packages take, and
results may have used others. Where the package `onnx` is installed, the model stands beside as a graph
(onnx_graph.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lotte import artifact, extras
from lotte.errors import CorruptFileError, MismatchError, UnavailableError
from retrievers.colbert.model import bert_cpu, config, export, onnx_graph
from retrievers.colbert.model.checkpoint import Checkpoint
from retrievers.colbert.model.export import README, TRAINING, Papers, Precision, TrainedModel

if TYPE_CHECKING:
    from torch import Tensor


class UsedLengths(NamedTuple):
    """Lengths that results used, and of how many datasets."""

    query_maxlen: int
    doc_maxlen: int
    datasets: int


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a checkpoint is written as."""

    precision: Precision = "fp32"
    name: str = ""  # what the card calls the checkpoint; "": as given
    used: Sequence[UsedLengths] = ()  # by results that the card names
    default_doc_maxlen: int = 300  # of the systems here, which the card names as well
    onnx: bool | None = None  # None: where the package is installed


def convert(source: Checkpoint, out: Path, wanted: Wanted, say: Callable[[object], None] = lambda line: None) -> Path:
    """Write a checkpoint for other packages, whole or not at all. Returns its folder.

    Raises  MismatchError if it is none of late interaction, if ColBERT's layout has no word for what it is, or if
            something else stands at `out`
            UnavailableError without torch, or without onnx if that was requested
    """
    _require_free(out)
    if wanted.onnx:
        extras.package("onnx", "model.onnx")
    projection = _projection(source)
    model = TrainedModel(
        described=source.described,
        state=_state(source),
        projection_HI=projection,
        tokenizer=source.tokenizer.parent,
        settings=source.settings,
    )
    if source.pooling.factor > 1:
        say(f"{source.name} pools {source.pooling.factor:g} tokens into one vector; what is written does not")
    extra = _extra(source.folder)
    if projection is not None and (graph := _graph(source, wanted, say)):
        extra |= {onnx_graph.NAME: graph}
    papers = Papers(training=_training(source), readme=_card(source, wanted, onnx_graph.NAME in extra), extra=extra)
    return export.write(out, model, papers, precision=wanted.precision)


def _require_free(out: Path) -> None:
    """Raise MismatchError where something would be replaced that is not a checkpoint of ours."""
    empty = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    if not empty and (artifact.meta(out) or {}).get("kind") != "checkpoint":
        raise MismatchError(f"{out} exists and is not a checkpoint that was written here; name a new folder")


def _projection(source: Checkpoint) -> "Tensor | None":
    """Return the one matrix that makes vectors of hidden states; None for a model of one vector per text of ours.

    Raises  MismatchError if no matrix does what the checkpoint's projection does
    """
    steps = source.projection()
    if not steps:
        if _is_ours(source.folder):
            return None
        raise MismatchError(
            f"{source.name} has no projection, so it is not a late-interaction model: other packages "
            "can open it unchanged"
        )
    matrix = steps[0].weight_HI
    for number, step in enumerate(steps):
        if step.activation != "Identity" or step.bias_H is not None or step.adds_input:
            raise MismatchError(
                f"the projection of {source.name} has a bias, an activation or a residual, and the layout that all "
                "packages open has one matrix; it cannot be written so"
            )
        matrix = step.weight_HI @ matrix if number else matrix
    return matrix


def _state(source: Checkpoint) -> Mapping[str, "Tensor"]:
    """Return the transformer's tensors in float32, without a prefix."""
    torch = extras.package("torch", "writing a checkpoint")
    if not bert_cpu.fits(source.described):
        state: Mapping[str, Tensor] = source.model().state_dict()
        return state
    arrays = source.arrays(bert_cpu.shapes(source.described))
    return {name: torch.tensor(array) for name, array in arrays.items()}


def _graph(source: Checkpoint, wanted: Wanted, say: Callable[[object], None]) -> bytes:
    """Return the model as ONNX has it; b"" if it was not requested, or is optional and not possible."""
    if wanted.onnx is False:
        return b""
    try:
        return onnx_graph.content(source)
    except UnavailableError as error:
        if wanted.onnx:
            raise
        say(error)
        return b""


def _is_ours(folder: Path) -> bool:
    meta = artifact.meta(folder) or {}
    return meta.get("kind") == "checkpoint" and meta.get("format") == export.FORMAT


def _extra(folder: Path) -> dict[str, bytes]:
    """Return the further files of a checkpoint that was written here, but for a graph, which is made anew."""
    if not _is_ours(folder):
        return {}
    names = (artifact.meta(folder) or {}).get("extra")
    if not isinstance(names, list) or not all(isinstance(name, str) and export.is_plain(name) for name in names):
        raise CorruptFileError(f"{folder / artifact.META}: 'extra' is not a list of file names")
    try:
        return {name: (folder / name).read_bytes() for name in names if name != onnx_graph.NAME}
    except OSError as error:
        raise CorruptFileError(f"{folder} is not complete: {error}") from None


def _training(source: Checkpoint) -> Mapping[str, Any]:
    """Return what training.json said, or what is known of a checkpoint without one."""
    path = source.folder / TRAINING
    if path.is_file():
        said: Mapping[str, Any] = config.read_json(path)
        return said
    return {"from": {"id": source.name, "revision": source.revision, "sha256": source.sha256}}


def _card(source: Checkpoint, wanted: Wanted, has_graph: bool) -> str:
    """Return the card: the one that was there, and a section on this copy and its lengths."""
    try:
        before = (source.folder / README).read_text(encoding="utf-8").partition(_HEAD)[0].rstrip()
    except FileNotFoundError:
        before = f"# {wanted.name or source.name}"
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{source.folder / README} cannot be read: {error}") from None
    return f"{before}\n\n{_HEAD}\n\n" + "\n".join(_section(source, wanted, has_graph)) + "\n"


_HEAD = "## This copy, and lengths"


def _section(source: Checkpoint, wanted: Wanted, has_graph: bool) -> list[str]:
    settings, at = source.settings, f" at {source.revision}" if source.revision else ""
    lines = [
        f"Written by `lotte export checkpoint` in {wanted.precision} from {wanted.name or source.name}{at}, weights "
        f"sha256 {source.sha256[:16]}. PyLate, sentence-transformers (6 and later) and colbert-ai open the folder.",
    ]
    if has_graph:
        lines += ["", *onnx_graph.card(settings)]
    lines += [
        "",
        "| tokens, markers counted | query | document |",
        "|---|---:|---:|",
        f"| trained with; what other packages take | {settings.query_maxlen} | {settings.doc_maxlen} |",
    ]
    for one in wanted.used:
        lines.append(f"| results on {one.datasets:,} datasets | {one.query_maxlen} | {one.doc_maxlen} |")
    if not wanted.used:
        default = wanted.default_doc_maxlen
        lines.append(f"| what `lotte` takes, unless told `-o doc_maxlen=` | {settings.query_maxlen} | {default} |")
    return [*lines, "", "To repeat a result elsewhere, set the lengths that it used."]
