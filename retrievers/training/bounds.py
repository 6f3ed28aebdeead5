"""Numbers that no training setting can have: below 0, NaN, infinite."""

from collections.abc import Collection
from typing import Any

from lotte.errors import LotteError

LARGEST, LARGEST_SEED = (1 << 31) - 1, (1 << 63) - 1


def require_bounds(settings: Any, *, above_0: Collection[str] = ()) -> None:
    """Raise LotteError for a number among settings that is below 0, or no number that anything can be done with.

    above_0  those that cannot be 0 either
    """
    for name, value in vars(settings).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not (value > 0 if name in above_0 else value >= 0):  # true of NaN
            raise LotteError(f"{name} must be {'more than 0' if name in above_0 else '0 or more'}, not {value}")
        if value > (LARGEST_SEED if name == "seed" else LARGEST):  # and of what is infinite
            raise LotteError(f"{name} must be {LARGEST_SEED if name == 'seed' else LARGEST} or less, not {value:.6g}")
