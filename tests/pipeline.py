"""What `make check`, `make test`, `make soak` and CI run.

    python -m tests.pipeline lint|check|test|soak [--only STAGE …]

What a stage prints is kept in `build/stages/`. Stages use two cores at once, or as many as the
variable JOBS says.

Where the variable CI is true, `test` has the documents and other versions of Python too, and a test
that was skipped is a failure.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests import audit
from tests.paths import CHECKOUT
from tests.services import environment
from tests.stages import Run, Stage, report

FOLDER = CHECKOUT / "build/stages"

PYTHON, BIN = sys.executable, Path(sys.executable).parent

CI = os.environ.get("CI") == "true"

CORES = int(os.environ.get("JOBS", "2"))

CI_MINUTES = 83.0
"""Minutes that all stages have in CI, which ends a run after 90. Then the end would not be said."""

AUDITED = Path(os.environ.get("AUDITED", sys.prefix))
"""The folder that keeps what is known of vulnerabilities, and of which day that is."""

ATTACKS = "tests.integration.test_attacks"

ON_GALERA = (
    "tests.storage.test_database",
    "tests.storage.test_migrations",
    "tests.storage.test_partitions",
    "tests.storage.scenarios.test_upgrade_0_1_0",
    "tests.storage.test_statements",
    "tests.board.messages.test_messages",
    "tests.integration.test_concurrency",
)
"""What every database has to pass, and is run on a node of Galera as well: one after the other, as
each makes tables, and all transactions of a cluster wait for that."""

OFTEN = (
    "BBS_TEST_ROUNDS=20 BBS_TEST_KILLS=50 BBS_TEST_OUTAGE=60 BBS_TEST_LAUNCHES=100"
    " BBS_TEST_STOPPED=30 BBS_TEST_CROWD_SERVERS=20 BBS_TEST_CONFORMANCE='1 2 3 4 5 6'"
    " BBS_TEST_TROUBLE=15 BBS_TEST_ADOPTED=1 BBS_TEST_SCRIPTS=200 BBS_TEST_MESSAGES=10000"
    " BBS_TEST_CONTESTS=100 BBS_TEST_VANISHING=1000 BBS_TEST_LOOKS=1 BBS_TEST_EDITABLE=1"
    " BBS_TEST_EXAMPLES=1000 BBS_TEST_STREAMS=10000 BBS_TEST_FRAMES=500000"
    " BBS_TEST_ILL=3600 BBS_TEST_COMMIT=33f46f38"
)
"""What tests do a few times, the soak does this often."""

SERVERS = ("services",)


def run_tests(names: Iterable[str], *options: str, jobs: int = CORES, runner: str = PYTHON) -> str:
    """The command that runs tests, and says in the stage's `$OUTCOME` what they showed."""
    words = (runner, "-m tests.run", f"--jobs {jobs}", '--outcome "$OUTCOME"', *options, *names)
    return " ".join(words)


LINT = (
    Stage("mypy", f"{BIN}/mypy"),
    Stage("mypy-tests", f"{BIN}/mypy --config-file tests/mypy.ini"),
    Stage("ruff", f"{BIN}/ruff check --quiet ."),
    Stage("format", f"{BIN}/ruff format --quiet --check ."),
    Stage("imports", f"{BIN}/lint-imports --no-logo"),
    Stage("typed-imports", f"{BIN}/lint-imports --no-logo --config .importlinter-typed"),
    Stage("bandit", f"{BIN}/bandit --quiet --configfile pyproject.toml --recursive bbs twisted"),
    Stage("audit", f"{PYTHON} tests/audit.py {AUDITED}"),
)

DOCS = Stage("docs", "make --no-print-directory docs")


def check(everything: bool, since: str | None) -> Sequence[Stage]:
    """What to run before every commit."""
    # With the servers of the tests, more is run than the budgets are for.
    budgets = () if environment().get("BBS_TEST_MYSQL_URL") else ("--budgets check",)
    chosen = ["--all"] if everything else ["--since", since] if since else []
    quick = Stage("quick", run_tests(quick_tests(*chosen), *budgets), CORES, minutes=30)
    return (*LINT, *([DOCS] if everything else []), quick)


