"""Dense retrieval with any bi-encoder of sentence-transformers or Hugging Face, searched exactly or with FAISS.

    lotte eval DATASET --retriever dense -o checkpoint=sentence-transformers/all-MiniLM-L6-v2
    lotte eval DATASET --retriever dense -o checkpoint=DIR -o pooling=cls -o similarity=dot -o search=hnsw

The folder says how a text becomes a vector, what is put before it and which product compares two; an option says it
otherwise. `tasb`, `ance`, `dpr`, `contriever` and `cocondenser` are this system with a published model.
"""

from dataclasses import dataclass, field

from retrievers.dense.retriever import DenseRetriever
from retrievers.options import NAME

PUBLISHED: dict[str, float] = {}  # dataset -> the number its authors printed; those of a model are in its own system


@dataclass(frozen=True)
class DenseOfAnyModel(DenseRetriever):
    name: str = field(default="dense", kw_only=True, metadata=NAME)


retriever = DenseOfAnyModel
