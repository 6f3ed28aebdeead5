"""Datasets become pairs with whole numbers as ids, and lines of examples are the original's, both spellings."""

import json

import numpy as np
import pytest
import toy_training
from hypothesis import given
from hypothesis import strategies as st

from lotte.collection import Collection
from lotte.dataset import Dataset, Doc, Docs
from lotte.errors import CorruptFileError, MismatchError
from retrievers.training import examples
from retrievers.training.examples import Example, Examples, gather


def made(name, docs, queries, qrels):
    corpus = Docs(tuple(Doc(doc_id, text) for doc_id, text in docs.items()))
    graded = {query_id: dict.fromkeys(doc_ids, 1) for query_id, doc_ids in qrels.items()}
    return Dataset(name=name, corpus=corpus, queries=queries, qrels=graded, measure="nDCG@10")


@pytest.fixture
def two():
    """Two sets that use the same ids for other texts."""
    first = made(
        "one", {"a": "alpha", "b": "beta", "c": "gamma"}, {"q": "which?", "r": "why?"}, {"q": ["b"], "r": ["c", "a"]}
    )
    second = made("two", {"b": "other beta", "a": "other alpha"}, {"q": "what?"}, {"q": ["a"]})
    return [first, second]


def held(pairs):
    """What the folder says, as texts: question -> the texts of its right answers."""
    return {
        pairs.questions[qid]: {pairs.passage(pid) for pid in pairs.positives[qid]} for qid in sorted(pairs.questions)
    }


def test_two_sets_become_one_collection_and_their_ids_do_not_mix(tmp_path, two):
    pairs = gather(two, tmp_path, validation=0)
    assert [doc.text for doc in pairs.corpus] == ["alpha", "beta", "gamma", "other beta", "other alpha"]
    assert held(pairs) == {"which?": {"beta"}, "why?": {"gamma", "alpha"}, "what?": {"other alpha"}}
    assert [(part.name, part.pids, part.qids) for part in pairs.parts] == [
        ("one", range(3), range(2)), ("two", range(3, 5), range(2, 3)),
    ]  # fmt: skip
    for part in pairs.parts:
        assert all(pid in part.pids for qid in part.qids for pid in pairs.positives[qid])


def test_the_files_are_those_of_the_original(tmp_path, two):
    gather(two, tmp_path, validation=0)
    assert (tmp_path / "queries.tsv").read_text() == "0\twhich?\n1\twhy?\n2\twhat?\n"
    assert (tmp_path / "qrels.tsv").read_text() == "0\t0\t1\t1\n1\t0\t2\t1\n1\t0\t0\t1\n2\t0\t4\t1\n"
    assert (tmp_path / "collection.tsv").read_text().splitlines()[3:] == ["3\tother beta", "4\tother alpha"]


def test_texts_with_tabs_and_line_breaks_stay_one_line(tmp_path):
    """A title does not get a field of its own by accident, and no passage moves the numbers of those after it."""
    docs = {"a": "one\ttab\tand two", "b": "lines\nand\r\nlines\r", "c": "form\x0cfeed \u2028 separator", "d": "\n\t\n"}
    pairs = gather(
        [made("odd", docs, {"q": "what\tis\nthis?", "r": "that"}, {"q": ["b"], "r": ["a", "c"]})],
        tmp_path,
        validation=0,
    )
    texts = ["one tab and two", "lines and  lines ", "form\x0cfeed \u2028 separator", "   "]
    assert [doc.text for doc in Collection(tmp_path / "collection.tsv")] == texts
    assert held(pairs) == {"what is this?": {texts[1]}, "that": {texts[0], texts[2]}}


def test_a_question_without_a_text_or_an_answer_is_left_out(tmp_path):
    data = made("some", {"a": "x"}, {"q": "good", "r": " ", "s": "unjudged", "t": "wrong"}, {"q": ["a"], "r": ["a"]})
    data = Dataset(**{**vars(data), "qrels": {**data.qrels, "t": {"a": 0}}})
    assert held(gather([data], tmp_path, validation=0)) == {"good": {"x"}}


