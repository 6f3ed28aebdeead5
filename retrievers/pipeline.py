"""Multi-stage systems, as users write them: `hybrid(of=bm25+colbertv2(checkpoint=shipped))`, or `runs/bm25.trec`.

A stage is a system of `systems/`, with its options in brackets, or a file that
holds a ranking. A stage that was read from a file may use the same names only,
so that no file causes an import.

The index of such a system is a folder of whole indexes, its parts, each under
the name of what made it; see `index_meta`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, cast, runtime_checkable

from lotte import Corpus, Hit, Queries, Run, artifact, ranking
from lotte.errors import LotteError, MismatchError, UnknownNameError, shown
from lotte.paths import inside
from lotte.ranking import ENDINGS
from lotte.terminal import say
from retrievers import index_folder
from retrievers.options import build_options, name_of, options_of, recipe_of
from retrievers.retriever import Card, Fits, Index, Retriever

STAGES = {"stages": True}  # metadata of an option that names stages
_NEXT_OPTION = re.compile(r"\s*[a-z_]\w*\s*=")
_SEVERAL = "+"


class Stage(Protocol):
    """What ranks documents for another system: a retriever, or a file."""

    def spelled(self) -> str:
        """Return the text that `stage` reads as this."""
        ...

    def index(self, corpus: Corpus, folder: Path) -> None:
        """Leave in a folder what it takes to open this stage; what is there already is not made again."""
        ...

    def open(self, folder: index_folder.IndexFolder) -> Index:
        """Open what `index` left. Raises MismatchError if it is not there."""
        ...

    @property
    def card(self) -> Card: ...

    def fitted(self, facts: Mapping[str, str]) -> "Stage":
        """Return the stage as a dataset wants it, see `retriever.Fits`."""
        ...


@dataclass(frozen=True)
class SystemStage:
    """A system of `systems/`, whose index is a part of the folder."""

    system: Any  # a dataclass that is a Retriever

    def spelled(self) -> str:
        written = ", ".join(f"{key}={_text(value)}" for key, value in self._said(options_of(self.system)).items())
        return name_of(self.system) + (f"({written})" if written else "")

    @property
    def part(self) -> str:
        """Return the name of its index among the parts: its own, and a hash of the options that an index depends on.

        What has its default is left out, so that an option that a system gets one day changes no name.
        """
        made_by = build_options(recipe_of(self.system), self.system)
        return f"{name_of(self.system)}-{artifact.digest(self._said(made_by['options']))[:12]}"

    def _said(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return those options that have not their default."""
        defaults = {own.name: own.default for own in fields(self.system)}
        return {key: value for key, value in options.items() if value != defaults[key]}

    def index(self, corpus: Corpus, folder: Path) -> None:
        if not index_folder.is_index(folder / self.part):
            cast(Retriever, self.system).index(corpus, folder / self.part)

    def open(self, folder: index_folder.IndexFolder) -> Index:
        if self.part not in (parts := folder.meta.get("parts", {})):
            raise MismatchError(
                f"{folder.path} has indexes of {', '.join(sorted(parts)) or 'nothing'}, and none of {self.spelled()}; "
                "name another folder for this one"
            )
        return cast(Retriever, self.system).open(inside(folder.path, self.part, "a part"))

    @property
    def card(self) -> Card:
        return getattr(self.system, "card", Card())

    def fitted(self, facts: Mapping[str, str]) -> "SystemStage":
        return replace(self, system=self.system.fitted(facts)) if isinstance(self.system, Fits) else self


@dataclass(frozen=True)
class FileStage:
    """A ranking that somebody made, in one of the formats of `lotte.ranking`."""

    path: Path

    def spelled(self) -> str:
        return str(self.path)

    def index(self, corpus: Corpus, folder: Path) -> None:
        ranking.read(self.path, _Everything(), corpus.doc_ids)  # before hours of work: is it one, of this collection?

    def open(self, folder: index_folder.IndexFolder) -> Index:
        return _FileIndex(self.path, folder.doc_ids)

    @property
    def card(self) -> Card:
        return Card(family="ranking", search={"file": self.path.name, "sha256": artifact.sha256(self.path)})

    def fitted(self, facts: Mapping[str, str]) -> "FileStage":
        return self


