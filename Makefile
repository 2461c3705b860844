# make up ARGS="--port 2222"   install, and run the whole service in the foreground
# make up-ec2                   the same on a cloud of this machine's own: tests/cloud/README.md
# make check                   what to run before every commit: style, types, arrows, what is known
#                              to be dangerous, and the fast tests of what changed since the last one
#                              (or since SINCE=COMMIT); ALL=1: all of them, and the documentation
# make test                    install and start what the tests need, and run them all, with all checks
# make soak                    what takes longer than a test may, hours of it: each attack lasts SECONDS
#                              (60), each database is put through FAULTS (500), drawn by SEED, and the
#                              tests do often what they otherwise do a few times
# make bench                   measure, and write docs/benchmarks.md, which says how to read it
# make docs                    the documentation as a site, in build/docs; a warning is an error
# make news                    what the next release's news will say; ARGS=--yes writes it
# make clean                   end the tests' servers and remove everything that was made here

PYTHON = python3
VENV = .venv
BIN = $(VENV)/bin

PIPELINE = $(BIN)/python -m tests.pipeline

.PHONY: up up-ec2 lint check quick test soak bench docs news clean

up: $(VENV)/installed
	exec $(BIN)/bbs up $(ARGS)

up-ec2: $(VENV)/installed-for-tests
	exec $(BIN)/python -m tests.cloud --up -- $(ARGS)

lint: $(VENV)/installed-for-tests
	$(PIPELINE) lint

check: $(VENV)/installed-for-tests $(if $(ALL),$(VENV)/installed-for-docs)
	$(PIPELINE) check $(if $(ALL),--all,$(if $(SINCE),--since $(SINCE)))

# The fast tests alone, as CI has them on each other version of Python that is installed.
quick: $(VENV)/installed-for-tests
	$(BIN)/python -m tests.run $(ARGS) $$($(BIN)/python -m tests.touched --all)

# Before it begins, all is installed that its stages use side by side.
test: $(VENV)/installed-for-tests $(if $(CI),$(VENV)/installed-for-docs)
	$(PIPELINE) test

soak: $(VENV)/installed-for-fuzzing
	$(PIPELINE) soak

bench: $(VENV)/installed-for-tests
	$(BIN)/python tests/services/start
	set -a; . .services/env; set +a; $(BIN)/python -m lab.bench $(ARGS)

docs: $(VENV)/installed-for-docs
	$(BIN)/sphinx-build --fail-on-warning --fresh-env --keep-going --nitpicky --quiet docs build/docs

news: $(VENV)/installed-for-docs
	$(BIN)/towncrier build $(or $(ARGS),--draft)

clean:
	[ ! -x $(BIN)/python ] || $(BIN)/python tests/services/stop --forget
	rm -rf $(VENV) .coverage* _trial_temp* .mypy_cache .ruff_cache .hypothesis build *.egg-info

# Up to 0.3.0 the distribution was called bbs, with the same files, which it would remove later.
INSTALL = rm -rf bbs.egg-info && $(BIN)/pip uninstall -qq --yes bbs && \
	$(BIN)/pip install --quiet --disable-pip-version-check --editable

# Made again only when what is to be installed changed.
$(VENV)/installed: setup.cfg pyproject.toml | $(BIN)/pip
	$(INSTALL) .
	touch $@

$(VENV)/installed-for-tests: setup.cfg pyproject.toml | $(BIN)/pip
	$(INSTALL) .[test,tls,fast-mysql,tracing]
	touch $@ $(VENV)/installed

$(VENV)/installed-for-fuzzing: setup.cfg pyproject.toml $(VENV)/installed-for-tests
	$(INSTALL) .[fuzz]
	touch $@ $(VENV)/installed $(VENV)/installed-for-tests

$(VENV)/installed-for-docs: setup.cfg pyproject.toml | $(BIN)/pip
	$(INSTALL) .[docs]
	touch $@ $(VENV)/installed

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)
