"""Where the collections lie when nobody says otherwise."""

import os
from pathlib import Path


def home() -> Path:
    """Return $LOTTE_HOME, or ~/.cache/lotte."""
    return Path(os.environ.get("LOTTE_HOME") or Path.home() / ".cache" / "lotte")
