"""What is trained is what searches: the student's vectors are those of the checkpoint it leaves."""

import json
from itertools import pairwise

import numpy as np
import pytest
import tiny_checkpoint
import toy_training

from lotte.errors import MismatchError

torch = pytest.importorskip("torch", reason="needs lotte-bench[colbert]")
pytest.importorskip("transformers", reason="needs lotte-bench[colbert]")

from retrievers.colbert.model import checkpoint  # noqa: E402
from retrievers.colbert.model.config import ModelConfig  # noqa: E402
from retrievers.colbert.model.encoder import Encoder  # noqa: E402
from retrievers.training import losses, student  # noqa: E402
from retrievers.training.objective import LateTask, labelled, reciprocal_rank  # noqa: E402
from retrievers.training.ranks import Ranks  # noqa: E402
from retrievers.training.settings import Fit  # noqa: E402
from retrievers.training.student import Student  # noqa: E402

TEXTS = ["how to bake bread", "", "?!.", "the star " * 70, "water, plant & moon!", "soil", "a b c d e f g h " * 8]
SETTINGS = ModelConfig(dim=32, query_maxlen=18, doc_maxlen=80)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny_checkpoint.write(tmp_path_factory.mktemp("start") / "tiny")


def load(source, settings=SETTINGS, *, dropout=0.0, precision="fp32", **more):
    return Student.load(source, settings, dropout=dropout, precision=precision, **more)


@pytest.fixture
def tiny(start):
    return load(start)


def encoded(model, tokens):
    with torch.inference_mode():
        vectors, kept = model.encode(tokens)
    return vectors.numpy(), kept.numpy()


def docs(model, texts):
    """The vectors of each document that count."""
    vectors, kept = encoded(model, model.tokens.docs(texts))
    return [vector[counts] for vector, counts in zip(vectors, kept, strict=True)]


def queries(model, texts):
    """The vectors of each query: masks count, padding does not."""
    vectors, kept = encoded(model, model.tokens.queries(texts))
    return [vector[counts] for vector, counts in zip(vectors, kept, strict=True)]


