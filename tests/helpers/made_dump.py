"""A dump of one community, as small as a test wants it, and what a build says of it."""

import io
import json
from pathlib import Path

import py7zr

SITE = "cheese.example.com"


QUESTION = '<row Id="1" PostTypeId="1" AcceptedAnswerId="2" Score="3" ViewCount="9" Title="Why?" Body="q" CreationDate="2015-01-01T00:00:00.000" />'


ANSWER = '<row Id="2" PostTypeId="2" ParentId="1" Score="2" Body="&lt;p&gt;Because.&lt;/p&gt;" CreationDate="2015-01-02T00:00:00.000" />'


def table(*rows: str, root: str = "posts") -> bytes:
    return "\n".join(['<?xml version="1.0" encoding="utf-8"?>', f"<{root}>", *rows, f"</{root}>"]).encode()


def words(place: Path, *more: object) -> tuple[object, ...]:
    return "build", "--dumps", place / "dumps", "--spec", place / "spec.toml", "--out", place / "out", *more


def posts(place: Path, content: bytes) -> Path:
    path = place / "dumps" / SITE / "Posts.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def archive(path: Path, members: dict[str, bytes], method: int = py7zr.FILTER_LZMA2) -> Path:
    with py7zr.SevenZipFile(path, "w", filters=[{"id": method}]) as file:
        for name, content in members.items():
            file.writef(io.BytesIO(content), name)
    return path


def report(place: Path) -> dict:
    return json.loads((place / "out" / "manifest.json").read_text(encoding="utf-8"))


def counts(place: Path) -> dict:
    return report(place)["counts"]["communities"][SITE]


def assert_nothing_half_written(place: Path) -> None:
    left = [path for path in (place / "out").rglob("*") if path.is_file() and path.name != "lock"]
    assert not left, left
