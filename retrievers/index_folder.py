"""The folder an index lives in, and what it says about itself: who made it, how, and from what.

`meta.json` is written last and holds the recipe, so nobody asks an index that
is half there, or made with other settings than they think. Whose index it is,
the class of the recipe says: `bm25` for one of `systems/`, `module:retriever`
for anybody else's; its options are the fields of the dataclass.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lotte import Corpus, artifact
from lotte.collection import RowIds
from lotte.dataset import corpus_sha256
from lotte.errors import CorruptFileError, MismatchError, UnavailableError, writing

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FORMAT = 1  # of meta.json; raised when a key changes meaning
DOC_IDS = "doc_ids.txt"
PLAN = "plan.json"  # of a build that is not finished: what it is to become
LOCK = ".lock"
ASKING = {"asking": True}  # metadata of a recipe's field that says how to search: any value opens any index
OURS = "retrievers.systems."


@dataclass(frozen=True)
class IndexFolder:
    path: Path
    meta: Mapping[str, Any]
    doc_ids: Sequence[str]

    def text_sources(self) -> list[Path]:
        """Return where the texts were when they were indexed, as far as that is known; the latest last."""
        sources = [self.meta["corpus"]["path"]]
        for part in self.meta.get("segments", ()):
            sources += part["paths"]
        return [Path(source) for source in dict.fromkeys(sources) if source]


def recipe_of(recipe: "DataclassInstance") -> dict[str, Any]:
    """Return the name a recipe goes by and its options, as meta.json has them."""
    module = type(recipe).__module__
    name = module.removeprefix(OURS) if module.startswith(OURS) else f"{module}:retriever"
    return {"retriever": name, "options": asdict(recipe)}


def called(recipe: Mapping[str, Any]) -> str:
    """Return a recipe as one would write it.

    >>> called({"retriever": "bm25", "options": {"b": 0.4, "k1": 0.9}})
    'bm25(b=0.4, k1=0.9)'
    """
    options = ", ".join(f"{key}={value}" for key, value in sorted(recipe["options"].items()))
    return f"{recipe['retriever']}({options})"


@contextmanager
def making(path: Path, recipe: "DataclassInstance", corpus: Corpus) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give an empty folder and a dict for counts; when the block ends well, the index stands at `path`.

    Raises  MismatchError if something stands there that is no index
    """
    path = _free(path)
    counts: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    start = perf_counter()
    with writing(path.parent), artifact.folder(path, meta) as folder:
        yield folder, counts
        meta |= _finished(folder, recipe, corpus, corpus_sha256(corpus), counts, perf_counter() - start)


@contextmanager
def making_on(path: Path, recipe: "DataclassInstance", corpus: Corpus) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Do the same for work of hours: what a stopped build of the same index left is in the folder.

    The dict takes what goes into meta.json; `counts` is a key of it. Two builds of one index at a time are refused.

    Raises  MismatchError if something stands at `path` that is no index; UnavailableError if another process is at it
    """
    path = _free(path)
    sha256 = corpus_sha256(corpus)
    plan = artifact.canonical({"recipe": _made_by(recipe_of(recipe), recipe), "corpus": sha256, "format": FORMAT})
    folder = path.with_name(f".{path.name}.unfinished")
    start = perf_counter()
    with writing(path.parent):
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            if not (folder / PLAN).is_file() or (folder / PLAN).read_text(encoding="utf-8") != plan:
                for left in folder.iterdir():  # of another recipe or another corpus
                    if left.name != LOCK:
                        left.unlink()
                artifact.write_whole(folder / PLAN, plan)
            meta: dict[str, Any] = {"counts": {}}
            yield folder, meta
            (folder / PLAN).unlink()
            meta |= _finished(folder, recipe, corpus, sha256, meta["counts"], perf_counter() - start)
            text = json.dumps(meta, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
            artifact.write_whole(folder / artifact.META, text)
            if path.exists():
                shutil.rmtree(path)
            folder.replace(path)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process that writes to this folder. Raises UnavailableError if another one does."""
    import fcntl

    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnavailableError(f"{folder} is being written by another process; try again when it is done") from None
        yield


