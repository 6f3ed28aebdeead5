"""An index in parts: each has some of the documents and answers for itself, and the answers are merged.

The parts are whole indexes, `shard.0000` and so on in the folder of the index, with the rows in their order. What
makes scores comparable is one for all: a codec, or what a word is worth. A part may be held by several processes, of
which each can end: a question that one was at is asked of another.
"""

import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import artifact, executor
from lotte.errors import CorruptFileError, LotteError, MismatchError, UnavailableError
from lotte.processors import num_processors, share
from retrievers import index_folder, index_meta
from retrievers.index_meta import AGAIN, META

CODEC = ("centroids.npy", "codec.json", "words.npy", "word_starts.npy")  # what all parts have alike
TRIES = 4  # of a question whose process ends
RULE = "every shard keeps as many documents in each stage of a search as the whole index would"

Ranked = tuple[NDArray[Any], NDArray[np.float32]]  # rows and scores, best first
Answers = Callable[..., Any]


def name(number: int) -> str:
    """Return the name of a part's folder."""
    return f"shard.{number:04}"


def count(meta: Mapping[str, Any]) -> int:
    """Return how many parts an index has; 0: it is one whole."""
    found = meta["counts"].get("shards", 0)
    return found if type(found) is int and found > 0 else 0


def bounds(documents: int, shards: int) -> list[int]:
    """Return where each part's rows begin, and where the last ends. Raises MismatchError for more parts than documents.

    >>> bounds(10, 3)
    [0, 3, 6, 10]
    """
    if shards > max(1, documents):
        raise MismatchError(f"--shards {shards} is more than there are documents, which are {documents:,}")
    return [documents * number // shards for number in range(shards + 1)]


def require_whole(path: Path) -> None:
    """Raise UnavailableError if an index has parts: what changes an index does not know them."""
    if index_meta.is_index(path) and count(index_meta.read(path)):
        raise UnavailableError(f"{path} has shards, and is built whole; index the changed collection again")


def write_part(folder: Path, doc_ids: Sequence[str], said: Mapping[str, Any]) -> None:
    """Make a folder with the files of a part a whole index.

    doc_ids  of its documents
    said     recipe, counts and what else meta.json is to have
    """
    index_folder.write_doc_ids(folder / index_folder.DOC_IDS, doc_ids)
    corpus = {"sha256": None, "path": None, "documents": len(doc_ids)}
    meta = {"format": index_meta.FORMAT, "corpus": corpus, "sources": [], **said}
    index_meta.write(folder, {**meta, **index_meta.covered(folder)})


def parts(path: Path, meta: Mapping[str, Any]) -> list[index_folder.IndexFolder]:
    """Return the parts of an index. Raises CorruptFileError for the first that is not what was written."""
    for problem in damaged(path, meta):
        raise CorruptFileError(f"{problem}; {AGAIN}")
    return [index_folder.described(path / name(number)) for number in range(count(meta))]


def damaged(path: Path, meta: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for every part that is missing, there twice, of another codec, or not what was written."""
    written = meta.get("parts", {})
    for part in map(name, range(count(meta))):
        try:
            found = artifact.sha256(path / part / META)
        except (FileNotFoundError, NotADirectoryError):
            yield f"{path / part} is missing from the index"
            continue
        if found == written.get(part):
            continue
        if twice := next((other for other, sha256 in written.items() if sha256 == found), None):
            yield f"{path / part} is {twice} a second time"
        elif _codec(path / part) != _codec(path):
            yield f"{path / part} has another codec than the index, so its scores cannot be merged"
        else:
            yield f"{path / part / META} is not what was written"


def differences(path: Path, meta: Mapping[str, Any]) -> Iterator[str]:
    """Read all of an index and of its parts; yield a line for everything that is not as it was written."""
    if found := list(damaged(path, meta)):
        yield from found
    else:
        yield from (f"{file}: {problem}" for file, problem in index_meta.damaged(path, meta))


def _codec(folder: Path) -> dict[str, Any]:
    with suppress(LotteError, OSError, AttributeError):
        files = index_meta.read(folder).get("files", {})
        return {file: files[file] for file in CODEC if file in files}
    return {}


def merged(answers: Sequence[Ranked], firsts: Sequence[int], k: int, place: NDArray[Any] | None = None) -> Ranked:
    """Return the k best of the answers of all parts.

    firsts  the first row of each
    place   of each row: of two with one score the larger place is better; None: the smaller row
    """
    rows = np.concatenate([rows.astype(np.int64) + first for (rows, _), first in zip(answers, firsts, strict=True)])
    scores = np.concatenate([scores for _, scores in answers])
    order = np.lexsort((rows if place is None else -place[rows].astype(np.int64), -scores))[: max(k, 0)]
    return rows[order], scores[order]


class Replica:
    """A process that holds a part.

    opened  opens it, and returns what answers: a function of a module
    """

    def __init__(self, opened: Callable[[Any], Answers], what: Any, processors: int) -> None:
        context: Any = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        with executor.deaf():
            self.process = context.Process(target=_serve, args=(theirs, opened, what, processors), daemon=True)
            self.process.start()
        theirs.close()

    def ask(self, asked: Any) -> None:
        """Send a question. One that cannot be sent has no answer."""
        with suppress(OSError):
            self._pipe.send(asked)

    def answer(self) -> Any:
        """Return the answer. Raises EOFError or OSError if the process ended, and what it raised."""
        kind, found = self._pipe.recv()
        if kind == "raised":
            raise found
        return found

    def end(self) -> None:
        """End the process."""
        self._pipe.close()
        self.process.kill()
        self.process.join()


def _serve(pipe: Any, opened: Callable[[Any], Answers], what: Any, processors: int) -> None:
    executor.end_with(multiprocessing.parent_process())
    share(processors)
    answers: Answers | None = None
    with suppress(EOFError):
        while True:
            asked = pipe.recv()
            try:
                answers = answers or opened(what)
                pipe.send(("answer", answers(*asked)))
            except Exception as error:
                if not isinstance(error, LotteError):
                    error.add_note(traceback.format_exc())
                pipe.send(("raised", error))


class Holders:
    """The processes that hold the parts of an index, several for each: they begin when they are first asked.

    opened  opens a part, and returns what answers
    whats   what it is given, for each part
    """

    def __init__(self, opened: Callable[[Any], Answers], whats: Sequence[Any], replicas: int) -> None:
        self._opened, self._whats, self.replicas = opened, whats, replicas
        self.held: dict[tuple[int, int], Replica] = {}  # by part and number

    def ask(self, questions: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Ask every part; return its answers in the order of its questions, of which it has at most one a replica.

        Raises  what a process raised; UnavailableError if the processes of a part end again and again
        """
        try:
            return self._answers(questions)
        except BaseException:  # what was asked, and not heard, must be no answer to the next question
            self.end()
            raise

    def _answers(self, questions: Sequence[Sequence[Any]]) -> list[list[Any]]:
        answers: dict[tuple[int, int], Any] = {}
        left = {(part, number): one for part, some in enumerate(questions) for number, one in enumerate(some)}
        for attempt in range(TRIES):
            for (part, number), asked in left.items():
                self._replica(part, (number + attempt) % self.replicas).ask(asked)
            for part, number in list(left):
                at = part, (number + attempt) % self.replicas
                try:
                    answers[part, number] = self.held[at].answer()
                    del left[part, number]
                except (EOFError, OSError):
                    self.held.pop(at).end()
            if not left:
                return [[answers[part, at] for at in range(len(some))] for part, some in enumerate(questions)]
        raise UnavailableError(
            f"the processes that hold {name(min(left)[0])} ended {TRIES} times; most likely it wants more memory than "
            "there is: ask with fewer replicas"
        )

    def _replica(self, part: int, number: int) -> Replica:
        if (part, number) not in self.held:
            processors = num_processors() // len(self._whats)
            self.held[part, number] = Replica(self._opened, self._whats[part], processors)
        return self.held[part, number]

    def divided(self, count: int) -> list[slice]:
        """Return which of so many questions each replica is asked."""
        cuts = bounds(count, min(self.replicas, max(1, count)))
        return [slice(*cut) for cut in pairwise(cuts)]

    def end(self) -> None:
        """End all processes."""
        while self.held:
            self.held.popitem()[1].end()

    __del__ = end
