"""Whether a passage contains an answer, by DPR's rules, which Open-QA uses.

Text and answer are brought to Unicode's NFD and cut into tokens: runs of
letters, digits and marks, or else single characters that are neither blank
nor control. Tokens are lower-cased. A passage holds an answer if the answer's
tokens stand in it side by side. Accents stay: `cafe` is not in `caf\u00e9`.

An answer without a token (only blanks) matches every passage in DPR. Here it
matches none: the reader of the questions drops and counts it.

Some question lists have patterns in place of answers. They use the dialect of
the `regex` package, which searches for them. A pattern that does not compile
matches nothing. One that takes too long is stopped: it matches nothing in that
passage, and after PATIENCE seconds in total nothing at all.

Source  Karpukhin et al. 2020, arXiv:2004.04906; behaviour of dpr/data/qa_validation.py and dpr/utils/tokenizers.py
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from time import monotonic
from typing import Any, TypeAlias

from lotte import extras

Holds: TypeAlias = Callable[[str], bool]  # a passage's text -> whether an answer is in it
PATIENCE = 5.0  # seconds that one pattern may take over all passages, and the most it may take in one


def tokens(text: str) -> list[str]:
    """Return the lower-cased tokens of a text.

    >>> tokens("The U.S.A.'s 1,000-mile caf\\u00e9")
    ['the', 'u', '.', 's', '.', 'a', '.', "'", 's', '1', ',', '000', '-', 'mile', 'cafe\u0301']
    """
    return [token.lower() for token in _token().findall(unicodedata.normalize("NFD", text))]


def holds(answers: Sequence[str]) -> Holds:
    """Return the test for any of these answers.

    >>> holds(["U.S."])("the U.S.A. won"), holds(["US"])("the U.S.A. won"), holds(["  "])("anything")
    (True, False, False)
    """
    tokens_of_answers = [answer_tokens for answer in dict.fromkeys(answers) if (answer_tokens := tokens(answer))]
    # a passage without an answer's longest token holds it not: a quick look that spares most of the cutting
    looks = [max(map(_folded, answer_tokens), key=len) for answer_tokens in tokens_of_answers]

    def test(text: str) -> bool:
        folded = _folded(unicodedata.normalize("NFD", text))
        left = [answer_tokens for answer_tokens, look in zip(tokens_of_answers, looks, strict=True) if look in folded]
        if not left:
            return False
        passage = tokens(text)
        return any(_side_by_side(answer_tokens, passage) for answer_tokens in left)

    return test


def holds_pattern(patterns: Sequence[str], patience: float = PATIENCE) -> Holds:
    """Return the test for any of these patterns.

    Raises  UnavailableError if the package `regex` is not installed
    """
    compiled = [expression for pattern in patterns if (expression := compile_pattern(pattern)) is not None]
    left = [patience] * len(compiled)

    def test(text: str) -> bool:
        text = unicodedata.normalize("NFD", text)
        for number, pattern in enumerate(compiled):
            if left[number] <= 0:
                continue
            start = monotonic()
            try:
                if pattern.search(text, timeout=left[number]):
                    return True
            except TimeoutError:
                pass
            if (spent := monotonic() - start) > 0.01:  # a good pattern takes microseconds; those cost it nothing
                left[number] -= spent
        return False

    return test


def compile_pattern(pattern: str) -> Any:
    """Return the pattern, or None if it is none."""
    regex = extras.package("regex", "a dataset whose answers are patterns")
    flags = regex.IGNORECASE | regex.UNICODE | regex.MULTILINE
    try:
        return regex.compile(unicodedata.normalize("NFD", pattern), flags=flags)
    except (regex.error, RecursionError, OverflowError, MemoryError):
        return None


def _side_by_side(answer: list[str], passage: list[str]) -> bool:
    count = len(answer)
    return any(passage[start : start + count] == answer for start in range(len(passage) - count + 1))


def _folded(text: str) -> str:
    """Lower-case, with one sigma: alone among letters its small form depends on what stands around it."""
    return text.lower().replace("\u03c2", "\u03c3")


@cache
def _token() -> re.Pattern[str]:
    """The pattern of a token, from Unicode's categories: letters, marks, numbers; and neither blank nor control."""
    words, others = _ranges("LMN"), _ranges("PS")
    return re.compile(f"[{words}]+|[{others}]")


def _ranges(kinds: str) -> str:
    """Return the characters of these general categories, as the inside of a character class."""
    parts: list[str] = []
    begin = None
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and unicodedata.category(chr(code))[0] in kinds
        if inside and begin is None:
            begin = code
        elif not inside and begin is not None:
            parts.append(f"\\U{begin:08x}-\\U{code - 1:08x}")
            begin = None
    return "".join(parts)