def _free(path: Path) -> Path:
    path = path.resolve()
    if path.exists() and not (path.is_dir() and (not any(path.iterdir()) or is_index(path))):
        raise MismatchError(f"{path} is there and is no index; choose a folder that is empty or new")
    return path


def _finished(
    folder: Path, recipe: "DataclassInstance", corpus: Corpus, sha256: str, counts: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """Write the ids; return what meta.json says."""
    if (doc_ids := corpus.doc_ids) != RowIds(len(corpus)):
        _write_doc_ids(folder / DOC_IDS, doc_ids)
    source = getattr(corpus, "path", None)
    return {
        "format": FORMAT,
        "recipe": recipe_of(recipe),
        "corpus": {"sha256": sha256, "path": str(source.resolve()) if source else None, "documents": len(corpus)},
        "counts": counts,
        "seconds": round(seconds, 3),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
    }


def _write_doc_ids(path: Path, doc_ids: Sequence[str]) -> None:
    text = "".join(f"{doc_id}\n" for doc_id in doc_ids)
    if text.count("\n") != len(doc_ids):
        raise MismatchError(f"a document id has a line break in it, which {path.name} cannot hold")
    path.write_text(text, encoding="utf-8", newline="\n")


def is_index(path: Path) -> bool:
    meta = artifact.meta(path)
    return meta is not None and "recipe" in meta and "corpus" in meta


def read(path: Path) -> IndexFolder:
    """Open a folder whoever made it.

    Raises  UnavailableError if no whole index is there, MismatchError if it is of another format
    """
    meta = artifact.meta(path)
    if meta is None or not is_index(path):
        raise UnavailableError(f"{path} is no index, or not a whole one. Build it with `lotte index`.")
    if meta.get("format") != FORMAT:
        raise MismatchError(
            f"{path} has format {meta.get('format')}, this is {FORMAT}. Build it again with `lotte index`."
        )
    parts = meta.get("segments") or [{"documents": meta["corpus"]["documents"], "doc_ids": DOC_IDS}]
    doc_ids = [_doc_ids(path / part["doc_ids"], part["documents"]) for part in parts]
    return IndexFolder(path, meta, doc_ids[0] if len(doc_ids) == 1 else [one for part in doc_ids for one in part])


def _doc_ids(path: Path, documents: int) -> Sequence[str]:
    if not path.is_file():
        if path.name == DOC_IDS:  # not written where ids are the numbers of the rows
            return RowIds(documents)
        raise CorruptFileError(f"{path} is missing from the index; build it again")
    doc_ids = path.read_text(encoding="utf-8").split("\n")[:-1]
    if len(doc_ids) != documents:
        raise CorruptFileError(
            f"{path}:{len(doc_ids)}: {len(doc_ids):,} ids for {documents:,} documents; build the index again"
        )
    return doc_ids


def opened(path: Path, recipe: "DataclassInstance") -> IndexFolder:
    """Open a folder that this recipe made. Raises MismatchError, with both recipes, if another did."""
    found, wanted = read(path), _made_by(recipe_of(recipe), recipe)
    if (recipe_there := _made_by(found.meta["recipe"], recipe)) != wanted:
        made_by, made_from = called(recipe_there), str(found.meta["corpus"]["sha256"])[:8]
        raise MismatchError(
            f"{path} was built by {made_by} from corpus {made_from}; you asked for {called(wanted)}. "
            "Build it again with `lotte index`, or ask with its own options."
        )
    return found


def _made_by(found: Mapping[str, Any], recipe: "DataclassInstance") -> dict[str, Any]:
    """Return a recipe without the options that only say how to search."""
    asking = {field.name for field in fields(recipe) if field.metadata.get("asking")}
    options = {key: value for key, value in found["options"].items() if key not in asking}
    return {**found, "options": options}
