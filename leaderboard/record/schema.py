"""A record: the score of a system on a dataset, and everything needed to verify it.

Only `parse` checks the form of a file's content: it returns a `Record`, whose
fields have the types of sections.py, or one line for each field that does not.

`content` is the record as JSON has it and is what is written: fields that this
version has no name for stay, and the bytes do not change. `id` is the sha256 of
all the rest, so a number that was changed by hand is noticed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

from leaderboard.record.sections import (
    ContaminationFacts,
    CostFacts,
    DatasetFacts,
    ImplementationFacts,
    MeasureFacts,
    PlatformFacts,
    RetrieverFacts,
    RunFacts,
    VerificationFacts,
)
from lotte import artifact
from lotte.errors import CorruptFileError, shown, writing

SCHEMA = "lotte-result/1"  # raise the number when a field changes meaning; never reuse one
LONGEST_TEXT = 1000  # characters of a name that a line is printed with
LARGEST_NUMBER = 1e300  # JSON has whole numbers that no float holds


@dataclass(frozen=True, kw_only=True)
class Record:
    """One system on one dataset: what `lotte eval` found, and how. `lotte board` compares them."""

    id: str
    created: str  # UTC
    retriever: RetrieverFacts
    dataset: DatasetFacts
    measures: MeasureFacts
    run: RunFacts
    cost: CostFacts
    platform: PlatformFacts
    implementation: ImplementationFacts
    contamination: tuple[ContaminationFacts, ...]
    verification: VerificationFacts
    content: Mapping[str, Any] = field(repr=False)  # all of it, as JSON has it; not to be changed

    @classmethod
    def of(cls, *, where: object = "the record", **sections: Any) -> "Record":
        """Return the record that has these sections, as JSON has them, with its schema and its id.

        where  what the message begins with

        Raises  CorruptFileError if one of them is not as it should be
        """
        try:
            record = parse({**sections, "schema": SCHEMA, "id": identity(sections)})
        except (ValueError, RecursionError):  # NaN, or an unpaired surrogate
            record = ["a value in it is neither a number nor a text, and cannot be kept"]
        if isinstance(record, Record):
            return record
        raise CorruptFileError(f"{where}: {summary(record)}")

    def changed(self, **sections: Any) -> "Record":
        """Return a record with other sections in place of these, and the id of that. Raises as `of`."""
        return Record.of(**{key: self.content[key] for key in SECTIONS} | sections)

    @property
    def official(self) -> str:
        """The measure that the dataset's authors report."""
        return self.measures.official

    @property
    def value(self) -> float:
        """The mean of the official measure."""
        return self.mean(self.official)

    def mean(self, measure: str) -> float:
        """Return the mean of a measure over the queries. Raises KeyError if it was not computed."""
        return self.measures.aggregate[measure].value

    def text(self) -> str:
        """Return what the file of the record holds."""
        return artifact.readable(self.content)

    def write(self, path: Path, run: Path | None = None) -> Path:
        """Write the record, whole or not at all. Returns its path.

        run  a whole file in the same folder, which takes the name that the record gives its run. Both are written
             by then, and the older record goes before the run does: a record never stands beside a run that is not
             its own, and a full disk leaves the older pair
        """
        with writing(path.parent):
            if run is None or self.run.file is None:
                return artifact.write_whole(path, self.text())
            whole = path.with_name(f".{path.name}")
            try:
                with artifact.Writer(whole) as file:
                    file.write(self.text().encode())
                path.unlink(missing_ok=True)
                run.replace(path.with_name(self.run.file))
                return whole.replace(path)
            finally:
                whole.unlink(missing_ok=True)


SECTIONS = tuple(section.name for section in fields(Record) if section.name not in ("id", "content"))


def parse(content: Any) -> Record | list[str]:
    """Return the record that a JSON value spells, or what is wrong with it: a line each, of field, wanted and found."""
    if not isinstance(content, dict):
        return [f"wanted an object, found {shown(content)}"]
    if odd := content.keys() ^ {"schema", "id", *SECTIONS}:
        return [f"{shown(', '.join(sorted(odd)), 160)}: missing, or not of {SCHEMA}"]
    if content["schema"] != SCHEMA:
        return [f"schema: wanted {SCHEMA!r}, found {shown(content['schema'])}"]
    try:
        expected = identity(content)
    except UnicodeEncodeError:
        return ["a text in it contains an unpaired surrogate"]
    except ValueError:  # NaN is not JSON, but Python reads it
        return ["a number in it is not finite"]
    except RecursionError:
        return ["nested too deeply to be a record"]
    if content["id"] != expected:
        said = shown(content["id"])
        return [f"it was changed after it was written: it says id {said}, its content has {expected!r}"]
    problems: list[str] = []
    sections = {
        section.name: _value(section.type, content[section.name], section.name, problems)
        for section in fields(Record)
        if section.name in SECTIONS
    }
    if problems:
        return problems
    record = Record(id=expected, content=content, **sections)
    return list(_unfit(record)) or record


