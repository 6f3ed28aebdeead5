"""What GitHub reads in .github/ is well formed, and the workflows call targets and files that are there."""

import re

import pytest
from places import HOUSE

yaml = pytest.importorskip("yaml")
WORKFLOWS = sorted((HOUSE / ".github" / "workflows").glob("*.yml"))
FORMS = [path for path in sorted((HOUSE / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_targets_that_the_makefile_has(workflow):
    targets = re.findall(r"^([a-z]+):", (HOUSE / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"run: make ([a-z]+)", workflow.read_text())) <= set(targets)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_unless_a_job_says_more(workflow):
    assert yaml.safe_load(workflow.read_text())["permissions"] in ({"contents": "read"}, {})


def test_one_workflow_alone_publishes_pages():
    assert [path.name for path in WORKFLOWS if "deploy-pages" in path.read_text()] == ["pages.yml"]


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_what_github_wants(form):
    read = yaml.safe_load(form.read_text())
    assert {"name", "description", "body"} <= read.keys()
    ids = [part["attributes"]["label"] for part in read["body"]]
    assert len(ids) == len(set(ids)) and all(part["type"] in ("input", "textarea") for part in read["body"])
