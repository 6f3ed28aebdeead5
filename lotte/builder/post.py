"""Posts of one community: rows of `Posts.xml` -> the questions and the answers that may become passages.

Which post is left out, and under which name it is counted, is decided here. A
row that lacks what every post has is bad (see xml_rows.py); a post that is whole
but not wanted is counted by the reason.
"""

import re
import unicodedata
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from lotte.builder.counts import CommunityCounts
from lotte.builder.history import Past
from lotte.builder.html import one_line, text_of_reference, text_of_value
from lotte.builder.spec import Options
from lotte.builder.xml_rows import Row, Rows, decode, whole

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


class Question(NamedTuple):
    post_id: int
    score: int
    views: int
    accepted: int  # post_id of the accepted answer, 0 for none
    owner: int
    owner_name: str
    created: bytes
    closed: bytes
    title: str


class Answer(NamedTuple):
    post_id: int
    question_id: int
    score: int
    owner: int
    owner_name: str
    created: bytes
    licence: str
    text: str


def read(
    rows: Rows, options: Options, counts: CommunityCounts, pages: "array[int]", past: Past | None = None
) -> Iterator[Question | Answer]:
    """Give the questions and answers that the options do not leave out, in the order of the file.

    With `include_accepted`, answers of every score are given, because which ones are accepted is known later.

    counts  takes how many rows there were of each kind
    pages   takes, for every answer whatever becomes of it, its id and its question's, one behind the other
    past    what scores and texts were on the day of `as_of`
    """
    fast, quotes, form = options.html == "fast", _QUOTES[options.passage_quotes], options.unicode
    dropped = {b"%d" % owner: owner for owner in options.drop_owners}
    until = options.until.encode()
    licences: dict[bytes, str] = {}  # as stated -> as text
    min_score, include_accepted = options.min_score, options.include_accepted
    num_questions = num_answers = num_low = 0
    for row in rows:
        try:
            kind = row[_TYPE]
            if kind not in (b"1", b"2"):
                counts.other_posts += 1
                continue
            post_id, score, body = whole(row[_ID]), whole(row[_SCORE]), row[_BODY]
            created = row.get(_CREATED, b"")
            if post_id > options.max_post_id:
                counts.watermarks += 1
                continue
            if post_id < 1:
                raise ValueError(f"Id is {post_id}")
            if (owner := row.get(_OWNER)) in dropped:
                counts.owners[dropped[owner]] += 1
                continue
            if (until and created[: len(until)] > until) or (past and past.is_later(created)):
                counts.later += 1
                continue
            if past:
                score = past.score(post_id)
            owner_id = NOBODY if owner is None else whole(owner)
            owner_name = decode(row[_OWNER_NAME]) if _OWNER_NAME in row else ""
            if kind == b"1":
                num_questions += 1
                closed, title = row.get(_CLOSED, b""), decode(row.get(_TITLE, b""))
                if past:
                    closed, title = past.is_closed(post_id, closed), past.title(post_id) or title
                yield Question(
                    post_id, score, whole(row.get(_VIEWS) or b"0"), whole(row.get(_ACCEPTED) or b"0"),
                    owner_id, owner_name, created, closed, title,
                )  # fmt: skip
                continue
            parent = whole(row.get(_PARENT) or b"0")
            num_answers += 1
            pages.extend((post_id, parent))
            if score < min_score and not include_accepted:
                num_low += 1
                continue
            if owner is None and options.deleted_owner == "drop":
                counts.deleted_owner += 1
                continue
            changed = past.body(post_id) if past else None
            if changed is not None:
                text = text_of_reference(changed)
            else:
                text = text_of_value(body) if fast else text_of_reference(decode(body))
            # the attribute is about the newest revision, so it says nothing of an older one
            stated = row.get(_LICENCE) if changed is None else None
            if stated is None:
                licence = licence_on(created)
            elif (known := licences.get(stated)) is not None:
                licence = known
            else:
                licence = licences[stated] = decode(stated)
        except KeyError as error:
            rows.refuse(f"a post without {error.args[0].decode().strip(' =')}")
            continue
        except (ValueError, OverflowError) as error:
            rows.refuse(f"{_named(row)}: {_short(error)}")
            continue
        if form != "none":
            text = unicodedata.normalize(form, text)
        if options.passage_quotes != "none":
            text = one_line(quotes.sub("", text))
        if len(text) < max(1, options.min_chars):
            counts.empty += 1
            continue
        yield Answer(post_id, parent, score, owner_id, owner_name, created, licence, text)
    counts.questions, counts.answers, counts.low_score = num_questions, num_answers, num_low


def names(rows: Rows) -> Iterator[tuple[int, str]]:
    """Give user id and name from the rows of `Users.xml`, to the letter: whoever is credited chose it."""
    for row in rows:
        try:
            yield whole(row[_ID]), decode(row.get(b" DisplayName=", b""))
        except KeyError:
            rows.refuse("a user without Id")
        except ValueError as error:
            rows.refuse(_short(error))


def title_text(title: str, options: Options) -> str:
    """Return a title as a forum question: no tags, no quotation marks, one line.

    >>> title_text('Why doesn\\'t <b> work in "strict" mode?', Options())
    'Why doesnt work in strict mode?'
    >>> title_text("is a < b", Options())
    'is a < b'
    """
    return one_line(_QUOTES[options.forum_quotes].sub("", _TAGS[options.forum_tags].sub("", title)))


def search_text(question: str, options: Options) -> str:
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


def _named(row: Row) -> str:
    return f"post {row[_ID][:20].decode(errors='replace')}" if _ID in row else "a post"


def _short(error: Exception) -> str:
    return str(error)[:100]
