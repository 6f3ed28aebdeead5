"""What is printed: text of strangers is shown and never obeyed, and a line stays one line.

A terminal obeys some characters: ESC, BEL and the C1 controls change its
state, a carriage return or a backspace writes over what stands there, U+202E
turns the order of what follows. Documents, ids and names of files have them.
All that is printed for people goes through `visible`, which spells them as
Python does, \\x1b; a file or a pipe gets the same. JSON stays JSON: `json_line`
spells them as \\u001b, which is the same value. Files that are written keep
the texts as they are.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

from lotte.errors import UnavailableError

# C0, DEL, C1; what else ends a line; what turns the order of text; an unpaired surrogate, which no stream can write
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: object) -> str:
    """Return text in which every character that a terminal would obey is spelled out.

    >>> print(visible("a\\x1b[31mb\\n" + chr(0x202e)))
    a\\x1b[31mb\\n\\u202e
    """
    return _OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))


def cell(value: object) -> str:
    """Return one field of a row: line ends and tabs become blanks, the rest is made visible.

    >>> cell("one\\ttwo\\r\\nthree\\x07"), cell(None)
    ('one two three\\\\x07', '')
    """
    return "" if value is None else visible(" ".join(str(value).splitlines()).replace("\t", " "))


def json_line(value: Any) -> str:
    """Return a value on one line of JSON, readable, with what a terminal would obey as \\uXXXX.

    >>> print(json_line({"text": "caf\\u00e9 \\x9b"}))
    {"text": "caf\u00e9 \\u009b"}
    """
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def say(line: object) -> None:
    """Print a line of talk to stderr; nothing if that is closed."""
    if sys.stderr is not None:  # print() takes None for stdout
        print(visible(line), file=sys.stderr, flush=True)


def put(value: object, *, as_json: bool = False) -> None:
    """Print a line of data to stdout, at once and not in blocks: a text, whose tabs stay, or a value as JSON."""
    out = _stdout()
    print(json_line(value) if as_json else "\t".join(map(visible, str(value).split("\t"))), file=out, flush=True)


def _stdout() -> TextIO:
    """Return where data goes. Raises UnavailableError if it is closed: data would be lost without a word."""
    if sys.stdout is None:
        raise UnavailableError("stdout is closed (>&-), and nothing can be printed; send it to a file or to /dev/null")
    return sys.stdout


def show(
    rows: Iterable[Mapping[str, Any]],
    *,
    as_json: bool = False,
    head: bool = True,
    number: Callable[[float], str] = str,
) -> None:
    """Print rows of one kind to stdout: TSV with a head, or one object per line.

    number  how the TSV has a float; JSON has all digits
    """
    for row in rows:
        if as_json:
            put(row, as_json=True)
            continue
        if head:
            print("\t".join(map(cell, row)), file=_stdout())
        head = False
        fields = (number(value) if isinstance(value, float) else cell(value) for value in row.values())
        print("\t".join(fields), file=_stdout(), flush=True)


def four_places(value: float) -> str:
    """Return a number as tables of scores print it."""
    return f"{value:.4f}"
