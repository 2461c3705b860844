"""What one look at the service shows, and the record of what operators did."""

from __future__ import annotations

from typing import Any

from bbs.core.values import DrainCause, LossCause, State, Tally
from bbs.rules import fleet_admin, membership, overview, servers
from bbs.rules.fleet_admin import By, FleetFull, NoSuchServer
from bbs.rules.overview import GONE_SHOWN, Failures, Overview
from bbs.storage.models import Action, Lease, LoginServer, Place, Server
from tests.database_case import RulesCase, on_both_databases
from tests.rules.crowds import crowd

ME = membership.Member("me", "here")
BY = By("liz", "192.0.2.1", 1_000_000.0)


@on_both_databases
class Looking(RulesCase):
    def look(self, names: bool = False) -> Overview:
        """One look."""
        return self.call(overview.overview, self.now, names)

    def test_servers(self) -> None:
        self.people("ann", "bob")
        self.call(membership.beat, self.server, {"messages": 7})
        self.clock.advance(1)
        self.call(fleet_admin.ask_launch, 10, 5, self.now)
        ready, launching = self.look().servers
        self.assertEqual((ready.id, ready.taken, ready.free), (self.server, 2, 998))
        self.assertEqual(
            (ready.state, ready.counts, ready.beats), (State.READY, {"messages": 7}, 1)
        )
        self.assertEqual(ready.launch_time, 0.0)
        self.assertEqual((launching.state, launching.free), (State.LAUNCHING, 0))
        self.assertIsNone(launching.launch_time)

    def test_those_that_ended_are_shown_for_a_while(self) -> None:
        Server.update(state=State.GONE, ended=self.now).execute()
        self.clock.advance(GONE_SHOWN)
        self.assertEqual([each.id for each in self.look().servers], [self.server])
        self.clock.advance(1)
        self.assertEqual(self.look().servers, ())

    def test_who_waits(self) -> None:
        self.assertEqual((self.look().waiting, self.look().waiting_since), (0, None))
        self.call(membership.enroll, ME)
        self.call(membership.wait, ME, "w1", "eva", self.now + 5)
        self.call(membership.wait, ME, "w2", "eva", self.now + 3)
        self.call(membership.wait, ME, "w3", "max", self.now + 9)
        self.person("ann")
        Place.update(server=None).execute()
        seen = self.look(names=True)
        self.assertEqual((seen.waiting, seen.waiting_since), (3, self.now + 3))
        self.assertEqual(seen.who, {"": ("ann", "eva", "max")})

    def test_names(self) -> None:
        self.people("bob", "ann")
        self.assertIsNone(self.look().who)
        self.assertEqual(self.look(names=True).who, {self.server: ("ann", "bob")})

    def test_no_more_names_than_that(self) -> None:
        crowd(overview.NAMES_SHOWN + 1, self.server)
        who = self.look(names=True).who
        assert who is not None
        self.assertEqual(len(who[self.server]), 2000)

    def test_login_servers(self) -> None:
        self.call(membership.observe, ME, Tally(7, {"joins": 1}))
        self.call(membership.observe, ME, Tally(8, {"joins": 3, "leaves": 2}))
        LoginServer.insert(id="older", identity="").execute()
        self.assertEqual(
            {each.id: (each.logins, each.counts) for each in self.look().login_servers},
            {"me": (8, {"joins": 3, "leaves": 2}), "older": (0, {})},
        )

    def test_nodes_of_the_database(self) -> None:
        """Those of servers that run, by their last heartbeats."""
        self.assertEqual(self.look().nodes, ())
        other = self.call(membership.join, "10.0.0.2", 1, 10, self.now)
        self.call(membership.beat, self.server, {}, node="n2")
        self.call(membership.beat, other, {}, node="n3")
        self.call(membership.attend, ME, Tally(), "n1")
        self.assertEqual(self.look().nodes, ("n1", "n2", "n3"))
        Server.update(state=State.GONE).where(Server.id == other).execute()
        self.call(membership.attend, ME, Tally(), "n2")
        self.assertEqual(self.look().nodes, ("n2",))

    def test_launches_and_refusals(self) -> None:
        self.assertEqual((self.look().usual, self.look().refusal), (0.0, None))
        Server.update(ready=self.now + 4.5).execute()
        Lease.insert(
            name="fleet", holder="me", identity="", refusal="over quota", refused_until=9.0
        ).execute()
        seen = self.look()
        self.assertEqual(seen.usual, 4.5)
        self.assertEqual(seen.refusal, fleet_admin.Hold("over quota", 9.0))

    def launch(
        self, cause: DrainCause | LossCause | None = None, state: State = State.GONE, **row: Any
    ) -> str:
        """A launch that was decided a second after the last one; what has become of it."""
        self.clock.advance(1)
        server = servers.add("local", 10, self.now)
        # Its reason does not count.
        values = {"state": state, "cause": cause or "", "reason": "failed: so", **row}
        Server.update(values).where(Server.id == server).execute()
        return server

    def test_launches_that_failed_in_a_row(self) -> None:
        self.assertEqual(self.look().failures, Failures())
        self.launch(LossCause.LATE)
        self.launch(LossCause.FAILED, State.LOST)
        self.launch(None, State.LAUNCHING)  # Not decided yet.
        self.assertEqual(self.look().failures, Failures(count=2, lasted=2.0, ago=1.0))
        self.clock.advance(3600)
        self.assertEqual(self.look().failures, Failures(count=2, lasted=3602.0, ago=3601.0))
        # These neither succeeded nor failed.
        for other in (DrainCause.OPERATOR, LossCause.REFUSED, LossCause.ENDED, None):
            self.launch(other)
        self.assertEqual(self.look().failures.count, 2)
        self.launch(LossCause.FAILED)
        self.assertEqual(self.look().failures.count, 3)

    def test_a_launch_succeeds(self) -> None:
        first = self.launch(LossCause.FAILED)
        self.launch(None, State.READY, ready=self.now + 1)
        self.assertEqual(self.look().failures, Failures())
        # Decided before it: the success is the newer news.
        Server.update(created=self.now).where(Server.id == first).execute()
        self.assertEqual(self.look().failures, Failures())
        self.launch(LossCause.FAILED)
        self.assertEqual(self.look().failures, Failures(count=1))
        self.launch(None, State.WARM)
        self.assertEqual(self.look().failures, Failures())

    def test_launches_that_were_made_together_fail_once(self) -> None:
        together = self.now + 1
        for _ in range(3):
            self.launch(LossCause.FAILED, created=together)
        self.assertEqual(self.look().failures.count, 1)

    def by_hand(self, port: int, **row: Any) -> str:
        """A server that an operator runs by hand, a second after the last one."""
        self.clock.advance(1)
        server: str = self.call(membership.join, "10.0.0.2", port, 10, self.now)
        values = {"state": State.READY, "ready": self.now, **row}
        Server.update(values).where(Server.id == server).execute()
        return server

    def dies(self, server: str, cause: LossCause = LossCause.SILENT) -> None:
        """It ends a second later."""
        self.clock.advance(1)
        values = {"state": State.GONE, "cause": cause, "ended": self.now}
        Server.update(values).where(Server.id == server).execute()

    def test_servers_run_by_hand_that_died(self) -> None:
        self.assertEqual(self.look().missed, ())
        one, two, three = (self.by_hand(port) for port in (1, 2, 3))
        self.dies(three, LossCause.LEFT)
        self.assertEqual(self.look().missed, ())
        Server.update(state=State.LOST, cause=LossCause.SILENT).where(Server.id == two).execute()
        self.assertEqual(self.look().missed, ("10.0.0.2:2",))
        self.dies(two)
        self.dies(one, LossCause.ENDED)
        self.assertEqual(self.look().missed, ("10.0.0.2:1", "10.0.0.2:2"))
        self.clock.advance(3600)
        self.assertEqual(self.look().missed, ("10.0.0.2:1", "10.0.0.2:2"))
        # One elsewhere is for the one that was there first; one at an address for that.
        self.by_hand(4)
        self.assertEqual(self.look().missed, ("10.0.0.2:2",))
        again = self.by_hand(2)
        self.assertEqual(self.look().missed, ())
        self.dies(again)
        self.assertEqual(self.look().missed, ("10.0.0.2:2",))
        self.call(fleet_admin.drain, BY, again)
        self.assertEqual(self.look().missed, ())
        self.failureResultOf(self.database.run(fleet_admin.drain, BY, again), NoSuchServer)

    def test_one_that_was_restarted_before_it_was_found_dead(self) -> None:
        dead = self.by_hand(1)
        self.by_hand(2)
        self.by_hand(1)
        self.dies(dead)
        self.assertEqual(self.look().missed, ())

    def test_no_launch_yet(self) -> None:
        Server.delete().execute()
        self.assertIsNone(self.look().usual)

    def test_what_operators_did(self) -> None:
        self.call(fleet_admin.drain, BY, self.server)
        (deed,) = self.look().actions
        self.assertEqual((deed.operator, deed.action, deed.target), ("liz", "drain", self.server))


