"""What differs between two builds, thing by thing: passages, questions and judgments that were lost, added or edited.

Two passages are the same if they are of one post. A release names no post of a
passage. If its metadata.jsonl has as many posts as there are passages, and they
are the passages in order, as the texts of the other build show, it does so after
all. Else the text decides, and what is left between two passages of the same
texts is an edited one if most of its words are there. A question is known
by the page that its answers stand on, a search question by its words too, and
one whose page nobody knows by its words alone.
"""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from lotte.builder.diff import UNKNOWN_SITE, BuildPart, PartQuestion
from lotte.builder.release_scores import METADATA, scores_in

LOST, ADDED, EDITED = "lost", "added", "edited"
PASSAGES, JUDGMENTS = "passages", "judgments"
LEAST_ALIKE = 0.5  # similarity from which a passage without a post may be an edited one
_REACH = 50  # passages without a partner that are looked through for an edited one
_LONG = 4_000_000  # words times words up to which the shortest list of changes is looked for


@dataclass
class Change:
    """One thing that differs.

    row       of the passage, or of the one that answers; in the first build unless it was added
    post      its id, None if nobody knows it
    before, after  texts; "" where it was not there
    golds     of a question: the rows of the passages that answer it
    because   of a judgment: the change of its passage or question, whose cause is its own
    """

    site: str
    what: str
    change: str
    row: int
    post: int | None
    before: str = ""
    after: str = ""
    golds: Sequence[int] = ()
    because: "Change | None" = None
    cause: str = ""


@dataclass
class PartChanges:
    """What differs in one topic and split, and how many things are the same by (site, what).

    pairs     kind, query id before, query id after, of the questions that both have
    rejudged  query ids before whose judgments changed
    """

    part: str
    changes: list[Change] = field(default_factory=list)
    same: Counter[tuple[str, str]] = field(default_factory=Counter)
    pairs: list[tuple[str, str, str]] = field(default_factory=list)
    rejudged: set[tuple[str, str]] = field(default_factory=set)
    newest: dict[str, int] = field(default_factory=dict)  # site -> greatest post id before


def similarity(before: str, after: str) -> float:
    """Return the share of words that two texts have in common, 2 common / (one + other).

    >>> similarity("the sky is blue", "the sky is grey")
    0.75
    """
    one, other = Counter(before.split()), Counter(after.split())
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0


def changed_words(before: str, after: str) -> list[tuple[str, str]]:
    """Return a text as pieces: ("=", words that stay), ("-", words that went), ("+", words that came).

    >>> changed_words("the sky is blue", "the sky is grey")
    [('=', 'the sky is'), ('-', 'blue'), ('+', 'grey')]
    """
    one, other = before.split(), after.split()
    exact = len(one) * len(other) <= _LONG
    pieces = []
    for kind, a, b, c, d in SequenceMatcher(None, one, other, autojunk=not exact).get_opcodes():
        if kind == "equal":
            pieces.append(("=", " ".join(one[a:b])))
        else:
            pieces += [(sign, " ".join(words)) for sign, words in (("-", one[a:b]), ("+", other[c:d])) if words]
    return pieces


def compare(name: str, old: BuildPart, new: BuildPart) -> PartChanges:
    """Return all that differs in one topic and split, without causes."""
    for part, other in ((old, new), (new, old)):
        if part.posts is None and other.posts is not None:
            _take_posts(part, other)
    found = PartChanges(name)
    match = _Match(old, new)
    at_passage = _passages(match, found)
    for kind in ("search", "forum"):
        _questions(match, found, kind, at_passage)
    for row in range(len(old.hashes)):
        site, post = match.post(old, row)
        if post is not None:
            found.newest[site] = max(found.newest.get(site, 0), post)
    return found


def _take_posts(part: BuildPart, other: BuildPart) -> None:
    """Give a release the posts that its metadata lists, by community and id, if they are its passages in order."""
    if not (file := part.folder / METADATA).is_file():
        return
    listed = [((known.site, post), known.pages[post]) for known in scores_in([file]) for post in sorted(known.scores)]
    if len(listed) != len(part.hashes) or other.posts is None:
        return
    text_of = dict(zip(other.posts, other.hashes, strict=True))
    agree = [text_of[post] == text for (post, _), text in zip(listed, part.hashes, strict=True) if post in text_of]
    if agree and 3 * sum(agree) >= len(agree):  # in another order hardly one would
        part.posts = [post for post, _ in listed]
        part.pages = {row: page for row, (_, page) in enumerate(listed) if page is not None}


