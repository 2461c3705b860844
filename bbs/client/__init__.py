"""The client library's public names.

`ServiceClient` is the library for any service. `bbs.client.aio` is the one for asyncio, and the
board's is `bbs.board.BBSClient`.
"""

from __future__ import annotations

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
from bbs.core.lazy import lazy

if TYPE_CHECKING:
    # The old places of the board's names.
    from bbs.board.client import *  # noqa: F403
    from bbs.board.client import Reply as Reply
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
    "BadReply",
    "ChatMessage",
    "ClientError",
    "Incomplete",
    "Lost",
    "NoService",
    "NotSecure",
    "NotTrusted",
    "Origin",
    "Refused",
    "ServiceClient",
    "ServiceEvent",
    "ServiceReply",
    "TurnedAway",
    "Unreachable",
    "Waiting",
]

_MOVED = {"bbs.board": "BBSClient GroupInfo Missed News Post Presence Reply ThreadPost"}

__getattr__, __dir__ = lazy(__name__, __all__, {}, _MOVED)
