"""Search questions: rows of GooAQ whose answer came from a post of a community.

The decision here: which of several rows about the same answer is taken (spec
B.4, 24 and 25). A row's place in the shuffle is a hash of the seed and the
row, so it does not depend on which other communities are built, on how many
processes read, or on the version of Python.
"""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lotte import artifact
from lotte.builder.bad_rows import BadRows
from lotte.builder.counts import ChosenCounts, GooaqCounts, NoLink
from lotte.builder.dump import Advance
from lotte.builder.links import link
from lotte.builder.post import search_text
from lotte.builder.spec import BuildOptions
from lotte.errors import CorruptFileError, UnavailableError, absent, writing

FORMAT = 2
_LONGEST = 16 << 20


def read(gooaq: Path, sites: Mapping[str, str], options: BuildOptions, path: Path, advance: Advance) -> None:
    """Leave the rows of GooAQ that link to a community in a folder at `path`: links.jsonl and meta.json.

    Raises  UnavailableError if the file is not there or has no answer_url at all,
            CorruptFileError if it is damaged, or bad beyond max_bad_share
    """
    meta: dict[str, Any] = {"key": key(gooaq, sites, options)}
    with writing(path.parent), artifact.folder(path, meta) as folder:
        lines, counts, has_url = _Lines(gooaq, advance), GooaqCounts(), False
        with (folder / "links.jsonl").open("w", encoding="utf-8") as file:
            for number, row in lines.rows():
                try:
                    candidate = _candidate(number, row, sites, options, counts)
                except ValueError as error:
                    lines.bad.refuse(number, str(error))
                    continue
                has_url = has_url or "answer_url" in row
                if candidate:
                    file.write(artifact.json_line(candidate))
        lines.bad.check_share(lines.count, options.max_bad_share)
        if lines.count and not has_url:
            raise UnavailableError(
                f"{gooaq}: no row has an answer_url, which is what links a question to a post. Most copies of GooAQ "
                "lack it; take gooaq.jsonl from github.com/allenai/gooaq (Git LFS, 1.9 GB)."
            )
        counts.rows, counts.bad_rows = lines.count, lines.bad.count
        bad = lines.bad.named(gooaq.with_name(lines.name), lines.name)
        meta |= {"input": lines.identity(), "counts": vars(counts), "bad": bad}


def _candidate(
    number: int, row: dict[str, Any], sites: Mapping[str, str], options: BuildOptions, counts: GooaqCounts
) -> "Candidate | None":
    """Return what a row asks and links to; None, and it is counted why, if it is of no use here.

    Raises  ValueError for a bad row
    """
    question, url = row.get("question"), row.get("answer_url")
    if not isinstance(question, str) or not isinstance(url, str | None):
        raise ValueError("question or answer_url is not a text")
    if not url:
        counts.no_url += 1
        return None
    post = link(url, sites)
    if isinstance(post, NoLink):
        counts.no_link[post] += 1
        return None
    if options.search_types and row.get("answer_type") not in options.search_types:
        counts.other_type += 1
        return None
    if not (text := search_text(question, options)):
        counts.empty_question += 1
        return None
    try:
        f"{text}{url}".encode()
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair
        raise ValueError("half a character, which no file can hold") from None
    counts.links += 1
    return Candidate(number, row.get("id"), text, url, *post, str(row.get("answer") or row.get("short_answer") or url))


def key(gooaq: Path, sites: Mapping[str, str], options: BuildOptions) -> str:
    """Return what must be equal for a finished folder to be used again."""
    if not gooaq.is_file():
        raise absent(gooaq, "; --gooaq takes gooaq.jsonl, plain or .gz")
    stat = gooaq.stat()
    record = [options.search_types, options.search_quotes, options.max_bad_share]
    stamp = [str(gooaq.resolve()), stat.st_size, stat.st_mtime_ns]
    return artifact.digest({"format": FORMAT, "gooaq": stamp, "sites": dict(sites), "options": record})


