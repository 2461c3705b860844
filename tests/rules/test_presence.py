"""Who is away, and comes back: the rules, on both databases."""

from __future__ import annotations

from bbs.core.errors import NotLoggedIn
from bbs.core.values import State, Tally
from bbs.rules import (
    accounts,
    auth,
    membership,
    placement,
    presence,
)
from bbs.rules.auth import Caller, digest
from bbs.rules.placement import Look, Search
from bbs.rules.presence import SessionStanding
from bbs.storage.models import LoginServer, Place, Server, Session, User, Waiter
from tests.database_case import SESSIONS, RulesCase, on_both_databases
from tests.rules.crowds import add, crowd
from tests.rules.fleet_case import ONE

NEW, HELD = Look(new=True), Look(new=False)


class AwayCase(RulesCase):
    def send_away(self, *people: Caller) -> list[int]:
        """These give their places back; returns who did."""
        held = self.call(presence.held_at, self.server)
        seen = {person.id: held[person.id] for person in people}
        return self.call(placement.leave_unused, self.server, seen)

    def place(self, user: int) -> tuple[str | None, bool]:
        """The server of the user's place, and whether the user is away."""
        row = Place.get(Place.user == user)
        return row.server_id, bool(row.away)

    def waiting(self) -> int:
        """How many people without a place the fleet sees."""
        return self.call(membership.observe, ONE, Tally()).waiting

    def fill(self, server: str) -> None:
        """There is no room left on `server`."""
        Server.update(capacity=Server.taken).where(Server.id == server).execute()


@on_both_databases
class GoingAway(AwayCase):
    def test_some_of_those_who_are_there(self) -> None:
        ann, bob, eva = self.people("ann", "bob", "eva")
        self.assertEqual(sorted(self.send_away(ann, eva)), [ann.id, eva.id])
        self.assertEqual(self.place(ann.id), (None, True))
        self.assertEqual(self.place(bob.id), (self.server, False))
        self.assertEqual(self.taken(self.server), 1)
        self.assertEqual(Session.select().count(), 3)

    def test_many(self) -> None:
        """More than one statement names."""
        people = crowd(placement.AT_ONCE + 1, self.server)
        held = self.call(presence.held_at, self.server)
        away = self.call(placement.leave_unused, self.server, held)
        self.assertEqual(sorted(away), people)
        self.assertEqual(self.taken(self.server), 0)

    def test_not_who_has_asked_since(self) -> None:
        ann, _, eva, max = self.people("ann", "bob", "eva", "max")
        held = self.call(presence.held_at, self.server)
        self.call(placement.ask, ann.id)
        self.log_in("bob")
        self.log_out(eva)
        self.log_in("eva")
        self.assertEqual(self.call(placement.leave_unused, self.server, held), [max.id])
        self.assertEqual(self.taken(self.server), 3)

    def test_not_who_has_gone_elsewhere(self) -> None:
        (ann,) = self.people("ann")
        held = self.call(presence.held_at, self.server)
        other = self.ready_server(capacity=1)
        Server.update(state=State.DRAINING).where(Server.id == self.server).execute()
        self.call(placement.move_off, self.server)
        self.assertEqual(self.call(placement.leave_unused, self.server, held), [])
        self.assertEqual(self.place(ann.id), (other, False))
        self.assertEqual((self.taken(self.server), self.taken(other)), (0, 1))

    def test_once_only(self) -> None:
        ann, _ = self.people("ann", "bob")
        held = self.call(presence.held_at, self.server)
        seen = {ann.id: held[ann.id]}
        for left in ([ann.id], [], []):
            self.assertEqual(self.call(placement.leave_unused, self.server, seen), left)
        self.assertEqual(self.taken(self.server), 1)

    def test_nobody(self) -> None:
        self.assertEqual(self.call(placement.leave_unused, self.server, {}), [])
        self.assertEqual(self.call(presence.held_at, self.server), {})

    def test_they_wait_for_nothing(self) -> None:
        (ann,) = self.people("ann")
        self.send_away(ann)
        self.assertEqual(self.waiting(), 0)
        self.assertEqual(self.call(placement.settle), [])
        self.assertEqual(self.place(ann.id), (None, True))
        self.assertEqual(self.call(placement.vacate, self.server), [])

    def test_logging_out(self) -> None:
        ann, _ = self.people("ann", "bob")
        self.send_away(ann)
        self.log_out(ann)
        self.assertEqual((Place.select().count(), self.taken(self.server)), (1, 1))

    def test_who_asks_is_told_to_be_away(self) -> None:
        self.account("ann")
        token = self.log_in("ann")
        self.assertFalse(self.caller(token).away)
        self.send_away(self.caller(token))
        self.assertEqual((self.caller(token).away, self.caller(token).server), (True, None))
        Server.update(state=State.LOST).execute()
        bob = self.log_in_at_a_new_server("bob")
        self.assertFalse(self.caller(bob).away)

    def log_in_at_a_new_server(self, name: str) -> str:
        self.account(name)
        server = self.ready_server(capacity=1)
        token = self.log_in(name)
        Server.update(state=State.LOST).where(Server.id == server).execute()
        self.call(placement.vacate, server)
        return token


