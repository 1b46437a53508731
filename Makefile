PYTHON ?= python3
VENV ?= .venv
INSTALLED := $(VENV)/.installed
WORKERS ?= -n logical --maxprocesses 8

.PHONY: demo test test-fast site constraints clean

demo: $(INSTALLED)  ## the quick grid: attacked and repaired counters on drawn scenes, as tables
	$(VENV)/bin/crowdbench run quick

test: $(INSTALLED)  ## the whole test suite, on a worker with one thread for each core, and 8 at most
	$(VENV)/bin/python -m pytest $(WORKERS)

test-fast: $(INSTALLED)  ## the suite without the slow tests
	$(VENV)/bin/python -m pytest $(WORKERS) -m "not slow"

site: $(INSTALLED)  ## the documentation as a site, in the folder site; fails if a link leads nowhere
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

constraints:  ## pin what a fresh environment resolves to today
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet '.[test]'
	$(VENV)/bin/python -m pip freeze --exclude crowdbackdoorbench --exclude-editable > constraints.txt
	touch $(INSTALLED)

clean:  ## remove the environment; results in runs/ stay
	rm -rf $(VENV) build *.egg-info
