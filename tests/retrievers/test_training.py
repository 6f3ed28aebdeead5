"""A training goes from pairs to a checkpoint that any index can be made with, and its folder says how."""

import json
from dataclasses import replace
from pathlib import Path

import command
import numpy as np
import pytest
import tiny_checkpoint
import toy_training

pytest.importorskip("torch", reason="training needs the extra 'colbert'")

from lotte import artifact
from lotte.errors import LotteError, MismatchError, UnavailableError, UnknownNameError
from retrievers import load
from retrievers.colbert.model import config
from retrievers.contamination import fingerprint
from retrievers.training import card, settings
from retrievers.training.run import Training
from retrievers.training.settings import Recipe, changed

SMALL = (
    "projection=random dim=8 query_maxlen=12 doc_maxlen=16 precision=fp32 validation=4 validation_depth=6 rounds=1 "
    "teacher_maxlen=40 v1.steps=3 v1.batch=4 v1.lr=1e-3 crossencoder.steps=2 crossencoder.batch=4 crossencoder.nway=2 depth=8 scored=5 "
    "mined_questions=0 distil.steps=3 distil.batch=4 distil.nway=3 distil.lr=1e-3 bm25_depth=10"
).split()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    return tiny_checkpoint.write(folder / "bert", "plain", hidden=16, layers=1, heads=2, inner=32, positions=64)


@pytest.fixture
def recipe(start):
    return changed(settings.small(), [f"start={start}", "start_seen=cookbooks; star maps", *SMALL])


FACTS = {"communities": "bread.example, stars.example", "questions": "titles"}  # as those of a build
SETS = [toy_training.dataset(), replace(toy_training.dataset("toy/b", seed=1), facts=FACTS)]
HELD_OUT = [toy_training.dataset("toy/c", questions=5, passages=20, seed=2)]


def trained(folder, recipe, **more):
    return Training(folder, recipe, SETS, lambda line: None, **more)


@pytest.mark.slow
def test_the_checkpoint_has_its_papers_and_answers_questions(tmp_path, recipe):
    path = trained(tmp_path / "run", recipe, held_out=HELD_OUT).all()
    papers = config.read_json(path / "training.json")
    assert [one["name"] for one in papers["data"]] == ["toy/a", "toy/b"]
    assert papers["start"]["seen"] == ["cookbooks", "star maps"]
    assert papers["overlap"][0]["dataset"] == "toy/c"
    assert list(papers["steps"]) == ["v1", "round1"]
    assert papers["steps"]["v1"]["steps"] == 3
    assert (papers["teacher"]["steps"], papers["teacher"]["start"]) == (2, "bert")
    assert recipe.start not in (path / "training.json").read_text()  # a path is nobody's business
    assert "toy/a" in (path / "README.md").read_text() and "cookbooks; star maps" in (path / "README.md").read_text()
    assert "toy/b: bread.example, stars.example." in (path / "README.md").read_text()
    assert fingerprint.Fingerprint.load(path) is not None
    system = load("colbertv2", [f"checkpoint={path}", "device=cpu", "doc_maxlen=16"])
    assert system.card.training_data[:2] == ["toy/a", "toy/b"]
    run = system.index(SETS[0].corpus, tmp_path / "index").search(SETS[0].queries, k=5)
    assert all(len(hits) == 5 for hits in run.hits.values())
    small = path.with_name("checkpoint-int8")
    assert (small / "model.int8.safetensors").stat().st_size < (path / "model.safetensors").stat().st_size
    ours, theirs = (
        load("colbertv2", [f"checkpoint={one}", "device=cpu", "doc_maxlen=16"]).encoder for one in (path, small)
    )
    assert np.abs(ours.queries(["yeast and bread"]) - theirs.queries(["yeast and bread"])).max() < 0.02


@pytest.mark.slow
def test_a_training_stopped_between_any_two_steps_ends_as_one_that_was_not(tmp_path, recipe):
    whole = trained(tmp_path / "whole", recipe).all()
    for step in trained(tmp_path / "parts", recipe).steps:
        trained(tmp_path / "parts", recipe).all(step)  # a new process would know no more than this one
    for name in ("v1", "round1"):
        one, other = (
            (tmp_path / run / name / "checkpoint" / "model.safetensors").read_bytes() for run in ("whole", "parts")
        )
        assert one == other
    assert whole.name == "checkpoint"


def test_a_training_goes_on_with_its_own_settings_only(tmp_path, recipe):
    trained(tmp_path / "run", recipe)
    with pytest.raises(MismatchError, match=r"was begun with seed=12345, but is now given seed=7; a training run resumes"):
        trained(tmp_path / "run", changed(recipe, ["seed=7"]))
    with pytest.raises(MismatchError, match=r"was begun with v1.lr=\S+, but is now given v1.lr=0.01; a"):
        trained(tmp_path / "run", changed(recipe, ["v1.lr=1e-2"]))


