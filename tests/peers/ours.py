"""What the peers are given, made by this project from the sample and the checkpoint that ship with it.

Each part is written once into a folder of its name under WORK/given, whole or not at all: `runs` (a build of the
sample, runs, and the values of the measures), `words` (words and scores of the lexical systems), `vectors` (the
exported checkpoint, its vectors, an index and what it finds).
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parents[2]
MEASURES = ("Success@5", "nDCG@10", "MRR@10", "R@100", "P@10", "AP")
DATASET = "lotte/pooled/test/forum"
SYSTEMS = {"overlap": [], "bm25": [], "hybrid": ["of=overlap+bm25", "method=rrf", "depth=100"]}  # overlap has many ties
DOCS, QUERIES = 60, 12  # of the sample, that are encoded: seconds on one core


def ready(work: Path, part: str) -> Path:
    """Return the folder of a part, made if it is not there."""
    folder = work / "given" / part
    if not folder.exists():
        half = folder.with_name(f"{part}.partial")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        PARTS[part](work, half)
        half.rename(folder)
    return folder


def _sample(work: Path) -> Path:
    """Return the build of the sample."""
    from leaderboard.demo import SAMPLE
    from lotte.builder import build, spec
    from lotte.progress import Progress

    out = work / "given" / "lotte"
    if not (out / "manifest.json").exists():
        order = build.BuildRequest(spec.read(SAMPLE / "spec.toml"), SAMPLE / "dumps", out, SAMPLE / "gooaq.jsonl")
        build.build(order, lambda total, title: Progress(total, "bytes", title), lambda line: None)
    return out


def _dataset(work: Path) -> Any:
    from lotte import reading

    return next(one for one in reading.read(_sample(work)) if one.name == DATASET)


def _runs(work: Path, folder: Path) -> None:
    from leaderboard import measure
    from leaderboard.evaluate import Order, evaluate
    from retrievers import load

    dataset, asked = _dataset(work), tuple(map(measure.parse, MEASURES))
    values = {}
    for name, options in SYSTEMS.items():
        order = Order(out=folder, k=100, measures=asked, rankings=folder / "rankings" / name)
        (record,) = evaluate(name, load(name, options), [dataset], order)
        values[name] = {key: record.measures.per_query[key] for key in MEASURES}
    _json(folder / "qrels.json", dataset.qrels)
    _json(folder / "counts.json", {"documents": len(dataset.corpus), "queries": len(dataset.queries)})
    _mteb(folder)
    _json(folder / "values.json", values)


def _mteb(folder: Path) -> None:
    """Write a record as `lotte board export --format mteb` does: of SciFact by its counts, with values made up."""
    sys.path.insert(0, str(HOUSE / "tests" / "helpers"))
    from made_records import made

    from leaderboard import interchange

    counts = {"documents": 5183, "queries": 300, "judged_queries": 300, "judgments": 339}
    record = made("bm25", "beir/scifact", measure="nDCG@10", dataset={"counts": counts})
    record.write(folder / "record" / "scifact.json")
    for _ in interchange.export([folder / "record" / "scifact.json"], "mteb", folder / "mteb"):
        pass


def _words(work: Path, folder: Path) -> None:
    from retrievers import load
    from retrievers.analyser import english

    dataset = _dataset(work)
    docs, queries = list(dataset.corpus), dict(list(dataset.queries.items())[:QUERIES])
    found = {}
    fixed = ["k1=1.2", "b=0.75"]  # of tantivy
    for key, name, options in (("bm25", "bm25", []), ("tantivy", "bm25", fixed), ("rank_bm25", "rank_bm25", [])):
        run = load(name, options).index(dataset.corpus, folder / f"{key}.index").search(queries, k=len(docs))
        found[key] = {query_id: [list(hit) for hit in hits] for query_id, hits in run.hits.items()}
    texts = {
        "doc_ids": [doc.doc_id for doc in docs],
        "english": [english(doc.text) for doc in docs],
        "lower": [doc.text.lower().split() for doc in docs],
        "queries": {key: {"english": english(text), "lower": text.lower().split()} for key, text in queries.items()},
    }
    _json(folder / "texts.json", texts)
    _json(folder / "found.json", found)


def _vectors(work: Path, folder: Path) -> None:
    import numpy as np

    from lotte import Docs
    from retrievers import exports, load
    from retrievers.colbert.model import checkpoint
    from retrievers.colbert.model.convert import Wanted, convert
    from retrievers.colbert.model.encoder import Encoder
    from retrievers.colbert.retriever import WEIGHTS

    dataset = _dataset(work)
    docs = Docs(tuple(list(dataset.corpus)[:DOCS]))
    queries = dict(list(dataset.queries.items())[:QUERIES])
    place = convert(checkpoint.find(WEIGHTS), folder / "checkpoint", Wanted(onnx=False))
    encoder = Encoder.load(place, device="cpu", precision="fp32")
    made = encoder.docs([doc.text for doc in docs])
    asked = encoder.queries(list(queries.values()))
    np.savez(folder / "vectors.npz", docs=made.vectors, starts=made.starts, queries=asked)
    texts = {"docs": {doc.doc_id: doc.text for doc in docs}, "queries": queries}
    _json(folder / "texts.json", texts)
    options = [f"checkpoint={place}", "precision=fp32", "exact=true", "doc_maxlen=0"]
    run = load("colbertv2", options).index(docs, folder / "index").search(queries, k=10)
    _json(folder / "found.json", {query_id: [list(hit) for hit in hits] for query_id, hits in run.hits.items()})
    exports.export("fast-plaid", exports.ExportRequest(folder / "index", folder / "fast-plaid", print))


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


PARTS: dict[str, Callable[[Path, Path], None]] = {"runs": _runs, "words": _words, "vectors": _vectors}

if __name__ == "__main__":
    for name in sys.argv[2:]:
        ready(Path(sys.argv[1]), name)
