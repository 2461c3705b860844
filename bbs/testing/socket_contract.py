"""The suite of `broker_contract.py` for whatever speaks STOMP on a port.

    class ActiveMQContract(SocketContract, TestCase):
        broker = Broker.from_url("stomp://user:password@127.0.0.1:61613")

Clients reach the broker through a gate, which can be shut and jammed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from bbs.protocols.stomp import Broker, IStomp, StompRefused, StompService
from bbs.protocols.stomp.frames import HEARTBEAT
from bbs.testing.broker_contract import BrokerContract, going


def _reactor() -> Any:
    """The one that runs; which one may not have been chosen when this module is imported."""
    from twisted.internet import reactor

    return reactor


class SocketContract(BrokerContract):
    """What every broker does that speaks STOMP on a port: mix it into a
    `twisted.trial.unittest.TestCase` that has `broker` when `setUp` is called."""

    broker: Broker
    """Where it is, and how to log in."""

    def setUp(self) -> None:
        """Open the gate before the broker."""
        self.services: list[StompService] = []
        self.gate = Gate(self.broker.host, self.broker.port)
        self.gate.open()
        self.addCleanup(lambda: Deferred.fromCoroutine(self._clean_up()))

    async def _clean_up(self) -> None:
        for service in self.services:
            await service.stopService()
        await self.gate.shut()

    def service(self, **changes: Any) -> StompService:
        """A client that has been started, through the gate; `changes` are to the broker."""
        broker = replace(self.broker, host="127.0.0.1", port=self.gate.port, **changes)
        service = StompService(_reactor(), [broker], heartbeat=0.2)
        self.services.append(service)
        service.startService()
        return service

    async def client(self) -> IStomp:
        """A new client, connected through the gate."""
        service = self.service()
        await service.first_connection()
        return service

    async def away(self) -> None:
        """Shut the gate."""
        told = [going(service) for service in self.services]
        await self.gate.shut()
        for lost in told:
            await lost

    async def back(self) -> None:
        """Open it again."""
        self.gate.open()

    async def test_refused_credential(self) -> None:
        """A credential that is refused is said to be, and not shown."""
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
        """Both sides beat, and neither is cut off for its silence."""
        service = self.service()
        await service.first_connection()
        await self.gate.beats_both_ways(6)
        self.assertTrue(service.connected)
        self.assertEqual(self.gate.connections, 1)

    async def test_silent_broker(self) -> None:
        """A broker of which nothing comes any more is given up."""
        lost = going(await self.client())
        self.gate.jam(inwards=False)
        await lost
        self.assertIn("heart-beat stopped", str(self.services[0].last_error))

    async def test_silent_client(self) -> None:
        """A client of which nothing comes any more is cut off."""
        lost = going(await self.client())
        self.gate.jam(inwards=True)
        await lost
        self.assertNotIn("heart-beat stopped", str(self.services[0].last_error))


class Gate:
    """A port of our own that leads to another, and that can be shut."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.connections = 0
        self.halves: set[_Half] = set()
        self.beats = {True: 0, False: 0}
        self.jammed: bool | None = None
        self._target = TCP4ClientEndpoint(_reactor(), host, port)
        self._listening: Any = None
        self._beat: Deferred[None] = Deferred()
        self._empty: Deferred[None] = Deferred()

    def open(self) -> None:
        """Listen, and let everything through."""
        self.jammed = None
        factory = Factory.forProtocol(lambda: _Half(self, inwards=True))
        factory.noisy = False
        self._listening = _reactor().listenTCP(self.port, factory, interface="127.0.0.1")
        self.port = self._listening.getHost().port

    async def shut(self) -> None:
        """Close the port and every connection; fires when they are closed."""
        if self._listening is not None:
            await self._listening.stopListening()
            self._listening = None
        while self.halves:
            for half in tuple(self.halves):
                half.transport.abortConnection()
            await self._empty

    def jam(self, inwards: bool) -> None:
        """Let nothing more through in that direction, and close nothing."""
        self.jammed = inwards

    async def connect(self, inwards: _Half) -> None:
        """Lead `inwards` on to the broker."""
        self.connections += 1
        inwards.transport.pauseProducing()
        outwards = _Half(self, inwards=False)
        factory = Factory.forProtocol(lambda: outwards)
        factory.noisy = False
        await self._target.connect(factory)
        inwards.peer, outwards.peer = outwards, inwards
        inwards.transport.resumeProducing()

    async def beats_both_ways(self, number: int) -> None:
        """Fires when so many heart-beats have passed each way."""
        while min(self.beats.values()) < number:
            await self._beat

    def seen(self, data: bytes, inwards: bool) -> None:
        """Count what passes, if it is a heart-beat."""
        if data.strip(HEARTBEAT) == b"":
            self.beats[inwards] += 1
            beat, self._beat = self._beat, Deferred()
            beat.callback(None)

    def gone(self, half: _Half) -> None:
        """One of its connections was closed."""
        self.halves.discard(half)
        if not self.halves:
            empty, self._empty = self._empty, Deferred()
            empty.callback(None)


class _Half(Protocol):
    """One of the two connections behind a gate that belong together."""

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
