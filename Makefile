# make test        sets everything up and passes the tests
# make reproduce   sets everything up, executes every notebook in quick mode and builds the book from what it executed
# make book        builds the published book from the committed chapters, without training
#
# A bare machine needs Python 3.11 (with its venv module) and make. Every package comes from requirements.lock, hash-checked;
# uv, which installs it, is itself one of those packages.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BUILT := book/_build
PYTHON :=

.PHONY: help setup test reproduce book lock clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup: $(READY)

# Made once, and again when the lock or the project's metadata change; an environment of another Python is replaced.
$(READY): requirements.lock pyproject.toml
	@set -euo pipefail; \
	if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
	    found=; \
	    for python in "$(PYTHON)" python3.11 python3 python; do \
	        if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo "Python 3.11 with its venv module was not found (tried python3.11, python3 and python; python3 here is" \
	             "$$(python3 --version 2>/dev/null || echo missing)). Install it, or name it: make setup PYTHON=/path/to/python3.11" >&2; \
	        exit 1; \
	    fi; \
	    echo "Setting up $(VENV) with $$("$$found" --version)"; \
	    "$$found" -m venv --clear $(VENV); \
	fi; \
	if [ ! -x $(BIN)/uv ]; then \
	    $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null; \
	    awk '/^uv==/ { on = 1 } on { print } on && !/\\$$/ { exit }' requirements.lock > $(VENV)/uv.txt; \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.txt; \
	fi; \
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock; \
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .; \
	touch $(READY)

test: $(READY)
	$(BIN)/python -m pytest

reproduce: $(READY)
	$(BIN)/erc reproduce --profile quick --output $(BUILT)/executed
	$(BIN)/python -m erc_lib.book build --chapters $(BUILT)/executed --output $(BUILT)/reproduced \
	    --announcement "Executed on this machine in quick mode, on simulated corpora. The published results stand in the book that <code>make book</code> builds."

book: $(READY)
	$(BIN)/python -m erc_lib.book build --output $(BUILT)/html

# After a change to the ranges in pyproject.toml. What uv.lock remembers of this machine's last resolution is kept where it still fits.
lock: $(READY)
	$(BIN)/uv lock --quiet --python $(BIN)/python
	$(BIN)/uv export --quiet --locked --all-extras --no-emit-project --no-header --no-annotate --output-file requirements.lock

clean:
	rm -rf $(BUILT) build
