"""Communities -> the files of a topic, and topics -> the pool, with pids and qids that run through.

A topic is its communities one after the other, the pool its topics one after
the other; so both are a TopicSplit, and are written by the same
function, some files by one process and some by another. Texts go from Arrow's
memory to the file as they are: Arrow joins lines, a batch at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lotte import artifact
from lotte.builder import arrow, forum, gooaq
from lotte.builder.counts import ChosenCounts, CommunityCounts
from lotte.builder.post import title_text
from lotte.builder.spec import POOLED, BuildOptions, Spec
from lotte.errors import writing
from lotte.executor import Advance
from lotte.parsing import json_object

_ATTRIBUTION = pa.schema(
    [("pid", pa.int64()), ("site", pa.string()), ("post_id", pa.int64()), ("url", pa.string()),
     ("author", pa.string()), ("author_url", pa.string()), ("licence", pa.string()),
     ("created", pa.timestamp("ms", "UTC"))]
)  # fmt: skip


# the sets of files that are written in one go, and what each is made from
FILES = {"collection": "texts.arrow", "pages": "questions.arrow", "attribution": "answers.arrow"}
NAMES = ("collection.tsv", "metadata.jsonl", "attribution.parquet", "questions.search.tsv", "qas.search.jsonl",
         "questions.forum.tsv", "qas.forum.jsonl")  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A question that was chosen: its words, and the rows of its answers within the community."""

    text: str
    rows: tuple[int, ...]
    url: str = ""  # of GooAQ, for a search question


@dataclass(frozen=True)
class Block:
    """A community in a topic."""

    site: str
    path: Path  # of its folder
    num_passages: int
    search: tuple[Asked, ...]
    forum: tuple[Asked, ...]

    def counts(self) -> dict[str, int]:
        """Return how many passages and questions it has, as the manifest states it."""
        return {"passages": self.num_passages, "search": len(self.search), "forum": len(self.forum)}


@dataclass(frozen=True)
class TopicSplit:
    """A topic and a split, or the pool of a split: blocks in the order of the collection."""

    topic: str
    split: str
    blocks: tuple[Block, ...]
    forum_order: tuple[int, ...]  # blocks in the order in which their forum questions stand
    searched: bool = field(default=True)  # whether GooAQ was there to take search questions from

    @property
    def name(self) -> str:
        """The folder of its files, below that of the build."""
        return f"{self.topic}/{self.split}"

    def offsets(self) -> list[int]:
        """Return the pid of each block's first passage."""
        counts = [0, *(block.num_passages for block in self.blocks)]
        return list(np.cumsum(counts)[:-1].tolist())

    def reads_as(self, other: "TopicSplit") -> bool:
        """Whether its files are those of the other, byte for byte, as those of a pool of one topic are."""
        return replace(self, topic=other.topic, split=other.split) == other

    def counts(self) -> dict[str, Any]:
        """Return how many passages and questions it has, in all and by community, as the manifest states it."""
        by_site = {block.site: block.counts() for block in self.blocks}
        kinds = ("passages", "search", "forum")
        return {kind: sum(counts[kind] for counts in by_site.values()) for kind in kinds} | {"communities": by_site}


def select(
    spec: Spec,
    folders: dict[str, Path],
    links: dict[str, list[gooaq.Candidate]] | None,
    counts: ChosenCounts,
) -> list[TopicSplit]:
    """Choose the questions of every topic and split of the spec. Returns these, the pools last.

    folders  community -> its folder, for those that there are; the others are left out
    links    GooAQ's rows by community, None for a build without search questions
    counts   takes how many rows of GooAQ went which way
    """
    chosen = []
    for topic, split, sites in spec.parts():
        communities = [_Community(site, folders[site]) for site in sites if site in folders]
        if communities:
            blocks = _blocks(communities, spec.options, links or {}, counts)
            order = list(range(len(blocks)))
            if spec.options.forum_blocks == "name":
                order.sort(key=lambda at: blocks[at].site)
            chosen.append(TopicSplit(topic, split, blocks, tuple(order), links is not None))
    pools = dict.fromkeys(topic.split for topic in chosen)
    return chosen + [_pooled(split, [topic for topic in chosen if topic.split == split]) for split in pools]


@dataclass(frozen=True)
class FileSet:
    """Some files of a topic, which are written in one go, and beside its others in another process."""

    split: TopicSplit
    files: str  # a name in FILES

    @property
    def name(self) -> str:
        """What tells it from every other one of a build."""
        return f"{self.split.name} {self.files}"

    @property
    def weight(self) -> int:
        """Bytes of what it is made from."""
        return sum((block.path / FILES[self.files]).stat().st_size for block in self.split.blocks)

    def receipt(self, workplace: Path) -> Path:
        """Return the path of the file that says that all of it was written."""
        return workplace / "parts" / f"{self.split.topic}-{self.split.split}.{self.files}.json"


def file_sets(splits: Sequence[TopicSplit]) -> list[FileSet]:
    """Return all files of these topics, as they are written."""
    return [FileSet(split, files) for split in splits for files in FILES]


