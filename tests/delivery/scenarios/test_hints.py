"""Hints that carry their event: who is sent it at once, and what a broker cannot make of them."""

from __future__ import annotations

import hmac
import json
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from bbs.board.messages import messages
from bbs.core.values import RESERVED_EVENTS
from bbs.delivery.bus import Bus
from bbs.delivery.listeners import LISTENING_CONNECTIONS
from bbs.protocols.stomp.interfaces import Message
from bbs.rules import presence
from bbs.testing import MemoryBroker, Peer
from bbs.testing.service import HINT_KEY
from tests.memory_service import POLICY, configuration
from tests.slow_service import BesideOlder, SlowService


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

    def address(self, name: str) -> tuple[str, dict[str, object]]:
        """Where hints for somebody come, as `SlowService.address` has it."""
        return self.service.address(self.channel(name), self.tokens[name])

    def channel(self, name: str) -> str:
        query = f"SELECT channel FROM user WHERE name = '{name}'"
        (found,) = self.service.database.peewee.execute_sql(query).fetchone()
        return str(found)

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
        self.held.clear()
        self.deliver(self.send("one"))
        ann = self.listen("ann")
        self.forget_looks()
        self.ask(f"send-group {self.tokens['ann']} chess e4")
        self.deliver(self.held.pop())
        self.assertEqual((self.heard(), self.heard(ann)), (["one", "e4"], ["e4"]))
        self.assertEqual(self.looks, [])


class ProvedBesideOlder(BesideOlder, Proved):
    """As before there were topics of servers."""


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

    def test_one_that_comes_again_long_after(self) -> None:
        """Wherever the reader stands: behind it, or before it again, as the reader wished."""
        one, two = self.send("one"), self.send("two")
        self.service.advance(100.0)
        again = self.service.at_home(self.tokens["bob"])
        again.ask(f"listen {self.tokens['bob']} 0")
        for hint in (one, two, one, two):
            self.deliver(hint)
        self.assertEqual((self.heard(), self.heard(again)), (["one", "two"], ["one", "two"]))

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


class LateBesideOlder(BesideOlder, Late):
    """As before there were topics of servers."""


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
        topic, to = self.address("eve")
        hint = self.send("one")
        self.deliver(replace(hint, destination=topic))
        self.deliver(replace(self.changed(hint, **to), destination=topic))
        self.assertEqual((self.heard(), self.heard(eve)), ([], []))

    def test_that_sessions_have_ended(self) -> None:
        """A server looks which, and has one look under way however often it is told to."""
        topic, to = self.address("bob")
        self.service.slow.hold(presence.standings)
        moved = {"event": "moved", "app_server": {"host": "127.6.6.6", "port": 666}}
        for hint in (moved, {"event": "logout"}) * 100:
            self.deliver(Message(topic, {}, json.dumps({**hint, **to}).encode()))
        self.assertEqual(len(self.service.slow.calls(presence.standings)), 1)
        self.service.slow.go_on()
        self.assertEqual(len(self.service.slow.calls(presence.standings)), 2)
        self.assertEqual(self.listener.heard(), [])


class LyingBesideOlder(BesideOlder, Lying):
    """As before there were topics of servers."""


