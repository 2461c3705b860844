"""What a server of an `up --debug` reports."""

from __future__ import annotations

import gc
import os
import re
import socket
import sys
import tempfile
import warnings
from typing import Any

import peewee
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.daemons.debugging import LONGEST_STATEMENT, DebugReport
from bbs.framework import RisingIdField, Table
from bbs.framework.fast import statement
from bbs.storage.database import Database
from bbs.storage.schema import Schema, create_table
from bbs.testing.threads import Inline


class Bid(Table):
    id = RisingIdField()
    item = peewee.CharField(index=True)
    bidder = peewee.CharField()


@statement
def by_bidder(name: str) -> Any:
    return Bid.select(Bid.item).where(Bid.bidder == name)


class ReportCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()  # The path of a socket is short.
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "s")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(path)
        self.addCleanup(self.socket.close)
        self.report = DebugReport(path, lambda: "app abc")
        self.addCleanup(
            sys.set_coroutine_origin_tracking_depth, sys.get_coroutine_origin_tracking_depth()
        )
        self.report.startService()
        self.addCleanup(self.report.stopService)
        self.log = Logger("tests")

    def reported(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(1 << 20).decode())
            except BlockingIOError:
                return found


class Reports(ReportCase):
    def test_events(self) -> None:
        self.log.warn("a warning")
        self.log.error("an error")
        Logger("stdout").info("printed")
        try:
            raise ZeroDivisionError("why")
        except ZeroDivisionError:
            self.log.failure("it failed", Failure())
        self.flushLoggedErrors()
        error, printed, failed = self.reported()
        self.assertEqual(error, "app abc: an error")
        self.assertEqual(printed, "app abc: printed")
        self.assertRegex(failed, r"^app abc: it failed\nTraceback (.|\n)*ZeroDivisionError: why$")

    def test_a_call_without_await(self) -> None:
        async def tell() -> None:
            """Do nothing."""

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tell()  # type: ignore[unused-coroutine]
            gc.collect()
        [warning] = [each for each in caught if "never awaited" in str(each.message)]
        self.report({"log_format": "{warning}", "warning": warning.message})
        self.report(
            {"log_format": "{warning}", "warning": "coroutine 'Ask.tell' was never awaited"}
        )
        self.report({"log_format": "{warning}", "warning": "something else"})
        first, second = self.reported()
        self.assertRegex(first, rf"^app abc: {re.escape(__file__)}:\d+: .*tell\(…\) does nothing")
        self.assertEqual(second, "app abc: Ask.tell(…) does nothing without await")

    def test_nobody_listens(self) -> None:
        self.socket.close()
        Logger("stdout").info("printed")


class Statements(ReportCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.database = Database("sqlite:///:memory:", Inline(), self.clock)
        self.addCleanup(self.database.close)
        self.database.peewee.connect()
        create_table(self.database.peewee, Bid)
        self.report.watch(self.database, Schema("auctions", (Bid,), 1, {}))

    def run_rule(self, rule: Any) -> list[str]:
        self.successResultOf(self.database.run(rule))
        return self.reported()

    def test_whole_tables(self) -> None:
        """Each statement is named once, without its values."""
        for rule in (
            lambda: by_bidder("ann"),
            lambda: [*Bid.select().where(Bid.bidder == "ann").limit(1)],
            lambda: Bid.update(item="x").where(Bid.bidder == "ann").execute(),
            lambda: [*Bid.select().order_by(Bid.bidder).limit(1)],
        ):
            [line] = self.run_rule(rule)
            self.assertRegex(line, '^app abc: a statement reads the whole table bid: .* "bid"')
            self.assertNotIn("ann", line)
            self.assertEqual(self.run_rule(rule), [])

    def test_others(self) -> None:
        for rule in (
            lambda: [*Bid.select().where(Bid.item == "x")],
            lambda: [*Bid.select().order_by(Bid.id.desc()).limit(10)],
            lambda: Bid.select(peewee.fn.MAX(Bid.id)).scalar(),
            lambda: Bid.insert(item="x", bidder="y").execute(),
            lambda: Bid.delete().where(Bid.id == 1).execute(),
        ):
            self.assertEqual(self.run_rule(rule), [])

    def test_slow(self) -> None:
        """A slow rule is named each time, with its slowest statement."""

        def rule() -> None:
            by_bidder("ann")
            self.clock.rightNow += 0.15

        self.run_rule(lambda: by_bidder("ann"))
        for _ in range(2):
            [line] = self.run_rule(rule)
            self.assertIn("Statements.test_slow.<locals>.rule took 0.15 s; its slowest", line)
            self.assertIn('WHERE ("t1"."bidder" = ?)', line)
        self.assertLess(len(line), 2 * LONGEST_STATEMENT)
