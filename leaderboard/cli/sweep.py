"""`lotte board sweep`: the command that runs a grid of options."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leaderboard.cli.options import AsJson, Data, Depth, DeviceName, Options, data_folder
from leaderboard.cli.output import print_rows
from leaderboard.cli.retriever import load
from lotte.terminal import say

if TYPE_CHECKING:
    from leaderboard.sweep import Cell, SweptCell


def sweep(
    datasets: Annotated[list[str], typer.Argument(help="Names, patterns or folders.")],
    out: Annotated[Path, typer.Option(help="The sweep's folder: new, or an unfinished sweep to resume.")],
    retriever: Annotated[list[str] | None, typer.Option(help="A retriever; repeatable.")] = None,
    option: Options = None,
    over: Annotated[
        list[str] | None, typer.Option(help="key=value,value,...: an option of the grid; repeatable.")
    ] = None,
    study: Annotated[
        str,
        typer.Option(help="colbertv2-figure-3, colbertv2-appendix-b, colbert-table-4, or tct-colbert-table-3."),
    ] = "",
    plot: Annotated[
        Path | None, typer.Option(help="Draw quality against latency, one line per bits, to a .png, .svg or .pdf.")
    ] = None,
    k: Depth = 1000,
    data: Data = None,
    device: DeviceName = None,
    as_json: AsJson = False,
) -> None:
    """Run a grid of options: quality and cost of each cell. If stopped, the same command resumes it.

    lotte board sweep beir/scifact --retriever colbertv2 --over bits=1,2,4 --over probe=1,2,4 --out sweeps/scifact
    lotte board sweep lotte/lifestyle/dev/search --study colbertv2-figure-3 --out sweeps/figure3 --plot figure3.png
    """
    from leaderboard import sweep as sweeps
    from lotte import picture

    if plot:
        picture.require_ending(plot)
    chosen = sweeps.study(study).changed(retriever or (), option or (), over or ())
    sweeps.require_all(study, chosen)
    cells = sweeps.cells(chosen, out, lambda name, options: load(name, options, device))
    swept = _run(cells, datasets, data_folder(data), out, k)
    print_rows([one.row(sweeps.keys(chosen)) for one in swept], as_json)
    if plot:
        sweeps.plot(swept, chosen, plot)
        say(f"{plot}: {chosen.title}")


def _run(cells: "list[Cell]", datasets: list[str], data: Path, out: Path, k: int) -> "list[SweptCell]":
    """Run cells on the datasets that are there, and say which are not."""
    from leaderboard import catalogue, sweep
    from leaderboard.evaluate import Order

    there, absent = catalogue.match(datasets, data)
    if absent:
        say(f"not in {data}, so left out: {', '.join(absent)}")
    order = Order(out=out, k=k, command=shlex.join(["lotte", *sys.argv[1:]]), say=say)
    return list(sweep.run(cells, there, order, out))
