"""What `lotte build --as-of` costs beside a plain build of the same dump, in one run on one machine.

    python tests/bench/bench_history.py                        # 60 MB of Posts.xml
    python tests/bench/bench_history.py --mb 1300 --memory     # 2 GB of PostHistory.xml: what it costs in memory

Makes a Posts.xml of any size as bench_build.py does, and from it a PostHistory.xml and a Votes.xml in the proportions
of a real dump: 1.6 and 0.4 times the bytes, an edit for every other post, five votes a post. The day is the last one
on which a post was written, so that every post counts; a fifth of the edits are later, so their texts are rendered.
Refuses to time a build whose scores are not those of the plain one, as no vote is later than the day.
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import re
import resource
import shutil
import tempfile
from html import unescape
from pathlib import Path
from time import perf_counter, process_time

from bench_build import MB, SITE, quiet, synthetic

from lotte.builder import build as lotte_build
from lotte.builder import dump, spec
from lotte.builder.xml_rows import XmlRows, decode, encode

DAY = "2020-12-31"
_MARKDOWN = ((r"</?em>", "*"), (r"<li>", "- "), (r"<blockquote>\n  <p>", "> "), (r'<a href="([^"]*)"[^>]*>([^<]*)</a>', r"[\2](\1)"),
             (r"<pre><code>if", "    if"), (r"\n  ", "\n      "), (r"\n}\n</code></pre>", "\n    }"), (r"<[^>]*>", ""))  # fmt: skip


def markdown(html: str) -> str:
    """What somebody would have written for it."""
    for pattern, written in _MARKDOWN:
        html = re.sub(pattern, written, html)
    return unescape(html)


def past(folder: Path, seed: int = 0) -> None:
    """Write the PostHistory.xml and the Votes.xml of a folder's Posts.xml."""
    rng, row_id = random.Random(seed), 0
    with (
        (folder / "Posts.xml").open("rb") as posts,
        (folder / "PostHistory.xml").open("wb") as history,
        (folder / "Votes.xml").open("wb") as votes,
    ):
        history.write(b"<posthistory>\n")
        votes.write(b"<votes>\n")
        for post in XmlRows(iter(lambda: posts.read(dump.BLOCK), b""), path="Posts.xml", root="posts"):
            text = encode(markdown(decode(post[b" Body="])))
            day, post_id = post[b" CreationDate="], post[b" Id="]
            revisions = [(b"2", day, text)]
            if post[b" PostTypeId="] == b"1":
                revisions += [(b"1", day, post[b" Title="]), (b"3", day, post[b" Tags="])]
            if rng.random() < 0.45:
                revisions.append(
                    (b"5", b"%d-06-01T10:00:00.000" % rng.randrange(2021 - 8, 2021 + 2), text + b" Edited.")
                )
            for kind, moment, words in revisions:
                row_id += 1
                history.write(
                    b'  <row Id="%d" PostHistoryTypeId="%b" PostId="%b" RevisionGUID="%032x" CreationDate="%b" UserId="%d" '
                    b'Text="%b" ContentLicense="CC BY-SA 3.0" />\n'
                    % (row_id, kind, post_id, row_id * 0x9E3779B97F4A7C15, moment, rng.randrange(9999), words)
                )
            score = int(post[b" Score="])
            for _ in range(
                min(abs(score), 5 if post[b" PostTypeId="] == b"1" else 99)
            ):  # only those of answers are compared
                row_id += 1
                votes.write(
                    b'  <row Id="%d" PostId="%b" VoteTypeId="%d" CreationDate="%b" />\n'
                    % (row_id, post_id, 2 if score > 0 else 3, day)
                )
        history.write(b"</posthistory>\n")
        votes.write(b"</votes>\n")


def build(dumps: Path, out: Path, as_of: str) -> tuple[float, float]:
    """Build it all, as `lotte build` does. Returns seconds on the wall, and of the processor."""
    chosen = spec.Spec("bench", {"bench": {"test": (SITE,)}}, spec.BuildOptions(as_of=as_of))
    shutil.rmtree(out, ignore_errors=True)
    wall, processor = perf_counter(), process_time()
    lotte_build.build(lotte_build.BuildRequest(chosen, dumps, out), quiet, lambda line: None)
    return perf_counter() - wall, process_time() - processor


def scores(out: Path) -> list[int]:
    lines = (out / "bench" / "test" / "metadata.jsonl").read_text().splitlines()
    return [score for line in lines for score in json.loads(line)["scores"]]


def peak(dumps: Path, out: Path, as_of: str, pipe) -> None:
    seconds, _ = build(dumps, out, as_of)
    pipe.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mb", type=int, default=60, help="size of the Posts.xml")
    parser.add_argument("--memory", action="store_true", help="build once each, and say how much memory it took")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        dumps, folder = Path(scratch), Path(scratch) / SITE
        folder.mkdir()
        synthetic(folder / "Posts.xml", args.mb * 10**6)
        past(folder)
        sizes = ", ".join(f"{file.stat().st_size / MB:,.0f} MB of {file.name}" for file in sorted(folder.iterdir()))
        print(f"{sizes}; {platform.processor()}, {os.cpu_count()} cores\n")
        if args.memory:
            spawned = multiprocessing.get_context("spawn")
            for name, as_of in (("plain build", ""), (f"as of {DAY}", DAY)):
                ours, theirs = spawned.Pipe()
                process = spawned.Process(target=peak, args=(dumps, dumps / f"out{as_of}", as_of, theirs))
                process.start()
                mib, seconds = ours.recv()
                process.join()
                print(f"{name:20} {mib:8,.0f} MiB at the most {seconds:8.1f} s", flush=True)
            return
        taken: dict[str, list[tuple[float, float]]] = {"": [], DAY: []}
        for turn in range(3):
            for as_of, times in taken.items():
                times.append(build(dumps, dumps / f"out{as_of}{turn}", as_of))
        if scores(dumps / f"out{DAY}0") != scores(dumps / "out0"):
            raise SystemExit("the scores of the day are not those of the dump; nothing is timed")
        best = {
            as_of: (min(wall for wall, _ in some), min(processor for _, processor in some))
            for as_of, some in taken.items()
        }
        for name, as_of in (("plain build", ""), (f"as of {DAY}", DAY)):
            wall, processor = best[as_of]
            print(f"{name:20} {wall:8.2f} s {processor:8.2f} s of the processor")
        ratios = [best[DAY][at] / best[""][at] for at in (0, 1)]
        print(f"{'times as long':20} {ratios[0]:8.2f}   {ratios[1]:8.2f}   (goal: 3)")


if __name__ == "__main__":
    main()