def test_a_limit_takes_some_questions_and_the_seed_says_which(tmp_path):
    data = toy_training.dataset(questions=20, passages=50)
    taken = []
    for seed in (0, 0, 1):
        pairs = gather([data], tmp_path / str(len(taken)), validation=0, limit=7, seed=seed)
        assert len(pairs.questions) == 7 and len(pairs.corpus) == 50
        assert list(pairs.questions) == list(range(7)) and set(pairs.questions.values()) <= set(data.queries.values())
        taken.append(set(pairs.questions.values()))
    assert taken[0] == taken[1] != taken[2]


def test_passages_are_cut_down_but_not_the_right_answers(tmp_path):
    data = toy_training.dataset(questions=20, passages=50)
    few = gather([data], tmp_path / "few", validation=0, passages=30)
    assert len(few.corpus) == 30 and len(few.questions) == 20
    right = {doc.doc_id: doc.text for doc in data.corpus}
    assert held(few) == {
        text: {right[doc_id] for doc_id in data.qrels[query_id]} for query_id, text in data.queries.items()
    }
    order = [doc.text for doc in data.corpus]
    places = [order.index(doc.text) for doc in few.corpus]
    assert places == sorted(places)


def test_held_out_questions_and_answers_are_not_trained_on(tmp_path, two):
    """Whoever spells the question in other letters, or gives another question the same answer."""
    same_question = made("held", {"z": "elsewhere"}, {"k": "  WHY"}, {"k": ["z"]})
    same_answer = made("held", {"z": "Beta!", "y": "gamma"}, {"k": "asked otherwise"}, {"k": ["z"]})
    for number, (held_out, left) in enumerate(
        (([same_question], ["which?", "what?"]), ([same_answer], ["why?", "what?"]), ([], ["which?", "why?", "what?"]))
    ):
        pairs = gather(two, tmp_path / str(number), validation=0, held_out=held_out)
        assert list(held(pairs)) == left
        assert pairs.parts[0].facts["left_out_as_held_out"] == (1 if held_out else 0)
        assert len(pairs.corpus) == 5  # their passages stay: to be found is not to be learnt


def test_a_set_of_which_nothing_is_left_is_one_line(tmp_path, two):
    with pytest.raises(MismatchError, match="two has no question with a relevant passage, so nothing to train on"):
        gather(two, tmp_path, validation=0, held_out=[two[1]])
    assert not (tmp_path / "sets.json").exists()


def test_the_same_share_of_every_set_is_kept_for_validation(tmp_path):
    sets = [
        toy_training.dataset("s/a", questions=30, passages=60),
        toy_training.dataset("s/b", questions=10, passages=20),
    ]
    pairs = gather(sets, tmp_path, validation=8)
    assert [sum(qid in part.qids for qid in pairs.validation) for part in pairs.parts] == [6, 2]
    assert pairs.validation == gather(sets, tmp_path / "again", validation=8).validation


def test_gathering_again_changes_nothing_and_other_data_is_one_line(tmp_path, two):
    once = gather(two, tmp_path, validation=1, limit=2)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    again = gather(two, tmp_path, validation=1, limit=2)
    assert again.sha256 == once.sha256 and held(again) == held(once)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before
    other = made("two", {"b": "other beta", "a": "another alpha"}, {"q": "what?"}, {"q": ["a"]})
    for sets, settings in (
        ([two[0], other], {}), (two[::-1], {}), (two[:1], {}), (two, {"limit": 1}), (two, {"passages": 2}),
        (two, {"seed": 1}), (two, {"held_out": [two[1]]}), (two, {"validation": 2}),
    ):  # fmt: skip
        with pytest.raises(MismatchError) as error:
            gather(sets, tmp_path, **{"validation": 1, "limit": 2, **settings})
        assert str(error.value) == (
            f"{tmp_path} holds other pairs than these; a training run resumes with the data it was started with. "
            "Name the same data, or another --out"
        )


