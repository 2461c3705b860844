"""The line protocol: requests in, replies and events out (docs/protocol.md, section 1).

A `LineFactory` listens on behalf of an `IRequestHandler`, which answers one line at a time and
knows nothing of bytes. `bbs.protocols.line.connection` keeps order, limits, back-pressure both ways
and endings; `bbs.protocols.line.connection` cuts bytes into lines. What a request means is known to
none of them.
"""

from bbs.protocols.line.factory import LineFactory
from bbs.protocols.line.interfaces import IConnection, IRequestHandler, LineLimits, Reply

__all__ = ["IConnection", "IRequestHandler", "LineFactory", "LineLimits", "Reply"]
