"""Places are for who uses them: when one goes back, and that nobody notices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.commands.cost_limits import ELSEWHERE
from bbs.core.errors import Unavailable
from bbs.core.values import Policy, State, Tally
from bbs.delivery.feed import Cursor, Mailbox
from bbs.rules import (
    accounts,
    auth,
    fleet_admin,
    membership,
    overview,
    placement,
    presence,
)
from bbs.storage.models import Place, Server, Session, User, Waiter
from bbs.testing import Peer
from tests.memory_service import POLICY, configuration
from tests.slow_service import SlowService

TTL = 20.0
"""Seconds without a command or a connection that listens, after which a place goes back; there is
a look every two."""

LATE = 3.0
"""Seconds by which that may be later."""


class PresenceCase(SynchronousTestCase):
    """ann and bob have logged in, and share a server with two places."""

    policy: Policy = POLICY
    session_ttl = 604800.0
    names: tuple[str, ...] = ("ann", "bob")

    def setUp(self) -> None:
        config = configuration(self.policy)
        app = replace(config.app, place_ttl=TTL)
        limits = replace(config.limits, session_ttl=self.session_ttl)
        self.service = SlowService(config=replace(config, app=app, limits=limits))
        self.addCleanup(self.service.close)
        self.tokens = self.service.people(*self.names)
        self.peers = {name: self.service.at_home(token) for name, token in self.tokens.items()}

    def ask(self, name: str, request: str = "list-friend {}") -> dict[str, Any]:
        """The reply to a request of `name`, at the server where they first were."""
        return self.peers[name].ask(request.format(self.tokens[name]))

    def at_login(self, request: str, name: str) -> dict[str, Any]:
        """The reply of the login server."""
        peer = self.service.peer()
        peer.say(request.format(self.tokens[name]))
        self.service.settle()
        (reply,) = peer.heard()
        return reply

    def listen(self, name: str) -> Peer:
        return self.service.listening(self.tokens[name])

    def hang_up(self, peer: Peer) -> None:
        peer.protocol.connectionLost(Failure(ConnectionDone()))

    def there(self) -> set[str]:
        """Who has a place."""
        return {row.user.name for row in Place.select().where(Place.server.is_null(False))}

    def away(self) -> set[str]:
        """Who is online, has none and wants none."""
        return {row.user.name for row in Place.select().where(Place.away)}

    def asked(self, name: str) -> int:
        """What changes with each new place, and each login."""
        return int(Place.get(Place.user == User.get(User.name == name)).asked)

    def taken(self) -> int:
        """Places taken, as the servers count them; fails unless the people there are as many."""
        taken = sum(row.taken for row in Server.select())
        self.assertEqual(taken, len(self.there()))
        return taken


class GoingBack(PresenceCase):
    def test_after_a_while_and_not_before(self) -> None:
        self.service.advance(TTL - 1)
        self.assertEqual((self.there(), self.taken()), ({"ann", "bob"}, 2))
        self.service.advance(1 + LATE)
        self.assertEqual((self.there(), self.taken()), (set(), 0))
        self.assertEqual(self.away(), {"ann", "bob"})

    def test_the_session_stays(self) -> None:
        self.service.advance(TTL + LATE)
        self.assertEqual(Session.select().count(), 2)

    def test_the_next_command_takes_it_again(self) -> None:
        before = self.ask("ann")
        self.service.advance(TTL + LATE)
        self.assertEqual(self.away(), {"ann", "bob"})
        self.assertEqual(self.ask("ann"), before)
        self.assertEqual((self.there(), self.away(), self.taken()), ({"ann"}, {"bob"}, 1))

    def test_to_the_login_server_too(self) -> None:
        self.service.advance(TTL + LATE)
        reply = self.at_login("locate {}", "ann")
        self.assertEqual(reply["status"], 0)
        self.assertEqual((self.there(), self.away()), ({"ann"}, {"bob"}))

    def test_logging_in_takes_it_again(self) -> None:
        self.service.advance(TTL + LATE)
        self.service.people("ann")
        self.assertEqual((self.there(), self.away(), self.taken()), ({"ann"}, {"bob"}, 1))

    def test_one_server_is_enough_for_them(self) -> None:
        """Their places are others' at once."""
        self.service.advance(TTL + LATE)
        self.service.people("eva", "max")
        self.assertEqual((self.there(), self.taken()), ({"eva", "max"}, 2))
        self.assertEqual(len(self.service.servers), 1)

    def test_others_who_wait_hear_of_it(self) -> None:
        self.service.boots = False
        self.service.advance(TTL - 1)
        waiting = self.service.peer()
        waiting.ask("register eva pw")
        waiting.say("login eva pw")
        self.service.settle()
        self.assertEqual(waiting.heard(), [])
        hints: list[Mapping[str, Any]] = []
        self.service.login.home.bus.hear_fleet(hints.append)
        self.service.advance(1 + LATE)
        [reply] = waiting.heard()
        self.assertEqual(reply["status"], 0)
        self.assertIn({"event": "free"}, hints)

    def test_logging_out_while_away(self) -> None:
        self.service.advance(TTL + LATE)
        self.assertEqual(self.at_login("logout {}", "ann")["status"], 0)
        self.assertEqual((self.away(), Place.select().count(), self.taken()), ({"bob"}, 1, 0))
        self.assertEqual(self.ask("ann")["code"], "not-logged-in")

    def test_friends_see_them_online(self) -> None:
        for request in ("invite {} bob", "list-friend {}"):
            self.ask("ann", request)
        self.ask("bob", "accept-invite {} ann")
        self.service.advance(TTL + LATE)
        self.assertEqual(self.ask("ann", "send {} bob hello")["status"], 0)
        self.ask("bob")
        (event,) = self.listen("bob").events()
        self.assertEqual(event["message"], "hello")


