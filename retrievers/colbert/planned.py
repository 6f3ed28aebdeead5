"""What an index of late interaction will take, as a sample of its documents says before it is built."""

import shutil
from pathlib import Path
from typing import NamedTuple

from lotte.errors import UnavailableError
from lotte.progress import clock
from lotte.terminal import say
from retrievers.colbert.index import build


class Measured(NamedTuple):
    """What an index will take, as a sample of its documents was encoded here and now."""

    plan: build.Plan
    tokens: float  # of a document
    loading: float  # seconds
    seconds: float  # of encoding and compressing


def announce(measured: Measured, documents: int, path: Path) -> None:
    """Say how much disk, memory and time an index will take. Raises UnavailableError if the disk has not that much."""
    plan = measured.plan
    say(
        f"{documents:,} documents of about {measured.tokens:.0f} tokens, {plan.centroids:,} centroids: about "
        f"{plan.disk / 1e6:,.0f} MB on disk ({plan.scratch / 1e6:,.0f} MB more while it is built), "
        f"{plan.memory / 1e6:,.0f} MB of memory beside the model, {clock(measured.seconds)}"
    )
    parent = next(folder for folder in (path.resolve().parent, *path.resolve().parents) if folder.exists())
    if (free := shutil.disk_usage(parent).free) < plan.disk + plan.scratch:
        raise UnavailableError(
            f"{parent} has {free / 1e6:,.0f} MB free, but the index needs {(plan.disk + plan.scratch) / 1e6:,.0f} MB "
            "while it is built; make room, or choose another folder"
        )
