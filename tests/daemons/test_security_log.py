"""The security log: what its lines are, and that nothing it meets disturbs anybody else."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.task import Clock, deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from bbs.core import audit
from bbs.core.clock import IReactor
from bbs.daemons.security_log import Bounds, Folding, SecurityEvent, SecurityLog, append

AT = 1_700_000_000.25


def event(outcome: str = "wrong", address: str = "192.0.2.1", **fields: Any) -> SecurityEvent:
    return SecurityEvent(
        **{"at": AT, "what": "login", "outcome": outcome, "address": address, **fields}
    )


class Lines(SynchronousTestCase):
    def test_line(self) -> None:
        self.assertEqual(
            event(name="ann").line(),
            '2023-11-14T22:13:20.250Z what=login outcome=wrong address=192.0.2.1 name="ann"\n',
        )
        self.assertEqual(
            event("done", "2001:DB8::1", what="drain", name="x", by="root", count=3).line(),
            "2023-11-14T22:13:20.250Z what=drain outcome=done address=2001:db8::1 count=3"
            ' name="x" by="root" network=2001:db8::/64\n',
        )

    def test_the_network_that_an_address_is_counted_by(self) -> None:
        for address, network in (
            ("2001:db8:1:2:3::4", " network=2001:db8:1:2::/64"),
            ("fe80::1%eth0", " network=fe80::/64"),
            *((address, "") for address in ("192.0.2.1", "::1", "", "a:b")),
        ):
            self.assertTrue(event(address=address).line().endswith(f' name=""{network}\n'))

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
        self.clock = Clock()
        self.folding = Folding(self.clock)

    def take(self, *events: SecurityEvent) -> list[tuple[str, int]]:
        return [(each.address, each.count) for one in events for each in self.folding.add(one)]

    def due(self) -> list[tuple[str, int]]:
        return [(each.address, each.count) for each in self.folding.events_due()]

    def test_what_succeeds_or_is_wrong_is_written_each_time(self) -> None:
        for outcome in ("right", "wrong", "done"):
            self.assertEqual(self.take(*[event(outcome)] * 3), [("192.0.2.1", 1)] * 3)

    def test_refusals_are_a_line_a_second(self) -> None:
        refused = event("refused")
        self.assertEqual(self.take(*[refused] * 50), [("192.0.2.1", 1)])
        self.assertEqual(self.folding.seconds_until_due(), 1.0)
        self.clock.advance(1.0)
        self.assertEqual(self.due(), [("192.0.2.1", 49)])
        self.assertEqual(self.take(refused, refused), [])
        self.clock.advance(0.9)
        self.assertEqual(self.due(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.due(), [("192.0.2.1", 2)])
        self.clock.advance(1.0)
        self.assertEqual((self.due(), self.folding.seconds_until_due()), ([], None))
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
        self.clock.advance(1.0)
        self.assertEqual(self.due(), [("2001:db8::8", 7)])

    def test_memory_is_bounded(self) -> None:
        self.folding = Folding(self.clock, Bounds(folded=3))
        refused = [event("refused", f"192.0.2.{n}") for n in range(5) for _ in range(2)]
        self.take(*refused)
        self.assertEqual(len([*self.folding.remaining_events()]), 3)


class Writing(TestCase):
    timeout = 30

    def setUp(self) -> Any:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.path = self.folder / "security.log"
        self.tries = 0
        """How often it has tried to write how many are missing."""
        return deferLater(installed, 0)

    def begin(self, length: int = 100_000, **bounds: float) -> SecurityLog:
        kept = Bounds(**bounds)  # type: ignore[arg-type]
        log = SecurityLog(
            str(self.path), length, 3, cast("IReactor", installed), kept, now=self.now
        )
        log.startService()
        self.addCleanup(lambda: log.running and log.stopService())
        return log

    def now(self) -> float:
        """The wall clock. On its thread it is asked when there is something missing to be told."""
        self.tries += threading.current_thread().name == "security-log"
        return AT

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait for what nobody tells of; the test's time-out is its end."""
        while not holds():
            await deferLater(installed, 0.002)

    def lines(self) -> list[str]:
        return [line.partition(" ")[2] for line in self.path.read_text().splitlines()]

    def is_written(self, text: str) -> bool:
        with contextlib.suppress(FileNotFoundError):  # Renamed between the look and the reading.
            return any(text in path.read_text() for path in self.folder.glob("security.log*"))
        return False

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
        audit.record("login", "right", address="192.0.2.1", name="ann")
        await self.until(lambda: self.path.stat().st_size)
        self.assertEqual(self.lines(), ['what=login outcome=right address=192.0.2.1 name="ann"'])
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.assertEqual(len(threads), 1)
        self.assertNotIn(threading.get_ident(), threads)

    async def test_what_was_told_before_the_end_is_written(self) -> None:
        log = self.begin()
        for _ in range(3):
            audit.record("login", "refused", address="192.0.2.1")
        await log.stopService()
        self.assertEqual(
            self.lines(),
            [
                'what=login outcome=refused address=192.0.2.1 name=""',
                'what=login outcome=refused address=192.0.2.1 count=2 name=""',
            ],
        )
        audit.record("login", "right", address="192.0.2.1", name="ann")
        self.assertEqual(len(self.lines()), 2)

    async def test_what_was_refused_is_counted_by_itself(self) -> None:
        """Nothing else need happen for the count to be written."""
        self.begin()
        for _ in range(5):
            audit.record("connect", "refused", address="192.0.2.1")
        await self.until(lambda: "count=4" in self.path.read_text())

    def dropped(self) -> list[int]:
        """How many events each line says that are missing, of the lines that say so."""
        said = (
            re.match(r"what=security-log outcome=dropped address=-(?: count=(\d+))? ", line)
            for line in self.lines()
        )
        return [int(each[1] or 1) for each in said if each]

    async def test_a_disk_that_hangs(self) -> None:
        """So much is kept, the rest is counted, and nobody waits."""
        self.begin(waiting=10)
        with self.path.open() as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            for number in range(100):
                audit.record("login", "right", address="192.0.2.1", name=str(number))
            self.assertEqual(self.lines(), [])
        await self.until(self.dropped)
        audit.record("login", "right", address="192.0.2.1", name="last")
        await self.until(lambda: self.is_written('"last"'))
        (count,) = self.dropped()
        written = len(self.lines()) - 1
        self.assertEqual(count + written, 101)
        # Those that it had begun to write, as many that waited, and the last.
        self.assertLessEqual(written, 21)

    async def test_a_disk_that_hangs_keeps_nobody_from_ending(self) -> None:
        log = self.begin(leaving=0.05)
        with self.path.open() as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            audit.record("login", "right", address="192.0.2.1")
            await log.stopService()
        await self.until(
            lambda: "security-log" not in {each.name for each in threading.enumerate()}
        )

    async def test_a_disk_that_is_full(self) -> None:
        """One line says so, and when there is room again, how many are missing."""
        self.path.symlink_to("/dev/full")
        said: list[str] = []

        def observer(event: Any) -> None:
            said.append(event["log_format"])

        globalLogPublisher.addObserver(observer)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observer)  # type: ignore[arg-type]
        self.begin(interval=0.02)
        audit.record("login", "right", address="192.0.2.1", name="first")
        await self.until(lambda: said)
        for number in range(2):
            audit.record("login", "right", address="192.0.2.1", name=str(number))
        await self.until(lambda: self.tries > 2)
        self.path.unlink()
        await self.until(lambda: self.path.exists() and self.lines())
        audit.record("login", "right", address="192.0.2.1", name="last")
        await self.until(lambda: self.is_written('"last"'))
        (count,) = self.dropped()
        self.assertEqual(count + len(self.lines()) - 1, 4)
        self.assertEqual(said, ["the security log cannot be written: {reason}"])

    async def test_it_is_kept_to_its_size(self) -> None:
        self.begin(length=2000)
        for number in range(200):
            audit.record("login", "wrong", address="192.0.2.1", name=str(number))
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
