"""How fast `lotte build` is, beside the straightforward pipeline, in one run on one machine.

    python tests/bench/bench_build.py                      # 60 MB of Posts.xml
    python tests/bench/bench_build.py --mb 3000 --memory   # what a large community costs in memory

Makes a Posts.xml of any size in the dump's format (same seed, same bytes) and
prints MB/s of XML. "straightforward" is `xml.etree.iterparse` and BeautifulSoup
with `html.parser`, on a part of the input because it is slow, and writes one
collection.tsv; the whole build writes topic, pool, metadata, attribution and
hashes. Refuses to time a build whose passages are not those of the
straightforward pipeline.
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from time import perf_counter
from xml.sax.saxutils import escape

from bs4 import BeautifulSoup

from lotte.builder import build, community, dump, html, seven_zip, spec, xml_rows
from lotte.collection import Collection

MB = 1e6
SITE = "bench.stackexchange.com"
SPEC = 'name = "bench"\n[topics.bench]\ntest = {}\n'


def synthetic(path: Path, size: int, seed: int = 0) -> None:
    """Write a Posts.xml of about `size` bytes: questions, answers, lists, code, links, entities, scores as they occur."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlucmfwypvbgk", k=rng.choice((2, 3, 4, 5, 6, 7, 9)))) for _ in range(20_000)]
    weights = [1 / (rank + 5) for rank in range(len(words))]
    pool = iter(())

    def some(count: int) -> str:
        nonlocal pool
        chosen = []
        for _ in range(count):
            word = next(pool, None)
            if word is None:
                pool = iter(rng.choices(words, weights, k=100_000))
                word = next(pool)
            chosen.append(word)
        return " ".join(chosen)

    def body() -> str:
        parts = []
        for _ in range(max(1, int(rng.lognormvariate(0.9, 0.6)))):
            kind = rng.random()
            if kind < 0.70:
                parts.append(f"<p>{some(30)} <em>{some(2)}</em> {some(12)}, isn&#39;t it? {some(18)}.</p>\n")
            elif kind < 0.80:
                parts.append("<ul>\n" + "".join(f"<li>{some(9)} &amp; {some(3)}</li>\n" for _ in range(4)) + "</ul>\n")
            elif kind < 0.92:
                parts.append(f"<pre><code>if ({some(1)} &lt; 3) {{\n  {some(6)};\n}}\n</code></pre>\n")
            else:
                link = f'<a href="https://example.org/{some(1)}" rel="nofollow noreferrer">{some(3)}</a>'
                parts.append(
                    f"<blockquote>\n  <p>{some(25)}</p>\n</blockquote>\n\n<p>{link} &quot;{some(8)}&quot;</p>\n"
                )
        return "\n".join(parts)

    def quoted(value: str) -> str:
        return escape(value, {'"': "&quot;", "\n": "&#xA;"})

    post_id, written = 0, 0
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write('\ufeff<?xml version="1.0" encoding="utf-8"?>\r\n<posts>\r\n')
        while written < size:
            post_id += 1
            question = post_id
            answers = [1, 1, 1, 2, 2, 3, 4][rng.randrange(7)]
            day = f"20{10 + post_id % 11:02}-0{1 + post_id % 9}-1{post_id % 10}T10:0{post_id % 10}:00.123"
            rows = [
                f'  <row Id="{question}" PostTypeId="1" AcceptedAnswerId="{question + 1}" CreationDate="{day}" '
                f'Score="{rng.randrange(40)}" ViewCount="{rng.randrange(90_000)}" Body="{quoted(body())}" '
                f'OwnerUserId="{rng.randrange(9_999)}" LastActivityDate="{day}" Title="{some(8)}?" Tags="&lt;a&gt;&lt;b&gt;" '
                f'AnswerCount="{answers}" CommentCount="2" ContentLicense="CC BY-SA 3.0" />\r\n'
            ]
            for _ in range(answers):
                post_id += 1
                rows.append(
                    f'  <row Id="{post_id}" PostTypeId="2" ParentId="{question}" CreationDate="{day}" '
                    f'Score="{rng.randrange(-1, 12)}" Body="{quoted(body())}" OwnerUserId="{rng.randrange(9_999)}" '
                    f'LastActivityDate="{day}" CommentCount="1" ContentLicense="CC BY-SA 3.0" />\r\n'
                )
            text = "".join(rows)
            file.write(text)
            written += len(text)
        file.write("</posts>")


def get_text(body: str) -> str:
    """The cheapest use of BeautifulSoup: it sets a blank beside every tag, so "bo<b>ld</b>" becomes two words."""
    return " ".join(BeautifulSoup(body, "html.parser").get_text(" ").split())


