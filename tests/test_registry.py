"""A retriever is found by its name, and its options are read by the types it declares."""

import subprocess
import sys

import pytest

from lotte.errors import LotteError, UnknownNameError
from retrievers import load, names
from retrievers.registry import takes

MINE = '''
"""Somebody's retriever."""
from dataclasses import dataclass

@dataclass(frozen=True)
class Mine:
    depth: int
    name: str
    fast: bool
    device: str

def retriever(*, depth: int = 3, name: str = "x", fast: bool = False, device: str = "cpu") -> Mine:
    if depth < 1:
        raise ValueError(f"depth is 1 or more, not {depth}")
    return Mine(depth, name, fast, device)
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_retriever_x.py").write_text(MINE)
    (tmp_path / "my_broken_y.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_retriever_x:retriever"
    sys.modules.pop("my_retriever_x", None)


def test_the_files_are_the_names():
    assert names() == ["bm25", "colbertv2", "overlap", "rank_bm25"]


def test_options_are_read_by_their_types(mine):
    made = load(mine, ["depth=7", "name=a=b", "fast=true"])
    assert (made.depth, made.name, made.fast) == (7, "a=b", True)
    assert takes(mine, "device") and not takes("bm25", "device")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("depth=0", "{}: depth is 1 or more, not 0"),
        ("depth=1.5", "{}: depth takes int, not '1.5'"),
        ("fast=maybe", "{}: fast takes bool, not 'maybe'"),
        ("fast", "{}: fast has no value; write -o fast=VALUE"),
        (
            "speed=9",
            "{} has no option 'speed'; it takes (*, depth: int = 3, name: str = 'x', fast: bool = False, "
            "device: str = 'cpu') -> my_retriever_x.Mine",
        ),
    ],
)
def test_an_option_it_cannot_take_is_one_line(mine, option, message):
    with pytest.raises(LotteError) as raised:
        load(mine, [option])
    assert str(raised.value) == message.format(mine)


def test_names_nobody_answers_to(mine):
    for name, message in {
        "bm52": "no retriever is named 'bm52'; did you mean 'bm25'? `lotte list retrievers` shows all 4",
        "no_such_module:f": "no module is named 'no_such_module', which --retriever no_such_module:f asks for",
        ":f": "':f' names no retriever: write module:function, with Python's names",
        "..:f": "'..:f' names no retriever: write module:function, with Python's names",
        "my_retriever_x:": "'my_retriever_x:' names no retriever: write module:function, with Python's names",
        "my_retriever_x:f": "module my_retriever_x has no 'f', which --retriever my_retriever_x:f asks for",
    }.items():
        with pytest.raises(UnknownNameError) as raised:
            load(name)
        assert str(raised.value) == message


def test_a_module_that_lacks_something_itself_keeps_its_traceback(mine):
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        load("my_broken_y:retriever")


def test_a_system_whose_packages_are_missing_says_what_brings_them():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from leaderboard.cli import main; sys.argv = ['lotte', 'index', 'x', '--out', 'y', '--retriever', 'colbertv2']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "error: colbertv2 needs numba, which is not installed: pip install 'lotte-bench[colbert]'\n",
    )
