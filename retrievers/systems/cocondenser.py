"""coCondenser: BERT pretrained on MS MARCO texts to encode a passage in its first token, then trained as a retriever.

The first token's vector, inner product. The port by sentence-transformers of Luyu/co-condenser-marco-retriever; its
authors put a passage's title before it, which MS MARCO's own files do not have (Gao and Callan 2021, arXiv:2108.05540).
"""

from dataclasses import dataclass, field

from retrievers.dense.retriever import DenseRetriever
from retrievers.options import NAME

# MRR@10: Santhanam et al. 2022, arXiv:2112.01488, table 4
PUBLISHED: dict[str, float] = {"msmarco/dev": 0.382}


@dataclass(frozen=True)
class CoCondenser(DenseRetriever):
    checkpoint: str = "sentence-transformers/msmarco-bert-co-condensor"
    pooling: str = "cls"
    similarity: str = "dot"
    name: str = field(default="cocondenser", kw_only=True, metadata=NAME)


retriever = CoCondenser
