"""The counts of a build: of a community's dump, of GooAQ's file, and of the GooAQ rows that become questions.

Steps count into fields, and pass them on as fields. Only `spelled` turns a count into the English text
in a manifest.
"""

from collections import Counter
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any


class NoLink(StrEnum):
    """Why a URL of GooAQ names no post of a community that is built."""

    ELSEWHERE = "elsewhere"
    META_SITE = "meta site"
    NOT_BUILT = "community not built"
    NO_POST = "no post"


def _always(sentence: str) -> Any:
    return field(default=0, metadata={"sentence": sentence, "always": True})


def _if_any(sentence: str) -> Any:
    return field(default=0, metadata={"sentence": sentence, "always": False})


@dataclass
class CommunityCounts:
    """Rows of a dump's tables, and what became of those of Posts.xml.

    rows    by table
    owners  posts that are left out for their author, by user id
    closed  None: closed questions are not left out
    """

    rows: Counter[str] = field(default_factory=Counter, metadata={"sentence": "rows of {}"})
    bad_rows: int = _always("bad rows")
    other_posts: int = _if_any("other posts")
    watermarks: int = _if_any("watermarks")
    owners: Counter[int] = field(default_factory=Counter, metadata={"sentence": "owner {}"})
    later: int = _if_any("later")
    earlier: int = _if_any("earlier")
    undated: int = _if_any("without a date")
    deleted_then: int = _if_any("deleted on the day")
    old_texts: int = _if_any("texts of an older revision")
    newer_texts: int = _if_any("texts newer than the day")
    questions: int = _always("questions")
    answers: int = _always("answers")
    low_score: int = _always("low score")
    deleted_owner: int = _if_any("deleted owner")
    empty: int = _if_any("empty")
    duplicates: int = _if_any("duplicates")
    without_question: int = _always("answers without their question")
    near_against: int = _if_any("questions nearly one of the older test")
    near_questions: int = _if_any("questions nearly an older post")
    of_older: int = _if_any("answers to older questions")
    of_near: int = _if_any("answers to questions that were left out")
    near_answers: int = _if_any("answers nearly an older post")
    closed: int | None = field(default=None, metadata={"sentence": "closed", "always": True})
    repeated_ids: int = _always("repeated ids")
    accepted: int = _always("questions with an accepted answer")
    accepted_not_there: int = _always("accepted answers not in the file")
    questions_with_passages: int = _always("questions with passages")
    passages: int = _always("passages")


@dataclass
class GooaqCounts:
    """Lines of GooAQ's file, by whether they link to a post."""

    rows: int = _always("rows")
    bad_rows: int = _always("bad rows")
    no_url: int = _if_any("no url")
    no_link: Counter[NoLink] = field(default_factory=Counter, metadata={"sentence": "{}"})
    other_type: int = _if_any("other answer type")
    empty_question: int = _if_any("empty question")
    links: int = _if_any("links")


@dataclass
class ChosenCounts:
    """Links of GooAQ, by whether they became a search question."""

    questions: int = _always("questions")
    without_passages: int = _if_any("page without passages")
    near_against: int = _if_any("question nearly one of the older test")
    same_answer: int = _if_any("another question for the same answer")
    same_question: int = _if_any("the same question for the same page")


def spelled(counts: CommunityCounts | GooaqCounts | ChosenCounts) -> dict[str, int]:
    """Return what was counted as the manifest states it, sorted: sentence -> how many.

    >>> spelled(ChosenCounts(questions=0, same_answer=2))
    {'another question for the same answer': 2, 'questions': 0}
    """
    numbers: dict[str, int] = {}
    for kind in fields(counts):
        sentence, number = kind.metadata["sentence"], getattr(counts, kind.name)
        if isinstance(number, dict):
            numbers |= {sentence.format(key): count for key, count in number.items()}
        elif number or (kind.metadata["always"] and number is not None):
            numbers[sentence] = number
    return dict(sorted(numbers.items()))
