"""What README.md and docs/start.md show is what happens: each command that is shown with its output, and the Python."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from places import HOUSE

SAMPLE = HOUSE / "lotte" / "sample"


def shown(page: Path) -> list[tuple[str, list[str]]]:
    """Return the commands of a page that have output, with the lines of it."""
    commands: list[tuple[str, list[str]]] = []
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("    $ "):
            commands.append((line.removeprefix("    $ "), []))
            inside = True
        elif inside and line.startswith("    "):
            commands[-1][1].append(line.removeprefix("    "))
        else:
            inside = False
    return [(command, lines) for command, lines in commands if lines]


def python(page: Path) -> str:
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return block


def run(folder: Path, *words: str) -> str:
    env = os.environ | {"PYTHONPATH": str(HOUSE), "HF_HUB_OFFLINE": "1", "LOTTE_HOME": str(folder / "home")}
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout or done.stderr  # where there is no data, what is said


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_what_a_page_shows_is_what_is_printed(tmp_path, page):
    (tmp_path / "lotte").mkdir()
    (tmp_path / "lotte" / "sample").symlink_to(SAMPLE)
    commands = shown(HOUSE / page)
    assert len(commands) >= 6
    for command, expected in commands:
        program, *words = shlex.split(command)
        assert program == "lotte"
        printed = run(tmp_path, "-m", "leaderboard.cli", *words).splitlines()
        if expected[-1] == "...":
            expected, printed = expected[:-1], printed[: len(expected) - 1]
        pattern = "\n".join(re.escape(line).replace(r"\.\.\.", ".*") for line in expected)
        assert re.fullmatch(pattern, "\n".join(printed)), f"{command}\n" + "\n".join(printed)
    assert run(tmp_path, "-c", python(HOUSE / page)) == "0.8125\n"


def test_the_readme_is_read_in_a_minute_or_two():
    assert len((HOUSE / "README.md").read_text().splitlines()) <= 75


@pytest.mark.parametrize(
    "page", [HOUSE / "README.md", *(HOUSE / ".github").glob("*.md"), HOUSE / "examples" / "README.md"]
)
def test_a_link_leads_to_a_file_that_is_there(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    gone = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert gone == []
