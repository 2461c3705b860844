"""The stages of a run, with commands of a few milliseconds."""

from __future__ import annotations

import fcntl
import io
import shlex
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.outcome import Outcome
from tests.stages import Ended, Run, Stage, report


class StagesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def run_all(self, *stages: Stage, cores: int = 2, skips: bool = True) -> Mapping[str, Ended]:
        self.progress = io.StringIO()
        with redirect_stdout(self.progress):
            ended = Run(stages, self.folder, cores, skips=skips).all()
        self.said = "\n".join(report(ended))
        return {end.stage.name: end for end in ended}

    def of_tests(self, name: str, outcome: Outcome, exit_code: int = 0) -> Stage:
        """A stage whose tests showed this."""
        written = self.folder / f"{name} showed"
        outcome.write(written)
        return Stage(name, f'cp {shlex.quote(str(written))} "$OUTCOME"; exit {exit_code}')


class What(StagesCase):
    """What is run, and when."""

    def test_all_run_whatever_failed_before(self) -> None:
        ended = self.run_all(
            Stage("one", "echo the first is broken; exit 3"),
            Stage("two", "true"),
            Stage("three", "echo so is the third; exit 1"),
            cores=1,
        )
        self.assertEqual([name for name in ended if ended[name].failed], ["one", "three"])
        self.assertIn("the first is broken", self.said)
        self.assertIn("so is the third", self.said)
        last = self.said.partition("\nFAILED:\n")[2].splitlines()
        self.assertEqual(last, ["  one: its exit code is 3", "  three: its exit code is 1"])

    def test_what_needs_a_failed_one_is_left_out(self) -> None:
        ran = self.folder / "ran"
        ended = self.run_all(
            Stage("servers", "false"),
            Stage("real", f"touch {ran}", needs=["servers"]),
            Stage("fast", "true", after=["servers"]),
        )
        self.assertFalse(ran.exists())
        self.assertEqual(ended["real"].why, "it was not run, as servers failed")
        self.assertFalse(ended["fast"].failed)

    def test_one_that_comes_after_waits(self) -> None:
        order = self.folder / "order"
        # The pipe's reader ends when its writer does, and no earlier.
        pipe = self.folder / "pipe"
        self.run_all(
            Stage(
                "first", f"mkfifo {pipe}; echo first >> {order}; cat {pipe}; echo end >> {order}"
            ),
            Stage("beside", f"until [ -p {pipe} ]; do :; done; echo x > {pipe}"),
            Stage("after", f"echo after >> {order}", after=["first"]),
        )
        self.assertEqual(order.read_text().split(), ["first", "end", "after"])

    def test_one_that_takes_all_cores_runs_alone(self) -> None:
        running = self.folder / "running"
        alone = f"mkdir {running} && rmdir {running}"  # Fails if another is there.
        ended = self.run_all(*(Stage(name, alone, cores=5) for name in "abcdef"))
        self.assertFalse(any(end.failed for end in ended.values()), self.said)

    def test_one_that_takes_too_long_is_ended_with_its_children(self) -> None:
        lock, late = self.folder / "lock", self.folder / "late"
        ended = self.run_all(
            Stage("long", f"flock {lock} sh -c 'sleep 9; touch {late}' & wait", minutes=0.005),
            Stage("next", "true", after=["long"]),
        )
        self.assertIn("it was ended after", ended["long"].why)
        self.assertFalse(ended["next"].failed)
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # Had when the child is gone.
        self.assertFalse(late.exists())

    def test_when_the_time_of_all_is_over_the_rest_is_left_out(self) -> None:
        with redirect_stdout(io.StringIO()):
            ended = Run([Stage("late", "true")], self.folder, minutes=-1.0).all()
        self.assertEqual([end.why for end in ended], ["it was not run, as no time was left"])


class Tests(StagesCase):
    """What is said of tests."""

    def test_each_failed_test_is_listed(self) -> None:
        failed = {"tests.a.A.test_x": "a != b", "tests.b.B.test_y": "c != d"}
        self.run_all(
            self.of_tests("fast", Outcome(7, 0, failed), 1),
            self.of_tests("real", Outcome(3, 0, {"tests.c.C.test_z": "e != f"}), 1),
        )
        for text in ("a != b", "c != d", "e != f"):
            self.assertIn(text, self.said)
        last = self.said.partition("\nFAILED:\n")[2].splitlines()
        self.assertEqual(
            sorted(last),
            ["  fast: tests.a.A.test_x", "  fast: tests.b.B.test_y", "  real: tests.c.C.test_z"],
        )

    def test_one_that_passed_the_second_time_is_listed_and_fails_nothing(self) -> None:
        ended = self.run_all(
            self.of_tests("real", Outcome(3, 0, {}, {"tests.c.C.test_z": "both its logs"}))
        )
        self.assertFalse(ended["real"].failed)
        self.assertIn("FLAKY: tests.c.C.test_z, of real\nboth its logs", self.said)
        self.assertIn("\n  real: tests.c.C.test_z\n\nAll stages passed.", self.said)

    def test_a_room_over_its_budget(self) -> None:
        outcome = Outcome(3, over_budget=["the room ui took 99 s"])
        self.run_all(self.of_tests("quick", outcome, 1))
        self.assertTrue(self.said.endswith("\nFAILED:\n  quick: the room ui took 99 s"), self.said)

    def test_none_that_ran_is_a_failure(self) -> None:
        ended = self.run_all(self.of_tests("fast", Outcome()))
        self.assertEqual(ended["fast"].why, "no test was run")

    def test_skipped_ones_are_a_failure_where_nothing_may_be_skipped(self) -> None:
        fast = self.of_tests("fast", Outcome(3, 2))
        self.assertFalse(self.run_all(fast)["fast"].failed)
        why = self.run_all(fast, skips=False)["fast"].why
        self.assertEqual(why, "2 tests were skipped: what they need did not start")
        self.assertIn(why, self.said)

    def test_a_run_that_broke_off_shows_the_end_of_its_output(self) -> None:
        self.run_all(Stage("fast", "seq 1000; echo Segmentation fault; kill -9 $$"))
        self.assertIn("\n999\n1000\nSegmentation fault\n", self.said)
        self.assertNotIn("\n900\n", self.said)
        self.assertTrue(self.said.endswith("\n  fast: its exit code is -9"), self.said)
