"""`lotte index` with several workers: the bytes of one, also when the command was killed."""

import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
from places import HOUSE, TINY

needs_ray = pytest.mark.skipif(not find_spec("ray"), reason="ray is not installed: pip install 'lotte-bench[ray]'")

INDEX = """
import sys
from retrievers.colbert.index import build
build.CHUNK = 1
from leaderboard.cli import main
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=needs_ray)])
@pytest.mark.slow(seconds=40)
def test_an_index_goes_on_after_kill_9_and_has_the_bytes_of_an_undisturbed_one(tmp_path, executor):
    script = tmp_path / "small_chunks.py"
    script.write_text(INDEX)
    begin = [sys.executable, str(script), "index", "--retriever", "colbertv2", "-o", "checkpoint=shipped"]
    begin += ["lotte/science/test", "--data", str(TINY)]
    assert subprocess.run([*begin, "--out", tmp_path / "one"], cwd=HOUSE, capture_output=True).returncode == 0
    command = [*begin, "--out", str(tmp_path / "two"), "--workers", "2", "--executor", executor]
    process = subprocess.Popen(command, cwd=HOUSE, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob(".two.unfinished/.blocks/[!.]*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "one").iterdir() if path.suffix != ".json")
    assert sorted(path.name for path in (tmp_path / "two").iterdir() if path.suffix != ".json") == names
    assert all((tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes() for name in names)
