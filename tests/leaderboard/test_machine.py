"""The facts are true where they can be checked, and their absence never fails."""

import os
import platform
import subprocess

from leaderboard import machine as module
from leaderboard.machine import code, machine, peak_memory


def test_the_machine_is_this_one():
    facts = machine()
    assert facts["python"] == platform.python_version()
    assert facts["cpu"] and 1 <= facts["cores"] <= os.cpu_count()
    assert facts["libraries"]["pytrec-eval-terrier"]
    assert facts["memory_bytes"] > 1 << 28 and peak_memory() > 1 << 20


def test_the_commit_is_that_of_this_repository():
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=module.HOUSE, capture_output=True, text=True)
    if done.returncode == 0:
        assert code()["commit"] == done.stdout.strip()
        assert code()["dirty"] in (True, False)


def test_a_package_inside_somebody_elses_repository_has_no_commit(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    inside = tmp_path / "venv" / "site-packages"
    inside.mkdir(parents=True)
    monkeypatch.setattr(module, "HOUSE", inside)
    assert code.__wrapped__() == {"commit": None, "dirty": None}


def test_records_that_were_just_made_do_not_change_the_code(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    (tmp_path / "lotte").mkdir()
    (tmp_path / "lotte" / "a.py").write_text("a = 1\n")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "a"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(module, "HOUSE", tmp_path.resolve())
    assert code.__wrapped__()["dirty"] is False
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.json").write_text("{}")
    assert code.__wrapped__()["dirty"] is False
    (tmp_path / "lotte" / "b.py").write_text("b = 2\n")
    assert code.__wrapped__()["dirty"] is True


def test_without_git_and_without_a_gpu_nothing_fails(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert code.__wrapped__() == {"commit": None, "dirty": None}
    assert machine.__wrapped__()["gpu"] == []
