"""One community: its dump -> passages, questions, and everything the topics need, in its own folder.

This step takes most of the time, and is independent of other communities: it
runs in any process, on any machine, in any order. Texts are written as they
come and never held in memory; the rest of a post is a few numbers in a
column, so the largest community fits into some hundred megabytes.

The folder
  texts.arrow      text of each passage, in the order of post ids
  answers.arrow    the same rows: post_id, question_id, score, author and links, licence, created
  questions.arrow  questions with passages, by id: what forum and search questions are chosen from
  pages.arrow      every answer of the dump and its question, so that a link to an answer finds its page
  meta.json        what was read, counted and left out
"""

import gc
import hashlib
from array import array
from collections.abc import Iterator
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lotte import artifact
from lotte.builder import against, arrow, history, post
from lotte.builder.counts import CommunityCounts
from lotte.builder.dump import POSTS, READ, Advance, Dump, Hashed
from lotte.builder.fresh import FreshPosts
from lotte.builder.spec import FRESH, BuildOptions
from lotte.builder.xml_rows import XmlRows
from lotte.errors import writing

FORMAT = 2  # of the folder; raised when a file in it changes meaning, so that a build does not go on from it

_ANSWERS = pa.schema(
    [("post_id", pa.int64()), ("question_id", pa.int64()), ("score", pa.int64()), ("owner", pa.int64()),
     ("owner_name", pa.string()), ("created", pa.timestamp("ms", "UTC")), ("licence", pa.string()),
     ("text", pa.large_string())]
)  # fmt: skip
_USERS = pa.schema([("user", pa.int64()), ("name", pa.string())])
_QUESTIONS = pa.schema(
    [("question_id", pa.int64()), ("score", pa.int64()), ("views", pa.int64()), ("accepted", pa.int64()),
     ("owner", pa.int64()), ("owner_name", pa.string()), ("created", pa.timestamp("ms", "UTC")),
     ("closed", pa.string()), ("title", pa.string())]
)  # fmt: skip


def build(
    dump: Dump,
    options: BuildOptions,
    path: Path,
    advance: Advance = lambda used: None,
    *,
    older_test: Path | None = None,
) -> None:
    """Leave the whole folder of a community at `path`.

    older_test  questions that a fresh build is not to ask again

    Raises  CorruptFileError if the dump is damaged, cut, or bad beyond max_bad_share;
            UnavailableError if the disk is full, or a table that as_of needs is missing
    """
    meta = {"key": key(dump, options, older_test), "site": dump.site}
    collecting = gc.isenabled()
    gc.disable()  # millions of rows and no cycle among them; looking for cycles takes 3 % of the time
    try:
        with writing(path.parent), artifact.folder(path, meta) as folder:
            meta |= _Builder(dump, options, folder, advance, older_test).run()
    finally:
        if collecting:
            gc.enable()


def key(dump: Dump, options: BuildOptions, older_test: Path | None = None) -> str:
    """Return what must be equal for a finished folder to be used again."""
    facts = {"format": FORMAT, "dump": dump.stamp(), "options": record(options)}
    if options.as_of:
        facts["history"] = [history.FORMAT, *dump.names]
    if older_test:
        facts["against"] = against.identity(older_test)
    return artifact.digest(facts)


def record(options: BuildOptions) -> dict[str, Any]:
    """Return the options that a community's folder depends on."""
    names = (
        "until", "min_score", "include_accepted", "closed", "deleted_owner", "drop_owners", "max_post_id",
        "max_bad_share", "html", "unicode", "min_chars", "duplicates", "passage_quotes", "as_of_texts", "as_of",
    )  # fmt: skip
    return {name: getattr(options, name) for name in (*names, *(FRESH if options.since else ()))}


