"""Every token's vector on disk, in 16 or 32 bits, and MaxSim of a query with some documents in full: ColBERT v1's.

ColBERT v1 has no mask in its scores: a document is padded with vectors of zeros, punctuation that is left out is one as
well, and both take part in the maximum. So a query token scores at least 0 (cosine) or -1 (L2) if the document has
such a vector: if it is shorter than `doc_maxlen`, or has a token that is left out. The original pads a batch to its
longest document; here the other documents of a batch do not affect a score.

Products are one chain of fused steps each, so equal documents have equal scores, on every processor.

Legend  N tokens  D documents  H numbers in a vector  Q query tokens  C candidate documents
Source  Khattab & Zaharia 2020, arXiv:2004.12832, section 3; ColBERT, branch colbertv1, colbert/modeling/colbert.py
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lotte import Corpus, artifact
from lotte.parsing import json_of
from lotte.progress import Progress
from retrievers.arrays import mapped, rises
from retrievers.colbert.index.segment import NumberFile
from retrievers.colbert.kernels.arrays import Floats, Integers
from retrievers.colbert.kernels.products import COLUMNS, ROWS, FloatWeights, float_product
from retrievers.colbert.model.tokens import rows_of

if TYPE_CHECKING:
    from retrievers.colbert.model.encoder import Encoder

VECTORS, STARTS, ZEROS, JOURNAL = "vectors.npy", "starts.npy", "zeros.npy", "stored.jsonl"
CHUNK = 4096  # documents that are encoded at once; a build that is stopped resumes after its last whole chunk
AT_ONCE = 1 << 14  # tokens that are scored at once: with 128 numbers each, 8 MB
SIMILARITIES = ("l2", "cosine")
KINDS = {2: np.dtype(np.float16), 4: np.dtype(np.float32)}  # bytes of a number


@dataclass(frozen=True)
class StoredVectors:
    """The vectors of a collection, where they lie."""

    vectors: NDArray[Any]  # (N, H)
    starts: Integers  # (D + 1,)
    zeros: NDArray[np.bool_]  # (D,): whether a document has a vector of zeros as well

    @classmethod
    def open(cls, folder: Path, *, documents: int, size: int) -> "StoredVectors":
        """Map the files that `write` left. Raises CorruptFileError if they are not of these sizes.

        size  bytes of a number
        """
        vectors = mapped(folder / VECTORS, KINDS[size], None, None)
        starts = mapped(folder / STARTS, np.int64, documents + 1)
        rises(folder / STARTS, starts, len(vectors))
        return cls(vectors, starts, mapped(folder / ZEROS, np.bool_, documents))

    def scores(self, query_QH: Floats, rows: Integers, similarity: str) -> Floats:
        """Return (C,), the score of a query with each of some documents. Raises ValueError if one is not a number."""
        query_QH = query_QH[query_QH.any(axis=1)]  # what stands after a query that is shorter than others
        weights, squares_Q = FloatWeights(query_QH, None), np.square(query_QH).sum(axis=1)
        parts = []
        for some in self._parts(rows):
            best_CQ = self._best(weights, some, similarity)
            if similarity == "l2":
                best_CQ -= squares_Q
            parts.append(best_CQ.sum(axis=1, dtype=np.float64))
        scores: Floats = np.concatenate(parts or [np.empty(0)]).astype(np.float32)
        if not np.isfinite(scores).all():
            raise ValueError("a score is not finite")
        return scores

    def _parts(self, rows: Integers) -> Iterator[Integers]:
        ends = np.cumsum(self.starts[rows + 1] - self.starts[rows])
        yield from (part for part in np.split(rows, np.flatnonzero(np.diff(ends // AT_ONCE)) + 1) if len(part))

    def _best(self, weights: FloatWeights, rows: Integers, similarity: str) -> Floats:
        """Return (C, Q): for each query token the largest q . d, or 2 q . d - d . d; of zeros both are 0."""
        taken = rows_of(self.starts, rows)
        token_NH = np.zeros((-(-len(taken) // ROWS) * ROWS, self.vectors.shape[1]), np.float32)
        token_NH[: len(taken)] = self.vectors[taken]
        out = np.empty((len(token_NH), COLUMNS * len(weights.panels)), np.float32)
        float_product(token_NH, weights, out)
        sim_NQ = out[: len(taken), : weights.columns]
        if similarity == "l2":
            sim_NQ = 2 * sim_NQ - np.square(token_NH[: len(taken)]).sum(axis=1, keepdims=True)
        lengths = self.starts[rows + 1] - self.starts[rows]
        best_CQ: Floats = np.zeros((len(rows), weights.columns), np.float32)
        full = lengths > 0
        best_CQ[full] = np.maximum.reduceat(sim_NQ, (np.cumsum(lengths) - lengths)[full], axis=0)
        zeros = self.zeros[rows]
        best_CQ[zeros] = np.maximum(best_CQ[zeros], 0)
        return best_CQ


def write(folder: Path, encoder: "Encoder", corpus: Corpus, *, size: int) -> int:
    """Leave the vectors of a collection in a folder, from where a stopped build left them. Returns how many there are.

    size  bytes of a number: 2 or 4

    JOURNAL is left too: whoever has done all that belongs to the index removes it.
    """
    done = [json_of(line, folder / JOURNAL) for line in _whole_lines(folder / JOURNAL)]
    documents, tokens = sum(chunk["documents"] for chunk in done), sum(chunk["tokens"] for chunk in done)
    vectors = NumberFile(folder / VECTORS, KINDS[size], encoder.dim)
    starts, zeros = NumberFile(folder / STARTS, np.int64), NumberFile(folder / ZEROS, np.bool_)
    for file, rows in ((vectors, tokens), (starts, documents + 1), (zeros, documents)):
        file.truncate(rows)
    artifact.write_whole(folder / JOURNAL, "".join(artifact.json_line(chunk) for chunk in done))
    with Progress(len(corpus), "documents", "encoding", done=documents) as progress:
        for first in range(documents, len(corpus), CHUNK):
            read = encoder.tokens.docs([corpus[row].text for row in range(first, min(first + CHUNK, len(corpus)))])
            made = encoder.encode(read)
            lengths = np.diff(read.starts)
            vectors.append(made.vectors)
            starts.append(tokens + made.starts[1:])
            zeros.append((lengths < encoder.config.doc_maxlen) | (np.diff(made.starts) < lengths))
            for file in (vectors, starts, zeros):
                file.fsync()
            tokens += len(made.vectors)
            with (folder / JOURNAL).open("a", encoding="utf-8") as journal:
                journal.write(artifact.json_line({"documents": len(lengths), "tokens": len(made.vectors)}))
            progress.advance(len(lengths))
    for file, rows in ((vectors, tokens), (starts, len(corpus) + 1), (zeros, len(corpus))):
        file.close(rows)
    return tokens


def _whole_lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []
