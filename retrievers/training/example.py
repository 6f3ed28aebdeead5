"""A training line, and its only reader: which question, which passages, which scores.

A line is `[qid, pid+, pid-, ...]`, or `[qid, [pid, score], ...]` with a
teacher's scores; the first passage is the positive. MS MARCO's
`qid TAB pid+ TAB pid-` is read too. An id is a whole number, or its digits as
text, as some programs write JSON; 3.0 and true are not ids.

Source  ColBERT, colbert/data/examples.py, evaluation/loaders.py; MS MARCO's qidpidtriples.train
"""

import re
from typing import Any, NamedTuple

from lotte.errors import CorruptFileError, shown
from lotte.parsing import json_of
from lotte.run import LARGEST

_LARGEST_ID = 10**18
SHOWN = 60  # characters of a line that is none
_QUESTION = re.compile(rb"\[?([0-9]{1,18})[,\t]")  # where JSON or a triple's first column can be nothing else


class Example(NamedTuple):
    """A question with passages, the positive first."""

    qid: int
    pids: tuple[int, ...]
    scores: tuple[float, ...] | None  # the teacher's, one a passage; None if nobody gave any


def parsed(line: bytes | str, where: str) -> Example:
    """Return the example on a line, in either spelling. Raises CorruptFileError if it is none."""
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    fields: Any
    try:
        fields = json_of(text, where) if text.lstrip().startswith("[") else text.split("\t")
        qid, passages = whole(fields[0]), fields[1:]
        if passages and isinstance(passages[0], list):
            pids, scores = zip(*((whole(pid), finite(score)) for pid, score in passages), strict=True)
            return Example(qid, pids, scores)
        return Example(qid, tuple(map(whole, passages)), None)
    except (CorruptFileError, ValueError, TypeError, IndexError) as error:
        raise no_line(where, "[qid, pid, pid, ...] or [qid, [pid, score], ...]", text, error) from None


def no_line(where: str, expected: str, line: str, error: Exception) -> CorruptFileError:
    """Return the error for a line that is none, with the id or score that is none, which may stand far into it."""
    why = f" ({error})" if isinstance(error, NoNumberError) and len(line) > SHOWN else ""
    return CorruptFileError(f"{where}: expected {expected}, found {line[:SHOWN]!r}{why}")


class NoNumberError(ValueError):
    """A value of a line is not an id, or no score."""


def question(line: bytes, where: str) -> int:
    """Return the question of a line: the same as `parsed` says, without reading the rest where its start is plain."""
    found = _QUESTION.match(line)
    return int(found[1]) if found else parsed(line, where).qid


def whole(value: Any) -> int:
    """Return an id of a line: a whole number, or its digits as text. ValueError for 3.0, true, or what no id is."""
    if type(value) is int and abs(value) < _LARGEST_ID:  # a negative one is not a line number, and is reported by name
        return value
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 19:
        return int(value)
    raise NoNumberError(f"{shown(value, 60)} is not an id")


def finite(value: Any) -> float:
    """Return a score of a line; ValueError for text, true, NaN, or more than a float32 holds: weights would be none."""
    if type(value) not in (int, float) or not abs(value) <= LARGEST:
        raise NoNumberError(f"{shown(value, 60)} is not a finite score")
    return float(value)
