# `make demo` and `make test` are all that a fresh machine with Python 3.11+ and make needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
.DEFAULT_GOAL := help
# Where it is set, as in many containers, each of hundreds of processes would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE
.NOTPARALLEL:  # one environment, and stacks that are never up side by side
.PHONY: help demo sample pictures notebooks docs docs-serve test check bench install clean

help:            ## this list
	@echo "make TARGET [PYTHON=python3.12]; each sets up what it needs in $(VENV)"
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/ready ## the whole stack once, from fetch to leaderboard; needs no key
	@$(BIN)/alphamill demo

sample: $(VENV)/ready ## docs/sample: pages of a demo that is run for them
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	  $(BIN)/alphamill demo --home "$$folder/demo" && export ALPHAMILL_HOME="$$folder/demo" && \
	  $(BIN)/alphamill report --factor 1 --out docs/sample/factor.html && \
	  $(BIN)/alphamill report --factor 1 --factor 2 --out docs/sample/two-factors.html

pictures: $(VENV)/ready ## docs/pictures: the demo as it runs, and the sample page by Chromium
	@$(PIP_INSTALL) --editable '.[pictures]'
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/pictures/cast.py docs/pictures/demo.svg
	@$(BIN)/python docs/pictures/page.py docs/sample/factor.html docs/pictures/factor

notebooks: $(VENV)/ready-dev ## docs/notebooks: each is run anew, with its outputs
	@$(BIN)/jupyter-execute --inplace docs/notebooks/*.ipynb

docs: $(VENV)/ready-docs ## the documentation as a site, in build/site
	@$(BIN)/python -m reference docs/reference
	@$(BIN)/zensical build --strict && echo "open build/site/index.html"

docs-serve: $(VENV)/ready-docs ## the same on loopback, built anew as pages change
	@$(BIN)/python -m reference docs/reference
	@$(BIN)/zensical serve

test: $(VENV)/ready-dev ## all tests, on a real Redis
	@echo "1 of 3: units and contracts, on every core"
	@$(BIN)/python -m pytest -q -n auto --dist loadfile tests/unit tests/contract
	@echo "2 of 3: how far limits are used, with nothing beside"
	@$(BIN)/python -m pytest -q -m alone tests/integration
	@echo "3 of 3: whole stacks, one after another, beside the rest"
	@$(BIN)/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder \
	  -m 'not alone and not small_model and not engines' tests/acceptance tests/integration

check: $(VENV)/ready-dev ## ruff, mypy and the import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

OLDER ?= ed936c5
bench: $(VENV)/ready-dev ## every benchmark, beside its peers and the build of commit OLDER
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]' || \
	  echo "some peers are not installed; the benchmarks leave them out" >&2
	@$(PIP_INSTALL) --target build/peers 'nautilus_trader>=1.221' || \
	  echo "nautilus_trader is not installed; benchmarks/bars_by_event.py leaves it out" >&2
	@$(BIN)/python benchmarks/table.py --older $(OLDER)

install: $(VENV)/ready ## the alphamill command in .venv/bin

clean:           ## remove what the project made here
	@rm -rf $(VENV) .alphamill build docs/reference .cache ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# What there is to install is installed at once: a second run of pip would build and resolve anew.
define installed
@command -v $(PYTHON) >/dev/null || { \
  echo "alphamill needs Python 3.11 or newer; there is no $(PYTHON) here: install it, or name another with make PYTHON=..." >&2; exit 3; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
  echo "alphamill needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1): try make PYTHON=python3.12" >&2; exit 3; }
@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
  echo "$(PYTHON) cannot make a virtual environment: install its venv module (apt install python3-venv)" >&2; exit 3; }
@echo "installing into $(VENV) (some minutes the first time) ..."
@$(PIP_INSTALL) $(1) || { echo "not installed: see pip's words above, then run make again" >&2; exit 3; }
@touch $(VENV)/ready $@
endef

$(VENV)/ready: pyproject.toml
	$(call installed,--editable .)

# Most modules of what only tests use are never imported: what is, Python compiles then.
$(VENV)/ready-dev: pyproject.toml
	$(call installed,--no-compile --editable '.[dev]')

$(VENV)/ready-docs: $(VENV)/ready
	@$(PIP_INSTALL) --editable '.[docs]' || { echo "not installed: see pip's words above, then run make again" >&2; exit 3; }
	@touch $@