def unit(rows, *, seed=0):
    return torch.nn.functional.normalize(torch.randn(*rows, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("layout", tiny_checkpoint.LAYOUTS)
def test_the_vectors_are_the_encoders_of_the_saved_checkpoint(tmp_path, layout):
    """Whatever it started from; dropout is for training."""
    source = tiny_checkpoint.write(tmp_path / "start", layout)
    if layout in ("pylate", "multi_vector"):
        settings = ModelConfig(dim=32, query_maxlen=18, doc_maxlen=80, query_marker="[Q] ", doc_marker="[D] ")
    else:
        settings = SETTINGS
    model = load(source, settings, dropout=0.5)
    model.eval()
    model.save(tmp_path / "made", training={"steps": 3}, readme="A card.\n")
    found = Encoder.load(tmp_path / "made", device="cpu", precision="fp32")
    assert (found.dim, found.config.query_maxlen, found.config.doc_maxlen) == (32, 18, 80)
    np.testing.assert_allclose(found.queries(TEXTS), np.stack(queries(model, TEXTS)), atol=3e-6)
    packed = found.docs(TEXTS)
    np.testing.assert_allclose(packed.vectors, np.concatenate(docs(model, TEXTS)), atol=3e-6)
    assert np.diff(packed.starts).tolist() == [len(vectors) for vectors in docs(model, TEXTS)]


def test_after_training_too_the_checkpoint_is_what_was_trained(tmp_path):
    task, _ = toy_training.train(tmp_path / "run", steps=4)
    task.model.eval().save(tmp_path / "made", training={}, readme="")
    texts = [task._pairs.passage(pid) for pid in range(9)]
    found = Encoder.load(tmp_path / "made", device="cpu", precision="fp32")
    np.testing.assert_allclose(found.docs(texts).vectors, np.concatenate(docs(task.model, texts)), atol=3e-6)
    before = Encoder.load(tmp_path / "start", device="cpu", precision="fp32", doc_maxlen=16)
    assert np.abs(found.docs(texts).vectors - before.docs(texts).vectors).max() > 0.01


def test_saved_and_loaded_it_is_the_same_student(tmp_path, start, tiny):
    tiny.save(tmp_path / "made", training={"steps": 3, "seed": 1}, readme="A card.\n")
    assert json.loads((tmp_path / "made" / "training.json").read_text()) == {"steps": 3, "seed": 1}
    assert (tmp_path / "made" / "README.md").read_text() == "A card.\n"
    again = load(tmp_path / "made")
    assert again.state_dict().keys() == tiny.state_dict().keys()
    assert all(torch.equal(again.state_dict()[name], weight) for name, weight in tiny.state_dict().items())
    assert again.settings == tiny.settings


def test_neither_padding_nor_company_nor_groups_change_a_vector(tiny, monkeypatch):
    alone = [docs(tiny, [text])[0] for text in TEXTS]
    for at_once in (4096, 100, 1):
        monkeypatch.setattr(student, "TOKENS_AT_ONCE", at_once)
        for order in (TEXTS, TEXTS[::-1]):
            for vectors, text in zip(docs(tiny, order), order, strict=True):
                np.testing.assert_allclose(vectors, alone[TEXTS.index(text)], atol=3e-6)


def test_groups_are_all_texts_once_and_no_larger_than_they_may_be():
    for lengths in ([1], [5] * 50, [*range(1, 40)], [90, 100, 101, 300], [0, 0, 3]):
        groups = student.groups(lengths, 100)
        assert [place for begin, end in groups for place in range(begin, end)] == list(range(len(lengths)))
        assert all(lengths[end - 1] * (end - begin) <= 100 or end - begin == 1 for begin, end in groups)
        for (begin, _), (_, end) in pairwise(groups):  # two neighbours would not have fitted
            assert lengths[end - 1] * (end - begin) > 100


def test_the_gradient_of_groups_is_that_of_one_batch(start, monkeypatch):
    found = []
    for at_once in (4096, 60):
        monkeypatch.setattr(student, "TOKENS_AT_ONCE", at_once)
        model = load(start)
        vectors, kept = model.encode(model.tokens.docs(TEXTS))
        (vectors * unit(vectors.shape))[kept].sum().backward()
        found.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, grad in found[0].items():
        torch.testing.assert_close(found[1][name], grad, rtol=1e-3, atol=1e-5)


def test_bf16_is_close_and_leaves_the_weights_alone(start):
    exact, rounded = load(start), load(start, precision="bf16")
    assert all(weight.dtype == torch.float32 for weight in rounded.parameters())
    for a, b in zip(docs(exact, TEXTS), docs(rounded, TEXTS), strict=True):
        assert b.dtype == np.float32 and (a * b).sum(1).min() > 0.99
        np.testing.assert_allclose(np.linalg.norm(b, axis=1), 1, atol=1e-5)
    vectors, kept = rounded.encode(rounded.tokens.docs(TEXTS[:3]))
    vectors[kept][:, 0].sum().backward()
    wanted, kept = exact.encode(exact.tokens.docs(TEXTS[:3]))
    wanted[kept][:, 0].sum().backward()
    assert rounded.projection.weight.grad.dtype == torch.float32
    gradients = [
        torch.cat([w.grad.reshape(-1) for w in model.parameters() if w.grad is not None]) for model in (rounded, exact)
    ]
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.99


def test_dropout_is_what_was_asked_for_and_only_in_training(start):
    model = load(start, dropout=0.4)
    tokens = model.tokens.docs(TEXTS[:1])
    first, second = (model.encode(tokens)[0] for _ in range(2))
    assert not torch.equal(first, second)
    model.eval()
    assert torch.equal(*(model.encode(tokens)[0] for _ in range(2)))
    still = load(start, dropout=0.0)
    assert torch.equal(*(still.encode(tokens)[0] for _ in range(2)))
    torch.testing.assert_close(still.encode(tokens)[0], model.encode(tokens)[0])


@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert", "roberta"])
def test_dropout_is_set_wherever_a_model_keeps_it(kind):
    """Some have it in a module, some in a number that their attention reads."""
    from transformers import AutoConfig, AutoModel

    sizes = {"vocab_size": 20, "hidden_size": 16, "dim": 16, "num_hidden_layers": 2, "n_layers": 2, "intermediate_size": 32,
             "hidden_dim": 32, "num_attention_heads": 2, "n_heads": 2, "pad_token_id": 0}  # fmt: skip
    drops = dict.fromkeys(("attention_dropout", "attention_probs_dropout_prob", "hidden_dropout_prob", "dropout"), 0.5)
    # a model has its own words for these and stores the others unread
    model = AutoModel.from_config(AutoConfig.for_model(kind, **sizes, **drops))
    ids = torch.arange(1, 13)[None]
    seen = torch.ones_like(ids)
    for share, wanted in ((0.0, True), (0.3, False)):
        student.set_dropout(model, share)
        first, second = (model(input_ids=ids, attention_mask=seen).last_hidden_state for _ in range(2))
        assert torch.equal(first, second) == wanted


def test_scratch_takes_the_configuration_and_draws_the_weights(start, tiny):
    drawn, again, other = (load(start, scratch=True, seed=seed) for seed in (1, 1, 2))
    states = [model.state_dict() for model in (drawn, again, other, tiny)]
    assert all(state.keys() == states[0].keys() for state in states)
    name = "body.encoder.layer.0.attention.self.query.weight"
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0][name], states[2][name]) and not torch.equal(states[0][name], states[3][name])
    assert states[0][name].std() == pytest.approx(0.02, rel=0.1)  # BERT's, and not those of the start
    assert states[0]["projection.weight"].shape == (32, 48)


