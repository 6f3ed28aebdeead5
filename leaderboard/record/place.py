"""The paths of a record and its run, and which existing files must not be overwritten."""

from pathlib import Path

from leaderboard.record.read import is_record
from lotte import Dataset
from lotte.errors import MismatchError, reason, shown
from lotte.lines import DAMAGED, opened
from lotte.paths import inside
from lotte.ranking import ENDINGS


def name_of(path: Path) -> str:
    """Return what a ranking file is called without its endings: what its record is named by.

    >>> name_of(Path("runs/my.best.trec.gz"))
    'my.best'
    """
    name = path.name
    while ending := next((ending for ending in ENDINGS if name.endswith(ending) and name != ending), ""):
        name = name.removesuffix(ending)
    return name


def folder_of(system: str) -> str:
    """Return what the folder of a system is called: no file on Windows may have the colon of module:function."""
    return system.replace(":", ".")


def stem(out: Path, system: str, dataset: Dataset) -> Path:
    """Return where the record of a system and its run stand, without their endings: OUT/system/dataset.

    Raises  MismatchError for a name that leads out of the folder
    """
    return inside(inside(out, folder_of(system), "the system"), dataset.name, "the dataset")


def run_files(stem: Path) -> tuple[Path, Path]:
    """Return where the run of a record stands: plain, and packed."""
    return stem.with_name(f"{stem.name}.trec"), stem.with_name(f"{stem.name}.trec.gz")


def require_replaceable(stem: Path, system: str) -> None:
    """Raise MismatchError where somebody else's file would be written over: no record, or a run of another system.

    A run without a record is what a kill between the two leaves, so it is known by its last column.
    """
    if (there := stem.with_name(f"{stem.name}.json")).is_file() and not is_record(there):
        raise MismatchError(f"{there} exists and is not a record; move it, or choose another --out")
    for run in run_files(stem):
        require_run_of(run, system, "--out")


def require_run_of(run: Path, system: str, option: str) -> None:
    """Raise MismatchError if a run is there that is not of this system.

    option  what said where it is to be
    """
    if run.is_file() and (tag := _tag(run)) not in ("", system, folder_of(system)):
        raise MismatchError(
            f"{run} exists and is not a run of {system}: its first line ends in {shown(tag, 40)}; move it, or "
            f"choose another {option}"
        )


def _tag(run: Path) -> str:
    """Return the last column of a run's first line: which system made it; "" of an empty file."""
    try:
        with opened(run) as file:
            return " ".join(file.readline(1 << 16).decode(errors="replace").split()[-1:])
    except DAMAGED as error:
        return f"bytes that are no .gz ({reason(error)})"
