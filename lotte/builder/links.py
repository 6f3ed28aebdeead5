"""Which post a URL names (spec B.4, decision 22)."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from lotte.builder.counts import NoLink

_URL = re.compile(r"https?://(?:www\.)?([a-z0-9.-]+)(?::80|:443)?(/[^?#]*)?(?:[?#].*)?", re.I | re.S | re.A).fullmatch
_PATH = re.compile(
    r"/(?:questions/([0-9]{1,12})(?:/[^/]*(?:/([0-9]{1,12}))?)?|q/([0-9]{1,12})(?:/[0-9]+)?|a/([0-9]{1,12})(?:/[0-9]+)?)/?"
).fullmatch
_NETWORK = re.compile(
    r"(?:.*\.)?(?:stackexchange\.com|stackoverflow\.com|superuser\.com|serverfault\.com|askubuntu\.com|mathoverflow\.net"
    r"|stackapps\.com)"
).fullmatch


class Link(NamedTuple):
    """A URL that names a post; 0 for the part of it that the URL does not say."""

    site: str
    question_id: int
    answer_id: int


def link(url: str, sites: Mapping[str, str]) -> Link | NoLink:
    """Return the post that a URL names, or why it names none.

    sites  host -> community, for every name of every community that is built

    >>> link("https://coffee.stackexchange.com/questions/12/how-hot/34#34", {"coffee.stackexchange.com": "coffee"})
    Link(site='coffee', question_id=12, answer_id=34)
    >>> print(link("https://coffee.stackexchange.com/questions/tagged/12", {"coffee.stackexchange.com": "coffee"}))
    no post
    """
    parts = _URL(url)
    if parts is None:
        return NoLink.ELSEWHERE
    host = parts[1].lower()
    if host not in sites:
        if not _NETWORK(host):
            return NoLink.ELSEWHERE
        return NoLink.META_SITE if "meta" in host.split(".") else NoLink.NOT_BUILT
    path = _PATH(parts[2] or "/")
    if path is None:
        return NoLink.NO_POST
    question_id, answer_id = int(path[1] or path[3] or 0), int(path[2] or path[4] or 0)
    return Link(sites[host], question_id, answer_id) if question_id or answer_id else NoLink.NO_POST
