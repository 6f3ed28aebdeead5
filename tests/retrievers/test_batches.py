"""Parts of a batch are the whole batch; which examples a step takes, and how fast it learns from them."""

import pytest
import toy_training
from toy_training import close, log

torch = pytest.importorskip("torch", reason="needs lotte-bench[colbert]")
pytest.importorskip("transformers", reason="needs lotte-bench[colbert]")

from retrievers.training.batches import ExampleOrder, tokenised  # noqa: E402
from retrievers.training.ranks import Ranks  # noqa: E402
from retrievers.training.settings import Fit  # noqa: E402
from retrievers.training.trainer import Trainer  # noqa: E402


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("in_batch", [False, True])
def test_parts_of_a_batch_are_the_whole_batch(tmp_path, scores, in_batch):
    """The same gradients, other questions' passages among the negatives or not; 6 lines in 1, 2, 4 and 6 parts."""
    found = []
    for parts in (1, 2, 4, 6):
        task, _ = toy_training.train(
            tmp_path / f"run{parts}", steps=3, parts=parts, dropout=0.0, scores=scores, in_batch=in_batch,
        )  # fmt: skip
        found.append(
            (task.model.state_dict(), [(line["loss"], line["gradient"]) for line in log(tmp_path / f"run{parts}")[:3]])
        )
    for weights, curve in found[1:]:
        close(weights, found[0][0], rtol=1e-3, atol=2e-5)
        torch.testing.assert_close(torch.tensor(curve), torch.tensor(found[0][1]), rtol=1e-4, atol=1e-5)


def test_the_gradient_of_parts_is_that_of_the_batch(tmp_path):
    """Before the optimiser, which makes of the smallest gradient a step as long as of any."""
    found = []
    for parts in (1, 3):
        config = Fit(batch=6, nway=3, parts=parts)
        task = toy_training.late(tmp_path, config)
        batch = toy_training.lines(task._pairs, 6)
        trainer = Trainer(task, config, 10, Ranks(), {})
        trainer.optimiser.step = lambda: None
        trainer.update(*tokenised(task, batch, range(6), parts))
        found.append({name: weight.grad for name, weight in task.model.named_parameters() if weight.grad is not None})
    assert len(found[0]) > 15
    close(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_dropout_in_parts_is_the_same_in_both_passes(tmp_path):
    """The vectors whose gradient is carried on are those that the loss has seen."""
    config = Fit(batch=4, nway=3, parts=2, dropout=0.3)
    task = toy_training.late(tmp_path, config)
    trainer = Trainer(task, config, 10, Ranks(), {})
    seen, encode = [], task.encode

    def watched(read):
        out = encode(read)
        seen.append([tensor.detach().clone() for tensor in out])
        return out

    task.encode = watched
    trainer.update(*tokenised(task, toy_training.lines(task._pairs, 4), range(4), 2))
    assert len(seen) == 4
    for first, second in zip(seen[:2], seen[2:], strict=True):
        assert all(map(torch.equal, first, second))


def test_every_pass_takes_each_example_once_and_processes_share_them():
    """The first pass in the order of the file, line i at process i mod count, each later one in another order."""
    config = Fit(batch=4, seed=3)
    one = ExampleOrder(10, config, Ranks())
    rows = [row for step in range(10) for row in one.rows(step)]
    assert rows[:10] == list(range(10))
    passes = [rows[begin : begin + 10] for begin in range(0, 40, 10)]
    assert all(sorted(some) == list(range(10)) for some in passes)
    assert len(set(map(tuple, passes))) == 4
    two = [ExampleOrder(10, config, Ranks(rank, 2)) for rank in range(2)]
    for step in reversed(range(10)):  # in whichever order steps are asked for
        wanted = one.rows(step) if step == 9 else ExampleOrder(10, config, Ranks()).rows(step)
        assert sorted(two[0].rows(step) + two[1].rows(step)) == sorted(wanted)
        assert two[0].rows(step) == wanted[::2]
        assert ExampleOrder(10, config, Ranks()).rows(step) == rows[4 * step : 4 * step + 4]


def test_the_learning_rate_goes_up_and_then_down_to_nothing(tmp_path):
    toy_training.train(tmp_path / "a", steps=8, warmup=2, lr=0.6)
    assert [line["lr"] for line in log(tmp_path / "a")[:8]] == pytest.approx([0.3, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    toy_training.train(tmp_path / "b", steps=3, warmup=2, lr=0.6, decay=False)
    assert [line["lr"] for line in log(tmp_path / "b")[:3]] == pytest.approx([0.3, 0.6, 0.6])


def test_without_a_number_of_steps_it_goes_once_over_the_examples(tmp_path):
    """What does not fill a batch is left out, as in the reference."""
    _, facts = toy_training.train(tmp_path / "run", count=21, batch=6)
    assert facts["steps"] == 3 and facts["examples"] == 21


def test_the_gradient_is_cut_to_its_longest(tmp_path):
    config = Fit(batch=4, nway=3, clip=0.01)
    task = toy_training.late(tmp_path, config)
    trainer = Trainer(task, config, 10, Ranks(), {})
    terms = trainer.update(*tokenised(task, toy_training.lines(task._pairs, 4), range(4), 1))
    grads = [weight.grad for weight in task.model.parameters() if weight.grad is not None]
    assert terms["gradient"] > 0.1  # the log has the length before
    assert float(torch.cat([grad.reshape(-1) for grad in grads]).norm()) == pytest.approx(0.01, rel=1e-3)
