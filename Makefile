# Needs make and python3 (3.11 or newer); everything else is installed into .venv.
PYTHON ?= python3
# Parallel test processes; 0 runs the tests in this one.
WORKERS ?= 2
BIN := .venv/bin

# Real images for the slow tests and the claims, where they lie beside the checkout.
ifneq ($(wildcard ../shared/data),)
export SMIDGEN_DATA ?= $(abspath ../shared/data)
endif

.DEFAULT_GOAL := help
.PHONY: help setup check format test test-all demo bench docs method part

help:  ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed  ## install everything into .venv (once; about 5 GB)

.venv/.installed: pyproject.toml constraints.txt scripts/install.py
	@$(PYTHON) scripts/install.py .venv

check: setup  ## format, lint, types, import layers, documentation
	@$(BIN)/ruff format --check --output-format concise .
	@$(BIN)/ruff check .
	@$(BIN)/basedpyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python scripts/documentation.py --check

format: setup  ## format the code and mend what ruff can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

test: setup  ## the fast tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-all: setup  ## all tests, the slow ones included
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "slow or not slow"

demo: setup  ## from tags of real photographs to a model and a report
	@$(BIN)/smidgen demo

bench: setup  ## measure what is missing in benchmarks/results
	@$(BIN)/python scripts/claims.py

docs: setup  ## write docs/generated (methods, settings) and docs/results.md, and check the documentation
	@$(BIN)/python scripts/documentation.py

method: setup  ## files of a new method: make method STAGE=refine NAME=smooth
	@$(BIN)/python scripts/skeletons.py method "$(STAGE)" "$(NAME)"

part: setup  ## files of a new head or loss: make part KIND=head NAME=star
	@$(BIN)/python scripts/skeletons.py part "$(KIND)" "$(NAME)"
