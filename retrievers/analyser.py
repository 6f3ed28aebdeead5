"""How English text becomes the words of an index: as Lucene's EnglishAnalyzer does it.

Words by the rules of UAX #29 (letters and digits; an apostrophe or a full stop
between letters, a comma between digits; each Han character by itself), a
possessive 's off, lower case, Lucene's 33 stop words out, Porter's stem.

Source  org.apache.lucene.analysis.en.EnglishAnalyzer; UAX #29, table 3
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from threading import local
from unicodedata import category, name

import Stemmer

STOP_WORDS = frozenset(
    {
        "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no",
        "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this",
        "to", "was", "will", "with",
    }
)  # fmt: skip
MAX_LETTERS = 255  # a longer word is cut into pieces, as StandardTokenizer does
_APOSTROPHES = "'\u2019\uff07"
_BETWEEN_BOTH = ".\u2018\u2019\u2024\ufe52\uff07\uff0e'"  # MidNumLet and Single_Quote
_BETWEEN_LETTERS = ":\u00b7\u0387\u055f\u05f4\u2027\ufe13\ufe55\uff1a" + _BETWEEN_BOTH
_BETWEEN_DIGITS = ",;\u037e\u0589\u060c\u060d\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b" + _BETWEEN_BOTH
_BEYOND = ((0x1D400, 0x1D7CB), (0x1D7CE, 0x1D7FF), (0x20000, 0x3FFFF))  # first and last letter, digit, single letter

_thread = local()


def english(text: str) -> list[str]:
    """Return the words of a text, in order, as they are indexed.

    >>> english("The moon's tides: 3,000 km of U.S.A. beaches aren't well-known")
    ['moon', 'tide', '3,000', 'km', 'u.s.a', 'beach', "aren't", 'well', 'known']
    """
    return ENGLISH(text)


def indexed_as(found: list[str]) -> list[str | None]:
    """Return what each word is in an index: itself without ending, or None if it is in none."""
    lower = [_without_possessive(word).lower() for word in found]
    stems = _stemmer().stemWords(lower)
    # Lucene's stemmer leaves short words alone; PyStemmer would make "u" of "us", and nothing of "s"
    return [
        None if word in STOP_WORDS else stem if len(word) > 2 else word for word, stem in zip(lower, stems, strict=True)
    ]


def words(text: str) -> list[str]:
    """Return the words of a text as they are written."""
    found: list[str] = _pattern().findall(text)
    if len(text) > MAX_LETTERS and any(len(word) > MAX_LETTERS for word in found):
        return [word[at : at + MAX_LETTERS] for word in found for at in range(0, len(word), MAX_LETTERS)]
    return found


@dataclass(frozen=True)
class Analyser:
    """How texts become words, said twice: for one text at a time, and for what reads many (retrievers/batches.py)."""

    words: Callable[[str], list[str]]  # of a text, as they are written
    indexed_as: Callable[[list[str]], list[str | None]]  # what each is in an index
    kinds: Callable[[], tuple[str, ...]]  # see `character_kinds`; it may say less
    longest: int = 0  # characters of a word, which is cut into such pieces; 0: any number
    any_case: bool = False  # whether a word is indexed as the same with its letters of ASCII in lower case
    fold: Callable[[str], str] = str  # what is done to a text first

    def __call__(self, text: str) -> list[str]:
        return [word for word in self.indexed_as(self.words(self.fold(text))) if word is not None]


def _without_possessive(word: str) -> str:
    return word[:-2] if word[-1] in "sS" and word[-2:-1] in _APOSTROPHES and len(word) > 1 else word


def _stemmer() -> "Stemmer.Stemmer":
    """Return this thread's own: two threads in one stemmer would mix their words."""
    if not hasattr(_thread, "stemmer"):
        _thread.stemmer = Stemmer.Stemmer("porter")
    return _thread.stemmer


@cache
def _kinds() -> tuple[str, ...]:
    """Return letters, digits, marks, joiners, and letters that are words. It goes through 65,536 characters.

    Beyond these are letters of mathematics and Han; others there would make every look-up slow.
    """
    kinds: dict[str, list[str]] = {"L": [], "N": [], "M": [], "P": [], "single": []}
    for letter in map(chr, range(0x10000)):
        kind = category(letter)
        if kind[0] == "L" or kind == "Nl":
            single = name(letter, "").startswith(("CJK UNIFIED", "CJK COMPAT", "HIRAGANA LETTER"))
            kinds["single" if single else "L"].append(letter)
        elif kind == "Cf":
            kinds["M"].append(letter)
        elif kind[0] == "M" or kind in ("Nd", "Pc"):
            kinds[kind[0]].append(letter)
    return tuple("".join(letters) for letters in kinds.values())


@cache
def _pattern() -> "re.Pattern[str]":
    """Return what a word looks like."""
    L, D, M, J, S = map(re.escape, _kinds())
    L, D, S = (kind + "-".join(map(chr, ends)) for kind, ends in zip((L, D, S), _BEYOND, strict=True))
    between = (
        f"(?<=[{L}{M}])[{re.escape(_BETWEEN_LETTERS)}](?=[{L}])|(?<=[{D}{M}])[{re.escape(_BETWEEN_DIGITS)}](?=[{D}])"
    )
    return re.compile(f"[{S}][{M}]*|[{J}]*[{L}{D}][{L}{D}{M}{J}]*(?:(?:{between})[{L}{D}{M}{J}]+)*")


def character_kinds() -> tuple[str, ...]:
    """Return what `_pattern` says as characters: its five kinds, and what may stand between letters and digits."""
    L, D, M, J, S = _kinds()
    more = ("".join(map(chr, range(first, last + 1))) for first, last in _BEYOND)
    L, D, S = map(str.__add__, (L, D, S), more)
    return L, D, M, J, S, _BETWEEN_LETTERS, _BETWEEN_DIGITS


@cache
def _no_blanks() -> tuple[str, ...]:
    return ("".join(letter for letter in map(chr, range(0x110000)) if not letter.isspace()),)


ENGLISH = Analyser(words, indexed_as, character_kinds, MAX_LETTERS, any_case=True)
BLANKS = Analyser(str.split, list, _no_blanks)  # what stands between blanks
LOWER_BLANKS = replace(BLANKS, fold=str.lower)
