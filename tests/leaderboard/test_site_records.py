"""What the site makes of records: files that are none, records that lie, and any text in a field."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import content_of, made

from leaderboard.board import cost_plot, pair, site, table
from leaderboard.board.dataset_page import compared, dataset_pages
from leaderboard.board.entry import entry_of, read_entries
from leaderboard.record.schema import parse

pytest.importorskip("jinja2", reason="the board's pages need jinja2")


def lie(file: Path, **sections) -> None:
    """Write a record with a valid id, whatever it says."""
    file.write_text(json.dumps(content_of(**sections)))


def test_a_broken_record_is_one_line_and_the_rest_stands(evil_site_says, evil_site):
    assert len(evil_site_says) >= 1
    (line,) = [line for line in evil_site_says if line.startswith("left out")]
    assert "broken.json" in line and "\n" not in line
    assert "broken.json" in (evil_site / "method.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:200], "not JSON"),
        (lambda text: text.replace("lotte-result/1", "lotte-result/9"), "has schema"),
        (lambda text: text.replace("a CPU", "another"), "was changed after it was written"),
        (lambda text: text.replace('"q1": 0.0', '"q1": NaN'), "not finite"),
        (lambda text: "[" * 100_000, "nested too deeply"),
        (lambda text: "[]", "has schema None"),
        (lambda text: "\x00\xff", "not JSON"),
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path, change, message):
    file = made().write(tmp_path / "one.json")
    file.write_text(change(file.read_text()), encoding="latin-1")
    told = []
    assert read_entries(tmp_path, told.append) == []
    assert len(told) == 1 and message in told[0] and "one.json" in told[0] and "\n" not in told[0]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"measures": {"aggregate": {"Success@5": {"value": 0.9}}}}, "its values have the mean 0.750000, the record says 0.900000"),
        ({"measures": {"aggregate": {"Success@5": {"value": "0.75"}}}}, "Success@5.value: wanted a number, found '0.75'"),
        ({"measures": {"aggregate": []}}, "measures.aggregate: wanted an object, found []"),
        ({"measures": {"official": ["Success@5"]}}, "measures.official: wanted a text, found ['Success@5']"),
        ({"measures": {"per_query": {"Success@5": {"q0": "1"}}}}, "measures.per_query.Success@5.q0: wanted a number, found '1'"),
        ({"measures": {"per_query": {"Success@5": {"q0": 10**400}}}}, "measures.per_query.Success@5.q0: wanted a number, found 1000"),
        ({"dataset": {"name": None}}, "dataset.name: wanted a text, found None"),
        ({"retriever": {"name": " "}}, "retriever.name: wanted a name, found ' '"),
        ({"platform": "a machine"}, "platform: wanted an object, found 'a machine'"),
    ],
)
def test_a_record_with_a_valid_id_is_not_believed_for_that(tmp_path, sections, message):
    lie(tmp_path / "one.json", **sections)
    told = []
    assert read_entries(tmp_path, told.append) == []
    assert len(told) == 1 and message in told[0]


@given(
    st.dictionaries(
        st.sampled_from(["retriever", "dataset", "run", "cost", "platform", "implementation", "verification"]),
        st.dictionaries(
            st.sampled_from(
                "family options model index search counts facts licence index_bytes latency_ms gpu cores libraries "
                "command commit level log training_data bytes_per_document source file".split()
            ),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers()
                | st.text(max_size=9)
                | st.floats(allow_nan=False, allow_infinity=False),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                max_leaves=4,
            ),
            max_size=3,
        ),
        max_size=3,
    ),
    st.none()
    | st.integers()
    | st.lists(st.none() | st.dictionaries(st.sampled_from(["level", "evidence"]), st.integers())),
)
def test_whatever_stands_in_the_other_fields_a_page_can_be_made(sections, contamination):
    """Texts that are not text, numbers that are lists: of a record that has a form, and of what is none, lines."""
    from leaderboard.board.pages import page

    one = parse(content_of(**sections, contamination=contamination))
    if isinstance(one, list):
        assert all(": wanted " in line and "\n" not in line and len(line) < 200 for line in one)
        return
    known = entry_of(Path("one.json"), one, {})
    (dataset,) = dataset_pages([known])
    dataset, _ = compared(dataset)
    shown = site.Site(
        entries=[known], datasets=[dataset], benchmarks=[], notes={}, left_out=[], has_library=False, has_copies=False,
    )  # fmt: skip
    context = {"site": shown, "dataset": dataset, "title": "t", "pair_page": pair.page_of, "pairs": [], "repeats": ()}
    assert page("record", "../", entry=known, newest=known, **context)
    context |= {"table": table.of_dataset(dataset), "menu": [], "current": "", "note": "", "paired": []}
    assert page("dataset", "../", drawing=cost_plot.drawing(cost_plot.points(dataset)), **context)
    assert page("records", "", site=shown, table=table.of_entries([known]))
