"""Peers of BM25: the scores of the same words, and the first ten of the same texts."""

from collections import Counter
from pathlib import Path
from typing import Any

from peer import Answer, Peer, Task, difference, found_json, shared


def given_texts(given: Path, name: str) -> tuple[Any, dict[str, dict[str, float]]]:
    """Return the words, and our scores by query and document."""
    found = found_json(given / "found.json")[name]
    return found_json(given / "texts.json"), {query_id: dict(hits) for query_id, hits in found.items()}


def flat(scores: dict[str, dict[str, float]]) -> dict[tuple[str, str], float]:
    return {(query_id, doc_id): score for query_id, docs in scores.items() for doc_id, score in docs.items() if score}


def bm25s(given: Path) -> Answer:
    import bm25s

    texts, ours = given_texts(given, "bm25")
    judge, theirs = bm25s.BM25(method="lucene", k1=0.9, b=0.4), {}
    judge.index(texts["english"], show_progress=False)
    for query_id, words in texts["queries"].items():
        scores = judge.get_scores_from_ids(judge.get_tokens_ids(words["english"]))
        theirs[query_id] = dict(zip(texts["doc_ids"], scores.tolist(), strict=True))
    return difference(flat(ours), flat(theirs), 1e-5)


def rank_bm25(given: Path) -> Answer:
    from rank_bm25 import BM25Okapi

    texts, ours = given_texts(given, "rank_bm25")
    judge, theirs = BM25Okapi(texts["lower"]), {}
    for query_id, words in texts["queries"].items():
        scores = judge.get_scores(words["lower"])
        theirs[query_id] = dict(zip(texts["doc_ids"], scores.tolist(), strict=True))
    return difference(flat(ours), flat(theirs), 1e-5)


def tantivy(given: Path) -> Answer:
    """Its k1 and b are fixed at 1.2 and 0.75, so ours are those. It keeps lengths in one byte, as Lucene does."""
    import tantivy

    texts, ours = given_texts(given, "tantivy")
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("name", stored=True, tokenizer_name="raw")
    builder.add_text_field("text", tokenizer_name="whitespace", index_option="freq")
    schema = builder.build()
    index = tantivy.Index(schema)
    writer = index.writer(num_threads=1)
    for doc_id, words in zip(texts["doc_ids"], texts["english"], strict=True):
        writer.add_document(tantivy.Document(name=doc_id, text=" ".join(words)))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher, theirs, first = index.searcher(), {}, {}
    for query_id, words in texts["queries"].items():
        should = [
            (tantivy.Occur.Should, tantivy.Query.term_query(schema, "text", word, "freq"))
            for word, times in Counter(words["english"]).items()
            for _ in range(times)
        ]
        hits = searcher.search(tantivy.Query.boolean_query(should), 10).hits
        theirs[query_id] = [searcher.doc(place)["name"][0] for _, place in hits]
        first[query_id] = list(ours[query_id])[:10]
    return shared(first, theirs, 0.9, "it keeps lengths in one byte, and orders ties by place")


PEERS = (
    Peer("bm25s", ("bm25s==0.3.16",), "words", (Task("BM25", "all scores, method=lucene, k1=0.9, b=0.4", bm25s),)),
    Peer("rank_bm25", ("rank-bm25==0.2.2",), "words", (Task("BM25", "all scores of BM25Okapi", rank_bm25),)),
    Peer("tantivy", ("tantivy==0.27.0",), "words", (Task("BM25", "the first 10, the same words, k1=1.2 and b=0.75, which it fixes", tantivy),)),
)
