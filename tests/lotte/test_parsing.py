"""JSON that two programs would read differently, or that none can, is one line."""

import json

import pytest

from lotte.errors import CorruptFileError
from lotte.jsonl import objects
from lotte.parsing import json_of


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"qid": 0, "answer_pids": [1], "answer_pids": [2]}', "the key 'answer_pids' occurs twice"),
        ('{"a": {"b": 1, "c": 2, "b": 1}}', "the key 'b' occurs twice"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5_000, "digits"),
        (b"\xff{}", "decode"),
    ],
)
def test_what_is_no_value_is_one_line(text, why):
    with pytest.raises(CorruptFileError, match=why) as caught:
        json_of(text, "set.jsonl:3")
    assert str(caught.value).startswith("set.jsonl:3: not JSON (") and "\n" not in str(caught.value)


def test_a_value_is_what_json_says():
    value = {"text": "caf\u00e9 \U0001f600", "list": [1, 2.5, None, True], "inner": {"text": "x"}}
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False).encode(), json.dumps(value).encode("utf-16")):
        assert json_of(text, "here") == value


def test_a_key_that_stands_twice_in_a_line_is_named_with_its_line(tmp_path):
    path = tmp_path / "queries.jsonl"
    path.write_text('{"_id": "a", "text": "one"}\n{"_id": "b", "text": "two", "_id": "c"}\n')
    with pytest.raises(CorruptFileError, match=rf"^{path}:2: not JSON \(the key '_id' occurs twice\)"):
        list(objects(path))
