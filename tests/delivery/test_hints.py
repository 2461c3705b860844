"""Hints that carry their event: who is sent it at once, and what a broker cannot make of them."""

from __future__ import annotations

import json
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import messages
from bbs.delivery.listeners import LISTENING_CONNECTIONS
from bbs.protocols.stomp.interfaces import Message
from bbs.testing import Peer
from tests.memory_service import POLICY, configuration
from tests.slow_service import SlowService


class HintsCase(SynchronousTestCase):
    """ann writes to bob, who listens at another app server; the broker holds back what it is
    given."""

    def setUp(self) -> None:
        self.service = SlowService(config=configuration(replace(POLICY, capacity=1)))
        self.addCleanup(self.service.close)
        self.tokens = self.service.people("ann", "bob", "eve")
        self.ask(f"invite {self.tokens['ann']} bob")
        self.ask(f"accept-invite {self.tokens['bob']} ann")
        self.listener = self.listen("bob")
        self.service.hints.holds, self.held = True, self.service.hints.held
        self.deliver = self.service.broker.deliver
        self.forget_looks()

    @property
    def looks(self) -> list[int]:
        """For how many listeners each look at the database was."""
        return [len(cursors) for (cursors,) in self.service.slow.calls(messages.fetch)]

    def forget_looks(self) -> None:
        self.service.slow.asked.clear()

    def ask(self, line: str) -> None:
        """Ask at the app server of the token in `line`."""
        peer = self.service.at_home(line.split(" ")[1])
        self.assertEqual(peer.ask(line)["status"], 0)

    def listen(self, name: str) -> Peer:
        return self.service.listening(self.tokens[name])

    def send(self, text: str) -> Message:
        """Have ann send `text`; the hint of it."""
        self.ask(f"send {self.tokens['ann']} bob {text}")
        [hint] = self.held
        self.held.clear()
        return hint

    def heard(self, peer: Peer | None = None) -> list[object]:
        return [event["message"] for event in (peer or self.listener).heard()]

    def look_for_what_was_lost(self) -> None:
        for _ in range(5):
            self.service.clock.advance(2.0)


class Proved(HintsCase):
    def test_who_stands_there_is_sent_it_without_a_look(self) -> None:
        for text in ("one", "two", "three"):
            self.deliver(self.send(text))
        self.assertEqual((self.heard(), self.looks), (["one", "two", "three"], []))

    def test_it_is_the_event_that_a_look_brings(self) -> None:
        self.deliver(self.send("hällo\u2028"))
        told = self.listener.heard()
        peer = self.service.at_home(self.tokens["bob"])
        peer.ask(f"listen {self.tokens['bob']} 0")
        self.assertEqual(peer.heard(), told)
        self.assertEqual(
            [*told[0].items()],
            [
                ("event", "message"),
                ("id", 1),
                ("time", self.service.wall()),
                ("from", "ann"),
                ("to", "bob"),
                ("message", "hällo\u2028"),
            ],
        )

    def test_on_every_connection_where_it_stands_there(self) -> None:
        other = self.listen("bob")
        self.deliver(self.send("one"))
        self.assertEqual((self.heard(), self.heard(other), self.looks), (["one"], ["one"], [1]))

    def test_it_is_noted_as_delivered(self) -> None:
        self.deliver(self.send("one"))
        self.service.clock.advance(1.0)
        query = "SELECT max(delivered) FROM inbox"
        self.assertEqual(self.service.database.peewee.execute_sql(query).fetchone(), (1,))

    def test_who_does_not_read_gets_it_later(self) -> None:
        self.listener.protocol.pauseProducing()
        self.deliver(self.send("one"))
        self.assertEqual(self.heard(), [])
        self.listener.protocol.resumeProducing()
        self.assertEqual(self.heard(), ["one"])

    def test_to_a_group_each_from_where_they_stand(self) -> None:
        self.ask(f"create-group {self.tokens['ann']} chess")
        self.ask(f"join-group {self.tokens['bob']} chess")
        self.deliver(self.send("one"))
        ann = self.listen("ann")
        self.forget_looks()
        self.ask(f"send-group {self.tokens['ann']} chess e4")
        self.deliver(self.held.pop())
        self.assertEqual((self.heard(), self.heard(ann)), (["one", "e4"], ["e4"]))
        self.assertEqual(self.looks, [])


