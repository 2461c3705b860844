"""Facts about a peer that only the socket under a transport knows.

Each function has a harmless answer where there is no plain socket to ask (TLS, transports in
memory) or where the system does not say (all but Linux).
"""

import socket
import struct
from contextlib import suppress

from twisted.internet.interfaces import IAddress, IConsumer, IPushProducer, ITCPTransport

from bbs.core.addresses import usual_form

_KEEP_ALIVE = (
    ("TCP_KEEPIDLE", 60),  # s of silence before the first probe
    ("TCP_KEEPINTVL", 15),  # s between probes
    ("TCP_KEEPCNT", 4),  # probes without an answer until the connection is lost
)

# In struct tcp_info of <linux/tcp.h>, the number of bytes that the peer has acknowledged, 64 bits.
# Linux only ever adds fields at the end.
_BYTES_ACKNOWLEDGED = 120


def host_of(address: IAddress | None) -> str:
    """The host of one end of a connection in its usual form; "" where it has none."""
    host = getattr(address, "host", None)
    return usual_form(host) if host else ""


class IStreamTransport(ITCPTransport, IConsumer, IPushProducer):
    """What the line protocol uses of a transport; no one interface of Twisted has it all."""


def plain_socket(transport: object) -> socket.socket | None:
    """Return the socket that `transport` writes to itself, None if it has none."""
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if get_handle else None
    return handle if isinstance(handle, socket.socket) else None


def tune_keep_alive(transport: object) -> None:
    """Have TCP's keep-alive find out in about two minutes that the peer's machine is gone."""
    handle = plain_socket(transport)
    if handle is None:
        return
    for name, value in _KEEP_ALIVE:
        with suppress(AttributeError, OSError):  # not on this system; not for this socket
            handle.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def acknowledged(transport: object) -> int:
    """Return how many bytes the peer has acknowledged so far; 0 where that is not known."""
    info = _tcp_info(transport)
    if len(info) < _BYTES_ACKNOWLEDGED + 8:
        return 0
    count: int = struct.unpack_from("=Q", info, _BYTES_ACKNOWLEDGED)[0]
    return count


def _tcp_info(transport: object) -> bytes:
    handle, option = plain_socket(transport), getattr(socket, "TCP_INFO", None)
    if handle is None or option is None:
        return b""
    try:
        return handle.getsockopt(socket.IPPROTO_TCP, option, _BYTES_ACKNOWLEDGED + 8)
    except OSError:  # a socket, but not TCP's
        return b""
