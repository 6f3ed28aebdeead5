"""Markdown as the sites rendered it: one construct a test, by the rules before the switch of June 2020 and after it."""

import pytest

from lotte.builder.html import text_of_value
from lotte.builder.markdown import rendered
from lotte.builder.xml_rows import encode

OLD, FENCED, NEW = "2016-09-04", "2019-06-01", "2020-06-01"


def text(markdown: str, day: str = OLD, **titles: str) -> str:
    """What is read of it; titles: the last part of a URL -> what a bare link to it shows."""
    return text_of_value(encode(rendered(markdown, day, lambda url: titles.get(url.rsplit("/", 1)[-1]))))


@pytest.mark.parametrize(
    ("markdown", "old", "new"),
    [
        # what begins a list
        ("1) hop\n2) malt", "1) hop 2) malt", "hop malt"),
        ("1. hop\n2. malt", "hop malt", "hop malt"),
        ("Takes:\n- hop\n- malt", "Takes: - hop - malt", "Takes: hop malt"),
        ("Takes:\n\n- hop\n- malt", "Takes: hop malt", "Takes: hop malt"),
        ("Takes:\n1. hop\n2. malt", "Takes: 1. hop 2. malt", "Takes: hop malt"),
        ("* hop\n    * dried\n* malt", "hop dried malt", "hop dried malt"),
        ("- hop\n\nthen 3. malt", "hop then 3. malt", "hop then 3. malt"),
        ("7. hop\n\n    in more words", "hop in more words", "hop in more words"),
        # headings
        ("##Hops\nand malt", "Hops and malt", "##Hops and malt"),
        ("## Hops ##\nand malt", "Hops and malt", "Hops and malt"),
        ("Hops\n====\nmalt\n-----\n", "Hops malt", "Hops malt"),
        ("####### seven", "# seven", "####### seven"),
        # links and images
        ("see [hops] [1] here\n\n[1]: http://a.example/x", "see hops here", "see [hops] 1 here"),
        ("see [hops][] here\n\n[HOPS]: http://a.example/x", "see hops here", "see hops here"),
        ("see [hops] (http://a.example/x) here", "see [hops] (http://a.example/x) here",
         "see [hops] (http://a.example/x) here"),
        ("see ![hops] (http://a.example/x.png) here", "see here", "see ![hops] (http://a.example/x.png) here"),
        ("see [a [b] c](http://a.example/(x)_y 'title') here", "see a [b] c here", "see a [b] c here"),
        ("no blank line\n[1]: http://a.example/x\nsee [1]", "no blank line see 1",
         "no blank line [1]: http://a.example/x see [1]"),
        ("bare http://a.example/x_y_z, here", "bare http://a.example/x_y_z, here", "bare http://a.example/x_y_z, here"),
        ("in (http://a.example/x) <https://a.example/y>", "in (http://a.example/x) https://a.example/y",
         "in (http://a.example/x) https://a.example/y"),
        ("write to <me@a.example>!", "write to !", "write to me@a.example!"),
        # emphasis
        ("snake_case_name and _one_", "snake_case_name and one", "snake_case_name and one"),
        ("2*3*4 and *one*", "2*3*4 and one", "234 and one"),
        ("un*believ*able", "unbelievable", "unbelievable"),
        ("***both***, **two** and __two__", "both, two and two", "both, two and two"),
        ("not * this * nor 2 ** 3 ** 4", "not * this * nor 2 ** 3 ** 4", "not * this * nor 2 ** 3 ** 4"),
        # characters
        (r"\(\_/\) and \$5 and \"", r"(_/) and \$5 and \"", r"(_/) and $5 and \""[:-2] + '"'),
        ("a < b & c &amp; d &lt; e", "a < b & c & d < e", "a < b & c & d < e"),
        ("``a `b` <i> \\* c``", "a `b` <i> \\* c", "a `b` <i> \\* c"),
        ("one  \ntwo", "one two", "one two"),
        # blocks
        ("a\n\n    code *x* <b>\n    [1]: y\n", "a code *x* <b> [1]: y", "a code *x* <b> [1]: y"),
        ("> said\nlazily\n\nafter", "said lazily after", "said lazily after"),
        (">! hidden\n>! more", "hidden more", "hidden more"),
        ("> not! hidden", "not! hidden", "not! hidden"),
        (">![alt](http://a.example/x.png) shown", "shown", "shown"),
        ("a\n\n- - -\n\nb", "a b", "a b"),
        ("<b>bo</b>ld <nobr>not</nobr> <blink class='x'>kept</blink>", "bold not kept", "bold not kept"),
        ("<div>\n*raw*\n</div>\n\n*cooked*", "*raw* cooked", "*raw* cooked"),
        ("a\n\n<!-- language: lang-c -->\n\n    b", "a b", "a b"),
        ("<script>shown</script>", "shown", "shown"),
        ("[tag:hops] and `[tag:code]`", "hops and [tag:code]", "hops and [tag:code]"),
    ],
)  # fmt: skip
def test_a_construct_by_the_rules_of_its_day(markdown, old, new):
    assert (text(markdown, OLD), text(markdown, NEW)) == (old, new)


def test_fences_are_code_from_2019_on():
    markdown = "```python\na\n\n# b\n```\nc"
    assert (text(markdown, OLD), text(markdown, FENCED)) == ("```python a b ``` c", "a # b c")
    assert text("~~~\n[1]: never closed", FENCED) == "[1]: never closed"


@pytest.mark.parametrize("day", [OLD, FENCED, NEW])
@pytest.mark.parametrize(
    "link", ["http://a.example/q/5", "<http://a.example/q/5>", "[http://a.example/q/5](http://a.example/q/5)"]
)
def test_a_bare_link_shows_the_title_of_its_question(link, day):
    assert text(f"see {link}, there", day, **{"5": "How *hot* & <b>?"}) == "see How *hot* & <b>?, there"
    assert text(f"see {link}, there", day) == "see http://a.example/q/5, there"


@pytest.mark.parametrize("day", [OLD, NEW])
def test_a_link_with_a_text_of_its_own_keeps_it(day):
    assert text("see [this](http://a.example/q/5), `http://a.example/q/5`", day, **{"5": "T"}) == (
        "see this, http://a.example/q/5"
    )


@pytest.mark.parametrize("day", [OLD, FENCED, NEW])
@pytest.mark.parametrize(
    "piece", ["[", "![", "](", "*", "_ ", "**a", "`", "<", "<a ", "<p>", "<!--", "> ", "1. ", "\n\n- a", "    a\n", "(", "\\",
              "http://", "[a](", "<?", "&", "> - ", "```\n", "[1]:\n"]
)  # fmt: skip
def test_the_same_few_characters_over_and_over_are_a_text_like_any_other(piece, day):
    assert isinstance(text(piece * (6_000 // len(piece)), day), str)
