"""A folder is read by what is in it, and what would ruin a score silently is refused by its line."""

import gzip
import hashlib
import json
import shutil
import tracemalloc
from pathlib import Path

import pytest
from places import TINY

from lotte import Docs, archive, line_index, lines, reading
from lotte.benchmarks import beir, lotte
from lotte.collection import Collection, OwnIds
from lotte.dataset import corpus_sha256
from lotte.errors import CorruptFileError, LotteError, UnavailableError


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return folder


def error(path: Path) -> str:
    with pytest.raises(LotteError) as raised:
        for dataset in reading.read(path):
            list(dataset.corpus), list(dataset.corpus.doc_ids)
    return str(raised.value)


TOPIC = {
    "collection.tsv": "0\tthe moon\n1\tsalt\n2\tglass\n",
    "questions.forum.tsv": "0\twhy \u201csalt\u201d\n1\tglass?\n",
    "qas.forum.jsonl": '{"qid": 0, "query": "why", "answer_pids": [1, 2], "url": "x"}\n'
    '{"answer_pids": [0], "query": "gl\\u0061ss?", "qid": 1}\n',
}


def test_a_topic_of_lotte():
    search, forum = reading.read(TINY / "science" / "test")
    assert (search.name, forum.name) == ("lotte/science/test/search", "lotte/science/test/forum")
    assert search.queries == {"0": "why is the sky blue", "1": "does salt melt ice", "2": "zzz qqq"}
    assert search.qrels == {"0": {"3": 1}, "1": {"1": 1}, "2": {"2": 1}}
    assert (search.measure, search.source, search.licence) == ("Success@5", "local", "unknown")
    assert search.corpus is forum.corpus
    assert (
        corpus_sha256(search.corpus) == hashlib.sha256((TINY / "science/test/collection.tsv").read_bytes()).hexdigest()
    )


def test_one_kind_of_question_is_enough_and_may_be_asked_for(tmp_path):
    topic = write(tmp_path / "my-topic" / "dev", TOPIC)
    (forum,) = reading.read(topic)
    assert forum.name == "lotte/my-topic/dev/forum"
    assert forum.qrels == {"0": {"1": 1, "2": 1}, "1": {"0": 1}}
    assert [one.name for one in reading.read(TINY / "science" / "test" / "forum")] == ["lotte/science/test/forum"]


def test_the_name_is_that_of_the_folder_however_it_is_reached(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path / "science" / "test", TOPIC))
    assert reading.read(Path("."))[0].name == "lotte/science/test/forum"


def test_every_file_may_be_gzip(tmp_path):
    plain = write(tmp_path / "a" / "t", TOPIC)
    packed = write(tmp_path / "b" / "t", {f"{name}.gz": text for name, text in TOPIC.items()})
    (one,), (other,) = reading.read(plain), reading.read(packed)
    assert (one.queries, one.qrels, list(one.corpus)) == (other.queries, other.qrels, list(other.corpus))


def test_windows_line_ends_and_a_byte_order_mark_in_the_questions_make_no_difference(tmp_path):
    files = {name: text.replace("\n", "\r\n") for name, text in TOPIC.items()}
    files["questions.forum.tsv"] = "\ufeff" + files["questions.forum.tsv"]
    (one,), (other,) = (
        reading.read(write(tmp_path / "a" / "t", TOPIC)),
        reading.read(write(tmp_path / "b" / "t", files)),
    )
    assert (one.queries, one.qrels, list(one.corpus)) == (other.queries, other.qrels, list(other.corpus))


def test_a_build_is_named_by_its_manifest_and_read_whole(tmp_path):
    shutil.copytree(TINY, tmp_path / "build")
    write(tmp_path / "build" / "writing" / "dev", TOPIC)
    manifest = write(tmp_path / "build", {"manifest.json": '{"licence": "CC BY-SA"}'}) / "manifest.json"
    found = reading.read(tmp_path / "build")
    assert [dataset.name for dataset in found] == [
        "lotte/science/test/search", "lotte/science/test/forum", "lotte/writing/dev/forum",
    ]  # fmt: skip
    source = f"build:{hashlib.sha256(manifest.read_bytes()).hexdigest()[:16]}"
    assert {(dataset.source, dataset.licence) for dataset in found} == {(source, "CC BY-SA")}


