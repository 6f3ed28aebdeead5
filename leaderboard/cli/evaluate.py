"""`lotte eval`: the command that scores a retriever or a ranking file."""

import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leaderboard.cli.options import (
    AsJson,
    Data,
    Depth,
    DeviceName,
    EncoderCount,
    EstimateOnly,
    Executor,
    Options,
    RayAddress,
    RetrieverName,
    StepTimeout,
    data_folder,
    workers_of,
)
from leaderboard.cli.output import print_estimate, print_row
from leaderboard.cli.retriever import load
from lotte.errors import LotteError
from lotte.terminal import say

if TYPE_CHECKING:
    from leaderboard.evaluate import Order
    from leaderboard.record.schema import Record
    from retrievers import Retriever

DATASETS = ("lotte/*/test*/*",)  # if none is named; a fresh test is test-since-DATE
Measures = Annotated[list[str] | None, typer.Option(help="A further measure, such as R@100; repeatable.")]
Rankings = Annotated[Path | None, typer.Option(help="Also write LoTTE's ranking files here.")]
Gzip = Annotated[bool, typer.Option("--gzip", help="Write runs as .trec.gz.")]
Datasets = Annotated[list[str] | None, typer.Argument(help="Names, patterns or folders; default: the LoTTE test sets.")]
Suite = Annotated[str, typer.Option(help="lotte, beir, bright, freshstack, nanobeir, ...; resumes if stopped.")]
KeepStages = Annotated[
    Path | None, typer.Option(help="Write the ranking of each stage of a pipeline here, for -o first= and of=.")
]
Ranking = Annotated[
    Path | None, typer.Option(help="Score this ranking (TREC, LoTTE or MS MARCO); --retriever only names it.")
]


def eval_(
    datasets: Datasets = None,
    retriever: RetrieverName = "",
    option: Options = None,
    suite: Suite = "",
    data: Data = None,
    index: Annotated[Path | None, typer.Option(help="Store indexes here, and reuse them.")] = None,
    keep_stages: KeepStages = None,
    k: Depth = 1000,
    measure: Measures = None,
    out: Annotated[Path, typer.Option(help="The folder for records and runs.")] = Path("results"),
    rankings: Rankings = None,
    run: Ranking = None,
    gzip: Gzip = False,
    device: DeviceName = None,
    workers: EncoderCount = 0,
    executor: Executor = "local",
    ray_address: RayAddress = "",
    step_timeout: StepTimeout = 0.0,
    estimate: EstimateOnly = False,
    as_json: AsJson = False,
) -> None:
    """Score a retriever, or a ranking file: one line per dataset, with the dataset's own measure.

    lotte eval --retriever bm25 -o k1=1.2 'lotte/science/test/*' beir/scifact
    """
    from leaderboard.evaluate import Order
    from leaderboard.measure import parse
    from lotte.executor import Place, at_work

    _require_sense(retriever, run, bool(datasets), suite, keep_stages, estimate)
    measures, kept = tuple(map(parse, measure or ())), {"rankings": rankings, "index": index, "stages": keep_stages}
    order = Order(out=out, k=k, measures=measures, gzip=gzip, command=_command(), say=say, **kept)
    names, folder = datasets or DATASETS, data_folder(data)
    if estimate:
        return _estimate(load(retriever, option, device), suite, names, order, folder, as_json)
    if run:
        return _print_scores(_rescored(run, retriever, names, folder, order), order, as_json)
    with at_work(workers_of(workers, Place(executor, ray_address, step_timeout), out, _there(index))):
        _run(suite, retriever, load(retriever, option, device), names, folder, order, as_json)


def _there(index: Path | None) -> list[Path]:
    return [index] if index and index.exists() else []


def _command() -> str:
    return shlex.join(["lotte", *sys.argv[1:]])


