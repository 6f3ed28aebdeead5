"""`lotte build`: the steps in order, each of which can be stopped and runs only once.

  1  every community, and GooAQ, into folders of their own under OUT/.work
  2  the questions of each topic, and of the pools, are chosen
  3  the files of each topic, and of the pools, are written
  4  manifest.json is written, and OUT/.work removed

A folder with a manifest is complete. The manifest names no path, date or
machine, so it too is the same for the same dumps, spec and seed.
"""

import json
import platform
import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from lotte import artifact, executor, lock
from lotte.builder import against, arrow, community, dump, fresh, gooaq, manifest, topics
from lotte.builder.counts import ChosenCounts, CommunityCounts, GooaqCounts, spelled
from lotte.builder.spec import Spec
from lotte.errors import LotteError, MismatchError, UnavailableError, absent, writing
from lotte.parsing import json_object

WORK = ".work"
_SMALL = 8 << 20  # bytes that are read or written sooner than a worker process begins
LICENCE = (
    "Passages are CC BY-SA; licence, author and links of each stand in attribution.parquet and must stay with it. "
    "Search questions come from GooAQ, whose authors allow no commercial use."
)


class ProgressBar(Protocol):
    """What a build tells how far it has come."""

    def advance(self, amount: int, /) -> None:
        """Say that so many bytes more were read or written."""


Show = Callable[[int, str], AbstractContextManager[ProgressBar]]


@dataclass(frozen=True)
class BuildRequest:
    """What the command line asks for."""

    spec: Spec
    dumps: Path
    out: Path
    gooaq: Path | None = None
    workers: int = 1  # processes
    shard: tuple[int, int] | None = None  # number of the part, from 1, and of all parts
    allow_missing: bool = False
    against: Path | None = None  # questions of an older test, which a fresh build is not to ask again
    place: executor.Place = executor.HERE  # where steps run

    @property
    def workplace(self) -> Path:
        """Where unfinished work lies."""
        return self.out / WORK

    @property
    def gooaq_folder(self) -> Path:
        """Where `gooaq.read` leaves its rows."""
        return self.workplace / "gooaq"

    def community_folder(self, site: str) -> Path:
        """Return where `community.build` leaves a community."""
        return self.workplace / "communities" / site


@dataclass(frozen=True)
class Inputs:
    """What there is to build from: the dump of each community of the spec, and those that have none."""

    dumps: dict[str, dump.Dump]
    missing: list[str]


