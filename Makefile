PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup lint format types test test-slow coverage bench docs docs-serve

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## Make .venv with the package and all that its tests need.
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[dev]'

lint: ## Check style and format.
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: ## Mend style and format where that needs no thought.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: ## Check types.
	$(BIN)/mypy

test: ## Run the tests, minutes on two cores.
	$(BIN)/pytest -rs

test-slow: ## Run only the tests that are left out by default.
	$(BIN)/pytest -rs -m slow

coverage: ## Run the tests and report the lines they reach.
	$(BIN)/pytest -rs --cov --cov-report=term-missing

docs: ## Build the site of the docs in site/; a warning fails.
	$(BIN)/pip install -q -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: ## Show the site at http://127.0.0.1:8000, built anew at every change.
	$(BIN)/pip install -q -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

bench: ## Peak memory of indexing, every compressor and oracle on a few videos, what subtitles find.
	$(BIN)/python benchmarks/index_memory.py
	$(BIN)/python benchmarks/compressors.py
	$(BIN)/python benchmarks/oracles.py --minutes 1.6667,5
	$(BIN)/python benchmarks/subtitles.py
