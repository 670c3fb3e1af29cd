# Every job of the house in one line each; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The real humanoid recordings of the published result; any LeRobot folder of that layout does.
G1 ?= ../shared/data/g1_bottle
RUN ?= runs/g1

.DEFAULT_GOAL := help
.PHONY: help setup test test-fast check format bench bench-data example g1 publish clean

help: ## list every target
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv with everything in it; a second run reuses it

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off -e '.[dev]'
	@touch $@

test: setup check ## set up, check the code, run every test (under 15 minutes on 2 cores)
	$(BIN)/python -m pytest --durations=10

test-fast: setup ## the tests that take seconds (under 3 minutes)
	$(BIN)/python -m pytest -m 'not slow'

check: setup ## ruff and mypy (tests/test_layering.py checks the imports' direction)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## ruff's fixes and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-data ## every benchmark

bench-data: setup ## windows a second at 64 px, beside a PyAV loader and a plain memory copy
	$(BIN)/python -m data_modules.bench

g1: setup ## train on G1=FOLDER for about 80 minutes on 2 cores, then test and predict, in RUN=runs/g1
	$(BIN)/mssim fit --config configs/g1.yaml --run $(RUN) --data.sources.g1.source.init_args.path $(G1)
	$(BIN)/mssim test --config $(RUN)/config.yaml
	$(BIN)/mssim predict --config $(RUN)/config.yaml

example: setup ## the whole road on synthetic ActionSense recordings, in runs/example (about 10 minutes)
	$(BIN)/python tests/helpers/record_example.py runs/example/recordings
	$(BIN)/mssim data runs/example/recordings --out runs/example --store runs/example/stores
	$(BIN)/mssim fit --config configs/example.yaml
	$(BIN)/mssim test --config runs/example/config.yaml
	$(BIN)/mssim predict --config runs/example/config.yaml

publish: ## copy the config and numbers of RUN=runs/NAME to configs/published/NAME (no frames)
	mkdir -p configs/published/$(notdir $(RUN))
	cd $(RUN) && cp config.yaml metrics.json metrics.csv metrics.md drift.png $(CURDIR)/configs/published/$(notdir $(RUN))/

clean: ## remove the environment and caches; runs and stores stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
