"""The wheel is whole: built, installed where the repository is not, and used from another folder with an empty home."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from places import HOUSE

from lotte import lock

ROOMS = ("lotte", "retrievers", "leaderboard")
READ_HERE = {"retrievers/LOG.md"}  # for those who work on the code

pytestmark = pytest.mark.slow(seconds=30)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A folder with the wheel, an environment that it is installed in, and its demo: made once for all workers.

    (Grouping these tests would not do it: pytest-xdist 3.8 does not group under pytest 9.2.)
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheel"
    with lock.held(shared):
        if not (shared / "demo.txt").exists():
            install(build(shared), shared)
            (shared / "demo.txt").write_text(run(shared, "lotte", "demo"))
    return shared


def build(folder: Path) -> Path:
    """Build the wheel from a copy: setuptools leaves its own files where it builds."""
    copy = folder / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(HOUSE / name, copy)
    for room in ROOMS:
        shutil.copytree(HOUSE / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    # else pip downloads a setuptools of its own
    here = ["--no-build-isolation"] if int(version("setuptools").partition(".")[0]) >= 77 else []
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *here, "--wheel-dir", "..", "."]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def install(wheel: Path, folder: Path) -> None:
    """Install the wheel; what it depends on comes from the environment of the tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    # a .pth in a folder that a .pth adds is not read, so the editable install of the repository is not seen
    dependencies = "\n".join(path for path in sys.path if path.endswith("site-packages"))
    (path_of(folder, "purelib") / "dependencies.pth").write_text(dependencies)
    python = str(path_of(folder, "scripts") / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-index", "--force-reinstall", wheel], check=True)
    # what numba has kept beside the repository's sources is good for the same sources elsewhere: it would compile again
    for kept in (HOUSE / "retrievers").rglob("*.nb?"):
        place = path_of(folder, "purelib") / kept.relative_to(HOUSE)
        place.parent.mkdir(exist_ok=True)
        shutil.copy(kept, place)
    (folder / "home").mkdir()


def path_of(folder: Path, which: str) -> Path:
    """Return where the environment has its scripts, or its packages."""
    at = str(folder / "venv")
    return Path(sysconfig.get_path(which, "venv", vars={"base": at, "platbase": at}))


def run(folder: Path, program: str, *words: str) -> str:
    """Run a program of the environment in the folder, with an empty home; return what it prints."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LOTTE", "XDG", "HF_"))}
    done = subprocess.run(
        [path_of(folder, "scripts") / program, *words], cwd=folder, capture_output=True, text=True, timeout=600,
        env=keep | {"HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def contents(folder: Path) -> set[str]:
    return set(zipfile.ZipFile(next(folder.glob("*.whl"))).namelist())


def test_everything_beside_the_code_is_in_it(folder):
    here = {
        path.relative_to(HOUSE).as_posix() for room in ROOMS for path in (HOUSE / room).rglob("*") if path.is_file()
    }
    missing = {name for name in here if "__pycache__" not in name} - contents(folder) - READ_HERE
    assert not missing


def test_nothing_else_is_in_it(folder):
    tops = {name.partition("/")[0] for name in contents(folder)}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_what_runs_is_the_wheel_and_not_the_repository(folder, room):
    assert str(HOUSE) not in run(folder, "python", "-c", f"import {room}; print({room}.__file__)")


def test_the_demo_scores_every_system(folder):
    lines = (folder / "demo.txt").read_text().splitlines()
    assert len(lines) == 13 and lines[0].split("\t")[3:] == ["overlap", "rank_bm25", "bm25", "colbertv2"]


def test_an_index_is_made_and_searched(folder):
    run(folder, "lotte", "index", "lotte-demo/lotte/technology/test", "--retriever", "bm25", "--out", "index")
    first = run(folder, "lotte", "search", "index", "deleted a big log file but the disk is still full", "-k", "1")
    assert "log is gone from the directory" in first


def test_a_board_is_built_of_its_records(folder):
    page = run(folder, "lotte", "board", "build", "--results", "lotte-demo/results", "--out", "site")
    assert page == "site/index.html\n"
