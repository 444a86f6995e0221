# `make help` lists what there is to do.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# The pins in requirements.txt alone decide what is installed: a constraints
# file that a machine sets for all its pip runs would overrule them.
export PIP_CONSTRAINT := requirements.txt

.DEFAULT_GOAL := help
.PHONY: help book test coverage chapter chapters colab benchmark clean

# From the command line only: some systems set a variable of this name to their own.
NAME :=
ifeq ($(NAME)$(filter-out $(MAKECMDGOALS),chapter),)
    $(error chapter: NAME is missing, the beginning of a chapter's name, as in `make chapter NAME=02`)
endif

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

# Built from nothing each time: a second, incremental build would pass over
# the warnings of the first one, and keep pages that are no longer in the book.
book: $(READY)  ## build the book into _build/html, warnings as errors
	rm -rf _build
	$(BIN)/jupyter-book build . -n -W --keep-going

# The matrices of tests and chapters are small: threads would mostly wait for
# each other, and for whatever else the machine does.
test coverage chapter chapters colab: export OMP_NUM_THREADS = 1
test coverage chapter chapters colab: export OPENBLAS_NUM_THREADS = 1

# One process a core. A file stays in one process: a chapter has one kernel, and
# files have fixtures that take long. tests/order.py says which begin. A process
# that ends in a test, or hangs until its time is up, would do the same again.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart=0 --ignore=tests/benchmarks

test: book  ## build the book, then run every test and every chapter
	$(BIN)/python -m pytest $(PARALLEL) \
	    --nbval --nbval-current-env --nbval-cell-timeout=120 \
	    --nbval-sanitize-with=tests/nbval_sanitize.cfg tests book
	@echo "All tests passed. The book is _build/html/index.html"

coverage: $(READY)  ## which lines of the module no test runs
	$(BIN)/python -m pytest $(PARALLEL) --ignore=tests/house/test_pages.py \
	    --cov --cov-report=term-missing:skip-covered tests

chapter: $(READY)  ## rerun one chapter from its text: make chapter NAME=02
	$(BIN)/python book/notebooks.py $(NAME)

chapters: $(READY)  ## rerun all of them
	$(BIN)/python book/notebooks.py

ENV = newest
colab:  ## run the chapters as Colab does (ENV=oldest: oldest releases, NAME=02: only that one)
	$(PYTHON) tests/colab/run.py $(ENV) $(NAME)

benchmark: $(READY)  ## measure the speed of the module
	$(BIN)/python -m pytest tests/benchmarks

clean:  ## remove the built book and the virtual environments
	rm -rf _build .venv .colab

# The last line fills matplotlib's font cache: built inside a chapter, it would
# be announced on stderr, where a chapter may not write.
$(READY): requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	$(BIN)/python -c "import matplotlib.font_manager"
	@touch $@
