# Everything works in .venv; nothing else needs to be installed but Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo up test lint check bench clean

install: $(STAMP)

$(STAMP): pyproject.toml client/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --upgrade "pip>=25.1" --quiet --disable-pip-version-check
	@$(BIN)/python local/install_progress.py $$(grep -c == constraints.txt) $(VENV)/install.log \
		$(BIN)/python -m pip install --disable-pip-version-check --progress-bar raw -c constraints.txt \
		-e client -e ".[api,worker,local]" --group dev
	@touch $@

demo: install
	@$(BIN)/darkroom demo

up: install
	@$(BIN)/darkroom up

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check: lint
	$(BIN)/python -m pytest tests/unit -q

test: install
	$(BIN)/python -m pytest tests

bench: install
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) .darkroom build dist *.egg-info client/*.egg-info
