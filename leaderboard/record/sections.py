"""The sections of a record, field by field.

A field without a default must be there; one with a default may be missing or
null, and is its default then. Fields that a section may have beyond these are
in the record's `content`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

SELF_RUN, RESCORED, REPRODUCED, IMPORTED = "self-run", "rescored", "reproduced", "imported"
LEVELS = (SELF_RUN, RESCORED, REPRODUCED, IMPORTED)
HASHES = ("corpus_sha256", "queries_sha256", "qrels_sha256")

_SHOWN = "is shown, and nothing else: a value of another kind counts as unknown"
ShownText: TypeAlias = Annotated[str | None, _SHOWN]
ShownFloat: TypeAlias = Annotated[float | None, _SHOWN]
ShownInt: TypeAlias = Annotated[int | None, _SHOWN]
ShownFlag: TypeAlias = Annotated[bool | None, _SHOWN]


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Which weights encoded the texts."""

    id: str | None = None
    revision: str | None = None
    sha256: str | None = None  # of the weights
    parameters: ShownFloat = None  # how many
    dim: ShownInt = None
    doc_maxlen: ShownInt = None
    precision: ShownText = None


@dataclass(frozen=True, kw_only=True)
class IndexFacts:
    """What kind of index was searched; `bits` are those of a number in it."""

    type: ShownText = None
    bits: ShownInt = None
    bytes: ShownInt = None
    sha256: ShownText = None


@dataclass(frozen=True, kw_only=True)
class SearchFacts:
    """How it was searched."""

    k: ShownInt = None  # documents of each ranking
    exact: ShownFlag = None


@dataclass(frozen=True, kw_only=True)
class RetrieverFacts:
    """Which system it was, with its options."""

    name: str
    family: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    model: ModelFacts | None = None  # None if it has none
    index: IndexFacts = field(default_factory=IndexFacts)
    search: SearchFacts | None = None  # None if nobody says
    training_data: tuple[Any, ...] | None = None  # names; () if it is not trained, None if nobody says


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """Which dataset it was, and the hashes that it is known by."""

    name: str
    source: str  # "release", "local", "build:" and the build's id
    counts: Mapping[str, int | None]  # documents, queries, judged_queries, judgments
    corpus_sha256: str | None = None  # None where a score was imported, here and below
    queries_sha256: str | None = None
    qrels_sha256: str | None = None
    licence: ShownText = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hashes(self) -> dict[str, str | None]:
        """The three hashes that tell a dataset from every other, by their names."""
        return {key: getattr(self, key) for key in HASHES}


@dataclass(frozen=True, kw_only=True)
class MeanFacts:
    """A mean over the queries, and its 95 % interval."""

    value: float
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class MeasureFacts:
    """How good the rankings are, by each measure."""

    official: str  # the name of the measure that the dataset's authors report
    aggregate: Mapping[str, MeanFacts]  # measure -> its mean
    per_query: Mapping[str, Mapping[str, float]]  # measure -> query_id -> value
    relevance_level: int | None = None
    tool: ShownText = None
    version: ShownText = None
    queries: ShownText = None


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Where the rankings are, how many documents each has, and where they came from."""

    file: str | None = None  # beside the record
    sha256: str | None = None
    depth: int | None = None
    ties: ShownText = None
    missing: tuple[str, ...] = ()  # queries that somebody else's ranking left out
    origin: Mapping[str, Any] | None = None  # the file that it was read from


@dataclass(frozen=True, kw_only=True)
class LatencyFacts:
    """How long one query takes."""

    p50: ShownFloat = None  # milliseconds


@dataclass(frozen=True, kw_only=True)
class MemoryFacts:
    """The most that the process held, from its begin to the end of the run."""

    host: ShownFloat = None  # bytes
    gpu: ShownFloat = None


@dataclass(frozen=True, kw_only=True)
class CostFacts:
    """What it took, in seconds and bytes."""

    index_seconds: ShownFloat = None
    index_reused: ShownFlag = None
    search_seconds: ShownFloat = None
    queries_per_second: ShownFloat = None
    latency_ms: Annotated[LatencyFacts, _SHOWN] = field(default_factory=LatencyFacts)
    index_bytes: ShownFloat = None
    bytes_per_document: ShownFloat = None
    peak_memory_bytes: Annotated[MemoryFacts, _SHOWN] = field(default_factory=MemoryFacts)


@dataclass(frozen=True, kw_only=True)
class PlatformFacts:
    """The machine that it took that on."""

    cpu: ShownText = None
    cores: ShownInt = None
    memory_bytes: ShownInt = None
    gpu: tuple[str, ...] = ()  # an entry a card
    os: ShownText = None
    python: ShownText = None
    libraries: Mapping[str, Any] = field(default_factory=dict)  # package -> version


@dataclass(frozen=True, kw_only=True)
class ImplementationFacts:
    """The command, and the commit of the code; `dirty` is true if the code was changed since."""

    command: ShownText = None
    commit: ShownText = None
    dirty: ShownFlag = None


@dataclass(frozen=True, kw_only=True)
class ContaminationFacts:
    """How much of a dataset the system has been trained on, and how that is known."""

    dataset: ShownText = None
    level: ShownText = None
    evidence: ShownText = None


@dataclass(frozen=True, kw_only=True)
class VerificationFacts:
    """Who looked at the result since, and how far."""

    level: str  # one of LEVELS, or what else a stranger says
    log: tuple[Mapping[str, Any], ...] = ()  # an entry a check: what, by, date, commit, record, ...
