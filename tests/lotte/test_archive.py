"""An archive is unpacked into its folder and nowhere else, or refused in one line."""

import gzip
import io
import tarfile

import pytest
from file_server import CONTENT, tree, zipped

from lotte import archive
from lotte.errors import CorruptFileError


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


KINDS = {"tar": tar, "zip": zipped}


GOOD = [("set/a.txt", b"a"), ("set/qrels/test.tsv", b"b"), ("__MACOSX/set/._a.txt", b"m"), ("set/.DS_Store", b"m")]


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
    with pytest.raises(CorruptFileError, match=r"leads out of the archive's folder; the archive is refused"):
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
