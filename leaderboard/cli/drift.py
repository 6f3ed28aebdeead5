"""Two builds beside each other: what `lotte check --against` prints, and `lotte date`, which finds the day of one."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leaderboard.cli.options import AsJson
from leaderboard.cli.output import print_rows
from lotte.errors import UnavailableError
from lotte.terminal import cell, put, say

if TYPE_CHECKING:
    from leaderboard.drift_scores import DriftScore
    from lotte.builder.changes import Change
    from lotte.builder.dating import Days
    from lotte.builder.drift import Drift
    from lotte.builder.release_scores import Dated, ReleaseScores

ALL = "all"  # communities together
Against = Annotated[Path | None, typer.Option(help="A later build, or a release: tell the drift, with causes.")]
LaterDumps = Annotated[Path | None, typer.Option(help="Dumps of its day, for causes that the builds do not tell.")]
Scored = Annotated[
    list[str] | None, typer.Option(metavar="SYSTEM", help='Score it on both: bm25, "bm25 k1=1.2"; repeatable.')
]
Page = Annotated[Path | None, typer.Option(help="Write the drift as a page with pictures: a .html.")]


def date(
    release: Annotated[
        Path, typer.Argument(help="metadata.jsonl, a folder with it, or an older dump: Posts.xml, a folder, a .7z.")
    ],
    dumps: Annotated[Path, typer.Option(help="Folder with <site>.7z or <site>/ of a later day, with Votes.xml.")],
    plot: Annotated[
        Path | None, typer.Option(help="Draw the likelihood of every day around it: a .png, .svg or .pdf.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the day of a release from the scores of its posts, by the votes in a later dump.

    lotte date lotte/lifestyle/dev/metadata.jsonl --dumps ~/dumps --plot day.png
    """
    from lotte import picture
    from lotte.builder import dating, release_scores

    if plot:
        picture.require_ending(plot)
    found: list[tuple[str, Dated, Days]] = []
    for one in _with_dumps(release_scores.read(release), dumps, release):
        dated = release_scores.beside(*one)
        found.append((dated.site, dated, dating.agreement(dated.scores)))
    rows = [_row(site, [dated], days) for site, dated, days in found]
    series = [(site, days) for site, _, days in found]
    if len(found) > 1:
        days = dating.together([days for _, _, days in found])
        rows.append(_row(ALL, [dated for _, dated, _ in found], days))
        series.append((ALL, days))
    told = [row | {"days": days.around()} for row, (_, days) in zip(rows, series, strict=True)] if as_json else rows
    print_rows(told, as_json, number=str)
    _say_doubts(rows)
    if plot:
        dating.plot(series, plot)
        say(f"{plot}: the likelihood of every day")


def _say_doubts(rows: list[dict[str, Any]]) -> None:
    """Say where a day that was found should not be believed at once."""
    for row in rows:
        if row["ends"] == row["high"]:
            say(f"{row['site']}: {row['high']} is the last day of the dump; the release may be newer than that")
        if row["same"] < row["posts"] / 2:
            say(f"{row['site']}: less than half of the scores are those of any day; is it the same community?")


def _with_dumps(releases: "list[ReleaseScores]", dumps: Path, path: Path) -> "list[tuple[ReleaseScores, Any]]":
    """Return the communities that have a dump, and say which have none."""
    from lotte.builder import release_scores

    pairs = [(release, release_scores.dump_of(release, dumps)) for release in releases]
    lacking = [release.site for release, found in pairs if found is None]
    if len(lacking) == len(pairs):
        named = f" ({', '.join(lacking[:5])}{', ...' if len(lacking) > 5 else ''})" if all(lacking) else ""
        raise UnavailableError(
            f"{dumps} holds no dump with the posts of {path}{named}; fetch <site>.7z, or name another --dumps"
        )
    if lacking:
        say(f"no dump in {dumps}, so left out: {', '.join(lacking)}")
    return [(release, found) for release, found in pairs if found]


def _row(site: str, dated: "list[Dated]", days: "Days") -> dict[str, Any]:
    """Return what is printed of a community: the day, its interval, and how many scores agree."""
    from lotte.builder.dating import spelled

    low, high = days.interval
    best = days.best - days.first
    return {
        "site": site,
        "day": spelled(days.best),
        "low": spelled(low),
        "high": spelled(high),
        "newest_post": spelled(max(one.scores.newest for one in dated)),
        "ends": spelled(min(one.scores.last for one in dated)),
        "posts": int(days.same[best] + days.more[best] + days.fewer[best]),
        "same": int(days.same[best]),
        "more": int(days.more[best]),
        "fewer": int(days.fewer[best]),
        "votes_lost": int(days.lost[best]),
        "not_in_dump": sum(one.not_in_dump for one in dated),
    }


