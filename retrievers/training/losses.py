"""The training losses: cross-entropy over a line, distillation from a teacher, in-batch negatives.

Functions of scores, and the late interaction that computes the scores; tests/retrievers/test_losses.py has a
plain NumPy version of each, and hand-computed values.

Shapes
  B  questions in a batch    W  passages of a line, the positive first    N = B * W  passages in a batch
  Q  tokens of a question    L  tokens of a passage    H  numbers in a vector
"""

from collections.abc import Iterator

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
    scores = []
    for sim_QnL in _similarities(flat_QH, doc_NLH, kept_NL):
        # max and not amax: its gradient goes to one token, and it keeps no similarities for it
        best_Qn = sim_QnL.max(-1).values
        scores.append(best_Qn.view(*query_BQH.shape[:2], -1).sum(1))
    return torch.cat(scores, 1)


def xtr_scores(query_BQH: Tensor, doc_NLH: Tensor, kept_NL: Tensor, *, top: int) -> Tensor:
    """Return (B, N), scores in which only those tokens of passages count that a search would have found.

    Of all tokens of the batch the `top` most similar to a token of a question are found by it. A passage's score is the
    mean, over the tokens of the question that found one of its own, of the best of these; 0 if none did.

    Source  Lee et al. 2023, "Rethinking the Role of Token Retrieval in Multi-Vector Retrieval", arXiv:2304.01982,
            equation 4
    """
    flat_QH = query_BQH.reshape(-1, query_BQH.shape[-1])
    asked_Q = flat_QH.detach().any(-1)  # not what stands after a question that is shorter than others
    least_Q1 = flat_QH.new_empty(len(flat_QH), 0)
    with torch.no_grad():
        for sim_QnL in _similarities(flat_QH, doc_NLH, kept_NL):
            known = torch.cat([least_Q1, sim_QnL.flatten(1)], 1)
            least_Q1 = known.topk(min(top, known.shape[1]), 1).values
    least_Q1 = least_Q1[:, -1:]
    scores = []
    for sim_QnL in _similarities(flat_QH, doc_NLH, kept_NL):
        found_QnL = (sim_QnL >= least_Q1[..., None]) & asked_Q[:, None, None]
        best_Qn = sim_QnL.masked_fill(~found_QnL, NOTHING).max(-1).values
        hit_BQn = (best_Qn > NOTHING).view(*query_BQH.shape[:2], -1)
        sum_Bn = best_Qn.view(hit_BQn.shape).masked_fill(~hit_BQn, 0.0).sum(1)
        scores.append(sum_Bn / hit_BQn.sum(1).clamp(min=1))
    return torch.cat(scores, 1)


def _similarities(flat_QH: Tensor, doc_NLH: Tensor, kept_NL: Tensor) -> Iterator[Tensor]:
    """Yield (Q, n, L), the products of all tokens of the questions with those of some passages at a time."""
    at_once = max(1, AT_ONCE // (len(flat_QH) * doc_NLH.shape[1]))
    for doc_nLH, kept_nL in zip(torch.split(doc_NLH, at_once), torch.split(kept_NL, at_once), strict=True):
        sim_QnL = (flat_QH @ doc_nLH.reshape(-1, doc_nLH.shape[-1]).T).view(len(flat_QH), *kept_nL.shape)
        yield sim_QnL.masked_fill(~kept_nL, NOTHING)


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


def margin_mse(score_BW: Tensor, teacher_BW: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return the squared difference of two margins, the student's and the teacher's: the mean over all negatives.

    A margin is what a line's first passage has more than one of the others.

    Source  Hofstaetter et al. 2020, "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge
            Distillation", arXiv:2010.02666, equation 5
    """
    teacher_BW = teacher_BW / temperature
    return F.mse_loss(score_BW[:, :1] - score_BW[:, 1:], teacher_BW[:, :1] - teacher_BW[:, 1:])


def in_batch(
    score_BN: Tensor, labelled_BN: Tensor | None = None, *, width: int = 0, first: int = 0, own: bool = False
) -> Tensor:
    """Return the cross-entropy of a question's positive among it and all passages of the other questions.

    A question's own negatives are left out, because the other losses have them.

    labelled_BN  passages that are right answers too, which are left out as well
    width        passages of a line; 0: as many as there are for each of the questions
    first        the line of the first question, where there are more lines than questions: those of other processes
    own          whether own negatives are in, where no other loss has them

    Source  ColBERT, colbert/training/training.py; Santhanam et al. 2022, section 3.2
    """
    lines, width = len(score_BN), width or score_BN.shape[1] // len(score_BN)
    line_N = torch.arange(score_BN.shape[1], device=score_BN.device) // width
    line_B = torch.arange(first, first + lines, device=score_BN.device)
    out_BN = (line_N == line_B[:, None]) & (not own)
    if labelled_BN is not None:
        out_BN = out_BN | labelled_BN
    out_BN[torch.arange(lines, device=score_BN.device), line_B * width] = False
    return F.cross_entropy(score_BN.masked_fill(out_BN, float("-inf")), line_B * width)


DISTANCES = {"kl": distil, "margin_mse": margin_mse}  # from a teacher's scores
