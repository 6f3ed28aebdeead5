"""Columns of Arrow: rows gathered into tables, strings joined a column at a time, files read a batch at a time.

A community has up to a million passages. As Python objects they would not fit
into a laptop, and joining them one by one would take longer than parsing them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]

BATCH = 16_384  # rows that are handled at once


class Gathered:
    """Rows gathered into batches of a table.

    spill  a file that takes the last column, the long one; the others stay in memory
    """

    def __init__(self, schema: pa.Schema, spill: Path | None = None) -> None:
        self._schema = schema
        self._kept = pa.schema(list(schema)[:-1]) if spill else schema
        self._spilled = pa.schema(list(schema)[-1:])
        self._rows: list[tuple[Any, ...]] = []
        self._batches: list[pa.RecordBatch] = []
        self._writer = pa.ipc.new_file(str(spill), self._spilled) if spill else None

    def add(self, row: tuple[Any, ...]) -> None:
        """Take a row: a value for each column of the schema."""
        self._rows.append(row)
        if len(self._rows) == BATCH:
            self._flush()

    def close(self) -> pa.Table:
        """Return what stayed in memory."""
        self._flush()
        if self._writer:
            self._writer.close()
        return pa.Table.from_batches(self._batches, self._kept)

    def _flush(self) -> None:
        if self._rows:
            values = zip(*self._rows, strict=True)
            arrays = [_array(list(column), field.type) for column, field in zip(values, self._schema, strict=True)]
            if self._writer:
                self._writer.write_batch(pa.record_batch([arrays.pop()], schema=self._spilled))
            self._batches.append(pa.record_batch(arrays, schema=self._kept))
            self._rows = []


def joined(*pieces: Any) -> pa.Array:
    """Return the strings of each row one after the other; a piece is a column or the same for all."""
    strings = [
        pa.scalar(piece, pa.large_string()) if isinstance(piece, str) else pc.cast(piece, pa.large_string())
        for piece in pieces
    ]
    return pc.binary_join_element_wise(*strings, pa.scalar("", pa.large_string()))


def strings(column: Any) -> pa.Array:
    """Return a column as large strings, in one piece."""
    return pc.cast(flat(column), pa.large_string())


def flat(column: Any) -> pa.Array:
    """Return a column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def ints(column: pa.ChunkedArray) -> Ints:
    """Return a column of int64 without nulls, not to be written to. `to_numpy` would import pandas."""
    whole = flat(column)
    return np.frombuffer(whole.buffers()[1] or b"", np.int64, len(whole), 8 * whole.offset)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        return _times(values)
    if values and isinstance(values[0], bytes):
        values = [value.decode(errors="replace") for value in values]
    return pa.array(values, kind)


def _times(values: list[bytes]) -> pa.Array:
    """Return the times that a dump writes as 2015-01-27T20:09:32.720; null for what is none."""
    kind = pa.timestamp("ms", "UTC")
    try:
        times = np.array(values).astype("datetime64[ms]")
    except ValueError:
        times = np.array([_time(value) for value in values], dtype="datetime64[ms]")
    return pa.array(times, pa.timestamp("ms")).cast(kind)


def _time(value: bytes) -> np.datetime64:
    try:
        return np.datetime64(value.decode("ascii"), "ms")
    except ValueError:
        return np.datetime64("NaT")


def reorder(path: Path, order: Ints) -> None:
    """Rewrite a file of texts in another order, with some left out, a batch at a time."""
    sorted_path = path.with_suffix(".sorted")
    with pa.memory_map(str(path)) as file:
        texts = pa.ipc.open_file(file).read_all()
        with pa.ipc.new_file(str(sorted_path), texts.schema) as out:
            for begin in range(0, len(order), BATCH):
                for batch in texts.take(order[begin : begin + BATCH]).combine_chunks().to_batches():
                    out.write_batch(batch)
    sorted_path.replace(path)


class _NoPandas:
    """A finder that finds no pandas, where the import system asks it."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ImportError(name)


def without_pandas() -> None:
    """Let pyarrow take it, in this process, that pandas is not installed.

    Else pyarrow imports pandas, a quarter of a second, to ask whether the first numbers that it is given are a series.
    For processes that are ours alone: from then on the NaN of a series is a number to pyarrow, and not a null.
    """
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)


def write(path: Path, table: pa.Table) -> None:
    """Write a table, so many rows at a time as `batches` reads."""
    with pa.ipc.new_file(str(path), table.schema) as file:
        file.write_table(table, max_chunksize=BATCH)


def batches(path: Path, rows: int = BATCH) -> Iterator[Any]:
    """Give a file's rows in pieces of at least this many, with no more than one piece in memory."""
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file)
        held: list[Any] = []
        for at in range(reader.num_record_batches):
            held.append(reader.get_batch(at))
            if sum(map(len, held)) >= rows:
                yield held[0] if len(held) == 1 else pa.concat_batches(held)
                held = []
        if held:
            yield held[0] if len(held) == 1 else pa.concat_batches(held)


def lines(*pieces: Any) -> Any:
    """Return the bytes of each row's pieces, one after the other, all rows in one piece of memory."""
    strings = [pa.scalar(piece, pa.large_string()) if isinstance(piece, str) else piece for piece in pieces]
    joined = pc.binary_join_element_wise(*strings, pa.scalar("", pa.large_string()))
    offsets = np.frombuffer(joined.buffers()[1], dtype=np.int64)
    begin, end = int(offsets[joined.offset]), int(offsets[joined.offset + len(joined)])
    return memoryview(joined.buffers()[2] or b"")[begin:end]
