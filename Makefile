# Every target makes the environment first when it is missing.
#   make demo              a real call against a simulated WhatsApp
#   make demo ARGS=--stay  keep it running, and call again from another terminal
#   make test              all tests
#   make lint              linters and types
#   make bench             measurements beside pipecat's in-tree client

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo test lint bench clean

$(VENV)/.ready: pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing $(VENV) && uv pip install --quiet --python $(VENV) -e '.[dev]'; \
	else \
		$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e '.[dev]'; \
	fi
	@touch $@

demo: $(VENV)/.ready
	@$(BIN)/pipecat-whatsapp demo $(ARGS)

test: $(VENV)/.ready
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.ready
	@$(BIN)/python benchmarks/answer.py $(ARGS)

clean:
	@rm -rf $(VENV)
