"""Events for those alone who asked: `invite`, `friend` and `sent` (`docs/protocol.md`, sections 4
and 6)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.messages.tables import MessageRow as Stored
from bbs.commands.context import Ask, success
from bbs.commands.service import Service
from bbs.delivery.bus import MAX_HINT, Bus
from bbs.protocols.commands import CommandTable, Role
from bbs.protocols.line import Reply
from bbs.protocols.stomp.interfaces import Message
from bbs.storage.models import User
from bbs.testing import MemoryBroker, Peer
from tests.slow_service import SlowService

SUCCESS = {"status": 0, "message": "Success!"}


class AskedCase(SynchronousTestCase):
    """ann and bob on one app server."""

    service_of: Service = board

    def setUp(self) -> None:
        self.service = SlowService(self.service_of)
        self.addCleanup(self.service.close)
        self.tokens = dict(self.service.people("ann", "bob"))
        self.peer = self.service.at_home(self.tokens["ann"])

    def ask(self, line: str, peer: Peer | None = None) -> dict[str, Any]:
        """Ask with names in the place of tokens."""
        command, name, *rest = line.split(" ", 2)
        return (peer or self.peer).ask(" ".join([command, self.tokens[name], *rest]))

    def asking(self, name: str, first: str = "listen") -> Peer:
        """A connection that listens and said `events`, whichever came first."""
        peer = self.service.at_home(self.tokens[name])
        for command in ("listen", "events") if first == "listen" else ("events", "listen"):
            request = f"listen {self.tokens[name]}" if command == "listen" else command
            self.assertEqual(peer.ask(request), SUCCESS)
        return peer

    def befriend(self) -> None:
        self.assertEqual(self.ask("invite ann bob"), SUCCESS)
        self.assertEqual(self.ask("accept-invite bob ann"), SUCCESS)


class Told(AskedCase):
    def test_an_invitation_and_that_it_was_accepted(self) -> None:
        ann, bob = self.asking("ann"), self.asking("bob", first="events")
        self.befriend()
        [invited], [accepted] = bob.heard(), ann.heard()
        self.assertEqual(
            [*invited.items()], [("event", "invite"), ("from", "ann"), ("text", "ann invites you")]
        )
        self.assertEqual(
            [*accepted.items()],
            [("event", "friend"), ("with", "bob"), ("text", "bob is your friend now")],
        )

    def test_not_what_was_refused(self) -> None:
        bob = self.asking("bob")
        self.ask("invite ann bob")
        bob.heard()
        self.assertEqual(self.ask("invite ann bob")["status"], 1)
        self.assertEqual(self.ask("accept-invite bob nobody")["status"], 1)
        self.assertEqual(bob.heard(), [])

    def test_what_was_said_on_another_connection(self) -> None:
        self.befriend()
        same, other = self.asking("ann"), self.asking("ann")
        self.assertEqual(self.ask("send ann bob  hello ", same), SUCCESS)
        self.assertEqual(same.heard(), [])
        [said] = other.heard()
        self.assertEqual(
            [*said.items()],
            [
                ("event", "sent"),
                ("id", Stored.get().id),
                ("time", self.service.wall()),
                ("from", "ann"),
                ("to", "bob"),
                ("message", " hello "),
            ],
        )

    def test_mail_too(self) -> None:
        self.befriend()
        other, bob = self.asking("ann"), self.service.listening(self.tokens["bob"])
        self.assertEqual(self.ask("mail ann bob hello"), SUCCESS)
        self.assertEqual([each["event"] for each in other.heard()], ["sent"])
        self.assertEqual([each["event"] for each in bob.heard()], ["message"])

    def test_mail_to_a_friend_who_logs_in_later(self) -> None:
        self.befriend()
        self.service.peer().ask(f"logout {self.tokens['bob']}")
        self.assertEqual(self.ask("send ann bob no")["code"], "not-online")
        self.assertEqual(self.ask("mail ann bob hello"), SUCCESS)
        self.tokens |= self.service.people("bob")
        bob = self.service.listening(self.tokens["bob"])
        self.service.settle()
        self.assertEqual([each["message"] for each in bob.events()], ["hello"])
        self.assertEqual(self.service.listening(self.tokens["bob"]).events(), [])

    def test_a_status(self) -> None:
        self.befriend()
        ann, bob = self.asking("ann"), self.asking("bob")
        deaf = self.service.listening(self.tokens["bob"])
        self.assertEqual(self.ask("set-status ann at the beach"), SUCCESS)
        [event] = bob.heard()
        self.assertEqual((event["event"], event["from"]), ("status", "ann"))
        self.assertEqual((ann.heard(), deaf.heard()), ([], []))

    def test_of_another_session_too(self) -> None:
        self.befriend()
        other = self.asking("ann")
        self.tokens |= self.service.people("ann")
        self.ask("send ann bob hello")
        self.assertEqual([each["event"] for each in other.heard()], ["sent"])

    def test_a_line_to_a_group_comes_once_as_its_message(self) -> None:
        ann = self.asking("ann")
        self.ask("create-group ann chess")
        self.ask("send-group ann chess e4")
        self.assertEqual([each["event"] for each in ann.heard()], ["message"])

    def test_nobody_who_did_not_ask_or_does_not_listen(self) -> None:
        silent = self.service.listening(self.tokens["bob"])
        ann_too = self.service.listening(self.tokens["ann"])
        deaf = self.service.at_home(self.tokens["bob"])
        deaf.ask("events")
        self.befriend()
        self.ask("send ann bob hello")
        self.assertEqual([each["event"] for each in silent.heard()], ["message"])
        self.assertEqual((ann_too.heard(), deaf.heard()), ([], []))

    def test_who_listens_as_both_on_one_connection_gets_both(self) -> None:
        """It is the user's own line only that is not told where it was said."""
        both = self.asking("ann")
        both.ask(f"listen {self.tokens['bob']}")
        self.ask("invite ann bob", both)
        self.assertEqual([each["event"] for each in both.heard()], ["invite"])

    def test_it_lives_for_the_moment(self) -> None:
        """Whoever does not read gets it as little as one that comes later; the messages come."""
        self.befriend()
        slow = self.asking("ann")
        slow.protocol.pauseProducing()
        self.ask("send ann bob hello")
        self.ask("send bob ann hi")
        slow.protocol.resumeProducing()
        late = self.asking("ann")
        self.assertEqual([each["event"] for each in slow.heard()], ["message"])
        self.assertEqual(late.heard(), [])

    def test_it_moves_nobodys_cursor(self) -> None:
        """A line of the user's own has an id, and is no message to the user."""
        self.befriend()
        ann = self.asking("ann")
        self.ask("send bob ann one")
        self.ask("send ann bob two")
        self.ask("send bob ann three")
        told = [(each["event"], each["message"]) for each in ann.heard()]
        self.assertEqual(told, [("message", "one"), ("sent", "two"), ("message", "three")])
        again = self.service.at_home(self.tokens["ann"])
        again.say(f"listen {self.tokens['ann']} 0")
        texts = [each.get("message") for each in again.heard()]
        self.assertEqual(texts, ["Success!", "one", "three"])

    def test_with_the_broker_away_messages_come_all_the_same(self) -> None:
        self.befriend()
        bob = self.asking("bob")
        self.service.broker.away()
        self.assertEqual(self.ask("send ann bob hello"), SUCCESS)
        self.service.clock.advance(5.0)
        self.assertEqual([each["event"] for each in bob.heard()], ["message"])


