# `make help` lists what there is to do, and when.

PYTHON ?= python3
BIN := .venv/bin
# One environment, filled in two steps: what builds the book, then what runs and tests it.
BOOK := .venv/.book
READY := .venv/.ready
# Only the modules that are used are compiled, by those who use them: compiling all takes longer than the rest.
# Containers often set a variable that keeps Python from it; then every process would compile torch anew.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE

# Pins alone decide what is installed: a constraints file that a machine sets
# for all its pip runs would overrule them. Any other in its place keeps it out.
export PIP_CONSTRAINT := requirements-book.txt

.DEFAULT_GOAL := help
.PHONY: help check book test older coverage chapter chapters colab benchmark gpu clean

# From the command line only: some systems set a variable of this name to their own.
NAME :=
ifeq ($(NAME)$(filter-out $(MAKECMDGOALS),chapter),)
    $(error chapter: NAME is missing, the beginning of a chapter's name, as in `make chapter NAME=02`)
endif

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

# The matrices of tests and chapters are small: threads would mostly wait for
# each other, and for whatever else the machine does.
check test coverage chapter chapters colab: export OMP_NUM_THREADS = 1
check test coverage chapter chapters colab: export OPENBLAS_NUM_THREADS = 1

# One process a core. A file stays in one process: a chapter has one kernel, and
# files have fixtures that take long. tests/order.py says which begin. A process
# that ends in a test, or hangs until its time is up, would do the same again.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart=0 --ignore=tests/benchmarks

check: $(READY)  ## at every save: style, types, floors, the metric and its rivals, in two minutes
	$(PYTEST) tests/house/test_code.py tests/house/test_floors.py tests/metric tests/rivals

# Built from nothing each time: a second, incremental build would pass over
# the warnings of the first one, and keep pages that are no longer in the book.
book: $(BOOK)  ## to read it, or after text: build the book into _build/html, warnings as errors
	rm -rf _build
	$(BIN)/jupyter-book build . -n -W --keep-going
	@touch _build/.whole

# The tests of the pages build the book, while others run.
test: $(READY)  ## before a commit: build the book, run every test and every chapter
	rm -f _build/.whole
	$(PYTEST) --nbval --nbval-current-env --nbval-cell-timeout=120 \
	    --nbval-sanitize-with=tests/nbval_sanitize.cfg tests book
	@echo "All tests passed. The book is _build/html/index.html"

# Tests and chapters that pass on one processor only compare more digits than they have.
older: export OPENBLAS_CORETYPE = Nehalem
older: export NPY_DISABLE_CPU_FEATURES = X86_V3 X86_V4 AVX512_ICL AVX512_SPR
older: export ATEN_CPU_CAPABILITY = default
older: test  ## after numerical work: the same as an older processor would (x86)

coverage: $(READY)  ## to see which lines of the module no test runs
	$(PYTEST) --ignore=tests/house/test_pages.py --cov --cov-report=term-missing:skip-covered tests

chapter: $(READY)  ## after its text or code: run one chapter again, as in make chapter NAME=02
	$(BIN)/python book/notebooks.py $(NAME)

chapters: $(READY)  ## after the module's numbers: run all of them again
	$(BIN)/python book/notebooks.py

ENV = newest
colab:  ## after a chapter's imports: run them as Colab does (ENV=oldest: oldest releases, NAME=02: only that one)
	$(PYTHON) tests/colab/run.py $(ENV) $(NAME)

benchmark: $(READY)  ## after work on speed: measure it, and compare with what is stored
	$(BIN)/python -m pytest tests/benchmarks

DEVICE = cuda
gpu: $(READY)  ## where there is a GPU: all that needs one, in ten minutes, to data/gpu (DEVICE=cpu: try the script)
	$(BIN)/python tests/benchmarks/gpu.py --device $(DEVICE)

clean:  ## remove the built book and the virtual environments
	rm -rf _build .venv .colab

$(BOOK): requirements-book.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) -r requirements-book.txt
	@touch $@

# The last line compiles torch once, not in every process at the same time, and fills matplotlib's
# font cache: built inside a chapter, it would be announced on stderr, where a chapter may not write.
$(READY): $(BOOK) requirements.txt pyproject.toml
	$(INSTALL) -r requirements.txt
	$(INSTALL) --no-deps --editable .
	$(BIN)/python -c "import matplotlib.font_manager, torchvision"
	@touch $@
