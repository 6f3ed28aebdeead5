"""What is new in a community: questions asked on a day or later, their answers, and none that is nearly an older text.

Posts pass by twice. At first what is new is kept, with its words; then what is
older is held against it, post by post, and forgotten (near.py). Titles are
compared with titles, as pairs of words, and bodies with bodies, as runs of
five. An older test's questions (against.py) are compared with titles too.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte.builder import against
from lotte.builder.arrow import Ints
from lotte.builder.counts import CommunityCounts
from lotte.builder.near import NearTexts
from lotte.builder.spec import BuildOptions
from lotte.errors import MismatchError

TITLE_RUN, TEXT_RUN, SHORTEST = 2, 5, 8  # words
NAMED = 20  # near posts of each kind that the manifest names
_DAY = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}").match
_BATCH = 4_096  # older posts that are compared at once


def section(options: BuildOptions, older_test: Path | None, metas: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what the manifest of a fresh build has more than another: nothing, if it is none.

    metas  community -> its meta.json
    """
    if not options.since:
        return {}
    near = {
        "titles": {"words_of_a_run": TITLE_RUN, "least_share": options.near_titles},
        "texts": {"words_of_a_run": TEXT_RUN, "least_share": options.near_texts, "shortest": SHORTEST},
    }
    asked = against.identity(older_test) if older_test else None
    communities = {site: meta["fresh"] for site, meta in metas.items()}
    return {"fresh": {"since": options.since, "near": near, "against": asked, "communities": communities}}


def told(section: Mapping[str, Any] | None, *, has_search: bool) -> Iterator[str]:
    """Give what the user of a fresh build should know, in lines; nothing of another build."""
    if not section:
        return
    if all(days["first_post"] >= section["since"] for days in section["communities"].values()):
        yield f"--since {section['since']} is before the first post of every community, so this is an ordinary build"
    if has_search:
        yield "GooAQ's questions are of 2021 and in the training data of many models: those of search are not fresh"


def same_against(section: Mapping[str, Any] | None, older_test: Path | None) -> bool:
    """Whether a build was held against this older test, or against none if there is none."""
    return bool((section["against"] if section else None) == (against.identity(older_test) if older_test else None))


def require_passages(since: str, num_passages: int, metas: Mapping[str, dict[str, Any]]) -> None:
    """Raise MismatchError if a fresh build has no passage, or no community reaches so far."""
    newest = max((meta["fresh"]["newest_post"] for meta in metas.values()), default="") or "no day"
    if newest < since:
        raise MismatchError(
            f"--since {since} is after the newest post of these dumps, of {newest}; take an earlier day"
        )
    if not num_passages:
        raise MismatchError(
            f"--since {since}: no question asked since has an answer that may be a passage, so there is nothing to "
            f"build; the newest post is of {newest}. Take an earlier day, or a newer dump"
        )


def unlike(texts: Sequence[str], questions: Sequence[str], options: BuildOptions, scratch: Path) -> list[int]:
    """Return the numbers of the texts that are not nearly one of these questions; `scratch` is a file for the time."""
    near = NearTexts(scratch, length=TITLE_RUN, shortest=1, least=options.near_titles)
    for text in texts:
        near.add(text)
    near.close()
    found = {number for number, _ in near.passing(questions)}
    scratch.unlink()
    return [number for number in range(len(texts)) if number not in found]


class FreshPosts:
    """What is new in one community, and what of it is left out as nearly older.

    folder     takes scratch files, which `close` removes
    questions  of an older test
    """

    def __init__(self, options: BuildOptions, folder: Path, counts: CommunityCounts, questions: Sequence[str]) -> None:
        self._day, self._counts, self._against = options.since.encode(), counts, questions
        self._files = folder / "titles.runs", folder / "texts.runs"
        self._titles = NearTexts(self._files[0], length=TITLE_RUN, shortest=1, least=options.near_titles)
        self._texts = NearTexts(self._files[1], length=TEXT_RUN, shortest=SHORTEST, least=options.near_texts)
        self._asked = array("q")  # questions, by the row of their title
        self._written = array("q")  # posts, by the row of their text; an answer's id stands there negative
        self._older = array("q")  # questions that are older
        self._questions: dict[int, int] = {}  # near-duplicates -> the older post, 0 for an older test's question
        self._answers: dict[int, int] = {}
        self.first = self.newest = b""  # days

    def takes(self, post_id: int, is_question: bool, created: bytes) -> bool:
        """Whether a post is new; another one is counted."""
        if not _DAY(created):
            self._counts.undated += 1
            return False
        day = created[:10]
        self.first, self.newest = min(self.first or day, day), max(self.newest, day)
        if day >= self._day:
            return True
        self._counts.earlier += 1
        if is_question:
            self._older.append(post_id)
        return False

    def question(self, post_id: int, title: str, body: str) -> None:
        """Keep the words of a new question."""
        self._titles.add(title)
        self._asked.append(post_id)
        self._texts.add(body)
        self._written.append(post_id)

    def answer(self, post_id: int, text: str) -> None:
        """Keep the words of a new answer."""
        self._texts.add(text)
        self._written.append(-post_id)

    @property
    def is_all(self) -> bool:
        """Whether no post is older."""
        return self.first >= self._day

    def compare(self, older: Iterable[tuple[int, str, str]]) -> None:
        """Hold everything older against what is new: id, title, body of each post; a title may be ""."""
        self._titles.close()
        self._texts.close()
        for row, _ in self._titles.passing(self._against):
            self._questions[self._asked[row]] = 0
        self._counts.near_against = len(self._questions)
        batch: list[tuple[int, str, str]] = []
        for post in older if len(self._written) else ():
            batch.append(post)
            if len(batch) == _BATCH:
                self._compare(batch)
                batch = []
        self._compare(batch)
        self._counts.near_questions = len(self._questions) - self._counts.near_against
        for file in self._files:
            file.unlink()

    def _compare(self, batch: Sequence[tuple[int, str, str]]) -> None:
        titled = [(post_id, title) for post_id, title, _ in batch if title]
        for row, number in self._titles.passing([title for _, title in titled]):
            self._questions.setdefault(self._asked[row], titled[number][0])
        for row, number in self._texts.passing([body for _, _, body in batch]):
            post_id = self._written[row]
            (self._questions if post_id > 0 else self._answers).setdefault(abs(post_id), batch[number][0])

    def kept(self, answer_ids: Ints, question_ids: Ints, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which of the wanted answers stay; the others are counted, each by one reason."""
        counts = self._counts
        of_older = wanted & np.isin(question_ids, np.frombuffer(self._older, np.int64))
        wanted = wanted & ~of_older
        of_near = wanted & np.isin(question_ids, list(self._questions))
        wanted &= ~of_near
        near = wanted & np.isin(answer_ids, list(self._answers))
        counts.of_older, counts.of_near, counts.near_answers = (int(mask.sum()) for mask in (of_older, of_near, near))
        return wanted & ~near

    def record(self) -> dict[str, Any]:
        """Return what the manifest says of the community: its days, and near-duplicates with what they are near."""
        near = {
            what: [list(pair) for pair in sorted(found.items()) if pair[1]][:NAMED]
            for what, found in (("questions", self._questions), ("answers", self._answers))
        }
        days = {"first_post": self.first.decode(), "newest_post": self.newest.decode()}
        return {
            **days,
            "near": near,
            "near_against": sorted(i for i, older in self._questions.items() if not older)[:NAMED],
        }
