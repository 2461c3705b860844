"""The client library's public names.

`ServiceClient` is the library for any service. `BBSClient` and the values that it answers with are
those of the board, the first service; they are loaded when they are first used.
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
    from bbs.board.client import BBSClient, Missed, Post, Presence, Reply
    from bbs.client import errors

    # An exception does not say whose client raised it: type checkers take the reply in it for the
    # board's, as all were up to version 0.3.0.

    class Incomplete(errors.Incomplete):
        reply: Reply

    class Refused(errors.Refused):
        reply: Reply

    class TurnedAway(errors.TurnedAway):
        reply: Reply

else:
    from bbs.client.errors import Incomplete, Refused, TurnedAway

_FIRST_SERVICE = "bbs.board.client"

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
    "ServiceClient",
    "ServiceEvent",
    "ServiceReply",
    "TurnedAway",
    "Unreachable",
    "Waiting",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"bbs.client has no {name}")
    return getattr(import_module(_FIRST_SERVICE), name)


def __dir__() -> list[str]:
    return __all__
