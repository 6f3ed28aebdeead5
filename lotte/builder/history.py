"""A community as it stood at the end of a day: texts, titles, scores, acceptance, closing.

Votes give scores and acceptances exactly: in the dumps at hand their sum is the
score of every post. Texts come from `Posts.xml` itself where no later revision
exists, and else from the Markdown of the newest revision of that day, rendered.
Posts deleted since are in no dump, and views are those of the dump; that is
what this cannot bring back.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lotte.builder.dump import Dump
from lotte.builder.spec import BuildOptions
from lotte.builder.xml_rows import XmlRows, decode, whole
from lotte.errors import UnavailableError

Ints = npt.NDArray[np.int64]

# PostHistoryTypeId and VoteTypeId; source: "Database schema documentation", meta.stackexchange.com/q/2677
_TITLES, _BODIES, _CLOSED, _REOPENED = (b"1", b"4", b"7"), (b"2", b"5", b"8"), b"10", b"11"
TITLE_EDITS, BODY_EDITS = _TITLES[1:], _BODIES[1:]  # the first of each is how a post was asked
_ACCEPTED = b"1"
POINTS = {b"2": 1, b"3": -1}  # the votes that make a score; source: as above

_ID, _POST, _CREATED, _TEXT = b" Id=", b" PostId=", b" CreationDate=", b" Text="


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
    """

    def __init__(self, day: str, scratch: Path) -> None:
        self.day = day.encode()
        self._file = scratch.open("w+b")
        self._texts = _Revisions()
        self._titles = _Revisions()
        self._closings = _Revisions()
        self._votes = array("q")  # post id, +1 or -1, one behind the other
        self._acceptances = _Revisions()
        self._scores: tuple[Ints, Ints] = (np.zeros(0, np.int64), np.zeros(0, np.int64))

    def read(self, name: str, rows: XmlRows) -> None:
        """Take in PostHistory.xml or Votes.xml."""
        for row in rows:
            try:
                if name == "Votes.xml":
                    self._vote(whole(row[_POST]), row[b" VoteTypeId="], row[_CREATED], whole(row[_ID]))
                else:
                    self._revision(row)
            except KeyError as error:
                rows.refuse(f"without {error.args[0].decode().strip(' =')}")
            except (ValueError, OverflowError) as error:
                rows.refuse(str(error)[:100])

    def close(self) -> None:
        """Say that everything was read."""
        for revisions in (self._texts, self._titles, self._closings, self._acceptances):
            revisions.sort()
        votes = np.frombuffer(self._votes, dtype=np.int64).reshape(-1, 2)
        posts, at = np.unique(votes[:, 0], return_inverse=True)
        self._scores = posts, np.bincount(at, weights=votes[:, 1], minlength=len(posts)).astype(np.int64)

    def is_later(self, created: bytes) -> bool:
        """Whether a time, as dumps spell it, is after the day."""
        return created[: len(self.day)] > self.day

    def score(self, post_id: int) -> int:
        """Return the votes for a post less those against it, 0 if it had none."""
        posts, scores = self._scores
        at = int(np.searchsorted(posts, post_id))
        return int(scores[at]) if at < len(posts) and posts[at] == post_id else 0

    def body(self, post_id: int) -> str | None:
        """Return the HTML of the post if it was changed later, None if the dump's is right."""
        text = self._old(self._texts, post_id)
        return None if text is None else _rendered(text)

    def title(self, post_id: int) -> str | None:
        """Return the title of the post if it was changed later, None if the dump's is right."""
        return self._old(self._titles, post_id)

    def is_closed(self, post_id: int, closed: bytes) -> bytes:
        """Return the day a question was closed, b"" if it was open; `closed` is what the dump says."""
        newest = self._closings.newest(post_id)
        if newest is None:  # nothing up to the day, or a dump whose history lacks it
            return b"" if self.is_later(closed) or self._closings.changed(post_id) else closed
        return b"" if newest[1] == 0 else np.datetime_as_string(np.datetime64(newest[0], "ms")).encode()

    def accepted(self, answer_ids: Ints, question_ids: Ints) -> dict[int, int]:
        """Return question -> accepted answer, from parallel arrays of all answers and their questions."""
        chosen: dict[int, tuple[int, int]] = {}
        order = np.argsort(answer_ids, kind="stable")
        ids = answer_ids[order]
        for answer_id, when in self._acceptances.all():
            at = int(np.searchsorted(ids, answer_id))
            if at < len(ids) and ids[at] == answer_id:
                question = int(question_ids[order[at]])
                chosen[question] = max(chosen.get(question, (when, answer_id)), (when, answer_id))
        return {question: answer for question, (_, answer) in chosen.items()}

    def _vote(self, post_id: int, kind: bytes, created: bytes, vote_id: int) -> None:
        if self.is_later(created):
            return
        if kind in POINTS:
            self._votes.append(post_id)
            self._votes.append(POINTS[kind])
        elif kind == _ACCEPTED:
            self._acceptances.add(post_id, _ms(created), vote_id, 0, 0)

    def _revision(self, row: dict[bytes, bytes]) -> None:
        kind, created, post_id = row[b" PostHistoryTypeId="], row[_CREATED], whole(row[_POST])
        kept = self._texts if kind in _BODIES else self._titles if kind in _TITLES else None
        if kind in (_CLOSED, _REOPENED):
            if self.is_later(created):
                self._closings.later.append(post_id)
            else:
                self._closings.add(post_id, _ms(created), whole(row[_ID]), int(kind == _CLOSED), 0)
        elif kept is not None:
            if self.is_later(created):
                kept.later.append(post_id)
            else:
                text = decode(row.get(_TEXT, b"")).encode()
                kept.add(post_id, _ms(created), whole(row[_ID]), self._file.tell(), len(text))
                self._file.write(text)

    def _old(self, revisions: "_Revisions", post_id: int) -> str | None:
        newest = revisions.newest(post_id) if revisions.changed(post_id) else None
        if newest is None:
            return None
        _, offset, length = newest
        self._file.seek(offset)
        return self._file.read(length).decode()


