# make quickstart   set everything up and run the main job          make test   lint, types and all tests
# make bench        our speed beside that of the usual tools, on the same data      make docs   the documentation, in site/
# Other flags for pip (another index, say):  make quickstart PIP_FLAGS="..."
VENV ?= .venv
BIN := $(VENV)/bin
PIP_FLAGS ?=
RUN_FLAGS ?=
TEST_PROCESSES ?= 2

.PHONY: quickstart smoke test lint build bench docs clean
.DELETE_ON_ERROR:

quickstart: $(VENV)/.train
	$(BIN)/long1k run quickstart $(RUN_FLAGS)

smoke: $(VENV)/.train
	$(BIN)/long1k run quickstart --smoke $(RUN_FLAGS)

test: lint $(VENV)/.browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check src tests scripts bench
	$(BIN)/ruff format --check src tests scripts bench
	$(BIN)/mypy

# Source distribution and wheel in dist/: compared with the tree, installed without extras, tried.
build: $(VENV)/.dev
	$(BIN)/python scripts/check_build.py --pip-flags="$(PIP_FLAGS)"

bench: $(VENV)/.bench
	$(BIN)/python -m bench.run

# Strict: a dead link, a page without its place, a stale reference or anything off the network stops it.
docs: $(VENV)/.docs
	$(BIN)/python scripts/write_reference.py --check
	$(BIN)/zensical build --clean --strict
	$(BIN)/python scripts/check_site.py site

$(VENV)/.made: scripts/make-venv.sh
	sh scripts/make-venv.sh "$(VENV)"
	touch $@

$(VENV)/.train: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[train]'
	touch $@

# DeepSpeed is built from source, against the torch that is there; its kernels are not needed on a CPU.
$(VENV)/.sharding: $(VENV)/.train
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt setuptools wheel py-cpuinfo ninja hjson einops
	DS_BUILD_OPS=0 DS_ACCELERATOR=cpu $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt --no-build-isolation deepspeed
	touch $@

$(VENV)/.dev: $(VENV)/.sharding
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[train,dev]'
	touch $@

# The page is tested in a real browser.
$(VENV)/.browser: $(VENV)/.dev scripts/make-browser.sh
	sh scripts/make-browser.sh "$(BIN)/python" > $@

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[train,dev,bench]'
	touch $@

# The core is enough for it: no torch.
$(VENV)/.docs: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist runs site
