"""What the controller of the fleet decides, and that nobody else does."""

from __future__ import annotations

from bbs.core.values import DrainCause, Instance, LossCause, State, Tally, Urgency
from bbs.rules import fleet_admin, fleet_transitions, membership, placement
from bbs.rules.servers import OPERATOR, ServerRow, pool_of
from bbs.storage.models import LoginServer, Place, Server, User
from tests.database_case import on_both_databases
from tests.rules.fleet_case import ONE, TWO, FleetCase


@on_both_databases
class NotTheController(FleetCase):
    def test_whoever_has_lost_the_lease_changes_nothing(self) -> None:
        self.keep()
        server = self.ready_server(capacity=1)
        self.account("ann")
        self.log_in("ann")
        self.call(fleet_admin.ask_launch, 1, 20, self.now)
        self.call(membership.enroll, TWO)
        for lose_it in (
            lambda: self.call(
                membership.take_lease, TWO, self.call(membership.observe, TWO, Tally()).lease
            ),
            lambda: self.call(membership.resign, TWO),
        ):
            lose_it()
            self.not_controller(fleet_transitions.add_launches, ONE, 1, "test", 1, 20, self.now)
            self.not_controller(fleet_transitions.adopt, ONE, "test", 1)
            self.not_controller(fleet_transitions.note_strategy, ONE, server, None, "a way")
            self.not_controller(fleet_transitions.mark_ready, ONE, [(server, None, self.now)])
            self.not_controller(fleet_transitions.lose, ONE, server, LossCause.SILENT, "", self.now)
            self.not_controller(fleet_transitions.give_up, ONE, server, "", self.now)
            for cause in DrainCause:
                self.not_controller(fleet_transitions.drain, ONE, server, cause, "", 9, self.now)
            self.not_controller(fleet_transitions.keep, ONE, server, self.now)
            self.not_controller(fleet_transitions.move_some_off, ONE, server, 2, self.now)
            self.not_controller(fleet_transitions.close, ONE, server, None, "", self.now)
            self.not_controller(fleet_transitions.settle, ONE)
            self.not_controller(fleet_transitions.refuse, ONE, "no", 1.0, self.now)
            self.not_controller(
                fleet_transitions.note_instances, ONE, [Instance(server, "h", True, "")]
            )
            self.not_controller(fleet_transitions.forget_peer, ONE, TWO.id)
            self.not_controller(fleet_transitions.park, ONE, server, self.now)
            self.not_controller(fleet_transitions.resume, ONE, server, 20, self.now)
            self.not_controller(fleet_transitions.forget_host, ONE, server)
            self.not_controller(fleet_transitions.put_back, ONE, server, self.now)


