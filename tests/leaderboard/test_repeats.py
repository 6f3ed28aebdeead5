"""Two records of one system are not two systems: what differs is said to be the machine's, or the code's."""

import pytest
from board import board
from records import make

from leaderboard import compare_rows
from leaderboard.record.read import read

QUERY = "0"


def measured(record, *, value=None, retriever=None, **platform):
    """Change where a record was measured, and the value of one query."""
    old = read(record).content
    measures = {**old["measures"], "per_query": {k: dict(v) for k, v in old["measures"]["per_query"].items()}}
    official = measures["official"]
    if value is not None:
        values = measures["per_query"][official]
        values[QUERY] = value
        mean = {**measures["aggregate"][official], "value": sum(values.values()) / len(values)}
        measures["aggregate"] = {**measures["aggregate"], official: mean}
    commit = platform.pop("commit", old["implementation"]["commit"])
    return read(record).changed(
        measures=measures, platform={**old["platform"], **platform}, retriever={**old["retriever"], **(retriever or {})},
        implementation={**old["implementation"], "commit": commit},
    ).write(record)  # fmt: skip


@pytest.fixture
def here(tmp_path):
    return measured(make(tmp_path / "here"), cpu="first", value=1.0)


@pytest.fixture
def there(tmp_path):
    return measured(make(tmp_path / "there"), cpu="second", value=0.0)


def test_two_machines_are_one_system_and_the_queries_that_differ_are_counted(here, there):
    (found,) = compare_rows.compare([here, there])
    assert found.pairs == () and [one["system"] for one in found.standings] == ["overlap"]
    (row,) = found.repeats
    assert (row["differ"], row["largest"], row["other"]) == (1, 1.0, "cpu: first | second")
    assert "what differs is noise of the machine, and no difference between systems. 1 of" in found.talk[-1]


def test_the_command_says_so(here, there):
    done = board("compare", here, there)
    assert done.returncode == 0 and "noise of the machine" in done.stderr
    assert "p_holm" not in done.stdout and "cpu: first | second" in done.stdout


def test_folders_of_two_machines_are_one_system_beside_another(tmp_path, here, there):
    make(tmp_path / "other", "rival")
    folders = [tmp_path / "here/overlap", tmp_path / "there/overlap", tmp_path / "other/rival"]
    (found,) = compare_rows.compare(folders)
    assert [(one["a"], one["b"]) for one in found.pairs] == [(str(folders[0]), str(folders[2]))]
    assert len(found.repeats) == 1


def test_other_code_is_said_and_not_taken_for_the_machine(here, there):
    measured(there, commit="f" * 40)
    (found,) = compare_rows.compare([here, there])
    assert "on other machines and by other code" in found.talk[-1]


def test_other_settings_are_another_system(here, there):
    measured(there, retriever={"options": {"lowercase": False}})
    (found,) = compare_rows.compare([here, there])
    assert len(found.pairs) == 1 and not found.repeats


def test_where_it_ran_is_no_setting(here, there):
    options = read(here).retriever.options
    measured(there, retriever={"options": {**options, "device": "cuda", "threads": 4}})
    assert len(compare_rows.compare([here, there])[0].repeats) == 1


