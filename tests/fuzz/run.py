"""Change valid files at random and see that every reader reads them or refuses them in one line.

  python tests/fuzz/run.py --seconds 60              half a second for each reader, starting processes included
  python tests/fuzz/run.py --seconds 600 --only 7z   one reader
  python tests/fuzz/run.py --replay                  what once failed: corpus/READER/*
  python tests/fuzz/run.py --seed 1000 --keep DIR    from another seed on; inputs that fail are left in DIR

Prints the seed, and a line for each reader: tried, refused, wrong. Exits 1 if
anything was wrong. The readers of one file of entries/ run in a process of
their own with little memory, so that one that dies or grows is a wrong answer too.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers"), str(HERE.parents[1])]

from mutate import mutated  # noqa: E402
from reader import SECONDS, Reader, outcome, readers, valid  # noqa: E402

MEMORY = 1 << 30  # bytes beyond what the process has once everything is imported
MOST = 5  # times that one reader may end the process
LEAST = 5  # inputs that a reader gets, however slow the machine is


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for all readers together, from the start of this program")
    parser.add_argument("--only", action="append", help="a reader; repeatable")
    parser.add_argument("--seed", type=int, default=date.today().toordinal() * 1000, help="default: one of today")
    parser.add_argument("--keep", type=Path, help="where inputs that fail are left")
    parser.add_argument("--replay", action="store_true", help="read corpus/ and nothing else")
    parser.add_argument("--child", action="append", help=argparse.SUPPRESS)
    parser.add_argument("--group", help=argparse.SUPPRESS)
    parser.add_argument("--began", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        every = readers(asked.group)
        return _child([every[name] for name in asked.child], asked)
    every, end = readers(), time.monotonic() + asked.seconds
    if unknown := set(asked.only or ()) - every.keys():
        parser.error(f"no reader is named {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    chosen = [reader for name, reader in every.items() if not asked.only or name in asked.only]
    print(f"seed {asked.seed}", flush=True)
    wrong, done = 0, 0
    for _, group in groupby(chosen, key=lambda reader: reader.group):
        here, now = list(group), time.monotonic()
        share = max(end - now, 0) * len(here) / (len(chosen) - done)
        done += len(here)
        for reader, tally in _watched(here, asked, now + share):
            wrong += len(tally.failed)
            told = f"{tally.tried:>6} tried {tally.refused:>6} refused {len(tally.failed):>4} wrong"
            print(f"{reader.name:<28} {told}", flush=True)
            for name, what in tally.failed:
                print(f"    {name}: {what}", flush=True)
    return int(wrong > 0)


@dataclass
class Tally:
    tried: int = 0
    refused: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def _watched(group: list[Reader], asked: argparse.Namespace, until: float) -> Iterator[tuple[Reader, Tally]]:
    """Run readers in a process of their own until then (monotonic seconds); a new one goes on whenever one dies."""
    tallies, left, seed = {reader.name: Tally() for reader in group}, list(group), asked.seed
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        at = Path(scratch) / "at"
        while left:
            at.unlink(missing_ok=True)
            command = [sys.executable, __file__, "--seed", str(seed), "--began", str(asked.seed)]
            command += ["--until", str(until), "--group", group[0].group]
            command += [word for reader in left for word in ("--child", reader.name)]
            command += ["--replay"] if asked.replay else []
            home = {"LOTTE_HOME": f"{scratch}/home", "TMPDIR": scratch}
            env = os.environ | home | {"FUZZ_AT": str(at), "HF_HUB_OFFLINE": "1"}
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as child:
                try:
                    out, talk = child.communicate(timeout=max(until - time.monotonic(), 0) + len(left) * SECONDS + 120)
                except subprocess.TimeoutExpired:
                    child.kill()
                    out, talk = child.communicate()
            for line in out.decode().splitlines():
                reader, name, what = json.loads(line)
                tally = tallies[reader]
                tally.tried += 1
                tally.refused += what == "refused"
                if what.startswith("wrong"):
                    tally.failed.append((name, what))
                    _keep(reader, name, asked)
            if child.returncode == 0:
                break
            reader, name = at.read_text().split() if at.exists() else (left[0].name, "valid")
            last = talk.decode(errors="replace").strip().splitlines()[-1:]
            tally = tallies[reader]
            tally.tried += 1
            tally.failed.append((name, f"wrong: the process ended with {child.returncode}: {''.join(last)[:200]}"))
            _keep(reader, name, asked)
            while left[0].name != reader:
                left.pop(0)
            if name.isdigit() and len(tally.failed) < MOST:
                seed = int(name) + 1
            else:
                left.pop(0)
                seed = asked.seed
    yield from ((reader, tallies[reader.name]) for reader in group)


def _keep(which: str, name: str, asked: argparse.Namespace) -> None:
    if asked.keep and not asked.replay and name.isdigit():
        reader = readers()[which]
        folder = asked.keep / reader.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(reader.mend(mutated(valid(reader), int(name))))


def _child(group: list[Reader], asked: argparse.Namespace) -> int:
    def tell(reader: Reader, name: str, what: str) -> None:
        print(json.dumps([reader.name, name, what]), flush=True)

    contents, at = {}, Path(os.environ["FUZZ_AT"])
    for reader in group:
        contents[reader.name] = valid(reader)
        # which imports what the reader needs, before memory is measured
        if (first := outcome(reader, contents[reader.name])) != "read":
            tell(reader, "valid", f"wrong: the valid file: {first}")
            del contents[reader.name]
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    seed = asked.seed
    for number, reader in enumerate(group):
        if reader.name not in contents:
            continue

        def attempt(name: str, content: bytes, reader: Reader = reader) -> None:
            at.write_text(f"{reader.name} {name}")
            tell(reader, name, outcome(reader, content))

        if asked.replay:
            for path in sorted((HERE / "corpus" / reader.name).glob("*")):
                attempt(path.name, path.read_bytes())
            continue
        now, first = time.monotonic(), seed
        end = now + (asked.until - now) / (len(group) - number)
        while seed < first + LEAST or time.monotonic() < end:
            attempt(str(seed), reader.mend(mutated(contents[reader.name], seed)))
            seed += 1
        seed = asked.began
    return 0


if __name__ == "__main__":
    sys.exit(main())
