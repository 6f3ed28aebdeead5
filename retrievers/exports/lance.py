"""An index as a table of LanceDB: id, text where the collection is there, and `vectors`, its multi-vector column.

No index is made over the vectors: without one a search is exact. Of cosine `_distance` is the number of query
vectors less the sum of the best cosines.
"""

from importlib.metadata import version

import numpy as np

from lotte import extras
from retrievers.exports.parquet import batches, schema
from retrievers.exports.source import ExportSource
from retrievers.exports.target import ExportRequest, placed

KINDS = ("float32", "float16")


def write(source: ExportSource, wanted: ExportRequest) -> None:
    """Write a database with one table into the folder that is wanted."""
    lancedb = extras.package("lancedb", "`lotte export --to lancedb`")
    kind = wanted.numbers or "float32"
    columns = schema(source, kind)
    facts = {
        "documents": source.num_documents, "vectors": source.num_vectors, "dim": source.dim, "numbers": kind,
        "table": wanted.name, "metric": "cosine", "lancedb": version("lancedb"),
    }  # fmt: skip
    needed = source.num_vectors * source.dim * np.dtype(kind).itemsize
    with placed(wanted, "lancedb", needed, facts) as folder:
        import pyarrow as pa

        reader = pa.RecordBatchReader.from_batches(columns, batches(source, columns, "writing a table"))
        lancedb.connect(str(folder)).create_table(wanted.name, reader)
    wanted.say(
        f"{source.num_documents:,} documents in table {wanted.name}; doc_id is yours. Search column vectors by cosine: "
        "its distance is the number of query vectors less the score"
    )