def test_a_build_that_was_not_finished_is_no_collection(tmp_path):
    topic = write(tmp_path / "build" / "science" / "test", TOPIC)
    (tmp_path / "build" / ".work").mkdir()
    assert error(topic) == f"{tmp_path / 'build'} is an unfinished build; `lotte build` goes on with it"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "qas.forum.jsonl",
            '{"qid": 0, "answer_pids": [1, 3]}\n',
            ":1: query 0 is answered by passage 3, but collection.tsv ends at 2. Build or fetch the topic again.",
        ),
        (
            "qas.forum.jsonl",
            '{"qid": 0, "answer_pids": [-1]}\n',
            ":1: query 0 is answered by passage -1, but collection.tsv ends at 2. Build or fetch the topic again.",
        ),
        (
            "qas.forum.jsonl",
            '{"qid": 0, "answer_pids": ["1"]}\n',
            ":1: each of answer_pids must be an integer, found '1'",
        ),
        (
            "qas.forum.jsonl",
            '{"qid": 0, "answer_pids": [true]}\n',
            ":1: each of answer_pids must be an integer, found True",
        ),
        ("qas.forum.jsonl", '{"qid": "0", "answer_pids": [1]}\n', ":1: qid must be an integer, found '0'"),
        ("qas.forum.jsonl", '{"qid": 0}\n', ":1: answer_pids must be a list of integers, found None"),
        ("qas.forum.jsonl", TOPIC["qas.forum.jsonl"] + "[]\n", ":3: expected a JSON object, found '[]'"),
        (
            "qas.forum.jsonl",
            '{"qid": 0\n',
            ":1: not JSON (Expecting ',' delimiter: line 1 column 10 (char 9))",
        ),
        ("qas.forum.jsonl", TOPIC["qas.forum.jsonl"] * 2, ":3: query 0 occurs a second time"),
        ("qas.forum.jsonl", '{"qid": 7, "answer_pids": [1]}\n', ":1: query 7 has no line in questions.forum.tsv"),
        ("questions.forum.tsv", TOPIC["questions.forum.tsv"] + "2\tx\n", ":3: query 2 has no line in qas.forum.jsonl"),
        ("questions.forum.tsv", "0\ta\n0\tb\n", ":2: query 0 occurs a second time"),
        (
            "questions.forum.tsv",
            "0\ta\tb\n",
            ":1: expected a number and a question with a tab between, found 3 fields",
        ),
        (
            "collection.tsv",
            "0\ta\n2\tb\n3\tc\n",
            ":2: expected passage 1, found b'2'; passages are numbered by their line, from 0",
        ),
        (
            "collection.tsv",
            "0\ta\n1\n2\tc\n",
            ":2: expected a number and a text with a tab between, found 1 fields",
        ),
    ],
)
def test_what_is_wrong_in_a_topic_is_named_by_its_line(tmp_path, file, text, message):
    topic = write(tmp_path / "science" / "test", {**TOPIC, file: text})
    assert error(topic) == f"{topic / file}{message}"


COLBERT = {
    "collection.tsv": "0\tbody\ttitle\n1\tonly body\n",
    "queries.dev.tsv": "7\tasked\n8\tnot judged\n",
    "qrels.dev.tsv": "7\t0\t1\t2\n7\t0\t0\t-1\n",
}


def test_colberts_layout(tmp_path):
    (found,) = reading.read(write(tmp_path / "set", COLBERT))
    assert (found.name, found.measure, found.source) == ("set/dev", "nDCG@10", "local")
    assert [doc.text for doc in found.corpus] == ["title body", "only body"]
    assert found.queries == {"7": "asked", "8": "not judged"}
    assert found.qrels == {"7": {"1": 2, "0": 0}}


def test_a_licence_that_a_folder_names_stays_with_its_questions(tmp_path):
    folder = write(tmp_path / "set", {**COLBERT, "SOURCE.json": '{"licence": "CC BY 4.0\\n(texts)", "repo": "x"}'})
    assert [found.licence for found in reading.read(folder)] == ["CC BY 4.0 (texts)"]
    write(folder, {"SOURCE.json": '{"repo": "x"}'})
    assert [found.licence for found in reading.read(folder)] == ["unknown"]
    write(folder, {"SOURCE.json": "[]"})
    assert error(folder) == f'{folder / "SOURCE.json"}: expected a JSON object such as {{"licence": "CC BY 4.0"}}'


