"""The interfaces and values of the line protocol for the service on it, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from bbs.core.errors import Refusal


@dataclass(frozen=True)
class LineLimits:
    """Limits of one connection.

    `max_line` is in bytes, without the line's end. The times are in seconds: `first_request` until
    the first request must have come, `line_timeout` until a begun line must have ended, and so on.
    If `max_pipelined` requests wait for their turn, the server stops reading.
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
    """The answer to one request: `body` becomes a JSON object.

    With `close` the connection ends after it. `after` is called when the reply is on its way, so
    what `after` sends comes after the reply. If the connection was lost before, it is not called.
    """

    body: Mapping[str, object]
    close: bool = False
    after: Callable[[], None] | None = None

    @cached_property
    def line(self) -> bytes:
        """The reply on the wire; ValueError or TypeError if JSON cannot express it."""
        return encode(self.body)


class IConnection(Interface):
    """One peer's connection, as a request handler sees it."""

    peer_host: str = Attribute(
        "The peer's address without a port, '' if it has none. Set it for the user of a gateway."
    )
    local_host: str = Attribute("The address that the peer reached, without a port.")
    persistent: bool = Attribute("Whether the connection never idles out; to be set.")
    writable: bool = Attribute(
        "False while the peer takes less than it is sent, and after the connection is closed."
    )
    on_writable: Callable[[], None] | None = Attribute(
        "Called with no arguments each time `writable` becomes True again."
    )
    closed: bool = Attribute("True when nothing more can be sent, lost or not yet.")

    def send_event(body: Mapping[str, object]) -> None:
        """Send one event now; it is dropped if `closed`, and buffered if not `writable`: look there
        first before sending more than a few."""

    def send_line(line: bytes) -> None:
        """Send an event, as a line from `encode`."""

    def after_reply(send: Callable[[], object]) -> None:
        """Call `send` behind the reply, if that comes in this turn of the reactor, or else in the
        next turn."""

    def vouch() -> None:
        """Trust the peer: from now on its connection is not counted by its address."""

    def has_session() -> None:
        """Note that the peer has used a right password or token: the connection is not ended for
        another, however full the server is."""

    def close() -> None:
        """Close after the reply to the request in progress; no other request begins."""

    def abort() -> None:
        """Close at once; what is not sent yet is lost."""


class IRequestHandler(Interface):
    """Answers the requests of a LineFactory's connections."""

    def handle(line: str, connection: IConnection) -> Reply | Deferred[Reply]:
        """Answer a request: a line without its end, never blank.

        If the answer is there at once, return a `Reply`: no Deferred is made of it. Otherwise the
        connection's next request waits until the Deferred fires, however long that takes. A failure
        is a bug: the log has it with a reference, and the peer gets only that reference.

        If the connection is lost meanwhile, the Deferred is cancelled before `connection_lost` is
        called, so a login stops waiting in its queue. The work of a thread goes on to its end, and
        its result is dropped. After a half-close, the peer may wait for its answer. The connection
        ends after that answer, even one that listens: most peers that close their side are gone.
        """

    def refuse(error: Refusal, connection: IConnection) -> Reply | Deferred[Reply]:
        """Answer a malformed request with `error`; it has its turn like any other."""

    def is_whole(line: str) -> bool:
        """Whether `line`, a short request without an end, is complete. If so, it is answered at
        once, else after silence."""

    def connection_lost(connection: IConnection) -> None:
        """Forget `connection`, whose peer is gone. Called once for each."""


class EncodedList(Sequence[Any]):
    """A list in a reply whose entries are encoded already, each by `encode_entry`: for entries that
    are sent often and never change. An entry is decoded when it is read."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: Any) -> Any:
        found = self.entries[index]
        return [*map(json.loads, found)] if isinstance(index, slice) else json.loads(found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and [*self] == [*other]

    def __repr__(self) -> str:
        return repr([*self])


# One for all calls: json.dumps with arguments makes an encoder for each.
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def encode(body: Mapping[str, object]) -> bytes:
    """Make the line of a reply or an event; ValueError or TypeError if JSON cannot express it."""
    for value in body.values():
        if type(value) is EncodedList:
            members = b", ".join(
                b"%b: %b" % (encode_entry(name), _part(body[name])) for name in body
            )
            return b"{%b}\n" % members
    return (_to_json(body) + "\n").encode()


def encode_entry(entry: object) -> bytes:
    """Encode one entry of an `EncodedList`; ValueError or TypeError if JSON cannot express it."""
    return _to_json(entry).encode()


def _part(value: object) -> bytes:
    if isinstance(value, EncodedList):
        return b"[%b]" % b", ".join(value.entries)
    return encode_entry(value)