class _Revisions:
    """Five numbers for each revision of the day or before: post, time, row, and two of the owner's choice."""

    def __init__(self) -> None:
        self.later = array("q")  # posts that were changed after the day
        self._numbers = array("q")
        self._changed: Ints = np.zeros(0, np.int64)
        self._newest: Ints = np.zeros((0, 5), np.int64)

    def add(self, post_id: int, when: int, row_id: int, first: int, second: int) -> None:
        self._numbers.extend(array("q", (post_id, when, row_id, first, second)))  # all or, if one is too large, none

    def sort(self) -> None:
        """Keep the newest of each post."""
        table = np.frombuffer(self._numbers, dtype=np.int64).reshape(-1, 5)
        table = table[np.lexsort((table[:, 2], table[:, 1], table[:, 0]))]
        last = np.append(table[1:, 0] != table[:-1, 0], True)[: len(table)]
        self._newest = table[last]
        self._changed = np.unique(np.frombuffer(self.later, dtype=np.int64))

    def changed(self, post_id: int) -> bool:
        at = int(np.searchsorted(self._changed, post_id))
        return at < len(self._changed) and bool(self._changed[at] == post_id)

    def newest(self, post_id: int) -> tuple[int, int, int] | None:
        at = int(np.searchsorted(self._newest[:, 0], post_id))
        if at == len(self._newest) or self._newest[at, 0] != post_id:
            return None
        _, when, _, first, second = self._newest[at].tolist()
        return when, first, second

    def all(self) -> Iterator[tuple[int, int]]:
        """Give (post, time) of the newest of each post."""
        return ((int(post), int(when)) for post, when in self._newest[:, :2])


def _ms(created: bytes) -> int:
    return int(np.datetime64(created.decode("ascii"), "ms").astype(np.int64))


_renderer: Any = None


def _rendered(markdown: str) -> str:
    """Return the HTML of a revision, as CommonMark has it; the sites use it since June 2020."""
    global _renderer
    if _renderer is None:
        from markdown_it import MarkdownIt

        _renderer = MarkdownIt("commonmark", {"html": True})
    html: str = _renderer.render(markdown)
    return html
