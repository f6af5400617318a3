# Every target works as the first command after a clone: it needs make and a Python >= 3.11.
# `make test PYTHON=python3.13` uses that one, by name or path, in a .venv-3.13 of its own.
.DEFAULT_GOAL := help
.PHONY: demo test lint bench clean help

VERSION := 'import sys; print("%d.%d" % sys.version_info[:2])'
VENV := .venv$(if $(PYTHON),-$(shell "$(PYTHON)" -c $(VERSION) 2>/dev/null))
BIN := $(VENV)/bin
CANDIDATES := $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python)
STAMP := $(VENV)/.installed
# Run, not only looked up: a version manager's shim may stand for a Python that is not there.
SUITABLE := -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1

demo: $(STAMP)  ## one program under sim and under local, results compared
	$(BIN)/python examples/demo.py

test: $(STAMP)  ## all tests
	$(BIN)/pytest -n 4 --dist loadgroup tests

lint: $(STAMP)  ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.13
	$(BIN)/lint-imports --no-logo

bench: $(STAMP)  ## the table of benchmarks
	$(BIN)/python -m benchmarks

clean:  ## remove caches and build output (each .venv stays)
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

$(STAMP): pyproject.toml
	@if ! $(BIN)/python $(SUITABLE); then \
		for python in $(CANDIDATES); do \
			"$$python" $(SUITABLE) && break; python=; \
		done; \
		if [ -z "$$python" ]; then \
			echo "make: no Python >= 3.11 with venv is" $(CANDIDATES)"; set PYTHON=/path/to/one" >&2; \
			exit 1; \
		fi; \
		echo "setting up $(VENV) with $$("$$python" --version), once"; \
		"$$python" -m venv --clear $(VENV); \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
