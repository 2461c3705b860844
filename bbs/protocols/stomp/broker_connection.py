"""One client's connection to the embedded broker: what each of its frames means."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from bbs.errors import TooManyConnections
from bbs.protocols.sockets import host_of
from bbs.protocols.stomp.broker_subscriber import Subscriber
from bbs.protocols.stomp.broker_topics import Topics
from bbs.protocols.stomp.frames import VERSIONS, Frame, FrameError, encode, writable
from bbs.protocols.stomp.interfaces import check_destination
from bbs.protocols.stomp.peer import StompPeer, heartbeat_intervals, heartbeat_ms
from bbs.security import tell

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

__all__ = ["BrokerConnection", "BrokerLimits", "Credential"]

# Before a client has logged in, this is all that it can make the broker hold, bytes.
_MAX_LOGIN = 8192
_MAX_TRANSACTIONS = 100


@dataclass(frozen=True)
class Credential:
    """What a client of the broker must know."""

    login: str = field(repr=False)
    passcode: str = field(repr=False)

    def admits(self, login: str, passcode: str) -> bool:
        """Whether both are right; how long that takes says nothing of either."""
        pairs = ((self.login, login), (self.passcode, passcode))
        right = [hmac.compare_digest(own.encode(), given.encode()) for own, given in pairs]
        return all(right)


@dataclass(frozen=True)
class BrokerLimits:
    """What one client may ask of the broker."""

    heartbeat: float = 10.0
    """s, how often both sides shall beat; a client that is silent for twice that is dropped."""
    login_deadline: float = 5.0
    """s from the connection to CONNECT, and for a peer to take what it is told at the end."""
    max_frame: int = 1 << 20
    """Bytes of a frame's headers, and of its body."""
    max_buffer: int = 4 << 20
    """Bytes that wait for a subscriber that does not read, and that a transaction holds."""
    max_connections: int = 1000
    """Connections at once, logged in or not."""


class BrokerConnection(StompPeer):
    """The broker's end of a connection. `logged_in` fires when its client has shown the credential,
    `ended` when it has ended."""

    log = Logger()

    def __init__(
        self, clock: IReactorTime, credential: Credential, limits: BrokerLimits, topics: Topics
    ) -> None:
        super().__init__(clock, _MAX_LOGIN)
        self.logged_in: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._credential = credential
        self._limits = limits
        self._topics = topics
        self._login: IDelayedCall | None = None
        self._is_logged_in = False
        self._subscribers: dict[str, Subscriber] = {}
        self._transactions: dict[str, _Transaction] = {}
        self._commands = {
            "SUBSCRIBE": self._subscribe,
            "UNSUBSCRIBE": self._unsubscribe,
            "SEND": self._send,
            "ACK": self._acknowledge,
            "NACK": self._acknowledge,
            "BEGIN": self._begin,
            "COMMIT": self._commit,
            "ABORT": self._abort,
            "DISCONNECT": self._disconnect,
        }

    def deliver(
        self, subscriber: Subscriber, message_id: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Send a message, or end the connection when too much waits for it already."""
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
        """Somebody else needs the place of this one, which has not logged in."""
        if not self.closing:
            self._refuse(TooManyConnections.text)

    # IProtocol

    def connectionMade(self) -> None:
        super().connectionMade()
        self._login = self.clock.callLater(self._limits.login_deadline, self._too_late)

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

    def _too_late(self) -> None:
        self._login = None
        self.abort()

    def _refuse(self, reason: str, frame: Frame | None = None, **headers: str) -> None:
        """Say what was wrong and close, as STOMP demands."""
        if self._is_logged_in:
            self.log.info(
                "a client at {address} is refused: {reason}", address=self._host(), reason=reason
            )
        else:
            # Somebody without the credential, who may come as often as they like.
            tell("broker", "refused", address=self._host())
        headers["message"] = reason
        if frame is not None and "receipt" in frame.headers:
            headers["receipt-id"] = frame.headers["receipt"]
        version = self.cutter.version
        self.write(encode(Frame("ERROR", writable(headers, version)), version))
        self._leave()
        self.close(self._limits.login_deadline)

    def _leave(self) -> None:
        """Hear nothing more, whatever the transport still has to say."""
        if self._login is not None:
            self._login.cancel()
            self._login = None
        subscribers, self._subscribers = self._subscribers, {}
        for subscriber in subscribers.values():
            self._topics.remove(subscriber)
        self._transactions.clear()

    # Frames.

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
        if self._login is not None:
            self._login.cancel()
            self._login = None
        self._is_logged_in = True
        self.logged_in.callback(None)
        self.cutter.max_frame = self._limits.max_frame
        self.cutter.version = version
        answer = {"version": version, "server": "bbs", "heart-beat": "{},{}".format(*own)}
        self.write_frame(Frame("CONNECTED", answer))
        self.start_heart(*intervals)

    def _command(self, frame: Frame) -> None:
        try:
            command = self._commands[frame.command]
        except KeyError:
            raise ValueError(f"{frame.command} out of place") from None
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
        subscriber = Subscriber(
            self.deliver,
            ident,
            destination,
            acknowledges=mode != "auto",
            version=self.cutter.version,
        )
        self._subscribers[ident] = subscriber
        self._topics.add(subscriber)

    def _unsubscribe(self, frame: Frame) -> None:
        ident = self._subscription_id(frame)
        if ident not in self._subscribers:
            raise ValueError(f"no subscription {ident!r}")
        self._topics.remove(self._subscribers.pop(ident))

    def _subscription_id(self, frame: Frame) -> str:
        # 1.0 knows subscriptions by their destination when they have no id.
        name = "id" if "id" in frame.headers or self.cutter.version != "1.0" else "destination"
        return _header(frame, name)

    def _send(self, frame: Frame) -> None:
        destination = _header(frame, "destination")
        if destination not in self._topics:
            # What somebody was let subscribe to needs no look.
            check_destination(destination)
        if "transaction" not in frame.headers:
            self._topics.deliver(destination, frame.headers, frame.body)
            return
        transaction = self._transaction(frame)
        # Headers are counted too, roughly: an empty message is not free.
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
        transaction = self._transaction(frame)
        del self._transactions[frame.headers["transaction"]]
        for sent in transaction.frames:
            self._topics.deliver(sent.headers["destination"], sent.headers, sent.body)

    def _abort(self, frame: Frame) -> None:
        self._transaction(frame)
        del self._transactions[frame.headers["transaction"]]

    def _acknowledge(self, frame: Frame) -> None:
        # Nothing is kept, so there is nothing to deliver again, and an acknowledgement changes
        # nothing. What it names is looked at all the same: a client should hear of its mistakes.
        _header(frame, "id" if self.cutter.version == "1.2" else "message-id")
        if "transaction" in frame.headers:
            self._transaction(frame)

    def _disconnect(self, frame: Frame) -> None:
        # The connection is closed behind the receipt.
        pass

    def _transaction(self, frame: Frame) -> _Transaction:
        name = _header(frame, "transaction")
        if name not in self._transactions:
            raise ValueError(f"no transaction {name!r}")
        return self._transactions[name]


@dataclass
class _Transaction:
    frames: list[Frame] = field(default_factory=list)
    size: int = 0


def _header(frame: Frame, name: str) -> str:
    try:
        return frame.headers[name]
    except KeyError:
        raise ValueError(f"{frame.command} without {name}") from None
