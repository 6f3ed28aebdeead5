"""One engine for bench_bm25.py, in a process of its own: it makes an index, then answers all queries once for each line "k".

    python tests/bench/bm25_peers.py bm25 passages.tsv queries.txt FOLDER
    PEER_PYTHON tests/bench/bm25_peers.py bm25s analysed.txt analysed_queries.txt FOLDER

`bm25` and `rank_bm25` are ours and read raw text. bm25s (numba) and tantivy read words that our analyser made, between
blanks, so that all are asked for the same words; `tantivy-raw` reads raw text by an English analyser of its own and is
asked nothing. After each answer: processor and wall seconds, as JSON, and processor seconds until Python has read every
score; ours makes its hits then, bm25s has arrays, tantivy has made them before. The scores go to FOLDER.
"""

import json
import sys
from pathlib import Path
from time import perf_counter, process_time


def ours(name, texts, folder):
    from lotte.collection import Collection
    from retrievers import load

    index = load(name).index(Collection(texts), folder / name)

    def ask(queries, k):
        run = index.search({str(number): query for number, query in enumerate(queries)}, k=k)
        return lambda: [[hit.score for hit in run.hits[str(number)]] for number in range(len(queries))]

    return ask


def bm25s(name, texts, folder):
    import bm25s

    index = bm25s.BM25(method="lucene", k1=0.9, b=0.4, backend="numba")
    with texts.open() as lines:
        index.index([line.split() for line in lines], show_progress=False)

    def ask(queries, k):
        words = [query.split() for query in queries]
        _, scores = index.retrieve(words, k=k, show_progress=False, n_threads=1)
        return scores.tolist

    return ask


def tantivy(name, texts, folder):
    import tantivy

    raw = name == "tantivy-raw"
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", tokenizer_name="english" if raw else "whitespace", index_option="freq")
    schema = builder.build()
    (folder / name).mkdir()
    index = tantivy.Index(schema, path=str(folder / name))
    if raw:
        analyser = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.lowercase())
        analyser = analyser.filter(tantivy.Filter.stopword("english")).filter(tantivy.Filter.stemmer("english"))
        index.register_tokenizer("english", analyser.build())
    writer = index.writer(heap_size=256_000_000, num_threads=2)
    with texts.open() as lines:
        for line in lines:
            document = tantivy.Document()
            document.add_text("text", line.partition("\t")[2] if raw else line)
            writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def ask(queries, k):
        for query in queries:
            terms = [(tantivy.Occur.Should, tantivy.Query.term_query(schema, "text", word, "freq")) for word in query.split()]
            searcher.search(tantivy.Query.boolean_query(terms), k, count=False)
        return list

    return ask


def memory(key):
    """Return bytes that /proc says, at this moment or at the most so far; 0 where there is no such file."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)


def main():
    name, texts, asked, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    make = {"bm25s": bm25s, "tantivy": tantivy, "tantivy-raw": tantivy}.get(name, ours)
    wall, cpu = perf_counter(), process_time()
    ask = make(name, texts, folder)
    made = {"wall": perf_counter() - wall, "cpu": process_time() - cpu, "peak": memory("VmHWM:")}
    print(json.dumps(made), flush=True)
    queries = asked.read_text().splitlines()
    for line in sys.stdin:
        k = int(line)
        wall, cpu = perf_counter(), process_time()
        scores = ask(queries, k)
        answered = {"wall": perf_counter() - wall, "cpu": process_time() - cpu}
        read = scores()
        answered["cpu_read"] = process_time() - cpu
        path = folder / f"{name}.{k}.json"
        if not path.exists():
            path.write_text(json.dumps(read))
        print(json.dumps(answered), flush=True)


if __name__ == "__main__":
    main()
