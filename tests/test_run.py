"""Which tests each worker of a run is given, and what becomes of those that fail."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from twisted.python.failure import Failure
from twisted.trial.reporter import TestResult
from twisted.trial.runner import TestHolder
from twisted.trial.unittest import SynchronousTestCase

from tests.outcome import Outcome
from tests.paths import CHECKOUT
from tests.run import Failures, Shares

FAILING = "tests.failing_cases"


def module(name: str, number: int) -> list[SynchronousTestCase]:
    """So many tests of a module of `tests/integration/`."""

    class Some(SynchronousTestCase):
        def test_it(self) -> None:
            pass

    Some.__module__ = f"tests.integration.{name}"
    return [Some("test_it") for _ in range(number)]


class WhatWorkersGet(SynchronousTestCase):
    def shares(self, seconds: Mapping[str, float]) -> Shares:
        self.one, self.two, self.three = module("one", 2), module("two", 3), module("three", 1)
        return Shares([*self.one, *self.two, *self.three], seconds)

    def test_a_worker_alone_has_all_in_their_order(self) -> None:
        given = [*self.shares({}).of_worker()]
        self.assertEqual([*map(id, given)], [*map(id, [*self.one, *self.two, *self.three])])

    def test_the_longest_come_first(self) -> None:
        given = [*self.shares({"two": 2.0, "three": 3.0}).of_worker()]
        self.assertEqual([*map(id, given)], [*map(id, [*self.three, *self.two, *self.one])])

    def test_each_has_whole_modules(self) -> None:
        shares = self.shares({})
        first, second = shares.of_worker(), shares.of_worker()
        self.assertIs(next(first), self.one[0])
        self.assertIs(next(second), self.two[0])
        self.assertIs(next(first), self.one[1])
        self.assertIs(next(first), self.three[0])

    def test_who_has_nothing_left_helps(self) -> None:
        shares = self.shares({"two": 1.0})
        first, second = shares.of_worker(), shares.of_worker()
        self.assertIs(next(first), self.two[0])
        others = [next(second) for _ in range(4)]
        self.assertIs(others[-1], self.two[2])
        self.assertIs(next(first), self.two[1])
        self.assertEqual([*first, *second], [])


@cache
def outcome(*options: str) -> Outcome:
    """What the tests that fail showed, in a run that fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "outcome")
        command = [sys.executable, "-m", "tests.run", "--jobs", "1", "--outcome", str(path)]
        done = subprocess.run(
            [*command, *options, FAILING],
            cwd=CHECKOUT,
            env={**os.environ, "BBS_TEST_FAILED": folder},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 1, done.stdout
        showed = Outcome.read(path)
        assert showed is not None, done.stdout
        return showed


class Again(SynchronousTestCase):
    def test_one_that_passes_the_second_time_is_flaky(self) -> None:
        showed = outcome("--again")
        self.assertEqual([*showed.flaky], [f"{FAILING}.Chancy.test_fails_once"])
        logs = showed.flaky[f"{FAILING}.Chancy.test_fails_once"]
        for text in ("FailTest: too slow", "its first run", "[OK]", "its second run"):
            self.assertIn(text, logs)
        self.assertEqual(showed.passed, 2)

    def test_one_that_fails_twice_has_failed(self) -> None:
        logs = outcome("--again").failed[f"{FAILING}.Chancy.test_fails_always"]
        self.assertEqual(logs.count("FailTest: broken"), 2)
        self.assertEqual(logs.count("as ever"), 2)

    def test_one_that_is_skipped_the_second_time_has_failed(self) -> None:
        logs = outcome("--again").failed[f"{FAILING}.Chancy.test_is_skipped_the_second_time"]
        self.assertIn("its server is gone", logs)

    def test_a_guard_has_no_second_chance(self) -> None:
        logs = outcome("--again").failed[f"{FAILING}.Guard.test_fails_once"]
        self.assertNotIn("second run", logs)

    def test_none_is_repeated_unless_asked(self) -> None:
        showed = outcome()
        self.assertEqual((showed.passed, len(showed.failed), showed.flaky), (1, 4, {}))

    def test_none_is_repeated_where_many_fail(self) -> None:
        result = TestResult()
        for number in range(11):
            test = TestHolder(f"tests.x.X.test_{number}")
            result.addFailure(test, Failure(AssertionError("x")))
            chances = len(Failures(result).repeatable())
            self.assertEqual(chances, number + 1 if number < 10 else 0)
