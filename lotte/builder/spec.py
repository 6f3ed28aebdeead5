"""What to build: topics, splits, communities in collection order, and every choice that the paper leaves open.

The defaults are LoTTE's own, as far as the paper and the released files tell;
`docs/build.md` gives the evidence for each. A spec file changes single ones.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lotte.builder import manifest
from lotte.errors import (
    CorruptFileError,
    LotteError,
    MismatchError,
    UnavailableError,
    UnknownNameError,
    did_you_mean,
    shown,
)
from lotte.parsing import toml_file
from lotte.paths import why_not

SPLITS = ("dev", "test")
POOLED = "pooled"
FRESH = ("since", "near_titles", "near_texts")  # options of a fresh build; another does not state them
LOTTE_SPEC = Path(__file__).with_name("topics.toml")

_GIVEN = "the command line"  # what names an option that no file has

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?\.[a-z0-9-]+").fullmatch
_TOPIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*").fullmatch


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """The choices of spec B.4; the number of the decision stands after each."""

    # which posts
    until: str = ""  # 1: leave out posts created after this day, "" for none
    min_score: int = 1  # 2: an answer needs this score to be a passage
    include_accepted: bool = False  # 3: keep an accepted answer whatever its score
    closed: Literal["keep", "drop"] = "keep"  # 4: closed questions and their answers
    deleted_owner: Literal["keep", "drop"] = "keep"  # 5: answers whose author is gone
    drop_owners: tuple[int, ...] = (-2,)  # user ids whose posts are left out: the official answer bot
    max_post_id: int = 999_999_999  # ids above it are watermarks, not posts
    max_bad_share: float = 0.01  # a table with a larger share of bad rows is refused
    # how they read
    html: Literal["fast", "reference"] = "fast"  # 7: two ways to the same text
    unicode: Literal["none", "NFC", "NFKC"] = "none"  # 9
    min_chars: int = 1  # 10: shorter passages are left out
    duplicates: Literal["keep", "drop"] = "keep"  # 11: passages of a community with the same text
    passage_quotes: Literal["none", "ascii", "all"] = "none"  # 12: which quotation marks passages lose
    # forum questions
    forum_quotes: Literal["none", "ascii", "all"] = "ascii"  # 13: which quotation marks titles lose
    forum_tags: Literal["drop", "keep"] = "drop"  # 15: what looks like an HTML tag in a title
    forum_share: Literal["answered", "accepted", "all"] = "answered"  # 16: whose share of the topic counts
    forum_accepted: bool = True  # 17: only questions with an accepted answer
    forum_rank: Literal["score", "views"] = "score"  # 18: ties by the other one, then by id
    forum_size: int = 2000  # 19: questions of a topic, before rounding up and the minimum
    forum_min: int = 50  # 19: at least so many of each community, if it has them
    forum_rounding: Literal["ceil", "nearest", "floor"] = "ceil"  # 19
    forum_overlap: Literal["allow", "drop"] = "allow"  # 20: pages that a search question asks too
    forum_blocks: Literal["collection", "name"] = "collection"  # 21: order of the communities
    # search questions
    search_quotes: Literal["none", "ascii", "all"] = "none"  # 14
    search_target: Literal["page", "answer"] = "page"  # 23: all its answers, or the one linked to
    search_key: Literal["url", "page", "answer"] = "url"  # 24: one question for each of these
    search_shuffle: bool = True  # 25: which of several is taken is drawn by the seed
    search_types: tuple[str, ...] = ()  # 26: answer_type of GooAQ; () for any
    search_repeats: Literal["drop", "keep"] = "drop"  # 27: the same words for the same page
    search_size: int = 0  # 28: at most so many of a community; 0 for all
    seed: int = 0  # 25
    # the past
    as_of_texts: Literal["history", "current"] = "history"  # old revisions, or the texts of the dump
    as_of: str = ""  # the state of posts, scores and acceptance on this day, from PostHistory and Votes
    # what is new; recorded only where `since` is set
    since: str = ""  # only questions asked on this day or later, and answers written then
    near_titles: float = 0.7  # share of word pairs that make a title nearly an older one
    near_texts: float = 0.5  # share of runs of five words that make a text nearly an older one

    def record(self) -> dict[str, Any]:
        """Return the options as the manifest states them."""
        unset = FRESH if not self.since else ()
        return {name: value for name, value in asdict(self).items() if name not in unset}


@dataclass(frozen=True)
class Spec:
    """Topics with their communities, and the options they are built with."""

    name: str
    topics: Mapping[str, Mapping[str, tuple[str, ...]]]  # topic -> split -> hosts, in collection order
    options: BuildOptions = BuildOptions()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # host -> names it went by

    def names(self, site: str) -> tuple[str, ...]:
        """Return every host this community is known by, its own first."""
        groups = [{new, *old} for new, old in self.aliases.items()]
        others = {name for group in groups if site in group for name in group} - {site}
        return site, *sorted(others)

    def sites(self) -> list[str]:
        """Return every community once, in the order of the file."""
        return list(dict.fromkeys(site for _, _, sites in self.parts() for site in sites))

    def parts(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Give (topic, split, communities) for each part there is, split by split."""
        for split in SPLITS:
            for topic, splits in self.topics.items():
                if split in splits:
                    yield topic, split, splits[split]

    def narrowed(self, topics: list[str], splits: list[str]) -> "Spec":
        """Return the spec with these topics and splits only; [] for all."""
        for topic in topics:
            if topic not in self.topics:
                raise _unknown("topic", topic, list(self.topics), self.name)
        for split in splits:
            if split not in SPLITS:
                raise _unknown("split", split, list(SPLITS), self.name)
        kept = {
            topic: {split: sites for split, sites in chosen.items() if not splits or split in splits}
            for topic, chosen in self.topics.items()
            if not topics or topic in topics
        }
        kept = {topic: chosen for topic, chosen in kept.items() if chosen}
        if not kept:
            raise MismatchError(f"spec {self.name}: no community is left with these topics and splits")
        return Spec(self.name, kept, self.options, self.aliases)

    def record(self) -> dict[str, Any]:
        """Return the spec as the manifest states it."""
        topics = {
            topic: {split: list(sites) for split, sites in splits.items()} for topic, splits in self.topics.items()
        }
        aliases = {host: list(names) for host, names in self.aliases.items()}
        return {"name": self.name, "options": self.options.record(), "topics": topics, "aliases": aliases}


