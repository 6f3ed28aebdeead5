"""Write what was measured into the card of the checkpoint that ships: BM25, it, both together; and token pooling.

    python tests/bench/shipped_card.py RESULTS SWEEP [CARD]

RESULTS  records of bm25, colbertv2 and hybrid on the nine sets, as make_results.sh leaves them
SWEEP    a folder of `lotte board sweep DATASET... --retriever colbertv2 -o checkpoint=shipped --over pool=1,2,3,4`
CARD     retrievers/weights/README.md
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from bench_training import MEASURED, into_card

from leaderboard import compare
from leaderboard.frames import per_query, results

SETS = (
    *("scifact/test", "cranfield/test", "cacm/test", "vaswani_npl/test", "nq_qed/dev"),
    *("squad_dev11/dev", "squadshifts_new_wiki/test", "medquad/test", "tldr_commands/test"),
)
SYSTEMS = ("bm25", "colbertv2", "hybrid")
MEASURE = "nDCG@10"
WEAK = (
    "Where it is weak: short queries against titles and abstracts (SciFact, Cranfield, CACM), where exact terms decide and it is",
    "level with BM25; `-o of=bm25+colbertv2(checkpoint=shipped)` (`hybrid`) is the safe choice there. 124 of the queries of",
    'tldr_commands/test ("Display version") are, as words, those of other commands that it was trained on.',
    "",
    "The hybrid's share of 0.2 for BM25 was chosen on these nine sets: 0.3 was worse than this checkpoint beyond chance on MedQuAD.",
    "So its column is no test of that choice; what 0.2 does on other collections was not measured.",
)


def main() -> None:
    folder, sweep = Path(sys.argv[1]), Path(sys.argv[2])
    card = Path(sys.argv[3] if len(sys.argv) > 3 else "retrievers/weights/README.md")
    frame = per_query(folder, measure=MEASURE)
    tables = {
        dataset: {
            system: dict(zip(own["query_id"], own["value"], strict=True))
            for system in SYSTEMS
            if len(own := frame[(frame["system"] == system) & (frame["dataset"] == dataset)])
        }
        for dataset in SETS
    }
    command = f"`tests/bench/shipped_card.py`, from the records of `results/`; {MEASURE}, 95 % intervals of the paired bootstrap."
    lines = [command.replace("`tests", "Written by `tests"), "", *quality(tables), "", *WEAK, "", *pooling(sweep)]
    into_card(card, lines)
    print("\n".join([MEASURED, "", *lines]))


def quality(tables: "dict[str, dict[str, dict[str, float]]]") -> list[str]:
    lines = [
        "| set | queries | BM25 | this checkpoint | hybrid | checkpoint - BM25 | hybrid - the better |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    means = np.zeros(3)
    for dataset, table in tables.items():
        values = [float(np.mean(list(table[system].values()))) for system in SYSTEMS]
        means += np.array(values) / len(tables)
        better = SYSTEMS[int(np.argmax(values[:2]))]
        cells = [difference({dataset: table}, *pair) for pair in (("colbertv2", "bm25"), ("hybrid", better))]
        count = len(table["bm25"])
        lines.append(f"| {dataset} | {count:,} | {' | '.join(f'{value:.4f}' for value in values)} | {' | '.join(cells)} |")
    better = SYSTEMS[int(np.argmax(means[:2]))]
    cells = [difference(tables, *pair) for pair in (("colbertv2", "bm25"), ("hybrid", better))]
    lines.append(f"| macro | | {' | '.join(f'{value:.4f}' for value in means)} | {' | '.join(cells)} |")
    return lines


def difference(tables: "dict[str, dict[str, dict[str, float]]]", a: str, b: str) -> str:
    pair = {name: {system: table[system] for system in (a, b)} for name, table in tables.items()}
    (found,) = compare.compare_macro(pair)
    low, high = found.ci95
    verdict = " better" if low > 0 else " worse" if high < 0 else ""
    return f"{found.difference:+.4f} ({low:+.4f} to {high:+.4f}){verdict}"


def pooling(sweep: Path) -> list[str]:
    """Return the table of token pooling: one vector for so many tokens."""
    lines = ["Token pooling, `-o pool=`:", "", "| set | pool | nDCG@10 | MB | milliseconds a query |", "|---|---:|---:|---:|---:|"]
    for _, row in results(sweep / "records").sort_values(["dataset", "options"]).iterrows():
        pool = float(json.loads(row["options"]).get("pool", 1))
        lines.append(
            f"| {row['dataset']} | {pool:g} | {row[MEASURE]:.4f} | {row['index_bytes'] / 1e6:.1f} | {row['latency_ms']:.1f} |"
        )
    return lines


if __name__ == "__main__":
    main()