class WhoUsesIt(PresenceCase):
    def test_who_asks_now_and_then(self) -> None:
        for _ in range(5):
            self.service.advance(TTL - 1)
            self.assertEqual(self.ask("ann")["status"], 0)
        self.assertEqual((self.there(), self.taken()), ({"ann"}, 1))

    def test_who_is_refused_has_asked_too(self) -> None:
        for request in ("invite {} nobody", "invite {}", "logout {}") * 2:
            self.service.advance(TTL - 1)
            self.assertEqual(self.ask("ann", request)["status"], 1)
        self.service.advance(TTL - 1)
        self.assertEqual(self.there(), {"ann"})

    def test_who_listens(self) -> None:
        peer = self.listen("ann")
        before = self.asked("ann")
        self.service.advance(3 * TTL)
        self.assertEqual((self.there(), peer.events()), ({"ann"}, []))
        self.assertEqual(self.asked("ann"), before, "it went back meanwhile")

    def test_time_counts_from_the_end_of_listening(self) -> None:
        peer = self.listen("ann")
        self.service.advance(2 * TTL)
        self.hang_up(peer)
        self.service.advance(TTL - 1)
        self.assertEqual(self.there(), {"ann"})
        self.service.advance(1 + LATE)
        self.assertEqual(self.there(), set())

    def test_who_leaves_was_last_seen_to_the_moment(self) -> None:
        """Who comes back at once is not shown again what there was an answer to."""
        peer, _ = self.listen("ann"), self.listen("ann")
        for seconds in (10, 10):
            self.service.advance(seconds)
            self.ask("ann")
        answered = self.service.wall()
        self.service.advance(5)
        peer.ask(f"listen {self.tokens['ann']}")  # As a client does by itself.
        self.hang_up(peer)
        self.assertEqual(User.get(User.name == "ann").seen, answered)

    def test_who_logs_in_again_has_the_whole_time(self) -> None:
        self.service.advance(TTL - 1)
        self.service.people("ann")
        self.service.advance(TTL - 1)
        self.assertEqual(self.there(), {"ann"})
        self.service.advance(1 + LATE)
        self.assertEqual(self.there(), set())

    def test_who_locates_has_too(self) -> None:
        self.service.advance(TTL - 1)
        self.at_login("locate {}", "ann")
        self.service.advance(TTL - 2)
        self.assertEqual(self.there(), {"ann"})

    def test_who_logs_out_and_in_again_has_too(self) -> None:
        """Between two looks of the server, which sees the same user there as before."""
        self.service.advance(TTL - 1)
        self.at_login("logout {}", "ann")
        self.service.people("ann")
        self.service.advance(TTL - 2)
        self.assertEqual(self.there(), {"ann"})

    def test_strangers_have_asked_nothing(self) -> None:
        for _ in range(5):
            self.service.advance(TTL / 2)
            self.peers["ann"].ask("ping")
            self.peers["ann"].ask("list-friend")
        self.assertEqual(self.there(), set())

    def test_a_server_that_is_started_anew_gives_everybody_the_whole_time(self) -> None:
        self.service.advance(TTL - 1)
        ((server_id, server),) = self.service.servers.items()
        server.serving.presence.stopService()
        self.service.boot(server_id)
        self.service.advance(TTL - 2)
        self.assertEqual(self.there(), {"ann", "bob"})
        self.service.advance(2 + LATE)
        self.assertEqual(self.there(), set())


