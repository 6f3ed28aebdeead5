"""A dump is read in whatever form somebody has it, and every form builds the same bytes."""

import gzip
import json
import shutil
import zipfile
from pathlib import Path

import py7zr
import pytest
from command import lotte
from made_dump import ANSWER, QUESTION, SITE, archive, report, table, words

from lotte.builder import dump
from lotte.errors import CorruptFileError, LotteError

USER = '<row Id="7" DisplayName="Ann" />'
BAD = '<row Id="x" PostTypeId="2" />'
TABLES = {
    "Badges.xml": b"<badges/>",
    "Posts.xml": table(QUESTION, *(ANSWER.replace('Id="2"', f'Id="{number}"', 1) for number in range(2, 9)), BAD),
    "Users.xml": table(USER, root="users"),
}


def folder(dumps, tables=TABLES, name=SITE, lower=False, packed=False):
    for table_name, content in tables.items():
        path = dumps / name / (table_name.lower() if lower else table_name)
        path.parent.mkdir(exist_ok=True)
        path = path.with_name(f"{path.name}.gz") if packed else path
        path.write_bytes(gzip.compress(content) if packed else content)


def zipped(path, tables=TABLES, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in tables.items():
            file.writestr(name, content)


def lowered(tables):
    return {name.lower(): content for name, content in tables.items()}


def a_table_each(dumps, write, ending, lower=False):
    for name, content in TABLES.items():
        stem = Path(name).stem
        write(dumps / f"{SITE}-{stem.lower() if lower else stem}{ending}", {name: content})


FORMS = {
    "folder": lambda dumps: folder(dumps),
    "folder in lower case": lambda dumps: folder(dumps, lower=True),
    "folder of .xml.gz": lambda dumps: folder(dumps, packed=True),
    "folder of .xml.gz in lower case": lambda dumps: folder(dumps, packed=True, lower=True),
    ".7z": lambda dumps: archive(dumps / f"{SITE}.7z", TABLES),
    ".7z by bzip2 in lower case": lambda dumps: archive(dumps / f"{SITE}.7z", lowered(TABLES), py7zr.FILTER_BZIP2),
    ".7z a table": lambda dumps: a_table_each(dumps, archive, ".7z"),
    ".7z a table in lower case": lambda dumps: a_table_each(dumps, archive, ".7z", lower=True),
    ".zip": lambda dumps: zipped(dumps / f"{SITE}.zip"),
    ".zip in lower case, in a folder": lambda dumps: zipped(dumps / f"{SITE}.zip", {f"a/{name}": content for name, content in lowered(TABLES).items()}),
    ".zip by bzip2": lambda dumps: zipped(dumps / f"{SITE}.zip", method=zipfile.ZIP_BZIP2),
    ".zip a table": lambda dumps: a_table_each(dumps, zipped, ".zip"),
    "folder of .7z a table": lambda dumps: ((dumps / SITE).mkdir(), a_table_each(dumps / SITE, archive, ".7z")),
}  # fmt: skip


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    place = placed(tmp_path_factory.mktemp("wanted"))
    FORMS["folder"](place / "dumps")
    return built(place)


def placed(place):
    (place / "spec.toml").write_text(f'[topics.food]\ntest = ["{SITE}"]\n[options]\nmax_bad_share = 0.5\n')
    (place / "dumps").mkdir()
    return place


def built(place):
    done = lotte(*words(place))
    assert done.returncode == 0, done.stderr
    return {
        path.relative_to(place / "out"): path.read_bytes()
        for path in sorted((place / "out").rglob("*")) if path.is_file()
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_builds_the_same_bytes(form, tmp_path, wanted):
    place = placed(tmp_path)
    FORMS[form](place / "dumps")
    assert built(place) == wanted
    (first,) = report(place)["bad_rows"]["first"]
    assert first.startswith(f"{SITE}/Posts.xml:11: post x: ")
    assert json.loads(wanted[Path("manifest.json")])["counts"]["communities"][SITE]["bad rows"] == 1


def test_a_build_of_one_form_is_whole_to_another(tmp_path):
    place = placed(tmp_path)
    FORMS["folder"](place / "dumps")
    built(place)
    shutil.rmtree(place / "dumps" / SITE)
    for form in ("folder of .xml.gz", ".zip"):
        FORMS[form](place / "dumps")
        done = lotte(*words(place))
        assert "is already complete: same dumps" in done.stderr, (form, done.stderr)
        shutil.rmtree(place / "dumps" / SITE, ignore_errors=True)


def found(dumps):
    its_dump = dump.find(dumps, [SITE])
    assert its_dump
    return {name: b"".join(blocks) for name, blocks in its_dump.read(dump.READ, lambda used: None)}


def test_a_plain_table_is_taken_before_a_packed_one(tmp_path):
    folder(tmp_path)
    folder(tmp_path, {"Posts.xml": b"other", "Votes.xml": b"votes"}, packed=True)
    assert found(tmp_path)["Posts.xml"] == TABLES["Posts.xml"]
    assert dump.find(tmp_path, [SITE]).tables.keys() == {*TABLES, "Votes.xml"}


def test_archives_of_another_community_or_of_no_table_are_not_opened(tmp_path):
    a_table_each(tmp_path, archive, ".7z")
    (tmp_path / f"{SITE}-backup.7z").write_bytes(b"no archive")
    (tmp_path / f"meta.{SITE}-Posts.7z").write_bytes(b"no archive")
    assert found(tmp_path) == {name: TABLES[name] for name in dump.READ}


@pytest.mark.parametrize("form", [".zip", ".7z", "folder of .xml.gz"])
def test_how_much_is_read_is_told_of_each_form(form, tmp_path):
    FORMS[form](tmp_path)
    its_dump, used = dump.find(tmp_path, [SITE]), []
    for _, blocks in its_dump.read(dump.READ, used.append):
        for _ in blocks:
            pass
    assert 0 < sum(used) <= sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())


def twice(dumps):
    folder(dumps)
    (dumps / SITE / "posts.xml").write_bytes(b"<posts/>")


def climbing(dumps):
    zipped(dumps / f"{SITE}.zip", {"../Posts.xml": b"<posts/>"})


def locked(dumps):
    zipped(dumps / f"{SITE}.zip")
    content = bytearray((dumps / f"{SITE}.zip").read_bytes())
    for at in (content.find(b"PK\x03\x04") + 6, content.find(b"PK\x01\x02") + 8):
        content[at] |= 1
    (dumps / f"{SITE}.zip").write_bytes(content)


def other_method(dumps):
    zipped(dumps / f"{SITE}.zip")
    content = bytearray((dumps / f"{SITE}.zip").read_bytes())
    content[content.find(b"PK\x01\x02") + 10] = 9
    (dumps / f"{SITE}.zip").write_bytes(content)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (twice, "Posts.xml occurs more than once; keep one of them"),
        (climbing, r"holds '../Posts.xml', a path that leads out of the archive"),
        (locked, "is encrypted with a password; dumps are not"),
        (other_method, "is compressed with method 9, which is not supported"),
        (lambda dumps: zipped(dumps / f"{SITE}.zip", {"data.csv": b"a,b"}), r"holds no Posts.xml, but nothing; is it a dump\?"),
        (lambda dumps: archive(dumps / f"{SITE}-Users.7z", {"Users.xml": b""}), r"-Users.7z: holds no Posts.xml, but \['Users.xml'\]"),
        (lambda dumps: (dumps / f"{SITE}.zip").write_bytes(b"PK no zip"), "the archive is truncated or damaged"),
    ],
)  # fmt: skip
def test_an_archive_that_is_no_dump_is_one_line(made, message, tmp_path):
    made(tmp_path)
    with pytest.raises(LotteError, match=message) as raised:
        dump.find(tmp_path, [SITE])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("form", "ending"), [(".zip", f"{SITE}.zip"), ("folder of .xml.gz", f"{SITE}/Posts.xml.gz")])
def test_a_packed_table_cut_or_changed_at_any_byte_is_one_line(form, ending, tmp_path):
    FORMS[form](tmp_path)
    path = tmp_path / ending
    whole = path.read_bytes()
    for end in range(1, len(whole) - 1, 31):
        for damaged in (whole[:end], whole[:end] + bytes([whole[end] ^ 8]) + whole[end + 1 :]):
            path.write_bytes(damaged)
            try:
                assert found(tmp_path)["Posts.xml"] == TABLES["Posts.xml"]  # what was changed is not content
            except CorruptFileError as error:
                assert "\n" not in str(error)
            except LotteError as error:
                assert "is compressed with method" in str(error)
