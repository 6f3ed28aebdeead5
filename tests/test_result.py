"""A result survives the disk as it was, and a file that is not what was written is refused by name."""

import json

import pytest

from leaderboard import result as results
from leaderboard.result import Result
from lotte import artifact
from lotte.errors import CorruptFileError, MismatchError, UnavailableError

RESULT = Result(
    created="2026-11-21T08:00:00+00:00",
    retriever={"name": "bm25", "family": "lexical", "options": {"k1": 0.9}},
    dataset={"name": "lotte/science/test/forum", "source": "local"},
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
    assert results.read(path) == RESULT
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
        ({"run": None}, CorruptFileError, ": 'run': missing, or not of lotte-result/1"),
        ({"extra": 1}, CorruptFileError, ": 'extra': missing, or not of lotte-result/1"),
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
        results.read(path)
    assert str(raised.value) == f"{path}{message}"


def test_a_number_changed_by_hand_is_noticed(tmp_path):
    path = RESULT.write(tmp_path / "r.json")
    path.write_text(path.read_text().replace('"value": 0.5', '"value": 0.6'))
    with pytest.raises(CorruptFileError, match="was changed after it was written: it says id '"):
        results.read(path)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "no JSON"), ("[]", "has schema None"), ('{"schema": []}', "schema")]
)
def test_a_file_of_something_else(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises((CorruptFileError, MismatchError), match=message):
        results.read(tmp_path / "r.json")
    with pytest.raises(UnavailableError, match=r"nowhere is not there; `lotte eval` makes it"):
        results.read(tmp_path / "nowhere")


def test_nan_is_not_written(tmp_path):
    from dataclasses import replace

    with pytest.raises(ValueError):
        replace(RESULT, cost={"seconds": float("nan")}).write(tmp_path / "r.json")
    assert not list(tmp_path.iterdir())
