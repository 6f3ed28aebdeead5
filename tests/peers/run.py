"""Compare this project with its peers, and write the table of docs/peers.md.

    python tests/peers/run.py [--only NAME]... [--work DIR] [--table FILE]      `make peers` runs all

Each peer is installed, at the version that measures.py, lexical.py or vectors.py names, in an environment of its own
under DIR/env, which is kept for the next run (--discard removes it), and asked in a process of its own, so that one that fails
leaves the others. A row that was not measured says why. Exit 1 if a peer could not be asked.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import lexical
import measures
import ours
import vectors
from peer import OURS, Peer

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "peers.md"
PEERS = {peer.name: peer for peer in (*measures.PEERS, *lexical.PEERS, *vectors.PEERS)}
HEAD = ("peer", "task", "what is compared", "figure", "agrees")
MINUTES = 15  # for a peer; an installation may take as long


class Row(NamedTuple):
    """A line of the table."""

    peer: str  # with its version
    task: str
    compared: str
    figure: str
    agrees: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self[:3]


def rows(answers: dict[tuple[str, str], Row], page: str, reason: str) -> list[Row]:
    """Return a row for each task: as just measured, else as on the page, else with the reason that it was not run."""
    before = {row.key: row for row in table(page)}
    found = []
    for peer in PEERS.values():
        for task in peer.tasks:
            row = Row(f"{peer.name} {peer.version}", task.name, task.compared, "", f"not run: {reason}")
            found.append(answers.get((peer.name, task.name)) or before.get(row.key, row))
    return found


def table(page: str) -> list[Row]:
    """Return the rows on a page."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    return [Row(*cell) for cell in cells if len(cell) == len(HEAD) and cell != HEAD]


def written(page: str, found: list[Row]) -> str:
    """Return the page with these rows in place of its table."""
    kept = [line for line in page.splitlines() if not line.startswith("|")]
    lines = [f"| {' | '.join(cells)} |" for cells in (HEAD, *found)]
    lines.insert(1, "|---" * len(HEAD) + "|")
    at = kept.index("<!-- tests/peers/run.py writes the table below -->") + 1
    return "\n".join([*kept[:at], "", *lines, *kept[at:]]).rstrip() + "\n"


def environment(peer: Peer, work: Path) -> Path:
    """Return the Python of an environment with what the peer needs, made if it is not there or has other packages."""
    folder = work / "env" / peer.name
    python, stamp = folder / "bin" / "python", folder / "packages"
    wanted = "\n".join([*peer.packages, sys.version])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    if peer.shares:
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "shared.pth").write_text("".join(f"{path}\n" for path in sys.path if path.endswith("site-packages")))
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.packages]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=MINUTES * 60)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise RuntimeError(f"it cannot be installed: {errors[-1]}")
    stamp.write_text(wanted)
    return python


def ask(peer: Peer, work: Path) -> list[Row]:
    """Return the rows of a peer, asked in a process of its own."""
    ours.ready(work, "runs")  # colbert-ai scores them
    ours.ready(work, peer.part)
    given, asked = (work / "given" / peer.part).resolve(), f"{peer.name} {peer.version}"
    try:
        words = [environment(peer, work), Path(__file__), "--answer", peer.name, "--given", given]
        variables = os.environ | {OURS: sys.executable}  # for a peer's index that is taken here
        done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=MINUTES * 60, env=variables)
        (work / "logs").mkdir(exist_ok=True)
        (work / "logs" / f"{peer.name}.txt").write_text(done.stdout + done.stderr)
        answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"figure"')]
        lost = f"its process ended with {done.returncode}"
    except (RuntimeError, subprocess.SubprocessError) as error:
        answers, lost = [], str(error)
    said = {answer.pop("task"): answer for answer in answers}
    return [
        Row(asked, task.name, task.compared, **said.get(task.name, {"figure": "", "agrees": f"not run: {_cell(lost)}"}))
        for task in peer.tasks
    ]


def answer(peer: Peer, given: Path) -> None:
    """Print a line of JSON for each task: the other end of `ask`, in the peer's environment."""
    for task in peer.tasks:
        try:
            figure, agrees, why = task.run(given)
            verdict = ("yes" if agrees else "no") + (f": {why}" if why else "")
        except Exception as error:  # of a stranger's package: whatever it is, the next task is asked
            figure, verdict = "", f"not run: {type(error).__name__}: {error}"
        print("\n" + json.dumps({"figure": _cell(figure), "agrees": _cell(verdict), "task": task.name}), flush=True)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")[:200]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=PEERS, help="repeatable")
    parser.add_argument("--work", type=Path, default=Path(".work/peers"), help="what is made on the way")
    parser.add_argument("--table", type=Path, default=PAGE, help="the page whose table is written")
    parser.add_argument("--discard", action="store_true", help="remove each environment after use")
    parser.add_argument("--answer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--given", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.answer:
        answer(PEERS[args.answer], args.given)
        return 0
    found: dict[tuple[str, str], Row] = {}
    for name in args.only or PEERS:
        for row in ask(PEERS[name], args.work):
            found[name, row.task] = row
            print(*row, sep="\t", flush=True)
        if args.discard:
            shutil.rmtree(args.work / "env" / name, ignore_errors=True)
        page = args.table.read_text(encoding="utf-8")
        args.table.write_text(written(page, rows(found, page, "left out of the last run")), encoding="utf-8")
    return any(row.agrees.startswith("not run") for row in found.values())


if __name__ == "__main__":
    sys.exit(main())
