"""A row is what expat says it is; the file around it is whole, UTF-8, and declares nothing."""

import re
import xml.etree.ElementTree as ElementTree
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotte.builder.xml_rows import XmlRows, decode, row_of, row_of_reference
from lotte.errors import CorruptFileError

HEAD = b'<?xml version="1.0" encoding="utf-8"?>\n<posts>\n'

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
names = st.sampled_from(["Id", "Score", "Body", "Title", "New_Attribute"])


def spelled(attributes: dict[str, str]) -> bytes:
    """A row as the dumps spell it."""
    pairs = []
    for name, value in attributes.items():
        for character, reference in (
            ("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\n", "&#xA;"), ("\r", "&#xD;"), ("\t", "&#x9;"),
        ):  # fmt: skip
            value = value.replace(character, reference)
        pairs.append(f'{name}="{value}"')
    return f"  <row {' '.join(pairs)} />\r\n".encode()


def rows(content: bytes, block: int = 1 << 20, root: str = "posts") -> tuple[list[dict[str, str]], XmlRows]:
    found = XmlRows((content[at : at + block] for at in range(0, len(content), block)), path="Posts.xml", root=root)
    return [{name.decode().strip(" ="): decode(value) for name, value in row.items()} for row in found], found


def decodes(value: bytes) -> bool:
    try:
        decode(value)
    except ValueError:
        return False
    return True


@given(st.dictionaries(names, texts, min_size=1))
def test_the_fast_reader_agrees_with_expat_on_rows_as_dumps_spell_them(attributes):
    piece = spelled(attributes).split(b"<row")[1]
    row, judge = row_of(piece), row_of_reference(piece)
    if judge is None:  # a character that XML has no place for; `XmlRows` never asks row_of about the raw ones
        raw = re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]", piece)
        assert raw or row is None or not all(map(decodes, row.values()))
    else:
        assert row is not None
        assert {name.decode().strip(" ="): decode(value) for name, value in row.items()} == judge


@given(
    st.lists(st.sampled_from([*' "=<>/&;#xaId1\t\nrow', "&amp;", ' Id="1"', ' a="', " />"]), max_size=30).map("".join)
)
def test_whatever_the_fast_reader_reads_expat_reads_too(text):
    piece = text.encode()
    row, judge = row_of(piece), row_of_reference(piece)
    if row is not None:
        try:
            read = {name.decode().strip(" ="): decode(value) for name, value in row.items()}
        except ValueError:
            assert judge is None
        else:
            assert read == judge


@given(st.binary(max_size=60))
def test_no_bytes_make_the_reader_fall_over(noise):
    with suppress(CorruptFileError, ValueError):
        rows(HEAD + b"<row " + noise + b"</posts>")


@given(st.lists(st.dictionaries(names, texts.map(lambda text: re.sub(r"[^ -~\xa0-\ud7ff\n]", "", text)), min_size=1), max_size=8),
       st.integers(1, 50))  # fmt: skip
def test_rows_are_the_same_however_the_blocks_fall(written, block):
    content = HEAD + b"".join(map(spelled, written)) + b"</posts>"
    assert rows(content, block)[0] == rows(content)[0] == written
    assert [dict(element.attrib) for element in ElementTree.fromstring(content)] == written


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>\r\n<posts>\r\n  <row Id="1" Body="a" />\r\n</posts>',
        b'<posts><row Id="1" Body="a"/></posts>',
        b"<posts>\n<row\n  Id='1'\n  Body='a'\n/>\n</posts>\n\n",
        b'<?xml version="1.0"?><!-- a dump --><posts><row Id = "1" Body = "a"></row></posts>',
    ],
)
def test_bom_line_ends_and_spelling_do_not_matter(content):
    assert rows(content)[0] == [{"Id": "1", "Body": "a"}]


@pytest.mark.parametrize(
    "content", [b"<posts></posts>", b"<posts />", b'\xef\xbb\xbf<?xml version="1.0"?>\n<posts>\n</posts>\n']
)
def test_a_table_may_be_empty(content):
    assert rows(content)[0] == []


