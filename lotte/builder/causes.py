"""Why something differs between two builds: what the builds themselves say, and what a later dump does.

The manifests say which files and which rules each was made by, and of which
day. A dump, of the second build's day or later, says whether a post is still
there, how it was voted on, and when it was edited. Without one the rest is
`UNKNOWN`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from lotte import parquet
from lotte.builder import dating, dump, history, manifest, spec
from lotte.builder.changes import ADDED, EDITED, JUDGMENTS, LOST, PASSAGES, Change, PartChanges
from lotte.builder.release_scores import EPOCH, METADATA, VOTES, day_of, read_table, scores_in
from lotte.builder.xml_rows import XmlRow, whole
from lotte.errors import LotteError

UNKNOWN = "unknown without --dumps"
UNEXPLAINED = "unknown"
DELETED = "deleted since"
LATER = "created later"
WITH_HISTORY, WITHOUT_HISTORY = "edited with history", "edited without history"
NO_HISTORY = "unknown: the dump has no PostHistory.xml"
VOTE_LOST, VOTED_DOWN, VOTED_UP = "vote lost", "voted down since", "voted up since"
RULE = "rule of the spec"
ORDER = "another choice of questions"

_HISTORY = "PostHistory.xml"
_POST, _CREATED = b" PostId=", b" CreationDate="
_DAYS = ("as_of", "until")  # options that are a day, and no rule


class BuildFacts:
    """What a build or a release says of itself, as far as it says anything.

    options  of its spec; those of LoTTE where it has no manifest
    day      of which it is, "" if nothing says so
    inputs   community -> sha256 of its posts
    """

    def __init__(self, folder: Path, parts: Iterable[str]) -> None:
        try:
            record = manifest.read(folder)
        except LotteError:  # a release has none
            record = {}
        known, stated = vars(spec.BuildOptions()), _inner(record, "spec", "options")
        self.options: dict[str, Any] = {
            # JSON has lists for tuples; what is of another kind was written by no build
            key: value if type(value) is type(default) or isinstance(default, tuple) else default
            for key, default in known.items()
            for value in [stated.get(key, default)]
        }
        self.day = str(self.options["as_of"] or self.options["until"])
        try:
            self.day = dating.spelled(_number(self.day)) if self.day else ""
        except ValueError:  # no day, so no build wrote it
            self.day = ""
        communities = _inner(record, "inputs", "communities")
        hashes = {site: _inner(communities, site, dump.POSTS).get("sha256") for site in communities}
        self.inputs = {site: sha256 for site, sha256 in hashes.items() if isinstance(sha256, str)}
        self.scores: dict[tuple[str, int], int] = {}
        self.created: dict[tuple[str, int], int] = {}
        for part in parts:
            self._read(folder / part)

    def of_site(self, site: str) -> dict[int, int]:
        """Return the scores of the posts of a community."""
        return {post: score for (of, post), score in self.scores.items() if of == site}

    def _read(self, part: Path) -> None:
        if (file := part / METADATA).is_file():
            for release in scores_in([file]):
                self.scores |= {(release.site, post): score for post, score in release.scores.items()}
        if (file := part / "attribution.parquet").is_file():
            for batch in parquet.batches(file, {}):
                created = batch.to_pydict() if "created" in batch.schema.names else {"created": []}
                for row, when in enumerate(created["created"]):
                    if isinstance(when, datetime):
                        key = created["site"][row], created["post_id"][row]
                        self.created[key] = when.toordinal() - EPOCH


def _inner(record: Any, *keys: str) -> dict[str, Any]:
    """Return the object at the end of these keys, {} if there is none."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record if isinstance(record, dict) else {}


@dataclass
class DumpFacts:
    """What a dump says of some posts of a community; days since 1970."""

    last: int = 0
    posts: dict[int, tuple[int, int]] = field(default_factory=dict)  # post -> day of creation, question
    orphans: set[int] = field(default_factory=set)  # answers whose question is gone
    scores: dict[int, int] = field(default_factory=dict)
    votes: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))  # post -> day, worth
    bodies: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))  # post -> days of edits
    titles: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    has_votes: bool = False
    has_history: bool = False