@on_both_databases
class AServersLife(FleetCase):
    def setUp(self) -> None:
        super().setUp()
        self.keep()

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

    def test_by_which_way_a_launch_is_asked_for(self) -> None:
        """It is written with the launch, and before it is another."""
        args = (ONE, 3, "test", 2, 20, self.now, False, ["one", "two"])
        ids = list(self.call(fleet_transitions.add_launches, *args))
        self.assertEqual([self.row(id).way for id in ids], ["one", "two", None])
        for id, before, done in (
            (ids[0], "one", True),
            (ids[1], "one", False),
            (ids[2], None, True),
        ):
            self.assertIs(self.call(fleet_transitions.note_strategy, ONE, id, before, "next"), done)
        self.assertEqual([self.row(id).way for id in ids], ["next", "two", "next"])
        self.call(fleet_transitions.lose, ONE, ids[1], LossCause.FAILED, "", self.now)
        self.assertIs(self.call(fleet_transitions.note_strategy, ONE, ids[1], "two", "next"), False)
        asked = [self.call(fleet_admin.ask_launch, 1, 20, self.now) for _ in range(2)]
        adopted = self.call(fleet_transitions.adopt, ONE, "test", 2, ["one"])
        self.assertEqual(sorted(adopted), sorted(asked))
        self.assertEqual([self.row(id).way for id in adopted], ["one", None])

    def test_launches_that_are_made_together(self) -> None:
        """They have the provider's ids, if there is room for all of them, and while no login server
        of another version may take them over."""
        together = [("a", "one of 2"), ("b", "one of 2")]

        def add(room: int) -> dict[str, str | None]:
            maximum = Server.select().count() + room
            args = (ONE, 2, "test", 2, maximum, self.now, False, ["one", "one"], "", together)
            added = self.call(fleet_transitions.add_launches, *args)
            self.assertEqual({id: self.row(id).way for id in added}, added)
            return dict(added)

        self.assertEqual(list(add(1).values()), ["one"])
        self.call(membership.enroll, TWO)
        LoginServer.update(version="0.3.0").where(LoginServer.id == TWO.id).execute()
        self.assertEqual(list(add(2).values()), ["one", "one"])
        LoginServer.delete().where(LoginServer.id == TWO.id).execute()
        self.assertEqual(add(2), dict(together))

    def test_never_above_the_maximum(self) -> None:
        self.assertEqual(len(self.launch(3, maximum=4)), 3)
        gone = self.launch(3, maximum=4)
        self.assertEqual(len(gone), 1)
        self.assertEqual(self.launch(1, maximum=4), [])
        self.call(fleet_transitions.close, ONE, gone[0], None, "", self.now)
        self.assertEqual(len(self.launch(5, maximum=4)), 1)
        self.assertEqual(self.launch(5, maximum=1), [])

    def test_ready(self) -> None:
        [server] = self.launch()
        self.call(membership.report, server, 4711)
        self.clock.advance(3)
        self.call(fleet_transitions.mark_ready, ONE, [(server, "203.0.113.7", self.now)])
        row = self.row(server)
        self.assertEqual(
            (row.state, row.host, row.port, row.ready), (State.READY, "203.0.113.7", 4711, self.now)
        )

    def test_several_ready_at_once(self) -> None:
        one, two, late = (self.launch()[0] for _ in range(3))
        booted = [(one, "203.0.113.7", self.now), (two, "203.0.113.8", self.now + 1)]
        self.call(fleet_transitions.mark_ready, ONE, booted)
        rows = [self.row(server) for server in (one, two)]
        self.assertEqual([(row.id, row.host, row.ready) for row in rows], booted)
        self.assertEqual(
            [self.row(server).state for server in (one, two, late)],
            [State.READY, State.READY, State.LAUNCHING],
        )

    def test_ready_at_the_host_that_it_said(self) -> None:
        server = self.call(membership.join, "by-hand", 4711, 5, self.now)
        self.call(fleet_transitions.mark_ready, ONE, [(server, None, self.now)])
        row = self.row(server)
        self.assertEqual(
            (row.state, row.host, row.port, row.scope, row.capacity),
            (State.READY, "by-hand", 4711, OPERATOR, 5),
        )

    def test_ready_only_once_launched(self) -> None:
        [server] = self.launch()
        Server.update(state=State.LOST).execute()
        self.call(fleet_transitions.mark_ready, ONE, [(server, "host", self.now)])
        self.assertEqual(self.states(), [State.LOST])

    def test_ready_places_those_who_wait_online(self) -> None:
        old = self.start()
        self.person("ann")
        self.call(fleet_transitions.lose, ONE, old, LossCause.SILENT, "test", self.now)
        [server] = self.launch()
        self.call(membership.report, server, 1)
        [move] = self.call(fleet_transitions.mark_ready, ONE, [(server, "host", self.now)])
        self.assertEqual((move.channel, move.left), (User.get().channel, None))
        self.assertEqual(self.taken(server), 1)

    def test_losing_moves_people(self) -> None:
        lost = self.start()
        self.person("ann")
        other = self.start()
        [move] = self.call(
            fleet_transitions.lose, ONE, lost, LossCause.SILENT, "silent for long", self.now
        )
        self.assertEqual(move, placement.Move(User.get().channel, self.seat(other), lost))
        self.assertEqual(self.standing(lost), (State.LOST, "silent", "silent for long"))
        self.assertEqual((self.taken(lost), self.taken(other)), (0, 1))

    def test_draining_an_empty_one(self) -> None:
        server = self.start()
        self.assertEqual(self.drain(server, DrainCause.IDLE, "idle for long"), [])
        self.assertEqual(self.standing(server), (State.DRAINING, "idle", "idle for long"))

    def test_one_that_somebody_came_to_is_wanted_after_all(self) -> None:
        server = self.start()
        self.person("ann")
        for cause in (each for each in DrainCause if each.urgency is Urgency.NOW):
            self.assertIsNone(self.drain(server, cause), cause)
            self.assertEqual(self.standing(server), (State.READY, "", ""))

    def test_draining_one_with_people_when_asked(self) -> None:
        server = self.start()
        self.person("ann")
        other = self.start()
        self.assertEqual(self.call(fleet_admin.ask_drain, server[:8]), server)
        [move] = self.drain(server, DrainCause.OPERATOR, "asked for", seen=0) or []
        self.assertEqual(move.seat, self.seat(other))
        self.assertEqual((self.taken(server), self.taken(other)), (0, 1))
        self.assertEqual(self.standing(server), (State.DRAINING, "operator", "asked for"))

    def test_draining_one_that_its_provider_will_take_away(self) -> None:
        server = self.start()
        self.person("ann")
        other = self.start()
        self.call(membership.warn, server, "it ends soon")
        [move] = self.drain(server, DrainCause.WARNED, "it ends soon", seen=0) or []
        self.assertEqual(move.seat, self.seat(other))
        self.assertEqual(self.standing(server), (State.DRAINING, "warned", "it ends soon"))

    def test_why_it_goes_is_read_as_a_value(self) -> None:
        """By the controller and by pages; None where a newer version has written another."""
        server = self.start()
        for cause in (*DrainCause, *LossCause):
            Server.update(state=State.DRAINING, cause=cause).execute()
            self.assertEqual(self.causes(), [cause] * 3)
        for word in ("", "of another kind"):
            Server.update(cause=word).where(Server.id == server).execute()
            self.assertEqual(self.causes(), [None] * 3)

    def causes(self) -> list[DrainCause | LossCause | None]:
        """Those of the one server, by each way of reading it."""
        [seen] = self.call(membership.observe, ONE, Tally()).servers
        [listed] = self.call(fleet_admin.listing)
        return [seen.cause, listed.server.cause, ServerRow.of(self.row(seen.id)).cause]

    def test_a_reason_is_cut_to_what_is_kept(self) -> None:
        long = "it is so " * 30
        drained, lost, late, closed = *(self.start() for _ in range(2)), *self.launch(2)
        self.drain(drained, DrainCause.IDLE, long)
        self.call(fleet_transitions.lose, ONE, lost, LossCause.FAILED, long, self.now)
        self.call(fleet_transitions.give_up, ONE, late, long, self.now)
        self.call(fleet_transitions.close, ONE, closed, None, long, self.now)
        self.assertEqual({row.reason for row in Server.select()}, {long[:200]})

    def test_the_end(self) -> None:
        server = self.start()
        self.person("ann")
        other = self.start()
        self.clock.advance(9)
        [move] = self.call(
            fleet_transitions.close, ONE, server, LossCause.ENDED, "ended: so", self.now
        )
        self.assertEqual(move.seat, self.seat(other))
        self.assertEqual(self.standing(server), (State.GONE, "ended", "ended: so"))
        self.assertEqual(self.row(server).ended, self.now)

    def test_the_end_of_one_that_drained(self) -> None:
        """What it drained for stays, unless there is more to say."""
        for cause, kept in ((None, "idle"), (LossCause.LEFT, "left")):
            server = self.start()
            self.drain(server, DrainCause.IDLE, "idle for long")
            self.call(fleet_transitions.close, ONE, server, cause, "it is over", self.now)
            self.assertEqual(self.standing(server), (State.GONE, kept, "it is over"))

    def test_why_it_was_lost_is_remembered(self) -> None:
        server = self.start()
        self.call(
            fleet_transitions.lose, ONE, server, LossCause.SILENT, "silent for long", self.now
        )
        self.call(fleet_transitions.close, ONE, server, LossCause.ENDED, "lost", self.now)
        self.assertEqual(self.standing(server), (State.GONE, "silent", "silent for long"))
        self.call(fleet_transitions.close, ONE, server, LossCause.LEFT, "again", self.now)
        self.call(fleet_transitions.lose, ONE, server, LossCause.LEFT, "again", self.now)
        self.assertEqual(self.standing(server), (State.GONE, "silent", "silent for long"))

    def test_a_launch_that_takes_too_long(self) -> None:
        """It is given up, unless it has said meanwhile that it serves."""
        late, serves = self.launch(2)
        self.assertEqual(self.call(fleet_transitions.give_up, ONE, late, "not ready", self.now), [])
        self.assertEqual(self.standing(late), (State.LOST, "late", "not ready"))
        self.assertFalse(self.call(membership.report, late, 22223))
        self.assertTrue(self.call(membership.report, serves, 22223))
        self.assertIsNone(self.call(fleet_transitions.give_up, ONE, serves, "not ready", self.now))
        self.assertEqual(self.row(serves).state, State.LAUNCHING)

    def test_what_the_provider_calls_it(self) -> None:
        one, other = self.launch(2)
        instances = [Instance(one, None, True, "", "i-1", "t3.micro")]
        self.call(fleet_transitions.note_instances, ONE, instances)
        row = self.row(one)
        self.assertEqual((row.host, row.instance_id, row.kind), (None, "i-1", "t3.micro"))
        self.assertIsNone(self.row(other).instance_id)
        instances = [Instance(one, "203.0.113.7", True, "", "i-1", "t3.micro")]
        self.call(fleet_transitions.note_instances, ONE, instances)
        [seen] = [
            each for each in self.call(membership.observe, ONE, Tally()).servers if each.id == one
        ]
        self.assertEqual((seen.host, seen.instance_id), ("203.0.113.7", "i-1"))

    def test_its_pool(self) -> None:
        """It is stored before a strategy that leaves it open, once, and beside no other."""
        fleet = "the best of 2 pools as Spot (3/0a1b2c3d)"
        one, other, neither = self.launch(3)
        for server, way in ((one, fleet), (other, "t3.micro in s-1")):
            self.assertTrue(self.call(fleet_transitions.note_strategy, ONE, server, None, way))
        for _ in range(2):
            for server in (one, other, neither):
                pool = "t3.micro in s-1 as Spot" if server == one else "t3.micro in s-1"
                instance = Instance(server, None, True, "", "i-1", pool=pool)
                self.call(fleet_transitions.note_instances, ONE, [instance])
        self.assertEqual(
            [self.row(server).way for server in (one, other, neither)],
            [f"t3.micro in s-1 as Spot, {fleet}", "t3.micro in s-1", None],
        )
        self.assertEqual(pool_of(self.row(one).way), "t3.micro in s-1 as Spot")
        self.assertEqual((pool_of(fleet), pool_of(None)), (fleet, ""))

    def test_settling(self) -> None:
        lost = self.start()
        self.person("ann")
        self.call(fleet_transitions.lose, ONE, lost, LossCause.SILENT, "", self.now)
        self.assertEqual(self.call(fleet_transitions.settle, ONE), [])
        other = self.ready_server(capacity=1)
        [move] = self.call(fleet_transitions.settle, ONE)
        self.assertEqual(move.seat, self.seat(other))

    def test_rows_of_ended_ones_go_later(self) -> None:
        old, young, alive = self.start(), self.start(), self.start()
        self.call(fleet_transitions.close, ONE, old, None, "", self.now)
        self.clock.advance(10)
        self.call(fleet_transitions.close, ONE, young, None, "", self.now)
        self.assertEqual(self.call(fleet_transitions.forget_gone, self.now, 0.0), 1)
        self.assertEqual({row.id for row in Server.select()}, {young, alive})


