"""`lotte train`: the command that trains a model."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leaderboard.cli.options import AsJson, EstimateOnly
from leaderboard.cli.output import print_estimate
from lotte import extras
from lotte.errors import LotteError
from lotte.terminal import put, say

if TYPE_CHECKING:
    from lotte import Dataset
    from retrievers.training.settings import PairRecipe
    from retrievers.training.steps import PairTraining


class System(StrEnum):
    """What can be trained."""

    colbert = "colbert"
    colbertv2 = "colbertv2"
    conv_knrm = "conv_knrm"
    crossencoder = "crossencoder"
    duet = "duet"
    knrm = "knrm"
    tct_colbert = "tct_colbert"


class Settings(StrEnum):
    """Settings that have a name."""

    small = "small"
    paper = "paper"


Folders = Annotated[
    list[Path] | None, typer.Argument(help="Datasets to train on, with queries and passages; FOLDER/train is a split.")
]
Communities = Annotated[
    list[str] | None, typer.Option(help="Only this community of the build (its full host name); repeatable.")
]
Dumps = Annotated[Path | None, typer.Option(help="The dumps of the build; every page's title becomes a question.")]
HeldOut = Annotated[
    list[Path] | None,
    typer.Option(help="A test dataset, whose questions and answers are left out; repeatable."),
]
Lines = Annotated[
    Path | None,
    typer.Option(help="Train only on these lines: examples.json or triples of the original code."),
]
Changes = Annotated[list[str] | None, typer.Option("--option", "-o", help="A setting: -o v1.lr=2e-5; repeatable.")]


def train(
    system: Annotated[System, typer.Argument(help="What to train.")],
    out: Annotated[Path, typer.Option(help="The training's folder: new, or an unfinished training to resume.")],
    data: Folders = None,
    from_build: Annotated[Path | None, typer.Option(help="Also train on the communities of this build.")] = None,
    community: Communities = None,
    split: Annotated[list[str] | None, typer.Option(help="Splits of the build; default: dev.")] = None,
    dumps: Dumps = None,
    allow_test: Annotated[bool, typer.Option("--allow-test", help="Allow communities of the test split.")] = False,
    held_out: HeldOut = None,
    examples: Lines = None,
    settings: Annotated[Settings, typer.Option(help="A named set of settings.")] = Settings.small,
    option: Changes = None,
    step: Annotated[str, typer.Option(help="Stop after this step; `--step list` names them.")] = "",
    estimate: EstimateOnly = False,
    as_json: AsJson = False,
) -> None:
    """Train a model from pairs of question and passage. If stopped, the same command resumes it.

    lotte train colbertv2 data/squad/train --out runs/mine -o start=sentence-transformers/all-MiniLM-L6-v2
    torchrun --nproc-per-node 4 -m leaderboard.cli train colbertv2 msmarco --out runs/paper --settings paper
    """
    from retrievers.training import settings as runs

    # an invalid command line is reported before torch is imported, which takes seconds
    recipe = runs.changed(runs.RUNS[system][settings](), option or ())
    if from_build is None and (split or community or allow_test or dumps):
        raise LotteError("--split, --community, --allow-test and --dumps are about a build: name it with --from-build")
    for package in ("torch", "transformers"):  # before minutes are spent on what needs only the first
        extras.package(package, f"`lotte train {system.value}`")
    from retrievers.training import run

    if system is System.crossencoder and isinstance(recipe, runs.Recipe):
        recipe, step = replace(recipe, teacher=""), step or "teacher"
    sets = [*_read(data), *_of_build(from_build, split, community, allow_test, dumps)]
    if estimate:
        _estimate(recipe, sets, (_read(held_out), examples), step, out, as_json)
    else:
        _train(run.training(recipe, out, sets, say, held_out=_read(held_out), given=examples), step)


def _train(training: "PairTraining[Any]", step: str) -> None:
    """Do the steps of a training, or name them."""
    if step == "list":
        for name in training.steps:
            put(name)
        return
    put(training.all(step))


def _estimate(
    recipe: "PairRecipe",
    sets: "list[Dataset]",
    beside: "tuple[list[Dataset], Path | None]",
    step: str,
    out: Path,
    as_json: bool,
) -> None:
    """Print what a training takes.

    beside  the datasets that are held out, and the lines that somebody made
    """
    from retrievers.training.estimate import estimate

    held_out, examples = beside
    if examples:
        raise LotteError(
            "--estimate knows no training on lines that somebody made; leave out --examples, or --estimate"
        )
    if not sets:
        raise LotteError("--estimate needs the data that is trained on: name its folders, or --from-build")
    print_estimate(estimate(recipe, sets, held_out=held_out, until=step), out, as_json)


def _read(paths: list[Path] | None) -> "list[Dataset]":
    from lotte import reading

    return [dataset for path in paths or () for dataset in reading.read(path)]


def _of_build(
    build: Path | None, splits: list[str] | None, communities: list[str] | None, allow_test: bool, dumps: Path | None
) -> "list[Dataset]":
    from retrievers.training import from_build

    if build is None:
        return []
    return from_build.datasets(
        build, splits=splits or ("dev",), communities=communities or (), allow_test=allow_test, dumps=dumps, say=say
    )
