"""Readers of dumps, GooAQ, specs and builds."""

import io
import json
import struct
import zlib
from functools import cache
from pathlib import Path

import py7zr
import pyarrow as pa
import pyarrow.parquet as pq
from reader import Reader

from lotte import reading, summary
from lotte.benchmarks import openqa, treccar
from lotte.builder import community, diff, dump, manifest, spec
from lotte.builder import gooaq as search
from lotte.builder.spec import BuildOptions
from lotte.dataset import identity
from lotte.query_groups import query_groups

HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'
DAY = 'CreationDate="2015-01-27T20:09:32.720"'
POSTS = f"""{HEAD}<posts>
  <row Id="1" PostTypeId="1" AcceptedAnswerId="2" {DAY} Score="3" ViewCount="9" Body="&lt;p&gt;q&lt;/p&gt;&#xA;" OwnerUserId="1" Title="Why &amp; how?" Tags="&lt;a&gt;&lt;b&gt;" ContentLicense="CC BY-SA 3.0" />
  <row Id="2" PostTypeId="2" ParentId="1" {DAY} Score="2" Body="&lt;p&gt;Because &lt;b&gt;it&lt;/b&gt; is 5 &amp;gt; 3.&lt;/p&gt;" OwnerUserId="2" ContentLicense="CC BY-SA 4.0" />
  <row Id="3" PostTypeId="2" ParentId="1" {DAY} Score="1" Body="&lt;ul&gt;&lt;li&gt;one&lt;/li&gt;&lt;/ul&gt;" OwnerDisplayName="gone" />
  <row Id="4" PostTypeId="4" {DAY} Score="0" Body="a tag" />
</posts>
"""
USERS = f'{HEAD}<users>\n  <row Id="1" DisplayName="Ann &amp; Bo" />\n  <row Id="2" DisplayName="C" />\n</users>\n'
VOTES = f"""{HEAD}<votes>
  <row Id="1" PostId="1" VoteTypeId="2" {DAY} />
  <row Id="2" PostId="2" VoteTypeId="1" {DAY} />
  <row Id="3" PostId="2" VoteTypeId="2" {DAY} />
</votes>
"""
HISTORY = f"""{HEAD}<posthistory>
  <row Id="1" PostHistoryTypeId="1" PostId="1" {DAY} Text="Why" />
  <row Id="2" PostHistoryTypeId="2" PostId="2" {DAY} Text="Because *it* is." />
  <row Id="3" PostHistoryTypeId="5" PostId="2" CreationDate="2019-01-27T20:09:32.720" Text="Because" />
  <row Id="4" PostHistoryTypeId="10" PostId="1" {DAY} Text="{{}}" />
</posthistory>
"""
TABLES = {"Posts.xml": POSTS, "Users.xml": USERS, "Votes.xml": VOTES, "PostHistory.xml": HISTORY}
SPEC = """name = "mine"
[options]
forum_size = 10
forum_min = 1
drop_owners = [-2]
until = 2020-01-01
html = "fast"
max_bad_share = 0.9
[topics.food]
test = ["cheese.example.com"]
[aliases]
"cheese.example.com" = ["old.example.com"]
"""
GOOAQ = "".join(
    json.dumps({"id": number, "question": f"why {number}", "short_answer": "it", "answer": "it is", "answer_type": "feat_snip",
                "answer_url": f"https://cheese.example.com/questions/1/why{end}"}) + "\n"
    for number, end in enumerate(("", "/2#2", "?x"))
)  # fmt: skip


def tables(folder: Path) -> None:
    site = folder / "cheese.example.com"
    site.mkdir()
    for name, text in TABLES.items():
        (site / name).write_text(text)


def build(folder: Path, **options: object) -> None:
    found = dump.find(folder, ["cheese.example.com"])
    if found:
        community.build(found, BuildOptions(max_bad_share=0.9, **options), folder / "out")


@cache
def packed(method: int) -> bytes:
    whole = io.BytesIO()
    with py7zr.SevenZipFile(whole, "w", filters=[{"id": method}]) as file:
        file.set_encoded_header_mode(method != py7zr.FILTER_COPY)
        for name, text in TABLES.items():
            file.writef(io.BytesIO(text.encode()), name)
    return whole.getvalue()


def archive(method: int):
    return lambda folder: (folder / "cheese.example.com.7z").write_bytes(packed(method))


def mended(content: bytes) -> bytes:
    """Correct the two check sums of a .7z's header, so that what it says is read."""
    if len(content) < 32:
        return content
    raw = bytearray(content)
    offset, size = struct.unpack("<QQ", raw[12:28])
    if offset < len(raw) and size < len(raw):
        raw[28:32] = struct.pack("<L", zlib.crc32(raw[32 + offset : 32 + offset + size]))
    raw[8:12] = struct.pack("<L", zlib.crc32(raw[12:32]))
    return bytes(raw)


def gooaq(folder: Path) -> None:
    (folder / "gooaq.jsonl").write_text(GOOAQ)


