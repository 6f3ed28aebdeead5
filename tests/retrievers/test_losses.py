"""Every loss is its plain twin, the value worked out by hand, and together they are the reference's objective."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs lotte-bench[colbert]")

from retrievers.training import losses  # noqa: E402

NUMBERS = st.integers(-3, 3).map(float)  # few of them: ties are common, and sums are exact


@st.composite
def batches(draw):
    """Vectors of questions and passages, as whole numbers; of every passage the first token counts."""
    lines, width, long, wide, numbers = (draw(st.integers(1, most)) for most in (4, 4, 3, 4, 3))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    query = rng.integers(-3, 4, (lines, long, numbers)).astype(np.float32)
    doc = rng.integers(-3, 4, (lines * width, wide, numbers)).astype(np.float32)
    kept = rng.random((lines * width, wide)) < 0.6
    kept[:, 0] = True
    return query, doc, kept


@st.composite
def scores(draw):
    """(B, W) scores and teacher's scores, some of them equal, some far away."""
    lines, width = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    number = st.one_of(NUMBERS, st.floats(-30, 30, width=32))
    matrix = st.lists(st.lists(number, min_size=width, max_size=width), min_size=lines, max_size=lines)
    return np.array(draw(matrix), np.float32), np.array(draw(matrix), np.float32)


def maxsim(query, doc, kept):
    return sum(max(float(q @ d) for d, counts in zip(doc, kept, strict=True) if counts) for q in query)


def cross_entropy(numbers, right):
    numbers = [float(number) for number in numbers]
    top = max(numbers)
    return top + math.log(sum(math.exp(number - top) for number in numbers)) - numbers[right]


def plain_in_batch(score, labelled):
    lines, width = len(score), score.shape[1] // len(score)
    total = 0.0
    for line in range(lines):
        own = range(line * width, (line + 1) * width)
        others = [n for n in range(score.shape[1]) if n not in own and not labelled[line][n]]
        total += cross_entropy([score[line][own[0]], *(score[line][n] for n in others)], 0)
    return total / lines


@given(batches(), st.integers(1, 200))
def test_scores_are_maxsim(batch, at_once):
    """Of tokens that count, whatever the others are like, and however many are compared at a time."""
    query, doc, kept = batch
    wanted = np.array([[maxsim(q, d, k) for d, k in zip(doc, kept, strict=True)] for q in query])
    given = tuple(map(torch.from_numpy, batch))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "AT_ONCE", at_once)
        np.testing.assert_array_equal(losses.all_scores(*given), wanted)
    width = len(doc) // len(query)
    own = [wanted[line, line * width : (line + 1) * width] for line in range(len(query))]
    np.testing.assert_array_equal(losses.own_scores(*given), own)


@given(batches())
def test_a_token_that_does_not_count_has_no_say(batch):
    query, doc, kept = map(torch.from_numpy, batch)
    loud = doc.masked_fill(~kept[..., None], 1e6)
    assert torch.equal(losses.all_scores(query, doc, kept), losses.all_scores(query, loud, kept))
    assert torch.equal(losses.own_scores(query, doc, kept), losses.own_scores(query, loud, kept))
    loud.requires_grad_()
    losses.all_scores(query, loud, kept).sum().backward()
    assert not loud.grad[~kept].any()


@given(scores())
def test_first_wins_is_its_twin(some):
    score, _ = some
    wanted = np.mean([cross_entropy(row, 0) for row in score])
    np.testing.assert_allclose(losses.first_wins(torch.from_numpy(score)), wanted, rtol=1e-5, atol=1e-5)


@given(scores(), st.sampled_from([0.5, 1.0, 3.0]))
def test_distil_is_its_twin(some, temperature):
    score, teacher = some
    total = 0.0
    for student_row, teacher_row in zip(score, teacher, strict=True):
        for place in range(len(student_row)):
            log_p = -cross_entropy(teacher_row / temperature, place)
            total += math.exp(log_p) * (log_p + cross_entropy(student_row, place))
    found = losses.distil(torch.from_numpy(score), torch.from_numpy(teacher), temperature=temperature)
    np.testing.assert_allclose(found, total / len(score), rtol=1e-4, atol=1e-4)


@given(scores())
def test_a_student_that_says_what_the_teacher_says_has_nothing_to_learn(some):
    score = torch.from_numpy(some[0]).requires_grad_()
    loss = losses.distil(score + 7, score.detach())  # KL knows no constant
    loss.backward()
    assert abs(float(loss.detach())) < 1e-5 and score.grad.abs().max() < 1e-5


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_in_batch_is_its_twin(lines, width, seed):
    rng = np.random.default_rng(seed)
    score = rng.integers(-3, 4, (lines, lines * width)).astype(np.float32)
    labelled = rng.random((lines, lines * width)) < 0.3
    for mask in (np.zeros_like(labelled), labelled):
        found = losses.in_batch(torch.from_numpy(score), torch.from_numpy(mask))
        np.testing.assert_allclose(found, plain_in_batch(score, mask), rtol=1e-5, atol=1e-5)
    plain = losses.in_batch(torch.from_numpy(score))
    np.testing.assert_allclose(plain, plain_in_batch(score, np.zeros_like(labelled)), rtol=1e-5, atol=1e-5)


