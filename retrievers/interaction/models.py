"""K-NRM, Conv-KNRM and Duet: the relevance of a passage to a query, from the vectors of their words.

Shapes
  N  pairs    Q, D  words of a query and of a passage, padding too    H  numbers of a word's vector
  K  kernels    F  filters
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retrievers.interaction.words import PADDING, UNKNOWN

QUERY_WORDS, DOC_WORDS = 20, 200  # that are read
FILTERS = 128  # of Conv-KNRM, Dai et al. 2018, section 4
GRAMS = 3  # words of its longest n-gram
UNITS = 100  # of each layer of Duet
WINDOW = 50  # passages' positions that Duet pools together
_MEANS = (1.0, *(0.9 - 0.2 * step for step in range(10)))  # of the kernels: exact match, then from 0.9 to -0.9
_WIDTHS = (1e-3, *(0.1 for _ in range(10)))
_LEAST = 1e-10  # of a kernel's sum, before its logarithm


class Kernels(nn.Module):
    """Soft counts of the similarities of two texts: one number a kernel, Xiong et al. 2017, equations 3 to 5.

    A word that is not known is like none, also not like itself: it stands for many.
    """

    mean_K: Tensor
    width_K: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean_K", torch.tensor(_MEANS), persistent=False)
        self.register_buffer("width_K", torch.tensor(_WIDTHS), persistent=False)

    def forward(self, query_NQH: Tensor, doc_NDH: Tensor, real_NQ: Tensor, real_ND: Tensor) -> Tensor:
        """Return (N, K). Vectors have length 1; what is not real counts for nothing."""
        similar_NQD = query_NQH @ doc_NDH.transpose(1, 2)
        counts = []
        for mean, width in zip(self.mean_K, self.width_K, strict=True):  # one at a time: K times less memory
            near_NQD = torch.exp(-((similar_NQD - mean) ** 2) / (2 * width**2))
            near_NQ = (near_NQD * real_ND[:, None]).sum(-1)
            counts.append((near_NQ.clamp_min(_LEAST).log() * 0.01 * real_NQ).sum(-1))
        return torch.stack(counts, dim=-1)


class KNRMNet(nn.Module):
    """Kernel pooling over the similarities of words.

    Without the tanh around the score, which changes no order.

    Source  Xiong et al. 2017, arXiv:1706.06613
    """

    def __init__(self, vector_VH: Tensor, idf_V: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Embedding.from_pretrained(vector_VH, freeze=False, padding_idx=PADDING)
        self.kernels, self.out = Kernels(), nn.Linear(len(_MEANS), 1)

    def forward(self, query_NQ: Tensor, doc_ND: Tensor) -> Tensor:
        """Return the (N,) scores of N pairs."""
        query_NQH, doc_NDH = (F.normalize(self.vectors(ids), dim=-1) for ids in (query_NQ, doc_ND))
        counts_NK = self.kernels(query_NQH, doc_NDH, query_NQ > UNKNOWN, doc_ND > UNKNOWN)
        score_N: Tensor = self.out(counts_NK)[:, 0]
        return score_N


class ConvKNRMNet(nn.Module):
    """Kernel pooling over the similarities of n-grams, of each length with each.

    Source  Dai et al. 2018, "Convolutional Neural Networks for Soft-Matching N-Grams in Ad-hoc Search"
    """

    def __init__(self, vector_VH: Tensor, idf_V: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Embedding.from_pretrained(vector_VH, freeze=False, padding_idx=PADDING)
        self.grams = nn.ModuleList(nn.Conv1d(vector_VH.shape[1], FILTERS, words) for words in range(1, GRAMS + 1))
        self.kernels, self.out = Kernels(), nn.Linear(GRAMS * GRAMS * len(_MEANS), 1)

    def forward(self, query_NQ: Tensor, doc_ND: Tensor) -> Tensor:
        """Return the (N,) scores of N pairs."""
        queries, docs = self._grams(query_NQ), self._grams(doc_ND)
        counts = [
            self.kernels(query_NQF, doc_NDF, query_NQ > UNKNOWN, doc_ND > UNKNOWN)
            for query_NQF in queries
            for doc_NDF in docs
        ]
        score_N: Tensor = self.out(torch.cat(counts, dim=-1))[:, 0]
        return score_N

    def _grams(self, ids_NL: Tensor) -> list[Tensor]:
        """Return (N, L, F) for n-grams of each length, the one that begins at each word; padding follows the text."""
        vector_NHL = self.vectors(ids_NL).transpose(1, 2)
        return [
            F.normalize(F.relu(conv(F.pad(vector_NHL, (0, words)))).transpose(1, 2), dim=-1)
            for words, conv in enumerate(self.grams)
        ]


class DuetNet(nn.Module):
    """Two models that learn together: exact matches weighted by idf, and vectors of whole texts.

    Source  Mitra et al. 2017, arXiv:1610.08136, in the form for passages: Mitra and Craswell 2019, arXiv:1903.07666
    """

    idf_V: Tensor

    def __init__(self, vector_VH: Tensor, idf_V: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Embedding.from_pretrained(vector_VH, freeze=False, padding_idx=PADDING)
        self.register_buffer("idf_V", idf_V, persistent=False)
        self.matches = nn.Conv1d(DOC_WORDS, UNITS, 1)
        self.local = _layers(UNITS * QUERY_WORDS)
        self.query = nn.Sequential(
            nn.Conv1d(vector_VH.shape[1], UNITS, GRAMS), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(),
            nn.Linear(UNITS, UNITS), nn.ReLU(),
        )  # fmt: skip
        self.doc = nn.Sequential(
            nn.Conv1d(vector_VH.shape[1], UNITS, GRAMS), nn.ReLU(), nn.MaxPool1d(WINDOW, stride=1),
            nn.Conv1d(UNITS, UNITS, 1), nn.ReLU(),
        )  # fmt: skip
        self.distributed = _layers(UNITS * (DOC_WORDS - GRAMS + 1 - WINDOW + 1))
        self.out = nn.Sequential(*_layers(2 * UNITS), nn.Linear(UNITS, 1))

    def forward(self, query_NQ: Tensor, doc_ND: Tensor) -> Tensor:
        """Return the (N,) scores of N pairs, each padded to as many words as are read."""
        query_NQ, doc_ND = _to(query_NQ, QUERY_WORDS), _to(doc_ND, DOC_WORDS)
        same_NDQ = (query_NQ[:, None] == doc_ND[..., None]) & (query_NQ > UNKNOWN)[:, None]
        weighted_NDQ = same_NDQ * self.idf_V[query_NQ][:, None]
        local_NU = self.local(F.relu(self.matches(weighted_NDQ)).flatten(1))
        query_NU = self.query(self.vectors(query_NQ).transpose(1, 2))
        doc_NUW = self.doc(self.vectors(doc_ND).transpose(1, 2))
        distributed_NU = self.distributed((query_NU[..., None] * doc_NUW).flatten(1))
        score_N: Tensor = self.out(torch.cat([local_NU, distributed_NU], dim=-1))[:, 0]
        return score_N


MODELS: Mapping[str, Callable[[Tensor, Tensor], nn.Module]] = {
    "knrm": KNRMNet,
    "conv_knrm": ConvKNRMNet,
    "duet": DuetNet,
}


def _layers(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, UNITS), nn.ReLU(), nn.Linear(UNITS, UNITS), nn.ReLU())


def _to(ids_NL: Tensor, length: int) -> Tensor:
    return F.pad(ids_NL, (0, length - ids_NL.shape[1]))
