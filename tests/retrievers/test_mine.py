"""What is mined comes from a set's own passages, is numbered as the whole collection is, and is made once."""

import json

import pytest
import toy_training

from lotte.collection import Selection
from lotte.dataset import Dataset, Doc, Docs
from lotte.errors import CorruptFileError
from retrievers import registry
from retrievers.training import mine
from retrievers.training.examples import gather


@pytest.fixture
def some(tmp_path):
    return toy_training.pairs(tmp_path / "pairs")


def quiet(line):
    pass


class Counting:
    """A recipe that remembers what it was asked to index, and stops at one of them if it is told to."""

    def __init__(self, stop=None):
        self.recipe, self.indexed, self._stop = registry.load("overlap"), [], stop

    def index(self, corpus, path):
        self.indexed.append(path.name)
        if path.name == self._stop:
            raise KeyboardInterrupt
        return self.recipe.index(corpus, path)

    def open(self, path):
        return self.recipe.open(path)


def test_a_selection_keeps_the_ids_that_its_passages_have(some):
    part = some.parts[1]
    one = Selection(some.corpus, part.pids)
    assert len(one) == len(part.pids) and list(one.doc_ids) == [str(pid) for pid in part.pids]
    assert [doc.doc_id for doc in one] == list(one.doc_ids)
    assert [doc.text for doc in one] == [some.passage(pid) for pid in part.pids]
    assert one[-1] == one[len(one) - 1]
    with pytest.raises(IndexError):
        one[len(one)]
    assert list(Selection(some.corpus, [])) == []


@pytest.mark.parametrize("name", ["overlap", "bm25"])
def test_every_question_gets_its_own_sets_best_by_their_own_numbers(tmp_path, some, name):
    """The same that a search of that set alone finds, best first."""
    recipe = registry.load(name)
    found = mine.mine(some, tmp_path / "mined", recipe, k=6, say=quiet)
    assert sorted(found) == sorted(some.questions)
    for number, part in enumerate(some.parts):
        index = recipe.index(
            Docs(tuple(Doc(str(pid), some.passage(pid)) for pid in part.pids)),
            tmp_path / f"own{number}",
        )
        run = index.search({str(qid): some.questions[qid] for qid in part.qids}, k=6)
        for qid in part.qids:
            assert found[qid] == [int(doc_id) for doc_id in run.doc_ids(str(qid))]
            assert all(pid in part.pids for pid in found[qid]) and 0 < len(found[qid]) <= 6
    assert some.parts[1].pids.start > 0


def test_passages_that_say_the_same_are_mined_once_and_never_beside_a_right_one(tmp_path):
    """A copy of the right answer is not a negative; of two copies of another passage the better placed is taken."""
    texts = ["bread oven", "bread oven", "bread star", "bread star", "bread moon", "soil"]
    docs = Docs(tuple(Doc(f"d{row}", text) for row, text in enumerate(texts)))
    data = Dataset(name="same", corpus=docs, queries={"q": "bread oven star"}, qrels={"q": {"d0": 1}}, measure="MRR@10")
    some = gather([data], tmp_path / "pairs", validation=0)
    (found,) = mine.mine(some, tmp_path / "mined", registry.load("overlap"), k=10, say=quiet).values()
    assert sorted(map(some.passage, found)) == ["bread moon", "bread oven", "bread star"]
    assert 0 in found and 1 not in found  # though a search puts 1 before its equal 0


def test_what_was_mined_is_written_and_not_mined_again(tmp_path, some):
    said = []
    found = mine.mine(some, tmp_path / "mined", Counting(), k=4, say=said.append)
    assert said == [
        "mining toy/a: 12 questions, 40 passages", "mining toy/b: 12 questions, 40 passages",
    ]  # fmt: skip
    for number, part in enumerate(some.parts):
        rows = [json.loads(line) for line in (tmp_path / "mined" / f"{number}.jsonl").read_text().splitlines()]
        assert {qid: pids for qid, *pids in rows} == {qid: found[qid] for qid in part.qids}
    again = Counting()
    assert mine.mine(some, tmp_path / "mined", again, k=4, say=said.append) == found
    assert again.indexed == [] and len(said) == 2


def test_mining_that_was_stopped_goes_on_with_the_next_set(tmp_path, some):
    stopped = Counting(stop="1.index")
    with pytest.raises(KeyboardInterrupt):
        mine.mine(some, tmp_path / "mined", stopped, k=4, say=quiet)
    assert stopped.indexed == ["0.index", "1.index"] and not (tmp_path / "mined" / "1.jsonl").exists()
    again = Counting()
    found = mine.mine(some, tmp_path / "mined", again, k=4, say=quiet)
    assert again.indexed == ["1.index"]
    assert found == mine.mine(some, tmp_path / "whole", Counting(), k=4, say=quiet)


def test_an_index_that_is_whole_is_searched_and_not_made_again(tmp_path, some):
    """As when the process died during the search, which for a large set takes hours."""
    found = mine.mine(some, tmp_path / "mined", registry.load("bm25"), k=4, say=quiet)
    (tmp_path / "mined" / "0.jsonl").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "mined" / "0.index").iterdir()}
    assert mine.mine(some, tmp_path / "mined", registry.load("bm25"), k=4, say=quiet) == found
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize(
    "line", ["[]", "{", "5", "null", '["a"]', "[1, [2]]", "[1, null]", "[1, 1e999]", "[" * 100_000]
)
def test_a_line_that_is_no_list_of_numbers_is_named(tmp_path, line):
    path = tmp_path / "0.jsonl"
    path.write_text(f"[0, 1, 2]\n{line}\n")
    with pytest.raises(CorruptFileError) as error:
        mine.read(path)
    assert str(error.value) == f"{path}:2: expected [qid, pid, ...], found {line[:60]!r}"
    path.write_text("[0, 1, 2]\n[3]\n")
    assert mine.read(path) == {0: [1, 2], 3: []}


@pytest.mark.slow
def test_a_checkpoint_mines_with_its_own_index(tmp_path, some):
    """The passages that an index of it with compression finds; one that was asked for first is among the best."""
    pytest.importorskip("torch", reason="needs lotte-bench[colbert]")
    start = toy_training.start(tmp_path / "start")
    recipe = registry.make("colbertv2", {"checkpoint": str(start), "device": "cpu", "doc_maxlen": 16, "bits": 2})
    found = mine.mine(some, tmp_path / "mined", recipe, k=10, say=quiet)
    assert sorted(found) == sorted(some.questions)
    for number, part in enumerate(some.parts):
        run = recipe.open(tmp_path / "mined" / f"{number}.index").search(
            {str(qid): some.questions[qid] for qid in part.qids}, k=10
        )
        for qid in part.qids:
            wanted = [int(doc_id) for doc_id in run.doc_ids(str(qid))]
            assert found[qid] == [pid for pid in wanted if pid in found[qid]] and set(found[qid]) <= set(wanted)