def test_a_bad_row_is_named_with_its_line_and_the_others_are_read():
    content = (
        HEAD + b'  <row Id="1" />\n  <row Id="2" Body="a < b" />\n  <row Id="3" />\n  <row Id="4" Id="5" />\n</posts>'
    )
    found, table = rows(content)
    assert [row["Id"] for row in found] == ["1", "3"]
    assert (table.count, table.bad.count) == (4, 2)
    assert table.bad.first == ["Posts.xml:4: not a row in XML", "Posts.xml:6: not a row in XML"]


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
def test_lines_are_counted_across_blocks(block):
    content = HEAD + b'  <row Id="1" Body="&#xA;" />\n\n\n  <row Id="2" Body="a < b" />\n  <row Id="3" />\n</posts>'
    assert rows(content, block)[1].bad.first == ["Posts.xml:6: not a row in XML"]


def test_one_bad_row_is_forgiven_and_a_share_of_them_is_not():
    table = rows(HEAD + b'<row Id="1" ><row Id="2" /></posts>')[1]
    table.bad.check_share(table.count, 0.0)
    table = rows(HEAD + b'<row Id="1" >\n<row Id="2" >\n<row Id="3" /></posts>')[1]
    with pytest.raises(CorruptFileError) as error:
        table.bad.check_share(table.count, 0.01)
    assert str(error.value) == (
        "2 of 3 rows are bad, more than the 1.00% that max_bad_share allows; the first: Posts.xml:3: not a row in XML. "
        "Fetch the file again, or raise max_bad_share in the spec."
    )


WHOLE = (
    HEAD + spelled({"Id": "1", "Body": "<p>some text & more</p>"}) + spelled({"Id": "2", "Body": "b"}) + b"</posts>\r\n"
)


@pytest.mark.parametrize("end", range(0, len(WHOLE) - 3))
def test_a_table_cut_anywhere_is_refused(end):
    with pytest.raises(CorruptFileError, match=r"the file ends|expected <posts>"):
        rows(WHOLE[:end])


def test_a_cut_says_where_and_what_to_do():
    with pytest.raises(CorruptFileError) as error:
        rows(HEAD + b'  <row Id="1" />\n  <row Id="2" Body="a')
    assert str(error.value) == (
        "Posts.xml:4: the file ends in the middle of a row, </posts> is missing: it was cut. Fetch it again."
    )


BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE posts [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<posts><row Id="1" Body="&b;" /></posts>"""
OUTSIDE = b'<!DOCTYPE posts [<!ENTITY x SYSTEM "file:///etc/passwd">]><posts><row Id="1" Body="&x;" /></posts>'


@pytest.mark.parametrize("content", [BOMB, OUTSIDE])
def test_a_file_that_declares_entities_is_refused_before_a_row_is_read(content):
    with pytest.raises(CorruptFileError, match="declares a document type or entities"):
        rows(content)


def test_entities_of_its_own_are_never_expanded():
    for row in XmlRows([HEAD + b'<row Id="1" Body="&b;" /></posts>'], path="Posts.xml", root="posts"):
        with pytest.raises(ValueError, match="begins no entity of XML"):
            decode(row[b" Body="])


# characters that XML has no place for

CONTROLS = [code for code in (*range(1, 32), 0xFFFE, 0xFFFF) if code not in (9, 10, 13)]


@pytest.mark.parametrize("code", [0, *CONTROLS, 0xD800, 0xDFFF])
def test_a_reference_to_a_control_character_is_a_blank(code):
    content = HEAD + b'<row Id="1" Title="a&#x%X;b&#%d;c" Body="&amp;" /></posts>' % (code, code)
    found, table = rows(content)
    assert found == [{"Id": "1", "Title": "a b c", "Body": "&"}]
    assert table.bad.count == 0


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize("code", CONTROLS)
def test_a_control_character_as_itself_is_a_blank(code, block):
    content = HEAD + f'<row Id="1" Title="a{chr(code)}b" /><row Id="2" Title="é" /></posts>'.encode()
    found, table = rows(content, block)
    assert found == [{"Id": "1", "Title": "a b"}, {"Id": "2", "Title": "é"}]
    assert table.bad.count == 0


def test_the_fast_way_and_expat_make_the_same_of_a_reference_to_a_control_character():
    piece = b' Id="1" Body="a&#x0E;&#31;b&#xFFFF;" />'
    assert {name.decode().strip(" ="): decode(value) for name, value in row_of(piece).items()} == row_of_reference(piece)


def test_a_byte_of_zero_is_damage_and_no_blank():
    found, table = rows(HEAD + b'<row Id="1" Body="a\0b" /><row Id="2" /></posts>')
    assert ([row["Id"] for row in found], table.bad.first) == (["2"], ["Posts.xml:3: not a row in XML"])


# comments and processing instructions

PLACES = [
    "<!-- begins --><posts><row Id='1' /><row Id='2' /></posts>",
    "<?xml version='1.0'?><?style a='b'?><!-- <row Id='9' /> --><posts><row Id='1' /><row Id='2' /></posts>",
    "<posts><!-- c --><row Id='1' /><!-- c\n\n --><row Id='2' /><!-- c --></posts>",
    "<posts><row Id='1' /><!-- <row Id='9' /> <row Id='8' /> --><row Id='2' /></posts>",
    "<posts><row Id='1' /><?pi <a> ?><row Id='2' /></posts>",
    "<posts><row Id='1' /><row Id='2' /></posts> <!-- ends --> \n<?pi?>\n<!-- <row Id='9' /> </posts> -->\n",
    "<posts><row Id='1' /><row Id='2' /></posts ><?a?><?b?>",
    "<posts><!-- <row Id='9' /> --></posts>",
    "<posts /><!-- nothing -->",
]


@pytest.mark.parametrize("block", [1, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("content", PLACES)
def test_comments_and_instructions_are_read_as_any_parser_of_xml_reads_them(content, block):
    content = content.replace("'", '"')
    found, table = rows(content.encode(), block)
    assert [row["Id"] for row in found] == [row.get("Id") for row in ElementTree.fromstring(content)]
    assert table.bad.count == 0


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_a_comment_that_holds_rows_does_not_change_the_numbers_of_lines(block):
    content = HEAD + b'<row Id="1" />\n<!--\n<row Id="9" />\n-->\n<row Id="2" Body="a < b" />\n<row Id="3" />\n</posts>'
    assert rows(content, block)[1].bad.first == ["Posts.xml:7: not a row in XML"]


def test_what_looks_like_a_comment_within_a_bad_row_swallows_no_rows():
    content = HEAD + b'<row Id="1" Body="<!-- x" />\n<row Id="2" />\n<row Id="3" /></posts>'
    assert [row["Id"] for row in rows(content)[0]] == ["2", "3"]


@pytest.mark.parametrize(
    ("tail", "says"),
    [
        (b"</posts>\nmore", "Posts.xml:4: found b'more' after </posts>, where the table ends."),
        (b"</posts>\0\0\0", r"Posts.xml:4: found b'\x00\x00\x00' after </posts>, where the table ends."),
        (b"</posts><posts/>", "Posts.xml:4: found b'<posts/>' after </posts>, where the table ends."),
        (b"</posts>\n<!-- open", "Posts.xml:3: a comment begins here or below and never ends."),
        (b'</posts>\n<posts>\n<row Id="2" /></posts>', "rows after </posts>, where the table ends, after b'<posts>'."),
    ],
)
def test_what_stands_behind_a_table_is_said(tail, says):
    with pytest.raises(CorruptFileError) as error:
        rows(HEAD + b'  <row Id="1" />\n' + tail)
    assert says in str(error.value)


@pytest.mark.parametrize("opening", [b"<!--" * 100_000, b"<?" * 100_000, b"<posts>" * 100_000])
def test_an_opening_without_end_is_refused_at_once(opening):
    with pytest.raises(CorruptFileError):
        rows(opening)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (WHOLE.decode().encode("utf-16"), "UTF-16"),
        (b'<?xml version="1.0" encoding="latin-1"?><posts><row Id="1" /></posts>', "declares b'latin-1'"),
        (b'<users><row Id="1" /></users>', "expected <posts>"),
        (b"<html><row></html>", "expected <posts>"),
    ],
)
def test_what_is_no_table_of_a_dump_is_refused(content, says):
    with pytest.raises(CorruptFileError, match=says):
        rows(content)