class _Builder:
    def __init__(
        self, dump: Dump, options: BuildOptions, folder: Path, advance: Advance, older_test: Path | None
    ) -> None:
        self.dump, self.options, self.folder, self.advance = dump, options, folder, advance
        self.counts = CommunityCounts()
        questions = against.questions(older_test) if older_test else ()
        self.fresh = FreshPosts(options, folder, self.counts, questions) if options.since else None
        self.inputs: dict[str, dict[str, Any]] = {}
        self._hashed: dict[str, Hashed] = {}
        self.bad: list[str] = []
        self.notes: list[str] = []

    def run(self) -> dict[str, Any]:
        """Do it all. Returns what meta.json says of it."""
        past = self._past()
        users: pa.Table = _USERS.empty_table()
        for name, blocks in self.dump.read(READ, self.advance):
            rows = self._rows(name, blocks)
            if name == "Posts.xml":
                questions, answers = self._posts(rows, past)
            else:
                users = self._users(rows)
            self._close(name, rows)
        if "Users.xml" not in self.inputs:
            self.notes.append("no Users.xml: authors are named by their link, not by their name")
        if self.fresh:
            self._compare(self.fresh)
        answers = self._resolved(questions, answers)
        names = _Names(users)
        answers = self._answers(answers, names)
        if self.fresh and not len(answers):
            self.notes.append(
                f"no passages: nothing that could be one was asked and answered since {self.options.since}; "
                f"the newest post is of {self.fresh.newest.decode() or 'no day'}"
            )
        elif self.options.as_of and not len(answers):
            self.notes.append(f"no passages: nothing that could be one was there on {self.options.as_of}")
        self._questions(questions, answers, names)
        self.counts.passages = len(answers)
        self._note_odd_posts(questions, answers)
        fresh = {"fresh": self.fresh.record()} if self.fresh else {}
        return {"inputs": self.inputs, "counts": vars(self.counts), "bad": self.bad, "notes": self.notes, **fresh}

    def _compare(self, fresh: FreshPosts) -> None:
        """Read the posts once more, for what is older than the new ones."""
        if fresh.is_all:
            self.notes.append(f"no post is older than {self.options.since}: all are taken, as in an ordinary build")
        fresh.compare(() if fresh.is_all else self._older())

    def _older(self) -> Iterator[tuple[int, str, str]]:
        for _, blocks in self.dump.read([POSTS], lambda used: None):
            yield from post.older(XmlRows(blocks, path=str(self.dump.where(POSTS)), root="posts"), self.options)

    def _rows(self, name: str, blocks: Iterator[bytes]) -> XmlRows:
        root = name.removesuffix(".xml").lower()
        self._hashed[name] = Hashed(blocks)
        return XmlRows(self._hashed[name], path=str(self.dump.where(name)), root=root)

    def _close(self, name: str, rows: XmlRows) -> None:
        rows.bad.check_share(rows.count, self.options.max_bad_share)
        self.inputs[name] = self._hashed[name].identity()
        self.bad += rows.bad.named(self.dump.where(name), f"{self.dump.site}/{name}")
        self.counts.rows[name] += rows.count
        self.counts.bad_rows += rows.bad.count

    def _past(self) -> history.Past | None:
        """Read what stood on the day of as_of, in a pass of its own: it is needed before the first post."""
        if not (tables := history.tables(self.dump, self.options)):
            return None
        self._scratch = self.folder / "history"
        past = history.Past(self.options.as_of, self._scratch, self.dump.names)
        for name, blocks in self.dump.read(tables, lambda used: None):
            rows = self._rows(name, blocks)
            past.read(name, rows)
            self._close(name, rows)
        past.close()
        return past

    def _posts(self, rows: XmlRows, past: history.Past | None) -> tuple[pa.Table, pa.Table]:
        """Read Posts.xml: texts to a file, the rest of questions and answers as tables."""
        questions = arrow.Gathered(_QUESTIONS)
        answers = arrow.Gathered(_ANSWERS, spill=self.folder / "texts.arrow")
        seen: set[bytes] = set()
        pages = array("q")
        for question_or_answer in post.read(rows, self.options, self.counts, pages, past, self.fresh):
            if isinstance(question_or_answer, post.QuestionPost):
                questions.add(question_or_answer)
                continue
            if self.options.duplicates == "drop":
                text = hashlib.blake2b(question_or_answer.text.encode(), digest_size=16).digest()
                if text in seen:
                    self.counts.duplicates += 1
                    continue
                seen.add(text)
            answers.add(question_or_answer)
        all_questions = questions.close()
        all_answers = np.frombuffer(pages, dtype=np.int64).reshape(-1, 2)
        if past:
            accepted = past.accepted(all_answers[:, 0], all_answers[:, 1])
            question_ids = arrow.ints(all_questions["question_id"]).tolist()
            # of none pyarrow would guess no type
            column = pa.array([accepted.get(question_id, 0) for question_id in question_ids], pa.int64())
            all_questions = all_questions.set_column(3, _QUESTIONS.field("accepted"), column)
            self.notes += past.told(self.dump.where("PostHistory.xml"), self.counts)
            self._scratch.unlink()
        self._pages(all_answers, arrow.ints(all_questions["accepted"]))
        return all_questions, answers.close()

    def _pages(self, pages: arrow.Ints, accepted: arrow.Ints) -> None:
        """Write pages.arrow, sorted by answer, and count the acceptances that lead nowhere."""
        accepted = accepted[accepted > 0]
        self.counts.accepted = len(accepted)
        self.counts.accepted_not_there = int((~np.isin(accepted, pages[:, 0])).sum())
        answer_ids, first = np.unique(pages[:, 0], return_index=True)
        table = pa.table({"post_id": answer_ids, "question_id": pages[first, 1]})
        arrow.write(self.folder / "pages.arrow", table)

    def _note_odd_posts(self, questions: pa.Table, answers: pa.Table) -> None:
        """Say what no dump of Stack Exchange's has, and what was made of it."""
        again = len(questions) - len(pc.unique(questions["question_id"])) + self.counts.repeated_ids
        if again:
            self.notes.append(f"{again:,} posts have the Id of an earlier post of their kind: the first one counts")
        undated = questions["created"].null_count + answers["created"].null_count
        if undated:
            self.notes.append(f"{undated:,} posts have no CreationDate that is a date: `created` is null there")

    def _users(self, rows: XmlRows) -> pa.Table:
        users = arrow.Gathered(_USERS)
        for user in post.names(rows):
            users.add(user)
        return users.close()

    def _resolved(self, questions: pa.Table, answers: pa.Table) -> pa.Table:
        """Keep the answers whose question is there, by post id, and bring texts.arrow into the same order."""
        question_ids, num_answers = arrow.ints(questions["question_id"]), len(answers)
        post_ids, parents = arrow.ints(answers["post_id"]), arrow.ints(answers["question_id"])
        accepted = arrow.ints(questions["accepted"])
        accepted = accepted[accepted > 0]
        if self.options.include_accepted:
            low = arrow.ints(answers["score"]) < self.options.min_score
            kept = ~low | np.isin(post_ids, accepted)
            self.counts.low_score += int((~kept).sum())
        else:
            kept = np.ones(num_answers, dtype=bool)
        if self.fresh:
            kept = self.fresh.kept(post_ids, parents, kept)
        resolved = np.isin(parents, question_ids)
        self.counts.without_question = int((kept & ~resolved).sum())
        kept &= resolved
        if self.options.closed == "drop":
            closed = pc.not_equal(questions["closed"], "").to_numpy()
            self.counts.closed = int(closed.sum())
            kept &= ~np.isin(parents, question_ids[closed])
        order = np.argsort(post_ids, kind="stable")
        repeated = np.zeros(num_answers, dtype=bool)
        repeated[order[1:]] = post_ids[order[1:]] == post_ids[order[:-1]]
        self.counts.repeated_ids = int((kept & repeated).sum())
        order = order[(kept & ~repeated)[order]]
        if len(order) != num_answers or not np.array_equal(order, np.arange(num_answers)):
            arrow.reorder(self.folder / "texts.arrow", order)
        return answers.take(order)

    def _answers(self, answers: pa.Table, names: "_Names") -> pa.Table:
        """Write answers.arrow: who wrote what, and where it stands."""
        site = self.dump.site
        author, author_url = names.of(answers["owner"], answers["owner_name"], site)
        table = pa.table(
            {
                "post_id": answers["post_id"],
                "question_id": answers["question_id"],
                "score": answers["score"],
                "url": arrow.joined(f"https://{site}/a/", arrow.strings(answers["post_id"])),
                "author": author,
                "author_url": author_url,
                "licence": answers["licence"],
                "created": answers["created"],
            }
        )
        arrow.write(self.folder / "answers.arrow", table)
        return table

    def _questions(self, questions: pa.Table, answers: pa.Table, names: "_Names") -> None:
        """Write questions.arrow: each question with passages, and its line of metadata.jsonl but for the pids."""
        parents = arrow.ints(answers["question_id"])
        order = np.argsort(parents, kind="stable")  # by question, within it by post id
        ids, starts = np.unique(parents[order], return_index=True)
        ends = np.append(starts[1:], len(order))
        all_ids = arrow.ints(questions["question_id"])
        # the first row of an id counts, should a question occur twice
        first = np.unique(all_ids, return_index=True)
        questions = questions.take(first[1][np.searchsorted(first[0], ids)])
        self.counts.questions_with_passages = len(questions)
        author, author_url = names.of(questions["owner"], questions["owner_name"], self.dump.site)
        schema = pa.schema(
            [("question_id", pa.int64()), ("score", pa.int64()), ("views", pa.int64()), ("accepted", pa.int64()),
             ("title", pa.string()), ("rows", pa.list_(pa.int64())), ("metadata", pa.large_string())]
        )  # fmt: skip
        with pa.ipc.new_file(str(self.folder / "questions.arrow"), schema) as file:
            for begin in range(0, len(questions), arrow.BATCH):
                part = slice(begin, begin + arrow.BATCH)
                rows = order[starts[part][0] : ends[part][-1]]
                offsets = np.append(starts[part], ends[part][-1:]) - starts[part][0]
                batch = questions.slice(begin, arrow.BATCH)
                authors = author.slice(begin, arrow.BATCH), author_url.slice(begin, arrow.BATCH)
                lines = _metadata(self.dump.site, batch, answers.take(rows), offsets, *authors)
                columns = [arrow.flat(batch[name]) for name in ("question_id", "score", "views", "accepted", "title")]
                lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(rows))
                file.write_batch(pa.record_batch([*columns, lists, lines], schema=schema))


