"""A backup that is loaded into the database of a running service."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import peewee
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.core.errors import Unavailable
from bbs.core.values import State
from bbs.rules import auth, fleets, restores
from bbs.rules.restores import Listening, Look
from bbs.scaling.lineage import Lineage
from bbs.storage import rising_ids
from bbs.storage.database import read_only
from bbs.storage.engines import creation
from bbs.storage.models import HeartbeatRow, Server, Session
from bbs.testing import MemoryService, Peer
from tests.database_case import RulesCase, on_both_databases
from tests.memory_service import memory_service

NAMES = "ann", "bob", "carol", "dave"  # Two at each of two app servers.


class LoadedCase(SynchronousTestCase):
    """ann is a friend of all others, at another app server than carol and dave."""

    def setUp(self) -> None:
        self.service: MemoryService = memory_service(board)
        self.addCleanup(self.service.close)
        self.tokens = dict(self.service.people(*NAMES))
        for name in NAMES[1:]:
            self.ask("ann", "invite {} " + name)
            self.ask(name, "accept-invite {} ann")
        self.service.advance(3)

    def ask(self, name: str, request: str) -> dict[str, Any]:
        token = self.tokens[name]
        return self.service.at_home(token).ask(request.format(token))

    def listen(self, *names: str) -> Mapping[str, Peer]:
        return {name: self.service.listening(self.tokens[name]) for name in names}

    def dump(self) -> sqlite3.Connection:
        copy = sqlite3.connect(":memory:")
        self.addCleanup(copy.close)
        self.live.backup(copy)
        return copy

    def load(self, copy: sqlite3.Connection) -> None:
        copy.backup(self.live)

    @property
    def live(self) -> sqlite3.Connection:
        database: Any = self.service.database.peewee
        connection: sqlite3.Connection = database.connection()
        return connection

    def say(self, *texts: str, to: str = "bob") -> None:
        for text in texts:
            reply = self.ask("ann", "send {} " + f"{to} {text}")
            self.assertEqual(reply["status"], 0, reply)

    def heard(self, peer: Peer) -> list[str]:
        self.service.settle()
        return [each["message"] for each in peer.events() if each["event"] == "message"]

    def logged_in(self, token: str) -> bool:
        found: list[object] = []
        now, sessions = self.service.wall(), self.service.login.home.sessions
        self.service.database.run(auth.identify, token, sessions, now).addBoth(found.append)
        return isinstance(found[0], auth.Caller)


def away(before: int, now: float) -> tuple[int, bool]:
    raise Unavailable


def end(lineage: Lineage) -> Deferred[bool]:
    """The heartbeat of a server that the fleet does not know, so that it is to end."""
    return Deferred.fromCoroutine(lineage.beat(not_known))


def not_known() -> bool:
    return False


class Loaded(LoadedCase):
    def test_all_that_is_written_afterwards_is_heard_once(self) -> None:
        """At once, before anybody knows of it; and by who drops ids up to the last one."""
        peers = self.listen(*NAMES)
        copy = self.dump()
        last = {}
        for name in NAMES[1:]:
            self.say("1", "2", "3", to=name)
            self.service.settle()
            last[name] = max(each["id"] for each in peers[name].events())
        self.load(copy)
        for round in ("at once", "a second later", "a minute later"):
            for name in NAMES[1:]:
                self.say(round, to=name)
                self.service.settle()
                [event] = peers[name].events()
                self.assertEqual((event["message"], event["id"] > last[name]), (round, True))
                last[name] = event["id"]
            self.service.advance({"at once": 1, "a second later": 60}.get(round, 0))
        for name in NAMES:
            self.assertEqual(peers[name].events(), [], name)

    def test_who_connects_later_with_an_id_from_before(self) -> None:
        copy = self.dump()
        peer = self.listen("ann", "bob")["bob"]
        self.say("lost")
        self.service.settle()
        [event] = peer.events()
        self.load(copy)
        self.service.advance(2)
        self.say("new")
        later = self.service.at_home(self.tokens["bob"])
        self.assertEqual(later.ask(f"listen {self.tokens['bob']} {event['id']}")["status"], 0)
        self.assertEqual(self.heard(later), ["new"])

    def test_who_listens_stays_logged_in(self) -> None:
        """Nobody else: their sessions may have ended since."""
        peers = self.listen("ann", "carol")
        copy = self.dump()
        gone = self.tokens["dave"]
        self.ask("dave", "logout {}")
        self.service.advance(1)
        self.load(copy)
        self.service.advance(3)
        live = [name for name in ("ann", "bob", "carol") if self.logged_in(self.tokens[name])]
        self.assertEqual((live, self.logged_in(gone)), (["ann", "carol"], False))
        self.assertEqual([peer.events() for peer in peers.values()], [[], []])
        self.tokens |= self.service.people("bob", "dave")  # They log in again.
        self.assertEqual(self.ask("dave", "list-friend {}")["friend"], ["ann"])

    def test_a_session_that_has_begun_since(self) -> None:
        """The load has no row of it; who listens is told of no logout, whatever is looked at."""
        copy = self.dump()
        self.ask("bob", "logout {}")
        self.tokens |= self.service.people("bob")
        peer = self.listen("ann", "bob")["bob"]
        self.service.advance(1)
        self.load(copy)
        server = self.service.serving(self.tokens["ann"])
        server.serving.home.bus.tell(self.channel("bob"), {"event": "moved"})
        self.service.settle()
        self.assertEqual(peer.events(), [])
        self.service.advance(3)
        self.say("still here")
        self.assertEqual(self.heard(peer), ["still here"])
        self.assertTrue(self.logged_in(self.tokens["bob"]))

    def test_an_end_is_told_when_it_is_certain(self) -> None:
        """Who listens hears of no logout while the sessions cannot be stored again; and however
        long that lasts, it is done then."""
        copy = self.dump()
        self.ask("bob", "logout {}")
        self.tokens |= self.service.people("bob")
        peer = self.listen("ann", "bob")["bob"]
        self.service.advance(3)
        self.load(copy)
        away = True
        claim = restores.claim_end

        def claim_end(before: int, now: float) -> tuple[int, bool]:
            if away:
                raise Unavailable
            return claim(before, now)

        self.patch(restores, "claim_end", claim_end)
        home = self.service.serving(self.tokens["ann"]).serving.home
        home.bus.tell(self.channel("bob"), {"event": "moved"})
        self.service.settle()
        self.service.advance(5)
        self.assertEqual(peer.events(), [])
        away = False
        self.service.advance(3)
        self.assertTrue(self.logged_in(self.tokens["bob"]))

    def test_sessions_that_are_stored_again_just_after_they_were_missed(self) -> None:
        peer = self.listen("ann", "bob")["bob"]
        serving = self.service.serving(self.tokens["bob"]).serving
        found = self.live.execute("SELECT * FROM session").fetchall()
        self.live.execute("DELETE FROM session")
        self.live.commit()

        async def look() -> None:
            marks = ", ".join("?" * len(found[0]))
            self.live.executemany(f"INSERT INTO session VALUES ({marks})", found)
            self.live.commit()

        self.patch(serving.listeners, "look", look)
        serving.home.bus.tell(self.channel("bob"), {"event": "moved"})
        self.service.settle()
        self.assertEqual(peer.events(), [])
        self.say("still here")
        self.assertEqual(self.heard(peer), ["still here"])

    def channel(self, name: str) -> str:
        [(channel,)] = self.live.execute("SELECT channel FROM user WHERE name = ?", (name,))
        return str(channel)

    def test_servers_that_have_begun_since(self) -> None:
        """They end, once those who listen there are kept; even if another era has begun already."""
        peer = self.listen("ann", "bob")["bob"]
        copy = self.dump()
        copy.execute("DELETE FROM heartbeat")
        copy.commit()
        lineage = self.service.serving(self.tokens["bob"]).serving.lineage
        self.service.advance(3)
        self.load(copy)
        self.service.database.begin_era()
        claiming = self.patch(restores, "claim_end", away)
        self.failureResultOf(end(lineage), Unavailable)
        claiming.restore()
        self.assertFalse(self.successResultOf(end(lineage)))
        self.assertFalse(self.logged_in(self.tokens["dave"]))
        self.assertTrue(self.logged_in(self.tokens["bob"]))
        self.assertEqual(peer.events(), [])

    def test_an_account_that_has_begun_since(self) -> None:
        """It is gone; whoever comes next is somebody else, with another id."""
        copy = self.dump()
        self.tokens |= self.service.people("eve")
        peer = self.listen("eve")["eve"]
        self.load(copy)
        self.service.people("frank")
        self.service.advance(30)
        self.assertEqual([each["event"] for each in peer.events()], ["logout"])
        self.assertFalse(self.logged_in(self.tokens["eve"]))

    def test_it_is_loaded_again(self) -> None:
        peer = self.listen("ann", "bob")["bob"]
        copy = self.dump()
        for text in ("one", "two", "three"):
            self.say(f"{text} at once")
            self.service.advance(4)
            self.say(text)
            self.assertEqual(self.heard(peer), [f"{text} at once", text])
            self.load(copy)
        self.service.advance(4)
        self.assertTrue(self.logged_in(self.tokens["bob"]))

    def test_sessions_that_are_loaded_after_the_rest(self) -> None:
        """A large dump is loaded one table after the other; servers notice it before the end."""
        made = "a server 1"

        def sessions_made() -> str:
            return made

        self.patch(restores, "sessions_made", read_only(sessions_made))
        peers = self.listen("ann")
        copy, ended = self.dump(), self.tokens["dave"]
        self.ask("dave", "logout {}")
        self.tokens |= self.service.people("carol")  # Not in the dump.
        peers = {**peers, **self.listen("carol")}
        self.service.advance(3)
        self.load(copy)
        self.service.advance(5)
        made = ""
        self.live.execute("DELETE FROM session")
        self.live.commit()
        self.service.advance(5)
        made = "a server 2"
        insertion = "INSERT OR REPLACE INTO session (digest, user_id, used) VALUES (?, ?, ?)"
        found = copy.execute("SELECT digest, user_id, used FROM session").fetchall()
        self.live.executemany(insertion, found)
        self.live.commit()
        self.service.advance(5)
        self.assertFalse(self.logged_in(ended))
        self.assertEqual([peer.events() for peer in peers.values()], [[], []])
        for name in ("ann", "carol"):
            self.assertTrue(self.logged_in(self.tokens[name]), name)

    def test_nothing_is_done_without_need(self) -> None:
        """Servers that are taken for dead, and come back, know their rows to be gone."""
        self.listen("ann")
        HeartbeatRow.delete().execute()
        self.service.advance(3)
        server = self.service.serving(self.tokens["dave"]).id
        Server.update(state=State.GONE).where(Server.id == server).execute()
        self.service.advance(3)
        self.assertEqual((rising_ids.era(), self.logged_in(self.tokens["dave"])), (0, True))

    def test_a_look_that_is_answered_after_the_heartbeat_beside_it(self) -> None:
        """It has seen fewer heartbeats than are known by then, of the same database."""
        self.listen("ann")
        lineage = self.service.serving(self.tokens["ann"]).serving.lineage
        run, held = self.service.database.run, Deferred[None]()

        def run_late(rule: Any, *arguments: Any, **keywords: Any) -> Deferred[Any]:
            answer = run(rule, *arguments, **keywords)
            return held.addCallback(lambda _: answer) if rule is restores.look else answer

        self.patch(self.service.database, "run", run_late)
        looking = Deferred.fromCoroutine(lineage.look())
        self.service.advance(5)
        self.assertNoResult(looking)
        held.callback(None)
        self.successResultOf(looking)
        self.service.advance(5)
        self.assertEqual((rising_ids.era(), self.logged_in(self.tokens["dave"])), (0, True))


@on_both_databases
class Rules(RulesCase):
    def test_a_look(self) -> None:
        self.assertEqual(self.call(restores.look, "s").beats, None)
        HeartbeatRow.create(server="s", beats=7)
        ann = self.person("ann")
        seen = self.call(restores.look, "s")
        self.assertEqual((seen.era, seen.ended, seen.beats), (0, 0, 7))
        self.assertEqual(seen.ids["user"], ann.id)

    def test_what_was_before(self) -> None:
        now = Look(era=5, ended=5, beats=9)
        before = [Look(era=4, ended=5, beats=9), Look(era=5, ended=4, beats=9), Look(5, 5, 8)]
        for each in before:
            self.assertTrue(each.is_before(now), each)
        in_a_cluster = Look(5, 5, 7, missing=2)
        for each in (now, in_a_cluster, Look(5, 5, None), Look(6, 5, 9)):
            self.assertFalse(each.is_before(now), each)

    def test_one_of_several_ends_the_sessions(self) -> None:
        for name in ("ann", "bob"):
            self.person(name)
        self.clock.advance(1)
        ended, is_mine = self.call(restores.claim_end, 0, self.now)
        self.assertEqual(is_mine, True)
        self.assertEqual(self.call(restores.claim_end, 0, self.now + 9), (ended, False))
        self.person("carol")  # Whoever logs in meanwhile stays.
        self.assertEqual(self.call(restores.end_some, ended), 2)
        self.assertEqual(self.call(restores.end_some, ended), 0)
        self.assertEqual(Session.select().where(Session.used > 0).count(), 1)

    def test_who_is_kept(self) -> None:
        """A session of somebody else, who has the id now, is not."""
        ann, bob = self.people("ann", "bob")
        digests = [each.digest for each in Session.select().order_by(Session.user)]
        self.call(restores.begin_anew, self.now)
        Session.delete().where(Session.user == bob.id).execute()
        kept = self.call(
            restores.keep,
            [
                Listening(digests[0], ann.id, ann.channel),
                Listening(digests[1], bob.id, bob.channel),
                Listening("0" * 64, bob.id, ann.channel),
                Listening("1" * 64, 10**9, ann.channel),
            ],
            self.now,
        )
        live = Session.select(Session.digest).where(Session.used > 0)
        self.assertEqual((kept, sorted(each.digest for each in live)), (2, sorted(digests)))

    def test_ids_that_will_be_given_again(self) -> None:
        user = self.person("ann").id
        self.assertFalse(self.call(restores.gives_again, {"user": user, "gone": 9}))
        self.assertTrue(self.call(restores.gives_again, {"user": user + 1}))

    def test_when_the_sessions_were_made(self) -> None:
        """Only MySQL and MariaDB tell; a table that is just being loaded is of no time."""
        database: Any = self.database.peewee
        made = self.call(restores.sessions_made)
        self.assertEqual(made == "", isinstance(database, peewee.SqliteDatabase))
        self.assertEqual(made, self.call(restores.sessions_made))
        self.assertEqual(creation(database, "nowhere"), "")

    def test_what_a_load_is_known_by_is_noted(self) -> None:
        self.call(fleets.settle, self.now, False)
        self.call(fleets.note_loaded)
        self.assertIsNone(self.call(fleets.settle, self.now, False).ended)
