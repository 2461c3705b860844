"""The fleet's rows: what each kind of server says, and that only the keeper decides."""

from __future__ import annotations

import subprocess
import sys

from bbs.rules import fleet, operators, places
from bbs.rules.fleet import LeaseSeen, Member
from bbs.scaling.identity import process_identity
from bbs.storage.models import Lease, LoginServer, Place, Server, User, Waiter
from bbs.values import Instance, State
from tests.database_case import RulesCase, on_both_databases

ONE = Member("1" * 32, process_identity())
TWO = Member("2" * 32, "somewhere else")


def dead_identity() -> str:
    """The identity of a process that has ended."""
    program = "from bbs.scaling.identity import process_identity; print(process_identity())"
    return subprocess.check_output([sys.executable, "-c", program], text=True).strip()


class FleetCase(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        Server.delete().execute()

    def keep(self, me: Member = ONE) -> None:
        """Make `me` the keeper."""
        self.call(fleet.enroll, me)
        self.assertEqual(self.call(fleet.observe, me).lease.holder, me.id)

    def launch(self, count: int = 1, scope: str = "test", maximum: int = 20) -> list[str]:
        return self.call(fleet.add_launches, ONE, count, scope, 2, maximum, self.now)

    def row(self, server: str) -> Server:
        return Server.get(Server.id == server)

    def states(self) -> list[State]:
        return [State(row.state) for row in Server.select().order_by(Server.created, Server.id)]

    def not_keeper(self, rule: object, *arguments: object) -> None:
        before = self.everything()
        self.failureResultOf(self.database.run(rule, *arguments), fleet.NotKeeper)
        self.assertEqual(self.everything(), before)

    def everything(self) -> list[list[tuple[object, ...]]]:
        tables = (Server, Place, Lease, LoginServer, Waiter)
        return [sorted(map(str, table.select().tuples())) for table in tables]


@on_both_databases
class Keeping(FleetCase):
    def test_the_first_to_look_keeps_the_fleet(self) -> None:
        for me in (ONE, TWO):
            self.call(fleet.enroll, me)
        mine = self.call(fleet.observe, ONE)
        self.assertEqual(mine.lease, LeaseSeen(ONE.id, 0, False))
        self.assertEqual([peer.id for peer in mine.peers], [TWO.id])
        theirs = self.call(fleet.observe, TWO)
        self.assertEqual(theirs, fleet.Observation(LeaseSeen(ONE.id, 0, False)))

    def test_looking_counts_heartbeats(self) -> None:
        self.keep()
        self.call(fleet.enroll, TWO)
        beats = []
        for _ in range(3):
            self.call(fleet.observe, ONE)
            beats.append(self.call(fleet.observe, TWO).lease.beats)
        self.assertEqual(beats, [1, 2, 3])
        self.assertEqual(self.call(fleet.observe, ONE).peers[0].beats, 3)

    def test_the_keeper_sees_everything(self) -> None:
        self.keep()
        people = [self.account(name) for name in ("ann", "bob", "eve")]
        self.assertEqual(len(people), 3)
        full = self.ready_server(capacity=1, host="a")
        self.log_in("ann")
        for state in (State.LAUNCHING, State.LOST, State.DRAINING, State.GONE):
            server = self.ready_server(capacity=1)
            Server.update(state=state).where(Server.id == server).execute()
        seen = self.call(fleet.observe, ONE)
        self.assertEqual({server.state for server in seen.servers}, set(State) - {State.GONE})
        [ready] = [server for server in seen.servers if server.state is State.READY]
        self.assertEqual(
            ready,
            fleet.ServerSeen(
                full, State.READY, "test", "a", 22223, 1, 1, 0, self.now, False, False, False
            ),
        )
        self.assertEqual(seen.waiting, 0)

    def test_who_waits(self) -> None:
        """Everybody counts once, who is offline and waits twice too."""
        self.keep()
        for waiter, name in (("w1", "ann"), ("w2", "ann"), ("w3", "Ann"), ("w4", "bob")):
            self.call(fleet.wait, ONE, waiter, name, 0.0)
        self.assertEqual(self.call(fleet.observe, ONE).waiting, 3)
        self.call(fleet.stop_waiting, "w4")
        self.call(fleet.stop_waiting, "no such waiter")
        self.assertEqual(self.call(fleet.observe, ONE).waiting, 2)
        self.account("eve")
        Place.insert(user=User.get(), server=None).execute()
        self.assertEqual(self.call(fleet.observe, ONE).waiting, 3)

    def test_whose_process_is_dead(self) -> None:
        dead = dead_identity()
        self.keep()
        self.call(fleet.enroll, Member("dead", dead))
        for scope in (f"local:{dead}", f"local:{ONE.identity}", "ec2:us-east-1", "operator"):
            Server.insert(id=fleet.new_id(), scope=scope, capacity=1, created=0.0).execute()
        seen = self.call(fleet.observe, ONE)
        self.assertEqual([peer.dead for peer in seen.peers], [True])
        orphans = {server.scope for server in seen.servers if server.orphan}
        self.assertEqual(orphans, {f"local:{dead}"})
        Lease.update(holder="dead", identity=dead).execute()
        self.assertEqual(self.call(fleet.observe, ONE).lease, LeaseSeen("dead", 1, True))

    def test_one_that_was_taken_for_dead_enrolls_again(self) -> None:
        self.keep()
        self.call(fleet.enroll, TWO)
        self.call(fleet.forget_peer, ONE, TWO.id)
        self.assertEqual(self.call(fleet.observe, ONE).peers, ())
        self.call(fleet.observe, TWO)
        self.assertEqual([peer.id for peer in self.call(fleet.observe, ONE).peers], [TWO.id])

    def test_seizing_from_one_that_does_not_move(self) -> None:
        self.keep()
        self.call(fleet.enroll, TWO)
        lapsed = self.call(fleet.observe, TWO).lease
        self.assertTrue(self.call(fleet.seize, TWO, lapsed))
        self.assertEqual(self.call(fleet.observe, ONE).lease.holder, TWO.id)

    def test_not_from_one_that_moved(self) -> None:
        self.keep()
        self.call(fleet.enroll, TWO)
        lapsed = self.call(fleet.observe, TWO).lease
        self.call(fleet.observe, ONE)
        self.assertFalse(self.call(fleet.seize, TWO, lapsed))
        self.assertEqual(self.call(fleet.observe, ONE).lease.holder, ONE.id)

    def test_only_one_seizes(self) -> None:
        three = Member("3" * 32, "elsewhere too")
        self.keep()
        for me in (TWO, three):
            self.call(fleet.enroll, me)
        lapsed = self.call(fleet.observe, TWO).lease
        seized = [self.call(fleet.seize, me, lapsed) for me in (TWO, three)]
        self.assertEqual(seized, [True, False])

    def test_resigning(self) -> None:
        self.keep()
        self.call(fleet.wait, ONE, "w1", "ann", 0.0)
        self.call(fleet.resign, TWO)
        self.assertEqual(self.call(fleet.observe, ONE).lease.holder, ONE.id)
        self.call(fleet.resign, ONE)
        self.assertEqual([Lease.select().count(), Waiter.select().count()], [0, 0])
        self.keep(TWO)

    def test_nobody_waits_at_a_login_server_that_is_dead(self) -> None:
        self.keep()
        self.call(fleet.enroll, TWO)
        self.call(fleet.wait, TWO, "w1", "ann", 0.0)
        self.assertEqual(self.call(fleet.observe, ONE).waiting, 1)
        self.call(fleet.forget_peer, ONE, TWO.id)
        self.assertEqual(self.call(fleet.observe, ONE).waiting, 0)

    def test_whoever_has_lost_the_lease_changes_nothing(self) -> None:
        self.keep()
        server = self.ready_server(capacity=1)
        self.account("ann")
        self.log_in("ann")
        self.call(operators.ask_launch, 1, 20, self.now)
        self.call(fleet.enroll, TWO)
        for lose_it in (
            lambda: self.call(fleet.seize, TWO, self.call(fleet.observe, TWO).lease),
            lambda: self.call(fleet.resign, TWO),
        ):
            lose_it()
            self.not_keeper(fleet.add_launches, ONE, 1, "test", 1, 20, self.now)
            self.not_keeper(fleet.adopt, ONE, "test")
            self.not_keeper(fleet.mark_ready, ONE, server, None, self.now)
            self.not_keeper(fleet.lose, ONE, server, "")
            self.not_keeper(fleet.drain, ONE, server, "")
            self.not_keeper(fleet.close, ONE, server, "", self.now)
            self.not_keeper(fleet.settle, ONE)
            self.not_keeper(fleet.refuse, ONE, "no", 1.0)
            self.not_keeper(fleet.note_instances, ONE, [Instance(server, "h", True, "")])
            self.not_keeper(fleet.forget_peer, ONE, TWO.id)


@on_both_databases
class AServersLife(FleetCase):
    def setUp(self) -> None:
        super().setUp()
        self.keep()

    def start(self, capacity: int = 2) -> str:
        """A server that was launched and is ready."""
        [server] = self.call(fleet.add_launches, ONE, 1, "test", capacity, 20, self.now)
        self.assertTrue(self.call(fleet.report, server, 22223))
        self.call(fleet.mark_ready, ONE, server, "host", self.now)
        return server

    def person(self, name: str) -> None:
        self.account(name)
        self.log_in(name)

    def test_a_launch_is_a_row_first(self) -> None:
        ids = self.launch(3)
        self.assertEqual(len(set(ids)), 3)
        for server in ids:
            self.assertRegex(server, r"\A[0-9a-f]{32}\Z")
            row = self.row(server)
            self.assertEqual(
                (row.state, row.scope, row.capacity, row.taken, row.port, row.created),
                (State.LAUNCHING, "test", 2, 0, None, self.now),
            )

    def test_never_above_the_maximum(self) -> None:
        self.assertEqual(len(self.launch(3, maximum=4)), 3)
        gone = self.launch(3, maximum=4)
        self.assertEqual(len(gone), 1)
        self.assertEqual(self.launch(1, maximum=4), [])
        self.call(fleet.close, ONE, gone[0], "", self.now)
        self.assertEqual(len(self.launch(5, maximum=4)), 1)
        self.assertEqual(self.launch(5, maximum=1), [])

    def test_reporting(self) -> None:
        [server] = self.launch()
        self.assertTrue(self.call(fleet.report, server, 4711))
        self.assertEqual((self.row(server).port, self.row(server).beats), (4711, 1))
        self.assertEqual(self.row(server).state, State.LAUNCHING)

    def test_reporting_too_late(self) -> None:
        self.assertFalse(self.call(fleet.report, "no such server", 4711))
        [server] = self.launch()
        for state in set(State) - {State.LAUNCHING}:
            Server.update(state=state).execute()
            self.assertFalse(self.call(fleet.report, server, 4711))
        self.assertIsNone(self.row(server).port)

    def test_ready(self) -> None:
        [server] = self.launch()
        self.call(fleet.report, server, 4711)
        self.clock.advance(3)
        self.call(fleet.mark_ready, ONE, server, "203.0.113.7", self.now)
        row = self.row(server)
        self.assertEqual(
            (row.state, row.host, row.port, row.ready),
            (State.READY, "203.0.113.7", 4711, self.now),
        )

    def test_ready_at_the_host_that_it_said(self) -> None:
        server = self.call(fleet.join, "by-hand", 4711, 5, self.now)
        self.call(fleet.mark_ready, ONE, server, None, self.now)
        row = self.row(server)
        self.assertEqual(
            (row.state, row.host, row.port, row.scope, row.capacity),
            (State.READY, "by-hand", 4711, fleet.OPERATOR, 5),
        )

    def test_ready_only_once_launched(self) -> None:
        [server] = self.launch()
        Server.update(state=State.LOST).execute()
        self.call(fleet.mark_ready, ONE, server, "host", self.now)
        self.assertEqual(self.states(), [State.LOST])

    def test_ready_places_those_who_wait_online(self) -> None:
        old = self.start()
        self.person("ann")
        self.call(fleet.lose, ONE, old, "test")
        [server] = self.launch()
        self.call(fleet.report, server, 1)
        [move] = self.call(fleet.mark_ready, ONE, server, "host", self.now)
        self.assertEqual(move.channel, User.get().channel)
        self.assertEqual(self.taken(server), 1)

    def test_beating_until_the_end(self) -> None:
        server = self.start()
        for state in (State.READY, State.DRAINING, State.LOST):
            Server.update(state=state).execute()
            self.assertTrue(self.call(fleet.beat, server, {}))
        self.assertEqual(self.row(server).beats, 4)
        self.call(fleet.close, ONE, server, "", self.now)
        self.assertFalse(self.call(fleet.beat, server, {}))
        self.assertFalse(self.call(fleet.beat, "no such server", {}))

    def test_leaving(self) -> None:
        server = self.start()
        self.call(fleet.leave, server)
        [seen] = self.call(fleet.observe, ONE).servers
        self.assertTrue(seen.leaving)

    def test_losing_moves_people(self) -> None:
        lost = self.start()
        self.person("ann")
        other = self.start()
        [move] = self.call(fleet.lose, ONE, lost, "silent")
        self.assertEqual(move, places.Move(User.get().channel, self.seat(other)))
        self.assertEqual((self.row(lost).state, self.row(lost).reason), (State.LOST, "silent"))
        self.assertEqual((self.taken(lost), self.taken(other)), (0, 1))

    def test_draining_an_empty_one(self) -> None:
        server = self.start()
        self.assertEqual(self.call(fleet.drain, ONE, server, "idle"), [])
        self.assertEqual(
            (self.row(server).state, self.row(server).reason), (State.DRAINING, "idle")
        )

    def test_one_that_somebody_came_to_is_wanted_after_all(self) -> None:
        server = self.start()
        self.person("ann")
        self.assertIsNone(self.call(fleet.drain, ONE, server, "idle"))
        self.assertEqual(self.states(), [State.READY])

    def test_draining_one_with_people_when_asked(self) -> None:
        server = self.start()
        self.person("ann")
        other = self.start()
        self.assertEqual(self.call(operators.ask_drain, server[:8]), server)
        [move] = self.call(fleet.drain, ONE, server, "asked")
        self.assertEqual(move.seat, self.seat(other))
        self.assertEqual((self.taken(server), self.taken(other)), (0, 1))

    def test_the_end(self) -> None:
        server = self.start()
        self.person("ann")
        other = self.start()
        self.clock.advance(9)
        [move] = self.call(fleet.close, ONE, server, "ended", self.now)
        self.assertEqual(move.seat, self.seat(other))
        row = self.row(server)
        self.assertEqual((row.state, row.reason, row.ended), (State.GONE, "ended", self.now))

    def test_why_it_was_lost_is_remembered(self) -> None:
        server = self.start()
        self.call(fleet.lose, ONE, server, "silent")
        self.call(fleet.close, ONE, server, "lost", self.now)
        self.assertEqual((self.row(server).state, self.row(server).reason), (State.GONE, "silent"))
        self.call(fleet.close, ONE, server, "again", self.now)
        self.call(fleet.lose, ONE, server, "again")
        self.assertEqual((self.row(server).state, self.row(server).reason), (State.GONE, "silent"))

    def test_what_the_provider_calls_it(self) -> None:
        one, other = self.launch(2)
        instances = [Instance(one, None, True, "", "i-1", "t3.micro")]
        self.call(fleet.note_instances, ONE, instances)
        row = self.row(one)
        self.assertEqual((row.host, row.instance_id, row.kind), (None, "i-1", "t3.micro"))
        self.assertIsNone(self.row(other).instance_id)
        instances = [Instance(one, "203.0.113.7", True, "", "i-1", "t3.micro")]
        self.call(fleet.note_instances, ONE, instances)
        [seen] = [each for each in self.call(fleet.observe, ONE).servers if each.id == one]
        self.assertEqual((seen.host, seen.instance_id), ("203.0.113.7", "i-1"))

    def test_settling(self) -> None:
        lost = self.start()
        self.person("ann")
        self.call(fleet.lose, ONE, lost, "")
        self.assertEqual(self.call(fleet.settle, ONE), [])
        other = self.ready_server(capacity=1)
        [move] = self.call(fleet.settle, ONE)
        self.assertEqual(move.seat, self.seat(other))

    def test_rows_of_ended_ones_go_later(self) -> None:
        old, young, alive = self.start(), self.start(), self.start()
        self.call(fleet.close, ONE, old, "", self.now)
        self.clock.advance(10)
        self.call(fleet.close, ONE, young, "", self.now)
        self.assertEqual(self.call(fleet.forget_gone, self.now), 1)
        self.assertEqual({row.id for row in Server.select()}, {young, alive})


@on_both_databases
class Operating(FleetCase):
    """What `bbs fleet` asks."""

    def test_a_launch_for_whoever_keeps_the_fleet(self) -> None:
        server = self.call(operators.ask_launch, 7, 1, self.now)
        row = self.row(server)
        self.assertEqual((row.state, row.scope, row.capacity), (State.LAUNCHING, "", 7))
        self.keep()
        self.launch(1, scope="other")
        self.assertEqual(self.call(fleet.adopt, ONE, "test"), [server])
        self.assertEqual(self.row(server).scope, "test")
        self.assertEqual(self.call(fleet.adopt, ONE, "test"), [])

    def test_a_full_fleet(self) -> None:
        self.call(operators.ask_launch, 7, 1, self.now)
        self.failureResultOf(
            self.database.run(operators.ask_launch, 7, 1, self.now), operators.FleetFull
        )
        self.assertEqual(Server.select().count(), 1)
        Server.update(state=State.GONE).execute()
        self.call(operators.ask_launch, 7, 1, self.now)

    def test_a_drain_of_none_or_of_several(self) -> None:
        for server in ("abc1", "abc2", "abcd"):
            Server.insert(id=server, scope="", capacity=1, created=0.0).execute()
        Server.update(state=State.GONE).where(Server.id == "abcd").execute()
        for beginning in ("abc", "", "x", "abcd", "abc12"):
            self.failureResultOf(
                self.database.run(operators.ask_drain, beginning), operators.NoSuchServer
            )
        self.assertEqual(self.call(operators.ask_drain, "abc1"), "abc1")
        self.assertEqual([row.id for row in Server.select().where(Server.drain_asked)], ["abc1"])

    def test_the_listing(self) -> None:
        first = self.ready_server(capacity=2, host="203.0.113.7")
        for name in ("bob", "ann"):
            self.account(name)
            self.log_in(name)
        self.clock.advance(5)
        second = self.call(operators.ask_launch, 3, 20, self.now)
        gone = self.ready_server(capacity=1)
        Server.update(state=State.GONE).where(Server.id == gone).execute()
        Server.update(scope="local:secret", instance_id="i-1", kind="t3.micro").where(
            Server.id == first
        ).execute()
        self.clock.advance(2.25)
        self.assertEqual(
            self.call(operators.listing, self.now),
            [
                {
                    "id": first,
                    "state": "ready",
                    "address": "203.0.113.7:22223",
                    "taken": 2,
                    "capacity": 2,
                    "age": 7.2,
                    "launch_time": 0.0,
                    "scope": "local",
                    "instance": "i-1",
                    "type": "t3.micro",
                    "reason": "",
                    "people": ["ann", "bob"],
                },
                {
                    "id": second,
                    "state": "launching",
                    "address": None,
                    "taken": 0,
                    "capacity": 3,
                    "age": 2.2,
                    "launch_time": None,
                    "scope": "",
                    "instance": None,
                    "type": None,
                    "reason": "",
                    "people": [],
                },
            ],
        )

    def test_why_nothing_can_be_launched(self) -> None:
        self.assertIsNone(self.call(operators.refusal))
        self.keep()
        self.assertIsNone(self.call(operators.refusal))
        self.call(fleet.refuse, ONE, "over quota", self.now + 60)
        self.assertEqual(
            self.call(operators.refusal), operators.Refusal("over quota", self.now + 60)
        )
        self.call(fleet.refuse, ONE, None, None)
        self.assertIsNone(self.call(operators.refusal))

    def test_a_successor_tries_for_itself(self) -> None:
        self.keep()
        self.call(fleet.refuse, ONE, "over quota", self.now + 60)
        self.call(fleet.enroll, TWO)
        self.call(fleet.seize, TWO, self.call(fleet.observe, TWO).lease)
        self.assertIsNone(self.call(operators.refusal))

    def test_when_waiting_is_hopeless(self) -> None:
        self.keep()
        self.assertFalse(self.call(operators.is_hopeless, self.now))
        self.call(fleet.refuse, ONE, "over quota", self.now + 60)
        self.assertTrue(self.call(operators.is_hopeless, self.now))
        self.assertFalse(self.call(operators.is_hopeless, self.now + 60))
        self.launch()
        self.assertFalse(self.call(operators.is_hopeless, self.now))

    def test_how_long_launches_take(self) -> None:
        self.assertIsNone(self.call(operators.launches_under_way, self.now))
        for seconds in (100, 1, 2, 3, 4, 5):
            Server.insert(
                id=fleet.new_id(),
                state=State.READY,
                scope="",
                capacity=1,
                created=self.now,
                ready=self.now + seconds,
            ).execute()
            self.clock.advance(1000)
        launches = self.call(operators.launches_under_way, self.now)
        self.assertEqual(launches, operators.Launches(usual=3.0, oldest=0.0))
        self.call(operators.ask_launch, 1, 20, self.now)
        self.clock.advance(2)
        self.call(operators.ask_launch, 1, 20, self.now)
        self.clock.advance(1)
        launches = self.call(operators.launches_under_way, self.now)
        self.assertEqual(launches, operators.Launches(usual=3.0, oldest=3.0))
