# keypeg: the commands of every day. `make` alone lists them.
PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: help proto

help:  ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/'

proto:  ## generate the Python code of the contract from proto/
	$(PYTHON) tools/gen_proto
