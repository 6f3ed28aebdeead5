"""`lotte doctor`: what a command needs, what is here, and the command that gets the rest."""

import json
from pathlib import Path

import pytest
from command import error, lotte
from places import TINY

from leaderboard import doctor
from leaderboard.cli import app
from lotte.extras import EXTRAS
from retrievers import load, names


def found(*args, **more):
    return {finding.what: finding for finding in doctor.look(*args, **more)}


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    from lotte.collection import Collection

    path = tmp_path_factory.mktemp("doctor") / "index"
    load("bm25").index(Collection(TINY / "science" / "test" / "collection.tsv"), path)
    return path


def without(monkeypatch, *packages):
    real = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in packages else real(name))


def test_what_a_retriever_lacks_is_missing_with_the_command_that_gets_it(monkeypatch):
    without(monkeypatch, "numba")
    finding = found("index", retriever="colbertv2")["extra colbert"]
    assert (finding.state, finding.found, finding.do) == ("missing", "numba not installed", "pip install 'lotte-bench[colbert]'")


def test_what_only_a_part_of_a_command_needs_is_a_note(monkeypatch):
    without(monkeypatch, "lancedb")
    assert found("export")["extra lancedb"].state == "note"


def test_a_command_that_needs_no_extra_has_no_line_on_any(monkeypatch):
    without(monkeypatch, *EXTRAS)
    assert not [what for what in found("index", retriever="bm25") if what.startswith("extra")]


def test_an_index_that_opens_is_fine(index):
    finding = found("search", folders=[index])[f"index {index}"]
    assert (finding.state, finding.found) == ("ok", "by bm25, 4 documents, format 1")


def test_an_index_of_an_older_format_comes_with_the_command_that_makes_it_again(index, tmp_path):
    meta = json.loads((index / "meta.json").read_text()) | {"format": 0}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    finding = found("search", folders=[tmp_path])[f"index {tmp_path}"]
    assert finding.state == "missing" and finding.found.startswith(f"{tmp_path} has format 0, this is 1.")
    assert finding.do == f"lotte index --retriever bm25 {meta['corpus']['path']} --out {tmp_path}"


def test_missing_things_end_with_one_line_and_exit_1(tmp_path):
    assert error("doctor", "search", tmp_path) == "1 of the lines above are missing for `lotte search`; what to do stands in each"


def test_nothing_missing_is_exit_0_and_json_a_line(index):
    done = lotte("doctor", "search", index, "--json")
    assert done.returncode == 0, done.stderr
    assert {"python", "disk", f"index {index}"} <= {json.loads(line)["what"] for line in done.stdout.splitlines()}


def test_a_command_that_is_none_is_one_line():
    assert error("doctor", "serch").startswith("no command is named 'serch'; did you mean 'search'? there are board, build")


def test_every_command_and_retriever_is_known_to_the_doctor():
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    groups = {group.name for group in app.registered_groups}
    assert commands | groups == doctor.COMMANDS.keys() | {"doctor"}
    assert doctor.RETRIEVERS.keys() <= set(names())
