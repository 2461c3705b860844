"""The errors with which a request to a service fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError

if TYPE_CHECKING:
    from bbs.client.replies import ServiceReply
    from bbs.core.addresses import Address


class ClientError(Exception):
    """A request got no usable reply; the text is one line for the person who asked."""


class Unreachable(ClientError):
    """No server could be reached. The request was not carried out, unless it was harmless."""


class TurnedAway(Unreachable):
    """The server has no room for this connection: too many in all, from this address, or of this
    user. The text is the server's message; the request was not carried out."""

    def __init__(self, server: Address, reply: ServiceReply) -> None:
        super().__init__(reply.message or "")
        self.server = server
        self.reply = reply


class Lost(ClientError):
    """The request was sent, and no reply came: it may or may not have been carried out."""


class GivenUp(CancelledError):
    """The caller cancelled a request that was sent: it may or may not have been carried out. A
    plain `CancelledError` says that it was not sent."""


class BadReply(ClientError):
    """The server carried the request out, and its reply is not in the protocol."""


class NotTrusted(ClientError):
    """The login server does not trust this gateway (`Origin`)."""


class Incomplete(ClientError):
    """Some entries of a list could not be had; `reply` has those that came."""

    def __init__(self, reply: ServiceReply) -> None:
        super().__init__(f"The list did not come whole: {reply.lacking or 'there are others'}")
        self.reply = reply


class Refused(ClientError):
    """The server said no; the request was not carried out. The text is the server's message, and
    `code` says why, for programs; "" from servers of version 0.1.0."""

    def __init__(self, reply: ServiceReply) -> None:
        super().__init__(reply.message or "")
        self.reply = reply
        self.code: str = reply.code or ""


class NotSecure(ClientError):
    """The server has no TLS, or could not show that it is the right one; nothing was sent."""


class NoService(ClientError):
    """The program at that address is not a login server: it is silent, or says something else."""
