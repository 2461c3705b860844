"""The client: a library (`BBSClient`), and `bbs client` on top of it."""

from bbs.addresses import Address
from bbs.client.library import BBSClient
from bbs.client.values import (
    BadReply,
    ClientError,
    Lost,
    Message,
    NotTrusted,
    Origin,
    Post,
    Refused,
    Reply,
    Unreachable,
    Waiting,
)

__all__ = [
    "Address",
    "BBSClient",
    "BadReply",
    "ClientError",
    "Lost",
    "Message",
    "NotTrusted",
    "Origin",
    "Post",
    "Refused",
    "Reply",
    "Unreachable",
    "Waiting",
]
