"""What operators, and people who wait, ask of the fleet's rows."""

from __future__ import annotations

from dataclasses import asdict
from json import loads
from typing import Any

from bbs.core.values import DrainCause, State, Tally
from bbs.rules import fleet_admin, fleet_transitions, membership, servers
from bbs.rules.fleet_admin import Replacement
from bbs.rules.servers import OPERATOR, HeardServer, ServerRow, new_id
from bbs.storage.models import Place, Server
from tests.database_case import on_both_databases
from tests.rules.fleet_case import ONE, TWO, FleetCase


@on_both_databases
class Operating(FleetCase):
    """What `bbs fleet` asks."""

    def test_a_launch_for_whoever_keeps_the_fleet(self) -> None:
        server = self.call(fleet_admin.ask_launch, 7, 1, self.now)
        row = self.row(server)
        self.assertEqual((row.state, row.scope, row.capacity), (State.LAUNCHING, "", 7))
        self.keep()
        self.launch(1, scope="other")
        self.assertEqual(self.call(fleet_transitions.adopt, ONE, "test", 0), [])
        self.assertEqual(self.call(fleet_transitions.adopt, ONE, "test", 1), [server])
        self.assertEqual(self.row(server).scope, "test")
        self.assertEqual(self.call(fleet_transitions.adopt, ONE, "test", 1), [])

    def test_a_full_fleet(self) -> None:
        self.call(fleet_admin.ask_launch, 7, 1, self.now)
        self.failureResultOf(
            self.database.run(fleet_admin.ask_launch, 7, 1, self.now), fleet_admin.FleetFull
        )
        self.assertEqual(Server.select().count(), 1)
        Server.update(state=State.GONE).execute()
        self.call(fleet_admin.ask_launch, 7, 1, self.now)

    def test_a_drain_of_none_or_of_several(self) -> None:
        for server in ("abc1", "abc2", "abcd"):
            Server.insert(id=server, scope="", capacity=1, created=0.0).execute()
        Server.update(state=State.GONE).where(Server.id == "abcd").execute()
        for beginning in ("abc", "", "x", "abcd", "abc12"):
            self.failureResultOf(
                self.database.run(fleet_admin.ask_drain, beginning), fleet_admin.NoSuchServer
            )
        self.assertEqual(self.call(fleet_admin.ask_drain, "abc1"), "abc1")
        self.assertEqual([row.id for row in Server.select().where(Server.drain_asked)], ["abc1"])

    def a_server(self, id: str, version: str, **others: Any) -> None:
        values: dict[str, Any] = {"id": id, "version": version, "state": State.READY}
        values |= {"scope": "test", "capacity": 1, "created": self.now, "port": 1}
        Server.insert({**values, **others}).execute()

    def replace(self, version: str | None = None, most: int | None = None) -> Replacement:
        return self.call(fleet_admin.replace, fleet_admin.By("op", "here", 7.0), 20, version, most)

    def test_which_are_replaced(self) -> None:
        self.a_server("hand", "0.2", scope=OPERATOR)
        for state in State:
            self.a_server(state, "0.3", state=state)
        self.a_server("asked", "0.2", drain_asked=True)
        self.a_server("warned", "0.2", warned="soon")
        all_of_them = {"launching", "ready", "warm", "draining"}
        asked = self.replace()
        self.assertEqual((set(asked.servers), asked.by_hand, asked.full), (all_of_them, 1, False))
        self.assertEqual(
            {row.id for row in Server.select().where(Server.replace_asked)}, all_of_them
        )
        self.assertEqual(self.replace().servers, ())
        [deed] = self.call(fleet_admin.actions, 9)
        self.assertEqual(
            (deed.action, deed.operator, deed.at, deed.target, deed.detail),
            ("replace", "op", 7.0, "", "4 servers"),
        )

    def test_those_of_older_versions_are_replaced_first(self) -> None:
        for number, version in enumerate(("0.10", "0.9.9", "", "0.10rc1", "0.9", "0.11", "x")):
            self.a_server(str(number), version)
        self.a_server("drains", "", state=State.DRAINING)
        self.a_server("boots", "", state=State.LAUNCHING, port=None)
        found = [self.replace("0.11", 1) for _ in range(8)]
        order = [id for each in found for id in each.servers]
        self.assertEqual(order, ["2", "6", "4", "1", "3", "0", "drains"])
        self.assertEqual({each.booting for each in found}, {1})

    def test_the_older_of_one_version_first(self) -> None:
        self.a_server("young", "0.2", created=self.now + 1)
        self.a_server("old", "0.2")
        self.assertEqual(self.replace("0.3", 1).servers, ("old",))

    def test_what_is_taken_back(self) -> None:
        for state in (State.READY, State.DRAINING, State.LAUNCHING):
            self.a_server(state, "0.2", state=state)
        self.replace()
        by = fleet_admin.By("op", "here", 8.0)
        Server.update(cause=DrainCause.REPLACEMENT).where(Server.id == "draining").execute()
        self.assertEqual(set(self.call(fleet_admin.cancel, by)), {"launching", "ready"})
        self.assertEqual(self.call(fleet_admin.cancel, by), ())
        self.assertEqual(
            [row.id for row in Server.select().where(Server.replace_asked)], ["draining"]
        )
        deeds = [(deed.action, deed.detail) for deed in self.call(fleet_admin.actions, 9)]
        self.assertEqual(deeds, [("replace-cancel", "2 servers"), ("replace", "3 servers")])

    def test_the_listing(self) -> None:
        first = self.ready_server(capacity=2, host="203.0.113.7")
        for name in ("bob", "ann"):
            self.account(name)
            self.log_in(name)
        self.clock.advance(5)
        second = self.call(fleet_admin.ask_launch, 3, 20, self.now)
        gone = self.ready_server(capacity=1)
        Server.update(state=State.GONE).where(Server.id == gone).execute()
        self.assertEqual(
            [(each.server, each.people) for each in self.call(fleet_admin.listing)],
            [(self.heard(first), ("ann", "bob")), (self.heard(second), ())],
        )

    def heard(self, server: str) -> HeardServer:
        """The row, by peewee."""
        row = self.row(server)
        counts = {"counts": loads(row.counts or "{}"), "figures": loads(row.figures or "{}")}
        return HeardServer(**asdict(ServerRow.of(row)), beats=row.beats, **counts)

    def test_what_a_row_comes_to(self) -> None:
        self.keep()
        [server] = self.launch(scope="local:somebody")
        launching = ServerRow.of(self.row(server))
        self.assertEqual((launching.provider, launching.launcher), ("local", "somebody"))
        self.assertEqual(
            (launching.address, launching.launch_time, launching.free), (None, None, 0)
        )
        self.call(membership.report, server, 4711)
        self.clock.advance(3)
        self.call(fleet_transitions.mark_ready, ONE, [(server, "203.0.113.7", self.now)])
        ready = ServerRow.of(self.row(server))
        self.assertEqual(
            (ready.address, ready.launch_time, ready.free), ("203.0.113.7:4711", 3.0, 2)
        )

    def test_why_nothing_can_be_launched(self) -> None:
        self.assertIsNone(self.call(fleet_admin.refusal))
        self.keep()
        self.assertIsNone(self.call(fleet_admin.refusal))
        self.call(fleet_transitions.refuse, ONE, "over quota", self.now + 60, self.now)
        self.assertEqual(
            self.call(fleet_admin.refusal), fleet_admin.Hold("over quota", self.now + 60)
        )
        self.call(fleet_transitions.refuse, ONE, None, None, self.now)
        self.assertIsNone(self.call(fleet_admin.refusal))

    def test_a_successor_tries_for_itself(self) -> None:
        self.keep()
        self.call(fleet_transitions.refuse, ONE, "over quota", self.now + 60, self.now)
        self.call(membership.enroll, TWO)
        self.call(membership.take_lease, TWO, self.call(membership.observe, TWO, Tally()).lease)
        self.assertIsNone(self.call(fleet_admin.refusal))

    def test_when_waiting_is_hopeless(self) -> None:
        self.keep()
        self.assertFalse(self.call(fleet_admin.is_hopeless, self.now))
        self.call(fleet_transitions.refuse, ONE, "over quota", self.now + 60, self.now)
        self.assertTrue(self.call(fleet_admin.is_hopeless, self.now))
        self.assertFalse(self.call(fleet_admin.is_hopeless, self.now + 60))
        self.launch()
        self.assertFalse(self.call(fleet_admin.is_hopeless, self.now))

    def test_a_fleet_that_cannot_grow(self) -> None:
        self.keep()
        self.ready_server(capacity=1)
        self.person("ann")

        def is_crowded(maximum: int) -> bool:
            return self.call(fleet_admin.outlook, self.now, maximum).crowded

        running = servers.running().count()
        self.assertFalse(is_crowded(running))  # Trusted people do not give way.
        Place.update(origin="192.0.2.1").execute()
        self.assertEqual([is_crowded(running + more) for more in (1, 0)], [False, True])
        # Where nothing is launched but by hand.
        self.assertTrue(is_crowded(0))
        self.call(fleet_transitions.refuse, ONE, "over quota", self.now + 60, self.now)
        self.assertTrue(is_crowded(running + 1))
        self.launch()
        self.assertFalse(is_crowded(running))

    def test_how_long_launches_take(self) -> None:
        self.assertIsNone(self.call(fleet_admin.launches_under_way, self.now))
        for seconds in (100, 1, 2, 3, 4, 5):
            Server.insert(
                id=new_id(),
                state=State.READY,
                scope="",
                capacity=1,
                created=self.now,
                ready=self.now + seconds,
            ).execute()
            self.clock.advance(1000)
        launches = self.call(fleet_admin.launches_under_way, self.now)
        self.assertEqual(launches, fleet_admin.LaunchTimes(usual=3.0, oldest=0.0))
        self.call(fleet_admin.ask_launch, 1, 20, self.now)
        self.clock.advance(2)
        self.call(fleet_admin.ask_launch, 1, 20, self.now)
        self.clock.advance(1)
        launches = self.call(fleet_admin.launches_under_way, self.now)
        self.assertEqual(launches, fleet_admin.LaunchTimes(usual=3.0, oldest=3.0))