def print_drift(
    before: Path, after: Path, dumps: Path | None, systems: Sequence[str], page: Path | None, as_json: bool
) -> None:
    """Print what differs between two builds, with causes, and what that does to the scores of some systems."""
    from lotte.builder import changes
    from lotte.builder.drift import drift

    if page and page.suffix.lower() not in (".html", ".htm"):
        raise UnavailableError(f"--page takes a file that ends in .html, not {page.name!r}")
    if dumps and not dumps.is_dir():
        raise UnavailableError(f"{dumps} is no folder; --dumps takes one with <site>.7z or <site>/Posts.xml")
    chosen = _systems(systems)
    found = drift(before, after, dumps)
    if found.without_dump:
        say(f"no dump in {dumps} of {', '.join(found.without_dump)}; causes there are those that the builds tell")
    if found.is_none:
        put({"row": "verdict", "same": True, "text": found.verdict()} if as_json else found.verdict(), as_json=as_json)
        if not page:
            return
    elif as_json:
        for row in _rows(found):
            put(row, as_json=True)
    else:
        say(found.verdict())
        _print_table(list(changes.rows(found.parts)))
    scored = [] if found.is_none else list(_scored(found, chosen, as_json))
    if page:
        from leaderboard import drift_page

        drift_page.write(found, scored, page)
        say(f"{page}: the same as a page")


def _systems(asked: Sequence[str]) -> dict[str, Any]:
    """Return the systems to be scored; nothing is imported for none."""
    if not asked:
        return {}
    from leaderboard.drift_scores import systems

    return systems(asked)


def _rows(found: "Drift") -> "Iterator[dict[str, Any]]":
    """Give the JSON of what differs: the counts, and then every change."""
    from lotte.builder import changes

    for row in changes.rows(found.parts):
        yield {"row": "count", **row}
    for part in found.parts:
        for change in part.changes:
            yield {"row": "change", "part": part.part, **_change(change)}


def _change(change: "Change") -> dict[str, Any]:
    from lotte.builder import changes

    row: dict[str, Any] = {name: getattr(change, name) for name in ("site", "what", "change", "cause", "post")}
    if change.change == changes.EDITED:
        pieces = changes.changed_words(change.before, change.after)
        row["similarity"] = round(changes.similarity(change.before, change.after), 4)
        row["went"] = [words for sign, words in pieces if sign == "-"]
        row["came"] = [words for sign, words in pieces if sign == "+"]
    elif text := change.before or change.after:
        row["text"] = text
    return row


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Print counts: as a table for people on a terminal, else as TSV."""
    if not sys.stdout.isatty():
        print_rows(rows, False, number=str)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in rows[0]:
        table.add_column(name, justify="right" if name == "count" else "left")
    for row in rows:
        style = {"same": "dim", "lost": "red", "added": "green"}.get(row["change"], "yellow")
        cells = [cell(value) if name != "count" else f"{value:,}" for name, value in row.items()]
        table.add_row(*(Text(text) for text in cells), style=style)
    Console().print(table)


def _scored(found: "Drift", chosen: dict[str, Any], as_json: bool) -> "Iterator[DriftScore]":
    """Give what the systems have on both builds, and print it: the scores, then the questions that turned."""
    from leaderboard.drift_scores import score

    scores = list(score(found, chosen, say)) if chosen else []
    tables: list[list[dict[str, Any]]] = [[_score(one) for one in scores]]
    tables.append([_turned(one, turned) for one in scores for turned in one.turned])
    for name, rows in zip(("score", "turned"), tables, strict=True):
        if rows and not as_json:
            put("")
        print_rows([{"row": name, **row} for row in rows] if as_json else rows, as_json)
    yield from scores


def _score(one: "DriftScore") -> dict[str, Any]:
    low, high = one.paired.ci95
    return {
        "system": one.system, "dataset": one.dataset, "measure": one.measure, "before": one.before, "after": one.after,
        "in_both": one.paired.n, "difference": one.paired.difference, "low": low, "high": high, "p": one.paired.p,
        "gained": one.paired.wins, "lost": one.paired.losses,
    }  # fmt: skip


def _turned(one: "DriftScore", turned: Any) -> dict[str, Any]:
    return {
        "system": one.system, "dataset": one.dataset, "query_id": turned.query_id, "before": turned.before,
        "after": turned.after, "judgments": "changed" if turned.rejudged else "the same", "query": turned.query,
    }  # fmt: skip
