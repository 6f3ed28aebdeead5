"""The table of every system on every dataset, with quality and cost.

Decisions:

- A row is a system on a dataset, then the mean over the datasets of one measure: of the systems that have all of
  them, with the queries of each dataset resampled within it. Search and forum are averaged separately over LoTTE's
  topics, and its pool is in no mean. Costs are means too, memory is the maximum.
- The best of a dataset is marked, and every system that is not worse beyond chance: paired, Holm's correction over all
  pairs, as `lotte board compare` has it. Imported scores are never marked, nor in a mean.
- Of two measurements of one system the newer counts. Records with one dataset name but other data are two datasets.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from html import escape
from math import fsum
from pathlib import Path
from typing import Any

from leaderboard import resample
from leaderboard.board.entry import machine_of
from leaderboard.compare import ALPHA, MOST, Comparison, compare_macro
from leaderboard.record.label import labels
from leaderboard.record.read import read, record_files
from leaderboard.record.schema import Record
from leaderboard.record.sections import IMPORTED
from leaderboard.record.verify import unlike_mean
from lotte import artifact
from lotte.errors import LotteError, MismatchError, UnavailableError, writing
from lotte.terminal import cell, four_places

ENDINGS = (".md", ".tsv", ".html")
BEST, AS_GOOD = "best", "not worse beyond chance"
NOTE = (
    f"{BEST}: the highest mean; {AS_GOOD}: no significant difference from it (paired randomisation test over queries, "
    "Holm over all pairs). Intervals: 95 %, bootstrap over queries. Milliseconds: the median of single questions. "
    "Memory: the most the process held until then."
)
_POOL = "lotte/pooled/"
_HEAD = {  # what a page calls a column
    "dataset": "dataset", "system": "system", "value": "quality", "interval": "95 %", "index_bytes": "index",
    "index_seconds": "s to index", "ms_a_query": "ms a query", "peak_memory_bytes": "memory", "stages": "stages",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SystemRow:
    """A system on a dataset, or its mean over several."""

    dataset: str
    measure: str
    system: str
    value: float
    ci95: tuple[float, float] | None
    mark: str = ""  # BEST, AS_GOOD, "imported" or nothing
    queries: int
    index_bytes: float | None
    index_seconds: float | None
    ms_a_query: float | None
    peak_memory_bytes: float | None
    stages: str = ""
    machine: str = ""

    def fields(self) -> dict[str, Any]:
        """Return the row as it is printed."""
        low, high = self.ci95 or (None, None)
        return {
            "dataset": self.dataset, "measure": self.measure, "system": self.system, "value": self.value, "low": low,
            "high": high, "mark": self.mark, "queries": self.queries, "index_bytes": _whole(self.index_bytes),
            "index_seconds": _rounded(self.index_seconds), "ms_a_query": _rounded(self.ms_a_query),
            "peak_memory_bytes": _whole(self.peak_memory_bytes), "stages": self.stages, "machine": self.machine,
        }  # fmt: skip

    def shown(self) -> dict[str, str]:
        """Return the row as a page has it."""
        interval = f"{self.ci95[0]:.3f} to {self.ci95[1]:.3f}" if self.ci95 else ""
        return {
            "dataset": f"{self.dataset}, {self.measure}",
            "system": self.system,
            "value": f"{self.value:.4f}",
            "interval": interval,
            "index_bytes": _size(self.index_bytes),
            "index_seconds": _short(self.index_seconds),
            "ms_a_query": _short(self.ms_a_query),
            "peak_memory_bytes": _size(self.peak_memory_bytes),
            "stages": self.stages,
        }


@dataclass(frozen=True)
class _Scored:
    """A record, what it is called, and the values that are compared."""

    record: Record
    system: str
    measure: str
    values: Mapping[str, float]  # of each query; empty if nobody says


def rows(
    paths: Iterable[Path], say: Callable[[str], None], *, measure: str = "", datasets: Sequence[str] = ()
) -> list[SystemRow]:
    """Return the rows of records: those of each dataset, the best first, then the means.

    measure   of all of them; "": each dataset's own
    datasets  names or patterns; none: all that there are records of

    Raises  UnavailableError if there is no record
    """
    found = _newest(_scored(_read(paths, say), measure, datasets, say), say)
    if not found:
        raise UnavailableError(
            f"no record of {measure or 'any measure'} is in {', '.join(map(str, paths))}; `lotte eval` makes them"
        )
    table = [row for dataset, scored in found.items() for row in _on_one(dataset, scored, say)]
    return table + _means(found, say)


def write(table: Sequence[SystemRow], path: Path) -> None:
    """Write the table as .md, .tsv or .html. Raises UnavailableError for another ending."""
    require_ending(path)
    writers = {".md": _markdown, ".tsv": _tsv, ".html": _html}
    with writing(path.parent):
        artifact.write_whole(path, writers[path.suffix.lower()](table))


def require_ending(path: Path) -> None:
    """Raise UnavailableError for a file whose ending says no format."""
    if path.suffix.lower() not in ENDINGS:
        raise UnavailableError(f"a table is written to a file that ends in {', '.join(ENDINGS)}, not {path.name!r}")


def _read(paths: Iterable[Path], say: Callable[[str], None]) -> list[Record]:
    """Return records of files and folders, each once; other files are reported and left out."""
    records: dict[str, Record] = {}
    for path in paths:
        for file in record_files(path) if path.is_dir() else [path]:
            try:
                record = read(file)
            except LotteError as error:
                if not path.is_dir():
                    raise
                say(f"left out: {error}")
                continue
            records.setdefault(record.id, record)
    return list(records.values())


def _scored(
    records: Sequence[Record], measure: str, datasets: Sequence[str], say: Callable[[str], None]
) -> list[_Scored]:
    """Return the records that have the measure, under labels that tell systems of one name apart."""
    wanted = [
        record
        for record in records
        if not datasets or any(fnmatchcase(record.dataset.name, pattern) for pattern in datasets)
    ]
    scored = []
    for record, system in zip(wanted, labels(wanted), strict=True):
        chosen = measure or record.official
        if chosen not in record.measures.aggregate:
            say(f"left out: {system} on {record.dataset.name} has no {chosen}")
            continue
        values = record.measures.per_query.get(chosen, {})
        if values and (problem := unlike_mean(record, chosen)):
            say(f"left out: {system} on {record.dataset.name}: {problem}")
            continue
        scored.append(_Scored(record, system, chosen, values))
    return scored


def _newest(scored: Sequence[_Scored], say: Callable[[str], None]) -> dict[str, list[_Scored]]:
    """Return dataset -> its systems, each once; datasets of one name and other data have a hash after it."""
    data: dict[str, dict[str, list[_Scored]]] = {}
    for one in sorted(scored, key=lambda one: (one.record.dataset.name, one.record.created, one.record.id)):
        facts = one.record.dataset
        key = artifact.digest([facts.hashes, one.record.measures.relevance_level, one.measure])
        data.setdefault(facts.name, {}).setdefault(key, []).append(one)
    found = {}
    for name, groups in data.items():
        for number, (key, group) in enumerate(sorted(groups.items(), key=lambda item: -len(item[1]))):
            by_system = {one.system: one for one in group}
            if older := len(group) - len(by_system):
                say(f"{name}: {older:,} older measurements of the same systems are left out")
            found[name if not number else f"{name}@{key[:8]}"] = list(by_system.values())
    return found


def _on_one(dataset: str, scored: Sequence[_Scored], say: Callable[[str], None]) -> list[SystemRow]:
    """Return the rows of one dataset, the best first."""
    compared = [one for one in scored if one.values and one.record.verification.level != IMPORTED]
    marks = _marks(dataset, {dataset: {one.system: one.values for one in compared}}, say)
    made = []
    for one in sorted(scored, key=lambda one: (-one.record.mean(one.measure), one.system)):
        record, cost = one.record, one.record.cost
        made.append(
            SystemRow(
                dataset=dataset,
                measure=one.measure,
                system=one.system,
                value=record.mean(one.measure),
                ci95=record.measures.aggregate[one.measure].ci95,
                mark=IMPORTED if record.verification.level == IMPORTED else marks.get(one.system, ""),
                queries=len(one.values) or record.dataset.counts.get("judged_queries") or 0,
                index_bytes=cost.index_bytes,
                index_seconds=cost.index_seconds,
                ms_a_query=cost.latency_ms.p50,
                peak_memory_bytes=cost.peak_memory_bytes.host,
                stages=_stages((record.content["retriever"].get("search") or {}).get("stages")),
                machine=machine_of(record),
            )
        )
    return made


def _means(found: Mapping[str, Sequence[_Scored]], say: Callable[[str], None]) -> list[SystemRow]:
    """Return the rows of the means: of each measure, over the datasets that are measured by it."""
    groups: dict[tuple[str, str], dict[str, dict[str, _Scored]]] = {}
    for dataset, scored in found.items():
        kept = {one.system: one for one in scored if one.values and one.record.verification.level != IMPORTED}
        is_same = dataset == scored[0].record.dataset.name  # else it is other data under a name that has its mean
        if kept and is_same and not dataset.startswith(_POOL):
            groups.setdefault((scored[0].measure, _family(dataset)), {})[dataset] = kept
    made = []
    for (measure, family), datasets in groups.items():
        if len(datasets) < 2:
            continue
        title, tables = f"{family}mean of {len(datasets)}", list(datasets.values())
        systems = [system for system in tables[0] if all(system in kept for kept in tables)]
        if left := sorted({system for kept in tables for system in kept} - set(systems)):
            say(f"{title}: not on all of its datasets, so left out: {', '.join(left)}")
        if systems:
            chosen = {name: {one: kept[one] for one in systems} for name, kept in datasets.items()}
            made += _mean_rows(title, measure, chosen, say)
    return made


def _family(dataset: str) -> str:
    """Return what datasets are averaged apart: of LoTTE the splits, and search and forum; "" for all others."""
    match dataset.split("/"):
        case ["lotte", _, split, kind]:
            return f"lotte/*/{split}/{kind}: "
    return ""


def _mean_rows(
    title: str, measure: str, datasets: Mapping[str, Mapping[str, _Scored]], say: Callable[[str], None]
) -> list[SystemRow]:
    systems = list(next(iter(datasets.values())))
    tables = {name: {system: one.values for system, one in kept.items()} for name, kept in datasets.items()}
    marks, intervals = _marks(title, tables, say), dict(zip(systems, _intervals(tables, systems), strict=True))
    made = []
    for system in systems:
        records = [kept[system].record for kept in datasets.values()]
        made.append(
            SystemRow(
                dataset=title,
                measure=measure,
                system=system,
                value=fsum(record.mean(measure) for record in records) / len(records),
                ci95=intervals[system],
                mark=marks.get(system, ""),
                queries=sum(len(kept[system].values) for kept in datasets.values()),
                index_bytes=_mean(record.cost.index_bytes for record in records),
                index_seconds=_mean(record.cost.index_seconds for record in records),
                ms_a_query=_mean(record.cost.latency_ms.p50 for record in records),
                peak_memory_bytes=max(record.cost.peak_memory_bytes.host or 0 for record in records) or None,
                machine=", ".join(dict.fromkeys(map(machine_of, records))),
            )
        )
    return sorted(made, key=lambda row: (-row.value, row.system))


def _intervals(
    tables: Mapping[str, Mapping[str, Mapping[str, float]]], systems: Sequence[str]
) -> list[tuple[float, float]]:
    strata = []
    for table in tables.values():
        query_ids = sorted(table[systems[0]])
        strata.append(resample.on_grid([[table[system][query_id] for query_id in query_ids] for system in systems]))
    return [(low, high) for low, high in resample.mean_intervals(strata).tolist()]


def _marks(
    title: str, tables: Mapping[str, Mapping[str, Mapping[str, float]]], say: Callable[[str], None]
) -> dict[str, str]:
    """Return system -> mark, of the best and those that are not worse beyond chance."""
    means: dict[str, float] = {}
    for system in next(iter(tables.values()), {}):
        shares = [fsum(table[system].values()) / len(table[system]) for table in tables.values()]
        means[system] = fsum(shares) / len(shares)
    if not means:
        return {}
    best = max(means, key=lambda system: (means[system], system))
    marks = {system: BEST for system in means if means[system] == means[best]}
    if len(means) > MOST or any(len(values) < 2 for table in tables.values() for values in table.values()):
        say(f"{title}: not compared: more than {MOST} systems, or fewer than 2 queries")
        return marks
    try:
        pairs = compare_macro(tables) if len(means) > 1 else ()
    except MismatchError as error:  # one of them was scored on other queries
        say(f"{title}: not compared: {error}")
        return marks
    return {other: AS_GOOD for other in _beside(best, pairs)} | marks


def _beside(best: str, pairs: Iterable[Comparison]) -> list[str]:
    """Return the systems that do not differ significantly from the best one."""
    return [pair.b if pair.a == best else pair.a for pair in pairs if best in (pair.a, pair.b) and pair.p_holm > ALPHA]


def _stages(stages: Any) -> str:
    """Return the stages of a pipeline with milliseconds a query, inner ones in brackets. A stranger may have written
    them, so what is not a list of stages is nothing."""
    shown = []
    for one in stages if isinstance(stages, list) else ():
        if isinstance(one, dict) and isinstance(one.get("stage"), str):
            spent, inner = one.get("milliseconds_a_query"), _stages(one.get("stages"))
            shown.append(
                one["stage"]
                + (f" {spent:.1f} ms" if isinstance(spent, int | float) else "")
                + (f" [{inner}]" if inner else "")
            )
    return "; ".join(shown)


def _mean(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else fsum(value for value in known if value is not None) / len(known)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _size(value: float | None) -> str:
    return "" if value is None else f"{value / 1e6:,.1f} MB" if value < 1e9 else f"{value / 1e9:,.2f} GB"


def _tsv(table: Sequence[SystemRow]) -> str:
    lines = ["\t".join(table[0].fields())]
    for row in table:
        shown = (four_places(value) if isinstance(value, float) else cell(value) for value in row.fields().values())
        lines.append("\t".join(shown))
    return "".join(f"{line}\n" for line in lines)


def _machines(table: Sequence[SystemRow]) -> str:
    """Return where the times were measured, for those who compare them."""
    return f"Measured on: {'; '.join(sorted({row.machine for row in table if row.machine})) or 'unknown machines'}."


def _markdown(table: Sequence[SystemRow]) -> str:
    head = list(_HEAD.values())
    lines = [head, ["---", "---", *["---:"] * (len(head) - 3), "---"]]
    for row in table:
        shown = {key: escape(text, quote=False).replace("|", "\\|") for key, text in row.shown().items()}
        if row.mark:
            shown["value"] = f"**{shown['value']}**" if row.mark == BEST else f"{shown['value']} ({row.mark})"
        lines.append([cell(shown[key]) for key in _HEAD])
    body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{body}\n{NOTE} {_machines(table)}\n"


def _html(table: Sequence[SystemRow]) -> str:
    style = "table{border-collapse:collapse;font:14px sans-serif}td,th{padding:2px 8px;border-bottom:1px solid #ccc}"
    lines = ["".join(f"<th>{escape(name)}</th>" for name in _HEAD.values())]
    for row in table:
        shown = {key: escape(cell(text)) for key, text in row.shown().items()}
        if row.mark:
            value = shown["value"]
            shown["value"] = f"<b>{value}</b>" if row.mark == BEST else f"{value} ({escape(row.mark)})"
        lines.append("".join(f"<td>{shown[key]}</td>" for key in _HEAD))
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return (
        f'<!doctype html>\n<meta charset="utf-8">\n<title>Systems</title>\n<style>{style}</style>\n'
        f"<table>\n{body}</table>\n<p>{escape(NOTE)} {escape(cell(_machines(table)))}</p>\n"
    )