def write(file_set: FileSet, out: Path, workplace: Path, key: str, advance: Advance) -> None:
    """Write some files of a topic under `out`, and leave a receipt of what was written when all of it was.

    key  what the receipt says all of it was made of
    """
    split = file_set.split
    with writing(out):
        folder = out / split.topic / split.split
        folder.mkdir(parents=True, exist_ok=True)
        written: list[artifact.Writer] = []

        def file(name: str) -> artifact.Writer:
            written.append(artifact.Writer(folder / name))
            return written[-1]

        if file_set.files == "collection":
            with file("collection.tsv") as collection:
                _passages(split, collection, advance)
        elif file_set.files == "attribution":
            with file("attribution.parquet") as attribution:
                _attribution(split, attribution, advance)
        else:
            with file("metadata.jsonl") as metadata:
                _pages(split, metadata, advance)
            for kind in ["search", "forum"] if split.searched else ["forum"]:
                with file(f"questions.{kind}.tsv") as questions, file(f"qas.{kind}.jsonl") as qas:
                    _questions(split, kind, questions, qas)
        names = {f"{split.name}/{writer.path.name}": writer for writer in written}
        record = {
            "key": key,
            "part": split.name,
            "sha256": {name: writer.sha256 for name, writer in names.items()},
            "bytes": {name: writer.size for name, writer in names.items()},
        }
        artifact.write_json(file_set.receipt(workplace), record)


def link(file_set: FileSet, twin: FileSet, out: Path, workplace: Path) -> None:
    """Make the files of a topic those of another that reads as it, and leave a receipt as `write` does."""
    split = file_set.split
    with writing(out):
        record = json_object(twin.receipt(workplace))
        (out / split.name).mkdir(parents=True, exist_ok=True)
        for fact in ("sha256", "bytes"):
            record[fact] = {f"{split.name}/{Path(name).name}": value for name, value in record[fact].items()}
        for name in record["sha256"]:
            artifact.link(out / twin.split.name / Path(name).name, out / name)
        artifact.write_json(file_set.receipt(workplace), record | {"part": split.name})


class _Community:
    """A community's folder as the choice of questions sees it."""

    def __init__(self, site: str, path: Path) -> None:
        self.site, self.path = site, path
        self.counts = CommunityCounts(**json_object(path / artifact.META)["counts"])
        # without the lines of metadata.jsonl, which are most of the file
        only = pa.ipc.IpcReadOptions(included_fields=[0, 1, 2, 3, 4, 5])
        with pa.OSFile(str(path / "questions.arrow")) as file:
            self.questions = pa.ipc.open_file(file, options=only).read_all()
        self.ids = arrow.ints(self.questions["question_id"])

    def weight(self, options: BuildOptions) -> int:
        """Return the number that its share of the forum questions is computed from."""
        return {
            "answered": self.counts.questions_with_passages,
            "accepted": self.counts.accepted,
            "all": self.counts.questions - (self.counts.closed or 0) - self._near(),
        }[options.forum_share]

    def _near(self) -> int:
        """Return how many questions were left out as nearly older ones."""
        return self.counts.near_against + self.counts.near_questions

    def rows(self, question_id: int) -> tuple[int, ...]:
        at = int(np.searchsorted(self.ids, question_id))
        return tuple(self.questions["rows"][at].as_py())

    def eligible(self, options: BuildOptions, without: set[int]) -> arrow.Ints:
        """Return the rows of the questions that may become forum questions, the most popular first."""
        numbers = {name: arrow.ints(self.questions[name]) for name in ("question_id", "score", "views", "accepted")}
        may = ~np.isin(numbers["question_id"], list(without))
        if options.forum_accepted:
            may &= numbers["accepted"] > 0
        order = forum.order(numbers["question_id"], numbers["score"], numbers["views"], options)
        return order[may[order]]

    def asked(self, eligible: arrow.Ints, quota: int, options: BuildOptions) -> Iterator[Asked]:
        """Give the first so many of these questions; a title of which nothing is left is passed over."""
        titles, rows = self.questions["title"], self.questions["rows"]
        for row in eligible.tolist():
            if not quota:
                break
            if text := title_text(titles[row].as_py(), options):
                quota -= 1
                yield Asked(text, tuple(rows[row].as_py()))

    def question_of(self) -> Any:
        """Return the function (question id, answer id) -> question with passages, or 0."""
        with pa.memory_map(str(self.path / "pages.arrow")) as file:
            pages = pa.ipc.open_file(file).read_all()
            answers, parents = (arrow.ints(pages[name]).copy() for name in ("post_id", "question_id"))

        def known(question_id: int) -> bool:
            at = int(np.searchsorted(self.ids, question_id))
            return at < len(self.ids) and self.ids[at] == question_id

        def find(question_id: int, answer_id: int) -> int:
            if question_id and known(question_id):
                return question_id
            if answer_id:  # a link to an answer, or to a question that was merged into another
                at = int(np.searchsorted(answers, answer_id))
                if at < len(answers) and answers[at] == answer_id and known(int(parents[at])):
                    return int(parents[at])
            return 0

        return find

    def row_of_answer(self, rows: tuple[int, ...], answer_id: int) -> tuple[int, ...]:
        """Return the row of that answer alone if it is a passage, else all rows."""
        with pa.memory_map(str(self.path / "answers.arrow")) as file:
            post_ids = pa.ipc.open_file(file).read_all()["post_id"]
            its_row = tuple(row for row in rows if post_ids[row].as_py() == answer_id)
        return its_row or rows