class Secret(HintsCase):
    def test_the_key_is_in_no_text(self) -> None:
        """Whatever knows the bus may be logged."""
        home = self.service.login.home
        for known in (home, home.bus):
            self.assertNotIn(repr(home.bus.key), repr(known))


class Late(HintsCase):
    """A lost, late or doubled hint makes no gap, and nothing comes twice."""

    def test_one_that_was_lost(self) -> None:
        self.send("one")
        self.deliver(self.send("two"))
        self.assertEqual((self.heard(), self.looks), (["one", "two"], [1]))

    def test_one_that_comes_behind_the_next(self) -> None:
        one, two = self.send("one"), self.send("two")
        self.deliver(two)
        self.deliver(one)
        self.assertEqual(self.heard(), ["one", "two"])

    def test_one_that_comes_twice(self) -> None:
        one = self.send("one")
        for _ in range(3):
            self.deliver(one)
        self.deliver(self.send("two"))
        self.deliver(one)
        self.assertEqual(self.heard(), ["one", "two"])

    def test_one_that_comes_while_somebody_looks(self) -> None:
        """What the look brings has been sent by then."""
        one, two = self.send("one"), self.send("two")
        self.service.slow.hold(messages.fetch)
        self.look_for_what_was_lost()
        self.assertEqual((self.heard(), self.looks), ([], [1]))
        self.deliver(one)
        self.deliver(two)
        self.assertEqual(self.heard(), ["one", "two"])
        self.service.slow.go_on()
        self.assertEqual(self.heard(), [])


class Lying(HintsCase):
    """Whoever holds the broker wakes readers, who then see what is stored."""

    def changed(self, hint: Message, **members: object) -> Message:
        return replace(hint, body=json.dumps({**json.loads(hint.body), **members}).encode())

    def test_about_what_came_before(self) -> None:
        self.send("one")
        hint = self.send("two")
        after = dict.fromkeys(json.loads(hint.body)["_after"], 0)
        self.deliver(self.changed(hint, _after=after))
        self.assertEqual((self.heard(), self.looks), (["one", "two"], [1]))

    def test_about_its_text(self) -> None:
        self.deliver(self.changed(self.send("one"), message="something else"))
        self.assertEqual((self.heard(), self.looks), (["one"], [1]))

    def test_an_event_that_never_was(self) -> None:
        hint = self.send("one")
        self.deliver(hint)
        self.heard()
        bob = next(iter(json.loads(hint.body)["_after"]))
        for proof in ("", "0" * 64, json.loads(hint.body)["_proof"], 7, None):
            self.deliver(self.changed(hint, id=2, message="two", _after={bob: 1}, _proof=proof))
        self.deliver(self.changed(hint, id=2, _after=[bob], _proof={}))
        self.assertEqual(self.heard(), [])

    def test_to_somebody_else(self) -> None:
        """Who is no reader of it is not sent it, whatever topic it comes by."""
        eve = self.listen("eve")
        topic = "/topic/bbs.user." + self.channel("eve")
        hint = self.send("one")
        self.deliver(replace(hint, destination=topic))
        self.assertEqual((self.heard(), self.heard(eve)), ([], []))

    def channel(self, name: str) -> str:
        query = f"SELECT channel FROM user WHERE name = '{name}'"
        (found,) = self.service.database.peewee.execute_sql(query).fetchone()
        return str(found)

    def test_members_of_hints_reach_nobody(self) -> None:
        """An event that lives for the moment is told without them."""
        topic = "/topic/bbs.user." + self.channel("bob")
        event = {"event": "wave", "text": "ann waves"}
        self.deliver(Message(topic, {}, json.dumps({**event, "_after": {}, "_proof": ""}).encode()))
        self.assertEqual(self.listener.heard(), [event])


class Many(SynchronousTestCase):
    def test_who_are_due_at_once_are_looked_up_in_parts(self) -> None:
        service = SlowService(config=configuration(replace(POLICY, capacity=8)))
        self.addCleanup(service.close)
        for token in service.people(*"abcdefgh").values():
            for number in range(LISTENING_CONNECTIONS):
                service.at_home(token).ask(f"listen {token} {number}")
        service.slow.asked.clear()
        service.broker.back()  # Whoever listens may have missed something.
        looks = [len(cursors) for (cursors,) in service.slow.calls(messages.fetch)]
        self.assertEqual(sum(looks), 8 * LISTENING_CONNECTIONS)
        self.assertLessEqual(max(looks), 50)