def identity(gooaq: Path) -> dict[str, Any]:
    """Return size and sha256 of the file's content, plain or unpacked."""
    lines = _Lines(gooaq, lambda used: None)
    for _ in lines.lines():
        pass
    return lines.identity()


class Candidate(NamedTuple):
    """A row of GooAQ that links to a post of a community."""

    number: int  # of its line
    row_id: Any
    text: str
    url: str
    site: str
    question_id: int
    answer_id: int
    answer: str


def candidates(path: Path) -> dict[str, list[Candidate]]:
    """Return what `read` left, by community, in the order of the file."""
    by_site: dict[str, list[Candidate]] = {}
    with (path / "links.jsonl").open(encoding="utf-8", newline="\n") as file:
        for line in file:
            candidate = Candidate(*json.loads(line))
            by_site.setdefault(candidate.site, []).append(candidate)
    return by_site


class Chosen(NamedTuple):
    """A search question, and the page that answers it."""

    text: str
    url: str
    question_id: int
    answer_id: int  # the one linked to, 0 for none


def chosen(
    rows: Sequence[Candidate],
    question_of: Callable[[int, int], int],
    options: BuildOptions,
    counts: ChosenCounts,
) -> list[Chosen]:
    """Return the search questions of one community, in their order.

    question_of  question id, answer id (0 for unknown) -> the question, 0 if it has no passages
    counts       takes how many rows went which way
    """
    order = sorted(rows, key=lambda row: shuffle_key(row, options.seed)) if options.search_shuffle else rows
    keys: set[Any] = set()
    asked: set[tuple[str, int]] = set()
    questions: list[Chosen] = []
    for row in order:
        question_id = question_of(row.question_id, row.answer_id)
        if not question_id:
            counts.without_passages += 1
            continue
        key = {"url": row.url, "page": question_id, "answer": (row.answer, question_id)}[options.search_key]
        if key in keys:
            counts.same_answer += 1
            continue
        keys.add(key)
        if options.search_repeats == "drop" and (row.text, question_id) in asked:
            counts.same_question += 1
            continue
        asked.add((row.text, question_id))
        questions.append(Chosen(row.text, row.url, question_id, row.answer_id))
        if options.search_size and len(questions) == options.search_size:
            break
    return questions


def shuffle_key(row: Candidate, seed: int) -> tuple[bytes, int]:
    """Return where the shuffle puts a row: a hash, and its line where even that is equal."""
    text = f"{seed}\t{row.row_id}\t{row.text}\t{row.url}"
    return hashlib.sha256(text.encode()).digest(), row.number


class _Lines:
    """The lines of a JSONL file, plain or gzip, with what identifies it."""

    def __init__(self, path: Path, advance: Advance) -> None:
        self.path, self._advance = path, advance
        self.name = path.name.removesuffix(".gz")
        self.count = 0
        self.bad = BadRows(path.with_name(self.name))
        self._sha256, self._size = hashlib.sha256(), 0

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Give the number of its line and the object, for each line that is one; those that are none are refused."""
        for number, line in enumerate(self.lines(), start=1):
            if not line.strip():
                continue
            self.count += 1
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                self.bad.refuse(number, "not JSON")
                continue
            if isinstance(row, dict):
                yield number, row
            else:
                self.bad.refuse(number, f"not an object but {type(row).__name__}")

    def identity(self) -> dict[str, Any]:
        return {"bytes": self._size, "sha256": self._sha256.hexdigest()}

    def lines(self) -> Iterable[bytes]:
        """Give each line as it stands in the file, unpacked. Raises CorruptFileError for a damaged .gz."""
        position = 0
        with self.path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = gzip.GzipFile(fileobj=raw) if packed else raw
            try:
                while line := file.readline(_LONGEST):
                    self._sha256.update(line)
                    self._size += len(line)
                    if (used := raw.tell() - position) > 1 << 20:
                        position += used
                        self._advance(used)
                    yield line
            except (OSError, EOFError) as error:
                if not packed:
                    raise
                raise CorruptFileError(f"{self.path}: is truncated or damaged ({error}). Fetch it again.") from None
            self._advance(raw.tell() - position)
