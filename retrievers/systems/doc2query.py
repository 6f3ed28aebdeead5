"""doc2query-T5: BM25 over documents expanded with predicted queries.

    lotte eval --retriever doc2query -o expansions=kept.jsonl                    # made once, kept, gone on with
    lotte eval --retriever doc2query -o expansions=d2q.jsonl.gz                  # somebody else's, as castorini's

`expansions` names a file of JSON lines, {"id": "7", "predicted_queries": [...]}. One that is there and was not begun by
us is read as it is, and needs no model. Otherwise the queries are sampled by the checkpoint, a model from text to text,
and written there; without a name they stand in the index. 40 samples a document, each word drawn from the 10 likeliest,
of the first 512 tokens; k1 and b are those of the published number, which were tuned on MS MARCO.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotte import Corpus, artifact
from lotte.dataset import corpus_sha256
from lotte.errors import MismatchError, UnavailableError
from lotte.progress import Progress
from lotte.terminal import say
from retrievers import index_folder, lexical, seq2seq
from retrievers.analyser import ENGLISH
from retrievers.expansions import OwnExpansions, TheirExpansions, is_ours
from retrievers.lexical import LexicalIndex
from retrievers.lexical_shards import ShardedLexicalIndex
from retrievers.options import NAME, SEARCH_TIME, SPOKEN
from retrievers.retriever import Card
from retrievers.systems.bm25 import BM25

if TYPE_CHECKING:
    from retrievers.colbert.model.checkpoint import Checkpoint

# Nogueira and Lin 2019, "From doc2query to docTTTTTquery", and its repository; TREC: Lin et al. 2020, arXiv:2010.11386
PUBLISHED: dict[str, float] = {"msmarco/dev": 0.277, "trecdl/2019": 0.642}

KEPT = "expansions.jsonl"  # in the index, if no file was named


@dataclass(frozen=True)
class Doc2Query(BM25):
    k1: float = 0.82
    b: float = 0.68
    checkpoint: str = "castorini/doc2query-t5-base-msmarco"  # a folder, or a name on the Hugging Face hub
    revision: str = ""  # of the hub; "": the newest
    trust: bool = field(default=False, metadata=SPOKEN)  # whether the weights may be a pickle
    expansions: str = ""  # a file that has them, or is to have them; "": they stand in the index
    samples: int = 40  # queries of a document
    top_k: int = 10  # words that are drawn from at each place
    maxlen: int = 64  # tokens of a query
    doc_maxlen: int = 512  # tokens of a document that are read
    seed: int = 0
    device: str = field(default="auto", metadata=SEARCH_TIME)  # of the model
    name: str = field(default="doc2query", kw_only=True, metadata=NAME)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("samples", "top_k", "maxlen", "doc_maxlen"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")

    @property
    def has_theirs(self) -> bool:
        """Whether somebody else's expansions are named, so that there is no model."""
        return bool(self.expansions) and not is_ours(Path(self.expansions))

    @property
    def found(self) -> "Checkpoint":
        """The checkpoint. Raises as `checkpoint.find` does."""
        return seq2seq.find(self.checkpoint, self.revision, trust=self.trust)

    @property
    def card(self) -> Card:
        facts: dict[str, Any] = {"index": {"type": "inverted"}, "search": {"exact": True}}
        if self.has_theirs:
            return Card(family="lexical", training_data=None, **facts)
        found = self.found
        model = {"id": found.name, "revision": found.revision, "sha256": found.sha256}
        return Card(family="lexical", model=model, training_data=None, checkpoint=found.folder, **facts)

    def index(self, corpus: Corpus, path: Path) -> LexicalIndex | ShardedLexicalIndex:
        with index_folder.resume_index(path, self, corpus) as (folder, meta):
            if not meta:
                file = Path(self.expansions) if self.expansions else folder / KEPT
                queries = self._theirs(file, corpus) if self.has_theirs else self._made(file, corpus)
                texts = (" ".join([doc.text, *more]) for doc, more in zip(corpus, queries, strict=True))
                counts: dict[str, Any] = dict(
                    lexical.fill(folder, corpus.doc_ids, texts, ENGLISH, self.weigh, title=f"{self.name}: indexing")
                )
                if self.expansions:
                    counts["expansions"] = {**_stat(file), "sha256": artifact.sha256(file)}
                meta |= {"counts": counts}
        return self.open(path)

    def change(self, path: Path, *, delete: Sequence[str], add: Corpus | None) -> None:
        """Refuse: further documents would need expansions."""
        raise UnavailableError("an index of doc2query cannot be changed; index the changed collection again")

    def index_sharded(self, corpus: Corpus, path: Path, shards: int) -> ShardedLexicalIndex:
        """Refuse: expansions are made for a collection as a whole."""
        raise UnavailableError("an index of doc2query has no shards; leave out --shards")

    def open_described(self, found: index_folder.IndexFolder) -> LexicalIndex | ShardedLexicalIndex:
        opened = super().open_described(found)
        self._require_unchanged(found)
        return opened

    def _theirs(self, file: Path, corpus: Corpus) -> Iterable[list[str]]:
        return TheirExpansions(file).each(corpus, say)

    def _made(self, file: Path, corpus: Corpus) -> Iterator[list[str]]:
        """Give what our file says, which is made first as far as it is not there."""
        how = {name: getattr(self, name) for name in ("samples", "top_k", "maxlen", "doc_maxlen", "seed")}
        of = {"model": self.found.sha256, **how, "corpus": corpus_sha256(corpus)}
        own = OwnExpansions(file, of, corpus.doc_ids, shared=bool(self.expansions))
        if own.done < len(corpus):
            model, sampling = _model(self.checkpoint, self.revision, self.trust, self.device), seq2seq.Sampling(**how)
            with Progress(len(corpus), "documents", "expanding", done=own.done) as progress:
                for count in own.make(corpus, lambda texts: model.sample(texts, sampling)):
                    progress.advance(count)
        return iter(own)

    def _require_unchanged(self, found: index_folder.IndexFolder) -> None:
        """Raise MismatchError if the file of expansions is another one now; one that is gone is not missed."""
        said, file = found.meta["counts"].get("expansions"), Path(self.expansions)
        if not (self.expansions and isinstance(said, dict) and file.is_file()):
            return
        now = _stat(file)
        same = now["size"] == said.get("size") and (
            # read only if it has another time and as many bytes: a file of /proc has none, and may have no end
            now["mtime_ns"] == said.get("mtime_ns") or not now["size"] or artifact.sha256(file) == said.get("sha256")
        )
        if not same:
            raise MismatchError(
                f"{found.path} was made with other expansions than {file} has now; index the collection again"
            )


def _stat(file: Path) -> dict[str, int]:
    stat = file.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


@cache
def _model(checkpoint: str, revision: str, trust: bool, device: str) -> seq2seq.Seq2Seq:
    """Return a model, loaded once a process. Raises as `Seq2Seq` does."""
    return seq2seq.Seq2Seq(seq2seq.find(checkpoint, revision, trust=trust), device)


retriever = Doc2Query
