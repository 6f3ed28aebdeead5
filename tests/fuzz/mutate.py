"""A valid file -> a file that somebody damaged, or wrote with ill will. The same seed gives the same bytes.

It knows nothing of formats: it changes bytes, lines, numbers, words, nesting
and encodings, a few of them at a time. What a format guards by check sums, an
entry mends afterwards (`Reader.mend`).
"""

import random
import re
from collections.abc import Callable

NUMBERS = [
    b"0", b"-1", b"-0", b"007", b"1.0", b"1e3", b"1e999", b"-1e999", b"NaN", b"Infinity", b"2147483647", b"2147483648",
    b"4294967296", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"1" + b"0" * 30, b"9" * 5000,
    b"1_000", b"+1", b"0x10", b"true", b"null", b'"1"', "\u0661".encode(), b"",
]  # fmt: skip
WORDS = [
    b"\x00", b"\r", b"\r\n", b"\n", b"\t", b" ", b"\x1b[2J", b"\x0e", b"\x7f", "\u00a0".encode(), "\ufeff".encode(),
    "\u2028".encode(), "\u0085".encode(), b"\xff", b"\xc3", b"\xed\xa0\x80", b"\\ud800", b"&#x0E;", b"&#0;", b"&#xD800;",
    b"&amp;", b"&", b"<", b">", b"<!--", b"-->", b"<![CDATA[", b"<!DOCTYPE x>", b"<?x?>", b"</posts>", b"<row ", b'"', b"'",
    b"\\", b"/", b"..", b"../../x", b"/tmp/x", b"%s", b"{}", b"[]", b"{", b"}", b"[", b"]", b",", b":", b"#", b"=",
    b"a" * 300, b"a" * 70_000,
]  # fmt: skip
NESTS = [b"[", b'{"a":', b"(", b"<b>", b"[[a.b]]\n", b"a."]
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")
_WORD = re.compile(rb"[A-Za-z_]{2,}")


def mutated(data: bytes, seed: int) -> bytes:
    """Return the bytes after one to four changes."""
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        data = chance.choice(_CHANGES)(data, chance)
    return data


def _at(data: bytes, chance: random.Random) -> int:
    return chance.randrange(len(data) + 1)


def _flip(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _set(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[chance.randrange(len(data))] = chance.choice((0, 1, 9, 10, 13, 32, 127, 128, 255, chance.randrange(256)))
    return bytes(changed)


def _insert(data: bytes, chance: random.Random) -> bytes:
    at = _at(data, chance)
    return data[:at] + chance.choice(WORDS) + data[at:]


def _cut_out(data: bytes, chance: random.Random) -> bytes:
    begin, end = sorted((_at(data, chance), _at(data, chance)))
    end = min(end, begin + chance.choice((1, 2, 8, 64, 4096)))
    return data[:begin] + data[end:]


def _truncate(data: bytes, chance: random.Random) -> bytes:
    return data[: _at(data, chance)]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    begin, end = sorted((_at(data, chance), _at(data, chance)))
    end = min(end, begin + chance.choice((1, 8, 64, 4096)))
    return data[:end] + data[begin:end] * chance.choice((1, 2, 50)) + data[end:]


def _line(data: bytes, chance: random.Random) -> bytes:
    """Repeat, leave out or exchange lines, or end them in another way."""
    lines = data.split(b"\n")
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(6):
        case 0:
            lines.insert(other, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines.insert(at, b"")
        case 4:
            return chance.choice((b"\r\n", b"\r", b"\n\n")).join(lines)
        case _:
            lines[at] += b"\t" + lines[other]
    return b"\n".join(lines)


def _one(pattern: "re.Pattern[bytes]", data: bytes, chance: random.Random, put: bytes) -> bytes:
    """Replace one match of a pattern."""
    found = list(pattern.finditer(data))
    if not found:
        return data
    match = chance.choice(found)
    return data[: match.start()] + put + data[match.end() :]


def _number(data: bytes, chance: random.Random) -> bytes:
    return _one(_NUMBER, data, chance, chance.choice(NUMBERS))


def _word(data: bytes, chance: random.Random) -> bytes:
    """Replace a word by another of the file, or by something else."""
    words = _WORD.findall(data)
    return _one(_WORD, data, chance, chance.choice([*words[:200], *WORDS]))


def _nest(data: bytes, chance: random.Random) -> bytes:
    at = _at(data, chance)
    return data[:at] + chance.choice(NESTS) * chance.choice((5, 1000, 100_000)) + data[at:]


def _encode(data: bytes, chance: random.Random) -> bytes:
    """Write all of it in another encoding, or with a mark in front."""
    match chance.randrange(5):
        case 0:
            return b"\xef\xbb\xbf" + data
        case 1:
            return data.decode("latin-1").encode("utf-16")
        case 2:
            return data.decode("latin-1").encode()
        case 3:
            return b"\xff\xfe" + data
        case _:
            return data.replace(b" ", "\u00a0".encode())


_CHANGES: list[Callable[[bytes, random.Random], bytes]] = [
    _flip, _set, _insert, _cut_out, _truncate, _repeat, _line, _number, _number, _word, _nest, _encode,
]  # fmt: skip
