"""The site: whole or absent, true to the records, and nothing that a stranger wrote is ever markup."""

import json
import re
import shutil
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.board import cost_plot, pair, site, table, texts
from leaderboard.board.benchmark_page import benchmark_pages, filled
from leaderboard.board.dataset_page import compared, dataset_pages
from leaderboard.board.entry import Entry, entry_of, read_entries
from leaderboard.board.pages import script_json
from leaderboard.evaluate import Order, evaluate
from leaderboard.interval import interval
from leaderboard.record.read import read as read_record
from leaderboard.record.schema import Record, identity, parse
from lotte import artifact, reading
from lotte.errors import LotteError, UnavailableError
from retrievers import load

EVIL = "</script><script>alert('pwned')</script>]]> \"quoted\" & <img src=x onerror=alert(1)> \u202eright\u2028"
pytest.importorskip("jinja2", reason="the board's pages need jinja2")


def made(
    system="bm25", on="lotte/science/test/search", values=(1.0, 0.0, 1.0, 1.0), measure="Success@5", **sections
) -> Record:
    """Return a record as `lotte eval` makes them, of questions q0, q1, ..."""
    record = parse(content_of(system, on, values, measure, **sections))
    assert isinstance(record, Record), record
    return record


def content_of(
    system="bm25", on="lotte/science/test/search", values=(1.0, 0.0, 1.0, 1.0), measure="Success@5", **sections
) -> dict:
    """Return the JSON of such a record, with the id of what it says, whatever that is."""
    per_query = {f"q{number}": float(value) for number, value in enumerate(values)}
    mean = sum(per_query.values()) / len(per_query)
    base = {
        "created": "2026-11-21T08:00:00+00:00",
        "retriever": {
            "name": system, "family": "lexical", "options": {}, "model": None, "index": {"type": "inverted"},
            "search": {"k": 100, "exact": True}, "training_data": [],
        },
        "dataset": {
            "name": on, "source": "release", "licence": "CC BY-SA 4.0", "facts": {},
            **dict.fromkeys(("corpus_sha256", "queries_sha256", "qrels_sha256"), artifact.digest(on)),
            "counts": {"documents": 9, "queries": len(values), "judged_queries": len(values), "judgments": 9},
        },
        "measures": {
            "official": measure, "tool": "pytrec-eval-terrier", "version": "0", "relevance_level": 1, "queries": "all",
            "aggregate": {measure: {"value": mean, "ci95": list(interval(list(per_query.values())))}},
            "per_query": {measure: per_query},
        },
        "run": {"file": "search.trec", "sha256": "0" * 64, "depth": 100, "ties": "", "origin": None, "missing": []},
        "cost": {"index_bytes": 2000, "bytes_per_document": 222.2, "latency_ms": {"p50": 1.5}, "queries_per_second": 9},
        "platform": {"cpu": "a CPU", "cores": 2, "gpu": [], "libraries": {}, "python": "3.11"},
        "implementation": {"command": f"lotte eval {on} --retriever {system}", "commit": None, "dirty": None},
        "contamination": [{"dataset": on, "level": "none", "evidence": "the system is not trained"}],
        "verification": {"level": "self-run"},
    }  # fmt: skip
    for name, section in sections.items():
        base[name] = {**base[name], **section} if isinstance(section, dict) else section
    return {**base, "schema": "lotte-result/1", "id": identity(base)}


def lie(file: Path, **sections) -> None:
    """Write a record with a valid id, whatever it says."""
    file.write_text(json.dumps(content_of(**sections)))


def read(*made_results, folder, say=None) -> list[Entry]:
    for number, one in enumerate(made_results):
        one.write(folder / f"{number:05}.json")
    told = []
    found = read_entries(folder, say or told.append)
    assert not told, told
    return found


def grouped(records):
    return [compared(one)[0] for one in dataset_pages(records)]


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags, self.links, self.events, self.scripts, self.ids = [], [], [], [], set()
        self.data, self._in = {}, []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.events += [name for name in attributes if name.startswith("on") or name == "style"]
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        if tag == "script":
            self.scripts.append(attributes)
            self._in.append(attributes)

    def handle_endtag(self, tag):
        if tag == "script":
            self._in.pop()

    def handle_data(self, data):
        if self._in and self._in[-1].get("type") == "application/json":
            self.data[self._in[-1]["id"]] = json.loads(data)

    def of(self, tag):
        return [attributes for found, attributes in self.tags if found == tag]


