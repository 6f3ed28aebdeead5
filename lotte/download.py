"""A file from elsewhere, whole and the right one, or not at all; and what a dataset needs, put where it is read.

A download that breaks off is taken up where it stopped, as long as its server
says the file is still the same (HTTP Range with If-Range, RFC 9110 section
13.1.5). Size and hash decide in the end. What fails at one mirror is tried at
the next. Only http and https, only the standard library.
"""

import contextlib
import errno
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import IO, Any

from lotte import archive, benchmarks, extras, huggingface, release
from lotte.artifact import write_json
from lotte.errors import CorruptFileError, LotteError, UnavailableError, unknown, writing
from lotte.parsing import json_object
from lotte.progress import Progress
from lotte.release import File, Release

ATTEMPTS = 5  # in a row without a byte of progress, per mirror
PAUSE = 1.0  # seconds before the second attempt; twice as long before each further one
LONGEST_PAUSE = 60.0
TIMEOUT = 60.0  # seconds without a byte
SCRATCH = ".downloads"  # in the data folder
_BLOCK = 1 << 20
_OUR_DISK = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM}
_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # what a server may get over


class _Lost(Exception):
    """This mirror will not give the file: try the next."""


class _OtherFile(_Lost):
    """This mirror gave another file."""


@dataclass(frozen=True)
class _Goal:
    target: Path
    size: int | None
    md5: str
    sha256: str

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.partial")

    @property
    def note(self) -> Path:
        """Which file the part is of: its URL, and what its server calls that version."""
        return self.target.with_name(f"{self.target.name}.partial.json")

    def forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def download(
    urls: Sequence[str],
    target: Path,
    *,
    size: int | None = None,
    md5: str = "",
    sha256: str = "",
    timeout: float = TIMEOUT,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Put the file at the first of these URLs that has it at `target`, and return `target`.

    size, md5, sha256  what it must be, as far as known; a file already at `target` is taken if it is that
    timeout            seconds without a byte after which an attempt is given up
    sleep              waits so many seconds between two attempts

    Raises  UnavailableError if no mirror gives it, CorruptFileError if what the last one gave is another file
    """
    goal = _Goal(target, size, md5, sha256)
    if target.is_file() and (size or md5 or sha256) and not _wrong(target, goal):
        return target
    reasons: list[str] = []
    corrupt = False
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        for url in urls:
            if not url.lower().startswith(("http://", "https://")):
                raise LotteError(f"{url} is not an http or https address")
            try:
                _from_mirror(url, goal, timeout, sleep)
            except _Lost as reason:
                reasons.append(f"{url}: {reason}")
                corrupt = corrupt or isinstance(reason, _OtherFile)
                continue
            goal.part.replace(target)
            goal.note.unlink(missing_ok=True)
            return target
    kept = f" {goal.part} is kept: run the command again, it goes on from there." if goal.part.exists() else ""
    kind = CorruptFileError if corrupt else UnavailableError
    raise kind(f"{target.name} could not be fetched ({'; '.join(reasons) or 'no address is known'}).{kept}")


def _from_mirror(url: str, goal: _Goal, timeout: float, sleep: Callable[[float], None]) -> None:
    """Fill the part from one URL, over as many connections as it takes. Raises _Lost, _OtherFile."""
    _connect_until_whole(url, goal, timeout, sleep)
    if wrong := _wrong(goal.part, goal):
        goal.forget()
        raise _OtherFile(wrong)


def _connect_until_whole(url: str, goal: _Goal, timeout: float, sleep: Callable[[float], None]) -> None:
    if goal.size is not None and _size(goal.part) == goal.size and _version_of_part(url, goal):
        return  # all of it came, and then the process was killed
    failures, most = 0, _size(goal.part)
    while True:
        wait = 0.0
        try:
            _connect(url, goal, timeout)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # the part is as long as the file, or longer: it is another file's
                goal.forget()
            elif error.code not in _AGAIN:
                raise _Lost(f"HTTP {error.code} {error.reason}") from None
            reason, wait = f"HTTP {error.code}", _asked_pause(error)
        except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
            if isinstance(error, OSError) and error.errno in _OUR_DISK:
                raise  # of our disk, not of the network
            reason = str(getattr(error, "reason", "") or error or type(error).__name__)
        # more than ever: a server may go on for ever about the same bytes
        failures = 1 if _size(goal.part) > most else failures + 1
        most = max(most, _size(goal.part))
        if failures >= ATTEMPTS:
            raise _Lost(f"{reason}, {failures} times in a row")
        sleep(min(max(wait, PAUSE * 2 ** (failures - 1)), LONGEST_PAUSE))


def _connect(url: str, goal: _Goal, timeout: float) -> None:
    """Read one response to its end into the part, which goes on if the server agrees, and else begins anew."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "lotte (https://docs.python.org/3/library/urllib)"}
    version = _version_of_part(url, goal)
    done = _size(goal.part) if version else 0
    if version and done:
        headers |= {"Range": f"bytes={done}-", "If-Range": version}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
        goes_on = response.status == 206 and _starts_at(response.headers.get("Content-Range"), done)
        if response.status == 206 and not goes_on:
            goal.forget()
            raise OSError("the server sent a different part than requested")
        done = done if goes_on else 0
        total = _total(response, done)
        if total is not None and goal.size is not None and total != goal.size:
            raise _Lost(f"it has {total:,} bytes there, expected {goal.size:,}")
        if not goes_on:
            _write_note(url, goal, response)
        limit = total if total is not None else goal.size
        with goal.part.open("ab" if goes_on else "wb") as file:
            _copy(response, file, done, limit, f"downloading {goal.target.name}")
    if limit is not None and (received := _size(goal.part)) < limit:
        raise OSError(f"it broke off at {received:,} of {limit:,} bytes")


def _copy(response: Any, file: IO[bytes], done: int, limit: int | None, title: str) -> None:
    with Progress(limit or 0, "bytes", title) as progress:
        progress.advance(done)
        while block := response.read(_BLOCK):
            if limit is not None and done + len(block) > limit:
                raise _Lost(f"it sends more than the {limit:,} bytes it has")
            file.write(block)
            done += len(block)
            progress.advance(len(block))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _version_of_part(url: str, goal: _Goal) -> str:
    """Return what the server called the version that the part is of; "" if it cannot be gone on with."""
    try:
        note = json_object(goal.note)
        return str(note["version"]) if note["url"] == url else ""
    except (OSError, LotteError, KeyError):
        return ""


def _write_note(url: str, goal: _Goal, response: Any) -> None:
    etag = response.headers.get("ETag", "")
    version = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
    write_json(goal.note, {"url": url, "version": version})


def _starts_at(content_range: str | None, done: int) -> bool:
    return (content_range or "").strip().lower().startswith(f"bytes {done}-")


def _total(response: Any, done: int) -> int | None:
    """Return how long the whole file is, as far as the server says."""
    _, _, total = (response.headers.get("Content-Range") or "").rpartition("/")
    if response.status == 206 and total.isdecimal():
        return int(total)
    length = response.headers.get("Content-Length") or ""
    return done + int(length) if length.isdecimal() else None


def _asked_pause(error: urllib.error.HTTPError) -> float:
    text = (error.headers.get("Retry-After") or "").strip()
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0


def _wrong(path: Path, goal: _Goal) -> str:
    """Return what is wrong with a file; "" if nothing is."""
    if goal.size is not None and (size := _size(path)) != goal.size:
        return f"it has {size:,} bytes, expected {goal.size:,}"
    for name, expected in (("sha256", goal.sha256), ("md5", goal.md5)):
        if expected and (actual_hash := _hash(path, name)) != expected:
            return f"its {name} is {actual_hash}, expected {expected}"
    return ""


def _hash(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()


def release_of(name: str) -> Release:
    """Return what is published of a dataset by its full name, "beir/scifact". Raises UnknownNameError."""
    file, _, rest = benchmarks.spelled(name).partition("/")
    files = [module.name for module in iter_modules(benchmarks.__path__)]
    rest = getattr(_benchmark(file), "ALIASES", {}).get(rest, rest) if file in files else rest
    if file not in files or rest not in (*_benchmark(file).NAMES, *getattr(_benchmark(file), "FURTHER", ())):
        names = [f"{benchmark}/{each}".rstrip("/") for benchmark in files for each in _benchmark(benchmark).NAMES]
        raise unknown("dataset", name, names)
    published: Release = _benchmark(file).release(rest)
    return published


def _benchmark(file: str) -> Any:
    return import_module(f"lotte.benchmarks.{file}")


def fetch(name: str, home: Path, *, say: Callable[[str], None] = lambda line: None) -> Path:
    """Download what a dataset needs into the data folder, and return the folder it is in.

    name  "beir/scifact", "lotte/science/test/forum", ...
    say   is called if another way is tried

    What is there already and whole stays. A file that lies there and was not
    fetched is never written over.

    Raises  UnknownNameError, UnavailableError if it is not public or cannot be had,
            CorruptFileError if what comes is not what was published
    """
    published = release_of(name)
    where = home / next(iter(published.needs))
    if _is_fetched(published, home):
        return where
    if published.by_hand:
        raise UnavailableError(f"{name} cannot be downloaded. {published.by_hand}")
    failures: list[LotteError] = []
    for way in published.files:
        try:
            for file in way:
                _fetch_file(file, home)
            return where
        except (UnavailableError, CorruptFileError) as error:
            failures.append(error)
            say(str(error))
    if published.tables:
        return _fetch_tables(published, home, where)
    if published.hub is not None and (huggingface.is_installed() or not failures):
        rows, origin = huggingface.tables(published.hub)
        return _write(published, where, rows, {"source": origin})
    hint = f" Or {extras.hint('datasets')}, and it comes from Hugging Face." if published.hub else ""
    raise type(failures[-1])(f"{failures[-1]}{hint}")


def _is_fetched(published: Release, home: Path) -> bool:
    return all(release.claim(home / folder, names) for folder, names in published.needs.items())


def _fetch_file(file: File, home: Path) -> None:
    """Download one file, unpack it beside where it goes, move it there, and mark it as whole."""
    if all(release.claim(home / folder, names) for folder, names in file.holds.items()):
        return
    for folder, names in file.holds.items():
        for name in names:
            if (path := home / folder / name).exists() and not release.claim(home / folder, [name]):
                raise LotteError(f"{path} already exists and was not fetched; move it away, then fetch again")
    scratch = home / SCRATCH / file.into
    packed = download(file.urls, scratch / file.name, size=file.size, md5=file.md5, sha256=file.sha256)
    staging = scratch / f"{file.name}.unpacked-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with writing(home):
            if file.unpack:
                archive.unpack(packed, file.unpack, staging, strip=file.strip)
            else:
                staging.mkdir(parents=True)
                (staging / file.name).hardlink_to(packed)
            _move(staging, home / file.into)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    origin = {"url": file.urls[0], "md5": file.md5, "sha256": file.sha256, "source": "release"}
    for folder, names in file.holds.items():
        if absent := [name for name in names if not (home / folder / name).is_file()]:
            raise CorruptFileError(
                f"{file.name} does not hold {folder}/{absent[0]}; its layout is not the expected one"
            )
        release.mark(home / folder, names, origin)
    packed.unlink(missing_ok=True)


def _move(staging: Path, target: Path) -> None:
    for path in sorted(staging.rglob("*")):
        if path.is_file():
            target_path = target / path.relative_to(staging)
            target_path.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target_path)


def _fetch_tables(published: Release, home: Path, where: Path) -> Path:
    """Download the Parquet files of a set, and write it in the layout that is read."""
    scratch = home / SCRATCH / published.name
    paths = {
        table: download(file.urls, scratch / f"{table}.parquet", size=file.size, md5=file.md5, sha256=file.sha256)
        for table, file in published.tables.items()
    }
    origin = {"source": "release", "files": {file.urls[0]: file.md5 for file in published.tables.values()}}
    _write(published, where, {table: huggingface.rows(path) for table, path in paths.items()}, origin)
    shutil.rmtree(scratch, ignore_errors=True)
    return where


def _write(published: Release, where: Path, tables: Mapping[str, Iterable[Any]], origin: Mapping[str, Any]) -> Path:
    """Write a set that comes as tables in the layout that is read, and mark it as whole."""
    ((_, names),) = published.needs.items()
    for name in names:
        if (path := where / name).exists() and not release.claim(where, [name]):
            raise LotteError(f"{path} already exists and was not fetched; move it away, then fetch again")
    file, _, rest = published.name.partition("/")
    staging = where.with_name(f".{where.name}.partial-{os.getpid()}")
    try:
        with writing(where.parent):
            _benchmark(file).write(staging, tables, rest)
            _move(staging, where)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    release.mark(where, names, origin)
    return where