@on_both_databases
class Consolidating(FleetCase):
    """Servers that are given up as their people fit elsewhere."""

    def setUp(self) -> None:
        super().setUp()
        self.keep()

    def consolidate(self, server: str, seen: int = 2) -> bool:
        """Whether it drains now; that moves nobody."""
        moves = self.drain(server, DrainCause.CONSOLIDATION, "consolidated: it fits", seen)
        self.assertIn(moves, ([], None))
        return moves is not None

    def move_some(self, server: str, most: int = 2) -> int:
        return len(self.call(fleet_transitions.move_some_off, ONE, server, most, self.now))

    def two_with_people(self, people: int) -> tuple[str, str]:
        """A server with people, and another with as many free places."""
        server = self.start(capacity=people)
        for number in range(people):
            self.person(f"p{number}")
        return server, self.start(capacity=people)

    def test_consolidating_moves_nobody_yet_and_then_a_few_at_once(self) -> None:
        server, other = self.two_with_people(5)
        self.assertTrue(self.consolidate(server, 5))
        self.assertEqual(
            self.standing(server), (State.DRAINING, "consolidation", "consolidated: it fits")
        )
        self.assertEqual(self.taken(server), 5)
        self.assertEqual([self.move_some(server) for _ in range(4)], [2, 2, 1, 0])
        self.assertEqual((self.taken(server), self.taken(other)), (0, 5))

    def test_nobody_is_moved_twice_in_ten_minutes(self) -> None:
        server, other = self.two_with_people(2)
        self.consolidate(server)
        self.assertEqual(self.move_some(server), 2)
        back = self.start(capacity=2)
        self.clock.advance(599)
        self.assertFalse(self.consolidate(other))
        self.assertEqual(self.row(other).state, State.READY)
        # Also where it drains already.
        Server.update(state=State.DRAINING).where(Server.id == other).execute()
        self.assertEqual(self.move_some(other), 0)
        Server.update(state=State.READY).where(Server.id == other).execute()
        self.clock.advance(2)
        self.assertTrue(self.consolidate(other))
        self.assertEqual(self.move_some(other), 2)
        self.assertEqual(self.taken(back), 2)

    def test_a_clock_that_was_wrong_holds_nobody_for_ever(self) -> None:
        server, _ = self.two_with_people(2)
        Place.update(moved=self.now + 5000.0).execute()
        self.assertTrue(self.consolidate(server))
        self.assertEqual(self.move_some(server), 2)

    def test_where_there_is_no_other_place_people_stay(self) -> None:
        server, other = self.two_with_people(3)
        Server.update(capacity=1).where(Server.id == other).execute()
        self.consolidate(server, 3)
        self.assertEqual([self.move_some(server) for _ in range(2)], [1, 0])
        self.assertEqual((self.taken(server), self.taken(other)), (2, 1))
        moved = Place.select(Place.server).where(Place.moved.is_null(False))
        self.assertEqual([row.server_id for row in moved], [other])

    def test_one_that_more_came_to_is_not_consolidated(self) -> None:
        server, _ = self.two_with_people(2)
        self.assertFalse(self.consolidate(server, seen=1))
        self.assertEqual(self.row(server).state, State.READY)

    def test_nor_one_that_drains_or_has_to_go_already(self) -> None:
        server, _ = self.two_with_people(2)
        for values in (
            {"drain_asked": True},
            {"warned": "taken back"},
            {"state": State.LOST},
            {"state": State.DRAINING, "cause": DrainCause.OPERATOR},
        ):
            Server.update(values).where(Server.id == server).execute()
            before = self.everything()
            self.assertFalse(self.consolidate(server), values)
            self.call(fleet_transitions.keep, ONE, server, self.now)
            self.assertEqual(self.everything(), before, values)
            Server.update(drain_asked=False, warned=None, state=State.READY, cause="").execute()

    def test_one_that_is_needed_again_is_kept(self) -> None:
        server, _ = self.two_with_people(3)
        self.consolidate(server, 3)
        self.move_some(server)
        Place.update(server=None).where(Place.moved.is_null(False)).execute()
        Server.update(taken=0, capacity=0).where(Server.id != server).execute()
        self.assertEqual(len(self.call(fleet_transitions.keep, ONE, server, self.now)), 2)
        self.assertEqual(self.standing(server), (State.READY, "", ""))
        self.assertEqual(self.taken(server), 3)

    def test_only_what_could_as_well_stay_is_kept(self) -> None:
        """By its cause, however its reason reads."""
        server, _ = self.two_with_people(2)
        for cause in (*DrainCause, *LossCause, ""):
            before = {"state": State.DRAINING, "cause": cause, "reason": "consolidated: replaced: "}
            Server.update(before).where(Server.id == server).execute()
            self.call(fleet_transitions.keep, ONE, server, self.now)
            waits = isinstance(cause, DrainCause) and cause.urgency is Urgency.WHEN_QUIET
            now = (State.READY, "", "") if waits else (*before.values(),)
            self.assertEqual(self.standing(server), now)

    def test_one_that_is_empty_is_not_kept(self) -> None:
        server, _ = self.two_with_people(2)
        self.consolidate(server)
        self.move_some(server)
        self.call(fleet_transitions.keep, ONE, server, self.now)
        self.assertEqual(self.row(server).state, State.DRAINING)

    def test_one_that_an_operator_wants_empty_meanwhile_is_not_kept(self) -> None:
        server, _ = self.two_with_people(2)
        self.consolidate(server)
        self.call(fleet_admin.ask_drain, server)
        self.call(fleet_transitions.keep, ONE, server, self.now)
        self.assertEqual(self.row(server).state, State.DRAINING)


