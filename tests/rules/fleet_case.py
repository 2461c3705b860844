"""Tests of the fleet's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bbs.core.values import DrainCause, State, Tally
from bbs.rules import fleet_transitions, membership
from bbs.rules.membership import Member
from bbs.rules.placement import Move
from bbs.storage.database import rows
from bbs.storage.models import Lease, LoginServer, Place, Server, Waiter
from tests.database_case import RulesCase

ONE = Member("1" * 32, "here")
TWO = Member("2" * 32, "somewhere else")


class FleetCase(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        Server.delete().execute()

    def keep(self, me: Member = ONE) -> None:
        """Make `me` the controller."""
        self.call(membership.enroll, me)
        self.assertEqual(self.call(membership.observe, me, Tally()).lease.holder, me.id)

    def launch(self, count: int = 1, scope: str = "test", maximum: int = 20) -> list[str]:
        args = (ONE, count, scope, 2, maximum, self.now)
        return list(self.call(fleet_transitions.add_launches, *args))

    def row(self, server: str) -> Server:
        return Server.get(Server.id == server)

    def standing(self, server: str) -> tuple[str, str, str]:
        """Its state, and why: the cause, and the reason."""
        row = self.row(server)
        return row.state, row.cause, row.reason

    def drain(
        self, server: str, cause: DrainCause, reason: str = "", seen: int = 9
    ) -> list[Move] | None:
        return self.call(fleet_transitions.drain, ONE, server, cause, reason, seen, self.now)

    def states(self) -> list[State]:
        return [State(row.state) for row in Server.select().order_by(Server.created, Server.id)]

    def not_controller(self, rule: Callable[..., Any], *arguments: Any) -> None:
        before = self.everything()
        self.failureResultOf(self.database.run(rule, *arguments), fleet_transitions.NotLeader)
        self.assertEqual(self.everything(), before)

    def everything(self) -> list[list[str]]:
        tables = (Server, Place, Lease, LoginServer, Waiter)
        return [sorted(map(str, rows(table.select()))) for table in tables]

    def start(self, capacity: int = 2) -> str:
        """A server that was launched and is ready."""
        [server] = self.call(fleet_transitions.add_launches, ONE, 1, "test", capacity, 20, self.now)
        self.assertTrue(self.call(membership.report, server, 22223))
        self.call(fleet_transitions.mark_ready, ONE, [(server, "host", self.now)])
        return server
