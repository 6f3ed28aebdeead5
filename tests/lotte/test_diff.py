"""A build is held against its manifest, and against another build."""

import json
import shutil
from pathlib import Path

import pytest
from command import error, lotte
from places import DUMPS, GOOAQ, SPEC


def build(out: Path, *more: object, dumps: Path = DUMPS) -> Path:
    done = lotte("build", "--dumps", dumps, "--gooaq", GOOAQ, "--spec", SPEC, "--out", out, "--workers", 1, *more)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("built") / "out")


@pytest.fixture
def copy(built, tmp_path) -> Path:
    return shutil.copytree(built, tmp_path / "copy")


def test_a_whole_build_is_as_its_manifest_says(built):
    done = lotte("check", built)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{built}: 42 files, all as the manifest says\n"


def test_every_difference_is_a_line_and_the_exit_is_1(copy):
    (copy / "science" / "test" / "qas.forum.jsonl").unlink()
    with (copy / "lifestyle" / "dev" / "collection.tsv").open("a") as file:
        file.write("x")
    (copy / "notes.txt").write_text("mine")
    done = lotte("check", copy)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("changed\tlifestyle/dev/collection.tsv\tsha256 ")
    assert lines[1:] == ["missing\tscience/test/qas.forum.jsonl", "extra\tnotes.txt"]
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: {copy} is not what was written: 3 differences, listed above. Build it again."
    )


def test_a_folder_without_a_manifest_is_no_build(tmp_path, copy):
    assert error("check", tmp_path) == (
        f"{tmp_path} has no manifest.json, so it is not a complete build. Run the `lotte build` that began it once more."
    )
    (copy / "manifest.json").write_text("{")
    assert error("check", copy).startswith(f"{copy}/manifest.json cannot be read")
    (copy / "manifest.json").write_text('{"format": "lotte-build/9"}')
    assert "has format 'lotte-build/9', this is 'lotte-build/1'" in error("check", copy)


def rows(first: Path, second: Path) -> dict[tuple[str, str, str], tuple[int, ...]]:
    done = lotte("check", first, second, "--json")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        (row["part"], row["site"].partition(".")[0], row["what"]): (
            row["same"],
            row["lost"],
            row["added"],
            row["changed"],
        )
        for row in found
    }


def test_a_build_beside_itself_has_lost_nothing(built):
    assert all(row[1:] == (0, 0, 0) for row in rows(built, built).values())


def test_what_an_edit_a_new_answer_and_a_new_score_change_is_told_by_community(built, tmp_path):
    dumps = shutil.copytree(DUMPS, tmp_path / "dumps")
    posts = dumps / "baking.stackexchange.example" / "Posts.xml"
    text = posts.read_bytes().decode()
    import re

    answers = [
        row for row in re.findall("<row [^<]*? />", text) if 'PostTypeId="2"' in row and re.search('Score="[1-9]', row)
    ]
    edited, sunk = answers[0], answers[5]
    text = text.replace(edited, edited.replace("&lt;p&gt;", "&lt;p&gt;Edited. ", 1))
    text = text.replace(sunk, re.sub('Score="[0-9]+"', 'Score="-3"', sunk))
    new = re.sub('Id="[0-9]+"', 'Id="7777"', answers[8], count=1)
    text = text.replace("</posts>", f"  {new}\r\n</posts>")
    posts.write_bytes(text.encode())
    other = build(tmp_path / "other", dumps=dumps)
    found = rows(built, other)
    for part in ("lifestyle/dev", "pooled/dev"):
        assert found[part, "baking", "passages"] == (71, 1, 1, 1)
    assert found["science/test", "stargazing", "passages"] == (75, 0, 0, 0)
    back = rows(other, built)
    assert back["lifestyle/dev", "baking", "passages"] == (71, 1, 1, 1)


def test_another_seed_changes_search_questions_only(built, tmp_path):
    found = rows(built, build(tmp_path / "other", "--seed", 3))
    changed = {what for (_, _, what), row in found.items() if row[1:] != (0, 0, 0)}
    assert changed <= {"search questions", "search answers"}


def test_a_topic_that_one_of_them_lacks_is_lost_as_a_whole(built, tmp_path):
    found = rows(built, build(tmp_path / "other", "--topic", "science"))
    assert found["technology/test", "homelab", "passages"] == (0, 74, 0, 0)


def test_a_release_without_attribution_is_compared_by_text(built, copy):
    for path in copy.rglob("attribution.parquet"):
        path.unlink()
    found = rows(built, copy)
    assert found["science/test", "?", "passages"] == (75, 0, 0, 0)
    assert all(row[1:] == (0, 0, 0) for row in found.values())


def test_an_answer_that_is_no_passage_is_one_line(built, copy):
    path = copy / "science" / "test" / "qas.forum.jsonl"
    path.write_text('{"qid": 0, "query": "x", "answer_pids": [75]}\n')
    assert error("check", built, copy) == (
        f"{path}:1: expected query and answer_pids of passages that are there, "
        "found {'qid': 0, 'query': 'x', 'answer_pids': [75]}"
    )
    assert error("describe", copy / "science" / "test") == (
        f"{path}: a line lacks query or answer_pids, or names a passage that does not exist"
    )


def test_a_folder_that_is_no_collection_is_one_line(built, tmp_path):
    assert error("check", built, tmp_path) == (
        f"{tmp_path} holds no collection.tsv, and no <topic>/<split>/collection.tsv"
    )