def lacking(name: str, part: BuildPart, change: str) -> PartChanges:
    """Return a topic and split that only one build has: all of it was lost, or added."""
    found = PartChanges(name)
    posts = part.posts or [(UNKNOWN_SITE, None)] * len(part.hashes)
    for row, (site, post) in enumerate(posts):
        found.changes.append(_text_change(Change(site, PASSAGES, change, row, post), part.collection[row].text))
    for asked in part.asked:
        site, post = posts[asked.rows[0]]
        question = Change(
            site, _what(asked.kind), change, asked.rows[0], part.pages.get(asked.rows[0]), golds=asked.rows
        )
        found.changes.append(_text_change(question, asked.query))
        for row in asked.rows:
            found.changes.append(Change(site, JUDGMENTS, change, row, posts[row][1], because=question))
    return found


def _what(kind: str) -> str:
    return f"{kind} questions"


def _text_change(change: Change, text: str) -> Change:
    if change.change == ADDED:
        change.after = text
    else:
        change.before = text
    return change


class _Match:
    """Which passages of two builds belong together, by row; -1 for none."""

    def __init__(self, old: BuildPart, new: BuildPart) -> None:
        self.old, self.new = old, new
        if old.posts is not None and new.posts is not None:
            row_of = {post: row for row, post in enumerate(new.posts)}
            self.new_of = [row_of.get(post, -1) for post in old.posts]
        else:
            self.new_of = _by_text(old, new)
        self.old_of = [-1] * len(new.hashes)
        for row, partner in enumerate(self.new_of):
            if partner >= 0:
                self.old_of[partner] = row
        self._near: dict[int, list[str]] = {}

    def partner(self, part: BuildPart, row: int) -> int:
        return (self.new_of if part is self.old else self.old_of)[row]

    def other(self, part: BuildPart) -> BuildPart:
        return self.new if part is self.old else self.old

    def post(self, part: BuildPart, row: int) -> tuple[str, int | None]:
        """Return community and post: its own, its partner's, or the community of the passages in front of it."""
        if part.posts is not None:
            return part.posts[row]
        other, partner = self.other(part), self.partner(part, row)
        if other.posts is None:
            return UNKNOWN_SITE, None
        if partner >= 0:
            return other.posts[partner]
        if id(part) not in self._near:
            self._near[id(part)] = self._sites(part)
        return self._near[id(part)][row], None

    def _sites(self, part: BuildPart) -> list[str]:
        other = self.other(part)
        assert other.posts is not None
        sites, site = [], next((other.posts[at][0] for at in self._partners(part) if at >= 0), UNKNOWN_SITE)
        for at in self._partners(part):
            site = other.posts[at][0] if at >= 0 else site
            sites.append(site)
        return sites

    def _partners(self, part: BuildPart) -> list[int]:
        return self.new_of if part is self.old else self.old_of

    def page(self, part: BuildPart, asked: PartQuestion) -> Any:
        """Return the page of a question, by what its own build or the other says of its answers; None if nothing."""
        for row in asked.rows:
            if (page := part.pages.get(row)) is not None:
                return page
        other = self.other(part)
        pages = (other.pages.get(at) for row in asked.rows if (at := self.partner(part, row)) >= 0)
        return next((page for page in pages if page is not None), None)


def _by_text(old: BuildPart, new: BuildPart) -> list[int]:
    """Return for each old passage the new one with its text, in order, or else with most of its words; -1 for none."""
    rows_of: dict[bytes, deque[int]] = defaultdict(deque)
    for row, digest in enumerate(new.hashes):
        rows_of[digest].append(row)
    partner = [rows_of[digest].popleft() if rows_of.get(digest) else -1 for digest in old.hashes]
    free = {row for rows in rows_of.values() for row in rows}
    at, begin = -1, 0
    while begin < len(partner):
        if partner[begin] >= 0:
            at, begin = partner[begin], begin + 1
            continue
        end = next((row for row in range(begin, len(partner)) if partner[row] >= 0), len(partner))
        after = partner[end] if end < len(partner) else len(new.hashes)
        until = after if at < after <= at + _REACH else min(at + end - begin + _REACH, len(new.hashes))
        near = [row for row in range(at + 1, until) if row in free]
        for row in range(begin, end):
            text = old.collection[row].text
            alike = [(similarity(text, new.collection[other].text), -other) for other in near]
            if alike and max(alike)[0] >= LEAST_ALIKE:
                partner[row] = -max(alike)[1]
                near.remove(partner[row])
                free.remove(partner[row])
        begin = end
    return partner


def _passages(match: _Match, found: PartChanges) -> dict[tuple[str, int], Change]:
    """Note the passages that differ. Returns (lost or added, row) -> the change."""
    old, new = match.old, match.new
    at: dict[tuple[str, int], Change] = {}
    for row, partner in enumerate(match.new_of):
        site, post = match.post(old, row)
        if partner < 0:
            at[LOST, row] = Change(site, PASSAGES, LOST, row, post, before=old.collection[row].text)
            found.changes.append(at[LOST, row])
        elif old.hashes[row] == new.hashes[partner]:
            found.same[site, PASSAGES] += 1
        else:
            texts = old.collection[row].text, new.collection[partner].text
            found.changes.append(Change(site, PASSAGES, EDITED, row, post, *texts))
    for row, partner in enumerate(match.old_of):
        if partner < 0:
            site, post = match.post(new, row)
            at[ADDED, row] = Change(site, PASSAGES, ADDED, row, post, after=new.collection[row].text)
            found.changes.append(at[ADDED, row])
    return at


