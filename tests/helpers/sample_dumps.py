"""The sample's dumps, unpacked, and the tree that a build of them is."""

import hashlib
from pathlib import Path

from places import DUMPS, GOOAQ, SPEC

SAMPLE_WORDS = ("build", "--dumps", DUMPS, "--gooaq", GOOAQ, "--spec", SPEC)


def tree(folder: Path) -> dict[str, str]:
    """Return every file below a folder and the hash of its bytes, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
