"""The spec: LoTTE's own communities and choices, and what a file may change."""

import pytest

from lotte.builder import spec
from lotte.errors import LotteError


def written(tmp_path, text: str):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_lottes_own_spec_has_every_community_in_collection_order():
    lotte = spec.read()
    parts = {(topic, split): sites for topic, split, sites in lotte.parts()}
    assert [len(parts[topic, "dev"]) for topic in lotte.topics] == [5, 4, 8, 5, 11]
    assert [len(parts[topic, "test"]) for topic in lotte.topics] == [1, 3, 3, 6, 3]
    assert list(lotte.topics) == ["writing", "recreation", "science", "technology", "lifestyle"]
    assert parts["lifestyle", "test"] == (
        "cooking.stackexchange.com",
        "travel.stackexchange.com",
        "sports.stackexchange.com",
    )
    dev = {site for (_, split), sites in parts.items() if split == "dev" for site in sites}
    test = {site for (_, split), sites in parts.items() if split == "test" for site in sites}
    assert not dev & test and len(dev) == 33 and len(test) == 16


def test_old_names_are_known():
    lotte = spec.read()
    assert lotte.names("writing.stackexchange.com") == ("writing.stackexchange.com", "writers.stackexchange.com")
    assert lotte.names("programmers.stackexchange.com") == (
        "programmers.stackexchange.com", "softwareengineering.stackexchange.com"
    )  # fmt: skip
    assert lotte.names("coffee.stackexchange.com") == ("coffee.stackexchange.com",)


def test_a_file_changes_single_options_and_the_rest_is_lottes(tmp_path):
    path = written(
        tmp_path,
        'name = "my"\n[options]\nforum_size = 10\nuntil = 2020-01-01\nmax_bad_share = 0\n[topics.a]\ntest = ["x.com"]',
    )
    mine = spec.read(path, seed=3)
    assert mine.options == spec.BuildOptions(forum_size=10, until="2020-01-01", max_bad_share=0.0, seed=3)
    assert mine.names("writing.stackexchange.com") == ("writing.stackexchange.com", "writers.stackexchange.com")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[topics.a]\ntest = ['x.com'", "is not TOML"),
        ("", "expected tables like [topics.science] with dev = [...] or test = [...]"),
        ("topic = 1", "no key is named 'topic'; did you mean 'topics'? there are name, options, topics, aliases"),
        ("[topics.pooled]\ntest = ['x.com']", "a topic cannot be named 'pooled'"),
        ("[topics.Pooled]\ntest = ['x.com']", "a topic cannot be named 'Pooled', as there is 'pooled'"),
        ("[topics.'manifest.json']\ntest = ['x.com']", "a topic cannot be named 'manifest.json'"),
        (f"[topics.{'x' * 256}]\ntest = ['x.com']", "it is longer than a file system takes"),
        ("[topics.nul]\ntest = ['x.com']", "is not a valid file name on Windows"),
        ("[topics.art]\ndev = ['x.com']\n[topics.Art]\ndev = ['y.com']", "'Art', as there is 'art' in the same folder"),
        ("[topics.a]\ntest = ['x.com']\n[options]\nuntil = '20210930'", "takes a day like 2021-09-30, not '20210930'"),
        ("[topics.a]\ntest = ['x.com']\n[options]\nas_of = '2021-W39-4'", "takes a day like 2021-09-30, not '2021-W39-4'"),
        ("[topics.'a/b']\ntest = ['x.com']", "a topic cannot be named 'a/b'"),
        ("[topics.'..']\ntest = ['x.com']", "a topic cannot be named '..'"),
        ("[topics.a]\ntrain = ['x.com']", "no split is named 'train'"),
        ("[topics.a]\ntest = 'x.com'", "a.test takes a list of hosts, not 'x.com'"),
        ("[topics.a]\ntest = []", "a.test takes a list of hosts, not []"),
        ("[topics.a]\ntest = ['coffee']", "'coffee' is not a host; write the full name"),
        ("[topics.a]\ntest = ['../x.com']", "'../x.com' is not a host"),
        ("[topics.a]\ntest = ['x.com', 'x.com']", "x.com is in a.test and in a.test"),
        ("[topics.a]\ntest = ['x.com']\n[topics.b]\ntest = ['x.com']", "x.com is in a.test and in b.test"),
        (
            "[options]\nforum_sise = 1\n[topics.a]\ntest = ['x.com']",
            "no option is named 'forum_sise'; did you mean 'forum_size'?",
        ),
        ("[options]\nforum_size = '1'\n[topics.a]\ntest = ['x.com']", "option forum_size takes int, not '1'"),
        ("[options]\nforum_size = true\n[topics.a]\ntest = ['x.com']", "option forum_size takes int, not True"),
        ("[options]\nforum_size = -1\n[topics.a]\ntest = ['x.com']", "option forum_size must be 0 or more, not -1"),
        (
            "[options]\nclosed = 'maybe'\n[topics.a]\ntest = ['x.com']",
            "option closed must be one of 'keep', 'drop', not 'maybe'",
        ),
        (
            "[options]\nuntil = 'May'\n[topics.a]\ntest = ['x.com']",
            "option until takes a day like 2021-09-30, not 'May'",
        ),
        ("[options]\nmin_score = 1" + "0" * 30 + "\n[topics.a]\ntest = ['x.com']", "option min_score takes a number of at most 18"),
        ("seed = " + "9" * 5000, "is not TOML: Exceeds the limit (4300 digits) for integer string conversion"),
        ("x = " + "[" * 100_000, "is not TOML: it is nested too deeply"),
        ("[topics.a]\ntest = ['x.com']\n[aliases]\n'x.com' = ['../x']", "the alias '../x' cannot name a dump: it has '/' in it"),
        ("[topics.a]\ntest = ['x.com']\n[aliases]\n'x.com' = ['..']", "the alias '..' cannot name a dump: it leads out"),
        ("[topics.a]\ntest = ['x.com']\n[aliases]\n'x.com' = 'y.com'", "the aliases of 'x.com' must be a list of hosts, not 'y.com'"),
        ("aliases = 1\n[topics.a]\ntest = ['x.com']", "aliases must be a table"),
        (
            "[options]\ndrop_owners = [1.5]\n[topics.a]\ntest = ['x.com']",
            "option drop_owners takes a list of int, not [1.5]",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(text, says, tmp_path):
    with pytest.raises(LotteError) as error:
        spec.read(written(tmp_path, text))
    assert says in str(error.value) and "\n" not in str(error.value).strip().replace("\\n", "")


def test_the_same_community_may_be_in_dev_and_in_test_but_not_twice_in_one(tmp_path):
    mine = spec.read(written(tmp_path, "[topics.a]\ntest = ['x.com']\ndev = ['x.com']"))
    assert mine.sites() == ["x.com"]
