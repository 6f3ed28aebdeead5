"""BEIR: many small retrieval tasks in one layout, judged with grades, measured by nDCG@10.

As in its authors' code, only judged queries are used, and in a published set
a document with its query's own id is left out of the ranking: in ArguAna and
Quora the queries are documents too. In a user's own folder such an id means
nothing, and the document stays. CQADupStack is twelve sets, and its score is their
mean. Touche-2020 was published twice: `webis-touche2020` is the one in
later tables, with the judgments of 2,214 pairs; `webis-touche2020/v1` is
the older one, and `v3` MTEB's, with the short arguments taken out. (ir_datasets
calls the first of them `webis-touche2020/v2`.)

`beir/fiqa` is the split "test"; `beir/fiqa/dev` and `/train` must be
named. `beir/arguana/decontaminated` is LightOn's copy, without texts that are
in training sets of current models.

Source  Thakur et al. 2021, arXiv:2104.08663; beir/datasets/data_loader.py, beir/retrieval/evaluation.py;
        counts: ir_datasets/etc/metadata.json; sizes and md5: ir_datasets/etc/downloads.json
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lotte import beir_folder
from lotte.beir_folder import FILES, TEST, files
from lotte.dataset import Dataset
from lotte.errors import MismatchError
from lotte.release import File, Hub, Release, ReleaseCounts, checked, counts_of

FORUMS = (
    "android", "english", "gaming", "gis", "mathematica", "physics", "programmers", "stats", "tex", "unix",
    "webmasters", "wordpress",
)  # fmt: skip
NAMES = (
    "arguana", "bioasq", "climate-fever", "dbpedia-entity", "fever", "fiqa", "hotpotqa", "nfcorpus", "nq",
    "quora", "robust04", "scidocs", "scifact", "signal1m", "trec-covid", "trec-news", "webis-touche2020",
    *(f"cqadupstack/{forum}" for forum in FORUMS),
    "webis-touche2020/v1", "webis-touche2020/v3",
    *(f"{name}/decontaminated" for name in (
        "arguana", "fiqa", "nfcorpus", "quora", "scidocs", "scifact", "trec-covid", "webis-touche2020",
    )),
)  # fmt: skip
# What the paper calls one dataset and measures as the mean of its parts, each part with the same weight.
MEANS = {"cqadupstack": tuple(f"cqadupstack/{forum}" for forum in FORUMS)}
ALIASES = {"webis-touche2020/v2": "webis-touche2020", **{f"{name}/{TEST}": name for name in NAMES}}
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
    "webis-touche2020/v3": (303_732, 49, None, "CC BY 4.0"),  # 1,712 relevant
    "arguana/decontaminated": (8_546, 1_373, None, "CC BY-SA 4.0"),
    "fiqa/decontaminated": (47_617, 61, None, "not stated"),
    "nfcorpus/decontaminated": (912, 169, None, "not stated"),
    "quora/decontaminated": (413_157, 2_788, None, "not stated"),
    "scidocs/decontaminated": (5_833, 201, None, "CC BY-SA 4.0"),
    "scifact/decontaminated": (858, 41, None, "CC BY-NC 4.0"),
    "trec-covid/decontaminated": (99_522, 50, None, "not stated"),
    "webis-touche2020/decontaminated": (378_223, 30, None, "CC BY-SA 4.0"),
}
_RELEVANT = {  # pairs above 0, of sets whose judgments of 0 nobody counted
    "trec-covid": 24_673, "webis-touche2020/v3": 1_712, "arguana/decontaminated": 1_373, "fiqa/decontaminated": 138,
    "nfcorpus/decontaminated": 1_471, "quora/decontaminated": 4_516, "scidocs/decontaminated": 206,
    "scifact/decontaminated": 43, "trec-covid/decontaminated": 17_450, "webis-touche2020/decontaminated": 524,
}  # fmt: skip
# Other splits than "test": queries, judgments. No pattern but one that ends in the split fits them.
_SPLITS = {
    "dbpedia-entity/dev": (67, 5_673),
    "fever/dev": (6_666, 8_079),
    "fever/train": (109_810, 140_085),
    "fiqa/dev": (500, 1_238),
    "fiqa/train": (5_500, 14_166),
    "hotpotqa/dev": (5_447, 10_894),
    "hotpotqa/train": (85_000, 170_000),
    "msmarco/dev": (6_980, 7_437),
    "msmarco/train": (502_939, 532_751),
    "nfcorpus/dev": (324, 11_385),
    "nfcorpus/train": (2_590, 110_575),
    "quora/dev": (5_000, 7_626),
    "scifact/train": (809, 919),
}
FURTHER = tuple(_SPLITS)
_MSMARCO = (8_841_823, "MS MARCO terms, non-commercial research")
# Of LightOn's copies, those whose queries are documents too, as MTEB scores them
_OWN_LEFT_OUT = ("fiqa/decontaminated", "quora/decontaminated")

_ZIPS = {  # bytes and md5 of the .zip
    "arguana": (3_773_617, "8ad3e3c2a5867cdced806d6503f29b99"),
    "climate-fever": (1_228_666_652, "8b66f0a9126c521bae2bde127b4dc99d"),
    "cqadupstack": (5_343_728_040, "4e41456d7df8ee7760a7f866133bda78"),
    "dbpedia-entity": (639_285_131, "c2a39eb420a3164af735795df012ac2c"),
    "fever": (1_236_988_269, "5a818580227bfb4b35bb6fa46d9b6c03"),
    "fiqa": (17_948_027, "17918ed23cd04fb15047f73e6c3bd9d9"),
    "hotpotqa": (654_025_350, "f412724f78b0d91183a0e86805e16114"),
    "msmarco": (1_082_258_632, "444067daf65d982533ea17ebd59501e4"),
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
    "cqadupstack/android": "9be4c0e46342e8e3aff577a89b9a1ec9bc6b4af3",
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
    "msmarco": "c5a29a104738b98a9e76336939199e264163d4a0",
    "nfcorpus": "ec0fa4fe99da2ff19ca1214b7966684033a58814",
    "nq": "b774495ed302d8c44a3a7ea25c90dbce03968f31",
    "quora": "e4e08e0b7dbe3c8700f0daef558ff32256715259",
    "scidocs": "f8c2fcf00f625baaa80f62ec5bd9e1fff3b8ae88",
    "scifact": "d56462d0e63a25450459c4f213e49ffdb866f7f9",
    "trec-covid": "bb9466bac8153a0349341eb1b22e06409e78ef4e",
    "webis-touche2020": "a34f9a33db75fa0cbb21bb5cfc3dae8dc8bec93f",
    "webis-touche2020/v3": "431886eaecc48f067a3975b70d0949ea2862463c",
    "arguana/decontaminated": "137f25bbb59b60bb6807ecb11a0d7e66b92fdd11",
    "fiqa/decontaminated": "4e693e028398575f83c17bc91515e81b13f534a2",
    "nfcorpus/decontaminated": "e6f37a2687336d5b7b83d9aede6e114e9d46dad9",
    "quora/decontaminated": "4d1fc7a24779fdd767c54e19e5606a843d3ecec1",
    "scidocs/decontaminated": "5b7a380cb7c8608e8c9bf6097acbc0eccf935de3",
    "scifact/decontaminated": "ad05bded28ca603a0ed5e27231899dd72c1edb8e",
    "trec-covid/decontaminated": "0b99aeb603c9ad909564db1a80e380a2a78bc026",
    "webis-touche2020/decontaminated": "bc4d287a9168dfb0ab2a94866cc17fc02c0dcb73",
}
_REPOS = {
    "cqadupstack/android": "mteb/CQADupstackAndroidRetrieval",
    "dbpedia-entity": "mteb/dbpedia",
    "webis-touche2020": "mteb/touche2020",
    "webis-touche2020/v3": "mteb/webis-touche2020-v3",
}

_BY_HAND = {
    "bioasq": "register at bioasq.org for task 9a of 2021",
    "robust04": "ask NIST for TREC disks 4 and 5 (trec.nist.gov/data/cd45)",
    "signal1m": "ask research.signal-ai.com for the Signal-1M tweets",
    "trec-news": "ask NIST for the Washington Post collection, version 2 (trec.nist.gov/data/wapost)",
}


def _parts(name: str) -> tuple[str, str]:
    """Return the set that a name is a split of, and the split."""
    whole, _, split = name.rpartition("/")
    return (whole, split) if name in _SPLITS else (name, TEST)


def release(name: str) -> Release:
    """Return what is published of a set in NAMES or FURTHER. Opens nothing."""
    whole, split = _parts(name)
    facts = {"query_tokens": str(QUERY_TOKENS[whole])} if whole in QUERY_TOKENS else {}
    if name.startswith("webis-touche2020"):
        facts["version"] = name[-2:] if name.endswith(("v1", "v3")) else "v2"
    by_hand = ""
    if name in _BY_HAND:
        by_hand = f"It is not public: {_BY_HAND[name]}, and put it there in BEIR's layout ({', '.join(FILES)})"
    counts, licence = _counts(name)
    return Release(
        name=f"beir/{name}",
        measure="nDCG@10",
        also=("R@100",),
        counts=counts,
        licence=licence,
        homepage="https://huggingface.co/blog/lightonai/denseon-lateon"
        if name.endswith("/decontaminated")
        else "https://github.com/beir-cellar/beir",
        files=((_zip(whole),),) if whole.partition("/")[0] in _ZIPS and not _only_at_hub(whole) else (),
        hub=_hub(whole, split),
        needs={f"beir/{whole}": files(split)},
        by_hand=by_hand,
        facts=facts,
    )


def _only_at_hub(name: str) -> bool:
    return name.endswith(("/decontaminated", "/v3"))


def _counts(name: str) -> tuple[ReleaseCounts, str]:
    """Return the counts of a set, and its licence."""
    whole, _ = _parts(name)
    if name not in _SPLITS:
        documents, queries, judgments, licence = _PUBLISHED[name]
    else:
        queries, judgments = _SPLITS[name]
        documents, licence = _MSMARCO if whole == "msmarco" else (_PUBLISHED[whole][0], _PUBLISHED[whole][3])
    counts = ReleaseCounts(documents=documents, queries=queries, judgments=judgments, relevant=_RELEVANT.get(name))
    return counts, licence


def _held(name: str) -> tuple[str, ...]:
    """Return the files of a set that its archive holds: those of every split."""
    splits = [split.rpartition("/")[2] for split in _SPLITS if _parts(split)[0] == name]
    own = FILES if name in _PUBLISHED else FILES[:2]
    return tuple(dict.fromkeys([*own, *(f"qrels/{split}.tsv" for split in splits)]))


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
        holds={f"beir/{part}": _held(part) for part in MEANS.get(whole, (name,))},
        into="beir",
        unpack="zip",
        size=size,
        md5=md5,
    )


def _hub(name: str, split: str) -> Hub | None:
    if name not in _HUB:
        return None
    whole, _, kind = name.partition("/")
    repo = f"iamfortytwo/{whole}-decontaminated" if kind == "decontaminated" else f"mteb/{name.replace('/', '-')}"
    return Hub(repo=_REPOS.get(name, repo), revision=_HUB[name], configs=hub_tables(split))


def hub_tables(split: str = TEST) -> dict[str, tuple[str, str]]:
    """Return where the tables of a set in MTEB's layout are at Hugging Face."""
    return {"corpus": ("corpus", "corpus"), "queries": ("queries", "queries"), "qrels": ("default", split)}


