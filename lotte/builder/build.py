"""`lotte build`: the steps in order, each of which can be stopped and is not done twice.

  1  every community, and GooAQ, into folders of their own under OUT/.work
  2  the questions of each topic, and of the pools, are chosen
  3  the files of each topic, and of the pools, are written
  4  manifest.json, and OUT/.work goes

A folder with a manifest is whole. The manifest names no path, no day and no
machine, so it too is the same for the same dumps, spec and seed.
"""

import json
import platform
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from lotte import artifact, work
from lotte.builder import arrow, community, dump, gooaq, manifest, topics
from lotte.builder.counts import ChosenCounts, CommunityCounts, GooaqCounts, spelled
from lotte.builder.spec import Spec
from lotte.errors import LotteError, MismatchError, UnavailableError, writing
from lotte.parsing import json_object

WORK = ".work"
_SMALL = 8 << 20  # bytes that are read or written sooner than a worker process begins
LICENCE = (
    "Passages are CC BY-SA; licence, author and links of each stand in attribution.parquet and must stay with it. "
    "Search questions come from GooAQ, whose authors allow no commercial use."
)


class Progress(Protocol):
    def advance(self, amount: int, /) -> None: ...


Show = Callable[[int, str], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class Order:
    """What the command line asks for."""

    spec: Spec
    dumps: Path
    out: Path
    gooaq: Path | None = None
    workers: int = 1
    shard: tuple[int, int] | None = None
    allow_missing: bool = False


def build(order: Order, show: Show, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Build what is asked for. Returns the manifest, or None after a part of the communities.

    show  gives a progress bar for a total and a title
    say   takes a line for the user

    Raises  a LotteError, in one line; what was finished by then is kept
    """
    dumps, missing = _found(order)
    if (whole := _whole(order, dumps, missing, show)) is not None:
        say(f"{order.out} is whole already: the same dumps, spec and seed. Nothing to do.")
        artifact.sweep(order.out)
        shutil.rmtree(order.out / WORK, ignore_errors=True)
        return whole
    with writing(order.out), _alone(order), work.Workers(order.workers, begin=arrow.without_pandas) as workers:
        workplace = order.out / WORK
        steps = _reading(order, dumps, workplace)
        if order.shard:
            steps = work.shard(steps, lambda step: step.weight, *order.shard)
        left = [step for step in steps if not _is_done(order, dumps, workplace, step.name)]
        if len(left) < len(steps):
            say(f"{len(steps) - len(left)} of {len(steps)} steps were finished before and are kept")
        with show(sum(step.weight for step in left), "reading dumps") as progress:
            workers.run(left, small=_SMALL, advance=progress.advance)
        if order.shard:
            part, parts = order.shard
            say(f"part {part} of {parts} is done; after the others, run the command once more without --shard")
            return None
        return _assembled(order, dumps, missing, workplace, workers, show, say)


def _found(order: Order) -> tuple[dict[str, dump.Dump], list[str]]:
    """Return the dump of each community of the spec, and the communities that have none."""
    if not order.dumps.is_dir():
        raise UnavailableError(
            f"{order.dumps} is no folder; --dumps takes one with <site>.7z or <site>/Posts.xml in it"
        )
    if order.gooaq is not None and not order.gooaq.is_file():
        raise UnavailableError(f"{order.gooaq} is not there; --gooaq takes gooaq.jsonl, plain or .gz")
    sites = order.spec.sites()
    found = {site: dump.find(order.dumps, order.spec.names(site)) for site in sites}
    dumps = {site: one for site, one in found.items() if one is not None}
    missing = [site for site in sites if site not in dumps]
    if missing and (not order.allow_missing or not dumps):
        raise UnavailableError(
            f"{order.dumps} lacks {len(missing)} of the {len(sites)} communities of spec {order.spec.name}: "
            f"{', '.join(missing)}. Put <site>.7z or a folder <site>/ with Posts.xml there"
            + (", or build from what is there with --allow-missing." if dumps else ".")
        )
    return dumps, missing


def _sites(spec: Spec) -> dict[str, str]:
    """Return host -> community for every name that a link may carry."""
    return {name: site for site in reversed(spec.sites()) for name in reversed(spec.names(site))}


def _reading(order: Order, dumps: dict[str, dump.Dump], workplace: Path) -> list[work.Step]:
    steps = [
        work.Step(
            site,
            one.size,
            partial(community.build, one, order.spec.options, workplace / "communities" / site),
        )
        for site, one in dumps.items()
    ]
    if order.gooaq:
        read = partial(gooaq.read, order.gooaq, _sites(order.spec), order.spec.options, workplace / "gooaq")
        steps.append(work.Step("gooaq", order.gooaq.stat().st_size, read))
    return steps


def _is_done(order: Order, dumps: dict[str, dump.Dump], workplace: Path, name: str) -> bool:
    if name == "gooaq":
        assert order.gooaq is not None
        meta, key = (
            artifact.meta(workplace / "gooaq"),
            gooaq.key(order.gooaq, _sites(order.spec), order.spec.options),
        )
    else:
        meta, key = (
            artifact.meta(workplace / "communities" / name),
            community.key(dumps[name], order.spec.options),
        )
    return meta is not None and meta.get("key") == key


def _assembled(
    order: Order,
    dumps: dict[str, dump.Dump],
    missing: list[str],
    workplace: Path,
    workers: work.Workers,
    show: Show,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Steps 2 to 4: from the communities' folders to a whole collection."""
    spec, counts = order.spec, ChosenCounts()
    folders = {site: workplace / "communities" / site for site in dumps}
    links = gooaq.candidates(workplace / "gooaq") if order.gooaq else None
    parts = topics.select(spec, folders, links, counts)
    metas = {site: artifact.meta(folder) or {} for site, folder in folders.items()}
    searched = artifact.meta(workplace / "gooaq") if order.gooaq else None
    key = artifact.digest([spec.record(), {site: meta["key"] for site, meta in metas.items()}, searched, _versions()])
    file_sets = topics.file_sets(parts)
    receipts = {some.name: some.receipt(workplace) for some in file_sets}
    left = [some for some in file_sets if not _is_written(receipts[some.name], key, order.out)]
    # a pool of one topic is that topic under another name
    twins = {part.name: one for at, part in enumerate(parts) for one in parts[:at] if part.reads_as(one)}
    steps = [
        work.Step(some.name, some.weight, partial(topics.write, some, order.out, workplace, key))
        for some in left
        if some.part.name not in twins
    ]
    with show(sum(step.weight for step in steps), "writing topics") as progress:
        workers.run(steps, small=_SMALL, advance=progress.advance)
    for some in left:
        if some.part.name in twins:
            topics.link(some, topics.FileSet(twins[some.part.name], some.files), order.out, workplace)
    files: dict[str, str] = {}
    for receipt in receipts.values():
        files |= json_object(receipt)["sha256"]
    _sweep(order.out, files.keys())
    record = {
        "format": manifest.FORMAT,
        "name": spec.name,
        "licence": LICENCE,
        "spec": spec.record(),
        "seed": spec.options.seed,
        "versions": _versions(),
        "missing": missing,
        "inputs": {
            "communities": {site: meta["inputs"] for site, meta in metas.items()},
            "gooaq": searched["input"] if searched else None,
        },
        "counts": {
            "parts": {part.name: part.counts() for part in parts},
            "communities": {site: spelled(CommunityCounts(**meta["counts"])) for site, meta in metas.items()},
            "gooaq": {"file": spelled(GooaqCounts(**searched["counts"])), "chosen": spelled(counts)}
            if searched
            else None,
        },
        "bad_rows": {
            "max_share": spec.options.max_bad_share,
            "first": [message for meta in (*metas.values(), searched or {}) for message in meta.get("bad", [])],
        },
        "notes": {site: meta["notes"] for site, meta in metas.items() if meta["notes"]},
        "files": dict(sorted(files.items())),
    }
    whole = manifest.write(order.out, record)
    shutil.rmtree(workplace, ignore_errors=True)
    _report(record, order, say)
    return whole


def _report(record: dict[str, Any], order: Order, say: Callable[[str], None]) -> None:
    """Say what a user should know and would not look up."""
    for site in record["missing"]:
        say(f"missing: {site} (--allow-missing); the manifest says so")
    for message in record["bad_rows"]["first"]:
        say(f"skipped a bad row: {message}")
    for site, notes in record["notes"].items():
        for note in notes:
            say(f"{site}: {note}")
    if not order.gooaq:
        say("no --gooaq: only forum questions were made")
    sites = record["spec"]["topics"].values()
    twice = [
        site for splits in sites for site in splits.get("dev", []) if any(site in s.get("test", []) for s in sites)
    ]
    for site in twice:
        say(f"{site} is in dev and in test: what is tuned on dev has seen the test passages")
    say(LICENCE)


def _versions() -> dict[str, str]:
    """What the bytes may depend on, beside the inputs."""
    packages = ("lotte-bench", "beautifulsoup4", "markdown-it-py", "pyarrow")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout that was never installed
        return "unknown"


def _is_written(receipt: Path, key: str, out: Path) -> bool:
    try:
        record = json_object(receipt)
        return bool(record["key"] == key) and all(
            (out / name).stat().st_size == size for name, size in record["bytes"].items()
        )
    except (OSError, LotteError, KeyError, TypeError, AttributeError):
        return False


def _sweep(out: Path, files: Collection[str]) -> None:
    """Remove the files of ours that an unfinished build with another spec, or with GooAQ, left here."""
    for path in sorted(out.glob("*/*/*")):
        name = path.relative_to(out).as_posix()
        if (
            name not in files
            and path.is_file()
            and path.name.removeprefix(".").removesuffix(".partial") in topics.NAMES
        ):
            path.unlink()
            for folder in (path.parent, path.parent.parent):
                if not any(folder.iterdir()):
                    folder.rmdir()


def _whole(order: Order, dumps: dict[str, dump.Dump], missing: list[str], show: Show) -> dict[str, Any] | None:
    """Return the manifest if this very build stands at OUT, None if nothing does.

    Raises  MismatchError if something else stands there
    """
    out = order.out
    if not (out / manifest.NAME).is_file():
        if out.exists() and not (out.is_dir() and ((out / WORK).is_dir() or not any(out.iterdir()))):
            raise MismatchError(f"{out} is there and is no build of ours; choose an --out that is empty or new")
        return None
    found = manifest.read(out)
    try:
        differs = [
            what
            for what, same in (
                ("spec", found["spec"] == json.loads(json.dumps(order.spec.record()))),
                ("versions", found["versions"] == _versions()),
                ("missing communities", found["missing"] == missing),
                ("dumps", _same_dumps(found["inputs"]["communities"], dumps, show)),
                ("gooaq", _same_gooaq(found["inputs"]["gooaq"], order.gooaq)),
            )
            if not same
        ]
    except (KeyError, TypeError, AttributeError):
        differs = ["manifest, which is damaged"]
    if differs:
        raise MismatchError(
            f"{out} holds another build: it differs in {', '.join(differs)}. "
            f"Choose another --out, or remove {out} first."
        )
    return found


def _same_dumps(inputs: dict[str, Any], dumps: dict[str, dump.Dump], show: Show) -> bool:
    if inputs.keys() != dumps.keys():
        return False
    for site, one in dumps.items():
        said = inputs[site]
        sizes = {name: one.tables.get(name) for name in {*said, *(name for name in dump.READ if name in one.tables)}}
        if sizes != {name: table["bytes"] for name, table in said.items()}:
            return False
    with show(sum(one.size for one in dumps.values()), "comparing dumps") as progress:
        return all(one.identity(list(inputs[site]), progress.advance) == inputs[site] for site, one in dumps.items())


def _same_gooaq(said: dict[str, Any] | None, path: Path | None) -> bool:
    if said is None or path is None:
        return said is None and path is None
    return gooaq.identity(path) == said


@contextmanager
def _alone(order: Order) -> Iterator[None]:
    """Keep a second build out of the same folder; parts of one build may work in it together."""
    (order.out / WORK).mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows: nothing of the kind, and nothing else depends on it
        yield
        return
    with (order.out / WORK / "lock").open("w") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if order.shard else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnavailableError(
                f"another build is at work in {order.out}. Wait until it ends, or choose another --out."
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