@on_both_databases
class Replacing(FleetCase):
    """Servers that drain as operators asked others for them."""

    def setUp(self) -> None:
        super().setUp()
        self.keep()
        self.server = self.start(capacity=3)
        for number in range(3):
            self.person(f"p{number}")
        self.other = self.start(capacity=3)

    def mark(self, asked: bool = True) -> None:
        Server.update(replace_asked=asked).where(Server.id == self.server).execute()

    def replace(self, seen: int = 3) -> bool:
        """Whether it drains now; that moves nobody."""
        reason = "replaced: they go over"
        moves = self.drain(self.server, DrainCause.REPLACEMENT, reason, seen)
        self.assertIn(moves, ([], None))
        return moves is not None

    def test_only_one_of_which_it_is_asked(self) -> None:
        self.assertFalse(self.replace())
        self.mark()
        self.assertTrue(self.replace())
        self.assertEqual(
            self.standing(self.server), (State.DRAINING, "replacement", "replaced: they go over")
        )
        self.assertEqual(self.taken(self.server), 3)

    def test_not_one_that_more_came_to_or_that_has_to_go_already(self) -> None:
        self.mark()
        self.assertFalse(self.replace(seen=2))
        for values in ({"drain_asked": True}, {"warned": "soon"}, {"state": State.LOST}):
            Server.update(values).where(Server.id == self.server).execute()
            self.assertFalse(self.replace(), values)
            Server.update(drain_asked=False, warned=None, state=State.READY).execute()
        self.assertTrue(self.replace())

    def test_its_people_are_moved_also_if_they_were_lately(self) -> None:
        """And are not again for fewer servers, for a while."""
        self.mark()
        Place.update(moved=self.now).execute()
        self.replace()
        moves = [
            len(self.call(fleet_transitions.move_some_off, ONE, self.server, 2, self.now, True))
            for _ in range(3)
        ]
        self.assertEqual(moves, [2, 1, 0])
        self.assertTrue(self.call(placement.anybody_moved_lately, self.other, self.now))

    def test_one_that_is_needed_again_is_kept_and_is_to_be_replaced_still(self) -> None:
        self.mark()
        self.replace()
        self.call(fleet_transitions.keep, ONE, self.server, self.now)
        self.assertEqual(self.standing(self.server), (State.READY, "", ""))
        self.assertIs(self.row(self.server).replace_asked, True)


