"""MTEB's results come in whatever version wrote them, and what goes out is what its own classes take."""

import json

import pytest
from board import board
from places import TINY
from records import make, replace, rewrite

from leaderboard import catalogue, interchange, mteb
from leaderboard.record.audit import Report, audit
from leaderboard.record.read import read
from lotte.errors import CorruptFileError, MismatchError

SPLIT = {"ndcg_at_10": 0.5, "recall_at_100": 0.75, "evaluation_time": 12.5}


def taken(tmp_path, name, value, folder="org__model/r1"):
    file = tmp_path / folder / f"{name}.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(value))
    return [read(stored) for stored in interchange.take_in(file, tmp_path / "results", TINY)]


def before(task, **splits):
    """A result as MTEB wrote it before 1.11."""
    return {"dataset_revision": "d5", "mteb_dataset_name": task, "mteb_version": "1.2.0", **splits}


def today(task, split="test", **scores):
    return {"dataset_revision": "d5", "task_name": task, "mteb_version": "2.26.24", "scores": {split: [scores]}}


def test_a_result_from_before_1_11_has_its_splits_at_the_top(tmp_path):
    (record,) = taken(tmp_path, "SciFact", before("SciFact", test=SPLIT, train={"ndcg_at_10": 0.9}))
    assert (record.dataset.name, record.value, record.mean("R@100")) == ("beir/scifact", 0.5, 0.75)
    assert (record.retriever.name, record.measures.version) == ("org/model", "1.2.0")
    assert record.dataset.source == "mteb SciFact@d5"


def test_a_result_from_before_1_11_may_have_subsets(tmp_path):
    value = before("LoTTE", test={"science_search": {"hit_rate_at_5": 0.4}, "science_forum": {"hit_rate_at_5": 0.6}})
    records = taken(tmp_path, "LoTTE", value)
    assert {record.dataset.name: record.value for record in records} == {
        "lotte/science/test/search": 0.4,
        "lotte/science/test/forum": 0.6,
    }


def test_a_model_without_a_folder_for_its_revision_is_named_by_its_own(tmp_path):
    (record,) = taken(tmp_path, "SciFact", before("SciFact", test=SPLIT), folder="results/org__model")
    assert record.retriever.name == "org/model"


@pytest.mark.parametrize(
    ("task", "split", "key", "dataset"),
    [
        ("Touche2020Retrieval.v3", "test", "ndcg_at_10", "beir/webis-touche2020/v3"),
        ("Touche2020", "test", "ndcg_at_10", "beir/webis-touche2020"),
        ("FiQADecontaminated", "test", "ndcg_at_10", "beir/fiqa/decontaminated"),
        ("MSMARCO", "dev", "ndcg_at_10", "beir/msmarco/dev"),
        ("NanoNQRetrieval", "train", "ndcg_at_10", "nanobeir/nq"),
        ("LIMITSmallRetrieval", "test", "recall_at_2", "limit/small"),
        ("CQADupstackRetrieval", "test", "ndcg_at_10", "beir/cqadupstack"),
    ],
)
def test_each_task_is_a_dataset_here(tmp_path, task, split, key, dataset):
    (record,) = taken(tmp_path, task, today(task, split, **{key: 0.25, "main_score": 0.25, "hf_subset": "default"}))
    assert (record.dataset.name, record.value) == (dataset, 0.25)
    assert mteb.task_of(dataset)[:3] == (task, "default", split)


def test_the_one_score_of_cqadupstack_is_a_record_that_every_command_takes(tmp_path):
    (record,) = taken(tmp_path, "CQADupstackRetrieval", today("CQADupstackRetrieval", ndcg_at_10=0.25))
    report = Report()
    assert not list(audit(tmp_path / "results", TINY, report)) and record.verification.level == "imported"
    done = board("build", "--results", tmp_path / "results", "--out", tmp_path / "site")
    assert done.returncode == 0, done.stderr


def test_a_score_that_is_missing_in_an_old_result_is_one_line(tmp_path):
    with pytest.raises(CorruptFileError, match="beir/scifact is measured by nDCG@10, and the file has MRR@10"):
        taken(tmp_path, "SciFact", before("SciFact", test={"mrr_at_10": 0.5}))
    with pytest.raises(MismatchError, match="task SciFact is not a dataset known here"):
        taken(tmp_path, "None", before("SciFact"), folder="other__model/r1")


def test_revisions_are_those_of_mteb():
    """Of mteb 2.26.24; an export that names another is of other data to it."""
    assert mteb.task_of("beir/scifact").revision == "d56462d0e63a25450459c4f213e49ffdb866f7f9"
    assert mteb.task_of("beir/cqadupstack/android").revision == "9be4c0e46342e8e3aff577a89b9a1ec9bc6b4af3"
    assert catalogue.release("beir/cqadupstack/android").hub.repo == "mteb/CQADupstackAndroidRetrieval"


RELEASE = {"documents": 1_694_164, "queries": 617, "judged_queries": 617, "judgments": 1_738}


@pytest.mark.parametrize(
    ("family", "types"),
    [
        ("lexical", ["sparse"]),
        ("learned-sparse", ["sparse"]),
        ("dense", ["dense"]),
        ("late-interaction", ["late-interaction"]),
        ("cross-encoder", ["cross-encoder"]),
        ("interaction", ["cross-encoder"]),
        ("hybrid", ["hybrid"]),
        ("something of my own", None),
    ],
)
def test_a_family_is_one_of_the_types_that_mteb_takes(tmp_path, family, types):
    path = make(tmp_path / "mine")

    def changed(old):
        retriever = {**old.retriever, "family": family}
        return replace(old, dataset={**old.dataset, "counts": RELEASE}, retriever=retriever)

    rewrite(path, changed)
    (file,) = interchange.export([path], "mteb", tmp_path / "out")
    meta = json.loads(file.with_name("model_meta.json").read_text())
    assert meta.get("model_type") == types


def test_mteb_itself_takes_what_is_known_of_a_model(tmp_path):
    model_meta = pytest.importorskip("mteb.models.model_meta", reason="mteb is not installed here")
    path = make(tmp_path / "mine")
    rewrite(path, lambda old: replace(old, dataset={**old.dataset, "counts": RELEASE}))
    (file,) = interchange.export([path], "mteb", tmp_path / "out")
    found = model_meta.ModelMeta.model_validate_json_resolved(file.with_name("model_meta.json").read_text())
    assert found.model_type == ["sparse"]