class Hints(AskedCase):
    """What goes through the broker, and what a broker can make of it."""

    def setUp(self) -> None:
        super().setUp()
        self.befriend()
        self.bob = self.asking("bob")
        self.service.hints.holds = True
        self.deliver = self.service.broker.deliver

    def invitation(self) -> Message:
        """The hint of carol's invitation to bob."""
        self.tokens |= self.service.people("carol")
        self.service.hints.held.clear()
        self.ask("invite carol bob", self.service.at_home(self.tokens["carol"]))
        [hint] = self.service.hints.held
        return hint

    def test_one_that_is_as_it_was(self) -> None:
        self.deliver(self.invitation())
        self.assertEqual([each["from"] for each in self.bob.heard()], ["carol"])

    def test_one_that_is_sent_again(self) -> None:
        """Once it counts, and after a minute not at all."""
        first, late = self.invitation(), self.service.hints.held
        for seconds in (0.0, 0.0, 50.0, 100.0):
            self.service.set_ahead += seconds
            self.deliver(first)
        self.assertEqual([each["from"] for each in self.bob.heard()], ["carol"])
        self.tokens |= self.service.people("dan")
        late.clear()
        self.ask("invite dan bob", self.service.at_home(self.tokens["dan"]))
        self.service.set_ahead += 100.0
        self.deliver(late.pop())
        self.assertEqual(self.bob.heard(), [])

    def test_to_servers_of_before_it_is_a_reason_to_look(self) -> None:
        """An event with an id they look for in the database, and tell nobody."""
        told = json.loads(self.invitation().body)
        self.assertEqual((told["event"], told["id"]), ("invite", 0))
        self.assertNotIn("from", told)

    def test_changed_by_the_broker(self) -> None:
        hint = self.invitation()
        told = json.loads(hint.body)
        for changes in (
            {"_asked": {"event": "invite", "from": "eve", "text": "eve invites you"}},
            {"_but": "nobody"},
            {"_proof": "0" * 64},
            {"_proof": None},
        ):
            with capturedLogs() as logs:
                self.service.clock.advance(2.0)
                self.deliver(replace(hint, body=json.dumps({**told, **changes}).encode()))
            self.assertEqual(self.bob.heard(), [])
            self.assertTrue([each for each in logs if "_asked" in str(each.get("reason"))])

    def test_to_somebody_else(self) -> None:
        ann = self.asking("ann")
        channel = User.get(User.name == "ann").channel
        topic, to = self.service.address(channel, self.tokens["ann"])
        invitation = self.invitation()
        body = json.dumps({**json.loads(invitation.body), **to}).encode()
        self.deliver(replace(invitation, destination=topic, body=body))
        self.assertEqual((ann.heard(), self.bob.heard()), ([], []))


