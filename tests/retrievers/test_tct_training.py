"""`lotte train colbert` and `lotte train tct_colbert`: the loss of the paper, its three conditions, and a whole run."""

import json

import command
import numpy as np
import pytest
import tiny_checkpoint
import toy_training
from toy_training import Stopped, log, same, stopping_at

torch = pytest.importorskip("torch", reason="training needs the extra 'train'")
pytest.importorskip("transformers", reason="training needs the extra 'train'")

from lotte.errors import LotteError, MismatchError  # noqa: E402
from retrievers import load  # noqa: E402
from retrievers.colbert.model import checkpoint, config  # noqa: E402
from retrievers.training import losses, run, settings  # noqa: E402
from retrievers.training.settings import Fit, changed  # noqa: E402

QUICK = (
    "dim=8 query_maxlen=12 doc_maxlen=16 precision=fp32 validation=4 validation_depth=6 bm25_depth=10 projection=random "
    "v1.steps=3 v1.batch=4 v1.lr=1e-3"
).split()
STUDENT = ["student.steps=3", "student.batch=4", "student.lr=1e-3"]
SETS = [toy_training.dataset()]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    return tiny_checkpoint.write(folder / "plain", "plain", hidden=16, layers=1, heads=2, inner=32, positions=64)


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    return toy_training.start(tmp_path_factory.mktemp("start") / "late")


def begun(folder, start, *options, system="tct_colbert", **more):
    student = STUDENT if system == "tct_colbert" else []
    recipe = changed(settings.RUNS[system]["small"](), [f"start={start}", *QUICK, *student, *options])
    return run.training(recipe, folder, SETS, lambda line: None, **more)


# the loss


def written_out(task, some, *, distil, gamma=0.1, temperature=0.25):
    """The loss as the paper has it, with loops."""
    query, doc, late_query, late_doc, kept = task.encode(task.read(some))
    width = len(some[0].pids)
    kl = right = 0.0
    for line in range(len(some)):
        student = torch.stack([query[line] @ one for one in doc])
        teacher = torch.stack([
            sum((late_doc[n][kept[n]] @ token).max() for token in late_query[line]) for n in range(len(doc))
        ]) / temperature  # fmt: skip
        mine = slice(line * width, (line + 1) * width) if distil == "triplet" else slice(None)
        p, q = teacher[mine].softmax(0), student[mine].softmax(0)
        kl += (p * (p.log() - q.log())).sum() / len(some)
        others = [
            n for n in range(len(doc))
            if n == line * width or some[n // width].pids[n % width] not in task._pairs.positives[some[line].qid]
        ]  # fmt: skip
        right += (student[others].logsumexp(0) - student[line * width]) / len(some)
    return {"kl": (1 - gamma) * kl, "first": gamma * right}


@pytest.mark.parametrize("distil", ["triplet", "batch"])
@pytest.mark.parametrize("gamma", [0.1, 0.0])
def test_the_loss_is_equation_6(tmp_path, distil, gamma):
    task = toy_training.tct(tmp_path, Fit(), distil=distil, gamma=gamma)
    some = toy_training.lines(task._pairs, 4)
    terms = task.loss([task.encode(task.read(some))], some)
    wanted = written_out(task, some, distil=distil, gamma=gamma)
    assert terms.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-4, atol=1e-5)


def test_without_a_teacher_the_right_passages_alone_are_learnt(tmp_path):
    task, other = toy_training.tct(tmp_path, Fit(), distil="none"), toy_training.tct(tmp_path, Fit())
    some = toy_training.lines(task._pairs, 4)
    terms = task.loss([task.encode(task.read(some))], some)
    assert set(terms) == {"first"}
    torch.testing.assert_close(terms["first"], written_out(other, some, distil="batch")["first"] / 0.1)


def test_a_batch_in_parts_has_the_loss_of_the_whole_one(tmp_path):
    task = toy_training.tct(tmp_path, Fit())
    some = toy_training.lines(task._pairs, 4)
    whole = task.loss([task.encode(task.read(some))], some)
    parts = task.loss([task.encode(task.read(some[:2])), task.encode(task.read(some[2:]))], some)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name])


def test_the_student_begins_with_the_teacher_s_weights_and_the_teacher_stays_as_it_is(tmp_path):
    task = toy_training.tct(tmp_path, Fit())
    same(task.model.body.state_dict(), task._teacher.body.state_dict())
    before = {name: weight.clone() for name, weight in task._teacher.state_dict().items()}
    toy_training.train(tmp_path / "run", steps=2, tct="batch")
    trained, facts = toy_training.train(tmp_path / "again" / "run", steps=2, parts=2, tct="batch")
    same(trained._teacher.state_dict(), before)
    assert facts["steps"] == 2
    assert not torch.equal(trained.model.body.embeddings.word_embeddings.weight, before["body.embeddings.word_embeddings.weight"])