def read_gooaq(folder: Path) -> None:
    search.read(folder / "gooaq.jsonl", {"cheese.example.com": "cheese.example.com"}, BuildOptions(), folder / "out", lambda used: None)
    search.candidates(folder / "out")


def read_spec(folder: Path) -> None:
    asked = spec.read(folder / "spec.toml")
    json.dumps(asked.record())
    for site in asked.sites():
        dump.find(folder, asked.names(site))


def whole(folder: Path) -> None:
    """A small build, as `lotte build` leaves one."""
    part = folder / "food" / "test"
    part.mkdir(parents=True)
    (part / "collection.tsv").write_text("0\tBecause it is.\n1\tone\n")
    (part / "questions.forum.tsv").write_text("0\tWhy\n")
    (part / "qas.forum.jsonl").write_text('{"qid": 0, "query": "Why", "answer_pids": [0, 1]}\n')
    (part / "metadata.jsonl").write_text('{"dataset": "c", "question_id": 1, "pids": [0, 1]}\n')
    columns = {"pid": [0, 1], "site": ["cheese.example.com", "b.example.com"], "post_id": [2, 3]}
    pq.write_table(pa.table(columns), part / "attribution.parquet")
    files = {path.relative_to(folder).as_posix(): manifest.artifact.sha256(path) for path in part.iterdir()}
    counts = {"parts": {"food/test": {"passages": 2, "search": 0, "forum": 1}}}
    topics = {"food": {"test": ["cheese.example.com", "b.example.com"]}}
    record = {"format": manifest.FORMAT, "files": files, "counts": counts, "spec": {"topics": topics}, "licence": "x"}
    manifest.write(folder, record)


def read_build(folder: Path) -> None:
    for dataset in reading.read(folder):
        identity(dataset)
        query_groups(dataset)
    for name in diff.parts(folder):
        one = summary.summarise(folder / name, name)
        one.topics(), one.sites(), one.lengths()
    list(diff.compare(folder, folder))


def check(folder: Path) -> None:
    list(manifest.differences(folder))
    read_build(folder)


def passages(folder: Path) -> None:
    (folder / openqa.PASSAGES).write_text('id\ttext\ttitle\n1\t"a ""red"" wing"\tWing\n2\tblue\tSky\n')
    (folder / "nq-dev.qa.csv").write_text("who\t['red', \"blue\"]\nwhere\t['sky']\n")
    (folder / "list.json").write_text('[{"question": "who", "answers": ["red"]}, {"question": "where", "answers": []}]')


def read_passages(folder: Path) -> None:
    from lotte.run import Run

    corpus = openqa.Passages(folder / openqa.PASSAGES)
    dataset = openqa.read(folder, "nq", corpus)
    dataset.judge(Run.of({query_id: dict.fromkeys(corpus.doc_ids, 1.0) for query_id in dataset.queries}, depth=9))


def cbor(folder: Path) -> None:
    def text(words: str) -> bytes:
        return bytes([0x78, len(words)]) + words.encode()

    paragraph = b"\x83\x00\x44abcd\x82\x82\x00" + text("red wing") + b"\x85\x01" + text("P") + b"\x80\x41x" + text("link")
    (folder / "p.cbor").write_bytes(b"\x9f" + paragraph * 2 + b"\xff")


SITE = "cheese.example.com"
READERS = [
    Reader("posts", f"{SITE}/Posts.xml", tables, build),
    Reader("users", f"{SITE}/Users.xml", tables, build),
    Reader("votes", f"{SITE}/Votes.xml", tables, lambda folder: build(folder, as_of="2016-01-01")),
    Reader("history", f"{SITE}/PostHistory.xml", tables, lambda folder: build(folder, as_of="2016-01-01")),
    Reader("7z", f"{SITE}.7z", archive(py7zr.FILTER_LZMA2), build, mended),
    Reader("7z-plain", f"{SITE}.7z", archive(py7zr.FILTER_COPY), build, mended),
    Reader("7z-bzip2", f"{SITE}.7z", archive(py7zr.FILTER_BZIP2), build, mended),
    Reader("gooaq", "gooaq.jsonl", gooaq, read_gooaq),
    Reader("spec", "spec.toml", lambda folder: (folder / "spec.toml").write_text(SPEC), read_spec),
    Reader("manifest", "manifest.json", whole, check),
    Reader("attribution", "food/test/attribution.parquet", whole, read_build),
    Reader("metadata", "food/test/metadata.jsonl", whole, read_build),
    Reader("build-qas", "food/test/qas.forum.jsonl", whole, read_build),
    Reader("dpr-questions", "nq-dev.qa.csv", passages, read_passages),
    Reader("dpr-list", "list.json", passages, lambda folder: openqa.read_questions(folder / "list.json")),
    Reader("dpr-passages", openqa.PASSAGES, passages, read_passages),
    Reader("cbor", "p.cbor", cbor, lambda folder: treccar.paragraphs(folder / "p.cbor", folder / "out.tsv")),
]
