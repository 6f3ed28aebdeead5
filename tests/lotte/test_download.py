"""A download is whole and the right file, or absent; and an archive writes into its folder and nowhere else."""

import gzip
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow
import pytest
from pyarrow import parquet

from lotte import archive, download, huggingface
from lotte.benchmarks import beir
from lotte.errors import CorruptFileError, LotteError, UnavailableError, UnknownNameError
from lotte.release import Hub

CONTENT = bytes(range(256)) * 4096  # 1 MB
MD5 = hashlib.md5(CONTENT).hexdigest()


@dataclass
class Server:
    """A host with one file at every path, that misbehaves as told."""

    content: bytes = CONTENT
    cut: list[int] = field(default_factory=list)  # bytes after which the next responses break off
    status: list[int] = field(default_factory=list)  # what the next responses answer instead
    ignores_range: bool = False
    etag: str = '"one"'
    length: int | None = None  # what it says, when it lies
    without_length: bool = False
    moved: str = ""  # where it sends people on to
    wrong_part: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # path, Range, If-Range
    url: str = ""


@pytest.fixture
def server():
    host = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            wanted, condition = self.headers.get("Range", ""), self.headers.get("If-Range", "")
            host.asked.append((self.path, wanted, condition))
            self.close_connection = True
            if host.status and (status := host.status.pop(0)) != 200:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.send_header("Retry-After", "7")
                self.end_headers()
                return
            if host.moved:
                self.send_response(302)
                self.send_header("Location", host.moved)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = host.files.get(self.path, host.content)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            if start and not host.ignores_range and condition == host.etag:
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                shown = start - 1 if host.wrong_part else start
                self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
            else:
                start = 0
                self.send_response(200)
            body = content[start:]
            if not host.without_length:
                self.send_header("Content-Length", str(len(body) if host.length is None else host.length))
            self.send_header("ETag", host.etag)
            self.end_headers()
            cut = host.cut.pop(0) if host.cut else len(body)
            self.wfile.write(body[:cut])

        def log_message(self, *words):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    host.url = f"http://127.0.0.1:{served.server_port}/a/file.bin"
    yield host
    served.shutdown()
    served.server_close()
    thread.join()


def get(server, target, *urls, **known):
    pauses = []
    download.download(urls or [server.url], target, sleep=pauses.append, timeout=5, **known)
    return pauses


def nothing_is_left(target):
    return not list(target.parent.glob(f"{target.name}*"))


def test_a_file_comes_whole_and_leaves_no_part(server, tmp_path):
    target = tmp_path / "x" / "file.bin"
    assert get(server, target, size=len(CONTENT), md5=MD5) == []
    assert target.read_bytes() == CONTENT and [path.name for path in target.parent.iterdir()] == ["file.bin"]
    get(server, target, size=len(CONTENT), md5=MD5)
    assert len(server.asked) == 1  # what is there and right is not asked for again


