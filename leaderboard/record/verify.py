"""The verification of a record against its run, its dataset and itself.

There are two levels. `inspect` needs no dataset: means against values, the run's sha256,
counts against the release it claims to be. `rescore` has the dataset: hashes
and counts of what is on this disk, and every value computed again from the run.
Submitted numbers are only compared, never used.

A problem is a line that names the expected and the found value. Values agree
if they differ by at most TOLERANCE: other machines add in another order.
"""

import re
from collections.abc import Iterator
from math import fsum
from pathlib import Path
from typing import Any

from leaderboard.record.loaded_dataset import LoadedDataset
from leaderboard.record.schema import Record
from leaderboard.record.sections import IMPORTED, LEVELS, REPRODUCED, DatasetFacts
from leaderboard.record.store import beside, stem_of
from lotte import artifact, ranking
from lotte.dataset import Dataset
from lotte.errors import CorruptFileError, LotteError, shown

TOLERANCE = 1e-6
_SHOWN = 3  # queries of a measure whose values differ, by name; the rest is counted


def inspect(path: Path, record: Record) -> Iterator[str]:
    """Yield what is wrong with a record that can be seen without its dataset. Reads its run once, for the hash."""
    try:
        stem_of(record)
    except CorruptFileError as error:
        yield str(error)
    level = record.verification.level
    if level not in LEVELS:
        yield f"verification.level: wanted one of {', '.join(LEVELS)}, found {shown(level)}"
    yield from _unlike_release(record)
    if level == IMPORTED and record.run.file is None:
        return  # a score without a run: there is nothing to hold it to
    yield from _unlike_means(record)
    for key, sha256 in record.dataset.hashes.items():
        if not re.fullmatch(r"[0-9a-f]{64}", str(sha256)):
            yield f"dataset.{key}: wanted a sha256, found {shown(sha256)}"
    yield from _unlike_run(path, record)
    yield from _unlike_log(path, record)


def rescore(path: Path, record: Record, loaded: LoadedDataset) -> Iterator[str]:
    """Yield what is wrong with a record, now that its dataset is here: hashes, counts, and values from the run.

    The record has passed `inspect`. If it is of other data its run is not scored.
    """
    dataset = loaded.dataset
    wrong = list(_unlike_dataset(record, loaded))
    yield from wrong
    if wrong:
        return
    if record.official != dataset.measure:
        yield f"measures.official: {dataset.name} is measured by {dataset.measure}, found {record.official}"
    yield from _unlike_scores(path, record, dataset)


def unlike_mean(record: Record, measure: str) -> str:
    """Return how the mean of a measure is not that of the values beside it; "" if it is."""
    values, stated = record.measures.per_query[measure], record.mean(measure)
    mean = fsum(values.values()) / len(values) if values else None
    if mean is not None and abs(mean - stated) <= TOLERANCE:
        return ""
    there = "none" if mean is None else f"{mean:.6f}"
    return f"measures.aggregate.{measure}: its values have the mean {there}, the record says {stated:.6f}"


def unpublished_counts(dataset: DatasetFacts, *keys: str) -> list[tuple[str, int, int | None]]:
    """Return which of these counts are not those that are published of a dataset: name, published, stated."""
    from leaderboard import catalogue

    known = catalogue.release(dataset.name)
    rows = [(key, getattr(known.counts, key), dataset.counts.get(key)) for key in keys] if known else []
    return [(key, published, stated) for key, published, stated in rows if published not in (None, stated)]


def count(value: int | None) -> str:
    """Return how many there are, for people; "None" if nobody says."""
    return str(value) if value is None else f"{value:,}"


def _unlike_dataset(record: Record, loaded: LoadedDataset) -> Iterator[str]:
    """Yield in which hashes and counts a record is not of this dataset."""
    dataset, stated = loaded.dataset, record.dataset
    for key, sha256 in stated.hashes.items():
        if sha256 != loaded.facts[key]:
            yield f"dataset.{key}: {dataset.name} here has {loaded.facts[key][:8]}, the record {str(sha256)[:8]}"
    for key, number in loaded.facts["counts"].items():
        if (said := stated.counts.get(key)) != number:
            yield f"dataset.counts.{key}: {dataset.name} here has {number:,}, the record {count(said)}"
    for key in ("answers_sha256", "nuggets_sha256"):
        if (wanted := dataset.facts.get(key)) != (said_sha256 := stated.facts.get(key)):
            yield f"dataset.facts.{key}: wanted {str(wanted)[:8]}, found {str(said_sha256)[:8]}"


