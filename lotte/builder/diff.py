"""One build beside another: what was lost, added or changed, by community.

A passage is known by its site and post id; a forum question by its page; a
search question by its page, the URL GooAQ gave and its words. So two builds
compare whatever their pids are. The released LoTTE names no post of a passage,
so there a passage is known by its text, and only lost and added can be told.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lotte import parquet
from lotte.collection import Collection
from lotte.errors import CorruptFileError, UnavailableError
from lotte.jsonl import integer, objects, rows

K = TypeVar("K")
UNKNOWN_SITE = "?"


class Difference(NamedTuple):
    """How many things of one kind two builds have in common, by community."""

    part: str  # "science/test"
    site: str
    what: str  # "passages", "search questions", "search answers", "forum questions", "forum answers"
    same: int
    lost: int  # in the first build, not in the second
    added: int
    changed: int

    def __str__(self) -> str:
        return "\t".join(map(str, self))


def parts(folder: Path) -> list[str]:
    """Return the topic/split folders of a build or a release; "." if it is one itself."""
    if (folder / "collection.tsv").is_file():
        return ["."]
    names = sorted(path.parent.relative_to(folder).as_posix() for path in folder.glob("*/*/collection.tsv"))
    if not names:
        raise UnavailableError(f"{folder} holds no collection.tsv, and no <topic>/<split>/collection.tsv")
    return names


def compare(before: Path, after: Path) -> Iterator[Difference]:
    """Give a row for each community and kind of thing; rows in which all is the same too."""
    names = sorted({*parts(before), *parts(after)})
    for name in names:
        old, new = part_in(before / name), part_in(after / name)
        by_post = all(part.posts is not None for part in (old, new) if part)
        ours, theirs = (part.things(by_post=by_post) if part else {} for part in (old, new))
        for what in sorted({*ours, *theirs}, key=_ORDER.index):
            old_sites, new_sites = ours.get(what, {}), theirs.get(what, {})
            for site in sorted({*old_sites, *new_sites}):
                yield _row(name, site, what, old_sites.get(site, {}), new_sites.get(site, {}))


_ORDER = ["passages", "search questions", "search answers", "forum questions", "forum answers"]


def _row(part: str, site: str, what: str, old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Difference:
    both = old.keys() & new.keys()
    changed = sum(old[key] != new[key] for key in both)
    lost, added = len(old) - len(both), len(new) - len(both)
    return Difference(part, site, what, len(both) - changed, lost, added, changed)


class PartQuestion(NamedTuple):
    """A question and the rows of the passages that answer it."""

    kind: str  # "search" or "forum"
    query_id: str
    query: str
    url: str  # of GooAQ, "" if none is given
    rows: list[int]


class BuildPart:
    """What one topic and split holds: its passages, whose posts they are, and what is asked.

    posts  (site, post id) of each passage; None if no attribution says so
    pages  passage -> id of the question it answers, as far as metadata.jsonl says so
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.collection = Collection(folder / "collection.tsv")
        self.hashes = [_hash(doc.text) for doc in self.collection]
        self.posts = self._posts(folder / "attribution.parquet")
        self.pages = self._pages()
        self.asked = [
            asked
            for kind in ("search", "forum")
            if (folder / f"qas.{kind}.jsonl").is_file()
            for asked in self._questions(kind)
        ]

    def things(self, *, by_post: bool) -> dict[str, dict[str, dict[Any, Any]]]:
        """Return kind -> site -> key -> what may change about it; passages are known by their text if not by_post."""
        posts = self.posts if by_post and self.posts else [(UNKNOWN_SITE, key) for key in _numbered(self.hashes)]
        pages = self.pages if by_post else {}
        things: dict[str, dict[str, dict[Any, Any]]] = defaultdict(lambda: defaultdict(dict))
        for (site, post_id), text in zip(posts, self.hashes, strict=True):
            things["passages"][site][post_id] = text
        for kind, _, query, url, rows_of in self.asked:
            golds = [posts[row] for row in rows_of]
            site, page = golds[0][0], pages.get(rows_of[0], query)
            key = (page, url, query) if kind == "search" else page
            things[f"{kind} questions"][site][key] = query
            for gold in golds:
                things[f"{kind} answers"][site][key, gold] = True
        return things

    def _posts(self, attribution: Path) -> list[tuple[str, Any]] | None:
        if not attribution.is_file():
            return None
        table = parquet.columns(attribution, {"site": str, "post_id": int})
        posts = list(zip(table["site"], table["post_id"], strict=True))
        if len(posts) != len(self.hashes):
            raise UnavailableError(
                f"{self.folder}: {len(self.hashes)} passages, {len(posts)} attributions; build it again"
            )
        return posts

    def _pages(self) -> dict[int, Any]:
        path = self.folder / "metadata.jsonl"
        if not (self.posts and path.is_file()):
            return {}
        pages: dict[int, Any] = {}
        for number, line in objects(path):
            where = f"{path}:{number}"
            if "pids" in line:
                if (pids := rows(line, "pids", len(self.posts))) is None:
                    raise CorruptFileError(f"{where}: expected pids of passages that are there, found {str(line)[:60]}")
                pages |= dict.fromkeys(pids, integer(line.get("question_id"), "question_id", where))
        return pages

    def _questions(self, kind: str) -> Iterator[PartQuestion]:
        path = self.folder / f"qas.{kind}.jsonl"
        for number, line in objects(path):
            pids, query, url = rows(line, "answer_pids", len(self.hashes)), line.get("query"), line.get("url", "")
            if not (pids and isinstance(query, str) and isinstance(url, str)):
                raise CorruptFileError(
                    f"{path}:{number}: expected query and answer_pids of passages that are there, "
                    f"found {str(line)[:60]}"
                )
            yield PartQuestion(kind, str(line.get("qid")), query, url, pids)


def part_in(folder: Path) -> BuildPart | None:
    """Return the topic and split in a folder; None if there is none."""
    return BuildPart(folder) if (folder / "collection.tsv").is_file() else None


def _numbered(items: Iterable[K]) -> Iterator[tuple[K, int]]:
    """Give equal items different keys: the first, second ... of their kind."""
    seen: Counter[K] = Counter()
    for item in items:
        seen[item] += 1
        yield item, seen[item]


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=12).digest()