def test_a_setting_that_is_newer_than_a_training_has_its_default_there(tmp_path, recipe):
    trained(tmp_path / "run", recipe)
    begun = json.loads((tmp_path / "run" / "settings.json").read_text())
    del begun["scratch"]  # a setting that did not exist when it began
    (tmp_path / "run" / "settings.json").write_text(json.dumps(begun))
    trained(tmp_path / "run", recipe)


def test_memory_and_saving_may_change_while_a_training_is_stopped(tmp_path, recipe):
    trained(tmp_path / "run", recipe)
    trained(tmp_path / "run", changed(recipe, ["v1.parts=2", "distil.save_every=7"]))
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["v1"]["parts"] == 2


def test_a_training_goes_on_with_its_own_data_only(tmp_path, recipe):
    trained(tmp_path / "run", recipe).all("pairs")
    with pytest.raises(MismatchError, match=r"holds other pairs than these"):
        Training(tmp_path / "run", recipe, SETS[:1], print).all("pairs")


def test_a_training_that_was_never_begun_needs_data(tmp_path, recipe):
    with pytest.raises(UnavailableError, match="name the datasets to train on"):
        Training(tmp_path / "run", recipe, [], print)
    assert not (tmp_path / "run").exists()


def test_a_step_that_does_not_exist_is_named_with_those_that_do(tmp_path, recipe):
    with pytest.raises(
        UnknownNameError, match=r"no step 'mine'; it has pairs, negatives, v1, mine-1, teacher, .*, checkpoint"
    ):
        trained(tmp_path / "run", recipe).all("mine")


def test_what_is_known_of_one_start_is_not_said_of_another():
    small = settings.small()
    assert small.start_seen and small.start_licence
    other = changed(small, ["start_licence=MIT", "start=another"])  # in any order
    assert (other.start_seen, other.start_licence) == ("", "MIT")
    assert changed(small, ["seed=1"]).start_seen == small.start_seen


def test_lines_of_others_need_their_dataset_to_go_on(tmp_path, recipe):
    (tmp_path / "lines.json").write_text("[0, 0, 12, 13]\n")
    trained(tmp_path / "run", recipe)
    with pytest.raises(MismatchError, match="is about one dataset, and 0 were named"):
        Training(tmp_path / "run", recipe, [], print, given=tmp_path / "lines.json").all()


def test_the_card_says_how_a_named_teacher_was_trained(tmp_path):
    training = {"steps": 7, "best": 0.5, "start": "/somebody/elses/bert", "settings": {"batch": 4, "nway": 2, "lr": 1e-3}}
    with artifact.folder(tmp_path / "teacher", {"training": training}):
        pass
    found = card._teacher(tmp_path, changed(Recipe(), [f"teacher={tmp_path / 'teacher'}"]))
    assert card._taught(found) == (
        "trained in another run, a cross-encoder from bert: 7 steps of 4 x 2, learning rate 0.001, MRR@10 0.5000"
    )
    assert card._teacher(tmp_path, changed(Recipe(), ["teacher=a/name-of-the-hub"])) == "a/name-of-the-hub"


def test_a_teacher_that_learns_from_bm25_comes_before_mining(tmp_path, recipe):
    """It needs no model, so `lotte train crossencoder` need not train one."""
    run = trained(tmp_path / "run", changed(recipe, ["teacher_negatives=bm25"]))
    assert run.steps[:5] == ["pairs", "negatives", "v1", "teacher", "mine-1"]


def test_settings_are_read_by_their_types():
    recipe = changed(Recipe(), ["rounds=3", "scratch=true", "v1.lr=2e-5", "distil.nway=8", "start=x"])
    assert (recipe.rounds, recipe.scratch, recipe.v1.lr, recipe.distil.nway, recipe.start) == (3, True, 2e-5, 8, "x")
    assert recipe.v1.batch == Recipe().v1.batch


@pytest.mark.parametrize(("option", "line"), [
    ("v1.lrr=1", "training has no setting 'v1.lrr'; did you mean 'v1.lr'?"),
    ("round=1", "training has no setting 'round'; did you mean 'rounds'?"),
    ("teacher.lr=1", "training has no setting 'teacher.lr'; did you mean"),
    ("rounds=two", "rounds takes int, not 'two'"),
    ("distil.in_batch=yes", "distil.in_batch takes bool, not 'yes'"),
    ("rounds", "rounds has no value; write -o rounds=VALUE"),
    ("teacher_negatives=mine", "teacher_negatives must be 'bm25' or 'mined', not 'mine'"),
    ("v1=3", "training has no setting 'v1'"),
])  # fmt: skip
def test_a_setting_that_cannot_be_is_one_line(option, line):
    with pytest.raises(LotteError) as told:
        changed(Recipe(), [option])
    assert str(told.value).startswith(line)


