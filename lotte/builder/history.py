"""A community as it stood at the end of a day: texts, titles, scores, acceptance, closing, deletion.

Votes give scores and acceptances exactly: in the dumps at hand their sum is the
score of every post. Texts come from `Posts.xml` itself where no later revision
exists, and else from the Markdown of the newest revision of that day, rendered
by the rules of that day (markdown.py). Posts deleted since are in no dump, and
views are those of the dump; that is what this cannot bring back.

Texts of old revisions wait in a file, everything else is a few numbers a post.
"""

import re
from pathlib import Path

import numpy as np

from lotte.builder import formulas
from lotte.builder.counts import CommunityCounts
from lotte.builder.dump import Dump
from lotte.builder.events import Firsts, Ints, Newest, Sums
from lotte.builder.links import Link, link
from lotte.builder.markdown import COMMONMARK_SINCE, rendered
from lotte.builder.spec import BuildOptions
from lotte.builder.xml_rows import XmlRow, XmlRows, check, decode, whole
from lotte.errors import CorruptFileError, UnavailableError

FORMAT = 2  # raised when the past of a dump is told differently, so that a build does not go on from it

# PostHistoryTypeId and VoteTypeId; source: "Database schema documentation", meta.stackexchange.com/q/2677
_FIRST_BODY, _TITLES, _BODIES = b"2", (b"1", b"4", b"7"), (b"2", b"5", b"8")
_CLOSED, _REOPENED, _DELETED, _UNDELETED = b"10", b"11", b"12", b"13"
_SWITCHES = (_CLOSED, _REOPENED, _DELETED, _UNDELETED)
_ACCEPTED, _UP, _DOWN = b"1", b"2", b"3"
POINTS = {_UP: 1, _DOWN: -1}  # the votes that make a score
TITLE_EDITS, BODY_EDITS = _TITLES[1:], _BODIES[1:]  # the first of each is how a post was asked

_ID, _POST, _CREATED, _TEXT = b" Id=", b" PostId=", b" CreationDate=", b" Text="
_FEW = 5  # posts that are too few to tell that a table is of another site
_WORDS = re.compile(r"[a-z0-9]+")


def tables(dump: Dump, options: BuildOptions) -> list[str]:
    """Return the tables that must be read before the posts. Raises UnavailableError if one is missing."""
    if not options.as_of:
        return []
    names = ["Votes.xml"] if options.as_of_texts == "current" else ["PostHistory.xml", "Votes.xml"]
    if missing := [name for name in names if name not in dump.tables]:
        raise UnavailableError(
            f"{dump.path} has no {' and no '.join(missing)}, which --as-of needs. Take a whole dump, or "
            + (
                'set as_of_texts = "current" in the spec to keep the texts of the dump.'
                if missing == ["PostHistory.xml"]
                else "leave --as-of out."
            )
        )
    return names


