"""An index of late interaction is built to the same bytes, whole or absent, wherever it is stopped."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from command import error
from late_vectors import answers, built, vectors

pytest.importorskip("torch", reason="late interaction needs the extra 'colbert'")
from lotte import Doc, Docs
from lotte.errors import UnavailableError
from retrievers import index_folder
from retrievers.colbert import Arrays
from retrievers.colbert import retriever as recipe
from retrievers.colbert.index import build, codec, kmeans
from retrievers.colbert.index import folder as folders
from retrievers.colbert.index.codec import CodecConfig


@pytest.mark.parametrize("assignment", ["exact", "two_level"])
def test_any_number_of_threads_builds_the_same_bytes(tmp_path, monkeypatch, assignment):
    monkeypatch.setattr(codec, "SLICE", 100)  # tokens that a thread takes at once
    monkeypatch.setattr(kmeans, "SHARE", 90)
    rows, lengths = vectors(300)
    asked = {"assignment": assignment, "centroids": 200}
    assert built(tmp_path / "a", rows, lengths, **asked) == built(tmp_path / "b", rows, lengths, threads=3, **asked)


@pytest.mark.parametrize("assignment", ["exact", "two_level"])
def test_a_build_that_stops_anywhere_goes_on_to_the_same_bytes(tmp_path, monkeypatch, assignment):
    monkeypatch.setattr(build, "CHUNK", 50)
    monkeypatch.setattr(build, "sample_rows", lambda documents, seed: list(range(0, documents, 3)))
    rows, lengths = vectors(300)
    config = CodecConfig(assignment=assignment)
    whole = built(tmp_path / "whole", rows, lengths, assignment=assignment)

    class Stop(Exception):
        pass

    class Stopping(Arrays):
        left = 0

        def vectors(self, wanted):
            if not Stopping.left:
                raise Stop
            Stopping.left -= 1
            return super().vectors(wanted)

    (tmp_path / "stopped").mkdir()
    for attempt in range(20):  # noqa: B007 - how many it took
        Stopping.left = 1
        try:
            counts = build.build(
                tmp_path / "stopped", Stopping(rows, lengths), config, threads=1, say=lambda line: None
            )
            break
        except Stop:
            with next((tmp_path / "stopped").glob("*.npy")).open("ab") as file:
                file.write(b"half a chunk")  # as a kill leaves it
    assert attempt > 5
    assert (counts, {file.name: file.read_bytes() for file in (tmp_path / "stopped").iterdir()}) == whole


def test_a_killed_index_goes_on_where_it_was(sixty_on_disk, small_checkpoint, tmp_path):
    """kill -9 while it encodes; then the same command, and the bytes of an index that was never killed."""
    command = [
        sys.executable, "-c",
        "import retrievers.colbert.index.build as b, leaderboard.cli, time\n"
        "b.CHUNK = 7\n"
        "fill = b.SegmentWriter.append\n"
        "def slow(*args): fill(*args); time.sleep(0.05)\n"
        "b.SegmentWriter.append = slow\n"
        "leaderboard.cli.main()",
        "index", "--retriever", "colbertv2", "-o", f"checkpoint={small_checkpoint}", str(sixty_on_disk), "--out",
    ]  # fmt: skip
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True)
    killed = subprocess.Popen([*command, tmp_path / "killed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = tmp_path / ".killed.unfinished" / "chunks.0000.jsonl"
    while killed.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed").exists()
    done = journal.read_text().count("\n")
    assert 0 < done < 9
    again = subprocess.run([*command, tmp_path / "killed"], check=True, capture_output=True, text=True)
    assert f"resuming after document {7 * done}" in again.stderr
    for file in (tmp_path / "whole").iterdir():
        if file.name != "meta.json":
            assert file.read_bytes() == (tmp_path / "killed" / file.name).read_bytes(), file.name
    assert not journal.parent.exists()


def test_what_another_recipe_left_is_not_built_upon(late_system, small_checkpoint, sixty_documents, tmp_path):
    left = tmp_path / ".index.unfinished"
    left.mkdir()
    (left / "plan.json").write_text("{}")
    (left / "codec.json").write_text("of another recipe")
    late_system.index(sixty_documents, tmp_path / "index")
    assert answers(late_system, tmp_path / "index").hits["q"]


def test_two_builders_of_one_index_do_not_meet(late_system, sixty_documents, tmp_path):
    (tmp_path / ".index.unfinished").mkdir()
    with index_folder.exclusive_lock(tmp_path / ".index.unfinished"), pytest.raises(UnavailableError, match="another process"):
        late_system.index(sixty_documents, tmp_path / "index")


def test_an_index_that_is_being_built_is_no_index(tmp_path):
    (tmp_path / ".index.unfinished").mkdir()
    assert error("search", str(tmp_path / "index"), "why") == (
        f"{tmp_path}/index is not an index, or an incomplete one. Build it with `lotte index`."
    )


def test_a_corpus_without_documents_or_words_has_an_index(late_system, tmp_path):
    for name, docs in (("none", ()), ("blank", (Doc("a", ""),))):
        late_system.index(Docs(docs), tmp_path / name)
        assert len(answers(late_system, tmp_path / name).hits["q"]) <= 1


def test_a_full_disk_is_said_before_the_work(late_system, sixty_documents, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "FEW", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(UnavailableError, match=r"has 0 MB free, but the index needs .* MB while it is built"):
        late_system.index(sixty_documents, tmp_path / "index")


def test_a_build_that_was_stopped_before_its_last_step_is_not_made_again(late_system, sixty_documents, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(index_folder.artifact, "put", lambda whole, path: (_ for _ in ()).throw(InterruptedError))
        with pytest.raises(InterruptedError):
            late_system.index(sixty_documents, tmp_path / "index")
    with monkeypatch.context() as patch:
        patch.setattr(build, "build", None)
        late_system.index(sixty_documents, tmp_path / "index")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]
    assert list(folders.verify(tmp_path / "index")) == []


def test_sigterm_ends_in_order_and_leaves_nothing(sixty_on_disk, tmp_path):
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    code = (
        "import os, signal, sys; from leaderboard import cli; from retrievers import postings; write = postings.write\n"
        "def stop(*given, **named): os.kill(os.getpid(), signal.SIGTERM); return write(*given, **named)\n"
        "postings.write = stop; cli.main()"
    )
    words = ["eval", str(sixty_on_disk), "--retriever", "bm25", "--out", str(out)]
    (sixty_on_disk / "queries.test.tsv").write_text("0\tmoon\n")
    (sixty_on_disk / "qrels.test.tsv").write_text("0\t0\t0\t1\n")
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env={**os.environ, "TMPDIR": str(scratch)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.splitlines()[-1:]) == (143, ["interrupted; what was finished by then is kept"])
    assert not list(scratch.iterdir())
