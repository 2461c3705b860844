"""Those who listen at the app server of the sender: they are told without the broker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.commands.context import Ask, success
from bbs.commands.service import Service
from bbs.delivery.bus import Bus
from bbs.protocols.commands import CommandTable, Role
from bbs.protocols.line import Reply
from bbs.protocols.stomp.interfaces import Message
from bbs.testing import MemoryBroker, Peer
from tests.slow_service import SlowService


class HereCase(SynchronousTestCase):
    """ann and bob are at one app server, and carol at another."""

    service_of: Service = board

    def setUp(self) -> None:
        self.service = SlowService(self.service_of)
        self.addCleanup(self.service.close)
        self.tokens = self.service.people("ann", "bob", "carol")
        ann, bob, carol = (self.service.serving(token) for token in self.tokens.values())
        self.assertIs(ann, bob)
        self.assertIsNot(bob, carol)

    def ask(self, line: str, peer: Peer | None = None) -> None:
        """Ask with names in the place of tokens."""
        command, name, *rest = line.split(" ", 2)
        peer = peer or self.service.at_home(self.tokens[name])
        reply = peer.ask(" ".join([command, self.tokens[name], *rest]))
        self.assertEqual(reply["status"], 0, reply)

    def listen(self, name: str, events: bool = False) -> Peer:
        peer = self.service.listening(self.tokens[name])
        if events:
            peer.ask("events")
        return peer

    def published(self) -> list[Message]:
        """What was sent to the broker since `hold`."""
        found = [*self.service.hints.held]
        self.service.hints.held.clear()
        return found

    def hold(self) -> None:
        """Let the broker hold back what it is given."""
        self.service.hints.holds = True

    def assertHeard(self, texts: Sequence[object], *peers: Peer) -> None:
        for peer in peers:
            self.assertEqual([each["message"] for each in peer.heard()], texts)


class Messages(HereCase):
    def setUp(self) -> None:
        super().setUp()
        for name in ("bob", "carol"):
            self.ask(f"invite ann {name}")
            self.ask(f"accept-invite {name} ann")
            self.ask(f"create-group {name} with-{name}")
            self.ask(f"join-group ann with-{name}")
        self.bobs = [self.listen("bob"), self.listen("bob")]
        self.carol = self.listen("carol")

    def test_at_once_while_the_broker_is_away(self) -> None:
        self.service.broker.away()
        for text in ("one", "two"):
            self.ask(f"send ann bob {text}")
            self.ask(f"send ann carol {text}")
            self.assertHeard([text], *self.bobs)
        self.assertHeard([], self.carol)

    def test_each_once_when_the_broker_returns_the_hint(self) -> None:
        for text in ("one", "two"):
            self.ask(f"send ann bob {text}")
        self.service.settle()
        self.assertHeard(["one", "two"], *self.bobs)

    def test_without_a_look_at_the_database_but_for_the_first(self) -> None:
        """Behind a message that the reader was sent, neither the event nor the hint that comes back
        takes one."""
        self.ask("send ann bob one")
        self.service.slow.asked.clear()
        self.ask("send ann bob two")
        self.assertHeard(["one", "two"], *self.bobs)
        self.assertEqual(self.service.slow.calls(board.feed.fetch), [])  # type: ignore[union-attr]

    def test_a_group_that_is_at_both_servers(self) -> None:
        self.ask("join-group bob with-carol")
        ann = self.listen("ann")
        self.ask("send-group ann with-carol e4", ann)
        self.ask("send-group carol with-carol e5")
        self.service.settle()
        self.assertHeard(["e4", "e5"], ann, *self.bobs, self.carol)

    def test_what_the_broker_gets(self) -> None:
        """A hint if readers are at another server, and none for the sender's own connections."""
        own = self.listen("ann", events=True)
        self.hold()
        for line, hints in (
            ("send ann bob one", 0),
            ("send ann carol one", 1),
            ("send-group ann with-bob one", 0),
            ("send-group ann with-carol one", 1),
        ):
            self.ask(line)
            published = [json.loads(each.body)["event"] for each in self.published()]
            self.assertEqual(published, ["message"] * hints, line)
        told = [(each["event"], each["message"]) for each in own.heard()]
        self.assertEqual(told, [("sent", "one")] * 2 + [("message", "one")] * 2)

    def test_behind_the_reply_on_the_connection_of_the_request(self) -> None:
        ann = self.listen("ann", events=True)
        ann.say(f"send-group {self.tokens['ann']} with-bob one")
        reply, event = ann.heard()
        self.assertEqual((reply["status"], event["message"]), (0, "one"))

    def test_behind_the_reply_on_every_connection(self) -> None:
        """A person may have both, and reads them in the order in which they come."""
        ann = self.service.at_home(self.tokens["ann"])
        written: list[str] = []

        def note(peer: Peer, name: str) -> None:
            write = peer.transport.write

            def noted(data: bytes) -> None:
                written.append(name)
                write(data)

            self.patch(peer.transport, "write", noted)

        for peer, name in ((ann, "the reply"), (self.bobs[0], "the event")):
            note(peer, name)
        for line in ("send {} bob one", "send-group {} with-bob two"):
            ann.say(line.format(self.tokens["ann"]))
        self.assertEqual(written, ["the reply", "the event"] * 2)

    def test_a_hint_of_its_own_that_is_changed_wakes_readers(self) -> None:
        """So a broker can make a server look, and no more."""
        self.ask("join-group bob with-carol")
        self.hold()
        self.ask("send-group ann with-carol one")
        [hint] = self.published()
        self.assertHeard(["one"], *self.bobs)
        body = json.loads(hint.body)
        del body["_but"]
        self.service.broker.deliver(replace(hint, body=json.dumps(body).encode()))
        self.assertHeard([], *self.bobs)

    def test_who_has_stopped_listening_is_not_told(self) -> None:
        self.bobs[0].transport.abortConnection()
        self.ask("send ann bob one")
        self.bobs[1].transport.abortConnection()
        self.ask("send ann bob two")
        self.assertHeard([], self.bobs[0])
        self.assertHeard(["one"], self.bobs[1])
        self.assertHeard(["two"], self.listen("bob"))


