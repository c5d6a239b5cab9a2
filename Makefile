# keypeg: the commands of every day. `make` alone lists them.
# Needed beforehand: Python 3.11 or newer, and make. PYTHON=... chooses the interpreter that builds .venv.
PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
.DEFAULT_GOAL := help
SECONDS_OF_FUZZ = $(or $(SECONDS),600)
.PHONY: help setup demo test test-long test-usb fuzz check fix proto behaviours bench clean

help:  ## list these commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## prepare .venv with keypeg and its development tools (nothing to do when it is current)
	@$(PYTHON) tools/setup

demo: setup  ## play the whole story with real programs on loopback, one line per fact checked
	@$(VENV_PYTHON) tools/demo

test: setup  ## run the tests; also writes build/behaviours.json
	@$(VENV_PYTHON) -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not long" --behaviours-report=build/behaviours.json

test-long: setup  ## run the tests that take their time
	@failed=0; \
	$(VENV_PYTHON) -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "long and not alone" -o faulthandler_timeout=600 || failed=1; \
	$(VENV_PYTHON) -m pytest -m "long and alone" -o faulthandler_timeout=600 || failed=1; \
	exit $$failed

test-usb: setup  ## run tests/usb under a real Linux kernel, in QEMU (docs/hardware-tests.md)
	@$(VENV_PYTHON) tools/usb_lab

fuzz: setup  ## fuzz the parsers of keys and cards, guided by coverage, for SECONDS=600
	@$(VENV_PYTHON) tools/fuzz --seconds $(SECONDS_OF_FUZZ)

check: setup  ## format, lint, types, architecture, contract, generated code, documents
	@$(VENV_PYTHON) tools/check

fix: setup  ## let the formatters and linters repair what they can, then check
	@$(VENV_PYTHON) tools/check --fix

proto:  ## generate the Python code of the contract from proto/
	@$(PYTHON) tools/gen_proto

behaviours: setup  ## run the tests that keep behaviours, list the rows, write build/behaviours.json
	@$(VENV_PYTHON) tools/behaviours --run

bench: setup  ## measure everything, in 25 minutes (docs/performance.md)
	@$(VENV_PYTHON) tools/bench

clean:  ## remove what was built, but not .venv
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
