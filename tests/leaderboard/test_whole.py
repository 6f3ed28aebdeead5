"""`lotte check` of checkpoints, states and records: every byte that is not what was written is found."""

import json
import shutil

import pytest
import tiny_checkpoint
from command import error, lotte

from lotte import artifact
from lotte.errors import CorruptFileError

torch = pytest.importorskip("torch", reason="needs lotte-bench[train]")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import trained_checkpoint

    place = tmp_path_factory.mktemp("checkpoint")
    start = tiny_checkpoint.write(place / "start", hidden=16, inner=16, layers=1, positions=64)
    return trained_checkpoint.write(place / "written", **trained_checkpoint.parts(start))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    place = tmp_path_factory.mktemp("records")
    data = place / "data"
    data.mkdir()
    (data / "collection.tsv").write_text("".join(f"{pid}\tred wing number {pid}\n" for pid in range(6)))
    (data / "queries.test.tsv").write_text("0\tred 1\n1\twing 2\n")
    (data / "qrels.test.tsv").write_text("0\t0\t1\t1\n1\t0\t2\t1\n")
    assert lotte("eval", data, "--retriever", "overlap", "--out", place / "results").returncode == 0
    return place / "results"


@pytest.fixture
def copy(tmp_path):
    def made(folder):
        return shutil.copytree(folder, tmp_path / "copy")

    return made


def flipped(path, place, bit):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)


def test_what_a_training_wrote_is_whole(checkpoint):
    done = lotte("check", checkpoint)
    assert (done.returncode, done.stdout) == (0, "") and "all as they were written" in done.stderr


def test_every_file_of_a_checkpoint_is_covered(checkpoint, copy):
    folder = copy(checkpoint)
    for path in sorted(folder.iterdir()):
        before = path.read_bytes()
        for place in (0, len(before) // 2, len(before) - 1):
            flipped(path, place, place % 7)
            assert list(_damaged(folder)), (path.name, place)
            path.write_bytes(before)
    assert not list(_damaged(folder))


def _damaged(folder):
    try:
        yield from artifact.damaged(folder)
    except CorruptFileError as damage:
        yield "meta.json", str(damage)


def test_every_byte_of_its_meta_is_covered(checkpoint, copy):
    folder = copy(checkpoint)
    path = folder / "meta.json"
    before = path.read_bytes()
    for place in range(len(before)):
        flipped(path, place, place % 8)
        assert list(_damaged(folder)), place
        path.write_bytes(before)


def test_a_file_more_is_named(checkpoint, copy):
    folder = copy(checkpoint)
    (folder / "model-2.safetensors").write_bytes(b"")
    assert lotte("check", folder).stdout == "model-2.safetensors: not one of its files\n"


def test_the_hashes_of_before_are_still_looked_at(checkpoint, copy):
    folder = copy(checkpoint)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({key: meta[key] for key in meta.keys() - {"digest", "sizes"}}))
    done = lotte("check", folder)
    assert done.returncode == 0 and "was written before it had a hash of itself" in done.stderr
    flipped(folder / "config.json", 9, 1)
    assert lotte("check", folder).stdout == "config.json: not what was written\n"


def test_a_checkpoint_of_others_cannot_be_checked(tmp_path):
    assert "has no meta.json with the hashes of its files" in error("check", tiny_checkpoint.write(tmp_path / "theirs"))


def test_a_record_or_a_folder_of_them_is_checked(records):
    assert lotte("check", records).returncode == 0
    assert lotte("check", next(records.rglob("*.json"))).returncode == 0


def test_every_byte_of_a_record_is_covered(records, copy):
    from leaderboard import whole

    path = next(copy(records).rglob("*.json"))
    before = path.read_bytes()
    for place in range(0, len(before), 5):
        flipped(path, place, place % 8)
        assert list(whole.look(path, "", print).differences), place
        path.write_bytes(before)


def test_a_run_that_changed_is_found(records, copy):
    folder = copy(records)
    flipped(next(folder.rglob("*.trec")), 12, 1)
    done = lotte("check", folder)
    assert done.returncode == 1 and "sha256" in done.stdout


def test_the_same_number_in_other_digits_is_found(records, copy):
    path = next(copy(records).rglob("*.json"))
    path.write_text(path.read_text().replace("1.0", "1.00", 1))
    assert lotte("check", path).stdout.endswith("it says what was written, in other bytes\n")


def test_a_record_of_no_json_is_one_line(tmp_path):
    (tmp_path / "x.json").write_text("[" * 10_000)
    assert lotte("check", tmp_path).stdout.count("\n") == 1
