"""Run tests as `trial --jobs` does, and then say which cost most.

    python -m tests.run [--jobs N] [--budgets KIND [--longest-first] [--write]] [--again]
        [--outcome FILE] NAME …

Each NAME is what trial takes: a package, a module, a class or a method. With `--budgets` the run
fails if the tests of a room take more processor time than `budgets.toml` allows for this KIND of
runs. With `--longest-first` the rooms that took longest by the clock begin first. With `--again` a
test that fails is run once more, alone, and is FLAKY if it passes then. `--outcome` writes what the
tests showed as JSON.

A test of real servers can fail because the machine had much else to do, so it gets that second
chance. A class of tests whose failures no load explains says `deterministic = True`, and gets none.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twisted.trial._dist.distreporter import DistReporter
from twisted.trial._dist.disttrial import DistTrialRunner
from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader

from tests import processor_time
from tests.outcome import Outcome

DEAREST = 30
"""Tests whose costs are printed at the end."""

MOST_AGAIN = 10
"""Failed tests that are run again. Where more fail, something is broken, and no chance."""

PATIENCE = 900.0
"""Seconds that a test has when it is run again."""

LOGGED = 20_000
"""Characters of the end of a log that are shown. The longest test logs about as much."""


class TimedReporter(DistReporter):
    """Tells trial's reporter what happens in the workers, and keeps each test's seconds."""

    def __init__(self, original: Any) -> None:
        super().__init__(original)
        self._started: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    def startTest(self, test: Any) -> None:
        self._started[test.id()] = time.monotonic()
        super().startTest(test)

    def stopTest(self, test: Any) -> None:
        self.seconds[test.id()] = time.monotonic() - self._started.pop(test.id())
        super().stopTest(test)


class Shares:
    """Gives each worker whole modules: what the tests of a module share is made once then.

    A worker for whom no module is left takes the last tests of a module that is not through.

    :param seconds: what rooms take; the longest begin first, others in their order.
    """

    def __init__(self, tests: Iterable[Any], seconds: Mapping[str, float]) -> None:
        modules: dict[str, deque[Any]] = {}
        for test in tests:
            modules.setdefault(type(test).__module__, deque()).append(test)
        self._waiting = sorted(
            modules.values(),
            key=lambda tests: seconds.get(processor_time.room_of(tests[0].id()), 0.0),
            reverse=True,
        )
        self._begun: list[deque[Any]] = []

    def of_worker(self) -> Iterator[Any]:
        """The tests of one worker, which asks for the next when one has ended."""
        while self._waiting:
            own = self._waiting.pop(0)
            self._begun.append(own)
            while own:
                yield own.popleft()
        while left := max(self._begun, key=len, default=None):
            yield left.pop()


class TimedRunner(DistTrialRunner):
    """Trial's runner with worker processes, which keeps the tests' seconds by the clock.

    :ivar expected: seconds that rooms take by the clock; the longest begin first.
    """

    _distReporterFactory = TimedReporter
    expected: Mapping[str, float] = {}
    seconds: Mapping[str, float] = {}
    _shares: Shares | None = None

    async def _driveWorker(self, result: Any, testCases: Iterable[Any], worker: Any) -> None:
        if self._shares is None:
            self._shares = Shares(testCases, self.expected)
        await super()._driveWorker(result, self._shares.of_worker(), worker)

    def writeResults(self, result: TimedReporter) -> None:
        self.seconds = result.seconds
        super().writeResults(result)


class Failures:
    """The tests that failed in a run, and what each of them said."""

    def __init__(self, result: Any) -> None:
        """:param result: what trial's runner returns."""
        self._tests: dict[str, Any] = {}
        self.said: dict[str, str] = {}
        for test, failure in (*result.failures, *result.errors):
            self._add(test, failure.getTraceback(elideFrameworkCode=True))
        for test, todo in result.unexpectedSuccesses:
            self._add(test, f"It passed, and is marked as one that fails: {todo.reason}\n")

    def _add(self, test: Any, text: str) -> None:
        self._tests[test.id()] = test
        self.said[test.id()] = self.said.get(test.id(), "") + text

    def repeatable(self) -> list[str]:
        """Those that can have failed by chance."""
        names = [
            name for name, test in self._tests.items() if not getattr(test, "deterministic", False)
        ]
        return names if len(names) <= MOST_AGAIN else []


