"""Commands without the packages of one extra, or of all: what needs none runs, and what lacks one names its extra."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tiny_checkpoint
from places import HOUSE

from lotte.extras import EXTRAS

TINY = HOUSE / "tests" / "tiny" / "lotte"
SCIENCE = TINY / "science" / "test"
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
ROOMS = ("lotte", "retrievers", "leaderboard")
BESIDE = {
    "torch",
    "transformers",
    "triton",
    "pandas",
    "scipy",
    "tensorboard",
}  # of no extra, or of what an extra brings
IMPORTED_AS = {"bs4": "beautifulsoup4", "markdown_it": "markdown-it-py", "Stemmer": "pystemmer", "yaml": "pyyaml",
               "pytrec_eval": "pytrec-eval-terrier", "qdrant_client": "qdrant-client", "markupsafe": "jinja2",
               "faiss": "faiss-cpu", "sentence_transformers": "sentence-transformers",
               "llvmlite": "numba", "huggingface_hub": "tokenizers"}  # fmt: skip

HIDE = """
import importlib.machinery, importlib.metadata, sys
hidden, distribution = {hidden!r}, importlib.metadata.distribution
finder = importlib.machinery.PathFinder
find = finder.find_spec
finder.find_spec = classmethod(lambda cls, name, *rest: None if name in hidden else find(name, *rest))
def shown(name):
    if name in hidden:
        raise importlib.metadata.PackageNotFoundError(name)
    return distribution(name)
importlib.metadata.distribution = shown
"""


def without(packages: "set[str] | list[str]", folder: Path, code: str) -> "subprocess.CompletedProcess[str]":
    """Run Python code in a process in which some packages are not installed, as far as it can tell."""
    env = {**os.environ, "LOTTE_HOME": str(TINY), "COLUMNS": "100", "PYTHONPATH": str(HOUSE), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", HIDE.format(hidden=sorted(packages)) + code]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=300)


def lotte(packages: "set[str] | list[str]", folder: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    argv = ["lotte", *map(str, words)]
    return without(packages, folder, f"from leaderboard.cli import main; sys.argv = {argv!r}; main()")


LATE = ("index", SCIENCE, "--out", "index", "--retriever", "colbertv2", "-o", "checkpoint=shipped")

DENSE = ("index", SCIENCE, "--out", "index", "--retriever", "dense", "-o", "checkpoint=bi-encoder")


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("numba", LATE),
        ("llvmlite", LATE),
        ("tokenizers", LATE),
        ("safetensors", LATE),
        ("matplotlib", ("describe", SCIENCE, "--plot", "lengths.png")),
        ("regex", ("eval", "openqa/curatedtrec/test", "--data", ".", "--retriever", "bm25")),
        ("yaml", ("board", "import", "run.trec", "--dataset", SCIENCE / "search", "--system", "somebody's")),
        ("torch", ("train", "colbertv2", SCIENCE, "--out", "run")),
        ("torch", ("train", "crossencoder", SCIENCE, "--out", "run")),
        ("transformers", ("train", "colbertv2", SCIENCE, "--out", "run")),
        ("sentence_transformers", DENSE),
        ("torch", DENSE),
        ("sentence_transformers", ("index", SCIENCE, "--out", "index", "--retriever", "splade", "-o", "checkpoint=splade")),
        ("faiss", (*DENSE, "-o", "search=hnsw")),
        ("torch", ("train", "tct_colbert", SCIENCE, "--out", "run")),
        ("faiss", ("index", SCIENCE, "--out", "index", "--retriever", "colbert", "-o", "checkpoint=shipped")),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_command_that_lacks_a_package_names_its_extra(tmp_path, package, words):
    (tmp_path / "run.trec").write_text("# ir_metadata.start\n# a: [1]\n# ir_metadata.end\n0 Q0 3 1 2.0 t\n")
    tiny_checkpoint.write(tmp_path / "bi-encoder", "plain")
    if "checkpoint=splade" in words:
        tiny_checkpoint.masked_lm(tmp_path / "splade")
    openqa = tmp_path / "openqa"
    openqa.mkdir()
    (openqa / "psgs_w100.tsv").write_text("id\ttext\ttitle\n1\tplain text\ta title\n")
    (openqa / "curatedtrec-test.qa.csv").write_text('{"question": "q", "answer": ["pl.in"]}\n')
    done = lotte([package], tmp_path, *words)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and f" needs {package}, which is not installed: " in last
    assert last.endswith(f"pip install 'lotte-bench[{EXTRAS[package]}]'")


def test_a_board_without_plotly_is_made_and_says_what_it_lacks(tmp_path):
    lotte([], tmp_path, "eval", SCIENCE, "--retriever", "overlap")
    done = lotte(["plotly"], tmp_path, "board", "build", "--out", "site")
    assert (
        done.returncode == 0
        and "without plotly, which is not installed: pip install 'lotte-bench[board]'" in done.stderr
    )


def test_the_demo_without_any_extra_leaves_out_the_system_that_needs_one(tmp_path):
    done = lotte({*EXTRAS, *BESIDE}, tmp_path, "demo")
    assert done.returncode == 0, done.stderr
    assert re.search(r"colbertv2 is left out: .*pip install 'lotte-bench\[colbert\]'", done.stderr)
    assert done.stdout.splitlines()[0].split("\t")[3:] == ["overlap", "rank_bm25", "bm25"]


@pytest.mark.parametrize("words", [("--help",), ("list", "retrievers"), ("list", "datasets"), ("describe", SCIENCE)])
def test_what_needs_no_extra_runs_without_any(tmp_path, words):
    done = lotte({*EXTRAS, *BESIDE}, tmp_path, *words)
    assert done.returncode == 0, done.stderr


def test_the_packages_import_without_any_extra(tmp_path):
    code = "import lotte, retrievers, leaderboard; lotte.read; retrievers.load('bm25')"
    assert without({*EXTRAS, *BESIDE}, tmp_path, code).returncode == 0


def test_a_package_that_does_not_fit_the_machine_is_one_line(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('libfreetype.so.6: cannot open shared object file')")
    done = without([], tmp_path, "sys.path.insert(0, '.'); from leaderboard.cli import main; "
                   f"sys.argv = ['lotte', 'describe', {str(SCIENCE)!r}, '--plot', 'x.png']; main()")  # fmt: skip
    assert done.stderr.splitlines()[-1].endswith(
        "which cannot be imported here: libfreetype.so.6: cannot open shared object file"
    )


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[><=;! ]", one)[0].lower() for one in requirements}


@pytest.mark.parametrize("package", EXTRAS)
def test_an_extra_brings_what_the_table_says(package):
    assert IMPORTED_AS.get(package, package) in names(PROJECT["optional-dependencies"][EXTRAS[package]])


def test_every_import_is_of_a_package_that_something_brings():
    base = names(PROJECT["dependencies"])
    for file in (one for room in ROOMS for one in (HOUSE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) else []
            for package in {module.partition(".")[0] for module in modules}:
                ours = package in sys.stdlib_module_names or package in (*ROOMS, "_typeshed", "triton")  # of torch's
                assert ours or package in EXTRAS or IMPORTED_AS.get(package, package) in base, (file, package)
