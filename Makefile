# Every verb has one line of help after `##`; `make help` prints them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test check fix docs bench

help:  ## Show what each verb does
	@sed -n 's/^\([a-z]*\):.*  ## /\1|/p' Makefile | while IFS='|' read -r verb line; do printf '  make %-8s %s\n' "$$verb" "$$line"; done

install: $(VENV)/.installed  ## Create .venv with lowrung and all its extras (again only when the pins change)

demo: install  ## Adapt the embedded model to the bundled rows, print the tables, answer (under 5 minutes)
	$(BIN)/lowrung study topic examples/rows/topic --methods ngrams,probe --labels 0,40,all --seeds 2 --out runs/demo-topic
	$(BIN)/lowrung study entities examples/rows/entities --methods ngrams,probe,top --labels 0,50,all --seeds 1 --out runs/demo-entities
	$(BIN)/lowrung answer runs/demo-topic "I was charged twice."
	$(BIN)/lowrung answer runs/demo-entities "Ada Lovelace met Charles Babbage in London."
	@echo "The reports are $(CURDIR)/runs/demo-topic/report.html and $(CURDIR)/runs/demo-entities/report.html"

test: install  ## Run the default tests; ARGS="-m slow" runs the slow ones
	$(BIN)/python -m pytest -q -n auto $(ARGS)

check: install  ## Check format, lint, types and the floors; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

fix: install  ## Format the code and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install  ## Run every block of README.md and docs/, the slow ones too
	$(BIN)/python -m pytest -q tests/test_docs.py -m "slow or not slow"

bench: $(VENV)/.bench  ## Run every program in benchmarks/ and print what it measured (hours)
	@set -e; for module in $$(grep -l '^if __name__ == "__main__"' benchmarks/*.py | tr / . | sed 's/\.py$$//'); do \
		echo "== $$module"; $(BIN)/python -m "$$module"; done

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[all]'
	@touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install -c constraints.txt -e '.[bench]'
	@touch $@
