"""Hints to servers: one for each app server where readers have their places, and topics of channels
beside app servers of version 0.3.0 (`docs/protocol.md`, section 6)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, cast
from zipfile import ZipFile

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.board.messages import messages
from bbs.commands.context import Ask, success
from bbs.commands.service import Service
from bbs.core.errors import Unavailable
from bbs.delivery.bus import NAMED_AT_ONCE, Bus
from bbs.delivery.channels import HEARD_AT_ONCE, OLDER_INTERVAL, VERSIONS_INTERVAL, TopicCheck
from bbs.protocols.commands import CommandTable, Role
from bbs.protocols.line import Reply
from bbs.storage.models import Place, Server, User
from bbs.testing import MemoryBroker, Peer
from lab.rolling.versions import BEFORE, WHEELS
from tests.memory_service import POLICY, configuration
from tests.slow_service import SlowService

FLEET = "/topic/bbs.fleet"


class PlacesCase(SynchronousTestCase):
    """ann is at one app server, bob and carol are at another, and dan is at a third; ann is a
    friend of all, and all are in chess."""

    names: Sequence[str] = ("ann", "zoe", "bob", "carol", "dan")

    def setUp(self) -> None:
        self.service = SlowService()
        self.addCleanup(self.service.close)
        self.tokens = dict(self.service.people(*self.names))
        self.at = {name: self.service.serving(each).id for name, each in self.tokens.items()}
        self.assertEqual(len({*self.at.values()}), 3)
        self.assertEqual(self.at["bob"], self.at["carol"])
        self.do("create-group ann chess")
        for name in ("bob", "carol", "dan"):
            self.do(f"invite ann {name}")
            self.do(f"accept-invite {name} ann")
            self.do(f"join-group {name} chess")
        self.readers = {name: self.asking(name) for name in ("bob", "carol", "dan")}
        self.service.hints.holds = True

    def do(self, line: str) -> None:
        """Ask with a name in the place of its token."""
        command, name, *rest = line.split(" ", 2)
        token = self.tokens[name]
        reply = self.service.at_home(token).ask(" ".join([command, token, *rest]))
        self.assertEqual(reply["status"], 0, reply)

    def asking(self, name: str) -> Peer:
        """A connection that listens and said `events`."""
        peer = self.service.listening(self.tokens[name])
        peer.ask("events")
        return peer

    def published(self) -> list[tuple[str, list[str]]]:
        """The destinations of what was published, and the users whom each hint names; it is
        delivered."""
        held = [each for each in self.service.hints.held if each.destination != FLEET]
        self.service.hints.held.clear()
        names = {row.channel: row.name for row in User.select()}
        found = []
        for message in held:
            hint = json.loads(message.body)
            to = sorted(names.get(each, "a group") for each in hint["_to"])
            found.append((message.destination, to))
            self.service.broker.deliver(message)
        return sorted(found)

    def topic(self, name: str) -> str:
        return f"/topic/bbs.server.{self.at[name]}"

    def heard(self) -> dict[str, list[object]]:
        """What each reader has been told."""
        return {
            name: [each["event"] for each in peer.heard()] for name, peer in self.readers.items()
        }


class ByPlace(PlacesCase):
    def test_a_message_to_a_friend(self) -> None:
        self.do("send ann bob hello")
        self.assertEqual(self.published(), [(self.topic("bob"), ["bob"])])
        self.assertEqual(self.heard(), {"bob": ["message"], "carol": [], "dan": []})

    def test_one_hint_of_a_group_message_for_each_server(self) -> None:
        """And none for the sender's own."""
        self.do("send-group ann chess e4")
        expected = [(self.topic(name), ["a group"]) for name in ("bob", "dan")]
        self.assertEqual(self.published(), sorted(expected))
        self.assertEqual(self.heard(), {key: ["message"] for key in self.readers})
        self.assertEqual(self.service.slow.calls(messages.fetch)[3:], [])

    def test_one_hint_of_a_post_for_all_friends_on_a_server(self) -> None:
        for command in ("post ann hello", "set-status ann busy"):
            self.do(command)
            expected = [(self.topic("bob"), ["bob", "carol"]), (self.topic("dan"), ["dan"])]
            self.assertEqual(self.published(), sorted(expected))
        self.assertEqual(self.heard(), {key: ["post", "status"] for key in self.readers})

    def test_an_invitation_and_its_acceptance(self) -> None:
        self.do("invite bob dan")
        self.assertEqual(self.published(), [(self.topic("dan"), ["dan"])])
        self.do("accept-invite dan bob")
        self.assertEqual(self.published(), [(self.topic("bob"), ["bob"])])
        self.assertEqual(self.heard(), {"bob": ["friend"], "carol": [], "dan": ["invite"]})

    def test_nothing_for_people_without_a_place(self) -> None:
        self.readers["bob"].transport.abortConnection()
        bob = User.get(User.name == "bob").id
        Place.update(server=None, away=True).where(Place.user == bob).execute()
        self.do("send ann bob hello")
        self.do("invite zoe bob")
        self.service.peer().ask(f"logout {self.tokens['bob']}")
        self.do("mail ann bob hello")
        hints = self.published()
        # A logout of somebody without a place: wherever the user may listen.
        self.assertLessEqual({topic for topic, _ in hints}, {"/topic/bbs.broadcast.hints"})
        self.do("send-group ann chess e4")
        self.assertNotIn([], [to for _, to in self.published()])

    def test_a_logout(self) -> None:
        self.service.peer().ask(f"logout {self.tokens['bob']}")
        # By the login server, which the broker does not hold up.
        self.assertEqual(self.heard(), {"bob": ["logout"], "carol": [], "dan": []})

    def test_events_of_a_group_wherever_members_are(self) -> None:
        self.do("set-topic ann chess Openings")
        self.assertEqual(self.published(), [("/topic/bbs.broadcast.hints", ["a group"])])
        self.assertEqual(self.heard(), {key: ["topic"] for key in self.readers})

    def test_topics_of_servers_alone(self) -> None:
        own = {self.topic(name) for name in self.names}
        everywhere = {f"/topic/bbs.broadcast.{name}" for name in ("hints", "look")}
        self.assertEqual({*self.service.hints.topics()}, own | everywhere)


