"""Weights of a hybrid are chosen on judged questions, cross-validated, and the record says how."""

import json
from pathlib import Path

import numpy as np
import pytest
from command import error, lotte
from places import TINY

from lotte import Doc, Docs, Run
from lotte.collection import Collection
from lotte.dataset import Dataset
from lotte.errors import LotteError
from retrievers import load, tuning
from retrievers.fusion import METHODS

QUESTIONS = [f"q{number}" for number in range(12)]


def rankings(good: float, seed: int = 0) -> list[Run]:
    """Two rankings of twelve questions: the first has the answer on top, the second puts it anywhere."""
    draw = np.random.default_rng(seed)
    first = {query: {f"d{n}": good * (12 - n) for n in range(12)} for query in QUESTIONS}
    second = {query: dict(zip([f"d{n}" for n in range(12)], draw.normal(size=12).tolist(), strict=True)) for query in QUESTIONS}
    return [Run.of(first, depth=12), Run.of(second, depth=12)]


DATA = Dataset(
    name="toy", corpus=Docs(()), queries={query: f"what is {query}" for query in QUESTIONS},
    qrels={query: {"d0": 1} for query in QUESTIONS}, measure="nDCG@10",
)  # fmt: skip


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_ranking_that_is_right_gets_the_weight(method):
    found = tuning.tune(DATA, lambda queries: rankings(1.0), method)
    right, drawn = found.facts["each_alone"]
    assert right == 1.0 >= found.facts["cross_validated"] > drawn
    lists = [[dict(run.hits[query]) for run in rankings(1.0)] for query in QUESTIONS]
    assert [max(one := METHODS[method](some, found.weights), key=one.get) for some in lists] == ["d0"] * 12


def test_of_equally_good_weights_the_most_even_ones_are_taken():
    both = [rankings(1.0)[0]] * 2
    assert tuning.tune(DATA, lambda queries: both, "convex").weights == [0.5, 0.5]


def test_raw_scores_are_weighed_by_how_far_they_are_apart():
    """As in equation 7 the last has the weight 1."""
    big = tuning.tune(DATA, lambda queries: rankings(1000.0), "scores").weights
    small = tuning.tune(DATA, lambda queries: rankings(1.0), "scores").weights
    assert big[1] == small[1] == 1.0
    assert big[0] == pytest.approx(small[0] / 1000, rel=1e-3)


def test_a_question_is_answered_by_weights_that_it_had_no_part_in():
    """One question alone says otherwise; the weights that answer it are those of the others."""
    first, second = rankings(1.0)
    odd = "q3"
    upside_down = {**{query: dict(first.hits[query]) for query in QUESTIONS}, odd: {f"d{n}": float(n) for n in range(12)}}
    runs = [Run.of(upside_down, depth=12), second]
    with_it = tuning.tune(DATA, lambda queries: runs, "convex")
    others = [query for query in QUESTIONS if query != odd]
    data = Dataset(name="toy", corpus=Docs(()), queries={query: DATA.queries[query] for query in others}, qrels=DATA.qrels, measure="nDCG@10")  # fmt: skip
    assert tuning.tune(data, lambda queries: runs, "convex").facts["each_alone"][0] == 1.0 > with_it.facts["each_alone"][0]
    fold = with_it.facts["weights_of_folds"][int((np.random.default_rng(0).permutation(12) % 5)[QUESTIONS.index(odd)])]
    assert with_it.of("what is q3") == fold
    assert with_it.of("a question of somebody else") == with_it.weights


def test_three_systems_are_weighed_too():
    runs = [*rankings(1.0), rankings(1.0, seed=1)[1]]
    found = tuning.tune(DATA, lambda queries: runs, "convex")
    assert len(found.weights) == 3 and sum(found.weights) == pytest.approx(1)
    assert len(found.facts["each_alone"]) == 3


