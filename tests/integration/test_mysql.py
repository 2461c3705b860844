"""A MySQL or MariaDB that is slow, away, locked or closed to us: what its callers see, and when.

What people do to each other at the same moment is in `test_concurrency`, and the rules themselves
run on it in `tests/test_rules_….py`.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import peewee
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import provider

from bbs.board import board
from bbs.board.groups.tables import Group
from bbs.core.clock import IReactor
from bbs.core.errors import Unavailable
from bbs.core.threads import Workers
from bbs.storage import migrations
from bbs.storage.database import Database, bulk, for_update, read_only
from bbs.storage.engines import IN_C, IN_PYTHON, DatabaseRefused, connect_to
from tests.database_case import by_driver, execute_once, fresh_mysql_url
from tests.in_process import run_here
from tests.integration.test_stomp_tls import certificate
from tests.services import OwnMariaDB, OwnServer, common_mariadb
from tests.services.server import freeze
from tests.services.servers import MariaDB

_log = Logger()

CONNECTIONS = 8

AT_ONCE = 8.0
"""Seconds within which a call is answered, and within which service returns."""


def add(name: str) -> str:
    Group.insert(name=name, channel="").execute()
    return name


@read_only
def count() -> int:
    number: int = Group.select().count()
    return number


def statement(sql: str) -> Callable[[], Any]:
    """A rule that runs one statement, and gives the first column of its first row."""

    def rule() -> Any:
        row = Group._meta.database.execute_sql(sql).fetchone()
        return row and row[0]

    return rule


class MySQLCase(TestCase):
    """A test with a database as a server has it: threads, and the real clock."""

    timeout = 120
    driver = IN_PYTHON

    async def open(self, url: str) -> Database:
        """The database at `url`, its schema up to date."""
        workers = Workers(cast("IReactor", reactor), "database", 1)
        workers.startService()
        self.addCleanup(workers.stopService)
        database = Database(url, workers, reactor, connections=CONNECTIONS)
        await database.run_untimed(migrations.upgrade, database.peewee, board.schema)
        # Several threads have their connection.
        busy = [database.run(statement("SELECT SLEEP(0.05)")) for _ in range(CONNECTIONS)]
        await gatherResults(busy)
        return database

    async def timed(self, awaitable: Awaitable[Any]) -> tuple[Any, float]:
        """What it gives or raises, and in how many seconds."""
        started = reactor.seconds()
        try:
            result = await awaitable
        except Exception as error:
            result = error
        return result, reactor.seconds() - started

    async def unavailable(self, database: Database, calls: int) -> float:
        """Check that each of so many calls is refused in time; returns the longest time in s."""
        timed = [self.timed(database.run(add, f"lost {number}")) for number in range(calls)]
        outcomes = await gatherResults([Deferred.fromCoroutine(one) for one in timed])
        for result, seconds in outcomes:
            self.assertIsInstance(result, Unavailable)
            self.assertLess(seconds, AT_ONCE)
        return max(seconds for _, seconds in outcomes)

    async def until_served(self, database: Database) -> float:
        """Seconds until a call is served again, and every one behind it."""
        started = reactor.seconds()
        while True:
            result, _ = await self.timed(database.run(count))
            if not isinstance(result, Unavailable):
                break
            await deferLater(reactor, 0.02, lambda: None)
        seconds = reactor.seconds() - started
        await gatherResults([database.run(count) for _ in range(2 * CONNECTIONS)])
        return seconds

    def note(self, what: str, seconds: float) -> None:
        """Leave a figure in trial's `test.log`."""
        _log.info("{test}: {what} {seconds:.2f} s", test=self.id(), what=what, seconds=seconds)


