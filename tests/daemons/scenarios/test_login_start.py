"""What a login server says at its start."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.board import board
from bbs.board.quotas import Quotas
from bbs.config import Configuration, Limits, load
from bbs.config.sections import Fleet
from bbs.core.addresses import ListeningPlace
from bbs.core.clock import IReactor
from bbs.daemons import fleet
from bbs.daemons.composition import admission_of
from bbs.daemons.daemon import Daemon
from bbs.daemons.login import LoginServerDaemon
from bbs.framework import Service
from bbs.rules import membership
from bbs.rules.membership import Member
from bbs.storage.database import ConnectionLimit, Database, connection_limit
from bbs.storage.engines import DatabaseRefused
from tests.database_case import RulesCase, on_both_databases


@dataclass
class Port:
    """Something that listens."""

    host: IAddress

    def getHost(self) -> IAddress:
        return self.host


class Advice(SynchronousTestCase):
    """Where others than this machine come, passwords have eight characters at least."""

    def said(self, *hosts: IAddress, minimum: int = 1) -> list[str]:
        """What a server says that listens there."""
        said = self.log()
        config = Configuration(limits=Limits(password_minimum=minimum))
        server = LoginServerDaemon(
            board, config, self.mktemp(), cast("IReactor", Clock()), said.append
        )
        server.advise(cast("list[IListeningPort]", [Port(host) for host in hosts]))
        return said

    def log(self) -> list[str]:
        """The lines of the log from now on."""
        said: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            said.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return said

    def test_of_a_key_that_its_service_has_no_more(self) -> None:
        """In one line when the process begins; the board still has it."""
        for service, limits, count in (
            (Service("lobby"), Limits(friends=5), 1),
            (board, Quotas(friends=5), 0),
        ):
            config = Configuration(limits=limits)
            said = self.log()
            LoginServerDaemon(
                service, config, self.mktemp(), cast("IReactor", Clock()), said.append
            )._begin_process()
            self.assertEqual(sum("limits.friends is no key" in line for line in said), count)

    def test_in_one_line(self) -> None:
        everywhere = (IPv4Address("TCP", "0.0.0.0", 22222), IPv6Address("TCP", "::", 22222))
        for hosts in (everywhere, everywhere[:1], everywhere[1:]):
            (line,) = self.said(*hosts)
            self.assertIn("limits.password_minimum is 1", line)
            self.assertIn("8 is advised (NIST SP 800-63B)", line)
            self.assertNotIn("\n", line)

    def test_beside_loopback(self) -> None:
        hosts = (IPv4Address("TCP", "127.0.0.1", 1), IPv4Address("TCP", "192.0.2.1", 1))
        self.assertEqual(len(self.said(*hosts, minimum=7)), 1)

    def test_not_where_nobody_else_comes(self) -> None:
        hosts = (
            IPv4Address("TCP", "127.0.0.1", 1),
            IPv4Address("TCP", "127.9.9.9", 1),
            IPv6Address("TCP", "::1", 1),
            UNIXAddress("/run/bbs"),
        )
        self.assertEqual(self.said(*hosts), [])

    def test_not_where_it_is_so(self) -> None:
        self.assertEqual(self.said(IPv4Address("TCP", "0.0.0.0", 1), minimum=8), [])


class Listening(SynchronousTestCase):
    """Why a server cannot listen, and what to do."""

    def test_what_to_do(self) -> None:
        place = ListeningPlace("tcp:80")
        for number, advice in (
            (errno.EADDRINUSE, ": another program listens there: stop it, or choose another port"),
            (errno.EADDRNOTAVAIL, ": this machine has no such address: choose one of its own"),
            (errno.EACCES, ": ports below 1024 are for root: choose another port"),
            (errno.EMFILE, ""),
        ):
            trouble = OSError(number, os.strerror(number))

            class Reactor(Clock):
                def listenTCP(self, *place: Any, **options: Any) -> None:
                    raise CannotListenError("", 80, trouble)  # noqa: B023

            reasons: list[str] = []
            server = Listener(board, load(None, {}), cast("IReactor", Reactor()), reasons.append)
            server.admission = admission_of(server.reactor, server.config.limits)
            failure = self.failureResultOf(Deferred.fromCoroutine(server.listen((place,), FACTORY)))
            self.assertEqual(str(failure.value), f"cannot listen on {place}: {trouble}{advice}")


class Listener(Daemon):
    kind = "listener"


FACTORY: Any = Factory()


@on_both_databases
class Connections(RulesCase):
    """Those that the fleet may open, and those that the database takes."""

    def warning(self, limit: ConnectionLimit | None, **fleet_keys: Any) -> str:
        self.patch(fleet, "connection_limit", lambda: limit)
        config = Configuration(fleet=Fleet(**fleet_keys))
        said: str = self.call(fleet.connection_shortage, config)
        return said

    def test_what_is_too_much(self) -> None:
        limit = ConnectionLimit(167, "max_connections")
        self.assertEqual(
            self.warning(limit),
            "the fleet may open 168 connections, and the database takes 167 (max_connections):"
            " fleet.maximum = 20, login servers = 1, and each has database.pool_size = 8. Raise"
            " max_connections above 168, or lower one of these",
        )
        self.assertEqual(self.warning(limit, maximum=19), "")
        self.assertEqual(self.warning(ConnectionLimit(168, "max_connections")), "")
        for id in "12":
            self.call(membership.enroll, Member(id, ""))
        self.assertIn("login servers = 2", self.warning(limit, maximum=19))

    def test_where_nothing_is_known(self) -> None:
        few = ConnectionLimit(1, "max_connections")
        self.assertEqual(self.warning(None), "")
        self.assertEqual(self.warning(few, provider="none"), "")

    def test_the_limit(self) -> None:
        limit: Any = self.call(connection_limit)
        if not self.on_mysql:
            self.assertIsNone(limit)
            return
        self.assertEqual(limit.name, "max_connections")
        self.assertGreater(limit.number, 10)
        answers = [(151, 20)]
        self.patch(self.database.peewee, "execute_sql", lambda sql: Answer(answers))
        self.assertEqual(connection_limit(), ConnectionLimit(20, "max_user_connections"))


@dataclass
class Answer:
    """The cursor of a statement."""

    rows: list[tuple[int, int]]

    def fetchone(self) -> tuple[int, int]:
        return self.rows[0]


class ConnectionsAtTheStart(SynchronousTestCase):
    def said(self, answer: Deferred[str]) -> list[str]:
        said: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            said.append(formatEvent(event))

        class Asked:
            def run_at_start(self, rule: object, config: Configuration) -> Deferred[str]:
                return answer

        server = LoginServerDaemon(
            board, Configuration(), self.mktemp(), cast("IReactor", Clock()), said.append
        )
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        checked = server._check_connections(cast("Database", Asked()))
        self.successResultOf(Deferred.fromCoroutine(checked))
        return said

    def test_a_warning(self) -> None:
        self.assertEqual(self.said(succeed("too many {of them}")), ["too many {of them}"])

    def test_nothing_to_say(self) -> None:
        self.assertEqual(self.said(succeed("")), [])
        self.assertEqual(self.said(fail(DatabaseRefused("no such variable"))), [])
