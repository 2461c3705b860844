"""The client service with real brokers over real sockets, and the embedded broker with the clients
of others.

BBS_TEST_ACTIVEMQ_URL and BBS_TEST_RABBITMQ_URL say where brokers are that may be used
(`stomp://user:password@127.0.0.1:PORT`); without them, their cases are skipped.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable
from typing import Any, cast

import stomp
from twisted.internet import reactor as system_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from bbs.protocols.stomp import Broker, IStomp, StompDisconnected, StompService
from bbs.protocols.stomp.broker import BrokerLimits, BrokerService, Credential, EmbeddedBroker
from bbs.protocols.stomp.frames import Frame, encode
from bbs.testing.broker_contract import MessageCollector, SocketContract, going, topic

reactor: Any = system_reactor

LOOPBACK = "tcp:0:interface=127.0.0.1"


class EmbeddedCase(TestCase):
    """A case with an embedded broker on a port of its own."""

    limits = BrokerLimits(heartbeat=0.2)

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.factory = EmbeddedBroker(Credential("bbs", "s:e s@me/\\"), reactor, self.limits)
        self.broker_service = BrokerService(reactor, LOOPBACK, self.factory)
        self.broker_service.startService()
        self.addCleanup(self.broker_service.stopService)
        self.broker = Broker.from_url(await self.broker_service.when_listening())


class EmbeddedBrokerContract(SocketContract, EmbeddedCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await EmbeddedCase.setUp(self)
        SocketContract.setUp(self)


class ActiveMQContract(SocketContract, TestCase):
    if "BBS_TEST_ACTIVEMQ_URL" in os.environ:
        broker = Broker.from_url(os.environ["BBS_TEST_ACTIVEMQ_URL"])
    else:
        skip = "BBS_TEST_ACTIVEMQ_URL does not say where an ActiveMQ is"


class RabbitMQContract(SocketContract, TestCase):
    if "BBS_TEST_RABBITMQ_URL" in os.environ:
        broker = Broker.from_url(os.environ["BBS_TEST_RABBITMQ_URL"])
    else:
        skip = "BBS_TEST_RABBITMQ_URL does not say where a RabbitMQ is"


class EmbeddedBrokerTests(EmbeddedCase):
    """What only real sockets show."""

    limits = BrokerLimits(heartbeat=0.2, max_buffer=200_000, max_connections=3, login_deadline=0.2)

    async def client(self) -> IStomp:
        service = StompService(reactor, [self.broker])
        service.startService()
        self.addCleanup(service.stopService)
        await service.first_connection()
        return service

    async def raw(self, protocol: type[RawClient]) -> RawClient:
        endpoint = self.broker.endpoint(reactor)
        return cast("RawClient", await endpoint.connect(Factory.forProtocol(protocol)))

    async def test_slow_subscriber(self) -> None:
        """One that does not read is cut off; the other hears everything."""
        where, inbox = topic(), MessageCollector()
        client = await self.client()
        await client.subscribe(where, inbox)
        slow = await self.raw(RawClient)
        slow.transport.write(encode(Frame("CONNECT", dict(self.broker.connect_headers()))))
        slow.transport.write(
            encode(Frame("SUBSCRIBE", {"id": "1", "destination": where, "receipt": "r"}))
        )
        await slow.hears(b"RECEIPT")
        slow.transport.pauseProducing()
        sent = 0
        while self.factory.connections == 2:
            await client.send(where, b"x" * 100_000)
            sent += 1
        self.assertEqual(len(await inbox.bodies(sent)), sent)
        slow.transport.resumeProducing()
        await slow.lost

    async def test_no_login(self) -> None:
        silent = await self.raw(RawClient)
        await silent.lost
        self.assertEqual(silent.data, b"")

    async def test_too_many(self) -> None:
        clients = [await self.client() for _ in range(3)]
        fourth = await self.raw(RawClient)
        await fourth.lost
        await clients[0].send(topic(), b"")

    async def test_stopped(self) -> None:
        """When the broker stops its clients know at once, and the port is free."""
        lost = going(await self.client())
        await self.broker_service.stopService()
        await lost
        again = BrokerService(reactor, f"tcp:{self.broker.port}:interface=127.0.0.1", self.factory)
        again.startService()
        self.addCleanup(again.stopService)
        await again.when_listening()

    async def test_port_in_use(self) -> None:
        service = BrokerService(
            reactor, f"tcp:{self.broker.port}:interface=127.0.0.1", self.factory
        )
        service.startService()
        await self.assertFailure(service.when_listening(), CannotListenError)
        await service.stopService()

    async def test_no_broker(self) -> None:
        await self.broker_service.stopService()
        service = StompService(reactor, [self.broker])
        service.startService()
        self.addCleanup(service.stopService)
        with self.assertRaises(StompDisconnected) as failed:
            await service.first_connection()
        self.assertIn("cannot connect: Connection was refused", str(failed.exception))


class RawClient(Protocol):
    """Bytes to the broker and back."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.lost: Deferred[None] = Deferred()
        self._more: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        more, self._more = self._more, Deferred()
        more.callback(None)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)

    async def hears(self, part: bytes) -> None:
        while part not in self.data:
            await self._more


