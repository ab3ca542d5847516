# make demo   installs airtune and runs the main job on this machine, from a run.json to a published model
# make test   installs, and runs format, lint, types, floors and the whole test suite
# All state lies in .venv and .airtune; both may be removed at any time (make clean).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test bench lint format lock clean
MAKEFLAGS += --no-print-directory

# Another environment that happens to be active, or another Airflow's settings, must not reach in.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONSTARTUP CONDA_PREFIX AIRFLOW_HOME AIRFLOW_CONFIG
export PYTHONNOUSERSITE := 1

BIN := .venv/bin
SOURCES := src plugins dags tests benchmarks include/configs/demo

help:
	@sed -n 's/^# //p' Makefile | head -3
	@echo "also: make bench · make lint · make format · make lock [UPGRADE=1] · make clean · make demo RUN=include/configs/runs/digits.json"

install:
	@scripts/install run

install-dev:
	@scripts/install dev

demo: install
	@exec $(BIN)/airtune demo $(if $(RUN),--run "$(RUN)")

test: lint
	@exec $(BIN)/pytest $(ARGS)

# Against TRL, which nothing else here needs: it comes into the same environment, within the same versions.
bench: install-dev
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r benchmarks/requirements.txt
	@exec $(BIN)/python benchmarks/train_vs_trl.py $(ARGS)

lint: install-dev
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install-dev
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

# The development lock is made first and the others within it, so that no version differs between them.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url $(if $(UPGRADE),--upgrade)
lock: install-dev
	@$(LOCK) --extra dev pyproject.toml -o requirements-dev.txt
	@$(LOCK) -c requirements-dev.txt --extra airflow --extra trainer --extra demo --extra datasets --extra vi pyproject.toml -o requirements.txt
	@$(LOCK) -c requirements-dev.txt --extra trainer --extra vi pyproject.toml -o requirements-trainer.txt
	@printf 'hatchling>=1.27\neditables>=0.5\n' | $(LOCK) -c requirements-dev.txt - -o requirements-build.txt
	@printf 'trl==1.16.0\n' | $(LOCK) -c requirements-dev.txt - -o benchmarks/requirements.txt
	@printf 'uv>=0.13.9,<0.14\n' | $(LOCK) -c requirements-dev.txt - -o requirements-uv.txt

clean:
	@if [ -x $(BIN)/airtune ]; then $(BIN)/airtune down --quiet || true; fi
	rm -rf .venv .airtune build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
