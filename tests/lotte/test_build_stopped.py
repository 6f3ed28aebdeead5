"""A build that is killed, interrupted or short of a worker is gone on with, and ends in the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import hears_ctrl_c, lotte
from places import DUMPS, HOUSE, SPEC
from sample_dumps import SAMPLE_WORDS, tree


@pytest.mark.parametrize("moment", [0.45, 0.6, 0.75, 0.9, 1.05, 1.2, 1.35, 1.5])
def test_killed_at_any_moment_and_started_again_it_ends_in_the_same_bytes(moment, sample_build, tmp_path):
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "leaderboard.cli",
        *map(str, SAMPLE_WORDS),
        "--out",
        str(out),
        "--workers",
        "1",
    ]
    process = subprocess.Popen(command, cwd=HOUSE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert lotte(*SAMPLE_WORDS, "--out", out, "--workers", 1).returncode == 0
    assert tree(out) == tree(sample_build)


KILL = """
import os, signal, sys
from lotte.builder import arrow, build, community, gooaq, topics
from lotte import artifact, executor
build._SMALL = 0
step, count = sys.argv[1], int(sys.argv[2])

def dying(function):
    calls = []
    def wrapped(*arguments, **words):
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **words)
    return wrapped

where, name = step.rsplit(".", 1)
owner = {"community": community, "builder": community._Builder, "topics": topics, "arrow": arrow, "gooaq": gooaq, "artifact": artifact,
         "build": build}[where]
