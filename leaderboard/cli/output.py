"""How commands print data: rows as TSV or as JSON, and single values."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotte.terminal import four_places, put, say, show

if TYPE_CHECKING:
    from lotte.estimate import Estimate


def print_rows(
    rows: Iterable[Mapping[str, Any]],
    as_json: bool,
    *,
    head: bool = True,
    number: Callable[[float], str] = four_places,
) -> None:
    """Print rows of one kind: TSV with a head, or one object per line with all digits.

    number  how the TSV has a float: four decimals, or `str` for numbers that are rounded already
    """
    show(rows, as_json=as_json, head=head, number=number)


def print_row(row: Mapping[str, Any], as_json: bool) -> None:
    """Print one row, which needs no head."""
    print_rows([row], as_json, head=False)


def print_value(name: str, value: object, as_json: bool) -> None:
    """Print one value, as JSON under its name."""
    put({name: str(value)} if as_json else value, as_json=as_json)


def print_estimate(steps: "Iterable[Estimate]", out: Path, as_json: bool) -> None:
    """Print what steps take, and all of them together; say what this machine has too little of.

    out  where it would be written
    """
    from lotte.estimate import shortage, total

    steps = list(steps)
    whole = total(steps)
    print_rows([step.row() for step in ([*steps, whole] if len(steps) > 1 else steps)], as_json, number=str)
    for line in shortage(whole, out):
        say(line)
