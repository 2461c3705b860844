# make up ARGS="--port 2222"   install, and run the whole service in the foreground
# make up-ec2                   the same on a cloud of this machine's own: tests/cloud/README.md
# make test                    install and start what the tests need, and run them with all checks
# make bench                   measure; docs/ says how to read it
# make docs                    the documentation as a site, in build/docs; a warning is an error
# make news                    what the next release's news will say; ARGS=--yes writes it
# make clean                   end the tests' servers and remove everything that was made here

PYTHON = python3
VENV = .venv
BIN = $(VENV)/bin

.PHONY: up up-ec2 test bench docs news clean

up: $(VENV)/installed
	exec $(BIN)/bbs up $(ARGS)

up-ec2: $(VENV)/installed-for-tests
	exec $(BIN)/python -m tests.cloud --up -- $(ARGS)

test: $(VENV)/installed-for-tests
	$(PYTHON) tests/services/start
	$(BIN)/coverage erase
	set -a; . .services/env; set +a; $(BIN)/coverage run -m twisted.trial tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/installed-for-tests
	$(PYTHON) tests/services/start
	set -a; . .services/env; set +a; $(BIN)/python -m tests.bench $(ARGS)

docs: $(VENV)/installed-for-docs
	$(BIN)/sphinx-build --fail-on-warning --fresh-env --keep-going --nitpicky --quiet docs build/docs

news: $(VENV)/installed-for-docs
	$(BIN)/towncrier build $(or $(ARGS),--draft)

clean:
	$(PYTHON) tests/services/stop
	rm -rf $(VENV) .services .coverage* _trial_temp* .mypy_cache .ruff_cache .hypothesis build *.egg-info

# Made again only when what is to be installed changed.
$(VENV)/installed: setup.cfg pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-for-tests: setup.cfg pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .[test,tls]
	touch $@ $(VENV)/installed

$(VENV)/installed-for-docs: setup.cfg pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .[docs]
	touch $@ $(VENV)/installed

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)