class _Everything(Sequence[str]):
    """Ids of queries that are not known yet."""

    def __contains__(self, query_id: object) -> bool:
        return True

    def __len__(self) -> int:
        return 0

    def __getitem__(self, place: Any) -> Any:
        raise IndexError(place)


@dataclass(frozen=True)
class _FileIndex:
    """A ranking file as a stage, for the queries that it has."""

    path: Path
    doc_ids: Sequence[str]
    _asked: list[bool] = field(default_factory=list)  # something in it is there once a query was found

    @cached_property
    def _run(self) -> Run:
        return ranking.read(self.path, _Everything(), self.doc_ids)

    def search(self, queries: Queries, *, k: int) -> Run:
        """Return the ranking of queries, found by their ids.

        Raises  MismatchError if the file has none of the queries so far: single ones may be missing
        """
        missing = self._run.missing(queries)
        if len(missing) < len(queries):
            self._asked[:] = [True]
        elif queries and not self._asked:
            raise MismatchError(
                f"{self.path} ranks nothing for query {shown(missing[0])}, nor for any other query; is it a "
                "run of another dataset?"
            )
        return Run({query_id: self._run.hits.get(query_id, ()) for query_id in queries}, ties=self._run.ties).cut(k)


class KeptStages:
    """The rankings of stages, as they are made while this keeps them: spelled stage -> query_id -> hits."""

    def __init__(self) -> None:
        self._hits: dict[str, dict[str, tuple[Hit, ...]]] = {}

    def add(self, stage: Stage, run: Run) -> None:
        """Keep a ranking; of a query that was searched twice, the longer one. Ranking files are kept already."""
        if isinstance(stage, SystemStage):
            kept = self._hits.setdefault(stage.spelled(), {})
            for query_id, hits in run.hits.items():
                if len(hits) >= len(kept.get(query_id, ())):
                    kept[query_id] = hits

    def runs(self) -> dict[str, Run]:
        """Return spelled stage -> its ranking of all queries that it was asked."""
        return {spelled: Run(hits) for spelled, hits in self._hits.items()}


_KEPT: ContextVar[KeptStages | None] = ContextVar("kept stages", default=None)


@contextmanager
def keeping_stages() -> Iterator[KeptStages]:
    """Keep what every stage ranks, inner ones too, while the block runs."""
    kept = KeptStages()
    token = _KEPT.set(kept)
    try:
        yield kept
    finally:
        _KEPT.reset(token)


def file_of(spelled: str) -> str:
    """Return the name of a file for a stage's ranking, by which it is a stage: its system, a hash of its options.

    >>> file_of("bm25"), file_of("bm25(k1=1.2)")
    ('bm25.trec', 'bm25-c028f6dc.trec')
    """
    name, bracket, _ = spelled.partition("(")
    return f"{name}-{artifact.digest(spelled)[:8]}.trec" if bracket else f"{name}.trec"


@runtime_checkable
class HasStages(Protocol):
    """An index of a system that is made of others."""

    def stages(self) -> list[dict[str, Any]]:
        """Return what a record says of each stage."""
        ...


class TimedIndex:
    """A stage that is asked, and how long it took."""

    def __init__(self, stage: Stage, index: Index) -> None:
        self.stage, self._index, self._queries, self._answered, self._seconds = stage, index, 0, 0, 0.0

    def search(self, queries: Queries, *, k: int) -> Run:
        """Answer every query with at most k hits."""
        start = perf_counter()
        run = self._index.search(queries, k=k)
        self._seconds, self._queries = self._seconds + perf_counter() - start, self._queries + len(queries)
        self._answered += sum(map(bool, run.hits.values()))
        if kept := _KEPT.get():
            kept.add(self.stage, run)
        return run

    def facts(self) -> dict[str, Any]:
        """Return what a record says of the stage: what it is, milliseconds a query on average so far, its stages.

        Reports if it has found nothing for any query so far.
        """
        if self._queries and not self._answered:
            say(f"{self.stage.spelled()} found nothing for any of the queries")
        spent = 1000 * self._seconds / self._queries if self._queries else None
        facts: dict[str, Any] = {"stage": self.stage.spelled(), "milliseconds_a_query": spent}
        return facts | {"stages": self._index.stages()} if isinstance(self._index, HasStages) else facts