def straightforward(path: Path, out: Path, limit: int, strip: Callable[[str], str]) -> tuple[list[str], float]:
    """The pipeline one would write, for one collection.tsv. Returns the passages, and MB/s."""
    passages, used, start = [], path.stat().st_size, perf_counter()
    with path.open("rb") as file, out.open("w", encoding="utf-8") as collection:
        for _, element in ElementTree.iterparse(file):
            if element.tag == "row" and element.get("PostTypeId") == "2" and int(element.get("Score")) >= 1:
                words = strip(element.get("Body"))
                collection.write(f"{len(passages)}\t{words}\n")
                passages.append(words)
            element.clear()
            if file.tell() > limit:
                used = file.tell()
                break
    return passages, used / (perf_counter() - start) / MB


def kept(path: Path) -> int:
    """What the parser and the stripper do alone. Returns how many passages they made."""
    options, count = spec.BuildOptions(), 0
    with path.open("rb") as file:
        for one in xml_rows.XmlRows(iter(lambda: file.read(dump.BLOCK), b""), path=str(path), root="posts"):
            if one[b" PostTypeId="] == b"2" and int(one[b" Score="]) >= options.min_score:
                count += bool(html.text_of_value(one[b" Body="]))
    return count


def parsed(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in xml_rows.XmlRows(iter(lambda: file.read(dump.BLOCK), b""), path=str(path), root="posts"))


def order(dumps: Path, out: Path, sites: list[str], workers: int) -> build.BuildRequest:
    shutil.rmtree(out, ignore_errors=True)
    return build.BuildRequest(spec.Spec("bench", {"bench": {"test": tuple(sites)}}), dumps, out, workers=workers)


@contextmanager
def quiet(total: int, title: str):
    class Nothing:
        def advance(self, used: int) -> None:
            pass

    yield Nothing()


def whole(dumps: Path, out: Path, sites: list[str], workers: int = 1) -> float:
    start = perf_counter()
    build.build(order(dumps, out, sites, workers), quiet, lambda line: None)
    return perf_counter() - start


def seconds(function, *arguments, times: int = 2) -> float:
    """Return the shortest of some runs: on a shared machine the others are somebody else's work."""
    best = float("inf")
    for _ in range(times):
        start = perf_counter()
        function(*arguments)
        best = min(best, perf_counter() - start)
    return best


def peak_memory(dumps: Path, out: Path, pipe) -> None:
    whole(dumps, out, [SITE])
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def several(scratch: Path, mb: int, say: Callable[[str, float, str], None]) -> None:
    """Build two communities, ten times as large as the one before (1 GB at 100 MB, as LoTTE's are), by one worker, by
    two, and as two builds of one each that know nothing of each other: what those gain is what there is to gain on
    this machine, in this minute."""
    dumps, both = scratch / "dumps", [SITE, f"second.{SITE}"]
    for seed, site in enumerate(both):
        (dumps / site).mkdir(parents=True)
        synthetic(dumps / site / "Posts.xml", 10 * mb * 10**6, seed=seed)
        (scratch / f"{seed}.toml").write_text(SPEC.format([site]))
    (scratch / "both.toml").write_text(SPEC.format(both))
    taken: dict[str, list[float]] = {"one worker": [], "two workers": [], "two builds": []}
    for _ in range(3):
        for way, asked in zip(taken, ([("both", 1)], [("both", 2)], [("0", 1), ("1", 1)]), strict=True):
            start = perf_counter()
            commands = [command(dumps, scratch / f"{name}.toml", workers) for name, workers in asked]
            said = [one.communicate()[1] for one in commands]
            taken[way].append(perf_counter() - start)
            if any(one.returncode for one in commands):
                raise SystemExit(b"".join(said).decode())
            for name, _ in asked:
                shutil.rmtree(scratch / name)
    serial, parallel, apart = (min(some) for some in taken.values())
    say("two communities, two workers against one", serial / parallel, f"{serial / parallel:8.2f} times  (goal: 1.8)")
    say("  two builds of one each, at the same time", serial / apart, f"{serial / apart:8.2f} times")
    say("  the first by the second", apart / parallel, f"{apart / parallel:8.2f}")


