"""A dump that is cut, damaged or hostile: one line, exit 1, nothing half-written, what was built is kept."""

import gzip
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import py7zr
import pytest
from command import error, lotte
from made_dump import ANSWER, QUESTION, SITE, archive, assert_nothing_half_written, counts, posts, report, table, words
from places import DUMPS, GOOAQ, HOUSE, SPEC

SHARED = HOUSE.parent / "shared" / "data" / "stackexchange"


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
    assert message.startswith(f"{path}: holds {shown!r}, a path that leads out of the archive"), message


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
    assert error(*words(place)) == f"{path}: is encrypted with a password; dumps are not. Fetch it again."
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
    assert done.returncode == 0 and "1 of 2 steps are already finished and are kept" in done.stderr


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
    assert error(*words(place, "--gooaq", path)).startswith(f"{path}: is truncated or damaged")


def test_gooaq_that_is_not_there(place):
    posts(place, table(QUESTION, ANSWER))
    assert error(*words(place, "--gooaq", place / "no.jsonl")) == (
        f"{place}/no.jsonl is not there; --gooaq takes gooaq.jsonl, plain or .gz"
    )


def test_every_missing_community_is_named(place):
    (place / "spec.toml").write_text(f'[topics.food]\ntest = ["{SITE}", "a.example.com"]\ndev = ["b.example.com"]\n')
    posts(place, table(QUESTION, ANSWER))
    assert error(*words(place)) == (
        f"{place}/dumps lacks 2 of the 3 communities of spec spec: b.example.com, a.example.com. Put <site>.7z or a folder "
        "<site>/ with Posts.xml there, or build without them with --allow-missing."
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
        (("--ray-address", "a:1"), "--ray-address goes with --executor ray"),
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
        f"{place}/out exists and is not a build; choose an --out that is empty or new"
    )
    assert (place / "out" / "thesis.tex").read_text() == "years of work"


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
        assert "steps are already finished and are kept" in done.stderr
    finally:
        subprocess.run(["umount", full])