@on_both_databases
class ComingBack(AwayCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob = self.people("ann", "bob")
        self.send_away(self.ann)

    def come_back(self, here: str | None = None, stays: bool = False) -> placement.Seat | None:
        return self.call(placement.come_back, self.ann.id, here or self.server, stays=stays)

    def test_here(self) -> None:
        fuller = self.ready_server(capacity=5)
        Server.update(taken=3).where(Server.id == fuller).execute()
        self.assertEqual(self.come_back(), self.seat(self.server))
        self.assertEqual(self.place(self.ann.id), (self.server, False))
        self.assertEqual(self.taken(self.server), 2)

    def test_twice_at_once(self) -> None:
        for _ in range(2):
            self.assertEqual(self.come_back(), self.seat(self.server))
        other = self.ready_server(capacity=1)
        self.assertEqual(self.come_back(other), self.seat(self.server))
        self.assertEqual((self.taken(self.server), self.taken(other)), (2, 0))

    def test_elsewhere(self) -> None:
        other = self.ready_server(capacity=1)
        self.fill(self.server)
        self.assertEqual(self.come_back(), self.seat(other))
        self.assertEqual((self.taken(self.server), self.taken(other)), (1, 1))

    def test_not_on_a_server_that_takes_nobody(self) -> None:
        other = self.ready_server(capacity=1)
        for state in set(State) - {State.READY}:
            Server.update(state=state).where(Server.id == self.server).execute()
            self.assertEqual(self.come_back(), self.seat(other))
            self.call(placement.leave_unused, other, self.call(presence.held_at, other))
        self.assertEqual((self.taken(self.server), self.taken(other)), (1, 0))

    def test_nowhere(self) -> None:
        self.fill(self.server)
        self.assertIsNone(self.come_back())
        self.assertEqual((self.place(self.ann.id), self.waiting()), ((None, True), 0))

    def test_nowhere_yet_for_who_stays(self) -> None:
        self.fill(self.server)
        self.assertIsNone(self.come_back(stays=True))
        self.assertEqual((self.place(self.ann.id), self.waiting()), ((None, False), 1))
        other = self.ready_server(capacity=1)
        [move] = self.call(placement.settle)
        self.assertEqual((move.seat, self.waiting()), (self.seat(other), 0))

    def test_who_is_offline(self) -> None:
        self.log_out(self.ann)
        failing = self.database.run(placement.come_back, self.ann.id, self.server)
        self.failureResultOf(failing, NotLoggedIn)
        self.assertEqual(self.taken(self.server), 1)

    def test_whoever_watches_sees_that_they_have_been_away(self) -> None:
        [before] = [row.asked for row in Place.select().where(Place.user == self.ann.id)]
        self.come_back()
        self.assertNotEqual(self.call(presence.held_at, self.server)[self.ann.id], before)

    def test_by_the_login_server(self) -> None:
        """Who is away waits as somebody does who is offline."""
        self.assertEqual(self.call(placement.take, self.ann.id, HELD), Search(None))
        self.fill(self.server)
        self.assertEqual(self.call(placement.take, self.ann.id, NEW), Search(None))
        self.assertEqual((self.place(self.ann.id), self.waiting()), ((None, True), 0))
        LoginServer.insert(id="login", identity="").execute()
        Waiter.insert(id="w1", login_server="login", name="ann").execute()
        self.assertEqual(self.waiting(), 1)
        other = self.ready_server(capacity=1)
        look = Look(new=True, waiter="w1")
        self.assertEqual(self.call(placement.take, self.ann.id, look), Search(self.seat(other)))
        self.assertEqual((self.place(self.ann.id), self.waiting()), ((other, False), 0))

    def test_by_logging_in(self) -> None:
        self.log_in("ann")
        self.assertEqual(self.place(self.ann.id), (self.server, False))
        self.assertEqual(self.taken(self.server), 2)

    def test_a_server_of_before_may_have_given_them_a_place(self) -> None:
        """It knows of nobody who is away, and does not say that they no longer are."""
        Place.update(server=self.server).where(Place.user == self.ann.id).execute()
        Server.update(taken=Server.taken + 1).execute()
        self.assertEqual(self.come_back(), self.seat(self.server))
        self.assertEqual(self.taken(self.server), 2)
        Server.update(state=State.LOST).execute()
        self.call(placement.vacate, self.server)
        self.assertEqual(self.place(self.ann.id), (None, False))


@on_both_databases
class Listening(AwayCase):
    def test_where_they_are(self) -> None:
        tokens = {}
        for name in ("ann", "bob", "eva"):
            self.account(name)
            tokens[name] = self.log_in(name)
        self.send_away(self.caller(tokens["bob"]))
        found = self.call(
            presence.standings, [digest(token) for token in (*tokens.values(), "none")]
        )
        seat = self.seat(self.server)
        self.assertEqual(
            found,
            {
                digest(tokens["ann"]): SessionStanding(seat),
                digest(tokens["bob"]): SessionStanding(None, away=True),
                digest(tokens["eva"]): SessionStanding(seat),
            },
        )
        Server.update(state=State.LOST).execute()
        self.call(placement.vacate, self.server)
        [standing] = self.call(presence.standings, [digest(tokens["ann"])]).values()
        self.assertEqual(standing, SessionStanding(None))

    def test_many(self) -> None:
        """More than one statement names."""
        (ann,) = self.people("ann")
        sessions = [f"{number:064}" for number in range(placement.AT_ONCE + 1)]
        rows = [(session, ann.id, self.now) for session in sessions]
        add(Session, rows, Session.digest, Session.user, Session.used)
        self.assertEqual({*self.call(presence.standings, sessions)}, {*sessions})

    def test_sessions_are_kept(self) -> None:
        self.account("ann")
        kept, other = digest(self.log_in("ann")), digest(self.log_in("ann"))
        seen = self.now
        for _ in range(3):
            self.clock.advance(0.9 * SESSIONS.ttl)
            self.call(presence.renew, [kept], self.now)
            self.call(accounts.end_stale_sessions, SESSIONS, self.now)
        self.assertEqual([row.digest for row in Session.select()], [kept])
        self.assertEqual(User.get().seen, seen)
        self.assertNotEqual(kept, other)


@on_both_databases
class Seen(AwayCase):
    """When a user was last there."""

    def seen(self) -> float | None:
        found: float | None = User.get().seen
        return found

    def test_logging_in_and_out(self) -> None:
        self.account("ann")
        self.assertIsNone(self.seen())
        token = self.log_in("ann")
        self.assertEqual(self.seen(), self.now)
        self.clock.advance(5)
        self.log_out(self.caller(token))
        self.assertEqual(self.seen(), self.now)

    def test_to_a_minute(self) -> None:
        self.account("ann")
        token = self.log_in("ann")
        self.clock.advance(auth.MOST_SLACK)
        self.call(presence.renew, [digest(token)], self.now)
        self.assertIsNone(self.caller(token).touch)
        self.clock.advance(1)
        ann = self.caller(token)
        self.assertEqual(ann.touch, digest(token))
        self.call(auth.touch, ann.id, ann.session, ann.now)
        self.assertEqual((self.seen(), Session.get().used), (self.now, self.now))

    def test_not_by_what_is_older_than_the_column(self) -> None:
        self.account("ann")
        self.log_in("ann")
        User.update(seen=None).execute()
        began = self.now
        self.clock.advance(SESSIONS.ttl + 1)
        self.call(accounts.end_stale_sessions, SESSIONS, self.now)
        self.assertEqual((self.seen(), Session.select().count()), (began, 0))

    def test_a_session_that_ends_unused(self) -> None:
        self.account("ann")
        token = self.log_in("ann")
        began = self.now
        self.clock.advance(10)
        self.call(presence.renew, [digest(token)], self.now)
        self.clock.advance(SESSIONS.ttl + 1)
        self.call(accounts.end_stale_sessions, SESSIONS, self.now)
        self.assertEqual((self.seen(), Session.select().count()), (began, 0))


@on_both_databases
class Crowds(RulesCase):
    """A fleet without room."""

    def setUp(self) -> None:
        super().setUp()
        Server.delete().execute()
        self.full = self.ready_server(capacity=7)

    def come(self, name: str, origin: str, silent: float = 1000.0) -> int:
        """Log in from `origin`, `silent` seconds ago."""
        self.account(name)
        look, then = Look(new=True, origin=origin), self.now - silent
        arguments = (name, f"hash of {name}", digest(name), None, then, look)
        self.assertIsNotNone(self.call(accounts.log_in, *arguments).seat)
        return int(User.get(User.name == name).id)

    def crowd(self) -> presence.Crowd:
        return self.call(presence.crowd, self.now)

    def test_who_neither_listens_nor_asks(self) -> None:
        """A listener's session is renewed, and a command's noted to a minute."""
        ann = self.come("ann", "192.0.2.1")
        self.come("bob", "192.0.2.1", silent=presence.SILENT)
        self.come("max", "")
        self.assertEqual([place.user for place in self.crowd().unused], [ann])
        self.call(presence.renew, [digest("ann")], self.now)
        self.assertEqual(self.crowd().unused, [])

    def test_the_longest_silent_of_the_greediest_network(self) -> None:
        self.come("ann", "192.0.2.1", silent=500.0)
        bob = self.come("bob", "192.0.2.1", silent=900.0)
        self.come("cid", "192.0.2.1", silent=0.0)
        self.come("dan", "198.51.100.1", silent=5000.0)
        self.come("eve", "198.51.100.1", silent=5000.0)
        crowd = self.crowd()
        chosen = crowd.give_way("203.0.113.1")
        assert chosen is not None
        self.assertEqual((chosen.user, chosen.server), (bob, self.full))
        self.assertEqual(chosen.origin, "192.0.2.1")

    def test_the_widest_network_counts_first(self) -> None:
        self.come("ann", "192.0.1.1")
        self.come("bob", "192.0.2.1")
        self.come("cid", "192.0.3.1", silent=2000.0)
        for number in range(2):
            self.come(f"dan{number}", "198.51.100.1", silent=5000.0)
        chosen = self.crowd().give_way("203.0.113.1")
        assert chosen is not None
        self.assertEqual(chosen.origin, "192.0.3.1")

    def test_nobody_gives_way_to_those_who_have_as_many(self) -> None:
        for number in range(4):
            self.come(f"ann{number}", "192.0.2.1")
        self.come("bob", "198.51.100.1")
        crowd = self.crowd()
        self.assertIsNone(crowd.give_way("192.0.2.1"))
        self.assertIsNotNone(crowd.give_way("198.51.100.1"))
        # Now they have three and two.
        self.assertIsNone(crowd.give_way("198.51.100.1"))
        self.assertIsNotNone(crowd.give_way("203.0.113.1"))
        self.assertIsNone(crowd.give_way("203.0.113.1"))
        # Trusted people are of no network.
        self.assertIsNotNone(crowd.give_way(""))
        self.assertIsNotNone(crowd.give_way(""))
        self.assertIsNone(crowd.give_way(""))
