"""What training makes small: cross-entropy over a line, distillation from a teacher, in-batch negatives.

Functions of scores, and the late interaction that makes the scores; a plain
NumPy twin of each stands in tests/retrievers/test_losses.py, and values worked out by hand.

Shapes
  B  questions in a batch    W  passages of a line, the positive first    N = B * W  passages in a batch
  Q  tokens of a question    L  tokens of a passage    H  numbers in a vector
"""

import torch
import torch.nn.functional as F
from torch import Tensor

NOTHING = -9999.0  # the similarity of a token that does not count, as in ColBERT
AT_ONCE = 1 << 24  # similarities that are held at a time


def own_scores(query_BQH: Tensor, doc_NLH: Tensor, kept_NL: Tensor) -> Tensor:
    """Return (B, W), the MaxSim of every question with the passages of its own line.

    Source  Khattab & Zaharia 2020, equation 3
    """
    lines = query_BQH.shape[0]
    doc_BMH = doc_NLH.reshape(lines, -1, doc_NLH.shape[-1])
    sim_BQM = query_BQH @ doc_BMH.transpose(1, 2)
    sim_BQWL = sim_BQM.view(lines, query_BQH.shape[1], -1, doc_NLH.shape[1])
    kept_BWL = kept_NL.view(lines, -1, kept_NL.shape[1])
    return sim_BQWL.masked_fill(~kept_BWL[:, None], NOTHING).max(-1).values.sum(1)


def all_scores(query_BQH: Tensor, doc_NLH: Tensor, kept_NL: Tensor) -> Tensor:
    """Return (B, N), the MaxSim of every question with every passage of the batch."""
    flat_QH = query_BQH.reshape(-1, query_BQH.shape[-1])
    at_once = max(1, AT_ONCE // (len(flat_QH) * doc_NLH.shape[1]))
    scores = []
    for doc_nLH, kept_nL in zip(torch.split(doc_NLH, at_once), torch.split(kept_NL, at_once), strict=True):
        sim_QnL = (flat_QH @ doc_nLH.reshape(-1, doc_nLH.shape[-1]).T).view(len(flat_QH), *kept_nL.shape)
        # max and not amax: its gradient goes to one token, and it keeps no similarities for it
        best_Qn = sim_QnL.masked_fill(~kept_nL, NOTHING).max(-1).values
        scores.append(best_Qn.view(*query_BQH.shape[:2], -1).sum(1))
    return torch.cat(scores, 1)


def first_wins(score_BW: Tensor) -> Tensor:
    """Return the cross-entropy of every line's first passage among its passages: the mean over questions.

    With two passages a line this is ColBERT v1's pairwise softmax cross-entropy.
    """
    return F.cross_entropy(score_BW, torch.zeros(len(score_BW), dtype=torch.long, device=score_BW.device))


def distil(score_BW: Tensor, teacher_BW: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return KL(teacher || student) over the passages of a line: the mean over questions.

    temperature  divides the teacher's scores; the student's are raw sums of cosines

    Source  Santhanam et al. 2022, section 3.2; the reference has no temperature
    """
    return F.kl_div(
        score_BW.log_softmax(-1), (teacher_BW / temperature).log_softmax(-1), reduction="batchmean", log_target=True
    )


def in_batch(score_BN: Tensor, labelled_BN: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of a question's positive among it and all passages of the other questions.

    A question's own negatives are left out: the other losses have them.

    labelled_BN  passages that are right answers too, which are left out as well

    Source  ColBERT, colbert/training/training.py; Santhanam et al. 2022, section 3.2
    """
    lines, width = len(score_BN), score_BN.shape[1] // len(score_BN)
    line_N = torch.arange(score_BN.shape[1], device=score_BN.device) // width
    line_B = torch.arange(lines, device=score_BN.device)
    out_BN = line_N == line_B[:, None]
    if labelled_BN is not None:
        out_BN = out_BN | labelled_BN
    out_BN[line_B, line_B * width] = False
    return F.cross_entropy(score_BN.masked_fill(out_BN, float("-inf")), line_B * width)
