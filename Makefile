# The front door. `make` alone lists what there is.
.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs format clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO ?= demo

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-8s %s\n", $$1, $$2}'

# Everything pinned, in one environment; made again only when what it is made from changes.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "monosemy needs Python 3.11 or newer; run: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY)  ## Train, measure and show a dictionary on the model that ships inside (minutes, offline)
	$(BIN)/monosemy demo --out $(DEMO)

test: $(READY)  ## Run the tests (SLOW=1 for the slow ones too)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(if $(SLOW),,-m "not slow")

check: $(READY)  ## Format, lint, types, import contract, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/documentation
	$(BIN)/python -m pytest --doctest-modules src/monosemy -p no:cacheprovider

bench: $(READY)  ## Measure speed against peers (writes to benchmarks/reports)
	$(BIN)/python benchmarks/capture.py --json benchmarks/reports/capture.json
	$(BIN)/python benchmarks/step.py --shape M --json runs/step.json --figure runs/step.svg

docs: $(READY)  ## Write the generated pages of docs/ again
	$(BIN)/python docs/generate.py

format: $(READY)  ## Put the code into the house's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove what the targets made
	rm -rf $(VENV) $(DEMO) runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
