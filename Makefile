# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
ARGS   ?=
WORKERS ?= 3

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check docs bench image servers constraints clean faults soak hour lives chaos incidents fuzz attack patience

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The stamps: a change of pyproject.toml or constraints.txt installs again, nothing else does.
$(VENV)/.run: pyproject.toml constraints.txt .ci/venv
	@sh .ci/venv $(PYTHON) $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt .ci/venv
	@sh .ci/venv $(PYTHON) $(VENV)
	$(PIP) -e '.[test]'
	@touch $(VENV)/.run $@

$(VENV)/.bench: $(VENV)/.test
	$(PIP) -e '.[bench]'
	@touch $@

demo: $(VENV)/.run ## the exporter against the built-in simulator: no account, no configuration
	$(BIN)/atoms-exporter demo $(ARGS)

test: check servers ## everything: linters, types, layers, then all tests against the real servers
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: $(VENV)/.test ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

faults: $(VENV)/.test ## play every fault against the running exporter and print the table (ARGS=--write: into docs/)
	$(BIN)/python -m tests.faults $(ARGS)

attack: $(VENV)/.test ## every attack, one by one, then all at once for five minutes (ARGS=--write: into docs/)
	$(BIN)/python -m pytest tests/attack -m attack
	$(BIN)/python -m tests.attack $(ARGS)

patience: $(VENV)/.test ## waits of minutes: forgotten calls, logs that are away, wrong clocks
	$(BIN)/python -m pytest tests/system/test_patience.py -m patience $(ARGS)

soak: $(VENV)/.test ## half an hour of simulated traffic, twelve hours of commits, compressed
	$(BIN)/python -m pytest tests/system/test_load.py tests/state/test_twelve_hours.py -m soak -s $(ARGS)

hour: $(VENV)/.test ## a simulated hour of 300 calls with every fault at once
	$(BIN)/python -m pytest tests/system/test_load.py -m hour -s $(ARGS)

lives: $(VENV)/.test servers ## twenty lives of the exporter, added up by a real Prometheus, against the ledger
	$(BIN)/python -m pytest tests/system/test_lives.py -m lives -s $(ARGS)

chaos: $(VENV)/.test servers ## a fleet's bad day: 15 minutes by a schedule (CHAOS_SEED=… plays it again), then 1,000 orphans
	$(BIN)/python -m pytest tests/fleet -m chaos -s $(ARGS)

incidents: $(VENV)/.test ## incidents against a real Prometheus and Alertmanager: what pages, when, where it leads
	$(BIN)/python -m pytest tests/incidents -m incidents -s $(ARGS)

fuzz: $(VENV)/.test ## a million generated inputs for each fuzzer
	for name in stream webhook config call; do $(BIN)/python -m tests.fuzz.fuzz_$$name --examples 1000000 $(ARGS) || exit 1; done

docs: $(VENV)/.test ## write the generated parts of docs/ again
	$(BIN)/python docs/generate.py

bench: $(VENV)/.bench ## benchmarks, as ratios against what runs beside them
	$(BIN)/python -m benchmarks $(ARGS)

image: ## build the container image with docker, podman or buildah
	sh .ci/image $(ARGS)

servers: ## Prometheus, Alertmanager, nginx and Redis from the distribution, when root and missing
	@sh .ci/servers

constraints: ## raise constraints.txt to the newest versions that fit pyproject.toml
	sh .ci/constraints $(PYTHON) > constraints.new
	mv constraints.new constraints.txt

clean: ## remove the environment and what was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
