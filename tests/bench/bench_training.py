"""What training is worth: Success@5 and nDCG@10 of BM25 and of every step of a training on datasets that it never saw.

    python tests/bench/bench_training.py RUN DATASET... [--also NAME=CHECKPOINT] [--out FILE.json]
        [--card README.md] [--note TEXT]

RUN is a folder of `lotte train colbertv2`; its steps are v1, round1, round2. Each is measured uncompressed (exact
MaxSim over its vectors), in 2 bits and in 1, searched exactly, so that only compression differs, and in 2 bits by the
default search. Differences are over the same queries, with 95 % intervals of the paired bootstrap; the macro average
counts every dataset the same. Vectors are kept nowhere: a dataset is encoded once for each checkpoint.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from bench_compression import uncompressed

import retrievers
from leaderboard import compare
from leaderboard.measure import Success, mean, nDCG, scores
from lotte import Dataset, Run, artifact, read
from retrievers.colbert import Arrays, CodecConfig, Encoder, build_index
from retrievers.colbert.search import SearchConfig, search
from retrievers.colbert.search.cpu import TopK

MEASURES = (Success @ 5, nDCG @ 10)
K = 100
_BETTER = (("v1", "round1"), ("round1", "round2"), ("v1", "round2"), ("scratch", "round1"))  # (a, b): b - a is shown
MEASURED = "## Measured"  # in a card; the questions of each set are in brackets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=CHECKPOINT")
    parser.add_argument("--steps", default="v1,round1,round2")
    parser.add_argument("--queries", type=int, default=1500, help="of a dataset at most, drawn with seed 0")
    parser.add_argument("--out", type=Path, help="where values by query are kept: what is there is not done again")
    parser.add_argument("--card", type=Path, metavar="README.md", help="a checkpoint's card that gets the tables")
    parser.add_argument("--note", default="", help="what the card says in front of the tables, of --also for example")
    asked = parser.parse_args()
    models = {step: asked.run / step / "checkpoint" for step in asked.steps.split(",") if step}
    models |= {name: Path(path) for name, _, path in (pair.partition("=") for pair in asked.also)}
    datasets = [some(one, asked.queries) for path in asked.datasets for one in read(path)]
    values: dict[str, dict[str, dict[str, Mapping[str, float]]]] = {str(measure): {} for measure in MEASURES}
    if asked.out and asked.out.exists():
        values = json.loads(asked.out.read_text())
    for dataset in datasets:
        for name in ("bm25", *models):
            if all(any(one.split()[0] == name for one in values[str(m)].get(dataset.name, {})) for m in MEASURES):
                continue
            runs = late(name, models[name], dataset) if name in models else {"bm25": bm25(dataset)}
            for system, run in runs.items():
                for measure, per_query in scores(run, dataset.qrels, MEASURES).items():
                    values[str(measure)].setdefault(dataset.name, {})[system] = per_query
            if asked.out:
                asked.out.write_text(json.dumps(values))
    lines: list[str] = []
    for measure, found in values.items():
        lines += [*table(measure, {dataset.name: found[dataset.name] for dataset in datasets}), ""]
    print("\n".join(lines))
    if asked.card:
        into_card(asked.card, [*([asked.note, ""] if asked.note else []), *lines[:-1]])


def some(dataset: Dataset, most: int) -> Dataset:
    judged = [query_id for query_id in dataset.queries if dataset.qrels.get(query_id)]
    if len(judged) > most:
        judged = sorted(np.random.default_rng(0).choice(judged, most, replace=False).tolist())
    return replace(
        dataset,
        queries={query_id: dataset.queries[query_id] for query_id in judged},
        qrels={query_id: dataset.qrels[query_id] for query_id in judged},
    )


def bm25(dataset: Dataset) -> Run:
    with TemporaryDirectory() as scratch:
        return retrievers.load("bm25").index(dataset.corpus, Path(scratch) / "index").search(dataset.queries, k=K)


def late(name: str, checkpoint: Path, dataset: Dataset) -> dict[str, Run]:
    begin = perf_counter()
    encoder = Encoder.load(checkpoint, doc_maxlen=300)
    packed = encoder.docs([doc.text for doc in dataset.corpus])
    queries = encoder.queries(list(dataset.queries.values()))
    encoded = perf_counter() - begin
    found = {f"{name} float": as_run(dataset, uncompressed(packed.vectors, packed.starts, queries))}
    for bits in (2, 1):
        with TemporaryDirectory() as scratch:
            source = Arrays(packed.vectors, np.diff(packed.starts))
            index = build_index(Path(scratch) / "index", source, CodecConfig(bits=bits), threads=2)
            for algorithm in ("exact", "paper") if bits == 2 else ("exact",):
                config = SearchConfig(algorithm=algorithm)
                hits = search(index, list(queries), k=K, config=config, threads=2)
                spelled = f"{name} {bits} bit{'s' * (bits > 1)}" + (", default search" if algorithm == "paper" else "")
                found[spelled] = as_run(dataset, hits)
    seconds = perf_counter() - begin
    print(f"{name} on {dataset.name}: {seconds:.0f} s, {encoded:.0f} of them to encode", file=sys.stderr, flush=True)
    return found


def as_run(dataset: Dataset, found: list[TopK]) -> Run:
    doc_ids = dataset.corpus.doc_ids
    hits = {
        query_id: {doc_ids[row]: float(score) for row, score in zip(one.rows, one.scores, strict=True)}
        for query_id, one in zip(dataset.queries, found, strict=True)
    }
    return Run.of(hits, depth=K)


def table(measure: str, found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Return the means of every system and dataset, and the differences that matter, as Markdown.

    found  dataset -> system -> query -> value
    """
    systems = list(next(iter(found.values())))
    lines = [
        f"| {measure} | {' | '.join(f'{name} ({len(one[systems[0]]):,})' for name, one in found.items())} | macro |",
        f"|---|{'---:|' * (len(found) + 1)}",
    ]
    for system in systems:
        cells = [mean(one[system]) for one in found.values()]
        lines.append(f"| {system} | {' | '.join(f'{cell:.4f}' for cell in [*cells, np.mean(cells)])} |")
    pairs = [(system, "bm25") for system in systems if system.endswith("2 bits, default search")]
    pairs += [(f"{b} float", f"{a} float") for a, b in _BETTER]
    pairs += [
        (system.replace("float", bits), system)
        for system in systems
        if system.endswith(" float")
        for bits in ("2 bits", "1 bit")
    ]
    lines += [
        "", f"| difference in {measure}, 95 % interval | {' | '.join(found)} | macro |", f"|---|{'---:|' * (len(found) + 1)}"
    ]  # fmt: skip
    for a, b in pairs:
        if a in systems and b in systems:
            pair = {name: {system: one[system] for system in (a, b)} for name, one in found.items()}
            each = [compare.compare_values(values)[0] for values in pair.values()]
            macro = compare.compare_macro(pair)[0]
            cells = [f"{one.difference:+.4f} ({one.ci95[0]:+.4f} to {one.ci95[1]:+.4f})" for one in (*each, macro)]
            lines.append(f"| {a} - {b} | {' | '.join(cells)} |")
    return lines


def into_card(path: Path, lines: list[str]) -> None:
    """Put the tables into a checkpoint's card, in place of those that were there."""
    text = path.read_text(encoding="utf-8").partition(MEASURED)[0].rstrip("\n")
    artifact.write_whole(path, "\n".join([text, "", MEASURED, "", *lines]) + "\n")
    if (meta := artifact.meta(path.parent)) and path.name in meta.get("files", {}):
        known = {name: sha256 for name, sha256 in meta["files"].items() if name != path.name}
        said = {**meta, **artifact.covered(path.parent, known, meta["files"])}
        artifact.write_whole(path.with_name(artifact.META), artifact.sealed(said))


if __name__ == "__main__":
    main()
