"""The embedded STOMP broker: topics in memory, for the default that needs no installation.

`EmbeddedBroker` is the factory and holds the topics, `BrokerService` listens with it:

    factory = EmbeddedBroker(Credential("bbs", secrets.token_urlsafe()), reactor)
    service = BrokerService(reactor, "tcp:0:interface=127.0.0.1", factory)
    service.startService()
    url = await service.when_listening()

The broker serves any client of STOMP 1.0, 1.1 or 1.2 that knows the credential, and stores nothing:
a message reaches those who are subscribed when it is sent. Each kind of excess ends only the
connection in question: a subscriber that reads too slowly, a frame that is too large, a login that
does not come, a heart-beat that stops.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import cast
from urllib.parse import quote

from twisted.application.service import Service
from twisted.internet import interfaces
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.core import audit
from bbs.core.errors import TooManyConnections
from bbs.core.values import IDoor
from bbs.protocols.connection_state import OpenDoor, RejectedConnection, host_of
from bbs.protocols.stomp.client import Waiters
from bbs.protocols.stomp.frames import COPY, VERSIONS, Frame, FrameError, encode, writable
from bbs.protocols.stomp.interfaces import check_destination
from bbs.protocols.stomp.peer import StompPeer, heartbeat_intervals, heartbeat_ms

# Headers of a MESSAGE frame that the broker writes itself, or hides from subscribers.
_OWN_HEADERS = frozenset(
    ["destination", "content-length", "subscription", "message-id", "ack", "receipt", "transaction"]
)


_PLAIN = re.compile(r"[A-Za-z0-9.-]+")  # No version escapes anything here.


def _copy_line(headers: Mapping[str, str]) -> bytes | None:
    """The line for the header `COPY`, if that is the only one of the sender's own and plain."""
    name = headers.get(COPY, "")
    if not _PLAIN.fullmatch(name) or headers.keys() - _OWN_HEADERS != {COPY}:
        return None
    return f"\n{COPY}:{name}".encode()


class Subscriber:
    """One connection's subscription `ident` to `destination`, in STOMP `version`.

    `deliver` gets the subscriber, a message's id, the headers of its sender, and the body. Raises
    FrameError if `ident` cannot be written in `version`.
    """

    def __init__(
        self, deliver: Deliver, ident: str, destination: str, *, acknowledges: bool, version: str
    ) -> None:
        self.deliver = deliver
        self.destination = destination
        self._ident = ident
        # Before 1.2 clients acknowledge by the message-id.
        self._needs_ack = acknowledges and version == "1.2"
        self._version = version
        # These parts are the same in all messages without headers of the sender's own, which are
        # nearly all. Headers are in the order of their names.
        empty = encode(Frame("MESSAGE", {"subscription": ident}), version)
        self._destination_line = f"\ndestination:{destination}\nmessage-id:".encode()
        self._subscription_line = empty.removeprefix(b"MESSAGE").removesuffix(b"\0\n")

    def message(self, message_id: int, headers: Mapping[str, str], body: bytes) -> bytes:
        """The frame of a message for this subscriber."""
        copy = b"" if _OWN_HEADERS.issuperset(headers) else _copy_line(headers)
        if self._needs_ack or copy is None:
            return self._full_message(str(message_id), headers, body)
        topic, subscription = self._destination_line, self._subscription_line
        frame = b"MESSAGE\ncontent-length:%d%b%b%d%b%b\0\n"
        return frame % (len(body), copy, topic, message_id, subscription, body)

    def _full_message(self, message_id: str, headers: Mapping[str, str], body: bytes) -> bytes:
        own = {
            "subscription": self._ident,
            "message-id": message_id,
            "destination": self.destination,
            "content-length": str(len(body)),
        }
        if self._needs_ack:
            own["ack"] = message_id
        users = {name: value for name, value in headers.items() if name not in _OWN_HEADERS}
        frame = Frame("MESSAGE", {**writable(users, self._version), **own}, body)
        return encode(frame, self._version)


Deliver = Callable[[Subscriber, int, Mapping[str, str], bytes], None]


class Topics(dict[str, dict[Subscriber, None]]):
    """The subscribers by topic; a topic exists while it has subscribers."""

    def __init__(self) -> None:
        super().__init__()
        self._message_ids = count(1)

    def add(self, subscriber: Subscriber) -> None:
        self.setdefault(subscriber.destination, {})[subscriber] = None

    def remove(self, subscriber: Subscriber) -> None:
        subscribers = self[subscriber.destination]
        del subscribers[subscriber]
        if not subscribers:
            del self[subscriber.destination]

    def deliver(self, destination: str, headers: Mapping[str, str], body: bytes) -> None:
        """Hand a message to the present subscribers of `destination`."""
        message_id = next(self._message_ids)
        for subscriber in tuple(self.get(destination, ())):
            subscriber.deliver(subscriber, message_id, headers, body)


