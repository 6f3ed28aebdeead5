"""What runs in a worker of a Ray cluster: an actor that does one step after another."""

import os
import pickle
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from lotte.errors import LotteError
from lotte.processors import share

PACKAGES = ("lotte-bench", "ray", "numpy", "pyarrow", "beautifulsoup4", "markdown-it-py")  # what bytes may depend on


def versions() -> dict[str, str]:
    """Return the versions that what is made here may depend on."""
    found = {"Python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a checkout that was never installed, or a package that is not needed
            found[package] = "no version"
    return found


class Worker:
    """An actor: a process that does one step after another, and keeps the models it has loaded."""

    def hello(
        self, token: str, where: str, modules: Sequence[str], reads: Sequence[str], begin: bytes
    ) -> dict[str, Any]:
        """Get ready. Return what this worker is, and what of the paths it does not see.

        token    a file that the command wrote
        where    the command runs
        modules  where it looks for modules: somebody's retriever may be there
        """
        share(1)
        seen = {os.path.dirname(token): os.path.isfile(token)}
        seen |= {path: os.path.exists(path) for path in (where, *reads)}
        if seen[where]:
            os.chdir(where)
        sys.path += [path for path in modules if path not in sys.path and os.path.exists(path)]
        if do_first := pickle.loads(begin):
            do_first()
        lacks = [path for path, is_there in seen.items() if not is_there]
        return {"versions": versions(), "lacks": lacks, "node": socket.gethostname()}

    def do(self, task: bytes) -> bytes | None:
        """Do a step. Return what it raised."""
        try:
            pickle.loads(task)(_nobody)
        except Exception as error:
            return pickled(error)
        return None


def _nobody(used: int) -> None:
    """Take progress that nobody is told: a step is counted when it is done."""


def pickled(error: Exception) -> bytes:
    """Return an error as bytes; one that cannot be sent, as an error that says the same."""
    if not isinstance(error, LotteError):
        error.add_note(traceback.format_exc())
    with suppress(Exception):
        pickle.loads(made := pickle.dumps(error))
        return made
    return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
