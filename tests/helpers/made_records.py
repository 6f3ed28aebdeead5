"""Records as `lotte eval` makes them, of values that a test says; and what a browser finds in a page."""

from leaderboard.interval import interval
from leaderboard.record.schema import Record, identity, parse
from lotte import artifact

EVIL = "</script><script>alert('pwned')</script>]]> \"quoted\" & <img src=x onerror=alert(1)> \u202eright\u2028"


def made(
    system="bm25", on="lotte/science/test/search", values=(1.0, 0.0, 1.0, 1.0), measure="Success@5", **sections
) -> Record:
    """Return a record as `lotte eval` makes them, of questions q0, q1, ..."""
    record = parse(content_of(system, on, values, measure, **sections))
    assert isinstance(record, Record), record
    return record


def content_of(
    system="bm25", on="lotte/science/test/search", values=(1.0, 0.0, 1.0, 1.0), measure="Success@5", **sections
) -> dict:
    """Return the JSON of such a record, with the id of what it says, whatever that is."""
    per_query = {f"q{number}": float(value) for number, value in enumerate(values)}
    mean = sum(per_query.values()) / len(per_query)
    base = {
        "created": "2026-11-21T08:00:00+00:00",
        "retriever": {
            "name": system, "family": "lexical", "options": {}, "model": None, "index": {"type": "inverted"},
            "search": {"k": 100, "exact": True}, "training_data": [],
        },
        "dataset": {
            "name": on, "source": "release", "licence": "CC BY-SA 4.0", "facts": {},
            **dict.fromkeys(("corpus_sha256", "queries_sha256", "qrels_sha256"), artifact.digest(on)),
            "counts": {"documents": 9, "queries": len(values), "judged_queries": len(values), "judgments": 9},
        },
        "measures": {
            "official": measure, "tool": "pytrec-eval-terrier", "version": "0", "relevance_level": 1, "queries": "all",
            "aggregate": {measure: {"value": mean, "ci95": list(interval(list(per_query.values())))}},
            "per_query": {measure: per_query},
        },
        "run": {"file": "search.trec", "sha256": "0" * 64, "depth": 100, "ties": "", "origin": None, "missing": []},
        "cost": {"index_bytes": 2000, "bytes_per_document": 222.2, "latency_ms": {"p50": 1.5}, "queries_per_second": 9},
        "platform": {"cpu": "a CPU", "cores": 2, "gpu": [], "libraries": {}, "python": "3.11"},
        "implementation": {"command": f"lotte eval {on} --retriever {system}", "commit": None, "dirty": None},
        "contamination": [{"dataset": on, "level": "none", "evidence": "the system is not trained"}],
        "verification": {"level": "self-run"},
    }  # fmt: skip
    for name, section in sections.items():
        base[name] = {**base[name], **section} if isinstance(section, dict) else section
    return {**base, "schema": "lotte-result/1", "id": identity(base)}
