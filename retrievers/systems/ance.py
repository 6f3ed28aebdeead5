"""ANCE: RoBERTa trained on MS MARCO with negatives retrieved by the model during training.

The first token's vector, a projection and a layer norm, as the port by sentence-transformers has them; inner product.
Queries of 64 tokens (Xiong et al. 2020, arXiv:2007.00808).
"""

from dataclasses import dataclass, field

from retrievers.dense.retriever import DenseRetriever
from retrievers.options import NAME, SEARCH_TIME

_LOTTE = {  # search test, forum test, search dev, forum dev
    "writing": (0.744, 0.688, 0.757, 0.744),
    "recreation": (0.647, 0.638, 0.661, 0.659),
    "science": (0.536, 0.365, 0.669, 0.563),
    "technology": (0.596, 0.468, 0.557, 0.388),
    "lifestyle": (0.823, 0.731, 0.698, 0.618),
    "pooled": (0.664, 0.557, 0.637, 0.574),
}
_BEIR = {
    "arguana": 0.415, "climate-fever": 0.198, "dbpedia-entity": 0.281, "fever": 0.669, "fiqa": 0.295, "hotpotqa":
    0.456, "nfcorpus": 0.237, "nq": 0.446, "quora": 0.852, "scidocs": 0.122, "scifact": 0.507, "trec-covid": 0.654,
}  # fmt: skip
# LoTTE and BEIR: Santhanam et al. 2022, arXiv:2112.01488, tables 5a, 5b and 7; MS MARCO (MRR@10): its table 4
# TREC-DL 2019: Lin et al. 2020, arXiv:2010.11386, table 1
PUBLISHED: dict[str, float] = {
    "msmarco/dev": 0.330,
    "trecdl/2019": 0.648,
    **{
        f"lotte/{topic}/{split}/{kind}": value
        for topic, values in _LOTTE.items()
        for (split, kind), value in zip(
            [("test", "search"), ("test", "forum"), ("dev", "search"), ("dev", "forum")], values, strict=True
        )
    },
    **{f"beir/{name}": value for name, value in _BEIR.items()},
}


@dataclass(frozen=True)
class ANCE(DenseRetriever):
    checkpoint: str = "sentence-transformers/msmarco-roberta-base-ance-firstp"
    pooling: str = "cls"
    similarity: str = "dot"
    query_maxlen: int = field(default=64, metadata=SEARCH_TIME)
    name: str = field(default="ance", kw_only=True, metadata=NAME)


retriever = ANCE