def stages(text: str, option: str) -> list[Stage]:
    """Return the stages that a text names, with + between them.

    option  what the text was given for, for messages

    Raises  LotteError for a text that cannot be read, UnknownNameError for a system that is not ours
    """
    return [stage(part, option) for part in _split(text, _SEVERAL, option)]


def stage(text: str, option: str) -> Stage:
    """Return the stage that a text names: `bm25`, `bm25(k1=1.2, b=0.75)`, `runs/bm25.trec`. Raises as `stages` does."""
    from retrievers import registry

    text = text.strip()
    if _is_file(text):
        return FileStage(Path(text))
    name, bracket, inner = text.partition("(")
    if bracket and not inner.endswith(")"):
        raise LotteError(f"{option}: {shown(text, 80)} has an opening bracket but does not end with a closing one")
    if (name := name.strip()) not in registry.names():
        raise UnknownNameError(
            f"{option}: {shown(name, 40)} is neither a system nor a ranking file; systems are "
            f"{', '.join(registry.names())}, and a file ends in {', '.join(ENDINGS)}"
        )
    return SystemStage(registry.load(name, [pair.strip() for pair in _split(inner[:-1], ",", option)]))


def spoken(text: str, option: str) -> str:
    """Return what of a text is done only where the command line says it, each time; "" if it asks for nothing such.

    That is a file that is read, and an option that is `SPOKEN`: an index may not ask for them by the stages it names.
    """
    for one in stages(text, option):
        if not isinstance(one, SystemStage):
            return one.spelled()
        for own in fields(one.system):
            value = getattr(one.system, own.name)
            if own.metadata.get("spoken") and value != own.default:
                return f"{own.name}={_text(value)}"
            if own.metadata.get("stages") and (found := spoken(value, option)):
                return found
    return ""


def write_parts(
    path: Path, recipe: Any, corpus: Corpus, chosen: Sequence[Stage], also: Callable[[Path, Corpus], None] | None = None
) -> None:
    """Leave an index at `path` whose parts are those of the stages. Parts that a stopped run finished are used.

    also  writes what else belongs into the folder
    """
    with index_folder.resume_index(path, recipe, corpus) as (folder, meta):
        if not meta:
            for one in chosen:
                one.index(corpus, folder)
            if also:
                also(folder, corpus)
            meta |= {"counts": {"documents": len(corpus)}}


def require_one(first: str) -> None:
    """Raise ValueError if the option `first` does not name one stage."""
    if len(found := stages(first, "first")) != 1:
        raise ValueError(f"first is one system, or hybrid(of=...) of several, not {len(found)}")


def candidates(ranked: Run, depth: int) -> dict[str, list[str]]:
    """Return the best documents of a first ranking, for each query that has some."""
    return {query_id: [hit.doc_id for hit in hits[:depth]] for query_id, hits in ranked.hits.items() if hits}


def joined(scores: Mapping[str, float], below: Sequence[Hit]) -> tuple[Hit, ...]:
    """Return the re-ranked documents, best first, then the others in their old order, each a step lower."""
    again = Run.of({"": scores}, depth=len(scores)).hits[""]
    least = again[-1].score if again else 0.0
    return again + tuple(Hit(hit.doc_id, least - place) for place, hit in enumerate(below, start=1))


def joint_card(family: str, cards: Sequence[Card], **facts: Any) -> Card:
    """Return the card of a system that is made of others: trained on all that one of them was trained on."""
    known = [card.training_data for card in cards]
    training = None if None in known else list(dict.fromkeys(name for names in known for name in names or ()))
    return Card(family=family, training_data=training, parts=tuple(cards), **facts)


def _is_file(text: str) -> bool:
    return text.endswith(ENDINGS) and "(" not in text


def _split(text: str, separator: str, option: str) -> list[str]:
    """Return the parts of a text between separators that stand in no bracket; a comma is one before `key=` only."""
    parts, depth = [""], 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == separator and not depth and (letter != "," or _NEXT_OPTION.match(text, place + 1)):
            parts.append("")
        else:
            parts[-1] += letter
    if depth:
        raise LotteError(f"{option}: {shown(text, 80)} has unbalanced brackets")
    return [part for part in parts if part.strip()]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
