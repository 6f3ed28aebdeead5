"""The retriever that a command line names, with its options."""

import os
import sys
from typing import TYPE_CHECKING

from leaderboard.cli.options import Device

if TYPE_CHECKING:
    from retrievers import Retriever


def find_modules(name: str) -> None:
    """Let a name of the form module:function stand for a module in the folder where the command runs."""
    if ":" in name and (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # last, so that it hides no other module


def load(name: str, options: list[str] | None, device: Device | None) -> "Retriever":
    """Return a retriever by its name; --device is for those that have such an option, and the others ignore it."""
    from retrievers import registry

    find_modules(name)
    chosen = list(options or ())
    if device and registry.takes(name, "device"):
        chosen.append(f"device={device.value}")
    return registry.load(name, chosen)