def test_vectors_in_training_are_those_of_the_search(tmp_path):
    from retrievers.colbert.model.tct import TctEncoder

    task = toy_training.tct(tmp_path, Fit())
    texts = ["how to bake bread", "moon", "the router and the server in the kitchen"]
    saved = task.model.save(tmp_path / "saved", training={}, readme="")
    encoder = TctEncoder.load(saved, query_maxlen=16, doc_maxlen=20)
    with torch.no_grad():
        query, doc = task.model.encode(task.model.tokens.queries(texts)), task.model.encode(task.model.tokens.docs(texts))
    np.testing.assert_allclose(query.numpy(), encoder.queries(texts), atol=2e-5)
    np.testing.assert_allclose(doc.numpy(), encoder.docs(texts).vectors, atol=2e-5)


@pytest.mark.slow
def test_a_student_learns_to_score_as_its_teacher(tmp_path):
    _, facts = toy_training.train(tmp_path / "run", steps=60, count=120, lr=3e-3, dropout=0.0, tct="batch", save_every=100)
    curve = [line["kl"] for line in log(tmp_path / "run") if "kl" in line]
    assert sum(curve[-10:]) < 0.8 * sum(curve[:10])
    assert facts["steps"] == 60


def test_a_training_that_was_killed_goes_on_to_the_same_weights(tmp_path):
    whole, _ = toy_training.train(tmp_path / "whole" / "run", steps=5, tct="batch")
    with pytest.raises(Stopped):
        toy_training.train(
            tmp_path / "run", steps=5, task=lambda config: stopping_at(toy_training.tct(tmp_path, config), 3)
        )
    again, _ = toy_training.train(tmp_path / "run", steps=5, tct="batch")
    same(again.model.state_dict(), whole.model.state_dict())


# whole runs


def test_colbert_is_trained_on_triples_and_keeps_punctuation(tmp_path, plain):
    training = begun(tmp_path / "run", plain, system="colbert")
    assert training.steps == ["pairs", "negatives", "v1", "checkpoint"]
    path = training.all()
    assert path == tmp_path / "run" / "checkpoint"
    said = config.read_json(path / "training.json")
    assert (said["system"], said["teacher"], list(said["steps"])) == ("colbert", "none", ["v1"])
    assert said["recipe"].startswith("ColBERT (Khattab & Zaharia 2020")
    assert "`lotte train colbert`, ColBERT (" in (path / "README.md").read_text()
    assert checkpoint.find(path).settings.skiplist == ()
    system = load("colbert", [f"checkpoint={path}", "first=bm25", "doc_maxlen=16"])
    assert system.card.training_data[:1] == ["toy/a"]
    assert any(system.index(SETS[0].corpus, tmp_path / "index").search(SETS[0].queries, k=5).hits.values())


def test_the_whole_training_leaves_a_checkpoint_that_others_open_and_the_system_takes(tmp_path, plain):
    path = begun(tmp_path / "run", plain).all()
    said = config.read_json(path / "training.json")
    assert (said["system"], list(said["steps"])) == ("tct_colbert", ["v1", "student"])
    assert said["teacher"] == "the ColBERT that this run trained first"
    assert "# A checkpoint with one vector a text" in (path / "README.md").read_text()
    from transformers import AutoModel

    theirs = AutoModel.from_pretrained(path, local_files_only=True)
    same(
        {name: weight for name, weight in theirs.state_dict().items() if not name.startswith("pooler.")},
        {name: weight for name, weight in checkpoint.find(path).model().state_dict().items() if not name.startswith("pooler.")},
    )
    runs = {}
    for name in ("checkpoint", "checkpoint-int8"):
        system = load("tct_colbert", [f"checkpoint={path.with_name(name)}", "query_maxlen=16", "doc_maxlen=20"])
        assert system.card.training_data[:1] == ["toy/a"]
        assert system.card.index["distil"] == "batch"  # what a row of the paper's tables is known by
        runs[name] = system.index(SETS[0].corpus, tmp_path / name).search(SETS[0].queries, k=5)
    assert all(len(hits) == 5 for hits in runs["checkpoint"].hits.values())
    a, b = (np.load(tmp_path / name / "vectors.npy") for name in runs)
    assert 0 < np.abs(a - b).max() < 0.05 * np.abs(a).max()