@pytest.fixture(scope="module")
def evil(tmp_path_factory) -> Path:
    """A data folder with a small collection whose texts are attacks."""
    folder = tmp_path_factory.mktemp("data") / "evil"
    folder.mkdir()
    plain = EVIL.replace("\u2028", " ")
    words = ("apple", "pear", "plum", "fig", "quince", "lime")
    docs = [f"{number}\t{word} {plain} {word * (number % 3)}\n" for number, word in enumerate(words)]
    queries = [f"{number}\t{word} {plain if number else ''}\n" for number, word in enumerate(words)]
    (folder / "collection.tsv").write_text("".join(docs), encoding="utf-8")
    (folder / "queries.test.tsv").write_text("".join(queries), encoding="utf-8")
    (folder / "qrels.test.tsv").write_text("".join(f"{number}\t0\t{(number * 2) % 6}\t1\n" for number in range(6)))
    return folder.parent


@pytest.fixture(scope="module")
def small(tmp_path_factory, evil) -> Path:
    """Results: systems that were really run, a whole LoTTE of made ones, attacks, and files that are no records."""
    folder = tmp_path_factory.mktemp("results")
    datasets = reading.read(evil / "evil")
    for number, (system, options) in enumerate([("overlap", []), ("bm25", []), ("bm25", ["k1=0"])]):
        done = list(evaluate(system, load(system, options), datasets, Order(out=folder / str(number), k=10)))
        assert done
    topics = ("writing", "recreation", "science", "technology", "lifestyle", "pooled")
    for number, (topic, kind) in enumerate(product(topics, ("search", "forum"))):
        for system, values in (("dull", [0, 0, 1, 0] * 4), ("bright", [1, 1, 1, number % 2] * 4)):
            name = f"lotte/{topic}/test/{kind}"
            family = {"name": system, "family": "dense", "model": {"id": "m", "parameters": 2e8}}
            one = made(system, name, values, retriever=family if system == "dull" else {"name": system})
            one.write(folder / "made" / system / f"{name}.json")
    made(EVIL, "a/" + EVIL, retriever={"name": EVIL, "family": EVIL, "options": {EVIL: [EVIL]}}, cost={"index_bytes": EVIL},
         implementation={"command": EVIL}, verification={"level": EVIL, "log": [{"what": EVIL}]},
         contamination=[{"level": EVIL, "evidence": EVIL}]).write(folder / "evil.json")  # fmt: skip
    made("other", "imported", verification={"level": "imported"}).write(folder / "imported.json")
    (folder / "broken.json").write_text('{"schema": "lotte-result/1", "id"')
    return folder


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def built(tmp_path_factory, small, evil, told) -> Path:
    out = tmp_path_factory.mktemp("site") / "board"
    assert site.build(small, out, told.append, data=evil) == out / "index.html"
    return out


@pytest.fixture(scope="module")
def pages(built) -> dict[str, Page]:
    return {file.relative_to(built).as_posix(): Page(file) for file in sorted(built.rglob("*.html"))}


def test_there_is_a_page_for_each_record_dataset_and_pair(pages):
    kinds = [name.partition("/")[0] for name in pages if "/" in name]
    assert {kind: kinds.count(kind) for kind in sorted(set(kinds))} == {
        "board": 2, "dataset": 12 + 3, "pair": 12 + 3, "record": 24 + 3 + 2
    }  # fmt: skip
    assert {name for name in pages if "/" not in name} == {
        "index.html", "picture.html", "datasets.html", "records.html", "method.html"
    }  # fmt: skip


def test_nothing_that_a_stranger_wrote_is_markup(pages):
    """The titles of records, the texts of documents, and what stands in the JSON of scripts."""
    for name, page in pages.items():
        assert not page.events, name
        assert all(script.get("src") or script.get("type") == "application/json" for script in page.scripts), name
        assert not page.of("img") and not page.of("iframe"), name


def test_the_attack_is_shown_as_the_text_it_is(built):
    bodies = [file.read_text(encoding="utf-8") for file in built.rglob("*.html")]
    assert any("&lt;script&gt;alert(&#39;pwned&#39;)" in body for body in bodies)
    assert not any("<script>alert" in body for body in bodies)
    assert any("onerror=alert" in file.read_text() for file in (built / "pair").glob("*.html"))