class Outages(MySQLCase):
    """The database goes, in each of the ways that it has, and comes back."""

    async def open_own(self) -> tuple[OwnMariaDB, Database]:
        own = common_mariadb()
        await own.start()
        name = f"bbs_{secrets.token_hex(6)}"
        execute_once(own.url, f"CREATE DATABASE {name}")
        database = await self.open(by_driver(f"{own.url.rpartition('/')[0]}/{name}", self.driver))
        await database.run(add, "before")
        return own, database

    async def away(self, database: Database) -> None:
        """Calls that were under way, that come at once, and that come one after the other."""
        longest = await self.unavailable(database, 3 * CONNECTIONS)
        for _ in range(2):
            longest = max(longest, await self.unavailable(database, 1))
        self.assertFalse(database.available)
        self.note("refused within", longest)

    async def back(self, database: Database) -> None:
        seconds = await self.until_served(database)
        self.note("served again after", seconds)
        self.assertLess(seconds, AT_ONCE)
        self.assertEqual(await database.run(count), 1)
        await database.run(add, "after")

    async def test_killed(self) -> None:
        own, database = await self.open_own()
        waiting = self.timed(database.run(statement("SELECT SLEEP(1)")))
        under_way = Deferred.fromCoroutine(waiting)
        await own.kill()
        result, seconds = await under_way
        self.assertIsInstance(result, Unavailable)
        self.assertLess(seconds, AT_ONCE)
        await self.away(database)
        await own.start()
        await self.back(database)

    async def test_stopped(self) -> None:
        own, database = await self.open_own()
        await own.stop()
        await self.away(database)
        await own.start()
        await self.back(database)

    async def test_frozen(self) -> None:
        """Connections stand, and new ones are even made, but nobody answers."""
        own, database = await self.open_own()
        assert own.server.pid is not None
        self.addCleanup(os.kill, own.server.pid, signal.SIGCONT)
        freeze(own.server.pid)
        await self.away(database)
        os.kill(own.server.pid, signal.SIGCONT)
        await self.back(database)

    async def test_killed_while_it_was_idle(self) -> None:
        """And started again: no call finds out."""
        own, database = await self.open_own()
        await own.kill()
        await own.start()
        results = await gatherResults([database.run(count) for _ in range(3 * CONNECTIONS)])
        self.assertEqual(set(results), {1})


