"""The text of a post is what BeautifulSoup's tree says, whichever way it is found."""

import sys
from html.entities import name2codepoint

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import STACKEXCHANGE
from plain_build import text as straightforward

from lotte.builder import dump
from lotte.builder.html import BLOCK, INLINE, one_line, text_of_reference, text_of_value
from lotte.builder.xml_rows import XmlRows, decode


def value(html: str) -> bytes:
    """HTML as an attribute of a dump spells it."""
    html = html.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return html.replace("\n", "&#xA;").replace("\r", "&#xD;").replace("\t", "&#x9;").encode()


tags = st.sampled_from(
    [*sorted(BLOCK | INLINE), "img", "script", "style", "textarea", "ruby", "rt", "svg", "P", "nosuch"]
)
attributes = st.sampled_from(
    ["", ' href="a?b=1&amp;c=2"', ' alt="a > b"', " checked", " title='x'", ' a="<br>"', "/", " /"]
)
pieces = st.one_of(
    st.tuples(tags, attributes).map(lambda pair: f"<{pair[0]}{pair[1]}>"),
    tags.map(lambda name: f"</{name}>"),
    st.sampled_from(["<br>", "<br />", "<hr/>", '<img src="x">', "<p>", "</p>", "<li>", "</li>", "<b>", "</b>", "<code>"]),
    st.sampled_from(
        ["&lt;", "&amp;lt;", "&amp;", "&", "&nbsp;", "&mdash;", "&#39;", "&#x27;", "&#8217;", "&#0;", "&#133;", "&#x110000;",
         "&nosuch;", "&copy", "<!-- c -->", "<!--", "<![CDATA[x]]>", "<!DOCTYPE x>", "<?php x ?>", "a < b", "a>b", "\n",
         "\n\n    ", "\t", "  ", '"', "'", "\u00a0", "\u2028", "\u3000", "\x85", "\u200b", "caf\u00e9", "\U0001f600"]
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=6),
)  # fmt: skip


@settings(max_examples=1500)
@given(st.lists(pieces, max_size=14).map("".join))
def test_the_fast_way_agrees_with_the_tree_whatever_the_html(html):
    assert text_of_value(value(html)) == text_of_reference(html)


@given(st.recursive(st.sampled_from(["text ", "a &amp; b", "&lt;x&gt;", "\n"]), lambda inner: st.tuples(
    st.sampled_from(["p", "b", "code", "li", "blockquote", "em", "td"]), st.lists(inner, max_size=4)
).map(lambda pair: f"<{pair[0]}>{''.join(pair[1])}</{pair[0]}>")))  # fmt: skip
def test_the_tree_agrees_with_the_afternoon_version_on_clean_html(html):
    assert text_of_reference(html) == straightforward(html)


@pytest.mark.parametrize("name", sorted(name2codepoint))
def test_every_entity_of_html_4_means_the_same_both_ways(name):
    html = f"<p>a&{name};b</p>"
    assert text_of_value(value(html)) == text_of_reference(html)


@pytest.mark.parametrize("number", [31, 32, 39, 126, 127, 128, 150, 159, 160, 173, 8217, 49999, 55296, 65534, 128512])
def test_numbers_of_characters_mean_the_same_both_ways(number):
    html = f"<p>a&#{number};b &#x{number:x};</p>"
    assert text_of_value(value(html)) == text_of_reference(html)


def test_every_white_space_character_is_one_blank():
    for code in (code for code in range(0x3001) if chr(code).isspace() or code < 0x20):
        if code not in range(0x20) or chr(code).isspace():
            assert text_of_value(value(f"a{chr(code)}{chr(code)}b")) == "a b", hex(code)
        assert one_line(f"a{chr(code)} b") == "a b", hex(code)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p>\n\n<p>Two</p>\n", "One Two"),
        ("a<br>b<br/>c", "a b c"),
        ("<ul><li>one</li><li>two</li></ul>", "one two"),
        ("in<em>line</em> t<sub>a</sub>gs", "inline tags"),
        ('<a href="x">link</a>, <code>a &lt; b &amp;&amp; c</code>', "link, a < b && c"),
        ('<p><img src="x.png" alt="not shown"></p>', ""),
        ("<pre><code>if x:\n    y\n</code></pre>", "if x: y"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a b"),
        ("x<!-- hidden -->y<script>alert(1)</script><style>p{}</style>z", "xyz"),
        ("&amp;lt;b&amp;gt; stays", "&lt;b&gt; stays"),
        ("<p>bare < and & and ></p>", "bare < and & and >"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_what_a_reader_sees(html, text):
    assert text_of_value(value(html)) == text_of_reference(html) == text


def test_tags_nested_deeper_than_python_calls_are_no_harm():
    depth = sys.getrecursionlimit() * 3
    html = "<div>" * depth + "deep" + "</div>" * depth + "<b>"
    assert text_of_value(value(html)) == "deep"


@pytest.mark.skipif(not STACKEXCHANGE.is_dir(), reason="needs the dumps of ../shared/data/stackexchange, which is not here")
@pytest.mark.parametrize("name", sorted(path.name for path in STACKEXCHANGE.iterdir()) if STACKEXCHANGE.is_dir() else [])
def test_both_ways_agree_on_every_body_of_real_dumps(name):
    site = name.removesuffix(".7z")
    found = dump.find(STACKEXCHANGE, [site])
    assert found
    for _, blocks in found.read(["Posts.xml"], lambda used: None):
        for row in XmlRows(blocks, path=name, root="posts"):
            body = row[b" Body="]
            assert text_of_value(body) == text_of_reference(decode(body))
