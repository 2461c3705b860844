#!/opt/bbs/bin/python
"""Check whether a server of bbs is healthy: exit code 0, or 1 and one line that says what is wrong.

    bbs-healthy URL

`http://HOST:PORT/ready` asks a login server's page whether people can log in. `bbs://HOST:PORT`
sends `ping`, which every login server and app server answers; `bbs+tls://HOST:PORT` uses TLS.
`telnet://HOST:PORT` waits for a gateway's greeting. The default is the variable BBS_HEALTHY, else
`bbs://127.0.0.1:22222`.

The server is on the same host, so certificates are not verified. A check needs no shell, no bbs,
and 40 ms of a processor.
"""

from __future__ import annotations

import os
import socket
import sys
from urllib.parse import SplitResult, urlsplit

PATIENCE = 4.0
"""Seconds for each step; Docker and Kubernetes give up after five."""

DEFAULT = "bbs://127.0.0.1:22222"

PONG = b'"Pong!"'


def main() -> int:
    url = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BBS_HEALTHY", DEFAULT)
    try:
        trouble = look(urlsplit(url))
    except (OSError, ValueError) as error:
        trouble = str(error)
    if trouble:
        print(f"{url}: {trouble}")
    return 1 if trouble else 0


def look(place: SplitResult) -> str:
    """Return what is wrong with the server at `place`, "" if nothing is."""
    if place.scheme not in ("http", "bbs", "bbs+tls", "telnet") or not place.port:
        return "must be http:, bbs:, bbs+tls: or telnet://HOST:PORT"
    with socket.create_connection((place.hostname, place.port), PATIENCE) as connection:
        if place.scheme == "http":
            return ask_page(connection, place)
        if place.scheme == "telnet":
            return "" if connection.recv(1) else "it hangs up"
        if place.scheme == "bbs+tls":
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(connection) as secure:
                return ping(secure)
        return ping(connection)


def ask_page(connection: socket.socket, place: SplitResult) -> str:
    request = f"GET {place.path or '/ready'} HTTP/1.0\r\nHost: {place.netloc}\r\n\r\n"
    connection.sendall(request.encode())
    head, _, body = received(connection).partition(b"\r\n\r\n")
    if head.split(b" ")[1:2] == [b"200"]:
        return ""
    return (body or head).decode("utf-8", "replace").strip() or "it hangs up"


def ping(connection: socket.socket) -> str:
    connection.sendall(b"ping\r\n")
    answer = received(connection, b"\n")
    return "" if PONG in answer else answer.decode("utf-8", "replace").strip() or "it hangs up"


def received(connection: socket.socket, end: bytes | None = None) -> bytes:
    """Receive up to `end`, or until the peer closes the connection."""
    data = b""
    while len(data) < 65536 and not (end and end in data) and (more := connection.recv(4096)):
        data += more
    return data


if __name__ == "__main__":
    sys.exit(main())
