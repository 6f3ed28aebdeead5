"""The command that finds the day of a release: date."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leaderboard.cli.options import AsJson
from leaderboard.cli.output import print_rows
from lotte.errors import UnavailableError
from lotte.terminal import put, say

if TYPE_CHECKING:
    from lotte.builder.dating import Days
    from lotte.builder.release_scores import Dated, ReleaseScores

ALL = "all"  # communities together


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
    if as_json:
        for row, (_, days) in zip(rows, series, strict=True):
            put(row | {"days": days.around()}, as_json=True)
    else:
        print_rows(rows, as_json, number=str)
    for row in rows:
        if row["ends"] == row["high"]:
            say(f"{row['site']}: {row['high']} is the last day of the dump; the release may be newer than that")
        if row["same"] < row["posts"] / 2:
            say(f"{row['site']}: less than half of the scores are those of any day; is it the same community?")
    if plot:
        dating.plot(series, plot)
        say(f"{plot}: the likelihood of every day")


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
