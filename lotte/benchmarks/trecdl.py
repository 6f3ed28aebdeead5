"""TREC Deep Learning 2019 and 2020, passages: MS MARCO's collection, few questions, judged in depth with grades 0 to 3.

Only judged queries are used: 43 and 54 of 200 each. nDCG@10 takes the
grades as gains. For measures of binary relevance (MRR, AP, R), the track counts
a passage as relevant from grade 2 on; the fact `relevance_level` states this, and
a scorer that ignores it gives too high a score.

The collection is the one of `msmarco`, so that it is indexed once. Queries
and judgments are in the folder `trecdl` under their published names.

Source  Craswell et al., TREC 2019 and 2020 overviews
"""

from pathlib import Path

from lotte.benchmarks import msmarco
from lotte.collection import Collection
from lotte.dataset import Corpus, Dataset
from lotte.lines import plain_or_gz
from lotte.release import File, Release, ReleaseCounts, checked

NAMES = ("2019", "2020")
FOLDER = "trecdl"
LEVEL = 2  # the lowest grade that is relevant where a measure knows no grades
_FILES = {  # questions, judgments
    "2019": ("msmarco-test2019-queries.tsv", "2019qrels-pass.txt"),
    "2020": ("msmarco-test2020-queries.tsv", "2020qrels-pass.txt"),
}
_COUNTS = {
    "2019": ReleaseCounts(documents=msmarco.PASSAGES, queries=43, judgments=9_260),
    "2020": ReleaseCounts(documents=msmarco.PASSAGES, queries=54, judgments=11_386),
}
_QUESTIONS = {  # bytes and sha256 of the .gz
    "2019": (4_276, "d66f01dfa8a3e60fe375ba645efc004f97ff4dd2a424536b8d5810c16182a3b5"),
    "2020": (4_131, "0c749b29fd8ca0ccbf129a1bdd283e4081d6c49e96d6bf6290ba554d5d71f7f1"),
}
_MD5 = {"2019": "2f4be390198da108f6845c822e5ada14", "2020": "0355ccee7509ac0463e8278186cdd8d1"}  # of the judgments


def release(name: str) -> Release:
    """Return what is published of a set in NAMES. Opens nothing."""
    questions, judgments = _FILES[name]
    size, sha256 = _QUESTIONS[name]
    return Release(
        name=f"trecdl/{name}",
        measure="nDCG@10",
        also=("MRR@10", "AP", "R@1000"),
        counts=_COUNTS[name],
        licence=msmarco.LICENCE,
        homepage=f"https://microsoft.github.io/msmarco/TREC-Deep-Learning-{name}",
        files=(
            (
                msmarco.COLLECTION,
                File(
                    urls=tuple(f"{home}/{questions}.gz" for home in msmarco.HOMES),
                    holds={FOLDER: (questions,)},
                    into=FOLDER,
                    unpack="gz",
                    size=size,
                    sha256=sha256,
                ),
                File(
                    urls=(f"https://trec.nist.gov/data/deep/{judgments}",),
                    holds={FOLDER: (judgments,)},
                    into=FOLDER,
                    md5=_MD5[name],
                ),
            ),
        ),
        needs={msmarco.FOLDER: ("collection.tsv",), FOLDER: (questions, judgments)},
        facts={"relevance_level": str(LEVEL)},
    )


def load(name: str, data: Path) -> Dataset:
    """Read a set from a data folder. Raises UnavailableError, saying how to get it, if it is not there."""
    release(name).require(data)
    return read(data / FOLDER, data / msmarco.FOLDER, name)


def read(folder: Path, collection: Path, name: str, corpus: Corpus | None = None) -> Dataset:
    """Read the questions and judgments of a year, and MS MARCO's collection from its own folder.

    Raises  UnavailableError if a file is not there, CorruptFileError for a line that is wrong,
            or if the folders claim to be the release and are not
    """
    corpus = corpus or Collection(plain_or_gz(collection / "collection.tsv"))
    questions, judgments = _FILES[name]
    dataset = msmarco.judged_dataset(f"trecdl/{name}", corpus, folder / questions, folder / judgments, "nDCG@10")
    return checked(dataset, release(name), {folder: (questions, judgments), collection: ("collection.tsv",)})
