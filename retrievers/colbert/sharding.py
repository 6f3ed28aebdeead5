"""An index of late interaction in parts: one codec, one table of centroids, and the documents divided.

In one process the parts are searched as the segments of one index are; held by processes, each is asked for itself,
with the vectors of the questions, and the answers are merged.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from lotte import Queries, artifact
from retrievers import index_folder, sharded
from retrievers.colbert.index import build, codec
from retrievers.colbert.index.codec import CodecConfig
from retrievers.colbert.index.folder import ColbertIndex, open_arrays
from retrievers.colbert.index.meta import Counts, IndexMeta
from retrievers.colbert.index.segment import SegmentWriter
from retrievers.colbert.kernels.arrays import Bytes, Floats
from retrievers.colbert.late_index import LateIndex
from retrievers.colbert.search.config import SearchConfig
from retrievers.colbert.search.cpu import TopK, search
from retrievers.index_meta import META


def write(
    folder: Path, source: build.VectorSource, config: CodecConfig, doc_ids: Sequence[str], shards: int,
    said: dict[str, Any], *, threads: int, say: Callable[[str], None], gpu: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Fill a folder with a codec and parts; return the counts of all. What a stopped build left there is used.

    said  recipe and model, for the meta.json of each part
    """
    cuts = sharded.bounds(len(source), shards)
    sample = build.codec_of(folder, source, config, threads=threads, gpu=gpu)
    whole: list[Counts] = []
    for number, (first, last) in enumerate(pairwise(cuts)):
        part = folder / sharded.name(number)
        if not (part / META).is_file():
            part.mkdir(exist_ok=True)
            for file in (codec.CENTROIDS, codec.TABLES):
                artifact.link(folder / file, part / file)
            writer = SegmentWriter(part, 0, codec.load(part))
            if writer.documents:
                say(f"going on behind document {first + writer.documents:,}")
            build.fill(writer, source, sample, rows=(first, last), threads=threads, gpu=gpu)
            made = build.built(writer)
            sharded.write_part(
                part, doc_ids[first:last],
                {**said, "counts": made.counts.json(), "segments": [made.segment.json()]},
            )  # fmt: skip
        whole.append(IndexMeta.read(part).counts)
    sample.remove()
    tokens = sum(counts.tokens for counts in whole)
    distance = sum(counts.tokens * counts.distance for counts in whole) / max(1, tokens)
    counts = replace(whole[0], documents=len(source), tokens=tokens, distance=distance)
    return counts.json() | {"shards": shards}


def open_parts(recipe: Any, folder: index_folder.IndexFolder, replicas: int) -> "ShardedLateIndex":
    """Open an index that has parts. Raises CorruptFileError for a part that is missing, or not of this index."""
    parts = sharded.parts(folder.path, folder.meta)
    metas = [IndexMeta.parse(part.meta, part.path / META) for part in parts]
    arrays = [open_arrays(part.path, meta) for part, meta in zip(parts, metas, strict=True)]
    segments = tuple(segment for one in arrays for segment in one.segments)
    of_all = tuple(replace(segment, number=at) for at, meta in enumerate(metas) for segment in meta.segments)
    values: dict[str, Any] = {
        "recipe": folder.meta["recipe"],
        "corpus": folder.meta["corpus"],
        "counts": Counts.parse(folder.meta["counts"], folder.path / META),
        "segments": of_all,
        "model": folder.meta.get("model"),
    }
    holders = sharded.Holders(partial(_answers, recipe), [part.path for part in parts], replicas) if replicas else None
    index = ColbertIndex(arrays[0].codec, segments, None)
    return ShardedLateIndex(recipe, IndexMeta(**values), folder.doc_ids, index, holders)


class ShardedLateIndex(LateIndex):
    """Parts that are searched as one index here, or, each for itself, in processes that hold them."""

    def __init__(
        self, recipe: Any, meta: IndexMeta, doc_ids: Sequence[str], arrays: ColbertIndex,
        holders: sharded.Holders | None,
    ) -> None:
        super().__init__(recipe, meta, doc_ids, arrays)
        self.holders = holders

    def _found_by(self, vectors: list[Floats], k: int, config: SearchConfig, allowed: Bytes | None) -> list[TopK]:
        if self.holders is None or not vectors:
            return super()._found_by(vectors, k, config, allowed)
        firsts, divided = self.arrays.bases, self.holders.divided(len(vectors))
        settled = config.settled(k, self.arrays.num_documents)
        cuts = pairwise([*firsts, self.arrays.num_documents])
        masks = [None if allowed is None else allowed[first:last] for first, last in cuts]
        answers = self.holders.ask([[(vectors[some], k, settled, mask) for some in divided] for mask in masks])
        of_parts = [[found for some in answer for found in some] for answer in answers]
        return [TopK(*sharded.merged(found, firsts, k)) for found in zip(*of_parts, strict=True)]

    def search_facts(self, queries: Queries, *, k: int) -> dict[str, Any]:
        return super().search_facts(queries, k=k) | {"shards": len(self.arrays.segments), "shard_rule": sharded.RULE}


def _answers(recipe: Any, path: Path) -> Any:
    """Open a part, in the process that holds it."""
    arrays = open_arrays(path, IndexMeta.read(path))

    def answers(vectors: list[Floats], k: int, config: SearchConfig, allowed: Bytes | None) -> list[TopK]:
        return search(arrays, vectors, k=k, config=config, threads=recipe.num_threads, allowed=allowed)

    return answers
