"""TAS-B: DistilBERT distilled on MS MARCO from two teachers, with batches balanced by topic and difficulty.

The first token's vector, inner product, nothing put before a text (Hofstätter et al. 2021, arXiv:2104.06967).
"""

from dataclasses import dataclass, field

from retrievers.dense.retriever import DenseRetriever
from retrievers.options import NAME

_BEIR = {
    "arguana": 0.427, "climate-fever": 0.228, "dbpedia-entity": 0.384, "fever": 0.700, "fiqa": 0.300, "hotpotqa":
    0.584, "nfcorpus": 0.319, "nq": 0.463, "quora": 0.835, "scidocs": 0.149, "scifact": 0.643, "trec-covid": 0.481,
}  # fmt: skip
# Santhanam et al. 2022, arXiv:2112.01488, tables 4 (MRR@10) and 5a
PUBLISHED: dict[str, float] = {
    "msmarco/dev": 0.347,
    **{f"beir/{name}": value for name, value in _BEIR.items()},
}


@dataclass(frozen=True)
class TASB(DenseRetriever):
    checkpoint: str = "sentence-transformers/msmarco-distilbert-base-tas-b"
    pooling: str = "cls"
    similarity: str = "dot"
    name: str = field(default="tasb", kw_only=True, metadata=NAME)


retriever = TASB