class PlacesThatChange(PlacesCase):
    """Between the transaction of the sender and the hint."""

    def place(self, name: str, server: str) -> None:
        user = User.get(User.name == name).id
        Place.update(server=server).where(Place.user == user).execute()

    def look(self) -> None:
        self.service.advance(10.0)

    def test_a_message_comes_with_the_next_look(self) -> None:
        self.place("bob", self.at["dan"])  # As the sender's transaction sees it.
        ann = self.service.at_home(self.tokens["ann"])
        ann.say(f"send {self.tokens['ann']} bob hello")
        self.place("bob", self.at["bob"])  # Where bob listens.
        self.assertEqual(self.published(), [(self.topic("dan"), ["bob"])])
        nothing: dict[str, list[object]] = {key: [] for key in self.readers}
        self.assertEqual(self.heard(), nothing)
        self.look()
        self.assertEqual(self.heard(), {**nothing, "bob": ["message"]})
        self.look()
        self.do("send ann bob next")
        self.published()
        self.assertEqual(self.heard(), {**nothing, "bob": ["message"]})

    def test_a_message_to_a_group(self) -> None:
        self.place("bob", self.at["dan"])
        self.place("carol", self.at["dan"])
        ann = self.service.at_home(self.tokens["ann"])
        ann.say(f"send-group {self.tokens['ann']} chess e4")
        self.place("bob", self.at["bob"])
        self.place("carol", self.at["carol"])
        self.assertEqual(self.published(), [(self.topic("dan"), ["a group"])])
        self.assertEqual(self.heard(), {"bob": [], "carol": [], "dan": ["message"]})
        self.look()
        self.assertEqual(self.heard(), {"bob": ["message"], "carol": ["message"], "dan": []})

    def test_who_listens_elsewhere_by_then_has_it_already(self) -> None:
        """Listening begins with a look."""
        self.do("send ann bob hello")
        self.place("bob", self.at["dan"])
        elsewhere = self.service.listening(self.tokens["bob"])
        self.assertEqual([each["event"] for each in elsewhere.heard()], ["message"])
        self.published()
        self.look()
        self.assertEqual(elsewhere.heard(), [])


