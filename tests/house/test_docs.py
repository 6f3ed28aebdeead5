"""The site of docs/ builds without a warning: no dead link, no missing page, a page for every command and public module."""

import importlib.util
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from places import HOUSE

from leaderboard.cli import app

NEEDS = ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers")
LACKING = [name for name in NEEDS if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}; `make docs` installs them")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1", "LOTTE_REPOSITORY": "https://example.org/lotte"}
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def docs_site():
    spec = importlib.util.spec_from_file_location("docs_site", HOUSE / "tools" / "docs_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def led(docs_site, text: str, repo_url: str = "") -> str:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="here.md"))
    config = SimpleNamespace(docs_dir=str(HOUSE / "docs"), repo_url=repo_url)
    return docs_site.on_page_markdown(text, page=page, config=config, files=None)


def test_every_page_of_docs_is_on_the_site(site):
    assert {path.stem for path in (HOUSE / "docs").glob("*.md")} <= {path.stem for path in site.glob("*.html")}


def test_the_reference_has_every_command(site):
    page = (site / "reference" / "commands.html").read_text()
    assert {command.name or command.callback.__name__ for command in app.registered_commands} <= set(
        re.findall(r'id="lotte-([a-z]+)"', page)
    )


def test_the_reference_has_what_the_packages_export(site):
    page = (site / "reference" / "lotte.html").read_text()
    assert 'id="lotte.run.Run"' in page and 'id="lotte.reading.read"' in page


def test_nothing_on_the_site_is_loaded_from_elsewhere(site):
    loaded = re.compile(
        r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)"|<link[^>]+stylesheet[^>]+href="(https?:[^"]+)"'
    )
    assert [found for path in site.rglob("*.html") for found in loaded.findall(path.read_text())] == []


def test_a_link_out_of_docs_leads_to_the_repository(docs_site):
    text = led(docs_site, "[the code](../lotte/run.py)", "https://example.org/lotte/")
    assert text == "[the code](https://example.org/lotte/blob/main/lotte/run.py)"


def test_a_link_out_of_docs_is_text_where_no_repository_is_known(docs_site):
    assert led(docs_site, "[the code](../lotte/run.py)") == "the code"


def test_a_link_to_a_file_that_is_not_there_is_a_warning(docs_site, caplog):
    with caplog.at_level(logging.WARNING):
        led(docs_site, "[the code](../lotte/gone.py)")
    assert "a link leads to ../lotte/gone.py, which is not there" in caplog.text


def test_columns_and_doctests_of_docstrings_are_code():
    spec = importlib.util.spec_from_file_location("docs_columns", HOUSE / "tools" / "docs_columns.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.columns_kept("What it is.\n\nrows  how many\n\n>>> 1 + 1\n2\n\nAn end.")
    assert text == "What it is.\n\n```text\nrows  how many\n```\n\n```pycon\n>>> 1 + 1\n2\n```\n\nAn end."
