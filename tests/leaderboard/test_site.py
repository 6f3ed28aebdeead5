"""The site: whole or absent, and nothing that a stranger wrote is ever markup."""

import json
import re
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from made_records import EVIL, made

from leaderboard.board import pair, site
from leaderboard.board.pages import script_json
from lotte.errors import LotteError, UnavailableError

pytest.importorskip("jinja2", reason="the board's pages need jinja2")


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
def evil_pages(evil_site) -> dict[str, Page]:
    return {file.relative_to(evil_site).as_posix(): Page(file) for file in sorted(evil_site.rglob("*.html"))}


def test_there_is_a_page_for_each_record_dataset_and_pair(evil_pages):
    kinds = [name.partition("/")[0] for name in evil_pages if "/" in name]
    assert {kind: kinds.count(kind) for kind in sorted(set(kinds))} == {
        "board": 2, "dataset": 12 + 3, "pair": 12 + 3, "record": 24 + 3 + 2
    }  # fmt: skip
    assert {name for name in evil_pages if "/" not in name} == {
        "index.html", "picture.html", "datasets.html", "records.html", "method.html"
    }  # fmt: skip


def test_nothing_that_a_stranger_wrote_is_markup(evil_pages):
    """The titles of records, the texts of documents, and what stands in the JSON of scripts."""
    for name, page in evil_pages.items():
        assert not page.events, name
        assert all(script.get("src") or script.get("type") == "application/json" for script in page.scripts), name
        assert not page.of("img") and not page.of("iframe"), name


def test_the_attack_is_shown_as_the_text_it_is(evil_site):
    bodies = [file.read_text(encoding="utf-8") for file in evil_site.rglob("*.html")]
    assert any("&lt;script&gt;alert(&#39;pwned&#39;)" in body for body in bodies)
    assert not any("<script>alert" in body for body in bodies)
    assert any("onerror=alert" in file.read_text() for file in (evil_site / "pair").glob("*.html"))


def test_json_in_a_script_has_no_character_of_markup():
    shown = script_json({"a": [EVIL, 0.5]})
    assert not set("<>&\u2028") & set(shown)
    assert json.loads(shown) == {"a": [EVIL, 0.5]}


def test_the_json_of_the_picture_says_what_the_records_say(evil_pages):
    known = evil_pages["picture.html"].data["points"]
    found = [point for name, one in known.items() if "evil" in name for point in one["points"]]
    assert len(found) == 3 and all(point["latency"] > 0 for point in found)


def test_every_page_forbids_what_is_not_of_the_site(evil_pages):
    for name, page in evil_pages.items():
        (policy,) = [one["content"] for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'"), name
        assert "unsafe-eval" not in policy and ("unsafe-inline" in policy) == (name == "picture.html")
        addresses = [link for link in page.links if urlsplit(link).scheme not in ("", "data")]
        assert not addresses, name


def test_every_link_leads_somewhere(evil_site, evil_pages):
    for name, page in evil_pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme == "data":
                continue
            target = (evil_site / name).parent / unquote(parts.path) if parts.path else evil_site / name
            assert target.is_file(), f"{name}: {link}"
            if parts.fragment and "=" not in parts.fragment:
                assert parts.fragment in page.ids, f"{name}: {link}"


def test_pages_can_be_read_by_ear_and_by_keyboard(evil_pages):
    for name, page in evil_pages.items():
        assert page.of("html")[0]["lang"] == "en" and len(page.of("main")) == len(page.of("h1")) == 1, name
        assert page.of("a")[0] == {"class": "skip", "href": "#main"}
        assert len(page.of("caption")) == len(page.of("table")), name
        assert all("scope" in head for head in page.of("th")), name
        regions = [one for one in page.of("div") if one.get("class") == "scroll"]
        assert all(
            one.get("tabindex") == "0" and (one.get("aria-label") or one.get("aria-labelledby")) for one in regions
        )
        assert all("aria-hidden" in one or "aria-label" in one for one in page.of("svg")), name


def test_the_same_results_give_the_same_bytes(tmp_path, evil_site, evil_results, evil_data):
    again = tmp_path / "again"
    site.build(evil_results, again, data=evil_data)
    files = sorted(file.relative_to(evil_site) for file in evil_site.rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(again) for file in again.rglob("*") if file.is_file())
    assert all((evil_site / file).read_bytes() == (again / file).read_bytes() for file in files)


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
    assert site.build(folder, inside) == site.build(folder, inside)  # its own files are not records


def test_no_records_are_one_line(tmp_path):
    with pytest.raises(UnavailableError, match="is not there"):
        site.build(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnavailableError, match="holds no record"):
        site.build(tmp_path / "empty", tmp_path / "out")


def test_without_the_library_the_drawings_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "_library", lambda: None)
    made().write(tmp_path / "results" / "one.json")
    out = site.build(tmp_path / "results", tmp_path / "board").parent
    page = (out / "picture.html").read_text()
    assert "plotly" not in page and '<path class="front"' in page
    assert not (out / "static" / "plotly.min.js").exists()


def test_the_library_goes_with_its_licence(evil_site):
    if not (evil_site / "static" / "plotly.min.js").is_file():
        pytest.skip("the package plotly is not installed")
    assert "MIT" in (evil_site / "NOTICE.txt").read_text()


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