def command(dumps: Path, spec_file: Path, workers: int) -> subprocess.Popen[bytes]:
    """Begin `lotte build` as a user does."""
    asked = ["build", "--dumps", dumps, "--out", spec_file.with_suffix(""), "--spec", spec_file, "--workers", workers]
    program = "from leaderboard.cli import main; main()"
    return subprocess.Popen([sys.executable, "-c", program, *map(str, asked)], stdout=PIPE, stderr=PIPE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mb", type=int, default=60, help="size of the Posts.xml")
    parser.add_argument("--memory", action="store_true", help="only build once, and say how much memory it took")
    parser.add_argument("--out", help="also write the numbers here, as JSON")
    args = parser.parse_args()
    rows: dict[str, float] = {}

    def say(name: str, value: float, text: str) -> None:
        rows[name] = value
        print(f"{name:44} {text}", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        dumps, out = Path(scratch) / "dumps", Path(scratch) / "out"
        (dumps / SITE).mkdir(parents=True)
        posts = dumps / SITE / "Posts.xml"
        synthetic(posts, args.mb * 10**6)
        size = posts.stat().st_size
        if args.memory:
            ours, theirs = multiprocessing.get_context("spawn").Pipe()
            process = multiprocessing.get_context("spawn").Process(target=peak_memory, args=(dumps, out, theirs))
            process.start()
            print(f"{size / MB:,.0f} MB of XML: {ours.recv() / 1024:,.0f} MiB of resident memory at the most")
            process.join()
            return

        limit = min(size, 10_000_000)
        scratch_tsv = Path(scratch) / "straightforward.tsv"
        passages, plain = straightforward(posts, scratch_tsv, limit, html.text_of_reference)
        _, cheapest = straightforward(posts, scratch_tsv, limit, get_text)
        whole(dumps, out, [SITE])
        collection = Collection(out / "bench" / "test" / "collection.tsv")
        if [collection[at].text for at in range(len(passages))] != passages:
            raise SystemExit("the passages are not those of the straightforward pipeline; nothing is timed")

        print(
            f"{size / MB:.0f} MB of XML, {len(collection):,} passages, {platform.processor()}, {os.cpu_count()} cores\n"
        )
        say("straightforward pipeline, the same passages", plain, f"{plain:8.1f} MB/s")
        say("straightforward pipeline, bare get_text()", cheapest, f"{cheapest:8.1f} MB/s")
        rate = size / seconds(parsed, posts) / MB
        say("parse", rate, f"{rate:8.1f} MB/s")
        alone = size / seconds(kept, posts) / MB
        say("parse and strip, alone", alone, f"{alone:8.1f} MB/s")
        strip = 1 / (1 / alone - 1 / rate)
        say("strip (the difference)", strip, f"{strip:8.1f} MB/s of XML")
        one = seconds(whole, dumps, out, [SITE])
        step = seconds(community.build, dump.find(dumps, [SITE]), spec.BuildOptions(), Path(scratch) / "step")
        say("write topic, pool and manifest", size / (one - step) / MB, f"{size / (one - step) / MB:8.1f} MB/s of XML")
        speed = size / one / MB
        say("whole build, one worker", speed, f"{speed:8.1f} MB/s")
        say("  against the straightforward pipeline", speed / plain, f"{speed / plain:8.2f} times  (goal: 6)")
        say("  against the one with bare get_text()", speed / cheapest, f"{speed / cheapest:8.2f} times")
        say("  against parse and strip alone", speed / alone, f"{speed / alone:8.2f}        (goal: 0.6)")

        import py7zr

        archives = Path(scratch) / "archives"
        archives.mkdir()
        with py7zr.SevenZipFile(archives / f"{SITE}.7z", "w", filters=[{"id": py7zr.FILTER_BZIP2}]) as archive:
            archive.write(posts, "Posts.xml")

        def decompressed(threads: int) -> None:
            seven_zip._threads = lambda: threads
            found = dump.find(archives, [SITE])
            assert found
            for _, blocks in found.read(["Posts.xml"], lambda used: None):
                for _ in blocks:
                    pass

        cores = seven_zip._threads()
        unpack, unpack_all = (seconds(decompressed, threads, times=2) for threads in (1, cores))
        packed = seconds(whole, archives, out, [SITE], times=2)
        say("bzip2 .7z, decompressed by one thread", size / unpack / MB, f"{size / unpack / MB:8.1f} MB/s")
        say(f"bzip2 .7z, decompressed by {cores}", size / unpack_all / MB, f"{size / unpack_all / MB:8.1f} MB/s")
        say("bzip2 .7z, whole build", size / packed / MB, f"{size / packed / MB:8.1f} MB/s")
        say("  build against decompression by one thread", unpack / packed, f"{unpack / packed:8.2f}        (goal: 1)")
        several(Path(scratch) / "two", args.mb, say)
    if args.out:
        record = {"mb": args.mb, "machine": platform.platform(), "cores": os.cpu_count(), "rows": rows}
        Path(args.out).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
