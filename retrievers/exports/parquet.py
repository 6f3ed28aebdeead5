"""An index as Parquet: doc_id, text where the collection is there, and vectors.

Of late interaction `vectors` is a list of lists of one length, the tokens of a document in order; of one vector a
document `vector` is one such list. A row group is a block of the source, so a reader needs no more memory than that.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lotte.progress import Progress
from retrievers.exports.source import DocBlock, ExportSource
from retrievers.exports.target import ExportRequest, placed

KINDS = ("float32", "float16")
FILE = "passages.parquet"


def schema(source: ExportSource, kind: str) -> Any:
    """Return the columns, as pyarrow has them."""
    import pyarrow as pa

    vector = pa.list_(pa.float16() if kind == "float16" else pa.float32(), source.dim)
    columns = [pa.field("doc_id", pa.string(), nullable=False)]
    if source.has_texts:
        columns.append(pa.field("text", pa.string()))
    columns.append(pa.field("vector", vector) if source.one_each else pa.field("vectors", pa.list_(vector)))
    return pa.schema(columns)


def batch(block: DocBlock, columns: Any) -> Any:
    """Return a block as a pyarrow.RecordBatch with the columns of `schema`."""
    import pyarrow as pa

    kind = columns.field(-1).type
    inner = kind if pa.types.is_fixed_size_list(kind) else kind.value_type
    numbers = np.ascontiguousarray(block.vectors, inner.value_type.to_pandas_dtype()).reshape(-1)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers), type=inner)
    if inner is not kind:
        vectors = pa.ListArray.from_arrays(pa.array(block.starts, pa.int32()), vectors, type=kind)
    texts = [] if block.texts is None else [pa.array(block.texts, pa.string())]
    return pa.RecordBatch.from_arrays([pa.array(block.doc_ids, pa.string()), *texts, vectors], schema=columns)


def batches(source: ExportSource, columns: Any, title: str) -> Iterator[Any]:
    """Yield all of an index so, and show how far it is."""
    with Progress(source.num_documents, "documents", title) as progress:
        for block in source.blocks():
            if block.doc_ids:
                yield batch(block, columns)
            progress.advance(len(block.doc_ids))


def write(source: ExportSource, wanted: ExportRequest) -> None:
    """Write the file into the folder that is wanted."""
    import pyarrow.parquet as pq

    kind = wanted.numbers or "float32"
    columns = schema(source, kind)
    facts = {"documents": source.num_documents, "vectors": source.num_vectors, "dim": source.dim, "numbers": kind}
    needed = source.num_vectors * source.dim * np.dtype(kind).itemsize
    with placed(wanted, "parquet", needed, facts) as folder:
        # numbers of vectors hardly repeat: a dictionary or a second compression would cost time and gain nothing
        plain = {"use_dictionary": False, "compression": {"doc_id": "zstd", "text": "zstd"}, "write_statistics": False}
        with pq.ParquetWriter(folder / FILE, columns, **_compressed(columns, plain)) as file:
            for one in batches(source, columns, "writing parquet"):
                file.write_batch(one)
    wanted.say(f"{source.num_documents:,} documents in {FILE}, in the order of the index; doc_id is yours")


def _compressed(columns: Any, plain: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with a compression for every leaf that is there."""
    leaves = {"vector": "vector.list.element", "vectors": "vectors.list.element.list.element"}
    by_leaf = {leaves.get(name, name): "none" if name in leaves else "zstd" for name in columns.names}
    return {**plain, "compression": by_leaf}
