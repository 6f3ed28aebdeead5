"""The laws of the house. Each is here because a reviewer would otherwise have to remember it."""

import ast
import subprocess
import sys
from collections import Counter
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest
from places import HOUSE, TESTS

from leaderboard import catalogue
from leaderboard.cli import app
from lotte.errors import UnavailableError
from retrievers import names
from retrievers.options import is_name

NOWHERE = HOUSE / "nowhere"
MAY_IMPORT = {"lotte": set(), "retrievers": {"lotte"}, "leaderboard": {"lotte", "retrievers"}}
HEAVY = {
    "torch",
    "transformers",
    "pandas",
    "datasets",
    "pytrec_eval",
    "numpy",
    "pyarrow",
    "py7zr",
    "rich.progress",
}
FILES = sorted(file for room in MAY_IMPORT for file in (HOUSE / room).rglob("*.py"))


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; say where you mean"
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_arrows_point_down(file):
    room = file.relative_to(HOUSE).parts[0]
    upward = (imports(file) & MAY_IMPORT.keys()) - MAY_IMPORT[room] - {room}
    assert not upward, f"{room} may not import {', '.join(upward)}; see the table in docs/architecture.md"


# the engine, from the ground floor up; what is not a folder is the top floor
FLOORS = ("kernels", "model", "index", "search")
ENGINE = HOUSE / "retrievers" / "colbert"


def modules(file: Path) -> set[str]:
    """Return the modules that a file imports, in functions too: `from a import b` is a.b if that is a module, else a."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = HOUSE.joinpath(*node.module.split("."), alias.name)
                module = whole.is_dir() or whole.with_suffix(".py").is_file()
                found.add(f"{node.module}.{alias.name}" if module else node.module)
    return found


def floor(file: Path) -> int:
    name = file.relative_to(ENGINE).parts[0]
    return FLOORS.index(name) if name in FLOORS else len(FLOORS)


def engine_file(module: str) -> Path | None:
    path = HOUSE.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file if file.is_relative_to(ENGINE) else None


@pytest.mark.parametrize("file", sorted(ENGINE.rglob("*.py")), ids=lambda file: str(file.relative_to(ENGINE)))
def test_the_engine_imports_no_floor_above(file):
    above = {module for module in modules(file) if (other := engine_file(module)) and floor(other) > floor(file)}
    outside = {module for module in modules(file) if module.startswith(("retrievers.training", "retrievers.systems"))}
    assert not above, f"the order is {' < '.join(FLOORS)} < retriever"
    assert not outside, "training and systems are made from the engine"


def test_no_file_of_the_engine_imports_itself_by_way_of_others():
    imported = {
        file: {other for module in modules(file) if (other := engine_file(module))} for file in ENGINE.rglob("*.py")
    }
    while leaves := {file for file, others in imported.items() if not others & imported.keys()}:
        for file in leaves:
            del imported[file]
    assert not imported, "a circle: move what both sides need below them"


def test_help_is_quick_because_imports_are_quiet():
    code = f"import sys, leaderboard.cli; print(*({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_a_file_says_what_it_is_and_stops_in_time(file):
    text = file.read_text()
    assert len(text.splitlines()) <= 400
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "no module docstring"


def test_a_file_of_tests_stops_in_time_too():
    """What several files share stands in helpers/, or in the conftest.py of their room."""
    assert [file.name for file in TESTS.rglob("*.py") if len(file.read_text().splitlines()) > 400] == []


@pytest.mark.parametrize("file", [file for file in FILES if ">>> " in file.read_text()], ids=lambda file: str(file.relative_to(HOUSE)))
def test_the_doctests_of_a_file_are_collected(file, pytestconfig):
    ignored = pytestconfig.hook.pytest_ignore_collect  # says no of a folder with a name that tools skip, such as build
    path_to_it = [file, *file.parents[: len(file.relative_to(HOUSE).parts) - 1]]
    assert not any(ignored(collection_path=path, config=pytestconfig) for path in path_to_it)
    assert pytestconfig.getoption("doctestmodules")
    assert file.relative_to(HOUSE).parts[0] in pytestconfig.getini("testpaths")


def test_no_class_name_is_taken_twice():
    """Whoever searches for a name finds the thing, wherever it is used."""
    classes = Counter(
        node.name
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in classes.items() if times > 1] == []


# kernels that are one loop over registers, whose parts would be functions of ten arrays each; nothing else may be so long
LONG = {
    "byte_attention", "float_attention", "byte_tile", "decoded", "run", "_explicit", "_maxsim_kernel", "exact_maxsim",
}  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_no_function_is_longer_than_forty_lines(file):
    allowed = LONG if file.is_relative_to(ENGINE / "kernels") else set()
    functions = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]
    assert {node.name for node in functions if node.end_lineno - node.lineno >= 40} <= allowed


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(HOUSE)))
def test_what_is_public_says_what_it_is(file):
    """Every function; in lotte every class and method too. Elsewhere most methods are a protocol's, which says what they do."""
    kinds = ast.FunctionDef | ast.ClassDef if file.is_relative_to(HOUSE / "lotte") else ast.FunctionDef
    things = [node for node in ast.parse(file.read_text()).body if isinstance(node, kinds)]
    things = [node for node in things if not node.name.startswith("_")]
    things += [part for node in things if isinstance(node, ast.ClassDef) for part in node.body if isinstance(part, ast.FunctionDef)]
    assert [node.name for node in things if not node.name.startswith("_") and not ast.get_docstring(node)] == []


