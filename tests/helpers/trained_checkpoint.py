"""A checkpoint as `lotte train` writes it, with the weights of another one: what a training that did nothing leaves."""

from pathlib import Path
from typing import Any

from retrievers.colbert.model import bert_cpu, checkpoint, export


def parts(source: Path) -> dict[str, Any]:
    """Return what a trainer holds at its end: the fields of a TrainedModel and of its Papers."""
    import torch

    start = checkpoint.find(source)
    arrays = start.arrays(bert_cpu.shapes(start.described))
    return {
        "described": start.described, "state": {name: torch.tensor(array) for name, array in arrays.items()},
        "projection_HI": start.projection()[0].weight_HI, "tokenizer": start.folder, "settings": start.settings,
        "training": {"seed": 7, "steps": [{"name": "v1", "loss": 0.25}, {"name": "distilled", "loss": None}], "note": "é"},
        "readme": "# A card\n",
    }  # fmt: skip


def write(folder: Path, *, precision: export.Precision = "fp32", **parts: Any) -> Path:
    papers = export.Papers(**{name: parts.pop(name) for name in ("training", "readme", "extra") if name in parts})
    return export.write(folder, export.TrainedModel(**parts), papers, precision=precision)