class Transient(HintsCase):
    """Events that no database has: clients are sent what a server has just sealed, once."""

    WAVE: Mapping[str, object] = {"event": "wave", "text": "ann waves"}

    def setUp(self) -> None:
        super().setUp()
        self.bus = self.service.serving(self.tokens["ann"]).serving.home.bus
        self.servers = {name: self.service.serving(token).id for name, token in self.tokens.items()}

    def sealed(
        self, event: Mapping[str, object] = WAVE, name: str = "bob", at: str = "bob"
    ) -> Message:
        """The hint of ann's server at `event` for `name`, to the server of `at`."""
        self.bus.tell(self.channel(name), event, servers=[self.servers[at]])
        return self.held.pop()

    def by_key(self, **members: object) -> Message:
        """A hint with these members and a right proof."""
        topic, to = self.address("bob")
        content = json.dumps({**self.WAVE, **to, **members})[:-1].encode()
        proof = hmac.digest(HINT_KEY, content, "sha256").hex()
        body = b'%s, "_proof": "%s"}' % (content, proof.encode())
        return Message(topic, {}, body)

    def assertDiscarded(self, *hints: Message, reason: str = "not proved") -> None:
        for hint in hints:
            self.service.advance(1.0)
            with capturedLogs() as logs:
                self.deliver(hint)
            self.assertEqual(self.listener.heard(), [], hint.body)
            reasons = [each["reason"] for each in logs if "reason" in each]
            self.assertIn(reason, str(reasons), hint.body)

    def test_members_of_hints_reach_nobody(self) -> None:
        self.deliver(self.sealed())
        self.assertEqual(self.listener.heard(), [self.WAVE])

    def test_what_nobody_sealed(self) -> None:
        hint = self.sealed()
        seal = {name: value for name, value in json.loads(hint.body).items() if name[0] == "_"}
        message = {"event": "message", "from": "ann", "to": "bob", "message": "pay eve"}
        for event in (self.WAVE, message, {**message, "id": "2"}, {**self.WAVE, "text": "else"}):
            to = self.address("bob")[1]
            for members in (to, {**seal, "_proof": "0" * 64}, {**seal, "_after": {}}):
                self.assertDiscarded(replace(hint, body=json.dumps({**event, **members}).encode()))

    def test_what_is_sent_again(self) -> None:
        hint = self.sealed()
        self.deliver(hint)
        self.assertEqual(self.listener.heard(), [self.WAVE])
        for seconds in (0.0, 30.0, 28.0, 2.0, 1000.0):
            self.service.set_ahead += seconds
            self.assertDiscarded(hint, reason="repetition")

    def test_the_same_event_of_a_server_again(self) -> None:
        for _ in range(3):
            self.deliver(self.sealed())
        self.assertEqual(self.listener.heard(), [self.WAVE] * 3)

    def test_on_the_topic_of_somebody_else(self) -> None:
        other = self.sealed(name="eve", at="eve")
        if self.address("bob")[1]:
            other = self.sealed(at="eve")  # By a server's topic: of another server.
        self.assertDiscarded(replace(other, destination=self.sealed().destination))

    def test_of_a_server_whose_clock_is_wrong(self) -> None:
        """By a minute at most it counts; the time is in whole seconds."""
        for ahead, counts in ((59, True), (-59, True), (61, False), (-61, False), (1e9, False)):
            self.service.set_ahead = ahead
            hint = self.sealed()
            self.service.set_ahead = 0.0
            self.deliver(hint)
            self.assertEqual(len(self.listener.heard()), counts, ahead)

    def test_that_was_held_back(self) -> None:
        soon, late = self.sealed(), self.sealed()
        self.service.advance(58.0)
        self.deliver(soon)
        self.assertEqual(self.listener.heard(), [self.WAVE])
        self.service.advance(4.0)
        self.assertDiscarded(late)

    def test_of_a_server_of_before(self) -> None:
        """Nothing says when it was sent: up to version 0.3.0 it was sealed for those who asked, and
        up to now not at all. A message comes at once all the same."""
        topic, _ = self.address("bob")
        for but in ("0123456789abcdef", "0123456789abcdef.7f0000000000", None, 7, ["x"]):
            self.assertDiscarded(self.by_key(_on=topic, _but=but))
        message = self.send("one")
        members = json.loads(message.body)
        del members["_proof"]
        self.deliver(self.by_key(**{**members, "_but": "0123456789abcdef"}))
        self.assertEqual((self.heard(), self.looks), (["one"], []))

    def test_what_a_server_says_of_itself_alone(self) -> None:
        """Not even with the key."""
        for name in RESERVED_EVENTS:
            asked = {"event": "wave", "id": 0, "_asked": {"event": name, "position": 1}}
            topic, _ = self.address("bob")
            but = f"0123456789abcdef.1.{self.service.wall():.0f}"
            self.assertDiscarded(self.by_key(**asked, _on=topic, _but=but), reason=name)
            if name in ("moved", "logout"):
                self.deliver(self.sealed({"event": name}))
                self.assertEqual(self.listener.heard(), [])
            else:
                self.assertDiscarded(self.sealed({"event": name}), reason=name)
                self.assertDiscarded(self.sealed({"event": name, "id": 7}), reason=name)

    def test_nonces_are_forgotten(self) -> None:
        """Once the time in a hint says that it is too old, nobody need remember that it came."""
        broker, wall = MemoryBroker(), Clock()
        bus, sender = (
            Bus(broker.client(), "bbs", b"key", wall.seconds, wall.seconds) for _ in range(2)
        )
        heard: list[bool] = []
        bus.hear("a", lambda event, after, is_new: heard.append(is_new))
        sizes = []
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for _ in range(12):
            for _ in range(1000):
                sender.tell("a", self.WAVE)
            wall.advance(61.0)
            self.assertEqual((len(heard), all(heard)), (1000, True))
            heard.clear()
            sizes.append(tracemalloc.get_traced_memory()[0])
        self.assertLess(max(sizes[1:]) - sizes[0], 100_000)


class TransientBesideOlder(BesideOlder, Transient):
    """As before there were topics of servers."""


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
