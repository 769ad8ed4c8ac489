# make, or make help: what there is. Every target sets up .venv first if it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
# Two workers, each with one thread for torch and BLAS, so that they do not fight over the cores.
PYTEST := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check format bench docs clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.stamp  ## .venv with everything that demo, test and check need

.venv/.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[cpu,demo,dev]'
	@touch $@

demo: .venv/.stamp  ## answer questions about sample photos, with the facts behind the answers
	$(BIN)/kvqa demo

test: .venv/.stamp  ## the fast tests; one file: make test ARGS=tests/test_layers.py
	$(PYTEST) -m 'not slow' $(ARGS)

test-all: .venv/.stamp  ## all tests, the slow ones included
	$(PYTEST) $(ARGS)

check: .venv/.stamp  ## lint, format, types, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/typos

format: .venv/.stamp  ## put imports and layout right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.stamp  ## run every timing in benchmarks/
	@set -e; for file in $(wildcard benchmarks/bench_*.py); do echo "== $$file"; $(BIN)/python "$$file"; done

docs:  ## where the documentation is
	@awk 'FNR == 1 {sub(/^#+ */, ""); printf "  %-28s %s\n", FILENAME, $$0}' $(wildcard README.md CONTRIBUTING.md docs/*.md)

clean:  ## remove .venv and the caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
