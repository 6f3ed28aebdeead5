"""An index as fast-plaid has it: the same centroids, codes and residuals, packed its way. `foreign` reads it back.

What fast-plaid does not have stays behind: the lengths of decoded tokens, which it computes, and whether centroids
were looked for by two levels. Ids stand beside it, as PyLate has them, in JSON.

Legend  N tokens  D documents  K centroids  H dimensions  P bytes of a packed residual
Source  github.com/lightonai/fast-plaid 1.7.0, rust/index and python/fast_plaid/search/load.py
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import artifact
from lotte.progress import Progress
from retrievers.colbert.index import foreign, foreign_ids
from retrievers.colbert.kernels.arrays import Codec
from retrievers.colbert.kernels.reference import unpack
from retrievers.exports.source import CodeBlock, LateSource
from retrievers.exports.target import ExportRequest, placed

CHUNK = 25_000  # documents, as fast-plaid has them
SAMPLE = 1 << 17  # tokens whose residuals say how large they are
FAR = 0.75  # share of tokens that are nearer to their centroid than what opens a new one when documents are added


def write(source: LateSource, wanted: ExportRequest) -> None:
    """Write an index into the folder that is wanted."""
    codec = source.codec
    facts = {
        "documents": source.num_documents, "vectors": source.num_vectors, "dim": source.dim, "bits": codec.bits,
        "centroids": codec.num_centroids, "ids": f"places from 0; yours are in {foreign_ids.PYLATE}.json",
    }  # fmt: skip
    needed = source.num_vectors * (8 + 8 + codec.dim * codec.bits // 8) * 1.1
    with placed(wanted, "fast-plaid", needed, facts) as folder:
        _write_codec(folder, source)
        doc_ids = _write_tokens(folder, source)
        _write_lists(folder, source)
        artifact.write_whole(folder / f"{foreign_ids.PYLATE}.json", artifact.json_line(dict(enumerate(doc_ids))))
        _write_metadata(folder, source)
    wanted.say(
        f"{source.num_documents:,} documents, known to fast-plaid by their places, 0 to {source.num_documents - 1:,}; "
        f"yours are in {foreign_ids.PYLATE}.json"
    )


def _write_codec(folder: Path, source: LateSource) -> None:
    codec = source.codec
    halves = codec.centroids.astype(np.float16)
    np.save(folder / "centroids.npy", halves if np.array_equal(halves, codec.centroids) else codec.centroids)
    np.save(folder / "bucket_cutoffs.npy", codec.cutoffs)
    np.save(folder / "bucket_weights.npy", codec.weights)
    sizes_NH = np.abs(_residuals(source))
    lengths = np.linalg.norm(sizes_NH, axis=1)
    np.save(folder / "avg_residual.npy", sizes_NH.mean(axis=0).astype(np.float32))
    np.save(folder / "cluster_threshold.npy", np.quantile(lengths, [FAR]).astype(np.float32))


def _residuals(source: LateSource) -> NDArray[Any]:
    """Return what some tokens are from their centroids, (N, H), 0 where there is no token."""
    found: list[NDArray[Any]] = [np.zeros((0, source.dim), np.float32)]
    step = max(1, source.num_vectors // SAMPLE)
    for coded in source.codes():
        found.append(_values(source.codec, coded)[::step])
    rows = np.concatenate(found)
    return rows if len(rows) else np.zeros((1, source.dim), np.float32)


def _values(codec: Codec, coded: CodeBlock) -> NDArray[Any]:
    return codec.weights[unpack(coded.residuals, bits=codec.bits)]


def _write_tokens(folder: Path, source: LateSource) -> list[str]:
    """Write the chunks: codes, residuals, lengths of documents; return the documents' ids."""
    doc_ids: list[str] = []
    swapped = foreign.swapped(source.codec.bits)
    with Progress(source.num_documents, "documents", "writing codes") as progress:
        codes, residuals, token, last = None, None, 0, 0
        for number, coded in _cut(source):
            if number == last:
                lengths = source.lengths[number * CHUNK : (number + 1) * CHUNK]
                codes, residuals = _chunk(folder, source, number, lengths)
                token, last = 0, number + 1
            end = token + len(coded.centroid_ids)
            if codes is not None and residuals is not None and end > token:
                codes[token:end], residuals[token:end] = coded.centroid_ids, swapped[coded.residuals]
            token = end
            doc_ids += coded.doc_ids
            progress.advance(len(coded.doc_ids))
    return doc_ids


