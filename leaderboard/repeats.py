"""Repeated measurements of one system, which differ by machine or code, not by system.

Two records are of one system if their name, options, model, depth and data are
the same; where it ran (device, threads) does not matter. Bf16 or other vector
instructions round differently, so a few queries get other results. If only the
machine differs, the difference is noise of the machine.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from leaderboard.compare import table
from leaderboard.record.schema import Record
from leaderboard.record.store import settings
from leaderboard.record.verify import TOLERANCE

_WHERE = ("device", "threads")  # options that say where it ran
_CODE = {"code", "lotte-bench"}
_MACHINE = ("cpu", "cores", "gpu", "os", "python")


def firsts(systems: Sequence[Sequence[Record]]) -> list[int]:
    """Return for each system, given as its records, the number of the first one that is the same system."""
    keys = [[_what(record) for record in records] for records in systems]
    return [keys.index(key) for key in keys]


def row(name: str, first: Sequence[Record], other_name: str, other: Sequence[Record], measure: str) -> dict[str, Any]:
    """Return how two measurements of one system differ, on all their datasets together: the first minus the other.

    Raises  as `leaderboard.compare.table`
    """
    pairs = list(zip(first, other, strict=True))
    tables = [table(pair, measure, names=[name, other_name]) for pair in pairs]
    differences = [
        abs(value - values[other_name][query_id])
        for values in tables
        for query_id, value in values[name].items()
        if query_id in values[other_name]
    ]
    off = [difference for difference in differences if difference > TOLERANCE]
    return {
        "a": name,
        "b": other_name,
        "difference": sum(a.mean(measure) - b.mean(measure) for a, b in pairs) / len(pairs),
        "queries": len(differences),
        "differ": len(off),
        "largest": max(off, default=0.0),
        "other": "; ".join(dict.fromkeys(difference for pair in pairs for difference in _other(*pair))),
    }


def line(row: Mapping[str, Any]) -> str:
    """Return a row in words."""
    others = [difference.partition(": ")[0] for difference in row["other"].split("; ") if difference]
    if not others:
        why = "on one machine with the same code: what differs is chance (threads, or a GPU)"
    elif not _CODE & set(others):
        why = f"on other machines ({row['other']}): what differs is noise of the machine"
    elif set(others) <= _CODE:
        why = f"by other code ({row['other']}): what differs is the code's"
    else:
        why = f"on other machines and by other code ({row['other']}): what differs may be either's"
    return (
        f"{row['a']} and {row['b']} are one system, the same in options, model and data, {why}, and no difference "
        f"between systems. {row['differ']:,} of {row['queries']:,} queries differ, by {row['largest']:.4f} at "
        f"most; the means by {row['difference']:.4f}"
    )


def _what(record: Record) -> dict[str, Any]:
    """Return what two measurements of one system share."""
    options = {key: value for key, value in record.retriever.options.items() if key not in _WHERE}
    return {**settings(record), "options": options, "dataset": record.dataset.name, **record.dataset.hashes}


def _facts(record: Record) -> dict[str, Any]:
    """Return machine, versions, precision and code of a record."""
    model, commit = record.retriever.model, record.implementation.commit
    return {
        **{key: getattr(record.platform, key) for key in _MACHINE},
        **record.platform.libraries,
        "precision": model and model.precision,
        "code": str(commit)[:8],
    }


def _other(a: Record, b: Record) -> list[str]:
    """Return which of machine, precision and code are not the same, as "cpu: one | other"."""
    facts, others = _facts(a), _facts(b)
    return [
        f"{key}: {_short(facts.get(key))} | {_short(others.get(key))}"
        for key in dict.fromkeys([*facts, *others])
        if facts.get(key) != others.get(key)
    ]


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
    return text[:60].replace(";", ",").replace("|", "/")
