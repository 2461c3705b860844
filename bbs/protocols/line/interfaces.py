"""The line protocol's interfaces and values, as a service on it sees them, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from bbs.core.errors import Refusal


@dataclass(frozen=True)
class LineLimits:
    """Limits of one connection.

    `max_line` is in bytes, a line's end not counted; the times are in seconds: until the first
    request must have come, until a begun line must have ended, and so on. `max_pipelined` requests
    may wait for their turn before the server stops reading.
    """

    max_line: int = 65536
    idle_timeout: float = 600.0
    first_request: float = 60.0
    line_timeout: float = 10.0
    unterminated_timeout: float = 0.05
    write_timeout: float = 30.0
    max_pipelined: int = 64


@dataclass(frozen=True)
class Reply:
    """The answer to one request: a JSON object.

    With `close` the connection ends behind it. `after` is called once the reply is on its way, so
    what it sends comes behind the reply. It is not called if the connection was lost before.
    """

    body: Mapping[str, object]
    close: bool = False
    after: Callable[[], None] | None = None


class IConnection(Interface):
    """One peer's connection, as a request handler sees it."""

    peer_host: str = Attribute(
        "The peer's address without a port, '' if it has none. Set it for a gateway that speaks for"
        " somebody else."
    )
    local_host: str = Attribute("The address that the peer reached, without a port.")
    persistent: bool = Attribute("Set it True and the connection does not idle out.")
    writable: bool = Attribute(
        "False while the peer takes less than it is sent, and once the connection is closed."
    )
    on_writable: Callable[[], None] | None = Attribute(
        "Called with no arguments each time `writable` becomes True again."
    )
    closed: bool = Attribute("True once nothing more can be sent, lost or not yet.")

    def send_event(body: Mapping[str, object]) -> None:
        """Send one event now; dropped when `closed`.

        An event is buffered when not `writable`: look there first, with more than a few to send.
        """

    def send_line(line: bytes) -> None:
        """Send an event that `encode` has made a line of."""

    def vouch() -> None:
        """Trust the peer: its connection is not counted by its address from now on."""

    def close() -> None:
        """Begin no more requests, let the one in progress be answered, then close."""

    def abort() -> None:
        """Close at once; what is not sent yet is lost."""


class IRequestHandler(Interface):
    """What answers the requests of a LineFactory's connections."""

    def handle(line: str, connection: IConnection) -> Reply | Deferred[Reply]:
        """Answer a request: a line without its end, never blank.

        An answer that is there at once is best returned as a `Reply`; no Deferred is made of it.
        The next request of the connection waits until a Deferred fires, however long it takes. A
        failure is a bug: the log has it with a reference, and the peer is told that reference only.

        If the connection is lost meanwhile, the Deferred is cancelled before `connection_lost` is
        called, so a login stops waiting in its queue. A thread's work goes on to its end, and
        nobody hears of it. A half-close is no loss: the peer may be waiting for its answer. The
        connection ends behind that answer, also one that listens: most peers that close their side
        are gone, and do not get what is sent.
        """

    def refuse(error: Refusal, connection: IConnection) -> Reply | Deferred[Reply]:
        """Answer a malformed request, which has its turn like any other, with `error`."""

    def is_whole(line: str) -> bool:
        """Whether nothing can be added to `line`, a short request without an end. Such a request is
        answered at once, another when silence follows.
        """

    def connection_lost(connection: IConnection) -> None:
        """Forget `connection`: nothing reaches its peer any more. Called once for each."""


# One for all: json.dumps with arguments makes an encoder a call.
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def encode(body: Mapping[str, object]) -> bytes:
    """Make a line of a reply or an event, as it is on the wire.

    :raises ValueError, TypeError: JSON has no way to write it.
    """
    return (_to_json(body) + "\n").encode()


class LineTooLong(Refusal):
    """A line is longer than `max_line`."""

    text = "Line too long"


class InvalidUTF8(Refusal):
    """A line is not UTF-8."""

    text = "Invalid UTF-8"
    code = "invalid-utf-8"


def refusal(error: Refusal, *, close: bool = False) -> Reply:
    """Make the reply that refuses a request with `error`."""
    return Reply({"status": 1, "message": error.message, "code": error.code}, close=close)


TOO_LONG = refusal(LineTooLong(), close=True)
