"""Datasets by name. The folder is the registry: `beir/scifact` is "scifact" in `lotte/benchmarks/beir.py`.

A name may be a pattern or a prefix of several names ("beir/cqadupstack"), or be
replaced by a folder. Names of datasets that are only on this disk (a build with
other topics) count too. Other tools' spellings are understood:
"trec-dl/2019" is `trecdl/2019`, and so are each benchmark's ALIASES.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from lotte import Corpus, Dataset, benchmarks, reading
from lotte.errors import LotteError, UnavailableError, unknown
from lotte.release import Release


def names(data: Path) -> list[str]:
    """Return every dataset there is a name for, on this disk or not. Nothing is opened."""
    return sorted(set(published()) | set(on_disk(data)))


def published() -> list[str]:
    """Return the names of the datasets that somebody published, without those of builds of one's own."""
    return sorted(_full(file, name) for file, benchmark in _benchmarks().items() for name in benchmark.NAMES)


def on_disk(data: Path) -> list[str]:
    """Return the names of the datasets that are on this disk."""
    return sorted(_full(file, name) for file, one in _benchmarks().items() for name in _names_in(one, data))


def _further(data: Path) -> list[str]:
    """Return the names of splits that no pattern fits but one that ends in them: "beir/fiqa/train"."""
    found: set[str] = set()
    for file, benchmark in _benchmarks().items():
        names = [*getattr(benchmark, "FURTHER", ()), *(benchmark.further_in(data) if _has_further(benchmark) else ())]
        found |= {_full(file, name) for name in names}
    return sorted(found)


def _has_further(benchmark: ModuleType) -> bool:
    return hasattr(benchmark, "further_in")


def _names_in(benchmark: ModuleType, data: Path) -> Iterable[str]:
    """Return the sets that a benchmark looks for by itself; else those of which all files are there."""
    if hasattr(benchmark, "names_in"):
        names: list[str] = benchmark.names_in(data)
        return names
    return (name for name in benchmark.NAMES if benchmark.release(name).is_in(data))


def release(name: str) -> Release | None:
    """Return what is published of a dataset: its measures, counts, licence, sources. None for one of one's own."""
    file, _, rest = _canonical(name).partition("/")
    benchmark = _benchmarks().get(file)
    if benchmark is None or rest not in (*benchmark.NAMES, *getattr(benchmark, "FURTHER", ())):
        return None
    known: Release = benchmark.release(rest)
    return known


def parts(name: str) -> list[str]:
    """Return the datasets whose mean a paper prints under one name: "beir/cqadupstack" has twelve. Else, itself."""
    file, _, rest = _canonical(name).partition("/")
    means = getattr(_benchmarks().get(file), "MEANS", {})
    return [_full(file, part) for part in means.get(rest, (rest,))]


def _full(file: str, name: str) -> str:
    return f"{file}/{name}" if name else file  # some benchmarks are one dataset: "peerqa"


def _canonical(name: str) -> str:
    """Return our spelling of a name or a pattern."""
    file, slash, rest = benchmarks.spelled(name).partition("/")
    aliases = getattr(_benchmarks().get(file), "ALIASES", {})
    return f"{file}{slash}{aliases.get(rest, rest)}"


def match(patterns: Iterable[str], data: Path) -> tuple[list[Dataset], list[str]]:
    """Return the requested datasets, in order, and names that match a pattern and are not here.

    patterns  names, patterns of names, or folders

    Raises  UnknownNameError for a pattern that fits nothing, UnavailableError if all it fits is not there
    """
    chosen: dict[str, Dataset] = {}
    absent: dict[str, None] = {}
    for given in patterns:
        pattern, fitting = _fitting(given, data)
        if not fitting and reading.is_readable(Path(given)):
            datasets = reading.read(Path(given))
        else:
            there, not_there = _present(pattern, fitting, data)
            datasets = [load(name, data) for name in there if name not in chosen]
            absent |= dict.fromkeys(not_there)
        for dataset in datasets:
            if chosen.setdefault(dataset.name, dataset) is not dataset:
                raise LotteError(f"{dataset.name} was named twice: {given} is not the first to hold it")
    return list(chosen.values()), list(absent)


def _fitting(given: str, data: Path) -> tuple[str, list[str]]:
    """Return our spelling of a pattern, and the names that it fits: itself, or what begins with it and no folder is."""
    pattern, known = _canonical(given), names(data)
    fitting = [name for name in known if fnmatchcase(name, pattern)]
    if not fitting:
        fitting = [name for name in _further(data) if fnmatchcase(name, pattern)]
    if not fitting and not Path(given).exists() and any(fnmatchcase(name, f"{pattern}/*") for name in known):
        pattern = f"{pattern}/*"
        fitting = [name for name in known if fnmatchcase(name, pattern)]
    return pattern, fitting


def _present(pattern: str, fitting: list[str], data: Path) -> tuple[list[str], list[str]]:
    """Divide the names that fit a pattern into those to load and those this disk lacks."""
    if not fitting:
        raise unknown("dataset", pattern, names(data))
    if fitting == [pattern]:
        return fitting, []  # requested by name: if it is not there, loading it names the file
    local = {*on_disk(data), *(name for name in _further(data) if _is_here(name, data))}
    present = [name for name in fitting if name in local]
    if not present:
        way = "`lotte build` makes" if pattern.startswith("lotte/") else "`lotte fetch NAME` downloads"
        raise UnavailableError(
            f"none of the {len(fitting)} datasets that {pattern!r} fits is in {data}; "
            f"{way} them, or point --data at a copy"
        )
    return present, [name for name in fitting if name not in local]


def _is_here(name: str, data: Path) -> bool:
    known = release(name)
    return known.is_in(data) if known else True


def corpus(pattern: str, data: Path) -> Corpus:
    """Return the one collection of a dataset, of a topic and split ("lotte/science/test"), or of a folder."""
    known = [*names(data), *_further(data)]
    given, pattern = pattern, _canonical(pattern)
    forms = [form for form in (pattern, f"{pattern}/*") if any(fnmatchcase(name, form) for name in known)]
    if not forms and Path(given).exists():
        return reading.read_corpus(Path(given))
    datasets, _ = match(forms[:1] or [given], data)
    sources = {str(getattr(dataset.corpus, "path", dataset.name)) for dataset in datasets}
    if len(sources) > 1:
        raise LotteError(f"{pattern} has {len(sources)} collections, and an index is made of one; name a dataset")
    return datasets[0].corpus


def load(name: str, data: Path) -> Dataset:
    """Return a dataset by its name, read from `data`.

    Raises  UnknownNameError; UnavailableError if its files are not there
    """
    file, _, rest = _canonical(name).partition("/")
    dataset: Dataset = _benchmarks()[file].load(rest, data)
    return dataset


@cache
def _benchmarks() -> dict[str, ModuleType]:
    files = [module.name for module in iter_modules(benchmarks.__path__)]
    return {file: import_module(f"{benchmarks.__name__}.{file}") for file in files}
