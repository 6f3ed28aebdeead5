"""Scores of pairs in a file, a line a query, as they are made: what was read once is not read again.

The first line says what they are scores of, so that those of another model are not taken for them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lotte import artifact, lock
from lotte.errors import CorruptFileError, MismatchError, writing
from lotte.lines import lines
from lotte.parsing import json_of


class ScoreFile:
    """query text -> doc_id -> score.

    path  None: scores are kept in memory, and gone with the process
    of    what makes the scores: model, corpus, ...

    Raises  MismatchError for a file of another model or corpus, CorruptFileError for a line that is no score
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
        with lock.held(path.parent):
            content = path.read_bytes()
            if not content.endswith(b"\n"):  # a line that a killed process did not finish
                path.write_bytes(content[: content.rfind(b"\n") + 1])
        for number, line in lines(path):
            value = json_of(line, f"{path}:{number}")
            if number == 1:
                if value != self._of:
                    raise MismatchError(
                        f"{path}: these are scores of {value}, and {self._of} is asked; name another file"
                    )
                continue
            try:
                query, scores = value
                self._scores.setdefault(query, {}).update({doc_id: float(score) for doc_id, score in scores.items()})
            except (TypeError, ValueError, AttributeError):
                raise CorruptFileError(
                    f'{path}:{number}: expected ["query", {{"doc_id": score}}]; remove the file'
                ) from None
