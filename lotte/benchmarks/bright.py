"""BRIGHT: questions that take reasoning, twelve domains, each with a collection of its own, measured by nDCG@10.

Eight of the domains also have a collection of whole web pages:
`bright/biology-long`. A question may list documents that state its answer
literally, such as the problem it was made from: they are left out of its
ranking, as in the authors' code.
LeetCode, AoPS and TheoremQA have such lists, of thousands of documents each.

The names are those of ir_datasets, and so are the files: bytes and md5 of the
authors' own at Hugging Face.

Source  Su et al. 2024, arXiv:2407.12883; github.com/xlang-ai/BRIGHT, run.py;
        counts, sizes and md5: ir_datasets 0.6.3, etc/metadata.json and etc/downloads.json
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lotte import beir_folder, ids
from lotte.beir_folder import FILES
from lotte.dataset import Dataset
from lotte.errors import CorruptFileError
from lotte.release import File, Release, ReleaseCounts, checked

FOLDER = "bright"
LONG = "-long"
HOME = "https://huggingface.co/datasets/xlangai/BRIGHT/resolve/main"
_NOTHING = "N/A"  # what stands in a list of documents to leave out that has none
_DOCUMENTS = {  # documents, relevant pairs, bytes and md5 of the parquet file
    "aops": (188_002, 524, 65_301_334, "43d86de9400e68911a7d419de8105c61"),
    "biology": (57_359, 372, 11_046_045, "f5634c69200296066adf9816f5e4f729"),
    "biology-long": (524, 134, 9_063_521, "adf570ca7c9ded642b9dc5dbca80d3ad"),
    "earth-science": (121_249, 585, 23_084_671, "210a3b5cdc06cfd9ca6728fa97fb8067"),
    "earth-science-long": (601, 187, 16_229_287, "fdcfd781a0277a07edff9e86dd7b5391"),
    "economics": (50_220, 800, 10_969_621, "51f017a94fc4bccb68e44c85640a2feb"),
    "economics-long": (516, 109, 9_422_303, "fb84391a7514cb110a82d88614f5b846"),
    "leetcode": (413_932, 262, 210_510_658, "eda94d3cb40aa9b1f55030d1631acf72"),
    "pony": (7_894, 2_219, 1_125_040, "f0805cab692e3a4f4b69819b743c0a82"),
    "pony-long": (577, 769, 813_435, "67ee14f338db467071b4afc1a4417dc1"),
    "psychology": (52_835, 692, 11_430_533, "cb0a14e59845efe80fdc1fa92c379605"),
    "psychology-long": (512, 116, 9_855_475, "b8c68cb60fcbed3404c13fbb5d006186"),
    "robotics": (61_961, 520, 7_874_186, "595fb0d3075eaca19298a51bb706a513"),
    "robotics-long": (508, 106, 6_390_001, "94408fb87b6f7ec43622acdd2ce259e0"),
    "stackoverflow": (107_081, 478, 39_493_317, "e1e3b210340e7fb5ec3782b57525a6ee"),
    "stackoverflow-long": (1_858, 129, 43_080_248, "f328785df5459f92934f3580e4252bb0"),
    "sustainable-living": (60_792, 576, 11_720_059, "e7f3e97d3314f2afb662c8779b904ce9"),
    "sustainable-living-long": (554, 129, 9_724_495, "571c7966369496f852a571996574537f"),
    "theoremqa-questions": (188_002, 617, 65_301_334, "43d86de9400e68911a7d419de8105c61"),
    "theoremqa-theorems": (23_839, 151, 7_632_381, "93fb1207b33e0dffb79a7923326c060d"),
}
_EXAMPLES = {  # queries, bytes and md5 of the parquet file
    "aops": (111, 1_338_908, "26f1458f835aeba9c915c1eda4321ec0"),
    "biology": (103, 200_655, "53d20abac1f80d0ebd223da63a5a7d45"),
    "earth-science": (116, 184_093, "d8a46cd50ff605094bf7460ce387ff4c"),
    "economics": (103, 219_518, "618302357566c1d1aa45dfdc13d471ef"),
    "leetcode": (142, 168_560, "33e413c4f4c5b80b074b979807eaa5e6"),
    "pony": (112, 27_722, "0decd583ecef3e17b861d0697585033f"),
    "psychology": (101, 183_889, "16c99781402179d309696a68d0a1ab86"),
    "robotics": (101, 178_820, "1ac3ec10dda663f083f28b33d901fad1"),
    "stackoverflow": (117, 250_458, "e676fb3e8f822237d67287d75a769155"),
    "sustainable-living": (108, 218_151, "e8e73cf45e751e447a470cdb27974f42"),
    "theoremqa-questions": (194, 1_494_939, "eac182e1594f199acda6d18fdbb8a4ef"),
    "theoremqa-theorems": (76, 124_476, "e45115bb80e939fc9a063514f2331e54"),
}
NAMES = tuple(_DOCUMENTS)
DOMAINS = tuple(_EXAMPLES)


def release(name: str) -> Release:
    """Return what is published of a set in NAMES. Opens nothing."""
    documents, relevant, size, md5 = _DOCUMENTS[name]
    domain = name.removesuffix(LONG)
    queries, examples_size, examples_md5 = _EXAMPLES[domain]
    folder = f"{FOLDER}/{name}"
    file = f"{domain.replace('-', '_')}-00000-of-00001.parquet"
    at = partial(File, holds={folder: FILES})
    kind = "long_documents" if name.endswith(LONG) else "documents"
    return Release(
        name=folder,
        measure="nDCG@10",
        counts=ReleaseCounts(documents=documents, queries=queries, judgments=relevant, relevant=relevant),
        licence="CC BY 4.0",
        homepage="https://brightbenchmark.github.io",
        tables={
            "documents": at(urls=(f"{HOME}/{kind}/{file}",), size=size, md5=md5),
            "examples": at(urls=(f"{HOME}/examples/{file}",), size=examples_size, md5=examples_md5),
        },
        needs={folder: FILES},
    )


def load(name: str, data: Path) -> Dataset:
    """Read a set from a data folder. Raises UnavailableError, saying how to get it, if it is not there."""
    known = release(name)
    known.require(data)
    folder = data / FOLDER / name
    return checked(beir_folder.read(folder, known.name), known, {folder: FILES})


def write(folder: Path, tables: Mapping[str, Iterable[Mapping[str, Any]]], name: str) -> None:
    """Write the authors' tables, documents and examples, in BEIR's layout.

    Raises  CorruptFileError for a row that lacks what it should have
    """
    examples = [_example(row, name) for row in tables["examples"]]
    beir_folder.write(
        folder,
        {
            "corpus": ({"_id": _word(row, "id"), "text": row.get("content")} for row in tables["documents"]),
            "queries": ({"_id": query_id, "text": text} for query_id, text, _, _ in examples),
            "qrels": _pairs((query_id, relevant) for query_id, _, relevant, _ in examples),
            "excluded": _pairs((query_id, excluded) for query_id, _, _, excluded in examples),
        },
    )


def _pairs(lists: Iterable[tuple[str, list[str]]]) -> Iterator[dict[str, str]]:
    return ({"query-id": query_id, "corpus-id": doc_id} for query_id, doc_ids in lists for doc_id in doc_ids)


def _example(row: Mapping[str, Any], name: str) -> tuple[str, Any, list[str], list[str]]:
    """Return a question's id, its text, the documents that are relevant to it, and those to leave out."""
    key = "gold_ids_long" if name.endswith(LONG) else "gold_ids"
    lists = []
    for column in (key, "excluded_ids"):
        if not isinstance(listed := row.get(column) or [], list):
            raise CorruptFileError(f"examples: {column} must be a list of documents, found {type(listed).__name__}")
        lists.append([ids.word(str(doc_id)) for doc_id in listed if doc_id not in (None, _NOTHING)])
    relevant, excluded = (list(dict.fromkeys(listed)) for listed in lists)
    return _word(row, "id"), row.get("query"), relevant, excluded


def _word(row: Mapping[str, Any], key: str) -> str:
    return ids.word(str(row.get(key, "")))
