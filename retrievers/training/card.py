"""The provenance of a checkpoint: its training data, settings, the data of its start, and every figure.

It is written twice: training.json for programs, README.md for people. A
fingerprint of the training texts is written beside them, so that any dataset
can be compared with these texts later.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lotte import artifact
from lotte.dataset import Dataset
from retrievers.colbert.model import checkpoint, config, export
from retrievers.contamination import check, fingerprint
from retrievers.contamination.check import TRAINING as TRAINING
from retrievers.training.examples import Pairs
from retrievers.training.settings import HYBRID, PairRecipe, Recipe, TctRecipe

RECIPES = {  # what is trained -> what it is called, and whose recipe it is
    "colbert": ("A late-interaction checkpoint", "ColBERT (Khattab & Zaharia 2020, section 3)"),
    "colbertv2": ("A late-interaction checkpoint", "ColBERTv2 (Santhanam et al. 2022, section 3.2)"),
    "tct_colbert": ("A checkpoint with one vector a text", "TCT-ColBERT (Lin et al. 2020, section 3)"),
}
_PATHS = ("start", "teacher", "teacher_start")  # settings that may say whose machine it was
DOC_MAXLEN = 300  # what `colbertv2` takes, as its authors do for LoTTE and BEIR
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")


def papers(
    system: str, recipe: PairRecipe, pairs: Pairs, folder: Path, held_out: Sequence[Dataset]
) -> tuple[dict[str, Any], bytes]:
    """Return what training.json says, and the fingerprint of the training texts.

    system    what was trained, one of RECIPES
    folder    the run's, with the steps' checkpoints
    held_out  datasets that are compared with the training texts here and now
    """
    before = _before(recipe)
    known = fingerprint.Fingerprint.of([pairs.dataset()])
    data = [{"name": part.name, **part.facts} for part in pairs.parts]
    new = [one for one in data if one not in before.get("data", ())]
    if before and (of_start := fingerprint.Fingerprint.load(checkpoint.find(recipe.start).folder)):
        known = of_start.merge(known) if new else of_start
    steps = {
        path.parent.parent.name: _step(path)
        for path in sorted(folder.glob("*/checkpoint/training.json"), key=lambda path: path.stat().st_mtime)
    }
    facts = {
        "system": system,
        "recipe": RECIPES[system][1],
        "data": [*before.get("data", ()), *new],
        "start": before["start"] if before else _start(recipe),
        "before": [*before.get("before", ()), _stage(before, recipe)] if before else [],
        "teacher": _teacher(folder, recipe),
        "validation": {"questions": len(pairs.validation), "measure": "MRR@10 over BM25's best and the right answers"},
        "steps": steps,
        "overlap": overlap(known, held_out),
        "settings": {
            **asdict(recipe),
            **{key: _named(getattr(recipe, key)) for key in _PATHS if hasattr(recipe, key)},
        },
        "software": software(),
    }
    return facts, known.content()


def _before(recipe: PairRecipe) -> dict[str, Any]:
    """Return the papers of the start, if it was trained by this project too and its weights are taken.

    What they say it has seen, this training's checkpoint has seen as well.
    """
    path = checkpoint.find(recipe.start).folder / TRAINING
    said = config.read_json(path) if path.is_file() and not recipe.scratch else {}
    return said if {"data", "start", "steps", "settings", "teacher"} <= said.keys() else {}


def _start(recipe: PairRecipe) -> dict[str, Any]:
    seen = [] if recipe.scratch else [name.strip() for name in recipe.start_seen.split(";") if name.strip()]
    return {
        "id": _named(recipe.start),
        "weights": "drawn" if recipe.scratch else "taken",
        "sha256": checkpoint.find(recipe.start).sha256,
        "licence": recipe.start_licence or "unknown",
        "seen": seen,
    }


def _stage(before: Mapping[str, Any], recipe: PairRecipe) -> dict[str, Any]:
    """Return what made the start, of its papers, and the hash of its weights."""
    kept = ("system", "recipe", "teacher", "validation", "steps", "settings", "software")
    return {"sha256": checkpoint.find(recipe.start).sha256, **{key: before[key] for key in kept if key in before}}


def overlap(known: fingerprint.Fingerprint, held_out: Sequence[Dataset]) -> list[dict[str, Any]]:
    """Return what the training texts share with datasets that are measured on."""
    return [{"dataset": data.name, **check.report(known, data).record()} for data in held_out]


def software() -> dict[str, str]:
    """Return the versions of what trained."""
    return {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()}


def give(last: Path, target: Path, facts: Mapping[str, Any], known: bytes) -> Path:
    """Write a step's checkpoint with its papers, in float32, and beside it in int8: `target` and `target`-int8."""
    source = checkpoint.find(last)
    projection = source.projection()
    model = export.TrainedModel(
        described=source.described,
        state=source.model().state_dict(),
        tokenizer=last,
        settings=config.read(last),
        projection_HI=projection[0].weight_HI if projection else None,
    )
    papers = export.Papers(training=facts, readme=readme(facts), extra={fingerprint.NAME: known})
    export.write(target.with_name(f"{target.name}-int8"), model, papers, precision="int8")
    return export.write(target, model, papers)


