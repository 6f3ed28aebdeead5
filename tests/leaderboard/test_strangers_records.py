"""A record or a run of a stranger: damage is found, what it says is data, and its names stay in their folder."""

import copy
import json
import random

import pytest
from command import error
from places import TINY
from records import make, replace, rewrite

from leaderboard import interchange
from leaderboard.record.audit import Report, audit
from leaderboard.record.read import read
from leaderboard.record.store import beside
from lotte import artifact
from lotte.errors import CorruptFileError, LotteError


@pytest.fixture
def record(tmp_path):
    return make(tmp_path / "results")


def problems(folder):
    report = Report()
    return list(audit(folder, TINY, report, quick=True)), report


def test_every_flipped_byte_of_a_record_and_its_run_is_found(tmp_path, record):
    draw = random.Random(1)
    for file in (record, record.with_suffix(".trec")):
        whole = file.read_bytes()
        for place in [*range(40), *draw.sample(range(len(whole)), 260 if file == record else 60)]:
            place %= len(whole)
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << draw.randrange(8)]) + whole[place + 1 :])
            assert problems(tmp_path / "results")[1].bad == 1, (file, place, whole[place - 9 : place + 9])
        file.write_bytes(whole)
    assert problems(tmp_path / "results")[0] == []


def test_the_spelling_of_json_is_no_matter(tmp_path, record):
    said = json.loads(record.read_text())
    record.write_text("\r\n\t" + json.dumps(dict(reversed(said.items())), ensure_ascii=True, indent=7) + "  ")
    assert problems(tmp_path / "results")[0] == []


@pytest.mark.parametrize(("old", "new", "said"), [
    ('"created":', '"created": "2001", "created":', "the key 'created' occurs twice"),
    ('"depth":', '"depth": 3, "depth":', "the key 'depth' occurs twice"),
    ('"depth": 3', '"depth": 1e999', "a number in it is not finite"),
    ('"depth": 3', '"depth": NaN', "a number in it is not finite"),
    ('"depth": 3', '"depth": ' + "9" * 5000, "not JSON"),
    ('"depth": 3', '"depth": ' + "[" * 100_000, "nested too deeply"),
    ('"depth": 3', '"depth": "\\ud800"', "a text in it contains an unpaired surrogate"),
])  # fmt: skip
def test_what_two_programs_would_read_otherwise_is_one_line(record, old, new, said):
    text = record.read_text()
    depth = json.loads(text)["run"]["depth"]
    old = old.replace("3", str(depth))
    assert text.count(old) == 1
    record.write_text(text.replace(old, new))
    with pytest.raises(CorruptFileError, match=said):
        read(record)


def _paths(value, path=()):
    if isinstance(value, dict) and path:
        yield path
    for key in value if isinstance(value, dict) else range(min(len(value), 1)) if isinstance(value, list) else ():
        yield from _paths(value[key], (*path, key))
    if not isinstance(value, dict):
        yield path


JUNK = [None, True, -1, 1e308, 10**400, "", "\x1b", "../../x", "a\x00b", [], {}, [[]], {"a": [1]}]


def test_a_field_of_another_kind_is_one_line_for_whoever_reads_it(tmp_path, record):
    whole, draw = json.loads(record.read_text()), random.Random(2)
    whole.pop("id")
    cases = [(path, junk) for path in _paths(whole) if path != ("schema",) for junk in JUNK]
    for path, junk in draw.sample(cases, 250):
        said = copy.deepcopy(whole)
        holder = said
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = junk
        record.write_text(json.dumps({**said, "id": artifact.digest(said)}))
        uses = [lambda: problems(tmp_path / "results"), lambda: read(record)]
        uses += [lambda form=form: list(interchange.export([record], form, tmp_path / form)) for form in ("tira", "ir_metadata")]
        for use in uses:
            try:
                use()
            except LotteError as told:
                assert "\n" not in str(told) and len(str(told)) < 600, (path, junk)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "a\x00b", "C:x", 7, None, ["x"]])
