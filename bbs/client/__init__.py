"""The client: a library (`BBSClient`), and `bbs client` on top of it."""

from bbs.addresses import Address
from bbs.client.library import BBSClient
from bbs.client.strangers import NoService, NotSecure
from bbs.client.values import (
    BadReply,
    ChatMessage,
    ClientError,
    Incomplete,
    Lost,
    Missed,
    NotTrusted,
    Origin,
    Post,
    Presence,
    Refused,
    Reply,
    ServiceEvent,
    TurnedAway,
    Unreachable,
    Waiting,
)

__all__ = [
    "Address",
    "BBSClient",
    "BadReply",
    "ChatMessage",
    "ClientError",
    "Incomplete",
    "Lost",
    "Missed",
    "NoService",
    "NotSecure",
    "NotTrusted",
    "Origin",
    "Post",
    "Presence",
    "Refused",
    "Reply",
    "ServiceEvent",
    "TurnedAway",
    "Unreachable",
    "Waiting",
]
