"""What a build will take: the beginning of its largest dump is built here and now, and all dumps are as many bytes.

Rows of a dump come in the order of their ids, so the beginning of Posts.xml has questions with their answers.
"""

import gzip
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from lotte.builder import build, gooaq
from lotte.builder.dump import READ, Dump
from lotte.estimate import CostLine, Estimate, age, resident

FEW, MANY = 1 << 18, 1 << 24  # bytes of Posts.xml that are built
LINES = 1 << 22  # bytes of GooAQ that are read
PACKED = 4.5  # bytes for one of an archive that does not say how many it holds
OF_XML = 0.21  # bytes of memory for a byte of Posts.xml: tests/bench/bench_build.py --memory
SCRATCH = 0.6  # bytes that communities take, for a byte of the topic and its pool
POSTS = "Posts.xml"


@dataclass(frozen=True)
class _Built:
    """The beginning of a dump, built."""

    size: int
    unpacking: float  # seconds
    seconds: float
    disk: int


def estimate(request: build.BuildRequest) -> list[Estimate]:
    """Return what the steps of a build take. Raises as `build.build` does where a dump is missing."""
    begin = age()
    dumps = list(build.find_inputs(request).dumps.values())
    sizes = [_size(dump, request) for dump in dumps]
    largest = dumps[sizes.index(max(sizes))]
    with TemporaryDirectory(prefix="lotte-estimate-") as scratch:
        few, many = (_begun(request, largest, count, Path(scratch) / str(count)) for count in (FEW, MANY))
        links = _gooaq(request, Path(scratch) / "gooaq")
    line = CostLine.through({few.size: few.seconds, many.size: many.seconds})
    each = line.each + many.unpacking / max(1, many.size)
    alone = [line.fixed + size * each for size in sizes]
    seconds = max(max(alone), sum(alone) / request.workers)
    disk = CostLine.through({few.size: few.disk, many.size: many.disk}).each * sum(sizes)
    memory = resident() * min(request.workers, len(dumps)) + OF_XML * sum(sorted(sizes)[-request.workers :])
    steps = [Estimate(step="build", seconds=begin + seconds, memory=memory, disk=disk, scratch=SCRATCH * disk)]
    if request.gooaq:
        steps.append(Estimate(step="gooaq", seconds=links / request.workers))
    return steps


def _size(dump: Dump, request: build.BuildRequest) -> int:
    """Return the bytes of XML that are read of a dump."""
    names = {name for name in dump.tables if name in READ or request.spec.options.as_of}
    known = [size for name, size in dump.tables.items() if name in names and size is not None]
    return sum(known) or int(dump.size * PACKED)


def _begun(request: build.BuildRequest, dump: Dump, count: int, folder: Path) -> _Built:
    """Build the beginning of a dump into a folder that goes again."""
    site = folder / "dumps" / dump.site
    site.mkdir(parents=True)
    start = perf_counter()
    content = _first(dump, count)
    unpacking = perf_counter() - start
    (site / POSTS).write_bytes(content)
    options = replace(request.spec.options, as_of="", max_bad_share=1.0)
    spec = replace(request.spec, topics={"part": {"test": (dump.site,)}}, options=options)
    start = perf_counter()
    build.build(build.BuildRequest(spec, site.parent, folder / "out"), _Silent, lambda line: None)
    seconds = perf_counter() - start
    size = sum(file.stat().st_size for file in (folder / "out").rglob("*") if file.is_file())
    return _Built(len(content), unpacking if dump.path.is_file() else 0.0, seconds, size)


def _first(dump: Dump, count: int) -> bytes:
    """Return the beginning of Posts.xml, cut behind a row and closed."""
    content = bytearray()
    for _, blocks in dump.read([POSTS], lambda used: None):
        for block in blocks:
            content += block
            if len(content) >= count:
                break
        break
    if len(content) < count:
        return bytes(content)
    end = content.rfind(b"\n", 0, count)
    return bytes(content[: end if end > 0 else count]) + b"\n</posts>\n"


def _gooaq(request: build.BuildRequest, folder: Path) -> float:
    """Return the seconds that GooAQ takes to read."""
    if request.gooaq is None:
        return 0.0
    folder.mkdir()
    part = folder / "gooaq.jsonl"
    with request.gooaq.open("rb") as file:
        content = (gzip.GzipFile(fileobj=file) if request.gooaq.suffix == ".gz" else file).read(LINES)
        used = file.tell()
    part.write_bytes(content[: content.rfind(b"\n") + 1])
    start = perf_counter()
    gooaq.read(part, build.sites_of(request.spec), request.spec.options, folder / "rows", lambda used: None)
    return (perf_counter() - start) * request.gooaq.stat().st_size / max(1, used)


class _Silent:
    """A progress bar that shows nothing."""

    def __init__(self, total: int, title: str) -> None:
        pass

    def __enter__(self) -> "_Silent":
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def advance(self, amount: int) -> None:
        pass
