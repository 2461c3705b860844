"""The security log: what its lines are, and that nothing it meets disturbs anybody else."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from bbs.daemons import security_log
from bbs.daemons.security_log import Event, Folding, SecurityLog, append
from bbs.security import tell

AT = 1_700_000_000.25


def event(outcome: str = "wrong", address: str = "192.0.2.1", **fields: Any) -> Event:
    return Event(**{"at": AT, "what": "login", "outcome": outcome, "address": address, **fields})


class Lines(SynchronousTestCase):
    def test_line(self) -> None:
        self.assertEqual(
            event(name="ann").line(),
            '2023-11-14T22:13:20.250Z what=login outcome=wrong address=192.0.2.1 name="ann"\n',
        )
        self.assertEqual(
            event("done", "2001:DB8::1", what="drain", name="x", by="root", count=3).line(),
            "2023-11-14T22:13:20.250Z what=drain outcome=done address=2001:db8::1 count=3"
            ' name="x" by="root"\n',
        )

    def test_an_address_is_one_or_none(self) -> None:
        for address, shown in (
            ("", "-"),
            ("bbs fleet", "-"),
            ("192.0.2.1 name=x", "-"),
            ("fe80::1%eth0 x\n", "fe80::1"),
        ):
            self.assertIn(f" address={shown} name=", event(address=address).line())

    def test_a_name_is_json_in_printable_ascii(self) -> None:
        for name in (
            'x" address=203.0.113.1',
            "a\nb\r\x0b\x0c\x1c\x85\u2028\u2029",
            "\x1b[2J\x00\x7f\x9b",
            "\u202eann\u2066\u200b",
            "Zoë \\ 🐍",
            "\ud800",
        ):
            line = event(name=name, by=name).line()
            self.assertTrue(line.isascii() and line[:-1].isprintable(), line)
            named, _, by = line.partition(" name=")[2].partition(" by=")
            self.assertEqual((json.loads(named), json.loads(by)), (name, name))

    def test_a_long_name_is_cut(self) -> None:
        self.assertLess(len(event(name="ä" * 60_000).line()), 1000)

    def test_a_word_is_one(self) -> None:
        self.assertIn(" what=a-b outcome=- ", event("", what="a b").line())


class Folds(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 0.0
        self.folding = Folding(lambda: self.now)

    def take(self, *events: Event) -> list[tuple[str, int]]:
        return [(each.address, each.count) for one in events for each in self.folding.take(one)]

    def due(self) -> list[tuple[str, int]]:
        return [(each.address, each.count) for each in self.folding.due()]

    def test_what_succeeds_or_is_wrong_is_written_each_time(self) -> None:
        for outcome in ("right", "wrong", "done"):
            self.assertEqual(self.take(*[event(outcome)] * 3), [("192.0.2.1", 1)] * 3)

    def test_refusals_are_a_line_a_second(self) -> None:
        refused = event("refused")
        self.assertEqual(self.take(*[refused] * 50), [("192.0.2.1", 1)])
        self.assertEqual(self.folding.wait(), 1.0)
        self.now = 1.0
        self.assertEqual(self.due(), [("192.0.2.1", 49)])
        self.assertEqual(self.take(refused, refused), [])
        self.now = 1.9
        self.assertEqual(self.due(), [])
        self.now = 2.0
        self.assertEqual(self.due(), [("192.0.2.1", 2)])
        self.now = 3.0
        self.assertEqual((self.due(), self.folding.wait()), ([], None))
        self.assertEqual(self.take(refused), [("192.0.2.1", 1)])

    def test_each_address_and_kind(self) -> None:
        kinds = [event("refused", what=what) for what in ("login", "connect")]
        kinds += [event("delayed", what="work"), event("timed-out", what="request")]
        kinds += [event("refused", address) for address in ("192.0.2.2", "", "2001:db8::1")]
        self.assertEqual(len(self.take(*kinds)), len(kinds))
        self.assertEqual(self.take(*kinds), [])

    def test_whoever_has_one_ipv6_address_has_all_of_its_64(self) -> None:
        refused = [event("refused", f"2001:db8::{n}") for n in range(1, 9)]
        self.assertEqual(self.take(*refused), [("2001:db8::1", 1)])
        self.now = 1.0
        self.assertEqual(self.due(), [("2001:db8::8", 7)])

    def test_memory_is_bounded(self) -> None:
        self.patch(security_log, "MOST_FOLDED", 3)
        refused = [event("refused", f"192.0.2.{n}") for n in range(5) for _ in range(2)]
        self.take(*refused)
        self.assertEqual(len([*self.folding.rest()]), 3)


class Writing(TestCase):
    timeout = 30

    def setUp(self) -> Any:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.path = self.folder / "security.log"
        self.log: SecurityLog | None = None
        return deferLater(installed, 0)

    def begin(self, length: int = 100_000) -> SecurityLog:
        log = SecurityLog(str(self.path), length, 3, installed, now=lambda: AT)
        log.startService()
        self.addCleanup(lambda: log.running and log.stopService())
        return log

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait for what nobody tells of; the test's time-out is its end."""
        while not holds():
            await deferLater(installed, 0.002)

    def lines(self) -> list[str]:
        return [line.partition(" ")[2] for line in self.path.read_text().splitlines()]

    def is_written(self, text: str) -> bool:
        return self.path.exists() and text in self.path.read_text()

    def has_left_out(self, log: SecurityLog, count: int) -> bool:
        return log._left_out >= count

    async def test_what_is_told_is_written(self) -> None:
        """At once, to a file of its owner's, on a thread that is not the reactor's."""
        self.addCleanup(os.umask, os.umask(0))
        self.begin()
        write, threads = os.write, set()

        def watched(descriptor: int, data: Any) -> int:
            if threading.current_thread().name == "security-log":
                threads.add(threading.get_ident())
            return write(descriptor, data)

        self.patch(os, "write", watched)
        tell("login", "right", address="192.0.2.1", name="ann")
        await self.until(lambda: self.path.stat().st_size)
        self.assertEqual(self.lines(), ['what=login outcome=right address=192.0.2.1 name="ann"'])
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(len(threads), 1)
        self.assertNotIn(threading.get_ident(), threads)

    async def test_what_was_told_before_the_end_is_written(self) -> None:
        log = self.begin()
        for _ in range(3):
            tell("login", "refused", address="192.0.2.1")
        await log.stopService()
        self.assertEqual(
            self.lines(),
            [
                'what=login outcome=refused address=192.0.2.1 name=""',
                'what=login outcome=refused address=192.0.2.1 count=2 name=""',
            ],
        )
        tell("login", "right", address="192.0.2.1", name="ann")
        self.assertEqual(len(self.lines()), 2)

    async def test_what_was_refused_is_counted_by_itself(self) -> None:
        """Nothing else need happen for the count to be written."""
        self.begin()
        for _ in range(5):
            tell("connect", "refused", address="192.0.2.1")
        await self.until(lambda: "count=4" in self.path.read_text())

    async def test_a_disk_that_hangs(self) -> None:
        """So much is kept, the rest is counted, and nobody waits."""
        self.patch(security_log, "MOST_WAITING", 10)
        log = self.begin()
        with self.path.open() as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            tell("login", "right", address="192.0.2.1", name="first")
            await self.until(lambda: not log._waiting)
            for number in range(25):
                tell("login", "right", address="192.0.2.1", name=str(number))
            self.assertEqual(len(log._waiting), 10)
            self.assertEqual(self.lines(), [])
        await self.until(lambda: len(self.lines()) == 12)
        self.assertEqual(
            self.lines()[1], 'what=security-log outcome=dropped address=- count=15 name=""'
        )
        self.assertIn('name="9"', self.lines()[-1])

    async def test_a_disk_that_hangs_keeps_nobody_from_ending(self) -> None:
        self.patch(security_log, "LEAVING_TIME", 0.05)
        log = self.begin()
        with self.path.open() as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            tell("login", "right", address="192.0.2.1")
            await log.stopService()
        await self.until(lambda: not log._thread.is_alive())

    async def test_a_disk_that_is_full(self) -> None:
        """One line says so, and when there is room again, how many are missing."""
        self.path.symlink_to("/dev/full")
        self.patch(security_log, "INTERVAL", 0.02)
        log = self.begin()
        for number in range(3):
            tell("login", "right", address="192.0.2.1", name=str(number))
            await self.until(partial(self.has_left_out, log, number + 1))
        self.path.unlink()
        await self.until(lambda: self.path.exists() and self.lines())
        self.assertEqual(
            self.lines(), ['what=security-log outcome=dropped address=- count=3 name=""']
        )
        tell("login", "right", address="192.0.2.1", name="last")
        await self.until(lambda: len(self.lines()) == 2)

    async def test_it_is_kept_to_its_size(self) -> None:
        self.begin(length=2000)
        for number in range(200):
            tell("login", "wrong", address="192.0.2.1", name=str(number))
            if number % 10 == 9:
                await self.until(partial(self.is_written, f'"{number}"'))
        self.assertEqual(
            sorted(path.name for path in self.folder.iterdir()),
            ["security.log", *(f"security.log.{n}" for n in (1, 2, 3))],
        )

    def test_nowhere_to_write(self) -> None:
        self.path = self.folder / "no" / "such"
        self.assertRaises(FileNotFoundError, self.begin)


class Commands(SynchronousTestCase):
    def test_appended_to_what_is_there_and_nowhere_else(self) -> None:
        path = self.mktemp()
        self.assertRaises(FileNotFoundError, append, path, event())
        Path(path).write_text("before\n")
        append(path, event(name="x"))
        self.assertEqual(Path(path).read_text(), "before\n" + event(name="x").line())
