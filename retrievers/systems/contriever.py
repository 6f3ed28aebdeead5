"""Contriever: BERT trained without judgments on spans of one text, then on MS MARCO.

The mean of all tokens, inner product, nothing put before a text (Izacard et al. 2021, arXiv:2112.09118). The published
weights are a pickle, which is opened with -o trust=true alone. `facebook/contriever` is the one without judgments.
"""

from dataclasses import dataclass, field

from retrievers.dense.retriever import DenseRetriever
from retrievers.options import NAME

# MRR over paragraphs, as PeerQA prints it for Contriever-MS
PUBLISHED: dict[str, float] = {"peerqa": 0.4095}


@dataclass(frozen=True)
class Contriever(DenseRetriever):
    checkpoint: str = "facebook/contriever-msmarco"
    pooling: str = "mean"
    similarity: str = "dot"
    name: str = field(default="contriever", kw_only=True, metadata=NAME)


retriever = Contriever
