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

# Tests in tests/integration/ start real servers; all others are fast.
FAST = $$($(BIN)/python -m tests.touched --all)
TOUCHED = $$($(BIN)/python -m tests.touched $(if $(SINCE),--since $(SINCE)))
JOBS = 2
# With the servers of the tests, more is run than the budgets are for.
BUDGETS = $(if $(BBS_TEST_MYSQL_URL)$(wildcard .services/env),,--budgets check)
# They mostly wait for servers that start, so they run side by side; attackers take what there is of
# the machine, and run alone. What they reach is not measured, as that halves the speed of servers.
REAL = $(filter-out $(ATTACKS),$(sort $(subst /,.,$(patsubst %.py,%,$(shell find \
	tests/integration -name 'test_*.py')))))
ATTACKS = tests.integration.test_attacks

# The folder that keeps what is known of vulnerabilities, and of which day that is.
AUDITED ?= $(VENV)

# What every database has to pass, and is run on a node of Galera as well: one after the other, as
# each makes tables, and all transactions of a cluster wait for that.
ON_GALERA = tests.storage.test_database tests.storage.test_migrations tests.storage.test_partitions \
	tests.storage.scenarios.test_upgrade_0_1_0 tests.storage.test_statements \
	tests.board.messages.test_messages tests.integration.test_concurrency

# Of `make soak`: how many faults on each database, from which seed, and for how long at most.
FAULTS = 500
SEED = 1
SECONDS = 60

# What tests do a few times, `make soak` does this often.
OFTEN = BBS_TEST_ROUNDS=20 BBS_TEST_KILLS=50 BBS_TEST_OUTAGE=60 BBS_TEST_LAUNCHES=100 \
	BBS_TEST_STOPPED=30 BBS_TEST_CROWD_SERVERS=20 BBS_TEST_CONFORMANCE="1 2 3 4 5 6" \
	BBS_TEST_TROUBLE=15 BBS_TEST_ADOPTED=1 BBS_TEST_SCRIPTS=200 BBS_TEST_MESSAGES=10000 \
	BBS_TEST_CONTESTS=100 BBS_TEST_VANISHING=1000 BBS_TEST_LOOKS=1 BBS_TEST_EDITABLE=1 \
	BBS_TEST_EXAMPLES=1000 BBS_TEST_STREAMS=10000 BBS_TEST_FRAMES=500000 \
	BBS_TEST_ILL=3600 BBS_TEST_COMMIT=33f46f38

.PHONY: up up-ec2 check quick lint ruff mypy mypy-tests imports bandit audit test soak bench docs news clean

up: $(VENV)/installed
	exec $(BIN)/bbs up $(ARGS)

up-ec2: $(VENV)/installed-for-tests
	exec $(BIN)/python -m tests.cloud --up -- $(ARGS)

lint: ruff mypy mypy-tests imports bandit audit

ruff mypy mypy-tests imports bandit audit: $(VENV)/installed-for-tests

ruff:
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .

mypy:
	$(BIN)/mypy

mypy-tests:
	$(BIN)/mypy --config-file tests/mypy.ini

imports:
	$(BIN)/lint-imports --no-logo
	$(BIN)/lint-imports --no-logo --config .importlinter-typed

bandit:
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive bbs twisted

audit:
	$(BIN)/python tests/audit.py $(AUDITED)

check:
	$(MAKE) --no-print-directory --jobs $(JOBS) --output-sync lint $(if $(ALL),docs)
	$(BIN)/python -m tests.run --jobs $(JOBS) $(BUDGETS) $(if $(ALL),$(FAST),$(TOUCHED))
	@$(BIN)/python tests/audit.py --say $(AUDITED)

# The fast tests alone, as .ci/run has them on each other version of Python that is installed.
quick: $(VENV)/installed-for-tests
	$(BIN)/python -m tests.run --jobs $(JOBS) $(FAST)

test:
	$(MAKE) --no-print-directory --jobs $(JOBS) --output-sync lint
	$(PYTHON) tests/services/start
	$(BIN)/coverage erase
	set -a; . .services/env; set +a; $(BIN)/coverage run -m tests.run --jobs $(JOBS) $(FAST)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	set -a; . .services/env; set +a; $(BIN)/python -m twisted.trial $(ATTACKS)
	set -a; . .services/env; set +a; $(BIN)/python -m tests.run --jobs $(JOBS) $(REAL)
	$(BIN)/python -m tests.services.on_galera --jobs 1 $(ON_GALERA)

soak: $(VENV)/installed-for-fuzzing
	$(PYTHON) tests/services/start
	$(BIN)/python -m lab.simulation --rounds 500
	$(BIN)/python -m lab.simulation --breaks --rounds 200
	$(BIN)/python -m lab.attacks --seconds $(SECONDS) --seed $(SEED) --inputs 1000000
	$(BIN)/python -m lab.attacks --seconds 15 --seed $(SEED) --self-test
	$(BIN)/python -m lab.bench.dearest
	$(BIN)/python -m lab.guided --seconds $$(( 10 * $(SECONDS) ))
	$(BIN)/python -m tests.integration.containers --build
	for database in sqlite mysql mysql-in-python galera; do \
		$(BIN)/python -m lab.faults --database $$database --migrations && \
		$(BIN)/python -m lab.faults --database $$database --faults $(FAULTS) --seed $(SEED) \
			|| exit 1; \
	done
	set -a; . .services/env; set +a; $(BIN)/python -m lab.rolling
	set -a; . .services/env; set +a; $(BIN)/python -m lab.restore
	set -a; . .services/env; set +a; $(OFTEN) $(BIN)/python -m tests.run --jobs 1 $(FAST) $(REAL)

bench: $(VENV)/installed-for-tests
	$(PYTHON) tests/services/start
	set -a; . .services/env; set +a; $(BIN)/python -m lab.bench $(ARGS)

docs: $(VENV)/installed-for-docs
	$(BIN)/sphinx-build --fail-on-warning --fresh-env --keep-going --nitpicky --quiet docs build/docs

news: $(VENV)/installed-for-docs
	$(BIN)/towncrier build $(or $(ARGS),--draft)

clean:
	$(PYTHON) tests/services/stop --forget
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
