"""Bad rows of a file: each is counted, the first ones are reported with their line, and too many are a file error."""

from pathlib import Path

from lotte.errors import CorruptFileError

_NAMED = 20  # in the report; all are counted


class BadRows:
    """What was refused of one file.

    path  what messages call the file
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.count = 0
        self.first: list[str] = []

    def refuse(self, line: int, reason: str) -> None:
        """Count a row as bad."""
        self.count += 1
        if len(self.first) < _NAMED:
            self.first.append(f"{self.path}:{line}: {reason}")

    def check_share(self, num_rows: int, limit: float) -> None:
        """Raise CorruptFileError if more rows were bad than one, and than this share of all."""
        if self.count > max(1.0, limit * num_rows):
            raise CorruptFileError(
                f"{self.count:,} of {num_rows:,} rows are bad, more than the {limit:.2%} that max_bad_share allows; "
                f"the first: {self.first[0]}. Fetch the file again, or raise max_bad_share in the spec."
            )

    def named(self, path: Path, name: str) -> list[str]:
        """Return the first few, with another name for the file: a manifest names no place on a disk."""
        return [message.replace(str(path), name, 1) for message in self.first]