def test_the_leaderboard_indents_json_nowhere_but_in_artifact():
    """One spelling for what people read and compare line by line: `lotte.artifact.readable`."""
    calls = [
        (str(file.relative_to(HOUSE)), node.lineno)
        for file in FILES
        if file.relative_to(HOUSE).parts[0] == "leaderboard"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dumps", "json.dump")
        if any(keyword.arg == "indent" for keyword in node.keywords)
    ]
    assert calls == []


def test_an_option_of_several_commands_is_written_once():
    """The same option with the same words of help in two places would differ one day."""
    written = [
        ast.unparse(node)
        for file in (HOUSE / "leaderboard" / "cli").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Annotated"
    ]
    assert [text for text, times in Counter(written).items() if times > 1] == []


@pytest.mark.parametrize("name", names())
def test_every_system_is_complete_in_one_file(name):
    system = import_module(f"retrievers.systems.{name}")
    assert system.__doc__ and hasattr(system, "PUBLISHED") and callable(system.retriever)


@pytest.mark.parametrize("name", names())
def test_every_system_is_a_dataclass_with_the_name_of_its_file(name):
    system = import_module(f"retrievers.systems.{name}")
    assert [field.default for field in fields(system.retriever) if is_name(field)] == [name]


@pytest.mark.parametrize("name", catalogue.names(NOWHERE))
def test_every_dataset_can_be_asked_for_by_name(name):
    with pytest.raises(UnavailableError, match="is not there"):
        catalogue.match([name], NOWHERE)


@pytest.mark.parametrize("command", [command.name or command.callback.__name__ for command in app.registered_commands])
def test_every_command_is_in_the_readme_or_a_page_of_docs(command):
    pages = [HOUSE / "README.md", *(HOUSE / "docs").glob("*.md")]
    assert any(f"lotte {command} " in page.read_text() or f"lotte {command}`" in page.read_text() for page in pages)


def addressed(function: ast.FunctionDef) -> set[str]:
    """Return the arrays of a compiled function whose addresses it puts into a tuple, for use behind that line."""
    return {
        argument.value.value.id
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id.startswith("_")
        for argument in call.args
        if isinstance(argument, ast.Attribute) and ast.unparse(argument).endswith(".ctypes.data")
        if isinstance(argument.value, ast.Attribute) and isinstance(argument.value.value, ast.Name)
    }


@pytest.mark.parametrize("file", sorted((ENGINE / "kernels").rglob("*.py")), ids=lambda file: file.stem)
def test_an_array_that_is_used_by_its_address_is_named_behind_the_last_loop(file):
    for function in [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)]:
        loops = [node.end_lineno for node in function.body if isinstance(node, ast.For | ast.While)]
        made = {
            name.id
            for node in function.body if isinstance(node, ast.Assign)
            for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)
        } - {"best"}  # which is named within the loop, at its head
        for array in addressed(function) & made if loops else ():
            named = [node.lineno for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == array]
            assert max(named) > max(loops), f"{file.name}:{function.name}: numba frees {array} while its address is used"
