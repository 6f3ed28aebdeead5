"""Training pairs from a LoTTE build: its questions, or every page's title, with the passages that answer them.

Each topic and split (dev by default) becomes one dataset, with search and
forum questions together. Communities of the test split are refused, also those
in both splits, and a question that is in test too is left out and counted. A
build stores only the titles of its forum questions, so the other pages need the
dumps it was built from (`dumps`); without them there are only the chosen
questions, 2,000 per topic.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotte import Corpus, Dataset, parquet
from lotte.benchmarks import lotte
from lotte.builder import manifest
from lotte.builder.spec import SPLITS, BuildOptions, Spec
from lotte.collection import Collection, Selection
from lotte.errors import CorruptFileError, MismatchError, UnavailableError, UnknownNameError, did_you_mean
from lotte.jsonl import integer, objects, string
from lotte.progress import Progress
from lotte.word_runs import normalised

Rows = NDArray[np.int64]


def datasets(
    build: Path,
    *,
    splits: Sequence[str] = ("dev",),
    communities: Sequence[str] = (),
    allow_test: bool = False,
    dumps: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Dataset]:
    """Return training sets of a build, one a topic and split: `from-build/science/dev`.

    build        what `lotte build` made
    splits       "dev", "test"; the second only with allow_test
    communities  hosts; if given, only their passages and questions
    allow_test   whether communities of the test split, and questions that are asked there, may be in it
    dumps        the folder the build was made from; then every page with passages gives a pair, not only those
                 that were chosen as forum questions. Its query_id is "page/<host>/<question_id>"
    say          takes a line for the user

    Raises  MismatchError for what belongs to the test split, or if nothing is left
            UnknownNameError for a community or split that the build lacks
            UnavailableError, CorruptFileError if a file of the build or the dumps is not there or not as it was
    """
    source = _Build(build)
    sites_of = source.checked(splits, communities, allow_test)
    asked_in_test = set() if allow_test else source.test_questions()
    titles = None
    if dumps is not None:
        taken = dict.fromkeys(site for sites in sites_of.values() for site in sites)
        titles = {site: source.titles(site, dumps) for site in taken}
    parts = (_dataset(source, part, sites, titles, asked_in_test, say) for part, sites in sites_of.items())
    if not (sets := [part for part in parts if part is not None]):
        raise MismatchError(
            f"{build}: no question is left of {', '.join(sites_of)}; name other communities, or --dumps"
        )
    return sets


class _Build:
    """A build as its manifest tells it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.manifest = folder, manifest.read(folder)
        self.id = manifest.build_id(folder)
        try:
            parts = self.manifest["counts"]["parts"]
            missing, said = set(self.manifest["missing"]), self.manifest["spec"]
            options: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in said["options"].items()
            }
            self.spec = Spec(said["name"], said["topics"], BuildOptions(**options), said["aliases"])
            # part -> its communities, in collection order; the pool is its topics once more, and left out
            self.parts = {
                f"{topic}/{split}": [site for site in sites if site not in missing]
                for topic, split, sites in self.spec.parts()
                if f"{topic}/{split}" in parts
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise CorruptFileError(f"{folder / manifest.NAME} is damaged ({error}); build again") from None

    def checked(self, splits: Sequence[str], communities: Sequence[str], allow_test: bool) -> dict[str, list[str]]:
        """Return part -> its communities to train on, in collection order, if they may be trained on."""
        for split in splits:
            if split not in SPLITS:
                raise UnknownNameError(f"no split is named {split!r}; there are {' and '.join(SPLITS)}")
        known = list(dict.fromkeys(site for sites in self.parts.values() for site in sites))
        for site in communities:
            if site not in known:
                hint = did_you_mean(site, known)
                raise UnknownNameError(
                    f"{self.folder} has no community named {site!r}; {hint}it holds {', '.join(known)}"
                )
        sites_of = {}
        for part, sites in self.parts.items():
            chosen = [site for site in sites if not communities or site in communities]
            if chosen and part.rpartition("/")[2] in splits:
                sites_of[part] = chosen
        taken = {site for sites in sites_of.values() for site in sites}
        test = {part: sites for part, sites in self.parts.items() if part.endswith("/test")}
        # requested by split or by name, and those in both splits
        forbidden = [site for sites in test.values() for site in sites if site in taken or site in communities]
        if forbidden and not allow_test:
            parts = [part for part, sites in test.items() if not set(sites).isdisjoint(forbidden)]
            raise MismatchError(
                f"{self.folder}: {', '.join(forbidden)} belong{'s' * (len(forbidden) == 1)} to the test split "
                f"({', '.join(parts)}), so a model trained on it cannot be evaluated there. Name other communities, "
                "or allow it with --allow-test; the checkpoint's card will say so"
            )
        if absent := [site for site in communities if site not in taken]:
            raise MismatchError(
                f"{self.folder}: {', '.join(absent)} is in no part of {' or '.join(splits)}; name its split too"
            )
        if not sites_of:
            raise MismatchError(
                f"{self.folder} has no {' or '.join(splits)} split to train on: it holds {', '.join(self.parts)}"
            )
        return sites_of

    def test_questions(self) -> set[str]:
        """Return the words of every question of a test split."""
        questions: set[str] = set()
        for part in self.parts:
            if part.endswith("/test"):
                for kind in lotte.kinds(self.folder / part):
                    questions.update(map(normalised, lotte.read(self.folder / part, kind).queries.values()))
        return questions - {""}

    def titles(self, site: str, dumps: Path) -> dict[int, str]:
        """Return question_id -> title, as a forum question has it, from the dump the build was made from.

        A build of a past day has the titles of the dump, not of that day.
        """
        from lotte.builder import dump, post
        from lotte.builder.xml_rows import XmlRows, decode, whole

        source = dump.find(dumps, self.spec.names(site))
        if source is None:
            raise UnavailableError(f"{dumps} lacks {site}; --dumps takes the folder that {self.folder} was built from")
        titles: dict[int, str] = {}
        with Progress(source.size, "bytes", f"reading titles of {site}") as progress:
            for _, blocks in source.read(["Posts.xml"], progress.advance):
                hashed = dump.Hashed(blocks)
                for row in XmlRows(hashed, path=str(source.where("Posts.xml")), root="posts"):
                    try:
                        if row[b" PostTypeId="] == b"1":
                            title = post.title_text(decode(row.get(b" Title=", b"")), self.spec.options)
                            titles.setdefault(whole(row[b" Id="]), title)
                    except (KeyError, ValueError):  # a bad row; the build has counted it
                        continue
        said = self.manifest["inputs"]["communities"][site]["Posts.xml"]
        if (identity := hashed.identity()) != said:
            raise MismatchError(
                f"{source.path} is not the dump that {self.folder} was built from: Posts.xml has sha256 "
                f"{identity['sha256'][:8]}, the manifest says {said['sha256'][:8]}. Name the folder it was built from"
            )
        return titles


def _dataset(
    build: _Build,
    part: str,
    sites: Sequence[str],
    titles: Mapping[str, Mapping[int, str]] | None,
    asked_in_test: Container[str],
    say: Callable[[str], None],
) -> Dataset | None:
    """Return the training set of a part, without what test asks too; None if nothing is left. Tells the user."""
    pairs = _pairs(build.folder, part, sites, titles)
    queries = {query_id: text for query_id, text in pairs.queries.items() if normalised(text) not in asked_in_test}
    if left_out := len(pairs.queries) - len(queries):
        say(
            f"{part}: {left_out:,} of {len(pairs.queries):,} questions are in the test split too; "
            "they are left out of training"
        )
    if not queries:
        say(f"{part}: no question of {', '.join(sites)} is left; this part is skipped")
        return None
    return Dataset(
        name=f"from-build/{part}",
        corpus=pairs.corpus,
        queries=queries,
        qrels={query_id: pairs.qrels[query_id] for query_id in queries},
        measure="Success@5",
        source=f"build:{build.id[:16]}",
        licence=str(build.manifest.get("licence", "unknown")),
        facts={
            "communities": ", ".join(sites),
            "split": part.rpartition("/")[2],
            "questions": "search and forum" if titles is None else "search, and every page's title",
            "left out, asked in test": str(left_out),
        },
    )


@dataclass(frozen=True)
class _Pairs:
    corpus: Corpus
    queries: dict[str, str]
    qrels: dict[str, Mapping[str, int]]


def _pairs(build: Path, part: str, sites: Sequence[str], titles: Mapping[str, Mapping[int, str]] | None) -> _Pairs:
    """Return the questions about these communities; with titles, every page's in place of the forum questions."""
    folder = build / part
    collection = Collection(folder / "collection.tsv")
    taken = _of_sites(folder, sites, len(collection))
    queries: dict[str, str] = {}
    qrels: dict[str, Mapping[str, int]] = {}
    for kind in lotte.kinds(folder):
        if kind == "forum" and titles is not None:
            continue
        chosen = lotte.read(folder, kind, collection)
        for query_id, judged in chosen.qrels.items():
            # the answers of a question are all of one community
            if judged and taken[int(next(iter(judged)))]:
                queries[f"{kind}/{query_id}"] = chosen.queries[query_id]
                qrels[f"{kind}/{query_id}"] = judged
    if titles is not None:
        for query_id, text, pids in _pages(folder / "metadata.jsonl", titles, len(collection)):
            queries[query_id], qrels[query_id] = text, dict.fromkeys(pids, 1)
    corpus = collection if taken.all() else Selection(collection, np.flatnonzero(taken).tolist())
    return _Pairs(corpus, queries, qrels)


def _pages(
    metadata: Path, titles: Mapping[str, Mapping[int, str]], num_passages: int
) -> Iterator[tuple[str, str, list[str]]]:
    """Give query_id, title and pids of every page of these communities that has a title."""
    for number, page in objects(metadata):
        where = f"{metadata}:{number}"
        site, question_id = string(page, "dataset", where), integer(page.get("question_id"), "question_id", where)
        if site not in titles:
            continue
        pids = page.get("pids")
        if not isinstance(pids, list) or not all(
            0 <= integer(pid, "each of pids", where) < num_passages for pid in pids
        ):
            raise CorruptFileError(
                f"{where}: pids must be passages of the collection, found {str(pids)[:40]}; build again"
            )
        if pids and (title := titles[site].get(question_id, "")):
            yield f"page/{site}/{question_id}", title, list(map(str, pids))


def _of_sites(folder: Path, sites: Sequence[str], num_passages: int) -> NDArray[np.bool_]:
    """Return for each passage whether it is of one of these communities; attribution.parquet says whose it is."""
    path, pids, taken = folder / "attribution.parquet", [np.zeros(0, np.int64)], [np.zeros(0, np.bool_)]
    for batch in parquet.batches(path, {"pid": int, "site": str}):
        pids.append(batch["pid"].to_numpy())
        taken.append(np.isin(batch["site"].to_numpy(zero_copy_only=False), sites))
    if not np.array_equal(np.concatenate(pids), np.arange(num_passages)):
        raise CorruptFileError(f"{path} has not one row for each of the {num_passages:,} passages; build again")
    return np.concatenate(taken)
