"""The client of several brokers at once, with brokers that say what the test says."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from bbs.protocols.stomp import (
    Broker,
    ISubscription,
    Message,
    RedundantStomp,
    StompDisconnected,
    StompRefused,
    StompTimeout,
    redundant,
)
from bbs.protocols.stomp.broker import Subscriber
from bbs.protocols.stomp.frames import Frame, FrameCutter
from bbs.protocols.stomp.redundant import REMEMBERED, BrokerCount, count_brokers
from bbs.testing import MemoryBroker
from tests.protocols.stomp.test_service import BROKER, SECOND, Played, StompCase

WHERE = "/topic/a"


class RedundantCase(StompCase):
    service: Any

    def setUp(self) -> None:
        super().setUp()
        self.inbox: list[bytes] = []
        self.service = self.make([BROKER, SECOND])
        self.service.startService()
        self.first, self.second = self.connections()

    def make(self, brokers: list[Broker], **options: Any) -> Any:
        service = RedundantStomp(self.clock, brokers, random=lambda: 0.0, **options)
        service.add_listener(self.changes.append)
        return service

    def connections(self) -> list[Played]:
        """The connections that are tried, at the brokers."""
        found = [Played(each[2].buildProtocol(None)) for each in self.clock.tcpClients]
        self.clock.tcpClients.clear()
        self.clock.connectors.clear()
        return found

    def accept(self, *brokers: Played) -> None:
        for each in brokers or (self.first, self.second):
            each.accept()

    def subscribed(self) -> ISubscription:
        """Subscribe, and have both brokers confirm it."""
        subscription: ISubscription = self.service.keep_subscribed(WHERE, self.hear)
        for each in (self.first, self.second):
            [asked] = each.heard()
            each.receipt(asked)
        return subscription

    def hear(self, message: Message) -> None:
        self.inbox.append(message.body)

    def brings(self, broker: Played, body: bytes, name: str | None = "bus.1") -> None:
        headers = {} if name is None else {"copy-of": name}
        headers |= {"subscription": "1", "message-id": "1", "destination": WHERE}
        broker.say("MESSAGE", headers, body)


class Connections(RedundantCase):
    def test_one_is_enough(self) -> None:
        """The client is connected while one broker is, and says how many are."""
        waiting = self.service.when_connected()
        self.assertEqual(count_brokers(self.service), BrokerCount(0, 2))
        self.assertNoResult(self.service.first_connection())
        self.accept(self.second)
        self.successResultOf(waiting)
        self.successResultOf(self.service.first_connection())
        self.assertEqual((self.service.connected, self.service.brokers), (True, (1, 2)))
        self.accept(self.first)
        self.assertEqual(self.service.brokers, (2, 2))
        self.first.lose()
        self.assertEqual((self.service.connected, self.service.brokers), (True, (1, 2)))
        self.second.lose()
        self.assertEqual((self.service.connected, self.service.brokers), (False, (0, 2)))

    def test_listeners(self) -> None:
        """One broker away is no change; one that comes back is: only it may have been told."""
        self.accept()
        self.assertEqual(self.changes, [True, True])
        self.first.lose()
        self.assertEqual(self.changes, [True, True])
        self.second.lose()
        self.assertEqual(self.changes, [True, True, False])

    def test_others_count_one(self) -> None:
        broker = MemoryBroker()
        client = broker.client()
        self.assertEqual(count_brokers(client), BrokerCount(1, 1))
        broker.away()
        self.assertEqual(count_brokers(client), BrokerCount(0, 1))

    def test_all_refuse(self) -> None:
        """A refused credential is told rather than a broker that is away, once all have failed."""
        waiting = self.service.first_connection()
        self.second.say("ERROR", {"message": "who?"})
        self.second.lose()
        self.assertNoResult(waiting)
        self.first.lose()
        refusal = self.failureResultOf(waiting, StompRefused)
        self.assertIn("stomp://second.example:61613: who?", str(refusal.value))

    def test_one_refuses(self) -> None:
        waiting = self.service.first_connection()
        self.second.say("ERROR", {"message": "who?"})
        self.second.lose()
        self.accept(self.first)
        self.successResultOf(waiting)

    def test_stop(self) -> None:
        waiting = self.service.when_connected()
        stopped = self.service.stopService()
        for each in (self.first, self.second):
            each.lose()
        self.successResultOf(stopped)
        self.failureResultOf(waiting, StompDisconnected)


class Sending(RedundantCase):
    def test_by_all(self) -> None:
        """Both get the message under one name, and each message has a name of its own."""
        self.accept()
        for headers in (None, {"color": "red"}):
            self.assertTrue(self.service.publish(WHERE, b"x", headers))
        both = [[{**frame.headers} for frame in each.heard()] for each in (self.first, self.second)]
        self.assertEqual(*both)
        [plain, colored] = both[0]
        self.assertNotEqual(plain.pop("copy-of"), colored.pop("copy-of"))
        self.assertEqual(plain, {"content-length": "1", "destination": WHERE})
        self.assertEqual(colored, {**plain, "color": "red"})

    def test_by_those_that_are_there(self) -> None:
        self.assertFalse(self.service.publish(WHERE, b"x"))
        self.failureResultOf(self.service.send(WHERE, b"x"), StompDisconnected)
        self.accept(self.second)
        self.assertTrue(self.service.publish(WHERE, b"x"))
        self.assertEqual([frame.body for frame in self.second.heard()], [b"x"])

    def held(self) -> int:
        """The bytes that wait for both brokers."""
        return sum(each._present.held for each in self.service._clients)

    def test_one_receipt_is_enough(self) -> None:
        self.accept()
        sent = self.service.send(WHERE, b"x")
        [frame] = self.second.heard()
        self.second.receipt(frame)
        self.successResultOf(sent)

    def test_no_receipt(self) -> None:
        self.accept()
        sent = self.service.send(WHERE, b"x")
        self.clock.advance(5)
        self.failureResultOf(sent, StompTimeout)

    def test_one_does_not_read(self) -> None:
        """What waits for a frozen broker has a limit, and the other gets everything."""
        self.accept()
        self.first.pause()
        for _ in range(200):
            self.assertTrue(self.service.publish(WHERE, b"x" * 10_000))
            [frame] = self.second.heard()
            self.assertEqual(len(frame.body), 10_000)
        self.assertLessEqual(self.held(), 1 << 20)
        self.second.pause()
        while self.service.publish(WHERE, b"x" * 10_000):
            self.assertLess(self.held(), 4 << 20)
        self.assertLessEqual(self.held(), 2 << 20)


class Copies(RedundantCase):
    def setUp(self) -> None:
        super().setUp()
        self.accept()
        self.subscription = self.subscribed()

    def test_the_first_counts(self) -> None:
        self.brings(self.second, b"x")
        self.assertEqual(self.inbox, [b"x"])
        self.brings(self.first, b"x")
        self.assertEqual(self.inbox, [b"x"])

    def test_who_sends_it_again(self) -> None:
        """What one broker brings twice is no copy: the subscriber is to see that it repeats."""
        self.brings(self.first, b"x")
        self.brings(self.second, b"x")
        self.brings(self.second, b"x")
        self.assertEqual(self.inbox, [b"x", b"x"])

    def test_names(self) -> None:
        """Another name, another text, or no name: no copy."""
        self.brings(self.first, b"x")
        self.brings(self.second, b"x", "bus.2")
        self.brings(self.second, b"y")
        self.assertEqual(self.inbox, [b"x", b"x", b"y"])
        self.brings(self.first, b"z", None)
        self.brings(self.second, b"z", None)
        self.assertEqual(self.inbox[3:], [b"z", b"z"])

    def test_two_subscriptions(self) -> None:
        more: list[bytes] = []
        self.service.keep_subscribed(WHERE, lambda message: more.append(message.body))
        for broker in (self.first, self.second):
            self.brings(broker, b"x")
            headers = {"copy-of": "bus.1", "subscription": "2", "message-id": "1"}
            broker.say("MESSAGE", {**headers, "destination": WHERE}, b"x")
        self.assertEqual((self.inbox, more), ([b"x"], [b"x"]))

    def test_late(self) -> None:
        """A broker that is found frozen after 21 s brings nothing more; until then its copies are
        known, and those of long ago take no room."""
        self.brings(self.first, b"x")
        for name in ("bus.2", "bus.3"):
            self.clock.advance(REMEMBERED - 1)
            self.brings(self.first, b"x", name)
        self.brings(self.second, b"x", "bus.2")
        self.assertEqual(self.inbox, [b"x"] * 3)
        self.clock.advance(2 * REMEMBERED)
        self.brings(self.first, b"x", "bus.4")
        self.clock.advance(REMEMBERED)
        self.brings(self.first, b"x", "bus.5")
        memory: Any = self.service._filter
        self.assertLessEqual(len(memory._recent) + len(memory._older), 2)

    def test_many(self) -> None:
        """However many come, few are remembered, and the latest are among them."""
        with mock.patch.object(redundant, "MOST_REMEMBERED", 10):
            for number in range(100):
                self.brings(self.first, b"x", f"bus.{number}")
            memory: Any = self.service._filter
            self.assertLessEqual(len(memory._recent) + len(memory._older), 20)
            self.brings(self.second, b"x", "bus.99")
        self.assertEqual(len(self.inbox), 100)


class ThroughOurBroker(SynchronousTestCase):
    """The embedded broker writes the frames of copies as any others, only faster."""

    def test_frames(self) -> None:
        subscriber = Subscriber(mock.Mock(), "1", WHERE, acknowledges=False, version="1.2")
        own = {"destination": WHERE, "content-length": "1"}
        for more in ({"copy-of": "a.1"}, {"copy-of": "a:1"}, {"copy-of": ""}, {"copy-of": "a\n"}):
            for headers in (more, {**more, "traceparent": "00"}):
                expected = {**own, **headers, "subscription": "1", "message-id": "7"}
                data = subscriber.message(7, {**own, **headers}, b"x")
                [frame] = FrameCutter("1.2").feed(data)
                self.assertEqual(frame, Frame("MESSAGE", expected, b"x"))


class Subscriptions(RedundantCase):
    def test_one_confirmation_is_enough(self) -> None:
        """A broker that does not answer holds nobody up for long."""
        self.accept()
        asked = self.service.subscribe(WHERE, self.hear)
        [frame] = self.second.heard()
        self.second.receipt(frame)
        self.assertNoResult(asked)
        self.clock.advance(0.2)
        self.successResultOf(asked)
        self.clock.advance(5)
        self.first.lose()
        self.successResultOf(self.service.subscriptions()[0].confirmed())

    def test_both_confirm(self) -> None:
        self.accept()
        asked = self.service.subscribe(WHERE, self.hear)
        for each in (self.first, self.second):
            self.assertNoResult(asked)
            [frame] = each.heard()
            each.receipt(frame)
        self.successResultOf(asked)

    def test_none_confirms(self) -> None:
        self.failureResultOf(self.service.subscribe(WHERE, self.hear), StompDisconnected)
        self.accept()
        confirmed = self.service.subscriptions()[0].confirmed()
        self.clock.advance(5)
        self.failureResultOf(confirmed, StompTimeout)

    def test_refused_by_one(self) -> None:
        """One that refuses is asked no more; the subscription stays at the other."""
        self.accept()
        subscription = self.service.keep_subscribed(WHERE, self.hear)
        [frame] = self.first.heard()
        self.refuse(self.first, frame.headers["receipt"])
        self.assertEqual(self.service.subscriptions(), (subscription,))
        [frame] = self.second.heard()
        self.second.receipt(frame)
        self.successResultOf(subscription.confirmed())

    def test_refused_by_all(self) -> None:
        self.accept()
        confirmed = self.service.subscribe(WHERE, self.hear)
        for each in (self.first, self.second):
            [frame] = each.heard()
            self.refuse(each, frame.headers["receipt"])
        self.failureResultOf(confirmed, StompRefused)
        self.assertEqual(self.service.subscriptions(), ())

    def refuse(self, broker: Played, receipt: str) -> None:
        broker.say("ERROR", {"message": "not yours", "receipt-id": receipt})
        broker.lose()

    def test_ended(self) -> None:
        self.accept()
        subscription = self.subscribed()
        subscription.unsubscribe()
        for each in (self.first, self.second):
            self.assertEqual([frame.command for frame in each.heard()], ["UNSUBSCRIBE"])
        self.assertEqual(self.service.subscriptions(), ())
        self.failureResultOf(subscription.confirmed(), StompDisconnected)

    def test_renewed(self) -> None:
        """A broker that comes back is subscribed at before listeners are called."""
        self.accept()
        self.subscribed()
        self.first.lose()
        self.clock.advance(1)
        [again] = self.connections()
        frames: list[list[str]] = []
        self.service.add_listener(lambda _: frames.append([each.command for each in again.heard()]))
        again.heard()
        again.say("CONNECTED", {"version": "1.2", "heart-beat": "0,0"})
        self.assertEqual(frames, [["SUBSCRIBE"]])
