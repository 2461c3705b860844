"""Timers: what rules set, and that each takes effect once, whatever is cut off."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.framework import Extension, Service, at, cancel, tell_soon
from bbs.rules import timers
from bbs.rules.timers import MOST_ARGUMENTS, TIMER_NAME_LENGTH, Due, declare_timer
from bbs.storage.database import Database
from bbs.storage.models import OutboxEntry, TimerRow
from bbs.testing.threads import Inline
from tests.database_case import DatabaseCase, on_both_databases
from tests.storage.processes import Beside


def ring(now: float, *words: Any) -> None:
    tell_soon("bell.one", {"event": "rung", "at": now, "words": repr(words)})


def ring_twice(now: float) -> None:
    ring(now, "first")
    ring(now, "second")


def fail(now: float) -> None:
    ring(now, "never")
    raise ArithmeticError("a mistake")


for rule in (ring, ring_twice, fail):
    declare_timer(rule.__name__, rule)


@on_both_databases
class Set(DatabaseCase):
    def due(self, now: float) -> list[Due]:
        return self.call(timers.due, now, ["ring", "ring_twice", "fail"])

    def rung(self) -> list[tuple[float, str]]:
        told = [
            json.loads(each.event or "")[1]
            for each in OutboxEntry.select().order_by(OutboxEntry.id)
        ]
        return [(each["at"], each["words"]) for each in told]

    def test_it_runs_with_its_arguments(self) -> None:
        arguments = (7, "ann", None, True, 1.5, ["a", {"b": "ü"}])
        number = self.call(at, 100.0, ring, *arguments)
        self.assertEqual(self.due(99.9), [])
        self.assertEqual(self.due(100.0), [Due(number, "ring")])
        self.call(timers.run, number, 101.0, ring)
        self.assertEqual(self.rung(), [(101.0, repr(arguments))])
        self.assertEqual(self.due(1e9), [])

    def test_it_runs_once(self) -> None:
        number = self.call(at, 100.0, ring)
        for _ in range(2):
            self.call(timers.run, number, 100.0, ring)
        self.assertEqual(len(self.rung()), 1)

    def test_the_earliest_first(self) -> None:
        late, early, same = (self.call(at, when, ring) for when in (30.0, 10.0, 10.0))
        self.assertEqual([each.id for each in self.due(50.0)], [early, same, late])

    def test_those_of_other_programs_wait(self) -> None:
        self.call(at, 10.0, ring)
        self.assertEqual(self.call(timers.due, 50.0, ["ring_twice"]), [])

    def test_so_many_at_a_time(self) -> None:
        self.patch(timers, "AT_ONCE", 2)
        for _ in range(3):
            self.call(at, 10.0, ring)
        self.assertEqual(len(self.due(50.0)), 2)

    def test_it_is_undone_with_its_rule(self) -> None:
        def set_and_fail() -> None:
            at(10.0, ring)
            raise ArithmeticError

        self.failureResultOf(self.database.run(set_and_fail), ArithmeticError)
        self.assertEqual(TimerRow.select().count(), 0)

    def test_cancelled(self) -> None:
        number = self.call(at, 10.0, ring)
        self.assertEqual([self.call(cancel, number) for _ in range(2)], [True, False])
        self.call(timers.run, number, 10.0, ring)
        self.assertEqual(self.rung(), [])

    def test_a_failure_is_undone_and_comes_later_each_time(self) -> None:
        number, now, pauses = self.call(at, 0.0, fail), 1000.0, []
        for _ in range(12):
            self.failureResultOf(self.database.run(timers.run, number, now, fail), ArithmeticError)
            self.call(timers.postpone, number, now)
            self.assertEqual(self.due(now), [])
            pauses.append(TimerRow.get().due - now)
            now = TimerRow.get().due
        self.assertEqual(pauses[:4] + pauses[-1:], [1.0, 2.0, 4.0, 8.0, timers.LONGEST_PAUSE])
        self.assertEqual(self.rung(), [])

    def test_to_postpone_one_that_has_run(self) -> None:
        self.call(timers.postpone, 7, 1000.0)
        self.assertEqual(TimerRow.select().count(), 0)

    def test_killed_at_each_statement(self) -> None:
        """A process is killed before each of its statements, and behind each. Then somebody else
        runs what is due."""
        other = Beside(_run_and_die, self.url)
        self.addCleanup(other.kill)
        number, was_killed = 0, True
        while was_killed:
            number += 1
            for moment in ("before", "behind"):
                self.call(OutboxEntry.delete().execute)
                timer = self.call(at, 10.0, ring_twice)
                other.tell(f"{timer} {number} {moment}")
                was_killed = other.says() == -signal.SIGKILL
                for each in self.due(10.0):
                    self.call(timers.run, each.id, 11.0, ring_twice)
                found = [words for _, words in self.rung()]
                self.assertEqual(found, ["('first',)", "('second',)"], (number, moment))
        self.assertGreaterEqual(number, 6)  # A look, a removal, two rows, COMMIT, and a whole run.

    def test_what_cannot_be_set(self) -> None:
        for arguments, words in (
            ((float("nan"), ring), "a timer needs a time in seconds since the epoch, and not nan"),
            (("10", ring), "a timer needs a time in seconds since the epoch, and not '10'"),
            ((True, ring), "a timer needs a time in seconds since the epoch, and not True"),
            ((10.0, ring, ("a", "b")), "the timer ring: JSON changes its arguments"),
            ((10.0, ring, {1: 2}), "the timer ring: JSON changes its arguments"),
            ((10.0, ring, object()), "the timer ring: its arguments are not JSON"),
            ((10.0, ring, float("inf")), "the timer ring: its arguments are not JSON"),
            ((10.0, ring, "x" * MOST_ARGUMENTS), "the timer ring: over 60000 characters"),
            ((10.0, cancel), "is not among the timers of the service: Service(timers=…)"),
        ):
            failure = self.failureResultOf(self.database.run(at, *arguments), ValueError)
            self.assertIn(words, str(failure.value))


def _run_and_die(url: str, test: Connection) -> None:
    """Run timers in processes that are killed at a statement, as the test says."""
    while True:
        timer, number, moment = test.recv().split()
        child = os.fork()
        if not child:
            database = Database(url, Inline(), Clock())
            _die_at(type(database.peewee), int(number), moment)
            database.run(timers.run, int(timer), 10.0, ring_twice)
            os._exit(0)
        test.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _die_at(kind: Any, number: int, moment: str) -> None:
    """Kill this process at its statement of this number, or at its COMMIT."""
    numbers = count(1)

    def dying(execute: Callable[..., Any]) -> Callable[..., Any]:
        def die(*arguments: Any, **keywords: Any) -> Any:
            is_last = next(numbers) == number
            if is_last and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = execute(*arguments, **keywords)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return die

    for name in ("execute_sql", "carry_out", "commit"):
        setattr(kind, name, dying(getattr(kind, name)))


class Declared(SynchronousTestCase):
    def test_an_extensions_names_are_behind_its_own(self) -> None:
        def rise(now: float) -> None: ...

        moon = Extension("moon", timers={"rise": rise})
        service = Service("sky", timers={"ring": ring}, extensions=(moon,))
        self.assertEqual(service.all_timers, {"ring": ring, "moon.rise": rise})

    def test_what_cannot_be_declared(self) -> None:
        async def later(now: float) -> None: ...

        def other(now: float) -> None: ...

        plain = "timers are plain functions by names of letters"
        for declared, words in (
            ({"": ring}, plain),
            ({"a.b": ring}, plain),
            ({"ring": later}, plain),
            ((ring,), plain),
            ({"bell": ring}, "the rule of the timer bell is declared as ring already"),
            ({"x" * (TIMER_NAME_LENGTH + 1): other}, "a timer's name has at most 100 characters"),
        ):
            error = self.assertRaises(ValueError, Service, "sky", timers=declared)
            self.assertIn(words, str(error))