def read(path: Path = LOTTE_SPEC, **changes: Any) -> Spec:
    """Return the spec in a TOML file, with some options changed.

    Raises  LotteError, in one line, for whatever is not as `BuildOptions` and the example in
            docs/build.md say: unknown keys, wrong types, a community named twice
    """
    try:
        table = toml_file(path)
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror}") from None
    except CorruptFileError as error:
        raise MismatchError(str(error)) from None
    for key in table:
        if key not in ("name", "options", "topics", "aliases"):
            raise _unknown("key", key, ["name", "options", "topics", "aliases"], path)
    topics = table.get("topics")
    if not isinstance(topics, dict) or not topics:
        raise MismatchError(f"{path}: expected tables like [topics.science] with dev = [...] or test = [...]")
    options = _options(table.get("options", {}), path)
    _check_dates(options, path)
    changed = _options(changes, _GIVEN)
    _check_dates(changed, _GIVEN)
    options |= changed
    _check_fresh(options, path)
    return Spec(
        name=str(table.get("name", path.stem)),
        topics=_topics(topics, path),
        options=BuildOptions(**options),
        aliases=_aliases(table.get("aliases") or _lotte_aliases(), path),
    )


@cache
def _lotte_aliases() -> dict[str, Any]:
    aliases: dict[str, Any] = toml_file(LOTTE_SPEC)["aliases"]
    return aliases


def _aliases(table: Any, path: Path) -> dict[str, tuple[str, ...]]:
    """Return host -> the names it went by. They name dumps, so each must name a file in a folder."""
    if not isinstance(table, dict):
        raise MismatchError(f'{path}: aliases must be a table, [aliases] with "new.host" = ["old.host"]')
    for host, names in table.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise MismatchError(f"{path}: the aliases of {shown(host)} must be a list of hosts, not {shown(names)}")
        for name in (host, *names):
            if problem := "it has '/' in it" if "/" in name else why_not(name):
                raise MismatchError(f"{path}: the alias {shown(name)} cannot name a dump: {problem}")
    return {host: tuple(names) for host, names in table.items()}


