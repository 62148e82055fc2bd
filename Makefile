# `make train` and `make test` need Python 3.11 or newer and nothing else: they make the environment themselves.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m

.PHONY: train test test-slow check wheel clean

# The main job: data set, training and evaluation of a FoldedCNN that reads four images at once.
train: $(VENV)/installed
	$(RUN) train game=sot_time fold=4

# Linters, types and the whole suite but for what takes minutes.
test: check
	$(RUN) pytest -q -n auto --dist worksteal

test-slow: $(VENV)/installed
	$(RUN) pytest -q -m slow

check: $(VENV)/installed
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy textgen train

wheel: $(VENV)/installed
	$(RUN) build --wheel --no-isolation

# Exact versions: what works today works tomorrow.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) dist data runs
