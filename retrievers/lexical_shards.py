"""An index of postings in parts: what a word is worth was settled with all documents, so scores are those of one."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lotte import Queries, Run, artifact
from retrievers import index_folder, postings, sharded, vocabulary
from retrievers.arrays import mapped
from retrievers.topk import FoundHits

STEP = 1 << 24  # postings that are looked at together
PLACES = "places.npy"


def split(folder: Path, doc_ids: Sequence[str], shards: int, recipe: Mapping[str, Any]) -> None:
    """Divide the postings in a folder by documents; of them, only what all parts need stays there.

    recipe  that the parts are opened by
    """
    cuts = sharded.bounds(len(doc_ids), shards)
    starts = np.load(folder / postings.STARTS, mmap_mode="r")
    rows, weights = (np.load(folder / file, mmap_mode="r") for file in (postings.ROWS, postings.WEIGHTS))
    place = np.load(folder / PLACES)
    for number, (first, last) in enumerate(pairwise(cuts)):
        part = folder / sharded.name(number)
        part.mkdir()
        kept = [
            begin + np.flatnonzero((block >= first) & (block < last))
            for begin in range(0, len(rows), STEP)
            for block in [rows[begin : begin + STEP]]
        ]
        chosen = np.concatenate(kept) if kept else np.zeros(0, np.int64)
        np.save(part / postings.STARTS, np.searchsorted(chosen, starts).astype(np.int64))
        np.save(part / postings.ROWS, (rows[chosen] - first).astype(np.int32))
        np.save(part / postings.WEIGHTS, weights[chosen])
        np.save(part / PLACES, np.argsort(np.argsort(place[first:last])).astype(np.int32))
        for file in (vocabulary.LETTERS, vocabulary.STARTS):
            artifact.link(folder / file, part / file)
        counts = {"documents": last - first, "words": len(starts) - 1, "postings": len(chosen)}
        sharded.write_part(part, doc_ids[first:last], {"recipe": recipe, "counts": counts})
    for file in (postings.STARTS, postings.ROWS, postings.WEIGHTS):
        (folder / file).unlink()


class ShardedLexicalIndex:
    """Parts that are asked one after the other, here, or at the same time, in processes that hold them.

    replicas  processes for each part; 0: none
    """

    def __init__(self, recipe: Any, folder: index_folder.IndexFolder, replicas: int) -> None:
        parts = sharded.parts(folder.path, folder.meta)
        self._path, self._doc_ids = folder.path, folder.doc_ids
        self._place = mapped(folder.path / PLACES, np.int32, len(folder.doc_ids))
        self._firsts = np.cumsum([0, *(part.meta["corpus"]["documents"] for part in parts)]).tolist()[:-1]
        self._here = None if replicas else [recipe.open_described(part) for part in parts]
        self.holders = sharded.Holders(partial(_answers, recipe), [part.path for part in parts], replicas)

    def search(self, queries: Queries, *, k: int) -> Run:
        with index_folder.using(self._path):
            if self._here is not None:
                answers = [[index.found(queries, k) for index in self._here]]
                divided = [list(queries)]
            else:
                divided = [list(queries)[part] for part in self.holders.divided(len(queries))]
                asked = [({query_id: queries[query_id] for query_id in some}, k) for some in divided]
                answers = list(map(list, zip(*self.holders.ask([asked] * len(self._firsts)), strict=True)))
            found = {
                query_id: sharded.merged([one[query_id] for one in of_parts], self._firsts, k, self._place)
                for some, of_parts in zip(divided, answers, strict=True)
                for query_id in some
            }
            return Run(FoundHits(found, self._doc_ids))

    def search_facts(self, queries: Queries, *, k: int) -> dict[str, Any]:
        return {"exact": True, "shards": len(self._firsts)}


def _answers(recipe: Any, path: Path) -> Any:
    """Open a part, in the process that holds it."""
    return recipe.open_described(index_folder.described(path)).found
