# Two commands are enough on a fresh machine: `make demo` and `make test`. Each sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench chromium clients size clean

demo: .venv/ready
	$(BIN)/ponder demo

test: .venv/ready
	$(BIN)/pytest -m "not slow"

# What the page is tested in; where it cannot be had, those tests are skipped and say so.
chromium:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null) || \
	  echo "no Chromium, and apt-get cannot install it: the tests of the page will be skipped"

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/pytest tests/test_layout.py

bench: .venv/ready
	$(BIN)/python -m benchmarks.sft
	$(BIN)/python -m benchmarks.peers.setup
	$(BIN)/ponder train sft --recipe recipes/ponder-base-brief.yaml --out runs/ponder-base-brief
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.trl
	$(BIN)/python -m benchmarks.serve

clients: .venv/ready
	$(BIN)/python tests/clients/run.py

size:
	@wc -l $$(git ls-files 'ponder/*.py' 'tests/*.py' 'benchmarks/*.py') | sort -n

clean:
	rm -rf .venv .clients build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
