"""The line protocol: requests in, replies and events out (docs/protocol.md, section 1).

A `LineFactory` listens on behalf of an `IRequestHandler`, which answers one line at a time and
knows nothing of bytes. `connection.py` cuts bytes into lines and keeps order, limits, back-pressure
both ways and endings. Neither knows what a request means.
"""

from bbs.protocols.line.connection import LineFactory
from bbs.protocols.line.interfaces import (
    EncodedList,
    IConnection,
    IRequestHandler,
    LineLimits,
    Reply,
    encode_entry,
)

__all__ = [
    "EncodedList",
    "IConnection",
    "IRequestHandler",
    "LineFactory",
    "LineLimits",
    "Reply",
    "encode_entry",
]