def names_in(data: Path) -> list[str]:
    """Return the names of the sets in a data folder, of each the split "test"."""
    return sorted(name for name, splits in _folders(data) if TEST in splits or name in _PUBLISHED)


def further_in(data: Path) -> list[str]:
    """Return the names of other splits than "test" in a data folder."""
    return sorted(f"{name}/{split}" for name, splits in _folders(data) for split in splits if split != TEST)


def _folders(data: Path) -> Iterator[tuple[str, list[str]]]:
    root = data / "beir"
    folders = {path.parent for depth in ("*", "*/*") for path in root.glob(f"{depth}/corpus.jsonl*")}
    return ((folder.relative_to(root).as_posix(), beir_folder.splits(folder)) for folder in folders)


def load(name: str, data: Path) -> Dataset:
    """Read a set from a data folder. Raises UnavailableError, saying how to get it, if it is not there."""
    if name in _PUBLISHED or name in _SPLITS:
        release(name).require(data)
    elif not beir_folder.is_in(data / "beir" / name):  # a split of one's own
        whole, _, split = name.rpartition("/")
        return read(data / "beir" / whole, f"beir/{whole}", split)
    whole, split = _parts(name)
    return read(data / "beir" / whole, f"beir/{whole}", split)


def read(folder: Path, name: str, split: str = TEST) -> Dataset:
    """Read a split of a set that has the name "beir/<set>", published or somebody's own.

    Raises  what `beir_folder.read` raises, CorruptFileError if the folder claims to be the release and is not,
            MismatchError for the other version of Touche-2020
    """
    whole = name.removeprefix("beir/")
    full = whole if split == TEST else f"{whole}/{split}"
    decontaminated = whole.endswith("/decontaminated")
    left_out = whole in _OWN_LEFT_OUT if decontaminated else whole in _PUBLISHED or full in _SPLITS
    published = full in _PUBLISHED or full in _SPLITS
    dataset = beir_folder.read(folder, f"beir/{full}", split, ignore_own=left_out)
    if not published:
        return dataset
    _check_version(dataset, full, folder)
    return checked(dataset, release(full), {folder: files(split)})


def write(folder: Path, tables: Mapping[str, Iterable[Mapping[str, Any]]], name: str = "") -> None:
    """Write a set as it comes from Hugging Face in BEIR's layout. Raises as `beir_folder.write` does."""
    beir_folder.write(folder, tables, _parts(name)[1])


def _check_version(dataset: Dataset, name: str, folder: Path) -> None:
    """Refuse one version of Touche-2020 under the name of the other: their numbers may not be compared."""
    other = {"webis-touche2020": "webis-touche2020/v1", "webis-touche2020/v1": "webis-touche2020"}.get(name)
    if other and counts_of(dataset).judgments == _PUBLISHED[other][2]:
        raise MismatchError(
            f"{folder} holds the {_PUBLISHED[other][2]:,} judgments of beir/{other}, and not the "
            f"{_PUBLISHED[name][2]:,} of beir/{name}; move it to beir/{other}"
        )
