"""The scores that a release states of its posts, and the votes that a dump has for them.

RELEASE is one of
  metadata.jsonl                           or its .gz: `dataset`, `post_ids` and `scores` of each question
  a build or a release                     the metadata.jsonl of all its topics and splits
  Posts.xml, its folder, or an archive     an older dump, whose community is known by its posts
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from lotte.builder import dump, spec
from lotte.builder.dating import Ints, Scores, spelled
from lotte.builder.history import POINTS
from lotte.builder.xml_rows import XmlRow, XmlRows, whole
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnavailableError, absent, shown
from lotte.jsonl import objects
from lotte.lines import plain_or_gz

METADATA = "metadata.jsonl"
VOTES = "Votes.xml"
_ARCHIVES = (".7z", ".zip")
_ID, _TYPE, _SCORE, _CREATED = b" Id=", b" PostTypeId=", b" Score=", b" CreationDate="
_POST, _VOTE = b" PostId=", b" VoteTypeId="
EPOCH = date(1970, 1, 1).toordinal()  # day 0
_KNOWN_BY = 500  # posts by which the community of an older dump is found
_MAX_BAD = 0.01  # share of bad rows, as max_bad_share of a build


@dataclass
class ReleaseScores:
    """What a release says of one community."""

    site: str  # "" if it does not say
    where: str  # it says so
    scores: dict[int, int] = field(default_factory=dict)  # post -> score
    created: dict[int, int] = field(default_factory=dict)  # post -> day, if it says that
    pages: dict[int, int | None] = field(default_factory=dict)  # post -> question, likewise


@dataclass(frozen=True)
class Dated:
    """A release beside the dump of one community."""

    site: str
    scores: Scores
    num_posts: int  # of the release
    not_in_dump: int  # of these, deleted since


def read(path: Path) -> list[ReleaseScores]:
    """Return the scores of each community in a release.

    Raises  UnavailableError if there is none, CorruptFileError if a line or a row is wrong
    """
    if not path.exists():
        raise absent(path, "; a release is a metadata.jsonl, a folder with one, or an older Posts.xml")
    if files := _metadata_files(path):
        if not (found := scores_in(files)):
            raise UnavailableError(f"{path} names no post, so it has no scores to be dated by")
        return found
    return [_read_posts(_older_dump(path))]


def dump_of(release: ReleaseScores, dumps: Path) -> dump.Dump | None:
    """Return the dump of a release's community: by its name, or else by its posts; None if there is none.

    dumps  as of a build, or one dump
    """
    if release.site:
        names = spec.read().names(release.site)
        return dump.find(dumps, names) or next((one for one in _dumps_in(dumps) if one.site in names), None)
    if _is_dump(dumps):
        return next(_dumps_in(dumps), None)
    alike = [(_num_alike(release, found), found) for found in _dumps_in(dumps)]
    most = max((count for count, _ in alike), default=0)
    nearest = [found for count, found in alike if most and count > most / 2]
    if len(nearest) > 1:  # dumps of several days: the latest has the most votes
        return max(nearest, key=lambda found: int(_posts(found)[1].max(initial=0)))
    return nearest[0] if nearest else None


def beside(release: ReleaseScores, found: dump.Dump) -> Dated:
    """Return the posts that the release and the dump have in common, with their votes.

    Raises  UnavailableError if the dump has no votes, or no days of them;
            MismatchError if it has no post of the release, or ends before the newest of them
    """
    if VOTES not in found.tables:
        raise UnavailableError(f"{found.path} has no {VOTES}, and a day is found by the votes; take a whole dump")
    ids, days = _posts(found)
    if not len(ids):
        raise UnavailableError(f"{found.where(dump.POSTS)} has no posts")
    names = np.array(sorted(release.scores), dtype=np.int64)
    kept = names[np.isin(names, ids)]
    if release.created:  # ids are small numbers, and every community has the same ones
        written = np.array([release.created[int(name)] for name in kept], dtype=np.int64)
        kept = kept[written == days[np.searchsorted(ids, kept)]]
    if not len(kept):
        raise MismatchError(
            f"{found.path} has none of the {len(names):,} posts of {release.where}; is it the dump of another "
            "community?"
        )
    post, day, worth = _votes(found)
    last = max(int(days.max()), int(day.max(initial=0)))
    newest = _newest(release, names, ids, days, last, found)
    row = np.minimum(np.searchsorted(kept, post), len(kept) - 1)
    is_kept = kept[row] == post
    released = np.array([release.scores[int(name)] for name in kept], dtype=np.int64)
    scores = Scores(released, newest, row[is_kept], day[is_kept], worth[is_kept], last)
    return Dated(found.site, scores, len(names), len(names) - len(kept))


def _newest(release: ReleaseScores, names: Ints, ids: Ints, days: Ints, last: int, found: dump.Dump) -> int:
    """Return the day of the newest post of the release. Ids grow with time, so a deleted post has the day before it."""
    up_to = int(np.searchsorted(ids, names[-1], side="right"))
    newest = max([int(days[:up_to].max(initial=0)), *release.created.values()])
    if newest > last or names[-1] > ids[-1]:
        raise MismatchError(
            f"{release.where} is newer than {found.path}: its newest post is {int(names[-1])}, and the dump ends on "
            f"{spelled(last)} with post {int(ids[-1])}. Take a newer dump."
        )
    return newest


def _metadata_files(path: Path) -> list[Path]:
    """Return the files of metadata: this one, or those of a folder, without the pool's if others are there."""
    if path.is_file():
        return [path] if ".jsonl" in path.suffixes else []
    own = plain_or_gz(path / METADATA)
    files = [own] if own.is_file() else sorted(path.glob(f"*/*/{METADATA}*"))
    return [file for file in files if file.parent.parent.name != spec.POOLED] or files