def test_test_is_preferred_to_dev_to_train_and_another_may_be_asked_for(tmp_path):
    folder = write(tmp_path / "set", COLBERT)
    for split in ("train", "test"):
        write(folder, {f"queries.{split}.tsv.gz": f"1\t{split}\n", f"qrels.{split}.tsv": "1 0 0 1\n"})
    assert [found.queries for found in reading.read(folder)] == [{"1": "test"}]
    assert [found.name for found in reading.read(folder / "train")] == ["set/train"]
    assert not reading.is_readable(folder / "nothing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7 0 5 1\n", ":1: query 7 is answered by passage 5, but the collection ends at 1"),
        ("9 0 0 1\n", ":1: query 9 has no line in queries.dev.tsv"),
        ("7 0 0\n", ":1: expected query, 0, passage and a whole number, found '7 0 0'"),
        ("7 0 0 x\n", ":1: relevance 'x' is not a whole number"),
    ],
)
def test_what_is_wrong_in_colberts_layout_is_named_by_its_line(tmp_path, text, message):
    folder = write(tmp_path / "set", {**COLBERT, "qrels.dev.tsv": text})
    assert error(folder) == f"{folder / 'qrels.dev.tsv'}{message}"


BEIR = {
    "corpus.jsonl": '{"_id": "MED-1", "title": "A title", "text": " of a text ", "metadata": {}}\n'
    '{"_id": "2", "title": "", "text": "no title"}\n{"_id": "q1", "text": "gl\\u00e4ss"}\n',
    "queries.jsonl": '{"_id": "q1", "text": "asked", "metadata": {}}\n{"_id": "q2", "text": "not judged"}\n',
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\tMED-1\t2\nq1\tgone\t1\nq1\t2\t-2\n",
}


def test_beirs_layout(tmp_path):
    (found,) = reading.read(write(tmp_path / "nfcorpus", BEIR))
    assert (found.name, found.measure, found.ignore_own) == ("beir/nfcorpus", "nDCG@10", True)
    assert list(found.corpus.doc_ids) == ["MED-1", "2", "q1"]
    assert [doc.text for doc in found.corpus] == ["A title  of a text", "no title", "gl\u00e4ss"]
    assert found.queries == {"q1": "asked"}
    assert found.qrels == {"q1": {"MED-1": 2, "gone": 1, "2": 0}}
    folder = write(tmp_path / "cqadupstack" / "tex", {f"{name}.gz": text for name, text in BEIR.items()})
    (packed,) = reading.read(folder)
    assert packed.name == "beir/cqadupstack/tex"
    assert (packed.queries, packed.qrels, list(packed.corpus)) == (found.queries, found.qrels, list(found.corpus))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("corpus.jsonl", '{"_id": 5.0, "text": "x"}\n', ":1: '_id' must be a string or an integer, found 5.0"),
        ("corpus.jsonl", '{"_id": "5"}\n', ":1: 'text' must be a string, found None"),
        ("corpus.jsonl", '{"_id": "5", "text": "\\ud800"}\n', ":1: 'text' is not text (surrogates not allowed at 0)"),
        ("corpus.jsonl", '{"_id": "a", "text": ""}\n' * 2, ":2: _id 'a' occurs a second time"),
        ("queries.jsonl", '{"_id": "a", "text": ""}\n' * 2, ":2: query 'a' occurs a second time"),
        ("qrels/test.tsv", "q7\tMED-1\t1\n", ":1: query 'q7' has no line in queries.jsonl"),
        (
            "qrels/test.tsv",
            "q1\tMED-1\n",
            ":1: expected query, document and a whole number with tabs between, found 'q1\\tMED-1'",
        ),
    ],
)
def test_what_is_wrong_in_a_beir_set_is_named_by_its_line(tmp_path, file, text, message):
    folder = write(tmp_path / "set", {**BEIR, file: text})
    assert error(folder) == f"{folder / file}{message}"


def test_a_folder_of_something_else(tmp_path):
    assert error(tmp_path).startswith(f"{tmp_path} holds no questions: expected collection.tsv with")
    (tmp_path / "collection.tsv").write_text("0\ta\n")
    assert error(tmp_path).startswith(f"{tmp_path} holds no questions")
    assert [doc.text for doc in reading.read_corpus(tmp_path)] == ["a"]
    with pytest.raises(UnavailableError, match=r"nowhere/collection.tsv is not there"):
        reading.read_corpus(tmp_path / "nowhere" / "collection.tsv")


def test_names_on_this_disk(tmp_path):
    write(tmp_path / "science" / "test", TOPIC)
    write(tmp_path / "beir" / "scifact", BEIR)
    write(tmp_path / "beir" / "cqadupstack" / "tex", BEIR)
    assert lotte.names_in(tmp_path) == ["science/test/forum"]
    assert beir.names_in(tmp_path) == ["cqadupstack/tex", "scifact"]
    assert lotte.load("science/test/forum", tmp_path).name == "lotte/science/test/forum"
    assert beir.load("cqadupstack/tex", tmp_path).name == "beir/cqadupstack/tex"
    assert len(lotte.NAMES) == 24 and "scifact" in beir.NAMES


