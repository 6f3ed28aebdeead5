"""Posts of one community: rows of `Posts.xml` -> the questions and the answers that may become passages.

This module decides which posts are left out, and under which name they are
counted. A row without a field that every post has is bad (see xml_rows.py); a
valid post that is left out is counted by the reason.
"""

import re
import sys
import unicodedata
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from lotte.builder.counts import CommunityCounts
from lotte.builder.fresh import FreshPosts
from lotte.builder.history import Past
from lotte.builder.html import one_line, text_of_reference, text_of_value
from lotte.builder.spec import BuildOptions
from lotte.builder.xml_rows import XmlRow, XmlRows, decode, encode, whole

_ID, _TYPE, _PARENT, _ACCEPTED = b" Id=", b" PostTypeId=", b" ParentId=", b" AcceptedAnswerId="
_SCORE, _VIEWS, _BODY, _TITLE = b" Score=", b" ViewCount=", b" Body=", b" Title="
_OWNER, _OWNER_NAME, _LICENCE = b" OwnerUserId=", b" OwnerDisplayName=", b" ContentLicense="
_CREATED, _CLOSED = b" CreationDate=", b" ClosedDate="

NOBODY = -(1 << 62)  # the id of an owner who is gone; every real one, -1 too, is larger

# (first day, licence), newest first. Source: "Licensing of content", stackoverflow.com/help/licensing
_LICENCES = ((b"2018-05-02", "CC BY-SA 4.0"), (b"2011-04-08", "CC BY-SA 3.0"), (b"", "CC BY-SA 2.5"))

_QUOTES = {
    "none": re.compile(r"(?!)"),
    "ascii": re.compile("[\"']"),
    "all": re.compile("[\"'`\u00b4\u00ab\u00bb\u2018-\u201f\u2039\u203a\uff02\uff07]"),
}
_TAGS = {"keep": re.compile(r"(?!)"), "drop": re.compile(r"</?[A-Za-z][^>]*>")}


class QuestionPost(NamedTuple):
    """A question as a dump has it; texts that are only passed on stay bytes."""

    post_id: int
    score: int
    views: int
    accepted: int  # post_id of the accepted answer, 0 for none
    owner: int
    owner_name: str
    created: bytes
    closed: bytes
    title: str


class AnswerPost(NamedTuple):
    """An answer whose text may become a passage."""

    post_id: int
    question_id: int
    score: int
    owner: int
    owner_name: str
    created: bytes
    licence: str
    text: str


def read(
    rows: XmlRows,
    options: BuildOptions,
    counts: CommunityCounts,
    pages: "array[int]",
    past: Past | None = None,
    fresh: FreshPosts | None = None,
) -> Iterator[QuestionPost | AnswerPost]:
    """Give the questions and answers that the options do not leave out, in the order of the file.

    With `include_accepted`, answers of every score are given, because which ones are accepted is known later.

    counts  takes how many rows there were of each kind
    pages   takes, for every answer whatever becomes of it, its id and its question's, one after the other
    past    what scores and texts were on the day of `as_of`
    fresh   says what is new enough, and takes its words
    """
    reader = _Reader(options, counts, pages, past, fresh)
    for row in rows:
        try:
            post = reader.post(row)
        except KeyError as error:
            rows.refuse(f"a post without {error.args[0].decode().strip(' =')}")
        except (ValueError, OverflowError) as error:
            rows.refuse(f"{_named(row)}: {_short(error)}")
        else:
            if post is not None:
                yield post


def older(rows: XmlRows, options: BuildOptions) -> Iterator[tuple[int, str, str]]:
    """Give id, title and text of every question and answer from before `since`; an answer's title is ""."""
    since = options.since.encode()
    for row in rows:
        try:
            if row[_TYPE] not in (b"1", b"2") or not row[_CREATED] < since:
                continue
            if (post_id := whole(row[_ID])) <= options.max_post_id:
                title = title_text(decode(row[_TITLE]), options) if _TITLE in row else ""
                yield post_id, title, text_of_value(row[_BODY])
        except (KeyError, ValueError, OverflowError):  # was named when the new ones were read
            continue