@given(scores(), st.sampled_from([0.5, 1.0, 3.0]))
def test_margin_mse_is_its_twin(some, temperature):
    score, teacher = some
    if score.shape[1] == 1:
        return  # a line has a negative
    gaps = [
        (float(row[0]) - float(row[place])) - (float(says[0]) - float(says[place])) / temperature
        for row, says in zip(score, teacher, strict=True)
        for place in range(1, len(row))
    ]
    found = losses.margin_mse(torch.from_numpy(score), torch.from_numpy(teacher), temperature=temperature)
    np.testing.assert_allclose(found, np.mean(np.square(gaps)), rtol=1e-4, atol=1e-4)


def plain_xtr(query, doc, kept, top):
    """The scores of XTR, one token of a question after the other."""
    total, hits = np.zeros((2, len(query), len(doc)))
    for line, question in enumerate(query):
        for token in question[question.any(1)]:
            sim = np.where(kept, doc @ token, -np.inf)
            every = np.sort(sim[kept])[::-1]
            found = np.where(sim >= every[min(top, len(every)) - 1], sim, -np.inf).max(1)
            total[line] += np.where(np.isfinite(found), found, 0)
            hits[line] += np.isfinite(found)
    return total / np.maximum(hits, 1)


@given(batches(), st.integers(1, 12), st.integers(1, 200))
def test_xtr_scores_are_their_twin(batch, top, at_once):
    query, doc, kept = batch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "AT_ONCE", at_once)
        found = losses.xtr_scores(*map(torch.from_numpy, batch), top=top)
    np.testing.assert_allclose(found, plain_xtr(query, doc, kept, top), rtol=1e-6, atol=1e-6)


def test_xtr_with_all_tokens_is_the_mean_of_maxsim():
    draw = torch.Generator().manual_seed(0)
    query, doc = torch.randn(2, 3, 4, generator=draw), torch.randn(6, 3, 4, generator=draw)
    kept = torch.ones(6, 3, dtype=torch.bool)
    torch.testing.assert_close(losses.xtr_scores(query, doc, kept, top=99), losses.all_scores(query, doc, kept) / 3)


def test_the_values_that_were_worked_out_by_hand():
    """ln(1 + e^-2); 0.75 ln 1.5 + 0.25 ln 0.5; the mean of ln(e + 1 + e^2) - 1 and ln(1 + e + e^3) - 3."""
    assert losses.first_wins(torch.tensor([[2.0, 0.0]])).item() == pytest.approx(0.126928, abs=1e-6)
    teacher = torch.tensor([[math.log(3), 0.0]])
    assert losses.distil(torch.zeros(1, 2), teacher).item() == pytest.approx(0.130812, abs=1e-6)
    assert losses.distil(torch.zeros(1, 2), 2 * teacher, temperature=2).item() == pytest.approx(0.130812, abs=1e-6)
    score = torch.tensor([[1.0, 9.0, 0.0, 2.0], [0.0, 1.0, 3.0, 9.0]])  # the nines are own negatives
    assert losses.in_batch(score).item() == pytest.approx((1.407606 + 0.169846) / 2, abs=1e-6)
    query = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    doc = torch.tensor([[[0.5, 0.0], [0.25, 0.75]], [[1.0, 1.0], [9.0, 9.0]]])
    kept = torch.tensor([[True, True], [True, False]])
    assert losses.own_scores(query, doc, kept).tolist() == [[1.25, 2.0]]


def test_own_negatives_and_labelled_passages_get_no_gradient_in_the_batch():
    score = torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labelled = torch.zeros(3, 6, dtype=torch.bool)
    labelled[0, 2] = labelled[0, 0] = True  # a right answer of another line, and its own, which stays
    losses.in_batch(score, labelled).backward()
    silent = torch.tensor([[0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]], dtype=torch.bool)
    assert torch.equal(score.grad == 0, silent)
    assert all(score.grad[line, 2 * line] < 0 for line in range(3))


def test_questions_of_one_process_among_the_passages_of_all_lose_what_they_lose_together():
    score, labelled = torch.randn(4, 12), torch.rand(4, 12) < 0.3
    parts = [losses.in_batch(score[2 * n : 2 * n + 2], labelled[2 * n : 2 * n + 2], width=3, first=2 * n) for n in (0, 1)]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, losses.in_batch(score, labelled))


def test_own_negatives_are_in_where_no_other_loss_has_them():
    score = torch.tensor([[1.0, 2.0, 0.0, 3.0], [0.0, 1.0, 3.0, 2.0]])
    wanted = torch.nn.functional.cross_entropy(score, torch.tensor([0, 2]))
    torch.testing.assert_close(losses.in_batch(score, own=True), wanted)


