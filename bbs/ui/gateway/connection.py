"""The gateway's connections: their limits, their end, and the factory that makes them.

All people of a gateway use one service, so their clients share one catalog of its commands. When a
person's terminal takes no more output, nothing is read from the servers either: messages then wait
in the database, not in the gateway's memory. None is lost, as a listener that a server dropped
meanwhile goes on after the last message it showed.

A `RunQueue` gives turns to the handling of input. A visit has no session before its first line,
and before its terminal has said what it is. Many never have more, and the garbage collector stops
everybody to look through what there is: 0.15 s at a time for 3,000 sessions with all their parts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.client.client import ServiceClient
from bbs.client.connection import endpoint_to
from bbs.client.errors import NotSecure, NotTrusted, TurnedAway
from bbs.client.replies import ChatMessage, Origin, ServiceReply
from bbs.core.addresses import Address
from bbs.core.errors import TooManyConnections, Unavailable
from bbs.limits.connections import Door, Entry
from bbs.protocols import connection_state
from bbs.protocols.connection_state import ConnectionState, IAbortable, IStreamTransport, host_of
from bbs.protocols.line.interfaces import LineLimits
from bbs.ui.gateway.editor import EditKey
from bbs.ui.gateway.interfaces import ITerminal, IWire
from bbs.ui.gateway.session import GatewayContext, GatewaySession, Host


@dataclass(eq=False, repr=False)
class Backpressure:
    """Makes the endpoints of one client, and can pause all connections through them."""

    _endpoint: Callable[[Address], IStreamClientEndpoint]
    _connected: list[IProtocol] = field(default_factory=list)
    paused: bool = False

    def endpoint(self, address: Address) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = _PausableEndpoint(self, self._endpoint(address))
        return endpoint

    def pause(self) -> None:
        self.paused = True
        for stream in self._streams():
            stream.pauseProducing()

    def resume(self) -> None:
        self.paused = False
        for stream in self._streams():
            stream.resumeProducing()

    def connected(self, protocol: IProtocol) -> IProtocol:
        self._connected = [each for each in self._connected if _stream(each)]
        self._connected.append(protocol)
        if self.paused:
            self.pause()
        return protocol

    def _streams(self) -> Iterator[IStreamTransport]:
        return filter(None, map(_stream, self._connected))


def _stream(protocol: IProtocol) -> IStreamTransport | None:
    """The transport of a protocol; None after it was disconnected."""
    stream: IStreamTransport | None = getattr(protocol, "transport", None)
    return stream


@implementer(IStreamClientEndpoint)
@dataclass(frozen=True)
class _PausableEndpoint:
    backpressure: Backpressure
    endpoint: IStreamClientEndpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        connecting: Deferred[IProtocol] = self.endpoint.connect(protocolFactory)
        return connecting.addCallback(self.backpressure.connected)


GREETING_PAUSE = 0.2
"""Seconds before the greeting, in which some terminals say what they are."""

SETTLING_DEADLINE = 1.0
"""Seconds at most that the first line waits for a terminal that sends keys to say whether they are
echoed here, and passwords hidden."""

PIECE = 64
"""Bytes of input handled at a time: each may be a key, and its output a list or a long row."""

MOST_EARLY = 64
"""Pieces of input that may wait for a terminal to settle before no more is read."""


@dataclass(frozen=True)
class Terminals:
    """The terminals of a face: how each is made.

    :param make: makes the terminal of a connection, when something of `shows` has come.
    :param shows: where the far end shows what it is: by default at the end of its first line.
    :param prepare: called with each new connection.
    """

    make: Callable[[IWire], ITerminal]
    shows: re.Pattern[bytes] = re.compile(rb"[\r\n]")
    prepare: Callable[[ITransport], object] = lambda transport: None


@implementer(IAbortable, IWire, IHalfCloseableProtocol, IPushProducer)
class GatewayConnection(Protocol):
    """One person's connection, from `host`, which reports its end to `factory`. `on_asked` is
    called once, at the first line that is not blank."""

    _terminal: ITerminal | None = None
    _session: GatewaySession | None = None
    _backpressure: Backpressure | None = None
    _greeting: IDelayedCall | None = None
    _settling: IDelayedCall | None = None
    _idle: IDelayedCall | None = None
    _early: Sequence[bytes | EditKey] = ()  # what came before there was a session
    _unread = b""
    _prompt: str | None = None  # in the last row of who was greeted, and has no session
    _is_queued = _is_urgent = False
    _is_leftover = False  # the person is gone, and whole lines of its input have to be handled

    def __init__(self, factory: GatewayFactory, host: str) -> None:
        self.on_asked: Callable[[], None] | None = None
        self._factory = factory
        self._context, self._limits = factory.context, factory.limits
        self._clock = factory.reactor
        self._host = host
        self._state = ConnectionState(self._clock, self._limits.write_timeout)
        self._stream: connection_state.IStreamTransport

    def end(self, words: str) -> None:
        if self._session is not None:
            return self._session.end(words)
        begun = "\n" if self._prompt else ""
        self._say(f"{begun}{words}\n")
        self.close()

    def make_room(self, words: str) -> None:
        """End an unused connection, whose place is needed, as soon as the words are sent."""
        self._is_urgent = True
        self.end(words)

    def abort(self) -> None:
        self._state.abort()

    # IWire

    def write(self, data: bytes) -> None:
        if not self._state.phase.closed:
            self._stream.write(data)

    def close(self) -> None:
        self._stop_timers()
        self._unread = b""
        if self._is_urgent:
            self._state.leave()
        else:
            self._state.close()

    def unread(self) -> bytes:
        return self._unread

    def has_asked(self) -> None:
        on_asked, self.on_asked = self.on_asked, None
        if on_asked is not None:
            on_asked()

    # IProtocol

    def connectionMade(self) -> None:
        transport = cast("ITransport", self.transport)
        self._stream = self._state.begin(transport, cast("IPushProducer", self))
        self._factory.terminals.prepare(transport)
        self._start_idle_timer()
        self._greeting = self._later(GREETING_PAUSE, self._greet)

    def dataReceived(self, data: bytes) -> None:
        if self._state.phase.closed:
            return
        self._unread += data
        if self._terminal is None and self._lacks_line(data):
            self._typed()
        else:
            self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state.lost()
        self._stop_timers()
        if self._session is None:
            self._unread = b""
            self._factory.gone(self)
        else:
            # Whole lines that were read are carried out, though their turn had not come.
            sends_keys = self._terminal is not None and self._terminal.sends_keys
            ends = (b"\n", b"\r") if sends_keys else (b"\n",)
            self._unread = self._unread[: 1 + max(map(self._unread.rfind, ends))]
            self._is_leftover = bool(self._unread)
            if self._backpressure is not None and self._backpressure.paused:
                self._backpressure.resume()  # Lines that were entered still need their replies.
            self._session.hang_up(self._is_leftover).addCallback(self._closed)
            self._go_on()

    # IHalfCloseableProtocol

    def readConnectionLost(self) -> None:
        self._state.input_ended()
        if not self._state.phase.closed:
            self._go_on()

    def writeConnectionLost(self) -> None:
        self._state.output_ended(self.abort)

    # IPushProducer, for the transport's output

    def pauseProducing(self) -> None:
        if self._state.block():
            if self._backpressure is not None:
                self._backpressure.pause()
            if self._session is not None:
                self._session.hold(True)
            self._update_reading()

    def resumeProducing(self) -> None:
        if self._state.unblock():
            if self._backpressure is not None:
                self._backpressure.resume()
            if self._session is not None:
                self._session.hold(False)
            self._go_on()

    def stopProducing(self) -> None:
        """Do nothing: connectionLost follows."""

    def _closed(self, _: None) -> None:
        self._unread, self._is_leftover = b"", False
        if self._session is not None:
            self._session.forget()
        self._session = self._backpressure = self._terminal = None
        self._factory.gone(self)

    def _greet(self) -> None:
        """Send the greeting; who has not sent a line gets the prompt too."""
        _cancel(self._greeting)
        self._greeting = None
        if self._prompt is None and not self._state.phase.closed:
            self._prompt = self._context.prompt if self._terminal is None else ""
            self._say(f"{self._context.greeting}\n{self._prompt}")

    def _say(self, text: str) -> None:
        """Send text to somebody without a session."""
        if self._terminal is None:
            self.write(text.encode())
        else:
            self._terminal.write(text)

    def _heard(self, terminal: ITerminal, tokens: Iterable[bytes | EditKey]) -> None:
        """Keep what comes before there is a session, and begin one once the terminal settles."""
        came = [*tokens]
        self._early = [*self._early, *came]
        self._greet()
        if any(isinstance(each, bytes) for each in came):
            self._typed()
        if terminal.refused:
            self.end(terminal.refused)
        elif terminal.settled:
            self._begin_session()
        elif terminal.sends_keys and self._settling is None:
            self._settling = self._later(SETTLING_DEADLINE, self._begin_session)

    def _begin_session(self) -> None:
        terminal = self._terminal
        if self._session is not None or terminal is None or self._state.phase.closed:
            return
        wire = cast("IWire", self)
        session = GatewaySession(self._context, self._host, wire, terminal, self._connect)
        self._session = session
        _cancel(self._settling)
        self._settling = None
        session.lines.on_room = self._go_on
        session.hold(self._state.blocked)
        self._greet()
        early, self._early = self._early, ()
        session.begin(self._prompt or "", early)
        self._go_on()

    def _connect(self) -> ServiceClient:
        """Make the person's client."""
        self._backpressure = backpressure = self._factory.backpressure()
        if self._state.blocked:
            backpressure.pause()
        return self._factory.client(self._host, backpressure)

    def _later(self, delay: float, work: Callable[[], None]) -> IDelayedCall:
        """Do work in a turn after a delay: a crowd that comes together has its timers together."""
        return self._clock.callLater(delay, self._context.queue.add, self._host, work)

    def _start_idle_timer(self) -> None:
        self._idle = self._later(self._limits.idle_timeout, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if self._state.phase.closed:
            return
        if self._session is None or self._session.is_idle:
            self.end(f"Nothing was typed for {self._limits.idle_timeout:g} s. Bye!")
        else:
            self._start_idle_timer()

    def _typed(self) -> None:
        if self._idle is not None and self._idle.active():
            self._idle.reset(self._limits.idle_timeout)

    def _lacks_line(self, data: bytes) -> bool:
        """Whether nothing is known of the far end after these bytes, either."""
        too_long = len(self._unread) > self._limits.max_line
        return not too_long and self._factory.terminals.shows.search(data) is None

    def _go_on(self) -> None:
        """Ask for a turn if there is input, and room for its output; read on, or stop reading."""
        has_input = self._unread or self._state.input.ended
        if has_input and self._has_room and not self._is_queued:
            self._is_queued = True
            self._context.queue.add(self._host, self._take_turn)
        self._update_reading()

    def _take_turn(self) -> None:
        """Handle a piece of input. The next one waits for others."""
        self._is_queued = False
        if self._state.phase.closed and not self._is_leftover:
            return
        if self._terminal is None:
            self._terminal = self._factory.terminals.make(cast("IWire", self))
        terminal = self._terminal
        if self._unread and self._has_room:
            piece, self._unread = self._unread[:PIECE], self._unread[PIECE:]
            tokens = terminal.receive(piece)
            if self._session is None:
                self._heard(terminal, tokens)
            elif self._session.received(tokens):
                self._typed()
        if self._is_leftover and not self._unread:
            self._is_leftover = False
            if self._session is not None:
                self._session.lines.end()
        elif self._is_leftover:
            self._go_on()
        elif self._state.input.ended and not self._unread:
            self._begin_session()
            if self._session is not None:
                self._session.input_ended()
        elif not self._state.phase.closed:
            self._go_on()

    @property
    def _has_room(self) -> bool:
        state, session = self._state, self._session
        # Without a session only the terminal's answer is awaited; a long first line ends that.
        waits = self._settling is not None and len(self._early) >= MOST_EARLY
        is_full = waits if session is None else session.lines.is_full
        if self._is_leftover:
            return session is not None and not is_full
        return not (state.blocked or state.phase.closed or is_full)

    def _update_reading(self) -> None:
        # Seldom more than a piece waits for its turn, and pausing costs two system calls.
        if self._has_room and len(self._unread) <= PIECE:
            self._state.read_on()
        else:
            self._state.stop_reading()

    def _stop_timers(self) -> None:
        for timer in (self._idle, self._greeting, self._settling):
            _cancel(timer)
        self._idle = self._greeting = self._settling = None


def _cancel(timer: IDelayedCall | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()


STOPPING = "The gateway stops. Bye!"

DESCRIPTORS = 4
"""Descriptors of a session: for the person, for requests to two servers, and for listening."""

MOST_BYTES = 4 * 1024 * 1024
"""Bytes of one reply with all its parts: many people share the memory here."""

_TOO_MANY = TooManyConnections().message


class GatewayClient(ServiceClient):
    """A client of the service for one person at the gateway."""

    _log = Logger()

    def request(self, line: str, *, whole: bool = True) -> Deferred[ServiceReply]:
        """Send a request. `NotTrusted` and `NotSecure` are for the operator: they are logged, and
        the reply is that the service is not available."""
        asking = ServiceClient.request(self, line, whole=whole)
        return asking.addErrback(self._not_trusted)

    def listen(
        self, user: str, on_message: Callable[[str, ChatMessage], None], *, after: int | None = None
    ) -> Deferred[None]:
        """Listen for a user; log that an app server has no room for the gateway."""
        listening = ServiceClient.listen(self, user, on_message, after=after)
        return listening.addErrback(self._turned_away)

    def _turned_away(self, failure: Failure) -> Failure:
        problem = failure.value
        if isinstance(problem, TurnedAway) and problem.reply.code == TooManyConnections.code:
            self._log.warn(
                "{server} turns this gateway away, as its people are one address to it: its"
                " limits.trusted or connections_per_address should be others (docs/telnet.md,"
                " Limits)",
                server=problem.server,
            )
        return failure

    def _not_trusted(self, failure: Failure) -> ServiceReply:
        if failure.trap(NotTrusted, NotSecure) is NotTrusted:
            self._log.critical("telnet.secret is wrong: {problem}", problem=str(failure.value))
        else:
            self._log.critical("no TLS to the service: {problem}", problem=str(failure.value))
        unavailable = Unavailable()
        return ServiceReply({"status": 1, "message": unavailable.message, "code": unavailable.code})


@dataclass(eq=False, repr=False)
class GatewayFactory(Factory):
    """The factory of a gateway's connections.

    With `secret` the login server at `server` trusts this gateway to say whose requests it passes
    on; if it is empty, the gateway does not say. `endpoint` makes the endpoints of clients, by
    default for plain TCP. Each connection has one of the `terminals`. `door` limits who may
    connect. `wall` is the clock for people's days.
    """

    noisy = False

    reactor: IReactorTime
    host: Host
    server: Address
    secret: str
    limits: LineLimits
    terminals: Terminals
    endpoint: Callable[[Address], IStreamClientEndpoint] | None = None
    door: Door | None = None
    wall: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self.context = GatewayContext(self.reactor, self.host, self.limits.max_line, self.wall)
        self._connections: dict[GatewayConnection, Entry | None] = {}
        self._turned_away: set[connection_state.RejectedConnection] = set()
        self._stopping = False
        self._departure = connection_state.ConnectionShutdown(self.reactor, self._connections)

    def buildProtocol(  # type: ignore[override]
        self, addr: IAddress | None
    ) -> GatewayConnection | connection_state.RejectedConnection | None:
        """A connection, or one that says that there are too many; None if not even that fits."""
        if self._stopping:
            return None
        host = host_of(addr)
        entry = self.door.enter(host, DESCRIPTORS) if self.door else None
        if self.door and entry is None:
            if self.door.is_jammed:
                return None
            words = f"{_TOO_MANY}\n".encode()
            return connection_state.RejectedConnection(self.reactor, words, self._turned_away)
        connection = GatewayConnection(self, host)
        self._connections[connection] = entry
        if entry is not None:
            entry.watch(lambda: connection.make_room(_TOO_MANY))
            connection.on_asked = entry.has_asked
        return connection

    def backpressure(self) -> Backpressure:
        return Backpressure(self.endpoint or partial(endpoint_to, self.reactor))

    def client(self, host: str, backpressure: Backpressure) -> GatewayClient:
        """A client for somebody at `host`, which connects through `backpressure`."""
        return GatewayClient(
            self.reactor,
            self.server,
            backpressure.endpoint,
            origin=Origin(host, self.secret) if self.secret and host else None,
            vocabulary=self.context.vocabulary,
            most=MOST_BYTES,
        )

    def close_all(self, grace: float) -> Deferred[None]:
        """End all connections, abort them after `grace` seconds, and refuse new ones. Fires when
        all are gone."""
        self._stopping = True
        for turned_away in list(self._turned_away):
            turned_away.abort()
        for connection in list(self._connections):
            connection.end(STOPPING)
        return self._departure.wait(grace)

    def gone(self, connection: GatewayConnection) -> None:
        """Forget a connection that is closed completely."""
        entry = self._connections.pop(connection)
        if entry is not None:
            entry.leave()
        if not self._connections:
            self._departure.all_gone()
