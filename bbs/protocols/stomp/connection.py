"""One connection to a STOMP broker, from CONNECT to its end, and where that broker is.

`StompService` makes one connection after the other and decides what is said on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTCP, IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import Interface

from bbs.core.errors import TooManyConnections
from bbs.protocols.stomp.frames import Frame, FrameError, escape
from bbs.protocols.stomp.interfaces import StompDisconnected, StompError, StompRefused
from bbs.protocols.stomp.peer import StompPeer, heartbeat_intervals, heartbeat_ms

_MAX_REASON = 200


@dataclass(frozen=True)
class Broker:
    """Where a broker is and how to log in there; text made of it shows no credential."""

    host: str
    port: int
    login: str = field(default="", repr=False)
    passcode: str = field(default="", repr=False)
    tls: bool = False
    virtual_host: str = "/"

    @classmethod
    def from_url(cls, url: str) -> Broker:
        """`stomp://user:password@host:61613`, or `stomp+ssl://` for TLS, verified against the
        system's authorities. User and password are percent-encoded. A path names the broker's
        virtual host, else it is `/`: RabbitMQ's default, and nothing to other brokers.

        Raises ValueError, of one line that shows no credential, when `url` is something else.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError("a broker's URL has a port number at its end") from None
        if parts.scheme not in ("stomp", "stomp+ssl") or not parts.hostname or parts.query:
            raise ValueError("a broker's URL is stomp://user:password@host:port or stomp+ssl://…")
        tls = parts.scheme == "stomp+ssl"
        login, passcode = unquote(parts.username or ""), unquote(parts.password or "")
        if not (login + passcode).isprintable():
            raise ValueError("a broker's user and password have no control characters")
        default_port = 61614 if tls else 61613
        virtual_host = unquote(parts.path[1:]) or "/"
        return cls(parts.hostname, port or default_port, login, passcode, tls, virtual_host)

    def __str__(self) -> str:
        return f"{'stomp+ssl' if self.tls else 'stomp'}://{self.host}:{self.port}"

    def endpoint(self, reactor: IReactorTCP) -> IStreamClientEndpoint:
        """Where to connect; TLS needs pyOpenSSL (`pip install twisted[tls]`)."""
        endpoint = HostnameEndpoint(reactor, self.host, self.port)
        if not self.tls:
            return endpoint
        from twisted.internet.ssl import optionsForClientTLS

        return wrapClientTLS(optionsForClientTLS(self.host), endpoint)

    def connect_headers(self) -> Mapping[str, str]:
        """What CONNECT says, but for the heart-beat."""
        headers = {"accept-version": "1.1,1.2", "host": self.virtual_host}
        if self.login:
            headers |= {"login": self.login, "passcode": self.passcode}
        return headers


class IConnectionOwner(Interface):
    """The client that a connection is for."""

    def message_received(frame: Frame) -> None:
        """Deal with a MESSAGE frame that has come."""


