"""Questions of an older test, which a fresh one is not to ask again: files of them, or a folder with a LoTTE in it.

  .tsv     id TAB question a line, as questions.forum.tsv
  .jsonl   an object a line, with the question under "query", "question" or "text"

Of a folder every file with `questions` or `qas` in its name is read, and nothing else; any of them may be a .gz.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lotte import artifact, jsonl
from lotte.benchmarks import lotte
from lotte.errors import CorruptFileError, MismatchError, UnavailableError

_KEYS = ("query", "question", "text")
_TAKES = "--against takes id TAB question, or JSON objects, a line each"


def files(path: Path) -> dict[str, Path]:
    """Return the files of questions that a path stands for, by their names below it.

    Raises  UnavailableError if there is none
    """
    if path.is_file():
        return {path.name: path}
    if not path.is_dir():
        raise UnavailableError(f"{path} is not there; --against takes a file of questions, .tsv or .jsonl, or a folder")
    found = {
        file.relative_to(path).as_posix(): file
        for file in sorted(path.rglob("*"))
        if file.is_file() and _ending(file) and ("questions" in file.name or "qas" in file.name)
    }
    if not found:
        raise UnavailableError(
            f"{path} holds no questions: expected files like questions.forum.tsv or qas.forum.jsonl in it or below it"
        )
    return found


def questions(path: Path) -> list[str]:
    """Return the questions of a file or a folder, each wording once.

    Raises  as `files`; CorruptFileError for a line that is none, MismatchError for a file of another kind
    """
    texts = dict.fromkeys(text for file in files(path).values() for text in _questions(file))
    if not texts:
        raise CorruptFileError(f"{path} holds no question; {_TAKES}")
    return list(texts)


def identity(path: Path) -> dict[str, Any]:
    """Return what the manifest says of them: sha256 of each file, and how many questions there are."""
    sums: Mapping[str, str] = {name: artifact.sha256(file) for name, file in files(path).items()}
    return {"files": sums, "questions": len(questions(path))}


def _questions(file: Path) -> Iterator[str]:
    ending = _ending(file)
    if ending == ".tsv":
        yield from lotte.read_queries(file).values()
    elif ending == ".jsonl":
        for number, row in jsonl.objects(file):
            key = next((key for key in _KEYS if key in row), _KEYS[0])
            yield jsonl.string(row, key, f"{file}:{number}")
    else:
        raise MismatchError(f"{file} is no .tsv and no .jsonl; {_TAKES}")


def _ending(file: Path) -> str:
    """Return the ending that says how a file is read; "" for another one."""
    ending = Path(file.name.removesuffix(".gz")).suffix
    return ending if ending in (".tsv", ".jsonl") else ""
