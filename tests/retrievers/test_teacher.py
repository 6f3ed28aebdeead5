"""A teacher's scores depend on the pair and on nothing beside it, and are made once."""

import json

import numpy as np
import pytest
import tiny_checkpoint
import toy_training

from lotte.errors import CorruptFileError, MismatchError

torch = pytest.importorskip("torch", reason="needs lotte-bench[colbert]")
pytest.importorskip("transformers", reason="needs lotte-bench[colbert]")

from retrievers.training import student, teacher  # noqa: E402
from retrievers.training.batches import tokenised  # noqa: E402
from retrievers.training.journal import LOG  # noqa: E402
from retrievers.training.ranks import Ranks  # noqa: E402
from retrievers.training.settings import Fit  # noqa: E402
from retrievers.training.teacher import CrossEncoder, CrossTask  # noqa: E402
from retrievers.training.trainer import Trainer  # noqa: E402


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start") / "plain"
    return tiny_checkpoint.write(folder, "plain", hidden=32, layers=1, heads=2, inner=64, positions=256)


@pytest.fixture(scope="module")
def trained(start, tmp_path_factory):
    """A cross-encoder in a folder, as one that was downloaded."""
    made = CrossEncoder.load(start, fresh=True, seed=1)
    with torch.no_grad():
        made.model.classifier.weight *= 100  # a layer that was just drawn finds all pairs nearly alike
    return made.save(tmp_path_factory.mktemp("teacher") / "cross", {"steps": 0})


@pytest.fixture
def model(trained):
    return CrossEncoder.load(trained, maxlen=64)


@pytest.fixture
def some(tmp_path):
    return toy_training.pairs(tmp_path / "pairs")


@pytest.fixture
def candidates(some):
    return {qid: [*pids[3:8], *some.positives[qid], *pids[:3]] for qid, pids in toy_training.wrong(some).items()}


def alone(model, question, passage):
    model.eval()
    with torch.inference_mode():
        return float(model.score(model.read([question], [passage]), model.rounded()))


def test_scores_are_raw_logits_of_each_pair_alone(tmp_path, model, some, candidates, monkeypatch):
    """Neither the batch nor the order by length changes one, and every candidate stays in its place."""
    wanted = {
        qid: [alone(model, some.questions[qid], some.passage(pid)) for pid in pids] for qid, pids in candidates.items()
    }
    assert len({round(value, 3) for values in wanted.values() for value in values}) > 100
    for number, (pairs_at_once, tokens_at_once) in enumerate(((2048, 4096), (20, 200), (1, 1))):
        monkeypatch.setattr(teacher, "PAIRS_AT_ONCE", pairs_at_once)
        monkeypatch.setattr(teacher, "TOKENS_AT_ONCE", {"cpu": tokens_at_once})
        found = teacher.score(model, some, candidates, tmp_path / f"{number}.json")
        assert {qid: list(scores) for qid, scores in found.items()} == candidates
        for qid, scores in found.items():
            np.testing.assert_allclose(list(scores.values()), wanted[qid], atol=3e-5)