class MoreRoom(PresenceCase):
    """ann and bob are at one server, eva and max at another."""

    names = ("ann", "bob", "eva", "max")

    def where(self, name: str) -> str | None:
        return Place.get(Place.user == User.get(User.name == name)).server_id

    def keep(self, *names: str) -> None:
        """A while passes, in which these ask and others do not."""
        for _ in range(3):
            self.service.advance(TTL / 2)
            for name in names:
                self.assertEqual(self.ask(name)["status"], 0)

    def test_who_is_moved_has_the_whole_time(self) -> None:
        self.service.advance(TTL - 1)
        before = self.where("ann")
        self.service.database.run(fleet_admin.ask_drain, before or "")
        self.service.advance(TTL - 2)
        self.assertNotEqual(self.where("ann"), before)
        self.assertEqual(self.there(), {"ann", "bob"})
        self.service.advance(2 + LATE)
        self.assertEqual(self.there(), set())

    def test_at_another_server_where_this_one_is_full(self) -> None:
        self.keep("eva")
        self.assertEqual(self.there(), {"eva"})
        self.service.people("tom")  # To the fullest with room, eva's.
        self.assertEqual(self.where("tom"), self.where("eva"))
        other = self.ask("max")
        self.assertEqual((other["status"], other["code"]), (1, "moved"))
        server = self.service.servers[self.where("max") or ""]
        self.assertEqual(other["app_server"]["port"], server.port)
        self.assertEqual(server.peer().ask(f"list-friend {self.tokens['max']}")["status"], 0)
        self.assertEqual(self.there(), {"eva", "tom", "max"})
        self.assertEqual(self.taken(), 3)

    def test_at_another_server_where_this_one_takes_nobody(self) -> None:
        self.keep("eva")
        full = self.service.serving(self.tokens["eva"]).id
        (empty,) = {*self.service.servers} - {full}
        Server.update(state=State.DRAINING).where(Server.id == empty).execute()
        self.assertEqual(self.ask("ann")["code"], "moved")
        self.assertEqual(self.where("ann"), full)

    def test_where_there_is_no_room(self) -> None:
        """The login server has people wait; the app server knows no place (protocol.md, 5)."""
        self.service.boots = False
        self.keep("eva")
        self.service.people("tom", "pia", "kim")
        self.assertEqual(self.taken(), 4)
        words = {"message": "Ask the login server", "code": "ask-login-server"}
        self.assertEqual(self.ask("ann"), {"status": 1, **words})
        self.assertEqual((self.away(), self.taken()), ({"ann", "bob", "max"}, 4))
        (first, *_) = self.service.servers.values()
        payer, _ = first.serving.home.charges.charge(self.tokens["ann"], "", auth.ONE_COMMAND)
        self.assertEqual(payer, (ELSEWHERE, User.get(User.name == "ann").id))
        peer = self.service.peer()
        peer.say(f"locate {self.tokens['ann']}")
        self.service.settle()
        self.assertEqual(peer.heard(), [])
        seen = self.service.database.run(overview.overview, self.service.wall(), True)
        self.assertEqual((self.successResultOf(seen).waiting, Waiter.select().count()), (1, 1))
        self.service.boots = True
        for row in [*Server.select().where(Server.state == State.LAUNCHING)]:
            self.service.boot(row.id)
        self.service.settle()
        [reply] = peer.heard()
        self.assertEqual((reply["status"], Waiter.select().count()), (0, 0))
        self.assertEqual((self.away(), self.taken()), ({"bob", "max"}, 5))

    def test_giving_up_leaves_nothing_counted(self) -> None:
        self.service.boots = False
        self.keep("eva")
        self.service.people("tom", "pia", "kim")
        peer = self.service.peer()
        peer.say(f"locate {self.tokens['ann']}")
        self.service.settle()
        self.assertEqual(Waiter.select().count(), 1)
        self.hang_up(peer)
        self.assertEqual(Waiter.select().count(), 0)
        seen = self.service.database.run(membership.observe, self.service.me, Tally())
        self.assertEqual(self.successResultOf(seen).waiting, 0)
        self.assertEqual(self.away(), {"ann", "bob", "max"})


