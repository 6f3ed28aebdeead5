"""A file of rankings has no ties, and is read again as the run it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotte import Run, ranking
from lotte.run import LARGEST, Hit
from lotte.ties import equalled, falling

float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
few = st.sampled_from([0.0, -0.0, 0.5, 1.0, 1.0 + 1e-9, -1.0, 1e-45, LARGEST, -LARGEST])
scores = st.lists(float32 | few, min_size=1, max_size=30).map(lambda found: sorted(found, reverse=True))


def falls(found):
    rounded = np.array(found, np.float32)
    return bool((rounded[1:] < rounded[:-1]).all()) and bool(np.isfinite(rounded).all())


@given(scores)
def test_written_scores_strictly_fall_in_float32(found):
    assert falls(falling(found))


@given(scores)
def test_what_falls_already_is_not_changed(found):
    distinct = sorted({float(np.float32(score)) for score in found}, reverse=True)
    assert falling(distinct) == distinct


@given(scores)
def test_a_score_is_moved_by_as_many_steps_as_there_are_ties(found):
    moved = np.array(falling(found), np.float32)
    wanted = np.array(found, np.float32)
    assert moved == pytest.approx(wanted, rel=len(found) * 2**-23, abs=len(found) * 2e-45)


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.5]), min_size=1, max_size=30))
def test_scores_read_again_are_equal_where_they_were(found):
    found = sorted(found, reverse=True)
    hits = [Hit(f"{99 - number:02}", score) for number, score in enumerate(falling(found))]
    assert [hit.score for hit in equalled(hits)] == found


def test_scores_a_step_apart_whose_ids_are_in_another_order_were_no_tie():
    hits = [Hit(doc_id, score) for doc_id, score in zip("ab", falling([1.0, 1.0]), strict=True)]
    assert equalled(hits) == hits


@pytest.mark.parametrize("write", [lambda path, run: ranking.write_trec(path, run, tag="t"), ranking.write_lotte])
def test_a_file_of_ties_falls_and_is_the_same_run_again(tmp_path, write):
    run = Run.of({"q": {"a": 1.0, "b": 1.0, "c": 2.0, "d": 1.0, "e": 0.0, "f": 0.0}}, depth=9)
    write(tmp_path / "r", run)
    written = [float(line.split()[-2 if " Q0 " in line else -1]) for line in (tmp_path / "r").read_text().splitlines()]
    assert falls(written) and written == sorted(written, reverse=True)
    again = ranking.read(tmp_path / "r", ["q"], list("abcdef"))
    assert again.doc_ids("q") == run.doc_ids("q") == ["c", "d", "b", "a", "f", "e"]


def test_a_run_read_again_has_the_scores_it_had_and_is_written_in_the_same_bytes(tmp_path):
    run = Run.of({"q": {f"d{number}": number // 4 / 8 for number in range(40)}}, depth=40)
    ranking.write_trec(tmp_path / "one", run, tag="t")
    again = ranking.read(tmp_path / "one", ["q"], [f"d{number}" for number in range(40)])
    ranking.write_trec(tmp_path / "two", again, tag="t")
    assert again == run and (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
