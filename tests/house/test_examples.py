"""Each script in examples/ runs by itself from another folder, and prints what it should."""

import os
import subprocess
import sys

import pytest
from places import HOUSE

EXAMPLES = HOUSE / "examples"
PRINTED = {  # script -> a line of its output
    "01_build_index_search.py": "lotte/technology/test/search  Success@5  0.8125",
    "02_compare_systems.py": "overlap is better on 2, bm25 on 23, equal on 43",
    "03_retriever_of_your_own.py": "MRR@10  1.0000",
    "04_dataset_of_your_own.py": "beir/kitchen: 3 documents, 2 queries",
    "05_ranking_of_somebody_else.py": "Success@1  0.3333",
}


@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_prints_what_it_should(tmp_path, script):
    env = os.environ | {"PYTHONPATH": str(HOUSE), "HF_HUB_OFFLINE": "1", "LOTTE_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, EXAMPLES / script], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert PRINTED[script] in done.stdout.splitlines()


def test_the_readme_of_the_examples_names_each():
    text = (EXAMPLES / "README.md").read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f"]({path.name})" not in text] == []
