"""Results become a site: pages that need no server, no network and, to be read, no script.

Decisions:

- The site is complete or absent, and replaces only a site.
- It is a function of the results: no clock, no order of the disk.
- An invalid record is left out, with one line; the build continues.
- Texts are shown if the dataset is available (`texts.py`), else ids.
- The charting library (plotly.js, MIT) is taken from the Python package
  `plotly` when the site is built, and its licence put into NOTICE.txt. Without
  the package the plots are static.
- A copy of each record goes with the site while they are small enough.

Comparing systems uses matrix products: on a shared machine,
start Python with OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from leaderboard.board import cost_plot, pair, table
from leaderboard.board.benchmark_page import BenchmarkPage, alone, benchmark_pages, filled
from leaderboard.board.dataset_page import DatasetPage, compared, dataset_pages
from leaderboard.board.entry import Entry, read_entries
from leaderboard.board.pages import HERE, STATIC, page
from leaderboard.fresh import FreshTable
from leaderboard.fresh import tables as fresh_tables
from lotte import artifact, extras
from lotte.errors import LotteError, UnavailableError, writing
from lotte.home import home
from lotte.progress import Progress

KIND = "lotte-board/1"
COPIED = 200_000_000  # bytes of records that are copied into the site; more are left where they are
TABS = 8  # datasets of no benchmark that the menu names; the list of datasets names all
INDEX = "index.html"
DRAWN = 12  # pictures of the page of pictures that are drawn without a script
LIBRARY = "static/plotly.min.js"


@dataclass(frozen=True, kw_only=True)
class Site:
    """All that pages are made of."""

    entries: Sequence[Entry]
    datasets: Sequence[DatasetPage]
    benchmarks: Sequence[BenchmarkPage]
    notes: Mapping[str, str]  # slug of a dataset -> why nothing is compared there
    left_out: Sequence[str]
    has_library: bool
    has_copies: bool
    fresh: Sequence[FreshTable] = ()  # systems on datasets that have a fresh twin here

    def titles(self) -> dict[str, str]:
        """Return slug of a dataset -> what it is called: with its version, where a name has several."""
        names = [dataset.name for dataset in self.datasets]
        return {
            dataset.slug: dataset.name if names.count(dataset.name) == 1 else f"{dataset.name} @{dataset.version}"
            for dataset in self.datasets
        }


def build(
    results: Path,
    out: Path,
    say: Callable[[str], None] = lambda line: None,
    *,
    data: Path | None = None,
) -> Path:
    """Make the site of all results below a folder. Returns its first page.

    results  read as it stands: any *.json below it is a record, or is left out with a line to `say`
    out      a new folder, or an older site, which is replaced
    data     where datasets lie, for the texts of pages; by default as everywhere

    Raises  UnavailableError if there is no record to show, LotteError if `out` holds something else
    """
    _require_free(out, results)
    if not results.is_dir():
        raise UnavailableError(f"{results} is not there; `lotte eval --out {results}` makes records")
    left_out: list[str] = []

    def leave_out(line: str) -> None:
        left_out.append(line.replace(f"{results}/", ""))
        say(line)

    entries = read_entries(results, leave_out, without=out)
    if not entries:
        raise UnavailableError(f"{results} holds no record to show; `lotte eval --out {results}` makes one")
    site = _compared(entries, left_out, say)
    with writing(out.parent), artifact.folder(out, _meta(site)) as folder:
        _write_static(folder, say)
        _write_boards(site, folder)
        _write_datasets(site, folder)
        _write_records(site, folder)
        _write_rest(site, folder)
        pair.write(site.datasets, site.titles(), folder, data or home(), say)
    return out / INDEX


def _require_free(out: Path, results: Path) -> None:
    """Refuse to replace what is not a site."""
    inside = out.resolve() == results.resolve() or out.resolve() in results.resolve().parents
    if inside:
        raise LotteError(f"{out} holds the results, and the site would replace it; name another folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and (artifact.meta(out) or {}).get("kind") != KIND:
        raise LotteError(f"{out} exists and is not a site of `lotte board build`; name a new folder, or remove it")


def _meta(site: Site) -> dict[str, Any]:
    return {
        "kind": KIND,
        "records": len(site.entries),
        "datasets": len(site.datasets),
        "sha256_of_ids": artifact.digest(sorted(entry.id for entry in site.entries)),
    }


def _compared(entries: Sequence[Entry], left_out: Sequence[str], say: Callable[[str], None]) -> Site:
    datasets, notes = [], {}
    pages = dataset_pages(entries)
    with Progress(len(pages), "datasets", "comparing") as progress:
        for dataset, note in map(compared, pages):
            datasets.append(dataset)
            if note:
                notes[dataset.slug] = note
                say(f"{dataset.name}: {note}")
            progress.advance()
    return Site(
        entries=entries,
        datasets=datasets,
        benchmarks=[filled(benchmark) for benchmark in benchmark_pages(datasets)],
        notes=notes,
        left_out=left_out,
        has_library=_library() is not None,
        has_copies=sum(entry.file.stat().st_size for entry in entries) <= COPIED,
        fresh=fresh_tables(entries, say),
    )


def _menu(site: Site) -> list[dict[str, str]]:
    """Return the boards that the menu names: benchmarks, then datasets that stand alone."""
    titles = site.titles()
    boards = [{"title": benchmark.title, "href": f"board/{benchmark.slug}.html"} for benchmark in site.benchmarks]
    others = sorted(alone(site.datasets, site.benchmarks), key=lambda dataset: -len(dataset.entries))[:TABS]
    return boards + [{"title": titles[dataset.slug], "href": f"dataset/{dataset.slug}.html"} for dataset in others]


def _write_boards(site: Site, folder: Path) -> None:
    menu = _menu(site)
    for benchmark in site.benchmarks:
        href = f"board/{benchmark.slug}.html"
        shown = {"benchmark": benchmark, "table": table.of_benchmark(benchmark), "menu": menu, "current": href}
        _write(folder / href, page("board", "../", site=site, **shown))
    if site.benchmarks:
        first = site.benchmarks[0]
        shown = {"benchmark": first, "table": table.of_benchmark(first), "menu": menu, "current": menu[0]["href"]}
    else:
        most = max(site.datasets, key=lambda dataset: len(dataset.entries))
        shown = {"benchmark": None, "dataset": most, "table": table.of_dataset(most), "menu": menu}
        shown["current"] = f"dataset/{most.slug}.html"
    _write(folder / INDEX, page("board", "", site=site, **shown))


def _write_datasets(site: Site, folder: Path) -> None:
    menu, titles = _menu(site), site.titles()
    for dataset in site.datasets:
        href = f"dataset/{dataset.slug}.html"
        content = page(
            "dataset", "../", site=site, dataset=dataset, title=titles[dataset.slug], table=table.of_dataset(dataset),
            menu=menu, current=href, drawing=cost_plot.drawing(cost_plot.points(dataset)),
            note=site.notes.get(dataset.slug, ""), pair_page=pair.page_of, paired=dataset.paired(),
        )  # fmt: skip
        _write(folder / href, content)
    _write(folder / "datasets.html", page("datasets", "", site=site, titles=titles))


def _write_records(site: Site, folder: Path) -> None:
    page_of = {entry.id: dataset for dataset in site.datasets for entry in dataset.all_entries}
    titles = site.titles()
    with Progress(len(site.entries), "records", "writing") as progress:
        for entry in site.entries:
            dataset, label = page_of[entry.id], entry.label
            newest = dataset.entries[label]
            pairs = [labels for labels in dataset.paired() if label in labels and newest.id == entry.id]
            content = page(
                "record", "../", site=site, entry=entry, dataset=dataset, title=titles[dataset.slug], newest=newest,
                pairs=pairs, repeats=dataset.repeats.get(label, ()), pair_page=pair.page_of,
            )  # fmt: skip
            _write(folder / table.page_of(entry), content)
            if site.has_copies:
                _write(folder / "record" / f"{entry.id[:16]}.json", entry.file.read_bytes())
            progress.advance()
    _write(folder / "records.html", page("records", "", site=site, table=table.of_entries(site.entries)))


def _write_rest(site: Site, folder: Path) -> None:
    titles = site.titles()
    plots = [(dataset, cost_plot.points(dataset)) for dataset in site.datasets]
    plots = [plot for plot in plots if any(point.latency or point.index_bytes for point in plot[1])]
    plots.sort(key=lambda plot: -len(plot[1]))
    drawings = [(dataset, cost_plot.drawing(points)) for dataset, points in plots[:DRAWN]]
    known = {
        titles[dataset.slug]: {"measure": dataset.measure, "points": [asdict(point) for point in points]}
        for dataset, points in plots
    }
    _write(folder / "picture.html", page("picture", "", site=site, known=known, drawings=drawings, titles=titles))
    if site.fresh:
        _write(folder / "fresh.html", page("fresh", "", site=site))
    _write(folder / "method.html", page("method", "", site=site))
    _write(folder / "board.csv", _csv(site))


def _csv(site: Site) -> str:
    """Return all records as a table for other programs."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(
        ["id", "system", "family", "dataset", "measure", "value", "low", "high", "rank", "latency_ms", "index_bytes",
         "parameters", "machine", "training_overlap", "verification", "created"]
    )  # fmt: skip
    for dataset in site.datasets:
        for entry in dataset.all_entries:
            record, label = entry.record, entry.label
            standing = dataset.standings.get(label) if dataset.entries[label].id == entry.id else None
            low, high = entry.ci95 or (None, None)
            row = [entry.id, label, entry.family, record.dataset.name, record.official, entry.value, low, high]
            row += [standing.rank if standing else None, record.cost.latency_ms.p50, record.cost.index_bytes]
            row += [entry.parameters, entry.machine, entry.seen, entry.level, record.created]
            writer.writerow(map(_cell, row))
    return lines.getvalue()


