"""Datasets by name. The folder is the registry: `beir/scifact` is "scifact" in `lotte/benchmarks/beir.py`.

A name may be a pattern, and a folder may stand in its place. Names of datasets
that only this disk has, a build with topics of its own, count too.
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


def names(data: Path) -> list[str]:
    """Return every dataset there is a name for, on this disk or not. Nothing is opened."""
    return sorted(
        {f"{file}/{name}" for file, benchmark in _benchmarks().items() for name in benchmark.NAMES} | set(found(data))
    )


def found(data: Path) -> list[str]:
    """Return the names of the datasets that are on this disk."""
    return sorted(f"{file}/{name}" for file, one in _benchmarks().items() for name in one.found(data))


def match(patterns: Iterable[str], data: Path) -> tuple[list[Dataset], list[str]]:
    """Return the datasets that are asked for, in order, and names that fit a pattern and are not here.

    patterns  names, patterns of names, or folders

    Raises  UnknownNameError for a pattern that fits nothing, UnavailableError if all it fits is not there
    """
    chosen: dict[str, Dataset] = {}
    absent: dict[str, None] = {}
    for pattern in patterns:
        fitting = [name for name in names(data) if fnmatchcase(name, pattern)]
        if not fitting and reading.is_readable(Path(pattern)):
            datasets = reading.read(Path(pattern))
        else:
            there, not_there = _present(pattern, fitting, data)
            datasets = [load(name, data) for name in there if name not in chosen]
            absent |= dict.fromkeys(not_there)
        for dataset in datasets:
            if chosen.setdefault(dataset.name, dataset) is not dataset:
                raise LotteError(f"{dataset.name} is asked for twice: {pattern} is not the first to hold it")
    return list(chosen.values()), list(absent)


def _present(pattern: str, fitting: list[str], data: Path) -> tuple[list[str], list[str]]:
    """Divide the names that fit a pattern into those to load and those this disk lacks."""
    if not fitting:
        raise unknown("dataset", pattern, names(data))
    if fitting == [pattern]:
        return fitting, []  # asked for by name: if it is not there, loading it says which file
    here = set(found(data))
    there = [name for name in fitting if name in here]
    if not there:
        raise UnavailableError(
            f"none of the {len(fitting)} datasets that {pattern!r} fits is in {data}; "
            "`lotte build` makes them, or point --data at a copy"
        )
    return there, [name for name in fitting if name not in here]


def corpus(pattern: str, data: Path) -> Corpus:
    """Return the one collection of a dataset, of a topic and split ("lotte/science/test"), or of a folder."""
    known = names(data)
    forms = [form for form in (pattern, f"{pattern}/*") if any(fnmatchcase(name, form) for name in known)]
    if not forms and Path(pattern).exists():
        return reading.read_corpus(Path(pattern))
    datasets, _ = match(forms[:1] or [pattern], data)
    sources = {str(getattr(dataset.corpus, "path", dataset.name)) for dataset in datasets}
    if len(sources) > 1:
        raise LotteError(f"{pattern} has {len(sources)} collections, and an index is made of one; name a dataset")
    return datasets[0].corpus


def load(name: str, data: Path) -> Dataset:
    file, _, rest = name.partition("/")
    dataset: Dataset = _benchmarks()[file].load(rest, data)
    return dataset


@cache
def _benchmarks() -> dict[str, ModuleType]:
    files = [module.name for module in iter_modules(benchmarks.__path__)]
    return {file: import_module(f"{benchmarks.__name__}.{file}") for file in files}
