"""Records of the tiny LoTTE, as `lotte eval` leaves them, and as a liar would change them."""

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from places import TINY

from leaderboard.evaluate import Order, evaluate
from leaderboard.record.read import read
from leaderboard.record.schema import SECTIONS, identity
from lotte.benchmarks.lotte import read as read_lotte
from retrievers import load

NAME = "lotte/science/test/search"


def make(out: Path, name: str = "overlap", **options) -> Path:
    """A record of the tiny LoTTE, as `lotte eval` leaves it."""
    made = _made(tuple(sorted(options.items()))) / "overlap" / f"{NAME}.json"
    path = out / name / f"{NAME}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(made.with_suffix(".trec"), path.with_suffix(".trec"))
    old = read(made)
    return old.changed(retriever={**old.content["retriever"], "name": name}).write(path)


@cache
def _made(options) -> Path:
    out = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    dataset = read_lotte(TINY / "science" / "test", "search")
    system = load("overlap", [f"{key}={value}" for key, value in options])
    assert len(list(evaluate("overlap", system, [dataset], Order(out=out)))) == 1
    return out


def rewrite(path: Path, change) -> None:
    """Change a record and give it the id that its new content has, as a liar would."""
    sections = vars(change(SimpleNamespace(**{key: json.loads(path.read_text())[key] for key in SECTIONS})))
    content = {**sections, "schema": "lotte-result/1"}
    path.write_text(json.dumps({**content, "id": identity(content)}))


def replace(old, **sections):
    return SimpleNamespace(**{**vars(old), **sections})
