"""constraints/ hold for every Python and platform, as a stranger's machine would resolve them: with the public index alone."""

import importlib.util
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from places import HOUSE

_spec = importlib.util.spec_from_file_location("lock", HOUSE / "tools" / "lock.py")
lock = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lock)

MACHINES = [(platform, python) for platform in lock.PLATFORMS for python in lock.PYTHONS]
asks_the_index = pytest.mark.slow


def locked(group: str) -> set[tuple[str, str]]:
    return set(lock.pins((lock.CONSTRAINTS / f"{group}.txt").read_text()))


@pytest.fixture(scope="session")
def index():
    """Skip where there is no uv, or no index that answers it."""
    if not (Path(sysconfig.get_path("scripts")) / "uv").exists():
        pytest.skip("uv is not installed beside this Python; `make test` installs it")
    try:
        lock.installed("demo", "linux-x86_64", "3.11")
    except lock.ResolutionError as error:
        if any(
            sign in str(error) for sign in ("Failed to fetch", "error sending request", "dns error", "client error")
        ):
            pytest.skip(f"the package index does not answer uv: {' '.join(str(error).split())[:200]}")
        raise


@asks_the_index
@pytest.mark.parametrize(("platform", "python"), MACHINES, ids=map("-".join, MACHINES))
@pytest.mark.parametrize("group", lock.GROUPS)
def test_every_machine_installs_from_wheels_what_is_locked(index, group, platform, python):
    found = lock.installed(group, platform, python)
    assert set(found.items()) <= locked(group), "`make lock` resolves again"


@asks_the_index
def test_the_locks_are_those_of_pyproject(index, tmp_path):
    for group in lock.GROUPS:
        (tmp_path / f"{group}.txt").write_text((lock.CONSTRAINTS / f"{group}.txt").read_text())
    lock.resolve(tmp_path)
    for group in lock.GROUPS:
        now = (tmp_path / f"{group}.txt").read_text()
        assert now == (lock.CONSTRAINTS / f"{group}.txt").read_text(), f"constraints/{group}.txt is old: `make lock`"


def test_the_tests_run_with_the_versions_of_the_demo():
    names = {name for name, _ in locked("demo")}
    assert {pin for pin in locked("test") if pin[0] in names} == locked("demo")


@pytest.mark.parametrize("heavy", ["torch", "transformers", "triton", "matplotlib", "pandas"])
def test_the_demo_is_without(heavy):
    assert heavy not in dict(locked("demo"))


def test_every_size_is_of_a_version_that_is_locked():
    lines = (lock.CONSTRAINTS / "sizes.tsv").read_text().splitlines()
    assert {tuple(line.split("\t")[:2]) for line in lines[1:]} <= locked("test"), "`make lock` writes it again"
    assert lines[0].split("\t")[2:] == ["-".join(machine) for machine in MACHINES]


def test_what_is_locked_and_what_is_set_up_are_the_same_groups():
    spec = importlib.util.spec_from_file_location("setup_env", HOUSE / "tools" / "setup_env.py")
    setup_env = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup_env)
    assert lock.GROUPS == setup_env.EXTRAS
    newest = f"{setup_env.NEWEST[0]}.{setup_env.NEWEST[1]}"
    assert (lock.PYTHONS[0], lock.PYTHONS[-1], setup_env.RANGE) == ("3.11", newest, f"3.11 to {newest}")


def test_the_oldest_python_is_that_of_pyproject():
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={lock.PYTHONS[0]}"


def test_every_line_of_a_lock_is_a_requirement_as_pip_reads_them():
    from packaging.requirements import Requirement

    for group in lock.GROUPS:
        for line in (lock.CONSTRAINTS / f"{group}.txt").read_text().splitlines():
            if not line.startswith("#"):
                Requirement(line)


def test_a_lock_that_cannot_be_is_an_error_in_one_line(tmp_path):
    code = (
        "import runpy, sys; sys.argv = ['lock.py', '--environment', sys.prefix]\n"
        "import subprocess; subprocess.run = lambda *_, **__: subprocess.CompletedProcess([], 1, '', 'no\\n solution')\n"
        f"runpy.run_path({str(HOUSE / 'tools' / 'lock.py')!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: no solution\n")
