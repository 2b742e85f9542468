# Every command a developer needs. `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo run check test soak torture bench brokers fix clean

help: ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv, with edc and the tools to develop it

$(READY): pyproject.toml edc/speedups.c
	@$(PYTHON) -c 'import sys; sys.exit("edc needs Python 3.11 or newer; try: make PYTHON=python3.12 setup" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --quiet --editable '.[fast,amqp,kafka,nats,redis,delta,objects,report]' --group dev
	@$(BIN)/python -c 'import edc.speedups' 2>/dev/null || echo 'edc works, but slower, without its extension in C; for that, install a C compiler (on Debian: gcc) and run: make clean setup'
	@touch $@

demo: $(READY) ## record 10 s of simulated market data and show the rows
	@EDC_STORAGE__PATH=$${EDC_STORAGE__PATH:-data} $(BIN)/edc run --demo --duration 10s
	@$(BIN)/edc inspect $${EDC_STORAGE__PATH:-data}-demo

run: $(READY) ## record what config.toml says (needs TIINGO_API_KEY)
	$(BIN)/edc run

check: $(READY) ## format, lint and types, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: $(READY) ## every test, in parallel
	$(BIN)/pytest --numprocesses auto $(PYTEST)

soak: $(READY) ## ten minutes at 20,000 events a second, memory watched
	$(BIN)/python -m tests.soak

torture: $(READY) ## hundreds of kills, torn files, full disks, dead peers (TORTURE="--only kills")
	$(BIN)/python -m tests.torture $(TORTURE)

bench: $(READY) ## what an event costs, beside other recorders (BENCH="--no-peers")
	$(BIN)/python -m tests.bench $(BENCH)

brokers: $(READY) ## a million events by each broker, stores killed, brokers restarted (BROKERS="--broker redis")
	$(BIN)/python -m tests.brokers $(BROKERS)

fix: $(READY) ## format, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv, caches and the demo's data
	rm -rf $(VENV) build edc/*.so .bench-env .brokers-env data-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
