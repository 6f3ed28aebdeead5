"""An archive of a dump is read as a stream, on any number of threads; damage in it is found."""

import random
import shutil
from pathlib import Path

import py7zr
import pytest
from command import lotte
from hypothesis import given, settings
from hypothesis import strategies as st
from made_dump import ANSWER, QUESTION, SITE, archive, counts, table, words

from lotte.builder import bzip2, dump, seven_zip
from lotte.builder.xml_rows import XmlRows
from lotte.errors import CorruptFileError, LotteError


@pytest.mark.parametrize("method", [py7zr.FILTER_LZMA, py7zr.FILTER_LZMA2, py7zr.FILTER_BZIP2, py7zr.FILTER_COPY])
def test_every_codec_is_read_as_a_stream(method, place):
    archive(place / "dumps" / f"{SITE}.7z", {"Badges.xml": b"<badges/>", "Posts.xml": table(QUESTION, ANSWER),
                                            "Users.xml": table(root="users"), "Votes.xml": b"<votes/>"}, method)  # fmt: skip
    assert lotte(*words(place)).returncode == 0
    assert counts(place)["passages"] == 1
    assert [path.name for path in (place / "dumps").iterdir()] == [f"{SITE}.7z"]


def read_all(path: Path) -> int:
    found = dump.find(path.parent, [path.name.removesuffix(".7z")])
    assert found
    number = 0
    for name, blocks in found.read(["Posts.xml"], lambda used: None):
        number += sum(1 for _ in XmlRows(blocks, path=name, root="posts"))
    return number


@pytest.fixture
def large(tmp_path) -> tuple[Path, dict[str, bytes]]:
    """An archive of several blocks of bzip2, which are borders of no table."""
    drawn = random.Random(0)
    members = {name: drawn.randbytes(size) for name, size in (
        ("Badges.xml", 1_500_000), ("Comments.xml", 0), ("Posts.xml", 2_100_000), ("Users.xml", 900_000), ("Votes.xml", 9)
    )}  # fmt: skip
    return archive(tmp_path / f"{SITE}.7z", members, py7zr.FILTER_BZIP2), members


def tables(path: Path) -> dict[str, bytes]:
    found = dump.find(path.parent, [SITE])
    assert found
    return {name: b"".join(blocks) for name, blocks in found.read(dump.READ, lambda used: None)}


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_several_threads_read_what_one_reads(threads, large, monkeypatch):
    path, members = large
    monkeypatch.setattr(seven_zip, "_threads", lambda: threads)
    assert tables(path) == {name: members[name] for name in dump.READ}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_flipped_bit_in_any_block_is_found(threads, large, monkeypatch):
    path, _ = large
    monkeypatch.setattr(seven_zip, "_threads", lambda: threads)
    sound = path.read_bytes()
    for place in range(1000, len(sound) - 2000, 700_000):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 8]) + sound[place + 1 :])
        with pytest.raises(CorruptFileError, match=r"truncated or damaged .* Fetch it again"):
            tables(path)


def test_a_header_that_promises_more_than_the_stream_has(large, monkeypatch):
    path, _ = large
    monkeypatch.setattr(seven_zip, "_threads", lambda: 2)
    monkeypatch.setattr(bzip2, "decompress", lambda source, *, threads: (block for block in [b"<posts/>"]))
    with pytest.raises(CorruptFileError, match="ends 1,499,992 bytes too early"):
        tables(path)


@pytest.mark.parametrize("method", [py7zr.FILTER_LZMA2, py7zr.FILTER_BZIP2])
def test_an_archive_cut_at_any_byte_is_refused(method, tmp_path):
    many = [ANSWER.replace('Id="2"', f'Id="{number}"', 1) for number in range(2, 60)]
    whole = archive(tmp_path / "whole.7z", {"Posts.xml": table(QUESTION, *many)}, method).read_bytes()
    path = tmp_path / f"{SITE}.7z"
    for end in [*range(0, len(whole) - 1, 5), len(whole) - 1]:
        path.write_bytes(whole[:end])
        with pytest.raises(CorruptFileError, match=r"Fetch it again|is it a dump"):
            read_all(path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> bytes:
    many = [ANSWER.replace('Id="2"', f'Id="{number}"', 1) for number in range(2, 60)]
    path = tmp_path_factory.mktemp("sound") / "sound.7z"
    return archive(path, {"Posts.xml": table(QUESTION, *many)}, py7zr.FILTER_BZIP2).read_bytes()


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_bytes_are_found_or_harmless(data, sound, tmp_path_factory):
    damaged = bytearray(sound)
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(sound) - 1), st.integers(0, 255)), min_size=1, max_size=3)
    ):
        damaged[at] = value
    path = tmp_path_factory.mktemp("damaged") / f"{SITE}.7z"
    path.write_bytes(damaged)
    try:
        assert read_all(path) == 59
    except LotteError as problem:
        assert "\n" not in str(problem)
    shutil.rmtree(path.parent)
