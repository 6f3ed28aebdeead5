"""An index as a collection of Qdrant: a folder for its embedded mode, or a server that runs.

A point is a document: its number is its place in the index, as Qdrant takes whole numbers and UUIDs alone, and the
user's id is `doc_id` of its payload. The vectors are the multi-vector `tokens`, compared by dot product, the best of
each query vector added up; no graph is built over them (m = 0), so a search is exact.

The embedded mode has all points in memory. To export needs no more than a block: points are put into its file
directly, which is a table of pickled points, with arrays where the client would have lists of numbers, that take
seven times the memory when they are loaded.
"""

import pickle
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lotte import extras
from lotte.errors import LotteError, MismatchError, UnavailableError, reason
from lotte.progress import Progress
from retrievers.exports.source import DocBlock, ExportSource
from retrievers.exports.target import ExportRequest, placed

VECTORS = "tokens"
AT_ONCE = 2_000_000  # numbers of a request to a server: 20 MB of JSON


def write(source: ExportSource, wanted: ExportRequest) -> None:
    """Write a collection, into the folder that is wanted or to the server."""
    client = extras.package("qdrant_client", "`lotte export --to qdrant`")
    if wanted.url:
        _send(client, source, wanted)
    else:
        _write_folder(client, source, wanted)
    wanted.say(
        f"{source.num_documents:,} documents in collection {wanted.name}; their ids are the numbers 0 to "
        f"{source.num_documents - 1:,}, as Qdrant takes no texts, and yours are doc_id of the payload"
    )


def create(client: Any, source: ExportSource, name: str) -> None:
    """Make an empty collection for an index."""
    from qdrant_client import models

    comparator = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    tokens = models.VectorParams(
        size=source.dim,
        distance=models.Distance.DOT,
        multivector_config=comparator,
        hnsw_config=models.HnswConfigDiff(m=0),
    )
    client.create_collection(name, vectors_config={VECTORS: tokens})


def _write_folder(package: Any, source: ExportSource, wanted: ExportRequest) -> None:
    facts = {
        "documents": source.num_documents, "vectors": source.num_vectors, "dim": source.dim, "numbers": "float32",
        "collection": wanted.name, "ids": "numbers from 0; yours are payload.doc_id",
        "qdrant-client": version("qdrant-client"),
    }  # fmt: skip
    with placed(wanted, "qdrant", source.num_vectors * source.dim * 4, facts) as folder:
        client = package.QdrantClient(path=str(folder))
        create(client, source, wanted.name)
        client.close()
        (folder / ".lock").unlink(missing_ok=True)
        _fill(folder / "collection" / wanted.name, source)


def _fill(folder: Path, source: ExportSource) -> None:
    """Put all documents into the file of a collection of the embedded mode."""
    from qdrant_client import models
    from qdrant_client.local.persistence import CollectionPersistence

    stored = CollectionPersistence(str(folder))
    try:
        with Progress(source.num_documents, "documents", "writing points") as progress:
            for block in source.blocks():
                rows = []
                for number, (vectors, said) in enumerate(_points(block, as_lists=False), start=block.row):
                    point = models.PointStruct.model_construct(id=number, vector=vectors, payload=said)
                    rows.append((stored.encode_key(number), pickle.dumps(point)))
                with stored.storage:  # one transaction a block
                    stored.storage.executemany("INSERT OR REPLACE INTO points VALUES (?, ?)", rows)
                progress.advance(len(rows))
    finally:
        stored.close()


def _points(block: DocBlock, *, as_lists: bool) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Give vectors and payload of each document; one without a token has no vectors, as Qdrant takes no empty ones."""
    for place, doc_id in enumerate(block.doc_ids):
        vectors = block.of(place)
        payload = {"doc_id": doc_id} | ({} if block.texts is None else {"text": block.texts[place]})
        yield ({VECTORS: vectors.tolist() if as_lists else vectors.copy()} if len(vectors) else {}), payload


def _send(package: Any, source: ExportSource, wanted: ExportRequest) -> None:
    """Put all documents into a new collection of a server. If that fails, the collection is removed."""
    try:
        client = package.QdrantClient(url=wanted.url, timeout=60)
        if client.collection_exists(wanted.name):
            raise MismatchError(
                f"{wanted.url} has a collection {wanted.name!r}; choose another name with --collection, or delete it"
            )
        create(client, source, wanted.name)
        try:
            upload(client, source, wanted.name)
        except BaseException:
            client.delete_collection(wanted.name)
            raise
    except LotteError:
        raise
    except Exception as error:  # httpx, gRPC and the client have errors of their own for a server that is not there
        raise UnavailableError(f"Qdrant at {wanted.url} did not take the documents: {reason(error)}") from None


def upload(client: Any, source: ExportSource, name: str) -> None:
    """Send all documents to a collection, some at a time."""
    from qdrant_client import models

    waiting: list[Any] = []
    numbers = 0
    with Progress(source.num_documents, "documents", "sending points") as progress:
        for block in source.blocks():
            for place, (vectors, said) in enumerate(_points(block, as_lists=True)):
                waiting.append(models.PointStruct(id=block.row + place, vector=vectors, payload=said))
                numbers += len(block.of(place)) * source.dim
                if numbers >= AT_ONCE:
                    client.upsert(name, waiting)
                    progress.advance(len(waiting))
                    waiting, numbers = [], 0
        if waiting:
            client.upsert(name, waiting)
            progress.advance(len(waiting))
