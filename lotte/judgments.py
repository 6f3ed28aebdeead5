"""Judgments as files have them: a query, a document, and how well it answers.

A relevance is a whole number of at most LARGEST. Below 0 is junk, and no more
relevant than 0, as trec_eval has it. trec_eval takes memory for each grade up
to the largest one, and takes one of ten digits for no grade at all, without a
word: so larger ones never get there.

A pair that is judged twice is refused if the two contradict each other, and
counted if they are equal: trec_eval refuses both, but MS MARCO's training
judgments and others that people have name pairs again.
"""

import re
from math import isfinite
from numbers import Real
from typing import Any

from lotte.errors import CorruptFileError, shown

LARGEST = 100_000
_WHOLE = re.compile(r"[+-]?[0-9]+(?:\.0*)?").fullmatch
_COMMON = {str(number): number for number in range(10)}


def grade(text: str, where: str) -> int:
    """Return the relevance that a text spells, 0 or more.

    Raises  CorruptFileError for what is not a whole number, or above LARGEST

    >>> grade("2", ""), grade("1.0", ""), grade("-2", "")
    (2, 1, 0)
    """
    if (known := _COMMON.get(text)) is not None:
        return known
    if not _WHOLE(text):
        raise CorruptFileError(f"{where}: relevance {shown(text)} is not a whole number")
    digits = text.partition(".")[0].lstrip("+0")
    if digits.startswith("-") or not digits:
        return 0
    if len(digits) > len(str(LARGEST)) or int(digits) > LARGEST:
        raise CorruptFileError(
            f"{where}: relevance {shown(text)} is above {LARGEST:,}, the largest that is scored; "
            "trec_eval would take it for something else"
        )
    return int(digits)


def whole(relevance: Any) -> int:
    """Return a relevance that a program gives, not a file, as an int; numpy's, and 1.0 for 1, are taken too.

    Raises  TypeError for what is not a whole number

    >>> whole(True), whole(2.0)
    (1, 2)
    """
    if isinstance(relevance, Real) and isfinite(relevance) and relevance == int(found := float(relevance)):
        return int(found)
    raise TypeError(f"a relevance must be a whole number, not {shown(relevance)}")


class Judgments(dict[str, dict[str, int]]):
    """query_id -> doc_id -> relevance, as they are read, pair by pair."""

    def __init__(self) -> None:
        super().__init__()
        self.repeated = 0  # pairs that were judged again, with the same relevance
        self._first = ""  # where

    def add(self, query_id: str, doc_id: str, relevance: int, where: str) -> None:
        """Take a judgment. Raises CorruptFileError if the pair has another already."""
        judged = self.setdefault(query_id, {})
        if (before := judged.get(doc_id)) is None:
            judged[doc_id] = relevance
            return
        if before != relevance:
            raise CorruptFileError(
                f"{where}: query {shown(query_id)} and document {shown(doc_id)} are judged a second time, {relevance} "
                f"here and {before} before; leave one of the two out"
            )
        self.repeated += 1
        self._first = self._first or where

    def notes(self) -> tuple[str, ...]:
        """What a user should know of them."""
        if not self.repeated:
            return ()
        return (f"{self._first}: a pair is judged a second time with the same relevance, {self.repeated:,} in all",)
