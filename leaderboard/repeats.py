"""One system that was measured more than once: what differs then is the machine or the code, and no system.

Two records are of one system if their name, options, model, depth and data are
the same; where it ran (device, threads) is no matter. Bf16 or other vector
instructions round otherwise, so a few questions come out otherwise too. If the
code is the same and the machine is not, what differs is the machine's noise.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from leaderboard.admission import settings
from leaderboard.compare import table
from leaderboard.result import Result
from leaderboard.verify import HASHES, TOLERANCE

_WHERE = ("device", "threads")  # options that say where it ran
_CODE = {"code", "lotte-bench"}
_MACHINE = ("cpu", "cores", "gpu", "os", "python")


def firsts(systems: Sequence[Sequence[Result]]) -> list[int]:
    """Return for each system, given as its records, the place of the first one that is the same system."""
    keys = [[_what(result) for result in results] for results in systems]
    return [keys.index(key) for key in keys]


def row(name: str, first: Sequence[Result], other_name: str, other: Sequence[Result], measure: str) -> dict[str, Any]:
    """Return how two measurements of one system differ, on all their datasets together: the first minus the other."""
    tables = [table([a, b], measure, names=[name, other_name]) for a, b in zip(first, other, strict=True)]
    pairs = [
        (value, one[other_name][query_id])
        for one in tables
        for query_id, value in one[name].items()
        if query_id in one[other_name]
    ]
    off = [abs(mine - theirs) for mine, theirs in pairs if abs(mine - theirs) > TOLERANCE]
    means = [a.mean(measure) - b.mean(measure) for a, b in zip(first, other, strict=True)]
    return {
        "a": name,
        "b": other_name,
        "difference": sum(means) / len(means),
        "queries": len(pairs),
        "differ": len(off),
        "largest": max(off, default=0.0),
        "other": "; ".join(dict.fromkeys(one for pair in zip(first, other, strict=True) for one in _other(*pair))),
    }


def line(found: Mapping[str, Any]) -> str:
    """Return a row in words."""
    others = [one.partition(": ")[0] for one in found["other"].split("; ") if one]
    if not others:
        why = "on one machine with the same code: what differs is chance (threads, or a GPU)"
    elif not _CODE & set(others):
        why = f"on other machines ({found['other']}): what differs is noise of the machine"
    elif set(others) <= _CODE:
        why = f"by other code ({found['other']}): what differs is the code's"
    else:
        why = f"on other machines and by other code ({found['other']}): what differs may be either's"
    return (
        f"{found['a']} and {found['b']} are one system, the same in options, model and data, {why}, and no difference "
        f"between systems. {found['differ']:,} of {found['queries']:,} queries differ, by {found['largest']:.4f} at "
        f"most; the means by {found['difference']:.4f}"
    )


def _what(result: Result) -> dict[str, Any]:
    said = settings(result)
    options = {key: value for key, value in (said["options"] or {}).items() if key not in _WHERE}
    return {**said, "options": options, "dataset": [result.dataset.get(key) for key in ("name", *HASHES)]}


def _other(a: Result, b: Result) -> list[str]:
    """Return which of machine, precision and code are not the same, as "cpu: one | other"."""
    told = [{key: one.platform.get(key) for key in _MACHINE} for one in (a, b)]
    for facts, one in zip(told, (a, b), strict=True):
        facts |= one.platform.get("libraries") or {}
        facts |= {"precision": (one.retriever.get("model") or {}).get("precision")}
        facts |= {"code": str(one.implementation.get("commit"))[:8]}
    keys = dict.fromkeys([*told[0], *told[1]])
    return [
        f"{key}: {_short(told[0].get(key))} | {_short(told[1].get(key))}"
        for key in keys
        if told[0].get(key) != told[1].get(key)
    ]


def _short(value: Any) -> str:
    shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
    return shown[:60].replace(";", ",").replace("|", "/")