def _questions(match: _Match, found: PartChanges, kind: str, at_passage: dict[tuple[str, int], Change]) -> None:
    """Note the questions of one kind that differ, and the judgments of all."""
    pairs, lost, added = _paired(match, kind)
    for one, other in pairs:
        site, _ = match.post(match.old, one.rows[0])
        found.pairs.append((kind, one.query_id, other.query_id))
        if one.query == other.query:
            found.same[site, _what(kind)] += 1
        else:
            page = match.page(match.old, one)
            found.changes.append(Change(site, _what(kind), EDITED, one.rows[0], page, one.query, other.query, one.rows))
        before = {row: match.new_of[row] for row in one.rows}
        gone = [row for row, partner in before.items() if partner not in other.rows]
        came = sorted(set(other.rows) - set(before.values()))
        found.same[site, JUDGMENTS] += len(before) - len(gone)
        for change, part, rows in ((LOST, match.old, gone), (ADDED, match.new, came)):
            for row in rows:
                because = at_passage.get((change, row))
                found.changes.append(Change(site, JUDGMENTS, change, row, match.post(part, row)[1], because=because))
        if gone or came:
            found.rejudged.add((kind, one.query_id))
    for change, part, questions in ((LOST, match.old, lost), (ADDED, match.new, added)):
        for asked in questions:
            site, _ = match.post(part, asked.rows[0])
            page = match.page(part, asked)
            question = Change(site, _what(kind), change, asked.rows[0], page, golds=asked.rows)
            found.changes.append(_text_change(question, asked.query))
            for row in asked.rows:
                found.changes.append(Change(site, JUDGMENTS, change, row, match.post(part, row)[1], because=question))


def _paired(
    match: _Match, kind: str
) -> tuple[list[tuple[PartQuestion, PartQuestion]], list[PartQuestion], list[PartQuestion]]:
    """Return the questions that both have, those that only the first has, and those that only the second has."""
    left = [asked for asked in match.old.asked if asked.kind == kind]
    rest = [asked for asked in match.new.asked if asked.kind == kind]
    pairs: list[tuple[PartQuestion, PartQuestion]] = []
    keys = (_key, _shared_answer, _words) if kind == "forum" else (_key, _words)
    for key in keys:  # each for what those in front of it have not brought together
        waiting: dict[Any, deque[PartQuestion]] = defaultdict(deque)
        for asked in rest:
            waiting[key(match, match.new, asked)].append(asked)
        lost: list[PartQuestion] = []
        for asked in left:
            name = key(match, match.old, asked)
            queue = waiting.get(name)
            if queue and name is not None:
                pairs.append((asked, queue.popleft()))
            else:
                lost.append(asked)
        left, rest = lost, [asked for queue in waiting.values() for asked in queue]
    return pairs, left, rest


def _key(match: _Match, part: BuildPart, asked: PartQuestion) -> Any:
    page = match.page(part, asked)
    site, _ = match.post(part, asked.rows[0])
    if page is None:
        return _plain(asked.query)
    return (site, page) if asked.kind == "forum" else (site, page, asked.query)


def _shared_answer(match: _Match, part: BuildPart, asked: PartQuestion) -> int | None:
    """Return the first passage that answers it and is in both, by its row in the second: it tells a forum page."""
    rows_there = [
        match.new_of[row] if part is match.old else row for row in asked.rows if match.partner(part, row) >= 0
    ]
    return min(rows_there, default=None)


def _words(match: _Match, part: BuildPart, asked: PartQuestion) -> str:
    return _plain(asked.query)


def _plain(query: str) -> str:
    return re.sub(r"\W+", " ", query).strip().casefold()


def rows(parts: Sequence[PartChanges]) -> Iterator[dict[str, Any]]:
    """Give how many things of each part, community and kind are the same, or changed by each cause."""
    for part in parts:
        counts: Counter[tuple[str, str, str, str]] = Counter()
        for (site, what), count in part.same.items():
            counts[site, what, "same", ""] += count
        for change in part.changes:
            counts[change.site, change.what, change.change, change.cause] += 1
        for (site, what, change_kind, cause), count in sorted(counts.items(), key=_place):
            yield {"part": part.part, "site": site, "what": what, "change": change_kind, "cause": cause, "count": count}


_WHAT = (PASSAGES, "search questions", "forum questions", JUDGMENTS)
_CHANGE = ("same", LOST, ADDED, EDITED)


def _place(item: tuple[tuple[str, str, str, str], int]) -> tuple[Any, ...]:
    (site, what, change, cause), count = item
    return site, _WHAT.index(what), _CHANGE.index(change), -count, cause
