"""What is printed is shown and never obeyed: nothing that a stranger wrote changes a terminal's state."""

import json
import re
import subprocess
import sys
from importlib import import_module

import pytest
from command import error, lotte
from places import HOUSE, TINY

from leaderboard.cli.explain import coloured
from lotte import terminal
from lotte.progress import Progress
from retrievers.retriever import Answer

HOSTILE = "bell\x07 title\x1b]0;owned\x07 red\x1b[31m back\x08 del\x7f csi\x9b2J turned\u202e isolate\u2066 half\ud800"
command_line = import_module("leaderboard.cli.main")  # the module: the package has its function under that name
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def test_every_character_that_a_terminal_obeys_is_spelled_and_no_other():
    everything = "".join(map(chr, [*range(0x3000), *range(0xD7F0, 0xE010), 0xFEFF, 0x1F600]))
    spelled = [one for one in everything if terminal.visible(one) != one]
    wanted = [*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)]
    assert [ord(one) for one in spelled] == wanted


def test_it_is_spelled_as_python_does():
    assert terminal.visible("a\x1bb\x9bc\nd\u202e") == r"a\x1bb\x9bc\nd\u202e"


def test_a_cell_is_one_cell_of_one_line():
    assert terminal.cell("a\tb\r\nc\u2028d\x1b") == r"a b c d\x1b"


def test_json_has_the_same_value_and_nothing_to_obey():
    line = terminal.json_line({HOSTILE[:-1]: [HOSTILE, "caf\u00e9"]})
    assert json.loads(line) == {HOSTILE[:-1]: [HOSTILE, "caf\u00e9"]}
    assert not OBEYED.search(line) and "caf\u00e9" in line


def test_a_title_of_long_work_is_made_visible(capsys):
    with Progress(2, "files", HOSTILE) as progress:
        progress._show(1.0)
    assert not OBEYED.search(capsys.readouterr().err)


def test_words_that_are_coloured_are_made_visible_first():
    assert not OBEYED.search(coloured([Answer("red\x1b[0m", "wing\x9b", 0, 0.5)]).plain)


@pytest.fixture
def index(tmp_path):
    (tmp_path / "collection.tsv").write_text("0\tred \x1b]0;owned\x07\x1b[2J wing \u009b31m \u202e\n1\tblue\n", encoding="utf-8")
    done = lotte("index", tmp_path / "collection.tsv", "--retriever", "bm25", "--out", tmp_path / "index")
    assert done.returncode == 0, done.stderr
    return tmp_path / "index"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_document_cannot_write_to_the_terminal(index, form):
    done = lotte("search", index, "red wing", *form)
    assert "owned" in done.stdout and not OBEYED.search(done.stdout + done.stderr)


def test_an_error_line_shows_the_name_of_a_file_and_stays_one_line():
    shown = error("eval", "no/\x1b[31m\nerror: such", "--retriever", "bm25")
    assert not OBEYED.search(shown) and "\\x1b[31m" in shown


def test_a_record_cannot_write_to_the_terminal(tmp_path):
    done = lotte("eval", TINY / "science/test/search", "--retriever", "overlap", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "out/overlap/lotte/science/test/search.json"
    path.write_text(path.read_text().replace('"overlap"', r'"overlap\u001b[31m"'))
    done = lotte("board", "verify", tmp_path / "out")
    assert done.returncode == 1 and not OBEYED.search(done.stdout + done.stderr)


CLOSED = "error: stdout is closed (>&-), and nothing can be printed; send it to a file or to /dev/null"


def closed(index, closing, *words):
    """Run a command with a stream closed, as a shell does it."""
    line = f'exec "$@" {closing}'
    return subprocess.run(
        ["sh", "-c", line, "sh", sys.executable, "-m", "leaderboard.cli", *words], capture_output=True, text=True, cwd=HOUSE
    )


@pytest.mark.parametrize("words", [["search", "INDEX", "red wing"], ["search", "INDEX", "red", "--json"], ["list", "measures"]])
def test_data_that_nobody_can_get_is_an_error(index, words):
    done = closed(index, ">&-", *(str(index) if word == "INDEX" else word for word in words))
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, CLOSED)


def test_talk_is_no_data_when_stderr_is_closed(index):
    done = closed(index, "2>&-", "search", str(index), "ice", "--explain")
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("compiled", [False, True])
def test_torch_s_folder_for_what_it_compiles_is_left_only_if_there_is_something_in_it(tmp_path, monkeypatch, compiled):
    monkeypatch.delenv(command_line.COMPILED, raising=False)
    monkeypatch.setattr(command_line.signal, "signal", lambda number, handler: None)

    def app():  # what building an optimiser of torch does
        monkeypatch.setenv(command_line.COMPILED, str(tmp_path / "torchinductor"))
        (tmp_path / "torchinductor").mkdir()
        if compiled:
            (tmp_path / "torchinductor" / "kernel.so").touch()

    monkeypatch.setattr(command_line, "app", app)
    command_line.main()
    assert (tmp_path / "torchinductor").exists() is compiled
