"""The papers of a checkpoint: what it was trained on, by which settings, what it had seen before, and every number.

They are written twice: training.json for programs, README.md for people. A
fingerprint of the training texts lies beside them, so that any dataset can be
held against them later.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lotte import artifact
from lotte.dataset import Dataset
from retrievers.colbert.model import checkpoint, config, export
from retrievers.contamination import check, fingerprint
from retrievers.training.examples import Pairs
from retrievers.training.settings import Recipe

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")


def papers(recipe: Recipe, pairs: Pairs, folder: Path, held_out: Sequence[Dataset]) -> tuple[dict[str, Any], bytes]:
    """Return what training.json says, and the fingerprint of the training texts.

    folder    the run's, with the steps' checkpoints
    held_out  datasets that are compared with the training texts here and now
    """
    known = fingerprint.Fingerprint.of([pairs.dataset()])
    steps = {
        path.parent.parent.name: _step(path)
        for path in sorted(folder.glob("*/checkpoint/training.json"), key=lambda path: path.stat().st_mtime)
    }
    facts = {
        "recipe": "ColBERTv2 (Santhanam et al. 2022, section 3.2)",
        "data": [{"name": part.name, **part.facts} for part in pairs.parts],
        "start": {
            "id": _named(recipe.start),
            "weights": "drawn" if recipe.scratch else "taken",
            "sha256": checkpoint.find(recipe.start).sha256,
            "licence": recipe.start_licence or "unknown",
            "seen": [] if recipe.scratch else [one.strip() for one in recipe.start_seen.split(";") if one.strip()],
        },
        "teacher": _teacher(folder, recipe),
        "validation": {"questions": len(pairs.validation), "measure": "MRR@10 over BM25's best and the right answers"},
        "steps": steps,
        "overlap": [{"dataset": data.name, **check.report(known, data).record()} for data in held_out],
        "settings": {
            **asdict(recipe),
            **{key: _named(getattr(recipe, key)) for key in ("start", "teacher", "teacher_start")},
        },
        "software": {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()},
    }
    return facts, known.content()


def give(last: Path, target: Path, facts: Mapping[str, Any], known: bytes) -> Path:
    """Write a step's checkpoint with its papers, in float32, and beside it in int8: `target` and `target`-int8."""
    found = checkpoint.find(last)
    model = found.model()
    extra, projection_HI = {fingerprint.NAME: known}, found.projection()[0].weight_HI
    both: list[tuple[Path, export.Precision]] = [(target.with_name(f"{target.name}-int8"), "int8"), (target, "fp32")]
    for folder, precision in both:
        export.write(
            folder, described=found.described, state=model.state_dict(), projection_HI=projection_HI,
            tokenizer=last, settings=config.read(last), training=facts, readme=readme(facts), precision=precision,
            extra=extra,
        )  # fmt: skip
    return target


def readme(facts: Mapping[str, Any]) -> str:
    """Return the card, Markdown."""
    start = facts["start"]
    lines = [
        "# A late-interaction checkpoint",
        "",
        f"Made by `lotte train colbertv2`, {facts['recipe']}. Everything below is in `training.json` too.",
        "",
        "## What it has seen",
        "",
        "| data | questions | passages | licence | left out: in a held-out set |",
        "|---|---:|---:|---|---:|",
        *(
            f"| {_cell(part['name'])} | {part['questions']:,} | {part['passages']:,} | {_cell(part['licence'])} | "
            f"{part['left_out_as_held_out']:,} |"
            for part in facts["data"]
        ),
        "",
        *(
            f"{part['name']}: {part['facts']['communities']}.\n"
            for part in facts["data"]
            if "communities" in part["facts"]
        ),
        f"Its start is {start['id']} (weights {start['weights']}, sha256 {start['sha256'][:16]}, licence "
        f"{start['licence']})" + (f", which had seen {'; '.join(start['seen'])}." if start["seen"] else "."),
        f"Its teacher: {_taught(facts['teacher'])}.",
        "",
        "## Steps",
        "",
        "| step | optimiser steps | batch x lines | learning rate | MRR@10, best |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {name} | {step['steps']:,} | {step['settings']['batch']} x {step['settings']['nway']} | "
            f"{step['settings']['lr']:g} | {step['best']:.4f} |"
            for name, step in facts["steps"].items()
        ),
        "",
        f"MRR@10: {facts['validation']['questions']} questions kept from training, {facts['validation']['measure']}.",
    ]
    if facts["overlap"]:
        lines += [
            "", "## Held against the sets it is measured on", "",
            "| set | questions equal to a training question | answers that share text |", "|---|---:|---:|",
            *(
                f"| {_cell(one['dataset'])} | {one['queries_equal']:,} of {one['queries']:,} | "
                f"{one['passages_sharing']:,} of {one['passages']:,} |"
                for one in facts["overlap"]
            ),
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _teacher(folder: Path, recipe: Recipe) -> dict[str, Any] | str:
    """Return what is known of the teacher: its training, if `lotte train` made it; else its name."""
    found = artifact.meta(Path(recipe.teacher) if recipe.teacher else folder / "teacher" / "checkpoint")
    if found is None or "training" not in found:
        return _named(recipe.teacher) or "none here: the lines were made elsewhere"
    trained = "in another run" if recipe.teacher else "here, from the same pairs"
    return {"trained": trained, **found["training"], "start": _named(found["training"]["start"])}


def _taught(teacher: Mapping[str, Any] | str) -> str:
    if isinstance(teacher, str):
        return teacher
    fit = teacher["settings"]
    return (
        f"trained {teacher['trained']}, a cross-encoder from {teacher['start']}: {teacher['steps']:,} steps of "
        f"{fit['batch']} x {fit['nway']}, learning rate {fit['lr']:g}, MRR@10 {teacher['best']:.4f}"
    )


def _named(source: str) -> str:
    """Return the last part of a folder's path, which says nothing of whose machine it was; a hub's name as it is."""
    path = Path(source)
    return path.name if source and (path.is_absolute() or path.exists()) else source


def _step(path: Path) -> dict[str, Any]:
    said = config.read_json(path)
    return {key: said[key] for key in ("steps", "examples", "loss", "best", "validations", "settings") if key in said}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