class Fleet(PresenceCase):
    """What it is kept for: servers end of which nobody makes use."""

    policy = replace(POLICY, idle_grace=10.0)
    names = tuple(f"user{number}" for number in range(10))

    def test_servers_end(self) -> None:
        self.assertEqual(len(self.service.servers), 5)
        listener = self.listen("user3")
        self.service.advance(TTL + LATE + 10.0 + 5.0)
        self.assertEqual(self.there(), {"user3"})
        states = [row.state for row in Server.select()]
        self.assertEqual(sorted(states), ["gone"] * 4 + ["ready"])
        self.assertEqual(listener.events(), [])

    def test_nobody_is_launched_for_who_is_away(self) -> None:
        self.service.advance(TTL + LATE + 10.0 + 5.0)
        launched = Server.select().count()
        self.service.advance(30.0)
        self.assertEqual(Server.select().count(), launched)


class Meanwhile(PresenceCase):
    """Somebody comes while the place is being given back."""

    def setUp(self) -> None:
        super().setUp()
        self.service.slow.hold(placement.leave_unused)
        self.service.advance(TTL + LATE)
        (self.giving_back,) = self.service.slow.waiting
        self.service.slow.hold_no_more()

    def in_the_middle(self, happens: Callable[[], object]) -> None:
        """Have something happen when the transaction is over that gives places back, and nobody has
        heard of it yet."""
        self.giving_back.go_on(happens)
        self.service.settle()

    def test_somebody_who_asks(self) -> None:
        (server,) = self.service.servers.values()
        user = User.get(User.name == "ann").id
        self.in_the_middle(lambda: server.serving.presence.note(user))
        self.assertEqual((self.there(), self.away(), self.taken()), ({"ann"}, {"bob"}, 1))

    def test_somebody_who_asks_and_one_who_logs_out(self) -> None:
        """That one has no place to take back, and the other has."""
        (server,) = self.service.servers.values()
        first, second = (User.get(User.name == name).id for name in self.names)

        def happens() -> None:
            for user in (first, second):
                server.serving.presence.note(user)
            Place.delete().where(Place.user == first).execute()

        self.in_the_middle(happens)
        self.assertEqual((self.there(), self.taken()), ({"bob"}, 1))

    def test_somebody_who_begins_to_listen(self) -> None:
        """Whose command was long ago: it notes that they are there."""
        (server,) = self.service.servers.values()
        ann = User.get(User.name == "ann")
        peer = server.peer()

        def listen() -> None:
            session = auth.digest(self.tokens["ann"])
            opening = server.serving.listeners.open(
                auth.Caller(ann.id, "ann", ann.channel, 0.0, session=session),
                Mailbox(Cursor(ann.id, 0), resumes=True),
                peer.protocol,
            )
            begin = self.successResultOf(Deferred.fromCoroutine(opening))
            begin()

        self.in_the_middle(listen)
        self.assertEqual((self.there(), self.away(), self.taken()), ({"ann"}, {"bob"}, 1))
        self.assertEqual(peer.events(), [])

    def test_somebody_who_has_just_logged_in(self) -> None:
        """It changes `Place.asked`, which the transaction looks at."""
        self.service.people("ann")
        self.in_the_middle(lambda: None)
        self.assertEqual((self.there(), self.away()), ({"ann"}, {"bob"}))

    def test_the_database_is_away(self) -> None:
        self.giving_back.fail(Unavailable())
        self.service.settle()
        self.assertEqual(self.taken(), 2)
        self.service.advance(LATE)
        self.assertEqual(self.taken(), 0)


