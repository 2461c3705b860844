"""How inputs for each port are made, and how a sentinel among them is answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from lab.attacks.mutations import mutated

RESYNC = b"\xff\xf0\xff\xf0\n"
"""Ends whatever telnet's sequences and the line before have begun, and begins a line."""

WORDS = ("ann", "bob", "crowd", "author", "mallory7", "honest", "x", "0", "über", "-", "friend1")


@dataclass(frozen=True)
class Dialect:
    """What goes over one port. `opening` is sent on a new connection, `input` makes one input,
    `sentinel` the request of a number, whose answer `answered` finds, the number in a group.
    `farewells` are the words with which a server may end the connection; None: it may without.
    `may_swallow`: an input may lawfully take the sentinel behind it for a part of itself."""

    opening: Callable[[Random], bytes]
    input: Callable[[Random], bytes]
    sentinel: Callable[[int], bytes]
    answered: re.Pattern[bytes]
    farewells: Sequence[bytes] | None
    may_swallow: bool = False


def _nothing(random: Random) -> bytes:
    return b""


ANYBODY = ("ping", "help", "commands", "events", "", "s", "login", "quit now", "forwarded-for")
LOGIN = (
    *("locate {t}", "change-password {t} {w} {w}", "logout {n}", "delete {n}", "register {w}"),
    *("login nobody{w} {w}", "forwarded-for 127.0.0.1 {w}", "more {t} {w}", *ANYBODY),
)
APP = (
    *("list-friend {t}", "list-invite {t}", "list-group {t}", "list-joined {t}", "who {t}"),
    *("invite {t} {w}", "accept-invite {t} {w}", "decline-invite {t} {w}", "unfriend {t} {w}"),
    "decline-all {t}",
    *("block {t} {w}", "unblock {t} {w}", "list-block {t}", "post {t} {w} {w}", "receive-post {t}"),
    *("send {t} {w} {w}", "send-group {t} {w} {w}", "create-group {t} {w}", "join-group {t} {w}"),
    *("leave-group {t} {w}", "list-member {t} {w}", "history {t} {w}", "listen {t}"),
    *("groups {t}", "set-topic {t} {w} {w}", "close-group {t} {w}", "open-group {t} {w}"),
    *("invite-group {t} {w} {w}", "kick {t} {w} {w}", "give-group {t} {w} {w}"),
    *("delete-group {t} {w}", "mail {t} {w} {w}", "set-status {t} {w}"),
    *("listen {t} {w}", "more {t} {w}", "list-friend {n}", *ANYBODY),
)


