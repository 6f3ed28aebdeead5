"""What a long step will take, before it is begun: time, memory, disk.

An estimate comes from a small part of the work, done here and now: what does not depend on how much there is, is told
from what does by doing it twice, for little and for more.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotte.progress import clock

MB = 1e6


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one step takes."""

    step: str
    seconds: float
    memory: float = 0.0  # bytes that the process and its workers hold at the most
    disk: float = 0.0  # bytes that stay
    scratch: float = 0.0  # bytes on disk that go again

    def row(self) -> dict[str, Any]:
        """Return it as commands print it."""
        return {
            "step": self.step,
            "time": clock(self.seconds),
            "seconds": round(self.seconds, 1),
            "memory_mb": round(self.memory / MB),
            "disk_mb": round(self.disk / MB, 1),
            "scratch_mb": round(self.scratch / MB, 1),
        }


def total(parts: Iterable[Estimate]) -> Estimate:
    """Return what steps take that are done one after the other."""
    parts = list(parts)
    return Estimate(
        step="total",
        seconds=sum(part.seconds for part in parts),
        memory=max((part.memory for part in parts), default=0.0),
        disk=sum(part.disk for part in parts),
        scratch=max((part.scratch for part in parts), default=0.0),
    )


@dataclass(frozen=True)
class CostLine:
    """What something takes for any amount: a fixed part, and a part for each of them."""

    fixed: float
    each: float

    @classmethod
    def through(cls, costs: Mapping[int, float]) -> "CostLine":
        """Return the line through what two amounts took; neither part is less than 0.

        >>> CostLine.through({10: 3.0, 30: 5.0}).of(100)
        12.0
        >>> CostLine.through({10: 3.0, 30: 2.0})
        CostLine(fixed=2.0, each=0.0)
        """
        (few, low), (many, high) = min(costs.items()), max(costs.items())
        if few == many:
            return cls(0.0, high / max(1, many))
        each = max(0.0, (high - low) / (many - few))
        return cls(max(0.0, high - each * many), each)

    def of(self, amount: float) -> float:
        """Return what an amount takes."""
        return self.fixed + self.each * amount


def resident() -> float:
    """Return the most memory that this process has held, in bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def age() -> float:
    """Return how many seconds ago this process began, with all that it has imported and read since; 0.7 if unknown."""
    try:
        began = float(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        return uptime - began / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.7


def free_disk(path: Path) -> float:
    """Return how many bytes there is room for where a file or folder is to stand."""
    folder = next(one for one in (path.resolve(), *path.resolve().parents) if one.is_dir())
    return float(shutil.disk_usage(folder).free)


def free_memory() -> float | None:
    """Return how many bytes of memory can be had, if the system says it."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in text.split("\n") if line.startswith("MemAvailable:")), None)
    return None if kilobytes is None else float(kilobytes) * 1024


def shortage(estimate: Estimate, out: Path) -> list[str]:
    """Return a line for what this machine has too little of."""
    lines = []
    needed, room = estimate.disk + estimate.scratch, free_disk(out)
    if needed > room:
        lines.append(f"the disk of {out} has {room / MB:,.0f} MB left, and this takes {needed / MB:,.0f} MB")
    if (memory := free_memory()) is not None and estimate.memory > memory:
        lines.append(f"{memory / MB:,.0f} MB of memory are free, and this takes {estimate.memory / MB:,.0f} MB")
    return lines