def test_a_single_line_has_nobody_to_be_told_from():
    score = torch.randn(1, 5).requires_grad_()
    loss = losses.in_batch(score)
    loss.backward()
    assert loss.item() == 0 and not score.grad.any()


def test_the_mask_that_is_given_is_left_as_it_was():
    labelled = torch.eye(2, 4, dtype=torch.bool)
    before = labelled.clone()
    losses.in_batch(torch.randn(2, 4), labelled)
    assert torch.equal(labelled, before)


def test_gradients_are_those_of_finite_differences():
    draw = torch.Generator().manual_seed(0)

    def numbers(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()

    query, doc, kept = numbers(2, 3, 4), numbers(6, 3, 4), torch.rand(6, 3, generator=draw) < 0.7
    kept[:, 0] = True
    check = torch.autograd.gradcheck
    assert check(lambda q, d: losses.own_scores(q, d, kept), (query, doc))
    assert check(lambda q, d: losses.all_scores(q, d, kept), (query, doc))
    assert check(lambda q, d: losses.xtr_scores(q, d, kept, top=4), (query, doc))
    assert check(losses.first_wins, (numbers(3, 4),))
    teacher = numbers(3, 4).detach()
    assert check(lambda score: losses.distil(score, teacher, temperature=2.0), (numbers(3, 4),))
    assert check(lambda score: losses.margin_mse(score, teacher, temperature=2.0), (numbers(3, 4),))
    labelled = torch.rand(3, 9, generator=draw) < 0.3
    assert check(lambda score: losses.in_batch(score, labelled), (numbers(3, 9),))


def test_the_whole_objective_is_the_references(tmp_path):
    """KL 'batchmean' of raw sums, plus in-batch cross-entropy over the own positive and all that others have.

    Source  ColBERT, colbert/training/training.py
    """
    import toy_training

    from retrievers.training.settings import Fit

    task = toy_training.late(tmp_path, Fit(nway=3, distil_weight=0.5, in_batch_weight=2.0))
    some = toy_training.lines(task._pairs, 4, scores=True)
    query, doc, kept = task.encode(task.read(some))
    terms = task.loss([(query, doc, kept)], some)

    repeated = query.repeat_interleave(3, dim=0)
    sim = torch.einsum("nqh,nlh->nlq", repeated, doc)
    sim[~kept] = -9999.0
    score = sim.max(1).values.sum(-1).view(4, 3)
    target = torch.tensor([line.scores for line in some]).log_softmax(-1)
    kl = torch.nn.KLDivLoss(reduction="batchmean", log_target=True)(score.log_softmax(-1), target)
    total = 0.0
    for line in range(4):
        others = [n for n in range(12) if n // 3 != line]
        chosen = [3 * line, *others]
        sim = torch.einsum("qh,nlh->nlq", query[line], doc[chosen])
        sim[~kept[chosen]] = -9999.0
        logits = sim.max(1).values.sum(-1)
        total += torch.nn.functional.cross_entropy(logits[None], torch.tensor([0])) / 4
    assert len({line.qid for line in some}) == 4 and set(terms) == {"kl", "in_batch"}
    torch.testing.assert_close(terms["kl"], 0.5 * kl)
    torch.testing.assert_close(terms["in_batch"], 2.0 * total)


@pytest.mark.parametrize(
    ("settings", "terms"),
    [
        ({"loss": "kl"}, {"kl", "in_batch"}),
        ({"loss": "margin_mse"}, {"margin_mse", "in_batch"}),
        ({"loss": "contrastive"}, {"first", "in_batch"}),
        ({"loss": "margin_mse", "in_batch": False}, {"margin_mse"}),
    ],
)
def test_the_loss_that_is_asked_for_is_the_one_that_is_made_small(tmp_path, settings, terms):
    import toy_training

    from retrievers.training.settings import Fit

    task = toy_training.late(tmp_path, Fit(nway=3, **settings))
    some = toy_training.lines(task._pairs, 4, scores=True)
    assert set(task.loss([task.encode(task.read(some))], some)) == terms


def test_lines_without_scores_are_trained_on_by_their_first_passage_whatever_the_loss(tmp_path):
    import toy_training

    from retrievers.training.settings import Fit

    task = toy_training.late(tmp_path, Fit(nway=3, loss="margin_mse"))
    some = toy_training.lines(task._pairs, 4)
    assert set(task.loss([task.encode(task.read(some))], some)) == {"first", "in_batch"}


def test_scores_of_xtr_are_of_the_whole_batch_and_scaled(tmp_path):
    import toy_training

    from retrievers.training.settings import Fit

    task = toy_training.late(tmp_path, Fit(nway=3, scoring="xtr", xtr_k=9, scale=20.0, in_batch=False))
    some = toy_training.lines(task._pairs, 4)
    encoded = task.encode(task.read(some))
    whole = losses.xtr_scores(*encoded, top=9)
    own = torch.stack([whole[line, 3 * line : 3 * line + 3] for line in range(4)])
    torch.testing.assert_close(task.loss([encoded], some)["first"], losses.first_wins(20 * own))