def scores_in(files: Iterable[Path]) -> list[ReleaseScores]:
    """Return the scores of each community in some files of metadata. Raises CorruptFileError for a line without."""
    by_site: dict[str, ReleaseScores] = {}
    for file in files:
        _read_metadata(file, by_site)
    return list(by_site.values())


def _read_metadata(path: Path, by_site: dict[str, ReleaseScores]) -> None:
    for number, line in objects(path):
        where = f"{path}:{number}"
        posts, scores = _numbers(line, "post_ids"), _numbers(line, "scores")
        if posts is None or scores is None or len(posts) != len(scores):
            raise CorruptFileError(f"{where}: expected post_ids and scores, two lists of numbers, found {shown(line)}")
        site = _host(line, where)
        known = by_site.setdefault(site, ReleaseScores(site, str(path)))
        known.scores |= zip(posts, scores, strict=True)
        page = line.get("question_id")
        known.pages |= dict.fromkeys(posts, page if type(page) is int else None)


def _numbers(line: dict[str, Any], key: str) -> list[int] | None:
    values = line.get(key)
    if isinstance(values, list) and all(type(value) is int and abs(value) < 1 << 62 for value in values):
        return values
    return None


def _host(line: dict[str, Any], where: str) -> str:
    """Return the community of a question: `dataset`, or else the host of the first URL."""
    site, urls = line.get("dataset"), line.get("post_urls")
    if isinstance(site, str) and "." in site:
        return site.lower()
    first = urls[0] if isinstance(urls, list) and urls else None
    if isinstance(first, str) and (host := urlsplit(first).hostname):
        return host
    raise CorruptFileError(
        f"{where}: expected the host of a community as `dataset` or in post_urls, found {shown(line)}"
    )


def _older_dump(path: Path) -> dump.Dump:
    """Return the dump that a table, a folder or an archive is."""
    if path.is_file() and path.suffix not in _ARCHIVES:
        return dump.Dump("", path, (dump.DumpPart(path, "gz" if path.suffix == ".gz" else "", {dump.POSTS: None}),))
    if found := _one_dump(path):
        return found
    raise UnavailableError(f"{path} holds no {METADATA}, no <topic>/<split>/{METADATA} and no {dump.POSTS}")


def _one_dump(path: Path) -> dump.Dump | None:
    whole_path = path.resolve()
    name = whole_path.name if path.is_dir() else whole_path.stem
    return dump.find(whole_path.parent, [name])


def _dumps_in(folder: Path) -> Iterator[dump.Dump]:
    """Give the dump that this is, or those in the folder."""
    if not folder.exists():
        raise absent(folder, "; it should hold <site>.7z or <site>/Posts.xml")
    places = [folder] if _is_dump(folder) else sorted(folder.iterdir())
    for place in places:
        if not place.is_dir() and place.suffix not in _ARCHIVES:
            continue
        name = place.resolve().name if place.is_dir() else place.stem
        for known in dict.fromkeys([name, name.rpartition("-")[0]]):  # <site>-Posts.7z
            with suppress(LotteError):  # a damaged dump, or a folder of something else
                if known and (found := dump.find(place.resolve().parent, [known])):
                    yield found
                    break