def test_what_breaks_off_goes_on_where_it_stopped(server, tmp_path):
    server.cut = [1000, 500_000]
    pauses = get(server, tmp_path / "f", md5=MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [asked[1:] for asked in server.asked] == [
        ("", ""), ("bytes=1000-", '"one"'), ("bytes=501000-", '"one"'),
    ]  # fmt: skip
    assert pauses == [1.0, 1.0]  # it made progress each time, so it is no more patient than the first time


def test_another_command_goes_on_with_the_part(server, tmp_path):
    server.cut, server.status = [1000], [200, 500, 500, 500, 500, 500]
    with pytest.raises(UnavailableError) as raised:
        get(server, tmp_path / "f", md5=MD5)
    assert str(raised.value) == (
        f"f could not be fetched ({server.url}: HTTP 500, 5 times in a row). {tmp_path}/f.partial is kept: "
        "run the command again, it goes on from there."
    )
    get(server, tmp_path / "f", md5=MD5)
    assert server.asked[-1][1] == "bytes=1000-" and (tmp_path / "f").read_bytes() == CONTENT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f"]


def test_a_file_that_changed_meanwhile_begins_anew(server, tmp_path):
    server.cut, server.status = [1000], [200, 404]
    with pytest.raises(UnavailableError):
        get(server, tmp_path / "f")
    server.content, server.etag = CONTENT[::-1], '"two"'
    get(server, tmp_path / "f")
    assert server.asked[-1][1:] == ("bytes=1000-", '"one"') and (tmp_path / "f").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("etag", ['W/"weak"', ""])
def test_without_a_strong_name_of_the_version_it_begins_anew(server, tmp_path, etag):
    server.cut, server.etag = [1000], etag
    get(server, tmp_path / "f", md5=MD5)
    assert [asked[1] for asked in server.asked] == ["", ""]


def test_a_server_that_ignores_the_range_sends_all_and_all_is_taken(server, tmp_path):
    server.cut, server.ignores_range = [1000], True
    get(server, tmp_path / "f", md5=MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_server_that_sends_another_part_is_asked_for_all(server, tmp_path):
    server.cut, server.wrong_part = [1000], True
    get(server, tmp_path / "f", md5=MD5)
    assert [asked[1] for asked in server.asked] == ["", "bytes=1000-", ""]


def test_a_part_that_is_longer_than_the_file_begins_anew(server, tmp_path):
    server.cut, server.status = [1000], [200, 404]
    with pytest.raises(UnavailableError):
        get(server, tmp_path / "f")
    server.content = CONTENT[:1000]
    get(server, tmp_path / "f")
    assert [asked[1] for asked in server.asked[2:]] == ["bytes=1000-", ""]


def test_all_of_it_came_and_then_the_process_died(server, tmp_path):
    (tmp_path / "f.partial").write_bytes(CONTENT)
    (tmp_path / "f.partial.json").write_text(json.dumps({"url": server.url, "version": '"one"'}))
    get(server, tmp_path / "f", size=len(CONTENT), md5=MD5)
    assert server.asked == [] and (tmp_path / "f").read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_the_next_mirror_is_tried(server, tmp_path):
    server.files["/bad"] = CONTENT[:-1] + b"!"
    bad = server.url.replace("/a/file.bin", "/bad")
    get(server, tmp_path / "f", bad, server.url, size=len(CONTENT), md5=MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT
    found = hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(CorruptFileError) as raised:
        get(server, tmp_path / "g", sha256="0" * 64)
    assert str(raised.value) == f"g could not be fetched ({server.url}: its sha256 is {found}, expected {'0' * 64})."
    assert nothing_is_left(tmp_path / "g")


def test_a_server_that_lies_about_the_size(server, tmp_path):
    server.length = len(CONTENT) + 10  # and closes the connection before
    with pytest.raises(UnavailableError, match=r"416|broke off at 1,048,576 of 1,048,586 bytes"):
        get(server, tmp_path / "f")
    assert not (tmp_path / "f").exists()
    server.length = None
    with pytest.raises(UnavailableError) as raised:
        get(server, tmp_path / "g", size=5)
    assert str(raised.value) == f"g could not be fetched ({server.url}: it has 1,048,576 bytes there, expected 5)."
    server.without_length = True
    with pytest.raises(UnavailableError, match="it sends more than the 5 bytes it has"):
        get(server, tmp_path / "h", size=5)


def test_a_length_nobody_tells_is_judged_by_the_hash(server, tmp_path):
    server.without_length = True
    get(server, tmp_path / "f", md5=MD5)
    server.cut = [10]
    with pytest.raises(CorruptFileError, match="its md5 is"):
        get(server, tmp_path / "g", md5=MD5)


def test_mirrors_are_tried_in_order_and_one_line_tells_of_all(server, tmp_path):
    server.status = [404]
    get(server, tmp_path / "f", server.url, f"{server.url}2", md5=MD5)
    assert [asked[0] for asked in server.asked] == ["/a/file.bin", "/a/file.bin2"]
    server.status = [404, 403]
    with pytest.raises(UnavailableError) as raised:
        get(server, tmp_path / "g", server.url, f"{server.url}2")
    assert (
        str(raised.value)
        == f"g could not be fetched ({server.url}: HTTP 404 Not Found; {server.url}2: HTTP 403 Forbidden)."
    )


def test_a_busy_server_is_given_the_time_it_asks_for(server, tmp_path):
    server.status = [503, 429]
    assert get(server, tmp_path / "f", md5=MD5) == [7.0, 7.0]


def test_pauses_double_and_nobody_there_is_one_line(tmp_path):
    pauses = []
    with pytest.raises(UnavailableError, match="5 times in a row"):
        download.download(["http://127.0.0.1:9/x"], tmp_path / "f", sleep=pauses.append, timeout=2)
    assert pauses == [1.0, 2.0, 4.0, 8.0] and nothing_is_left(tmp_path / "f")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "/etc/passwd"])
def test_only_the_web_is_read(tmp_path, url):
    with pytest.raises(LotteError, match="is no http or https address"):
        download.download([url], tmp_path / "f")


def test_nobody_is_sent_on_to_a_file_of_this_machine(server, tmp_path):
    server.moved = "file:///etc/passwd"
    with pytest.raises(UnavailableError):
        get(server, tmp_path / "f")


# archives


def tar(members, mode="w:gz"):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                file.addfile(info)
    return packed.getvalue()


def zipped(members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            if isinstance(content, tuple):
                info.external_attr, content = 0o120777 << 16, b"target"
            file.writestr(info, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


KINDS = {"tar": tar, "zip": zipped}
GOOD = [("set/a.txt", b"a"), ("set/qrels/test.tsv", b"b"), ("__MACOSX/set/._a.txt", b"m"), ("set/.DS_Store", b"m")]


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_unpacked(tmp_path, kind):
    (tmp_path / "x").write_bytes(KINDS[kind](GOOD))
    archive.unpack(tmp_path / "x", kind, tmp_path / "out")
    assert tree(tmp_path / "out") == {"set/a.txt": b"a", "set/qrels/test.tsv": b"b"}
    archive.unpack(tmp_path / "x", kind, tmp_path / "bare", strip=1)
    assert tree(tmp_path / "bare") == {"a.txt": b"a", "qrels/test.tsv": b"b"}


def test_a_gz_is_one_file(tmp_path):
    (tmp_path / "x.tsv.gz").write_bytes(gzip.compress(b"0\ta\n"))
    archive.unpack(tmp_path / "x.tsv.gz", "gz", tmp_path / "out")
    assert tree(tmp_path / "out") == {"x.tsv": b"0\ta\n"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\..\\x", "C:x", "a/.."])
def test_a_name_that_climbs_out_is_refused(tmp_path, kind, name):
    (tmp_path / "x.bin").write_bytes(KINDS[kind]([(name, b"evil")]))
    with pytest.raises(CorruptFileError, match=r"climbs out of the archive's folder; the archive is refused"):
        archive.unpack(tmp_path / "x.bin", kind, tmp_path / "deep" / "out")
    assert tree(tmp_path) == {"x.bin": (tmp_path / "x.bin").read_bytes()}


@pytest.mark.parametrize("link", [(tarfile.SYMTYPE, "/etc"), (tarfile.LNKTYPE, "../x"), (tarfile.FIFOTYPE, "")])
@pytest.mark.parametrize("kind", KINDS)
def test_links_and_devices_are_refused(tmp_path, kind, link):
    (tmp_path / "x").write_bytes(KINDS[kind]([("a", link), ("a/b", b"through the link")]))
    with pytest.raises(CorruptFileError, match="'a' is a link or a device; the archive is refused"):
        archive.unpack(tmp_path / "x", kind, tmp_path / "out")
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize("kind", KINDS)
def test_what_holds_too_much_is_refused(tmp_path, kind):
    (tmp_path / "x").write_bytes(KINDS[kind]([("a", bytes(10_000_000)), ("b", b"b")]))
    with pytest.raises(CorruptFileError, match="unpacks to more than 5,000,000 bytes; it is refused"):
        archive.unpack(tmp_path / "x", kind, tmp_path / "out", limit=5_000_000)


def test_a_name_twice_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(tar([("a", b"1"), ("./a", b"2")]))
    with pytest.raises(CorruptFileError, match=r"'\./a' is in it twice"):
        archive.unpack(tmp_path / "x", "tar", tmp_path / "out")


@pytest.mark.parametrize("kind", ["tar", "zip", "gz"])
def test_a_damaged_archive_is_named(tmp_path, kind):
    whole = {"gz": lambda members: gzip.compress(CONTENT)}.get(kind, KINDS.get(kind))([("a", CONTENT)])
    for damaged in (whole[: len(whole) // 2], b"no archive at all", b""):
        (tmp_path / "x").write_bytes(damaged)
        if kind == "gz" and not damaged:
            continue  # gzip reads nothing out of nothing
        with pytest.raises(CorruptFileError, match=r"x: the archive is damaged \(.*\); remove it and fetch it again"):
            archive.unpack(tmp_path / "x", kind, tmp_path / f"out{len(damaged)}")


# fetching a dataset

FILES = [
    ("scifact/corpus.jsonl", b'{"_id": "a", "title": "T", "text": "x"}\n'),
    ("scifact/queries.jsonl", b'{"_id": "q", "text": "asked"}\n'),
    ("scifact/qrels/test.tsv", b"query-id\tcorpus-id\tscore\nq\ta\t1\n"),
]


def small(monkeypatch, server, members=FILES, **changed):
    """Make SciFact a set of one document, at this server."""
    server.content = zipped(members)
    name = "scifact"
    md5 = hashlib.md5(server.content).hexdigest()
    file = replace(beir._zip(name), urls=(f"{server.url}.zip",), size=len(server.content), md5=md5)
    release = replace(
        beir.release(name),
        files=((replace(file, **changed),),),
        hub=None,
        counts=replace(beir.release(name).counts, documents=1, queries=1, judgments=1),
    )
    monkeypatch.setattr(beir, "release", lambda name: release)
    monkeypatch.setattr(download, "PAUSE", 0.0)
    return release


def test_a_dataset_is_fetched_marked_and_read_as_the_release(monkeypatch, server, tmp_path):
    small(monkeypatch, server)
    assert download.fetch("beir/scifact", tmp_path) == tmp_path / "beir" / "scifact"
    dataset = beir.load("scifact", tmp_path)
    assert (dataset.source, dataset.facts["counts"]) == ("release", "those of the release")
    mark = json.loads((tmp_path / "beir" / "scifact" / "source.json").read_text())["files"]["qrels/test.tsv"]
    assert (mark["source"], mark["url"], mark["bytes"]) == ("release", f"{server.url}.zip", 31)
    assert not tree(tmp_path / ".downloads")
    download.fetch("beir/scifact", tmp_path)
    assert len(server.asked) == 1  # nothing is fetched twice


def test_what_lies_there_already_is_not_written_over(monkeypatch, server, tmp_path):
    small(monkeypatch, server)
    own = tmp_path / "beir" / "scifact" / "corpus.jsonl"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(LotteError) as raised:
        download.fetch("beir/scifact", tmp_path)
    assert str(raised.value) == f"{own} is there already and was not fetched; move it away, then fetch again"
    assert own.read_text() == "mine" and server.asked == []


def test_an_archive_of_something_else_makes_no_release(monkeypatch, server, tmp_path):
    small(monkeypatch, server, FILES[:2])
    with pytest.raises(CorruptFileError, match=r"does not hold beir/scifact/qrels/test.tsv"):
        download.fetch("beir/scifact", tmp_path)
    assert not (tmp_path / "beir" / "scifact" / "source.json").exists()


def test_what_comes_with_another_hash_is_no_release(monkeypatch, server, tmp_path):
    small(monkeypatch, server, md5="0" * 32)
    with pytest.raises(CorruptFileError, match="its md5 is"):
        download.fetch("beir/scifact", tmp_path)
    assert not (tmp_path / "beir").exists()


def test_the_next_way_is_tried_and_told_of(monkeypatch, server, tmp_path):
    release = small(monkeypatch, server)
    ((file,),) = release.files
    lost = replace(file, urls=("http://127.0.0.1:9/lost.zip",))
    monkeypatch.setattr(beir, "release", lambda name: replace(release, files=((lost,), (file,))))
    told = []
    download.fetch("beir/scifact", tmp_path, say=told.append)
    assert len(told) == 1 and told[0].startswith("lost.zip could not be fetched (http://127.0.0.1:9/lost.zip: ")


def test_what_cannot_be_fetched_says_where_to_get_it(tmp_path):
    with pytest.raises(UnavailableError, match=r"beir/trec-news cannot be downloaded\. It is not public: ask NIST"):
        download.fetch("beir/trec-news", tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'beir/scifact'"):
        download.fetch("beir/scifat", tmp_path)
    with pytest.raises(UnknownNameError, match="no dataset is named 'nothing'"):
        download.fetch("nothing", tmp_path)


# Hugging Face

ROWS = {
    "corpus": [{"_id": "a", "title": "T", "text": "x", "metadata": None}, {"_id": "b", "title": None, "text": "y\u2028z"}],
    "queries": [{"_id": "q", "text": "asked"}],
    "qrels": [{"query-id": "q", "corpus-id": "a", "score": 1.0}],
}  # fmt: skip


def test_tables_in_parquet_and_json_lines_make_beirs_layout(tmp_path):
    for name, rows in ROWS.items():
        (tmp_path / name).mkdir()
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name / "part-0.parquet")
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for ending in ("", ".jsonl"):
        folder = tmp_path / f"made{ending}" / "scifact"
        beir.write(folder, {name: huggingface.rows(tmp_path / f"{name}{ending}") for name in ROWS})
        dataset = beir.read(folder, "beir/scifact")
        assert [doc.text for doc in dataset.corpus] == ["T x", "y\u2028z"]
        assert (dataset.queries, dataset.qrels) == ({"q": "asked"}, {"q": {"a": 1}})
    with pytest.raises(CorruptFileError, match="queries: a row has no 'text'; it has '_id'"):
        beir.write(tmp_path / "bad", {**ROWS, "queries": [{"_id": "q"}]})
    (tmp_path / "no.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(CorruptFileError, match=r"no.parquet: the file is cut or damaged"):
        list(huggingface.rows(tmp_path / "no.parquet"))


class Package:
    """Stands where the package `datasets` stands, with the one function that is called."""

    asked: list[tuple[str, str, str, str]]

    def __init__(self):
        self.asked = []

    def load_dataset(self, repo, config, *, split, revision):
        self.asked.append((repo, config, split, revision))
        if repo == "gone":
            raise RuntimeError("no such set\nand much more")
        return ROWS[{"corpus": "corpus", "queries": "queries", "default": "qrels"}[config]]


def test_a_set_comes_from_hugging_face_at_its_revision(monkeypatch, tmp_path):
    package = Package()
    monkeypatch.setattr(huggingface.extras, "package", lambda name, what: package)
    monkeypatch.setattr(huggingface, "is_installed", lambda: True)
    release = replace(beir.release("scifact"), files=(), counts=replace(beir.release("scifact").counts, documents=2, queries=1, judgments=1))  # fmt: skip
    monkeypatch.setattr(beir, "release", lambda name: release)
    download.fetch("beir/scifact", tmp_path)
    revision = "0228b52cf27578f30900b9e5271d331663a030d7"
    assert package.asked == [
        ("mteb/scifact", config, split, revision)
        for config, split in (("corpus", "corpus"), ("queries", "queries"), ("default", "test"))
    ]
    assert beir.load("scifact", tmp_path).source == f"huggingface:mteb/scifact@{revision}"
    with pytest.raises(UnavailableError, match=r"gone at abc: corpus/corpus could not be loaded \(no such set\)"):
        huggingface.tables(Hub(repo="gone", revision="abc", configs={"corpus": ("corpus", "corpus")}))


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    if huggingface.is_installed():
        pytest.skip("the package datasets is installed")
    with pytest.raises(UnavailableError, match=r"mteb/nq needs datasets, .*: pip install 'lotte-bench\[data\]'"):
        huggingface.tables(beir.release("nq").hub)
