# make demo: the main job. make test: the tests. Both install what they need themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test check setup system peers bench figures campaign train lock sbom clean

demo: setup
	@$(BIN)/smartstore demo $(ARGS)

test: setup
	@$(BIN)/python -m pytest $(ARGS)

check: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

setup: system $(STAMP)
	@sh tests/peers.sh $(VENV)/peers

# Says what is missing where it may not install, and goes on: tests and demo then name the device they do without.
system:
	@PYTHON=$(PYTHON) sh deploy/system-packages.sh

$(STAMP): requirements.lock requirements-build.lock pyproject.toml
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing the locked packages into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements-build.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable . >$(VENV)/install.log 2>&1 || { cat $(VENV)/install.log; exit 1; }
	@$(BIN)/python -m compileall -q edge devices firmware_sim cloud_bridge models
	@touch $(STAMP)

# Foreign programs that tests and benchmarks measure us against, each in a place of its own; tried again if it failed:
# sllurp and llrpjs (which setup also brings), and thingsboard-gateway, which bench latency measures beside ours.
peers: setup
	@sh tests/peers.sh $(VENV)/peers again
	@$(BIN)/python -m tests.bench._thingsboard || echo "Going on without it: bench latency then has no row of it."

bench: setup
	@$(BIN)/python -m tests.bench all $(ARGS)

# Every figure of docs/figures.md again, and the page anew (SEED=N for other worlds).
SEED ?= 1
figures: setup
	@mkdir -p build && start=$$(date +%s) \
	&& $(BIN)/python -m tests.bench all | tee build/bench.out; \
	$(BIN)/python -m tests.accuracy all --seed $(SEED) | tee build/accuracy.out; \
	$(BIN)/python -m tests.figures_page build/bench.out build/accuracy.out --seed $(SEED) --minutes $$((($$(date +%s) - start) / 60))

# atheris (35 MB, no wheel for every machine) is for the campaign's guided fuzzing only: without it that row says so.
campaign: setup
	@$(BIN)/python -c "import atheris" 2>/dev/null || $(BIN)/python -m pip install --quiet --only-binary :all: "atheris==3.0.0" || true
	@$(BIN)/python -m tests.fault $(ARGS)

# The footfall network from nothing: generated scenes, training, export, scores.
train: setup
	@$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install --quiet "torch==2.13.0" "onnx>=1.17"
	@$(BIN)/python -m models.train $(ARGS)

# Two locks of the same versions: what developing and testing needs, and what alone runs on a gateway. A third: what
# builds the wheel (pyproject.toml, build-system), so that nothing unpinned runs on a publisher's machine or a gateway.
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --quiet --output-file requirements.lock
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --quiet --constraint requirements.lock --output-file requirements-gateway.lock
	sed -n 's/^requires = \["\(.*\)"\].*/\1/p' pyproject.toml | uv pip compile - --universal --python-version 3.11 --generate-hashes --quiet --custom-compile-command "make lock" --output-file requirements-build.lock

# Bill of materials (CycloneDX) of what runs on a gateway: what the lock pins, and the trained models.
sbom:
	@$(PYTHON) deploy/sbom.py > sbom.json && echo "sbom.json written"

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
