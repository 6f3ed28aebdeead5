"""Columns of a parquet file, or one line that says what is wrong with it.

pyarrow names a damaged file in a dozen ways, some of several lines, and gives
a column of another type without a word. Every parquet file of ours is read here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lotte.errors import CorruptFileError, absent, reason, shown


def columns(path: Path, kinds: dict[str, type]) -> dict[str, list[Any]]:
    """Return the values of some columns. Raises as `batches`."""
    by_name: dict[str, list[Any]] = {name: [] for name in kinds}
    for batch in batches(path, kinds):
        for name, values in by_name.items():
            values += batch[name].to_pylist()
    return by_name


def batches(path: Path, kinds: dict[str, type], *, nulls: bool = False) -> Iterator[Any]:
    """Yield some columns, a pyarrow.RecordBatch of some thousand rows at a time.

    kinds  name -> int or str, which every value of the column must be; {}: all columns, whatever they hold
    nulls  whether a value may be missing

    Raises  UnavailableError if there is no such file, CorruptFileError if it is damaged or lacks one of them
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise absent(path, "; make or fetch it again")
    try:
        with pq.ParquetFile(path, memory_map=False) as file:
            if lacking := [name for name in kinds if name not in file.schema_arrow.names]:
                there = ", ".join(file.schema_arrow.names)
                raise CorruptFileError(f"{path}: has no column {lacking[0]!r}, but {shown(there)}")
            for batch in file.iter_batches(columns=list(kinds) or None):
                batch.validate(full=True)
                for name, kind in kinds.items():
                    _expect(path, name, batch[name], kind, nulls)
                yield batch
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        why = f"the file is truncated or damaged ({reason(error)}). Make or fetch it again."
        raise CorruptFileError(f"{path}: {why}") from None


def _expect(path: Path, name: str, column: Any, kind: type, nulls: bool) -> None:
    """Raise CorruptFileError if the values of a column are of another kind, or one is missing that must not be."""
    import pyarrow as pa

    value_type = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    texts = pa.types.is_string(value_type) or pa.types.is_large_string(value_type)
    lacking = column.null_count > 0 and not nulls
    if lacking or not (texts if kind is str else pa.types.is_integer(value_type)):
        what = "nothing in a row" if lacking else str(column.type)
        raise CorruptFileError(f"{path}: column {name!r} must hold {kind.__name__}, found {what}")