class OfAService(SynchronousTestCase):
    """One that knows of no places, and one that does."""

    table = CommandTable()

    @staticmethod
    @table.command("wave <user> <channel> [<server>]", Role.APP)
    async def on_wave(ask: Ask, channel: str, server: str = "") -> Reply:
        """Wave to those who hear a channel, at a server if that is known."""
        servers = [server] if server else None
        await ask.tell(channel, {"event": "wave", "text": "hello"}, servers=servers)
        return success()

    @staticmethod
    @table.command("enter <user> <channel>", Role.APP)
    async def on_enter(ask: Ask, channel: str) -> Reply:
        """Hear a channel."""
        await ask.hear(channel)
        return success()

    @staticmethod
    @table.command("spell <user> <servers>", Role.APP)
    async def on_spell(ask: Ask, servers: str) -> Reply:
        """Tell servers by a text, which is a mistake."""
        await ask.tell("a", {"event": "wave", "text": "hello"}, servers=servers)
        return success()

    def setUp(self) -> None:
        declared = Service("waving", commands=(self.table,), placed=("room",))
        self.service = SlowService(declared, config=configuration(replace(POLICY, capacity=1)))
        self.addCleanup(self.service.close)
        self.tokens = dict(self.service.people("ann", "bob"))
        self.bob = self.service.listening(self.tokens["bob"])
        self.channel = User.get(User.name == "bob").channel
        self.service.hints.holds = True

    def wave(self, *arguments: str) -> list[str]:
        """The destinations of what ann's server publishes; bob has heard it once."""
        token = self.tokens["ann"]
        reply = self.service.at_home(token).ask(" ".join(["wave", token, *arguments]))
        self.assertEqual(reply["status"], 0, reply)
        held, self.service.hints.held = self.service.hints.held, []
        for message in held:
            self.service.broker.deliver(message)
        self.assertEqual([each["text"] for each in self.bob.heard()], ["hello"])
        return [each.destination for each in held]

    def enter(self, channel: str) -> None:
        token = self.tokens["bob"]
        reply = self.service.at_home(token).ask(f"enter {token} {channel}")
        self.assertEqual(reply["status"], 0, reply)

    def test_a_users_channel(self) -> None:
        server = self.service.serving(self.tokens["bob"]).id
        self.assertEqual(self.wave(self.channel), ["/topic/waving.broadcast.hints"])
        self.assertEqual(self.wave(self.channel, server), [f"/topic/waving.server.{server}"])

    def test_a_channel_of_its_own(self) -> None:
        """It has a topic, so that it costs servers nothing that do not hear it."""
        self.enter("game.7")
        self.assertIn("/topic/waving.game.7", self.service.hints.topics())
        self.assertEqual(self.wave("game.7"), ["/topic/waving.game.7"])

    def test_a_channel_of_a_kind_that_it_tells_by_places(self) -> None:
        self.enter("room.7")
        server = self.service.serving(self.tokens["bob"]).id
        self.assertEqual(self.wave("room.7", server), [f"/topic/waving.server.{server}"])
        self.assertEqual(self.wave("room.7"), ["/topic/waving.broadcast.hints"])

    def test_servers_are_no_text(self) -> None:
        token = self.tokens["ann"]
        reply = self.service.at_home(token).ask(f"spell {token} {'0' * 32}")
        self.assertEqual(reply["code"], "internal-error")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_what_is_no_kind(self) -> None:
        for kinds in (("a.b",), ("",), ("group.",), "group", (7,)):
            with self.assertRaises(ValueError):
                Service("waving", placed=kinds)  # type: ignore[arg-type]