def test_a_gathering_that_was_stopped_begins_again(tmp_path, two):
    """Without sets.json, which is written last, nothing counts."""
    wanted = held(gather(two, tmp_path / "whole", validation=0))
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "collection.tsv").write_text("0\tal")
    (tmp_path / "half" / "queries.tsv").write_text("0\tsomething else\n")
    assert held(gather(two, tmp_path / "half", validation=0)) == wanted


def test_a_judgment_whose_passage_is_missing_is_one_line(tmp_path):
    data = made("poor", {"a": "x"}, {"q": "good"}, {"q": ["a", "nowhere"]})
    for held_out in ([], [made("h", {"z": "z"}, {"k": "k"}, {"k": ["z", "lost"]})]):
        with pytest.raises(MismatchError) as error:
            gather([data], tmp_path, validation=0, held_out=held_out)
        assert str(error.value) == "poor: question q names passage nowhere, which its collection lacks"
    assert list(tmp_path.iterdir()) == []


def test_an_id_that_another_set_has_does_not_resolve(tmp_path, two):
    stray = made("stray", {"x": "x"}, {"q": "good"}, {"q": ["c"]})
    with pytest.raises(MismatchError, match="stray: question q names passage c, which its collection lacks"):
        gather([*two, stray], tmp_path, validation=0)


def test_a_folder_without_pairs_or_with_other_things_is_one_line(tmp_path):
    with pytest.raises(MismatchError, match="holds no training pairs"):
        examples.Pairs(tmp_path)
    for content, says in (("{", "not JSON"), ("[]", "expected a JSON object")):
        (tmp_path / "sets.json").write_text(content)
        with pytest.raises(CorruptFileError, match=says):
            examples.Pairs(tmp_path)


# lines


def test_both_spellings_of_the_original_and_ms_marcos_triples_are_read(tmp_path):
    wanted = [Example(7, (3, 1, 2), None), Example(7, (3, 1, 2), (0.5, -1.25, 4.0)), Example(7, (3, 1), None)]
    path = tmp_path / "lines.json"
    path.write_text("[7, 3, 1, 2]\n[7, [3, 0.5], [1, -1.25], [2, 4]]\n7\t3\t1\n")
    assert list(Examples(path)) == wanted
    assert len(Examples(path)) == 3


@given(st.lists(st.tuples(
    st.integers(0, 10**9), st.lists(st.tuples(st.integers(0, 10**9), st.floats(-50, 50)), min_size=2, max_size=6),
    st.booleans(),
), max_size=5))  # fmt: skip
def test_what_is_written_is_read_as_it_was(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("lines") / "examples.json"
    wanted = [
        Example(qid, tuple(pid for pid, _ in passages), tuple(score for _, score in passages) if scored else None)
        for qid, passages, scored in rows
    ]
    assert examples.write(path, wanted) == len(wanted)
    assert list(Examples(path)) == wanted
    for line, example in zip(
        path.read_text().splitlines(), wanted, strict=True
    ):  # as colbert/data/examples.py reads it
        qid, *passages = json.loads(line)
        pids = [entry[0] if example.scores else entry for entry in passages]
        assert (qid, tuple(pids)) == example[:2]


def test_a_line_is_cut_to_nway_passages(tmp_path):
    examples.write(tmp_path / "lines", [Example(0, (5, 6, 7), (1.0, 2.0, 3.0))])
    assert Examples(tmp_path / "lines", nway=2)[0] == Example(0, (5, 6), (1.0, 2.0))
    assert Examples(tmp_path / "lines")[-1].pids == (5, 6, 7)


def test_a_file_that_could_not_be_finished_is_not_there(tmp_path):
    def lines():
        yield Example(0, (1, 2), None)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examples.write(tmp_path / "lines", lines())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "[]", "null", "{}", '{"qid": 1}', "[1, 2", "1 2 3", "[1, [2, 3, 4]]", "[1, [2, 0.5], 3]", "[1, 2, [3, 0.5]]",
        "[[1], 2]", '[1, "a", 2]', "[null, 1, 2]", "[1e999, 2, 3]", "[1, 2, 1e999]", "[1, [2, NaN], [3, 0.5]]",
        "[1, [2, 0.5], [3, Infinity]]", "[1, [2, null], [3, 1]]", "[" * 100_000, "a\tb\tc",
    ],
)  # fmt: skip
def test_a_line_that_is_none_is_named(tmp_path, line):
    path = tmp_path / "lines.json"
    path.write_text(f"[1, 2, 3]\n{line}\n")
    with pytest.raises(CorruptFileError) as error:
        Examples(path)[1]
    assert str(error.value) == (
        f"{path}:2: expected [qid, pid, pid, ...] or [qid, [pid, score], ...], found {line[:60]!r}"
    )