def readme(facts: Mapping[str, Any]) -> str:
    """Return the card, Markdown."""
    system = facts.get("system", "colbertv2")
    lines = [
        f"# {RECIPES[system][0]}",
        "",
        f"Made by `lotte train {system}`, {facts['recipe']}. Everything below is in `training.json` too.",
        "",
        *_seen(facts),
        "",
        *_steps(facts),
        "",
        *_lengths(facts["settings"]),
        f"MRR@10: {facts['validation']['questions']} questions kept from training, {facts['validation']['measure']}.",
        *(_overlap(facts["overlap"]) if facts["overlap"] else ()),
    ]
    return "\n".join(lines) + "\n"


def _seen(facts: Mapping[str, Any]) -> Iterator[str]:
    """Give the lines about the data, the start and the teacher."""
    yield from ("## What it has seen", "", "| data | questions | passages | licence | left out: in a held-out set |")
    yield "|---|---:|---:|---|---:|"
    for part in facts["data"]:
        cells = f"| {_cell(part['name'])} | {part['questions']:,} | {part['passages']:,} | {_cell(part['licence'])} | "
        yield f"{cells}{part['left_out_as_held_out']:,} |"
    yield ""
    for part in facts["data"]:
        if "communities" in part["facts"]:
            yield f"{part['name']}: {part['facts']['communities']}.\n"
    start = facts["start"]
    seen = f", which had seen {'; '.join(start['seen'])}." if start["seen"] else "."
    weights = f"weights {start['weights']}, sha256 {start['sha256'][:16]}, licence {start['licence']}"
    yield f"Its start is {start['id']} ({weights}){seen}"
    for stage in facts.get("before", ()):
        yield f"A training before left the weights {stage['sha256'][:16]}; its teacher: {_taught(stage['teacher'])}."
    yield f"Its teacher: {_taught(facts['teacher'])}."


def _lengths(settings: Mapping[str, Any]) -> Iterator[str]:
    """Give the line on lengths: those of the training, which other packages take, are not those of every result."""
    yield f"Trained with queries of {settings['query_maxlen']} tokens and passages of {settings['doc_maxlen']}, markers"
    yield f"counted. A result says its own; `colbertv2` reads {DOC_MAXLEN} tokens of a passage (`-o doc_maxlen=`)."
    yield ""


def _steps(facts: Mapping[str, Any]) -> Iterator[str]:
    """Give the table of steps."""
    yield from ("## Steps", "", "| step | optimiser steps | batch x lines | learning rate | MRR@10, best |")
    yield "|---|---:|---:|---:|---:|"
    stages = [*facts.get("before", ()), facts]
    for name, step in (named for stage in stages for named in stage["steps"].items()):
        fit = step["settings"]
        batch = f"{fit['batch']} x {fit['nway']}"
        yield f"| {name} | {step['steps']:,} | {batch} | {fit['lr']:g} | {step['best']:.4f} |"


def _overlap(reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give the table of what the training texts share with the sets that are measured on."""
    yield from ("", "## Held against the sets it is measured on", "")
    yield from ("| set | questions equal to a training question | answers that share text |", "|---|---:|---:|")
    for report in reports:
        queries = f"{report['queries_equal']:,} of {report['queries']:,}"
        passages = f"{report['passages_sharing']:,} of {report['passages']:,}"
        yield f"| {_cell(report['dataset'])} | {queries} | {passages} |"


def _teacher(folder: Path, recipe: PairRecipe) -> dict[str, Any] | str:
    """Return what is known of the teacher: its training, if `lotte train` made it; else its name."""
    if isinstance(recipe, TctRecipe) and recipe.distil != "none":
        return _named(recipe.teacher) or "the ColBERT that this run trained first"
    if not isinstance(recipe, Recipe):
        return "none"
    if recipe.teacher == HYBRID:
        return f"the last model and BM25 together, whose scores had the weight {recipe.bm25_weight:g}"
    meta = artifact.meta(Path(recipe.teacher) if recipe.teacher else folder / "teacher" / "checkpoint")
    if meta is None or "training" not in meta:
        return _named(recipe.teacher) or "none here: the lines were made elsewhere"
    trained = "in another run" if recipe.teacher else "here, from the same pairs"
    return {"trained": trained, **meta["training"], "start": _named(meta["training"]["start"])}


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
