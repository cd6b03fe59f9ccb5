# One command a line: `make help` prints the text after ## of each.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := help

PYTHON ?= python3
CLUSTER ?= auto
VENV := .venv
# The launcher runs before any virtual environment exists: standard library only.
LAUNCH := PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=cluster $(PYTHON) -m codexrun_cluster
# The environment is remade when what it is made from changes, not when a checkout touches files.
VENV_KEY := $(shell cat requirements/dev.lock pyproject.toml | sha256sum | cut -c1-16)
VENV_STAMP := $(VENV)/made-from-$(VENV_KEY)
UV_COMPILE := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-header
PYTEST_ARGS ?=
# Images of development containers set it; each process of a test would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# What pytest has from pyproject.toml, for a program that uses the tests' console.
TESTS_PATH := tests/support:tests/support/fakes:tests/support/stands
# One file stays on one worker where its tests share something (tests/lanes.py). Tests that start
# processes also wait for them: two workers a core.
PARALLEL := -n auto --dist loadscope --no-loadscope-reorder
PARALLEL_LOCAL := -n $(shell echo $$((2 * $$(nproc)))) --dist loadscope --no-loadscope-reorder
# From where on prompt versions count as published: hello v1 got its text before the first release.
PROMPTS_SINCE := a967f4f

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  CLUSTER=auto|embedded|kind|current chooses the cluster (now: $(CLUSTER));" \
	  "docs/cluster.md explains"

.PHONY: demo
demo: ## A cluster, the chart with an offline model, and one real Codex run followed to its end
	@$(LAUNCH) demo --cluster $(CLUSTER)

.PHONY: up
up: ## A cluster with the chart, prompts and job types; safe to repeat
	@$(LAUNCH) up --cluster $(CLUSTER)

.PHONY: down
down: ## Remove everything that up or demo started, and nothing else
	@$(LAUNCH) down --cluster $(CLUSTER)

.PHONY: status
status: ## Which parts of the embedded node run
	@$(LAUNCH) status

.PHONY: test
test: export CLUSTER := $(CLUSTER)
test: export PYTEST_ARGS := $(PYTEST_ARGS)
test: venv ## Every test: both lanes below, and those of the cluster of `make up` (it brings it up)
	@$(VENV)/bin/python dev/suite.py

.PHONY: test-unit
test-unit: venv ## The tests that start no process and use no network: under a minute
	$(VENV)/bin/pytest -m unit $(PARALLEL) $(PYTEST_ARGS)

.PHONY: test-local
test-local: venv codex ## Those that start processes: a browser, the real Codex, Postgres, helm
	$(VENV)/bin/pytest -m local $(PARALLEL_LOCAL) $(PYTEST_ARGS)

.PHONY: faults
faults: venv ## The operator among faults of calls, lists and watches, of the node, and in Kueue
	CODEXRUN_EXAMPLES=300 CODEXRUN_FAULTS=all $(VENV)/bin/pytest $(PARALLEL) $(PYTEST_ARGS) \
	  $(foreach name,faults state_slots stale store queue_cost leader, \
	    tests/unit/operator/test_$(name).py) \
	  tests/unit/operator/decide/test_plan.py tests/local/operator/test_http_faults.py
	@test -e .cluster/env || \
	  { echo "no cluster, so that nothing of the node was stopped: make up"; exit; }; \
	  set -a; . .cluster/env; set +a; \
	  CODEXRUN_FAULTS=all $(VENV)/bin/pytest -v $(PYTEST_ARGS) tests/cluster/faults

.PHONY: bench
bench: venv ## Measure against bench/limits.toml, on the cluster of `make up`; fails on a breach
	@test -e .cluster/env || { echo "there is no cluster; run: make up" >&2; exit 1; }
	set -a; . .cluster/env; set +a; \
	  PYTHONPATH=$(TESTS_PATH) $(VENV)/bin/python bench/run.py $(BENCH)

.PHONY: screenshots
screenshots: venv ## The pictures of docs/console.md; with ALL=folder every page, to look at
	PYTHONPATH=$(TESTS_PATH) $(VENV)/bin/python dev/screenshots.py $(ALL)

