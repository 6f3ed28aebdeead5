"""How much of a dataset a model has seen in training: queries and relevant passages compared with a fingerprint.

A question is found if its words are those of a training question, or if 8 of
them in a row are; a relevant passage by runs of 13. A paraphrase is not found.
The data of the start checkpoint cannot be compared with anything: this is
stated, and the level is then never "none".
"""

from dataclasses import asdict, dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from lotte import Dataset
from lotte.errors import CorruptFileError
from lotte.parsing import json_object
from retrievers.contamination.fingerprint import NAME, PASSAGE_RUN, QUESTION_RUN, Fingerprint, relevant_passages

TRAINING = "training.json"  # what a training says of its data and its start, in the checkpoint's folder
COPIED = 0.5  # the share of a passage's sampled runs that makes it a copy
HEAVY = 0.1  # the share of questions, or of relevant passages, that makes an overlap heavy
LOOKED_AT = 2_000  # documents of a corpus that are looked at, evenly spaced
EXAMPLES = 5

# first word of a dataset's name -> where its texts come from, for a start whose data cannot be scanned
_SOURCES = {
    "lotte": ("stack exchange", "stackexchange", "gooaq"),
    "msmarco": ("ms marco", "msmarco"),
    "trecdl": ("ms marco", "msmarco"),
}


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """How much of a dataset a training has seen. Counts; `level` and `evidence` say what they mean."""

    dataset: str
    queries: int
    queries_equal: int  # their words are those of a training question
    queries_sharing: int  # 8 words in a row are in a training question
    passages: int  # relevant ones
    passages_copied: int  # at least half of their sampled runs are in training passages
    passages_sharing: int  # at least one is
    passages_short: int  # of fewer than 8 words, so they were not compared
    documents: int  # of the corpus, that were looked at, relevant or not
    documents_copied: int
    every: int  # runs of passages were sampled: one in so many, and the least of each
    examples: tuple[str, ...]  # query_ids, those that are training questions first

    @property
    def level(self) -> str:
        """Return "none" if nothing was found in questions and relevant passages.

        "heavy" if a tenth of the questions are training questions, or a tenth of the relevant passages
        are half or more in training passages; else "some". The tenth is ours: nobody has measured where a score turns.
        """
        if not (self.queries_equal or self.queries_sharing or self.passages_sharing):
            return "none"
        shares = ((self.queries_equal, self.queries), (self.passages_copied, self.passages))
        return "heavy" if any(part and part >= HEAVY * whole for part, whole in shares) else "some"

    @property
    def evidence(self) -> str:
        """The counts behind the level, in one sentence."""
        return (
            f"of {self.queries:,} questions {self.queries_equal:,} are questions of the training data and "
            f"{self.queries_sharing:,} share {QUESTION_RUN} words in a row with one; of {self.passages:,} relevant "
            f"passages {self.passages_copied:,} are half or more in positive passages of the training data and "
            f"{self.passages_sharing:,} share {PASSAGE_RUN} words in a row with one"
            + (f" (1 in {self.every:,} such runs was looked up)" if self.every > 1 else "")
            + (f", {self.passages_short:,} are too short to tell" if self.passages_short else "")
            + f"; of {self.documents:,} documents of the corpus {self.documents_copied:,} are half or more in them"
        )

    def record(self) -> dict[str, Any]:
        """Return the counts, the ids and the level as a record or a model card has them."""
        return asdict(self) | {"examples": list(self.examples), "level": self.level}