def test() -> Sequence[Stage]:
    """Everything. In CI also the documents, and the fast tests on other versions of Python."""
    fast = run_tests(quick_tests("--all"), runner=f"{BIN}/coverage run")
    coverage = f"{BIN}/coverage combine --quiet && {BIN}/coverage report"
    on_galera = f"{PYTHON} -m tests.services.on_galera {run_tests(ON_GALERA, '--again', jobs=1)}"
    return (
        Stage("services", f"{PYTHON} tests/services/start"),
        *([DOCS] if CI else []),
        *LINT,
        Stage("fast", f"{BIN}/coverage erase && {fast}", CORES, after=SERVERS, minutes=30),
        Stage("coverage", coverage, after=["fast"]),
        # Attackers take what there is of the machine.
        Stage("attacks", run_tests([ATTACKS], "--again", jobs=1), CORES, SERVERS, minutes=20),
        # What these reach is not measured, as that halves the speed of servers.
        Stage("real", run_tests(real_tests(), "--again"), CORES, SERVERS, minutes=60),
        Stage("galera", on_galera, CORES, SERVERS, minutes=20),
        *(other_python(version) for version in ("3.12", "3.13") if CI and has_python(version)),
    )


def soak() -> Sequence[Stage]:
    """What takes longer than a test may, hours of it."""
    often = run_tests([*quick_tests("--all"), ATTACKS, *real_tests()], jobs=1)
    seconds = int(os.environ.get("SECONDS", "60"))
    seed = f"--seed {os.environ.get('SEED', '1')}"
    faults = os.environ.get("FAULTS", "500")
    commands = {
        "simulation": "lab.simulation --rounds 500",
        "breaks": "lab.simulation --breaks --rounds 200",
        "attacks": f"lab.attacks --seconds {seconds} {seed} --inputs 1000000",
        "attacks-self-test": f"lab.attacks --seconds 15 {seed} --self-test",
        "dearest": "lab.bench.dearest",
        "guided": f"lab.guided --seconds {10 * seconds}",
        "containers": "tests.integration.containers --build",
    }
    for database in ("sqlite", "mysql", "mysql-in-python", "galera"):
        command = f"lab.faults --database {database}"
        commands[f"migrations-{database}"] = f"{command} --migrations"
        commands[f"faults-{database}"] = f"{command} --faults {faults} {seed}"
    commands |= {"rolling": "lab.rolling", "restore": "lab.restore"}

    def hours_of(name: str, command: str) -> Stage:
        return Stage(name, command, CORES, SERVERS, minutes=24 * 60)

    return (
        Stage("services", f"{PYTHON} tests/services/start"),
        *(hours_of(name, f"{PYTHON} -m {command}") for name, command in commands.items()),
        hours_of("often", f"{OFTEN} {often}"),
    )


def other_python(version: str) -> Stage:
    """The fast tests on another version of Python, with an environment of its own."""
    venv = f"build/python{version}"
    quick = f"make --no-print-directory quick PYTHON=python{version} VENV={venv}"
    command = f"""{quick} ARGS='--outcome "$(OUTCOME)"'"""
    return Stage(f"python{version}", command, CORES, SERVERS, minutes=20)


def has_python(version: str) -> bool:
    """Whether there is another Python of this version, with what makes virtual environments."""
    if sys.version.startswith(f"{version}."):
        return False
    try:
        command = [f"python{version}", "-c", "import ensurepip, venv"]
        there = not subprocess.run(command, stderr=subprocess.DEVNULL).returncode
    except FileNotFoundError:
        there = False
    if not there:
        print(f"The fast tests are not run on Python {version}: it is not installed, with venv.")
    return there


def quick_tests(*options: str) -> list[str]:
    """The modules of tests that start no real servers, all of them or those that a change needs."""
    command = [PYTHON, "-m", "tests.touched", *options]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split()


def real_tests() -> list[str]:
    """The modules of tests that start real servers, but for the attacks."""
    paths = sorted(Path("tests/integration").rglob("test_*.py"))
    names = [".".join(path.with_suffix("").parts) for path in paths]
    return [name for name in names if name != ATTACKS]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pipeline")
    parser.add_argument("--all", action="store_true", help="check: all fast tests, and documents")
    parser.add_argument("--since", metavar="COMMIT", help="check: what changed since then")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="these stages alone")
    parser.add_argument("group", choices=["lint", "check", "test", "soak"])
    options = parser.parse_args()
    os.chdir(CHECKOUT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    groups = {
        "lint": lambda: LINT,
        "check": lambda: check(options.all, options.since),
        "test": test,
        "soak": soak,
    }
    chosen = [
        stage for stage in groups[options.group]() if not options.only or stage.name in options.only
    ]
    shutil.rmtree(FOLDER, ignore_errors=True)
    ended = Run(chosen, FOLDER, CORES, CI_MINUTES if CI else math.inf, skips=not CI).all()
    for line in report(ended):
        print(line)
    print(audit.say(AUDITED))
    outcomes = [end.outcome for end in ended]
    print(
        f"{sum(outcome.passed for outcome in outcomes)} passed,"
        f" {sum(len(outcome.failed) for outcome in outcomes)} failed,"
        f" {sum(outcome.skipped for outcome in outcomes)} skipped"
    )
    return int(any(end.failed for end in ended))


if __name__ == "__main__":
    sys.exit(main())