def test_the_logits_are_those_of_transformers(trained, model):
    """A pair as the tokenizer writes it: [CLS] question [SEP] passage [SEP], of two token types."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    plain, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(trained).eval(),
        AutoTokenizer.from_pretrained(trained),
    )
    tokens = tokenizer("how to bake bread", "water and flour", return_tensors="pt")
    assert plain.config.num_labels == 1 and tokens["token_type_ids"].unique().tolist() == [0, 1]
    with torch.inference_mode():
        wanted = plain(**tokens).logits.item()
    assert alone(model, "how to bake bread", "water and flour") == pytest.approx(wanted, abs=1e-5)


def test_the_file_is_the_originals(tmp_path, model, some, candidates):
    """`[qid, [[score, pid], ...]]`, the score first, a line a question; it is read back as it was."""
    path = tmp_path / "distillation_scores.json"
    found = teacher.score(model, some, candidates, path)
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(qid, [pid for _, pid in passages]) for qid, passages in written] == list(candidates.items())
    assert all(
        isinstance(score, float) and found[qid][pid] == score for qid, passages in written for score, pid in passages
    )
    assert teacher.read(path) == found and list(tmp_path.glob(".*")) == []
    examples_form = tmp_path / "examples.json"
    examples_form.write_text(
        "".join(json.dumps([qid, *([pid, score] for score, pid in passages)]) + "\n" for qid, passages in written)
    )
    assert teacher.read(examples_form) == found


@pytest.mark.parametrize("cut", ["", "[7, [[0.5, 2], [1.", "[7, [[0.5, 2]]]"])
def test_scoring_that_was_stopped_goes_on_at_the_next_question(tmp_path, model, some, candidates, monkeypatch, cut):
    """A line that was cut, even at its very end, is made again; those before are not."""
    monkeypatch.setattr(teacher, "PAIRS_AT_ONCE", 1)
    whole = teacher.score(model, some, candidates, tmp_path / "whole.json")
    path, computed, asked = tmp_path / "scores.json", model.score, []

    def stopping(tokens, weights):
        asked.append(len(tokens["input_ids"]))
        if len(asked) == 8:
            raise KeyboardInterrupt
        return computed(tokens, weights)

    model.score = stopping
    with pytest.raises(KeyboardInterrupt):
        teacher.score(model, some, candidates, path)
    assert not path.exists()
    with (tmp_path / ".scores.json.partial").open("a") as file:
        file.write(cut)
    assert teacher.score(model, some, candidates, path) == whole
    assert len(asked) == 8 + len(candidates) - 7
    assert path.read_bytes() == (tmp_path / "whole.json").read_bytes()
    again = len(asked)
    assert teacher.score(model, some, candidates, path) == whole and len(asked) == again


def test_scoring_that_was_stopped_when_all_was_there_is_finished(tmp_path, model, some, candidates):
    path = tmp_path / "scores.json"
    whole = teacher.score(model, some, candidates, path)
    path.rename(tmp_path / ".scores.json.partial")
    model.score = None
    assert teacher.score(model, some, candidates, path) == whole == teacher.read(path)


def test_without_candidates_there_are_no_scores(tmp_path, model, some):
    assert teacher.score(model, some, {}, tmp_path / "none.json") == {}
    assert teacher.score(model, some, {3: []}, tmp_path / "empty.json") == {}
    assert (tmp_path / "none.json").read_text() == (tmp_path / "empty.json").read_text() == ""


@pytest.mark.parametrize(
    "line", ["[]", "[1]", "[1, []]", "{}", "[1, 2]", "[1, [2, 3, 4]]", '[1, [["a", 2]]]', "[1, [[NaN, 2]]]", "[1, [[0.5, 1e999]]]", "[" * 100_000],
)  # fmt: skip
def test_a_line_without_scores_is_named(tmp_path, line):
    path = tmp_path / "scores.json"
    path.write_text(f"[0, [[0.5, 1]]]\n{line}\n")
    with pytest.raises(CorruptFileError) as error:
        teacher.read(path)
    assert str(error.value) == f"{path}:2: expected [qid, [[score, pid], ...]], found {line[:60]!r}"


# what is read


def test_of_a_pair_that_is_too_long_the_passage_is_cut(model):
    tokens = model.read(["how to bake"], ["bread " * 100 + "moon"])
    ids = tokens["input_ids"][0].tolist()
    assert len(ids) == 64 and ids[:5] == model.tokenizer("how to bake")["input_ids"]
    assert alone(model, "how to bake", "bread " * 100 + "moon") == alone(model, "how to bake", "bread " * 100)


@pytest.mark.parametrize("word", ["bread", "zqxjkv", "”", "日本", "!"])
def test_a_question_of_any_length_leaves_a_place_for_the_passage(model, word):
    """Words of many tokens too: half of the tokens are the question's, at most."""
    question = " ".join([word] * 300)
    tokens = model.read([question, "short?"], ["bread from the oven", "moon"])
    of_question = ((tokens["token_type_ids"] == 0) & (tokens["attention_mask"] == 1)).sum(1)
    assert tokens["input_ids"].shape[1] <= 64 and of_question[0] <= 64 // 2 + 2
    passage = (tokens["token_type_ids"][0] == 1).nonzero()[:, 0]
    words = model.tokenizer("bread from the oven", add_special_tokens=False)["input_ids"]
    assert tokens["input_ids"][0][passage].tolist()[: len(words)] == words
    assert alone(model, question, "bread") != alone(model, question, "moon")
    assert alone(model, question, "bread") == alone(model, f"{question} moon", "bread")