class Listening(PresenceCase):
    """A connection that listens keeps session and place."""

    session_ttl = 30.0

    def test_nobody_who_listens_is_logged_out(self) -> None:
        peer = self.listen("ann")
        self.service.advance(300.0)
        self.assertEqual(peer.events(), [])
        self.assertEqual([row.user.name for row in Session.select()], ["ann"])
        self.assertEqual(peer.ask(f"list-friend {self.tokens['ann']}")["status"], 0)

    def test_it_is_not_the_user_who_is_seen(self) -> None:
        peer = self.listen("ann")
        seen = User.get(User.name == "ann").seen
        self.service.advance(100.0)
        self.assertEqual(User.get(User.name == "ann").seen, seen)
        peer.ask(f"list-friend {self.tokens['ann']}")
        self.assertEqual(User.get(User.name == "ann").seen, self.service.wall())

    def test_nor_when_it_goes_to_another_server(self) -> None:
        """A terminal that somebody left open does that by itself."""
        self.listen("ann")
        seen = User.get(User.name == "ann").seen
        self.service.advance(100.0)
        self.at_login("locate {}", "ann")
        self.listen("ann")
        self.service.settle()
        self.assertEqual(User.get(User.name == "ann").seen, seen)
        used = Session.get(Session.user == User.get(User.name == "ann")).used
        self.assertGreater(used, self.service.wall() - 1.0)

    def test_one_that_is_found_away_gets_a_place(self) -> None:
        peer = self.listen("ann")
        (server,) = self.service.servers
        self.send_away(server)
        self.service.advance(15.0)
        self.assertEqual((self.there(), self.taken()), ({"ann"}, 1))
        self.assertEqual(peer.events(), [])

    def test_elsewhere_where_there_is_no_room(self) -> None:
        peer = self.listen("ann")
        (server,) = self.service.servers
        self.send_away(server)
        self.service.people("eva", "max", "tom")
        self.service.advance(15.0)
        self.assertIn("ann", self.there())
        [event] = peer.events()
        self.assertEqual(event["event"], "moved")

    def test_where_there_is_none_one_is_made(self) -> None:
        peer = self.listen("ann")
        (server,) = self.service.servers
        self.send_away(server)
        self.service.people("eva", "max")
        self.service.advance(15.0)
        self.assertIn("ann", self.there())
        self.assertEqual([event["event"] for event in peer.events()], ["moved"])

    def send_away(self, server: str) -> None:
        held = presence.held_at(server)
        placement.leave_unused(server, held)
        self.assertEqual(self.taken(), 0)


class ManyLogins(PresenceCase):
    """A script that logs in each second, as older clients do, beside a terminal."""

    def test_who_listens_stays(self) -> None:
        peer = self.listen("ann")
        self.service.advance(70.0)
        for _ in range(accounts.MOST_SESSIONS):
            self.service.advance(0.5)
            self.service.people("ann")
        self.service.advance(10.0)
        self.assertEqual(peer.events(), [])
        ann = Session.user == User.get(User.name == "ann")
        self.assertEqual(Session.select().where(ann).count(), accounts.MOST_SESSIONS)

    def test_sessions_in_use_stay(self) -> None:
        """At the app server and at the login server, whatever logs in beside them."""
        at_login = self.service.people("ann")["ann"]
        for _ in range(accounts.MOST_SESSIONS + 13):
            self.service.people("ann")
            self.assertEqual(self.ask("ann")["status"], 0)
            self.assertEqual(self.service.peer().ask(f"locate {at_login}")["status"], 0)