def build(request: BuildRequest, show: Show, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Run the build request. Returns the manifest, or None after a part of the communities.

    show  gives a progress bar for a total in bytes and a title
    say   takes a line for the user

    Raises  a LotteError, in one line; what was finished by then is kept
    """
    inputs = find_inputs(request)
    if (whole := _whole(request, inputs, show)) is not None:
        say(f"{request.out} is already complete: same dumps, spec and seed. Nothing to do.")
        artifact.sweep(request.out)
        shutil.rmtree(request.workplace, ignore_errors=True)
        return whole
    with writing(request.out):
        request.workplace.mkdir(parents=True, exist_ok=True)
    busy = f"another build is at work in {request.out}. Wait until it ends, or choose another --out."
    with (
        writing(request.out),
        # parts of one build may work in the same folder together
        lock.exclusive_lock(request.workplace, name="lock", shared=bool(request.shard), busy=busy),
        _workers(request) as workers,
    ):
        readings = _readings(request, inputs)
        if request.shard:
            readings = executor.shard(readings, lambda reading: reading.step.weight, *request.shard)
        left = [reading.step for reading in readings if not reading.is_done()]
        if len(left) < len(readings):
            say(f"{len(readings) - len(left)} of {len(readings)} steps are already finished and are kept")
        with show(sum(step.weight for step in left), "reading dumps") as progress:
            workers.run(left, small=_SMALL, advance=progress.advance)
        if request.shard:
            part, parts = request.shard
            say(f"part {part} of {parts} is done; when all parts are done, run the command once more without --shard")
            return None
        record = _assembled(request, inputs, workers, show)
        _report(record, request, say)
        return record


def _workers(request: BuildRequest) -> executor.Workers:
    reads = [request.dumps, *([request.gooaq] if request.gooaq else ())]
    return executor.Workers(request.workers, arrow.without_pandas, request.place, request.workplace, reads)


def find_inputs(request: BuildRequest) -> Inputs:
    """Return what there is to build from. Raises UnavailableError where it lacks what the spec names."""
    if not request.dumps.is_dir():
        raise UnavailableError(
            f"{request.dumps} is not a folder; --dumps takes one with <site>.7z or <site>/Posts.xml in it"
        )
    if request.gooaq is not None and not request.gooaq.is_file():
        raise absent(request.gooaq, "; --gooaq takes gooaq.jsonl, plain or .gz")
    if request.against is not None:
        against.questions(request.against)  # before anything is read: whether they can be
    sites = request.spec.sites()
    dump_of = {site: dump.find(request.dumps, request.spec.names(site)) for site in sites}
    dumps = {site: its_dump for site, its_dump in dump_of.items() if its_dump is not None}
    missing = [site for site in sites if site not in dumps]
    if missing and (not request.allow_missing or not dumps):
        raise UnavailableError(
            f"{request.dumps} lacks {len(missing)} of the {len(sites)} communities of spec {request.spec.name}: "
            f"{', '.join(missing)}. Put <site>.7z or a folder <site>/ with Posts.xml there"
            + (", or build without them with --allow-missing." if dumps else ".")
        )
    return Inputs(dumps, missing)


def sites_of(spec: Spec) -> dict[str, str]:
    """Return host -> community for every name that a link may carry."""
    return {name: site for site in reversed(spec.sites()) for name in reversed(spec.names(site))}


@dataclass(frozen=True)
class _Reading:
    """A part of step 1, and the folder that it leaves, which says in its meta.json of what it was made."""

    step: executor.WorkStep
    folder: Path
    key: str

    def is_done(self) -> bool:
        """Whether the folder is what the step would leave again."""
        return (artifact.meta(self.folder) or {}).get("key") == self.key


def _readings(request: BuildRequest, inputs: Inputs) -> list[_Reading]:
    """Return step 1: every community, and GooAQ."""
    options, readings = request.spec.options, []
    for site, its_dump in inputs.dumps.items():
        folder = request.community_folder(site)
        task = partial(community.build, its_dump, options, folder, older_test=request.against)
        step = executor.WorkStep(site, its_dump.size, task)
        readings.append(_Reading(step, folder, community.key(its_dump, options, request.against)))
    if request.gooaq:
        sites = sites_of(request.spec)
        task = partial(gooaq.read, request.gooaq, sites, options, request.gooaq_folder)
        step = executor.WorkStep("gooaq", request.gooaq.stat().st_size, task)
        readings.append(_Reading(step, request.gooaq_folder, gooaq.key(request.gooaq, sites, options)))
    return readings


def _assembled(request: BuildRequest, inputs: Inputs, workers: executor.Workers, show: Show) -> dict[str, Any]:
    """Do steps 2 to 4: from the communities' folders to a whole collection. Returns the manifest."""
    spec, chosen = request.spec, ChosenCounts()
    folders = {site: request.community_folder(site) for site in inputs.dumps}
    metas = {site: json_object(folder / artifact.META) for site, folder in folders.items()}
    gooaq_meta = json_object(request.gooaq_folder / artifact.META) if request.gooaq else None
    links = _links(request, chosen) if request.gooaq else None
    splits = topics.select(spec, folders, links, chosen)
    if spec.options.since:
        num_passages = sum(block.num_passages for split in splits for block in split.blocks)
        fresh.require_passages(spec.options.since, num_passages, metas)
    key = artifact.digest([spec.record(), {site: meta["key"] for site, meta in metas.items()}, gooaq_meta, _versions()])
    files = _written(request, splits, key, workers, show)
    _sweep(request.out, files.keys())
    record = {
        "format": manifest.FORMAT,
        "name": spec.name,
        "licence": LICENCE,
        "spec": spec.record(),
        "seed": spec.options.seed,
        "versions": _versions(),
        "missing": inputs.missing,
        "inputs": {
            "communities": {site: meta["inputs"] for site, meta in metas.items()},
            "gooaq": gooaq_meta["input"] if gooaq_meta else None,
        },
        "counts": _counts(splits, metas, gooaq_meta, chosen),
        "bad_rows": {
            "max_share": spec.options.max_bad_share,
            "first": [message for meta in (*metas.values(), gooaq_meta or {}) for message in meta.get("bad", [])],
        },
        "notes": {site: meta["notes"] for site, meta in metas.items() if meta["notes"]},
        "files": dict(sorted(files.items())),
        **fresh.section(spec.options, request.against, metas),
    }
    whole = manifest.write(request.out, record)
    shutil.rmtree(request.workplace, ignore_errors=True)
    return whole


def _links(request: BuildRequest, chosen: ChosenCounts) -> dict[str, list[gooaq.Candidate]]:
    """Return GooAQ's rows by community, without those that ask what an older test asks."""
    links = gooaq.candidates(request.gooaq_folder)
    if request.against is None:
        return links
    questions, scratch = against.questions(request.against), request.workplace / "search.runs"
    kept = {}
    for site, rows in links.items():
        numbers = fresh.unlike([row.text for row in rows], questions, request.spec.options, scratch)
        chosen.near_against += len(rows) - len(numbers)
        kept[site] = [rows[number] for number in numbers]
    return kept


def _written(
    request: BuildRequest, splits: Sequence[topics.TopicSplit], key: str, workers: executor.Workers, show: Show
) -> dict[str, str]:
    """Write the files of every topic and pool that are not there yet. Returns name -> sha256 of all of them."""
    out, workplace = request.out, request.workplace
    file_sets = topics.file_sets(splits)
    receipts = {file_set.name: file_set.receipt(workplace) for file_set in file_sets}
    left = [file_set for file_set in file_sets if not _is_written(receipts[file_set.name], key, out)]
    # a pool of one topic is that topic under another name
    twins = {
        split.name: earlier for at, split in enumerate(splits) for earlier in splits[:at] if split.reads_as(earlier)
    }
    steps = [
        executor.WorkStep(file_set.name, file_set.weight, partial(topics.write, file_set, out, workplace, key))
        for file_set in left
        if file_set.split.name not in twins
    ]
    with show(sum(step.weight for step in steps), "writing topics") as progress:
        workers.run(steps, small=_SMALL, advance=progress.advance)
    for file_set in left:
        if twin := twins.get(file_set.split.name):
            topics.link(file_set, topics.FileSet(twin, file_set.files), out, workplace)
    return {name: sha256 for receipt in receipts.values() for name, sha256 in json_object(receipt)["sha256"].items()}


def _counts(
    splits: Sequence[topics.TopicSplit],
    metas: dict[str, dict[str, Any]],
    gooaq_meta: dict[str, Any] | None,
    chosen: ChosenCounts,
) -> dict[str, Any]:
    """Return the counts as the manifest states them."""
    of_file = spelled(GooaqCounts(**gooaq_meta["counts"])) if gooaq_meta else None
    return {
        "parts": {split.name: split.counts() for split in splits},
        "communities": {site: spelled(CommunityCounts(**meta["counts"])) for site, meta in metas.items()},
        "gooaq": {"file": of_file, "chosen": spelled(chosen)} if of_file else None,
    }


def _report(record: dict[str, Any], request: BuildRequest, say: Callable[[str], None]) -> None:
    """Say what a user should know and would not look up."""
    for site in record["missing"]:
        say(f"missing: {site} (--allow-missing); the manifest says so")
    for message in record["bad_rows"]["first"]:
        say(f"skipped a bad row: {message}")
    for site, notes in record["notes"].items():
        for note in notes:
            say(f"{site}: {note}")
    for line in fresh.told(record.get("fresh"), has_search=request.gooaq is not None):
        say(line)
    if not request.gooaq:
        say("no --gooaq: only forum questions were built")
    of_topics = record["spec"]["topics"].values()
    in_test = {site for splits in of_topics for site in splits.get("test", [])}
    for site in (site for splits in of_topics for site in splits.get("dev", []) if site in in_test):
        say(f"{site} is in dev and in test: a system tuned on dev has seen test passages")
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
        final = artifact.final_name(path.name)
        if path.relative_to(out).as_posix() not in files and path.is_file() and final in topics.NAMES:
            path.unlink()
            for folder in (path.parent, path.parent.parent):
                if not any(folder.iterdir()):
                    folder.rmdir()


def _whole(request: BuildRequest, inputs: Inputs, show: Show) -> dict[str, Any] | None:
    """Return the manifest if this very build stands at OUT, None if nothing does.

    Raises  MismatchError if something else stands there
    """
    out = request.out
    if not (out / manifest.NAME).is_file():
        if out.exists() and not (out.is_dir() and (request.workplace.is_dir() or not any(out.iterdir()))):
            raise MismatchError(f"{out} exists and is not a build; choose an --out that is empty or new")
        return None
    built = manifest.read(out)
    try:
        differs = [
            what
            for what, same in (
                ("spec", built["spec"] == json.loads(json.dumps(request.spec.record()))),
                ("versions", built["versions"] == _versions()),
                ("missing communities", built["missing"] == inputs.missing),
                ("dumps", _same_dumps(built["inputs"]["communities"], inputs.dumps, show)),
                ("gooaq", _same_gooaq(built["inputs"]["gooaq"], request.gooaq)),
                ("questions of --against", fresh.same_against(built.get("fresh"), request.against)),
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
    return built


def _same_dumps(recorded: dict[str, Any], dumps: dict[str, dump.Dump], show: Show) -> bool:
    if recorded.keys() != dumps.keys():
        return False
    for site, its_dump in dumps.items():
        tables = recorded[site]
        names = {*tables, *(name for name in dump.READ if name in its_dump.tables)}
        here = {name: its_dump.tables.get(name, -1) for name in names}
        if any(size is not None and size != tables.get(name, {}).get("bytes") for name, size in here.items()):
            return False
    with show(sum(its_dump.size for its_dump in dumps.values()), "comparing dumps") as progress:
        return all(
            its_dump.identity(list(recorded[site]), progress.advance) == recorded[site]
            for site, its_dump in dumps.items()
        )


def _same_gooaq(recorded: dict[str, Any] | None, path: Path | None) -> bool:
    if recorded is None or path is None:
        return recorded is None and path is None
    return gooaq.identity(path) == recorded
