"""What the lexical systems have in common: an index of postings, and a search that adds up what words are worth."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lotte import Corpus
from lotte.progress import Progress
from retrievers import index_folder, postings
from retrievers.analyser import Analyser
from retrievers.batches import batches
from retrievers.topk import places

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def write(
    path: Path, recipe: "DataclassInstance", corpus: Corpus, analyser: Analyser, weigh: postings.Weigh,
    *, kind: Any = np.float32, fold: Callable[[str], str] = str,
) -> None:  # fmt: skip
    """Write an index, or nothing.

    fold  what is done to a text first
    kind  of number that a weight is
    """
    with index_folder.write_index(path, recipe, corpus) as (folder, counts):
        with Progress(len(corpus), "passages", f"{recipe.name}: indexing") as progress:  # type: ignore[attr-defined]

            def texts() -> Iterator[str]:
                for doc in corpus:
                    progress.advance()
                    yield fold(doc.text)

            counts |= postings.write(folder, batches(texts(), analyser), weigh, kind)
        np.save(folder / "places.npy", places(corpus.doc_ids))
