"""The rows of a file of any size, read where they lie: 8 bytes of memory a row.

A row ends at "\\n" or "\\r\\n" and nowhere else; a byte order mark in front of
the first is not part of it, and blank lines after the last row are none, as
in `lines.py`. A file whose name ends in .gz cannot be read where
it lies: it is unpacked, a piece at a time, into a file without a name in the
folder for temporary files ($TMPDIR), which is gone when nobody reads it.
"""

import mmap
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lotte.archive import Allowance
from lotte.errors import CorruptFileError, writing
from lotte.lines import LONGEST, opened, require_file, require_line_ends, whole_gz

_BLOCK = 1 << 24
_BLANKS = 1 << 10  # bytes of a blank line, at most
_MARK = b"\xef\xbb\xbf"
_Bytes: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.uint8]]"


class LineIndex:
    """The lines of a file, by number, from 0, as bytes without their end.

    Raises  UnavailableError if there is no such file, CorruptFileError if a .gz is damaged
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        require_file(path, ". `lotte build` makes it, or point --data at a copy.")

    @cached_property
    def _bytes(self) -> _Bytes:
        if self.path.suffix == ".gz":
            return self._unpacked()
        if self.path.stat().st_size == 0:
            return np.zeros(0, dtype=np.uint8)
        return np.memmap(self.path, dtype=np.uint8, mode="r")

    def _unpacked(self) -> _Bytes:
        folder = Path(tempfile.gettempdir())
        with writing(folder), tempfile.TemporaryFile(dir=folder) as file:
            with whole_gz(self.path), opened(self.path) as packed:
                Allowance(self.path).copy(packed, file)
            file.flush()
            return np.memmap(file, dtype=np.uint8, mode="r") if file.tell() else np.zeros(0, dtype=np.uint8)

    @cached_property
    def _starts(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """Where each row begins, and one more: where the last one ends."""
        data = self._bytes
        ends = []
        for begin in range(0, len(data), _BLOCK):
            ends.append(np.flatnonzero(data[begin : begin + _BLOCK] == 10) + begin + 1)
            self.release()
        starts = np.concatenate([np.zeros(1, dtype=np.int64), *ends])
        starts = starts if starts[-1] == len(data) else np.append(starts, len(data) + 1)
        if len(starts) == 2:
            require_line_ends(data[:LONGEST].tobytes(), self.path)
        if data[:3].tobytes() == _MARK:
            starts[0] = 3
        starts = self._without_blank_end(starts)
        if (sizes := np.diff(starts)).max(initial=0) > LONGEST:
            raise CorruptFileError(
                f"{self.path}:{sizes.argmax() + 1}: a line of more than {LONGEST >> 20} MB; it is refused"
            )
        return starts

    def _without_blank_end(
        self, starts: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    ) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        last = len(starts) - 1
        while last and starts[last] - starts[last - 1] < _BLANKS:
            if self._bytes[starts[last - 1] : starts[last]].tobytes().strip(b" \r\n"):
                break
            last -= 1
        return starts[: last + 1]

    def release(self) -> None:
        """Give back the memory of what was read; it is read again when it is needed again."""
        mapping = getattr(self._bytes, "_mmap", None)
        if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @cached_property
    def _view(self) -> memoryview:
        return np.asarray(self._bytes).data  # a slice of np.memmap takes ten times as long

    def __getitem__(self, row: int) -> bytes:
        begin, end = self._starts.item(row), self._starts.item(row + 1)
        return bytes(self._view[begin : end - 1]).removesuffix(b"\r")