def _is_dump(path: Path) -> bool:
    return not path.is_dir() or any(file.name.lower().startswith("posts.xml") for file in path.iterdir())


def read_table(found: dump.Dump, table: str, take: Callable[[XmlRow], None]) -> None:
    """Hand on every row of a table. One for which KeyError or ValueError is raised is bad.

    Raises  CorruptFileError if too many are bad
    """
    for row, rows in _rows(found, table):
        try:
            take(row)
        except KeyError as error:
            rows.refuse(f"a row without {error.args[0].decode().strip(' =')}")
        except ValueError as error:
            rows.refuse(str(error)[:100])


def _rows(found: dump.Dump, table: str) -> Iterator[tuple[XmlRow, XmlRows]]:
    """Give the rows of a table, with what counts the bad ones. Raises CorruptFileError if those are too many."""
    for _, blocks in found.read([table], lambda used: None):
        rows = XmlRows(blocks, path=str(found.where(table)), root=table.removesuffix(".xml").lower())
        for row in rows:
            yield row, rows
        rows.bad.check_share(rows.count, _MAX_BAD)


def _posts_of(found: dump.Dump) -> Iterator[tuple[int, int, int]]:
    """Give id, day and score of each question and answer."""
    for row, rows in _rows(found, dump.POSTS):
        if row.get(_TYPE) in (b"1", b"2"):
            try:
                yield whole(row[_ID]), day_of(row[_CREATED][:10]), whole(row[_SCORE])
            except KeyError as error:
                rows.refuse(f"a post without {error.args[0].decode().strip(' =')}")
            except ValueError as error:
                rows.refuse(str(error)[:100])


def _read_posts(found: dump.Dump) -> ReleaseScores:
    release = ReleaseScores("", str(found.where(dump.POSTS)))
    for post_id, day, score in _posts_of(found):
        release.scores[post_id], release.created[post_id] = score, day
    if not release.scores:
        raise UnavailableError(f"{release.where} has no posts, so it has no scores to be dated by")
    return release


def _num_alike(release: ReleaseScores, found: dump.Dump) -> int:
    """Return how many of the first posts of a dump are in the release, written on the same day."""
    alike = 0
    try:
        for number, (post_id, day, _) in enumerate(_posts_of(found)):
            if number == _KNOWN_BY:
                break
            alike += release.created.get(post_id) == day
    except LotteError:  # a damaged dump is none of this release
        return 0
    return alike


def _posts(found: dump.Dump) -> tuple[Ints, Ints]:
    """Return ids and days of all questions and answers, by id."""
    numbers = array("q")
    for post_id, day, _ in _posts_of(found):
        numbers.extend((post_id, day))
    table = np.frombuffer(numbers, dtype=np.int64).reshape(-1, 2)
    table = table[table[:, 0].argsort(kind="stable")]
    table = table[table[:, 0] <= spec.BuildOptions().max_post_id]
    return table[:, 0], table[:, 1]


def _votes(found: dump.Dump) -> tuple[Ints, Ints, Ints]:
    """Return the post, the day and the worth of each vote that makes a score."""
    numbers = array("q")
    undated = 0

    def take(row: XmlRow) -> None:
        nonlocal undated
        if worth := POINTS.get(row.get(_VOTE, b"")):
            if row.get(_CREATED):
                numbers.extend((whole(row[_POST]), day_of(row[_CREATED][:10]), worth))
            else:
                undated += 1

    read_table(found, VOTES, take)
    votes = np.frombuffer(numbers, dtype=np.int64).reshape(-1, 3)
    if undated > _MAX_BAD * (undated + len(votes)):
        raise UnavailableError(
            f"{found.where(VOTES)}: {undated:,} of {undated + len(votes):,} votes have no CreationDate, so no day can "
            "be found by them; take a dump with the days of its votes"
        )
    if not len(votes):
        raise UnavailableError(f"{found.where(VOTES)} has no votes for or against a post, by which a day is found")
    return votes[:, 0], votes[:, 1], votes[:, 2]


@cache
def day_of(created: bytes) -> int:
    """Return the day of a time as dumps spell it, in days since 1970."""
    try:
        return date.fromisoformat(created[:10].decode("ascii")).toordinal() - EPOCH
    except ValueError:
        raise ValueError(f"CreationDate is {created[:20]!r}") from None
