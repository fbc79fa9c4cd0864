PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOP := bidsapp workflows interfaces models training
SOURCES := $(TOP) tests benchmarks container docs setup.py hubconf.py
DEMO ?= demo
DEMO_FLAGS ?=
IMAGE ?= image

.DEFAULT_GOAL := help
.PHONY: help venv demo demo-fetal check test check-tests test-tests lint types format docs image-check image-lock apptainer.def clean

help:
	@echo "make demo    participant and group on two participants made from the ICBM152 template"
	@echo "make demo-fetal   one fetal brain, an atlas of 25 weeks"
	@echo "make check   lint, types and the quick tests"
	@echo "make test    lint, types and all tests"
	@echo "make lint    ruff, formatting and import contracts"
	@echo "make types   mypy"
	@echo "make format  mend what ruff can mend"
	@echo "make docs    the documentation, in docs/_build/html"
	@echo "make image-check    build the image without Docker and run participants in it (root, debootstrap, bubblewrap)"
	@echo "make image-lock     write the versions of all packages of the image"
	@echo "make apptainer.def  write Apptainer's definition file from the Dockerfile"
	@echo "make clean   remove what the above made, .venv included"

venv: $(STAMP)

$(STAMP): setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing into $(VENV), 2 to 3 GB, most of it PyTorch: some minutes, without further messages ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test,dev,docs,train,smriprep]'
	@touch $@

$(DEMO)/bids/dataset_description.json: bidsapp/demo.py | $(STAMP)
	$(BIN)/python -m brainseg.bidsapp.demo $(DEMO)/bids

$(DEMO)/fetal/dataset_description.json: bidsapp/demo_fetal.py | $(STAMP)
	$(BIN)/python -m brainseg.bidsapp.demo --fetal $(DEMO)/fetal

demo-fetal: $(STAMP) $(DEMO)/fetal/dataset_description.json
	$(BIN)/brainseg-bids $(DEMO)/fetal $(DEMO)/fetal-derivatives participant $(DEMO_FLAGS)
	@echo
	@echo "The report, to open in a browser:"
	@find "$(CURDIR)/$(DEMO)/fetal-derivatives" -maxdepth 1 -name '*.html' | sort | sed 's/^/  /'

demo: $(STAMP) $(DEMO)/bids/dataset_description.json
	$(BIN)/brainseg-bids $(DEMO)/bids $(DEMO)/derivatives participant group $(DEMO_FLAGS)
	@echo
	@echo "Reports, to open in a browser:"
	@find "$(CURDIR)/$(DEMO)/derivatives" -maxdepth 1 -name '*.html' | sort | sed 's/^/  /'

# Two processes share the files of the tests; each has one thread, so that they do not fight for the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)

# Lint and types run beside the tests, and say what they found when they are done.
check test: $(STAMP)
	@$(MAKE) --no-print-directory -j3 lint types $@-tests

check-tests: $(STAMP)
	$(PYTEST) -m "not slow and not browser"

test-tests: $(STAMP)
	$(PYTEST)

lint: $(STAMP)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/lint-imports

types: $(STAMP) .types/brainseg
	MYPYPATH=.types $(BIN)/mypy --namespace-packages --explicit-package-bases -p brainseg

format: $(STAMP)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

# The steps of the Dockerfile in a bare Debian root, and two participants there under the conditions of a cluster.
image-check:
	$(PYTHON) container/image.py check $(IMAGE)/root

image-lock:
	$(PYTHON) container/image.py lock $(IMAGE)/root

apptainer.def:
	$(PYTHON) container/image.py apptainer

# mypy cannot follow the mapping of folders to brainseg.*; these links show it the installed layout.
.types/brainseg:
	mkdir -p $@
	for top in $(TOP); do ln -sfn ../../$$top $@/$$top; done

clean:
	rm -rf $(IMAGE) $(VENV) .types docs/_build docs/generated $(DEMO)/bids $(DEMO)/derivatives $(DEMO)/work .hypothesis build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	find $(TOP) tests -name __pycache__ -type d -prune -exec rm -rf {} +