def test_a_teacher_that_is_named_is_not_trained_here(tmp_path, plain, late):
    training = begun(tmp_path / "run", plain, f"teacher={late}")
    assert training.steps == ["pairs", "negatives", "student", "checkpoint"]
    said = config.read_json(training.all() / "training.json")
    assert (said["teacher"], list(said["steps"]), said["settings"]["teacher"]) == ("late", ["student"], "late")


@pytest.mark.parametrize("distil", ["none", "triplet", "batch"])
def test_the_three_conditions_of_table_3_are_one_option(tmp_path, late, distil):
    training = begun(tmp_path / "run", late, f"teacher={late}", f"distil={distil}")
    training.all("student")
    terms = {"loss", "lr", "gradient", "step", "first"} | ({"kl"} if distil != "none" else set())
    assert [set(line) for line in log(tmp_path / "run" / "student") if "loss" in line] == [terms] * 3


@pytest.mark.slow
def test_lines_of_others_train_the_teacher_and_the_student(tmp_path, plain):
    docs = [doc.text for doc in SETS[0].corpus]
    data = tmp_path / "toy"
    data.mkdir()
    (data / "collection.tsv").write_text("".join(f"{row}\t{text}\n" for row, text in enumerate(docs)))
    (data / "queries.train.tsv").write_text("".join(f"{n}\t{text}\n" for n, text in enumerate(SETS[0].queries.values())))
    (data / "qrels.train.tsv").write_text("".join(f"{n}\t0\t{n}\t1\n" for n in range(12)))
    (tmp_path / "triples.tsv").write_text("".join(f"{n % 12}\t{n % 12}\t{12 + n % 20}\n" for n in range(48)))
    options = [word for pair in [f"start={plain}", *QUICK, *STUDENT, "validation=2"] for word in ("-o", pair)]
    words = ("train", "tct_colbert", data / "train", "--examples", tmp_path / "triples.tsv", "--out", tmp_path / "run")
    listed = command.lotte(*words, *options, "--step", "list")
    assert listed.stdout.split() == ["given", "student", "checkpoint"], listed.stderr
    done = command.lotte(*words, *options)
    assert done.stdout == f"{tmp_path / 'run' / 'checkpoint'}\n", done.stderr
    steps = json.loads((tmp_path / "run" / "checkpoint" / "training.json").read_text())["steps"]
    assert list(steps) == ["given", "student"]


# what cannot be


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("doc_maxlen=61", "has 64 positions, but the student needs 65: doc_maxlen and the 4 tokens before a text"),
        ("student.batch=99", r"^student\.batch=99 is more than the \d+ lines"),
        ("student.nway=14", r"^student\.nway=14 asks for 13 negatives of a question, and there are 10 at most"),
    ],
)
def test_what_the_student_cannot_have_is_told_before_anything_is_mined(tmp_path, late, option, says):
    with pytest.raises(MismatchError, match=says):
        begun(tmp_path / "run", late, option).all()
    assert not (tmp_path / "run" / "bm25").exists()


def test_a_teacher_that_is_no_colbert_is_told_before_any_work(tmp_path, plain):
    with pytest.raises(MismatchError, match="plain has no projection, so it is not a ColBERT that could teach; `lotte train colbert`"):
        begun(tmp_path / "run", plain, f"teacher={plain}").all()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["settings.json"]


@pytest.mark.parametrize(("system", "option"), [("colbert", "teacher=x"), ("tct_colbert", "rounds=2"), ("colbertv2", "gamma=0")])
def test_a_setting_of_another_training_is_one_line(system, option):
    key = option.partition("=")[0]
    with pytest.raises(LotteError, match=f"training has no setting '{key}'"):
        changed(settings.RUNS[system]["small"](), [option])


def test_the_papers_settings_are_the_papers():
    colbert, tct = settings.colbert_paper(), settings.tct_paper()
    assert (colbert.v1.steps, colbert.v1.batch, colbert.v1.lr, colbert.v1.in_batch) == (200_000, 32, 3e-6, False)
    assert (tct.student.steps, tct.student.batch, tct.student.lr, tct.student.warmup) == (160_000, 96, 7e-6, 10_000)
    assert (tct.temperature, tct.gamma, tct.distil, tct.query_maxlen, tct.doc_maxlen) == (0.25, 0.1, "batch", 32, 150)
    assert losses.DISTANCES.keys() == {"kl", "margin_mse"}