def identity(content: Mapping[str, Any]) -> str:
    """Return the id that a record of this content has. Raises ValueError for what JSON cannot hold."""
    return artifact.digest({"schema": SCHEMA} | {key: value for key, value in content.items() if key != "id"})


def summary(problems: Sequence[str]) -> str:
    """Return the first problem, and how many more there are."""
    return problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")


def is_number(value: Any) -> bool:
    """Whether a value from JSON is a finite number that a float holds."""
    return type(value) in (int, float) and abs(value) < LARGEST_NUMBER  # false of NaN


def is_whole(value: Any) -> bool:
    """Whether a value from JSON is a number of things, which 64 bits hold."""
    return type(value) is int and 0 <= value < 1 << 63


def _are_ends(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value)) and value[0] <= value[1]


_KINDS: Mapping[Any, tuple[str, Callable[[Any], bool]]] = {
    str: ("a text", lambda value: isinstance(value, str)),
    int: ("a whole number", is_whole),
    float: ("a number", is_number),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    tuple: ("a list", lambda value: isinstance(value, list)),
    Mapping: ("an object", lambda value: isinstance(value, dict)),
    tuple[float, float]: ("two numbers, the lower one first", _are_ends),
}


def _value(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    """Return a value from JSON as a field of this type has it. What is wrong with it goes on the list of problems."""
    if hint is Any:
        return value
    if get_origin(hint) is Annotated:
        return _value(get_args(hint)[0], value, where, [])
    if isinstance(hint, UnionType):
        kind, _ = get_args(hint)
        return None if value is None else _value(kind, value, where, problems)
    wanted, fits = _KINDS.get(hint) or _KINDS[Mapping if is_dataclass(hint) else get_origin(hint)]
    if not fits(value):
        problems.append(f"{where}: wanted {wanted}, found {shown(value, 60)}")
        return None
    if hint in _KINDS:
        return float(value) if hint is float else tuple(map(float, value)) if isinstance(value, list) else value
    if is_dataclass(hint):
        return _section(hint, value, where, problems)
    first, second = get_args(hint)
    if isinstance(value, list):  # an entry of another kind is left out
        entries = (_value(first, entry, where, []) for entry in value)
        return tuple(entry for entry in entries if entry is not None)
    if second is Any or (second is float and all(map(is_number, value.values()))):
        return value
    return {name: _value(second, part, f"{where}.{_key(name)}", problems) for name, part in value.items()}


def _key(name: str) -> str:
    """Return a stranger's name for a line."""
    return name[:60] if name.isprintable() else shown(name, 60)


def _section(kind: Any, content: Mapping[str, Any], where: str, problems: list[str]) -> Any:
    """Return a section of a record; None if a field of it is wrong, which goes on the list of problems."""
    known, values = len(problems), {}
    for part in fields(kind):
        value = content.get(part.name)
        is_needed = part.default is MISSING and part.default_factory is MISSING
        if value is not None or is_needed:
            value = _value(part.type, value, f"{where}.{part.name}", problems)
        if value is not None:
            values[part.name] = value
    return None if len(problems) > known else kind(**values)


def _unfit(record: Record) -> Iterator[str]:
    """Yield what is wrong with fields that are each of the right kind: names that are none, values without a mean."""
    measures, source, level = record.measures, record.dataset.source, record.verification.level
    names = {
        "retriever.name": record.retriever.name,
        "dataset.name": record.dataset.name,
        "measures.official": measures.official,
    }
    for where, text in {**names, "dataset.source": source, "verification.level": level}.items():
        if len(text) > LONGEST_TEXT:
            yield f"{where}: wanted {LONGEST_TEXT:,} characters at most, found {len(text):,}"
        elif where in names and not text.strip():
            yield f"{where}: wanted a name, found {shown(text)}"
    if measures.official not in measures.aggregate:
        there = ", ".join(map(_key, measures.aggregate))[:160] or "none"
        yield f"measures.aggregate: wanted {_key(measures.official)}, which is official, found {there}"
    for name in measures.per_query:
        if name not in measures.aggregate:
            yield f"measures.per_query.{_key(name)}: values without a mean"