.PHONY: lint
lint: venv ## ruff, mypy --strict and the import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

.PHONY: generate
generate: venv ## CRDs (also the chart's), OpenAPI document, types of the CLI, tables of the docs
	$(VENV)/bin/python -m codexrun_core.resources.crd .
	$(VENV)/bin/python -m codexrun_api.openapi > api/openapi.json
	$(VENV)/bin/python dev/cli_schemas.py
	$(VENV)/bin/python dev/ways_to_end.py
	$(VENV)/bin/python dev/chart_values.py

.PHONY: verify
verify: generate ## Fail when something generated differs from the commit, or a checksum is wrong
	git diff --exit-code -- crds charts api/openapi.json \
	  cli/codexrun_cli/transports/schemas.py docs/failure-classes.md
	@if git cat-file -e '$(PROMPTS_SINCE)^{commit}' 2>/dev/null && \
	    [ "$$(git rev-parse --is-shallow-repository)" = false ]; then \
	  $(VENV)/bin/codexrun prompts verify --since $(PROMPTS_SINCE)..HEAD; \
	else \
	  echo "this clone has not the whole history: prompt versions are not compared with what was" \
	    "published"; \
	  $(VENV)/bin/codexrun prompts verify; \
	fi

.PHONY: lock
lock: venv ## Resolve pyproject.toml into the two hashed lock files
	$(UV_COMPILE) pyproject.toml -o requirements/runtime.lock
	$(UV_COMPILE) pyproject.toml --group dev -o requirements/dev.lock

.PHONY: image
image: ## Build both images, or with BASE_IMAGE=... the agent's on that base; REGISTRY=... pushes
	@$(LAUNCH) image

.PHONY: sbom
sbom: venv ## An SBOM (CycloneDX) of each image, but for its base, into dist/
	$(VENV)/bin/python dev/sbom.py dist

.PHONY: wheel
wheel: venv ## The wheel, into dist/, tried in an environment that has only what is locked for it
	@rm -f dist/*.whl
	$(VENV)/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@clean="$$(mktemp -d)"; trap 'rm -rf "$$clean"' EXIT; \
	  $(PYTHON) -m venv "$$clean"; \
	  "$$clean/bin/pip" install --quiet --disable-pip-version-check --require-hashes \
	    --requirement requirements/runtime.lock; \
	  "$$clean/bin/pip" install --quiet --disable-pip-version-check --no-deps dist/*.whl; \
	  "$$clean/bin/codexrun" --help > /dev/null; \
	  "$$clean/bin/python" -m codexrun_api.openapi | diff - api/openapi.json; \
	  ls dist/*.whl

.PHONY: codex
codex: ## Fetch the Codex programs into the cache, for tests that run Codex without a cluster
	@$(LAUNCH) codex

.PHONY: codex-update
codex-update: venv ## Move the pin of Codex to VERSION=0.171.0, and what is kept about it
	@PYTHONPATH=$(TESTS_PATH) $(VENV)/bin/python dev/codex_update.py

.PHONY: venv
venv: $(VENV_STAMP) ## The Python environment of tests and tools, from the hashed lock

$(VENV_STAMP): requirements/dev.lock pyproject.toml
	@echo "making $(VENV) from requirements/dev.lock (~15 s)"
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV) || \
	  { echo "no virtual environment could be made; as root: apt-get install python3-venv" >&2; \
	    rm -rf $(VENV); exit 1; }
	@# uv, from the same lock, takes a seventh of pip's time. It does not read pip's settings: where
	@# it reaches no index, pip does it.
	@awk '/^[^ ]/ { uv = /^uv==/ } uv' requirements/dev.lock > $(VENV)/uv.lock
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --require-hashes \
	    -r requirements/dev.lock 2>/dev/null || \
	  $(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes \
	    -r requirements/dev.lock
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/made-from-*
	@touch $@

.PHONY: transcript
transcript: venv ## Type commands into the cluster of `make up`; what they say goes into the README
	@test -e .cluster/env || { echo "there is no cluster; run: make up" >&2; exit 1; }
	set -a; . .cluster/env; set +a; $(VENV)/bin/python docs/transcript.py