# The bytes that the broker holds for a client before its login.
_MAX_LOGIN = 8192
_MAX_TRANSACTIONS = 100


@dataclass(frozen=True)
class Credential:
    """The credential of the broker's clients."""

    login: str = field(repr=False)
    passcode: str = field(repr=False)

    def admits(self, login: str, passcode: str) -> bool:
        """Whether both are right; the time of the comparison does not depend on them."""
        pairs = ((self.login, login), (self.passcode, passcode))
        right = [hmac.compare_digest(own.encode(), given.encode()) for own, given in pairs]
        return all(right)


@dataclass(frozen=True)
class BrokerLimits:
    """Limits of one client of the broker.

    `heartbeat`: seconds between signs of life of both sides; a client that is silent for twice that
    time is dropped. `login_deadline`: seconds from the connection to CONNECT, and for the last
    frame. `max_frame`: bytes of a frame's headers, and of its body. `max_buffer`: bytes that wait
    for a subscriber that does not read, and bytes in a transaction. `max_connections`: connections
    at once, logged in or not.
    """

    heartbeat: float = 10.0
    login_deadline: float = 5.0
    max_frame: int = 1 << 20
    max_buffer: int = 4 << 20
    max_connections: int = 1000


class BrokerConnection(StompPeer):
    """The broker's end of a connection. `logged_in` fires when the client has shown the credential,
    `ended` when the connection has ended."""

    log = Logger()

    def __init__(
        self,
        clock: interfaces.IReactorTime,
        credential: Credential,
        limits: BrokerLimits,
        topics: Topics,
    ) -> None:
        super().__init__(clock, _MAX_LOGIN)
        self.logged_in: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._credential = credential
        self._limits = limits
        self._topics = topics
        self._login: interfaces.IDelayedCall | None = None
        self._is_logged_in = False
        self._subscribers: dict[str, Subscriber] = {}
        self._transactions: dict[str, _Transaction] = {}
        self._commands: dict[str, Callable[[Frame], object]] = {
            "SUBSCRIBE": self._subscribe,
            "UNSUBSCRIBE": self._unsubscribe,
            "SEND": self._send,
            "ACK": self._acknowledge,
            "NACK": self._acknowledge,
            "BEGIN": self._begin,
            "COMMIT": self._commit,
            "ABORT": self._end_transaction,
            "DISCONNECT": lambda frame: None,  # The connection is closed after the receipt.
        }

    def deliver(
        self, subscriber: Subscriber, message_id: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Send a message, or end the connection if too many bytes wait already."""
        if self.closing:
            return
        data = subscriber.message(message_id, headers, body)
        if self.held + len(data) > self._limits.max_buffer:
            self.log.warn(
                "a subscriber at {address} is cut off, {held} bytes are waiting",
                address=self._host(),
                held=self.held,
            )
            self.abort()
            return
        self.write(data)

    def make_room(self) -> None:
        """Give the place of a client that has not logged in to a newcomer."""
        if not self.closing:
            self._refuse(TooManyConnections.text)

    # IProtocol

    def connectionMade(self) -> None:
        super().connectionMade()
        self._login = self.clock.callLater(self._limits.login_deadline, self.abort)

    def connectionLost(self, reason: Failure | None = None) -> None:
        super().connectionLost(reason)
        self._leave()
        self.ended.callback(None)

    # StompPeer

    def abort(self) -> None:
        self._leave()
        super().abort()

    def frame_received(self, frame: Frame) -> None:
        try:
            if self._is_logged_in:
                self._command(frame)
            else:
                self._connect(frame)
        except ValueError as error:
            self._refuse(str(error), frame)

    def frames_broken(self, error: FrameError) -> None:
        self._refuse(str(error))

    def heart_stopped(self) -> None:
        self.log.info("the heart-beat of a client at {address} stopped", address=self._host())
        self.abort()

    def _host(self) -> str:
        return host_of(self.transport.getPeer() if self.transport else None)

    def _refuse(self, reason: str, frame: Frame | None = None, **headers: str) -> None:
        """Send an ERROR frame and close, as STOMP demands."""
        if self._is_logged_in:
            self.log.info(
                "a client at {address} is refused: {reason}", address=self._host(), reason=reason
            )
        else:
            # A stranger, who may come again and again.
            audit.record("broker", "refused", address=self._host())
        headers["message"] = reason
        if frame is not None and "receipt" in frame.headers:
            headers["receipt-id"] = frame.headers["receipt"]
        version = self.cutter.version
        self.write(encode(Frame("ERROR", writable(headers, version)), version))
        self._leave()
        self.close(self._limits.login_deadline)

    def _leave(self) -> None:
        """End the subscriptions and transactions."""
        self._stop_login_timer()
        subscribers, self._subscribers = self._subscribers, {}
        for subscriber in subscribers.values():
            self._topics.remove(subscriber)
        self._transactions.clear()

    def _stop_login_timer(self) -> None:
        if self._login is not None and self._login.active():
            self._login.cancel()

    # Frames

    def _connect(self, frame: Frame) -> None:
        if frame.command not in ("CONNECT", "STOMP"):
            raise ValueError("not connected: CONNECT comes first")
        headers = frame.headers
        asked = headers.get("accept-version", "1.0").split(",")
        version = max(set(VERSIONS).intersection(asked), default=None)
        if version is None:
            self._refuse("no common version of STOMP", frame, version=",".join(VERSIONS))
            return
        if not self._credential.admits(headers.get("login", ""), headers.get("passcode", "")):
            raise ValueError("wrong login or passcode")
        own = (round(self._limits.heartbeat * 1000),) * 2
        intervals = heartbeat_intervals(own, heartbeat_ms(headers.get("heart-beat", "0,0")))
        self._stop_login_timer()
        self._is_logged_in = True
        self.logged_in.callback(None)
        self.cutter.max_frame = self._limits.max_frame
        self.cutter.version = version
        answer = {"version": version, "server": "bbs", "heart-beat": "{},{}".format(*own)}
        self.write_frame(Frame("CONNECTED", answer))
        self.start_heart(*intervals)

    def _command(self, frame: Frame) -> None:
        command = self._commands.get(frame.command)
        if command is None:
            raise ValueError(f"{frame.command} out of place")
        command(frame)
        if "receipt" in frame.headers and not self.closing:
            self.write_frame(Frame("RECEIPT", {"receipt-id": frame.headers["receipt"]}))
        if frame.command == "DISCONNECT":
            self._leave()
            self.close(self._limits.login_deadline)

    def _subscribe(self, frame: Frame) -> None:
        destination = _header(frame, "destination")
        check_destination(destination)
        ident = self._subscription_id(frame)
        if ident in self._subscribers:
            raise ValueError(f"subscription {ident!r} is there already")
        mode = frame.headers.get("ack", "auto")
        if mode not in ("auto", "client", "client-individual"):
            raise ValueError(f"no such ack mode: {mode!r}")
        acknowledges, version = mode != "auto", self.cutter.version
        subscriber = Subscriber(
            self.deliver, ident, destination, acknowledges=acknowledges, version=version
        )
        self._subscribers[ident] = subscriber
        self._topics.add(subscriber)

    def _unsubscribe(self, frame: Frame) -> None:
        ident = self._subscription_id(frame)
        if ident not in self._subscribers:
            raise ValueError(f"no subscription {ident!r}")
        self._topics.remove(self._subscribers.pop(ident))

    def _subscription_id(self, frame: Frame) -> str:
        # In 1.0, a subscription without an id is identified by its destination.
        name = "id" if "id" in frame.headers or self.cutter.version != "1.0" else "destination"
        return _header(frame, name)

    def _send(self, frame: Frame) -> None:
        destination = _header(frame, "destination")
        if destination not in self._topics:  # Topics with subscribers have been checked.
            check_destination(destination)
        if "transaction" not in frame.headers:
            self._topics.deliver(destination, frame.headers, frame.body)
            return
        transaction = self._transaction(frame)
        # Headers count too, roughly: an empty message is not free.
        transaction.size += len(frame.body) + sum(map(len, frame.headers.values())) + 200
        if sum(held.size for held in self._transactions.values()) > self._limits.max_buffer:
            raise ValueError("transactions too large")
        transaction.frames.append(frame)

    def _begin(self, frame: Frame) -> None:
        name = _header(frame, "transaction")
        if name in self._transactions:
            raise ValueError(f"transaction {name!r} is there already")
        if len(self._transactions) == _MAX_TRANSACTIONS:
            raise ValueError("too many transactions")
        self._transactions[name] = _Transaction()

    def _commit(self, frame: Frame) -> None:
        for sent in self._end_transaction(frame).frames:
            self._topics.deliver(sent.headers["destination"], sent.headers, sent.body)

    def _acknowledge(self, frame: Frame) -> None:
        # Nothing is delivered twice, so an acknowledgement changes nothing. Its headers are checked
        # all the same, for the author of the client.
        _header(frame, "id" if self.cutter.version == "1.2" else "message-id")
        if "transaction" in frame.headers:
            self._transaction(frame)

    def _transaction(self, frame: Frame) -> _Transaction:
        name = _header(frame, "transaction")
        if name not in self._transactions:
            raise ValueError(f"no transaction {name!r}")
        return self._transactions[name]

    def _end_transaction(self, frame: Frame) -> _Transaction:
        transaction = self._transaction(frame)
        del self._transactions[frame.headers["transaction"]]
        return transaction


@dataclass
class _Transaction:
    frames: list[Frame] = field(default_factory=list)
    size: int = 0


def _header(frame: Frame, name: str) -> str:
    try:
        return frame.headers[name]
    except KeyError:
        raise ValueError(f"{frame.command} without {name}") from None


LOG_EVERY = 60.0  # s between log lines about too many connections

_LIMITS = BrokerLimits()

_TOO_MANY = encode(Frame("ERROR", {"message": TooManyConnections.text}), "1.2")


class EmbeddedBroker(Factory):
    """Makes the connections of one broker, which share its topics.

    :param door: decides who is let in, within `limits`; by default everybody. A client over the
        limit gets an ERROR frame.
    """

    noisy = False
    log = Logger()

    def __init__(
        self,
        credential: Credential,
        clock: interfaces.IReactorTime,
        limits: BrokerLimits = _LIMITS,
        door: IDoor | None = None,
    ) -> None:
        self.credential = credential
        self.topics = Topics()
        self._clock = clock
        self._limits = limits
        self._door: IDoor = door or OpenDoor()
        self._connections: set[BrokerConnection] = set()
        self._turned_away: set[RejectedConnection] = set()
        self._logged_at = float("-inf")

    @property
    def connections(self) -> int:
        """The number of connections, logged in or not."""
        return len(self._connections)

    def buildProtocol(self, addr: interfaces.IAddress | None) -> interfaces.IProtocol | None:  # type: ignore[override]
        full = len(self._connections) >= self._limits.max_connections
        entry = None if full else self._door.enter(host_of(addr))
        if entry is None:
            now = self._clock.seconds()
            if now - self._logged_at >= LOG_EVERY:
                self._logged_at = now
                self.log.warn("too many connections to the broker: one more is turned away")
            if self._door.is_jammed:
                return None
            return RejectedConnection(self._clock, _TOO_MANY, self._turned_away)
        connection = BrokerConnection(self._clock, self.credential, self._limits, self.topics)
        connection.logged_in.addCallback(lambda _: entry.has_asked())
        self._connections.add(connection)

        def ended(_: None) -> None:
            self._connections.discard(connection)
            entry.leave()

        connection.ended.addCallback(ended)
        entry.watch(connection.make_room)
        return connection

    def drop_connections(self) -> Deferred[None]:
        """End every connection at once; fires when they have ended."""
        for turned_away in tuple(self._turned_away):
            turned_away.abort()
        ended = []
        for connection in tuple(self._connections):
            gone: Deferred[None] = Deferred()
            connection.ended.chainDeferred(gone)
            ended.append(gone)
            connection.abort()
        return gatherResults(ended).addCallback(lambda _: None)


class BrokerService(Service):
    """Listens on `endpoint` (an endpoint string) with `factory`."""

    def __init__(
        self, reactor: interfaces.IReactorTCP, endpoint: str, factory: EmbeddedBroker
    ) -> None:
        self.url: str | None = None
        """The broker's URL with the credential while it listens, else None."""
        self._scheme = "stomp+ssl" if endpoint.startswith("ssl:") else "stomp"
        self._endpoint = serverFromString(reactor, endpoint)
        self._factory = factory
        self._listening: Deferred[None] = succeed(None)
        self._port: interfaces.IListeningPort | None = None
        self._failure: Failure | None = None
        self._waiters = Waiters()

    def when_listening(self) -> Deferred[str]:
        """Fires with `url` when the broker listens; fails with the endpoint's
        error, such as CannotListenError."""
        if self._failure is not None:
            return fail(self._failure)
        listens = succeed(None) if self.url is not None else self._waiters.wait()
        return listens.addCallback(lambda _: cast("str", self.url))

    def startService(self) -> None:
        Service.startService(self)
        self._failure = None
        listening = self._endpoint.listen(self._factory)
        self._listening = listening.addCallbacks(self._listens, self._fails)

    async def _stop(self) -> None:
        self._listening.cancel()
        await self._listening
        self.url = None
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
            self._port = None
        await self._factory.drop_connections()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    def _listens(self, port: interfaces.IListeningPort) -> None:
        self._port = port
        address = cast("IPv4Address | IPv6Address", port.getHost())
        credential = self._factory.credential
        user = f"{quote(credential.login, safe='')}:{quote(credential.passcode, safe='')}"
        host = f"[{address.host}]" if ":" in address.host else address.host
        self.url = f"{self._scheme}://{user}@{host}:{address.port}"
        self._waiters.fire(None)

    def _fails(self, failure: Failure) -> None:
        self._failure = failure
        self._waiters.fire(failure)
