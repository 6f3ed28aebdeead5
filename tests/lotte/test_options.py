"""Every choice of the builder is an option that does what its name says; the default is LoTTE's."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
from places import DUMPS, GOOAQ, HOUSE

from lotte.builder import arrow, community, dump, gooaq, spec, topics
from lotte.builder.counts import ChosenCounts
from lotte.builder.spec import BuildOptions

SITE = "made.example.com"
ROWS = [
    '<row Id="1" PostTypeId="1" AcceptedAnswerId="4" Score="3" ViewCount="9" Title="Is &quot;this&quot; &lt;b&gt;it&lt;/b&gt;?" Body="q" OwnerUserId="1" CreationDate="2015-01-01T00:00:00.000" />',
    '<row Id="2" PostTypeId="1" Score="30" ViewCount="1" Title="No accepted" Body="q" OwnerUserId="1" CreationDate="2015-01-01T00:00:00.000" ClosedDate="2016-01-01T00:00:00.000" />',
    '<row Id="3" PostTypeId="2" ParentId="1" Score="2" Body="&lt;p&gt;It&#39;s  good.&lt;/p&gt;" OwnerUserId="2" CreationDate="2015-01-02T00:00:00.000" />',
    '<row Id="4" PostTypeId="2" ParentId="1" Score="0" Body="accepted, not upvoted" OwnerUserId="2" CreationDate="2015-01-03T00:00:00.000" />',
    '<row Id="5" PostTypeId="2" ParentId="2" Score="7" Body="ok" OwnerUserId="-2" CreationDate="2017-01-01T00:00:00.000" />',
    '<row Id="6" PostTypeId="2" ParentId="2" Score="1" Body="no owner &#xFB01;" OwnerDisplayName="gone" CreationDate="2019-01-01T00:00:00.000" />',
    '<row Id="7" PostTypeId="2" ParentId="2" Score="1" Body="no owner &#xFB01;" OwnerUserId="3" CreationDate="2019-01-01T00:00:00.000" />',
    '<row Id="2000000000" PostTypeId="2" ParentId="1" Score="9" Body="watermark" OwnerUserId="4" CreationDate="2019-01-01T00:00:00.000" />',
]  # fmt: skip


def passages(tmp_path: Path, **options) -> list[str]:
    folder = tmp_path / "dumps" / SITE
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Posts.xml").write_text("<posts>\n" + "\n".join(ROWS) + "\n</posts>", encoding="utf-8")
    found = dump.find(tmp_path / "dumps", [SITE])
    assert found
    community.build(found, BuildOptions(**options), tmp_path / "made")
    return [text for batch in arrow.batches(tmp_path / "made" / "texts.arrow") for text in batch["text"].to_pylist()]


DEFAULT = ["It's good.", "no owner \ufb01", "no owner \ufb01"]


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({}, DEFAULT),
        ({"until": "2018-12-31"}, DEFAULT[:1]),
        ({"min_score": 2}, DEFAULT[:1]),
        ({"min_score": 0}, ["It's good.", "accepted, not upvoted", *DEFAULT[1:]]),
        ({"include_accepted": True}, ["It's good.", "accepted, not upvoted", *DEFAULT[1:]]),
        ({"closed": "drop"}, DEFAULT[:1]),
        ({"deleted_owner": "drop"}, DEFAULT[:2]),
        ({"drop_owners": ()}, ["It's good.", "ok", *DEFAULT[1:]]),
        ({"drop_owners": (3,)}, ["It's good.", "ok", DEFAULT[1]]),
        ({"max_post_id": 1 << 40}, [*DEFAULT, "watermark"]),
        ({"html": "reference"}, DEFAULT),
        ({"unicode": "NFKC"}, ["It's good.", "no owner fi", "no owner fi"]),
        ({"min_chars": 11}, []),
        ({"duplicates": "drop"}, DEFAULT[:2]),
        ({"passage_quotes": "ascii"}, ["Its good.", *DEFAULT[1:]]),
    ],
    ids=str,
)
def test_options_of_passages(options, texts, tmp_path):
    assert passages(tmp_path, **options) == texts


def selected(tmp_path: Path, **options) -> dict[str, list[str]]:
    """The questions of one topic made of three of the sample's communities, chosen with these options."""
    three = tuple(f"{name}.stackexchange.example" for name in ("stargazing", "homelab", "houseplants"))
    mine = spec.Spec("one topic", {"all": {"test": three}}, BuildOptions(**options))
    folders = {}
    for site in mine.sites():
        found = dump.find(DUMPS, [site])
        assert found
        folders[site] = tmp_path / site
        if not folders[site].exists():
            community.build(found, mine.options, folders[site])
    sites = {site: site for site in mine.sites()}
    gooaq.read(GOOAQ, sites, mine.options, tmp_path / "gooaq", lambda used: None)
    parts = topics.select(mine, folders, gooaq.candidates(tmp_path / "gooaq"), ChosenCounts())
    pooled = next(part for part in parts if part.name == "pooled/test")
    return {
        "forum": [one.text for at in pooled.forum_order for one in pooled.blocks[at].forum],
        "search": [one.text for block in pooled.blocks for one in block.search],
        "golds": [str(len(one.rows)) for block in pooled.blocks for one in block.search],
        "sizes": [str(len(block.forum)) for block in pooled.blocks],
    }


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A folder with three communities, built without an option: these choose among what is there."""
    folder = tmp_path_factory.mktemp("three")
    selected(folder)
    return folder


@pytest.fixture(scope="module")
def default(three):
    return selected(three)


def test_questions_without_options(default):
    assert default["sizes"] == ["23", "22", "23"] and len(default["search"]) == 50


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"forum_accepted": False}, ["30", "30", "30"]),
        ({"forum_size": 9, "forum_min": 0}, ["3", "3", "3"]),
        ({"forum_size": 10, "forum_min": 0}, ["4", "4", "4"]),
        ({"forum_size": 10, "forum_min": 0, "forum_rounding": "floor"}, ["3", "3", "3"]),
        ({"forum_size": 34, "forum_min": 0}, ["12", "12", "12"]),
        ({"forum_size": 34, "forum_min": 0, "forum_share": "accepted"}, ["12", "11", "12"]),
        ({"forum_size": 34, "forum_min": 0, "forum_share": "all"}, ["12", "12", "12"]),
        ({"forum_min": 5, "forum_size": 0}, ["5", "5", "5"]),
    ],
    ids=str,
)
def test_how_many_forum_questions_each_community_gives(three, options, sizes):
    assert selected(three, **options)["sizes"] == sizes


def test_communities_stand_by_name(three, default):
    by_name = selected(three, forum_blocks="name")["forum"]  # homelab, houseplants, stargazing
    assert by_name == default["forum"][23:] + default["forum"][:23]


def test_forum_questions_stand_by_views(three, default):
    by_views = selected(three, forum_rank="views")["forum"]
    assert by_views != default["forum"] and sorted(by_views) == sorted(default["forum"])


def test_forum_questions_that_overlap_are_dropped(three, default):
    assert len(selected(three, forum_overlap="drop")["forum"]) < len(default["forum"])


def test_quotes_of_forum_questions(three, default):
    assert any("'" in text for text in selected(three, forum_quotes="none")["forum"])
    assert not any("'" in text for text in default["forum"])
    assert not any("\u201c" in text for text in selected(three, forum_quotes="all")["forum"])


def test_quotes_of_search_questions(three, default):
    assert any("'" in text for text in default["search"])
    assert not any("'" in text for text in selected(three, search_quotes="ascii")["search"])


def test_the_answer_that_a_search_question_links_to_is_its_only_one(three, default):
    golds = selected(three, search_target="answer")["golds"]
    assert set(golds) > {"1"} and sum(map(int, golds)) < sum(map(int, default["golds"]))


def test_a_page_gives_one_search_question(three, default):
    assert len(selected(three, search_key="page")["search"]) < len(default["search"])


def test_how_many_search_questions_each_community_gives(three, default):
    wanted = [text for at in (0, 17, 33) for text in default["search"][at : at + 5]]
    assert selected(three, search_size=5)["search"] == wanted


def test_search_questions_of_a_type_that_none_has(three):
    assert selected(three, search_types=("knowledge",))["search"] == []


@pytest.mark.parametrize("options", [{"search_shuffle": False}, {"seed": 5}], ids=str)
def test_what_decides_which_search_questions_are_taken(three, default, options):
    assert selected(three, **options)["search"] != default["search"]


def test_every_option_is_in_the_page_about_building():
    page = (HOUSE / "docs" / "build.md").read_text(encoding="utf-8")
    for option in fields(BuildOptions):
        default = option.default
        shown = json.dumps(list(default) if isinstance(default, tuple) else default)
        assert f"| `{option.name}` | `{shown}` |" in page, f"{option.name} = {shown}"


def test_what_a_communitys_folder_depends_on_is_in_its_key(tmp_path):
    recorded = set(community.record(BuildOptions(since="2015-01-01")))
    assert {option.name for option in fields(BuildOptions)} - recorded == {
        "forum_quotes", "forum_tags", "forum_share", "forum_accepted", "forum_rank", "forum_size", "forum_min",
        "forum_rounding", "forum_overlap", "forum_blocks", "search_quotes", "search_target", "search_key",
        "search_shuffle", "search_types", "search_repeats", "search_size", "seed",
    }  # fmt: skip