def _unlike_release(record: Record) -> Iterator[str]:
    """Yield how a record that claims a published dataset differs from what is published of it."""
    from leaderboard import catalogue

    if record.dataset.source != "release" or (known := catalogue.release(record.dataset.name)) is None:
        return
    for key, wanted, stated in unpublished_counts(record.dataset, "documents", "queries", "judgments"):
        yield f"dataset.counts.{key}: {known.name} as published has {wanted:,}, the record {count(stated)}"
    if record.official != known.measure:
        yield f"measures.official: {known.name} is measured by {known.measure}, found {record.official}"


def _unlike_means(record: Record) -> Iterator[str]:
    """Yield which means are not those of the values beside them."""
    from leaderboard.measure import parse

    aggregate, per_query = record.measures.aggregate, record.measures.per_query
    if odd := sorted(aggregate.keys() - per_query.keys()):
        yield f"measures: wanted a mean and values by query of each, found one without the other: {shown(odd[0])}"
    judged = record.dataset.counts.get("judged_queries")
    for name, values in sorted(per_query.items()):
        try:
            parse(name)
        except LotteError as error:
            yield f"measures.aggregate: {error}"
            continue
        if len(values) != judged:
            yield f"measures.per_query.{name}: wanted values of {count(judged)} judged queries, found {len(values):,}"
        elif problem := unlike_mean(record, name):
            yield problem


def _unlike_run(path: Path, record: Record) -> Iterator[str]:
    name, stated = record.run.file, record.run.sha256
    if (file := beside(path, name)) is None:
        yield f"run.file: wanted the name of a file beside the record, found {name!r:.60}"
    elif not file.is_file():
        yield f"run.file: {name} is not beside the record"
    elif (sha256 := artifact.sha256(file)) != stated:
        yield f"run.sha256: the record says {str(stated)[:8]}, {name} has {sha256[:8]}"


def _unlike_log(path: Path, record: Record) -> Iterator[str]:
    """Yield what is missing of the evidence for repetitions, and of them if a record is said to be reproduced."""
    entries = record.verification.log
    if record.verification.level == REPRODUCED and not any(entry.get("what") == REPRODUCED for entry in entries):
        yield "verification.log: wanted who reproduced it, found nobody"
    for entry in entries:
        if "evidence" not in entry and entry.get("what") != REPRODUCED:
            continue
        for key in ("evidence", "run"):
            name, wanted = entry.get(key), entry.get(f"{key}_sha256")
            if (file := beside(path, name)) is None or not file.is_file():
                yield f"verification.log: {str(name)[:200]} of the repetition is not beside the record"
            elif (sha256 := artifact.sha256(file)) != wanted:
                yield f"verification.log: {name} should have sha256 {str(wanted)[:8]}, it has {sha256[:8]}"


def _unlike_scores(path: Path, record: Record, dataset: Dataset) -> Iterator[str]:
    """Yield which values of a record are not those of its run."""
    from leaderboard.measure import parse, scores

    try:
        ranked = ranking.read(path.parent / str(record.run.file), dataset.queries, dataset.corpus.doc_ids)
    except LotteError as error:
        yield str(error)
        return
    run = dataset.scored_part(ranked.filled(dataset.queries))
    if run.depth != record.run.depth:
        yield f"run.depth: the run goes {run.depth:,} deep, the record says {count(record.run.depth)}"
    level = int(dataset.facts.get("relevance_level", "1"))
    if record.measures.relevance_level != level:
        yield f"measures.relevance_level: wanted {level}, found {record.measures.relevance_level!r}"
        return
    measures = {name: parse(name) for name in record.measures.aggregate}
    computed = scores(run, dataset.judge(run), measures.values(), level=level, parts=dataset.nuggets)
    for name, measure in measures.items():
        if problem := _unlike_values(record, name, computed[measure]):
            yield problem


def _unlike_values(record: Record, name: str, values: Any) -> str:
    """Return how a record differs from the values of a measure that its run has; "" if it does not."""
    from leaderboard.interval import interval
    from leaderboard.measure import mean

    stated, ci95 = record.measures.per_query[name], record.measures.aggregate[name].ci95
    if odd := sorted(values.keys() ^ stated.keys()):
        return f"measures.per_query.{name}: query {shown(odd[0])} is only in the record, or only in the dataset"
    if off := [query_id for query_id in values if abs(values[query_id] - stated[query_id]) > TOLERANCE]:
        examples = ", ".join(f"{shown(i)} {values[i]:.4f} and not {stated[i]:.4f}" for i in off[:_SHOWN])
        return (
            f"measures.{name}: the run is worth {mean(values):.6f}, the record says "
            f"{record.mean(name):.6f}; {len(off):,} queries differ: {examples}"
        )
    low, high = interval(list(values.values()))
    if ci95 is None or abs(ci95[0] - low) > TOLERANCE or abs(ci95[1] - high) > TOLERANCE:
        said = ci95 and list(ci95)
        return f"measures.{name}: the 95 % interval is {low:.6f} to {high:.6f}, the record says {said!r:.60}"
    return ""
