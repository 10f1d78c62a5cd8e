# Each verb works alone on a fresh clone with Python 3.11 or newer, make and PyPI: .venv is made on first need.

PYTHON ?= python3
BENCH_FLAGS ?=
MUTANTS ?=
export PIP_DISABLE_PIP_VERSION_CHECK = 1

BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet

.PHONY: help demo test test-long lint damage fuzz mutants bench docs site programs payload clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   compare policies on a bundled trace; ends with the table"
	@echo "make test   run the tests"
	@echo "make test-long  run the few that take long: captures of a real kernel in QEMU, the kernel's own FP tests, mutants of policies, all bugs of a page"
	@echo "make lint   check style, formatting and types"
	@echo "make damage a thousand damaged recordings of each kind: no correct policy may be blamed (15 minutes)"
	@echo "make mutants a hundred random changes of the program: does a test fail for each? (hours; MUTANTS='--count 10 --seed 2')"
	@echo "make fuzz   ten thousand damaged files of each kind: each is read or refused by one line (an hour)"
	@echo "make bench  run all benchmarks in full (BENCH_FLAGS=--short for a quick look)"
	@echo "make docs   rewrite what is generated in the documents, and build their site in build/site"
	@echo "make site   build the site alone; a link that leads nowhere is an error"
	@echo "make programs  build the machine's programs; needs gcc-aarch64-linux-gnu"
	@echo "make payload  build the programs of fpstate capture again (gcc, gcc-aarch64-linux-gnu)"
	@echo "make clean  remove .venv and everything built"

demo: .venv/stamp-core
	$(BIN)/fpstate compare
	@echo
	@echo "To go on (docs/tutorial.md writes a policy of one's own):"
	@echo "  . .venv/bin/activate"
	@echo "  fpstate check defer-to-put --cpus 1 --tasks 1 --vcpus 1"
	@echo "  fpstate run rounding nbody --policy defer-to-put --cpus 1 --slice 1000"
	@echo "  fpstate validate kneon.vhe"

test: .venv/stamp-dev
	$(BIN)/python -m pytest -n 2 -m "not long"

test-long: .venv/stamp-dev
	$(BIN)/python -m pytest -n 2 -m long

lint: .venv/stamp-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

damage: .venv/stamp-dev
	$(BIN)/python -m tests.damage

fuzz: .venv/stamp-dev
	$(BIN)/python -m tests.fuzz

mutants: .venv/stamp-mutants
	$(BIN)/python -m tests.mutants $(MUTANTS)

bench: .venv/stamp-bench
	@set -e; for script in benchmarks/bench_*.py; do \
		echo "== $$script $(BENCH_FLAGS)"; $(BIN)/python "$$script" $(BENCH_FLAGS); \
	done

docs: .venv/stamp-dev
	$(BIN)/python docs/shown.py
	$(BIN)/python docs/generate.py
	$(MAKE) site

site: .venv/stamp-dev
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/site
	@echo "build/site/index.html"

programs:
	src/fpstate/machine/programs/build.sh

# What runs in the emulated machine, and QEMU's plugin. Both are kept in the project: users need no compiler.
PAYLOAD := src/fpstate/lab/payload
ARM64_FLAGS := -O2 -Wall -Wextra -Werror -static -nostdlib -ffreestanding -fno-stack-protector -mgeneral-regs-only \
	-mno-outline-atomics -fno-pic -no-pie -Wl,--build-id=none -Wl,-z,noseparate-code -s
PLUGIN_FLAGS := -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -Wl,--build-id=none -s

payload:
	cd $(PAYLOAD) && aarch64-linux-gnu-gcc $(ARM64_FLAGS) -o payload-arm64 sys.c init.c tasks.c vmm.c
	cd $(PAYLOAD) && gcc $(PLUGIN_FLAGS) -o plugin-x86_64.so plugin.c
	cd $(PAYLOAD) && LC_ALL=C sha256sum *.[ch] > sources.sha256

clean:
	rm -rf .venv build dist docs/generated .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp builds on the one before, so that two of them never run pip at the same time.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit("fpstate needs Python 3.11 or newer; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/stamp-core: pyproject.toml | .venv/bin/pip
	$(PIP_INSTALL) -e '.[run]'
	@touch $@

.venv/stamp-dev: .venv/stamp-core
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@

.venv/stamp-bench: .venv/stamp-dev
	$(PIP_INSTALL) -e '.[dev,bench]'
	@touch $@

.venv/stamp-mutants: .venv/stamp-dev
	$(PIP_INSTALL) -e '.[dev,mutants]'
	@touch $@
