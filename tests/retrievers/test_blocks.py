"""Work on a collection in blocks: the same whoever makes them, and whoever is killed."""

import shutil
from functools import partial
from importlib.util import find_spec

import cluster_steps
import pytest

from lotte import Doc, sent_corpus
from lotte.beir_folder import BeirCorpus
from lotte.collection import Collection, OwnIds
from lotte.dataset import Docs
from lotte.errors import UnavailableError
from lotte.executor import Place, Workers, at_work
from retrievers import blocks

needs_ray = pytest.mark.skipif(not find_spec("ray"), reason="ray is not installed: pip install 'lotte-bench[ray]'")
GROUPS = blocks.groups(0, 10, 3)


def made(folder, told):
    task = partial(cluster_steps.save_rows, folder)
    return [one["rows"].tolist() for one in blocks.made(folder, "rows", GROUPS, task, told.append)]


@pytest.mark.slow
def test_a_local_worker_that_is_killed_is_one_line_and_what_was_made_is_kept(tmp_path):
    with (
        pytest.raises(UnavailableError, match=r"a worker process was killed, .* What was finished is kept"),
        at_work(Workers(2, folder=tmp_path)),
    ):
        made(tmp_path, [])
    told: list[int] = []
    whole = {path.name for path in (tmp_path / blocks.FOLDER).glob("*.npz")}
    (tmp_path / "made").unlink(missing_ok=True)
    assert made(tmp_path, told) == [list(group) for group in GROUPS] and sum(told) == 10
    again = (tmp_path / "made").read_text().split()
    assert len(again) == len(GROUPS) - len(whole)
    assert list((tmp_path / blocks.FOLDER).iterdir()) == []


@needs_ray
@pytest.mark.slow(seconds=30)
def test_a_worker_of_a_cluster_that_is_killed_costs_its_block_alone(tmp_path):
    with at_work(Workers(2, place=Place("ray"), folder=tmp_path)):
        assert made(tmp_path, []) == [list(group) for group in GROUPS]
    assert sorted((tmp_path / "made").read_text().split()) == ["0", "3", "3", "6", "9"]


def test_a_corpus_is_sent_as_its_path(tmp_path):
    (tmp_path / "own.tsv").write_text("a\tone\nb\ttwo\n")
    (tmp_path / "rows.tsv").write_text("0\tone\n1\ttwo\n")
    (tmp_path / "beir.jsonl").write_text('{"_id": "a", "text": "one"}\n')
    for corpus in (OwnIds(tmp_path / "own.tsv"), Collection(tmp_path / "rows.tsv"), BeirCorpus(tmp_path / "beir.jsonl")):
        sent = sent_corpus.sent(corpus, tmp_path)
        assert list(sent.opened()) == list(corpus) and sent.opened() is sent.opened()
    assert not (tmp_path / sent_corpus.DOCS).exists()


def test_a_corpus_without_a_file_is_written_and_read_to_the_letter(tmp_path):
    docs = Docs((Doc("a\u2028", " tab\t and line\n end "), Doc("b", "")))
    opened = sent_corpus.sent(docs, tmp_path).opened()
    assert (list(opened), list(opened.doc_ids), len(opened)) == (list(docs), docs.doc_ids, 2)
    shutil.rmtree(tmp_path)
