"""Our runs, read and scored, give what trec_eval prints: each measure, each query, each digit.

The files are trec_eval's own test suite (github.com/usnistgov/trec_eval, f425365).
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytrec_eval

from leaderboard.measure import AP, MRR, Measure, P, R, Success, mean, nDCG, scores
from lotte import Qrels, Run, ranking

OURS = {
    "map": AP,
    "map_cut": AP,
    "recip_rank": MRR,
    "P": P,
    "recall": R,
    "ndcg": nDCG,
    "ndcg_cut": nDCG,
    "success": Success,
}
TEXTS = {"runid", "relstring", "relstring_20"}  # printed, and no numbers
# the trec_eval inside pytrec_eval counts these otherwise than the one that printed the files; no result of ours has them
OLDER = ("iprec_at_recall", "11pt_avg")
CUT_OFFS = {  # of out.test.meas_params, beside the usual ones
    "P": "P.3,5,7,10,15,20,30,100,200,500,1000",
    "recall": "recall.5,10,15,20,30,100,200,500,1000,2000",
    "ndcg_cut": "ndcg_cut.5,10,15,20,23,30,100,200,500,1000",
    "success": "success.1,2,5,10,20",
}

CASES = [  # judgments, run, what is printed, queries in the mean, depth, relevance level
    ("qrels.test", "results.test", "out.test", "answered", None, 1),
    ("qrels.test.with-comments", "results.test", "out.test", "answered", None, 1),
    ("qrels.comment.test", "results.comment.test", "out.comment.test", "answered", None, 1),
    ("qrels.test", "results.test", "out.test.a", "answered", None, 1),
    ("qrels.test", "results.test", "out.test.aq", "answered", None, 1),
    ("qrels.test", "results.trunc", "out.test.aqc", "judged", None, 1),
    ("qrels.test", "results.trunc", "out.test.aqcM", "judged", 100, 1),
    ("qrels.rel_level", "results.test", "out.test.aql", "answered", None, 2),
    ("qrels.test", "results.test", "out.test.meas_params", "answered", None, 1),
]


def read_qrels(path: Path) -> Qrels:
    qrels: dict[str, dict[str, int]] = {}
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            query_id, _, doc_id, relevance = line.split()[:4]
            qrels.setdefault(query_id, {})[doc_id] = int(relevance)
    return qrels


def read_run(path: Path, qrels: Qrels) -> Run:
    rows = [line.split() for line in path.read_text().splitlines()]
    return ranking.read(path, {row[0] for row in rows} | qrels.keys(), sorted({row[2] for row in rows}))


def printed(path: Path) -> Iterator[tuple[str, str, str]]:
    for line in path.read_text().splitlines():
        measure, query_id, value = line.split()[:3]
        if measure not in TEXTS:
            yield measure, query_id, value


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}")
def test_everything_that_trec_eval_prints_and_pytrec_eval_supports(shared, case):
    judgments, results, expected, average, depth, level = case
    root = shared / "trec_eval_tests" / "test"
    qrels, run = inputs(root, judgments, results, average, depth)
    asked = [CUT_OFFS.get(name, name) for name in pytrec_eval.supported_measures if name not in TEXTS]
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, asked, relevance_level=level)
    values = evaluator.evaluate({query_id: dict(hits) for query_id, hits in run.hits.items()})
    supported = next(iter(values.values())).keys()
    compared = 0
    for measure, query_id, value in printed(root / expected):
        if measure not in supported or measure.startswith(OLDER):
            continue
        if query_id == "all":
            got = pytrec_eval.compute_aggregated_measure(measure, [one[measure] for one in values.values()])
        else:
            got = values[query_id][measure]
        assert (f"{got:.4f}" if "." in value else f"{got:.0f}") == value, (measure, query_id)
        compared += 1
    assert compared >= 18


def inputs(root: Path, judgments: str, results: str, average: str, depth: int | None) -> tuple[Qrels, Run]:
    qrels = read_qrels(root / judgments)
    run = read_run(root / results, qrels)
    if average == "answered":
        qrels = {query_id: judged for query_id, judged in qrels.items() if query_id in run.hits}
    return qrels, (run.cut(depth) if depth else run).filled(qrels)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}")
def test_our_measures_too_through_our_own_mean(shared, case):
    judgments, results, expected, average, depth, level = case
    root = shared / "trec_eval_tests" / "test"
    qrels, run = inputs(root, judgments, results, average, depth)
    wanted = {measure: ours(measure) for measure, _, _ in printed(root / expected) if ours(measure)}
    values = scores(run, qrels, filter(None, wanted.values()), level=level)
    assert len(wanted) >= 10
    for measure, query_id, value in printed(root / expected):
        if mine := wanted.get(measure):
            got = mean(values[mine]) if query_id == "all" else values[mine][query_id]
            assert f"{got:.4f}" == value, (measure, query_id)


def ours(printed_name: str) -> Measure | None:
    parts = re.fullmatch(r"([A-Za-z_]+?)(?:_(\d+))?", printed_name)
    if not parts or parts[1] not in OURS:
        return None
    return OURS[parts[1]] @ int(parts[2]) if parts[2] else OURS[parts[1]]


def test_ms_marcos_figures_in_every_digit(shared):
    root = shared / "msmarco_ans_small_runs"
    qrels = read_qrels(root / "qrels.dev.small.tsv")
    path = root / "run.bm25.dev.small.tsv"
    doc_ids = sorted({line.split()[1] for line in path.read_text().splitlines()})
    run = ranking.read(path, qrels, doc_ids)
    values = scores(run, qrels, [MRR @ 10, Success @ 50, Success @ 1000])
    printed = dict(re.findall(r"(\S+ @\d+): (\S+)", (root / "scores.txt").read_text()))
    in_file_order = [values[MRR @ 10][query_id] for query_id in run.hits]
    added = 0.0
    for value in in_file_order:  # as the script adds them, one after the other; sum() of Python 3.12 is more exact
        added += value
    assert repr(added / len(qrels)) == printed["MRR @10"]
    assert mean(values[MRR @ 10]) == pytest.approx(float(printed["MRR @10"]), rel=3e-16)
    assert repr(mean(values[Success @ 50])) == printed["R @50"]
    assert repr(mean(values[Success @ 1000])) == printed["R @1000"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run.bm25.dev.small.tsv", "0.159067"),
        ("run.monobert.ans_small.dev.tsv", "0.402680"),
        ("run.monot5.ans_small.dev.tsv", "0.390442"),
    ],
)
def test_ms_marcos_three_runs(shared, name, value):
    root = shared / "msmarco_ans_small_runs"
    qrels = read_qrels(root / "qrels.dev.small.tsv")
    doc_ids = sorted({line.split()[1] for line in (root / name).read_text().splitlines()})
    run = ranking.read(root / name, qrels, doc_ids)
    assert f"{mean(scores(run, qrels, [MRR @ 10])[MRR @ 10]):.6f}" == value
