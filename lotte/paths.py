"""Names to paths: the one place where a name that somebody wrote becomes a file or a folder of ours.

A name comes from a spec, a record or the command line: a community, a dataset,
a system. It may have "/" in it where it names a folder in a folder, and must
not lead out of the folder it is asked for in.
"""

import os
import re
from pathlib import Path

from lotte.errors import MismatchError, UnavailableError

# what Windows takes for a device, or writes under another name
_NO_FILE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?|.*[. ]", re.IGNORECASE | re.DOTALL)


def inside(folder: Path, name: str, what: str = "name") -> Path:
    """Return the path of this name in a folder. A dataset's name, "lotte/science/test", is folders within folders.

    what  says whose name it is, for the message

    Raises  MismatchError for a name that is empty, absolute, or leads elsewhere on some system: "..", ".",
            a backslash, a colon, a control character

    >>> inside(Path("out"), "beir/scifact").as_posix()
    'out/beir/scifact'
    """
    if problem := why_not(name):
        raise MismatchError(f"{what} {name[:80]!r} cannot name a file in {folder}: {problem}")
    return folder / name


def why_not(name: str) -> str:
    """Return why a name cannot be that of a file in a folder; "" if it can.

    >>> why_not("../mine"), why_not("bm25")
    ('it leads out of the folder', '')
    """
    for part in name.split("/"):
        if part in ("", ".", ".."):
            return "it leads out of the folder" if part == ".." or name[:1] == "/" else f"a part of it is {part!r}"
        if odd := next((character for character in part if character in "\\:" or not character.isprintable()), ""):
            return f"it has {odd!r} in it"
        if _NO_FILE.fullmatch(part):
            return f"{part[:80]!r} is not a valid file name on Windows"
    return "it is longer than a file system takes" if any(len(p.encode()) > 255 for p in name.split("/")) else ""


def require_writable(folder: Path) -> None:
    """Raise UnavailableError if nothing can be written in a folder that is there or is to be made."""
    there = folder
    while not (there.exists() or there.is_symlink()):
        there = there.parent
    if not there.is_dir():
        raise UnavailableError(f"{there} is not a folder, so nothing can be written to {folder}; choose another one")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UnavailableError(f"{there} may not be written, so nothing can be to {folder}; choose another one")
