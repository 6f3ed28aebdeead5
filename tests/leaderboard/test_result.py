"""A result survives the disk as it was, and a file that is not what was written is refused by name."""

import json

import pytest
from places import HOUSE

from leaderboard.record.read import read
from leaderboard.record.schema import Record, identity, parse
from lotte import artifact
from lotte.errors import CorruptFileError, MismatchError, UnavailableError

RESULT = Record.of(
    created="2026-11-21T08:00:00+00:00",
    retriever={"name": "bm25", "family": "lexical", "options": {"k1": 0.9}},
    dataset={"name": "lotte/science/test/forum", "source": "local", "counts": {}},
    measures={
        "official": "Success@5",
        "aggregate": {"Success@5": {"value": 0.5, "ci95": [0.0, 1.0]}},
        "per_query": {"Success@5": {"0": 1.0, "1": 0.0}},
    },
    run={"file": "forum.trec", "sha256": "0" * 64, "depth": 10, "ties": "score"},
    cost={"index_bytes": 1_204_775},
    platform={"cpu": "AMD EPYC 9534", "cores": 16},
    implementation={"command": "lotte eval", "commit": None, "dirty": None, "seeds": []},
    contamination=[{"dataset": "lotte/science/test/forum", "level": "none", "evidence": "not trained: \u00e9"}],
    verification={"level": "self-run"},
)


def test_round_trip(tmp_path):
    path = RESULT.write(tmp_path / "bm25" / "lotte/science/test/forum.json")
    assert read(path) == RESULT
    assert RESULT.value == 0.5


def test_the_file_has_sorted_keys_a_schema_and_an_id_of_all_the_rest(tmp_path):
    text = RESULT.write(tmp_path / "r.json").read_text(encoding="utf-8")
    record = json.loads(text)
    assert text == json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert record["schema"] == "lotte-result/1"
    assert record.pop("id") == artifact.digest(record)
    assert record.keys() == {
        "schema", "created", "retriever", "dataset", "measures", "run", "cost", "platform", "implementation",
        "contamination", "verification",
    }  # fmt: skip


def changed(path, **fields):
    record = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        (
            {"schema": "lotte-result/9"},
            MismatchError,
            " has schema 'lotte-result/9', this is 'lotte-result/1'. Run `lotte eval` again, "
            "or read it with the commit it names.",
        ),
        ({"run": None}, CorruptFileError, ": 'run': missing, or not of lotte-result/1; run `lotte eval` again"),
        ({"extra": 1}, CorruptFileError, ": 'extra': missing, or not of lotte-result/1; run `lotte eval` again"),
        (
            {"cost": {"index_bytes": float("nan")}},
            CorruptFileError,
            ": a number in it is not finite; run `lotte eval` again",
        ),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, fields, kind, message):
    path = RESULT.write(tmp_path / "r.json")
    changed(path, **fields)
    with pytest.raises(kind) as raised:
        read(path)
    assert str(raised.value) == f"{path}{message}"


