"""Steps on a Ray cluster: the same files, whoever is killed; what cannot be is one line."""

import signal
import socket
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec

import cluster_steps
import pytest
from command import error, lotte
from places import HOUSE
from sample_dumps import SAMPLE_WORDS

from lotte import ray_executor, ray_worker
from lotte.errors import CorruptFileError, LotteError, UnavailableError
from lotte.executor import Place, Workers, WorkStep

needs_ray = pytest.mark.skipif(not find_spec("ray"), reason="ray is not installed: pip install 'lotte-bench[ray]'")
slow = pytest.mark.slow(seconds=30)


def run(folder, tasks, *, count=2, reads=(), **place):
    told: list[int] = []
    steps = [WorkStep(name, 1, task) for name, task in tasks.items()]
    with Workers(count, place=Place("ray", **place), folder=folder, reads=reads) as workers:
        workers.run(steps, advance=told.append)
    return sum(told)


def left(folder):
    return {path.name: path.read_text() for path in folder.glob("*.txt")}


def expected(*names):
    return {f"{name}.txt": f"what {name} makes\n" for name in names}


@needs_ray
@slow
@pytest.mark.parametrize("whom", ["worker", "raylet", "driver"])
def test_steps_are_done_whoever_is_killed(tmp_path, whom):
    tasks = {name: partial(cluster_steps.leave, tmp_path, name) for name in "abcd"}
    done = run(tmp_path, tasks | {"e": partial(cluster_steps.end, tmp_path, "e", whom)})
    assert left(tmp_path) == expected(*"abcde") and done == 5


@needs_ray
@slow
def test_a_step_that_hangs_is_given_to_another_worker(tmp_path):
    tasks = {"a": partial(cluster_steps.leave, tmp_path, "a"), "b": partial(cluster_steps.hang, tmp_path, "b")}
    run(tmp_path, tasks, step_timeout=3.0)
    assert left(tmp_path) == expected("a", "b")


@needs_ray
@slow
def test_a_step_that_always_ends_its_worker_is_one_line(tmp_path):
    with pytest.raises(UnavailableError, match="step bad ended its worker 4 times; most likely it wants more memory"):
        run(tmp_path, {"bad": cluster_steps.always_end}, count=1)


@needs_ray
@slow
def test_what_a_step_raises_arrives_and_no_further_step_is_begun(tmp_path):
    later = {name: partial(cluster_steps.leave, tmp_path, name) for name in "xyz"}
    with pytest.raises(CorruptFileError, match=r"x\.7z: is damaged"):
        run(tmp_path, {"bad": cluster_steps.fail} | later, count=1)
    assert left(tmp_path) == {}


@needs_ray
@slow
def test_a_folder_that_a_worker_does_not_see_is_one_line(tmp_path):
    with pytest.raises(UnavailableError, match=f"does not see {tmp_path}/dumps: every node must have"):
        run(tmp_path, {"a": partial(cluster_steps.leave, tmp_path, "a")}, reads=[tmp_path / "dumps"])


@needs_ray
@slow
def test_a_build_on_ray_has_the_bytes_of_a_local_one_and_goes_on_after_kill_9(tmp_path):
    assert lotte(*SAMPLE_WORDS, "--out", tmp_path / "local", "--workers", 1).returncode == 0
    out = tmp_path / "ray"
    words = [*map(str, SAMPLE_WORDS), "--out", str(out), "--workers", "2", "--executor", "ray"]
    process = subprocess.Popen([sys.executable, "-m", "leaderboard.cli", *words], cwd=HOUSE, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any((out / ".work" / "communities").glob("[!.]*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = lotte(*words)
    assert done.returncode == 0, done.stderr
    files = sorted(path.relative_to(tmp_path / "local") for path in (tmp_path / "local").rglob("*") if path.is_file())
    assert sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file()) == files
    assert all((out / file).read_bytes() == (tmp_path / "local" / file).read_bytes() for file in files)


@needs_ray
def test_an_address_that_nobody_answers_at_is_one_line(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"  # bound, and nobody listens
        said = error(*SAMPLE_WORDS, "--out", tmp_path / "out", "--executor", "ray", "--ray-address", address)
    assert said.startswith(f"no Ray cluster answers at {address} (")


@needs_ray
@slow
def test_an_address_where_something_else_answers_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_executor, "ANSWERS_WITHIN", 4.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UnavailableError, match=f"the Ray cluster at {address} (did not answer|cannot be used)"):
            run(tmp_path, {"a": cluster_steps.fail}, address=address)


@pytest.mark.parametrize("address", ["node", "node:", ":6379", "node:port", "node:0", "node:70000", "ray://node"])
def test_what_is_no_address_is_one_line(address):
    with pytest.raises(LotteError, match="--ray-address is HOST:PORT, ray://HOST:PORT or auto, not"):
        ray_executor._host_port(address)


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnavailableError, match=r"--executor ray needs ray, which is not installed: pip install 'lotte-"):
        run(tmp_path, {"a": cluster_steps.fail})


@pytest.mark.parametrize("what", ["Python", "lotte-bench", "ray", "pyarrow"])
def test_another_version_on_a_worker_is_one_line(tmp_path, what):
    ours = ray_worker.versions()
    crew = object.__new__(ray_executor._Crew)
    found = crew._unfit({"versions": ours | {what: "0.0.1"}, "lacks": [], "node": "n7"})
    assert str(found).startswith(f"a worker on n7 has {what} 0.0.1, and this command {ours[what]}: ")
    assert crew._unfit({"versions": ours, "lacks": [], "node": "n7"}) is None


@pytest.mark.parametrize(
    "place, line",
    [
        ({"executor": "dask"}, "--executor is local or ray, not 'dask'"),
        ({"address": "a:1"}, "--ray-address goes with --executor ray"),
        ({"step_timeout": 5.0}, "--step-timeout goes with --executor ray"),
        ({"executor": "ray", "step_timeout": -1.0}, "--step-timeout is a number of seconds, 0 for none, not -1.0"),
        ({"executor": "ray", "step_timeout": float("nan")}, "--step-timeout is a number of seconds, 0 for none, not nan"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(place, line):
    with pytest.raises(LotteError) as raised:
        Place(**place)
    assert str(raised.value) == line
