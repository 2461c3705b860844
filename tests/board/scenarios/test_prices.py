"""What a command takes on a full board, beside what it is charged.

Counted are the bytes of the reply and the steps of SQLite's virtual machine: some ten for each row
that is read. No load of the machine changes them. `python -m lab.bench.dearest` measures the
time, on MariaDB too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.commands.common import all_commands
from bbs.testing.limits import limits_of_tables
from tests.board.full import FullBoard, Taken, Work
from tests.docs.limits import HOLES

STEPS = "steps"
AT_ONCE = 50  # Steps between two looks at them.

MOST_BYTES, MOST_STEPS = 2**16, 100_000
"""What one command or delivery may take. So many steps are some 3 ms."""

SLACK = 0.25
"""A board twice as full may take more by this share of that at the same price: the limits say how
full a board gets."""

PAID_OTHERWISE = {"login"}  # By `logins`, and a hash before anything is read.

NOT_ASKED = {"quit", "traceparent"}  # They read nothing.


INSERT = re.compile(r'INSERT (?:OR \w+ )?INTO "(\w+)"')


def measure(share: float) -> Mapping[str, Taken]:
    """What each command takes on a board with this share of all that may be there."""
    full = FullBoard(share)
    connection = full.database.connection()
    steps = 0

    def note_steps() -> None:
        nonlocal steps
        steps += AT_ONCE

    def count(work: Work) -> Mapping[str, float]:
        before = steps
        work()
        return {STEPS: steps - before}

    found: dict[str, Taken] = {}
    connection.set_progress_handler(note_steps, AT_ONCE)
    try:
        full.ask_everything(count, found.__setitem__)
    finally:
        connection.set_progress_handler(None, 0)
        full.close()
    return found


def tables_filled() -> Set[str]:
    """The tables that commands add rows to."""
    full = FullBoard(0.05)
    connection = full.database.connection()
    filled: set[str] = set()
    connection.set_trace_callback(lambda statement: filled.update(INSERT.findall(statement)))

    def count(work: Work) -> Mapping[str, float]:
        work()
        return {}

    try:
        full.ask_everything(count, lambda name, taken: None)
    finally:
        connection.set_trace_callback(None)
        full.close()
    return filled


def faults(half: Mapping[str, Taken], whole: Mapping[str, Taken]) -> Mapping[str, str]:
    """What is wrong with the prices of commands, by what was taken on a board that is half full,
    and on a full one."""
    found: dict[str, str] = {}
    for name, taken in whole.items():
        before = half.get(name)
        for what, most, now, then in (
            ("bytes", MOST_BYTES, taken.bytes, before and before.bytes),
            (STEPS, MOST_STEPS, taken.work[STEPS], before and before.work[STEPS]),
        ):
            if now > most * taken.units:
                found[name] = f"{now:,.0f} {what} for {taken.units:g}, {most:,} for each are right"
            elif (
                before
                and now - (then or 0) > most * SLACK * taken.units
                and taken.units <= before.units
            ):
                found[name] = (
                    f"{then:,.0f} {what} on a half full board, {now:,.0f} on a full one, at the"
                    f" same price, {taken.units:g}"
                )
    return found


class Prices(SynchronousTestCase):
    def test_each_command_is_paid_for(self) -> None:
        """But for the holes that are known: what is mended is taken off that list."""
        half, whole = measure(0.5), measure(1.0)
        asked = {name.partition(",")[0] for name in whole}
        self.assertEqual({each.name for each in all_commands(board)}, asked | NOT_ASKED)
        found = faults(half, whole)
        known = {*PAID_OTHERWISE, *(what.removeprefix("the command ") for what in HOLES)}
        self.assertEqual({name: found[name] for name in found if name not in known}, {})

    def test_the_tables_that_people_fill(self) -> None:
        """None of them is bounded as one that servers or operators fill."""
        filled = tables_filled()
        of_servers = {
            limit.what for limit in limits_of_tables(board) if limit.cells[-1].startswith("none")
        }
        self.assertIn("message", filled)
        self.assertEqual(filled & of_servers, set())


class Faults(SynchronousTestCase):
    """What is found."""

    def found(self, half: tuple[Any, ...], whole: tuple[Any, ...]) -> str:
        made = [
            {"look": Taken(size, units, {STEPS: steps})} for size, units, steps in (half, whole)
        ]
        return faults(*made).get("look", "")

    def test_what_is_right(self) -> None:
        self.assertEqual(self.found((100, 1, 100), (100, 1, 100)), "")
        self.assertEqual(self.found((2**18, 16, 10**6), (2**19, 32, 2 * 10**6)), "")

    def test_too_long(self) -> None:
        self.assertIn("bytes", self.found((2**17, 2, 0), (2**18, 3, 0)))

    def test_too_much_to_read(self) -> None:
        self.assertIn("steps", self.found((0, 2, 10**5), (0, 3, 10**6)))

    def test_a_price_that_does_not_grow(self) -> None:
        self.assertIn("at the same price", self.found((100, 1, 0), (20_000, 1, 0)))
        self.assertIn("at the same price", self.found((0, 1, 10_000), (0, 1, 40_000)))