def test_a_transformer_without_a_projection_gets_orthogonal_rows(tmp_path):
    plain = tiny_checkpoint.write(tmp_path / "plain", "plain")
    drawn, again = (load(plain, ModelConfig(dim=20), seed=3).projection.weight.detach() for _ in range(2))
    torch.testing.assert_close(drawn @ drawn.T, torch.eye(20), atol=1e-5, rtol=0)
    assert torch.equal(drawn, again)


def test_what_no_checkpoint_brings_is_not_left_to_chance(tmp_path, start):
    """The pooler has no part in the vectors; memory that was never written would make two states differ."""
    for layout in ("original", "plain"):
        source = start if layout == "original" else tiny_checkpoint.write(tmp_path / layout, layout)
        poolers = [weight for name, weight in load(source).named_parameters() if "pooler" in name]
        assert poolers and not any(weight.any() for weight in poolers)


def test_texts_longer_than_the_model_has_places_for_are_one_line(start):
    with pytest.raises(MismatchError) as error:
        load(start, ModelConfig(doc_maxlen=600))
    assert str(error.value) == "tiny has 512 positions, but a text may have 600 tokens"


def test_a_projection_of_more_than_one_linear_step_is_one_line(start, monkeypatch):
    (step,) = checkpoint.find(start).projection()
    for steps in (
        [step, step],
        [checkpoint.Dense(step.weight_HI, activation="Tanh")],
        [checkpoint.Dense(step.weight_HI, bias_H=torch.zeros(32))],
    ):
        monkeypatch.setattr(checkpoint.Checkpoint, "projection", lambda self, steps=steps: steps)
        with pytest.raises(
            MismatchError, match=f"tiny has a projection of {len(steps)} steps; training knows one linear step"
        ):
            load(start)


# the projection to begin with


def test_the_principal_directions_are_orthonormal_and_keep_more_than_chance(tmp_path):
    plain = tiny_checkpoint.write(tmp_path / "plain", "plain")
    model = load(plain, ModelConfig(dim=12), dropout=0.3)
    texts = [" ".join(words) for words in np.random.default_rng(0).choice(tiny_checkpoint.WORDS[:60], (80, 12))]
    found = student.principal(model, texts[:60], 12)
    assert found.shape == (12, 48) and found.dtype == torch.float32
    torch.testing.assert_close(found @ found.T, torch.eye(12), atol=1e-5, rtol=0)
    assert model.training and torch.equal(found, student.principal(model, texts[:60], 12))  # no dropout in it

    model.eval()
    ids, seen, kept = student.padded(model.tokens.docs(texts[60:]), torch.device("cpu"))
    with torch.inference_mode():
        hidden = model.body(input_ids=ids, attention_mask=seen).last_hidden_state[kept]
    hidden = torch.nn.functional.normalize(hidden, dim=1)
    wanted = hidden @ hidden.T
    lost = {
        name: ((hidden @ rows.T) @ (hidden @ rows.T).T - wanted).norm()
        for name, rows in (("principal", found), ("random", model.projection.weight.detach()))
    }
    assert lost["principal"] < 0.5 * lost["random"]


def test_the_first_direction_is_the_longest(tiny):
    rows = student.principal(tiny, TEXTS, 48)
    with torch.inference_mode():
        ids, seen, kept = student.padded(tiny.tokens.docs(TEXTS), torch.device("cpu"))
        hidden = torch.nn.functional.normalize(
            tiny.body(input_ids=ids, attention_mask=seen).last_hidden_state[kept], dim=1
        )
    lengths = (hidden @ rows.T).norm(dim=0)
    assert (lengths.diff() <= 1e-4).all()


