"""The environment of a result: the machine, the package versions, and the commit of our code.

Unknown facts are None, or left out: scoring never fails because a processor's
name is unknown.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lotte.processors import num_processors

HOUSE = Path(__file__).resolve().parent.parent
CODE = ("lotte", "retrievers", "leaderboard", "pyproject.toml", "constraints.txt")  # what a number can depend on
LIBRARIES = ("lotte-bench", "numpy", "pystemmer", "pytrec-eval-terrier", "torch", "transformers")


@cache
def machine() -> Mapping[str, Any]:
    """Return what a record says of the machine; None stands where something cannot be found."""
    return {
        "cpu": _cpu(),
        "cores": num_processors(),
        "memory_bytes": _memory(),
        "gpu": _gpus(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


@cache
def code() -> Mapping[str, Any]:
    """Return the commit of the repository we run from, and whether its code was changed since; else None."""
    # a package installed into an environment inside somebody's repository is not that repository's
    top = _output("git", "-C", str(HOUSE), "rev-parse", "--show-toplevel")
    if top is None or Path(top.strip()).resolve() != HOUSE:
        return {"commit": None, "dirty": None}
    commit = _output("git", "-C", str(HOUSE), "rev-parse", "HEAD")
    changes = _output("git", "-C", str(HOUSE), "status", "--porcelain", "--", *CODE)
    return {"commit": commit and commit.strip(), "dirty": None if changes is None else bool(changes.strip())}


def peak_memory() -> int | None:
    """Return the most memory this process has held since it began, in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _cpu() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n"):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    name = _output("sysctl", "-n", "machdep.cpu.brand_string") if sys.platform == "darwin" else None
    return (name or platform.processor() or platform.machine()).strip() or None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _gpus() -> list[str]:
    found = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    return [line.strip() for line in (found or "").split("\n") if line.strip()]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
