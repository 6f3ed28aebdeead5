"""Where a question comes from: its topic in a pool, and its community.

Nothing in a question's own file says it. A build of ours has the community of
each passage in attribution.parquet, and its manifest the communities of each
topic; a question is of the community that answers it. Of the release only the
topics of the pool are known, by their numbers of questions, one after another
in the order of TOPICS.

Source  the pool's order: spec sheet A.7; its three middle topics are inferred from the paper's tables
"""

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from lotte import parquet
from lotte.benchmarks import lotte
from lotte.dataset import Dataset
from lotte.errors import LotteError
from lotte.parsing import json_object

GROUPINGS = ("topic", "community")


def query_groups(dataset: Dataset) -> dict[str, dict[str, str]]:
    """Return grouping -> query_id -> group, of each of GROUPINGS that is known and has more than one group.

    >>> from lotte.dataset import Docs
    >>> query_groups(Dataset(name="mine", corpus=Docs(()), queries={"1": "?"}, qrels={}, measure="nDCG@10"))
    {}
    """
    groupings = _of_build(dataset) or _of_release(dataset)
    return {grouping: groups for grouping, groups in groupings.items() if len(set(groups.values())) > 1}


def _of_build(dataset: Dataset) -> dict[str, dict[str, str]]:
    path = getattr(dataset.corpus, "path", None)
    if path is None or not (attribution := path.parent / "attribution.parquet").is_file():
        return {}
    try:
        sites = parquet.columns(attribution, {"site": str})["site"]
        of_site = {query_id: sites[int(row)] for query_id, row in _answers(dataset).items()}
    except (LotteError, ValueError, IndexError):  # pages can do without
        return {}
    if len(of_site) < len(dataset.queries):
        return {}
    topics = _topics(path.parent.parent.parent / "manifest.json")
    of_topic = {query_id: topics[site] for query_id, site in of_site.items() if site in topics}
    is_whole = len(of_topic) == len(of_site)
    return {"topic": of_topic if is_whole else {}, "community": of_site}


def _answers(dataset: Dataset) -> dict[str, str]:
    """Return query_id -> one document that answers it."""
    return {
        query_id: doc_id
        for query_id in dataset.queries
        for doc_id in [doc for doc, grade in dataset.qrels.get(query_id, {}).items() if grade > 0][:1]
    }


def _topics(manifest: Path) -> Mapping[str, str]:
    """Return community -> topic, as the manifest of a build says."""
    try:
        topics: Mapping[str, Any] = json_object(manifest)["spec"]["topics"]
        return {site: topic for topic, splits in topics.items() for sites in splits.values() for site in sites}
    except (OSError, LotteError, KeyError, TypeError, AttributeError):
        return {}


def _of_release(dataset: Dataset) -> dict[str, dict[str, str]]:
    short = dataset.name.removeprefix("lotte/")
    if dataset.source != "release" or not short.startswith("pooled/") or short not in lotte.NAMES:
        return {}
    topics = [topic for topic in lotte.TOPICS if topic != "pooled"]
    sizes = [lotte.release(short.replace("pooled", topic, 1)).counts.queries or 0 for topic in topics]
    starts = list(accumulate(sizes, initial=0))
    queries = enumerate(dataset.queries)
    return {"topic": {query_id: topics[bisect_right(starts, number) - 1] for number, query_id in queries}}