def test_a_run_is_the_name_of_a_file_beside_the_record(tmp_path, name):
    assert beside(tmp_path / "r.json", name) is None


@pytest.mark.parametrize("name", ["../../up", "/abs", "a/../../b", "..", "a\\..\\b", "a\x1b"])
def test_the_name_of_a_system_stays_below_out(tmp_path, name):
    run = make(tmp_path / "made").with_suffix(".trec")
    told = error("eval", TINY / "science/test/search", "--run", run, "--retriever", name, "--out", tmp_path / "a/b/out")
    assert told.startswith("the system ") and not (tmp_path / "a").exists()


HASHES = "#0 Q0 3 1 2.0 t\n#1 Q0 4 1 2.0 t\n"


def numbered(folder):
    """A dataset whose questions are called #0 and #1, and a run that answers both."""
    (folder / "hash").mkdir()
    (folder / "hash/collection.tsv").write_text("".join(f"{pid}\ttext {pid}\n" for pid in range(5)))
    (folder / "hash/queries.test.tsv").write_text("#0\tone\n#1\ttwo\n")
    (folder / "hash/qrels.test.tsv").write_text("#0\t0\t3\t1\n#1\t0\t4\t1\n")
    return folder / "hash"


HEADER = "# ir_metadata.start\n# tag: theirs\n# ir_metadata.end\n"


@pytest.mark.parametrize("head", ["", HEADER])
def test_an_id_may_begin_with_the_sign_of_a_comment(tmp_path, head):
    data = numbered(tmp_path)
    (tmp_path / "run.trec").write_text(head + HASHES)
    (stored,) = interchange.take_in(tmp_path / "run.trec", tmp_path / "out", TINY, dataset=str(data), system="s")
    assert read(stored).value == 1.0


@pytest.mark.parametrize("line", ["tag: !!timestamp x", "tag: !!bool x", 'tag: !!int ""', "a: &a [*a]", "a: &a 1\n# b: *a", "tag: 0x" + "f" * 5000, "a: " + "[" * 5000])  # fmt: skip
def test_a_header_that_is_no_plain_yaml_is_one_line(tmp_path, line):
    (tmp_path / "run.trec").write_text(f"# ir_metadata.start\n# {line}\n# ir_metadata.end\n0 Q0 3 1 2.0 t\n")
    with pytest.raises(CorruptFileError, match="its header is not YAML") as told:
        interchange.header(tmp_path / "run.trec")
    assert "\n" not in str(told.value)


def test_what_json_has_no_word_for_becomes_text(tmp_path):
    (tmp_path / "run.trec").write_text('# ir_metadata.start\n# a: {d: 2020-01-02, n: .nan, s: "\\ud800", 1: 2}\n# ir_metadata.end\n')
    assert interchange.header(tmp_path / "run.trec") == {"a": {"d": "2020-01-02", "n": "nan", "s": "\\ud800", "1": 2}}


def test_the_evidence_of_a_repetition_that_differs_is_held_to_its_hash_too(tmp_path, record):
    said = json.loads(record.read_text())
    said.pop("id")
    said["verification"] = {"level": "rescored", "log": [{"what": "repeated, and differs", "evidence": "x.gz", "run": "y.gz"}]}
    record.write_text(json.dumps({**said, "id": artifact.digest(said)}))
    assert problems(tmp_path / "results")[1].bad == 1




@pytest.mark.parametrize("section", ["retriever", "dataset"])
def test_a_name_without_end_is_refused_where_records_are_read(record, section):
    rewrite(record, lambda old: replace(old, **{section: {**getattr(old, section), "name": "n" * 5000}}))
    with pytest.raises(CorruptFileError, match=rf"{section}\.name: wanted 1,000 characters at most, found 5,000"):
        read(record)
