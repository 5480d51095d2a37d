# Everything from a clean clone, with nothing but Python 3.11+ and make.
#   make demo    track the clip of the repository; leaves demo/demo.dkp.json and demo/demo.dkp.mp4
#   make test    the tests
#   make check   formatting, lint, types
# EXTRAS=check,test-consumers also installs what some tests are skipped without.

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= check
BIN := $(VENV)/bin

.PHONY: demo test check format clean

demo: $(VENV)/installed
	$(BIN)/dkpvid track benchmarks/demo.mp4 -o demo --overwrite

# One thread per process: torch's threads and the decoder's get in each other's way on few cores.
test: $(VENV)/installed-$(EXTRAS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

check: $(VENV)/installed-$(EXTRAS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed-$(EXTRAS)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-$(EXTRAS): pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS)]"
	touch $@ $(VENV)/installed
