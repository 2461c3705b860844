"""One subscription of one client of the embedded broker, and the MESSAGE frames that go to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bbs.protocols.stomp.frames import Frame, encode, writable

__all__ = ["Subscriber"]

# What the broker says in a MESSAGE frame itself, or is no business of the subscriber's.
_OWN_HEADERS = frozenset(
    ["destination", "content-length", "subscription", "message-id", "ack", "receipt", "transaction"]
)


class Subscriber:
    """What one connection, which speaks `version`, hears of `destination` as `ident`.

    `deliver` is called with it, a message's id, the headers that its sender wrote, and the body.
    Raises FrameError when `version` has no way to write `ident`.
    """

    def __init__(
        self,
        deliver: Callable[[Subscriber, int, Mapping[str, str], bytes], None],
        ident: str,
        destination: str,
        *,
        acknowledges: bool,
        version: str,
    ) -> None:
        self.deliver = deliver
        self.destination = destination
        self._ident = ident
        # Before 1.2 what is acknowledged is the message-id.
        self._needs_ack = acknowledges and version == "1.2"
        self._version = version
        # Of a message with no headers of its sender's, as nearly all are, this is all that is the
        # same each time. Headers are in the order of their names.
        empty = encode(Frame("MESSAGE", {"subscription": ident}), version)
        self._destination_line = f"\ndestination:{destination}\nmessage-id:".encode()
        self._subscription_line = empty.removeprefix(b"MESSAGE").removesuffix(b"\0\n")

    def message(self, message_id: int, headers: Mapping[str, str], body: bytes) -> bytes:
        """The frame that brings it a message."""
        if self._needs_ack or not _OWN_HEADERS.issuperset(headers):
            return self._full_message(str(message_id), headers, body)
        return b"MESSAGE\ncontent-length:%d%b%d%b%b\0\n" % (
            len(body),
            self._destination_line,
            message_id,
            self._subscription_line,
            body,
        )

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
