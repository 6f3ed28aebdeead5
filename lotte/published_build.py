"""A build, or another collection with questions, in the layout that the tools of the field read.

  data/<topic>/<split>/corpus.parquet, <kind>-queries.parquet, <kind>-qrels.parquet
                     the tables <topic>_<kind>-corpus, -queries, -qrels of `load_dataset`: MTEB's names and columns
  lotte/             a build as it is, with its manifest: LoTTE's own layout, for ColBERT's script and ir_datasets
  README.md          the card: counts, licences, attribution, where all came from
  SHA256SUMS

A collection that is not a LoTTE has the tables corpus, queries and default, as BEIR has them at Hugging Face.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lotte import artifact, publication, reading
from lotte.benchmarks.lotte import KINDS, SINCE
from lotte.builder import manifest
from lotte.dataset import Dataset
from lotte.errors import CorruptFileError
from lotte.frame import corpus_batches, corpus_schema, qrels_table, queries_table
from lotte.publication import CardHead, CardTable

LAYOUT = "lotte"  # the folder with the build as it is
SPLITS = ("train", "dev", "test")
ATTRIBUTION = "attribution.parquet"
_ODD = re.compile(r"[^A-Za-z0-9._-]")


class PublishedSet(NamedTuple):
    """A question set, and where it goes."""

    dataset: Dataset
    prefix: str  # of its tables' names: "science_forum-", or ""
    split: str
    folder: str  # of its files
    kind: str  # in front of the names of its files: "forum-", or ""


def write(source: Path, out: Path, repo: str = "") -> Path:
    """Write a folder that others read. Returns `out`.

    repo  what the card calls it; "": as the folder

    Raises  as `reading.read`; CorruptFileError for a build that is not what its manifest says;
            MismatchError if something else stands at `out`
    """
    build = manifest.read(source) if (source / manifest.NAME).is_file() else None
    if build is not None:
        for line in manifest.differences(source):
            raise CorruptFileError(f"{source} is not what its manifest says: {line}; `lotte check {source}` lists all")
    sets = [_placed(dataset) for dataset in reading.read(source)]
    with publication.folder(out) as part:
        tables = _write_tables(sets, part)
        if build is not None:
            _write_layout(source, build, part)
            tables += _attribution(build)
        head = CardHead(_title(source, build), tables, ("text-retrieval", "information-retrieval"))
        body = _body(sets, source, build, repo=repo or out.name)
        (part / publication.CARD).write_text(publication.card(head, body), encoding="utf-8")
    return out


def _placed(dataset: Dataset) -> PublishedSet:
    parts = [_ODD.sub("_", part) for part in dataset.name.split("/")]
    if parts[0] == "lotte" and len(parts) == 4 and parts[3] in KINDS:
        _, topic, split, kind = parts
        split = split.partition(SINCE)[0]  # a fresh one has its day in its name, which no split of a table may
        return PublishedSet(dataset, f"{topic}_{kind}-", split, f"data/{topic}/{split}", f"{kind}-")
    split = parts[-1] if parts[-1] in SPLITS else "test"
    return PublishedSet(dataset, "", split, f"data/{split}", "")


def _write_tables(sets: Sequence[PublishedSet], part: Path) -> list[CardTable]:
    """Write the tables of all sets; a collection that several ask is written once."""
    files: dict[str, dict[str, str]] = defaultdict(dict)
    for one in sets:
        corpus = f"{one.folder}/corpus.parquet"
        if not (part / corpus).exists():
            publication.write_table(part / corpus, corpus_batches(one.dataset.corpus), corpus_schema())
        files[f"{one.prefix}corpus"][one.split] = corpus
        tables = {"queries": queries_table(one.dataset.queries), "qrels": qrels_table(one.dataset.qrels)}
        for name, table in tables.items():
            path = f"{one.folder}/{one.kind}{name}.parquet"
            publication.write_table(part / path, table.to_batches(), table.schema)
            config = "default" if name == "qrels" and not one.prefix else f"{one.prefix}{name}"
            files[config][one.split] = path
    return [CardTable(config, paths) for config, paths in sorted(files.items())]


def _write_layout(source: Path, build: Mapping[str, Any], part: Path) -> None:
    """Give the files of a build a second name in the folder."""
    for name in [*build["files"], manifest.NAME]:
        target = part / LAYOUT / name
        target.parent.mkdir(parents=True, exist_ok=True)
        artifact.link(source / name, target)


def _attribution(build: Mapping[str, Any]) -> list[CardTable]:
    files: dict[str, dict[str, str]] = defaultdict(dict)
    for name in build["files"]:
        topic, _, rest = name.partition("/")
        split, _, file = rest.partition("/")
        if file == ATTRIBUTION:
            files[f"{_ODD.sub('_', topic)}-attribution"][split] = f"{LAYOUT}/{name}"
    return [CardTable(config, paths) for config, paths in sorted(files.items())]


def _title(source: Path, build: Mapping[str, Any] | None) -> str:
    return str(build.get("name") or source.resolve().name) if build else source.resolve().name


def _body(sets: Sequence[PublishedSet], source: Path, build: Mapping[str, Any] | None, repo: str) -> str:
    lines = ["| questions | split | documents | queries | judgments | measure |", "|---|---|---:|---:|---:|---|"]
    for one in sets:
        data = one.dataset
        counts = f"{len(data.corpus):,} | {len(data.queries):,} | {sum(map(len, data.qrels.values())):,}"
        lines.append(f"| {data.name} | {one.split} | {counts} | {data.measure} |")
    lines += ["", "## Use", "", *_use(sets[0], repo, build is not None), "", "## Licence and attribution", ""]
    lines += [" ".join(str((build or {}).get("licence") or sets[0].dataset.licence).split())]
    if build is not None:
        lines += ["", f"`<topic>-attribution` has a row a passage: {_ATTRIBUTED}. Pass it on with the passages."]
        lines += ["", "## Where it is from", "", f"Built by lotte-bench; build `{manifest.build_id(source)}`."]
        lines += [*_inputs(build)]
    return "\n".join([*lines, "", f"`sha256sum -c {publication.SUMS}` checks the files."])


_ATTRIBUTED = "site, post, link, author, the author's page, licence, date"


def _inputs(build: Mapping[str, Any]) -> Iterator[str]:
    """Give a line for each file that the build was made of; its manifest says the same."""
    yield from ("", "| input | sha256 |", "|---|---|")
    for site, files in sorted(build["inputs"]["communities"].items()):
        for name, sha256 in sorted(files.items()) if isinstance(files, dict) else ():
            yield f"| {site} {name} | {sha256 if isinstance(sha256, str) else sha256.get('sha256', '')} |"
    if gooaq := build["inputs"].get("gooaq"):
        yield f"| GooAQ | {gooaq.get('sha256', '')} |"


def _use(one: PublishedSet, repo: str, has_layout: bool) -> Iterator[str]:
    qrels = f"{one.prefix}qrels" if one.prefix else "default"
    yield "```python"
    yield "from datasets import load_dataset"
    yield ""
    for name, config in (("corpus", f"{one.prefix}corpus"), ("queries", f"{one.prefix}queries"), ("qrels", qrels)):
        yield f'{name} = load_dataset("{repo}", "{config}", split="{one.split}")'
    yield "```"
    yield ""
    yield "The names and columns of the tables are those that MTEB loads."
    if has_layout:
        yield f"`{LAYOUT}/` is LoTTE's own layout: for `lotte eval --data {LAYOUT}`, ColBERT's scoring script, and"
        yield "ir_datasets, which looks for it at `$IR_DATASETS_HOME/lotte/lotte_extracted/lotte`."
        yield f"`lotte check {LAYOUT}` holds it to its manifest."
