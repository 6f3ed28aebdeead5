"""The fuzzer itself, and what it found once: every input in fuzz/corpus is read, or refused in one line."""

import importlib.util
import subprocess
import sys

import pytest
from places import TESTS

FUZZ = TESTS / "fuzz"


def test_the_same_seed_makes_the_same_file():
    spec = importlib.util.spec_from_file_location("fuzz_mutate", FUZZ / "mutate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    data = b'{"a": [1, 2]}\nline two\n'
    assert [module.mutated(data, seed) for seed in range(50)] == [module.mutated(data, seed) for seed in range(50)]
    assert len({module.mutated(data, seed) for seed in range(50)}) > 25


@pytest.mark.slow(seconds=60)
@pytest.mark.timeout(900)
def test_every_reader_reads_damaged_files_or_refuses_them_in_one_line():
    """A minute of it, with the inputs of today; `make fuzz` takes longer, and its output says the seed."""
    done = subprocess.run([sys.executable, FUZZ / "run.py", "--seconds", "60"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_once_failed_is_read_or_refused_in_one_line():
    folders = sorted((FUZZ / "corpus").iterdir())
    command = [sys.executable, FUZZ / "run.py", "--replay", *(word for one in folders for word in ("--only", one.name))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    tried = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()[1:]}
    assert tried == {folder.name: len(list(folder.iterdir())) for folder in folders}
