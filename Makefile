PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KERNELS := src/refrain/nn/kernels/cpp/*.cpp src/refrain/nn/kernels/cpp/*.h
# the tests that compare kernels with their references
KERNEL_TESTS := tests/laws/test_kernels.py tests/laws/test_stepper.py tests/laws/test_integer.py tests/laws/test_heads.py \
	tests/laws/test_backends.py tests/laws/test_joint_steps.py tests/laws/test_many_streams.py tests/generation/test_draws.py \
	tests/nn/test_kernel_arguments.py tests/nn/test_prepared.py tests/nn/test_weight_mask.py tests/optim/test_native_update.py
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help quickstart models wheel test levels emulated reliability mutations setup check format docs clean

help:  ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "refrain needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[test]'
	@touch $@

$(VENV)/.complete: $(VENV)/.installed
	$(INSTALL) --editable '.[dev]'
	@touch $@

quickstart: $(VENV)/.installed  ## train, evaluate and sample a small model (about three minutes)
	$(BIN)/refrain train quickstart --out runs/quickstart --force
	$(BIN)/refrain evaluate runs/quickstart
	$(BIN)/refrain generate runs/quickstart --prompt "a function" --tokens 60 --top-p 0.9 --no-unk --seed 1
	@echo
	@echo "More text:        $(BIN)/refrain generate runs/quickstart --prompt 'the object' --tokens 100"
	@echo "Your own text:    $(BIN)/refrain train quickstart --data PATH/TO/text.txt --out runs/mine"
	@echo "What else:        $(BIN)/refrain recipes   and the tour in docs/tour.md"

models: $(VENV)/.installed  ## make the models that come with the package (about an hour of one core)
	OMP_NUM_THREADS=1 $(BIN)/python models/build.py $(ONLY)

wheel: $(VENV)/.installed  ## build wheels in dist/, with kernels for x86-64 and, with a cross compiler, aarch64
	$(BIN)/python wheels/build.py $(ONLY)

test: $(VENV)/.installed  ## run the whole test suite
	$(BIN)/python -m pytest -n 2 --dist worksteal

reliability: $(VENV)/.installed  ## run the reliability tests at their full number of trials (hours)
	$(BIN)/python -m pytest -n 2 --reliability -o faulthandler_timeout=15000 tests/reliability $(ONLY)

levels: $(VENV)/.installed  ## test the kernels at every instruction level of this processor (some minutes)
	@for level in $$($(BIN)/python -c 'from refrain.nn.kernels.levels import available; print(*(level.name for level in available()))'); do \
		echo "REFRAIN_NATIVE=$$level" && REFRAIN_NATIVE=$$level $(BIN)/python -m pytest -n 2 $(KERNEL_TESTS) || exit 1; done

emulated: $(VENV)/.installed  ## test the kernels for aarch64 under qemu-aarch64, with aarch64-linux-gnu-g++
	$(BIN)/python -m pytest -n 2 --emulate neon $(KERNEL_TESTS)
	$(BIN)/python -m pytest -n 2 --emulate neon_bf16 $(KERNEL_TESTS)

mutations: $(VENV)/.installed  ## make mistakes in a copy, and see that the tests notice each (some minutes)
	$(BIN)/python tests/mutations/mutate.py $(ONLY)

setup: $(VENV)/.complete  ## make .venv with every extra but harness

check: $(VENV)/.complete  ## format, lint, types, tests
	$(BIN)/ruff format --check src tests docs/sphinx models wheels
	$(BIN)/ruff check src tests docs/sphinx models wheels
	$(BIN)/clang-format --dry-run --Werror $(KERNELS)
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal

format: $(VENV)/.complete  ## put every file into its format
	$(BIN)/ruff format src tests docs/sphinx models wheels
	$(BIN)/ruff check --fix src tests docs/sphinx models wheels
	$(BIN)/clang-format -i $(KERNELS)

docs: $(VENV)/.complete  ## build the site of all pages and the API reference in site/
	$(BIN)/python -m sphinx -q -W --keep-going -b html -c docs/sphinx . site
	$(BIN)/python -m pytest -n 0 tests/docs/test_site.py
	@echo "The site is built: open site/index.html in a browser."

clean:  ## remove the environment and caches, keep runs
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist site docs/api src/*.egg-info