def line(requests: Sequence[str], tokens: Sequence[str]) -> Dialect:
    """The line protocol: `requests` with a token of these for `{t}`, none of them for `{n}`."""

    def input(random: Random) -> bytes:
        text = random.choice(requests)
        while "{w}" in text:
            text = text.replace("{w}", random.choice(WORDS), 1)
        text = text.replace("{t}", random.choice(tokens) if tokens else "0" * 32)
        text = text.replace("{n}", f"{random.getrandbits(128):032x}")
        data = mutated(random, text.encode())
        if random.random() < 0.0005:
            data = data * (70_000 // max(1, len(data)))
        return data + random.choice((b"\n", b"\n", b"\r\n"))

    return Dialect(
        _nothing,
        input,
        lambda number: RESYNC + b"sentinel%d\n" % number,
        re.compile(rb'"message": "Unknown command sentinel(\d+)"'),
        (b'"Bye!"', b'"Line too long"'),
    )


TELNET_OPENINGS = (
    b"",
    b"\r\n",
    b"\n",
    b"\xff\xfd\x01\xff\xfd\x03\xff\xfb\x1f\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0\r\n",
    b"\xff\xfb\x18\xff\xfb\x1f\xff\xfb\x2a\r\0",
)
TYPED = (
    *("help", "login mallory{w}", "login {w}\r\nwrong", "talk {w}", "register", "encoding big5"),
    *("encoding utf-8", "list-friend", "/help", "send {w} {w}", "post {w}", "history {w}", ""),
    *("\x1b[A\x1b[B\x1b[C\x1b[D", "\t\t", "\x01\x05\x0b\x15\x17\x19", "\x1bOH\x1bOF", "ping"),
)


def telnet() -> Dialect:
    """Keys at the gateway."""

    def input(random: Random) -> bytes:
        text = random.choice(TYPED)
        while "{w}" in text:
            text = text.replace("{w}", random.choice(WORDS), 1)
        # Ctrl-D ends a visit, which a mutation does now and then.
        return mutated(random, text.encode()) + random.choice((b"\r\n", b"\r\0", b"\n"))

    return Dialect(
        lambda random: random.choice(TELNET_OPENINGS),
        input,
        lambda number: b"\xff\xf0\xff\xf0\r\nsentinel%d\r\n" % number,
        re.compile(rb"Unknown command sentinel(\d+)"),
        None,
        may_swallow=True,
    )


DESTINATIONS = ("/topic/bbs.fleet", "/topic/bbs.user.x1", "/topic/fuzz", "/queue/x", "/topic/>", "")
FRAMES = (
    "SEND\ndestination:{d}\ncontent-length:5\n\nhello\0",
    'SEND\ndestination:{d}\n\n{"event": "message", "id": {i}}\0',
    "SUBSCRIBE\nid:{i}\ndestination:{d}\nack:auto\nreceipt:r\n\n\0",
    "SUBSCRIBE\nid:{i}\ndestination:{d}\nack:client\n\n\0",
    "UNSUBSCRIBE\nid:{i}\n\n\0",
    "BEGIN\ntransaction:{i}\n\n\0",
    "COMMIT\ntransaction:{i}\n\n\0",
    "ABORT\ntransaction:{i}\n\n\0",
    "ACK\nid:{i}\nmessage-id:{i}\n\n\0",
    "NACK\nid:{i}\n\n\0",
    "CONNECT\naccept-version:1.2\n\n\0",
    "DISCONNECT\nreceipt:x\n\n\0",
    "SEND\ndestination:/topic/fuzz\ntransaction:{i}\ncontent-length:{i}\n\nx\0",
    "MESSAGE\nmessage-id:1\n\n\0",
    "SEND\r\ndestination:{d}\r\nx:\\c\\r\\n\\\\ \\q\r\nx:again\r\n\r\nhello\0\r\n",
    "SEND\ndestination:{d}\nlong:" + "y" * 3000 + "\nreceipt:" + "z" * 3000 + "\n\nhello\0",
    "SUBSCRIBE\nid:\\c{i}\ndestination:/topic/fuzz\nack:client-individual\n\n\0",
    "SEND\ndestination:/topic/fuzz\ncontent-length:99999999999\n\n\0",
    "".join(f"{name}:{name}\n" for name in ("SEND\ndestination", *range(300))) + "\n\0",
    "\n\n\n",
)


def stomp(login: str, passcode: str) -> Dialect:
    """Frames towards the embedded broker, by who knows its credential and by who does not."""
    connect = "CONNECT\naccept-version:{v}\nheart-beat:{h}\n"
    connect += f"login:{login}\npasscode:{passcode}\n\n\0"

    def opening(random: Random) -> bytes:
        text = connect.replace("{v}", random.choice(("1.0", "1.1", "1.2", "1.0,1.1,1.2")))
        data = text.replace("{h}", random.choice(("0,0", "10000,10000", "1,1"))).encode()
        return mutated(random, data) if random.random() < 0.2 else data

    def input(random: Random) -> bytes:
        text = random.choice(FRAMES).replace("{d}", random.choice(DESTINATIONS))
        data = text.replace("{i}", str(random.randrange(8))).encode()
        return mutated(random, data)

    return Dialect(
        opening,
        input,
        lambda number: b"\0\nSEND\ndestination:/topic/fuzz\nreceipt:sentinel%d\n\n\0" % number,
        re.compile(rb"receipt-id:sentinel(\d+)\n"),
        None,
        may_swallow=True,
    )


PATHS = (
    "/",
    "/state",
    "/metrics",
    "/health",
    "/ready",
    "/stream",
    "/login",
    "/actions",
    "/servers",
)
REQUESTS = (
    "GET {p} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "HEAD {p} HTTP/1.0\r\n\r\n",
    "POST {p} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    'Content-Length: 33\r\n\r\n{"name": "a", "password": "wrong"}',
    "POST {p} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    "5\r\nhello\r\n0\r\n\r\n",
    "PUT {p}?a=%ff&after=9 HTTP/1.1\r\nHost: localhost:1\r\nCookie: bbs_operator_1=x\r\n\r\n",
    'GET {p} HTTP/1.1\r\nHost: [::1]\r\nRange: bytes=0-1,3-\r\nIf-None-Match: "x"\r\n\r\n',
    "OPTIONS * HTTP/1.1\r\nHost: evil.example\r\nExpect: 100-continue\r\n\r\n",
    "POST {p} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-BBS: 1\r\nContent-Type: a\x0cb\r\n"
    "Content-Length: 3\r\n\r\na=b",
    "POST {p} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-BBS: 1\r\nContent-Length: 7\r\n"
    "Content-Type: multipart/form-data; boundary*=utf-8''x\r\n\r\n--x--\r\n",
    f"POST {{p}} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {'0' * 4301}\r\n\r\n",
    "GET http://localhost{p} HTTP/1.1\r\nHost: localhost\r\nHost: x\r\n\r\n",
    'GET {p} HTTP/1.0\r\nCookie: bbs_device_1=1.6c.x; =\r\nForwarded: for="\r\n\r\n',
)


def page() -> Dialect:
    """HTTP. What is sent behind an input may be its body, so the sentinels that count are on
    connections of their own (`sentinels.py`)."""

    def input(random: Random) -> bytes:
        return mutated(
            random, random.choice(REQUESTS).replace("{p}", random.choice(PATHS)).encode()
        )

    return Dialect(
        _nothing,
        input,
        lambda number: (
            b"\r\n\r\nGET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Sentinel: %d\r\n\r\n" % number
        ),
        re.compile(rb"(?s)HTTP/1\.1 (200).*?\r\n\r\nok\n"),
        None,
        may_swallow=True,
    )
