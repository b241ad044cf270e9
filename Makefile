# Set-up is part of every target: .venv is made from requirements-dev.lock when it is missing or older than the lock.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The swarm and the floor of bench/xds.py.
TOOLS ?= ../shared/tools
# Policies and requests made of bytes at random; `make test` tries a hundred of each kind, `make soak` five thousand.
FUZZ := tests/compiler/test_hostile_bytes.py tests/xds/stream/test_request_bytes.py
# pip's progress is for a person who waits, not for a log.
PIP := $(BIN)/pip $(shell [ -t 2 ] || echo --quiet)
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --quiet \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.PHONY: help setup demo test check compile bench soak examples lock clean

help: ## list these targets
	@$(PYTHON) -c 'import re; [print(f"make {name:<9}{text}") for name, text in re.findall(r"^(\w+):.*?## (.*)", open("Makefile").read(), re.M)]'

setup: $(READY) ## make .venv from the lock, with plain pip; the other targets do it themselves

$(READY): requirements-dev.lock pyproject.toml
	@echo "Setting up $(VENV): one or two minutes, once"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@: > $@

demo: $(READY) ## model servers, control server and a real Envoy at work on this machine; KEEP=1 leaves them running
	@$(BIN)/python -m demo $(if $(KEEP),--keep)

# A file's tests share what they start, so they stay together.
test: $(READY) ## run the tests, on every core; ARGS='-k weight' chooses
	@$(BIN)/pytest --numprocesses=auto --dist=loadfile $(ARGS)

check: $(READY) ## lint, format, types, import contracts, and whether rendered/ is what the policies say
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/turnout compile policies -o rendered --check

compile: $(READY) ## render policies/ into rendered/
	@$(BIN)/turnout compile policies -o rendered

bench: $(READY) ## measure, as ratios against peers in the same run
	@$(BIN)/python -m bench.compile
	@$(BIN)/python -m bench.diff --models 100,1000 --rounds 1
	@$(BIN)/python -m bench.body_pass
	@$(BIN)/python -m bench.change --models 10,100 --changes 5
ifneq ($(wildcard $(TOOLS)/xds_swarm.py),)
	@$(BIN)/python -m bench.xds --models 200 --streams 200 --rounds 1 --changes 3 --tools $(TOOLS)
else
	@echo "bench/xds.py is left out: no xds_swarm.py in $(TOOLS); say where with TOOLS="
endif

soak: $(READY) ## bytes at random, then a server and 20 Envoys for 30 minutes of edits and kills; ARGS='--minutes 5 --envoys 3'
	@$(BIN)/pytest -q --hypothesis-profile=examples --timeout=0 $(FUZZ)
	@$(BIN)/python -m bench.soak $(ARGS)

examples: $(READY) ## the property tests with far more examples, until something breaks or it is late
	@$(BIN)/pytest --hypothesis-profile=examples --timeout=0 $(ARGS)

lock: ## resolve pyproject.toml anew into the two lock files; needs uv
	@$(LOCK) --upgrade --output-file requirements.lock
	@$(LOCK) --upgrade --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean: ## remove .venv and every cache
	@rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +
