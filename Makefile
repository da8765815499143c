# Each target installs what it needs in .venv on its first run; after that, it works offline. The
# first run needs Python 3.11 or newer and the package registries. `make help` lists the targets.

PYTHON ?= python3
SETUP  := $(PYTHON) tools/setup.py
BIN    := $(or $(METHRICS_VENV),.venv)/bin
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# Test files run in parallel, with one worker per core, the longest first (tests/conftest.py).
# `make test WORKERS=` runs them one by one.
WORKERS ?= -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast lint format docs bench fuzz soak notebooks clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo:  ## Run two aggregators, two relays and 20 apps on this machine, and query with SQL
	@$(SETUP) demo
	@$(BIN)/methrics demo $(ARGS)

test:  ## Run all tests: the fast ones, then those with real sockets and processes
	@$(SETUP) test
	$(BIN)/python -m pytest -q -m "not wire and not slow" $(WORKERS) $(ARGS)
	$(BIN)/python -m pytest -q -m "wire or slow" $(WORKERS) $(ARGS)

test-fast:  ## Run the tests that need no network, processes or large packages
	@$(SETUP) test-fast
	$(BIN)/python -m pytest -q -m "not wire and not slow" $(WORKERS) $(ARGS)

lint:  ## Check style, types and the layers of imports
	@$(SETUP) lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format:  ## Format the code and apply the linter's safe fixes
	@$(SETUP) lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs:  ## Generate the parts of the documentation that come from the code
	@$(SETUP) test
	$(BIN)/python tools/docs.py --write

bench:  ## Run each benchmark for a short time
	@$(SETUP) bench
	@set -e; for b in benchmarks/bench_*.py; do echo "== $$b"; $(BIN)/python $$b --quick $(ARGS); done

fuzz:  ## Look for bytes that break a reader, for FUZZ_SECONDS (600)
	@$(SETUP) test-fast
	$(BIN)/python tools/fuzz.py

soak:  ## Run a network with 50 publishers under kills for SOAK_SECONDS (1800); find leaks
	@$(SETUP) test-fast
	$(BIN)/python tools/soak.py

notebooks:  ## Open the notebooks in Jupyter; docs/notebooks.md describes them
	@$(SETUP) all
	$(BIN)/jupyter lab notebooks

clean:  ## Remove the environment, caches and demo data
	rm -rf .venv .venv.lock demo-data dist build native/build native/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
