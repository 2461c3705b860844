"""One connection to a STOMP broker, from CONNECT to its end, and the broker's address.

`StompService` makes one connection after the other and decides what to send.
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
    """The address of a broker, `host` and `port`, and the credential, `login` and `passcode` (""
    for none); its texts do not show the credential. `tls`: the connection is by TLS, verified
    against the system's authorities. Brokers other than RabbitMQ ignore the `virtual_host`."""

    host: str
    port: int
    login: str = field(default="", repr=False)
    passcode: str = field(default="", repr=False)
    tls: bool = False
    virtual_host: str = "/"

    @classmethod
    def from_url(cls, url: str) -> Broker:
        """Read `stomp://user:password@host:61613`, or `stomp+ssl://` for TLS, verified against the
        system's authorities. User and password are percent-encoded. A path is the broker's virtual
        host; the default is `/`, as in RabbitMQ, and other brokers ignore it.

        Raises ValueError, with one line that does not show the credential, for another `url`.
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
        """The broker's endpoint on `reactor`; TLS needs pyOpenSSL (`pip install twisted[tls]`)."""
        endpoint = HostnameEndpoint(reactor, self.host, self.port)
        if not self.tls:
            return endpoint
        from twisted.internet.ssl import optionsForClientTLS

        return wrapClientTLS(optionsForClientTLS(self.host), endpoint)

    def connect_headers(self) -> Mapping[str, str]:
        """The headers of CONNECT, except the heart-beat."""
        headers = {"accept-version": "1.1,1.2", "host": self.virtual_host}
        if self.login:
            headers |= {"login": self.login, "passcode": self.passcode}
        return headers


class IConnectionOwner(Interface):
    """The client of a connection."""

    def message_received(frame: Frame) -> None:
        """Handle a MESSAGE frame."""


class StompConnection(StompPeer):
    """A client's end of a connection.

    `accepted` fires when the broker accepts CONNECT; it fails with StompRefused if the broker
    refuses, and with StompDisconnected if the connection ends first. `lost` fires with the reason,
    one line, when the connection has ended; it never fails.

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
        """Write a frame, and fire when its receipt comes, which may never be; cancel to give up.

        Fails with StompRefused if an ERROR frame names the receipt, with StompDisconnected if the
        connection ends first. Raises FrameError if the frame cannot be written.
        """
        receipt = str(next(self._receipt_ids))
        self.tell(command, {**headers, "receipt": receipt}, body)
        done: Deferred[None] = Deferred(lambda _: self._forget(receipt))
        self._receipts[receipt] = done
        return done

    def tell(self, command: str, headers: Mapping[str, str], body: bytes | None = None) -> None:
        """Write a frame without a receipt; a body, even an empty one, gets a content-length. Raises
        FrameError if the frame cannot be written."""
        if body is not None:
            headers = {**headers, "content-length": str(len(body))}
        self.write_frame(Frame(command, headers, body or b""))

    def disconnect(self, patience: float) -> None:
        """End after the broker's confirmation that it has everything; `patience`, s, is for the
        confirmation, and again for closing."""
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
        why = "the broker closed the connection"
        if reason is not None and not reason.check(ConnectionDone):
            why = self._clean(reason.getErrorMessage())
        error = self._error or StompDisconnected(why)
        if not self._is_accepted:
            self.accepted.errback(error)
        # Receipts fail after that: their waiters may send again, and must know of the loss.
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
        why = self._clean(str(error))
        self._end(StompDisconnected(f"the broker sent malformed STOMP: {why}"))

    def heart_stopped(self) -> None:
        self._end(StompDisconnected("the broker's heart-beat stopped"))

    def _connected(self, frame: Frame) -> None:
        version = frame.headers.get("version", "1.0")
        if version not in ("1.1", "1.2"):
            version = self._clean(version)
            self._end(StompRefused(f"the broker speaks STOMP {version}, not 1.1 or 1.2"))
            return
        self.cutter.version = version
        peer = heartbeat_ms(frame.headers.get("heart-beat", "0,0"))
        self.start_heart(*heartbeat_intervals(self._heartbeat, peer))
        self._is_accepted = True
        self.accepted.callback(None)

    def _refused(self, frame: Frame) -> None:
        # In STOMP, a broker that sends ERROR closes the connection. Some do not, so we close it.
        error: StompError = StompRefused(self._clean(_reason(frame)))
        if not self._is_accepted and frame.headers.get("message") == TooManyConnections.text:
            # From our own broker, which may have room later.
            error = StompDisconnected(TooManyConnections.text)
        done = self._receipts.pop(frame.headers.get("receipt-id", ""), None)
        if done is not None:
            done.errback(error)
        # An error about one frame is not about the others.
        if self._is_accepted:
            error = StompDisconnected(f"the broker ended it: {error}")
        self._end(error)

    def _end(self, error: StompError) -> None:
        self._error = error
        self.abort()

    def _clean(self, text: str) -> str:
        """Make one line of the broker's `text`, without the passcode and control characters."""
        if self._broker.passcode:
            # Before a version is agreed, text may or may not be escaped.
            for shape in (self._broker.passcode, escape(self._broker.passcode)):
                text = text.replace(shape, "***")
        line = "".join(c if c.isprintable() else " " for c in text.strip())
        return " ".join(line.split())[:_MAX_REASON]


def _reason(frame: Frame) -> str:
    """The reason in an ERROR frame. RabbitMQ writes it in the body, in one line; ActiveMQ writes
    the message again there, or a stack trace."""
    message = frame.headers.get("message", "")
    body = frame.body.decode(errors="replace").strip()
    if "\n" in body or body in message:
        body = ""
    return ": ".join(filter(None, [message, body])) or "no reason given"
