"""Change valid files at random and see that every reader reads them or refuses them in one line.

  python tests/fuzz/run.py --seconds 60              a second or more for each reader
  python tests/fuzz/run.py --seconds 600 --only 7z   one reader
  python tests/fuzz/run.py --replay                  what once failed: corpus/READER/*
  python tests/fuzz/run.py --seed 1000 --keep DIR    from another seed on; inputs that fail are left in DIR

Prints a line for each reader: tried, refused, wrong. Exits 1 if anything was
wrong. The readers run in a process of their own with little memory, so that
one that dies or grows is a wrong answer too.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

from mutate import mutated  # noqa: E402
from reader import SECONDS, Reader, outcome, readers, valid  # noqa: E402

MEMORY = 1 << 30  # bytes beyond what the process has once everything is imported


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for all readers together")
    parser.add_argument("--only", action="append", help="a reader; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where inputs that fail are left")
    parser.add_argument("--replay", action="store_true", help="read corpus/ and nothing else")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    every = readers()
    if unknown := set(asked.only or ()) - every.keys():
        parser.error(f"no reader is named {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    chosen = [every[name] for name in asked.only or every]
    if asked.child:
        return _child(every[asked.child], asked)
    wrong = 0
    for reader in chosen:
        counts, failed = _watched(reader, asked, asked.seconds / len(chosen))
        wrong += len(failed)
        told = " ".join(f"{count:>6} {what}" for what, count in counts.items())
        print(f"{reader.name:<20} {told} {len(failed):>4} wrong", flush=True)
        for name, what in failed:
            print(f"    {name}: {what}", flush=True)
    return int(wrong > 0)


def _watched(reader: Reader, asked: argparse.Namespace, seconds: float) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Run a reader in processes of its own, a new one whenever one dies. Returns counts, and what failed."""
    counts, failed, seed, end = {"tried": 0, "refused": 0}, [], asked.seed, time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        at = Path(scratch) / "at"
        while True:
            command = [sys.executable, __file__, "--child", reader.name, "--seed", str(seed)]
            command += ["--seconds", str(max(0.5, end - time.monotonic()))] + (["--replay"] if asked.replay else [])
            env = os.environ | {"FUZZ_AT": str(at), "HF_HUB_OFFLINE": "1", "LOTTE_HOME": str(Path(scratch) / "home")}
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as child:
                try:
                    out, talk = child.communicate(timeout=seconds + 3 * SECONDS)
                except subprocess.TimeoutExpired:
                    child.kill()
                    out, talk = child.communicate()
            for line in out.decode().splitlines():
                name, what = json.loads(line)
                counts["tried"] += 1
                counts["refused"] += what == "refused"
                if what.startswith("wrong"):
                    failed.append((name, what))
                    _keep(reader, name, asked)
            if child.returncode == 0:
                return counts, failed
            name = at.read_text() if at.exists() else ""
            last = talk.decode(errors="replace").strip().splitlines()[-1:]
            failed.append((name, f"wrong: the process ended with {child.returncode}: {''.join(last)[:200]}"))
            counts["tried"] += 1
            if not name or asked.replay:
                return counts, failed
            _keep(reader, name, asked)
            if not name.isdigit():
                return counts, failed
            seed = int(name) + 1
            if time.monotonic() > end:
                return counts, failed


def _keep(reader: Reader, name: str, asked: argparse.Namespace) -> None:
    if asked.keep and not asked.replay and name.isdigit():
        folder = asked.keep / reader.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(reader.mend(mutated(valid(reader), int(name))))


def _child(reader: Reader, asked: argparse.Namespace) -> int:
    good = valid(reader)
    if (first := outcome(reader, good)) != "read":  # which imports what the reader needs, before memory is measured
        print(json.dumps(["valid", f"wrong: the valid file: {first}"]), flush=True)
        return 0
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    at, end = Path(os.environ["FUZZ_AT"]), time.monotonic() + asked.seconds

    def attempt(name: str, content: bytes) -> None:
        at.write_text(name)
        print(json.dumps([name, outcome(reader, content)]), flush=True)

    if asked.replay:
        for path in sorted((HERE / "corpus" / reader.name).glob("*")):
            attempt(path.name, path.read_bytes())
        return 0
    seed = asked.seed
    while time.monotonic() < end:
        attempt(str(seed), reader.mend(mutated(good, seed)))
        seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