class Sessions(MySQLCase):
    """What each connection is set to, and what happens to it."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.url = fresh_mysql_url(self.driver)
        self.database = await self.open(self.url)

    async def test_settings(self) -> None:
        for sql, expected in (
            ("SELECT @@session.transaction_isolation", "READ-COMMITTED"),
            ("SELECT @@session.innodb_lock_wait_timeout", 1),
            ("SELECT @@session.group_concat_max_len", 1 << 24),
            ("SELECT @@session.character_set_client", "utf8mb4"),
            ("SELECT @@session.character_set_connection", "utf8mb4"),
            ("SELECT @@session.character_set_results", "utf8mb4"),
        ):
            self.assertEqual(await self.database.run(statement(sql)), expected)

    async def test_every_text_is_compared_byte_for_byte(self) -> None:
        others = await self.database.run(
            statement(
                "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE()"
                " AND collation_name IS NOT NULL AND collation_name <> 'utf8mb4_bin'"
            )
        )
        engines = await self.database.run(
            statement(
                "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()"
                " AND engine <> 'InnoDB'"
            )
        )
        self.assertEqual((others, engines), (0, 0))

    async def test_connections_that_the_server_closed(self) -> None:
        """As it does with those that were idle for long: no call finds out."""
        name = self.url.rpartition("/")[2]
        other = connect_to(self.url)
        other.connect()
        self.addCleanup(other.close)
        own = other.execute_sql("SELECT CONNECTION_ID()").fetchone()[0]
        found = other.execute_sql(
            "SELECT id FROM information_schema.processlist WHERE db = %s AND id <> %s", (name, own)
        ).fetchall()
        self.assertGreater(len(found), 2)
        self.assertLessEqual(len(found), CONNECTIONS)
        for (connection,) in found:
            other.execute_sql(f"KILL {connection}")
        calls = [self.database.run(add, f"group{number}") for number in range(3 * CONNECTIONS)]
        await gatherResults(calls)
        self.assertEqual(await self.database.run(count), 3 * CONNECTIONS)

    async def test_a_statement_that_takes_too_long(self) -> None:
        slow = self.timed(self.database.run(statement("SELECT SLEEP(20)")))
        asked: list[Deferred[Any]] = [Deferred.fromCoroutine(slow), self.database.run(count)]
        (result, seconds), quick = await gatherResults(asked)
        self.assertIsInstance(result, Unavailable)
        self.assertLess(seconds, AT_ONCE)
        self.assertEqual(quick, 0)

    async def test_a_thread_does_not_wait_for_ever(self) -> None:
        other = connect_to(self.url)

        def ask() -> None:
            other.connect()
            try:
                other.execute_sql("SELECT SLEEP(20)")
            finally:
                other.close()

        error, seconds = await self.timed(deferToThread(ask))
        self.assertIsInstance(error, peewee.OperationalError)
        self.assertLess(seconds, 2 * AT_ONCE)

    async def test_a_lock_that_is_held_for_long(self) -> None:
        """Who needs it is refused in time; everybody else is served meanwhile."""
        await self.database.run(add, "go")
        holder = connect_to(self.url)
        holder.connect()
        self.addCleanup(holder.close)
        holder.begin()
        holder.execute_sql("UPDATE chat_group SET channel = 'held'")

        def change() -> int:
            changed: int = Group.update(channel="changed").execute()
            return changed

        waiting = Deferred.fromCoroutine(self.timed(self.database.run(change)))
        self.assertEqual(await self.database.run(count), 1)
        await self.database.run(add, "chess")
        result, seconds = await waiting
        self.assertIsInstance(result, Unavailable)
        self.assertLess(seconds, AT_ONCE)
        waiting = Deferred.fromCoroutine(self.timed(self.database.run(change)))
        await self.database.run(count)
        holder.rollback()
        result, seconds = await waiting
        self.assertEqual(result, 2)
        self.assertLess(seconds, AT_ONCE)

    async def test_a_deadlock(self) -> None:
        """The database ends one of the two, which is tried again."""
        for name in ("go", "chess"):
            await self.database.run(add, name)
        both_hold_one = threading.Barrier(2)
        tried: list[str] = []

        def lock(first: str, second: str) -> None:
            tried.append(first)
            for_update(Group.select().where(Group.name == first)).first()
            if len(tried) <= 2:
                both_hold_one.wait(10)
            for_update(Group.select().where(Group.name == second)).first()

        await gatherResults(
            [self.database.run(lock, "go", "chess"), self.database.run(lock, "chess", "go")]
        )
        self.assertEqual(len(tried), 3)

    async def test_a_lock_that_one_of_sixteen_waits_for(self) -> None:
        """The others share its call; they are soon made alone, on the other threads."""
        names = [f"group {number}" for number in range(16)]
        for name in names:
            await self.database.run(add, name)
        locked = connect_to(self.url)
        locked.connect()
        locked.begin()
        locked.execute_sql("SELECT id FROM chat_group WHERE name = 'group 6' FOR UPDATE")

        @bulk(str)
        def change(several: Sequence[str]) -> Sequence[str]:
            for name in several:
                Group.update(channel="changed").where(Group.name == name).execute()
            return several

        timed = [self.timed(self.database.run(change, name)) for name in names]
        outcomes = await gatherResults([Deferred.fromCoroutine(each) for each in timed])
        locked.rollback()
        locked.close()
        refused = [
            name for name, (result, _) in zip(names, outcomes, strict=True) if result != name
        ]
        self.assertEqual(refused, ["group 6"])

    async def test_what_a_rule_that_failed_held_is_free(self) -> None:
        await self.database.run(add, "go")

        def fail() -> None:
            Group.update(channel="changed").execute()
            raise ZeroDivisionError()

        for _ in range(CONNECTIONS):
            await self.assertFailure(self.database.run(fail), ZeroDivisionError)
        _, seconds = await self.timed(self.database.run(statement("UPDATE chat_group SET id = 7")))
        self.assertLess(seconds, AT_ONCE)


class Refusals(MySQLCase):
    """A database that will not have us: one line, and no traceback."""

    def wrong(self, user: str, password: str, name: str) -> str:
        """The tests' database, with something wrong in its URL."""
        url = fresh_mysql_url(self.driver)
        scheme, _, rest = url.partition("://")
        credentials, _, place = rest.rpartition("@")
        right_user, _, right_password = credentials.partition(":")
        address, _, right_name = place.partition("/")
        return (
            f"{scheme}://{user or right_user}:{password or right_password}@{address}"
            f"/{name or right_name}"
        )

    async def check(self, url: str, reason: str) -> None:
        password = url.rpartition("@")[0].rpartition(":")[2]
        workers = Workers(cast("IReactor", reactor), "database", 1)
        workers.startService()
        self.addCleanup(workers.stopService)
        log: list[str] = []

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event["log_namespace"].startswith("bbs.storage."):
                log.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        database = Database(url, workers, reactor)
        opening = database.run_untimed(migrations.upgrade, database.peewee, board.schema)
        refused = await self.assertFailure(opening, DatabaseRefused)
        await self.assertFailure(database.run(count), Unavailable)
        ended = run_here("db", "status", environ={"BBS_DATABASE_URL": url})
        self.assertEqual((ended.exit_code, ended.output), (1, ""))
        self.assertNotEqual(log, [])
        for told in (str(refused), ended.errors.rstrip("\n"), *log):
            self.assertIn(reason, told)
            self.assertNotIn("\n", told)
            self.assertNotIn(password, told)

    async def test_wrong_password(self) -> None:
        await self.check(self.wrong("", "not-the-password", ""), "Access denied for user")

    async def test_no_such_user(self) -> None:
        await self.check(self.wrong("nobody", "", ""), "Access denied for user")

    async def test_no_such_database(self) -> None:
        await self.check(self.wrong("", "", "no_such_database"), "no_such_database")

    async def test_nobody_listens(self) -> None:
        own = OwnMariaDB()
        self.addCleanup(own.remove)
        await self.check(by_driver(own.url, self.driver), "Connection refused")

    async def test_a_newer_schema(self) -> None:
        url = fresh_mysql_url(self.driver)
        database = await self.open(url)
        execute_once(url, "UPDATE schema_version SET version = 99")
        opening = database.run_untimed(migrations.upgrade, database.peewee, board.schema)
        refused = await self.assertFailure(opening, DatabaseRefused)
        self.assertEqual(
            str(refused),
            "the database has schema 99, newer than this program's"
            f" {migrations.VERSION}: upgrade bbs",
        )