class ForeignClientTests(EmbeddedCase):
    """The embedded broker serves stomp.py, in each version."""

    timeout = 20

    async def foreign(self, work: Callable[[], None]) -> None:
        # stomp.py blocks, and has threads of its own.
        await deferToThread(work)

    def connect(self, kind: Any, passcode: str | None = None, **options: Any) -> tuple[Any, Heard]:
        connection = kind([(self.broker.host, self.broker.port)], **options)
        heard = Heard()
        connection.set_listener("", heard)
        passcode = self.broker.passcode if passcode is None else passcode
        connection.connect(self.broker.login, passcode, wait=True)
        return connection, heard

    def converse(self, kind: Any, body: str | bytes, **options: Any) -> None:
        connection, heard = self.connect(kind, **options)
        connection.subscribe("/topic/a", id="1", ack="auto", receipt="subscribed")
        heard.until("receipt", "subscribed")
        connection.send("/topic/a", body, headers={"color": "r:e\\d"})
        frame = heard.message()
        self.assertEqual((frame.body, frame.headers["color"]), (body, "r:e\\d"))
        connection.begin(transaction="t")
        connection.send("/topic/a", "late", transaction="t")
        connection.send("/topic/a", "early")
        connection.commit(transaction="t")
        self.assertEqual(as_text(heard.message().body), "early")
        self.assertEqual(as_text(heard.message().body), "late")
        connection.unsubscribe(id="1")
        connection.send("/topic/a", "nobody", receipt="sent")
        heard.until("receipt", "sent")
        connection.disconnect(receipt="bye")
        heard.until("receipt", "bye")
        self.assertTrue(heard.messages.empty())

    async def test_1_0(self) -> None:
        await self.foreign(lambda: self.converse(stomp.Connection10, "hello"))

    async def test_1_1(self) -> None:
        await self.foreign(lambda: self.converse(stomp.Connection11, "grüße"))

    async def test_1_2(self) -> None:
        body = bytes(range(256))
        await self.foreign(lambda: self.converse(stomp.Connection12, body, auto_decode=False))

    async def test_wrong_passcode(self) -> None:
        def work() -> None:
            with self.assertRaises(stomp.exception.ConnectFailedException):
                self.connect(stomp.Connection12, "wrong", reconnect_attempts_max=1)

        await self.foreign(work)

    async def test_acknowledgements(self) -> None:
        def work() -> None:
            connection, heard = self.connect(stomp.Connection12)
            connection.subscribe("/topic/a", id="1", ack="client-individual")
            connection.send("/topic/a", "x")
            frame = heard.message()
            connection.ack(frame.headers["ack"], receipt="ack")
            heard.until("receipt", "ack")
            connection.nack(frame.headers["ack"], receipt="nack")
            heard.until("receipt", "nack")
            connection.disconnect()

        await self.foreign(work)

    async def test_heartbeats(self) -> None:
        """stomp.py gives up a broker that does not beat, and this one gives up clients."""

        def work() -> None:
            connection, heard = self.connect(stomp.Connection12, heartbeats=(200, 200))
            for _ in range(10):
                heard.until("heartbeat", "")
            self.assertTrue(connection.is_connected())
            connection.disconnect()

        await self.foreign(work)

    async def test_with_our_client(self) -> None:
        """Both ways between stomp.py and the client service."""
        service = StompService(reactor, [self.broker])
        service.startService()
        self.addCleanup(service.stopService)
        await service.first_connection()
        inbox = MessageCollector()
        await service.subscribe("/topic/ours", inbox)
        told: queue.Queue[str] = queue.Queue()

        def work() -> None:
            connection, heard = self.connect(stomp.Connection12)
            connection.subscribe("/topic/theirs", id="1", receipt="r")
            heard.until("receipt", "r")
            connection.send("/topic/ours", "grüße")
            told.put(as_text(heard.message().body))
            connection.disconnect()

        working = deferToThread(work)
        self.assertEqual(await inbox.bodies(1), ["grüße".encode()])
        await service.send("/topic/theirs", "世界".encode())
        await working
        self.assertEqual(told.get_nowait(), "世界")


class Heard(stomp.ConnectionListener):  # type: ignore[misc]
    """What a connection of stomp.py hears, to be waited for by its thread."""

    def __init__(self) -> None:
        self.messages: queue.Queue[Any] = queue.Queue()
        self.others: queue.Queue[tuple[str, str]] = queue.Queue()

    def on_message(self, frame: Any) -> None:
        self.messages.put(frame)

    def on_receipt(self, frame: Any) -> None:
        self.others.put(("receipt", frame.headers["receipt-id"]))

    def on_heartbeat(self) -> None:
        self.others.put(("heartbeat", ""))

    def message(self) -> Any:
        return self.messages.get(timeout=10)

    def until(self, kind: str, what: str) -> None:
        while self.others.get(timeout=10) != (kind, what):
            pass


def as_text(body: str | bytes) -> str:
    return body if isinstance(body, str) else body.decode()