def _cell(value: object) -> object:
    """Return text that a spreadsheet takes for text: one that begins like a formula gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _write_static(folder: Path, say: Callable[[str], None]) -> None:
    notice = "This site was made by lotte-bench (Apache-2.0).\n"
    for name in STATIC:
        _write(folder / "static" / name, (HERE / "static" / name).read_bytes())
    if library := _library():
        script, licence = library
        _write(folder / LIBRARY, script.read_bytes())
        notice += f"\n{LIBRARY} is plotly.js, taken from the Python package plotly, under this licence:\n\n{licence}"
    else:
        say(f"the plot cannot be zoomed without plotly, which is not installed: {extras.hint('plotly')}")
    _write(folder / "NOTICE.txt", notice)


def _library() -> tuple[Path, str] | None:
    """Return the charting library's file and its licence; None if the package is not installed."""
    try:
        files = distribution("plotly").files or []
    except PackageNotFoundError:
        return None
    script = next((file for file in files if file.name == "plotly.min.js"), None)
    licence = next((file for file in files if file.name.upper().startswith("LICENSE")), None)
    if script is None or licence is None or not Path(script.locate()).is_file():
        return None
    return Path(script.locate()), Path(licence.locate()).read_text(encoding="utf-8")


def _write(file: Path, content: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)