def _cut(source: LateSource) -> Iterator[tuple[int, CodeBlock]]:
    """Give all documents, none of those given together in two chunks, each with the number of its chunk."""
    row = 0
    for coded in source.codes():
        starts = np.concatenate([[0], np.cumsum(coded.lengths)])
        inner = range((row // CHUNK + 1) * CHUNK - row, len(coded.doc_ids), CHUNK)
        for first, last in pairwise([0, *inner, len(coded.doc_ids)]):
            some, tokens = slice(first, last), slice(starts[first], starts[last])
            whose = coded.doc_ids[some], coded.lengths[some]
            yield (row + first) // CHUNK, CodeBlock(*whose, coded.centroid_ids[tokens], coded.residuals[tokens])
        row += len(coded.doc_ids)


def _chunk(folder: Path, source: LateSource, number: int, lengths: NDArray[np.int64]) -> tuple[Any, Any]:
    """Return the arrays of a chunk, to be filled; what says how long they are is written."""
    tokens = int(lengths.sum())
    said = {
        "embedding_offset": int(source.lengths[: number * CHUNK].sum()),
        "num_documents": len(lengths),
        "num_embeddings": tokens,
    }
    artifact.write_json(folder / f"{number}.metadata.json", said)
    (folder / f"doclens.{number}.json").write_text(artifact.canonical(lengths.tolist()), encoding="utf-8")
    width = source.codec.dim * source.codec.bits // 8
    shapes = {"codes": (np.int64, (tokens,)), "residuals": (np.uint8, (tokens, width))}
    if not tokens:
        for name, (kind, shape) in shapes.items():
            np.save(folder / f"{number}.{name}.npy", np.empty(shape, kind))
        return None, None
    codes, residuals = (
        np.lib.format.open_memmap(folder / f"{number}.{name}.npy", "w+", kind, shape)
        for name, (kind, shape) in shapes.items()
    )
    return codes, residuals


def _write_lists(folder: Path, source: LateSource) -> None:
    """Write the documents of each centroid, ascending: once to count them, once to put them where they belong."""
    counts = np.zeros(source.codec.num_centroids, np.int64)
    for centroid_ids, _ in _pairs(source):
        counts += np.bincount(centroid_ids, minlength=len(counts))
    np.save(folder / "ivf_lengths.npy", counts.astype(np.int32))
    if not (total := int(counts.sum())):
        np.save(folder / "ivf.npy", np.empty(0, np.int64))
        return
    lists = np.lib.format.open_memmap(folder / "ivf.npy", "w+", np.int64, (total,))
    free = np.cumsum(counts) - counts
    for centroid_ids, rows in _pairs(source):
        taken = np.bincount(centroid_ids, minlength=len(counts))
        within = np.arange(len(centroid_ids)) - np.repeat((np.cumsum(taken) - taken)[taken > 0], taken[taken > 0])
        lists[free[centroid_ids] + within] = rows
        free += taken
    lists.flush()


def _pairs(source: LateSource) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Give centroid and document of some documents' tokens, each pair once, by centroid and then by document."""
    row = 0
    for coded in source.codes():
        count = len(coded.doc_ids)
        rows = np.repeat(np.arange(count), coded.lengths)
        both = np.unique(coded.centroid_ids.astype(np.int64) * max(1, count) + rows)
        yield both // max(1, count), row + both % max(1, count)
        row += count


def _write_metadata(folder: Path, source: LateSource) -> None:
    chunks = -(-source.num_documents // CHUNK)
    said = {
        "avg_doclen": source.num_vectors / max(1, source.num_documents),
        "compress_only": False,
        "nbits": source.codec.bits,
        "num_chunks": chunks,
        "num_documents": source.num_documents,
        "num_embeddings": source.num_vectors,
        "num_partitions": source.codec.num_centroids,
    }
    artifact.write_json(folder / "plan.json", {"nbits": source.codec.bits, "num_chunks": chunks})
    artifact.write_json(folder / foreign.METADATA, said)
