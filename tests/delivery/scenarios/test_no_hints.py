"""Hints that are none: whatever comes by the broker is passed over, with a line in the log."""

from __future__ import annotations

import hmac
import json
from itertools import count
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from bbs.delivery.bus import MAX_HINT, MAX_ID, Bus
from bbs.protocols.stomp.interfaces import Message
from bbs.testing import MemoryBroker
from bbs.testing.service import HINT_KEY
from tests.delivery.scenarios.test_hints import HintsCase
from tests.slow_service import BesideOlder

DEEP = b"[" * 100_000

NONE = {
    b"": "not JSON in UTF-8",
    b"hello": "not JSON in UTF-8",
    b'{"event": "wave"': "not JSON in UTF-8",
    b'{"event": "\xff"}': "not JSON in UTF-8",
    b'{"event": "wave", "text": NaN}': "not JSON in UTF-8",
    b'{"event": "wave", "id": %s}' % (b"9" * 5000): "not JSON in UTF-8",
    b'{"event": "wave", "text": %s' % DEEP: "nested too deeply",
    DEEP: "nested too deeply",
    b'{"event": "wave", "text": "%s"}' % (b"a" * MAX_HINT): "longer than",
    b"[]": "not a JSON object",
    b'"wave"': "not a JSON object",
    b"null": "not a JSON object",
    b"{}": "missing name of the event",
    b'{"event": 7}': "missing name of the event",
    b'{"event": null}': "missing name of the event",
    b'{"event": ["moved"]}': "missing name of the event",
    b'{"event": {"moved": 1}}': "missing name of the event",
    b'{"event": "message", "id": %d}' % (MAX_ID + 1): "malformed id",
    b'{"event": "message", "id": -1}': "malformed id",
    b'{"event": "message", "id": true}': "malformed id",
    b'{"event": "message", "id": 1, "_after": 7}': "malformed _after",
    b'{"event": "message", "id": 1, "_after": ["7"]}': "malformed _after",
    b'{"event": "message", "id": 1, "_after": {"7": "8"}}': "malformed _after",
    b'{"event": "message", "id": 1, "_after": {"7": true}}': "malformed _after",
    b'{"event": "message", "id": 1, "_after": {"7": %d}}' % (MAX_ID + 1): "malformed _after",
}
"""What may come, and the word for it in the log."""

UNTELLABLE = (b'{"event": "wave", "text": 1e999}', b'{"event": "wave", "text": "\\ud800"}')
"""What can be read, and not be said."""


class Reading(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = MemoryBroker()
        self.clock = Clock()
        self.bus, self.sender = (
            Bus(self.broker.client(), "bbs", b"key", self.clock.seconds) for _ in range(2)
        )
        self.heard: list[Any] = []
        self.bus.hear("a", lambda hint, after, _: self.heard.append((hint, after)))

    def come(self, body: bytes) -> list[str]:
        """Something comes; the lines in the log that are about it."""
        with capturedLogs() as logs:
            self.broker.deliver(Message("/topic/bbs.user.a", {}, body))
        self.assertEqual(self.flushLoggedErrors(), [])
        return [f"{event['reason']}, {event['more']} more" for event in logs if "more" in event]

    def test_each_is_passed_over_with_one_line(self) -> None:
        for body, reason in NONE.items():
            self.clock.advance(1)
            (line,) = self.come(body)
            self.assertIn(reason, line, body[:60])
            self.assertTrue(line.endswith(", 0 more"), line)
        self.assertEqual(self.heard, [])

    def test_a_million_are_a_line_a_second(self) -> None:
        lines = []
        for _ in range(1000):
            lines += self.come(b"hello")
        self.assertEqual(len(lines), 1)
        self.clock.advance(1)
        self.assertEqual([each.rpartition(", ")[2] for each in self.come(b"hello")], ["999 more"])
        self.clock.advance(1)
        self.assertEqual([each.rpartition(", ")[2] for each in self.come(b"hello")], ["0 more"])

    def test_what_follows_is_heard(self) -> None:
        self.come(DEEP)
        self.come(b'{"event": "wave", "id": "of its own kind"}')
        self.assertEqual(self.heard, [({"event": "wave", "id": "of its own kind"}, {})])

    def test_the_fleets(self) -> None:
        self.bus.hear_fleet(self.heard.append)
        with capturedLogs() as logs:
            self.broker.deliver(Message("/topic/bbs.fleet", {}, b'{"event": ["ready"]}'))
        self.assertEqual(len(logs), 1)
        self.assertEqual(self.heard, [])

    def test_one_as_long_as_may_be(self) -> None:
        """A line of control characters, in which JSON writes six bytes for each, and readers."""
        event = {"event": "message", "id": 2, "message": "\x01" * 65536}
        after = dict.fromkeys(range(MAX_ID - 1000, MAX_ID), MAX_ID)
        self.sender.tell("a", event, after)
        ((hint, proved),) = self.heard
        self.assertEqual((hint, len(proved)), (event, 1000))

    def test_one_that_would_be_too_long_is_told_without_its_text(self) -> None:
        self.sender.tell("a", {"event": "message", "id": 2, "message": "a" * MAX_HINT}, {1: 1})
        self.assertEqual(self.heard, [({"event": "message", "id": 2}, {})])


class Passing(HintsCase):
    """On an app server: who listens is told nothing, and what is next comes."""

    numbers = count(1)

    def setUp(self) -> None:
        super().setUp()
        _, self.to = self.address("bob")

    def test_nothing_comes_of_any(self) -> None:
        topic = self.send("one").destination
        for body in (*NONE, *UNTELLABLE):
            with capturedLogs() as logs:
                self.service.clock.advance(0.01)
                self.deliver(Message(topic, {}, body))
            self.assertEqual([event for event in logs if "log_failure" in event], [], body[:60])
            self.assertEqual(self.listener.heard(), [], body[:60])
        self.deliver(self.send("two"))
        self.assertEqual(self.heard(), ["one", "two"])

    def test_one_as_deep_as_can_be_read(self) -> None:
        topic = self.send("one").destination
        for depth in range(100, 1200, 50):
            text = b"[" * depth + b"]" * depth
            self.deliver(self.sealed(topic, b'{"event": "wave", "text": %s' % text))
        self.assertEqual(self.flushLoggedErrors(), [])
        heard = self.listener.heard()
        self.assertTrue(heard)
        self.assertTrue(all(event["event"] == "wave" for event in heard))

    def sealed(self, topic: str, content: bytes) -> Message:
        """A hint by somebody with the key."""
        nonce = f"0123456789abcdef.{next(self.numbers)}.{self.service.wall():.0f}"
        to = "".join(f', "{name}": {json.dumps(each)}' for name, each in self.to.items())
        content += f'{to}, "_on": "{topic}", "_but": "{nonce}"'.encode()
        proof = hmac.digest(HINT_KEY, content, "sha256").hex()
        return Message(topic, {}, b'%s, "_proof": "%s"}' % (content, proof.encode()))

    def test_what_cannot_be_told_is_a_line(self) -> None:
        topic = self.send("one").destination
        for body in UNTELLABLE:
            self.service.clock.advance(1)
            with capturedLogs() as logs:
                self.deliver(self.sealed(topic, body.removesuffix(b"}")))
            (reason,) = [event["reason"] for event in logs if "reason" in event]
            self.assertIn("cannot be sent", reason)


class PassingBesideOlder(BesideOlder, Passing):
    """On the topic of a user."""
