"""The ids and texts beside another program's index: PyLate and RAGatouille keep them in files of their own.

  PyLate        NAME/plaid_ids_to_documents_ids.pkl, place -> id, beside NAME/fast_plaid_index or in the index itself
  RAGatouille   pid_docid_map.json, place -> id of a document, of which several passages may be; collection.json, texts

A pickle is read as data: what a map of numbers and texts is made of, and no
other instruction. Nothing in it is run or imported.

Source  pylate 1.6.0, indexes/fast_plaid.py and stanford_plaid.py; ragatouille 0.0.9, models/colbert.py
"""

import pickletools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from lotte import ids
from lotte.collection import RowIds
from lotte.errors import CorruptFileError, MismatchError, reason, shown
from lotte.parsing import json_file

INSIDE = "fast_plaid_index"  # where PyLate's folder has fast-plaid's
PYLATE, RAGATOUILLE, TEXTS = "plaid_ids_to_documents_ids", "pid_docid_map.json", "collection.json"
_IGNORED = {"PROTO", "FRAME", "STOP"}
_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG",
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE",
}  # fmt: skip


def index_in(folder: Path) -> Path:
    """Return the folder that has the arrays: PyLate keeps fast-plaid's in a folder of its own."""
    return inner if (inner := folder / INSIDE).is_dir() else folder


def read(folder: Path, lengths: Sequence[int], say: Callable[[str], None]) -> Sequence[str]:
    """Return the ids of the documents of an index, by their places; the places themselves if no map is there.

    folder   the one that has the arrays
    lengths  how many tokens each document has; one of none may have been deleted, and needs no id

    An id is made a word, a number a text. Passages of one document are `id/0`, `id/1`, ...; both are reported.

    Raises  CorruptFileError if the map is none, or lacks a document; MismatchError if it is of another index
    """
    if (path := _map_of(folder)) is None:
        return RowIds(len(lengths))
    by_place = _places(path)
    if strange := [place for place in by_place if not 0 <= place < len(lengths)]:
        raise MismatchError(f"{path} names document {strange[0]}, and the index ends at {len(lengths) - 1}")
    if lacking := [place for place, length in enumerate(lengths) if length and place not in by_place]:
        raise MismatchError(
            f"{path} has no id for {len(lacking):,} of {len(lengths):,} documents, the first of which is "
            f"{lacking[0]}; does it belong to another index?"
        )
    found = {place: ids.word(str(doc_id)) or "''" for place, doc_id in by_place.items()}
    if changed := [place for place, doc_id in found.items() if doc_id != str(by_place[place])]:
        said = f"{shown(by_place[changed[0]])} is {shown(found[changed[0]])}"
        say(f"{path.name}: {len(changed):,} ids are not words, and are written with %: {said}")
    return _different(found, len(lengths), path, say)


def texts(folder: Path, count: int) -> list[str] | None:
    """Return the passages that RAGatouille keeps beside an index of so many documents; None if it keeps none.

    Where some were deleted, only those that are left stand there, in order.
    """
    if not (path := folder / TEXTS).is_file() or not (folder / RAGATOUILLE).is_file():
        return None
    kept = json_file(path)
    if not isinstance(kept, list) or not all(isinstance(text, str) for text in kept):
        raise CorruptFileError(f"{path}: expected a list of texts, found {shown(kept)}")
    places = sorted(_places(folder / RAGATOUILLE))
    if len(places) != len(kept):
        raise MismatchError(f"{path} has {len(kept):,} texts, and {RAGATOUILLE} {len(places):,} passages")
    by_place = dict(zip(places, kept, strict=True))
    return [by_place.get(place, "") for place in range(count)]


def _map_of(folder: Path) -> Path | None:
    above = folder.parent if folder.name == INSIDE else folder
    names = (above / f"{PYLATE}.json", above / f"{PYLATE}.pkl", folder / RAGATOUILLE)
    return next((path for path in names if path.is_file()), None)


