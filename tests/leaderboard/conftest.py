"""What several tests of this room are given."""

from itertools import product
from pathlib import Path

import pytest
from command import lotte
from made_records import EVIL, made
from places import HOUSE

from leaderboard.board import site
from leaderboard.evaluate import Order, evaluate
from lotte import reading
from retrievers import load


@pytest.fixture(scope="session")
def science_build(tmp_path_factory) -> Path:
    """A build of the sample, one topic and its pool."""
    out = tmp_path_factory.mktemp("publish") / "mini"
    sample = HOUSE / "lotte" / "sample"
    words = ("--dumps", sample / "dumps", "--gooaq", sample / "gooaq.jsonl", "--spec", sample / "spec.toml")
    done = lotte("build", *words, "--topic", "science", "--out", out, "--workers", 1)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def evil_data(tmp_path_factory) -> Path:
    """A data folder with a small collection whose texts are attacks."""
    folder = tmp_path_factory.mktemp("data") / "evil"
    folder.mkdir()
    plain = EVIL.replace("\u2028", " ")
    words = ("apple", "pear", "plum", "fig", "quince", "lime")
    docs = [f"{number}\t{word} {plain} {word * (number % 3)}\n" for number, word in enumerate(words)]
    queries = [f"{number}\t{word} {plain if number else ''}\n" for number, word in enumerate(words)]
    (folder / "collection.tsv").write_text("".join(docs), encoding="utf-8")
    (folder / "queries.test.tsv").write_text("".join(queries), encoding="utf-8")
    (folder / "qrels.test.tsv").write_text("".join(f"{number}\t0\t{(number * 2) % 6}\t1\n" for number in range(6)))
    return folder.parent


@pytest.fixture(scope="session")
def evil_results(tmp_path_factory, evil_data) -> Path:
    """Results: systems that were really run, a whole LoTTE of made ones, attacks, and files that are not records."""
    folder = tmp_path_factory.mktemp("results")
    datasets = reading.read(evil_data / "evil")
    for number, (system, options) in enumerate([("overlap", []), ("bm25", []), ("bm25", ["k1=0"])]):
        done = list(evaluate(system, load(system, options), datasets, Order(out=folder / str(number), k=10)))
        assert done
    topics = ("writing", "recreation", "science", "technology", "lifestyle", "pooled")
    for number, (topic, kind) in enumerate(product(topics, ("search", "forum"))):
        for system, values in (("dull", [0, 0, 1, 0] * 4), ("bright", [1, 1, 1, number % 2] * 4)):
            name = f"lotte/{topic}/test/{kind}"
            family = {"name": system, "family": "dense", "model": {"id": "m", "parameters": 2e8}}
            one = made(system, name, values, retriever=family if system == "dull" else {"name": system})
            one.write(folder / "made" / system / f"{name}.json")
    made(EVIL, "a/" + EVIL, retriever={"name": EVIL, "family": EVIL, "options": {EVIL: [EVIL]}}, cost={"index_bytes": EVIL},
         implementation={"command": EVIL}, verification={"level": EVIL, "log": [{"what": EVIL}]},
         contamination=[{"level": EVIL, "evidence": EVIL}]).write(folder / "evil.json")  # fmt: skip
    made("other", "imported", verification={"level": "imported"}).write(folder / "imported.json")
    (folder / "broken.json").write_text('{"schema": "lotte-result/1", "id"')
    return folder


@pytest.fixture(scope="session")
def evil_site_says() -> list[str]:
    return []


@pytest.fixture(scope="session")
def evil_site(tmp_path_factory, evil_results, evil_data, evil_site_says) -> Path:
    out = tmp_path_factory.mktemp("site") / "board"
    assert site.build(evil_results, out, evil_site_says.append, data=evil_data) == out / "index.html"
    return out