# the task


@pytest.mark.parametrize("step", [1, 16])
@pytest.mark.parametrize("expansion", ["fixed", "min", "off"])
def test_the_scores_of_the_loss_are_those_of_the_search(tmp_path, expansion, step, monkeypatch):
    """A question that is shorter than its neighbours gets no say for its padding, in one part or in three."""
    monkeypatch.setattr(student, "STEP", step)
    some = toy_training.pairs(tmp_path / "pairs")
    settings = ModelConfig(dim=8, query_maxlen=20, doc_maxlen=16, expansion=expansion, expansion_length=6)
    model = load(toy_training.start(tmp_path / "start"), settings)
    task = LateTask(model, some, Fit(nway=3), {})
    batch = toy_training.lines(some, 3)
    assert len({len(some.questions[example.qid].split()) for example in batch}) > 1
    texts = [some.questions[example.qid] for example in batch]
    wanted = []
    for text in texts:
        (query,) = queries(model, [text])
        passages = docs(model, [some.passage(pid) for example in batch for pid in example.pids])
        wanted.append([(query @ passage.T).max(1).sum() for passage in passages])
    own = torch.tensor(np.array([row[3 * line : 3 * line + 3] for line, row in enumerate(wanted)]))
    for encodings in ([task.encode(task.read(batch))], [task.encode(task.read([example])) for example in batch]):
        terms = task.loss(encodings, batch)
        torch.testing.assert_close(terms["first"], losses.first_wins(own), atol=1e-4, rtol=1e-4)
        everything = losses.in_batch(torch.tensor(np.array(wanted)), labelled(some, batch, Ranks()))
        torch.testing.assert_close(terms["in_batch"], everything, atol=1e-4, rtol=1e-4)


def test_another_lines_right_answer_to_the_same_question_is_no_negative(tmp_path):
    task = toy_training.late(tmp_path, Fit(nway=2))
    (right,), (other,) = task._pairs.positives[0], task._pairs.positives[1]
    batch = [toy_training.Example(0, (right, 20), None), toy_training.Example(1, (other, right), None)]
    assert labelled(task._pairs, batch, Ranks()).tolist() == [[True, False, False, True], [False, False, True, False]]
    batch = [toy_training.Example(0, (20, 21), None), toy_training.Example(1, (other, 20), None)]  # a teacher's best
    assert labelled(task._pairs, batch, Ranks()).tolist() == [[True, False, False, True], [False, False, True, False]]


def test_lines_of_other_widths_are_one_line(tmp_path):
    task = toy_training.late(tmp_path, Fit(nway=2))
    batch = [toy_training.Example(0, (0, 20), None), toy_training.Example(1, (1, 20, 21), None)]
    with pytest.raises(MismatchError, match="question 1 has 3 passages, and question 0 of the same batch 2"):
        task.loss([task.encode(task.read(batch))], batch)


def test_validation_is_the_reciprocal_rank_by_the_encoders_maxsim(tmp_path):
    task = toy_training.late(tmp_path, Fit())
    task.model.eval()
    task.model.save(tmp_path / "made", training={}, readme="")
    found, some = Encoder.load(tmp_path / "made", device="cpu", precision="fp32"), task._pairs
    values = []
    for qid, pids in task._ranking.items():
        (query,), passages = found.queries([some.questions[qid]]), found.docs([some.passage(pid) for pid in pids])
        score = [(query @ passages.vectors[a:b].T).max(1).sum() for a, b in pairwise(passages.starts.tolist())]
        order = [pids[place] for place in np.argsort(-np.array(score))]
        values.append(1 / (order.index(some.positives[qid][0]) + 1))
    assert len(values) == 4 and task.validate() == pytest.approx(np.mean(values))


def test_a_right_passage_behind_the_tenth_is_worth_nothing():
    pids = list(range(12))
    assert reciprocal_rank([float(-pid) for pid in pids], pids, [9]) == 0.1
    assert reciprocal_rank([float(-pid) for pid in pids], pids, [10, 11]) == 0.0
    assert reciprocal_rank([1.0, 1.0, 2.0], [7, 3, 9], [7, 3]) == 0.5  # of a tie the lower number is the first
