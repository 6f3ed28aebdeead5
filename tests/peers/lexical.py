"""Peers of BM25: the scores of the same words, and the first ten of the same texts."""

from collections import Counter
from math import log
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


def tantivy_found(texts: Any) -> dict[str, list[str]]:
    """Return the first ten by tantivy, whose k1 and b are 1.2 and 0.75 and cannot be set."""
    import tantivy

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
    searcher, found = index.searcher(), {}
    for query_id, words in texts["queries"].items():
        terms = [tantivy.Query.term_query(schema, "text", word, "freq") for word in words["english"]]
        query = tantivy.Query.boolean_query([(tantivy.Occur.Should, term) for term in terms])
        found[query_id] = [searcher.doc(place)["name"][0] for _, place in searcher.search(query, 10).hits]
    return found


def in_a_byte(length: int) -> int:
    """Return a length as Lucene and tantivy keep it: exactly up to 39, then four bits and a shift."""
    if length < 40:
        return length
    shift = (length - 24).bit_length() - 4
    return 24 + ((length - 24) >> shift << shift)


def byte_lengths(texts: Any, k1: float = 1.2, b: float = 0.75) -> dict[str, list[str]]:
    """Return the first ten by BM25's formula with such lengths; their mean is of whole ones."""
    bags = [Counter(words) for words in texts["english"]]
    mean = sum(bag.total() for bag in bags) / len(bags)
    within = Counter(word for bag in bags for word in bag)
    found = {}
    for query_id, words in texts["queries"].items():
        scores = {}
        for doc_id, bag in zip(texts["doc_ids"], bags, strict=True):
            norm = k1 * (1 - b + b * in_a_byte(bag.total()) / mean)
            scores[doc_id] = sum(
                log(1 + (len(bags) - within[word] + 0.5) / (within[word] + 0.5)) * bag[word] / (bag[word] + norm)
                for word in words["english"]
            )
        found[query_id] = sorted(scores, key=scores.__getitem__, reverse=True)[:10]
    return found


def tantivy(given: Path) -> Answer:
    texts, ours = given_texts(given, "tantivy")
    first = {query_id: list(docs)[:10] for query_id, docs in ours.items()}
    return shared(first, tantivy_found(texts), 1.0, "it keeps lengths in one byte; see the next row")


def tantivy_byte(given: Path) -> Answer:
    texts, _ = given_texts(given, "tantivy")
    return shared(byte_lengths(texts), tantivy_found(texts), 1.0)


PEERS = (
    Peer("bm25s", ("bm25s==0.3.16",), "words", (Task("BM25", "all scores, method=lucene, k1=0.9, b=0.4", bm25s),)),
    Peer("rank_bm25", ("rank-bm25==0.2.2",), "words", (Task("BM25", "all scores of BM25Okapi", rank_bm25),)),
    Peer(
        "tantivy",
        ("tantivy==0.27.0",),
        "words",
        (
            Task("BM25", "the first 10, the same words, k1=1.2 and b=0.75, which it fixes", tantivy),
            Task("BM25, lengths in a byte", "the same, but the formula with lengths rounded as it does", tantivy_byte),
        ),
    ),
)
