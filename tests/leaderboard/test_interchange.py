"""What goes out is what the other tool reads; what comes in is marked, and is never taken for ours."""

import json
import subprocess
import sys

import pytest
import yaml
from board import board
from places import TINY
from records import NAME, make, replace, rewrite

from leaderboard import interchange, mteb
from leaderboard.record.audit import Report, audit
from leaderboard.record.read import read
from lotte.errors import CorruptFileError, LotteError, MismatchError

RELEASE = {"documents": 1_694_164, "queries": 617, "judged_queries": 617, "judgments": 1_738}


@pytest.fixture
def record(tmp_path):
    return make(tmp_path / "mine")


def released(record):
    """As if it were of the published data."""
    rewrite(record, lambda old: replace(old, dataset={**old.dataset, "counts": RELEASE}))
    return record


def test_a_run_carries_its_record_as_yaml_and_is_the_same_run(tmp_path, record):
    (file,) = interchange.export([record], "ir_metadata", tmp_path / "out")
    assert file == tmp_path / "out" / "overlap" / f"{NAME}.trec"
    text = file.read_text()
    head, end, body = text.partition("# ir_metadata.end\n")
    assert body == record.with_suffix(".trec").read_text() and end
    first, *lines = head.splitlines()
    assert first == "# ir_metadata.start" and all(line.startswith("# ") for line in lines)
    said = yaml.safe_load("\n".join(line.strip("#") for line in lines))
    assert {"platform", "research goal", "implementation", "method", "data"} <= said.keys()
    assert said == interchange.metadata(read(record)) == interchange.header(file)
    assert said["data"]["test collection"]["name"] == NAME
    assert said["method"]["retrieval"][0]["params"] == {"lowercase": True}
    assert None not in json.loads(json.dumps(said)).values()


def test_values_by_query_have_the_mean_under_all(tmp_path, record):
    (file,) = interchange.export([tmp_path / "mine"], "tira", tmp_path / "out")
    rows = [line.split("\t") for line in file.read_text().splitlines()]
    assert ["overlap", "0", "Success@5", "1.000000"] in rows and ["overlap", "all", "Success@5", "0.666667"] in rows
    assert len(rows) == 4 * (3 + 1)


def test_mteb_gets_a_result_of_the_task_with_its_subset(tmp_path, record):
    released(record)
    (file,) = interchange.export([record], "mteb", tmp_path / "out")
    assert file.parent.parent == tmp_path / "out" / "lotte-bench__overlap" and file.name == "LoTTE.json"
    found = json.loads(file.read_text())
    assert list(found) == [
        "dataset_revision", "task_name", "mteb_version", "scores", "evaluation_time", "kg_co2_emissions", "date", "evaluation_phases",
    ]  # fmt: skip
    assert found["task_name"] == "LoTTE" and found["mteb_version"] is None
    (entry,) = found["scores"]["test"]
    assert entry == {
        "hit_rate_at_5": 0.666667, "ndcg_at_10": entry["ndcg_at_10"], "mrr_at_10": 0.666667, "recall_at_100": entry["recall_at_100"],
        "main_score": 0.666667, "hf_subset": "science_search", "languages": ["eng-Latn"],
    }  # fmt: skip
    assert json.loads(file.with_name("model_meta.json").read_text())["name"] == "lotte-bench/overlap"


def test_other_data_than_the_tasks_go_nowhere(tmp_path, record):
    with pytest.raises(MismatchError, match="has other data than MTEB's LoTTE: documents: 4, published 1,694,164"):
        list(interchange.export([record], "mteb", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_tasks_are_named_as_mteb_names_them():
    assert mteb.task_of("beir/webis-touche2020").name == "Touche2020"
    assert mteb.task_of("beir/cqadupstack/gis").name == "CQADupstackGisRetrieval"
    assert mteb.task_of("beir/scifact")[:3] == ("SciFact", "default", "test")
    assert mteb.task_of("lotte/pooled/test/search") is None and mteb.task_of("openqa/nq") is None


def test_mtebs_result_comes_in_marked_and_without_a_run(tmp_path, record):
    released(record)
    (file,) = interchange.export([record], "mteb", tmp_path / "out")
    file.with_name("model_meta.json").write_text('{"name": "org/model", "revision": "r1", "n_parameters": 33}')
    (stored,) = interchange.take_in(file, tmp_path / "results", TINY, by="me")
    assert stored == tmp_path / "results" / "org__model" / f"{NAME}.json"
    result = read(stored)
    assert result.verification.level == "imported" and result.run.file is None
    assert result.mean("Success@5") == 0.666667 and result.measures.per_query == {}
    assert result.verification.log[0]["by"] == "me"
    report = Report()
    assert not list(audit(tmp_path / "results", TINY, report))
    assert report.lines() == [
        "1 records: 1 without a problem, 0 with; 0 scored again from their runs",
        "1 not scored again: their scores were imported without a run",
    ]
    with pytest.raises(MismatchError, match="already exists"):
        list(interchange.take_in(file, tmp_path / "results", TINY))
    done = board("compare", stored, record)
    assert done.returncode == 1 and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("{", CorruptFileError, "not JSON"),
        ("[1]", CorruptFileError, "expected a JSON object"),
        ('{"a": 1}', CorruptFileError, "not an MTEB result: expected task_name and scores, found a; if it is a run, name its dataset with --dataset"),
        ('{"task_name": "LoTTE", "scores": {"test": 3}}', CorruptFileError, "scores.test is not a list of objects"),
        ('{"task_name": "Banking77", "scores": {"test": [{"hf_subset": "default"}]}}', MismatchError, "task Banking77 is not a dataset known here"),
        ('{"task_name": "LoTTE", "scores": {"test": [{"hf_subset": "science_search", "hit_rate_at_5": NaN}]}}', CorruptFileError, "is nan, and a measure is a share"),
        ('{"task_name": "LoTTE", "scores": {"test": [{"hf_subset": "science_search", "ndcg_at_10": 0.5}]}}', CorruptFileError, "is measured by Success@5, and the file has nDCG@10"),
    ],
)  # fmt: skip
def test_a_bad_result_of_mteb_is_a_line(tmp_path, text, kind, message):
    file = tmp_path / "T.json"
    file.write_text(text)
    with pytest.raises(kind, match=message):
        list(interchange.take_in(file, tmp_path / "results", TINY))
    assert not (tmp_path / "results").exists()


