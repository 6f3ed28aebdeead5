"""Columns of a parquet file, or one line that says what is wrong with it.

pyarrow names a damaged file in a dozen ways, some of several lines, and gives
a column of another type without a word. Every parquet file of ours is read here.
"""

from pathlib import Path
from typing import Any

from lotte.errors import CorruptFileError, UnavailableError, shown


def columns(path: Path, kinds: dict[str, type]) -> dict[str, list[Any]]:
    """Return the values of some columns.

    kinds  name -> int or str, which every value of the column must be

    Raises  UnavailableError if there is no such file, CorruptFileError if it is damaged or lacks one of them
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UnavailableError(f"{path} is not there")
    try:
        with pq.ParquetFile(path, memory_map=False) as file:
            if lacking := [name for name in kinds if name not in file.schema_arrow.names]:
                there = ", ".join(file.schema_arrow.names)
                raise CorruptFileError(f"{path}: has no column {lacking[0]!r}, but {shown(there)}")
            table = file.read(columns=list(kinds))
        found = {name: table[name].to_pylist() for name in kinds}
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise CorruptFileError(f"{path}: the file is cut or damaged ({reason}). Make or fetch it again.") from None
    for name, kind in kinds.items():
        if others := set(map(type, found[name])) - {kind}:
            raise CorruptFileError(f"{path}: column {name!r} must hold {kind.__name__}, found {others.pop().__name__}")
    return found
