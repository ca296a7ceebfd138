# Two commands: `make demo` and `make test`. Everything else is for people who work on the harness.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo picture test test-slow browser cluster chaos chaos-short bench lint clean

help:
	@echo "make demo        install into .venv, run the digits study, print the ranking"
	@echo "make test        lint, types, walls and the whole test suite"
	@echo "make browser     the report and MLflow's pages in Chromium; screenshots in test-output/"
	@echo "make cluster     jobs, Ctrl-C, deaths and several nodes on real Ray, minutes more"
	@echo "make chaos       break studies in a hundred ways and count what is lost: nothing; prints the table"
	@echo "make test-slow   all that takes minutes more"
	@echo "make bench       speed and memory beside what a user would otherwise run, and limits; half an hour; fails where one is missed"
	@echo "make picture     draw the picture of the README from the demo's results"
	@echo "make clean       remove .venv and caches (results in runs/ stay)"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP)
	@$(BIN)/harness run digits

picture: demo
	$(BIN)/python -m harness.report.picture digits runs .github/digits.svg

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -q --instafail -m "not slow and not ray and not browser and not chaos" -n 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest -q --instafail -m "ray and not slow" tests/clusters tests/harness/schedule

browser: $(STAMP)
	$(BIN)/python -m pytest -q --instafail -m "browser and not slow"

cluster: $(STAMP)
	$(BIN)/python -m pytest -q --instafail -m "ray and slow" tests/clusters tests/harness/schedule

chaos: $(STAMP)
	$(BIN)/python -m pytest -q --instafail -m chaos tests/chaos

chaos-short: $(STAMP)
	$(BIN)/python -m pytest -q --instafail -m "chaos and not ray" tests/chaos/test_driver.py tests/chaos/test_disks.py tests/chaos/test_signals.py

test-slow: $(STAMP)
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -q -m slow

bench: $(STAMP)
	$(BIN)/python tests/bench/all.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
