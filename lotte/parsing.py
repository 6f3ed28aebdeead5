"""JSON and TOML from a file that anybody may have written: the value, or one line that says where it is wrong.

Every reader of ours comes here, because Python's own readers raise four kinds
of errors: text that is none, numbers of more digits than Python converts,
nesting deeper than it can follow, and what no file can encode.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from lotte.errors import CorruptFileError, reason, shown

_WRONG = (ValueError, RecursionError)  # ValueError: not JSON or TOML, not UTF-8, a number of 5,000 digits


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of an object by their keys.

    Raises  ValueError if a key occurs twice: which of the two counts is another one in another program
    """
    by_key = dict(pairs)
    if len(by_key) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice[:60]!r} occurs twice")
    return by_key


_DECODER = json.JSONDecoder(object_pairs_hook=unique_keys)


def json_of(text: str | bytes, where: object) -> Any:
    """Return the value that a JSON text spells. Raises CorruptFileError, beginning with `where`."""
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text), "surrogatepass")
        return _DECODER.decode(text)
    except _WRONG as error:
        raise CorruptFileError(f"{where}: not JSON ({reason(error)})") from None


def json_file(path: Path) -> Any:
    """Return the value of a JSON file. Raises CorruptFileError if it is none, and OSError as opening does."""
    return json_of(path.read_bytes(), path)


def json_object(path: Path, *, plain: bool = False) -> dict[str, Any]:
    """Same, of a file that must hold an object.

    plain  whether its texts must be whole: JSON can spell half a character, which no file and no package takes
    """
    value = json_file(path)
    if not isinstance(value, dict):
        raise CorruptFileError(f"{path}: expected a JSON object, found {shown(value)}")
    if plain:
        require_plain(value, path)
    return value


def require_plain(value: Any, where: object) -> None:
    """Raise CorruptFileError if a text in a value from JSON has an unpaired surrogate."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise CorruptFileError(f"{where}: a text in it contains an unpaired surrogate") from None
    except RecursionError as error:
        raise CorruptFileError(f"{where}: not JSON ({reason(error)})") from None


def toml_file(path: Path) -> dict[str, Any]:
    """Return the table of a TOML file. Raises CorruptFileError if it is none, and OSError as opening does."""
    import tomllib

    text = path.read_bytes()
    try:
        return tomllib.loads(text.decode("utf-8-sig"))
    except _WRONG as error:
        raise CorruptFileError(f"{path} is not TOML: {reason(error)}") from None