@on_both_databases
class WarmPool(FleetCase):
    """Servers that were launched to be stopped, and stand by."""

    def setUp(self) -> None:
        super().setUp()
        self.keep()

    def shelved(self) -> str:
        """One that boots for the warm pool."""
        [server] = self.call(fleet_transitions.add_launches, ONE, 1, "test", 2, 20, self.now, True)
        return server

    def warm(self) -> str:
        server = self.shelved()
        self.call(membership.report, server, 4711, "192.0.2.1")
        self.assertIs(self.call(fleet_transitions.park, ONE, server, self.now), True)
        self.call(membership.leave, server)
        return server

    def test_one_is_warm(self) -> None:
        server = self.shelved()
        self.assertTrue(self.row(server).shelved)
        self.call(membership.report, server, 4711, "192.0.2.1")
        self.clock.advance(7)
        self.assertIs(self.call(fleet_transitions.park, ONE, server, self.now), True)
        row = self.row(server)
        self.assertEqual(
            (row.state, row.host, row.port, row.created), (State.WARM, None, None, self.now)
        )
        self.assertIs(self.call(fleet_transitions.park, ONE, server, self.now), False)
        # Its app server beats until it is stopped; started by anybody else, it ends.
        self.assertIsNotNone(self.call(membership.beat, server, {}))
        self.assertIs(self.call(membership.report, server, 4711), False)

    def test_nobody_is_placed_there(self) -> None:
        self.warm()
        self.assertIs(self.call(placement.any_ready), False)

    def test_only_what_was_launched_for_it_is_shelved(self) -> None:
        [server] = self.launch()
        self.assertIs(self.call(fleet_transitions.park, ONE, server, self.now), False)
        self.assertIs(self.call(fleet_transitions.resume, ONE, server, 20, self.now), False)
        self.assertEqual(self.row(server).state, State.LAUNCHING)

    def test_it_comes_out_of_the_pool(self) -> None:
        server = self.warm()
        self.clock.advance(70)
        self.assertIs(self.call(fleet_transitions.resume, ONE, server, 20, self.now), True)
        row = self.row(server)
        self.assertEqual(
            (row.state, row.shelved, row.leaving, row.created),
            (State.LAUNCHING, False, False, self.now),
        )
        self.assertIs(self.call(membership.report, server, 4712, "192.0.2.2"), True)
        self.call(fleet_transitions.mark_ready, ONE, [(server, None, self.now)])
        self.assertEqual((self.row(server).state, self.row(server).host), ("ready", "192.0.2.2"))
        self.assertIs(self.call(fleet_transitions.resume, ONE, server, 20, self.now), False)

    def test_one_that_boots_for_it_is_wanted_sooner(self) -> None:
        server, began = self.shelved(), self.now
        self.clock.advance(5)
        self.assertIs(self.call(fleet_transitions.resume, ONE, server, 1, self.now), True)
        row = self.row(server)
        self.assertEqual((row.state, row.shelved, row.created), ("launching", False, began))
        self.assertIs(self.call(fleet_transitions.park, ONE, server, self.now), False)

    def test_the_maximum_holds(self) -> None:
        server = self.warm()
        self.assertEqual(len(self.launch(5, maximum=2)), 2)
        self.assertIs(self.call(fleet_transitions.resume, ONE, server, 2, self.now), False)
        self.assertIs(self.call(fleet_transitions.resume, ONE, server, 3, self.now), True)
        self.failureResultOf(
            self.database.run(fleet_admin.ask_launch, 2, 3, self.now), fleet_admin.FleetFull
        )

    def test_one_that_could_not_be_started_is_put_back(self) -> None:
        server = self.warm()
        self.call(fleet_transitions.resume, ONE, server, 20, self.now)
        self.call(fleet_transitions.put_back, ONE, server, self.now)
        self.assertEqual((self.row(server).state, self.row(server).shelved), ("warm", True))
        self.call(fleet_transitions.resume, ONE, server, 20, self.now)
        self.call(membership.report, server, 4711)
        self.call(fleet_transitions.put_back, ONE, server, self.now)
        self.assertEqual(self.row(server).state, "launching")

    def test_who_waits_is_told_nothing_of_it(self) -> None:
        self.start()
        self.shelved()
        launches = self.call(fleet_admin.launches_under_way, self.now)
        self.assertEqual(launches and launches.oldest, 0.0)
