"""docs/peers.md has the rows of tests/peers/run.py, and the cheapest peer agrees wherever the tests run."""

import sys

import pytest
from places import HOUSE, TESTS

NAMES = ("run", "peer", "ours", "measures", "lexical", "vectors")


@pytest.fixture
def run(monkeypatch):
    """The script, as Python finds it beside its other files."""
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(TESTS / "peers"))
    import run

    yield run
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def page() -> str:
    return (HOUSE / "docs" / "peers.md").read_text(encoding="utf-8")


def test_the_page_has_the_rows_of_the_script(run, page):
    wanted = [
        (f"{peer.name} {peer.version}", task.name, task.compared) for peer in run.PEERS.values() for task in peer.tasks
    ]
    assert [row.key for row in run.table(page)] == wanted


def test_a_page_of_which_nothing_is_measured_again_stays_as_it_is(run, page):
    assert run.written(page, run.rows({}, page, "left out")) == page


def test_a_row_of_another_version_says_that_it_was_not_run(run, page):
    (first, *_), older = (
        run.rows({}, page.replace("ranx 0.3.21 | measures", "ranx 0.3.20 | measures"), "left out")[2:],
        run.table(page)[2],
    )
    assert (first.key, first.figure, first.agrees) == (older.key, "", "not run: left out")


def test_a_peer_that_cannot_be_installed_says_so_in_each_of_its_rows(run, monkeypatch, tmp_path):
    def fails(peer, work):
        raise RuntimeError("it cannot be installed: no such | version")

    monkeypatch.setattr(run, "environment", fails)
    monkeypatch.setattr(run.ours, "ready", lambda work, part: tmp_path)
    rows = run.ask(run.PEERS["ranx"], tmp_path)
    assert {(row.figure, row.agrees) for row in rows} == {("", "not run: it cannot be installed: no such / version")}
    assert [row.task for row in rows] == ["measures", "fusion"]


def test_a_task_that_fails_leaves_the_next_one(run, capsys):
    def fails(given):
        raise ValueError("two\nlines")

    def agrees(given):
        return run.measures.Answer("1 value", True)

    run.answer(
        run.Peer("p", ("p==1",), "runs", (run.measures.Task("a", "", fails), run.measures.Task("b", "", agrees))), TESTS
    )
    first, second = [line for line in capsys.readouterr().out.splitlines() if line]
    assert first == '{"figure": "", "agrees": "not run: ValueError: two lines", "task": "a"}'
    assert second == '{"figure": "1 value", "agrees": "yes", "task": "b"}'


def test_pytrec_eval_has_the_values_of_our_records(run, tmp_path):
    pytest.importorskip("pytrec_eval", reason="is a dependency")
    answer = run.measures.pytrec_eval(run.ours.ready(tmp_path, "runs"))
    assert answer == ("1,224 values, at most 0 apart", True, "")