HEADER = """# ir_metadata.start
# schema-version: 0.1
# tag: axiom
# method:
#   automatic: true
#   retrieval:
#   - name: bm25
#     method: BM25Similarity
#     b: 0.4
# ir_metadata.end
"""


def test_a_run_with_somebodys_header_comes_in_scored_and_marked(tmp_path, record):
    file = tmp_path / "theirs.trec"
    file.write_text(HEADER + record.with_suffix(".trec").read_text())
    (stored,) = interchange.take_in(file, tmp_path / "results", TINY, dataset=NAME, by="me")
    assert stored == tmp_path / "results" / "axiom" / f"{NAME}.json"
    result = read(stored)
    assert result.verification.level == "imported" and result.value == pytest.approx(2 / 3)
    assert result.retriever.options == {"b": 0.4} and result.retriever.family == "BM25Similarity"
    assert result.run.origin["file"] == "theirs.trec" and result.content["platform"] == {}
    report = Report()
    assert not list(audit(tmp_path / "results", TINY, report)) and report.rescored == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# ir_metadata.start\n# tag: x\n0 Q0 3 1 2.0 t\n", "has no ir_metadata.end"),
        ("# ir_metadata.start\n# a: [\n# ir_metadata.end\n0 Q0 3 1 2.0 t\n", "its header is not YAML"),
        ("# ir_metadata.start\n# - a\n# ir_metadata.end\n0 Q0 3 1 2.0 t\n", "its header is list"),
        ("# ir_metadata.start\n# tag: ../../x\n# ir_metadata.end\n0 Q0 3 1 2.0 t\n", "which cannot be a name here; give one with --system"),
        ("0 Q0 3 1 nan t\n", "r.trec:1: score 'nan' is not a finite float32"),
        ("# ir_metadata.start\n# tag: x\n# ir_metadata.end\n0 Q0 3 1 nan t\n", r"/r.trec:4: score 'nan' is not a finite"),
        ("# ir_metadata.start\n# tag: x\n# ir_metadata.end\n0 3 2\n", r"/r.trec:4: found rank '2'"),
        ("# ir_metadata.start\n# tag: x\n# ir_metadata.end\n", r"/r.trec:4: found 0 columns"),
    ],
)  # fmt: skip
def test_a_bad_run_leaves_nothing(tmp_path, text, message):
    file = tmp_path / "r.trec"
    file.write_text(text)
    with pytest.raises(LotteError, match=message):
        list(interchange.take_in(file, tmp_path / "results", TINY, dataset=NAME))
    assert not (tmp_path / "results").exists()


def test_yaml_of_strangers_makes_no_objects(tmp_path):
    file = tmp_path / "r.trec"
    file.write_text(
        "# ir_metadata.start\n# a: !!python/object/apply:os.system ['true']\n# ir_metadata.end\n0 Q0 3 1 1 t\n"
    )
    with pytest.raises(CorruptFileError, match="its header is not YAML"):
        interchange.header(file)


@pytest.mark.parametrize("header", ['# "a": 1\n# "a": 2\n', "# a: 1\n# b: {c: 2, c: 3}\n"])
def test_a_header_that_names_a_key_twice_is_refused(tmp_path, header):
    file = tmp_path / "r.trec"
    file.write_text(f"# ir_metadata.start\n{header}# ir_metadata.end\n0 Q0 3 1 1 t\n")
    with pytest.raises(CorruptFileError, match=r"its header is not YAML \(the key '[ac]' occurs twice\)"):
        interchange.header(file)


def test_the_commands_as_they_are_typed(tmp_path, record):
    done = board("export", record, "--format", "tira", "--out", "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"out/overlap/{NAME}.tsv\n")
    run = record.with_suffix(".trec")
    done = board("import", run, cwd=tmp_path, home=TINY)
    assert done.stderr == f"error: {run} is a run, which does not name its dataset: give --dataset\n"
    done = board("import", run, "--dataset", NAME, "--system", "theirs", "--by", "me", cwd=tmp_path, home=TINY)
    assert (done.returncode, done.stdout) == (0, f"results/theirs/{NAME}.json\n"), done.stderr
    done = board("compare", f"results/theirs/{NAME}.json", record, "--measure", "MRR@10", "--json", cwd=tmp_path)
    assert done.stderr == "imported, so of another tool: theirs\n"
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["kind"] for row in rows] == ["standing", "standing", "pair"]
    assert rows[-1]["difference"] == 0 and rows[-1]["p"] == 1 and rows[0]["rank"] == rows[1]["rank"] == 1


def test_mteb_itself_reads_what_we_write(tmp_path, record):
    pytest.importorskip("mteb", reason="mteb is not installed here")
    released(record)
    (file,) = interchange.export([record], "mteb", tmp_path / "out")
    code = f"from mteb.results import TaskResult; print(TaskResult.from_disk(__import__('pathlib').Path({str(file)!r})).task_name)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "LoTTE\n"