def test_the_measure_is_ndcg():
    """1/log2(3) + 2/log2(4) over 2 + 1/log2(3) + 1/log2(4)."""
    judged = {"a": 1, "b": 2, "c": 0, "d": 1}
    scores = {"c": 9.0, "a": 8.0, "b": 7.0}
    log3 = np.log2(3)
    assert tuning.ndcg(scores, judged) == pytest.approx((1 / log3 + 1.0) / (2 + 1 / log3 + 0.5))


def dataset(folder: Path, rows: int = 12) -> Path:
    """Write a set whose question q speaks of a word of passage q."""
    folder.mkdir()
    words = "bread star router soil kitchen garden server light yeast moon water plant".split()
    (folder / "collection.tsv").write_text("".join(f"{n}\tthe {word} and the {words[n - 1]}\n" for n, word in enumerate(words)))
    (folder / "queries.train.tsv").write_text("".join(f"{n}\tmy {words[n]} {words[n - 1]}\n" for n in range(rows)))
    (folder / "qrels.train.tsv").write_text("".join(f"{n}\t0\t{n}\t1\n" for n in range(rows)))
    return folder


def test_the_system_tunes_and_its_record_says_so(tmp_path):
    folder = dataset(tmp_path / "toy")
    options = ["of=bm25+overlap", "method=convex", "weights=tuned", f"train={folder / 'train'}"]
    index = load("hybrid", options).index(Collection(folder / "collection.tsv"), tmp_path / "index")
    queries = {"0": "my bread plant", "new": "the moon"}
    assert index.search(queries, k=5).doc_ids("new")
    facts = index.search_facts(queries, k=5)
    assert facts["tuned"]["questions"] == 12 and facts["tuned"]["data"] and facts["tuned"]["folds"] == 5
    assert facts["tuned"]["asked_and_tuned_on"] == 1
    assert facts["weights"] == facts["tuned"]["weights"]


def test_an_index_does_not_make_anybody_read_a_folder(tmp_path):
    folder = dataset(tmp_path / "toy")
    options = ["of=bm25+overlap", "weights=tuned", f"train={folder / 'train'}"]
    load("hybrid", options).index(Collection(folder / "collection.tsv"), tmp_path / "index")
    assert "train" not in json.loads((tmp_path / "index" / "meta.json").read_text())["recipe"]["options"]
    line = error("search", tmp_path / "index", "the moon")
    assert line.endswith("weights=tuned needs train=FOLDER, the judged queries to tune them on")


@pytest.mark.parametrize("options", [["weights=tuned"], ["weights=1,1", "train=x"], ["train=x"]])
def test_tuning_and_its_questions_go_together(options):
    with pytest.raises(LotteError, match="weights=tuned needs train=FOLDER"):
        load("hybrid", ["of=bm25+overlap", *options])


def test_questions_of_another_collection_are_one_line(tmp_path):
    folder = dataset(tmp_path / "toy")
    docs = Docs(tuple(Doc(f"x{row}", "the moon") for row in range(9)))
    index = load("hybrid", ["of=bm25+overlap", "weights=tuned", f"train={folder / 'train'}"]).index(docs, tmp_path / "index")
    with pytest.raises(LotteError, match="0 of 12 queries have a relevant document among those that are searched"):
        index.search({"q": "moon"}, k=3)


def test_a_folder_with_several_sets_is_one_line(tmp_path):
    with pytest.raises(LotteError, match="holds 2 sets of questions; name one"):
        tuning.read(TINY / "science" / "test", ["0"])


def test_the_command_tunes(tmp_path):
    folder = dataset(tmp_path / "toy")
    words = ["-o", "of=bm25+overlap", "-o", "method=convex", "-o", "weights=tuned", "-o", f"train={folder / 'train'}"]
    done = lotte("eval", folder / "train", "--retriever", "hybrid", *words, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "out").rglob("*.json")
    assert json.loads(record.read_text())["retriever"]["search"]["tuned"]["asked_and_tuned_on"] == 12