def test_a_gzip_collection_that_was_cut_is_named(tmp_path):
    path = tmp_path / "collection.tsv.gz"
    path.write_bytes(gzip.compress(b"0\ta\n")[:-5])
    with pytest.raises(CorruptFileError, match=r"collection\.tsv\.gz: the .gz is damaged"):
        len(Collection(path))


def test_the_provided_collections_are_read(shared):
    (scifact,) = reading.read(shared / "scifact")
    assert (scifact.name, len(scifact.corpus), len(scifact.queries), len(scifact.qrels)) == (
        "scifact/test",
        5183,
        300,
        300,
    )
    assert sum(map(len, scifact.qrels.values())) == 339
    (medquad,) = reading.read(shared / "medquad")  # its collection is gzip
    assert len(medquad.corpus) == 16_350


def test_documents_in_memory_are_a_corpus_too():
    docs = Docs(())
    assert (len(docs), list(docs.doc_ids), list(docs)) == (0, [], [])
    assert json.loads(json.dumps(corpus_sha256(docs))) == hashlib.sha256(b"").hexdigest()


def test_a_packed_collection_is_not_unpacked_in_memory(tmp_path):
    path = tmp_path / "collection.tsv.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        for pid in range(40):
            file.write(f"{pid}\t{'word ' * 200_000}\n")  # 40 MB
    tracemalloc.start()
    collection = reading.read_corpus(path)
    assert len(collection) == 40 and collection[39].text.startswith("word")
    assert tracemalloc.get_traced_memory()[1] < 30 << 20
    tracemalloc.stop()


def test_a_packed_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LONGEST", 1 << 20)
    path = tmp_path / "queries.tsv.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"0\tshort\n1\t" + bytes(1 << 20))
    with pytest.raises(CorruptFileError, match=r"queries.tsv.gz:2: a line of more than 1 MB"):
        list(lines.lines(path))


def test_a_packed_collection_that_grows_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_SMALL", 1 << 20)
    path = tmp_path / "collection.tsv.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(4):
            file.write(bytes(1 << 20))
    with pytest.raises(CorruptFileError, match="unpacks to more than 1,048,576 bytes"):
        len(reading.read_corpus(path))


@pytest.mark.parametrize("name", ["collection.tsv", "collection.tsv.gz"])
def test_a_document_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch, name):
    monkeypatch.setattr(line_index, "LONGEST", 1 << 20)
    content = b"0\tshort\n1\t" + b"x" * (1 << 20) + b"\n2\tshort\n"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(CorruptFileError, match=rf"{name}:2: a line of more than 1 MB; it is refused"):
        len(reading.read_corpus(tmp_path))


@pytest.mark.parametrize("rows", ["0\tthe moon\r1\tsalt", "0\tthe moon\r1\tsalt\r", "0\tthe moon\r1\tsalt\r\n", "0\ta\r1\tb\r2\tc\r"])
def test_the_line_ends_of_old_macs_are_refused_in_a_collection(tmp_path, rows):
    """Two rows of a number and a text are a number, a text and a title to a reader that knows no such line end."""
    path = tmp_path / "collection.tsv"
    path.write_bytes(rows.encode())
    for read in (Collection, OwnIds):
        with pytest.raises(CorruptFileError, match=r"collection\.tsv:1: its only line has carriage returns in it"):
            list(read(path))


def test_the_line_ends_of_old_macs_are_refused_among_questions(tmp_path):
    (tmp_path / "queries.tsv").write_bytes(b"0 why\r1\twhat\r")
    with pytest.raises(CorruptFileError, match=r"queries\.tsv:1: its only line has carriage returns in it"):
        list(lines.lines(tmp_path / "queries.tsv"))


def test_questions_that_the_answers_word_otherwise_are_told_with_their_line(tmp_path):
    topic = write(tmp_path / "mine" / "dev", TOPIC)
    (forum,) = reading.read(topic)
    assert forum.notes == (
        f"{topic}/qas.forum.jsonl:1: query 0 is 'why' here, and 'why \u201csalt\u201d' in questions.forum.tsv, which is asked",
    )


def test_case_blanks_and_signs_of_a_question_may_differ(tmp_path):
    topic = write(tmp_path / "mine" / "dev", TOPIC)
    (topic / "questions.forum.tsv").write_text("0\tWHY? \n1\t&quot;glass&quot;\u00a0?\n")
    assert reading.read(topic)[0].notes == ()
