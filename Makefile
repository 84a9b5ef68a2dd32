# Every target makes the environment first when it is missing.
#   make demo                  a real call against a simulated WhatsApp
#   make demo ARGS=--outbound  the bot asks for permission, and calls
#   make demo ARGS=--stay      keep it running, and call it from the browser
#   make test                  all tests
#   make lint                  linters and types
#   make docs                  the documentation's site, built into build/site
#   make bench                 measurements beside pipecat's in-tree client, drawn into build/bench

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := build/bench
ARGS ?=

.PHONY: demo test lint docs bench clean

$(VENV)/.ready: pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && uv pip install --quiet --python $(VENV) -e '.[dev]'; \
	else \
		$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e '.[dev]'; \
	fi
	@touch $@

$(VENV)/.bench: $(VENV)/.ready
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --python $(VENV) -e '.[bench]'; \
	else \
		$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e '.[bench]'; \
	fi
	@touch $@

$(VENV)/.docs: $(VENV)/.ready
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --python $(VENV) -e '.[docs]'; \
	else \
		$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e '.[docs]'; \
	fi
	@touch $@

demo: $(VENV)/.ready
	@$(BIN)/pipecat-whatsapp demo $(ARGS)

# Calls take their time, and the processor is idle meanwhile.
test: $(VENV)/.ready
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

lint: $(VENV)/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(VENV)/.docs
	@$(BIN)/python docs/tools/draw_life.py
	@$(BIN)/python docs/tools/list_commands.py
	@# With --quiet it would not count its warnings, and so not be strict.
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

bench: $(VENV)/.bench
	@mkdir -p $(BENCH)
	@for name in answer turnaround loss capacity; do \
		$(BIN)/python benchmarks/$$name.py \
			--json $(BENCH)/$$name.json --plot $(BENCH)/$$name.png $(ARGS) || exit; \
		echo; \
	done

clean:
	@rm -rf $(VENV)
