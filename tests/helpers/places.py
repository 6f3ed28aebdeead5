"""Where things are: this repository, its tests, the smallest LoTTE, and what is provided beside the project."""

from pathlib import Path

HOUSE = Path(__file__).parents[2]
TESTS = HOUSE / "tests"
TINY = TESTS / "tiny" / "lotte"  # one topic, both question sets: small enough for every test
SAMPLE = HOUSE / "lotte" / "sample"  # what `lotte demo` builds from
DUMPS, GOOAQ, SPEC = SAMPLE / "dumps", SAMPLE / "gooaq.jsonl", SAMPLE / "spec.toml"
SHARED = HOUSE.parent / "shared" / "data"  # beside the project and not with it: tests that use it skip without it
COLLECTIONS = SHARED / "ir"
ORACLE = SHARED / "colbert_oracle"  # vectors and scores that the original ColBERT gave
STACKEXCHANGE = SHARED / "stackexchange"
