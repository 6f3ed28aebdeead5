"""BEIR: many small retrieval tasks in one layout, judged with grades, measured by nDCG@10.

As its authors' code does, only judged queries are asked, and of a published
set a document with its query's own id is left out of the ranking: in ArguAna
and Quora the queries are documents too. In a folder of somebody's own such an
id says nothing, and the document stays. CQADupStack is twelve sets, and its number the mean
of theirs. Touche-2020 was published twice: `webis-touche2020` is what every
table since has, with the judgments of 2,214 pairs; `webis-touche2020/v1` is
the older one. (ir_datasets calls the first of them `webis-touche2020/v2`.)

Source  Thakur et al. 2021, arXiv:2104.08663; beir/datasets/data_loader.py, beir/retrieval/evaluation.py;
        counts: ir_datasets/etc/metadata.json; sizes and md5: ir_datasets/etc/downloads.json
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lotte import ids
from lotte.artifact import Writer, json_line
from lotte.dataset import Dataset, Doc
from lotte.errors import CorruptFileError, MismatchError, shown
from lotte.jsonl import objects, parsed, string
from lotte.judgments import Judgments, grade
from lotte.line_index import LineIndex
from lotte.lines import lines, plain_or_gz
from lotte.release import File, Hub, Release, ReleaseCounts, checked, counts_of

FORUMS = (
    "android", "english", "gaming", "gis", "mathematica", "physics", "programmers", "stats", "tex", "unix",
    "webmasters", "wordpress",
)  # fmt: skip
NAMES = (
    "arguana", "bioasq", "climate-fever", "dbpedia-entity", "fever", "fiqa", "hotpotqa", "nfcorpus", "nq",
    "quora", "robust04", "scidocs", "scifact", "signal1m", "trec-covid", "trec-news", "webis-touche2020",
    *(f"cqadupstack/{forum}" for forum in FORUMS),
    "webis-touche2020/v1",
)  # fmt: skip
# What the paper calls one dataset and measures as the mean of its parts, each part with the same weight.
MEANS = {"cqadupstack": tuple(f"cqadupstack/{forum}" for forum in FORUMS)}
ALIASES = {"webis-touche2020/v2": "webis-touche2020"}

FILES = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
HOME = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"
# Tokens of a query, where the default of 32 cuts too much of it: Santhanam et al. 2022, appendix F.
QUERY_TOKENS = {"arguana": 300, "climate-fever": 64}

# documents, queries, judgments, licence as the paper's appendix gives it
_PUBLISHED: dict[str, tuple[int, int, int | None, str]] = {
    "arguana": (8_674, 1_406, 1_406, "CC BY 4.0"),
    "bioasq": (14_914_602, 500, 2_359, "CC BY 2.5"),
    "climate-fever": (5_416_593, 1_535, 4_681, "not stated"),
    "cqadupstack/android": (22_998, 699, 1_696, "Apache-2.0"),
    "cqadupstack/english": (40_221, 1_570, 3_765, "Apache-2.0"),
    "cqadupstack/gaming": (45_301, 1_595, 2_263, "Apache-2.0"),
    "cqadupstack/gis": (37_637, 885, 1_114, "Apache-2.0"),
    "cqadupstack/mathematica": (16_705, 804, 1_358, "Apache-2.0"),
    "cqadupstack/physics": (38_316, 1_039, 1_933, "Apache-2.0"),
    "cqadupstack/programmers": (32_176, 876, 1_675, "Apache-2.0"),
    "cqadupstack/stats": (42_269, 652, 913, "Apache-2.0"),
    "cqadupstack/tex": (68_184, 2_906, 5_154, "Apache-2.0"),
    "cqadupstack/unix": (47_382, 1_072, 1_693, "Apache-2.0"),
    "cqadupstack/webmasters": (17_405, 506, 1_395, "Apache-2.0"),
    "cqadupstack/wordpress": (48_605, 541, 744, "Apache-2.0"),
    "dbpedia-entity": (4_635_922, 400, 43_515, "CC BY-SA 3.0"),
    "fever": (5_416_568, 6_666, 7_937, "CC BY-SA 3.0"),
    "fiqa": (57_638, 648, 1_706, "not stated"),
    "hotpotqa": (5_233_329, 7_405, 14_810, "CC BY-SA 4.0"),
    "nfcorpus": (3_633, 323, 12_334, "not stated"),
    "nq": (2_681_468, 3_452, 4_201, "CC BY-SA 3.0"),
    "quora": (522_931, 10_000, 15_675, "not stated"),
    "robust04": (528_155, 249, None, "by agreement with NIST"),
    "scidocs": (25_657, 1_000, 29_928, "CC BY 4.0"),
    "scifact": (5_183, 300, 339, "CC BY-NC 2.0"),
    "signal1m": (2_866_316, 97, 1_899, "by agreement with Signal"),
    "trec-covid": (171_332, 50, None, "by the terms of its papers"),  # 24,673 relevant; of its lines, two are below 0
    "trec-news": (594_977, 57, 15_655, "by agreement with NIST"),
    "webis-touche2020": (382_545, 49, 2_214, "CC BY 4.0"),
    "webis-touche2020/v1": (382_545, 49, 2_962, "CC BY 4.0"),
}

_ZIPS = {  # bytes and md5 of the .zip
    "arguana": (3_773_617, "8ad3e3c2a5867cdced806d6503f29b99"),
    "climate-fever": (1_228_666_652, "8b66f0a9126c521bae2bde127b4dc99d"),
    "cqadupstack": (5_343_728_040, "4e41456d7df8ee7760a7f866133bda78"),
    "dbpedia-entity": (639_285_131, "c2a39eb420a3164af735795df012ac2c"),
    "fever": (1_236_988_269, "5a818580227bfb4b35bb6fa46d9b6c03"),
    "fiqa": (17_948_027, "17918ed23cd04fb15047f73e6c3bd9d9"),
    "hotpotqa": (654_025_350, "f412724f78b0d91183a0e86805e16114"),
    "nfcorpus": (2_448_432, "a89dba18a62ef92f7d323ec890a0d38d"),
    "nq": (498_307_926, "d4d3d2e48787a744b6f6e691ff534307"),
    "quora": (15_853_968, "18fb154900ba42a600f84b839c173167"),
    "scidocs": (142_471_588, "38121350fc3a4d2f48850f6aff52e4a9"),
    "scifact": (2_816_079, "5f7d1de60b170fc8027bb7898e2efca1"),
    "trec-covid": (73_876_720, "ce62140cb23feb9becf6270d0d1fe6d1"),
    "webis-touche2020": (227_132_363, "46f650ba5a527fc69e0a6521c5a23563"),
}

_HUB = {  # the copies in BEIR's own layout at Hugging Face that MTEB pins, with their revisions
    "arguana": "c22ab2a51041ffd869aaddef7af8d8215647e41a",
    "climate-fever": "47f2ac6acb640fc46020b02a5b59fdda04d39380",
    "cqadupstack/android": "f46a197baaae43b4f621051089b82a364682dfeb",
    "cqadupstack/english": "ad9991cb51e31e31e430383c75ffb2885547b5f0",
    "cqadupstack/gaming": "4885aa143210c98657558c04aaf3dc47cfb54340",
    "cqadupstack/gis": "5003b3064772da1887988e05400cf3806fe491f2",
    "cqadupstack/mathematica": "90fceea13679c63fe563ded68f3b6f06e50061de",
    "cqadupstack/physics": "79531abbd1fb92d06c6d6315a0cbbbf5bb247ea4",
    "cqadupstack/programmers": "6184bc1440d2dbc7612be22b50686b8826d22b32",
    "cqadupstack/stats": "65ac3a16b8e91f9cee4c9828cc7c335575432a2a",
    "cqadupstack/tex": "46989137a86843e03a6195de44b09deda022eec7",
    "cqadupstack/unix": "6c6430d3a6d36f8d2a829195bc5dc94d7e063e53",
    "cqadupstack/webmasters": "160c094312a0e1facb97e55eeddb698c0abe3571",
    "cqadupstack/wordpress": "4ffe81d471b1924886b33c7567bfb200e9eec5c4",
    "dbpedia-entity": "c0f706b76e590d620bd6618b3ca8efdd34e2d659",
    "fever": "bea83ef9e8fb933d90a2f1d5515737465d613e12",
    "fiqa": "27a168819829fe9bcd655c2df245fb19452e8e06",
    "hotpotqa": "ab518f4d6fcca38d87c25209f94beba119d02014",
    "nfcorpus": "ec0fa4fe99da2ff19ca1214b7966684033a58814",
    "nq": "b774495ed302d8c44a3a7ea25c90dbce03968f31",
    "quora": "e4e08e0b7dbe3c8700f0daef558ff32256715259",
    "scidocs": "f8c2fcf00f625baaa80f62ec5bd9e1fff3b8ae88",
    "scifact": "0228b52cf27578f30900b9e5271d331663a030d7",
    "trec-covid": "bb9466bac8153a0349341eb1b22e06409e78ef4e",
    "webis-touche2020": "a34f9a33db75fa0cbb21bb5cfc3dae8dc8bec93f",
}
_REPOS = {"dbpedia-entity": "mteb/dbpedia", "webis-touche2020": "mteb/touche2020"}

_BY_HAND = {
    "bioasq": "register at bioasq.org for task 9a of 2021",
    "robust04": "ask NIST for TREC disks 4 and 5 (trec.nist.gov/data/cd45)",
    "signal1m": "ask research.signal-ai.com for the Signal-1M tweets",
    "trec-news": "ask NIST for the Washington Post collection, version 2 (trec.nist.gov/data/wapost)",
}


def release(name: str) -> Release:
    """Return what is published of a set in NAMES. Opens nothing."""
    documents, queries, judgments, licence = _PUBLISHED[name]
    facts = {"query_tokens": str(QUERY_TOKENS[name])} if name in QUERY_TOKENS else {}
    if name.startswith("webis-touche2020"):
        facts["version"] = "v1" if name.endswith("v1") else "v2"
    by_hand = ""
    if name in _BY_HAND:
        by_hand = f"It is not public: {_BY_HAND[name]}, and put it there in BEIR's layout ({', '.join(FILES)})"
    return Release(
        name=f"beir/{name}",
        measure="nDCG@10",
        also=("R@100",),
        counts=ReleaseCounts(
            documents=documents, queries=queries, judgments=judgments, relevant=24_673 if name == "trec-covid" else None
        ),
        licence=licence,
        homepage="https://github.com/beir-cellar/beir",
        files=() if by_hand else ((_zip(name),),),
        hub=_hub(name),
        needs={f"beir/{name}": FILES},
        by_hand=by_hand,
        facts=facts,
    )


def _zip(name: str) -> File:
    if name == "webis-touche2020/v1":
        return File(
            urls=("https://macavaney.us/beir-webis-touche2020-v1.zip",),
            holds={f"beir/{name}": FILES},
            into=f"beir/{name}",
            unpack="zip",
            strip=1,
            size=227_137_373,
            md5="5ec7f8b18481fc2e9b3964ad1b22dd28",
        )
    whole = name.partition("/")[0]
    size, md5 = _ZIPS[whole]
    return File(
        urls=(f"{HOME}/{whole}.zip",),
        holds={f"beir/{part}": FILES for part in MEANS.get(whole, (name,))},
        into="beir",
        unpack="zip",
        size=size,
        md5=md5,
    )


def _hub(name: str) -> Hub | None:
    if name not in _HUB:
        return None
    repo = _REPOS.get(name, f"mteb/{name.replace('/', '-')}")
    tables = {"corpus": ("corpus", "corpus"), "queries": ("queries", "queries"), "qrels": ("default", "test")}
    return Hub(repo=repo, revision=_HUB[name], configs=tables)


def names_in(data: Path) -> list[str]:
    """Return the names of the sets in a data folder."""
    root = data / "beir"
    folders = {path.parent for depth in ("*", "*/*") for path in root.glob(f"{depth}/corpus.jsonl*")}
    return sorted(folder.relative_to(root).as_posix() for folder in folders)


def load(name: str, data: Path) -> Dataset:
    """Read a set from a data folder. Raises UnavailableError, saying how to get it, if it is not there."""
    if name in _PUBLISHED:
        release(name).require(data)
    return read(data / "beir" / name, f"beir/{name}")


def read(folder: Path, name: str) -> Dataset:
    """Read corpus.jsonl, queries.jsonl and qrels/test.tsv, each of them plain or .gz.

    A judgment of a document that the corpus lacks is kept: the published
    numbers count it as one that nobody finds.

    Raises  UnavailableError if a file is not there, CorruptFileError for a line that is wrong or if the
            folder claims to be the release and is not, MismatchError for the other version of Touche-2020
    """
    queries = plain_or_gz(folder / "queries.jsonl")
    texts = read_queries(queries)
    judged = _judgments(plain_or_gz(folder / "qrels" / "test.tsv"), texts, queries.name)
    dataset = Dataset(
        name=name,
        corpus=BeirCorpus(plain_or_gz(folder / "corpus.jsonl")),
        queries={query_id: text for query_id, text in texts.items() if query_id in judged},
        qrels=judged,
        measure="nDCG@10",
        source="local",
        ignore_own=name.removeprefix("beir/") in _PUBLISHED,
        notes=judged.notes(),
        facts={"text": "(title + ' ' + text).strip()", "queries": "those with a judgment"},
    )
    short = name.removeprefix("beir/")
    if short not in _PUBLISHED:
        return dataset
    _check_version(dataset, short, folder)
    return checked(dataset, release(short), {folder: FILES})


def read_queries(path: Path) -> dict[str, str]:
    """Read lines of `{"_id": ..., "text": ...}`. Raises CorruptFileError for another line, or an id twice."""
    texts: dict[str, str] = {}
    for number, query in objects(path):
        where = f"{path}:{number}"
        if (query_id := ids.of_json(query, "_id", "query", where)) in texts:
            raise CorruptFileError(f"{where}: query {shown(query_id)} is there a second time")
        texts[query_id] = string(query, "text", where)
    return texts


def _judgments(path: Path, texts: Mapping[str, str], queries: str) -> Judgments:
    """Read the judgments of these queries. `queries` is the name of their file, for the message."""
    judged = Judgments()
    for number, line in lines(path):
        where = f"{path}:{number}"
        query_id, doc_id, text = _fields(line, where)
        if number == 1 and query_id == "query-id" and "query-id" not in texts:
            continue
        if query_id not in texts:
            raise CorruptFileError(f"{where}: query {shown(query_id)} has no line in {queries}")
        judged.add(query_id, ids.checked(doc_id, "document", where), grade(text, where), where)
    return judged


def _check_version(dataset: Dataset, name: str, folder: Path) -> None:
    """Refuse one version of Touche-2020 under the name of the other: their numbers may not be compared."""
    other = {"webis-touche2020": "webis-touche2020/v1", "webis-touche2020/v1": "webis-touche2020"}.get(name)
    if other and counts_of(dataset).judgments == _PUBLISHED[other][2]:
        raise MismatchError(
            f"{folder} holds the {_PUBLISHED[other][2]:,} judgments of beir/{other}, and not the "
            f"{_PUBLISHED[name][2]:,} of beir/{name}; move it to beir/{other}"
        )


def write(folder: Path, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Write rows as they come from Hugging Face in BEIR's layout.

    tables  corpus: _id, title, text; queries: _id, text; qrels: query-id, corpus-id, score

    Raises  CorruptFileError for a row that lacks one of them
    """

    def line(row: Mapping[str, Any], names: tuple[str, ...], what: str) -> bytes:
        value = {name: row.get(name, row.get(name.removeprefix("_"))) for name in names}
        if lacking := [name for name in names if value[name] is None and name != "title"]:
            raise CorruptFileError(f"{what}: a row has no {lacking[0]!r}; it has {', '.join(map(repr, row))}")
        value["_id"] = str(value["_id"])  # some copies have numbers
        ids.checked(value["_id"], what, f"{what}: a row")
        return json_line(value, ascii=False).encode()

    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    with Writer(folder / "corpus.jsonl") as file:
        for row in tables["corpus"]:
            file.write(line(row, ("_id", "title", "text"), "corpus"))
    with Writer(folder / "queries.jsonl") as file:
        for row in tables["queries"]:
            file.write(line(row, ("_id", "text"), "queries"))
    with Writer(folder / "qrels" / "test.tsv") as file:
        file.write(b"query-id\tcorpus-id\tscore\n")
        for row in tables["qrels"]:
            try:
                relevance = grade(str(row["score"]), "qrels: a row")
                file.write(f"{row['query-id']}\t{row['corpus-id']}\t{relevance}\n".encode())
            except KeyError:
                raise CorruptFileError(f"qrels: expected query-id, corpus-id and score, found {dict(row)}") from None


