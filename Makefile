# make demo: environment, install, the main job.  make test: the tests.
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
STAMP := $(VENV)/.installed

.PHONY: demo test check e2e chaos slow bench gpu dashboard format clean

demo: $(STAMP)
	$(BIN)/wakeful demo

dashboard: $(STAMP)
	$(BIN)/wakeful dashboard --demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not browser" $(TESTS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The dashboard in a real browser. A file's tests share its dashboards, so they stay together.
e2e: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m browser $(TESTS)

# Minutes: long fault injection, fuzzing, resumed trainings.
slow: $(STAMP)
	$(BIN)/python -m pytest -m slow --timeout 1800 $(TESTS)

chaos: $(STAMP)
	$(BIN)/python -m tests.benchmarks.chaos

bench: $(STAMP)
	$(BIN)/wakeful bench

# Everything a GPU is wanted for, into OUT: make gpu OUT=results MINUTES=10
# The same in miniature, on a CPU:          make gpu OUT=results REHEARSE=1
OUT ?= runs/gpu
MINUTES ?= 10
gpu: $(STAMP)
	$(BIN)/python -m tests.benchmarks.gpu --out $(OUT) --minutes $(MINUTES) $(if $(REHEARSE),--rehearse)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One pip run: torch is capped there, and a second run would pull the CUDA build beside it.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
