# Every target sets up what it needs in .venv (Python 3.11+ and the registries are enough),
# once; after that it works offline. `make help` lists them.

PYTHON ?= python3
SETUP  := $(PYTHON) tools/setup.py
BIN    := $(or $(METHRICS_VENV),.venv)/bin
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# Test files run side by side, one worker per core; `make test WORKERS=` for one after the other.
WORKERS ?= -n logical --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast lint format docs bench notebooks clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo:  ## Two aggregators, a relay and 20 apps on this machine, ending in tables read by SQL
	@$(SETUP) demo
	@$(BIN)/methrics demo $(ARGS)

test:  ## All tests: fast ones, then those with real sockets and processes
	@$(SETUP) test
	$(BIN)/python -m pytest -q -m "not wire and not slow" $(WORKERS) $(ARGS)
	$(BIN)/python -m pytest -q -m "wire or slow" $(WORKERS) $(ARGS)

test-fast:  ## Tests without network, processes or large packages
	@$(SETUP) test-fast
	$(BIN)/python -m pytest -q -m "not wire and not slow" $(WORKERS) $(ARGS)

lint:  ## Style, types and layers
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

docs:  ## Write what the documentation takes from the code
	@$(SETUP) test
	$(BIN)/python tools/docs.py --write

bench:  ## Every benchmark, short
	@$(SETUP) bench
	@set -e; for b in benchmarks/bench_*.py; do echo "== $$b"; $(BIN)/python $$b --quick $(ARGS); done

notebooks:  ## Jupyter with the notebooks; what they ask: docs/notebooks.md
	@$(SETUP) all
	$(BIN)/jupyter lab notebooks

clean:  ## Remove the environment, caches and demo data
	rm -rf .venv .venv.lock demo-data dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