class Bugs(MySQLCase):
    async def test_a_mistake_in_a_statement_is_an_error(self) -> None:
        database = await self.open(fresh_mysql_url(self.driver))
        await self.assertFailure(
            database.run(statement("SELECT no_column FROM chat_group")), peewee.OperationalError
        )
        self.assertTrue(database.available)


class WithCertificate(MariaDB):
    """A MariaDB that shows a certificate."""

    @property
    def certificate(self) -> str:
        """The path of what it shows."""
        return str(self.folder / "certificate.pem")

    def commands(self) -> Sequence[Sequence[str]]:
        (command,) = super().commands()
        return [[*command, f"--ssl-cert={self.certificate}", f"--ssl-key={self.certificate}"]]


class OwnWithCertificate(OwnServer):
    kind = WithCertificate


class Encrypted(MySQLCase):
    async def test_only_who_is_vouched_for_is_told_the_password(self) -> None:
        own = OwnWithCertificate()
        self.addCleanup(own.remove)
        right = certificate("localhost", WithCertificate(own.server.folder).certificate)
        wrong = certificate("localhost", f"{own.server.folder}/wrong.pem")
        await own.start()
        url = by_driver(own.url, self.driver)
        by_name = url.replace("127.0.0.1", "localhost")
        database = connect_to(f"{by_name}?tls_ca={right}")
        database.connect()
        self.addCleanup(database.close)
        ((_, cipher),) = database.execute_sql("SHOW STATUS LIKE 'Ssl_cipher'").fetchall()
        self.assertNotEqual(cipher, "")
        for other in (f"{by_name}?tls_ca={wrong}", f"{url}?tls_ca={right}"):
            self.assertRaises(peewee.OperationalError, connect_to(other).connect)

    async def test_a_user_who_has_to_use_it(self) -> None:
        """Though nobody can listen between here and this machine."""
        own = OwnWithCertificate()
        self.addCleanup(own.remove)
        certificate("localhost", WithCertificate(own.server.folder).certificate)
        await own.start()
        execute_once(own.url, "ALTER USER CURRENT_USER() REQUIRE SSL")
        database = connect_to(by_driver(own.url, self.driver))
        database.connect()
        self.addCleanup(database.close)
        ((_, cipher),) = database.execute_sql("SHOW STATUS LIKE 'Ssl_cipher'").fetchall()
        self.assertNotEqual(cipher, "")


class InC(MySQLCase):
    """The same by the driver in C: `txbbs[fast-mysql]`."""

    driver = IN_C


class OutagesInC(InC, Outages):
    pass


class SessionsInC(InC, Sessions):
    pass


class RefusalsInC(InC, Refusals):
    pass


class EncryptedInC(InC, Encrypted):
    pass


class BugsInC(InC, Bugs):
    pass
