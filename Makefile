SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The long files first, so that at the end no process has a long one alone; xdist would sort them by
# their number of tests.
UNIT := $(addprefix tests/unit/,api jobs worker llava_jobs deploy demo)
SUITE := tests/faults tests/integration tests/clients tests/browser tests/unit

.PHONY: help demo unit test check faults bench bench-queue docs up clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile

demo: $(STAMP)  ## answer the bundled pictures through the whole system
	@$(BIN)/llava-jobs demo

unit: $(STAMP)  ## API, ledger, worker and client, without engine and whole processes; 3 minutes
	@$(BIN)/pytest -q -n logical --maxprocesses 4 --dist loadfile $(UNIT)

test: $(STAMP)  ## the whole suite
	@$(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(SUITE)

check: $(STAMP)  ## style, types and the directions of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@nice $(BIN)/mypy
	@$(BIN)/pytest -q tests/unit/test_imports.py

faults: $(STAMP)  ## break an installation on purpose and count what is lost; up to 20 minutes
	@$(BIN)/python -m tests.faults

bench: $(STAMP)  ## jobs per second and latency against the plain script and others; minutes
	@$(BIN)/python -m bench

bench-queue: $(STAMP)  ## the ledger from a thousand to a million queued jobs; minutes
	@$(BIN)/python -m bench queue

docs: $(STAMP)  ## write the parts of docs/ that are made: settings, and the reference of the API
	@$(BIN)/llava-jobs settings --markdown > docs/settings.md
	@sed -i '/^## Reference$$/,$$d' docs/api.md
	@$(BIN)/llava-jobs openapi --markdown >> docs/api.md

up: $(STAMP)  ## store, API and one worker until Ctrl-C
	@$(BIN)/llava-jobs up

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@echo "[1/3] creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "[2/3] installing what requirements.lock pins (torch is the largest part)"
	@$(BIN)/pip install --disable-pip-version-check --progress-bar off -r requirements.lock \
		| sed -un -e 's/^Collecting \([^ ]*\).*/      \1/p' -e 's/^Installing.*/      unpacking/p'
	@echo "[3/3] installing llava-jobs"
	@$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

clean:  ## remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
