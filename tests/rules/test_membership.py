"""Who keeps the fleet, and what each kind of server says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs import __version__
from bbs.core.values import State, Tally
from bbs.rules import fleet_admin, fleet_transitions, membership, overview, servers
from bbs.rules.membership import LeaseSeen, Member, Observation, PeerSeen, Watch
from bbs.rules.servers import ServerRow
from bbs.storage.models import HeartbeatRow, Lease, LoginServer, Place, Server, User, Waiter
from tests.database_case import on_both_databases
from tests.rules.crowds import add
from tests.rules.fleet_case import ONE, TWO, FleetCase


@on_both_databases
class LoginServers(FleetCase):
    def test_the_first_to_look_keeps_the_fleet(self) -> None:
        for me in (ONE, TWO):
            self.call(membership.enroll, me)
        mine = self.call(membership.observe, ONE, Tally())
        self.assertEqual(mine.lease, LeaseSeen(ONE.id, ONE.identity, 0))
        self.assertEqual(mine.peers, (PeerSeen(TWO.id, TWO.identity, 0),))
        theirs = self.call(membership.observe, TWO, Tally())
        lease = LeaseSeen(ONE.id, ONE.identity, 0)
        self.assertEqual(theirs, Observation(lease=lease, reading=theirs.reading))

    def test_looking_counts_heartbeats(self) -> None:
        self.keep()
        self.call(membership.enroll, TWO)
        beats = []
        for _ in range(3):
            self.call(membership.observe, ONE, Tally())
            beats.append(self.call(membership.observe, TWO, Tally()).lease.beats)
        self.assertEqual(beats, [1, 2, 3])
        self.assertEqual(self.call(membership.observe, ONE, Tally()).peers[0].beats, 3)

    def test_the_controller_sees_everything(self) -> None:
        self.keep()
        for name in ("ann", "bob", "eve"):
            self.account(name)
        full = self.ready_server(capacity=1, host="a")
        self.log_in("ann")
        for state in set(State) - {State.READY}:
            server = self.ready_server(capacity=1)
            Server.update(state=state).where(Server.id == server).execute()
        seen = self.call(membership.observe, ONE, Tally())
        self.assertEqual({server.state for server in seen.servers}, set(State) - {State.GONE})
        [ready] = [server for server in seen.servers if server.state is State.READY]
        self.assertEqual(
            ready,
            ServerRow(
                id=full,
                state=State.READY,
                scope="test",
                host="a",
                port=22223,
                capacity=1,
                taken=1,
                created=self.now,
                ready=self.now,
                leaving=False,
                drain_asked=False,
                reason="",
                instance_id=None,
                kind=None,
            ),
        )
        self.assertEqual(seen.waiting, 0)

    def look(self, before: Observation | None = None) -> Observation:
        """What the controller sees, who has seen it `before`."""
        known = {} if before is None else before.serving
        return self.call(membership.observe, ONE, Tally(), known)

    def test_who_serves_as_before_is_the_same(self) -> None:
        self.keep()
        server = self.ready_server(capacity=2)
        self.account("ann")
        first = self.look()
        self.call(membership.beat, server, {})
        second = self.look(first)
        self.assertIs(second.servers[0], first.servers[0])
        self.assertEqual([seen.beats for seen in (first, second)], [{server: 0}, {server: 1}])
        self.log_in("ann")
        third = self.look(second)
        self.assertEqual(third.servers, (replace(first.servers[0], taken=1),))
        self.assertEqual(third.servers, self.look().servers)
        self.call(fleet_admin.ask_replace, 20, None, None)
        fourth = self.look(third)
        self.assertEqual(fourth.servers, (replace(third.servers[0], replace_asked=True),))
        self.assertEqual(fourth.servers, self.look().servers)

    def test_everything_else_is_read_anew(self) -> None:
        """Whatever happens to a server that served as it did when it was last seen."""
        self.keep()
        changes: dict[str, Any] = {
            "leaving": {"leaving": True},
            "drain_asked": {"drain_asked": True},
            "warned": {"warned": "it ends soon"},
            "draining": {"state": State.DRAINING, "reason": "idle for 120 s"},
            "lost": {"state": State.LOST},
            "gone": {"state": State.GONE},
        }
        ids = {self.ready_server(capacity=1): what for what in changes}
        before = self.look()
        self.assertEqual(before.serving.keys(), ids.keys())
        for id, what in ids.items():
            Server.update(changes[what]).where(Server.id == id).execute()
        new = self.ready_server(capacity=1)
        now = self.look(before)
        self.assertEqual(now.serving.keys(), {new})
        anew = self.look()
        self.assertEqual(
            {row.id: row for row in now.servers}, {row.id: row for row in anew.servers}
        )
        self.assertEqual(now.beats, anew.beats)
        self.assertEqual(len(now.servers), len(changes))
        Server.update(warned=None).where(Server.warned.is_null(False)).execute()
        self.assertEqual(self.look(now).serving.keys(), {new, *self.named(ids, "warned")})

    def named(self, ids: Mapping[str, str], what: str) -> list[str]:
        """The servers to which `what` happened."""
        return [id for id, name in ids.items() if name == what]

    def test_of_many_all_are_read(self) -> None:
        self.keep()
        self.ready_server(capacity=1)
        before = self.look()
        many = [(f"s{number}", "test", 1, 0.0) for number in range(servers.FEW + 1)]
        add(Server, many, Server.id, Server.scope, Server.capacity, Server.created)
        now = self.look(before)
        self.assertEqual(len({row.id for row in now.servers}), servers.FEW + 2)
        self.assertEqual(len(now.servers), servers.FEW + 2)
        self.assertIn(before.servers[0], now.servers)

    def test_who_waits(self) -> None:
        """Everybody counts once, who is offline and waits twice too."""
        self.keep()
        for waiter, name in (("w1", "ann"), ("w2", "ann"), ("w3", "Ann"), ("w4", "bob")):
            self.call(membership.wait, ONE, waiter, name, 0.0)
        self.assertEqual(self.call(membership.observe, ONE, Tally()).waiting, 3)
        self.call(membership.wait, ONE, "w4", "bob", 0.0)
        self.assertEqual(self.call(membership.observe, ONE, Tally()).waiting, 3)
        self.call(membership.stop_waiting, "w4")
        self.call(membership.stop_waiting, "no such waiter")
        self.assertEqual(self.call(membership.observe, ONE, Tally()).waiting, 2)
        self.account("eve")
        Place.insert(user=User.get(), server=None).execute()
        seen = self.call(membership.observe, ONE, Tally())
        self.assertEqual((seen.waiting, seen.homeless), (3, 1))

    def test_one_that_was_taken_for_dead_enrolls_again(self) -> None:
        self.keep()
        self.call(membership.enroll, TWO)
        self.call(fleet_transitions.forget_peer, ONE, TWO.id)
        self.assertEqual(self.call(membership.observe, ONE, Tally()).peers, ())
        self.call(membership.observe, TWO, Tally())
        self.assertEqual(
            [peer.id for peer in self.call(membership.observe, ONE, Tally()).peers], [TWO.id]
        )

    def test_seizing_from_one_that_does_not_move(self) -> None:
        self.keep()
        self.call(membership.enroll, TWO)
        lapsed = self.call(membership.observe, TWO, Tally()).lease
        self.assertTrue(self.call(membership.take_lease, TWO, lapsed))
        self.assertEqual(self.call(membership.observe, ONE, Tally()).lease.holder, TWO.id)

    def test_not_from_one_that_moved(self) -> None:
        self.keep()
        self.call(membership.enroll, TWO)
        lapsed = self.call(membership.observe, TWO, Tally()).lease
        self.call(membership.observe, ONE, Tally())
        self.assertFalse(self.call(membership.take_lease, TWO, lapsed))
        self.assertEqual(self.call(membership.observe, ONE, Tally()).lease.holder, ONE.id)

    def test_only_one_seizes(self) -> None:
        three = Member("3" * 32, "elsewhere too")
        self.keep()
        for me in (TWO, three):
            self.call(membership.enroll, me)
        lapsed = self.call(membership.observe, TWO, Tally()).lease
        seized = [self.call(membership.take_lease, me, lapsed) for me in (TWO, three)]
        self.assertEqual(seized, [True, False])

    def test_resigning(self) -> None:
        self.keep()
        self.call(membership.wait, ONE, "w1", "ann", 0.0)
        self.call(membership.resign, TWO)
        self.assertEqual(self.call(membership.observe, ONE, Tally()).lease.holder, ONE.id)
        self.call(membership.resign, ONE)
        self.assertEqual([Lease.select().count(), Waiter.select().count()], [0, 0])
        self.keep(TWO)

    def test_nobody_waits_at_a_login_server_that_is_dead(self) -> None:
        self.keep()
        self.call(membership.enroll, TWO)
        self.call(membership.wait, TWO, "w1", "ann", 0.0)
        self.assertEqual(self.call(membership.observe, ONE, Tally()).waiting, 1)
        self.call(fleet_transitions.forget_peer, ONE, TWO.id)
        self.assertEqual(self.call(membership.observe, ONE, Tally()).waiting, 0)


@on_both_databases
class AppServers(FleetCase):
    def setUp(self) -> None:
        super().setUp()
        self.keep()

    def test_reporting(self) -> None:
        [server] = self.launch()
        self.assertTrue(self.call(membership.report, server, 4711))
        self.assertEqual((self.row(server).port, self.row(server).beats), (4711, 1))
        self.assertEqual(self.row(server).state, State.LAUNCHING)

    def test_they_say_which_version_they_run(self) -> None:
        [server] = self.launch()
        self.assertEqual(self.row(server).version, "")
        self.call(membership.report, server, 4711)
        by_hand = self.call(membership.join, "host", 4711, 5, self.now)
        self.assertEqual([self.row(id).version for id in (server, by_hand)], [__version__] * 2)

    def test_which_versions_run(self) -> None:
        """Of app servers that serve users, and of all login servers."""
        before: Mapping[str, int] = self.call(membership.versions)
        for version, state in (
            ("0.3.0", State.READY),
            ("0.3.0", State.DRAINING),
            ("0.2.0", State.LAUNCHING),
            ("0.1.0", State.LOST),
            ("0.5.0", State.WARM),
            ("0.6.0", State.GONE),
        ):
            server = self.ready_server(capacity=1)
            Server.update(version=version, state=state).where(Server.id == server).execute()
        self.call(membership.enroll, replace(TWO, version="0.4.7"))
        self.call(membership.enroll, Member("three", "host:three:3", "0.3.0"))
        after = self.call(membership.versions)
        self.assertEqual(after, {**before, "0.3.0": 3, "0.4.7": 1})

    def test_reporting_too_late(self) -> None:
        self.assertFalse(self.call(membership.report, "no such server", 4711))
        [server] = self.launch()
        for state in set(State) - {State.LAUNCHING}:
            Server.update(state=state).execute()
            self.assertFalse(self.call(membership.report, server, 4711))
        self.assertIsNone(self.row(server).port)

    def test_beating_until_the_end(self) -> None:
        server = self.start()
        for state in (State.READY, State.DRAINING, State.LOST):
            Server.update(state=state).execute()
            self.assertTrue(self.call(membership.beat, server, {}))
        self.assertEqual((self.row(server).beats, self.heartbeat(server).beats), (1, 3))
        self.call(fleet_transitions.close, ONE, server, None, "", self.now)
        self.assertFalse(self.call(membership.beat, server, {}))
        self.assertFalse(self.call(membership.beat, "no such server", {}))

    def heartbeat(self, server: str) -> HeartbeatRow:
        return HeartbeatRow.get(HeartbeatRow.server == server)

    def test_a_heartbeat_writes_no_row_in_which_places_are_taken(self) -> None:
        self.call(membership.enroll, TWO)
        server = self.start()
        before = self.everything()
        self.call(membership.beat, server, {"messages": 3}, {"connected": 2}, "db-1")
        self.call(membership.attend, TWO, Tally(logins=5), "db-2")
        self.assertEqual(self.everything(), before)
        self.assertEqual(self.heartbeat(server).node, "db-1")
        self.assertEqual(self.heartbeat(TWO.id).node, "db-2")
        [heard] = self.call(servers.read, Server.select())
        self.assertEqual((heard.beats, heard.counts, heard.connected), (2, {"messages": 3}, 2))
        self.assertEqual({each.logins for each in self.call(overview.login_servers)}, {0, 5})

    def test_the_last_counts_of_one_that_has_ended_stay(self) -> None:
        """The page sums them up, and has perhaps not seen them yet."""
        server = self.start()
        self.call(membership.beat, server, {"messages": 3})
        self.call(fleet_transitions.close, ONE, server, None, "", self.now)
        self.assertEqual(self.call(fleet_transitions.forget_heartbeats), 0)
        self.assertEqual(self.call(servers.read, Server.select())[0].counts, {"messages": 3})
        self.call(fleet_transitions.forget_gone, self.now + 9, 3.0)
        self.assertEqual(self.call(fleet_transitions.forget_heartbeats), 1)
        self.assertEqual([row.server for row in HeartbeatRow.select()], [ONE.id])

    def test_the_report_of_one_that_is_started_again_is_a_sign_of_life(self) -> None:
        server = self.start()
        self.call(membership.beat, server, {})
        before = self.call(membership.observe, ONE, Tally()).beats[server]
        Server.update(state=State.LAUNCHING).execute()
        self.assertTrue(self.call(membership.report, server, 4711))
        self.assertEqual(self.call(membership.observe, ONE, Tally()).beats[server], before + 1)

    def test_one_whose_heartbeat_was_removed(self) -> None:
        server = self.start()
        self.call(membership.beat, server, {})
        HeartbeatRow.delete().execute()
        self.assertTrue(self.call(membership.beat, server, {}))
        self.assertEqual(self.heartbeat(server).beats, 1)

    def test_leaving(self) -> None:
        server = self.start()
        self.call(membership.leave, server)
        [seen] = self.call(membership.observe, ONE, Tally()).servers
        self.assertTrue(seen.leaving)

    def test_the_last_word_of_one_that_was_stopped_to_stand_by(self) -> None:
        server = self.start()
        Server.update(state=State.LAUNCHING, shelved=True).execute()
        self.assertTrue(self.call(fleet_transitions.park, ONE, server, self.now))
        self.assertTrue(self.call(fleet_transitions.resume, ONE, server, 9, self.now))
        self.call(membership.leave, server)
        self.assertFalse(self.row(server).leaving)


@on_both_databases
class BesideOlderVersions(FleetCase):
    """Servers of schema 12 and before beat in the rows of `Server` and `LoginServer`, and watch
    only these."""

    def setUp(self) -> None:
        super().setUp()
        self.keep()
        self.server = self.start()

    def older(self) -> None:
        """A login server of such a version starts."""
        LoginServer.insert(id=TWO.id, identity=TWO.identity).execute()

    def beats(self) -> tuple[int, int]:
        """The counts of this app server and of this login server, as older versions see them."""
        row = LoginServer.get(LoginServer.id == ONE.id)
        return self.row(self.server).beats, row.beats

    def beat(self) -> None:
        self.assertTrue(self.call(membership.beat, self.server, {"messages": 1}, {"connected": 2}))
        self.call(membership.observe, ONE, Tally(logins=4))

    def test_an_older_login_server_sees_the_beats_of_newer_servers(self) -> None:
        self.beat()
        alone = self.beats()
        self.beat()
        self.assertEqual(self.beats(), alone)
        self.older()
        for count in (1, 2):
            self.beat()
            self.assertEqual(self.beats(), tuple(each + count for each in alone))
        row, login = self.row(self.server), LoginServer.get(LoginServer.id == ONE.id)
        self.assertEqual((row.counts, row.figures), ('{"messages": 1}', '{"connected": 2}'))
        self.assertEqual(login.logins, 4)

        # It is updated, or gone.
        before = self.beats()
        self.call(membership.attend, TWO, Tally())
        self.beat()
        self.assertEqual(self.beats(), before)

    def test_the_beats_of_older_servers_are_seen(self) -> None:
        self.older()
        by_hand = self.call(membership.join, "host", 4711, 5, self.now)
        before = self.call(membership.observe, ONE, Tally())
        for model in (Server, LoginServer):
            model.update(beats=model.beats + 1, counts='{"messages": 7}').execute()
        after = self.call(membership.observe, ONE, Tally())
        self.assertEqual(after.beats[by_hand], before.beats[by_hand] + 1)
        self.assertEqual([peer.beats for peer in before.peers + after.peers], [0, 1])
        self.assertEqual(self.call(membership.signs)[TWO.id].beats, 1)
        heard = {each.id: each.counts for each in self.call(servers.read, Server.select())}
        self.assertEqual(heard[by_hand], {"messages": 7})
        counts = {each.id: each.counts for each in self.call(overview.login_servers)}
        self.assertEqual(counts[TWO.id], {"messages": 7})

    def test_one_that_an_older_controller_has_closed_ends(self) -> None:
        """That removes no heartbeat."""
        self.beat()
        Server.update(state=State.GONE).execute()
        self.assertFalse(self.call(membership.beat, self.server, {}))

    def test_one_that_an_older_controller_took_for_dead_enrolls_again(self) -> None:
        self.beat()
        LoginServer.delete().execute()
        self.call(membership.attend, ONE, Tally())
        self.assertEqual([row.id for row in LoginServer.select()], [ONE.id])


class Silence(SynchronousTestCase):
    def test_silence(self) -> None:
        watch = Watch()
        silences = [watch.silence("a", beats, 2.0) for beats in (1, 1, 1, 2, 2)]
        self.assertEqual(silences, [0.0, 2.0, 4.0, 0.0, 2.0])

    def test_forgetting(self) -> None:
        watch = Watch()
        for key in ("a", "b"):
            watch.silence(key, 1, 2.0)
        watch.keep({"a"})
        self.assertEqual([watch.silence(key, 1, 2.0) for key in ("a", "b")], [2.0, 0.0])

    def test_of_all_at_once(self) -> None:
        """Who has just been heard is not among the silent; who is gone is forgotten."""
        watch = Watch()
        silences = [
            dict(watch.silences(beats, 2.0))
            for beats in ({"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 1}, {"a": 1, "b": 2}, {"a": 2})
        ]
        self.assertEqual(silences, [{}, {"a": 2.0}, {"a": 4.0}, {"a": 6.0}, {}])
