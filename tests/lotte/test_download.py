"""A file is fetched whole or not at all, and goes on where it broke off."""

import hashlib
import json

import pytest
from file_server import CONTENT

from lotte import download
from lotte.errors import CorruptFileError, LotteError, UnavailableError

MD5 = hashlib.md5(CONTENT).hexdigest()


def get(server, target, *urls, **known):
    pauses = []
    download.download(urls or [server.url], target, sleep=pauses.append, timeout=5, **known)
    return pauses


def nothing_is_left(target):
    return not list(target.parent.glob(f"{target.name}*"))


def test_a_file_comes_whole_and_leaves_no_part(server, tmp_path):
    target = tmp_path / "x" / "file.bin"
    assert get(server, target, size=len(CONTENT), md5=MD5) == []
    assert target.read_bytes() == CONTENT and [path.name for path in target.parent.iterdir()] == ["file.bin"]
    get(server, target, size=len(CONTENT), md5=MD5)
    assert len(server.asked) == 1  # what is there and right is not asked for again


def test_what_breaks_off_goes_on_where_it_stopped(server, tmp_path):
    server.cut = [1000, 500_000]
    pauses = get(server, tmp_path / "f", md5=MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [asked[1:] for asked in server.asked] == [
        ("", ""), ("bytes=1000-", '"one"'), ("bytes=501000-", '"one"'),
    ]  # fmt: skip
    assert pauses == [1.0, 1.0]  # it made progress each time, so it is no more patient than the first time


def test_another_command_goes_on_with_the_part(server, tmp_path):
    server.cut, server.status = [1000], [200, 500, 500, 500, 500, 500]
    with pytest.raises(UnavailableError) as raised:
        get(server, tmp_path / "f", md5=MD5)
    assert str(raised.value) == (
        f"f could not be fetched ({server.url}: HTTP 500, 5 times in a row). {tmp_path}/f.partial is kept: "
        "run the command again, it goes on from there."
    )
    get(server, tmp_path / "f", md5=MD5)
    assert server.asked[-1][1] == "bytes=1000-" and (tmp_path / "f").read_bytes() == CONTENT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f"]


def test_a_file_that_changed_meanwhile_begins_anew(server, tmp_path):
    server.cut, server.status = [1000], [200, 404]
    with pytest.raises(UnavailableError):
        get(server, tmp_path / "f")
    server.content, server.etag = CONTENT[::-1], '"two"'
    get(server, tmp_path / "f")
    assert server.asked[-1][1:] == ("bytes=1000-", '"one"') and (tmp_path / "f").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("etag", ['W/"weak"', ""])
def test_without_a_strong_name_of_the_version_it_begins_anew(server, tmp_path, etag):
    server.cut, server.etag = [1000], etag
    get(server, tmp_path / "f", md5=MD5)
    assert [asked[1] for asked in server.asked] == ["", ""]


def test_a_server_that_ignores_the_range_sends_all_and_all_is_taken(server, tmp_path):
    server.cut, server.ignores_range = [1000], True
    get(server, tmp_path / "f", md5=MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_server_that_sends_another_part_is_asked_for_all(server, tmp_path):
    server.cut, server.wrong_part = [1000], True
    get(server, tmp_path / "f", md5=MD5)
    assert [asked[1] for asked in server.asked] == ["", "bytes=1000-", ""]


def test_a_part_that_is_longer_than_the_file_begins_anew(server, tmp_path):
    server.cut, server.status = [1000], [200, 404]
    with pytest.raises(UnavailableError):
        get(server, tmp_path / "f")
    server.content = CONTENT[:1000]
    get(server, tmp_path / "f")
    assert [asked[1] for asked in server.asked[2:]] == ["bytes=1000-", ""]


def test_all_of_it_came_and_then_the_process_died(server, tmp_path):
    (tmp_path / "f.partial").write_bytes(CONTENT)
    (tmp_path / "f.partial.json").write_text(json.dumps({"url": server.url, "version": '"one"'}))
    get(server, tmp_path / "f", size=len(CONTENT), md5=MD5)
    assert server.asked == [] and (tmp_path / "f").read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_the_next_mirror_is_tried(server, tmp_path):
    server.files["/bad"] = CONTENT[:-1] + b"!"
    bad = server.url.replace("/a/file.bin", "/bad")
    get(server, tmp_path / "f", bad, server.url, size=len(CONTENT), md5=MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT
    found = hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(CorruptFileError) as raised:
        get(server, tmp_path / "g", sha256="0" * 64)
    assert str(raised.value) == f"g could not be fetched ({server.url}: its sha256 is {found}, expected {'0' * 64})."
    assert nothing_is_left(tmp_path / "g")


def test_a_server_that_promises_more_than_it_sends(server, tmp_path):
    server.length = len(CONTENT) + 10  # and closes the connection before
    with pytest.raises(UnavailableError, match=r"416|broke off at 1,048,576 of 1,048,586 bytes"):
        get(server, tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_a_file_of_another_size_than_the_one_known_is_refused(server, tmp_path):
    with pytest.raises(UnavailableError) as raised:
        get(server, tmp_path / "g", size=5)
    assert str(raised.value) == f"g could not be fetched ({server.url}: it has 1,048,576 bytes there, expected 5)."


def test_a_server_that_sends_more_than_the_size_known_is_cut_off(server, tmp_path):
    server.without_length = True
    with pytest.raises(UnavailableError, match="it sends more than the 5 bytes it has"):
        get(server, tmp_path / "h", size=5)


def test_a_length_nobody_tells_is_judged_by_the_hash(server, tmp_path):
    server.without_length = True
    get(server, tmp_path / "f", md5=MD5)
    server.cut = [10]
    with pytest.raises(CorruptFileError, match="its md5 is"):
        get(server, tmp_path / "g", md5=MD5)


def test_mirrors_are_tried_in_order_and_one_line_tells_of_all(server, tmp_path):
    server.status = [404]
    get(server, tmp_path / "f", server.url, f"{server.url}2", md5=MD5)
    assert [asked[0] for asked in server.asked] == ["/a/file.bin", "/a/file.bin2"]
    server.status = [404, 403]
    with pytest.raises(UnavailableError) as raised:
        get(server, tmp_path / "g", server.url, f"{server.url}2")
    assert (
        str(raised.value)
        == f"g could not be fetched ({server.url}: HTTP 404 Not Found; {server.url}2: HTTP 403 Forbidden)."
    )


def test_a_busy_server_is_given_the_time_it_asks_for(server, tmp_path):
    server.status = [503, 429]
    assert get(server, tmp_path / "f", md5=MD5) == [7.0, 7.0]


def test_pauses_double_and_nobody_there_is_one_line(tmp_path):
    pauses = []
    with pytest.raises(UnavailableError, match="5 times in a row"):
        download.download(["http://127.0.0.1:9/x"], tmp_path / "f", sleep=pauses.append, timeout=2)
    assert pauses == [1.0, 2.0, 4.0, 8.0] and nothing_is_left(tmp_path / "f")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "/etc/passwd"])
def test_only_the_web_is_read(tmp_path, url):
    with pytest.raises(LotteError, match="is not an http or https address"):
        download.download([url], tmp_path / "f")


def test_nobody_is_sent_on_to_a_file_of_this_machine(server, tmp_path):
    server.moved = "file:///etc/passwd"
    with pytest.raises(UnavailableError):
        get(server, tmp_path / "f")
