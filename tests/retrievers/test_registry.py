"""A retriever is found by its name, and its options are read by the types it declares."""

import subprocess
import sys
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path

import pytest
from places import HOUSE, TINY

from lotte.errors import LotteError, UnknownNameError
from retrievers import index_folder, load, names, options, systems
from retrievers.registry import takes
from retrievers.systems.bm25 import BM25

MINE = '''
"""Somebody's retriever."""
from dataclasses import dataclass, field
from retrievers.index_folder import NAME

@dataclass(frozen=True)
class Mine:
    depth: int
    name: str
    fast: bool
    device: str

def retriever(*, depth: int = 3, name: str = "x", fast: bool = False, device: str = "cpu") -> Mine:
    if depth < 1:
        raise ValueError(f"depth must be 1 or more, not {depth}")
    return Mine(depth, name, fast, device)

@dataclass(frozen=True)
class Named:
    depth: int = 3
    name: str = field(default="my_retriever_x:Named", kw_only=True, metadata=NAME)

ONE = Named()

def make() -> Named:
    return ONE
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_retriever_x.py").write_text(MINE)
    (tmp_path / "my_broken_y.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_retriever_x:retriever"
    sys.modules.pop("my_retriever_x", None)


def test_the_files_are_the_names():
    assert names() == sorted({path.stem for path in Path(systems.__path__[0]).glob("*.py")} - {"__init__"})


def test_options_are_read_by_their_types(mine):
    made = load(mine, ["depth=7", "name=a=b", "fast=true"])
    assert (made.depth, made.name, made.fast) == (7, "a=b", True)
    assert takes(mine, "device") and not takes("bm25", "device")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("depth=0", "{}: depth must be 1 or more, not 0"),
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
        "bm52": f"no retriever is named 'bm52'; did you mean 'bm25'? `lotte list retrievers` shows all {len(names())}",
        "no_such_module:f": "no module is named 'no_such_module', which --retriever no_such_module:f names",
        ":f": "':f' names no retriever: write module:function, with Python's names",
        "..:f": "'..:f' names no retriever: write module:function, with Python's names",
        "my_retriever_x:": "'my_retriever_x:' names no retriever: write module:function, with Python's names",
        "my_retriever_x:f": "module my_retriever_x has no 'f', which --retriever my_retriever_x:f names",
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


@pytest.mark.parametrize("name", ["my_retriever_x:make", "my_retriever_x:Named"])
def test_a_retriever_is_called_as_it_was_asked_for(mine, name):
    assert options.name_of(load(name)) == name


def test_a_retriever_that_nobody_asked_for_by_name_has_the_name_of_its_field(mine):
    assert options.name_of(import_module("my_retriever_x").Named()) == "my_retriever_x:Named"


def test_a_dataclass_without_a_name_is_called_as_it_was_asked_for(mine):
    assert options.name_of(load(mine)) == mine
    assert options.name_of(replace(load(mine), depth=4)) == mine


def test_a_name_is_no_option(mine):
    with pytest.raises(LotteError, match=r"has no option 'name'; it takes \(depth: int = 3\)$"):
        load("my_retriever_x:Named", ["name=other"])
    assert options.options_of(load("my_retriever_x:Named")) == {"depth": 3}


def test_an_option_that_is_called_name_stays_one(mine):
    assert options.options_of(load(mine, ["name=y"]))["name"] == "y"


def test_asking_for_a_retriever_changes_none_that_is_there(mine):
    load("my_retriever_x:make")
    assert import_module("my_retriever_x").ONE.name == "my_retriever_x:Named"


@pytest.mark.parametrize("name", ["bm25", "overlap", "rank_bm25"])
def test_a_system_is_called_as_its_file(name):
    assert options.name_of(load(name)) == options.name_of(load(f"retrievers.systems.{name}:retriever")) == name


def test_a_class_that_inherits_from_a_system_is_not_called_as_that():
    class Other(BM25):
        pass

    assert options.name_of(Other()) == f"{__name__}:{Other.__qualname__}"


def test_the_options_of_colbertv2_are_those_of_the_engine():
    pytest.importorskip("numba", reason="the engine needs the extra 'colbert'")
    from retrievers.colbert.retriever import LateInteraction
    from retrievers.systems.colbertv2 import ColBERTv2

    assert [field.name for field in fields(ColBERTv2)] == [field.name for field in fields(LateInteraction)]
    assert ColBERTv2("somewhere") == load("colbertv2", ["checkpoint=somewhere"])


@pytest.mark.parametrize("former", sorted(index_folder.FORMER))
def test_a_former_name_is_what_it_is_called_now(former):
    with pytest.warns(DeprecationWarning, match=f"index_folder.{former} is called {index_folder.FORMER[former]} now"):
        assert getattr(index_folder, former) is getattr(index_folder, index_folder.FORMER[former])


def test_the_example_of_the_page_on_retrievers_runs(tmp_path):
    page = (HOUSE / "docs" / "retriever.md").read_text(encoding="utf-8")
    (example,) = [code for code in page.split("```python\n")[1:] if code.startswith('"""')]
    (tmp_path / "mine.py").write_text(example.split("```")[0])
    named, science = ["--retriever", "mine:SharedWords"], TINY / "science" / "test"
    for words in (
        ["index", science, *named, "-o", "letters=8", "--out", "index"],
        ["search", "index", "why is the sky blue", "-k", "1", *named],
    ):
        command = [sys.executable, "-m", "leaderboard.cli", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1\t4.0000\t3\tthe sky is blue because air scatters short waves\n"
