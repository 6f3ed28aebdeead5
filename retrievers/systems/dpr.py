"""DPR: one BERT for queries and one for passages, trained on questions with their Wikipedia passages.

The first token's vector of each, inner product. The encoders of all question sets together, as ported by
sentence-transformers (Karpukhin et al. 2020, arXiv:2004.04906). A folder of transformers' DPR classes is read as well.
"""

from dataclasses import dataclass, field

from retrievers.dense.retriever import DenseRetriever
from retrievers.options import NAME, SEARCH_TIME

# none for this model: the DPR of ColBERTv2's tables was trained on MS MARCO, and its weights are not published
PUBLISHED: dict[str, float] = {}


@dataclass(frozen=True)
class DPR(DenseRetriever):
    checkpoint: str = "sentence-transformers/facebook-dpr-ctx_encoder-multiset-base"
    query_checkpoint: str = field(
        default="sentence-transformers/facebook-dpr-question_encoder-multiset-base", metadata=SEARCH_TIME
    )
    pooling: str = "cls"
    similarity: str = "dot"
    doc_maxlen: int = 256
    name: str = field(default="dpr", kw_only=True, metadata=NAME)


retriever = DPR