class Causes:
    """Finds the cause of each change. `dumps` is a folder as of a build, None if there is none."""

    def __init__(self, before: BuildFacts, after: BuildFacts, dumps: Path | None) -> None:
        self.before, self.after = before, after
        self._dumps = dumps
        self.without_dump: list[str] = []  # communities whose dump was looked for in vain
        self._facts: dict[str, DumpFacts] = {}
        self._days: dict[str, int] = {}  # site -> day of the first build, where it says nothing and its scores do
        self._newest: dict[str, int] = {}  # site -> greatest post id of the first build
        self._sites: tuple[set[str], set[str]] = set(), set()
        self._same_rules = all(
            value == after.options[key] or (isinstance(value, list | tuple) and [*value] == [*after.options[key]])
            for key, value in before.options.items()
            if key not in _DAYS
        )

    def explain(self, parts: Sequence[PartChanges]) -> None:
        """Write the cause into every change."""
        for part in parts:
            for site, post in part.newest.items():
                self._newest[site] = max(self._newest.get(site, 0), post)
        self._note_sites(parts)
        if self._dumps:
            self._read_dumps(parts, self._dumps)
        for part in parts:
            of_row = {(change.change, change.row): change for change in part.changes if change.what == PASSAGES}
            for change in of_row.values():
                change.cause = self._of_passage(change)
            for change in part.changes:
                if change.what not in (PASSAGES, JUDGMENTS):
                    change.cause = self._of_question(change, of_row)
            for change in part.changes:
                if change.what == JUDGMENTS:
                    change.cause = change.because.cause if change.because else RULE

    def _note_sites(self, parts: Sequence[PartChanges]) -> None:
        for part in parts:
            for site, _ in part.same:
                for known in self._sites:
                    known.add(site)
            for change in part.changes:
                for known, missing in zip(self._sites, (ADDED, LOST), strict=True):
                    if change.change != missing:
                        known.add(change.site)

    def _of_passage(self, change: Change) -> str:
        before, after = self.before, self.after
        site, post = change.site, change.post
        one_site = site in self._sites[0] and site in self._sites[1]
        same_input = before.inputs.get(site, "") == after.inputs.get(site) and before.day == after.day
        if not one_site or same_input:
            return RULE
        facts = self._facts.get(site)
        if change.change == EDITED:
            return self._of_edit(change, facts.bodies.get(post or 0, []) if facts else [])
        if change.change == ADDED:
            return self._of_added(site, post, facts)
        if (created := self._created(site, post)) is not None and after.day and created > _number(after.day):
            return LATER
        if post is None or facts is None:
            return UNKNOWN if facts is None else UNEXPLAINED
        if post not in facts.posts or post in facts.orphans:
            return DELETED
        least = int(after.options["min_score"])
        if self._score(facts, post, after.day) >= least:
            return RULE
        then = before.scores.get((site, post))
        later = [worth for day, worth in facts.votes[post] if day > self._day_before(site)]
        if then is not None and then + sum(later) >= least:
            return VOTE_LOST
        return VOTED_DOWN if any(worth < 0 for worth in later) else VOTE_LOST

    def _of_added(self, site: str, post: int | None, facts: DumpFacts | None) -> str:
        created, day = self._created(site, post), self._known_day(site)
        if post is not None:
            newer = post > self._newest.get(site, post) if created is None or day is None else created > day
            if newer:
                return LATER
        if post is None or facts is None:
            return UNKNOWN if facts is None else UNEXPLAINED
        if facts.has_votes:
            least = int(self.before.options["min_score"])
            then = sum(worth for day, worth in facts.votes[post] if day <= self._day_before(site))
            return VOTED_UP if then < least else (UNEXPLAINED if self._same_rules else RULE)
        return UNEXPLAINED

    def _of_edit(self, change: Change, edits: Sequence[int]) -> str:
        facts = self._facts.get(change.site)
        if facts is None or change.post is None:
            return UNKNOWN if facts is None else UNEXPLAINED
        if not facts.has_history:
            return NO_HISTORY
        first = self._day_before(change.site) + (self._known_day(change.site) is not None)
        until = _number(self.after.day) if self.after.day else facts.last
        return WITH_HISTORY if any(first <= day <= until for day in edits) else WITHOUT_HISTORY

    def _of_question(self, change: Change, of_row: dict[tuple[str, int], Change]) -> str:
        if change.change == EDITED:
            same_input = self.before.inputs.get(change.site, "") == self.after.inputs.get(change.site)
            if same_input and self.before.day == self.after.day:
                return RULE
            facts = self._facts.get(change.site)
            return self._of_edit(change, facts.titles.get(change.post or 0, []) if facts else [])
        passages = [of_row.get((change.change, row)) for row in change.golds]
        causes = Counter(passage.cause for passage in passages if passage)
        if all(passages) and causes:  # nothing of its page was in both
            return causes.most_common(1)[0][0]
        return ORDER

    def _created(self, site: str, post: int | None) -> int | None:
        if post is None:
            return None
        for build in (self.before, self.after):
            if (site, post) in build.created:
                return build.created[site, post]
        facts = self._facts.get(site)
        return facts.posts[post][0] if facts and post in facts.posts else None

    def _known_day(self, site: str) -> int | None:
        """Return the day of the first build, as it says or as its scores do."""
        return _number(self.before.day) if self.before.day else self._days.get(site)

    def _day_before(self, site: str) -> int:
        """Return the day of the first build, or that of its newest post where nothing else is known."""
        if (day := self._known_day(site)) is not None:
            return day
        return self._created(site, self._newest.get(site, 0)) or 0

    def _score(self, facts: DumpFacts, post: int, day: str) -> int:
        if day and facts.has_votes:
            return sum(worth for when, worth in facts.votes[post] if when <= _number(day))
        return facts.scores[post]

    def _read_dumps(self, parts: Sequence[PartChanges], dumps: Path) -> None:
        wanted: dict[str, set[int]] = defaultdict(set)
        for part in parts:
            for change in part.changes:
                if change.post is not None:
                    wanted[change.site].add(change.post)
        for site, posts in wanted.items():
            if site in self._newest:
                posts.add(self._newest[site])
            if found := dump.find(dumps, spec.read().names(site)):
                scores = {} if self.before.day else self.before.of_site(site)
                self._facts[site] = facts = _read(found, posts | scores.keys())
                if scores and facts.has_votes and (day := _dated(scores, facts)) is not None:
                    self._days[site] = day
            else:
                self.without_dump.append(site)


