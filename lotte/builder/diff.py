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
        old, new = _part(before / name), _part(after / name)
        if old and new and old.has_posts != new.has_posts:
            old, new = old.without_posts(), new.without_posts()
        kinds = sorted({*(old.things if old else ()), *(new.things if new else ())}, key=_ORDER.index)
        for what in kinds:
            ours, theirs = (part.things.get(what, {}) if part else {} for part in (old, new))
            for site in sorted({*ours, *theirs}):
                yield _row(name, site, what, ours.get(site, {}), theirs.get(site, {}))


_ORDER = ["passages", "search questions", "search answers", "forum questions", "forum answers"]


def _row(part: str, site: str, what: str, old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Difference:
    both = old.keys() & new.keys()
    changed = sum(old[key] != new[key] for key in both)
    lost, added = len(old) - len(both), len(new) - len(both)
    return Difference(part, site, what, len(both) - changed, lost, added, changed)


class _Part:
    """What one topic and split holds: kind -> site -> key -> what may change about it."""

    def __init__(self, folder: Path, *, use_posts: bool = True) -> None:
        self.folder = folder
        attribution = folder / "attribution.parquet"
        self.has_posts = use_posts and attribution.is_file()
        texts = [_hash(doc.text) for doc in Collection(folder / "collection.tsv")]
        if self.has_posts:
            table = parquet.columns(attribution, {"site": str, "post_id": int})
            self.posts = list(zip(table["site"], table["post_id"], strict=True))
            if len(self.posts) != len(texts):
                raise UnavailableError(
                    f"{folder}: {len(texts)} passages, {len(self.posts)} attributions; build it again"
                )
        else:
            self.posts = [(UNKNOWN_SITE, key) for key in _numbered(texts)]
        self.things: dict[str, dict[str, dict[Any, Any]]] = defaultdict(lambda: defaultdict(dict))
        for (site, post_id), text in zip(self.posts, texts, strict=True):
            self.things["passages"][site][post_id] = text
        pages = self._pages()
        for kind in ("search", "forum"):
            if (folder / f"qas.{kind}.jsonl").is_file():
                self._questions(kind, pages)

    def without_posts(self) -> "_Part":
        return _Part(self.folder, use_posts=False)

    def _pages(self) -> dict[int, Any]:
        """Return pid -> id of the question it answers, as far as metadata.jsonl says so."""
        path = self.folder / "metadata.jsonl"
        if not (self.has_posts and path.is_file()):
            return {}
        pages: dict[int, Any] = {}
        for number, line in objects(path):
            where = f"{path}:{number}"
            if "pids" in line:
                if (pids := rows(line, "pids", len(self.posts))) is None:
                    raise CorruptFileError(f"{where}: expected pids of passages that are there, found {str(line)[:60]}")
                pages |= dict.fromkeys(pids, integer(line.get("question_id"), "question_id", where))
        return pages

    def _questions(self, kind: str, pages: Mapping[int, Any]) -> None:
        path = self.folder / f"qas.{kind}.jsonl"
        for number, line in objects(path):
            pids, query, url = rows(line, "answer_pids", len(self.posts)), line.get("query"), line.get("url", "")
            if not (pids and isinstance(query, str) and isinstance(url, str)):
                raise CorruptFileError(
                    f"{path}:{number}: expected query and answer_pids of passages that are there, "
                    f"found {str(line)[:60]}"
                )
            golds = [self.posts[pid] for pid in pids]
            site, page = golds[0][0], pages.get(pids[0], query)
            key = (page, url, query) if kind == "search" else page
            self.things[f"{kind} questions"][site][key] = query
            for gold in golds:
                self.things[f"{kind} answers"][site][key, gold] = True


def _part(folder: Path) -> _Part | None:
    return _Part(folder) if (folder / "collection.tsv").is_file() else None


def _numbered(items: Iterable[K]) -> Iterator[tuple[K, int]]:
    """Give equal items different keys: the first, second ... of their kind."""
    seen: Counter[K] = Counter()
    for item in items:
        seen[item] += 1
        yield item, seen[item]


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=12).digest()
