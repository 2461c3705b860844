"""Who listens at an app server: on how many connections, and what goes with the last of them."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.board.groups.tables import Group
from bbs.delivery.broadcast import CHANNEL
from bbs.delivery.feed import Cursor
from bbs.delivery.listeners import LISTENING_CONNECTIONS, Listener, Subscribers
from bbs.protocols.stomp.interfaces import Message
from bbs.storage.models import User
from bbs.testing import Peer
from tests.slow_service import BesideOlder, SlowService

CODE = "too-many-listeners"
WHATS = ("hints", "look")  # What all app servers hear.


class ListeningCase(SynchronousTestCase):
    """ann and bob are at one app server, and both are in the group chess."""

    def setUp(self) -> None:
        self.service = SlowService()
        self.addCleanup(self.service.close)
        self.tokens = self.service.people("ann", "bob")
        self.ask("ann", "create-group {} chess")
        self.ask("bob", "join-group {} chess")

    def ask(self, name: str, request: str, peer: Peer | None = None) -> dict[str, object]:
        peer = peer or self.service.at_home(self.tokens[name])
        return peer.ask(request.format(self.tokens[name]))

    def listen(self, name: str) -> Peer:
        return self.service.listening(self.tokens[name])

    def lose(self, *peers: Peer) -> None:
        for peer in peers:
            peer.protocol.connectionLost(Failure(ConnectionLost()))

    def heard_topics(self) -> set[str]:
        """What is subscribed to: `ann`, `bob`, `chess`, whoever they are for."""
        names: dict[str, str] = {}
        for table in ("user", "chat_group"):
            query = f'SELECT name, channel FROM "{table}"'
            names |= {
                channel: name
                for name, channel in self.service.database.peewee.execute_sql(query).fetchall()
            }
        topics = {*self.service.hints.topics()}
        for name in (CHANNEL, "broadcast.hints"):
            topics.discard(f"/topic/bbs.{name}")  # For nobody in particular.
        for server in self.service.servers:
            topics.discard(f"/topic/bbs.server.{server}")
        return {names.get(topic.rpartition(".")[2], topic) for topic in topics}


class Connections(ListeningCase):
    def test_one_too_many(self) -> None:
        peers = [self.listen("ann") for _ in range(LISTENING_CONNECTIONS)]
        self.assertEqual(LISTENING_CONNECTIONS, 16)
        refused = self.service.at_home(self.tokens["ann"])
        reply = self.ask("ann", "listen {}", refused)
        self.assertEqual((reply["status"], reply["code"]), (1, CODE))
        self.assertEqual(reply["message"], "You listen on 16 connections already")
        self.assertEqual(self.ask("ann", "list-friend {}", refused)["status"], 0)
        self.assertEqual(self.listen("bob").heard(), [])
        self.lose(peers[3])
        self.assertEqual(self.ask("ann", "listen {}", refused)["status"], 0)

    def test_again_on_the_same_one(self) -> None:
        peers = [self.listen("ann") for _ in range(LISTENING_CONNECTIONS)]
        for _ in range(3):
            self.assertEqual(self.ask("ann", "listen {}", peers[0])["status"], 0)
        self.ask("bob", "send-group {} chess e4")
        for peer in peers:
            self.assertEqual([each["message"] for each in peer.events()], ["e4"])

    def test_once_the_server_hears_the_broker(self) -> None:
        """Whose topic of its own is confirmed."""
        self.service.hints.confirms = False
        token = self.service.people("cat")["cat"]  # At a server that begins now.
        peer = self.service.at_home(token)
        peer.say(f"listen {token}")
        self.assertEqual(peer.heard(), [])
        self.service.hints.confirm()
        self.assertEqual([each["status"] for each in peer.heard()], [0])


class ConnectionsBesideOlder(BesideOlder, Connections):
    """As before there were topics of servers."""

    def test_those_about_to_listen_count(self) -> None:
        self.service.hints.confirms = False
        peers = [self.service.at_home(self.tokens["ann"]) for _ in range(LISTENING_CONNECTIONS + 1)]
        for peer in peers:
            peer.say(f"listen {self.tokens['ann']}")
        self.assertEqual([each["code"] for each in peers[-1].heard()], [CODE])
        self.assertEqual(peers[0].heard(), [])
        self.service.hints.confirm()
        for peer in peers[:-1]:
            self.assertEqual([each["status"] for each in peer.heard()], [0])


class ByServers(ListeningCase):
    def test_one_topic_however_many_listen(self) -> None:
        peers = [self.listen("ann"), self.listen("bob")]
        self.ask("ann", "create-group {} go", peers[0])
        self.assertEqual(self.heard_topics(), set())
        topics = self.service.hints.topics()
        own = [f"/topic/bbs.server.{server}" for server in self.service.servers]
        self.assertEqual(
            sorted(topics), sorted([*own, *[f"/topic/bbs.broadcast.{x}" for x in WHATS] * len(own)])
        )


class Hearing(BesideOlder, ListeningCase):
    """Channels that have topics."""

    def test_what_goes_with_the_last_of_a_user(self) -> None:
        first, second, bob = self.listen("ann"), self.listen("ann"), self.listen("bob")
        self.assertEqual(self.heard_topics(), {"ann", "bob", "chess"})
        self.lose(first)
        self.assertEqual(self.heard_topics(), {"ann", "bob", "chess"})
        self.lose(second)
        self.assertEqual(self.heard_topics(), {"bob", "chess"})
        self.lose(bob)
        self.assertEqual(self.heard_topics(), set())

    def test_who_goes_while_about_to_listen(self) -> None:
        self.service.hints.confirms = False
        peer = self.service.at_home(self.tokens["ann"])
        peer.say(f"listen {self.tokens['ann']}")
        self.assertEqual(self.heard_topics(), {"ann", "chess"})
        self.lose(peer)
        self.assertEqual(self.heard_topics(), set())

    def test_a_group_joined_while_listening(self) -> None:
        ann = self.listen("ann")
        self.ask("ann", "create-group {} go", ann)
        self.assertEqual(self.heard_topics(), {"ann", "chess", "go"})
        self.lose(ann)
        self.assertEqual(self.heard_topics(), set())

    def test_a_group_that_is_left_while_listening(self) -> None:
        ann, bob = self.listen("ann"), self.listen("bob")
        self.ask("ann", "leave-group {} chess", ann)
        self.assertEqual(self.heard_topics(), {"ann", "bob", "chess"})
        self.ask("bob", "send-group {} chess e4", bob)
        self.assertEqual([len(each.events()) for each in (ann, bob)], [0, 1])
        self.ask("bob", "leave-group {} chess", bob)
        self.assertEqual(self.heard_topics(), {"ann", "bob"})
        self.ask("ann", "create-group {} chess", ann)
        self.assertEqual(self.heard_topics(), {"ann", "bob", "chess"})
        self.ask("ann", "send-group {} chess e5", ann)
        self.assertEqual([len(each.events()) for each in (ann, bob)], [1, 0])
        self.lose(ann, bob)
        self.assertEqual(self.heard_topics(), set())

    def test_a_group_that_is_left_while_nobody_listens(self) -> None:
        bob = self.listen("bob")
        self.ask("ann", "leave-group {} chess")
        self.assertEqual(self.heard_topics(), {"bob", "chess"})
        self.lose(bob)

    def test_a_hint_that_comes_after_all_brings_nothing(self) -> None:
        """Who has left is no reader: that is decided where messages are stored."""
        ann, bob = self.listen("ann"), self.listen("bob")
        self.ask("ann", "leave-group {} chess", ann)
        self.ask("bob", "send-group {} chess e4", bob)
        channels = User.get(User.name == "ann").channel, Group.get(Group.name == "chess").channel
        for kind, channel in zip(("user", "group"), channels, strict=True):
            hint = b'{"event": "message", "id": 1}'
            topic = f"/topic/bbs.{kind}.{channel}"
            self.assertIn(topic, self.service.hints.topics())
            self.service.broker.deliver(Message(topic, {}, hint))
        self.service.settle()
        self.assertEqual([len(each.events()) for each in (ann, bob)], [0, 1])

    def test_two_users_on_one_connection(self) -> None:
        both = self.listen("ann")
        self.ask("bob", "listen {}", both)
        self.assertEqual(self.heard_topics(), {"ann", "bob", "chess"})
        self.lose(both)
        self.assertEqual(self.heard_topics(), set())


class AudienceTests(SynchronousTestCase):
    def test_listeners(self) -> None:
        here, there = object(), object()
        audience = Subscribers()
        listeners = [
            Listener(user, connection, Cursor(user, 0))  # type: ignore[arg-type]
            for user, connection in ((1, here), (2, here), (1, there))
        ]
        for listener in listeners:
            audience.add(listener)
        self.assertEqual([*audience.users], [1, 2])
        self.assertEqual(audience.of([1, 3]), [listeners[0], listeners[2]])
        self.assertEqual(audience.on(here), listeners[:2])  # type: ignore[arg-type]
        for _ in range(2):
            audience.remove(listeners[0])
        self.assertNotIn(listeners[0], audience)
        self.assertEqual([*audience], [listeners[2], listeners[1]])
        audience.remove(listeners[1])
        audience.remove(listeners[2])
        self.assertFalse(audience)
        self.assertEqual(audience.on(here), [])  # type: ignore[arg-type]