class _Names:
    """User ids -> names, from Users.xml; a user it lacks goes by the name the post itself gives."""

    def __init__(self, users: pa.Table) -> None:
        ids = arrow.ints(users["user"])
        self._ids, first = np.unique(ids, return_index=True)
        self._names = arrow.flat(users.take(first)["name"])

    def of(self, owners: pa.ChunkedArray, own_names: pa.ChunkedArray, site: str) -> tuple[pa.Array, pa.Array]:
        """Return names and links; "" where there is none."""
        ids = arrow.ints(owners)
        if len(self._ids):
            at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
            known_names = pc.take(self._names, pa.array(at))
            named = pc.if_else(pa.array(self._ids[at] == ids), known_names, arrow.flat(own_names))
        else:
            named = arrow.flat(own_names)
        links = arrow.joined(f"https://{site}/users/", arrow.strings(owners))
        return named, pc.if_else(pa.array(ids != post.NOBODY), links, "")


def _metadata(
    site: str,
    questions: pa.Table,
    answers: pa.Table,
    offsets: arrow.Ints,
    author: pa.Array,
    author_url: pa.Array,
) -> pa.Array:
    """Return a JSON line for each question, up to the pids, which depend on where the community stands."""

    def listed(items: pa.Array) -> pa.Array:
        lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pc.cast(items, pa.string()))
        return pc.binary_join(lists, ", ")

    def quoted(items: pa.Array) -> pa.Array:
        return pa.array([encode_basestring(item) for item in items.to_pylist()], pa.large_string())

    pieces = [
        f'{{"dataset": "{site}", "question_id": ', arrow.strings(questions["question_id"]),
        ', "post_ids": [', listed(arrow.strings(answers["post_id"])),
        '], "scores": [', listed(arrow.strings(answers["score"])),
        '], "post_urls": [', listed(arrow.joined('"', arrow.flat(answers["url"]), '"')),
        '], "post_authors": [', listed(quoted(answers["author"])),
        '], "post_author_urls": [', listed(arrow.joined('"', arrow.flat(answers["author_url"]), '"')),
        '], "question_author": ', quoted(author),
        ', "question_author_url": ', arrow.joined('"', author_url, '"'),
        ', "closed": ', arrow.joined('"', arrow.flat(questions["closed"]), '"'),
        ', "pids": [',
    ]  # fmt: skip
    return arrow.joined(*pieces)
