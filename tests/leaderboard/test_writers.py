"""Records are never lost: two writers wait for each other, a kill leaves a record with its own run or none."""

import fcntl
import os
from pathlib import Path

import pytest
from places import TINY
from records import NAME, make

from leaderboard import interchange
from leaderboard.evaluate import Order, evaluate
from leaderboard.record import submit
from leaderboard.record.loaded_dataset import LoadedDataset
from leaderboard.record.read import read
from leaderboard.record.verify import inspect
from lotte import lock
from lotte.benchmarks.lotte import read as read_lotte
from lotte.errors import MismatchError, UnavailableError
from retrievers import load


@pytest.fixture
def truth() -> LoadedDataset:
    return LoadedDataset.of(read_lotte(TINY / "science" / "test", "search"))


def while_waiting(monkeypatch, other):
    """Do something else, all of it, when somebody is about to wait for a lock: what another process may do then."""
    wait, left = fcntl.flock, [other]

    def flock(*arguments):
        if left:
            left.pop()()
        wait(*arguments)

    monkeypatch.setattr(fcntl, "flock", flock)
    return left


def test_of_two_that_add_at_once_both_are_stored(tmp_path, truth, monkeypatch):
    mine, theirs = make(tmp_path / "a"), make(tmp_path / "b", lowercase="false")
    results = tmp_path / "results"
    left = while_waiting(monkeypatch, lambda: submit.add(theirs, results, truth, by="them"))
    submit.add(mine, results, truth, by="me")
    assert not left
    stored = sorted(results.rglob("*.json"))
    assert len(stored) == 2 and all(not list(inspect(path, read(path))) for path in stored)


def test_of_two_that_repeat_a_record_at_once_both_are_on_its_log(tmp_path, truth, monkeypatch):
    results = tmp_path / "results"
    original = submit.add(make(tmp_path / "a"), results, truth, by="me")

    def again(folder, by, options=""):
        (made,) = evaluate("overlap", load("overlap"), [truth.dataset], Order(out=tmp_path / folder, command=by))
        assert made
        return tmp_path / folder / "overlap" / f"{NAME}.json"

    mine, theirs = again("b", "one"), again("c", "two")
    while_waiting(monkeypatch, lambda: submit.reproduce(theirs, original, truth, by="third"))
    with pytest.raises(MismatchError, match="was changed while"):
        submit.reproduce(mine, original, truth, by="second")
    submit.reproduce(mine, original, truth, by="second")
    assert [entry["by"] for entry in read(original).verification.log] == ["me", "third", "second"]


def test_of_two_that_import_to_one_place_the_second_is_told(tmp_path, monkeypatch):
    run = make(tmp_path / "a").with_suffix(".trec")

    def take_in():
        return list(interchange.take_in(run, tmp_path / "results", TINY, dataset=NAME, system="theirs"))

    while_waiting(monkeypatch, lambda: None)
    left = while_waiting(monkeypatch, take_in)
    with pytest.raises(MismatchError, match="already exists"):
        take_in()
    assert not left


@pytest.mark.parametrize("steps", range(8))
def test_killed_while_a_record_is_replaced_it_stands_beside_its_own_run_or_not_at_all(tmp_path, truth, monkeypatch, steps):
    dataset, order = truth.dataset, Order(out=tmp_path)
    assert list(evaluate("overlap", load("overlap"), [dataset], order))
    done = []

    def dying(call):
        def instead(*arguments, **more):
            if len(done) == steps:
                os._exit(9)
            done.append(call)
            return call(*arguments, **more)

        return instead

    if (child := os.fork()) == 0:
        for name in ("replace", "rename", "unlink"):
            monkeypatch.setattr(os, name, dying(getattr(os, name)))
            monkeypatch.setattr(Path, name, dying(getattr(Path, name)))
        list(evaluate("overlap", load("overlap", ["lowercase=false"]), [dataset], Order(out=tmp_path, k=1)))
        os._exit(0)
    os.waitpid(child, 0)
    record = tmp_path / "overlap" / f"{NAME}.json"
    assert not record.exists() or not list(inspect(record, read(record)))
    assert list(evaluate("overlap", load("overlap"), [dataset], order)), "and the same command goes on"
    assert sorted(path.name for path in record.parent.iterdir()) == ["search.json", "search.trec"]


def test_a_disk_that_fills_up_leaves_the_older_record_and_its_run(tmp_path, truth):
    import resource

    dataset, order = truth.dataset, Order(out=tmp_path)
    (older,) = evaluate("overlap", load("overlap"), [dataset], order)
    record = tmp_path / "overlap" / f"{NAME}.json"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (record.with_suffix(".trec").stat().st_size + 10, hard))
    try:
        with pytest.raises(UnavailableError, match="ulimit -f"):
            list(evaluate("overlap", load("overlap", ["lowercase=false"]), [dataset], order))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read(record) == older and not list(inspect(record, older))
    assert sorted(path.name for path in record.parent.iterdir()) == ["search.json", "search.trec"]


def test_the_lock_is_gone_with_its_holder_and_leaves_no_file(tmp_path):
    with lock.held(tmp_path / "new"):
        assert (tmp_path / "new" / lock.NAME).exists()
    assert not list((tmp_path / "new").iterdir())


def test_who_waited_for_a_lock_whose_file_was_removed_takes_the_new_one(tmp_path, monkeypatch):
    def passing():
        with lock.held(tmp_path):
            pass

    while_waiting(monkeypatch, passing)
    with lock.held(tmp_path), (tmp_path / lock.NAME).open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
