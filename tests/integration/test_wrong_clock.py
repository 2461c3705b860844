"""A clock goes wrong by weeks under a whole service in real processes, and nothing is lost.

The login server that controls the fleet, another login server, an app server and the database each
have a clock of their own, which a file says (libfaketime). Each case prints what was removed, after
how many seconds there was an alarm, and after how many the sweeps went on once the clock was right.
`BBS_TEST_CLOCKS=1` has all cases, with what the page and the log said; otherwise there is one for
each database.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pymysql
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.integration.service import Person, ServiceCase, eventually
from tests.integration.test_web import Web
from tests.services import OwnServer, needed
from tests.services.servers import MariaDB, free_port

DAY = 86400

KEPT = 30 * DAY
"""Seconds for which messages are kept by default; sessions are for a week."""

SWEPT = 130.0
"""Seconds in which the leader looks for what has expired twice."""

LEADER, OTHER, DATABASE = "leader", "another", "database"

CASES: Sequence[tuple[str, int]] = [
    (who, days) for who in (LEADER, OTHER, DATABASE) for days in (40, 8, -40)
]


class FakeClock:
    """The time of some processes, so many days ahead of what is true; the monotonic clock is the
    machine's own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(0)

    def set(self, days: int) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(f"{days * DAY:+d}\n")
        os.replace(new, self._path)

    @property
    def environ(self) -> Mapping[str, str]:
        """For the processes, as in `test_wall_clock`."""
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }


class WrongMariaDB(MariaDB):
    """A MariaDB whose clock may be wrong."""

    clock: FakeClock

    def environment(self) -> Mapping[str, str]:
        self.clock = FakeClock(self.folder / "clock")
        return self.clock.environ


class OwnWrongMariaDB(OwnServer[WrongMariaDB]):
    kind = WrongMariaDB


