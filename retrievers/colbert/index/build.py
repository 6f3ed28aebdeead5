"""An index built as a stream: sample, train the codec, then encode and compress chunk by chunk.

Memory is that of the sample and of one chunk, however large the corpus is. A
killed build resumes after its last complete chunk; the codec, once trained,
is kept, so the bytes are those of an uninterrupted build.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lotte import artifact, executor
from lotte.dataset import Corpus
from lotte.parsing import json_of
from lotte.processors import num_processors
from lotte.progress import Progress
from retrievers import blocks
from retrievers.colbert.index import codec as codecs
from retrievers.colbert.index.codec import CodecConfig
from retrievers.colbert.index.kmeans import compared, takes_two_levels
from retrievers.colbert.index.meta import Built, Counts
from retrievers.colbert.index.segment import NumberFile, SegmentWriter
from retrievers.colbert.kernels import cpu
from retrievers.colbert.kernels.arrays import Codec, Encoded, Integers, Pooling, TokenVectors
from retrievers.colbert.kernels.pooling import pooled
from retrievers.index_folder import DOC_IDS

if TYPE_CHECKING:
    from retrievers.colbert.model.encoder import Encoder

CHUNK = 4096  # documents that are encoded and stored at once
SAMPLE, SAMPLE_JOURNAL = "sample.npy", "sample.jsonl"


class VectorSource(Protocol):
    """Where vectors come from: an encoder and a corpus, or arrays that somebody encoded before."""

    dim: int

    def __len__(self) -> int: ...  # documents
    def vectors(self, rows: Sequence[int]) -> TokenVectors:
        """Return the vectors of some documents, in the order of the rows."""
        ...


class Arrays:
    """A source of vectors that are encoded already, in a mapped file of any size."""

    def __init__(self, vectors_NH: NDArray[Any], lengths_D: Integers) -> None:
        self._vectors, self._starts = vectors_NH, np.concatenate([[0], np.cumsum(lengths_D, dtype=np.int64)])
        self.dim = int(vectors_NH.shape[1])
        if self._starts[-1] != len(vectors_NH):
            raise ValueError(f"the lengths add up to {self._starts[-1]}, and there are {len(vectors_NH)} vectors")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def vectors(self, rows: Sequence[int]) -> TokenVectors:
        starts = self._starts
        lengths = [starts[row + 1] - starts[row] for row in rows]
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1:  # side by side: one read
            vectors = np.asarray(self._vectors[starts[rows[0]] : starts[rows[-1] + 1]])
        else:
            parts = [self._vectors[starts[row] : starts[row + 1]] for row in rows]
            vectors = np.concatenate(parts) if parts else self._vectors[:0]
        return TokenVectors(vectors, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


class Encoding:
    """A source of vectors: a corpus, the encoder that reads it, and how many tokens become one vector.

    sent  makes the same source in another process; None: it stays in this one
    """

    def __init__(
        self, encoder: "Encoder", corpus: Corpus, pooling: Pooling, sent: Callable[[], VectorSource] | None = None
    ) -> None:
        self._encoder, self._corpus, self._pooling, self.dim = encoder, corpus, pooling, encoder.dim
        self.sent = sent

    def __len__(self) -> int:
        return len(self._corpus)

    def vectors(self, rows: Sequence[int]) -> TokenVectors:
        return pooled(self._encoder.docs([self._corpus[row].text for row in rows]), self._pooling)


def sample_rows(documents: int, seed: int) -> list[int]:
    """Return the documents that the codec is trained on, ascending.

    Source  github.com/stanford-futuredata/ColBERT, colbert/indexing/collection_indexer.py, _sample_pids
    """
    count = min(documents, 1 + int(16 * np.sqrt(120 * documents)))
    return sorted(np.random.default_rng(seed).choice(documents, count, replace=False).tolist())


def build(
    folder: Path,
    source: VectorSource,
    config: CodecConfig,
    *,
    threads: int,
    say: Callable[[str], None],
    gpu: str | None = None,
    paths: Sequence[str] = (),
) -> Built:
    """Fill a folder with codec and segment 0. What an earlier, stopped build left there is used.

    paths  where the texts are
    gpu    what torch calls a GPU that looks for the nearest centroids; None: the threads do. The bytes are the same
    """
    sample = codec_of(folder, source, config, threads=threads, gpu=gpu)
    codec = codecs.load(folder)
    writer = SegmentWriter(folder, 0, codec)
    if writer.documents:
        say(f"resuming after document {writer.documents:,}")
    fill(writer, source, sample, threads=threads, gpu=gpu)
    sample.remove()
    return built(writer, paths)


def codec_of(
    folder: Path, source: VectorSource, config: CodecConfig, *, threads: int, gpu: str | None = None
) -> "Sample":
    """Train a codec and leave it in a folder, if none is there; return the sample that it was trained on."""
    rows = sample_rows(len(source), config.seed)
    sample = Sample(folder, source.dim, seed=config.seed)
    sample.fill(source, rows)
    if not (folder / codecs.TABLES).exists():
        vectors = sample.vectors
        tokens = len(vectors) / max(1, len(rows)) * len(source)
        if not len(vectors):  # a corpus without any token still has an index, which finds nothing
            vectors = np.eye(1, source.dim, dtype=np.float16)
        codecs.save(codecs.train(vectors, tokens, config, threads=threads, gpu=gpu), folder)
    return sample


def built(writer: SegmentWriter, paths: Sequence[str] = (), maker: str | None = None) -> Built:
    """Return what an index says of itself that has one segment.

    maker  who made it, if another program did
    """
    counts = Counts(
        documents=writer.documents,
        tokens=writer.tokens,
        centroids=writer.codec.num_centroids,
        dim=writer.codec.dim,
        bits=writer.codec.bits,
        distance=writer.distance,
        maker=maker,
    )
    return Built(counts, writer.meta(DOC_IDS, paths))


def fill(
    writer: SegmentWriter, source: VectorSource, sample: "Sample | None",
    *, threads: int, gpu: str | None = None, rows: tuple[int, int] | None = None,
) -> None:  # fmt: skip
    """Append the documents that the segment lacks, and finish it.

    rows  of the source that are the segment's, from the first to the one behind the last; None: all
    """
    begin, end = rows or (0, len(source))
    with Progress(end - begin, "documents", "encoding and compressing") as progress:
        progress.advance(writer.documents)
        groups = blocks.groups(begin + writer.documents, end, CHUNK)
        if (sent := spread(source)) and sample:
            task = partial(spread_chunk, writer.folder, sample.folder, sent, (len(source), sample.seed), gpu)
            for made in blocks.made(writer.folder, "chunk", groups, task, progress.advance):
                encoded = Encoded(*(made[name] for name in Encoded._fields))
                writer.append(encoded, made["lengths"], float(made["distance"]))
        else:
            find = codecs.finder_of(writer.codec, threads=threads, gpu=gpu)
            known = sample.known if sample else None
            for group in groups:
                writer.append(*compressed(writer.codec, source, known, group, find, threads=threads, gpu=gpu))
                progress.advance(len(group))
    writer.finish()


def compressed(
    codec: Codec, source: VectorSource, known: "KnownVectors | None", rows: Sequence[int], find: Any,
    *, threads: int, gpu: str | None,
) -> tuple[Encoded, NDArray[np.int64], float]:  # fmt: skip
    """Return a chunk as an index stores it: its codes, tokens of each document, distance from the centroids."""
    packed = known.completed(source, rows) if known else source.vectors(rows)
    vectors = packed.vectors.astype(np.float16, copy=False)  # as the sample: a resumed build sees the same
    encoded = codecs.encode(codec, vectors, threads=threads, gpu=gpu, find=find)
    return encoded, np.diff(packed.starts), _distance(codec, vectors, encoded.centroid_ids_N)


def spread(source: VectorSource) -> Callable[[], VectorSource] | None:
    """Return what makes a source in another process, if the command has several workers."""
    return getattr(source, "sent", None) if executor.current().several else None


def spread_sample(sent: Callable[[], VectorSource], rows: Sequence[int], path: Path, advance: executor.Advance) -> None:
    """Encode documents, in a worker."""
    packed = sent().vectors(rows)
    blocks.save(path, vectors=packed.vectors, starts=packed.starts)
    advance(len(rows))


def spread_chunk(
    folder: Path, sample: Path, sent: Callable[[], VectorSource], drawn: tuple[int, int], gpu: str | None,
    rows: Sequence[int], path: Path, advance: executor.Advance,
) -> None:  # fmt: skip
    """Encode and compress documents, in a worker.

    folder  with the codec
    sample  the folder of the sample
    drawn   documents and seed that it was drawn by
    """
    codec, threads = codecs.load(folder), num_processors()
    find = codecs.finder_of(codec, threads=threads, gpu=gpu)
    made = compressed(codec, sent(), _known(sample, *drawn), rows, find, threads=threads, gpu=gpu)
    encoded, lengths, distance = made
    blocks.save(path, **encoded._asdict(), lengths=lengths, distance=distance)
    advance(len(rows))


def _distance(codec: Codec, vectors_NH: NDArray[Any], centroid_ids_N: Integers) -> float:
    """Return how far tokens are from their centroids, on average over a thousand of them."""
    some = slice(None, None, max(1, len(vectors_NH) // 1000))
    gaps = vectors_NH[some].astype(np.float32) - codec.centroids[centroid_ids_N[some]]
    return float(np.linalg.norm(gaps, axis=1).mean()) if len(gaps) else 0.0


class Sample:
    """The vectors of some documents, in a file that grows by chunks and is read again for the index itself.

    kind  of number
    seed  that the documents were drawn by
    """

    def __init__(self, folder: Path, dim: int, kind: Any = np.float16, seed: int = 0) -> None:
        self.folder, self._dim, self._kind, self.seed = folder, dim, kind, seed
        self._journal = folder / SAMPLE_JOURNAL
        self._lengths, lines, torn = _journaled(self._journal)
        if torn:  # by a kill; what is written behind it must begin a line
            artifact.write_whole(self._journal, b"".join(line + b"\n" for line in lines))
        self._column = NumberFile(folder / SAMPLE, kind, dim)
        self._column.truncate(sum(self._lengths))

    def fill(self, source: VectorSource, rows: Sequence[int], title: str = "encoding a sample") -> None:
        self.rows = rows
        with Progress(len(rows), "documents", title) as progress:
            progress.advance(len(self._lengths))
            for packed in self._encoded(source, rows, progress):
                self._column.append(packed.vectors.astype(self._kind))
                self._column.fsync()
                lengths = np.diff(packed.starts).tolist()
                with self._journal.open("a", encoding="utf-8") as journal:
                    journal.write(artifact.json_line(lengths))
                self._lengths += lengths
        self._column.close(sum(self._lengths))

    def _encoded(self, source: VectorSource, rows: Sequence[int], progress: Progress) -> Iterator[TokenVectors]:
        """Yield the vectors of the rows that are not there yet, a chunk at a time, by all workers there are."""
        groups = [rows[first : first + CHUNK] for first in range(len(self._lengths), len(rows), CHUNK)]
        if sent := spread(source):
            task = partial(spread_sample, sent)
            for made in blocks.made(self.folder, "sample", groups, task, progress.advance):
                yield TokenVectors(made["vectors"], made["starts"])
            return
        for group in groups:
            yield source.vectors(group)
            progress.advance(len(group))

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.array(self._lengths, np.int64)

    @property
    def vectors(self) -> NDArray[Any]:
        return _mapped(self.folder, self._lengths, self._dim, self._kind)

    @cached_property
    def known(self) -> "KnownVectors":
        return KnownVectors(self.rows, self._lengths, self.vectors)

    def remove(self) -> None:
        (self.folder / SAMPLE).unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)


def _journaled(journal: Path) -> tuple[list[int], list[bytes], bytes]:
    """Return how many vectors each document has, the lines that say so, and what is left of one that was cut."""
    if not journal.exists():
        return [], [], b""
    *lines, torn = journal.read_bytes().split(b"\n")
    return [length for line in lines for length in json_of(line, journal)], lines, torn


def _mapped(folder: Path, lengths: Sequence[int], dim: int, kind: Any = np.float16) -> NDArray[Any]:
    if not sum(lengths):
        return np.zeros((0, dim), kind)
    mapped: NDArray[Any] = np.load(folder / SAMPLE, mmap_mode="r")
    return mapped


@lru_cache(1)
def _known(folder: Path, documents: int, seed: int) -> "KnownVectors":
    """Return the whole sample that lies in a folder, in a worker."""
    lengths, _, _ = _journaled(folder / SAMPLE_JOURNAL)
    return KnownVectors(sample_rows(documents, seed), lengths, _mapped(folder, lengths, 0))


class KnownVectors:
    """The vectors of some documents, which need not be encoded again."""

    def __init__(self, rows: Sequence[int], lengths: Sequence[int], vectors: NDArray[Any]) -> None:
        self._vectors, self._starts = vectors, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self._index_of = {row: index for index, row in enumerate(rows)}

    def completed(self, source: VectorSource, rows: Sequence[int]) -> TokenVectors:
        """Return the vectors of documents, encoding those only that are not known."""
        missing = [row for row in rows if row not in self._index_of]
        packed = source.vectors(missing)
        fresh = {row: packed.vectors[packed.starts[i] : packed.starts[i + 1]] for i, row in enumerate(missing)}
        parts = []
        for row in rows:
            index = self._index_of.get(row)
            parts.append(fresh[row] if index is None else self._vectors[self._starts[index] : self._starts[index + 1]])
        lengths = [len(part) for part in parts]
        return TokenVectors(np.concatenate(parts), np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


class Plan(NamedTuple):
    """What an index will take, before it is built."""

    centroids: int
    disk: float  # bytes
    scratch: float  # bytes on disk while it is built
    memory: float  # bytes, beside the model
    products: float  # multiplications of k-means and of assigning every token


def plan(documents: int, tokens_per_document: float, dim: int, config: CodecConfig) -> Plan:
    """Return what building an index of so many documents takes: centroids, bytes on disk, bytes in memory."""
    tokens = documents * tokens_per_document
    sampled = min(documents, 1 + int(16 * np.sqrt(120 * documents))) * tokens_per_document
    centroids = codecs.num_centroids(tokens, config)
    points = min(sampled, centroids * config.points)
    two_level = takes_two_levels(config.assignment, centroids, dim)
    stored = dim * config.bits / 8 + (2 if centroids <= 2**16 else 4) + 1 + 1.5  # 1.5: the inverted lists, measured
    chunk = min(documents, CHUNK) * tokens_per_document * dim * 14  # float16 and float32 copies, bytes, products
    return Plan(
        centroids,
        disk=tokens * stored + centroids * dim + 30 * documents,
        scratch=sampled * dim * 2,
        memory=points * dim + chunk + centroids * dim * 18 + points * 16,
        products=dim * compared(centroids, two_level) * (config.iterations * points + tokens),
    )


def assignment_rate(dim: int) -> float:
    """Return how many multiplications a second one thread makes when it looks for nearest centroids: timed, 20 ms."""
    points, centroids = np.zeros((256, dim), np.int8), np.zeros((2048, dim), np.uint8)
    cpu.nearest(points, centroids)
    start = perf_counter()
    for _ in range(4):
        cpu.nearest(points, centroids)
    return 4 * 256 * 2048 * dim / (perf_counter() - start)