def _fields(line: str, where: str) -> list[str]:
    if len(fields := line.split("\t")) != 3:
        raise CorruptFileError(
            f"{where}: expected query, document and a whole number with tabs between, found {shown(line)}"
        )
    return fields


class BeirCorpus:
    """A `corpus.jsonl`, read where it lies: `_id`, `title`, `text` a line.

    Raises  CorruptFileError, when a row is read, for a line that is no such object,
            and, when the ids are asked for, for an id that is there twice
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = LineIndex(path)

    @cached_property
    def doc_ids(self) -> Sequence[str]:
        """The ids, in the order of the file. Reads all of it, once."""
        rows: dict[str, int] = {}
        for row, doc in enumerate(self):
            if rows.setdefault(doc.doc_id, row) != row:
                raise CorruptFileError(f"{self.path}:{row + 1}: _id {shown(doc.doc_id)} is there a second time")
        return list(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Doc:
        row = range(len(self))[row]
        where = f"{self.path}:{row + 1}"
        fields = parsed(self._rows[row], where)
        title = string(fields, "title", where) if fields.get("title") is not None else ""
        return Doc(ids.of_json(fields, "_id", "document", where), f"{title} {string(fields, 'text', where)}".strip())

    def __iter__(self) -> Iterator[Doc]:
        return (self[row] for row in range(len(self)))
