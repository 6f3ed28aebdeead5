# Each target sets up what it needs: a Python 3.11 to 3.14 with venv, and make, are enough.
#   make demo PYTHON=python3.12 VENV=/elsewhere    with that Python, in that folder
#   make peers ONLY="ranx BEIR"                     these alone
#   make lock UPGRADE=--upgrade                    the newest versions that pyproject.toml allows

PYTHON ?=
SECONDS ?= 600
SEED ?=
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# runs the script that finds a Python for the environment; any from 3.6 will do
ANY = $(or $(shell for one in python3 "$(PYTHON)" python3.14 python3.13 python3.12 python3.11 python; do \
	"$$one" -c "" 2> /dev/null && echo "$$one" && break; done),python3)
GONE := $(if $(realpath $(BIN)/python $(BIN)/python.exe),,gone) # an environment whose Python was removed is not ready

.PHONY: demo test check fuzz bench peers docs lock clean gone

demo: $(VENV)/ready ## build the sample collection, index it, score four retrievers
	$(BIN)/lotte demo

test: $(VENV)/ready-dev ## everything: the fast tests as under python -O, then the slow ones; ten minutes on 2 cores
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONDONTWRITEBYTECODE= PYTHONOPTIMIZE=1 $(BIN)/python -m pytest -n auto
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxschedchunk 1 --durations 15 -m "slow and not gpu and not net"

check: $(VENV)/ready-dev ## the quick half: style, types, the fast tests
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto

fuzz: $(VENV)/ready-dev ## every reader of a foreign format on damaged files, for SECONDS; from another SEED, others
	$(BIN)/python tests/fuzz/run.py --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

bench: $(VENV)/ready-dev ## figures of this machine, beside those of the plain ways
	$(BIN)/python tests/bench/bench_build.py
	$(BIN)/python tests/bench/bench_bm25.py
	$(BIN)/python tests/bench/bench_help.py

peers: $(VENV)/ready-dev ## other packages on the same things, each in an environment of its own; writes docs/peers.md
	$(BIN)/python tests/peers/run.py $(foreach one,$(ONLY),--only $(one)) --discard

docs: $(VENV)/ready-docs ## the site of docs/, into .work/site; a dead link or a missing page fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lock: ## resolve constraints/ again, for every Python and platform
	"$(or $(PYTHON),$(ANY))" tools/lock.py --environment .work/lock $(UPGRADE)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# What is set up once is set up again when what it should hold has changed
$(VENV)/ready: pyproject.toml constraints/demo.txt $(GONE)
	@"$(ANY)" tools/setup_env.py demo "$(VENV)" --python "$(PYTHON)"
	@touch $@

$(VENV)/ready-docs: $(VENV)/ready constraints/test.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints/test.txt -e '.[docs]'
	@touch $@

$(VENV)/ready-dev: pyproject.toml constraints/test.txt $(GONE)
	@"$(ANY)" tools/setup_env.py test "$(VENV)" --python "$(PYTHON)"
	@touch $(VENV)/ready $(VENV)/ready-docs $@
