# Each target sets up what it needs: python3.11 with venv, git and make are enough.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check bench clean

demo: $(VENV)/ready ## build the sample collection, index it, score four retrievers
	$(BIN)/lotte demo

test: $(VENV)/ready-dev ## everything, with the slow tests; under 20 minutes on 2 cores
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto -m "not gpu and not net"

check: $(VENV)/ready-dev ## the quick half: style, types, the fast tests
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto

bench: $(VENV)/ready-dev ## figures of this machine, beside those of the plain ways
	$(BIN)/python tests/bench/bench_build.py
	$(BIN)/python tests/bench/bench_bm25.py
	$(BIN)/python tests/bench/bench_help.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# A virtual environment is made anew when what it should hold has changed
$(VENV)/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[colbert]'
	touch $@

$(VENV)/ready-dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(VENV)/ready $@