def report(fingerprint: Fingerprint, dataset: Dataset, *, looked_at: int = LOOKED_AT) -> Contamination:
    """Hold a dataset against the fingerprint of training pairs.

    looked_at  documents of the corpus, evenly spaced, that are compared beside the relevant ones
    """
    query_ids, questions = list(dataset.queries), list(dataset.queries.values())
    equal = list(compress(query_ids, fingerprint.equal(questions)))
    sharing = list(compress(query_ids, fingerprint.sharing(questions)))
    relevant = list(relevant_passages(dataset))
    shares = fingerprint.shares([text for _, text in relevant])
    touched = {doc_id for (doc_id, _), share in zip(relevant, shares, strict=True) if share > 0}
    by_passage = [
        query_id
        for query_id in query_ids
        if any(grade > 0 and doc_id in touched for doc_id, grade in dataset.qrels.get(query_id, {}).items())
    ]
    step = max(1, -(-len(dataset.corpus) // max(1, looked_at)))
    documents = [dataset.corpus[row].text for row in range(0, len(dataset.corpus), step)]
    return Contamination(
        dataset=dataset.name,
        queries=len(query_ids),
        queries_equal=len(equal),
        queries_sharing=len(sharing),
        passages=len(relevant),
        passages_copied=int((shares >= COPIED).sum()),
        passages_sharing=int((shares > 0).sum()),
        passages_short=int(np.isnan(shares).sum()),
        documents=len(documents),
        documents_copied=int((fingerprint.shares(documents) >= COPIED).sum()),
        every=fingerprint.every,
        examples=tuple(dict.fromkeys([*equal, *sharing, *by_passage]))[:EXAMPLES],
    )


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a checkpoint's training.json says it has seen."""

    data: tuple[str, ...] = ()  # names of the datasets that it was trained on
    start: str = ""  # the model that training began with; "" for none
    by_start: tuple[str, ...] = ()  # what that one had seen before

    @classmethod
    def read(cls, folder: Path) -> "Seen | None":
        """Return what {"data": [{"name": ...}], "start": {"id": ..., "seen": [...]}} says; None if it says nothing.

        Raises  CorruptFileError if the file is not a JSON object, or a list in it is of something else
        """
        path = folder / TRAINING
        if not path.is_file():
            return None
        try:
            said = json_object(path)
            data, start = said.get("data"), said.get("start")
            start = start if isinstance(start, dict) else {"id": start or ""}
            seen = cls(
                data=tuple(one["name"] for one in data) if isinstance(data, list) else (),
                start=start.get("id") or "",
                by_start=tuple(start.get("seen") or ()),
            )
        except (OSError, CorruptFileError, KeyError, TypeError):
            seen = None
        if seen is None or not all(isinstance(text, str) for text in (*seen.data, seen.start, *seen.by_start)):
            raise CorruptFileError(
                f'{path}: expected {{"data": [{{"name": ...}}], "start": {{"id": ..., "seen": [...]}}}}; '
                "fetch the checkpoint again"
            )
        return seen if seen != cls() else None

    def names(self) -> list[str]:
        """Return the datasets that it was trained on, and those that its start was, with the start's name."""
        return [*self.data, *(f"{name} ({self.start})" for name in self.by_start)]


def verdict(folder: Path, dataset: Dataset) -> dict[str, Any] | None:
    """Return level and evidence of a checkpoint against a dataset; None if the checkpoint says nothing.

    The level is that of the scan. What the start has seen cannot be scanned: where the scan finds nothing the
    level is then "some" if start and dataset name the same source, and else "unknown".
    """
    fingerprint, seen = Fingerprint.load(folder), Seen.read(folder)
    if fingerprint is None and seen is None:
        return None
    seen = seen or Seen()
    said = f"trained on {', '.join(seen.data)}" if seen.data else "trained"
    if fingerprint is None:
        facts: dict[str, Any] = {"level": "unknown"}
        facts["evidence"] = f"{said}; {NAME} is not there, so nothing was compared"
    else:
        found = report(fingerprint, dataset)
        facts = {"level": found.level, "evidence": f"{said}: {found.evidence}", "overlap": found.record()}
    if seen.start:
        sources = _SOURCES.get(dataset.name.partition("/")[0], ())
        same = [name for name in seen.by_start if any(source in name.casefold() for source in sources)]
        if facts["level"] == "none":
            facts["level"] = "some" if same else "unknown"
        facts["evidence"] += (
            f". It began from {seen.start}, which has seen {', '.join(seen.by_start) or 'nobody says what'}; "
            "that was not compared"
            + (f", but {dataset.name} is of the same source as {', '.join(same)}" if same else "")
        )
    return facts
