"""What of a dataset is in the training pairs is found, counted as a plain script counts it, and stated in every record."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import tiny_checkpoint
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.evaluate import Order, evaluate
from lotte import Dataset, Doc, Docs, reading
from lotte.errors import CorruptFileError, MismatchError
from lotte.word_runs import hash_of, normalised, words
from retrievers import load
from retrievers.contamination import fingerprint
from retrievers.contamination.check import Seen, report, verdict
from retrievers.contamination.fingerprint import NAME, Fingerprint
from retrievers.retriever import Card

LONG = " ".join(f"word{number}" for number in range(40))


def dataset(questions: list[str], passages: list[str], name: str = "made/up", others: tuple[str, ...] = ()) -> Dataset:
    """One question a passage, in turn; `others` are passages that answer nothing."""
    docs = Docs(tuple(Doc(f"d{row}", text) for row, text in enumerate([*passages, *others])))
    queries = {f"q{row}": text for row, text in enumerate(questions)}
    qrels = {f"q{row}": {f"d{row % len(passages)}": 1} for row in range(len(questions))} if passages else {}
    for row in range(len(questions), len(passages)):
        qrels[f"q{row % len(questions)}"][f"d{row}"] = 1
    return Dataset(name=name, corpus=docs, queries=queries, qrels=qrels, measure="Success@5")


# The plain twin: tuples of words in sets, no hashes and no sample


def plain_runs(text: str, length: int) -> set[tuple[str, ...]]:
    split = words(text)
    size = min(length, len(split))
    return {tuple(split[at : at + size]) for at in range(len(split) - size + 1)} if size >= 8 else set()


def plain_counts(training: list[Dataset], tested: Dataset) -> dict[str, int]:
    asked = [one.queries[query_id] for one in training for query_id in one.qrels]
    positive = {
        doc.text for one in training for doc in one.corpus for judged in one.qrels.values() if judged.get(doc.doc_id)
    }
    question_runs = set().union(*(plain_runs(text, 8) for text in asked))
    passage_runs = set().union(*(plain_runs(text, 13) for text in positive))
    wholes = {tuple(words(text)) for text in asked} - {()}
    relevant = [doc.text for doc in tested.corpus if any(judged.get(doc.doc_id) for judged in tested.qrels.values())]

    def shares(texts: list[str]) -> list[float]:
        return [len(runs & passage_runs) / len(runs) for text in texts if (runs := plain_runs(text, 13))]

    queries = list(tested.queries.values())
    return {
        "queries": len(queries),
        "queries_equal": sum(tuple(words(text)) in wholes for text in queries),
        "queries_sharing": sum(not plain_runs(text, 8).isdisjoint(question_runs) for text in queries),
        "passages": len(relevant),
        "passages_copied": sum(share >= 0.5 for share in shares(relevant)),
        "passages_sharing": sum(share > 0 for share in shares(relevant)),
        "passages_short": sum(not plain_runs(text, 13) for text in relevant),
        "documents": len(tested.corpus),
        "documents_copied": sum(share >= 0.5 for share in shares([doc.text for doc in tested.corpus])),
    }


texts = st.lists(st.sampled_from(["a", "A", "b.", "c's", "\u00e9", "?!"]), max_size=24).map(" ".join)
sets = st.builds(dataset, st.lists(texts, min_size=1, max_size=5), st.lists(texts, min_size=1, max_size=5))


@given(st.lists(sets, max_size=3), sets)
def test_the_counts_are_those_of_the_plain_script(training, tested):
    found = report(Fingerprint.of(training), tested)
    assert found.every == 1, "so few runs are not sampled"
    record = found.record()
    assert {name: record[name] for name in plain_counts(training, tested)} == plain_counts(training, tested)


@given(st.lists(sets, min_size=1, max_size=3), sets, st.integers(1, 6))
def test_a_sample_finds_every_copy_and_nothing_that_is_not_shared(training, tested, sample):
    sampled, whole = (Fingerprint.of(training, sample=size) for size in (sample, 1 << 17))
    assert len(sampled.passage_runs) <= sample
    positive = [text for one in training for _, text in fingerprint.relevant_passages(one)]
    assert all(share == 1 or np.isnan(share) for share in sampled.shares(positive))
    passages = [doc.text for doc in tested.corpus]
    found, true = sampled.shares(passages), whole.shares(passages)
    assert (np.isnan(found) == np.isnan(true)).all() and (true[found > 0] > 0).all()
    some = report(sampled, tested)
    assert some.queries_sharing == report(whole, tested).queries_sharing, "questions are not sampled"


@given(st.lists(sets, max_size=2), st.lists(sets, max_size=2), st.integers(1, 6))
def test_two_fingerprints_put_together_are_that_of_all(some, others, sample):
    together = Fingerprint.of(some, sample=sample).merge(Fingerprint.of(others, sample=sample), sample=sample)
    assert together.content() == Fingerprint.of([*some, *others], sample=sample).content()


def test_the_number_of_texts_hashed_together_does_not_matter(monkeypatch):
    data = dataset([f"{LONG} {row}" for row in range(20)], [f"{row} {LONG} {row}" for row in range(20)])
    whole = Fingerprint.of([data], sample=4)
    monkeypatch.setattr(fingerprint, "_TEXTS", 3)
    assert Fingerprint.of([data], sample=4).content() == whole.content()
    assert report(whole, data).record()["passages_copied"] == 20


def test_hashes_are_the_same_for_ever():
    # computed once with Python's own whole numbers: blake2b of each word, Horner's rule, mix64variant13, 40 bits
    assert hash_of("a question") == 0x4112FAE983
    runs, owners = fingerprint._runs(["", "One, two: three four five six seven eight!"], 8)
    assert (runs.tolist(), owners.tolist()) == ([0x740DB4EBB3], [1])


def test_words_are_what_is_left_without_case_marks_and_apostrophes():
    assert words("It's \u201cO\u2019Neill\u201d caf\u00c9\u2014no_1?") == ["its", "oneill", "caf\u00e9", "no", "1"]
    assert words("\ufb01ne \u2460") == ["fine", "1"], "compatible characters are one"
    assert normalised(" ?! ") == ""


def test_a_fingerprint_is_read_as_it_was_written(tmp_path):
    made = Fingerprint.of([dataset([LONG, "why?"], [LONG, f"{LONG} and more"])], sample=8)
    path = made.save(tmp_path / "new" / "folder")
    assert path.name == NAME and path.read_bytes() == made.content()
    read = Fingerprint.load(path.parent)
    assert read is not None and read.content() == made.content()
    assert (read.num_questions, read.num_passages, read.every) == (2, 2, made.every) and made.every > 1
    assert Fingerprint.load(tmp_path) is None
    nothing = Fingerprint.of([])
    nothing.save(tmp_path)
    assert Fingerprint.load(tmp_path).content() == nothing.content()


def saved(arrays: dict[str, object]) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays, allow_pickle=True)
    return content.getvalue()


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"questions": np.array([{"a": 1}], object)}, "allow_pickle"),
        ({"questions": np.zeros((4, 2), np.uint8)}, r"hashes in uint8\[4, 2\]"),
        ({"every": np.array(3)}, "every is 3"),
        ({"every": np.array([1, 2])}, "only"),
        ({"least_runs": None}, "least_runs"),
    ],
)
def test_a_file_that_is_no_fingerprint_is_one_line(tmp_path, change, wrong):
    with np.load(Fingerprint.of([dataset([LONG], [LONG])]).save(tmp_path)) as arrays:
        kept = {name: value for name, value in ({**arrays} | change).items() if value is not None}
    (tmp_path / NAME).write_bytes(saved(kept))
    with pytest.raises(CorruptFileError, match=wrong) as error:
        Fingerprint.load(tmp_path)
    assert "\n" not in str(error.value) and str(tmp_path / NAME) in str(error.value)


def test_bytes_that_are_no_fingerprint_are_refused(tmp_path):
    content = Fingerprint.of([dataset([LONG], [LONG])]).content()
    for wrong in (b"", b"no zip", content[:-30], content[: len(content) // 2]):
        (tmp_path / NAME).write_bytes(wrong)
        with pytest.raises(CorruptFileError, match="not a fingerprint of training data"):
            Fingerprint.load(tmp_path)


def test_a_fingerprint_of_another_format_is_refused(tmp_path):
    (tmp_path / NAME).write_bytes(saved({"format": np.array(2)}))
    with pytest.raises(MismatchError, match="has format 2, this is 1"):
        Fingerprint.load(tmp_path)


def test_a_fingerprint_that_unpacks_to_too_much_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / NAME, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("format.npy", bytes((1 << 28) + 1))
    with pytest.raises(CorruptFileError, match="more than 256 MB unpacked"):
        Fingerprint.load(tmp_path)


@pytest.mark.parametrize(
    ("equal", "copied", "level"), [(0, 0, "none"), (1, 0, "some"), (2, 0, "heavy"), (0, 1, "some"), (0, 2, "heavy")]
)
def test_a_tenth_of_questions_or_relevant_passages_is_heavy(equal, copied, level):
    questions = [f"question number {row} of the twenty" for row in range(20)]
    passages = [" ".join(f"p{row}w{number}" for number in range(30)) for row in range(20)]
    training = dataset(questions[:equal] or ["another"], passages[:copied] or ["another one"])
    found = report(Fingerprint.of([training]), dataset(questions, passages))
    assert (found.queries_equal, found.passages_copied, found.level) == (equal, copied, level)
    assert set(found.examples) == {f"q{row}" for row in range(max(equal, copied))}


def test_the_evidence_is_one_sentence_and_names_ids_only():
    tested = dataset([LONG, "a short one"], [f"{LONG} x", "too short to tell"], others=("left alone",))
    found = report(Fingerprint.of([dataset(["A short one?"], [LONG])]), tested)
    assert found.evidence == (
        "of 2 questions 1 are questions of the training data and 0 share 8 words in a row with one; of 2 relevant "
        "passages 1 are half or more in positive passages of the training data and 1 share 13 words in a row with one, "
        "1 are too short to tell; of 3 documents of the corpus 1 are half or more in them"
    )
    assert found.examples == ("q1", "q0")
    assert json.loads(json.dumps(found.record()))["level"] == "heavy" and "word3" not in json.dumps(found.record())


def test_what_is_judged_not_relevant_is_no_pair():
    judged = replace(
        dataset(["first", "second"], [LONG, LONG[::-1]]), qrels={"q0": {"d0": 1, "d1": 0}, "q1": {"d1": 0}}
    )
    made = Fingerprint.of([judged])
    assert (made.num_questions, made.num_passages, len(made.questions)) == (1, 1, 1)
    tested = replace(judged, qrels={"q0": {"d1": 1}, "q1": {"d0": 0, "d1": 1}}, queries={"q0": "one", "q1": "two"})
    assert (report(made, tested).level, report(made, tested).examples) == ("none", ())
    tested = replace(tested, qrels={"q0": {"d0": 0}, "q1": {"d0": 1}})
    assert report(made, tested).examples == ("q1",), "only one of them is answered by what was seen"


def test_half_of_a_passage_is_a_copy():
    half, less = " ".join(LONG.split()[:13]) + " x", " ".join(LONG.split()[:13]) + " x y"
    made = Fingerprint.of([dataset(["other"], [LONG])])
    assert made.shares([half, less]).tolist() == [1 / 2, 1 / 3]
    found = report(made, dataset(["why"], [half, less]))
    assert (found.passages_copied, found.passages_sharing, found.documents_copied) == (1, 2, 1)


def test_only_some_documents_of_a_large_corpus_are_looked_at():
    tested = dataset(["why"], [LONG], others=tuple(f"{LONG} {row}" for row in range(99)))
    found = report(Fingerprint.of([dataset(["other"], [LONG])]), tested, looked_at=10)
    assert (found.documents, found.documents_copied) == (10, 10)


def test_a_judgment_of_a_document_that_is_not_there_is_passed_over():
    tested = replace(dataset(["why"], [LONG]), qrels={"q0": {"d0": 1, "gone": 1}})
    assert report(Fingerprint.of([tested]), tested).passages == 1
    assert report(Fingerprint.of([]), replace(tested, qrels={})).level == "none"


# What a checkpoint says, and what becomes of it in a record


def test_what_a_training_says_is_read(tmp_path):
    assert Seen.read(tmp_path) is None
    path = tmp_path / "training.json"
    path.write_text('{"data": [{"name": "a/train", "pairs": 3}], "start": {"id": "mini", "seen": ["GooAQ"]}, "x": 1}')
    assert Seen.read(tmp_path) == Seen(data=("a/train",), start="mini", by_start=("GooAQ",))
    assert Seen.read(tmp_path).names() == ["a/train", "GooAQ (mini)"]
    path.write_text('{"step": "v1", "data": "0f3a", "start": "mini"}')
    assert Seen.read(tmp_path) == Seen(start="mini")
    path.write_text('{"step": "v1"}')
    assert Seen.read(tmp_path) is None
    for wrong in ("[1]", "{", '{"data": ["a"]}', '{"data": [{"name": 1}]}', '{"start": {"id": "a", "seen": 1}}'):
        path.write_text(wrong)
        with pytest.raises(CorruptFileError, match="expected"):
            Seen.read(tmp_path)


def test_a_start_that_has_seen_the_same_source_is_never_none(tmp_path):
    data = dataset(["what is new?"], [LONG], name="lotte/science/test/forum")
    assert verdict(tmp_path, data) is None
    Fingerprint.of([dataset(["other"], ["other"])]).save(tmp_path)
    assert verdict(tmp_path, data)["level"] == "none"
    seen = {"data": [{"name": "a/train"}], "start": {"id": "mini", "seen": ["Stack Exchange", "NLI"]}}
    (tmp_path / "training.json").write_text(json.dumps(seen))
    told = verdict(tmp_path, data)
    assert told["level"] == "some"
    assert told["evidence"].startswith("trained on a/train: of 1 questions 0 are")
    assert told["evidence"].endswith(
        ". It began from mini, which has seen Stack Exchange, NLI; that was not compared, but "
        "lotte/science/test/forum is of the same source as Stack Exchange"
    )
    assert verdict(tmp_path, replace(data, name="beir/scifact"))["level"] == "unknown"
    Fingerprint.of([data]).save(tmp_path)
    assert verdict(tmp_path, data)["level"] == "heavy"
    (tmp_path / NAME).unlink()
    told = verdict(tmp_path, data)
    assert (told["level"], "nothing was compared" in told["evidence"]) == ("unknown", True)


def test_the_record_says_what_the_checkpoint_has_seen(tmp_path, tiny):
    Fingerprint.of([tiny]).save(tmp_path / "model")

    class Trained:
        def __init__(self) -> None:
            self.card, system = Card(checkpoint=tmp_path / "model"), load("overlap")
            self.index, self.open = system.index, system.open

    (result,) = evaluate("trained", Trained(), [tiny], Order(out=tmp_path / "out"))
    (told,) = result.contamination
    assert (told.dataset, told.level) == ("lotte/science/test/search", "heavy")
    assert told.evidence.startswith("trained: of 3 questions 3 are questions of the training data")
    file = tmp_path / "out/trained/lotte/science/test/search.json"
    assert json.loads(file.read_text())["contamination"] == result.content["contamination"]


@pytest.mark.slow
def test_a_late_interaction_model_shows_its_papers(tmp_path, tiny):
    pytest.importorskip("torch")
    folder = tiny_checkpoint.write(tmp_path / "model")
    Fingerprint.of([tiny]).save(folder)
    (folder / "training.json").write_text('{"data": [{"name": "tiny/train"}], "start": {"id": "m", "seen": ["GooAQ"]}}')
    system = load("colbertv2", [f"checkpoint={folder}", "device=cpu", "threads=1"])
    (result,) = evaluate("colbertv2", system, [tiny], Order(out=tmp_path / "out"))
    assert result.retriever.training_data == ("tiny/train", "GooAQ (m)")
    (told,) = result.contamination
    assert (told.dataset, told.level) == ("lotte/science/test/search", "heavy")
    assert told.evidence.startswith("trained on tiny/train: of 3 questions 3 are questions of the training data")
    (written,) = json.loads((tmp_path / "out/colbertv2/lotte/science/test/search.json").read_text())["contamination"]
    assert (written["evidence"], written["overlap"]["queries_equal"]) == (told.evidence, 3)


def test_a_checkpoint_without_papers_is_unknown(tmp_path, tiny):
    pytest.importorskip("torch")
    folder = tiny_checkpoint.write(tmp_path / "model")
    card = load("colbertv2", [f"checkpoint={folder}", "device=cpu"]).card
    assert (card.training_data, card.checkpoint) == (None, folder)


def test_known_overlaps_of_real_sets_are_found(shared):
    (train,), (test,) = reading.read(shared / "scifact" / "train"), reading.read(shared / "scifact" / "test")
    found = report(Fingerprint.of([train]), test)
    # README.md of the data: train and test share 181 abstracts
    assert (found.passages_copied, found.level) == (181, "heavy")
    (classic,) = reading.read(shared / "cranfield")
    assert report(Fingerprint.of([train]), classic).level == "none"
