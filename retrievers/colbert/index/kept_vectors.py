"""The vectors of a collection, kept in a folder: a second index with other bits, centroids or pooling encodes nothing.

A folder holds any number of collections and models, each under a hash of what its vectors depend on. They are stored as
the model gives them, before pooling, so an index made of them has the bytes of one that encoded its documents itself.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lotte import artifact
from lotte.errors import writing
from lotte.lock import exclusive_lock
from retrievers.colbert.index.build import Arrays, Sample, VectorSource
from retrievers.colbert.kernels.arrays import Pooling, TokenVectors
from retrievers.colbert.kernels.pooling import pooled


class KeptVectors:
    """A source of vectors that encodes what the folder lacks and reads the rest there; what is encoded outlives a kill.

    source  gives the vectors as the model does
    of      what they depend on: model, lengths, collection
    kind    of number that the model gives

    Raises  UnavailableError if another process is at it
    """

    def __init__(self, folder: Path, source: VectorSource, of: Mapping[str, Any], kind: Any, pooling: Pooling) -> None:
        self.dim, self._pooling = source.dim, pooling
        place = folder / artifact.digest(dict(of))[:16]
        with writing(folder):
            place.mkdir(parents=True, exist_ok=True)
            with exclusive_lock(place):
                artifact.write_json(place / "of.json", dict(of))
                vectors = Sample(place, source.dim, kind)
                vectors.fill(source, range(len(source)), "encoding")
        self._arrays = Arrays(vectors.vectors, vectors.lengths)

    def __len__(self) -> int:
        return len(self._arrays)

    def vectors(self, rows: Sequence[int]) -> TokenVectors:
        return pooled(self._arrays.vectors(rows), self._pooling)