def _places(path: Path) -> dict[int, Any]:
    """Return place -> id, a text or a number."""
    found = plain_pickle(path) if path.suffix == ".pkl" else json_file(path)
    if not isinstance(found, dict):
        raise CorruptFileError(f"{path}: expected places and ids, found {shown(found)}")
    places: dict[int, Any] = {}
    for key, doc_id in found.items():
        place = int(key) if isinstance(key, int) or (key.isascii() and key.isdigit() and len(key) < 19) else -1
        if place < 0 or not isinstance(doc_id, str | int):
            raise CorruptFileError(f"{path}: expected place and id, found {shown(key)}: {shown(doc_id)}")
        places[place] = doc_id
    return places


def _different(found: Mapping[int, str], count: int, path: Path, say: Callable[[str], None]) -> list[str]:
    """Return an id for each place, no two the same."""
    times = Counter(found.values())
    passages: Counter[str] = Counter()
    doc_ids: list[str] = []
    for place in range(count):
        doc_id = found.get(place, f"deleted:{place}")
        if times[doc_id] > 1:
            passages[doc_id] += 1
            doc_id = f"{doc_id}/{passages[doc_id] - 1}"
        doc_ids.append(doc_id)
    if passages:
        first = next(iter(passages))
        say(f"{path.name}: {len(passages):,} ids have several passages each: {shown(first)} is {shown(first + '/0')}")
    if len(set(doc_ids)) < count:
        (twice, _), *_ = Counter(doc_ids).most_common(1)
        raise MismatchError(f"{path}: two documents would have the id {shown(twice)}; an id names one document")
    return doc_ids


def plain_pickle(path: Path) -> dict[Any, Any]:
    """Return the map of numbers and texts in a pickle, by reading its instructions; none of them is followed.

    Raises  CorruptFileError if it has another instruction than such a map is made of, or is damaged
    """
    try:
        return _followed(path)
    except _OtherError as error:
        name = path.with_suffix("").name
        raise CorruptFileError(
            f"{path} is a pickle with {error}, and is not read: a pickle can run code. If you trust it, write "
            f'{name}.json beside it: python -c "import json, pickle; json.dump({{int(k): str(v) for k, v in '
            f"pickle.load(open('{name}.pkl', 'rb')).items()}}, open('{name}.json', 'w'))\""
        ) from None
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise CorruptFileError(f"{path}: the pickle is truncated or damaged ({reason(error)}); copy it again") from None


class _OtherError(Exception):
    """An instruction that no map of numbers and texts has."""


def _followed(path: Path) -> dict[Any, Any]:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    mark = object()
    with path.open("rb") as file:
        for opcode, argument, _ in pickletools.genops(file):
            name, value = opcode.name, cast(Any, argument)
            if name in _VALUES:
                stack.append(value)
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
                memo[value] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                stack.append(memo[value])
            elif name == "MARK":
                stack.append(mark)
            elif name == "EMPTY_DICT":
                stack.append({})
            elif name in ("SETITEMS", "SETITEM"):
                first = len(stack) - 1 - stack[::-1].index(mark) if name == "SETITEMS" else len(stack) - 2
                pairs = stack[first + (name == "SETITEMS") :]
                del stack[first:]
                _put(stack[-1], pairs)
            elif name not in _IGNORED:
                raise _OtherError(f"the instruction {name}")
    if len(stack) != 1 or not isinstance(stack[0], dict):
        raise _OtherError(f"no map, but {type(stack[-1]).__name__}")
    return stack[0]


def _put(target: Any, pairs: Sequence[Any]) -> None:
    if not isinstance(target, dict) or len(pairs) % 2:
        raise ValueError("pairs for what is not a map")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, int | str) or not isinstance(value, int | str):
            raise _OtherError(f"an entry {shown(key, 40)}: {shown(value, 40)}")
        target[key] = value