def _blocks(
    communities: Sequence[_Community],
    options: BuildOptions,
    links: dict[str, list[gooaq.Candidate]],
    counts: ChosenCounts,
) -> tuple[Block, ...]:
    """Choose the questions of a topic's communities; search questions first, whose pages forum questions may leave."""
    searched: list[tuple[Asked, ...]] = []
    asked_pages: list[set[int]] = []
    for community in communities:
        chosen = gooaq.chosen(links.get(community.site, []), community.question_of(), options, counts)
        questions = []
        for question in chosen:
            rows = community.rows(question.question_id)
            if options.search_target == "answer" and question.answer_id:
                rows = community.row_of_answer(rows, question.answer_id)
            questions.append(Asked(question.text, rows, question.url))
        counts.questions += len(questions)
        searched.append(tuple(questions))
        asked_pages.append({each.question_id for each in chosen} if options.forum_overlap == "drop" else set())
    eligible = [community.eligible(options, asked) for community, asked in zip(communities, asked_pages, strict=True)]
    weights = [community.weight(options) for community in communities]
    quotas = forum.quotas(weights, [len(rows) for rows in eligible], options)
    return tuple(
        Block(
            community.site,
            community.path,
            community.counts.passages,
            questions,
            tuple(community.asked(rows, quota, options)),
        )
        for community, questions, rows, quota in zip(communities, searched, eligible, quotas, strict=True)
    )


def _pooled(split: str, topics: Sequence[TopicSplit]) -> TopicSplit:
    blocks = tuple(block for topic in topics for block in topic.blocks)
    order: list[int] = []
    for topic in topics:
        first = len(order)
        order += [first + at for at in topic.forum_order]
    return TopicSplit(POOLED, split, blocks, tuple(order), all(topic.searched for topic in topics))


def _passages(split: TopicSplit, collection: artifact.Writer, advance: Advance) -> None:
    for block, offset in zip(split.blocks, split.offsets(), strict=True):
        pid = offset
        for batch in arrow.batches(block.path / "texts.arrow"):
            pids = pc.cast(pa.array(np.arange(pid, pid + len(batch))), pa.large_string())
            collection.write(arrow.lines(pids, "\t", batch["text"], "\n"))
            pid += len(batch)
            advance(batch.nbytes)


def _pages(split: TopicSplit, metadata: artifact.Writer, advance: Advance) -> None:
    for block, offset in zip(split.blocks, split.offsets(), strict=True):
        for batch in arrow.batches(block.path / "questions.arrow"):
            rows = batch["rows"]
            items = pc.cast(pc.add(rows.flatten(), offset), pa.string())
            lists = pa.ListArray.from_arrays(rows.offsets, items)
            pids = pc.cast(pc.binary_join(lists, ", "), pa.large_string())
            metadata.write(arrow.lines(batch["metadata"], pids, "]}\n"))
            advance(batch.nbytes)


def _attribution(split: TopicSplit, out: artifact.Writer, advance: Advance) -> None:
    with pq.ParquetWriter(pa.PythonFile(out, mode="w"), _ATTRIBUTION, compression="zstd") as file:
        for block, offset in zip(split.blocks, split.offsets(), strict=True):
            pid = offset
            for batch in arrow.batches(block.path / "answers.arrow", arrow.BATCH * 8):
                columns = {
                    "pid": pa.array(np.arange(pid, pid + len(batch))),
                    "site": pa.array([block.site] * len(batch)),
                    **{name: batch[name] for name in batch.schema.names},
                }
                arrays = [pc.cast(columns[field.name], field.type) for field in _ATTRIBUTION]
                file.write_table(pa.table(arrays, schema=_ATTRIBUTION))
                pid += len(batch)
                advance(batch.nbytes)


def _questions(split: TopicSplit, kind: str, questions: artifact.Writer, qas: artifact.Writer) -> None:
    offsets = split.offsets()
    order = split.forum_order if kind == "forum" else range(len(split.blocks))
    qid = 0
    for at in order:
        block = split.blocks[at]
        for asked in block.forum if kind == "forum" else block.search:
            answer: dict[str, Any] = {"qid": qid, "query": asked.text}
            if kind == "search":
                answer["url"] = asked.url
            answer["answer_pids"] = [offsets[at] + row for row in asked.rows]
            questions.write(f"{qid}\t{asked.text}\n".encode())
            qas.write(artifact.json_line(answer, ascii=False).encode())
            qid += 1