@pytest.mark.parametrize(
    ("line", "nway", "found", "wanted"),
    [("[1, 2]", 0, 0, 1), ("[1]", 0, 0, 1), ("[1]", 4, 0, 3), ("[1, 2, 3]", 4, 1, 3), ("[1, [2, 0.5]]", 2, 0, 1)],
)
def test_an_empty_or_short_list_of_negatives_is_one_line(tmp_path, line, nway, found, wanted):
    path = tmp_path / "lines.json"
    path.write_text(f"{line}\n")
    with pytest.raises(CorruptFileError) as error:
        Examples(path, nway=nway)[0]
    assert str(error.value) == (
        f"{path}:1: question 1 has {found} negatives, and {wanted} are needed; mine deeper, or train with a smaller nway"
    )


def test_ids_that_do_not_resolve_are_one_line(tmp_path, two):
    pairs = gather(two, tmp_path / "pairs", validation=0)
    path = tmp_path / "lines.json"
    path.write_text("[0, 1, 4]\n[3, 1, 2]\n[0, 1, 5]\n[0, -1, 2]\n")
    lines = Examples(path, pairs=pairs)
    assert lines[0].pids == (1, 4)
    for row, says in (
        (1, "2: question 3 is not among the training questions"),
        (2, "3: passage 5 is named, and the collection ends at 4"),
        (3, "4: passage -1 is named, and the collection ends at 4"),
    ):
        with pytest.raises(MismatchError) as error:
            lines[row]
        assert str(error.value) == f"{path}:{says}"
    with pytest.raises(IndexError):
        lines[4]


# how lines are drawn


@pytest.fixture
def toy(tmp_path):
    return toy_training.pairs(tmp_path / "pairs")


def test_triples_have_a_right_passage_and_wrong_ones_of_the_candidates(toy):
    candidates = {qid: [*toy.positives[qid], *pids[:9]] for qid, pids in toy_training.wrong(toy).items()}
    lines = list(examples.triples(toy, candidates, nway=4, passes=3, seed=5))
    assert len(lines) == 3 * len(candidates)
    for qid, pids, scores in lines:
        assert scores is None and pids[0] in toy.positives[qid] and len(set(pids)) == 4
        assert all(pid in candidates[qid] and pid not in toy.positives[qid] for pid in pids[1:])
        assert all(pid in next(part for part in toy.parts if qid in part.qids).pids for pid in pids)
    for begin in range(0, len(lines), len(candidates)):
        once = [line.qid for line in lines[begin : begin + len(candidates)]]
        assert sorted(once) == sorted(candidates) and once != sorted(once)
    assert lines == list(examples.triples(toy, candidates, nway=4, passes=3, seed=5))
    assert lines != list(examples.triples(toy, candidates, nway=4, passes=3, seed=6))
    assert len({line.pids for line in lines if line.qid == 0}) > 1


def test_a_question_with_too_few_candidates_gives_no_line(toy):
    candidates = {0: [20, 21], 1: [20], 2: [], 3: [*toy.positives[3], 22]}
    assert [line.qid for line in examples.triples(toy, candidates, nway=3, passes=2, seed=0)] == [0, 0]
    scored = {0: {20: 1.0, 21: 0.5, 22: 0.1}, 1: {20: 1.0}, 2: {}, 3: {3: 0.5, 22: 1.0}}
    assert [line.qid for line in examples.tuples(toy, scored, nway=3, passes=2, depth=9, seed=0)] == [0, 0]


