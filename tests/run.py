"""Run tests as `trial --jobs` does, and then say which cost most.

    python -m tests.run [--jobs N] [--budgets KIND [--longest-first] [--write]] NAME …

Each NAME is what trial takes: a package, a module, a class or a method. With `--budgets` the run
fails if the tests of a room take more processor time than `budgets.toml` allows for this KIND of
runs. With `--longest-first` the rooms that took longest by the clock begin first.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from twisted.trial._dist.distreporter import DistReporter
from twisted.trial._dist.disttrial import DistTrialRunner
from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader

from tests import processor_time

DEAREST = 30
"""Tests whose costs are printed at the end."""


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


def report(costs: Mapping[str, float], seconds: Mapping[str, float]) -> None:
    """Print what rooms and the dearest tests cost."""
    rooms = processor_time.by_room(costs)
    print("\nProcessor seconds of each room:")
    for room in sorted(rooms, key=lambda room: -rooms[room]):
        print(f"{rooms[room]:8.2f}  {room}")
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
    parser.add_argument("names", nargs="+", metavar="NAME")
    options = parser.parse_args()
    runner = TimedRunner(TreeReporter, options.jobs, [])
    clock = f"{options.budgets}-clock" if options.longest_first else ""
    runner.expected = processor_time.budgets(clock)
    with processor_time.measured() as costs_by_test:
        result = runner.run(TestLoader().loadByNames(options.names, recurse=True))
        costs = costs_by_test()
    report(costs, runner.seconds)
    too_dear: list[str] = []
    if options.write:
        processor_time.write(options.budgets, costs)
        if clock:
            processor_time.write(clock, runner.seconds)
    elif options.budgets:
        too_dear = [*processor_time.over(costs, processor_time.budgets(options.budgets))]
    for line in too_dear:
        print(f"\n{line}")
    return int(bool(too_dear) or not result.wasSuccessful())


if __name__ == "__main__":
    sys.exit(main())