def _topics(table: dict[str, Any], path: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    topics: dict[str, dict[str, tuple[str, ...]]] = {}
    seen: dict[tuple[str, str], str] = {}
    for topic, splits in table.items():
        same = [other for other in (POOLED, manifest.NAME, *topics) if other.lower() == topic.lower()]
        if problem := why_not(topic) or ("" if _TOPIC(topic) else "a name is letters, digits and _.-"):
            raise MismatchError(f"{path}: a topic cannot be named {shown(topic)}, as it is a folder: {problem}")
        if same:
            raise MismatchError(
                f"{path}: a topic cannot be named {shown(topic)}, as there is {same[0]!r} in the same folder; on some "
                "systems upper and lower case are the same"
            )
        if not isinstance(splits, dict):
            raise MismatchError(f"{path}: expected dev = [...] or test = [...] in [topics.{topic}]")
        topics[topic] = {}
        for split, sites in splits.items():
            if split not in SPLITS:
                raise _unknown("split", split, list(SPLITS), path)
            if not isinstance(sites, list) or not sites or not all(isinstance(site, str) for site in sites):
                raise MismatchError(f"{path}: {topic}.{split} takes a list of hosts, not {shown(sites)}")
            for site in sites:
                if not _HOST(site):
                    raise MismatchError(
                        f"{path}: {topic}.{split}: {shown(site)} is not a host; write the full name, "
                        "'coffee.stackexchange.com'"
                    )
                if (split, site) in seen:
                    raise MismatchError(
                        f"{path}: {site} is in {seen[split, site]} and in {topic}.{split}; within a split, a "
                        "community can be in one topic only, or its passages would occur twice"
                    )
                seen[split, site] = f"{topic}.{split}"
            topics[topic][split] = tuple(sites)
    return topics


def _options(table: Any, path: object) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise MismatchError(f"{path}: options must be a table, [options]")
    types = get_type_hints(BuildOptions)
    chosen = {}
    for key, value in table.items():
        if key not in types:
            raise _unknown("option", key, [option.name for option in fields(BuildOptions)], path)
        chosen[key] = _typed(key, value, types[key], path)
    return chosen


def _typed(key: str, value: Any, kind: Any, path: object) -> Any:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            known = ", ".join(map(repr, get_args(kind)))
            raise MismatchError(f"{path}: option {key} must be one of {known}, not {shown(value)}")
        return value
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        if not isinstance(value, list) or not all(type(item) is inner for item in value):
            raise MismatchError(f"{path}: option {key} takes a list of {inner.__name__}, not {shown(value)}")
        return tuple(value)
    if kind is str and isinstance(value, date):
        return value.isoformat()
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise MismatchError(f"{path}: option {key} takes {kind.__name__}, not {shown(value)}")
    if kind in (int, float) and key not in ("min_score", "seed") and not 0 <= value < 1 << 62:
        raise MismatchError(f"{path}: option {key} must be 0 or more, not {shown(value)}")
    if kind is int and not -(1 << 62) < value < 1 << 62:
        raise MismatchError(f"{path}: option {key} takes a number of at most 18 digits, not {shown(value)}")
    return value


def _check_dates(options: Mapping[str, Any], path: object) -> None:
    for key in ("until", "as_of", "since"):
        if day := options.get(key):
            try:  # Python reads 20210930 as well; days are compared as dumps spell them, character by character
                if date.fromisoformat(day).isoformat() != day:
                    raise ValueError
            except ValueError:
                raise MismatchError(f"{path}: option {key} takes a day like 2021-09-30, not {shown(day)}") from None


def _check_fresh(options: Mapping[str, Any], path: Path) -> None:
    since = options.get("since")
    for key in ("until", "as_of"):
        if since and (day := options.get(key)) and day < since:
            raise MismatchError(f"{path}: option since ({since}) is after {key} ({day}): nothing lies between")
    for key in ("near_titles", "near_texts"):
        if not 0 < options.get(key, 1) <= 1:
            raise MismatchError(f"{path}: option {key} is a share above 0 and at most 1, not {options[key]:g}")


def _unknown(kind: str, name: str, known: list[str], where: object) -> LotteError:
    names = ", ".join(known) if len(known) <= 8 else f"{', '.join(known[:8])} and {len(known) - 8} more (docs/build.md)"
    return UnknownNameError(f"{where}: no {kind} is named {shown(name)}; {did_you_mean(name, known)}there are {names}")
