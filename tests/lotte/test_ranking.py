"""Ranking files mean what their authors mean by them, and one that cannot be meant is refused by its line."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotte import Run, ranking
from lotte.collection import RowIds
from lotte.errors import CorruptFileError, MismatchError, UnavailableError
from lotte.run import BY_RANK, BY_SCORE

QUERIES, DOCS = ("1", "2", "q"), ("d1", "d2", "d3", "10", "9")


@pytest.fixture
def file(tmp_path):
    def write(text: str, name: str = "run") -> Path:
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


def read(path: Path) -> Run:
    return ranking.read(path, QUERIES, DOCS)


def test_trec_goes_by_scores_and_ignores_ranks_and_what_follows_the_tag(file):
    run = read(file("1 Q0 d1 1 0.5 tag more words\n2\tQ0\td3\t1\t7\ttag\n1 Q0   d2 2  0.9 tag\n1 Q0 10 9 0.5 tag\n"))
    assert {query_id: run.doc_ids(query_id) for query_id in run.hits} == {"1": ["d2", "d1", "10"], "2": ["d3"]}
    assert run.ties == BY_SCORE


def test_lotte_goes_by_ranks_and_ignores_scores(file):
    run = read(file("1\td1\t1\t0.1\n2\td1\t1\tNaN\n1\td2\t2\t0.9\n1\td3\t3\t-\n"))
    assert {query_id: run.doc_ids(query_id) for query_id in run.hits} == {"1": ["d1", "d2", "d3"], "2": ["d1"]}
    assert run.ties == BY_RANK


def test_ms_marco_has_ranks_and_no_scores(file):
    run = read(file("1\td1\t1\n1\t9\t2\n1\t10\t3\n"))
    assert run.doc_ids("1") == ["d1", "9", "10"]
    assert run.ties == BY_RANK


@pytest.mark.parametrize("name", ["run.gz", "run"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_gzip_line_ends_and_a_byte_order_mark_make_no_difference(file, name, end, mark):
    lines = ["1 Q0 d1 1 2.0 t", "1 Q0 d2 2 1.0 t"]
    assert read(file(mark + end.join(lines), name)).doc_ids("1") == ["d1", "d2"]


T, L, M = "1 Q0 d1 1 2.0 t\n", "1\td1\t1\t2.0\n", "1\td1\t1\n"
SIX = "6 (TREC: query Q0 document rank score tag), 4 (LoTTE: query document rank score) or 3 (MS MARCO: query document rank)"


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", CorruptFileError, f":1: found 0 columns; a ranking has {SIX}"),
        ("1 d1\n", CorruptFileError, f":1: found 2 columns; a ranking has {SIX}"),
        ("1 Q0 d1 1 2.0\n", CorruptFileError, f":1: found 5 columns; a ranking has {SIX}"),
        (T + "1 Q0 d2 2 1.0\n", CorruptFileError, ":2: found 5 columns; the file began as TREC with at least 6"),
        (T + "\n" + T, CorruptFileError, ":2: found 0 columns; the file began as TREC with at least 6"),
        (L + "1\td2\t2\n", CorruptFileError, ":2: found 3 columns; the file began as LoTTE with 4"),
        (M + L, CorruptFileError, ":2: found 4 columns; the file began as MS MARCO with 3"),
        (T + "1 Q0 d2 2 x t\n", CorruptFileError, ":2: score 'x' is not a number"),
        (T + "1 Q0 d2 2 nan t\n", CorruptFileError, ":2: score 'nan' is not a finite float32, so it has no order"),
        (T + "1 Q0 d2 2 -inf t\n", CorruptFileError, ":2: score '-inf' is not a finite float32, so it has no order"),
        (T + "1 Q0 d2 2 1e39 t\n", CorruptFileError, ":2: score '1e39' is not a finite float32, so it has no order"),
        (
            L + "1\td2\t3\t1.0\n",
            CorruptFileError,
            ":2: found rank '3' where query '1' has its rank 2; ranks must be 1, 2, 3, ... down the file",
        ),
        (
            "1\td1\t0\n",
            CorruptFileError,
            ":1: found rank '0' where query '1' has its rank 1; ranks must be 1, 2, 3, ... down the file",
        ),
        (
            T + T,
            CorruptFileError,
            ":2: document 'd1' occurs a second time for query '1'; a ranking names a document once",
        ),
        (
            M + "2\td1\t1\n1\td1\t2\n",
            CorruptFileError,
            ":3: document 'd1' occurs a second time for query '1'; a ranking names a document once",
        ),
        (
            T + "7 Q0 d1 1 2.0 t\n",
            MismatchError,
            ":2: query '7' is not one of the dataset's 3; is this a run of another dataset?",
        ),
        (
            L + "1\td7\t2\t1.0\n",
            MismatchError,
            ":2: document 'd7' is not in the collection; is this a run of another dataset?",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(file, text, kind, message):
    path = file(text)
    with pytest.raises(kind) as raised:
        read(path)
    assert str(raised.value) == f"{path}{message}"


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "run"
    path.write_bytes(T.encode() + b"1 Q0 d\xff 2 1.0 t\n")
    with pytest.raises(CorruptFileError, match=r"run:2: not UTF-8 at byte 6 of the line"):
        read(path)


def test_a_cut_gzip_is_named(file, tmp_path):
    whole = file(T * 1, "run.gz").read_bytes()
    (tmp_path / "cut.gz").write_bytes(whole[:-6])
    with pytest.raises(CorruptFileError, match=r"cut.gz:\d: the .gz is damaged"):
        read(tmp_path / "cut.gz")


def test_a_ranking_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UnavailableError, match="nowhere is not there"):
        read(tmp_path / "nowhere")


def test_documents_that_are_numbered_by_their_line_are_known_by_their_number(file):
    text = "1 Q0 {} 1 2.0 t\n"
    assert ranking.read(file(text.format("4")), QUERIES, RowIds(5)).doc_ids("1") == ["4"]
    for stranger in ("5", "04", "x", "-1"):
        with pytest.raises(MismatchError, match="is not in the collection"):
            ranking.read(file(text.format(stranger)), QUERIES, RowIds(5))


scores = st.dictionaries(st.sampled_from(DOCS), st.floats(-1e9, 1e9) | st.sampled_from([0.0, 1.0, 1.0 + 1e-9]))


@given(st.dictionaries(st.sampled_from(QUERIES), scores))
def test_what_is_written_is_read_again_in_both_formats(tmp_path_factory, found):
    run = Run.of(found, depth=99)
    shown = {query_id: run.doc_ids(query_id) for query_id in run.hits if run.hits[query_id]}
    if not shown:
        return
    folder = tmp_path_factory.mktemp("runs")
    ranking.write_trec(folder / "deep" / "a.trec", run, tag="t")
    ranking.write_lotte(folder / "a.tsv", run)
    trec, lotte = read(folder / "deep" / "a.trec"), read(folder / "a.tsv")
    assert trec.filled(found) == run
    assert {query_id: lotte.doc_ids(query_id) for query_id in lotte.hits} == shown


@given(scores)
def test_trec_eval_finds_our_order_in_what_we_write(tmp_path_factory, found):
    """trec_eval sorts by the scores it reads: as float32, ties by strcmp, both descending."""
    import numpy as np

    run, path = Run.of({"q": found}, depth=99), tmp_path_factory.mktemp("runs") / "a.trec"
    ranking.write_trec(path, run, tag="t")
    rows = [line.split() for line in path.read_text().splitlines()]
    by_score = sorted(rows, key=lambda row: (np.float32(float(row[4])), row[2].encode()), reverse=True)
    assert [row[2] for row in by_score] == run.doc_ids("q")
    assert [row[3] for row in rows] == [str(rank) for rank in range(1, len(rows) + 1)]


def test_the_files_look_as_promised(tmp_path):
    import hashlib

    run = Run.of({"1": {"d1": 0.1, "d2": 2}, "2": {}}, depth=9)
    sha256 = ranking.write_trec(tmp_path / "a.trec", run, tag="bm25")
    assert (tmp_path / "a.trec").read_text() == "1 Q0 d2 1 2 bm25\n1 Q0 d1 2 0.100000001 bm25\n"
    assert sha256 == hashlib.sha256((tmp_path / "a.trec").read_bytes()).hexdigest()
    ranking.write_lotte(tmp_path / "test" / "science.forum.ranking.tsv", run)
    assert (tmp_path / "test" / "science.forum.ranking.tsv").read_text() == "1\td2\t1\t2\n1\td1\t2\t0.100000001\n"


def test_a_packed_run_is_the_same_bytes_whatever_the_day(tmp_path):
    import gzip
    import hashlib

    run = Run.of({"1": {"d1": 0.1, "d2": 2}}, depth=9)
    plain, packed = tmp_path / "a.trec", tmp_path / "b" / "a.trec.gz"
    ranking.write_trec(plain, run, tag="bm25")
    sha256 = ranking.write_trec(packed, run, tag="bm25")
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert sha256 == hashlib.sha256(packed.read_bytes()).hexdigest()
    assert packed.read_bytes()[3:8] == bytes(5)  # no name, no time


def test_an_id_with_a_blank_is_not_written_into_columns(tmp_path):
    with pytest.raises(MismatchError, match="an id of query '1' or of its documents has a blank in it"):
        ranking.write_trec(tmp_path / "a.trec", Run.of({"1": {"d 1": 1.0}}, depth=9), tag="t")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("score", ["1_0", "\u0669", "1\uff0e5", "0x1p3", "1e", "--1", "1,5"])
def test_a_score_that_trec_eval_would_read_as_another_number_is_refused(file, score):
    path = file(f"1 Q0 d1 1 {score} t\n")
    with pytest.raises(CorruptFileError, match=r":1: score .* is not a number$"):
        read(path)


def test_a_run_in_json_is_read_as_ranx_and_pytrec_eval_write_it(file, tmp_path):
    found = read(file('{"1": {"d1": 1.0, "d2": 2, "d3": 2.0}, "2": {}}\n'))
    assert found.doc_ids("1") == ["d3", "d2", "d1"] and found.doc_ids("2") == []
    assert found.missing(["1", "2", "q"]) == ["q"] and found.ties == BY_SCORE
    (tmp_path / "r.json.gz").write_bytes(gzip.compress(b'\n{\n  "1": {"d1": 0.5}\n}'))
    assert read(tmp_path / "r.json.gz").doc_ids("1") == ["d1"]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ('{"9": {"d1": 1}}', MismatchError, "query '9' is not one of the dataset's 3; is this a run of another"),
        ('{"1": {"d9": 1}}', MismatchError, "query '1': document 'd9' is not in the collection"),
        ('{"1": {"d1": 1, "d1": 2}}', CorruptFileError, r"not JSON .*'d1' occurs twice"),
        ('{"1": ["d1"]}', CorruptFileError, r"query '1': expected an object, document to score, found \['d1'\]"),
        ('{"1": {"d1": NaN}}', CorruptFileError, "query '1': document 'd1' has the score nan, which is not a float32"),
        ('{"1": {"d1": true}}', CorruptFileError, "document 'd1' has the score True, which is not a float32"),
        ('{"1": {"d1": 1e39}}', CorruptFileError, r"document 'd1' has the score 1e\+39, which is not a float32"),
        ('{"1": {"d1": 1', CorruptFileError, "not JSON"),
    ],
)
def test_a_bad_run_in_json_is_one_line(file, text, kind, message):
    with pytest.raises(kind, match=message):
        read(file(text))


@pytest.mark.parametrize("row", ["1 Q0 d1 1 2.0 t\n", "1\td1\t1\t2.0\n", "1\td1\t1\n"])
def test_an_ir_metadata_header_in_front_of_a_run_is_passed_over(file, row):
    assert read(file(f"# ir_metadata.start\n# tag: x\n# ir_metadata.end\n{row}")).doc_ids("1") == ["d1"]


def test_a_line_behind_a_header_keeps_its_number(file):
    with pytest.raises(CorruptFileError, match=":4: score 'nan' is not a finite float32"):
        read(file("# ir_metadata.start\n# tag: x\n# ir_metadata.end\n1 Q0 d1 1 nan t\n"))
    with pytest.raises(CorruptFileError, match=r"its header begins with ir_metadata.start and has no ir_metadata.end"):
        read(file("# ir_metadata.start\n# tag: x\n1 Q0 d1 1 nan t\n"))
