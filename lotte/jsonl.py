"""JSON objects, one a line. A line that is anything else is named."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lotte.errors import CorruptFileError, shown
from lotte.lines import lines
from lotte.parsing import json_of


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (1, first object), (2, second object), ... Raises CorruptFileError for what is not an object."""
    for number, line in lines(path):
        yield number, parsed(line, f"{path}:{number}")


def parsed(line: str | bytes, where: str) -> dict[str, Any]:
    """Return the object that a line spells. Raises CorruptFileError, beginning with `where`, if it is none."""
    value = json_of(line, where)
    if not isinstance(value, dict):
        raise CorruptFileError(f"{where}: expected a JSON object, found {shown(str(value), 40)}")
    return value


def string(value: dict[str, Any], key: str, where: str) -> str:
    """Return the string under this key. Raises CorruptFileError if there is none, or an unpaired surrogate."""
    text = value.get(key)
    if not isinstance(text, str):
        raise CorruptFileError(f"{where}: {key!r} must be a string, found {shown(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair; no file can hold it
        raise CorruptFileError(f"{where}: {key!r} is not text ({error.reason} at {error.start})") from None
    return text


def rows(value: dict[str, Any], key: str, count: int) -> list[int] | None:
    """Return the list of row numbers under this key; None if it is no such list, is empty, or has one of no row."""
    numbers = value.get(key)
    if not isinstance(numbers, list) or not numbers:
        return None
    return numbers if all(type(row) is int and 0 <= row < count for row in numbers) else None


def integer(value: Any, what: str, where: str) -> int:
    """Return a value that is an integer. Raises CorruptFileError, which calls it `what`, if it is none."""
    if type(value) is not int:  # True is an int to Python, and "7" would never be equal to passage 7
        raise CorruptFileError(f"{where}: {what} must be an integer, found {shown(value)}")
    return value