class ClockCase(ServiceCase):
    """On SQLite."""

    timeout = 3600

    async def open_database(self) -> str | None:
        """The URL of a database; None for the default."""
        return None

    def count(self, sql: str) -> int:
        """What a query counts, or how many rows another statement changed."""
        with sqlite3.connect(self.site.data / "bbs.sqlite3", timeout=10) as database:
            done = database.execute(sql)
            return int(done.fetchone()[0]) if sql.startswith("SELECT") else done.rowcount

    def clocks(self, who: str) -> Sequence[FakeClock]:
        """Whose clocks go wrong in a case: on SQLite the database's is the machine's."""
        return [*self.fakes.values()] if who == DATABASE else [self.fakes[who]]

    async def begin(self) -> None:
        url = await self.open_database()
        page = free_port()
        self.site = service = self.service(
            broker={"url": needed("BBS_TEST_ACTIVEMQ_URL")},
            fleet={"provider": "none"},
            web={"listen": f"tcp:{page}:interface=127.0.0.1"},
            app={"listen": "tcp:0:interface=127.0.0.1", "address": "127.0.0.1"},
            **({} if url is None else {"database": {"url": url}}),
        )
        self.web = Web(page)
        self.fakes = {
            name: FakeClock(service.folder / f"clock-{name}") for name in (LEADER, OTHER, "app")
        }
        await service.login_server(environ=self.fakes[LEADER].environ)
        await eventually(lambda: "leads the fleet" in service.log(), "one leads", within=60.0)
        service.write_config(web__listen="")
        await service.login_server(service.another_port(), environ=self.fakes[OTHER].environ)
        app = service.app_server(environ=self.fakes["app"].environ)
        await app.says("this is app server")
        await service.register("ann", "bob")
        ann, bob = await service.person("ann"), await service.person("bob")
        await service.befriend(ann, bob)
        self.ann, self.bob = ann, bob

    async def look(self, who: str, days: int) -> str:
        """One case; returns its row of the table."""
        begun, logged = self.sweeps_told(), self.wrong_told()
        await self.say(self.ann, self.bob)
        for clock in self.clocks(who):
            clock.set(days)
        alarm = await self.seconds_until('bbs_fleet_alarm{cause="wrong-clock"} 1.0')
        self.assertLess(alarm, 60.0)
        said = await self.what_is_said(logged)
        messages, sessions = self.stored()
        await self.say(self.ann, self.bob)
        await deferLater(reactor, SWEPT)
        await self.say(self.ann, self.bob)
        self.assertEqual(self.sweeps_told(), begun)
        removed = messages + 2 - self.stored()[0], sessions - self.stored()[1]
        self.assertEqual(removed, (0, 0))
        wrong = self.count(f"SELECT COUNT(*) FROM message WHERE ABS(stored - {time.time()}) > 3600")
        self.assertEqual(wrong, 0, "messages were stored by a wrong clock")
        # One that has expired, for the sweeps to go on with.
        self.assertEqual(
            self.count(
                "UPDATE message SET stored = stored - 31 * 86400 WHERE id ="
                " (SELECT least FROM (SELECT MIN(id) AS least FROM message) AS some)"
            ),
            1,
        )
        for clock in self.clocks(who):
            clock.set(0)
        well = await self.seconds_until('bbs_fleet_alarm{cause="wrong-clock"} 0.0')
        goes_on = well + await self.seconds_until_it_is_gone()
        told = await eventually(lambda: self.sweeps_told()[len(begun) :], "the log tells")
        self.assertEqual((await self.ann.asks("list-friend"))["friend"], ["bob"])
        self.assertEqual(self.stored()[1], sessions)
        return (
            f"{who:9} {days:+4d} days  {type(self).__name__:10}  removed {removed[0]} messages,"
            f" {removed[1]} sessions; alarm after {alarm:4.1f} s, gone {well:4.1f} s after;"
            f" sweeps go on {goes_on:4.1f} s after\n      {said}\n      then: {told[0]}"
        )

    def sweeps_told(self) -> list[str]:
        """The lines of the log that say what was removed."""
        return [line for line in self.site.log().splitlines() if "removed what had" in line]

    def wrong_told(self) -> list[str]:
        """The lines of the log that say that a clock is wrong."""
        return [line for line in self.site.log().splitlines() if "the clock is wrong" in line]

    async def what_is_said(self, before: Sequence[str]) -> str:
        """The alarm in the words of the page, and of the log: of another server's clock the leader
        hears when it looks again, within a minute."""
        [on_page] = (await self.web.state())["alarms"]
        self.assertIn("wrong", on_page["text"])
        told = await eventually(
            lambda: [line for line in self.wrong_told() if line not in before],
            "the log tells",
            within=65.0,
        )
        return f"page: {on_page['text']}\n      log: {told[0]}"

    async def say(self, one: Person, other: Person) -> None:
        reply = await one.asks("send", other.name, "hello")
        self.assertEqual(reply["status"], 0, reply)

    def stored(self) -> tuple[int, int]:
        """The messages and sessions that there are."""
        return tuple(self.count(f"SELECT COUNT(*) FROM {each}") for each in ("message", "session"))  # type: ignore[return-value]

    async def seconds_until(self, line: str) -> float:
        """Wait until the metrics have a line."""
        began = reactor.seconds()

        async def there() -> bool:
            return line in await self.web.get("/metrics")

        await eventually(there, line, within=90.0, every=0.5)
        return reactor.seconds() - began

    async def seconds_until_it_is_gone(self) -> float:
        began = reactor.seconds()
        old = f"SELECT COUNT(*) FROM message WHERE stored < {time.time() - KEPT}"
        await eventually(lambda: not self.count(old), "what is old goes", within=90.0, every=0.5)
        return reactor.seconds() - began

    async def live(self, cases: Sequence[tuple[str, int]]) -> None:
        await self.begin()
        for case in cases:
            print(f"\n    {await self.look(*case)}", flush=True)


class SQLite(ClockCase):
    async def test_nothing_is_lost(self) -> None:
        await self.live(CASES if os.environ.get("BBS_TEST_CLOCKS") else [(LEADER, 40)])


class MariaDBs(ClockCase):
    async def open_database(self) -> str:
        own = OwnWrongMariaDB()
        self.addCleanup(deferToThread, own.server.remove)
        self.server = own.server
        await deferToThread(own.server.start)
        self.url = own.server.url
        return self.url

    def clocks(self, who: str) -> Sequence[FakeClock]:
        return [self.server.clock] if who == DATABASE else [self.fakes[who]]

    def count(self, sql: str) -> int:
        server = self.server
        connection = pymysql.connect(
            host="127.0.0.1",
            port=server.port,
            user="bbs",
            password=server.password,
            database="bbs",
            autocommit=True,
        )
        with connection, connection.cursor() as cursor:
            changed = cursor.execute(sql)
            return int(cursor.fetchone()[0]) if sql.startswith("SELECT") else changed  # type: ignore[index]

    async def test_nothing_is_lost(self) -> None:
        await self.live(CASES if os.environ.get("BBS_TEST_CLOCKS") else [(DATABASE, 40)])