def test_a_question_that_fits_is_left_as_it_is(model):
    for question in ("", "bread " * 31, "zqxj " * 7, "a, b: how? " * 5):
        assert model._cut(question) == question


def test_texts_without_words_have_a_score(model):
    assert all(np.isfinite(alone(model, *pair)) for pair in (("", ""), ("how", ""), ("", "bread"), ("\0", "\u2028")))


# what is not a teacher


def test_a_model_with_two_outputs_is_one_line(tmp_path, start):
    for described in ({"num_labels": 2}, {"id2label": {"0": "no", "1": "yes"}}, {}):
        two = tmp_path / f"two{len(list(tmp_path.iterdir()))}"
        tiny_checkpoint.write(two, "plain")
        config = json.loads((two / "config.json").read_text()) | described
        (two / "config.json").write_text(json.dumps(config))
        with pytest.raises(MismatchError) as error:
            CrossEncoder.load(two)
        assert str(error.value) == (
            f"{two.name} has 2 outputs, and a cross-encoder has one: the score of a question with a passage"
        )


def test_a_model_without_its_output_layer_is_one_line(tmp_path):
    """And no teacher whose last layer was drawn by chance."""
    plain = tiny_checkpoint.write(tmp_path / "plain", "plain")
    config = json.loads((plain / "config.json").read_text()) | {"id2label": {"0": "score"}, "label2id": {"score": 0}}
    (plain / "config.json").write_text(json.dumps(config))
    with pytest.raises(CorruptFileError) as error:
        CrossEncoder.load(plain)
    assert str(error.value).endswith(
        "lacks the tensor 'bert.pooler.dense.bias': it is not a trained cross-encoder"
    )