class OfAService(AskedCase):
    """`Ask.tell(…, asked=True)`."""

    table = CommandTable()

    @staticmethod
    @table.command("wave <user> <length>", Role.APP)
    async def wave(ask: Ask, length: str) -> Reply:
        """Wave to oneself, elsewhere."""
        event = {"event": "wave", "text": "x" * int(length)}
        await ask.tell(ask.user.channel, event, asked=True)
        return success()

    @staticmethod
    @table.command("wave-both <user> <other> [<event>]", Role.APP)
    async def wave_both(ask: Ask, other: str, event: str = "wave") -> Reply:
        """Wave to oneself and to somebody else."""
        channels = [(User.get(User.name == name).channel, False) for name in (ask.user.name, other)]
        await ask.tell_each(channels, {"event": event, "text": "“both”"})
        return success()

    service_of = Service("waving", commands=(table,))

    def test_elsewhere(self) -> None:
        here, there = self.asking("ann"), self.asking("ann")
        self.assertEqual(self.ask("wave ann 3", here), SUCCESS)
        self.assertEqual((here.heard(), there.heard()), ([], [{"event": "wave", "text": "xxx"}]))

    def test_on_several_channels(self) -> None:
        """Each hint is for one channel; the one who asks never hears of it."""
        here, there, bob = self.asking("ann"), self.asking("ann"), self.asking("bob")
        self.assertEqual(self.ask("wave-both ann bob", here), SUCCESS)
        wave = [{"event": "wave", "text": "“both”"}]
        self.assertEqual((here.heard(), there.heard(), bob.heard()), ([], wave, wave))
        self.assertEqual(self.ask("wave-both ann bob moved", here)["code"], "internal-error")
        self.flushLoggedErrors(ValueError)

    def test_what_is_too_long_is_not_told(self) -> None:
        there = self.asking("ann")
        self.assertEqual(self.ask(f"wave ann {MAX_HINT}"), SUCCESS)
        self.assertEqual(there.heard(), [])


class OnTheBus(SynchronousTestCase):
    def test_without_a_key_nothing_is_believed(self) -> None:
        broker = MemoryBroker()
        bus, sender = (Bus(broker.client(), "bbs", b"", Clock().seconds) for _ in range(2))
        heard: list[object] = []
        bus.hear("a", lambda *hint: heard.append(hint), lambda *told: heard.append(told))
        sender.tell_asked([("a", None)], {"event": "wave", "text": "hello"})
        self.assertEqual(heard, [])

    def test_who_wants_only_hints_is_not_told(self) -> None:
        broker = MemoryBroker()
        bus = Bus(broker.client(), "bbs", b"key", Clock().seconds)
        hints: list[object] = []
        told: list[object] = []
        bus.hear("a", lambda *hint: hints.append(hint))
        bus.hear("b", lambda *hint: hints.append(hint), lambda *each: told.append(each))
        me: Any = object()
        for channel in ("a", "b"):
            bus.tell_asked([(channel, None)], {"event": "wave", "id": 7}, me)
        self.assertEqual((hints, told), ([], [({"event": "wave", "id": 7}, me)]))
