"""The lines of the shipped checkpoint's last training: what it and BM25 say together of passages of ../shared.

    python tests/bench/shipped_examples.py WORK [CHECKPOINT]

Questions are those of seven sets of pairs, less those that are measured on, and strings drawn from their passages:
rare words of one, or a span of it. The score of a passage is MaxSim + 0.4 BM25, and 0.5 more where it is labelled; of a
drawn string 0.5 MaxSim + 0.8 BM25, as exact words are all that it asks for. WORK takes the answers of both systems,
which are asked once, then `seven_sets`, a folder with queries and passages, and `examples.json`, a line a question:
[qid, [pid, score], ...], eight passages, the best first. `lotte train colbertv2 WORK/seven_sets/train --examples
WORK/examples.json` trains on them: tests/bench/train_shipped.sh.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np

import retrievers
from lotte import Dataset, read
from lotte.collection import Selection
from retrievers.retriever import Retriever
from retrievers.training import examples

IR = Path("../shared/data/ir")
TRAIN = ("squad_train_parts", "squad_train_sentences", "nq_qed", "medquad", "scifact", "tldr_commands", "arxiv_cs")
HELD_OUT = (
    *("squad_dev11/dev", "squadshifts_new_wiki/test", "nq_qed/dev", "scifact/test", "medquad/test"),
    *("tldr_commands/test", "cranfield/test", "cacm/test", "vaswani_npl/test"),
)
QUESTIONS = (5000, 2500, 4500, 4000, 537, 3000, 3500)  # at most so many of each set
DRAWN = (1000, 0, 1000, 1200, 2500, 500, 2000)  # strings drawn from the passages of each
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9'\-]*")
LINE = 8  # passages a line
DEPTH = 30  # passages that each system gives for a question
Scores = dict[int, dict[int, float]]  # qid -> pid -> score


def main() -> None:
    """Ask both systems, draw the strings, write the lines."""
    work, checkpoint = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "shipped"
    work.mkdir(parents=True, exist_ok=True)
    pairs = examples.gather(
        _sets(f"{name}/train" for name in TRAIN),
        work / "pairs",
        validation=160,
        held_out=_sets(HELD_OUT),
        limit=6000,
        passages=8000,
        seed=7,
    )
    drawn = _draw(pairs)
    late = _ask(pairs, drawn, retrievers.load("colbertv2", [f"checkpoint={checkpoint}"]), work / "late")
    bm25 = _ask(pairs, drawn, retrievers.load("bm25"), work / "bm25")
    _write(pairs, drawn, late, bm25, work)


def _sets(names: "examples.Iterable[str]") -> list[Dataset]:
    return [one for name in names for one in read(IR / name)]


def _draw(pairs: examples.Pairs) -> dict[int, tuple[int, int, str]]:
    """Return qid -> number of the set, passage, string: four of ten a span of it, the others some of its rare words."""
    draw = np.random.default_rng(11)
    texts = {pid: pairs.passage(pid) for part in pairs.parts for pid in part.pids}
    found_in: dict[str, int] = {}
    for text in texts.values():
        for word in {word.lower() for word in WORD.findall(text)}:
            found_in[word] = found_in.get(word, 0) + 1
    drawn: dict[int, tuple[int, int, str]] = {}
    first = max(pairs.questions) + 1
    for number, part in enumerate(pairs.parts):
        for pid in draw.permutation(np.array(part.pids))[: DRAWN[number]].tolist():
            words = WORD.findall(texts[pid])
            if len(words) < 12:
                continue
            if draw.random() < 0.4:
                count = int(draw.integers(5, 13))
                begin = int(draw.integers(0, len(words) - count + 1)) if len(words) > count else 0
                chosen = words[begin : begin + count]
            else:
                idf = np.array([np.log(len(texts) / found_in[word.lower()]) for word in words])
                idf = np.where(idf > 1.5, idf, 0.02) ** 1.5
                count = min(int(draw.integers(2, 8)), len(words))
                rows = sorted(draw.choice(len(words), count, replace=False, p=idf / idf.sum()).tolist())
                chosen = [words[row] for row in rows]
            drawn[first + len(drawn)] = (number, pid, " ".join(chosen))
    return drawn


def _ask(pairs: examples.Pairs, drawn: dict[int, tuple[int, int, str]], system: Retriever, folder: Path) -> Scores:
    """Return what a system finds for every question in the set that it is of; what is in the folder is not asked again."""
    found: Scores = {}
    for number, part in enumerate(pairs.parts):
        path = folder / f"{number}.json"
        if not path.exists():
            index = folder / f"{number}.index"
            if not index.exists():
                system.index(Selection(pairs.corpus, part.pids), index)
            queries = {str(qid): pairs.questions[qid] for qid in part.qids}
            queries |= {str(qid): text for qid, (of, _, text) in drawn.items() if of == number}
            run = system.open(index).search(queries, k=DEPTH)
            scores = {qid: {hit.doc_id: round(hit.score, 4) for hit in hits} for qid, hits in run.hits.items()}
            path.with_suffix(".part").write_text(json.dumps(scores))
            path.with_suffix(".part").rename(path)
        for qid, hits in json.loads(path.read_text()).items():
            found[int(qid)] = {int(pid): score for pid, score in hits.items()}
    return found


def _together(
    late: dict[int, float], bm25: dict[int, float], weights: tuple[float, float], also: list[int]
) -> dict[int, float]:
    """Return pid -> sum of both scores; what a system did not find has its lowest."""
    low_late, low_bm25 = min(late.values(), default=0), min(bm25.values(), default=0)
    a, b = weights
    return {pid: a * late.get(pid, low_late) + b * bm25.get(pid, low_bm25) for pid in {*late, *bm25, *also}}


def _line(
    qid: int, best: int, scores: dict[int, float], right: set[int], pairs: examples.Pairs, draw: np.random.Generator
) -> list[object] | None:
    """Return a line: the best, three of the six next, four of the others; nothing where too few are found."""
    others = sorted((pid for pid in scores if pid not in right), key=lambda pid: -scores[pid])
    chosen = draw.choice(others[:6], min(3, len(others)), replace=False).tolist() if others else []
    more = [pid for pid in others if pid not in chosen]
    if len(chosen) + len(more) < LINE - 1:
        return None
    chosen += draw.choice(more, LINE - 1 - len(chosen), replace=False).tolist()
    if any(pairs.passage(pid) == pairs.passage(best) for pid in chosen):
        return None
    return [qid, *([pid, round(scores[pid], 4)] for pid in (best, *chosen))]


def _write(
    pairs: examples.Pairs, drawn: dict[int, tuple[int, int, str]], late: Scores, bm25: Scores, work: Path
) -> None:
    draw = np.random.default_rng(5)
    lines, kept = [], []  # those of the questions that are kept from training stand last
    for number, part in enumerate(pairs.parts):
        own = [qid for qid in part.qids if qid not in pairs.validation]
        own = draw.permutation(own)[: QUESTIONS[number]].tolist()
        for qid in own + [qid for qid in part.qids if qid in pairs.validation]:
            right = pairs.positives[qid]
            scores = _together(late[qid], bm25[qid], (1.0, 0.4), list(right))
            for pid in right:
                scores[pid] += 0.5
            line = _line(qid, max(right, key=lambda pid: scores[pid]), scores, set(right), pairs, draw)
            if line:
                (kept if qid in pairs.validation else lines).append(line)
    questions = len(lines)
    for qid, (_, pid, _) in drawn.items():
        scores = _together(late[qid], bm25[qid], (0.5, 0.8), [pid])
        top = max(scores, key=lambda one: (scores[one], -one))
        best = pid if scores[pid] >= scores[top] - 1 else top
        line = _line(qid, best, scores, {best}, pairs, draw)
        if line:
            lines.append(line)
    print(f"{questions} questions, {len(lines) - questions} drawn strings, {len(kept)} kept from training")
    ordered = [lines[row] for row in draw.permutation(len(lines))] + [kept[row] for row in draw.permutation(len(kept))]
    (work / "examples.json").write_text("".join(json.dumps(line) + "\n" for line in ordered))
    folder = work / "seven_sets"
    folder.mkdir(exist_ok=True)
    (folder / "collection.tsv").write_bytes((work / "pairs" / "collection.tsv").read_bytes())
    queries = (work / "pairs" / "queries.tsv").read_text() + "".join(
        f"{qid}\t{text}\n" for qid, (_, _, text) in drawn.items()
    )
    (folder / "queries.train.tsv").write_text(queries)
    qrels = (work / "pairs" / "qrels.tsv").read_text() + "".join(
        f"{qid}\t0\t{pid}\t1\n" for qid, (_, pid, _) in drawn.items()
    )
    (folder / "qrels.train.tsv").write_text(qrels)
    licences = "; ".join(f"{part.name}: {part.facts['licence']}" for part in pairs.parts)
    (folder / "SOURCE.json").write_text(json.dumps({"licence": licences}) + "\n")


if __name__ == "__main__":
    main()