def run_again(names: Iterable[str]) -> Iterator[tuple[str, bool, str]]:
    """Run each test once more, alone. Yields its name, whether it passed, and both runs' logs."""
    for name in names:
        print(f"\nOnce more, alone: {name}", flush=True)
        folder = Path("build", "again", name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        first = logged(name, Path().glob("_trial_temp*/test.log"))
        trial = [sys.executable, "-m", "twisted.trial", "--temp-directory", f"{folder}/trial"]
        with (folder / "said").open("w") as said:
            try:
                subprocess.run([*trial, name], stdout=said, stderr=said, timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                said.write(f"It did not end within {PATIENCE:.0f} s.")
        second = (folder / "said").read_text()
        print(second)
        yield (
            name,
            "\nPASSED (successes=" in second,  # Not skipped, which is no failure either.
            f"-- Logged in the first run:\n{first}"
            f"-- Said in the second run, alone:\n{second[-LOGGED:]}"
            f"-- Logged in it:\n{logged(name, [folder / 'trial/test.log'])}",
        )


def logged(name: str, logs: Iterable[Path]) -> str:
    """What the newest of trial's logs has of a test, and of others that ran beside it."""
    for log in sorted(logs, key=lambda log: -log.stat().st_mtime):
        _, marker, text = log.read_text(errors="replace").rpartition(f"--> {name} <--")
        if marker:
            return f"{marker}{text[:LOGGED]}\n"
    return "nothing\n"


def report(
    costs: Mapping[str, float], seconds: Mapping[str, float], budgets: Mapping[str, float]
) -> None:
    """Print what rooms and the dearest tests cost."""
    rooms = processor_time.by_room(costs)
    print("\nProcessor seconds of each room, and its budget:")
    for room in sorted(rooms, key=lambda room: -rooms[room]):
        budget = f"{budgets[room]:8.1f}" if room in budgets else 8 * " "
        print(f"{rooms[room]:8.2f} {budget}  {room}")
    print(f"\nThe {DEAREST} dearest tests, in processor seconds, and in seconds by the clock:")
    for test in sorted(costs, key=lambda test: -costs[test])[:DEAREST]:
        print(f"{costs[test]:8.2f} {seconds.get(test, 0.0):8.2f}  {test}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.run")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes (2)")
    parser.add_argument("--budgets", metavar="KIND", help="fail beyond the budgets of these runs")
    parser.add_argument(
        "--longest-first", action="store_true", help="begin with what takes longest"
    )
    parser.add_argument("--write", action="store_true", help="write the budgets instead")
    parser.add_argument("--again", action="store_true", help="run what fails once more, alone")
    parser.add_argument("--outcome", type=Path, metavar="FILE", help="write what the tests showed")
    parser.add_argument("names", nargs="+", metavar="NAME")
    options = parser.parse_args()
    runner = TimedRunner(TreeReporter, options.jobs, [])
    clock = f"{options.budgets}-clock" if options.longest_first else ""
    runner.expected = processor_time.budgets(clock)
    with processor_time.measured() as costs_by_test:
        result: Any = runner.run(TestLoader().loadByNames(options.names, recurse=True))
        costs = costs_by_test()
    budgets = processor_time.budgets(options.budgets or "")
    report(costs, runner.seconds, budgets)
    too_dear: list[str] = []
    if options.write:
        processor_time.write(options.budgets, costs)
        if clock:
            processor_time.write(clock, runner.seconds)
    elif options.budgets:
        too_dear = [*processor_time.over(costs, budgets)]
    for line in too_dear:
        print(f"\n{line}")
    failures = Failures(result)
    failed, flaky = dict(failures.said), {}
    for name, passed, logs in run_again(failures.repeatable() if options.again else ()):
        text = f"{failed.pop(name)}{logs}"
        if passed:
            flaky[name] = text
            print(f"FLAKY: {name} failed, and passed when it was run again.")
        else:
            failed[name] = text
    if options.outcome:
        passed_tests = result.successes + len(result.expectedFailures) + len(flaky)
        outcome = Outcome(passed_tests, len(result.skips), failed, flaky, too_dear)
        outcome.write(options.outcome)
    return int(bool(too_dear or failed))


if __name__ == "__main__":
    sys.exit(main())
