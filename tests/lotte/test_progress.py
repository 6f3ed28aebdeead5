"""Progress is seen on stderr, never on stdout, and costs nothing to report."""

import sys
from io import StringIO
from threading import Thread

import pytest

from lotte import progress as module
from lotte.progress import Progress


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on only when told."""
    now = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def test_a_log_has_a_line_now_and_then_and_a_last_one(capsys, clock):
    with Progress(1_000, "passages", "indexing") as progress:
        for _ in range(10):
            progress.advance(100)
            clock[0] += 10
    assert capsys.readouterr() == (
        "",
        "indexing: 400 of 1,000 passages, 13/s, 0:45 left\n"
        "indexing: 700 of 1,000 passages, 12/s, 0:26 left\n"
        "indexing: 1,000 of 1,000 passages, 11/s\n"
        "indexing: 1,000 of 1,000 passages, 10/s\n",
    )


def test_short_work_says_nothing_in_a_log(capsys, clock):
    with Progress(10, "bytes", "reading") as progress:
        progress.advance(10)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar_and_stdout_stays_free(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(10, "passages", "indexing [x]") as progress:
        progress.advance(4)
        print("data")
    shown = sys.stderr.getvalue()
    assert "indexing [x]: 4 of 10 passages" in shown
    assert capsys.readouterr().out == "data\n"


def test_progress_within_progress_is_not_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(2, "systems", "outer"), Progress(10, "passages", "inner") as inner:
        inner.advance(4)
    shown = sys.stderr.getvalue()
    assert "outer" in shown and "inner" not in shown
    with Progress(1, "systems", "next"):
        pass
    assert "next" in sys.stderr.getvalue()


def test_nor_is_it_in_a_log(capsys, clock):
    with Progress(2, "systems", "outer") as outer, Progress(10, "passages", "inner") as inner:
        clock[0] += 40
        inner.advance(4)
        outer.advance(1)
    assert capsys.readouterr().err == "outer: 1 of 2 systems, 0.0/s, 0:40 left\n" * 2


def test_an_error_takes_the_bar_down(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ZeroDivisionError), Progress(2, "systems", "first"):
        raise ZeroDivisionError
    with Progress(2, "systems", "second"):
        pass
    assert "second" in sys.stderr.getvalue()


def test_threads_count_together(capsys):
    with Progress(40_000, "items", "counting") as progress:
        threads = [Thread(target=lambda: [progress.advance() for _ in range(10_000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert progress._done == 40_000


def test_a_hundred_thousand_updates_are_all_counted(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(100_000, "bytes", "reading") as progress:
        for _ in range(100_000):
            progress.advance(1)
    assert progress._done == 100_000
