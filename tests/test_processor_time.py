"""What tests cost is measured where they run, and a room that is too dear fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from twisted.trial.reporter import TestResult
from twisted.trial.unittest import SynchronousTestCase

from tests import processor_time
from tests.paths import CHECKOUT

TEST = "tests.test_processor_time.Examples"


class Examples(SynchronousTestCase):
    """Tests that others look at."""

    def test_idle(self) -> None:
        pass

    def test_busy(self) -> None:
        sum(number * number for number in range(10**6))

    def test_runs_another(self) -> None:
        class Inner(SynchronousTestCase):
            def runTest(self) -> None:
                pass

        Inner().run(TestResult())


class Measured(SynchronousTestCase):
    def run_examples(self, *options: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "tests.run", "--jobs", "1", *options, TEST]
        done = subprocess.run(
            command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return done.returncode, done.stdout

    def test_the_dearest_comes_first(self) -> None:
        code, said = self.run_examples()
        self.assertEqual(code, 0, said)
        busy, idle = (said.index(f"{TEST}.test_{name}\n") for name in ("busy", "idle"))
        self.assertLess(busy, idle)
        self.assertNotIn("Inner", said)

    def test_a_room_without_a_budget_fails(self) -> None:
        code, said = self.run_examples("--budgets", "nothing")
        self.assertEqual(code, 1, said)
        self.assertIn("the room tests has no budget", said)


class Budgets(SynchronousTestCase):
    COSTS: ClassVar = {
        "tests.web.test_page.A.test_b": 30.0,
        "tests.web.ui.test_c.A.d": 10.0,
        "tests.test_x.A.y": 2.0,
    }

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_by_room(self) -> None:
        self.assertEqual(processor_time.by_room(self.COSTS), {"web": 40.0, "tests": 2.0})

    def test_written_and_read(self) -> None:
        processor_time.write("quick", self.COSTS, self.path)
        processor_time.write("others", {"tests.ui.test_x.A.y": 1.0}, self.path)
        processor_time.write("quick", {"tests.web.test_page.A.test_b": 5.0}, self.path)
        self.assertEqual(processor_time.budgets("quick", self.path), {"web": 5.0, "tests": 2.0})
        self.assertEqual(processor_time.budgets("others", self.path), {"ui": 1.0})

    def test_twice_as_much_is_told(self) -> None:
        for allowed, is_over in ((40.0, False), (20.1, False), (19.9, True), (10.0, True)):
            told = [*processor_time.over(self.COSTS, {"web": allowed, "tests": 2.0})]
            self.assertEqual(len(told), is_over, allowed)
        self.assertEqual([*processor_time.over(self.COSTS, {"web": 40.0, "tests": 1.0})], [])
        self.assertIn(
            "the room web took 40.0 s of processor time, and its budget is 10.0 s", told[0]
        )
        self.assertIn("tests.web.test_page.A.test_b (30.0 s), tests.web.ui", told[0])
