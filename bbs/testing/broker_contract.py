"""The contract of a broker and of every `IStomp` over it, for the fake, the embedded broker and
other brokers alike.

A test case mixes `BrokerContract` into `twisted.trial.unittest.TestCase`, and says where clients
come from and how the broker goes away:

    class MyBrokerContract(BrokerContract, TestCase):
        async def client(self):
            return await connected_to(self.broker)

        async def away(self): …

        async def back(self): …

`SocketContract` says all of that for any broker that speaks STOMP on a port. Clients reach the
broker through a gate, which can be shut and jammed:

    class ActiveMQContract(SocketContract, TestCase):
        broker = Broker.from_url("stomp://user:password@127.0.0.1:61613")
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, ServerFactory

from bbs.protocols.stomp import (
    Broker,
    IStomp,
    Message,
    StompDisconnected,
    StompRefused,
    StompService,
)
from bbs.protocols.stomp.client import Waiters
from bbs.protocols.stomp.frames import HEARTBEAT

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Case

    from bbs.core.clock import IReactor
else:
    _Case = object


class MessageCollector(DeferredQueue[Message]):
    """A subscriber that collects messages."""

    __call__ = DeferredQueue.put

    @property
    def messages(self) -> list[Message]:
        """The messages that have not been taken."""
        return self.pending

    async def take(self, number: int) -> list[Message]:
        """Wait for the next `number` messages, and remove them."""
        return [await self.get() for _ in range(number)]

    async def bodies(self, number: int) -> list[bytes]:
        """Wait for the next `number` messages, and return their bodies."""
        return [message.body for message in await self.take(number)]


def topic() -> str:
    """A new topic."""
    return f"/topic/contract.{uuid4().hex}"


def going(client: IStomp) -> Deferred[None]:
    """Fires when `client` loses its connection."""
    lost: Deferred[None] = Deferred()

    def changed(connected: bool) -> None:
        if not lost.called:
            lost.callback(None)

    client.add_listener(changed)
    return lost


class BrokerContract(_Case):
    """The promises of every broker and of its clients: mix it into a
    `twisted.trial.unittest.TestCase` that implements the first three methods."""

    timeout = 20

    async def client(self) -> IStomp:
        """A new client that is connected."""
        raise NotImplementedError

    async def away(self) -> None:
        """Disconnect all clients from the broker, and wait until they know."""
        raise NotImplementedError

    async def back(self) -> None:
        """Let clients reach the broker again; do not wait for them."""
        raise NotImplementedError

    async def _subscribed(self) -> tuple[IStomp, str, MessageCollector]:
        client, where, inbox = await self.client(), topic(), MessageCollector()
        await client.subscribe(where, inbox)
        return client, where, inbox

    async def test_message(self) -> None:
        """A message arrives once the subscription is confirmed, at the sender too."""
        client, where, inbox = await self.client(), topic(), MessageCollector()
        subscription = await client.subscribe(where, inbox)
        self.assertEqual(subscription.destination, where)
        await client.send(where, b"hello", {"color": "red"})
        [message] = await inbox.take(1)
        self.assertEqual(message.destination, where)
        self.assertEqual(message.body, b"hello")
        self.assertEqual(message.headers["color"], "red")

    async def test_fan_out(self) -> None:
        """Every subscriber gets every message of a client, in order."""
        sender, where = await self.client(), topic()
        inboxes = [MessageCollector() for _ in range(3)]
        for inbox in inboxes:
            await (await self.client()).subscribe(where, inbox)
        sent = [b"%d" % number for number in range(200)]
        for body in sent:
            self.assertTrue(sender.publish(where, body))
        for inbox in inboxes:
            self.assertEqual(await inbox.bodies(200), sent)

    async def test_bodies(self) -> None:
        """Bodies are bytes, whatever is in them."""
        client, where, inbox = await self._subscribed()
        bodies = [b"", b"\0", b"a\0b\n\0", b"\n\n", b"\r\n", b"MESSAGE\n\n\0", bytes(range(256))]
        bodies += ["grüße, 世界 😀".encode(), b"x" * 200_000]
        for body in bodies:
            await client.send(where, body)
        self.assertEqual(await inbox.bodies(len(bodies)), bodies)

    async def test_headers(self) -> None:
        """Headers arrive as sent, whatever is escaped on the way."""
        client, where, inbox = await self._subscribed()
        headers = {
            "colon": "a:b::c",
            "line": "a\nb\r\nc",
            "backslash": "a\\nb\\",
            "words": "grüße, 世界 😀",
            "space": "a  b",
            "na:me": "x",
        }
        await client.send(where, b"", headers)
        [message] = await inbox.take(1)
        self.assertEqual({name: message.headers.get(name) for name in headers}, headers)

    async def test_topics_are_apart(self) -> None:
        """A subscriber gets messages of its own topic, and not of similar ones."""
        client, where, inbox = await self._subscribed()
        for other in (where + ".x", where + "x", where[:-1], topic()):
            await client.send(other, b"other")
        await client.send(where, b"own")
        self.assertEqual(await inbox.bodies(1), [b"own"])

    async def test_two_subscriptions(self) -> None:
        """Two subscriptions of a client to a topic each get every message, and end on their own."""
        client, where = await self.client(), topic()
        one, other = MessageCollector(), MessageCollector()
        first = await client.subscribe(where, one)
        second = await client.subscribe(where, other)
        self.assertEqual(client.subscriptions(), (first, second))
        await client.send(where, b"1")
        self.assertEqual(await one.bodies(1) + await other.bodies(1), [b"1", b"1"])
        first.unsubscribe()
        self.assertEqual(client.subscriptions(), (second,))
        await client.send(where, b"2")
        self.assertEqual(await other.bodies(1), [b"2"])
        self.assertEqual(one.messages, [])

    async def test_unsubscribe(self) -> None:
        """An ended subscription gets no message, cannot be confirmed, and may be ended again."""
        client, where, inbox = await self.client(), topic(), MessageCollector()
        subscription = await client.subscribe(where, inbox)
        subscription.unsubscribe()
        subscription.unsubscribe()
        await self.assertFailure(subscription.confirmed(), StompDisconnected)
        await self._check_others_get_messages(client, where)
        self.assertEqual(inbox.messages, [])

    async def _check_others_get_messages(self, client: IStomp, where: str) -> None:
        inbox = MessageCollector()
        await client.subscribe(where, inbox)
        await client.send(where, b"x")
        self.assertEqual(await inbox.bodies(1), [b"x"])

    async def test_unsubscribe_before_confirmed(self) -> None:
        """A subscription may end before it is confirmed."""
        client, where, inbox = await self.client(), topic(), MessageCollector()
        client.keep_subscribed(where, inbox).unsubscribe()
        await self._check_others_get_messages(client, where)
        self.assertEqual(inbox.messages, [])

    async def test_nobody_hears(self) -> None:
        """A message without subscribers is sent, and not kept for later ones."""
        client, where, inbox = await self.client(), topic(), MessageCollector()
        await client.send(where, b"early")
        await client.subscribe(where, inbox)
        await client.send(where, b"late")
        self.assertEqual(await inbox.bodies(1), [b"late"])

    async def test_send_from_subscriber(self) -> None:
        """A subscriber may send and unsubscribe while it gets a message."""
        client, where, inbox = await self.client(), topic(), MessageCollector()
        answers = topic()

        def answer(message: Message) -> None:
            subscription.unsubscribe()
            client.publish(answers, b"re: " + message.body)

        await client.subscribe(answers, inbox)
        subscription = await client.subscribe(where, answer)
        await client.send(where, b"1")
        self.assertEqual(await inbox.bodies(1), [b"re: 1"])
        await client.send(where, b"2")
        await client.send(answers, b"end")
        self.assertEqual(await inbox.bodies(1), [b"end"])

    async def test_subscriber_that_fails(self) -> None:
        """An error of a subscriber is logged; all subscribers get the next messages."""
        client, where, inbox = await self.client(), topic(), MessageCollector()

        def fails(message: Message) -> None:
            raise ZeroDivisionError

        await client.subscribe(where, fails)
        await client.subscribe(where, inbox)
        await client.send(where, b"1")
        await client.send(where, b"2")
        self.assertEqual(await inbox.bodies(2), [b"1", b"2"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    async def test_destinations(self) -> None:
        """Destinations that brokers treat differently are refused."""
        client = await self.client()
        wrong = ["", "x", "/topic/", "/queue/x", "/topic/a.*", "/topic/a.>", "/topic/a,b"]
        wrong += ["/topic/a/b", "/topic/a#", "/topic/a..b", "/topic/.a", "/topic/a.", "/topic/ä"]
        wrong += ["/topic/a\n", "/topic/a b", "/topic/a,/topic/b", "/topic/" + "a" * 255]
        for destination in wrong:
            with self.assertRaises(ValueError):
                client.subscribe(destination, MessageCollector())
            with self.assertRaises(ValueError):
                client.send(destination, b"")
            with self.assertRaises(ValueError):
                client.publish(destination, b"")
        self.assertEqual(client.subscriptions(), ())

    async def test_header_that_cannot_be_written(self) -> None:
        """A header that STOMP cannot write is refused at once; the client goes on."""
        client = await self.client()
        with self.assertRaises(ValueError):
            client.send(topic(), b"", {"nul": "\0"})
        with self.assertRaises(ValueError):
            client.publish(topic(), b"", {"nul": "\0"})
        await client.send(topic(), b"")

    async def test_broker_away(self) -> None:
        """Without a broker every call fails at once, and listeners are called."""
        client, where = await self.client(), topic()
        changes: list[bool] = []
        client.add_listener(changes.append)
        subscription = await client.subscribe(where, MessageCollector())
        self.assertTrue(client.connected)
        await client.when_connected()
        await self.away()
        self.assertFalse(client.connected)
        self.assertEqual(changes, [False])
        self.assertFalse(client.publish(where, b""))
        await self.assertFailure(client.send(where, b""), StompDisconnected)
        await self.assertFailure(subscription.confirmed(), StompDisconnected)
        await self.assertFailure(client.subscribe(topic(), MessageCollector()), StompDisconnected)
        await self.back()
        await client.when_connected()
        self.assertEqual(changes, [False, True])

    async def test_broker_back(self) -> None:
        """Subscriptions come back with the broker, and those made meanwhile; ended ones do not."""
        client, where, ended_topic = await self.client(), topic(), topic()
        before, meanwhile, ended = MessageCollector(), MessageCollector(), MessageCollector()
        kept = await client.subscribe(where, before)
        gone = await client.subscribe(ended_topic, ended)
        await self.away()
        gone.unsubscribe()
        new = client.keep_subscribed(where, meanwhile)
        await self.back()
        await client.when_connected()
        await kept.confirmed()
        await new.confirmed()
        await client.send(ended_topic, b"ended")
        await client.send(where, b"hello")
        self.assertEqual(await before.bodies(1), [b"hello"])
        self.assertEqual(await meanwhile.bodies(1), [b"hello"])
        self.assertEqual(ended.messages, [])


def _reactor() -> IReactor:
    # Not imported above: the reactor may not have been chosen then.
    from twisted.internet import reactor

    return cast("IReactor", reactor)


class SocketContract(BrokerContract):
    """The promises of every broker that speaks STOMP on a port: mix it into a
    `twisted.trial.unittest.TestCase` that has `broker` when `setUp` is called."""

    broker: Broker

    def setUp(self) -> None:
        """Open a gate before the broker, by which tests cut the connections."""
        self.services: list[StompService] = []
        self.gate = Gate(self.broker.host, self.broker.port)
        self.gate.open()
        self.addCleanup(lambda: Deferred.fromCoroutine(self._clean_up()))

    async def _clean_up(self) -> None:
        for service in self.services:
            await service.stopService()
        await self.gate.shut()

    def service(self, **changes: Any) -> StompService:
        """Start a client through the gate; `changes` replace fields of the broker."""
        broker = replace(self.broker, host="127.0.0.1", port=self.gate.port, **changes)
        service = StompService(_reactor(), [broker], heartbeat=0.2)
        self.services.append(service)
        service.startService()
        return service

    async def client(self) -> IStomp:
        service = self.service()
        await service.first_connection()
        return service

    async def away(self) -> None:
        disconnections = [going(service) for service in self.services]
        await self.gate.shut()
        for lost in disconnections:
            await lost

    async def back(self) -> None:
        self.gate.open()

    async def test_refused_credential(self) -> None:
        """The error for a refused credential does not show it."""
        service = self.service(passcode="not-the-passcode")
        with self.assertRaises(StompRefused) as refused:
            await service.first_connection()
        refusal = str(refused.exception)
        self.assertEqual(refusal, service.last_error)
        self.assertIn(f"stomp://127.0.0.1:{self.gate.port}: ", refusal)
        self.assertNotIn("not-the-passcode", refusal)
        self.assertNotIn("\n", refusal)
        self.assertFalse(service.connected)

    async def test_heartbeats(self) -> None:
        """Heart-beats of both sides keep an idle connection alive."""
        service = self.service()
        await service.first_connection()
        await self.gate.beats_both_ways(6)
        self.assertTrue(service.connected)
        self.assertEqual(self.gate.connections, 1)

    async def test_silent_broker(self) -> None:
        """The client gives up a broker that has become silent."""
        lost = going(await self.client())
        self.gate.jam(inwards=False)
        await lost
        self.assertIn("heart-beat stopped", str(self.services[0].last_error))

    async def test_silent_client(self) -> None:
        """The broker cuts off a client that has become silent."""
        lost = going(await self.client())
        self.gate.jam(inwards=True)
        await lost
        self.assertNotIn("heart-beat stopped", str(self.services[0].last_error))


class Gate:
    """A proxy for a port, which can be shut and jammed."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.connections = 0
        self.halves: set[_Half] = set()
        self.beats = {True: 0, False: 0}
        self.jammed: bool | None = None
        self._target = TCP4ClientEndpoint(_reactor(), host, port)
        self._listening: Any = None
        self._beat, self._empty = Waiters(), Waiters()

    def open(self) -> None:
        self.jammed = None
        factory = Factory.forProtocol(lambda: _Half(self, inwards=True))
        factory.noisy = False
        self._listening = _reactor().listenTCP(
            self.port, cast("ServerFactory[Any]", factory), interface="127.0.0.1"
        )
        self.port = self._listening.getHost().port

    async def shut(self) -> None:
        """Close the port and every connection, and wait until they are closed."""
        if self._listening is not None:
            await self._listening.stopListening()
            self._listening = None
        while self.halves:
            for half in tuple(self.halves):
                half.transport.abortConnection()
            await self._empty.wait()

    def jam(self, inwards: bool) -> None:
        """Pass on nothing more in one direction, without closing anything."""
        self.jammed = inwards

    async def connect(self, inwards: _Half) -> None:
        """Connect the client of `inwards` to the broker."""
        self.connections += 1
        inwards.transport.pauseProducing()
        outwards = _Half(self, inwards=False)
        factory = Factory.forProtocol(lambda: outwards)
        factory.noisy = False
        await self._target.connect(factory)
        inwards.peer, outwards.peer = outwards, inwards
        inwards.transport.resumeProducing()

    async def beats_both_ways(self, number: int) -> None:
        """Wait until `number` heart-beats have passed each way."""
        while min(self.beats.values()) < number:
            await self._beat.wait()

    def seen(self, data: bytes, inwards: bool) -> None:
        if data.strip(HEARTBEAT) == b"":
            self.beats[inwards] += 1
            self._beat.fire(None)

    def gone(self, half: _Half) -> None:
        self.halves.discard(half)
        if not self.halves:
            self._empty.fire(None)


class _Half(Protocol):
    """One of the two connections of a client through a gate."""

    transport: Any

    def __init__(self, gate: Gate, inwards: bool) -> None:
        self.peer: _Half | None = None
        self._gate = gate
        self._inwards = inwards

    def connectionMade(self) -> None:
        self._gate.halves.add(self)
        if self._inwards:
            Deferred.fromCoroutine(self._gate.connect(self))

    def dataReceived(self, data: bytes) -> None:
        self._gate.seen(data, self._inwards)
        if self.peer is not None and self._gate.jammed != self._inwards:
            self.peer.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        if self.peer is not None:
            self.peer.transport.loseConnection()
        self._gate.gone(self)