@on_both_databases
class TheRecord(RulesCase):
    def test_a_launch(self) -> None:
        server = self.call(fleet_admin.launch, BY, 10, 2)
        (deed,) = self.call(fleet_admin.actions, 10)
        self.assertEqual(
            deed,
            fleet_admin.OperatorAction(
                id=deed.id,
                at=BY.now,
                operator="liz",
                address="192.0.2.1",
                action=fleet_admin.LAUNCH,
                target=server,
            ),
        )
        row = Server.get_by_id(server)
        self.assertEqual((row.state, row.capacity, row.created), ("launching", 10, BY.now))

    def test_what_was_not_done_is_not_recorded(self) -> None:
        self.failureResultOf(self.database.run(fleet_admin.launch, BY, 10, 1), FleetFull)
        for id in ("nobody", ""):
            self.failureResultOf(self.database.run(fleet_admin.drain, BY, id), NoSuchServer)
        self.assertFalse(Server.get_by_id(self.server).drain_asked)
        self.assertEqual(Action.select().count(), 0)

    def test_newest_first_and_so_many(self) -> None:
        servers = [self.call(fleet_admin.launch, BY, 10, 100) for _ in range(5)]
        deeds = self.call(fleet_admin.actions, 3)
        self.assertEqual([deed.target for deed in deeds], servers[:1:-1])
