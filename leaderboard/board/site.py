"""Results become a site: pages that need no server, no network and, to be read, no script.

Settled here:

- The site stands whole at its place or not at all, and replaces only a site.
- It is a function of the results: no clock, no order of the disk.
- A record that is wrong is left out with one line, and stops nothing.
- Texts are shown where the dataset is at hand (`texts.py`), else ids.
- The charting library (plotly.js, MIT) is taken from the Python package
  `plotly` when the site is built, and its licence put into NOTICE.txt. Without
  the package the pictures are drawings that do not move.
- A copy of each record goes with the site while they are small enough.

Comparing systems is matrix products: on a machine that does other things too,
start Python with OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from leaderboard.board import contest as contests
from leaderboard.board import pair, panel, picture, record, table
from leaderboard.board.contest import Contest
from leaderboard.board.pages import HERE, STATIC, page
from leaderboard.board.panel import Panel
from leaderboard.board.record import Record
from lotte import artifact, extras
from lotte.errors import LotteError, UnavailableError, writing
from lotte.home import home
from lotte.progress import Progress

KIND = "lotte-board/1"
COPIED = 200_000_000  # bytes of records that are copied into the site; more are left where they are
TABS = 8  # datasets of no panel that the menu names; the list of datasets names all
INDEX = "index.html"
DRAWN = 12  # pictures of the page of pictures that are drawn without a script
LIBRARY = "static/plotly.min.js"


@dataclass(frozen=True, kw_only=True)
class Site:
    """All that pages are made of."""

    records: Sequence[Record]
    labels: Mapping[str, str]  # id -> system
    contests: Sequence[Contest]
    panels: Sequence[Panel]
    notes: Mapping[str, str]  # slug of a contest -> why nothing is compared there
    left_out: Sequence[str]
    has_library: bool
    has_copies: bool

    def titles(self) -> dict[str, str]:
        """Return slug of a contest -> what it is called: with its version, where a name has several."""
        names = [one.name for one in self.contests]
        return {
            one.slug: one.name if names.count(one.name) == 1 else f"{one.name} @{one.version}" for one in self.contests
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

    records = record.read(results, leave_out, without=out)
    if not records:
        raise UnavailableError(f"{results} holds no record to show; `lotte eval --out {results}` makes one")
    site = _compared(records, left_out, say)
    with writing(out.parent), artifact.folder(out, _meta(site)) as folder:
        _write_static(folder, say)
        _write_boards(site, folder)
        _write_datasets(site, folder)
        _write_records(site, folder)
        _write_rest(site, folder)
        pair.write(site.contests, site.titles(), folder, data or home(), say)
    return out / INDEX


def _require_free(out: Path, results: Path) -> None:
    """Refuse to replace what is no site."""
    inside = out.resolve() == results.resolve() or out.resolve() in results.resolve().parents
    if inside:
        raise LotteError(f"{out} holds the results, and the site would replace it; name another folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and (artifact.meta(out) or {}).get("kind") != KIND:
        raise LotteError(f"{out} is there and is no site of ours; name a new folder, or remove it")


def _meta(site: Site) -> dict[str, Any]:
    return {
        "kind": KIND,
        "records": len(site.records),
        "datasets": len(site.contests),
        "sha256_of_ids": artifact.digest(sorted(one.id for one in site.records)),
    }


def _compared(records: Sequence[Record], left_out: Sequence[str], say: Callable[[str], None]) -> Site:
    labels = record.labels(records)
    found, notes = [], {}
    grouped = contests.contests(records, labels)
    with Progress(len(grouped), "datasets", "comparing") as progress:
        for one in grouped:
            done, note = contests.compared(one)
            found.append(done)
            if note:
                notes[one.slug] = note
                say(f"{one.name}: {note}")
            progress.advance()
    return Site(
        records=records,
        labels=labels,
        contests=found,
        panels=[panel.filled(one) for one in panel.panels(found)],
        notes=notes,
        left_out=left_out,
        has_library=_library() is not None,
        has_copies=sum(one.file.stat().st_size for one in records) <= COPIED,
    )


def _menu(site: Site) -> list[dict[str, str]]:
    """Return the boards that the menu names: panels, then datasets that stand alone."""
    titles = site.titles()
    entries = [{"title": one.title, "href": f"board/{one.slug}.html"} for one in site.panels]
    alone = sorted(panel.alone(site.contests, site.panels), key=lambda one: -len(one.entries))[:TABS]
    return entries + [{"title": titles[one.slug], "href": f"dataset/{one.slug}.html"} for one in alone]


def _write_boards(site: Site, folder: Path) -> None:
    menu = _menu(site)
    for one in site.panels:
        context = {"panel": one, "table": table.of_panel(one), "menu": menu, "current": f"board/{one.slug}.html"}
        _write(folder / "board" / f"{one.slug}.html", page("board", "../", site=site, **context))
    if site.panels:
        first = site.panels[0]
        context = {"panel": first, "table": table.of_panel(first), "menu": menu, "current": menu[0]["href"]}
    else:
        best = max(site.contests, key=lambda one: len(one.entries))
        context = {"panel": None, "contest": best, "table": table.of_contest(best), "menu": menu}
        context["current"] = f"dataset/{best.slug}.html"
    _write(folder / INDEX, page("board", "", site=site, **context))


def _write_datasets(site: Site, folder: Path) -> None:
    menu, titles = _menu(site), site.titles()
    for one in site.contests:
        found = page(
            "dataset", "../", site=site, contest=one, title=titles[one.slug], table=table.of_contest(one), menu=menu,
            current=f"dataset/{one.slug}.html", drawing=picture.drawing(picture.points(one)),
            note=site.notes.get(one.slug, ""), pair_page=pair.page_of, paired=one.paired(),
        )  # fmt: skip
        _write(folder / "dataset" / f"{one.slug}.html", found)
    _write(folder / "datasets.html", page("datasets", "", site=site, titles=titles))


def _write_records(site: Site, folder: Path) -> None:
    where = {one.id: contest for contest in site.contests for one in _all(contest)}
    titles = site.titles()
    with Progress(len(site.records), "records", "writing") as progress:
        for one in site.records:
            contest = where[one.id]
            label = site.labels[one.id]
            pairs = [found for found in contest.paired() if label in found and contest.entries[label].id == one.id]
            found = page(
                "record", "../", site=site, record=one, contest=contest, label=label, title=titles[contest.slug],
                is_newest=contest.entries[label].id == one.id, newest=contest.entries[label], pairs=pairs,
                repeats=contest.repeats.get(label, ()), pair_page=pair.page_of,
            )  # fmt: skip
            _write(folder / table.page_of(one), found)
            if site.has_copies:
                _write(folder / "record" / f"{one.id[:16]}.json", one.file.read_bytes())
            progress.advance()
    _write(folder / "records.html", page("records", "", site=site, table=table.of_records(site.records, site.labels)))


def _write_rest(site: Site, folder: Path) -> None:
    titles = site.titles()
    timed = [(one, picture.points(one)) for one in site.contests]
    timed = [(one, points) for one, points in timed if any(point.latency or point.index_bytes for point in points)]
    timed.sort(key=lambda found: -len(found[1]))
    drawings = [(one, picture.drawing(points)) for one, points in timed[:DRAWN]]
    known = {
        titles[one.slug]: {"measure": one.measure, "points": [asdict(point) for point in points]}
        for one, points in timed
    }
    _write(folder / "picture.html", page("picture", "", site=site, known=known, drawings=drawings, titles=titles))
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
    for contest in site.contests:
        for one in _all(contest):
            label = site.labels[one.id]
            standing = contest.standings.get(label) if contest.entries[label].id == one.id else None
            low, high = one.ci95 or (None, None)
            row = [one.id, label, one.family, one.dataset, one.measure, one.value, low, high]
            row += [standing.rank if standing else None, one.latency, one.index_bytes, one.parameters]
            writer.writerow(map(_cell, [*row, one.machine, one.seen, one.level, str(one.result.created)]))
    return lines.getvalue()


def _cell(value: object) -> object:
    """Return text that a spreadsheet takes for text: one that begins like a formula gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _all(contest: Contest) -> list[Record]:
    return [*contest.entries.values(), *(one for older in contest.repeats.values() for one in older)]


def _write_static(folder: Path, say: Callable[[str], None]) -> None:
    notice = "This site was made by lotte-bench (Apache-2.0).\n"
    for name in STATIC:
        _write(folder / "static" / name, (HERE / "static" / name).read_bytes())
    if found := _library():
        script, licence = found
        _write(folder / LIBRARY, script.read_bytes())
        notice += f"\n{LIBRARY} is plotly.js, taken from the Python package plotly, under this licence:\n\n{licence}"
    else:
        say(f"the picture cannot be zoomed without plotly, which is not installed: {extras.hint('plotly')}")
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