class OtherSessions(PresenceCase):
    """ann listens with two sessions."""

    def setUp(self) -> None:
        super().setUp()
        self.first = self.listen("ann")
        self.second_token = self.service.people("ann")["ann"]
        self.second = self.service.listening(self.second_token)

    def end(self, token: str) -> None:
        """One session ends, as it does when there are too many."""
        Session.delete().where(Session.digest == auth.digest(token)).execute()

    def test_one_that_is_gone_is_told_and_the_others_are_not(self) -> None:
        self.end(self.tokens["ann"])
        self.service.advance(15.0)
        self.assertEqual(self.first.events(), [{"event": "logout"}])
        self.assertEqual(self.second.events(), [])
        (server,) = self.service.servers.values()
        listeners = server.serving.listeners
        self.assertEqual(listeners.sessions, {auth.digest(self.second_token)})

    def test_at_once_where_it_is_hinted_at(self) -> None:
        self.end(self.second_token)
        channel = User.get(User.name == "ann").channel
        self.service.login.home.bus.tell(channel, {"event": "logout"})
        self.service.settle()
        self.assertEqual(self.second.events(), [{"event": "logout"}])
        self.assertEqual(self.first.events(), [])

    def test_a_logout_ends_all(self) -> None:
        self.at_login("logout {}", "ann")
        self.service.settle()
        for peer in (self.first, self.second):
            self.assertEqual(peer.events(), [{"event": "logout"}])

    def test_one_question_for_all(self) -> None:
        self.listen("bob")
        self.service.slow.asked.clear()
        self.service.advance(10.0)
        asked = [len(sessions) for (sessions,) in self.service.slow.calls(presence.standings)]
        self.assertEqual(asked, [3])


class Figures(PresenceCase):
    def test_who_is_connected(self) -> None:
        for name in ("ann", "ann", "bob"):
            peer = self.listen(name)
        self.service.beat()
        self.assertEqual(self.look().connected, 2)
        self.hang_up(peer)
        self.service.beat()
        seen = self.look()
        self.assertEqual(seen.connected, 1)
        [server] = seen.servers
        self.assertEqual((server.figures, server.connected), ({"connected": 1}, 1))

    def test_who_is_away(self) -> None:
        self.listen("ann")
        self.assertEqual(self.look().away, 0)
        self.service.advance(TTL + LATE)
        seen = self.look()
        self.assertEqual((seen.away, seen.waiting), (1, 0))
        self.assertEqual({*(seen.who or {}).values()}, {("ann",)})

    def look(self) -> overview.Overview:
        found = self.service.database.run(overview.overview, self.service.wall(), True)
        return self.successResultOf(found)


class Here(PresenceCase):
    """The states in `who`: `docs/protocol.md`, section 3, "Presence"."""

    def setUp(self) -> None:
        super().setUp()
        self.ask("ann", "invite {} bob")
        self.ask("bob", "accept-invite {} ann")

    def state(self) -> str:
        """The state of bob, as ann sees it."""
        ann = self.service.at_home(self.tokens["ann"])
        [bob] = ann.ask(f"who {self.tokens['ann']}")["friend"]
        self.assertEqual(bob["online"], bob["state"] != "out")
        state: str = bob["state"]
        return state

    def test_five_minutes_after_a_command(self) -> None:
        self.assertEqual(self.state(), "here")
        self.service.advance(presence.HERE - 61)
        self.assertEqual(self.state(), "here")
        self.service.advance(62)
        self.assertEqual(self.state(), "away")
        self.service.at_home(self.tokens["bob"]).ask(f"list-friend {self.tokens['bob']}")
        self.assertEqual(self.state(), "here")

    def test_as_long_as_a_client_listens(self) -> None:
        peer = self.listen("bob")
        for _ in range(5):
            self.service.advance(400)
            self.assertEqual(self.state(), "here")
        self.hang_up(peer)
        self.service.advance(presence.SILENT + 31)
        self.assertEqual(self.state(), "away")

    def test_a_client_that_looks_where_its_user_is_served(self) -> None:
        """That shows nothing of the user."""
        self.service.advance(400)
        self.at_login("locate {}", "bob")
        self.service.advance(presence.SILENT + 1)
        self.assertEqual(self.state(), "away")

    def test_logged_out(self) -> None:
        self.at_login("logout {}", "bob")
        self.assertEqual(self.state(), "out")
