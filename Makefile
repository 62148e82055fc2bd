# `make train` and `make test` need Python 3.11 or newer and nothing else: they make the environment themselves.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
SMALL := game.images.train=200 game.images.val=20 game.images.test=20 recipe.images=20000

.PHONY: train smoke gpu test test-slow fuzz check wheel lock audit clean

# The main job: data set, training and evaluation of a FoldedCNN that reads four images at once.
train: $(VENV)/installed
	$(RUN) train game=sot_time fold=4

# The main job with few images, in a temporary folder: one minute.
smoke: $(VENV)/installed
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(RUN) train game=sot_time fold=4 $(SMALL) out="$$folder/run" data_dir="$$folder/data"

# On a machine with an NVIDIA GPU: measures what RESULTS.md lacks, as far as the minutes go.
MINUTES ?= 8
gpu: $(VENV)/installed
	$(VENV)/bin/python benchmarks/gpu.py --minutes $(MINUTES)

# Linters, types, import contracts and the whole suite except slow tests.
test: check
	$(RUN) pytest -q -n auto --dist worksteal

test-slow: $(VENV)/installed
	$(RUN) pytest -q -m slow

# Coverage-guided fuzzing of what reads files of strangers; new inputs go to tests/fuzz/corpus.
SECONDS ?= 600
fuzz: $(VENV)/installed
	$(VENV)/bin/python tests/fuzz/fuzz.py --keep --seconds $(SECONDS)

check: $(VENV)/installed
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy foldtext textgen train hydra_plugins
	$(VENV)/bin/lint-imports --no-logo

wheel: $(VENV)/installed
	$(RUN) build --wheel --no-isolation

# Exact versions, so that what works today works tomorrow.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --ignore-requires-python rapidocr-onnxruntime
	touch $@

# The same files everywhere, and whether they have known faults; the latter asks a data base on the network.
lock: $(VENV)/installed
	$(RUN) pip install --dry-run --quiet --ignore-installed --report - -c constraints.txt -e '.[dev]' \
	    | $(VENV)/bin/python .ci/lock.py > requirements.lock.new
	mv requirements.lock.new requirements.lock

audit: $(VENV)/installed
	$(PYTHON) -m venv $(VENV)-audit && $(VENV)-audit/bin/pip install --quiet pip-audit
	$(VENV)-audit/bin/pip-audit --disable-pip --require-hashes -r requirements.lock

# Data sets and runs stay: they are the user's.
clean:
	rm -rf $(VENV) dist
