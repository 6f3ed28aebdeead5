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

ROOMS = ("lotte", "retrievers", "leaderboard")
READ_HERE = {"retrievers/LOG.md"}  # for those who work on the code

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]  # built and installed once, by one worker


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Build the wheel from a copy: setuptools leaves its own files where it builds."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(HOUSE / name, copy)
    for room in ROOMS:
        shutil.copytree(HOUSE / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    # else pip downloads a setuptools of its own
    here = ["--no-build-isolation"] if int(version("setuptools").partition(".")[0]) >= 77 else []
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *here, "--wheel-dir", "wheels", "."]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (made,) = (copy / "wheels").glob("*.whl")
    return made


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """Return a way to run `lotte` of the wheel; what it depends on comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    scripts, packages = (
        Path(sysconfig.get_path(which, "venv", vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")}))
        for which in ("scripts", "purelib")
    )
    # a .pth in a folder that a .pth adds is not read, so the editable install of the repository is not seen
    (packages / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-index", "--force-reinstall", wheel], check=True)
    (folder / "home").mkdir()
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LOTTE", "XDG", "HF_"))}

    def run(program: str, *words: str) -> str:
        done = subprocess.run(
            [scripts / program, *words], cwd=folder, capture_output=True, text=True, timeout=600,
            env=keep | {"HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def demo(installed):
    return installed("lotte", "demo")


def test_everything_beside_the_code_is_in_it(wheel):
    files = set(zipfile.ZipFile(wheel).namelist())
    here = {
        path.relative_to(HOUSE).as_posix() for room in ROOMS for path in (HOUSE / room).rglob("*") if path.is_file()
    }
    missing = {name for name in here if "__pycache__" not in name} - files - READ_HERE
    assert not missing


def test_nothing_else_is_in_it(wheel):
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_what_runs_is_the_wheel_and_not_the_repository(installed, room):
    assert str(HOUSE) not in installed("python", "-c", f"import {room}; print({room}.__file__)")


def test_the_demo_scores_every_system(demo):
    assert len(demo.splitlines()) == 13 and demo.splitlines()[0].split("\t")[3:] == [
        "overlap",
        "rank_bm25",
        "bm25",
        "colbertv2",
    ]


def test_an_index_is_made_and_searched(demo, installed):
    installed("lotte", "index", "lotte-demo/lotte/technology/test", "--retriever", "bm25", "--out", "index")
    first = installed("lotte", "search", "index", "deleted a big log file but the disk is still full", "-k", "1")
    assert "log is gone from the directory" in first


def test_a_board_is_built_of_its_records(demo, installed):
    page = installed("lotte", "board", "build", "--results", "lotte-demo/results", "--out", "site")
    assert page == "site/index.html\n"
