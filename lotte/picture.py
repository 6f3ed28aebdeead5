"""Pictures that commands draw with --plot: which files they may be, and how they are written."""

from pathlib import Path
from typing import Any

from lotte import extras
from lotte.errors import UnavailableError

ENDINGS = (".png", ".svg", ".pdf")


def figure(path: Path, width: float, height: float) -> Any:
    """Return an empty figure of matplotlib, in inches, for a file of this name.

    Raises  UnavailableError if the package is missing, or the ending says no format of a picture
    """
    made = extras.package("matplotlib.figure", "--plot").Figure
    require_ending(path)
    return made(figsize=(width, height), layout="constrained")


def require_ending(path: Path) -> None:
    """Raise UnavailableError, before hours of work, for a file that cannot be drawn into."""
    if path.suffix.lower() not in ENDINGS:
        raise UnavailableError(f"--plot takes a file that ends in .png, .svg or .pdf, not {path.name!r}")


def save(drawn: Any, path: Path) -> None:
    """Write a figure into its file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=150)