class _Reader:
    """One row after another -> a post, or nothing for one that is left out, which is counted by the reason."""

    def __init__(
        self,
        options: BuildOptions,
        counts: CommunityCounts,
        pages: "array[int]",
        past: Past | None,
        fresh: FreshPosts | None,
    ) -> None:
        self._options, self._counts, self._pages, self._past, self._fresh = options, counts, pages, past, fresh
        self._dropped = {b"%d" % owner: owner for owner in options.drop_owners}
        self._until = options.until.encode()
        self._max_post_id = options.max_post_id
        self._least = options.min_score if not options.include_accepted else -sys.maxsize
        self._text_of = text_of_value if options.html == "fast" else lambda body: text_of_reference(decode(body))
        self._form, self._min_chars = options.unicode, max(1, options.min_chars)
        self._quotes = _QUOTES[options.passage_quotes] if options.passage_quotes != "none" else None
        self._drops_deleted = options.deleted_owner == "drop"
        self._licences: dict[bytes, str] = {}  # as stated -> as text

    def post(self, row: XmlRow) -> QuestionPost | AnswerPost | None:
        """Return the post of a row. Raises KeyError, ValueError or OverflowError for a row that is bad."""
        counts, past = self._counts, self._past
        kind = row[_TYPE]
        if kind not in (b"1", b"2"):
            counts.other_posts += 1
            return None
        post_id, score, body = whole(row[_ID]), whole(row[_SCORE]), row[_BODY]
        created = row.get(_CREATED, b"")
        if post_id > self._max_post_id:
            counts.watermarks += 1
            return None
        if post_id < 1:
            raise ValueError(f"Id is {post_id}")
        if (owner := row.get(_OWNER)) in self._dropped:
            counts.owners[self._dropped[owner]] += 1
            return None
        if past:
            past.check(post_id, created, score)
        if (self._until and created[: len(self._until)] > self._until) or (past and past.is_later(created)):
            counts.later += 1
            return None
        if self._fresh and not self._fresh.takes(post_id, kind == b"1", created):
            return None
        if past:
            if past.was_deleted(post_id):
                counts.deleted_then += 1
                return None
            score = past.score(post_id)
        owner_id = NOBODY if owner is None else whole(owner)
        owner_name = decode(row[_OWNER_NAME]) if _OWNER_NAME in row else ""
        if kind == b"1":
            question = self._question(row, post_id, score, owner_id, owner_name, created)
            if self._fresh:
                self._fresh.question(post_id, title_text(question.title, self._options), self._text_of(body))
            return question
        return self._answer(row, post_id, score, owner_id, owner_name, body)

    def _question(
        self, row: XmlRow, post_id: int, score: int, owner: int, owner_name: str, created: bytes
    ) -> QuestionPost:
        self._counts.questions += 1
        closed, title = row.get(_CLOSED, b""), decode(row.get(_TITLE, b""))
        if self._past:
            closed, title = self._past.is_closed(post_id, closed), self._past.title(post_id) or title
        views, accepted = whole(row.get(_VIEWS) or b"0"), whole(row.get(_ACCEPTED) or b"0")
        return QuestionPost(post_id, score, views, accepted, owner, owner_name, created, closed, title)

    def _answer(
        self, row: XmlRow, post_id: int, score: int, owner: int, owner_name: str, body: bytes
    ) -> AnswerPost | None:
        counts = self._counts
        parent = whole(row.get(_PARENT) or b"0")
        counts.answers += 1
        self._pages.extend((post_id, parent))
        if score < self._least:
            counts.low_score += 1
            return None
        if owner == NOBODY and self._drops_deleted:
            counts.deleted_owner += 1
            return None
        created = row.get(_CREATED, b"")
        changed = self._past.body(post_id) if self._past else None
        if changed is None:
            text, licence = self._text_of(body), self._licence(row.get(_LICENCE), created)
        else:  # the attribute is about the newest revision, so it says nothing of an older one
            text, licence = self._text_of(encode(changed)), licence_on(created)
        if self._form != "none":
            text = unicodedata.normalize(self._form, text)
        if self._quotes:
            text = one_line(self._quotes.sub("", text))
        if len(text) < self._min_chars:
            counts.empty += 1
            return None
        if self._fresh:
            self._fresh.answer(post_id, text)
        return AnswerPost(post_id, parent, score, owner, owner_name, created, licence, text)

    def _licence(self, stated: bytes | None, created: bytes) -> str:
        if stated is None:
            return licence_on(created)
        if (known := self._licences.get(stated)) is None:
            known = self._licences[stated] = decode(stated)
        return known


def names(rows: XmlRows) -> Iterator[tuple[int, str]]:
    """Give user id and name from the rows of `Users.xml`, to the letter: whoever is credited chose it."""
    for row in rows:
        try:
            yield whole(row[_ID]), decode(row.get(b" DisplayName=", b""))
        except KeyError:
            rows.refuse("a user without Id")
        except ValueError as error:
            rows.refuse(_short(error))


def title_text(title: str, options: BuildOptions) -> str:
    """Return a title as a forum question: no tags, no quotation marks, one line.

    >>> title_text('Why doesn\\'t <b> work in "strict" mode?', BuildOptions())
    'Why doesnt work in strict mode?'
    >>> title_text("is a < b", BuildOptions())
    'is a < b'
    """
    return one_line(_QUOTES[options.forum_quotes].sub("", _TAGS[options.forum_tags].sub("", title)))


def search_text(question: str, options: BuildOptions) -> str:
    """Return a question of GooAQ as LoTTE has it: as it is, on one line."""
    return one_line(_QUOTES[options.search_quotes].sub("", question))


def licence_on(created: bytes) -> str:
    """Return the licence of a post that states none, by the day it was written.

    In the dumps at hand that have the attribute, 59 of the 68 posts whose creation and last edit lie under
    different licences carry the one of their creation.

    >>> licence_on(b"2011-04-07T23:59:59.000"), licence_on(b"2018-05-02T00:00:00.000")
    ('CC BY-SA 2.5', 'CC BY-SA 4.0')
    """
    return next(licence for day, licence in _LICENCES if created >= day)


def _named(row: XmlRow) -> str:
    return f"post {row[_ID][:20].decode(errors='replace')}" if _ID in row else "a post"


def _short(error: Exception) -> str:
    return str(error)[:100]