class Past:
    """What was true of each post at the end of a day.

    scratch  a file for the texts of old revisions; the caller removes it
    names    every host the community is known by: a bare link to one of its questions shows the title
    """

    def __init__(self, day: str, scratch: Path, names: tuple[str, ...] = ()) -> None:
        self.day = day.encode()
        self._sites = dict.fromkeys(names, names[0]) if names else {}
        self._formula = formulas.delimiter(names)
        self._scratch, self._size = scratch, 0
        self._file = scratch.open("wb", buffering=1 << 20)
        self._texts, self._titles, self._begun = Newest(), Newest(), Firsts()
        self._closings, self._deletions, self._acceptances = Newest(), Newest(), Newest()
        self._votes = Sums()
        self._kept = dict.fromkeys(_BODIES, self._texts) | dict.fromkeys(_TITLES, self._titles)
        self._kept |= {_CLOSED: self._closings, _REOPENED: self._closings}
        self._kept |= {_DELETED: self._deletions, _UNDELETED: self._deletions}
        self._later_days: dict[bytes, bool] = {}  # each day of the dump -> whether it is after the day
        self._has_history = False
        self._posts = self._told_of = self._begun_then = self._begun_otherwise = self._scored_otherwise = 0
        self._newer_texts = self._old_texts = 0

    def read(self, name: str, rows: XmlRows) -> None:
        """Take in PostHistory.xml or Votes.xml."""
        take = self._vote if name == "Votes.xml" else self._revision
        for row in rows:
            try:
                take(row)
            except KeyError as error:
                rows.refuse(f"without {error.args[0].decode().strip(' =')}")
            except (ValueError, OverflowError) as error:
                rows.refuse(str(error)[:100])

    def close(self) -> None:
        """Say that everything was read."""
        for events in (
            self._texts, self._titles, self._begun, self._closings, self._deletions, self._acceptances, self._votes
        ):  # fmt: skip
            events.close()
        self._file.close()
        self._old = self._scratch.open("rb", buffering=1 << 14)

    def is_later(self, created: bytes) -> bool:
        """Whether a time, as dumps spell it, is after the day."""
        return created[: len(self.day)] > self.day

    def check(self, post_id: int, created: bytes, score: int) -> None:
        """Take in a post of the dump, for what `told` says of how it fits to its history and votes."""
        self._posts += 1
        self._scored_otherwise += self._votes.of(post_id)[1] != score
        if self._has_history:
            if begun := self._begun.of(post_id):
                is_same = b"%08d" % begun == created[:10].replace(b"-", b"")
                self._begun_then += is_same
                self._begun_otherwise += not is_same
            self._told_of += begun > 0 or self._texts.has_later(post_id) or self._texts.of(post_id) is not None

    def told(self, path: Path, counts: CommunityCounts) -> list[str]:
        """Return notes on what the tables did not tell of the day, and count it.

        path  what messages call the history

        Raises CorruptFileError if the history is that of other posts
        """
        notes, day, last = [], self.day.decode(), max(self._later_days, default=b"").decode()
        if last and day > last:
            notes.append(f"{day} is after the dump's last day, {last}: what came later is not in it")
        lacking = self._posts - self._begun_then
        if self._has_history and lacking:
            if self._posts >= _FEW and (not self._told_of or self._begun_otherwise > self._begun_then):
                raise CorruptFileError(
                    f"{path} tells of other posts than Posts.xml has: the first revision is of the day of the post for "
                    f"{self._begun_then:,} of {self._posts:,} posts. Take both from one dump."
                )
            notes.append(
                f"gaps in the history: {lacking:,} of {self._posts:,} posts lack a first revision of their day"
            )
        if 2 * self._scored_otherwise > self._posts:
            notes.append(
                f"the votes of {self._scored_otherwise:,} of {self._posts:,} posts do not add up to their score: are "
                "Votes.xml and Posts.xml of one dump?"
            )
        if self._newer_texts:
            notes.append(f"{self._newer_texts:,} texts are newer than {day}: the history has no older ones")
        counts.old_texts, counts.newer_texts = self._old_texts, self._newer_texts
        return notes

    def score(self, post_id: int) -> int:
        """Return the votes for a post less those against it, 0 if it had none."""
        return self._votes.of(post_id)[0]

    def was_deleted(self, post_id: int) -> bool:
        """Whether a post that is there again was deleted on the day."""
        newest = self._deletions.of(post_id)
        return newest is not None and newest[1] == 1

    def body(self, post_id: int) -> str | None:
        """Return the HTML of the post if it was changed later, None if the dump's is right."""
        if not self._texts.has_later(post_id):
            return None
        newest = self._texts.of(post_id)
        if newest is None:
            self._newer_texts += 1
            return None
        self._old_texts += 1
        # a post that nobody edits keeps the HTML of its last edit; the switch to CommonMark rendered all anew
        day = self.day if self.day.decode() >= COMMONMARK_SINCE else _spelled(newest[0])
        return rendered(self._text(newest), day[:10].decode(), self._title_behind, self._formula)

    def title(self, post_id: int) -> str | None:
        """Return the title of the post if it was changed later, None if the dump's is right."""
        return self._title(post_id) if self._titles.has_later(post_id) else None

    def is_closed(self, post_id: int, closed: bytes) -> bytes:
        """Return the day a question was closed, b"" if it was open; `closed` is what the dump says."""
        newest = self._closings.of(post_id)
        if newest is None:  # nothing up to the day, or a dump whose history lacks it
            return b"" if self.is_later(closed) or self._closings.has_later(post_id) else closed
        return _spelled(newest[0]) if newest[1] else b""

    def accepted(self, answer_ids: Ints, question_ids: Ints) -> dict[int, int]:
        """Return question -> accepted answer, from parallel arrays of all answers and their questions."""
        chosen: dict[int, tuple[int, int]] = {}
        order = np.argsort(answer_ids, kind="stable")
        ids = answer_ids[order]
        for answer_id, when in self._acceptances:
            at = int(np.searchsorted(ids, answer_id))
            if at < len(ids) and ids[at] == answer_id:
                question = int(question_ids[order[at]])
                chosen[question] = max(chosen.get(question, (when, answer_id)), (when, answer_id))
        return {question: answer for question, (_, answer) in chosen.items()}

    def _is_later(self, created: bytes) -> bool:
        """Whether it is after the day, for a time that may be none. Raises ValueError."""
        _moment(created)
        is_later = self._later_days[created[:10]] = self.is_later(created)
        return is_later

    def _vote(self, row: XmlRow) -> None:
        post_id, kind, created, row_id = whole(row[_POST]), row[b" VoteTypeId="], row[_CREATED], row[_ID]
        if (is_later := self._later_days.get(created[:10])) is None:
            is_later = self._is_later(created)
        if kind in POINTS:
            self._votes.add(post_id, POINTS[kind] < 0, is_later)
        elif kind == _ACCEPTED and not is_later:
            self._acceptances.add(post_id, _moment(created), whole(row_id))

    def _revision(self, row: XmlRow) -> None:
        kind, created, post_id, row_id = row[b" PostHistoryTypeId="], row[_CREATED], whole(row[_POST]), row[_ID]
        if (is_later := self._later_days.get(created[:10])) is None:
            is_later = self._is_later(created)
        if (events := self._kept.get(kind)) is None:
            return
        when, self._has_history = _moment(created), True
        if kind == _FIRST_BODY:
            self._begun.add(post_id, when // 10**9)
        if is_later:
            events.add_later(post_id)
        elif kind in _SWITCHES:
            events.add(post_id, when, whole(row_id), int(kind in (_CLOSED, _DELETED)))
        else:
            text = row.get(_TEXT, b"")
            check(text)
            events.add(post_id, when, whole(row_id), self._size, len(text))
            self._size += self._file.write(text)

    def _text(self, newest: tuple[int, int, int]) -> str:
        _, offset, length = newest
        self._old.seek(offset)
        return decode(self._old.read(length))

    def _title(self, post_id: int) -> str | None:
        newest = self._titles.of(post_id)
        return None if newest is None else self._text(newest)

    def _title_behind(self, url: str) -> str | None:
        """Return the title of the question that a URL names, if it is one of this community.

        A community was renamed more often than anybody wrote down: words of the title in the URL say that it is one too
        """
        parts = re.split("[?#]", url, maxsplit=1)[0].split("/")
        host = parts[2].lower() if len(parts) > 2 else ""
        named = link(url, self._sites if host in self._sites else {host: ""})
        title = self._title(named.question_id) if isinstance(named, Link) and named.question_id else None
        if title is None or host in self._sites:
            return title
        words = _WORDS.findall(parts[5].lower()) if len(parts) > 5 else []
        is_title = words == _WORDS.findall(title.lower().replace("'", ""))[: len(words)]
        return title if len(words) > 1 and is_title else None


def _moment(created: bytes) -> int:
    """Return a time as a number of 17 digits: 2016-09-04T07:27:31.497 is 20160904072731497. Raises ValueError."""
    digits = created.translate(None, b"-T:.")
    if not digits.isdigit() or len(digits) < 8 or created[4:5] != b"-" != created[7:8]:
        raise ValueError(f"CreationDate is {created[:40].decode(errors='replace')!r}")
    return int(digits[:17].ljust(17, b"0"))


def _spelled(moment: int) -> bytes:
    """Return a moment as dumps spell it."""
    d = b"%017d" % moment
    return b"%b-%b-%bT%b:%b:%b.%b" % (d[:4], d[4:6], d[6:8], d[8:10], d[10:12], d[12:14], d[14:])
