"""The tables of a dump by the names that files and members of archives have, and what is wrong with an archive."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from lotte.errors import CorruptFileError, UnavailableError

BLOCK = 1 << 18  # bytes that are handed on; larger ones are slower: they are mapped and unmapped each time
_TABLES = ("Badges", "Comments", "PostHistory", "PostLinks", "Posts", "Tags", "Users", "Votes")
_BY_LOWER = {f"{table.lower()}.xml": f"{table}.xml" for table in _TABLES}


class Stopped(Exception):
    """The reader went away; the thread that decompresses stops at its next block."""


def table_of(name: str) -> str:
    """Return the table that a file or a member is, whatever folder it lies in and however its name is cased.

    >>> table_of("coffee/posts.xml"), table_of("PostHistory.xml"), table_of("readme.xml")
    ('Posts.xml', 'PostHistory.xml', 'readme.xml')
    """
    last = PurePosixPath(name.replace("\\", "/")).name
    return _BY_LOWER.get(last.lower(), last)


def is_table(name: str) -> bool:
    """Whether a name is that of one of the tables of a dump, however it is cased."""
    return name.lower() in _BY_LOWER


def within(path: Path, members: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the tables of an archive, and how many bytes each is.

    members  names of files in it, and their sizes

    Raises  CorruptFileError for a path that leads out of it, or a table that occurs twice
    """
    tables: dict[str, int] = {}
    for member, size in members:
        name = PurePosixPath(member.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
            raise CorruptFileError(
                f"{path}: holds {member!r}, a path that leads out of the archive. No dump does; it is refused."
            )
        if not (table := table_of(member)).lower().endswith(".xml"):
            continue
        if table in tables:
            raise CorruptFileError(f"{path}: holds {table} more than once; one archive is one community")
        tables[table] = size
    return tables


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged archive makes its reader stumble over into one line."""
    try:
        yield
    except (CorruptFileError, UnavailableError, Stopped):
        raise
    except MemoryError as error:
        raise CorruptFileError(f"{path}: needs more memory than this machine has, or is damaged") from error
    except Exception as error:
        what = str(error) or type(error).__name__
        raise CorruptFileError(
            f"{path}: the archive is truncated or damaged ({type(error).__name__}: {what[:120]}). Fetch it again."
        ) from error
