# Every job of the house in one line each; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The real humanoid recordings of the published result; any LeRobot folder of that layout does.
G1 ?= ../shared/data/g1_bottle
RUN ?= runs/g1
JOBS ?= 2
# Of the paper's tables: `kitchen` or a folder of ActionSense, trainings a row, steps and pixels a side
# (what the table says; the paper's are 64, 128 and 192), and a folder in the place of the published one.
DATA ?= kitchen
SEEDS ?= 3
BUDGET ?=
SIZE ?=
OUT ?=
TABLES := table-1 table-2 table-3a table-3b table-8 table-9 table-10 table-11 table-12 figure-4
ASKED = --data $(DATA) --seeds $(SEEDS) $(if $(BUDGET),--budget $(BUDGET)) $(if $(SIZE),--size $(SIZE)) $(if $(OUT),--out $(OUT)) --jobs $(JOBS)
TABLE = $(BIN)/python -m lightning_app.tables $@ $(ASKED)

.DEFAULT_GOAL := help
.PHONY: help setup test test-fast check format demo quickstart kitchen g1 shifted release bench bench-data bench-kitchen summary publish clean
.PHONY: $(TABLES) table-5 recipe-sweep tables claims

help: ## list every target
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv with everything in it; a second run reuses it

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off -e '.[dev]'
	@touch $@

test: setup check ## set up, check the code, run every test (under 15 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations=10

test-fast: setup ## the tests that take seconds (under 3 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow'

check: setup ## ruff and mypy (tests/test_layering.py checks the imports' direction)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## ruff's fixes and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-data bench-kitchen ## every benchmark

bench-data: setup ## windows a second at 64 px, beside a PyAV loader and a plain memory copy
	$(BIN)/python -m data_modules.bench

bench-kitchen: setup ## physics steps a second, recorded minutes a minute, by part, on one core
	$(BIN)/python -m data_modules.kitchen.bench

g1: setup ## train on G1=FOLDER for about half an hour on 2 cores, then test and predict, in RUN=runs/g1
	$(BIN)/mssim fit --config configs/g1.yaml --run $(RUN) --data.sources.g1.source.init_args.path $(G1)
	$(BIN)/mssim test --config $(RUN)/config.yaml
	$(BIN)/mssim predict --config $(RUN)/config.yaml

demo: setup ## no training: a new person's two minutes, scored and rolled out by the released simulator (about 2 minutes)
	$(BIN)/mssim record --out runs/demo/recordings --subjects S05 --minutes 2 --size 32 --seed 1
	$(BIN)/mssim test kitchen-32
	$(BIN)/mssim predict kitchen-32

quickstart: setup ## record a new person, tune the released simulator to them, score before and after, roll out (about 6 minutes on 2 cores)
	$(BIN)/mssim record --out runs/quickstart/recordings --subjects S05 --minutes 8 --size 32 --seed 1
	$(BIN)/mssim test --config configs/quickstart.yaml --run runs/quickstart/before --ckpt_path kitchen-32 --model.controls '["copy-last-frame"]'
	$(BIN)/mssim fit --config configs/quickstart.yaml
	$(BIN)/mssim test --config runs/quickstart/config.yaml
	$(BIN)/mssim predict --config runs/quickstart/config.yaml

kitchen: setup ## record the whole kitchen, train for about an hour on 2 cores, test and predict, in runs/kitchen
	$(BIN)/mssim record --out runs/kitchen/recordings --size 32
	$(BIN)/mssim fit --config configs/kitchen.yaml
	$(BIN)/mssim test --config runs/kitchen/config.yaml
	$(BIN)/mssim predict --config runs/kitchen/config.yaml

# A food of a colour never seen (section 7.8.8): 600 frames of S04 tune, S05 tests before and after.
TOMATO := --activities 'slice a cucumber' --recolour 'cucumber=\#c83020,cucumber_flesh=\#e0805c'
SPLIT := --data.sources.kitchen.split
RELEASED := kitchen-32
shifted: setup ## tune the released simulator to 600 frames of a red cucumber; before and after, in runs/shifted (about 5 minutes)
	$(BIN)/mssim record --out runs/shifted/recordings --subjects S04 --minutes 1 --size 32 $(TOMATO)
	$(BIN)/mssim record --out runs/shifted/recordings --subjects S05 --minutes 2 --size 32 $(TOMATO)
	$(BIN)/mssim fit --config configs/kitchen.yaml --run runs/shifted \
	  --model.init $(RELEASED) --trainer.max_steps 200 \
	  --model.lr_scheduler.max_lr 1e-4 \
	  --data.sources.kitchen.source.init_args.path runs/shifted/recordings --data.store runs/shifted/stores \
	  $(SPLIT).train "['S04']" $(SPLIT).val "[]" $(SPLIT).test "['S05']"
	$(BIN)/mssim test --config runs/shifted/config.yaml --run runs/shifted/before --ckpt_path $(RELEASED)
	$(BIN)/mssim test --config runs/shifted/config.yaml

release: setup ## put the weights of runs/kitchen, in bfloat16, into mssim/pretrained/kitchen-32, with seconds of a new person
	$(BIN)/mssim record --out runs/demo/recordings --subjects S05 --minutes 2 --size 32 --seed 1
	$(BIN)/mssim release --run runs/kitchen --out mssim/pretrained/kitchen-32 --example runs/demo/recordings

CONFIG ?= configs/full.yaml
summary: setup ## parameters and FLOPs of CONFIG=configs/full.yaml by module, beside the paper's Tables 5 and 6
	$(BIN)/python -m lightning_app.summary --config $(CONFIG)

table-1: setup ## the paper's Table 1, text and senses: DATA=kitchen SEEDS=3 BUDGET=300 (steps) JOBS=2, resumable
	$(TABLE)

table-2: setup ## Table 2, ways to bind senses; takes DATA= SEEDS= BUDGET= JOBS= as all tables do
	$(TABLE)

table-3a: setup ## Table 3a, a sense missing at test; shares one training with 9 and 10
	$(TABLE)

table-3b: setup ## Table 3b, fusion and interaction exchanged
	$(TABLE)

table-5: setup ## Tables 5 and 6, parameters and FLOPs of configs/full.yaml; nothing is trained
	$(BIN)/python -m lightning_app.summary --config configs/full.yaml --out configs/published/tables/table-5.md

table-8: setup ## Table 8, a sense missing in training
	$(TABLE)

table-9: setup ## Table 9, one sense left at test
	$(TABLE)

table-10: setup ## Table 10, two senses left at test
	$(TABLE)

table-11: setup ## Table 11, one or four context frames, with and without past actions
	$(TABLE)

table-12: setup ## Table 12, another person held out
	$(TABLE)

figure-4: setup ## Figure 4, drift by predicted frame, as csv and png
	$(TABLE)

recipe-sweep: SEEDS := 1
recipe-sweep: setup ## not of the paper: our recipe with one thing exchanged at a time, one seed
	$(TABLE)

tables: setup table-5 ## all of them, one after the other
	for name in $(TABLES); do $(BIN)/python -m lightning_app.tables $$name $(ASKED) || exit $$?; done

claims: setup ## which of the paper's claims hold, from the runs that are there, to configs/published/claims.md
	$(BIN)/python -m lightning_app.tables claims $(ASKED)

publish: setup ## copy config and numbers of RUN=runs/NAME to configs/published/NAME; frames only with GIF=1
	$(BIN)/python -m lightning_app.publish --run $(RUN) $(if $(GIF),--gif)

clean: ## remove the environment and caches; runs and stores stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
