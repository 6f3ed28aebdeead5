"""What the campaigns of faults share: scenes to disturb, a command that is disturbed at one of its steps, and a table.

A scene is a command and what stood there before it. A step is a file that the command opens for writing, renames or
removes under the scene's folder: Python says so before it happens (`sys.addaudithook`), and there the fault comes. So
the same seed meets the same steps, on a machine of any speed. What a scene makes is known by the ids and texts it
answers with, which are compared with those of an undisturbed run.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(HOUSE), str(HOUSE / "tests" / "helpers")]
SAMPLE = HOUSE / "lotte" / "sample"

STEPS = r"""
import os, signal, sys
at, what, root, log = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
del sys.argv[1:5]
seen, parent = 0, os.getpid()
def hook(event, args):
    global seen
    if os.getpid() != parent:
        return
    if event == "open":
        if not isinstance(args[0], (str, bytes)) or not (args[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return
    elif event not in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "shutil.rmtree"):
        return
    if not os.fsdecode(args[0]).startswith(root) and event == "open":
        return
    seen += 1
    if seen == at:
        os.kill(os.getpid(), getattr(signal, what))
sys.addaudithook(hook)
sys.argv[0] = "lotte"
from leaderboard.cli import main
try:
    main()
finally:
    open(log, "w").write(str(seen))
"""


@dataclass
class Scene:
    """A command, and the folder it works in as it is before."""

    name: str
    words: list[str]  # {root} stands for the folder
    before: Path  # copied to {root}
    steps: int = 0  # of an undisturbed run
    old: Any = None  # what the target holds before, None if nothing
    new: Any = None  # and afterwards


@dataclass
class Table:
    rows: dict[str, list[int]] = field(default_factory=dict)

    def count(self, name: str, problem: str | None) -> None:
        row = self.rows.setdefault(name, [0, 0])
        row[0] += 1
        if problem:
            row[1] += 1
            print(f"WRONG {name}: {problem}", file=sys.stderr, flush=True)

    def finish(self) -> None:
        width = max(map(len, self.rows), default=4)
        print(f"{'':{width}}  tried  wrong")
        for name, (tried, wrong) in self.rows.items():
            print(f"{name:{width}}  {tried:5}  {wrong:5}")
        tried, wrong = (sum(row[place] for row in self.rows.values()) for place in range(2))
        print(f"{'all':{width}}  {tried:5}  {wrong:5}")
        raise SystemExit(wrong > 0)


def arguments(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10**9, help="faults at the most")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--scenes", default="", help="only those whose names begin so: add|delete")
    parser.add_argument("--foreign", type=Path, help="an index of ColBERT or fast-plaid to adopt, with --checkpoint")
    parser.add_argument("--checkpoint", type=Path, help="of that index")
    return parser.parse_args()


def turns(asked: argparse.Namespace, things: list[Any]) -> Iterator[tuple[random.Random, Any]]:
    """Yield the things in turn with a random generator, until time or count are used up."""
    dice, end = random.Random(asked.seed), time.monotonic() + asked.seconds
    for number in range(asked.count):
        if time.monotonic() > end or not things:
            return
        yield dice, things[number % len(things)]


@contextmanager
def workplace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        yield Path(name).resolve()


def texts(count: int, seed: int) -> list[str]:
    import tiny_checkpoint

    dice = random.Random(seed)
    return [" ".join(dice.choices(tiny_checkpoint.WORDS[:80], k=dice.randint(3, 20))) for _ in range(count)]


def collection(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir(parents=True)
    rows = "".join(f"{row}\t{text}\n" for row, text in enumerate(texts(count, seed)))
    (folder / "collection.tsv").write_text(rows)
    return folder


def lotte(words: list[str], **more: Any) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "PYTHONPATH": str(HOUSE), "HF_HUB_OFFLINE": "1", **more.pop("env", {})}
    command = more.pop("command", [sys.executable, "-m", "leaderboard.cli"])
    return subprocess.run([*command, *words], capture_output=True, text=True, env=env, timeout=600, check=False, **more)


def disturbed(scene: Scene, root: Path, step: int, signal_name: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    """Run a scene's command and send it a signal before one of its steps; step 0 is never met."""
    log = root.parent / "steps"
    command = [sys.executable, "-c", STEPS, str(step), signal_name, str(root), str(log)]
    return lotte([word.format(root=root) for word in scene.words], command=command, **more)


def fresh(scene: Scene, place: Path) -> Path:
    shutil.rmtree(place / "root", ignore_errors=True)
    shutil.copytree(scene.before, place / "root")
    return place / "root"


def held(root: Path) -> Any:
    """Return what stands at the target: the bytes of an index or a build that is whole; None if there is nothing."""
    from retrievers import index_meta

    out = root / "out"
    if not out.exists():
        return None
    if (out / "manifest.json").exists():
        return json.loads((out / "manifest.json").read_text())["files"]
    meta = index_meta.read(out)
    if wrong := list(index_meta.damaged(out, meta)):
        raise ValueError(f"not whole: {wrong[:3]}")
    return meta["files"]


def unclean(done: "subprocess.CompletedProcess[str]") -> str | None:
    """Return what is wrong with how a command ended: it is right, or ends in one line that says why."""
    if done.returncode == 0:
        return None
    last = (done.stderr.splitlines() or [""])[-1]
    if done.returncode != 1 or "Traceback" in done.stderr or not last.startswith("error: "):
        return f"exit {done.returncode}, {last[:150]}"
    return None


def scenes(place: Path, asked: argparse.Namespace) -> list[Scene]:
    """Return the scenes, each run once undisturbed."""
    import tiny_checkpoint

    checkpoint = tiny_checkpoint.write(place / "checkpoint")
    one, other = (collection(place / name, count, seed) for name, count, seed in (("one", 60, 0), ("two", 50, 1)))
    (place / "add.tsv").write_text("".join(f"a{row}\t{text}\n" for row, text in enumerate(texts(9, 2))))
    late = ["--retriever", "colbertv2", "-o", f"checkpoint={checkpoint}", "-o", "threads=1"]
    out, add = ["--out", "{root}/out"], ["--add", str(place / "add.tsv")]
    recipes = {"bm25": ["--retriever", "bm25"], "colbertv2": late}
    (place / "empty").mkdir()
    made = []
    for name, recipe in recipes.items():
        (place / f"with {name}").mkdir()
        done = lotte(["index", str(one), *recipe, "--out", str(place / f"with {name}" / "out")])
        assert done.returncode == 0, done.stderr
        made.append(Scene(f"index {name}", ["index", str(other), *recipe, *out], place / "empty"))
        made.append(Scene(f"replace {name}", ["index", str(other), *recipe, *out], place / f"with {name}"))
    there, gone = place / "with colbertv2", [word for row in range(25) for word in ("--delete", str(row))]
    made.append(Scene("add", ["index", *out, *add], there))
    made.append(Scene("delete", ["index", *out, "--delete", "3"], there))
    made.append(Scene("delete and add", ["index", *out, *gone, *add], there))
    made.append(Scene("compact", ["index", *out, *gone], there))  # more than a quarter: what is left is rewritten
    (place / "more.tsv").write_text("".join(f"b{row}\t{text}\n" for row, text in enumerate(texts(5, 3))))
    changed = shutil.copytree(there, place / "changed")
    done = lotte(["index", "--out", str(changed / "out"), "--delete", "3", *add])
    assert done.returncode == 0, done.stderr
    made.append(Scene("add again", ["index", *out, "--add", str(place / "more.tsv")], changed))
    made.append(Scene("delete again", ["index", *out, "--delete", "a1", "--delete", "7"], changed))
    build = ["build", "--dumps", str(SAMPLE / "dumps"), "--gooaq", str(SAMPLE / "gooaq.jsonl"), "--workers", "1"]
    made.append(Scene("build", [*build, "--spec", str(SAMPLE / "spec.toml"), *out], place / "empty"))
    if asked.foreign:
        recipe = ["--retriever", "colbertv2", "-o", f"checkpoint={asked.checkpoint}"]
        made.append(Scene("adopt", ["index", str(asked.foreign), *recipe, *out], place / "with bm25"))
    made = [scene for scene in made if scene.name.startswith(tuple(asked.scenes.split("|")))]
    for scene in made:
        root = fresh(scene, place)
        scene.old = held(root)
        done = disturbed(scene, root, 0, "SIGKILL")
        assert done.returncode == 0, (scene.name, done.stderr)
        scene.new, scene.steps = held(root), int((place / "steps").read_text())
    return made


def checked(look: Callable[[], str | None]) -> str | None:
    """Return what a look finds wrong, an exception included."""
    try:
        return look()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
