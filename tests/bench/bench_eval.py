"""Where the time of a whole `lotte eval` goes: reading, index, search, measures, writing. The size of LoTTE test pooled.

    python tests/bench/bench_eval.py                                        # 100,000 passages, 2,000 questions
    python tests/bench/bench_eval.py --passages 2800000 --questions 13894 --work DIR       # LoTTE test pooled
    python tests/bench/bench_eval.py --retriever colbertv2 -o checkpoint=shipped --index DIR ...

Passages of some 100 words with Zipf's frequencies in LoTTE's layout, made from a seed; --work keeps them. A question is
seven words of its answer. The command runs in this process, and each step is timed by the clock, less the steps inside
it; "system" says whether it is the retriever's own work. What is left is the command's start and everything else.
"""

import argparse
import contextlib
import functools
import io
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

STEPS = {  # module, name (of a class too): what it is called, whether it is the system itself
    ("leaderboard.catalogue", "match"): ("datasets found and opened", False),
    ("leaderboard.evaluate", "_read_corpus"): ("corpus read and hashed", False),
    ("leaderboard.evaluate", "_open"): ("index made or opened", True),
    ("leaderboard.cost", "timed_search"): ("questions asked", True),
    ("leaderboard.cost", "latency"): ("questions asked one by one, for the latency", False),
    ("leaderboard.cost", "sha256_of"): ("index hashed", False),
    ("leaderboard.evaluate", "_tell"): ("notes", False),
    ("leaderboard.evaluate", "scores"): ("measures", False),
    ("leaderboard.evaluate", "interval"): ("intervals", False),
    ("lotte.ranking", "write_trec"): ("run written", False),
    ("leaderboard.record.schema", "Record.of"): ("record made", False),
    ("leaderboard.record.schema", "Record.write"): ("record written", False),
}


def main() -> None:
    started = perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=2_000)
    parser.add_argument("--retriever", default="bm25")
    parser.add_argument("-o", "--option", action="append", default=[])
    parser.add_argument("--k", type=int, default=1000)
    parser.add_argument("--index", type=Path, help="keep the index here, and use it again")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = asked.work or Path(scratch)
        data = collection(work / f"{asked.passages}-{asked.questions}", asked.passages, asked.questions)
        start = perf_counter()
        words = ["eval", "--retriever", asked.retriever, "lotte/pooled/test/search", "--data", data, "--k", asked.k]
        words += ["--out", Path(scratch) / "results", *(["--index", asked.index] if asked.index else [])]
        words += [word for option in asked.option for word in ("-o", option)]
        seconds, said = command(list(map(str, words)))
        total = perf_counter() - start
    print(said.strip())
    print(f"{asked.passages:,} passages, {asked.questions:,} questions, k {asked.k:,}, {asked.retriever}: {total:.1f} s")
    rows = sorted([*seconds.items(), (("start and all else", False), total - sum(seconds.values()))], key=lambda row: -row[1])
    for (name, is_system), spent in rows:
        print(f"{name:45}{spent:9.2f} s {spent / total:7.1%}{'  system' if is_system else ''}")
    if asked.out:
        figures = {name: spent for (name, _), spent in rows}
        asked.out.write_text(json.dumps({**vars(asked), "total": total, "steps": figures}, default=str, indent=1) + "\n")
    print(f"made and imported before the command began: {start - started:.1f} s", file=sys.stderr)


def collection(place: Path, passages: int, questions: int, seed: int = 0) -> Path:
    """Write the collection, the questions and the judgments of lotte/pooled/test/search, unless they are there."""
    folder = place / "pooled" / "test"
    if (folder / "qas.search.jsonl").exists():
        return place
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = np.array(["".join(random.choice(letters, random.integers(3, 10))) for _ in range(200_000)], dtype=object)
    chances = np.cumsum(1 / (np.arange(len(words)) + 10))
    answers = np.sort(random.choice(passages, questions, replace=False))
    texts: list[str] = []
    with (folder / "collection.tsv").open("w") as file:
        for first in range(0, passages, 10_000):
            lengths = random.integers(40, 160, min(10_000, passages - first))
            drawn = words[np.searchsorted(chances, random.random(int(lengths.sum())) * chances[-1])]
            for row, end in enumerate(np.cumsum(lengths).tolist()):
                file.write(f"{first + row}\t{' '.join(drawn[end - lengths[row] : end])}\n")
            inside = answers[(answers >= first) & (answers < first + len(lengths))] - first
            ends = np.cumsum(lengths)[inside]
            texts += [" ".join(random.choice(drawn[end - lengths[row] : end], 7)) for row, end in zip(inside, ends, strict=True)]
    with (folder / "questions.search.tsv").open("w") as file:
        file.writelines(f"{number}\t{text}\n" for number, text in enumerate(texts))
    with (folder / "qas.search.jsonl").open("w") as file:
        for number, (answer, text) in enumerate(zip(answers.tolist(), texts, strict=True)):
            file.write(json.dumps({"qid": number, "query": text, "answer_pids": [answer]}) + "\n")
    return place


def command(words: list[str]) -> tuple[dict[tuple[str, bool], float], str]:
    """Run `lotte` with these words. Returns the seconds of each step, and what was printed."""
    from importlib import import_module

    seconds: dict[tuple[str, bool], float] = defaultdict(float)
    inside = [0.0]

    def timed(step: tuple[str, bool], do: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(do)
        def run(*values: Any, **named: Any) -> Any:
            inside.append(0.0)
            start = perf_counter()
            try:
                return do(*values, **named)
            finally:
                spent = perf_counter() - start
                seconds[step] += spent - inside.pop()
                inside[-1] += spent

        return run

    for (module, name), step in STEPS.items():
        *owners, last = name.split(".")
        owner = functools.reduce(getattr, owners, import_module(module))
        found = vars(owner)[last]
        plain = found.__func__ if isinstance(found, classmethod) else found
        setattr(owner, last, classmethod(timed(step, plain)) if isinstance(found, classmethod) else timed(step, plain))
    from leaderboard.cli import app

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        app(words)
    return seconds, printed.getvalue()


if __name__ == "__main__":
    main()