def _require_sense(
    retriever: str, run: Path | None, has_datasets: bool, suite: str, keep_stages: Path | None, estimate: bool
) -> None:
    """Raise LotteError for options that do not go together."""
    if not (retriever or run):
        raise LotteError("`lotte eval` needs --retriever NAME, or --run FILE with an existing ranking")
    if run and keep_stages:
        raise LotteError("--keep-stages needs a retriever with stages, but --run is a ranking without any")
    if estimate and run:
        raise LotteError("--estimate is about running a retriever, and --run is a ranking that is there already")
    if suite and (has_datasets or run):
        raise LotteError("--suite names its datasets itself; leave out the datasets and --run")


def _estimate(system: "Retriever", suite: str, names: Iterable[str], order: "Order", data: Path, as_json: bool) -> None:
    """Print what running a retriever takes, on a suite or on datasets, those of them that are there."""
    from leaderboard import catalogue, estimate
    from leaderboard import suite as suites

    present = set(catalogue.on_disk(data))
    wanted = [name for name in suites.datasets(suite) if name in present] if suite else names
    chosen, absent = catalogue.match(wanted, data)
    if absent:
        say(f"not in {data}, so left out: {', '.join(absent)}")
    print_estimate(estimate.evaluation(system, chosen, order), order.out, as_json)


def _rescored(run: Path, name: str, names: Iterable[str], data: Path, order: "Order") -> "Record":
    """Score somebody's ranking of the one dataset that is named."""
    from leaderboard import catalogue
    from leaderboard.evaluate import rescore
    from leaderboard.record.place import name_of

    chosen, _ = catalogue.match(names, data)
    if len(chosen) != 1:
        raise LotteError(f"--run is a ranking for one dataset, and {len(chosen)} were named")
    return rescore(run, name or name_of(run), chosen[0], order)


def _run(
    suite: str, name: str, system: "Retriever", names: Iterable[str], data: Path, order: "Order", as_json: bool
) -> None:
    """Run a retriever on a suite, or on the datasets that are there, and print its scores; and old beside fresh."""
    if suite:
        _run_suite(suite, name, system, order, data, as_json)
        return
    records = []
    for record in _evaluated(name, system, names, data, order):
        _print_scores(record, order, as_json)
        records.append(record)
    _say_twins(records, order.out)


def _evaluated(name: str, system: "Retriever", names: Iterable[str], data: Path, order: "Order") -> "Iterator[Record]":
    """Run a retriever on the datasets that are there, and say which are not."""
    from leaderboard import catalogue
    from leaderboard.evaluate import evaluate

    chosen, absent = catalogue.match(names, data)
    if absent:
        say(f"not in {data}, so left out: {', '.join(absent)}")
    return evaluate(name, system, chosen, order)


def _print_scores(record: "Record", order: "Order", as_json: bool) -> None:
    """Print the official measure of a record, and those of --measure."""
    for name in dict.fromkeys([record.official, *map(str, order.measures)]):
        print_row({"dataset": record.dataset.name, "measure": name, "value": record.mean(name)}, as_json)


def _say_twins(records: "Sequence[Record]", out: Path) -> None:
    """Say how much more a system scores on fresh datasets than on those that they are the twins of, if any are."""
    if not any("fresh_twin_of" in record.dataset.facts for record in records):
        return
    from leaderboard import fresh
    from leaderboard.board.entry import entry_of

    for table in fresh.tables([entry_of(out, record, {}) for record in records], say):
        for row in table.rows:
            say(fresh.line(table, row))


def _run_suite(suite: str, name: str, system: "Retriever", order: "Order", data: Path, as_json: bool) -> None:
    """Run a retriever on a suite, and print its means; of one that lacks datasets, say which."""
    from leaderboard import suite as suites

    records = []
    for record in suites.run(suite, name, system, order, data):
        _print_scores(record, order, as_json)
        records.append(record)
    for average in suites.averages(records):
        if average.value is None:
            say(f"no {average.name}: {', '.join(average.missing)} missing")
        else:
            print_row({"dataset": average.name, "measure": average.measure, "value": average.value}, as_json)
