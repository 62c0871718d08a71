# Each target creates .venv and installs what it needs; nothing else has to be there but Python 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --quiet --disable-pip-version-check -c constraints.txt
PROJECTS := pyproject.toml $(wildcard lite/pyproject.toml adapters/*/pyproject.toml) constraints.txt

.PHONY: demo test check bench serve clean

demo: .venv/.demo  ## watch short conversations being checked
	@$(BIN)/gemma-guard demo

test: .venv/.test  ## run the whole suite
	HF_HUB_OFFLINE=1 LITELLM_LOCAL_MODEL_COST_MAP=True $(BIN)/python -m pytest -q

check: .venv/.test  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src lite/src adapters/litellm/src adapters/langchain/src tests examples benchmarks
	$(BIN)/python -m pytest -q tests/test_layers.py

bench: .venv/.test  ## measure, and write benchmarks/results
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/batching.py
	$(BIN)/python benchmarks/langchain_overhead.py
	$(BIN)/python benchmarks/evaluating.py
	$(BIN)/python benchmarks/first_check.py
	$(BIN)/python benchmarks/scoring.py

serve: .venv/.test  ## a LiteLLM proxy with the guard in it, on 127.0.0.1:4000
	cd examples/05_litellm && LITELLM_MASTER_KEY=$${LITELLM_MASTER_KEY:-sk-try-me} LITELLM_LOCAL_MODEL_COST_MAP=True ../../$(BIN)/litellm --config config.yaml --host 127.0.0.1 --port 4000

clean:
	rm -rf .venv

.venv/.demo: $(PROJECTS)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing gemma-guard into .venv ..."
	@$(PIP) -e . -e lite
	@touch $@

.venv/.test: $(PROJECTS) dev-requirements.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing everything into .venv; torch makes this some minutes the first time ..."
	@$(PIP) torch
	@$(PIP) -r dev-requirements.txt
	@touch $@
