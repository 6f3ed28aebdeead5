"""The tables that the papers print, with our numbers beside theirs.

The printed numbers are data, one .toml per paper, with the source of each table.
Table, row and column of a cell determine our number: system, options, dataset,
measure. So a cell is filled as soon as the record exists, and shows "not run"
until then. If none of our systems can fill it, `why` states the reason.
Imported records fill no cell.

A gap is ours minus theirs, and exists only if both use the same data: a record
of another build, or of a part of the collection, is shown without one.
Numbers that depend on the machine have none either.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lotte.errors import LotteError, UnknownNameError
from lotte.parsing import toml_file

if TYPE_CHECKING:
    from leaderboard.record.schema import Record

FOLDER = Path(__file__).parent
PAPERS = ("colbertv2", "colbert", "tct_colbert")  # files of FOLDER
NOT_RUN, NOT_PRINTED = "not run", "-"
_ORDER = ("reproduced", "rescored", "self-run")  # of several records of a cell, the best known is shown
_SCALE = {"percent": 100.0, "share": 1.0, "GiB": 2.0**-30, "ms": 1.0, "count": 1.0}
_PLACES = {"percent": 1, "share": 3, "GiB": 1, "ms": 0, "count": 0}
_KEYS = ("system", "options", "dataset", "measure", "count", "cost", "split", "unit", "why")

Address: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class PaperCell:
    """A number that a paper printed, and ours beside it."""

    paper: str
    table: str
    row: str
    column: str
    published: float | str  # as printed; "-" if nothing is, "?" if it is not at hand
    ours: float | None  # in the unit of the table
    gap: float | None
    note: str  # why there is no number, or no gap
    unit: str
    record: str = ""  # the file that ours is from

    def show(self, value: float | str | None) -> str:
        """Return a number with the digits that the paper has."""
        return value if isinstance(value, str) else "" if value is None else f"{value:.{_PLACES.get(self.unit, 1)}f}"


@dataclass(frozen=True)
class PaperTable:
    """A table that a paper printed."""

    paper: str
    number: str
    title: str
    source: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[PaperCell, ...]


def tables(records: Iterable[tuple[Path, "Record"]], *, paper: str = "", number: str = "") -> list[PaperTable]:
    """Return the tables of the papers, each cell with ours if a record has it.

    records  path and record
    paper    one of PAPERS, or all
    number   "5a", or "5" for 5a and 5b, or all

    Raises  UnknownNameError if there is no such paper, or no such table
    """
    chosen = [name for name in PAPERS if paper.replace("-", "_") in ("", name)]
    if not chosen:
        raise UnknownNameError(f"no paper is named {paper!r}; there are {', '.join(PAPERS)}")
    known = _by_dataset(records)
    filled = []
    for name in chosen:
        data = _data(name)
        for table in data["tables"]:
            if number in ("", table["number"], table["number"].rstrip("ab")):
                filled.append(_table(data["name"], table, known))
    if not filled:
        there = ", ".join(table["number"] for name in chosen for table in _data(name)["tables"])
        raise UnknownNameError(f"no table {number!r} is kept of {', '.join(chosen)}; there are {there}")
    return filled


def datasets() -> list[str]:
    """Return every dataset that a cell of ours needs, in the order of the tables."""
    needed: dict[str, None] = {}
    for name in PAPERS:
        for table in _data(name)["tables"]:
            for _, _, _, address in _cells(table):
                if address.get("system") and address.get("dataset") and (address.get("measure") or address.get("cost")):
                    needed[address["dataset"]] = None
    return list(needed)


def _table(paper: str, table: Mapping[str, Any], known: Mapping[str, Sequence[tuple[Path, "Record"]]]) -> PaperTable:
    return PaperTable(
        paper=paper,
        number=table["number"],
        title=table["title"],
        source=table["source"],
        note=table.get("note", ""),
        columns=tuple(column["name"] for column in table["columns"]),
        rows=tuple(row["name"] for row in table["rows"]),
        cells=tuple(
            _cell(paper, table["number"], row, column, published, address, known)
            for row, column, published, address in _cells(table)
        ),
    )


def _cells(table: Mapping[str, Any]) -> Iterator[tuple[str, str, float | str, Address]]:
    """Yield row, column, what is printed there, and where ours is."""
    for row in table["rows"]:
        if len(row["values"]) != len(table["columns"]):
            raise LotteError(f"table {table['number']}: row {row['name']!r} has {len(row['values'])} values")
        for column, published in zip(table["columns"], row["values"], strict=True):
            address = {key: part[key] for part in (table, row, column) for key in _KEYS if key in part}
            if "dataset" in address:
                address["dataset"] = address["dataset"].replace("{split}", address.get("split", ""))
            yield row["name"], column["name"], published, address


def _cell(
    paper: str,
    table: str,
    row: str,
    column: str,
    published: float | str,
    address: Address,
    known: Mapping[str, Sequence[tuple[Path, "Record"]]],
) -> PaperCell:
    unit = address.get("unit", "percent")

    def cell(ours: float | None, note: str, record: str = "", *, same: bool = False) -> PaperCell:
        comparable = same and unit != "ms" and ours is not None and not isinstance(published, str)
        gap = ours - published if comparable and ours is not None and not isinstance(published, str) else None
        return PaperCell(paper, table, row, column, published, ours, gap, note, unit, record)

    if not ("count" in address or "system" in address) or unit == "text" or "dataset" not in address:
        return cell(None, "" if published == NOT_PRINTED else address.get("why", ""))
    matching = [pair for pair in known.get(address["dataset"], ()) if _fits(pair[1], address)]
    if not matching:
        return cell(None, NOT_RUN)
    path, record = min(matching, key=lambda pair: (_ORDER.index(pair[1].verification.level), pair[0]))
    value = _value(record, address)
    if value is None:
        return cell(None, f"its record has no {address.get('measure') or address.get('cost') or address.get('count')}")
    different = _other_data(record)
    notes = [different, f"the first of {len(matching)} records" if len(matching) > 1 and "count" not in address else ""]
    note = "; ".join(filter(None, notes))
    return cell(value * _SCALE.get(unit, 1.0), note, str(path), same=not different)


def _fits(record: "Record", address: Address) -> bool:
    if "count" in address:
        return True
    has = {**record.retriever.options, **(record.content["retriever"].get("index") or {})}
    options: Mapping[str, Any] = address.get("options", {})
    return record.retriever.name == address["system"] and all(has.get(key, "") == options[key] for key in options)


def _value(record: "Record", address: Address) -> float | None:
    from leaderboard.record.schema import is_number

    if "count" in address:
        value: Any = record.dataset.counts.get(address["count"])
    elif "cost" in address:
        value = record.content["cost"]
        for key in address["cost"].split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
    else:
        measured = record.measures.aggregate.get(address["measure"])
        value = measured and measured.value
    return float(value) if is_number(value) else None


def _other_data(record: "Record") -> str:
    """Return how the data of a record are not those that were published, "" if they are."""
    from leaderboard.record.verify import count, unpublished_counts

    for key, published, stated in unpublished_counts(record.dataset, "documents", "queries"):
        return f"other data: {count(stated)} {key}, published {published:,}"
    return ""


def _by_dataset(records: Iterable[tuple[Path, "Record"]]) -> dict[str, list[tuple[Path, "Record"]]]:
    by_dataset: dict[str, list[tuple[Path, Record]]] = {}
    for path, record in records:
        if record.verification.level in _ORDER:
            by_dataset.setdefault(record.dataset.name, []).append((path, record))
    return by_dataset


def _data(name: str) -> dict[str, Any]:
    return toml_file(FOLDER / f"{name}.toml")
