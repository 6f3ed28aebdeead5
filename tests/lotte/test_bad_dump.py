"""A dump that is cut, damaged or hostile: one line, exit 1, nothing half-written, what was built is kept."""

import gzip
import io
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import py7zr
import pytest
from command import error, lotte
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DUMPS, GOOAQ, HOUSE, SPEC

from lotte.builder import bzip2, dump
from lotte.builder.xml_rows import XmlRows
from lotte.errors import CorruptFileError, LotteError

SITE = "cheese.example.com"
SHARED = HOUSE.parent / "shared" / "data" / "stackexchange"

QUESTION = '<row Id="1" PostTypeId="1" AcceptedAnswerId="2" Score="3" ViewCount="9" Title="Why?" Body="q" CreationDate="2015-01-01T00:00:00.000" />'
ANSWER = '<row Id="2" PostTypeId="2" ParentId="1" Score="2" Body="&lt;p&gt;Because.&lt;/p&gt;" CreationDate="2015-01-02T00:00:00.000" />'


def table(*rows: str, root: str = "posts") -> bytes:
    return "\n".join(['<?xml version="1.0" encoding="utf-8"?>', f"<{root}>", *rows, f"</{root}>"]).encode()


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder for dumps, with a spec of one community beside it."""
    (tmp_path / "spec.toml").write_text(f'[topics.food]\ntest = ["{SITE}"]\n')
    (tmp_path / "dumps").mkdir()
    return tmp_path


def words(place: Path, *more: object) -> tuple[object, ...]:
    return "build", "--dumps", place / "dumps", "--spec", place / "spec.toml", "--out", place / "out", *more


def posts(place: Path, content: bytes) -> Path:
    path = place / "dumps" / SITE / "Posts.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def archive(path: Path, members: dict[str, bytes], method: int = py7zr.FILTER_LZMA2) -> Path:
    with py7zr.SevenZipFile(path, "w", filters=[{"id": method}]) as file:
        for name, content in members.items():
            file.writef(io.BytesIO(content), name)
    return path


def report(place: Path) -> dict:
    return json.loads((place / "out" / "manifest.json").read_text(encoding="utf-8"))


def counts(place: Path) -> dict:
    return report(place)["counts"]["communities"][SITE]


def assert_nothing_half_written(place: Path) -> None:
    left = [path for path in (place / "out").rglob("*") if path.is_file() and path.name != "lock"]
    assert not left, left


# rows


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (ANSWER.replace('Id="2" ', "", 1).replace("<row", '<row x="1"'), "a post without Id"),
        (ANSWER.replace('Score="2" ', ""), "a post without Score"),
        (ANSWER.replace('Body="&lt;p&gt;Because.&lt;/p&gt;" ', ""), "a post without Body"),
        (ANSWER.replace('PostTypeId="2" ', ""), "a post without PostTypeId"),
        (ANSWER.replace('Id="2"', 'Id="two"', 1), "post two: invalid literal for int() with base 10: b'two'"),
        (ANSWER.replace('Id="2"', 'Id="-2"', 1), "post -2: Id is -2"),
        (ANSWER.replace('Score="2"', f'Score="{"9" * 30}"'), f"post 2: {b'9' * 20!r} is no number of a dump"),
        (ANSWER.replace('Score="2"', 'Score="2_0"'), "post 2: b'2_0' is no number of a dump"),
        (ANSWER.replace('Id="2"', 'Id="2_0"', 1), "post 2_0: b'2_0' is no number of a dump"),
        (ANSWER.replace("Because", "&nosuch;"), "post 2: an ampersand that begins no entity of XML"),
        (ANSWER.replace("Because", "&#x110000;"), "post 2: &#x110000; is no character of XML"),
        (ANSWER.replace("Because", "a < b"), "not a row in XML"),
        (ANSWER.replace(" />", ""), "not a row in XML"),
    ],
)
def test_one_bad_row_is_named_and_skipped_and_the_rest_is_built(row, says, place):
    posts(place, table(QUESTION, row, ANSWER.replace('Id="2"', 'Id="3"', 1)))
    done = lotte(*words(place))
    assert done.returncode == 0, done.stderr
    assert report(place)["bad_rows"]["first"] == [f"{SITE}/Posts.xml:4: {says}"]
    assert counts(place)["bad rows"] == 1 and counts(place)["passages"] == 1
    assert f"skipped a bad row: {SITE}/Posts.xml:4: {says}" in done.stderr


def test_bytes_that_are_no_utf8_make_a_bad_row(place):
    posts(place, table(QUESTION, ANSWER).replace(b"Because", b"Bec\xff\xfe"))
    assert lotte(*words(place)).returncode == 0
    assert counts(place)["bad rows"] == 1


def test_too_many_bad_rows_are_the_files_fault(place):
    path = posts(place, table(QUESTION, *[ANSWER.replace('Score="2" ', "")] * 3))
    assert error(*words(place)) == (
        f"3 of 4 rows are bad, more than the 1.00% that max_bad_share allows; the first: {path}:4: a post without Score. "
        "Fetch the file again, or raise max_bad_share in the spec."
    )
    assert_nothing_half_written(place)


def test_ids_that_do_not_resolve_are_counted(place):
    lost = ANSWER.replace('Id="2"', 'Id="7"', 1).replace('ParentId="1"', 'ParentId="999"')
    posts(place, table(QUESTION.replace('AcceptedAnswerId="2"', 'AcceptedAnswerId="888"'), ANSWER, lost))
    assert lotte(*words(place)).returncode == 0
    assert counts(place)["answers without their question"] == 1
    assert counts(place)["accepted answers not in the file"] == 1
    assert counts(place)["passages"] == 1


def test_rows_out_of_order_bom_line_ends_and_tag_spelling_change_nothing(place):
    rows = [QUESTION.replace("Title", 'Tags="&lt;a&gt;&lt;b&gt;" Title'), ANSWER, ANSWER.replace('Id="2"', 'Id="5"', 1)]
    posts(place, table(*rows))
    assert lotte(*words(place)).returncode == 0
    first = (place / "out" / "food" / "test" / "collection.tsv").read_bytes()
    shutil.rmtree(place / "out")
    turned = [rows[2], rows[1], rows[0].replace("&lt;a&gt;&lt;b&gt;", "|a|b|")]
    posts(place, b"\xef\xbb\xbf" + table(*turned).replace(b"\n", b"\r\n"))
    assert lotte(*words(place)).returncode == 0
    assert (place / "out" / "food" / "test" / "collection.tsv").read_bytes() == first == b"0\tBecause.\n1\tBecause.\n"


def test_a_post_that_stands_there_twice_counts_once(place):
    posts(place, table(QUESTION, ANSWER, ANSWER.replace("Because", "Again")))
    assert lotte(*words(place)).returncode == 0
    assert (place / "out" / "food" / "test" / "collection.tsv").read_bytes() == b"0\tBecause.\n"
    assert counts(place)["repeated ids"] == 1


def test_posts_with_one_id_are_said_to_be_there(place):
    posts(place, table(QUESTION, QUESTION.replace("Why?", "Why not?"), ANSWER, ANSWER.replace("Because", "Again")))
    done = lotte(*words(place))
    assert f"{SITE}: 2 posts have the Id of an earlier post of their kind: the first one counts" in done.stderr
    assert (place / "out" / "food" / "test" / "questions.forum.tsv").read_text() == "0\tWhy?\n"


@pytest.mark.parametrize("date", ["2015-99-02T00:00:00.000", "yesterday", ""])
def test_a_post_without_a_date_that_is_one_is_said_to_be_there(date, place):
    posts(place, table(QUESTION, ANSWER.replace("2015-01-02T00:00:00.000", date)))
    assert f"{SITE}: 1 posts have no CreationDate that is a date: `created` is null there" in lotte(*words(place)).stderr


@pytest.mark.parametrize("html", ["fast", "reference"])
@pytest.mark.parametrize("control", ["&#x0E;", "&#31;", "&#xFFFF;", "\x0e", "\x1f"])
def test_a_control_character_is_white_space_and_the_post_is_kept(control, html, place):
    (place / "spec.toml").write_text(f'[options]\nhtml = "{html}"\n[topics.food]\ntest = ["{SITE}"]\n')
    second = ANSWER.replace('Id="2"', 'Id="3"', 1).replace("Because", "Last")
    posts(place, table(QUESTION.replace("Why?", f"Why{control}not?"), ANSWER.replace("Because", f"Press {control}-1"), second))
    assert lotte(*words(place)).returncode == 0
    part = place / "out" / "food" / "test"
    assert (part / "collection.tsv").read_text() == "0\tPress -1.\n1\tLast.\n"
    assert (part / "questions.forum.tsv").read_text() == "0\tWhy not?\n"
    assert counts(place)["bad rows"] == 0


def test_the_straightforward_pipeline_makes_the_same_of_control_characters(place):
    import plain_build

    site = posts(place, table(QUESTION.replace("Why", "W&#x1F;hy"), ANSWER.replace("Because", "a&#x0E;b&#xB;\x08c"))).parent
    assert lotte(*words(place)).returncode == 0
    made = plain_build.files(plain_build.part([SITE], site.parent, []))
    for name in ("collection.tsv", "questions.forum.tsv", "metadata.jsonl"):
        assert (place / "out" / "food" / "test" / name).read_text() == made[name]


# files


def test_a_table_cut_inside_a_row(place):
    path = posts(place, table(QUESTION, ANSWER)[:-40])
    assert error(*words(place)) == (
        f"{path}:4: the file ends in the middle of a row, </posts> is missing: it was cut. Fetch it again."
    )
    assert_nothing_half_written(place)


def test_entity_bombs_are_refused(place):
    path = posts(place, b'<!DOCTYPE posts [<!ENTITY a "b">]>' + table(QUESTION)[40:])
    assert error(*words(place)) == (
        f"{path}: declares a document type or entities. No dump does, and an entity can grow without end or read "
        "another file, so it is refused. Fetch the dump from a place you trust."
    )


def test_an_empty_table_is_a_community_without_questions(place):
    posts(place, table())
    assert lotte(*words(place)).returncode == 0
    assert counts(place)["passages"] == 0
    assert (place / "out" / "food" / "test" / "collection.tsv").read_bytes() == b""


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data/stackexchange, which is not here")
def test_the_cut_file_of_real_data_is_built_from_what_it_holds(place):
    shutil.copytree(SHARED / "_cut.askubuntu.com", place / "dumps" / SITE)
    assert lotte(*words(place)).returncode == 0
    found = counts(place)
    assert found["answers without their question"] == 1 and found["accepted answers not in the file"] == 13
    assert (found["rows of Posts.xml"], found["passages"], found["bad rows"]) == (98, 53, 0)


# archives


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
    monkeypatch.setattr(dump, "_threads", lambda: threads)
    assert tables(path) == {name: members[name] for name in dump.READ}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_flipped_bit_in_any_block_is_found(threads, large, monkeypatch):
    path, _ = large
    monkeypatch.setattr(dump, "_threads", lambda: threads)
    sound = path.read_bytes()
    for place in range(1000, len(sound) - 2000, 700_000):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 8]) + sound[place + 1 :])
        with pytest.raises(CorruptFileError, match=r"cut or damaged .* Fetch it again"):
            tables(path)


def test_a_header_that_promises_more_than_the_stream_has(large, monkeypatch):
    path, _ = large
    monkeypatch.setattr(dump, "_threads", lambda: 2)
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


@pytest.mark.parametrize(
    "name", ["../Posts.xml", "/etc/Posts.xml", "a/../../Posts.xml", "..\\Posts.xml", "C:/Posts.xml"]
)
def test_a_path_that_climbs_out_of_the_archive_is_refused(name, place):
    path = archive(
        place / "dumps" / f"{SITE}.7z", {"aaaaa" + "b" * (len(name) - 5): table(QUESTION), "Posts.xml": table(QUESTION)}
    )
    forged = _renamed(path, "aaaaa" + "b" * (len(name) - 5), name)
    path.write_bytes(forged)
    message = error(*words(place))
    shown = name.replace("\\", "/")  # as the archive's reader gives it
    assert message.startswith(f"{path}: holds {shown!r}, a path that climbs out of the archive"), message


def _renamed(path: Path, old: str, new: str) -> bytes:
    """Return the archive with a member renamed in its header, which py7zr itself would not write."""
    import struct
    import zlib

    with py7zr.SevenZipFile(path) as file:
        names = file.getnames()
    content = {name: table(QUESTION) for name in names}
    plain = path.with_name("unpacked-header.7z")
    with py7zr.SevenZipFile(plain, "w", filters=[{"id": py7zr.FILTER_COPY}]) as file:
        file.set_encoded_header_mode(False)
        for name, data in content.items():
            file.writef(io.BytesIO(data), name)
    raw = bytearray(plain.read_bytes())
    plain.unlink()
    at = raw.rindex(old.encode("utf-16-le"))
    raw[at : at + 2 * len(new)] = new.encode("utf-16-le")
    offset, size = struct.unpack("<QQ", raw[12:28])
    header = bytes(raw[32 + offset : 32 + offset + size])
    raw[28:32] = struct.pack("<L", zlib.crc32(header))
    raw[8:12] = struct.pack("<L", zlib.crc32(bytes(raw[12:32])))
    return bytes(raw)


def test_an_archive_with_a_password_or_without_posts_is_refused(place):
    path = place / "dumps" / f"{SITE}.7z"
    with py7zr.SevenZipFile(path, "w", password="secret") as file:
        file.writef(io.BytesIO(table(QUESTION)), "Posts.xml")
    assert error(*words(place)) == f"{path}: is locked with a password; a dump is not. Fetch it again."
    path.unlink()
    archive(path, {"Users.xml": table(root="users")})
    assert error(*words(place)) == f"{path}: holds no Posts.xml, but ['Users.xml']; is it a dump?"


def test_what_was_built_is_kept_when_another_community_fails(place):
    (place / "spec.toml").write_text(f'[topics.food]\ntest = ["good.example.com", "{SITE}"]\n')
    (place / "dumps" / "good.example.com").mkdir()
    many = [ANSWER.replace('Id="2"', f'Id="{number}"', 1) for number in range(2, 60)]  # the longest is built first
    (place / "dumps" / "good.example.com" / "Posts.xml").write_bytes(table(QUESTION, *many))
    posts(place, table(QUESTION, ANSWER)[:-5])
    error(*words(place, "--workers", 1))
    posts(place, table(QUESTION, ANSWER))
    done = lotte(*words(place, "--workers", 1))
    assert done.returncode == 0 and "1 of 2 steps were finished before and are kept" in done.stderr


# GooAQ


@pytest.mark.parametrize("line", ["[1, 2]", '"text"', "7", "null", "{", "not json", '{"question": 7, "answer_url": "x"}',
                                  '{"question": "q?", "answer_url": 7}', '{"answer_url": "x"}',
                                  '{"question": "q\\ud800?", "answer_url": "https://cheese.example.com/a/2"}'])  # fmt: skip
def test_a_line_that_is_no_row_of_gooaq_is_named_and_skipped(line, place):
    posts(place, table(QUESTION, ANSWER))
    good = json.dumps({"id": 1, "question": "why?", "answer_url": f"https://{SITE}/a/2"})
    (place / "gooaq.jsonl").write_text(f"{good}\n{line}\n", encoding="utf-8")
    assert lotte(*words(place, "--gooaq", place / "gooaq.jsonl")).returncode == 0
    assert report(place)["bad_rows"]["first"][0].startswith("gooaq.jsonl:2: ")
    assert report(place)["counts"]["parts"]["food/test"]["search"] == 1


def test_a_copy_of_gooaq_without_links_is_refused(place):
    posts(place, table(QUESTION, ANSWER))
    path = place / "gooaq.jsonl"
    path.write_text('{"id": 1, "question": "why?", "answer": "x"}\n')
    assert error(*words(place, "--gooaq", path)) == (
        f"{path}: no row has an answer_url, which is what links a question to a post. Most copies of GooAQ lack it; take "
        "gooaq.jsonl from github.com/allenai/gooaq (Git LFS, 1.9 GB)."
    )


def test_gooaq_cut_in_its_gzip(place):
    posts(place, table(QUESTION, ANSWER))
    path = place / "gooaq.jsonl.gz"
    path.write_bytes(gzip.compress(GOOAQ.read_bytes())[:-20])
    assert error(*words(place, "--gooaq", path)).startswith(f"{path}: is cut or damaged")


def test_gooaq_that_is_not_there(place):
    posts(place, table(QUESTION, ANSWER))
    assert error(*words(place, "--gooaq", place / "no.jsonl")) == (
        f"{place}/no.jsonl is not there; --gooaq takes gooaq.jsonl, plain or .gz"
    )


# the command


def test_every_missing_community_is_named(place):
    (place / "spec.toml").write_text(f'[topics.food]\ntest = ["{SITE}", "a.example.com"]\ndev = ["b.example.com"]\n')
    posts(place, table(QUESTION, ANSWER))
    assert error(*words(place)) == (
        f"{place}/dumps lacks 2 of the 3 communities of spec spec: b.example.com, a.example.com. Put <site>.7z or a folder "
        "<site>/ with Posts.xml there, or build from what is there with --allow-missing."
    )
    done = lotte(*words(place, "--allow-missing"))
    assert done.returncode == 0
    assert report(place)["missing"] == ["b.example.com", "a.example.com"]


def test_lottes_own_spec_wants_every_community(tmp_path):
    (tmp_path / "dumps").mkdir()
    message = error("build", "--dumps", tmp_path / "dumps", "--out", tmp_path / "out")
    assert message.startswith(f"{tmp_path}/dumps lacks 49 of the 49 communities of spec lotte: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--shard", "3/2"), "--shard takes the number of a part and of all parts, as in 1/4, not '3/2'"),
        (("--shard", "x"), "--shard takes the number of a part and of all parts, as in 1/4, not 'x'"),
        (("--executor", "ray"), "--executor ray is not there yet: it comes with the work on scale-out."),
        (("--executor", "dask"), "--executor is local or ray, not 'dask'"),
        (("--topic", "foot"), "spec: no topic is named 'foot'; did you mean 'food'? there are food"),
        (("--split", "tset"), "spec: no split is named 'tset'; did you mean 'test'? there are dev, test"),
        (("--as-of", "yesterday"), "option as_of takes a day like 2021-09-30, not 'yesterday'"),
    ],
)
def test_a_wrong_word_of_the_command_is_one_line(more, says, place):
    posts(place, table(QUESTION, ANSWER))
    assert says in error(*words(place, *more))


def test_an_out_that_holds_something_else_is_left_alone(place):
    posts(place, table(QUESTION, ANSWER))
    (place / "out").mkdir()
    (place / "out" / "thesis.tex").write_text("years of work")
    assert error(*words(place)) == (
        f"{place}/out is there and is no build of ours; choose an --out that is empty or new"
    )
    assert (place / "out" / "thesis.tex").read_text() == "years of work"


# a full disk


def test_a_file_that_may_not_grow_is_one_line_and_can_be_gone_on_from(tmp_path):
    """The limit that `ulimit -f` sets stands for a full disk: the same error, at the same places."""
    out = tmp_path / "out"

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    command = [sys.executable, "-m", "leaderboard.cli", "build", "--dumps", DUMPS, "--gooaq", GOOAQ, "--spec", SPEC,
               "--out", out, "--workers", "1"]  # fmt: skip
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, preexec_fn=limited)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: a file may not grow this large here"), done.stderr
    assert not list(out.rglob("*.partial*")) and not (out / "manifest.json").exists()
    assert lotte("build", "--dumps", DUMPS, "--gooaq", GOOAQ, "--spec", SPEC, "--out", out).returncode == 0


def test_a_full_device_is_one_line_and_can_be_gone_on_from(tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    if (
        os.name != "posix"
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", full], capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        done = lotte("build", "--dumps", DUMPS, "--gooaq", GOOAQ, "--spec", SPEC, "--out", full / "out", "--workers", 1)
        assert done.returncode == 1, done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: no space left on the device"), done.stderr
        assert not (full / "out" / "manifest.json").exists()
        subprocess.run(["mount", "-o", "remount,size=20m", full], check=True)
        done = lotte("build", "--dumps", DUMPS, "--gooaq", GOOAQ, "--spec", SPEC, "--out", full / "out", "--workers", 1)
        assert done.returncode == 0, done.stderr
        assert "steps were finished before and are kept" in done.stderr
    finally:
        subprocess.run(["umount", full])
