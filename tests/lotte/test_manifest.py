"""A build's manifest covers the build and itself; what a killed process left is named, and goes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lotte import artifact, reading
from lotte.builder import manifest
from lotte.errors import CorruptFileError, LotteError


def made(folder: Path, *, covered: bool = True) -> Path:
    """A build of two passages; without `covered`, as it was before manifests covered themselves."""
    part = folder / "food" / "test"
    part.mkdir(parents=True)
    (part / "collection.tsv").write_text("0\tred\n1\tblue\n")
    (part / "questions.forum.tsv").write_text("0\twhich\n")
    (part / "qas.forum.jsonl").write_text('{"qid": 0, "query": "which", "answer_pids": [0]}\n')
    files = {path.relative_to(folder).as_posix(): artifact.sha256(path) for path in part.iterdir()}
    counts = {"parts": {"food/test": {"passages": 2, "search": 0, "forum": 1}}}
    record = {"format": manifest.FORMAT, "files": files, "counts": counts, "licence": "CC BY-SA", "seed": 0}
    if covered:
        manifest.write(folder, record)
    else:
        (folder / manifest.NAME).write_text(json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return folder


def differences(folder: Path) -> list[str]:
    try:
        return list(manifest.differences(folder))
    except LotteError as error:
        assert "\n" not in str(error)
        return [str(error)]


def flips(path: Path) -> list[int]:
    """Flip every byte of a file, one at a time, and return those that nobody noticed."""
    sound, missed = path.read_bytes(), []
    for at, byte in enumerate(sound):
        path.write_bytes(sound[:at] + bytes([byte ^ 1 << at % 7]) + sound[at + 1 :])
        if not differences(path if path.is_dir() else next(p for p in path.parents if (p / manifest.NAME).exists())):
            missed.append(at)
    path.write_bytes(sound)
    return missed


@pytest.mark.parametrize("name", ["manifest.json", "food/test/collection.tsv", "food/test/qas.forum.jsonl"])
def test_every_flipped_byte_is_found(name, tmp_path):
    folder = made(tmp_path / "build")
    assert differences(folder) == [] and flips(folder / name) == [] and differences(folder) == []


def test_a_digit_of_a_count_is_found(tmp_path):
    folder = made(tmp_path / "build")
    path = folder / manifest.NAME
    path.write_text(path.read_text().replace('"passages": 2', '"passages": 3'))
    assert differences(folder) == ["changed\tmanifest.json\tits digest is of another content"]


def test_a_build_made_before_there_was_a_digest_is_whole(tmp_path):
    folder = made(tmp_path / "build", covered=False)
    assert differences(folder) == []
    assert reading.read(folder)


def test_and_its_counts_are_counted_again(tmp_path):
    folder = made(tmp_path / "build", covered=False)
    path = folder / manifest.NAME
    path.write_text(path.read_text().replace('"passages": 2', '"passages": 3'))
    assert differences(folder) == ["changed\tmanifest.json\tfood/test: 3 passages, and collection.tsv has 2 lines"]


def test_a_build_has_the_same_id_with_and_without_the_digest(tmp_path):
    old, new = made(tmp_path / "a", covered=False), made(tmp_path / "b")
    assert manifest.build_id(old) == manifest.build_id(new) == artifact.sha256(old / manifest.NAME)
    assert {dataset.source for dataset in (*reading.read(old), *reading.read(new))} == {f"build:{manifest.build_id(old)[:16]}"}


@pytest.mark.parametrize("name", ["../food", "/etc/passwd", "a/../../b", "a\\b", ""])
def test_a_manifest_that_names_files_elsewhere_is_refused(name, tmp_path):
    folder = made(tmp_path / "build")
    record = json.loads((folder / manifest.NAME).read_text())
    record["files"][name] = "0" * 64
    (folder / manifest.NAME).write_text(json.dumps(record))
    with pytest.raises(CorruptFileError, match="does not list the files of its folder"):
        manifest.read(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "\ud800", ""])
def test_a_manifest_that_is_no_json_is_one_line(text, tmp_path):
    (tmp_path / manifest.NAME).write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(LotteError) as raised:
        manifest.read(tmp_path)
    assert len(str(raised.value)) < 400 and "\n" not in str(raised.value)


def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_process_left_is_called_that(tmp_path):
    folder = made(tmp_path / "build")
    (folder / f".manifest.json.partial-{dead()}").write_text("half")
    (folder / f".notes.partial-{os.getpid()}").write_text("not ours")
    extra, left = sorted(differences(folder))
    assert extra.startswith("extra\t.notes.partial-")
    assert left.startswith("left over\t.manifest.json.partial-") and left.endswith("the same `lotte build` removes it")


def test_the_next_to_write_the_file_removes_it(tmp_path):
    left, theirs = (tmp_path / f".a.json.partial-{pid}" for pid in (dead(), os.getppid()))
    for path in (left, theirs):
        path.write_text("half")
    artifact.write_whole(tmp_path / "a.json", "{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [theirs.name, "a.json"]
