"""Peers that score: the same measures of the same runs, read from the files that `lotte eval` writes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from peer import Answer, Peer, Task, difference, found_json, trec

SYSTEMS = ("overlap", "bm25", "hybrid")
KEYS = {  # ours, trec_eval's, ranx's
    "Success@5": ("success_5", "hit_rate@5"), "nDCG@10": ("ndcg_cut_10", "ndcg@10"), "MRR@10": ("recip_rank", "mrr@10"),
    "R@100": ("recall_100", "recall@100"), "P@10": ("P_10", "precision@10"), "AP": ("map", "map"),
}  # fmt: skip
SIX = "6 measures of 3 runs, by query"


def run_file(given: Path, system: str) -> Path:
    return given / system / "lotte" / "pooled" / "test" / "forum.trec"


def ours(given: Path) -> dict[Any, float]:
    return {
        (system, measure, query_id): value
        for system, measures in found_json(given / "values.json").items()
        for measure, values in measures.items()
        for query_id, value in values.items()
    }


def means(values: Mapping[Any, float]) -> dict[Any, float]:
    """Return the mean over queries by system and measure."""
    queries: dict[Any, list[float]] = {}
    for (system, measure, _), value in values.items():
        queries.setdefault((system, measure), []).append(value)
    return {key: sum(some) / len(some) for key, some in queries.items()}


def pytrec_eval(given: Path) -> Answer:
    import pytrec_eval

    qrels = found_json(given / "qrels.json")
    theirs = {}
    for system in SYSTEMS:
        run = trec(run_file(given, system))
        first = {key: dict(sorted(docs.items(), key=lambda hit: -hit[1])[:10]) for key, docs in run.items()}
        for measure, (key, _) in KEYS.items():
            name = {"ndcg_cut_10": "ndcg_cut.10", "success_5": "success.5", "recall_100": "recall.100", "P_10": "P.10"}
            judge = pytrec_eval.RelevanceEvaluator(qrels, {name.get(key, key)})
            for query_id, found in judge.evaluate(first if measure == "MRR@10" else run).items():
                theirs[system, measure, query_id] = found[key]
    return difference(ours(given), theirs, 0.0)


def ir_measures(given: Path) -> Answer:
    import ir_measures

    qrels, theirs = found_json(given / "qrels.json"), {}
    names = {measure: ir_measures.parse_measure(measure.replace("MRR", "RR")) for measure in KEYS}
    back = {theirs: ours for ours, theirs in names.items()}
    for system in SYSTEMS:
        run = list(ir_measures.read_trec_run(str(run_file(given, system))))
        for found in ir_measures.iter_calc(list(back), qrels, run):
            theirs[system, back[found.measure], found.query_id] = found.value
    return difference(ours(given), theirs, 1e-9)


def ranx(given: Path) -> Answer:
    from ranx import Qrels, Run, evaluate

    qrels, theirs = Qrels(found_json(given / "qrels.json")), {}
    for system in SYSTEMS:
        run = Run.from_file(str(run_file(given, system)), kind="trec")
        evaluate(qrels, run, [key for _, key in KEYS.values()])
        for measure, (_, key) in KEYS.items():
            theirs |= {(system, measure, query_id): value for query_id, value in run.scores[key].items()}
    return difference(ours(given), theirs, 1e-9)


def ranx_rrf(given: Path) -> Answer:
    from ranx import Run, fuse

    parts = [Run.from_file(str(run_file(given, system)), kind="trec") for system in ("overlap", "bm25")]
    theirs, wanted = fuse(parts, method="rrf", params={"k": 60}).to_dict(), trec(run_file(given, "hybrid"))
    return difference(
        {(query_id, doc_id): score for query_id, docs in wanted.items() for doc_id, score in docs.items()},
        {(query_id, doc_id): theirs[query_id].get(doc_id, 0.0) for query_id, docs in wanted.items() for doc_id in docs},
        1e-6,
    )


def _beir(given: Path, ignore: bool, why: str) -> Answer:
    from beir.retrieval.evaluation import EvaluateRetrieval

    qrels, theirs = found_json(given / "qrels.json"), {}
    for system in SYSTEMS:
        run = trec(run_file(given, system))
        ndcg, _, recall, precision = EvaluateRetrieval.evaluate(qrels, run, [5, 10, 100], ignore_identical_ids=ignore)
        first = {key: dict(sorted(docs.items(), key=lambda hit: -hit[1])) for key, docs in run.items()}
        mrr = EvaluateRetrieval.evaluate_custom(qrels, first, [10], metric="mrr")
        theirs |= {
            (system, "nDCG@10"): ndcg["NDCG@10"], (system, "R@100"): recall["Recall@100"],
            (system, "P@10"): precision["P@10"], (system, "MRR@10"): mrr["MRR@10"],
        }  # fmt: skip
    mine = {key: value for key, value in means(ours(given)).items() if key in theirs}
    return difference(mine, theirs, 1e-5, why)  # its means have five digits


def beir(given: Path) -> Answer:
    return _beir(given, False, "")


def beir_default(given: Path) -> Answer:
    return _beir(given, True, "it leaves out a document whose id is the query's; in LoTTE both are numbers")


def mteb_scorer(given: Path) -> Answer:
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores

    qrels, theirs = found_json(given / "qrels.json"), {}
    for system in SYSTEMS:
        found = calculate_retrieval_scores(trec(run_file(given, system)), qrels, [5, 10, 100])
        theirs |= {
            (system, "nDCG@10"): found.ndcg["NDCG@10"], (system, "R@100"): found.recall["Recall@100"],
            (system, "P@10"): found.precision["P@10"], (system, "MRR@10"): found.mrr["MRR@10"],
            (system, "Success@5"): found.hit_rate["HitRate@5"],
        }  # fmt: skip
    mine = {key: value for key, value in means(ours(given)).items() if key in theirs}
    return difference(mine, theirs, 1e-5)


def mteb_export(given: Path) -> Answer:
    from mteb.models.model_meta import ModelMeta
    from mteb.results import TaskResult

    (meta,) = (given / "mteb").rglob("model_meta.json")
    (result,) = (file for file in meta.parent.glob("*.json") if file != meta)
    model = ModelMeta.model_validate(found_json(meta))
    score = TaskResult.from_disk(result).get_score()
    wanted = found_json(result)["scores"]["test"][0]["main_score"]
    return Answer(f"{model.model_type}, main score {score:.4f}", abs(score - wanted) < 1e-9)


def ir_datasets(given: Path) -> Answer:
    import os

    home = given.parent / "ir_datasets"
    (home / "lotte" / "lotte_extracted").mkdir(parents=True, exist_ok=True)
    link = home / "lotte" / "lotte_extracted" / "lotte"
    if not link.exists():
        link.symlink_to(given.parent / "lotte", target_is_directory=True)
    os.environ["IR_DATASETS_HOME"] = str(home)
    import ir_datasets

    dataset = ir_datasets.load("lotte/pooled/test/forum")
    theirs: dict[str, dict[str, int]] = {}
    for judged in dataset.qrels_iter():
        theirs.setdefault(judged.query_id, {})[judged.doc_id] = judged.relevance
    counts = found_json(given / "counts.json")
    read = {"documents": sum(1 for _ in dataset.docs_iter()), "queries": sum(1 for _ in dataset.queries_iter())}
    figure = f"{read['documents']} documents, {read['queries']} queries, {sum(map(len, theirs.values()))} judgments"
    return Answer(figure, read == counts and theirs == found_json(given / "qrels.json"))


def _all() -> Iterator[Peer]:
    yield Peer("pytrec_eval", ("pytrec-eval-terrier==0.5.11",), "runs", (Task("measures", SIX, pytrec_eval),))
    yield Peer("ir_measures", ("ir-measures==0.4.3",), "runs", (Task("measures", SIX, ir_measures),))
    yield Peer(
        "ranx", ("ranx==0.3.21",), "runs",
        (Task("measures", SIX, ranx), Task("fusion", "scores of `method=rrf` of two runs", ranx_rrf)),
    )  # fmt: skip
    yield Peer(
        "BEIR", ("beir==2.2.0",), "runs",
        (
            Task("measures", "4 measures of 3 runs, ignore_identical_ids=False", beir),
            Task("measures, its default", "4 measures of 3 runs", beir_default),
        ),
        shares=True,
    )  # fmt: skip
    yield Peer(
        "ir_datasets", ("ir-datasets==0.6.3",), "runs",
        (Task("a build", "documents, queries, judgments of a build in the place of its download", ir_datasets),),
    )  # fmt: skip
    yield Peer(
        "MTEB", ("mteb==2.26.24",), "runs",
        (
            Task("measures", "5 measures of 3 runs, by its scorer", mteb_scorer),
            Task("an export", "`lotte board export --format mteb`: ModelMeta and TaskResult", mteb_export),
        ),
        shares=True,
    )  # fmt: skip


PEERS = tuple(_all())
