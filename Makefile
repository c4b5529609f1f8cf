# Everything a person does with this tree. Works with GNU make 3.81 and BSD userlands.
# `make help` lists the targets.

PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	command -v $$name >/dev/null 2>&1 && $$name -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1 \
	&& echo $$name && break; done)
VENV = .venv
BIN = $(VENV)/bin
SEEDS ?= 100
MINUTES ?= 5
ARGS ?=
# Many tests wait for real programs: four workers keep two cores busy. Each file is run by one of them.
WORKERS ?= -n 4 --dist loadfile
# What every commit passes in some minutes; `make test` is everything.
CORE = tests/test_house.py tests/test_purity.py tests/docs tests/protocol tests/server/ledger tests/fuzz tests/system/test_simulation.py

.PHONY: help install install-run demo test check bench soak fuzz lock python screenshots

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

python:
	@test -n "$(PYTHON)" || { \
	echo "Jishan needs Python 3.11, 3.12 or 3.13 with its venv module. One of these lines installs it:"; \
	echo "  Debian, Ubuntu, Raspberry Pi OS:  sudo apt-get install -y python3 python3-venv"; \
	echo "  macOS:                            brew install python@3.13"; \
	exit 1; }

install: python ## Make .venv with everything that running, testing and building needs
	@$(PYTHON) tools/bootstrap.py $(VENV) lock/dev.txt

install-run: python
	@$(PYTHON) tools/bootstrap.py $(VENV) lock/run.txt

demo: install-run ## Server, gateway, broker, one machine and its agent, until Ctrl-C (FRESH=1 starts anew)
	@FRESH="$(FRESH)" $(BIN)/jishan-sim demo $(ARGS)

test: install ## All tests (ARGS='-k word' picks some)
	@$(BIN)/pytest $(WORKERS) $(ARGS)

check: install ## Form, types, import rules, the tests of house, protocol and ledger, and 100 simulation seeds
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@SIMULATION_SEEDS=$(SEEDS) $(BIN)/pytest $(WORKERS) -m "not external" $(CORE) $(ARGS)

bench: install ## Measure; prints a table and writes build/bench.json
	@$(BIN)/python -m benchmarks $(ARGS)

soak: install ## Run the whole-system simulation for SEEDS=n seeds
	@$(BIN)/python -m tests.system.soak --seeds $(SEEDS) $(ARGS)

fuzz: install ## Try damaged input with every parser for MINUTES=n; what fails is kept in tests/fuzz/corpus
	@$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(ARGS)

screenshots: install ## Take the README's pictures anew (needs Chromium)
	@$(BIN)/python tools/pictures.py

lock: install ## Write the lock files anew from pyproject.toml
	@for set in "run --extra server --extra agent --extra sim --extra build" "dev --all-extras -c lock/run.txt"; do \
	name=$${set%% *}; $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header \
	--no-annotate --python-version 3.11 --only-binary :all: $${set#* } pyproject.toml -o lock/$$name.txt; done
