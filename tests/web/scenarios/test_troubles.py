"""What goes wrong on servers of both kinds, counted there and told on the page of each."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from bbs.board import board
from bbs.core.values import ERRORS, Trouble
from bbs.framework import Service
from bbs.storage.models import HeartbeatRow, LoginServer, Server
from bbs.testing import MemoryService
from tests.failing_commands import FAILING
from tests.memory_service import configuration
from tests.web.test_metrics import MetricsCase

METRIC = "bbs_fleet_errors_total"


class TroublesCase(MetricsCase):
    offered: Service = replace(board, commands=(*board.commands, FAILING))

    def errors(self) -> dict[str, int]:
        """Those of the last minute that are not nought."""
        told = self.browser().get("/state").json["errors_per_minute"]
        self.assertEqual([*told], [*ERRORS.values()])
        return {kind: count for kind, count in told.items() if count}


class Counting(TroublesCase):
    def test_wrong_passwords(self) -> None:
        self.service.people("ann")
        self.pass_time(11)
        for name in ("ann", "nobody"):
            self.assertEqual(self.service.peer().ask(f"login {name} wrong")["status"], 1)
        self.pass_time(11)
        self.assertEqual(self.browser().get("/state").json["failed_logins_per_minute"], 2)
        self.assertEqual(self.samples()["bbs_fleet_failed_logins_total"], 2)
        self.assertEqual(self.errors(), {})
        self.pass_time(60)
        self.assertEqual(self.browser().get("/state").json["failed_logins_per_minute"], 0)

    def test_bugs_at_both_kinds_of_servers(self) -> None:
        tokens = self.service.people("ann")
        self.pass_time(11)
        for peer in (self.service.at_home(tokens["ann"]), self.service.peer()):
            self.assertEqual(peer.ask(f"divide {tokens['ann']}")["code"], "internal-error")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.pass_time(11)
        self.assertEqual(self.errors(), {"internal": 2})
        self.assertEqual(self.samples()[f"{METRIC}{{internal}}"], 2)

    def test_the_database_was_away(self) -> None:
        tokens = self.service.people("ann")
        self.pass_time(11)
        home = self.service.at_home(tokens["ann"])
        self.assertEqual(home.ask(f"look {tokens['ann']}")["code"], "unavailable")
        self.pass_time(11)
        self.assertEqual(self.errors(), {"unavailable": 1})

    def test_who_is_over_a_rate(self) -> None:
        self.pass_time(11)
        limits = self.service.login.home.login.limits.logins
        codes = []
        for _ in range(40):
            codes.append(self.service.peer().ask("login ann wrong")["code"])
        refused = codes.count("too-many-attempts")
        self.assertGreater(refused, 0, limits)
        self.pass_time(11)
        self.assertEqual(self.errors(), {"too-many-attempts": refused})

    def test_nobody_is_counted_who_has_gone(self) -> None:
        """A peer that leaves while it waits is no bug."""
        self.service.boots = False
        self.service.people("ann", "bob")
        peer = self.service.peer()
        peer.ask("register eva pw")
        peer.say("login eva pw")
        self.pass_time(2)
        peer.protocol.connectionLost(Failure(ConnectionDone()))
        self.pass_time(11)
        self.assertEqual(self.errors(), {})

    def test_all_servers_are_added_up(self) -> None:
        LoginServer.insert(id="other", identity="", figures="{}").execute()
        self.watcher()
        self.pass_time(2)
        figures = '{"failed_logins": 5, "errors_internal": 2}'
        LoginServer.update(figures=figures).where(LoginServer.id == "other").execute()
        self.service.servers = {}
        apps = HeartbeatRow.server.in_(Server.select(Server.id))
        HeartbeatRow.update(figures='{"errors_internal": 1}').where(apps).execute()
        self.pass_time(2)
        self.assertEqual(self.browser().get("/state").json["failed_logins_per_minute"], 5)
        self.assertEqual(self.errors(), {"internal": 3})

    def test_one_of_an_older_version_tells_nothing(self) -> None:
        self.watcher()
        self.service.servers = {}
        HeartbeatRow.delete().execute()
        self.pass_time(2)
        self.assertEqual(self.errors(), {})

    def test_each_has_a_word(self) -> None:
        self.assertEqual({*ERRORS} | {Trouble.FAILED_LOGINS}, {*Trouble})


class WithOneConnection(TroublesCase):
    def make_service(self) -> MemoryService:
        config = configuration(self.policy)
        limits = replace(config.limits, connections=1, trusted=())
        return MemoryService(self.offered, config=replace(config, limits=limits))

    def test_connections_that_are_refused(self) -> None:
        self.pass_time(11)
        self.service.peer()
        self.service.peer()
        self.pass_time(11)
        self.assertEqual(self.errors(), {"too-many-connections": 1})
