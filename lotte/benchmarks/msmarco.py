"""MS MARCO passages: 8.8 million of them, questions from Bing, mostly one judged passage each.

`dev` is the small development set, 6,980 questions, that every paper reports.
`eval-local` is the 5,000 further questions of the development set that
ColBERT's authors sampled for their own tests. Both are measured by
MRR@10, over all questions; R@50, R@200 and R@1000 stand beside it.

The files are in the folder `msmarco` under their published names.

Source  Nguyen et al. 2016, arXiv:1611.09268; ColBERT/data/5k-eval.*.tsv
"""

from collections.abc import Container, Sequence
from pathlib import Path

from lotte import ids
from lotte.benchmarks.lotte import read_queries
from lotte.collection import Collection
from lotte.dataset import Corpus, Dataset
from lotte.errors import CorruptFileError, named, shown
from lotte.judgments import Judgments, grade
from lotte.lines import lines, plain_or_gz
from lotte.release import File, Release, ReleaseCounts, checked

NAMES = ("dev", "eval-local")
ALIASES = {"dev/small": "dev", "local-eval": "eval-local"}
FOLDER = "msmarco"
PASSAGES = 8_841_823
LICENCE = "MS MARCO terms, non-commercial research"
HOMES = (
    "https://msmarco.z22.web.core.windows.net/msmarcoranking",
    "https://msmarco.blob.core.windows.net/msmarcoranking",
)
COLLECTION = File(
    urls=tuple(f"{home}/collectionandqueries.tar.gz" for home in HOMES),
    holds={FOLDER: ("collection.tsv", "queries.dev.small.tsv", "qrels.dev.small.tsv")},
    into=FOLDER,
    unpack="tar",
    size=1_057_717_952,
    sha256="decac356eb8cc5b9cea2e30b8738dc6f367e4147aaefe8fc7526ddda382fd2fc",
)
_COLBERT = "https://raw.githubusercontent.com/stanford-futuredata/ColBERT/501c29d9e0b7f7b393e36c4177ec2b141a253114/data"
_FILES = {  # questions, judgments
    "dev": ("queries.dev.small.tsv", "qrels.dev.small.tsv"),
    "eval-local": ("5k-eval.queries.tsv", "5k-eval.qrels.tsv"),
}
_COUNTS = {
    "dev": ReleaseCounts(documents=PASSAGES, queries=6_980, judgments=7_437),
    "eval-local": ReleaseCounts(documents=PASSAGES, queries=5_000, judgments=5_324),
}
_LOCAL_EVAL = tuple(
    File(urls=(f"{_COLBERT}/{name}",), holds={FOLDER: (name,)}, into=FOLDER, sha256=sha256)
    for name, sha256 in (
        ("5k-eval.queries.tsv", "b8b3b27d9b1590d0a8bc38edf07bc221356440a73b418703574f1e947a2a130e"),
        ("5k-eval.qrels.tsv", "c5405c668303ba82e815bf94a23998d13fffab7a7cc71cf23dc9050564f37539"),
    )
)


def release(name: str) -> Release:
    """Return what is published of a set in NAMES. Opens nothing."""
    return Release(
        name=f"msmarco/{name}",
        measure="MRR@10",
        also=("R@50", "R@200", "R@1000"),
        counts=_COUNTS[name],
        licence=LICENCE,
        homepage="https://microsoft.github.io/msmarco/",
        files=((COLLECTION, *(_LOCAL_EVAL if name == "eval-local" else ())),),
        needs={FOLDER: ("collection.tsv", *_FILES[name])},
    )


def load(name: str, data: Path) -> Dataset:
    """Read a set from a data folder. Raises UnavailableError, saying how to get it, if it is not there."""
    release(name).require(data)
    return read(data / FOLDER, name)


def read(folder: Path, name: str, corpus: Corpus | None = None) -> Dataset:
    """Read collection.tsv, and the questions and judgments of one of NAMES.

    Raises  UnavailableError if a file is not there, CorruptFileError for a line that is wrong,
            or if the folder claims to be the release and is not
    """
    corpus = corpus or Collection(plain_or_gz(folder / "collection.tsv"))
    questions, judgments = _FILES[name]
    dataset = judged_dataset(f"msmarco/{name}", corpus, folder / questions, folder / judgments, "MRR@10")
    return checked(dataset, release(name), {folder: ("collection.tsv", questions, judgments)})


def judged_dataset(name: str, corpus: Corpus, questions: Path, judgments: Path, measure: str) -> Dataset:
    """Return the questions of a file that are judged, with their judgments. Raises CorruptFileError."""
    queries = read_queries(plain_or_gz(questions))
    judged = read_judgments(plain_or_gz(judgments), queries, corpus.doc_ids, questions=questions.name)
    return Dataset(
        name=name,
        corpus=corpus,
        queries={query_id: text for query_id, text in queries.items() if query_id in judged},
        qrels=judged,
        measure=measure,
        source="local",
        notes=judged.notes(),
        facts={"queries": "those with a judgment"},
    )


def read_judgments(
    path: Path, queries: Container[str] | None, known: Sequence[str] | None, *, questions: str = "the questions"
) -> Judgments:
    """Read lines of `query 0 document relevance`, with tabs or blanks between: TREC's form of judgments.

    queries, known  what a line may name; None: anything
    questions       the file of the queries, for the message

    Raises  CorruptFileError for other fields, a query or a passage that is not known, a relevance
            that is none, or a pair that is judged twice and contradicts itself
    """
    judgments = Judgments()
    for number, line in lines(path):
        where = f"{path}:{number}"
        try:
            query_id, _, doc_id, text = line.split()
        except ValueError:
            raise CorruptFileError(
                f"{where}: expected query, 0, passage and a whole number, found {shown(line)}"
            ) from None
        if queries is None:
            ids.checked(query_id, "query", where)
        elif query_id not in queries:
            raise CorruptFileError(f"{where}: query {named(query_id)} has no line in {questions}")
        if known is None:
            ids.checked(doc_id, "document", where)
        elif doc_id not in known:
            raise CorruptFileError(
                f"{where}: query {named(query_id)} is answered by passage {named(doc_id)}, but the collection "
                f"{f'ends at {len(known) - 1}' if len(known) else 'is empty'}"
            )
        judgments.add(query_id, doc_id, grade(text, where), where)
    return judgments
