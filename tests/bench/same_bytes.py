"""Whether two checkouts give the same: builds, indexes, rankings, scores and the site, file by file.

    python tests/bench/same_bytes.py OLD/.venv/bin/lotte NEW/.venv/bin/lotte [--dump beer.stackexchange.com.7z]
        [--collection ../shared/data/ir/scifact/test] [--bits 1 2 4] [--records results] [--work DIR]

Each command builds the sample that ships and scores four systems on it (`lotte demo`), builds the dump's community,
indexes the collection with `colbertv2` at each number of bits and ranks with `search=paper` and `search=pruned`, and
makes the site of the records. A line for each file that is not the same in both; exit 1 if there is one. `meta.json`
and records say when and by which commit they were made: of a record its scores, its run's sha256 and its options are
compared, of an index all but `meta.json`. What was made already in --work is not made again.
"""

import argparse
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

SPEC = 'name = "one"\n[topics.lifestyle]\ntest = ["{}"]\n'
RECORD = ("dataset", "measures", "retriever", "run")


def made(lotte: Path, args: argparse.Namespace, out: Path) -> None:
    """Make all outputs under `out`, those that are not there yet."""

    def call(name: str, *words: object) -> None:
        if not (out / f"{name}.done").exists():
            subprocess.run([str(lotte.absolute()), *map(str, words)], check=True, stdout=subprocess.DEVNULL)
            (out / f"{name}.done").touch()

    out.mkdir(parents=True, exist_ok=True)
    call("demo", "demo", "--out", out / "demo")
    if args.dump:
        (out / "spec.toml").write_text(SPEC.format(args.dump.stem))
        call("build", "build", "--dumps", args.dump.parent, "--spec", out / "spec.toml", "--out", out / "build")
    for bits in args.bits if args.collection else ():
        for search in ("paper", "pruned"):
            call(
                f"{search}{bits}", "eval", args.collection, "--retriever", "colbertv2", "--k", 100,
                "-o", "checkpoint=shipped", "-o", f"bits={bits}", "-o", f"search={search}",
                "--index", out / f"index{bits}", "--out", out / f"results-{search}{bits}",
            )  # fmt: skip
    if args.records:
        call("site", "board", "build", "--results", args.records, "--out", out / "site")


def hashes(out: Path) -> Iterator[tuple[str, str]]:
    """Give the name of each output and what it must share with the other checkout's."""
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out)
        if not path.is_file() or path.name == "meta.json" or path.suffix == ".done":
            continue
        content = path.read_bytes()
        if path.suffix == ".json" and any(part.startswith("results") for part in name.parts):
            record = json.loads(content)
            for fact in ("sha256", "bytes"):  # of meta.json too, which names a commit and a time
                (record["retriever"].get("index") or {}).pop(fact, None)
            content = json.dumps({key: record[key] for key in RECORD}, sort_keys=True).encode()
        yield str(name), hashlib.sha256(content).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("commands", nargs=2, type=Path, metavar="LOTTE")
    parser.add_argument("--dump", type=Path)
    parser.add_argument("--collection")
    parser.add_argument("--bits", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--records", type=Path)
    parser.add_argument("--work", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        both = []
        for number, lotte in enumerate(args.commands):
            made(lotte, args, work / str(number))
            both.append(dict(hashes(work / str(number))))
    old, new = both
    different = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    for name in different:
        how = "only in the new" if name not in old else "only in the old" if name not in new else "differs"
        print(name, how, sep="\t")
    print(f"{len(old)} files, {len(different)} not the same")
    raise SystemExit(bool(different))


if __name__ == "__main__":
    main()
