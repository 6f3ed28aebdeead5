"""One small community on two days, and builds of both: every way in which a post can drift, once."""

from pathlib import Path

from made_dump import table

from lotte.builder import build, spec
from lotte.progress import Progress

SITE = "cheese.example.com"
DAY = "2015-06-01"  # the older dump is of its end
EVIL = "<script>alert(1)</script>"


def question(number: int, title: str, accepted: int, score: int = 5) -> str:
    return (
        f'<row Id="{number}" PostTypeId="1" AcceptedAnswerId="{accepted}" Score="{score}" ViewCount="9" Title="{title}" '
        f'Body="q" CreationDate="2015-01-01T00:00:00.000" />'
    )


def answer(number: int, of: int, text: str, score: int, created: str = "2015-01-02") -> str:
    return (
        f'<row Id="{number}" PostTypeId="2" ParentId="{of}" Score="{score}" Body="&lt;p&gt;{text}&lt;/p&gt;" '
        f'CreationDate="{created}T00:00:00.000" />'
    )


def vote(number: int, of: int, on: str, kind: int = 2) -> str:
    return f'<row Id="{number}" PostId="{of}" VoteTypeId="{kind}" CreationDate="{on}T00:00:00.000" />'


def revision(number: int, of: int, kind: int, on: str) -> str:
    return f'<row Id="{number}" PostHistoryTypeId="{kind}" PostId="{of}" CreationDate="{on}T00:00:00.000" Text="x" />'


OLD_POSTS = [
    question(1, "How long does Gouda keep", 11),
    question(2, "Which rind may be eaten", 14),
    question(3, "Why does it squeak", 17),
    answer(11, 1, "some weeks in the cold if it is waxed", 3),
    answer(12, 1, "deleted in the years after that day", 2),
    answer(13, 1, "a post whose only vote was of a removed account", 1),
    answer(14, 2, "the rind of a Brie is a mould that may be eaten", 4),
    answer(15, 2, "written anew without a trace of it in the history", 2),
    answer(16, 2, "liked on that day and not at all later", 1),
    answer(17, 3, "fresh curds rub on teeth", 6),
]
NEW_POSTS = [
    question(1, "How long does Gouda keep", 11),
    question(2, "Which rinds may be eaten", 14),
    question(3, "Why does it squeak", 17),
    question(4, "What goes with figs", 22),
    answer(11, 1, "some months in the cold if it is waxed", 3),
    answer(13, 1, "a post whose only vote was of a removed account", 0),
    answer(14, 2, "the rind of a Brie is a mould that may be eaten", 4),
    answer(15, 2, "written anew without any trace of it in the history", 2),
    answer(16, 2, "liked on that day and not at all later", 0),
    answer(17, 3, "fresh curds rub on teeth", 6),
    answer(18, 3, "there on that day, and liked only later", 1),
    answer(22, 4, "a blue one", 2, created="2016-03-01"),
]
VOTES = [
    *(vote(n, 11, "2015-02-01") for n in range(3)), *(vote(n, 14, "2015-02-01") for n in range(10, 14)), vote(20, 15, "2015-02-01"),
    vote(21, 15, "2015-02-01"), vote(22, 16, "2015-02-01"), vote(23, 16, "2016-01-01", kind=3), vote(24, 18, "2016-01-01"),
    *(vote(n, 17, "2015-02-01") for n in range(30, 36)), vote(40, 22, "2016-03-02"), vote(41, 22, "2016-03-03"),
]  # fmt: skip
HISTORY = [revision(1, 11, 2, "2015-01-02"), revision(2, 11, 5, "2016-01-05"), revision(3, 2, 4, "2016-02-05"), revision(4, 15, 5, "2015-01-05")]
CAUSES = {
    ("passages", "lost", 12): "deleted since",
    ("passages", "lost", 13): "vote lost",
    ("passages", "lost", 16): "voted down since",
    ("passages", "added", 18): "voted up since",
    ("passages", "added", 22): "created later",
    ("passages", "edited", 11): "edited with history",
    ("passages", "edited", 15): "edited without history",
    ("forum questions", "edited", 2): "edited with history",
    ("forum questions", "added", 4): "created later",
}


def dumps(place: Path, posts: list[str], *, whole: bool = True) -> Path:
    """Write a dump of the community."""
    site = place / SITE
    site.mkdir(parents=True)
    (site / "Posts.xml").write_bytes(table(*posts))
    if whole:
        (site / "Votes.xml").write_bytes(table(*VOTES, root="votes"))
        (site / "PostHistory.xml").write_bytes(table(*HISTORY, root="posthistory"))
    return place


def built(place: Path, dumps_of: Path, **options: object) -> Path:
    """Build it."""
    file = place / "spec.toml"
    place.mkdir(parents=True, exist_ok=True)
    file.write_text(f'[topics.food]\ntest = ["{SITE}"]\n')
    asked = build.BuildRequest(spec.read(file, **options), dumps_of, place / "out", None, 1, None, False)
    build.build(asked, lambda total, title: Progress(total, "bytes", title), lambda line: None)
    return place / "out"


def without_posts(folder: Path) -> Path:
    """Make a build what a release is: no manifest, no attribution, no pids in its metadata."""
    (folder / "manifest.json").unlink()
    for name in ("attribution.parquet", "metadata.jsonl"):
        for file in folder.rglob(name):
            file.unlink()
    return folder