def test_tuples_begin_with_the_best_label_or_else_with_the_teachers_best(toy):
    (right,) = toy.positives[0]
    scored = {0: {20: 9.0, right: 3.0, 21: 1.0, 22: 2.0, 23: 5.0}, 1: {24: 0.5, 25: 2.5, 26: 1.0, 27: -1.0}}
    for qid, pids, scores in examples.tuples(toy, scored, nway=3, passes=8, depth=9, seed=0):
        assert pids[0] == {0: right, 1: 25}[qid]
        assert set(pids[1:]) <= {0: {21, 22}, 1: {24, 26, 27}}[qid] and len(set(pids)) == 3
        assert scores == tuple(scored[qid][pid] for pid in pids)


def test_where_the_teacher_thinks_little_of_the_label_others_fill_the_line(toy):
    (right,) = toy.positives[0]
    scored = {0: {right: -5.0, 20: 1.0, 21: 2.0, 22: -9.0}}
    drawn = [line.pids for line in examples.tuples(toy, scored, nway=3, passes=20, depth=9, seed=0)]
    assert {pid for pids in drawn for pid in pids[1:]} == {20, 21, 22} and {pids[0] for pids in drawn} == {right}


def test_negatives_come_from_the_first_of_the_mined(toy):
    scored = {0: {pid: float(-pid) for pid in range(20, 40)}}
    drawn = {pid for line in examples.tuples(toy, scored, nway=3, passes=40, depth=6, seed=0) for pid in line.pids}
    assert drawn == set(range(20, 26))


def test_negatives_are_drawn_uniformly(toy):
    scored = {0: {pid: 0.0 for pid in range(20, 31)} | {toy.positives[0][0]: 1.0}}
    lines = examples.tuples(toy, scored, nway=2, passes=2200, depth=50, seed=0)
    counts = np.bincount([line.pids[1] for line in lines], minlength=40)[20:31]
    assert counts.sum() == 2200 and counts.min() > 140 and counts.max() < 260  # 200 each, 4 standard deviations


def test_lines_that_do_not_go_together_are_one_line():
    lines = [Example(1, (2, 3), None), Example(4, (5, 6, 7), None), Example(8, (9, 10), (1.0, 2.0))]
    assert examples.even(lines[:1]) is None
    with pytest.raises(MismatchError, match="question 4 has 3 passages, and question 1 of the same batch 2"):
        examples.even(lines[:2])
    with pytest.raises(MismatchError, match="question 8 has scores, and question 1 of the same batch has none"):
        examples.even(lines[::2])


@pytest.mark.parametrize(
    ("line", "twice"),
    [
        ("[0, 0, 0]", "passage 0 as the positive and a negative"), ("[7, [3, 0.5], [3, 0.2]]", "passage 3 as the positive and a negative"),
        ("7\t3\t3", "passage 3 as the positive and a negative"), ("[7, 1, 2, 4, 2]", "passage 2 as two of the negatives"),
    ],
)  # fmt: skip
def test_a_line_that_names_a_passage_twice_is_refused(tmp_path, line, twice):
    path = tmp_path / "lines.json"
    path.write_text(f"[1, 2, 3]\n{line}\n")
    with pytest.raises(CorruptFileError, match=rf"lines\.json:2: question \d has {twice}; a line names a passage once"):
        Examples(path, pairs=toy_training.pairs(tmp_path / "pairs"))[1]


def test_a_passage_that_is_named_again_behind_nway_is_not_used(tmp_path):
    (tmp_path / "lines.json").write_text("[0, 1, 2, 1]\n")
    assert Examples(tmp_path / "lines.json", nway=2, pairs=toy_training.pairs(tmp_path / "pairs"))[0].pids == (1, 2)


@pytest.mark.parametrize("score", ["NaN", "-Infinity", "1e39", "true", '"0.5"'])
def test_a_score_that_is_none_is_named_however_far_behind_it_stands(tmp_path, score):
    path = tmp_path / "lines.json"
    path.write_text(f"[1, {', '.join(f'[{pid}, 0.25]' for pid in range(30))}, [77, {score}]]\n")
    with pytest.raises(CorruptFileError, match=r"lines\.json:1: expected .* \(.* is not a finite score\)$"):
        Examples(path)[0]