def test_json_in_a_script_has_no_character_of_markup():
    shown = script_json({"a": [EVIL, 0.5]})
    assert not set("<>&\u2028") & set(shown)
    assert json.loads(shown) == {"a": [EVIL, 0.5]}


def test_the_json_of_the_picture_says_what_the_records_say(pages):
    known = pages["picture.html"].data["points"]
    found = [point for name, one in known.items() if "evil" in name for point in one["points"]]
    assert len(found) == 3 and all(point["latency"] > 0 for point in found)


def test_every_page_forbids_what_is_not_of_the_site(pages):
    for name, page in pages.items():
        (policy,) = [one["content"] for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'"), name
        assert "unsafe-eval" not in policy and ("unsafe-inline" in policy) == (name == "picture.html")
        addresses = [link for link in page.links if urlsplit(link).scheme not in ("", "data")]
        assert not addresses, name


def test_every_link_leads_somewhere(built, pages):
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme == "data":
                continue
            target = (built / name).parent / unquote(parts.path) if parts.path else built / name
            assert target.is_file(), f"{name}: {link}"
            if parts.fragment and "=" not in parts.fragment:
                assert parts.fragment in page.ids, f"{name}: {link}"


def test_pages_can_be_read_by_ear_and_by_keyboard(pages):
    for name, page in pages.items():
        assert page.of("html")[0]["lang"] == "en" and len(page.of("main")) == len(page.of("h1")) == 1, name
        assert page.of("a")[0] == {"class": "skip", "href": "#main"}
        assert len(page.of("caption")) == len(page.of("table")), name
        assert all("scope" in head for head in page.of("th")), name
        regions = [one for one in page.of("div") if one.get("class") == "scroll"]
        assert all(
            one.get("tabindex") == "0" and (one.get("aria-label") or one.get("aria-labelledby")) for one in regions
        )
        assert all("aria-hidden" in one or "aria-label" in one for one in page.of("svg")), name


def test_a_broken_record_is_one_line_and_the_rest_stands(told, built):
    assert len(told) >= 1
    (line,) = [line for line in told if line.startswith("left out")]
    assert "broken.json" in line and "\n" not in line
    assert "broken.json" in (built / "method.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:200], "no JSON"),
        (lambda text: text.replace("lotte-result/1", "lotte-result/9"), "has schema"),
        (lambda text: text.replace("a CPU", "another"), "was changed after it was written"),
        (lambda text: text.replace('"q1": 0.0', '"q1": NaN'), "not finite"),
        (lambda text: "[" * 100_000, "nested too deeply"),
        (lambda text: "[]", "has schema None"),
        (lambda text: "\x00\xff", "no JSON"),
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
    """Texts that are no text, numbers that are lists: of a record that has a form, and of what is none, lines."""
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


def test_the_same_results_give_the_same_bytes(tmp_path, built, small, evil):
    again = tmp_path / "again"
    site.build(small, again, data=evil)
    files = sorted(file.relative_to(built) for file in built.rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(again) for file in again.rglob("*") if file.is_file())
    assert all((built / file).read_bytes() == (again / file).read_bytes() for file in files)


def test_a_site_is_whole_or_absent_and_an_older_one_stays(tmp_path, monkeypatch):
    folder, out = tmp_path / "results", tmp_path / "board"
    made().write(folder / "one.json")
    index = site.build(folder, out)
    before = index.read_bytes()

    def fail(*_):
        raise OSError("the disk is gone")

    monkeypatch.setattr(pair, "write", fail)
    for place in (out, tmp_path / "new"):
        with pytest.raises(OSError, match="the disk is gone"):
            site.build(folder, place)
    assert index.read_bytes() == before and not (tmp_path / "new").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["board", "results"]


def test_a_site_replaces_a_site_and_nothing_else(tmp_path):
    folder = tmp_path / "results"
    made().write(folder / "one.json")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years")
    for out in (tmp_path / "home", tmp_path, folder, tmp_path / "home" / "thesis.txt"):
        with pytest.raises(LotteError, match=r"another folder|new folder"):
            site.build(folder, out)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years"
    inside = folder / "site"
    assert site.build(folder, inside) == site.build(folder, inside)  # its own files are no records


def test_no_records_are_one_line(tmp_path):
    with pytest.raises(UnavailableError, match="is not there"):
        site.build(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnavailableError, match="holds no record"):
        site.build(tmp_path / "empty", tmp_path / "out")


def test_the_mean_is_over_the_five_topics_and_pooled_stands_beside_it(tmp_path):
    shares = {"writing": 4, "recreation": 3, "science": 2, "technology": 1, "lifestyle": 0, "pooled": 4}
    one = [made("one", f"lotte/{topic}/test/search", [1] * hits + [0] * (4 - hits)) for topic, hits in shares.items()]
    two = [made("two", "lotte/writing/test/search"), made("two", "lotte/writing/test/forum")]
    (found,) = benchmark_pages(grouped(read(*one, *two, folder=tmp_path)))
    found = filled(found)
    assert [column.title for column in found.columns] == list(shares)
    assert [column.title for column in found.columns if column.counts] == list(shares)[:5]
    first, second = found.rows
    assert (first.label, first.mean) == ("one", pytest.approx((4 + 3 + 2 + 1 + 0) / 4 / 5))
    assert second.mean is None and [len(cell) for cell in second.cells] == [1, 0, 0, 0, 0, 0]
    assert first.ci95[0] <= first.mean <= first.ci95[1]


def test_a_release_without_all_topics_has_no_mean(tmp_path):
    names = ("lotte/writing/test/forum", "lotte/science/test/forum")
    (found,) = benchmark_pages(grouped(read(*(made("one", name) for name in names), folder=tmp_path)))
    assert filled(found).rows[0].mean is None
    own = [made("one", name, dataset={"source": "build:abc"}) for name in names]
    (found,) = benchmark_pages(grouped(read(*own, folder=tmp_path / "own")))
    assert filled(found).rows[0].mean == 0.75


def test_cqadupstack_is_one_column_if_all_of_it_is_there(tmp_path):
    from lotte.benchmarks import beir

    forums = [made("one", f"beir/{name}", measure="nDCG@10") for name in beir.MEANS["cqadupstack"]]
    fiqa = made("one", "beir/fiqa", measure="nDCG@10")
    (whole,) = benchmark_pages(grouped(read(*forums, fiqa, folder=tmp_path)))
    assert [(column.title, len(column.datasets)) for column in whole.columns] == [("cqadupstack", 12), ("fiqa", 1)]
    (part,) = benchmark_pages(grouped(read(*forums[:2], fiqa, folder=tmp_path / "part")))
    assert len(part.columns) == 3 and all(len(column.datasets) == 1 for column in part.columns)


def test_systems_that_nothing_tells_apart_share_a_rank(tmp_path):
    good, same, bad = [1.0] * 40, [1.0] * 39 + [0.0], [0.0] * 40
    (contest,) = grouped(
        read(made("good", values=good), made("same", values=same), made("bad", values=bad), folder=tmp_path)
    )
    assert {label: one.rank for label, one in contest.standings.items()} == {"good": 1, "same": 1, "bad": 3}
    lines = table.of_dataset(contest).lines
    assert [(line.entry.label, line.shared) for line in lines] == [("good", True), ("same", True), ("bad", False)]
    assert contest.standings["good"].letters == contest.standings["same"].letters != contest.standings["bad"].letters


def test_what_was_imported_is_shown_and_has_no_rank(tmp_path):
    imported = made("other", values=[1.0] * 4, verification={"level": "imported"})
    (contest,) = grouped(read(made("one"), made("two", values=[0, 0, 0, 1]), imported, folder=tmp_path))
    assert set(contest.standings) == {"one", "two"} and set(contest.entries) == {"one", "two", "other"}


def test_records_of_other_data_are_never_compared(tmp_path):
    other = made("two", dataset={"qrels_sha256": "f" * 64})
    found = grouped(read(made("one"), other, made("three", values=[1, 1, 1]), folder=tmp_path))
    assert [list(contest.entries) for contest in found] != [] and all(len(one.entries) == 1 for one in found)
    assert len({one.slug for one in found}) == 3


def test_of_two_records_of_one_system_the_newest_counts(tmp_path):
    old = made("one", values=[1, 1, 1, 1])
    new = made("one", created="2026-11-22T08:00:00+00:00")
    (contest,) = grouped(read(new, old, folder=tmp_path))
    assert contest.entries["one"].value == 0.75 and [one.value for one in contest.repeats["one"]] == [1.0]


def test_systems_of_one_name_are_told_apart_by_what_differs(tmp_path):
    records = read(
        made("bm25", retriever={"options": {"k1": 0.9, "b": 0.4}}),
        made("bm25", retriever={"options": {"k1": 1.2, "b": 0.4}}),
        made("overlap", retriever={"options": {"lowercase": True}}),
        folder=tmp_path,
    )
    assert sorted(one.label for one in records) == ["bm25(k1=0.9)", "bm25(k1=1.2)", "overlap"]


def test_flips_are_the_questions_that_differ_the_largest_first(tmp_path):
    (contest,) = grouped(read(made("a", values=[1, 0, 0.5, 1]), made("b", values=[1, 1, 0, 0]), folder=tmp_path))
    wins, losses = pair.flips(contest, "a", "b")
    assert [(flip.query_id, flip.of_a, flip.of_b) for flip in wins] == [("q3", 1.0, 0.0), ("q2", 0.5, 0.0)]
    assert [flip.query_id for flip in losses] == ["q1"]
    found = contest.comparison("a", "b")
    assert (found.wins, found.ties, found.losses) == (2, 1, 1) and sum(pair.bars(contest, "a", "b")) == 3
    assert contest.comparison("b", "a") == found.swapped


def test_a_pair_shows_texts_and_first_fives_where_the_dataset_is_at_hand(small, evil, built, tmp_path):
    bodies = [file.read_text(encoding="utf-8") for file in (built / "pair").glob("*.html")]
    with_texts = [body for body in bodies if "quince" in body]
    assert len(with_texts) >= 2 and all("shown by their ids" not in body for body in with_texts)
    assert any("✓ relevant" in body for body in with_texts)
    shutil.copytree(small, tmp_path / "results")
    for run in (tmp_path / "results").rglob("*.trec"):
        run.write_text(run.read_text().replace(" Q0 0 ", " Q0 1 "))
    site.build(tmp_path / "results", tmp_path / "board", data=tmp_path)
    bodies = [file.read_text(encoding="utf-8") for file in (tmp_path / "board" / "pair").glob("*.html")]
    assert not any("quince" in body for body in bodies) and all("shown by their ids" in body for body in bodies)
    assert any("has another sha256" in body for body in bodies)


def test_first_fives_are_those_of_the_run(small):
    file = next(iter((small / "1").rglob("*.json")))
    one = entry_of(file, read_record(file), {})
    found, why = texts.tops(one)
    assert not why
    expected = {}
    for line in next(iter((small / "1").rglob("*.trec"))).read_text().splitlines():
        expected.setdefault(line.split()[0], []).append(line.split()[2])
    assert found == {query_id: tuple(doc_ids[:5]) for query_id, doc_ids in expected.items()}


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "a\\b", "", None])
def test_a_run_is_looked_for_beside_its_record_only(tmp_path, name):
    one = entry_of(tmp_path / "one.json", made(run={"file": name}), {})
    found, why = texts.tops(one)
    assert found == {} and why


