"""`lotte board`: the commands about records."""

import sys
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leaderboard.cli import sweep
from leaderboard.cli.options import RESULTS, AsJson, Data, Results, data_folder
from leaderboard.cli.output import print_rows, print_value
from lotte.errors import LotteError, UnavailableError
from lotte.terminal import put, say

if TYPE_CHECKING:
    from leaderboard.papers import PaperCell, PaperTable
    from leaderboard.record.loaded_dataset import LoadedDataset

app = typer.Typer(
    help="Add, verify, compare and export records, and build their site.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

app.command()(sweep.sweep)

By = Annotated[str, typer.Option(help="Who runs this, for the log; default: git's user name, or the login.")]
OfResults = Annotated[Path, typer.Argument(help="The folder of records.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace a record with the same settings.")]
Reproduces = Annotated[
    Path | None, typer.Option(metavar="RECORD", help="Log the given record as somebody else's repetition of RECORD.")
]
Tolerance = Annotated[float, typer.Option(min=0, help="Largest difference allowed in the official measure.")]


class Format(StrEnum):
    """What other programs read."""

    mteb = "mteb"
    ir_metadata = "ir_metadata"
    tira = "tira"


@app.command()
def add(
    records: Annotated[list[Path], typer.Argument(help="Records, with their runs beside them.")],
    results: Results = RESULTS,
    data: Data = None,
    by: By = "",
    replace: Replace = False,
    reproduces: Reproduces = None,
    tolerance: Tolerance = 0.005,
    as_json: AsJson = False,
) -> None:
    """Score records again from their runs, and store those that match with their runs.

    lotte board add out/bm25/beir/scifact.json
    lotte board add mine/bm25/beir/scifact.json --reproduces results/bm25/beir/scifact.json --by "A. Nother"
    """
    from leaderboard.record import submit
    from leaderboard.record.loaded_dataset import LoadedDataset, find
    from leaderboard.record.read import read

    if reproduces and len(records) != 1:
        raise LotteError(f"--reproduces takes one record, and {len(records)} were named")
    corpora: dict[object, str] = {}
    loaded = cache(lambda name: LoadedDataset.of(find(name, data_folder(data)), corpora))
    refused = 0
    for path in records:
        try:
            dataset = loaded(read(path).dataset.name)
            if reproduces:
                _reproduce(path, reproduces, dataset, by or _user(), tolerance, as_json)
            else:
                stored = submit.add(path, results, dataset, by=by or _user(), replacing=replace)
                print_value("record", stored, as_json)
        except LotteError as error:
            if len(records) == 1 and not getattr(error, "problems", None):
                raise
            refused += 1
            for line in getattr(error, "problems", None) or [str(error)]:
                say(f"{path}: {line}")
    if refused:
        raise LotteError(f"{refused} of {len(records)} records refused; the reasons are listed above")


def _reproduce(path: Path, original: Path, dataset: "LoadedDataset", by: str, tolerance: float, as_json: bool) -> None:
    """Log a record as a repetition of another, and print how far it is off."""
    from leaderboard.record import submit

    entry, agrees = submit.reproduce(path, original, dataset, by=by, tolerance=tolerance)
    rows = [{"measure": key, "difference": value} for key, value in entry["difference"].items()]
    print_rows(rows, as_json)
    if not agrees:
        raise LotteError(
            f"{path} differs from {original} by more than {tolerance:g}; this is logged, and its level stays as it was"
        )
    say(f"{original}: reproduced")


@app.command()
def verify(
    results: OfResults = RESULTS,
    data: Data = None,
    quick: Annotated[bool, typer.Option("--quick", help="Skip scoring, even if the dataset is here.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check every record and run of a folder; print one line per problem, and exit 1 if there is one.

    lotte board verify results
    """
    from leaderboard.record.audit import Report, audit

    report = Report()
    for line in audit(results, data_folder(data), report, quick=quick):
        print_value("problem", line, as_json)
    for line in report.lines():
        say(line)
    if report.bad:
        raise LotteError(f"{report.bad:,} of {report.records:,} records in {results} have problems, listed above")


@app.command()
def review(
    theirs: Annotated[Path, typer.Argument(help="A copy of the folder of records, with one more record and its run.")],
    results: Results = RESULTS,
    data: Data = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Download the record's dataset if it is not here.")] = False,
    build: Annotated[
        list[Path] | None, typer.Option(help="A build, matched by its id, to score records of; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the review to this file, as Markdown.")] = None,
) -> None:
    """Score a submitted result again, and compare it with the records of its dataset; exit 1 if it is refused.

    lotte board review theirs/results --results results --fetch --out answer.md
    """
    from leaderboard import review as reviews
    from lotte.artifact import write_whole
    from lotte.download import fetch as fetch_dataset

    folder = data_folder(data)
    fetching = (lambda name: fetch_dataset(name, folder, say=say)) if fetch else None
    done = reviews.review(theirs, results, reviews.DataPlaces(folder, build or (), fetching), say)
    if out:
        write_whole(out, done.answer)
    for line in done.answer.splitlines():
        put(line)
    if done.problems:
        raise LotteError(f"{theirs} is not accepted: {done.problems[0]}")


@app.command()
def compare(
    records: Annotated[list[Path], typer.Argument(help="Records of one dataset, or one folder per system.")],
    measure: Annotated[str, typer.Option(help="A measure in the records; default: the dataset's own.")] = "",
    by: Annotated[str, typer.Option(help="topic or community: also count wins and losses per group.")] = "",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Compare systems pairwise over queries: differences, intervals, p values, ranks, and significance letters.

    lotte board compare results/bm25/beir/scifact.json results/colbertv2/beir/scifact.json
    lotte board compare results/bm25 results/colbertv2      every dataset that both have, and their mean
    lotte board compare A.json B.json --by community --data OUT      of the build in OUT
    """
    from leaderboard import compare_rows

    comparisons = compare_rows.compare(records, measure, by=by, data=data_folder(data))
    for number, part in enumerate(comparisons):
        parts = ("standing", part.standings), ("pair", part.pairs), ("group", part.groups), ("repeat", part.repeats)
        for kind, rows in parts:
            head: dict[str, Any] = {"dataset": part.dataset, "measure": part.measure}
            if as_json:
                print_rows([{"kind": kind, **head, **row} for row in rows], True)
            elif rows:
                if number or kind != "standing":
                    put("")
                print_rows([{**head, **row} for row in rows], False)
        for line in part.talk:
            say(line)


@app.command()
def fresh(
    results: OfResults = RESULTS,
    beside: Annotated[
        str, typer.Option(help="A system that was never trained: say how much more than it the others gain or lose.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Print what each system scores on a test and on its fresh twin, and the difference, by topic and over topics.

    lotte eval lotte lotte-fresh --retriever bm25      records of both: `lotte build --fresh` made the second
    lotte board fresh results --beside bm25
    """
    from leaderboard import fresh as freshness
    from leaderboard.board.entry import read_entries

    tables = freshness.tables(read_entries(results, say), say, beside=beside)
    if not tables:
        raise UnavailableError(
            f"no system in {results} has records of a dataset and of its fresh twin; "
            f"`lotte eval OLD FRESH --out {results}` makes them, of a build and of one by `lotte build --fresh`"
        )
    print_rows([row for table in tables for row in freshness.rows(table)], as_json)
    say(freshness.METHOD)


@app.command()
def paper(
    table: Annotated[str, typer.Option(help="Only this table: 5, or 5a.")] = "",
    name: Annotated[str, typer.Option("--paper", help="colbertv2, colbert or tct_colbert; default: all.")] = "",
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Print the papers' tables: the printed numbers, ours, and the gap.

    lotte board paper --paper colbertv2 --table 5b
    """
    from leaderboard import papers
    from leaderboard.record.read import readable

    tables = papers.tables(readable(results, say), paper=name, number=table)
    if sys.stdout.isatty() and not as_json:
        for drawn in tables:
            _draw(drawn)
        return
    print_rows([_cell(printed, cell, as_json) for printed in tables for cell in printed.cells], as_json)
    for printed in tables:
        if printed.note:
            say(f"{printed.paper} table {printed.number}: {printed.note}")


def _cell(table: "PaperTable", cell: "PaperCell", as_json: bool) -> dict[str, Any]:
    """Return a cell of a paper's table as a row: as JSON with all digits, else as the paper prints numbers."""
    row: dict[str, Any] = {"paper": cell.paper, "table": cell.table, "row": cell.row, "column": cell.column}
    row |= {"unit": cell.unit, "published": cell.published, "ours": cell.ours, "gap": cell.gap}
    if not as_json:
        row |= {"published": cell.show(cell.published), "ours": cell.show(cell.ours), "gap": _gap(cell)}
    return {**row, "note": cell.note, "source": table.source, "record": cell.record}


def _gap(cell: "PaperCell") -> str:
    return "" if cell.gap is None else f"{cell.gap:+.{3 if cell.unit == 'share' else 1}f}"


@app.command()
def table(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Folders of records, or records; default: results.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the table to this .md, .tsv or .html file.")] = None,
    measure: Annotated[str, typer.Option(help="One measure for all datasets; default: each dataset's own.")] = "",
    dataset: Annotated[list[str] | None, typer.Option(help="Only this dataset, or pattern; repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print every system on every dataset: quality with its interval, costs, and the means over datasets.

    lotte board table results --out table.md
    lotte board table results sweeps/bits --measure nDCG@10 --dataset 'beir/*'
    """
    from leaderboard import systems_table

    if out:
        systems_table.require_ending(out)
    rows = systems_table.rows(results or [RESULTS], say, measure=measure, datasets=dataset or ())
    print_rows([row.fields() for row in rows], as_json)
    if out:
        systems_table.write(rows, out)
        say(f"{out}: {len(rows):,} rows")


@app.command("export")
def export_(
    records: Annotated[list[Path], typer.Argument(help="Records, or folders of them.")],
    format: Annotated[Format, typer.Option(help="The format to write.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
) -> None:
    """Write records for other boards: MTEB results, runs with an ir_metadata header, per-query values for TIRA.

    lotte board export results/bm25 --format mteb --out mteb-results
    """
    from leaderboard import interchange

    for path in interchange.export(records, format.value, out):
        put(path)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A TREC, LoTTE or MS MARCO run, or an MTEB task result.")],
    dataset: Annotated[str, typer.Option(help="The dataset of the run: a name, or a folder.")] = "",
    system: Annotated[str, typer.Option(help="The system's name; default: from the file's content or name.")] = "",
    results: Results = RESULTS,
    data: Data = None,
    by: By = "",
) -> None:
    """Import another tool's run or score. It is marked `imported`, and is not ranked with the other records.

    lotte board import run.trec --dataset beir/scifact --system splade
    lotte board import mteb/results/org__model/rev/SciFact.json
    """
    from leaderboard import interchange

    for path in interchange.take_in(file, results, data_folder(data), dataset=dataset, system=system, by=by or _user()):
        put(path)


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="The folder to write the site to.")],
    results: Results = RESULTS,
    data: Data = None,
) -> None:
    """Build the site: static files that need no server. It shows texts of the datasets that are on this disk.

    lotte board build --out site
    """
    import os

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # read when numpy is imported; several wait for each other
        os.environ.setdefault(name, "1")
    from leaderboard.board import site

    put(site.build(results, out, say, data=data_folder(data)))


def _user() -> str:
    """Return the name that git has for the user, or else the login."""
    import getpass
    import subprocess

    try:
        done = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, timeout=10)
        return done.stdout.strip() or getpass.getuser()
    except (OSError, KeyError, subprocess.SubprocessError):
        return "unknown"


def _draw(table: "PaperTable") -> None:
    """Print a table for people: what was printed, ours under it, and the gap."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as Drawn

    drawn = Drawn(
        title=f"{table.paper}, table {table.number}: {table.title}", caption=table.note or None, title_justify="left"
    )
    drawn.add_column("")
    for column in table.columns:
        drawn.add_column(column, justify="right")
    cells = iter(table.cells)
    for row in table.rows:
        shown = []
        for _ in table.columns:
            cell = next(cells)
            ours = cell.show(cell.ours) if cell.ours is not None else "not run" if cell.note == "not run" else ""
            gap = f" ({_gap(cell)})" if _gap(cell) else ""
            mark = "*" if cell.note.startswith("other data") else ""
            shown.append("\n".join(escape(part) for part in (cell.show(cell.published), f"{ours}{mark}{gap}") if part))
        drawn.add_row(escape(row), *shown)
    Console().print(drawn)
