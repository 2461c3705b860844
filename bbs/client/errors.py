"""The errors with which asking a service fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bbs.client.replies import ServiceReply
    from bbs.core.addresses import Address


class ClientError(Exception):
    """A request got no usable answer; the text is one line for the person who asked."""


class Unreachable(ClientError):
    """No server could be reached; the request was not carried out, unless it was harmless."""


class TurnedAway(Unreachable):
    """The server has no room for this connection: in all, from here, or of the user's. The text is
    what it said, and what was asked was not carried out."""

    def __init__(self, server: Address, reply: ServiceReply) -> None:
        super().__init__(reply.message or "")
        self.server = server
        self.reply = reply


class Lost(ClientError):
    """The request was sent and no answer came: whether it was carried out is not known."""


class BadReply(ClientError):
    """The server carried the request out and told of it in a way that is not in the protocol."""


class NotTrusted(ClientError):
    """The login server does not take this gateway's word for whom it speaks (`Origin`)."""


class Incomplete(ClientError):
    """A list was to come whole, and has others that could not be had; `reply` has those that
    came."""

    def __init__(self, reply: ServiceReply) -> None:
        super().__init__(f"The list did not come whole: {reply.lacking or 'there are others'}")
        self.reply = reply


class Refused(ClientError):
    """The server said no; the request was not carried out. The text is the server's message."""

    def __init__(self, reply: ServiceReply) -> None:
        super().__init__(reply.message or "")
        self.reply = reply


class NotSecure(ClientError):
    """The server could not show by TLS that it is the right one, or speaks none: it was sent
    nothing."""


class NoService(ClientError):
    """Something listens there that is not a login server: it is silent, or says something else."""