class OnTheBus(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = MemoryBroker()
        self.sender, self.bus = (Bus(self.broker.client(), "bbs", b"key") for _ in range(2))
        self.sender.tells_topics = self.bus.hears_topics = False
        self.bus.serve("one")
        self.heard: list[str] = []

    def hear(self, channel: str, work: Callable[[], object] = lambda: None) -> None:
        def noted(event: Mapping[str, object], but: object) -> None:
            self.heard.append(channel)
            work()

        self.bus.hear(channel, lambda *hint: None, noted)

    def test_more_channels_than_one_hint_names(self) -> None:
        channels = [f"u{number}" for number in range(2 * NAMED_AT_ONCE + 1)]
        for channel in channels:
            self.hear(channel)
        before = self.broker.published
        told = [(channel, ["one"]) for channel in channels]
        self.sender.tell_asked(told, {"event": "wave", "text": "hello"})
        self.assertEqual(self.heard, channels)
        self.assertEqual(self.broker.published - before, 3)

    def test_one_that_fails_is_no_failure_of_others(self) -> None:
        self.hear("a", lambda: 1 / 0)
        self.hear("b")
        self.sender.tell_asked([("a", ["one"]), ("b", ["one"])], {"event": "wave"})
        self.assertEqual(self.heard, ["a", "b"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_names_no_channels_is_passed_over(self) -> None:
        self.bus.hear("a", lambda *hint: self.heard.append("a"))
        for to in ("", ', "_to": "a"', ', "_to": [7]', ', "_to": [["a"]]', ', "_to": {"a": 1}'):
            body = b'{"event": "message", "id": 1%s}' % to.encode()
            self.broker.client().publish("/topic/bbs.server.one", body)
        self.assertEqual(self.heard, [])

    def test_a_channel_that_is_named_often_is_told_once(self) -> None:
        """Whoever holds the broker may name it a thousand times."""
        self.bus.hear("a", lambda *hint: self.heard.append("a"))
        body = b'{"event": "message", "id": 1, "_to": ["a"%s]}' % (b', "a"' * 1000)
        self.broker.client().publish("/topic/bbs.server.one", body)
        self.assertEqual(self.heard, ["a"])


class Versions:
    """The database of a `TopicCheck`, with the versions of the servers that run."""

    def __init__(self, **counts: int) -> None:
        self.counts: Mapping[str, int] | None = counts

    def run(self, rule: object) -> Deferred[Mapping[str, int]]:
        return fail(Unavailable()) if self.counts is None else succeed(self.counts)


class Upgrading(SynchronousTestCase):
    """An app server that looks which versions run beside it."""

    def setUp(self) -> None:
        self.broker, self.clock = MemoryBroker(), Clock()
        self.bus = Bus(self.broker.client(), "bbs", b"key", wall=self.clock.seconds)
        self.bus.serve("one")
        self.heard: list[object] = []
        self.bus.hear("a", lambda event, *_: self.heard.append(event))
        self.database: Any = Versions()
        self.database.counts = {"0.4.0": 3}
        self.check = TopicCheck(cast("Any", self.database), self.bus, self.clock)

    def topics(self) -> list[str]:
        """The topics of channels that it hears."""
        found = [each.destination for each in self.bus.stomp.subscriptions()]
        return [each for each in found if ".user." in each]

    def told(self) -> str:
        """The kind of topic on which it tells something."""
        found: list[str] = []
        with_patch = self.patch(
            self.bus.stomp, "publish", lambda topic, *_: found.append(topic.split(".")[1])
        )
        self.bus.tell("b", {"event": "wave"}, servers=["two"])
        with_patch.restore()
        [kind] = found
        return kind

    def test_none_of_before(self) -> None:
        self.check.startService()
        self.assertEqual((self.topics(), self.told()), ([], "server"))

    def test_which_are_of_before(self) -> None:
        for version in ("", "0.1.0", "0.3.0", "0.3.0+7", "0.3.9", "0.4.0rc1"):
            self.database.counts = {version: 1, "0.4.0": 2}
            self.check.startService()
            self.assertEqual((len(self.topics()), self.told()), (1, "user"), version)
            self.check.stopService()
        for version in ("0.4.0", "0.4.0+0.3.0", "0.4.1", "0.10.0", "1.0"):
            self.database.counts = {version: 1}
            self.check.startService()
            self.assertEqual(self.told(), "server", version)
            self.check.stopService()

    def test_the_last_of_before_goes(self) -> None:
        """Others may tell topics of channels until their next look."""
        self.database.counts = {"0.3.0": 1}
        self.check.startService()
        self.database.counts = {"0.4.0": 2}
        self.clock.advance(OLDER_INTERVAL)
        self.assertEqual((len(self.topics()), self.told()), (1, "server"))
        self.clock.advance(VERSIONS_INTERVAL + 1.0)
        self.assertEqual((self.topics(), self.told()), ([], "server"))

    def test_one_of_before_comes(self) -> None:
        self.check.startService()
        self.database.counts = {"0.3.0": 1}
        self.clock.advance(VERSIONS_INTERVAL + 1.0)
        self.assertEqual((len(self.topics()), self.told()), (1, "user"))

    def test_while_the_database_is_away(self) -> None:
        self.check.startService()
        self.database.counts = None
        self.clock.advance(VERSIONS_INTERVAL + 1.0)
        self.assertEqual((self.topics(), self.told()), ([], "server"))
        self.database.counts = {"0.3.0": 1}
        self.clock.advance(OLDER_INTERVAL)
        self.assertEqual((len(self.topics()), self.told()), (1, "user"))

    def test_many_servers_look_less_often(self) -> None:
        self.database.counts = {"0.4.0": 10_000}
        self.check.startService()
        self.database.counts = {"0.3.0": 1}
        self.clock.advance(499.0)
        self.assertEqual(self.told(), "server")
        self.clock.advance(32.0)
        self.assertEqual(self.told(), "user")

    def test_many_channels_take_several_turns(self) -> None:
        self.bus.hears_topics = False
        for number in range(3 * HEARD_AT_ONCE):
            self.bus.hear(f"u{number}", lambda *hint: None)
        self.database.counts = {"0.3.0": 1}
        self.check.startService()
        self.assertEqual(len(self.topics()), HEARD_AT_ONCE)
        for _ in range(3):
            self.clock.advance(0.0)
        self.assertEqual(len(self.topics()), 3 * HEARD_AT_ONCE + 1)


class BesideThe(SynchronousTestCase):
    """The bus of version 0.3.0, as it was, beside one of today."""

    def setUp(self) -> None:
        older = ModuleType("older")
        with ZipFile(WHEELS / f"bbs-{BEFORE}-py3-none-any.whl") as wheel:
            source = wheel.read("bbs/delivery/bus.py").decode()
        # The module has moved since, and says in another way whether it records.
        source = source.replace("from bbs import tracing", "from bbs.core import tracing")
        exec(source.replace("tracing.is_on()", "tracing.recording"), vars(older))
        self.broker, self.clock = MemoryBroker(), Clock()
        self.older: Any = vars(older)["Bus"](self.broker.client(), "bbs", b"key")
        self.bus = Bus(self.broker.client(), "bbs", b"key", wall=self.clock.seconds)
        self.bus.serve("one")
        self.database: Any = Versions(**{BEFORE: 1, "0.4.0": 1})
        TopicCheck(cast("Any", self.database), self.bus, self.clock).startService()
        self.heard: list[object] = []

    EVENT: Mapping[str, object] = {"event": "message", "id": 8, "message": "hello"}

    def test_its_hints_are_heard(self) -> None:
        for channel in ("a", "group.b"):
            self.bus.hear(channel, lambda event, after, _: self.heard.append((event, after)))
            self.older.tell(channel, self.EVENT, {1: 7})
        self.assertEqual(self.heard, [(self.EVENT, {"1": 7})] * 2)

    def test_it_hears_hints(self) -> None:
        for channel in ("a", "group.b"):
            self.older.hear(channel, lambda event, after: self.heard.append((event, after)))
            self.bus.tell(channel, self.EVENT, {1: 7}, servers=["older"])
        self.assertEqual(self.heard, [(self.EVENT, {"1": 7})] * 2)

    def test_events_for_those_who_asked(self) -> None:
        told: list[object] = []
        self.older.hear("a", lambda *hint: None, lambda event, _: told.append(event))
        self.bus.tell_asked([("a", ["older"])], {"event": "invite", "from": "ann"})
        self.assertEqual(told, [{"event": "invite", "from": "ann"}])


class InTheFleet(SynchronousTestCase):
    def test_an_older_app_server_beside_todays(self) -> None:
        """As the database has their versions."""
        service = SlowService()
        self.addCleanup(service.close)
        [token] = service.people("ann").values()
        service.listening(token)
        channel = User.get().channel
        self.assertNotIn(f"/topic/bbs.user.{channel}", service.hints.topics())
        for version, is_heard in (("0.3.0", True), ("0.4.0", True), ("0.4.0", False)):
            Server.update(version=version).execute()
            service.advance(31.0)
            topics = service.hints.topics()
            self.assertEqual(f"/topic/bbs.user.{channel}" in topics, is_heard)