setattr(owner, name, dying(getattr(owner, name)))
from leaderboard.cli import app
app(sys.argv[3:])
"""


@pytest.mark.parametrize(
    "step",
    ["builder._posts 2", "builder._pages 1", "builder._questions 3", "gooaq.link 30", "artifact.write_whole 2",
     "topics._attribution 2", "topics._questions 3", "arrow.lines 9", "artifact.link 3", "build._report 1",
     "build._assembled 1"],
)  # fmt: skip
def test_killed_inside_each_step_and_started_again_it_ends_in_the_same_bytes(step, sample_build, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILL, *step.split(), *map(str, SAMPLE_WORDS), "--out", str(out), "--workers", "1"]
    done = subprocess.run(command, cwd=HOUSE, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    finished = [*(out / ".work" / "communities").glob("*/meta.json"), *(out / ".work").glob("gooaq/meta.json")]
    again = lotte(*SAMPLE_WORDS, "--out", out, "--workers", 1)
    assert again.returncode == 0, again.stderr
    assert tree(out) == tree(sample_build)
    if finished:
        assert f"{len(finished)} of 5 steps are already finished and are kept" in again.stderr


def test_a_worker_that_is_killed_is_one_line_and_nothing_is_lost(sample_build, tmp_path):
    out = tmp_path / "out"
    script = tmp_path / "dying.py"
    script.write_text(
        "import os, signal, sys\n"
        "from lotte.builder import build, community\n"
        "build._SMALL = 0\n"
        "if __name__ != '__main__': community.build = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from leaderboard.cli import main\n"
        "if __name__ == '__main__': main()\n"
    )
    command = [sys.executable, script, *map(str, SAMPLE_WORDS), "--out", out, "--workers", "2"]
    env = {**os.environ, "PYTHONPATH": str(HOUSE)}
    process = subprocess.Popen(command, cwd=HOUSE, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    _, stderr = process.communicate(timeout=120)
    if process.returncode == 0:
        pytest.skip("the workers do not import this script's change")
    assert stderr.splitlines()[-1].startswith("error: a worker process was killed"), stderr
    assert lotte(*SAMPLE_WORDS, "--out", out).returncode == 0
    assert tree(out) == tree(sample_build)


def test_executorers_end_with_their_parent(tmp_path):
    dumps = tmp_path / "dumps"
    body = b'  <row Id="%d" PostTypeId="2" ParentId="1" Score="5" Body="&lt;p&gt;x&lt;/p&gt;" CreationDate="2015-01-01T00:00:00.000" />\n'
    for name in ("a.example.com", "b.example.com"):
        (dumps / name).mkdir(parents=True)
        with (dumps / name / "Posts.xml").open("wb") as file:
            file.write(b'<posts>\n  <row Id="1" PostTypeId="1" Score="1" Body="q" Title="t" />\n')
            for number in range(2, 200_000):
                file.write(body % number)
            file.write(b"</posts>")
    spec = tmp_path / "spec.toml"
    spec.write_text('[topics.t]\ntest = ["a.example.com", "b.example.com"]\n')
    marker = f"lotte-{os.getpid()}-{time.time_ns()}"
    command = [sys.executable, "-m", "leaderboard.cli", "build", "--dumps", dumps, "--spec", spec, "--out", tmp_path / "out",
               "--workers", "2"]  # fmt: skip
    process = subprocess.Popen(command, cwd=HOUSE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, "LOTTE_MARK": marker})  # fmt: skip

    def alive() -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (
                    marker.encode() in (entry / "environ").read_bytes()
                    and "Z" not in (entry / "stat").read_text().split()[2]
                ):
                    found.append(entry.name)
            except OSError:
                pass
        return found

    if not Path("/proc/self/environ").exists():
        process.kill()
        pytest.skip("no /proc here to see processes in")
    for _ in range(200):
        time.sleep(0.05)
        if len(alive()) >= 5:  # the command, the tracker of its resources, the server of processes, two workers
            break
    else:
        pytest.fail(f"two workers never ran: {len(alive())} processes")
    process.kill()
    process.wait()
    for _ in range(100):
        if not (left := alive()):
            break
        time.sleep(0.1)
    assert not left


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(sample_build, tmp_path):
    out = tmp_path / "out"
    script = tmp_path / "two.py"
    script.write_text(
        "import sys; from lotte.builder import build; build._SMALL = 0\n"
        "from leaderboard.cli import main\n"
        "if __name__ == '__main__': main()\n"
    )
    command = [sys.executable, script, *map(str, SAMPLE_WORDS), "--out", str(out), "--workers", "2"]
    env = {**os.environ, "PYTHONPATH": str(HOUSE)}
    process = subprocess.Popen(
        command,
        cwd=HOUSE,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hears_ctrl_c,
    )
    for _ in range(400):
        time.sleep(0.01)
        if (out / ".work" / "lock").exists():
            break
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert "Traceback" not in stderr, stderr
    assert process.returncode in (0, 130), stderr
    assert lotte(*SAMPLE_WORDS, "--out", out).returncode == 0
    assert tree(out) == tree(sample_build)


def test_a_build_with_another_spec_in_the_same_unfinished_folder_leaves_no_strangers(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILL, "artifact.write_whole", "19", *map(str, SAMPLE_WORDS), "--out", str(out)]
    command += ["--workers", "1"]
    subprocess.run(command, cwd=HOUSE, capture_output=True)
    assert (out / "pooled" / "dev" / "collection.tsv").exists() and not (out / "manifest.json").exists()
    other = lotte(*SAMPLE_WORDS, "--out", out, "--topic", "science")
    assert other.returncode == 0, other.stderr
    wanted = json.loads((out / "manifest.json").read_text())["files"]
    assert set(tree(out)) == {*wanted, "manifest.json"}


def test_what_a_killed_build_wrote_and_the_next_one_does_not_is_gone(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILL, "artifact.write_whole", "17", *map(str, SAMPLE_WORDS), "--out", str(out)]
    subprocess.run([*command, "--workers", "1"], cwd=HOUSE, capture_output=True)
    assert (out / "pooled" / "test" / "questions.search.tsv").exists() and not (out / "manifest.json").exists()
    (out / "pooled" / "test" / ".collection.tsv.partial").touch()
    (out / "pooled" / "notes.txt").touch()  # somebody's own
    done = lotte("build", "--dumps", DUMPS, "--spec", SPEC, "--out", out)
    assert done.returncode == 0, done.stderr
    wanted = json.loads((out / "manifest.json").read_text())["files"]
    assert not any("search" in name for name in wanted)
    assert set(tree(out)) == {*wanted, "manifest.json", "pooled/notes.txt"}
