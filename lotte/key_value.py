"""`key=value` as it is given to a command: cut in two, and the value read by the type that is declared for the key."""

from collections.abc import Callable
from typing import Any

from lotte.errors import LotteError, shown


def _number(kind: type) -> Callable[[str], Any]:
    """Return how a number is read: as everybody writes it, not 1_2 or digits of other scripts, as Python can."""

    def read(text: str) -> Any:
        if "_" in text or not text.isascii() or text != text.strip():
            raise ValueError(text)
        return kind(text)

    return read


READ: dict[type, Callable[[str], Any]] = {
    bool: {"true": True, "false": False}.__getitem__,
    int: _number(int),
    float: _number(float),
    str: str,
}


def cut(pair: str) -> tuple[str, str | None]:
    """Return key and value; None for a pair without "=".

    >>> cut("lr=2e-5"), cut("lr="), cut("lr")
    (('lr', '2e-5'), ('lr', ''), ('lr', None))
    """
    key, given, text = pair.partition("=")
    return key, text if given else None


def value(text: str | None, kind: type, key: str, *, where: str = "") -> Any:
    """Return the value that a text spells for a key of a type in READ.

    where  what begins the message: "bm25: "

    Raises  LotteError for no value, or one of another type
    """
    if text is None:
        raise LotteError(f"{where}{key} has no value; write -o {key}=VALUE")
    try:
        return READ[kind](text)
    except (KeyError, ValueError):
        raise LotteError(f"{where}{key} takes {kind.__name__}, not {shown(text)}") from None
