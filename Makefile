# Everything sets itself up: a machine needs Python 3.11+ and make. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint constraints.txt

# A moved checkout needs a new environment: the old one holds absolute paths.
ifneq ($(CURDIR),$(shell cat $(VENV)/.venv 2>/dev/null))
$(shell rm -f $(VENV)/.venv $(VENV)/.demo $(VENV)/.dev)
endif

# Of `make faults`: another one each time, printed, so that a run can be repeated.
SEED := $(or $(SEED),$(shell date +%s))

.DEFAULT_GOAL := help
.PHONY: help demo test faults migrate-soak lint bench reproduce beir stop clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/:.*  ## /\t/' | expand -t 10

demo: $(VENV)/.demo  ## The main job on Python's own documentation: node, ingest, search, measure
	@$(BIN)/osplade demo

test: $(VENV)/.dev  ## All tests, those on a real OpenSearch node included
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

faults: $(VENV)/.dev  ## A thousand faults against the ingest: kills, cuts, refusals, wrong answers; SEED=n repeats them
	@echo "SEED=$(SEED)"
	@OSPLADE_SEED=$(SEED) OSPLADE_KILLS=100 OSPLADE_NODE_KILLS=10 OSPLADE_FAULTS=900 OSPLADE_EXAMPLES=100 \
		$(BIN)/python -m pytest tests/test_faults.py tests/test_full_disks.py tests/test_changed_meanwhile.py \
		tests/test_bulk_answers.py tests/test_fuzzed_ingest.py

migrate-soak: $(VENV)/.dev  ## A migration of 20,000 documents beside readers and a writer: 50 kills, two restarts; SEED=n repeats it
	@OSPLADE_SEED=$(SEED) OSPLADE_SOAK_DOCUMENTS=20000 OSPLADE_SOAK_KILLS=50 OSPLADE_SOAK_RESTARTS=2 \
		$(BIN)/python -m pytest tests/test_migrate_soak.py

lint: $(VENV)/.dev  ## Format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/mypy benchmarks/*.py scripts/*.py

bench: $(VENV)/.dev  ## Documents per second: ours against sentence-transformers, in one run
	@$(BIN)/python benchmarks/encoder.py

reproduce: $(VENV)/.dev  ## Published figures, run again: OK, close or FAIL
	@$(BIN)/python scripts/reproduce.py

beir: $(VENV)/.dev  ## All collections of a folder (BEIR=folder), every leg and hybrid, in one table
	@$(BIN)/python scripts/beir.py $(BEIR)

stop: $(VENV)/.demo  ## Stop the local node
	@$(BIN)/osplade node stop

clean:  ## Remove the virtual environment and caches of this checkout
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info

# The stamps are written last, so an interrupted installation is done again.
$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; call make PYTHON=python3.11")'
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@echo "$(CURDIR)" > $@

$(VENV)/.demo: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "Installing what the demo needs ..."
	@$(PIP) --editable '.[cpu,eval,node]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "Installing what the tests need (torch is large: some minutes) ..."
	@$(PIP) --editable '.[async,aws,cluster,cpu,docker,eval,export,metrics,node,ray,remote,serve,tables,train,zstd]' --group dev
	@touch $@
