"""The client library's public names.

`ServiceClient` is the library for any service. `BBSClient` and its values are for the board, the
first service; they are loaded on first use. `bbs.client.aio` is the library for asyncio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bbs.client.client import ServiceClient
from bbs.client.errors import (
    BadReply,
    ClientError,
    Lost,
    NoService,
    NotSecure,
    NotTrusted,
    Unreachable,
)
from bbs.client.replies import ChatMessage, Origin, ServiceEvent, ServiceReply, Waiting
from bbs.core.addresses import Address

if TYPE_CHECKING:
    from bbs.board.client import (
        BBSClient,
        GroupInfo,
        Missed,
        News,
        Post,
        Presence,
        Reply,
        ThreadPost,
    )
    from bbs.client import errors

    # For type checkers, the reply in an exception is the board's, as it was up to version 0.3.0: an
    # exception does not say whose client raised it.

    class Incomplete(errors.Incomplete):
        reply: Reply

    class Refused(errors.Refused):
        reply: Reply

    class TurnedAway(errors.TurnedAway):
        reply: Reply

else:
    from bbs.client.errors import Incomplete, Refused, TurnedAway

__all__ = [
    "Address",
    "BBSClient",
    "BadReply",
    "ChatMessage",
    "ClientError",
    "GroupInfo",
    "Incomplete",
    "Lost",
    "Missed",
    "News",
    "NoService",
    "NotSecure",
    "NotTrusted",
    "Origin",
    "Post",
    "Presence",
    "Refused",
    "Reply",
    "ServiceClient",
    "ServiceEvent",
    "ServiceReply",
    "ThreadPost",
    "TurnedAway",
    "Unreachable",
    "Waiting",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"bbs.client has no {name}")
    return getattr(import_module("bbs.board.client"), name)


def __dir__() -> list[str]:
    return __all__