costs = st.lists(st.tuples(st.sampled_from([1.0, 2.0, 3.0, 4.0]), st.sampled_from([0.1, 0.2, 0.3, 0.4])), max_size=12)


@given(costs)
def test_the_front_is_what_nothing_beats(points):
    found = cost_plot.front(points)
    for row, (cost, quality) in enumerate(points):
        beaten = any(
            other <= cost and better >= quality and (other, better) != (cost, quality) for other, better in points
        )
        same = [other for other in found if points[other] == (cost, quality)]
        assert bool(same) != beaten and len(same) <= 1, (row, points)


def test_without_the_library_the_drawings_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "_library", lambda: None)
    made().write(tmp_path / "results" / "one.json")
    out = site.build(tmp_path / "results", tmp_path / "board").parent
    page = (out / "picture.html").read_text()
    assert "plotly" not in page and '<path class="front"' in page
    assert not (out / "static" / "plotly.min.js").exists()


def test_the_library_goes_with_its_licence(built):
    if not (built / "static" / "plotly.min.js").is_file():
        pytest.skip("the package plotly is not installed")
    assert "MIT" in (built / "NOTICE.txt").read_text()


def test_a_cell_of_the_csv_is_no_formula(tmp_path):
    made("=HYPERLINK(1)").write(tmp_path / "results" / "one.json")
    out = site.build(tmp_path / "results", tmp_path / "board").parent
    assert ",'=HYPERLINK(1)," in (out / "board.csv").read_text()