def test_the_paper_s_settings_are_the_paper_s():
    recipe = settings.paper()
    assert (recipe.distil.steps, recipe.distil.batch, recipe.distil.nway, recipe.distil.lr) == (400_000, 32, 64, 1e-5)
    assert (recipe.distil.warmup, recipe.depth, recipe.rounds) == (20_000, 500, 2)
    assert (recipe.query_maxlen, recipe.doc_maxlen, recipe.dim or settings.DIM, recipe.bits) == (32, 180, 128, 2)
    assert (recipe.v1.lr, recipe.v1.batch, recipe.v1.nway, recipe.v1.in_batch) == (3e-6, 32, 2, False)


def folder(path: Path) -> Path:
    """Write a toy set as people have theirs: collection.tsv, queries.train.tsv, qrels.train.tsv."""
    data = toy_training.dataset()
    row_of = {doc.doc_id: row for row, doc in enumerate(data.corpus)}
    path.mkdir()
    (path / "collection.tsv").write_text("".join(f"{row}\t{doc.text}\n" for row, doc in enumerate(data.corpus)))
    (path / "queries.train.tsv").write_text("".join(f"{n}\t{text}\n" for n, text in enumerate(data.queries.values())))
    (path / "qrels.train.tsv").write_text("".join(
        f"{n}\t0\t{row_of[doc_id]}\t1\n" for n, query_id in enumerate(data.queries) for doc_id in data.qrels[query_id]
    ))  # fmt: skip
    return path


@pytest.mark.slow
def test_the_command_trains_and_prints_where_the_checkpoint_is(tmp_path, start):
    options = [word for pair in [f"start={start}", *SMALL] for word in ("-o", pair)]
    command_line = ("train", "colbertv2", folder(tmp_path / "toy") / "train", "--out", tmp_path / "run", *options)
    listed = command.lotte(*command_line, "--step", "list")
    assert listed.stdout.split()[:5] == ["pairs", "negatives", "v1", "mine-1", "teacher"], listed.stderr
    done = command.lotte(*command_line)
    assert done.stdout == f"{tmp_path / 'run' / 'checkpoint'}\n", done.stderr
    again = command.lotte(*command_line)  # nothing is left to do
    assert again.stdout == done.stdout and "training" not in again.stderr
    teacher = command.lotte("train", "crossencoder", *command_line[2:])
    assert teacher.stdout == f"{tmp_path / 'run' / 'teacher' / 'checkpoint'}\n", teacher.stderr
    log = [json.loads(line) for line in (tmp_path / "run" / "v1" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "loss" in line] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("scores", [False, True])
def test_lines_of_the_original_are_trained_on_as_they_are(tmp_path, start, scores):
    data = folder(tmp_path / "toy")
    wrong = list(range(12, 40))
    lines = [
        [
            qid,
            *(
                [pid, float(-place)] if scores else pid
                for place, pid in enumerate([qid % 12, *wrong[qid % 20 : qid % 20 + 3]])
            ),
        ]
        for qid in [*range(12)] * 3
    ]
    (tmp_path / "examples.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    options = [word for pair in [f"start={start}", *SMALL, "validation=2"] for word in ("-o", pair)]
    command_line = ("train", "colbertv2", data / "train", "--examples", tmp_path / "examples.json", *options)
    done = command.lotte(*command_line, "--out", tmp_path / "run")
    assert done.stdout == f"{tmp_path / 'run' / 'checkpoint'}\n", done.stderr
    papers = config.read_json(tmp_path / "run" / "checkpoint" / "training.json")
    assert papers["data"][0]["lines"] == "examples.json"
    assert papers["validation"]["questions"] == 2 and papers["teacher"] == "none here: the lines were made elsewhere"
    assert papers["steps"]["given"]["examples"] == 30  # of 36; two questions of three lines are kept


@pytest.mark.slow
def test_what_the_command_cannot_do_is_one_line(tmp_path):
    assert "name the datasets to train on" in command.error("train", "colbertv2", "--out", tmp_path / "run")
    assert "name it with --from-build" in command.error("train", "colbertv2", "--out", tmp_path / "run", "--allow-test")
    assert "no setting 'lr'" in command.error("train", "colbertv2", "--out", tmp_path / "run", "-o", "lr=1")
    two = tmp_path / "two"
    tiny_checkpoint.write(two, "plain", hidden=16, layers=1, heads=2, inner=32, positions=64)
    described = json.loads((two / "config.json").read_text()) | {"id2label": {"0": "no", "1": "yes"}}
    (two / "config.json").write_text(json.dumps(described))
    options = [word for pair in [f"start={two}", f"teacher={two}", *SMALL] for word in ("-o", pair)]
    line = command.error("train", "colbertv2", folder(tmp_path / "toy") / "train", "--out", tmp_path / "run", *options)
    assert line == "two has 2 outputs, and a cross-encoder has one: the score of a question with a passage"
