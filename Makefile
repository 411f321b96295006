# The developer's chores. `make up` and `make test` install what they need into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := $(PIP) --require-hashes --requirement requirements/build.txt --requirement
COMPILE := $(VENV)/uv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-strip-extras --custom-compile-command "make lock" --no-annotate --no-emit-index-url --output-file
EDITABLE := $(PIP) --no-deps --no-build-isolation --editable .
MINUTES ?= 30
SOURCES := geodata ice zones net steering dns allocator healthchecks relay controlplane app

.DEFAULT_GOAL := help
.PHONY: help up test interop coverage check format fuzz lock bench bench-dns bench-failover bench-relay bench-steering soak clean

help: ## List the chores
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: $(VENV)/up.stamp ## Run everything on this machine, with a demo deployment
	@exec $(BIN)/firsthop up

# Tests start hundreds of processes: each finds its modules compiled.
test coverage fuzz: export PYTHONDONTWRITEBYTECODE :=

test: $(VENV)/dev.stamp ## Run all tests (needs nothing but Python; starts its own PostgreSQL)
	$(BIN)/pytest --numprocesses 2 --dist loadgroup -m 'not interop'

interop: $(VENV)/dev.stamp ## Calls of browsers and other WebRTC stacks (absent ones are skipped)
	$(BIN)/pytest tests/e2e/transceiver tests/e2e/browser/test_call.py \
		tests/e2e/browser/test_firefox_call.py tests/e2e/allocator/test_sessions.py

coverage: $(VENV)/dev.stamp ## Run all tests, and show what of all packages they reach
	$(BIN)/pytest --numprocesses 2 --dist loadgroup -m 'not interop' --cov \
		--cov-report term:skip-covered --cov-fail-under 95

check: $(VENV)/dev.stamp ## Format, lint, types, import contracts, conventions and dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(patsubst %,-p firsthop_%,$(filter-out app,$(SOURCES))) -p firsthop
	PYTHONPATH=. $(BIN)/lint-imports --no-cache
	$(BIN)/python tools/conventions.py $(SOURCES)
	$(BIN)/python -m pip check

format: $(VENV)/dev.stamp ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(VENV)/dev.stamp ## Draw hostile inputs anew for MINUTES=30, in rounds of a few minutes
	@end=$$(($$(date +%s) + 60 * $(MINUTES))); while [ $$(date +%s) -lt $$end ]; do \
		FIRSTHOP_HYPOTHESIS=fuzz $(BIN)/pytest -q --numprocesses 2 -m fuzz $(ARGUMENTS) || exit; \
	done

lock: ## Write the lock files of requirements/ (delete a line there to take the newest version)
	$(PYTHON) -m venv $(VENV)/uv
	$(VENV)/uv/bin/pip install --quiet --disable-pip-version-check uv
	$(COMPILE) requirements/dev.txt --extra dev pyproject.toml
	$(COMPILE) requirements/all.txt --extra all --constraints requirements/dev.txt pyproject.toml
	$(COMPILE) requirements/controlplane.txt --extra controlplane \
		--constraints requirements/dev.txt pyproject.toml
	printf 'hatchling\neditables\n' | $(COMPILE) requirements/build.txt -

bench: bench-dns bench-relay bench-steering ## Run the benchmarks beside their peers
	$(BIN)/python bench/respond.py
	$(BIN)/python bench/credentials.py
	$(BIN)/python bench/allocate.py
	$(BIN)/python bench/ecs_cache.py
	$(BIN)/python bench/compile.py
	$(BIN)/python bench/zone_size.py

bench-dns: $(VENV)/dev.stamp ## DNS beside gdnsd, Knot and PowerDNS (absent ones are skipped)
	$(BIN)/python bench/dns.py

bench-failover: $(VENV)/dev.stamp ## How long wrong answers last after a fault (30 min; needs root)
	$(BIN)/python bench/failover.py $(ARGUMENTS)

soak: $(VENV)/dev.stamp ## Random faults for 5 min, and what must hold (needs root; ARGUMENTS='--seed 7')
	PYTHONPATH=tests $(BIN)/python -m soak $(ARGUMENTS)

bench-relay: $(VENV)/dev.stamp ## Relay beside coturn and a plain C forwarder (absent ones are skipped)
	$(BIN)/python bench/relay.py

bench-steering: $(VENV)/dev.stamp ## Learned RTT beside distance, capacity, and load through caches
	$(BIN)/python bench/steering.py

clean: ## Remove the environment and the state of `make up`
	rm -rf $(VENV) .firsthop

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	$(PYTHON) -m venv $(VENV)

$(VENV)/up.stamp: pyproject.toml $(wildcard requirements/*.txt) | $(VENV)/bin/python
	$(LOCKED) requirements/all.txt
	$(EDITABLE)
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(wildcard requirements/*.txt) | $(VENV)/bin/python
	$(LOCKED) requirements/dev.txt
	$(EDITABLE)
	@touch $@ $(VENV)/up.stamp
