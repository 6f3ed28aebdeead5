"""Success@5 is what LoTTE's own script says, whichever of its rules is put to the test.

`official` follows evaluate_lotte_rankings.py as it is described, and shares no
line with the project: it reads the files.
"""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboard.measure import Success, mean, score
from lotte import ranking
from lotte.benchmarks.lotte import read
from lotte.errors import CorruptFileError


def official(rankings: Path, qas: Path, k: int = 5) -> float:
    found: dict[int, list[int]] = {}
    for line in rankings.open(encoding="utf-8"):
        qid, pid, rank, *_ = line.strip().split("\t")
        found.setdefault(int(qid), []).append(int(pid))
        assert int(rank) == len(found[int(qid)])
    total = successes = 0
    for line in qas.open(encoding="utf-8"):
        question = json.loads(line)
        total += 1
        first = found.get(question["qid"], [])[:k]
        successes += bool(set(first) & set(question["answer_pids"]))
    return successes / total


def write_topic(folder: Path, passages: int, answers: list[list[int]]) -> Path:
    folder.mkdir(parents=True)
    (folder / "collection.tsv").write_text("".join(f"{pid}\ttext {pid}\n" for pid in range(passages)))
    (folder / "questions.forum.tsv").write_text("".join(f"{qid}\tq {qid}\n" for qid in range(len(answers))))
    (folder / "qas.forum.jsonl").write_text(
        "".join(
            json.dumps({"qid": qid, "query": f"q {qid}", "answer_pids": pids}) + "\n"
            for qid, pids in enumerate(answers)
        )
    )
    return folder


@settings(max_examples=50)
@given(
    answers=st.lists(st.lists(st.integers(0, 29), max_size=6), min_size=1, max_size=12),
    seed=st.integers(0, 9999),
    silent=st.floats(0, 1),
)
def test_random_rankings_score_the_same(tmp_path_factory, answers, seed, silent):
    """Queries left out, short lists, lines of several queries in any mixture, questions without an answer."""
    root, draw = tmp_path_factory.mktemp("lotte"), random.Random(seed)
    topic = write_topic(root / "science" / "test", 30, answers)
    rankings = {
        qid: draw.sample(range(30), draw.randrange(1, 12)) for qid in range(len(answers)) if draw.random() >= silent
    }
    turns = [qid for qid, pids in rankings.items() for _ in pids]
    if not turns:
        return
    draw.shuffle(turns)
    place = dict.fromkeys(rankings, 0)
    path = root / "science.forum.ranking.tsv"
    with path.open("w") as file:
        for qid in turns:
            pid, place[qid] = rankings[qid][place[qid]], place[qid] + 1
            file.write(f"{qid}\t{pid}\t{place[qid]}\t{draw.random()}\n")
    dataset = read(topic, "forum")
    run = ranking.read(path, dataset.queries, dataset.corpus.doc_ids).filled(dataset.queries)
    assert mean(score(run, dataset.qrels, Success @ 5)) == pytest.approx(official(path, topic / "qas.forum.jsonl"))


def test_what_we_write_the_official_script_scores_the_same(tmp_path):
    topic = write_topic(tmp_path / "science" / "test", 30, [[1, 2], [3], [29], [7]])
    dataset = read(topic, "forum")
    from lotte import Run

    run = Run.of({"0": {"5": 1.0, "1": 1.0}, "1": {"4": 1.0}, "2": {}, "3": {str(p): p for p in range(12)}}, depth=10)
    ranking.write_lotte(tmp_path / "r.tsv", run)
    assert (
        official(tmp_path / "r.tsv", topic / "qas.forum.jsonl") == mean(score(run, dataset.qrels, Success @ 5)) == 0.5
    )


def test_a_rank_that_the_script_asserts_on_is_an_error_that_says_so(tmp_path):
    topic = write_topic(tmp_path / "science" / "test", 30, [[1]])
    (tmp_path / "r.tsv").write_text("0\t1\t1\t1.0\n0\t2\t3\t0.5\n")
    with pytest.raises(AssertionError):
        official(tmp_path / "r.tsv", topic / "qas.forum.jsonl")
    with pytest.raises(CorruptFileError, match=r"r\.tsv:2: found rank '3'"):
        ranking.read(tmp_path / "r.tsv", ["0"], ["1", "2"])
