"""A request handler and transports for the tests of the line protocol."""

import json
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from bbs.core.errors import Refusal
from bbs.core.values import IDoor
from bbs.protocols.line import IConnection, IRequestHandler, LineFactory, LineLimits, Reply
from bbs.protocols.line.connection import refusal

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as Base
else:
    Base = object


def echo(line: str) -> dict[str, object]:
    return {"status": 0, "line": line}


@implementer(IRequestHandler)
class Echo:
    """Answers each line with itself, at once; says what it was told. Nothing can be added to a
    line that ends with an exclamation mark."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.lost: list[IConnection] = []
        self.reply: Callable[[str], Reply] = lambda line: Reply(echo(line))

    def handle(self, line: str, connection: IConnection) -> Reply | Deferred[Reply]:
        self.seen.append(line)
        return succeed(self.reply(line))

    def refuse(self, error: Refusal, connection: IConnection) -> Reply:
        return refusal(error)

    def is_whole(self, line: str) -> bool:
        return line.endswith("!")

    def connection_lost(self, connection: IConnection) -> None:
        self.lost.append(connection)


@implementer(IRequestHandler)
class AtOnce(Echo):
    """Makes no Deferred of its answers."""

    def handle(self, line: str, connection: IConnection) -> Reply:
        self.seen.append(line)
        return self.reply(line)


@implementer(IRequestHandler)
class Slow(Echo):
    """Answers nothing before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Deferred[Reply]] = []
        self.cancelled: list[str] = []

    def handle(self, line: str, connection: IConnection) -> Deferred[Reply]:
        self.seen.append(line)
        self.waiting.append(Deferred(lambda _: self.cancelled.append(line)))
        return self.waiting[-1]

    def answer(self) -> None:
        """Answer the request that has waited longest."""
        self.waiting.pop(0).callback(self.reply(self.seen[-1]))


class Wire(StringTransport):
    """A transport that can be full, as the peer's side of a test sees it."""

    producer: Any

    def fill(self) -> None:
        self.producer.pauseProducing()

    def drain(self) -> None:
        self.producer.resumeProducing()

    @property
    def reading(self) -> bool:
        return self.producerState == "producing"

    def replies(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.value().splitlines()]


class WireSocket(socket.socket):
    """The socket of a transport in memory. It opens none. It keeps the options that are set, and
    says that the peer has acknowledged as many bytes as a test wants."""

    def __init__(self) -> None:
        self.options: dict[int, int] = {}
        self.acknowledged = 0

    def setsockopt(self, level: int, option: int, *value: Any) -> None:
        (self.options[option],) = value

    def getsockopt(self, *option: Any) -> Any:
        return struct.pack("=120xQ", self.acknowledged)  # struct tcp_info of <linux/tcp.h>


@implementer(ITCPTransport)
class SocketWire(Wire):
    """A Wire that closes as a TCP connection does: one side at a time."""

    write_closed = False
    no_delay = keep_alive = False

    def __init__(self, *addresses: Any, has_socket: bool = True) -> None:
        super().__init__(*addresses)
        self.socket = WireSocket() if has_socket else None

    def getHandle(self) -> WireSocket | None:
        return self.socket

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def getTcpNoDelay(self) -> bool:
        return self.no_delay

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.keep_alive = enabled

    def getTcpKeepAlive(self) -> bool:
        return self.keep_alive

    def loseWriteConnection(self) -> None:
        self.write_closed = True


class LineCase(Base):
    """Mixed into a test case: one connection to a handler, on a clock."""

    limits = LineLimits()
    door: IDoor | None = None
    wire_class: type[Wire] = Wire
    handler_class: type[Echo] = Echo
    # Whatever a test puts in their place.
    handler: Any
    wire: Any
    connection: Any

    def connect(self, handler: Echo | None = None) -> Any:
        self.clock = Clock()
        self.handler = handler or self.handler_class()
        self.factory = LineFactory(self.clock, self.handler, self.limits, self.door)
        return self.another()

    def another(self) -> Any:
        self.wire = self.wire_class()
        self.connection = self.factory.buildProtocol(self.wire.getPeer())
        self.connection.makeConnection(self.wire)
        return self.connection

    def receive(self, data: bytes) -> None:
        self.connection.dataReceived(data)

    def silence(self) -> None:
        self.clock.advance(self.limits.unterminated_timeout)

    def answered(self) -> list[object]:
        """The lines echoed so far, or messages of failures."""
        return [reply.get("line", reply.get("message")) for reply in self.wire.replies()]