def _dated(scores: dict[int, int], facts: DumpFacts) -> int | None:
    """Return the day of a build by the scores of its posts and their votes; None if the dump has none of them."""
    posts = sorted(scores.keys() & facts.posts.keys())
    votes = [(row, day, worth) for row, post in enumerate(posts) for day, worth in facts.votes[post]]
    if not votes:
        return None
    newest = max(facts.posts[post][0] for post in posts)
    released = np.array([scores[post] for post in posts], dtype=np.int64)
    row, day, worth = np.array(votes, dtype=np.int64).T
    return dating.agreement(dating.Scores(released, newest, row, day, worth, facts.last)).best


def _read(found: dump.Dump, wanted: set[int]) -> DumpFacts:
    """Return what a dump says of these posts and of the questions they answer."""
    facts = DumpFacts(has_votes=VOTES in found.tables, has_history=_HISTORY in found.tables)
    questions: set[int] = set()

    def post(row: XmlRow) -> None:
        post_id, day = whole(row[b" Id="]), day_of(row[_CREATED][:10])
        if row[b" PostTypeId="] == b"1":
            questions.add(post_id)
        facts.last = max(facts.last, day)
        if post_id in wanted:
            facts.posts[post_id], facts.scores[post_id] = (
                (day, whole(row.get(b" ParentId=", b"0"))),
                whole(row[b" Score="]),
            )

    def vote(row: XmlRow) -> None:
        if (worth := history.POINTS.get(row[b" VoteTypeId="])) and (post_id := whole(row[_POST])) in wanted:
            day = day_of(row[_CREATED][:10])
            facts.last = max(facts.last, day)
            facts.votes[post_id].append((day, worth))

    def revision(row: XmlRow) -> None:
        kind, post_id = row[b" PostHistoryTypeId="], whole(row[_POST])
        edits = facts.bodies if kind in history.BODY_EDITS else facts.titles if kind in history.TITLE_EDITS else None
        if edits is not None and post_id in wanted:
            edits[post_id].append(day_of(row[_CREATED][:10]))

    for table, take in ((dump.POSTS, post), (VOTES, vote), (_HISTORY, revision)):
        if table in found.tables:
            read_table(found, table, take)
    facts.orphans = {post_id for post_id, (_, parent) in facts.posts.items() if parent and parent not in questions}
    return facts


def _number(day: str) -> int:
    return day_of(day.encode())
