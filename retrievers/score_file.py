"""Scores of query-document pairs in a file, one line per query, appended as computed, so that none is computed twice.

The first line names the model and the collection, so that another model's scores are not mistaken for them.
"""

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from lotte import artifact, lock
from lotte.errors import CorruptFileError, MismatchError, writing
from lotte.parsing import json_of


class ScoreFile:
    """query text -> doc_id -> score.

    path  None: nothing is kept
    of    what makes the scores: model, corpus, ...

    Raises  MismatchError for a file of another model or corpus, CorruptFileError for a line that is not a score
    """

    def __init__(self, path: Path | None, of: Mapping[str, Any]) -> None:
        self._path, self._of = path, dict(of)
        self._scores: dict[str, dict[str, float]] = {}
        if path is not None:
            self._read(path)

    def of(self, query: str) -> Mapping[str, float]:
        """Return the scores of a query, doc_id -> score."""
        return self._scores.get(query, {})

    def add(self, query: str, scores: Mapping[str, float]) -> Mapping[str, float]:
        """Keep scores of a query; return all that are known of it."""
        if self._path is not None:
            with writing(self._path.parent), lock.held(self._path.parent), self._path.open("ab") as file:
                if not file.tell():
                    file.write(artifact.json_line(self._of).encode())
                file.write(artifact.json_line([query, dict(scores)]).encode())
            known = self._scores.setdefault(query, {})
            known.update(scores)
            return known
        return scores

    def _read(self, path: Path) -> None:
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return
        header = artifact.json_line(self._of).encode()
        with writing(path.parent), lock.held(path.parent), path.open("r+b") as file:
            first = file.readline()
            if first != header and not (header.startswith(first) and not first.endswith(b"\n")):
                raise MismatchError(
                    f"{path} has other scores than those of {header.decode().strip()}; it is left unchanged: name "
                    "another file"
                )
            content = first + file.read()
            file.truncate(content.rfind(b"\n") + 1)  # off a line that a killed process did not finish
        for number, line in enumerate(content.split(b"\n")[1:-1], start=2):
            try:
                query, scores = json_of(line, f"{path}:{number}")
                self._scores.setdefault(query, {}).update({doc_id: finite(score) for doc_id, score in scores.items()})
            except (TypeError, ValueError, AttributeError):
                raise CorruptFileError(
                    f'{path}:{number}: expected ["query", {{"doc_id": score}}]; remove the file'
                ) from None


def finite(score: Any) -> float:
    """Return a score. Raises ValueError for what has no place in an order."""
    if type(score) not in (int, float) or not isfinite(score):
        raise ValueError(score)
    return float(score)
