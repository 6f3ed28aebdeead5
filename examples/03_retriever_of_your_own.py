"""A retriever of your own: score a document by the query's words that it has, rare words counting more.

`lotte eval FOLDER --retriever MODULE:RareWords` takes it too, in the folder where the module is.
"""

import json
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import retrievers
from leaderboard.measure import MRR, mean, scores
from lotte import Corpus, Doc, Docs, Run
from retrievers import index_folder

CORPUS = Docs(
    (
        Doc("1", "the starter rises when the kitchen is warm"),
        Doc("2", "the knife is dull and the kitchen is cold"),
        Doc("3", "the telescope shows the rings of saturn"),
    )
)


@dataclass(frozen=True)
class RareWords:
    """The recipe. Its fields are the options: `-o power=2` is read by the type of the field."""

    power: float = 1.0
    name: str = field(default="rare_words:RareWords", kw_only=True, metadata=index_folder.NAME)

    def index(self, corpus: Corpus, path: Path) -> "RareWordsIndex":
        with index_folder.write_index(path, self, corpus) as (folder, counts):
            words = [sorted(set(document.text.lower().split())) for document in corpus]
            (folder / "words.json").write_text(json.dumps(words))
            counts["documents"] = len(words)
        return self.open(path)

    def open(self, path: Path) -> "RareWordsIndex":
        doc_ids = index_folder.open_checked(path, self).doc_ids
        words = map(set, json.loads((path / "words.json").read_text()))
        return RareWordsIndex(self, dict(zip(doc_ids, words, strict=True)))


@dataclass(frozen=True)
class RareWordsIndex:
    retriever: RareWords
    documents: Mapping[str, set[str]]

    def search(self, queries: Mapping[str, str], *, k: int) -> Run:
        having = Counter(word for words in self.documents.values() for word in words)
        weight = {word: math.log(1 + len(self.documents) / n) ** self.retriever.power for word, n in having.items()}
        return Run.of({query_id: self.scores(text, weight) for query_id, text in queries.items()}, depth=k)

    def scores(self, query: str, weight: Mapping[str, float]) -> dict[str, float]:
        asked = set(query.lower().split())
        return {
            doc_id: sum(weight[word] for word in words & asked)
            for doc_id, words in self.documents.items()
            if words & asked
        }


def main(out: Path) -> None:
    index = RareWords().index(CORPUS, out / "index")
    for hit in retrievers.search_one(index, "is the kitchen warm", k=2):
        print(f"{hit.score:.4f}  {hit.doc_id}")
    run = index.search({"q1": "dull knife", "q2": "rings of saturn"}, k=10)
    print(f"MRR@10  {mean(scores(run, {'q1': {'2': 1}, 'q2': {'3': 1}}, [MRR @ 10])[MRR @ 10]):.4f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else scratch))