class OfAService(HereCase):
    """Events that live for the moment: `Ask.tell` with and without `here` and `asked`."""

    table = CommandTable()

    @staticmethod
    @table.command("wave <user> <how>", Role.APP)
    async def wave(ask: Ask, how: str) -> Reply:
        """Wave to all connections of the user."""
        event = {"event": "wave", "message": how}
        await ask.tell(ask.user.channel, event, asked="asked" in how, here="here" in how)
        return success()

    @staticmethod
    @table.command("nod <user>", Role.LOGIN)
    async def nod(ask: Ask) -> Reply:
        """Nod, from the login server."""
        event = {"event": "nod", "message": "nods"}
        await ask.tell(ask.user.channel, event, asked=True)
        return success()

    service_of = Service("waving", commands=(table,))

    def test_once_for_each_connection(self) -> None:
        peers = [self.listen("ann", events=True) for _ in range(3)]
        for how in ("plainly", "asked", "here", "asked-here"):
            self.ask(f"wave ann {how}")
            self.service.settle()
            self.assertHeard([how], *peers)

    def test_only_what_others_may_need_is_published(self) -> None:
        peer = self.listen("ann", events=True)
        self.hold()
        for how, count in (("plainly", 0), ("asked", 0), ("here", 0), ("asked-here", 0)):
            self.ask(f"wave ann {how}")
            self.assertHeard([how], peer)
            self.assertEqual(len(self.published()), count, how)

    def test_an_event_of_the_caller_from_a_server_that_is_not_theirs(self) -> None:
        peer, silent = self.listen("ann", events=True), self.listen("ann")
        self.ask("nod ann", self.service.peer())
        self.assertHeard(["nods"], peer)
        self.assertHeard([], silent)

    def test_a_malformed_channel_is_refused_here_too(self) -> None:
        bus = self.service.serving(self.tokens["ann"]).serving.home.bus
        with self.assertRaises(ValueError):
            bus.tell("a.*", {"event": "wave"}, servers=())
        with self.assertRaises(ValueError):
            bus.tell_asked([("a.*", ())], {"event": "wave"})

    def test_a_listener_that_fails_is_no_failure_of_the_sender(self) -> None:
        peer = self.listen("ann")

        def fail(line: bytes) -> None:
            raise RuntimeError("no transport")

        peer.transport.write = fail
        bob = self.service.at_home(self.tokens["bob"])
        bus = self.service.serving(self.tokens["ann"]).serving.home.bus
        bus.tell(peer_channel(self.service, "ann"), {"event": "wave", "text": "x"})
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(bob.ask("ping")["status"], 0)


class OnTheBus(SynchronousTestCase):
    def test_who_has_left_hears_nothing(self) -> None:
        bus = Bus(MemoryBroker().client(), "bbs", b"key")
        heard: list[object] = []
        first, second = (bus.hear("a", lambda _, after, __: heard.append(after)) for _ in range(2))
        bus.tell("a", {"event": "wave", "id": 8}, {1: 7})
        self.assertEqual(heard, [{"1": 7}, {"1": 7}])
        bus.leave(first)
        bus.tell("a", {"event": "wave", "id": 9}, {1: 8})
        bus.leave(second)
        bus.tell("a", {"event": "wave", "id": 10}, {1: 9})
        self.assertEqual(heard[2:], [{"1": 8}])


def peer_channel(service: SlowService, name: str) -> str:
    """The channel of the user `name`."""
    query = f"SELECT channel FROM user WHERE name = '{name}'"
    (found,) = service.database.peewee.execute_sql(query).fetchone()
    return str(found)
