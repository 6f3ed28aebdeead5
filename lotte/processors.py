"""How many processors there are for this process."""

import os

_share: int | None = None  # of a worker, beside others on the same machine


def num_processors() -> int:
    """Return how many processors this process may use, which in a container are fewer than there are."""
    if _share:
        return _share
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(count: int) -> None:
    """Say that this process is one of several workers, and how many processors are its own."""
    global _share
    _share = max(1, count)
