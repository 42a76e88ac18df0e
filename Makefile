# `make help` lists the words. Each sets up what it needs: run and test work in any order, from a fresh clone.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV   ?= .venv
BIN    := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)

# Nothing is sent to anyone.
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# uv looks at certificates of its own unless told to use the system's, where a company's proxy puts its own.
export UV_SYSTEM_CERTS := true
export UV_NATIVE_TLS := true
# Compiled modules start three times as fast as ones that are compiled anew in every process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup run test lint status ui schedule unschedule drift-demo reproduce bench-train lock clean

help:  ## list these words
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 22

setup: $(VENV)/.done  ## make .venv with everything pinned in requirements.lock

run: $(VENV)/.done  ## run the pipeline; says so when nothing changed (make run STRATEGIES=all: compare every one)
	@graft run $(if $(STRATEGIES),--strategies $(STRATEGIES))

test: $(VENV)/.done lint  ## lint, type check, import rules and tests
	@python -m pytest

lint: $(VENV)/.done  ## ruff, import-linter and ty
	@ruff check .
	@ruff format --check .
	@lint-imports --no-logo 2>/dev/null || lint-imports
	@ty check --quiet || ty check

status: $(VENV)/.done  ## what is up to date and what is in production
	@graft status

ui: $(VENV)/.done  ## open MLflow and Prefect on loopback
	@graft ui

schedule: $(VENV)/.done  ## retrain and watch on a schedule: Prefect, MLflow and a worker in the background, on loopback
	@graft schedule up

unschedule: $(VENV)/.done  ## end all that `make schedule` started
	@graft schedule down

drift-demo: $(VENV)/.done  ## the images change, the monitor notices, and the pipeline adapts without one new label
	@python -m benchmarks.drift_demo

reproduce: $(VENV)/.done  ## repeat published results with the data in GRAFT_DATA (NAME=mnist_usps: only those)
	@python -m benchmarks.reproduce $(NAME)

bench-train: $(VENV)/.done  ## time training on frozen features against the naive loop (GRAFT_DATA: with real photos)
	@python -m benchmarks.training

lock: $(VENV)/.done  ## rewrite requirements.lock from pyproject.toml (make lock UPGRADE=--upgrade: newest versions)
	uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header \
	  --no-annotate --extra pipeline --extra dev $(UPGRADE) pyproject.toml --output-file requirements.lock

clean:  ## remove what runs made, but not the environment
	rm -rf bundle data/{features,prepared} data/raw/{printed,handwritten}_digits models reports timings dvc.lock dvc.lock.torn .graft .dvc/cache .dvc/tmp

$(VENV)/.done: requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
	  || { echo "Python 3.11 or 3.12 is needed, and $(PYTHON) is neither: make PYTHON=/path/to/python3.11 …"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@if $(BIN)/python -m pip install --quiet uv \
	  && VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --compile-bytecode -r requirements.lock; \
	then echo "installed with uv"; \
	else echo "uv is unavailable or failed; installing with pip, which takes some minutes"; \
	  $(BIN)/python -m pip install --quiet -r requirements.lock; fi
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@# A downloaded archive is no git repository, and DVC wants to be told.
	@git rev-parse --is-inside-work-tree >/dev/null 2>&1 || $(BIN)/dvc config --local core.no_scm true
	@touch $@