def test_weights_that_cannot_be_read_are_one_line(tmp_path, trained):
    import shutil

    broken = shutil.copytree(trained, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    with pytest.raises(CorruptFileError, match=r"broken has no model\.safetensors; the checkpoint is not complete"):
        CrossEncoder.load(broken)


def test_pairs_longer_than_the_model_has_places_for_are_one_line(trained):
    with pytest.raises(MismatchError) as error:
        CrossEncoder.load(trained, maxlen=300)
    assert str(error.value) == "cross has 256 positions, but pairs have 300 tokens"


def test_saved_and_loaded_it_gives_the_same_scores(tmp_path, start):
    made = CrossEncoder.load(start, fresh=True, seed=3, maxlen=64)
    again = CrossEncoder.load(made.save(tmp_path / "made", {"steps": 3}), maxlen=64)
    assert alone(again, "how to bake", "bread") == alone(made, "how to bake", "bread")
    assert json.loads((tmp_path / "made" / "meta.json").read_text())["training"] == {"steps": 3}
    assert alone(CrossEncoder.load(start, fresh=True, seed=4, maxlen=64), "a", "b") != alone(made, "a", "b")


# training one


def task(start, some, config, **settings):
    ranking = {
        qid: sorted({*toy_training.wrong(some)[qid][:8], *some.positives[qid]}) for qid in list(some.questions)[::5]
    }
    return CrossTask(CrossEncoder.load(start, fresh=True, seed=0, maxlen=48, **settings), some, config, ranking)


def test_training_makes_the_loss_fall_and_the_mrr_rise(tmp_path, start, some):
    before = task(start, some, Fit()).validate()
    made, facts = toy_training.train(
        tmp_path / "run", steps=60, count=120, batch=8, lr=3e-3, dropout=0.1, warmup=5, save_every=100,
        validate_every=20, task=lambda config: task(start, some, config),
    )  # fmt: skip
    curve = [
        json.loads(line)["loss"] for line in (tmp_path / "run" / LOG).read_text().splitlines() if "loss" in line
    ]
    assert before < 0.7 and facts["best"] > 0.9
    assert np.mean(curve[-10:]) < 0.3 * np.mean(curve[:5])
    model = CrossEncoder.load(made.model.save(tmp_path / "made", facts), maxlen=48)
    (right,) = some.positives[0]
    scores = teacher.score(model, some, {0: [right, *toy_training.wrong(some)[0][:9]]}, tmp_path / "scores.json")[0]
    assert max(scores, key=scores.get) == right


def test_parts_and_groups_of_a_batch_are_the_whole_batch(start, some):
    found = []
    batch = toy_training.lines(some, 8, nway=5)
    for parts in (1, 3):
        config = Fit(batch=8, nway=5, parts=parts)
        cross = task(start, some, config)
        read, places = cross.read(batch)
        assert len(read) == 2 and sorted(np.concatenate(places)) == list(range(40))
        (scores,) = cross.encode((read, places))
        cross.model.eval()
        each = [alone(cross.model, some.questions[line.qid], some.passage(pid)) for line in batch for pid in line.pids]
        np.testing.assert_allclose(scores.detach(), each, atol=1e-5)
        cross.model.train()
        trainer = Trainer(cross, config, 10, Ranks(), {})
        trainer.optimiser.step = lambda: None
        trainer.update(*tokenised(cross, batch, range(8), parts))
        found.append({name: weight.grad for name, weight in cross.model.named_parameters() if weight.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, grad in found[0].items():
        torch.testing.assert_close(found[1][name], grad, rtol=1e-3, atol=1e-5)


def test_killed_and_begun_again_it_is_the_same_teacher(tmp_path, start, some):
    settings = {"steps": 6, "batch": 4, "validate_every": 4}
    whole, facts = toy_training.train(tmp_path / "whole", **settings, task=lambda config: task(start, some, config))

    def dying(config):
        cross = task(start, some, config)
        computed, count = cross.loss, iter(range(100))

        def loss(encoded, batch):
            if next(count) == 5:
                raise KeyboardInterrupt
            return computed(encoded, batch)

        cross.loss = loss
        return cross

    with pytest.raises(KeyboardInterrupt):
        toy_training.train(tmp_path / "run", **settings, task=dying)
    again, found = toy_training.train(tmp_path / "run", **settings, task=lambda config: task(start, some, config))
    assert found == facts
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], weight), name


def test_bf16_is_close(start, some):
    exact, rounded = (task(start, some, Fit(), precision=precision) for precision in ("fp32", "bf16"))
    batch = toy_training.lines(some, 6)
    a, b = (one.encode(one.read(batch))[0].detach() for one in (exact, rounded))
    assert b.dtype == torch.float32 and not torch.equal(a, b)
    torch.testing.assert_close(a, b, atol=0.05 * float(a.std()) + 0.05, rtol=0.1)
    assert all(weight.dtype == torch.float32 for weight in rounded.model.parameters())


def test_lines_of_other_widths_are_one_line(start, some):
    cross = task(start, some, Fit())
    batch = [toy_training.Example(0, (0, 20), None), toy_training.Example(1, (1, 20, 21), None)]
    with pytest.raises(MismatchError, match="question 1 has 3 passages, and question 0 of the same batch 2"):
        cross.loss([cross.encode(cross.read(batch))], batch)


def test_dropout_reaches_every_place_of_the_model(start, some):
    cross = task(start, some, Fit(dropout=0.25))
    shares = {module.p for module in cross.model.modules() if isinstance(module, torch.nn.Dropout)}
    assert shares == {0.25} and cross.model.model.training
    student.set_dropout(cross.model.model, 0.0)
    tokens = cross.read(toy_training.lines(some, 2))
    assert torch.equal(cross.encode(tokens)[0], cross.encode(tokens)[0])


def test_a_tokenizer_that_transformers_cannot_read_is_one_line(tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "checkpoint")
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {}}')
    with pytest.raises(CorruptFileError, match="transformers cannot read its tokenizer"):
        CrossEncoder.load(str(folder), maxlen=32, precision="fp32", seed=0, fresh=True)
