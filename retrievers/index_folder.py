"""The folder an index lives in, and what it says about itself: who made it, how, and from what.

`meta.json` is written last and holds the recipe, so nobody asks an index that
is half there, or made with other settings than they think. Whose index it is,
the class of the recipe says: `bm25` for one of `systems/`, `module:retriever`
for anybody else's; its options are the fields of the dataclass.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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
OURS = "retrievers.systems."


@dataclass(frozen=True)
class IndexFolder:
    path: Path
    meta: Mapping[str, Any]
    doc_ids: Sequence[str]

    def text_source(self) -> Path | None:
        """Return where the corpus was when this was made, if that is known."""
        source = self.meta["corpus"]["path"]
        return Path(source) if source else None


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
    path = path.resolve()
    if path.exists() and not (path.is_dir() and (not any(path.iterdir()) or is_index(path))):
        raise MismatchError(f"{path} is there and is no index; choose a folder that is empty or new")
    counts: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    start = perf_counter()
    with writing(path.parent), artifact.folder(path, meta) as folder:
        yield folder, counts
        if (doc_ids := corpus.doc_ids) != RowIds(len(corpus)):
            _write_doc_ids(folder / DOC_IDS, doc_ids)
        source = getattr(corpus, "path", None)
        meta |= {
            "format": FORMAT,
            "recipe": recipe_of(recipe),
            "corpus": {
                "sha256": corpus_sha256(corpus),
                "path": str(source.resolve()) if source else None,
                "documents": len(corpus),
            },
            "counts": counts,
            "seconds": round(perf_counter() - start, 3),
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
    doc_ids: Sequence[str] = RowIds(meta["corpus"]["documents"])
    if (path / DOC_IDS).is_file():
        doc_ids = (path / DOC_IDS).read_text(encoding="utf-8").split("\n")[:-1]
        if len(doc_ids) != meta["corpus"]["documents"]:
            raise CorruptFileError(
                f"{path / DOC_IDS}:{len(doc_ids)}: {len(doc_ids):,} ids for {meta['corpus']['documents']:,} "
                "documents; build the index again"
            )
    return IndexFolder(path, meta, doc_ids)


def opened(path: Path, recipe: "DataclassInstance") -> IndexFolder:
    """Open a folder that this recipe made. Raises MismatchError, with both recipes, if another did."""
    found, wanted = read(path), recipe_of(recipe)
    if found.meta["recipe"] != wanted:
        made_by, made_from = called(found.meta["recipe"]), found.meta["corpus"]["sha256"][:8]
        raise MismatchError(
            f"{path} was built by {made_by} from corpus {made_from}; you asked for {called(wanted)}. "
            "Build it again with `lotte index`, or ask with its own options."
        )
    return found