class StompConnection(StompPeer):
    """A client's end of a connection.

    `accepted` fires when the broker accepts CONNECT; it fails with StompRefused when the broker
    says no and with StompDisconnected when the connection ends first. `lost` fires with the reason,
    one line, when the connection has ended, whoever ended it; it never fails.

    `heartbeat` is the interval, s, in which both sides should beat; `owner` gets MESSAGE frames.
    """

    def __init__(
        self,
        clock: IReactorTime,
        broker: Broker,
        owner: IConnectionOwner,
        *,
        heartbeat: float,
        max_frame: int,
    ) -> None:
        super().__init__(clock, max_frame)
        self.accepted: Deferred[None] = Deferred()
        self.lost: Deferred[str] = Deferred()
        self._broker = broker
        self._heartbeat = (round(heartbeat * 1000),) * 2
        self._owner = owner
        self._receipt_ids = count(1)
        self._receipts: dict[str, Deferred[None]] = {}
        self._is_accepted = False
        self._error: StompError | None = None

    def request(
        self, command: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Deferred[None]:
        """Write a frame and fire when its receipt comes.

        Fails with StompRefused when an ERROR frame names the receipt, with StompDisconnected when
        the connection ends first. A caller that stops waiting cancels: there is no deadline.
        Raises FrameError when the frame cannot be written.
        """
        receipt = str(next(self._receipt_ids))
        self.tell(command, {**headers, "receipt": receipt}, body)
        done: Deferred[None] = Deferred(lambda _: self._forget(receipt))
        self._receipts[receipt] = done
        return done

    def tell(self, command: str, headers: Mapping[str, str], body: bytes | None = None) -> None:
        """Write a frame that nobody answers; one with a body, even an empty one, says its length.
        Raises FrameError when it cannot be written."""
        if body is not None:
            headers = {**headers, "content-length": str(len(body))}
        self.write_frame(Frame(command, headers, body or b""))

    def disconnect(self, patience: float) -> None:
        """End politely: the broker confirms that it has had everything; `patience`, s, is for each
        of its confirmation and the closing."""
        done = self.request("DISCONNECT", {})
        done.addTimeout(patience, self.clock)
        done.addBoth(lambda _: self.close(patience))

    def _forget(self, receipt: str) -> None:
        self._receipts.pop(receipt, None)

    # IProtocol

    def connectionMade(self) -> None:
        super().connectionMade()
        heartbeat = "{},{}".format(*self._heartbeat)
        self.tell("CONNECT", {**self._broker.connect_headers(), "heart-beat": heartbeat})

    def connectionLost(self, reason: Failure | None = None) -> None:
        super().connectionLost(reason)
        error = self._error or StompDisconnected(self._why_lost(reason))
        if not self._is_accepted:
            self.accepted.errback(error)
        # Receipts fail behind that: their waiters may send again, and must know that it is gone.
        self.lost.callback(str(error))
        receipts, self._receipts = self._receipts, {}
        for done in receipts.values():
            done.errback(StompDisconnected(str(error)))

    # StompPeer

    def frame_received(self, frame: Frame) -> None:
        match frame.command:
            case "MESSAGE" if self._is_accepted:
                self._owner.message_received(frame)
            case "CONNECTED" if not self._is_accepted:
                self._connected(frame)
            case "RECEIPT" if self._is_accepted:
                done = self._receipts.pop(frame.headers.get("receipt-id", ""), None)
                if done is not None:
                    done.callback(None)
            case "ERROR":
                self._refused(frame)
            case command:
                raise FrameError(f"{command} out of place")

    def frames_broken(self, error: FrameError) -> None:
        self._end(
            StompDisconnected(f"the broker sent what is not STOMP: {self._clean(str(error))}")
        )

    def heart_stopped(self) -> None:
        self._end(StompDisconnected("the broker's heart-beat stopped"))

    def _connected(self, frame: Frame) -> None:
        version = frame.headers.get("version", "1.0")
        if version not in ("1.1", "1.2"):
            self._end(
                StompRefused(f"the broker speaks STOMP {self._clean(version)}, not 1.1 or 1.2")
            )
            return
        self.cutter.version = version
        peer = heartbeat_ms(frame.headers.get("heart-beat", "0,0"))
        self.start_heart(*heartbeat_intervals(self._heartbeat, peer))
        self._is_accepted = True
        self.accepted.callback(None)

    def _refused(self, frame: Frame) -> None:
        # STOMP: a broker that sends ERROR closes the connection. Some do not, so it is done here.
        error: StompError = StompRefused(self._clean(_reason(frame)))
        if not self._is_accepted and frame.headers.get("message") == TooManyConnections.text:
            # So says our own broker, which has room for us when somebody has gone.
            error = StompDisconnected(TooManyConnections.text)
        done = self._receipts.pop(frame.headers.get("receipt-id", ""), None)
        if done is not None:
            done.errback(error)
        # What the broker said about one frame says nothing about the others.
        self._end(
            error if not self._is_accepted else StompDisconnected(f"the broker ended it: {error}")
        )

    def _end(self, error: StompError) -> None:
        self._error = error
        self.abort()

    def _why_lost(self, reason: Failure | None) -> str:
        if reason is None or reason.check(ConnectionDone):
            return "the broker closed the connection"
        return self._clean(reason.getErrorMessage())

    def _clean(self, text: str) -> str:
        """Make one line of `text` that may be shown, as the broker may have written anything."""
        if self._broker.passcode:
            # Before a version is agreed, text may be escaped or not.
            for shape in (self._broker.passcode, escape(self._broker.passcode)):
                text = text.replace(shape, "***")
        line = "".join(c if c.isprintable() else " " for c in text.strip())
        return " ".join(line.split())[:_MAX_REASON]


def _reason(frame: Frame) -> str:
    """Return the reason in an ERROR frame. RabbitMQ says what matters in the body, in one line;
    ActiveMQ repeats the message there, or puts a stack trace."""
    message = frame.headers.get("message", "")
    body = frame.body.decode(errors="replace").strip()
    if "\n" in body or body in message:
        body = ""
    return ": ".join(filter(None, [message, body])) or "no reason given"
