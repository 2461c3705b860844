"""Run tests as `trial --jobs` does, and then say which took longest.

    python -m tests.run [--jobs N] NAME …

Each NAME is what trial takes: a package, a module, a class or a method.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from twisted.trial._dist.distreporter import DistReporter
from twisted.trial._dist.disttrial import DistTrialRunner
from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader

SLOWEST = 30
"""Tests whose times are printed at the end."""


class TimedReporter(DistReporter):
    """Tells trial's reporter what happens in the workers, and keeps each test's seconds."""

    def __init__(self, original: Any) -> None:
        super().__init__(original)
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    def startTest(self, test: Any) -> None:
        self._started[test.id()] = time.monotonic()
        super().startTest(test)

    def stopTest(self, test: Any) -> None:
        self._seconds[test.id()] = time.monotonic() - self._started.pop(test.id())
        super().stopTest(test)

    def slowest(self) -> list[tuple[str, float]]:
        """The names and seconds of the tests that took longest."""
        return sorted(self._seconds.items(), key=lambda each: -each[1])[:SLOWEST]


class TimedRunner(DistTrialRunner):
    """Trial's runner with worker processes, which prints the slowest tests too."""

    _distReporterFactory = TimedReporter

    def writeResults(self, result: TimedReporter) -> None:
        self.stream.write(f"\nThe {SLOWEST} slowest tests, in seconds:\n")
        for name, seconds in result.slowest():
            self.stream.write(f"{seconds:8.2f}  {name}\n")
        super().writeResults(result)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.run")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes (2)")
    parser.add_argument("names", nargs="+", metavar="NAME")
    options = parser.parse_args()
    runner = TimedRunner(TreeReporter, options.jobs, [])
    result = runner.run(TestLoader().loadByNames(options.names))
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
