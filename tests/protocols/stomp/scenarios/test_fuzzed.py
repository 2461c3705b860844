"""Bytes that are nearly STOMP, to both ends of a connection, in any pieces.

Each end has BBS_TEST_FRAMES of them, made of what the attacks send to real servers. Whatever comes,
an end goes on or closes, logs no failure, keeps nothing, and is done within a bounded time. None of
it is read by code of `stomper` or of its dependency `future`.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import stomper
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import bbs
from bbs.protocols.stomp import Broker
from bbs.protocols.stomp.broker import BrokerLimits, Credential, EmbeddedBroker
from bbs.protocols.stomp.connection import IConnectionOwner, StompConnection
from bbs.protocols.stomp.frames import Frame
from lab.attacks import dialects
from lab.attacks.lying import nearly_a_frame
from lab.attacks.mutations import cut_up

INPUTS = int(os.environ.get("BBS_TEST_FRAMES", "3000"))

SLOWEST = 0.002
"""Seconds of the processor for one input, on average. It takes 0.1 ms."""

TRACED = 2000
"""Inputs in which memory is traced: that takes several times as long."""

HELD = 100 * TRACED
"""Bytes more than before that may be held at the end. It is some 200, however many inputs came, and
43 for each where what a test logs waits to be sent on by trial's worker; a frame has hundreds."""

CREDENTIAL = ("bbs", "sesame")

OWN = f"{Path(bbs.__file__).parent}{os.sep}protocols{os.sep}*"

SITE = Path(stomper.__file__).parents[1]
PACKAGES = tuple(f"{SITE / each}{os.sep}" for each in ("stomper", "future", "past"))


class Line(StringTransport):
    """A transport that nobody reads, and that has no memory of what was written."""

    over = False
    setTcpNoDelay = setTcpKeepAlive = lambda self, enabled: None

    def write(self, data: bytes) -> None: ...

    def loseConnection(self) -> None:
        self.over = True

    abortConnection = loseConnection


@implementer(IConnectionOwner)
class Owner:
    """Counts what arrives at a client."""

    count = 0

    def message_received(self, frame: Frame) -> None:
        self.count += 1


class Fuzzed(SynchronousTestCase):
    def setUp(self) -> None:
        self.random = random.Random(int(os.environ.get("BBS_TEST_FRAMES_SEED", "1")))
        self.clock = Clock()

    def send(self, connect: Callable[[], Any], inputs: Iterator[bytes], number: int) -> None:
        """Send so many inputs, over one connection after the other."""
        protocol = None
        for _ in range(number):
            if protocol is None:
                protocol = connect()
            data = next(inputs)
            for piece in [data] if self.random.random() < 0.7 else cut_up(self.random, data):
                protocol.dataReceived(piece)
            if protocol.transport.over or self.random.random() < 0.01:
                protocol.connectionLost(Failure(ConnectionDone()))
                protocol = None
            self.clock.advance(0.001)
        if protocol is not None:
            protocol.connectionLost(Failure(ConnectionDone()))
        self.clock.advance(100.0)

    def check(self, connect: Callable[[], Any], inputs: Iterator[bytes]) -> None:
        self.send(connect, inputs, TRACED // 2)  # What is made at first use is there by then.
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.send(connect, inputs, TRACED)
        gc.collect()
        _, most = tracemalloc.get_traced_memory()
        # What a test logs is kept as well, where workers send it on when they have time.
        own = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, OWN)])
        held = sum(trace.size for trace in own.traces)
        tracemalloc.stop()
        began = time.process_time()
        self.send(connect, inputs, INPUTS)
        took = (time.process_time() - began) / INPUTS
        print(f"{1e6 * took:.0f} µs an input, {held} bytes held, {most} at most")
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertLess(took, SLOWEST)
        self.assertLess(held, HELD)

    def broker(self) -> tuple[Callable[[], Any], Iterator[bytes]]:
        limits = BrokerLimits(max_frame=10_000, max_buffer=20_000)
        factory = EmbeddedBroker(Credential(*CREDENTIAL), self.clock, limits)
        dialect = dialects.stomp(*CREDENTIAL)

        def connect() -> Any:
            self.assertEqual((factory.connections, dict(factory.topics)), (0, {}))
            protocol: Any = factory.buildProtocol(None)
            protocol.makeConnection(Line())
            protocol.dataReceived(dialect.opening(self.random))
            return protocol

        return connect, iter(lambda: dialect.input(self.random), None)

    def client(self) -> tuple[Callable[[], Any], Iterator[bytes]]:
        owner = Owner()

        def connect() -> Any:
            protocol = StompConnection(
                self.clock, Broker("127.0.0.1", 1), owner, heartbeat=10.0, max_frame=10_000
            )
            protocol.accepted.addErrback(lambda failure: None)
            protocol.makeConnection(Line())  # type: ignore[arg-type]
            protocol.dataReceived(b"CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0")
            before = owner.count
            protocol.dataReceived(
                b"MESSAGE\nsubscription:1\nmessage-id:1\ndestination:/topic/a\n\n\0"
            )
            self.assertEqual(owner.count, before + 1)
            return protocol

        return connect, iter(lambda: nearly_a_frame(self.random, [("1", "/topic/a")]), None)

    def test_the_brokers_end(self) -> None:
        self.check(*self.broker())

    def test_the_clients_end(self) -> None:
        self.check(*self.client())

    def test_what_of_stomper_a_peer_reaches(self) -> None:
        """It lays out the heads of frames that an end writes, and nothing else."""
        reached: set[str] = set()

        def note(frame: FrameType, event: str, argument: object) -> None:
            code = frame.f_code
            if event == "call" and code.co_filename.startswith(PACKAGES):
                reached.add(f"{Path(code.co_filename).name}: {code.co_qualname}")

        for ends in (self.broker(), self.client()):
            sys.setprofile(note)
            try:
                self.send(*ends, 500)
            finally:
                sys.setprofile(None)
        layout = {"__init__", "setCmd", "pack", "pack.<locals>.<listcomp>"}
        self.assertEqual(reached - {f"stomp_11.py: Frame.{each}" for each in layout}, set())
        self.assertIn("stomp_11.py: Frame.pack", reached)
