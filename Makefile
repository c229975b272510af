# `make demo` and `make test` create or reuse .venv and install what they need by themselves.
#   PYTHON=python3.12   the Python that creates .venv (3.11 or newer)
#   JOBS=2              test processes
#   PIP_ARGS=...        more arguments for pip, for example another package index

PYTHON ?= python3
JOBS ?= 2
PIP_ARGS ?=
DATA ?= ../shared/data
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(PIP_ARGS)
CHECKED := $(wildcard src tests benchmarks tools)

.PHONY: help demo test check bench bench-embed bench-probe downstream campaign campaign-training parity generate predictors bench-serve campaign-serve fuzz-serve clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    embed 200 well-known proteins, draw their map, say what to try next"
	@echo "make test    everything that must hold: make check, then the tests"
	@echo "make check   formatting, lint, types, and that imports only go down"
	@echo "make bench   measure speed and memory against transformers, write benchmarks/RESULTS.md"
	@echo "make bench-embed  embed beside OpenVINO, CTranslate2, ONNX Runtime and transformers, write benchmarks/EMBED.md"
	@echo "make campaign  kill writers and fill disks hundreds of times on real proteins, write benchmarks/CAMPAIGNS.md"
	@echo "make campaign-training  kill training 150 times, resume it, compare all bits, write benchmarks/TRAINING_KILLS.md"
	@echo "make bench-serve  32 clients in common batches beside one request at a time, into benchmarks/SERVE.md"
	@echo "make campaign-serve  1,000 clients ask for ten times as much as there is, into benchmarks/SERVE.md"
	@echo "make fuzz-serve  5,000 requests made from the OpenAPI document, into benchmarks/SERVE.md"
	@echo "make parity  hold networks of the published widths to transformers, write benchmarks/PARITY.md"
	@echo "make generate  write what transformers writes, token for token, and faster: the tables of benchmarks/GENERATE.md"
	@echo "make predictors  train the predictors of the package anew on the bundled model; DATA=../shared/data names the data"
	@echo "make design  write malate dehydrogenases and a nanobody with the bundled model, judge them: benchmarks/DESIGNING.md"
	@echo "make downstream  measure the bundled model on all tasks beside baselines, into runs/downstream; DATA as above"
	@echo "make bench-probe  time Q3 from embedding to accuracy beside scikit-learn: the table of benchmarks/PROBE.md"
	@echo "make clean   remove .venv and all caches"

demo: .venv/demo.stamp
	@$(BIN)/python -m openankh.demo

test: check
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: .venv/dev.stamp
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: .venv/dev.stamp
	$(BIN)/python benchmarks/bench.py

bench-embed: .venv/bench.stamp
	$(BIN)/python benchmarks/embed_rivals.py

parity: .venv/dev.stamp
	$(BIN)/python benchmarks/parity.py

generate: .venv/dev.stamp
	$(BIN)/python benchmarks/generation_parity.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_generate.py

predictors: .venv/dev.stamp
	$(BIN)/python tools/train_predictors.py --data $(DATA)

design: .venv/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/design.py

campaign: .venv/dev.stamp
	$(BIN)/python benchmarks/campaigns

campaign-training: .venv/dev.stamp
	$(BIN)/python benchmarks/campaigns/training_kills.py

bench-serve: .venv/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_serve_engine.py
	$(BIN)/python benchmarks/bench_serve.py

campaign-serve: .venv/dev.stamp
	$(BIN)/python benchmarks/campaigns/serve_load.py

fuzz-serve: .venv/fuzz.stamp
	$(BIN)/python benchmarks/campaigns/serve_fuzz.py

downstream: .venv/dev.stamp
	$(BIN)/openankh benchmark --data $(DATA) --heads linear -o runs/downstream
	$(BIN)/openankh benchmark --data $(DATA) --heads convbert,attention --seeds 1 -o runs/downstream

bench-probe: .venv/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_probe.py --data $(DATA)

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find src tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The build tools first, into .venv itself: then the package is built with pinned tools too, and offline the second time.
.venv/base.stamp: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "OpenAnkh needs Python 3.11 or newer: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "no virtual environment could be made: on Debian and Ubuntu install python3-venv"; exit 1; }
	@echo "installing into .venv (the first time takes some minutes)"
	@$(PIP) pip
	@$(PIP) hatchling editables
	@touch $@

.venv/%.stamp: .venv/base.stamp pyproject.toml
	@$(PIP) --no-build-isolation --editable '.[$*]'
	@touch $@