@pytest.mark.slow
def test_three_thousand_records_do_not_break_it(tmp_path):
    """Thirty datasets, a hundred systems; the page of all records holds every one, the rest of them in a template."""
    for dataset, system in product(range(30), range(100)):
        values = [float((system * 7 + query * dataset) % 200 < 2 * system) for query in range(20)]
        made(f"s{system}", f"set{dataset}", values).write(tmp_path / "results" / f"{dataset}/{system}.json")
    out = site.build(tmp_path / "results", tmp_path / "board").parent
    page = (out / "records.html").read_text()
    assert page.count("<tr data-family") == 3_000 and page.index("<template>") < len(page) * 0.2
    assert len(list((out / "record").glob("*.html"))) == 3_000
    assert len(list((out / "pair").glob("*.html"))) == 30 * 66
    assert re.search(r"The 50 best are compared", next(iter((out / "dataset").glob("*.html"))).read_text())


# --- in a browser ---


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    where = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not where:
        pytest.skip("no browser: apt-get install chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=where, args=["--no-sandbox"], timeout=60_000)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, built):
    """`opened("index.html")` is the page in a browser, from the disk; what it logged and asked for is looked at."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: asked.append(request.url))

    def open_(name):
        page.goto((built / name).as_uri())
        return page

    yield open_
    context.close()
    assert not said
    assert all(url.startswith((built.as_uri(), "data:", "blob:")) for url in asked), asked


def systems(page):
    return page.locator("[data-board] tbody th").all_inner_texts()


@pytest.mark.slow
def test_the_board_filters_and_sorts(opened):
    page = opened("index.html")
    assert systems(page) == ["bright", "dull"]
    page.get_by_role("button", name="System").click()
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("System")
    page.get_by_role("button", name="System").click()
    assert systems(page) == ["dull", "bright"]
    page.get_by_label("Family").select_option("dense")
    assert systems(page) == ["dull"] and page.get_by_role("status").inner_text() == "1 of 2 rows"
    assert "family=dense" in page.url
    page.reload()
    assert systems(page) == ["dull"]
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Find").fill("BRI")
    assert systems(page) == ["bright"]
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Model size").select_option("up to 150 M")
    assert systems(page) == ["bright"]  # it has no model; the other has 200 million parameters


@pytest.mark.slow
def test_the_keyboard_is_enough(opened):
    page = opened("index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("button", name="System").focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort=ascending]").count() == 1


@pytest.mark.slow
def test_a_pair_opens_from_its_dataset_with_texts_as_texts(opened):
    page = opened("index.html")
    page.get_by_role("link", name="evil/test", exact=True).first.click()
    page.locator(".matrix td a").last.click()
    assert page.get_by_role("heading", name="Questions that flip").is_visible()
    flip = page.locator("details.flip").first
    flip.locator("summary").click()
    assert "<script>alert('pwned')" in flip.inner_text()
    assert flip.locator("ol li").first.is_visible()


@pytest.mark.slow
def test_the_picture_is_drawn_and_leads_to_records(opened, built):
    page = opened("picture.html")
    if not (built / "static" / "plotly.min.js").is_file():
        pytest.skip("the package plotly is not installed")
    page.wait_for_selector("#plot .main-svg")
    assert page.locator("#still").is_hidden()
    page.get_by_role("combobox", name="Dataset").select_option(label="evil/test")
    assert page.locator("#front tbody tr").count() >= 1
    page.get_by_role("combobox", name="View").select_option("all")
    assert page.locator("#plot .subplot").count() > 1
    page.get_by_role("combobox", name="View").select_option("one")
    page.locator("#front tbody a").first.click()
    assert "/record/" in page.url


@pytest.mark.slow
def test_every_kind_of_page_opens_on_a_phone_without_a_sideways_scroll(opened, built):
    for name in ("index.html", "records.html", "picture.html", *(
        next(iter(sorted((built / kind).glob("*.html")))).relative_to(built).as_posix()
        for kind in ("dataset", "record", "pair")
    )):  # fmt: skip
        page = opened(name)
        page.set_viewport_size({"width": 360, "height": 740})
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, f"{name} is {wide} wide"
