# Every target makes its own virtual environment when there is none.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: help demo test check bench clean

help:  ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-6s %s\n", $$1, $$2}'

demo: $(VENV)/.installed  ## see every credential type at work, on a Prefect server of its own
	$(BIN)/prefect-atomic demo $(if $(KEEP),--keep)

test: $(VENV)/.installed-dev  ## run the tests; with COVERAGE=1, their branch coverage too
	scripts/install-tools
	scripts/install-node-servers
	scripts/test

check: $(VENV)/.installed-dev  ## linters, types and layers
	scripts/check

bench: $(VENV)/.installed-dev  ## measure against the peers
	$(BIN)/python benchmarks/run.py

clean:  ## remove what the other targets have made
	rm -rf $(VENV) .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	rm -rf tests/e2e/node/node_modules

$(VENV)/bin/python:
	scripts/make-venv $(PYTHON) $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	touch $(VENV)/.installed $@
