"""Steps run once each, the longest first, here or in processes; parts make the whole."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from command import hears_ctrl_c
from hypothesis import given
from hypothesis import strategies as st
from places import HOUSE, TESTS

from lotte import artifact, executor
from lotte.errors import CorruptFileError, LotteError


def note(folder: Path, name: str, advance) -> None:
    advance(3)
    with (folder / "order").open("a") as file:
        file.write(f"{name} {os.getpid()}\n")


def fail(advance) -> None:
    raise CorruptFileError("x.7z: is damaged")


def steps(folder: Path, weights: dict[str, int]) -> list[executor.WorkStep]:
    return [executor.WorkStep(name, weight, partial(note, folder, name)) for name, weight in weights.items()]


def test_one_worker_runs_the_longest_first_in_this_process(tmp_path):
    told: list[int] = []
    executor.Workers(1).run(steps(tmp_path, {"a": 1, "b": 9, "c": 5}), advance=told.append)
    assert (tmp_path / "order").read_text() == "".join(f"{name} {os.getpid()}\n" for name in "bca")
    assert told == [3, 3, 3]


def test_several_workers_run_each_step_once_elsewhere(tmp_path):
    told: list[int] = []
    with executor.Workers(2) as workers:
        workers.run(steps(tmp_path, {"a": 1, "b": 9, "c": 5, "d": 2}), advance=told.append)
        assert told == [3, 3, 3, 3]
        first = set(workers._processes._pool._processes)
        workers.run(steps(tmp_path, {"e": 1, "f": 2}), advance=told.append)
        assert told == [3, 3, 3, 3, 3, 3]
        assert first == set(workers._processes._pool._processes)  # the second round began no new ones
    lines = [line.split() for line in (tmp_path / "order").read_text().splitlines()]
    assert sorted(name for name, _ in lines) == ["a", "b", "c", "d", "e", "f"]
    assert str(os.getpid()) not in {pid for _, pid in lines}


_begun: list[int] = []


def begin() -> None:
    _begun.append(os.getpid())


def tell(folder: Path, name: str, advance) -> None:
    (folder / name).write_text(f"{os.getpid()} {_begun}")


def test_a_process_first_does_what_it_is_told(tmp_path):
    with executor.Workers(2, begin=begin) as workers:
        workers.run([executor.WorkStep(name, 1, partial(tell, tmp_path, name)) for name in "abc"])
    for file in tmp_path.iterdir():
        pid, begun = file.read_text().split(" ", 1)
        assert begun == f"[{pid}]"


def test_pyarrow_alone_is_told_that_there_is_no_pandas():
    program = (
        "import sys, pyarrow as pa; from lotte.builder import arrow; arrow.without_pandas();"
        "assert pa.array([1]).to_numpy()[0] == 1 and 'pandas' not in sys.modules; import pandas; print(pandas.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "pandas\n", done.stderr


def go_on(advance) -> None:
    for _ in range(20_000):
        advance(1)
    time.sleep(60)


def test_ctrl_c_ends_the_wait_for_what_runs_beside_a_failed_step():
    program = (
        "from lotte import executor; import test_executor; workers = executor.Workers(2)\n"
        "workers.run([executor.WorkStep('bad', 1, test_executor.fail), executor.WorkStep('long', 2, test_executor.go_on)])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(TESTS / "helpers")])}
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=env, stderr=subprocess.PIPE, text=True, preexec_fn=hears_ctrl_c
    )
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert process.returncode and "KeyboardInterrupt" in said


def test_small_work_is_not_worth_a_process(tmp_path):
    with executor.Workers(2) as workers:
        workers.run(steps(tmp_path, {"a": 1, "b": 2}), small=3)
    assert {line.split()[1] for line in (tmp_path / "order").read_text().splitlines()} == {str(os.getpid())}


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_step_raises_arrives(workers, tmp_path):
    some = [executor.WorkStep("bad", 9, fail), *steps(tmp_path, {"a": 1})]
    with pytest.raises(CorruptFileError, match=r"x\.7z: is damaged"), executor.Workers(workers) as several:
        try:
            several.run(some)
        finally:  # and another round finds workers again
            several.run(steps(tmp_path, {"b": 1, "c": 1}))
            assert "b " in (tmp_path / "order").read_text()


@given(st.lists(st.integers(0, 1000), max_size=40), st.integers(1, 8))
def test_the_parts_are_the_whole_and_none_is_far_heavier(weights, parts):
    items = list(enumerate(weights))
    shards = [executor.shard(items, lambda item: item[1], part, parts) for part in range(1, parts + 1)]
    assert sorted(item for shard in shards for item in shard) == sorted(items)
    loads = [sum(weight for _, weight in shard) for shard in shards]
    assert max(loads) - min(loads) <= max(weights, default=0)


def test_a_folder_is_whole_or_absent(tmp_path):
    with pytest.raises(RuntimeError), artifact.folder(tmp_path / "made", {"key": 1}) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with artifact.folder(tmp_path / "made", {"key": 1}) as folder:
        (folder / "all").write_text("x")
        assert not (tmp_path / "made").exists()
    assert artifact.meta(tmp_path / "made") == {"key": 1}
    assert artifact.meta(tmp_path / "other") is None


def test_what_a_dead_process_left_is_removed_and_what_a_living_one_makes_is_not(tmp_path):
    (tmp_path / ".made.partial-999999999").mkdir()
    (tmp_path / f".made.partial-{os.getppid()}").mkdir()
    with artifact.folder(tmp_path / "made", {}) as folder:
        (folder / "x").write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".made.partial-{os.getppid()}", "made"]


def test_a_file_is_whole_or_absent(tmp_path):
    artifact.write_whole(tmp_path / "deep" / "file", "text")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]
    with pytest.raises(RuntimeError), artifact.Writer(tmp_path / "bytes") as file:
        file.write(b"half")
        raise RuntimeError
    assert not (tmp_path / "bytes").exists()
    with artifact.Writer(tmp_path / "bytes") as file:
        file.write(b"whole")
    assert (file.size, file.sha256) == (5, artifact.sha256(tmp_path / "bytes"))


@pytest.mark.parametrize("parts", [7, 10**9, 10**30])
def test_more_parts_than_steps_cost_nothing_and_divide_as_before(parts):
    items = [5, 4, 0, 3, 0]
    found = [executor.shard(items, abs, part, parts) for part in range(1, 7)]
    assert found == [[5], [4], [3], [0, 0], [], []]


@pytest.mark.parametrize("text", ["1/" + "9" * 5000, "\u0661/2", "1/2/3", "0/2", "3/2", "/", "1", "-1/2", "1.0/2"])
def test_what_is_no_shard_is_one_line(text):
    with pytest.raises(LotteError, match="--shard takes the number of a part") as raised:
        executor.parse_shard(text)
    assert len(str(raised.value)) < 300


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a system where a process has no processors of its own")
def test_processors_are_counted_that_this_process_may_use():
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from lotte.processors import num_processors; print(num_processors())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