def test_a_number_changed_by_hand_is_noticed(tmp_path):
    path = RESULT.write(tmp_path / "r.json")
    path.write_text(path.read_text().replace('"value": 0.5', '"value": 0.6'))
    with pytest.raises(CorruptFileError, match="was changed after it was written: it says id '"):
        read(path)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not JSON"), ("[]", "has schema None"), ('{"schema": []}', "schema")]
)
def test_a_file_of_something_else(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises((CorruptFileError, MismatchError), match=message):
        read(tmp_path / "r.json")
    with pytest.raises(UnavailableError, match=r"nowhere is not there; `lotte eval` makes it"):
        read(tmp_path / "nowhere")


def test_nan_is_in_no_record():
    with pytest.raises(CorruptFileError, match=r"^the record: a value in it is neither a number nor a text, and cannot be kept$"):
        RESULT.changed(cost={"seconds": float("nan")})


@pytest.mark.parametrize("file", sorted(HOUSE.glob("results/**/*.json")), ids=lambda file: str(file.relative_to(HOUSE)))
def test_a_record_of_an_older_commit_is_read_and_written_as_it_is(file):
    record = read(file)
    assert record.text().encode() == file.read_bytes() and record.id == json.loads(file.read_bytes())["id"]


def test_what_this_version_has_no_name_for_stays(tmp_path):
    further = {"licence_of_weights": "mit", "layers": [1, {"x": None}]}
    record = RESULT.changed(retriever={**RESULT.content["retriever"], **further}, cost={"joules": 3})
    again = read(record.changed(created="2026-11-22").write(tmp_path / "r.json"))
    assert again.content["retriever"] == {**RESULT.content["retriever"], **further}
    assert again.content["cost"] == {"joules": 3}


def test_what_is_missing_is_not_written_as_null(tmp_path):
    assert json.loads(RESULT.write(tmp_path / "r.json").read_text())["platform"] == RESULT.content["platform"]


def test_a_figure_that_pages_show_may_be_anything_and_then_is_unknown():
    record = RESULT.changed(cost={"index_bytes": "many", "latency_ms": 3}, implementation={"commit": ["a"]})
    assert record.cost.index_bytes is record.cost.latency_ms.p50 is record.implementation.commit is None
    assert record.content["cost"] == {"index_bytes": "many", "latency_ms": 3}


@pytest.mark.parametrize(
    ("section", "fields", "problem"),
    [
        ("retriever", {"name": 3}, "retriever.name: wanted a text, found 3"),
        ("retriever", {"options": []}, "retriever.options: wanted an object, found []"),
        ("retriever", {"model": {"sha256": True}}, "retriever.model.sha256: wanted a text, found True"),
        ("dataset", {"counts": {"queries": -1}}, "dataset.counts.queries: wanted a whole number, found -1"),
        ("dataset", {"counts": {"queries": True}}, "dataset.counts.queries: wanted a whole number, found True"),
        ("dataset", {"qrels_sha256": 7}, "dataset.qrels_sha256: wanted a text, found 7"),
        ("measures", {"aggregate": {"AP": {"value": 0.5}}, "per_query": {}}, "measures.aggregate: wanted Success@5, which is official, found AP"),
        ("measures", {"per_query": {"AP": {}}}, "measures.per_query.AP: values without a mean"),
        ("measures", {"per_query": {"Success@5": {"0": None}}}, "measures.per_query.Success@5.0: wanted a number, found None"),
        ("measures", {"per_query": {"Success@5": {"a\nb": "1"}}}, "measures.per_query.Success@5.'a\\nb': wanted a number, found '1'"),
        ("measures", {"aggregate": {"Success@5": {"value": 10**400}}}, "measures.aggregate.Success@5.value: wanted a number, found 1" + "0" * 59 + "..."),
        ("measures", {"aggregate": {"Success@5": {"value": 1, "ci95": [1, 0]}}}, "measures.aggregate.Success@5.ci95: wanted two numbers, the lower one first, found [1, 0]"),
        ("run", {"depth": 1.5}, "run.depth: wanted a whole number, found 1.5"),
        ("platform", {"gpu": "one"}, "platform.gpu: wanted a list, found 'one'"),
        ("verification", {"level": None}, "verification.level: wanted a text, found None"),
    ],
)  # fmt: skip
def test_a_field_of_another_kind_is_named_with_what_was_wanted(section, fields, problem):
    content = {**RESULT.content, section: {**RESULT.content[section], **fields}}
    assert parse({**content, "id": identity(content)}) == [problem]


def test_every_field_that_is_wrong_has_a_line_and_a_reader_says_the_first_and_how_many(tmp_path):
    content = {**RESULT.content, "run": [], "platform": None, "contamination": {}}
    (tmp_path / "r.json").write_text(json.dumps({**content, "id": identity(content)}))
    with pytest.raises(CorruptFileError) as raised:
        read(tmp_path / "r.json")
    assert str(raised.value) == f"{tmp_path / 'r.json'}: run: wanted an object, found [] (and 2 more); run `lotte eval` again"
