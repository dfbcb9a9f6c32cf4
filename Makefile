# Everything runs from .venv, which these targets make from nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/sh
.DEFAULT_GOAL := help

# A developer's pip settings (mirrors, constraints) stay in force; the hashes decide what gets in.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Compiled on the oldest Python that is supported, so that its back-ports are in the lock; newer ones need no more.
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url \
	--no-emit-find-links --strip-extras --allow-unsafe --resolver=backtracking $(LOCK_FLAGS)

.PHONY: help
help: ## list what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.run ## start it: the real thing with SEAM_API_KEY and SEAM_WEBHOOK_SECRET, else the demo
	@if [ -n "$$SEAM_API_KEY$$SEAM_API_KEY_FILE" ] || grep -Eqs '^(export )?SEAM_API_KEY(_FILE)?=.' .env; \
	then exec $(BIN)/latchwatch serve; else exec $(BIN)/latchwatch demo; fi

.PHONY: test
test: $(VENV)/.dev ## every test, on SQLite and PostgreSQL, with coverage (ARGS="-n 0 tests/domain": one at a time, some)
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 --cov --cov-report=term $(ARGS)

.PHONY: check
check: $(VENV)/.dev ## lint, format, types, import rules: what CI asks for before the tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pip check --quiet

.PHONY: fmt
fmt: $(VENV)/.dev ## put every file into the one format, and mend what ruff can mend
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

.PHONY: lock
lock: $(VENV)/.dev ## renew the hashed locks from pyproject.toml (LOCK_FLAGS=--upgrade takes newer releases)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "make lock needs Python 3.11")'
	@$(COMPILE) --output-file requirements.lock pyproject.toml
	@$(COMPILE) --output-file requirements-build.lock --constraint requirements.lock \
		--all-build-deps --only-build-deps pyproject.toml
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")' | \
		$(COMPILE) --output-file requirements-dev.lock --constraint requirements.lock --constraint requirements-build.lock -
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["bench"], sep="\n")' | \
		$(COMPILE) --output-file requirements-bench.lock --constraint requirements.lock --constraint requirements-dev.lock -
	@echo "locked; run make test"

.PHONY: bench
bench: $(VENV)/.bench benchmarks/contestants/fastify/node_modules ## ingest and promises, measured beside others, into benchmarks/results (ARGS="--rounds 1")
	@$(BIN)/python -m benchmarks $(ARGS)

# One contestant is written for Node; without it, that one is left out and the report says so.
benchmarks/contestants/fastify/node_modules: benchmarks/contestants/fastify/package-lock.json
	@if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund --prefix benchmarks/contestants/fastify; fi

.PHONY: migrate
migrate: $(VENV)/.run ## bring the database of DATABASE_URL up to date
	@$(BIN)/latchwatch migrate

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "Latchwatch needs Python 3.11 or newer: install it, or say where it is: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Latchwatch needs Python 3.11 or newer, and $(PYTHON) is older: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) comes without its venv module: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) ..."
	@$(PIP) install --require-hashes --no-deps -r requirements.lock -r requirements-build.lock
	@$(PIP) install --no-build-isolation --no-deps --no-index -e .
	@touch $@

$(VENV)/.bench: requirements-bench.lock $(VENV)/.dev
	@$(PIP) install --require-hashes --no-deps -r requirements-bench.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@touch $@
