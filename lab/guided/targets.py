"""What is fuzzed, and what has to hold of any input, beyond that nothing breaks.

A target takes the bytes of one input and raises an error if something does not hold. The first byte
says how the rest is cut into pieces, as a network might bring it.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.core.errors import Refusal
from bbs.framework import (
    Caller,
    Command,
    CommandTable,
    Page,
    Part,
    Role,
    Service,
    paged,
    read_only,
)
from bbs.protocols.commands import WrongUsage
from bbs.protocols.line import IConnection, IRequestHandler, LineFactory, LineLimits, Reply
from bbs.protocols.line.connection import refusal
from bbs.protocols.proxy_protocol import SIGNATURE, ProxiedFactory, parse
from bbs.protocols.stomp.frames import VERSIONS, Frame, FrameCutter, FrameError, encode, writable
from bbs.protocols.telnet import Negotiation, Options, Subnegotiation, TelnetCommand, TelnetReader
from bbs.testing import MemoryService
from tests.ui.gateway.scenarios.test_streams import Typist
from tests.web.case import PageCase

Target = Callable[[bytes], None]


def pieces(data: bytes) -> Sequence[bytes]:
    """The bytes behind the first, in pieces of a length that it says."""
    if not data:
        return []
    size, rest = 1 + data[0] % 64, data[1:]
    return [rest[start : start + size] for start in range(0, len(rest), size)]


def check(holds: object, *about: object) -> None:
    """Raise AssertionError unless something holds."""
    if not holds:
        raise AssertionError(*about)


# The line protocol

_SAY = CommandTable(
    *(
        Command(usage, Role.EITHER, rest=rest, rule=lambda caller: None)
        for usage, rest in (
            ("say <user> <text>", True),
            ("who <user>", False),
            ("join <user> <group> [<colour>]", False),
            ("set <user> [<text>]", True),
        )
    )
)


@implementer(IRequestHandler)
class _Repeater:
    """Answers what a request was read as."""

    def handle(self, line: str, connection: IConnection) -> Reply:
        try:
            read = _SAY.parse(line)
        except Refusal as error:
            return refusal(error)
        words = (read.token, *read.arguments)
        if not read.usage_error:
            check(read.command.minimum <= len(read.arguments) <= read.command.maximum, line, words)
        for word in filter(None, words[: -1 if read.command.rest else None]):
            check(" " not in word, line, words)
        if read.command.rest and len(read.arguments) == read.command.maximum:
            check(line.endswith(read.arguments[-1]), line, words)
        if read.usage_error:
            return refusal(WrongUsage(read.command.usage))
        # It is read alike when it is written anew.
        anew = " ".join([read.command.name, *filter(None, words)])
        again = _SAY.parse(anew)
        check((again.token, *again.arguments) == words, line, anew)
        return Reply({"status": 0, "said": [read.command.name, *words]})

    def refuse(self, error: Refusal, connection: IConnection) -> Reply:
        return refusal(error)

    def is_whole(self, line: str) -> bool:
        return False

    def connection_lost(self, connection: IConnection) -> None:
        """Nothing is kept of it."""


_LINES = LineLimits(max_line=64, max_pipelined=4)


class _Wire(StringTransport):
    aborted = False

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    setTcpKeepAlive = setTcpNoDelay

    def abortConnection(self) -> None:
        self.aborted = True


def _answers(clock: Clock, segments: Sequence[bytes]) -> bytes:
    """What a line server says to the pieces of a stream, of which it reads one when it wants to."""
    factory = LineFactory(clock, _Repeater(), _LINES)
    connection: Any = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5))
    wire = _Wire()
    connection.makeConnection(wire)
    for segment in segments:
        turns = 0
        while wire.producerState == "paused":
            clock.advance(0.1)  # As long as it waits behind a turn of blank lines.
            turns += 1
            check(turns < 1000, "it does not read on", segment)
        connection.dataReceived(segment)
        if wire.disconnecting:
            break
    # The end: all is answered, the line without an end as well.
    connection.readConnectionLost()
    for _ in range(1000):
        if wire.disconnecting:
            break
        clock.advance(0.1)
    check(wire.disconnecting, "the connection does not end")
    connection.connectionLost(Failure(ConnectionDone()))
    clock.advance(0.1)
    check(not clock.getDelayedCalls(), clock.getDelayedCalls())
    return wire.value()


def lines(data: bytes) -> None:
    """However a stream is cut, its requests have the same answers: one each, of one line, and what
    they were read as is read alike when it is written anew."""
    clock = Clock()
    stream = data[1:]
    in_pieces = _answers(clock, pieces(data))
    one_by_one = _answers(clock, [stream[at : at + 1] for at in range(len(stream))])
    check(in_pieces == one_by_one, in_pieces, one_by_one)
    answers = in_pieces.split(b"\n")
    check(answers.pop() == b"", in_pieces)
    check(len(answers) <= stream.count(b"\n") + 1, answers)
    for answer in answers:
        read = json.loads(answer)
        check(read["status"] == 0 or read["code"] in _REFUSALS, read)


_REFUSALS = ("unknown-command", "wrong-usage", "line-too-long", "invalid-utf-8")

# STOMP

_MOST = 64  # Bytes of a head, and of a body.


def _frames(version: str, segments: Sequence[bytes]) -> tuple[list[Frame], bool]:
    """The frames of a stream, and whether it is malformed behind them."""
    cutter = FrameCutter(version, _MOST)
    found: list[Frame] = []
    kept = 0
    try:
        for segment in segments:
            before = len(found)
            found.extend(cutter.feed(segment))
            kept = len(segment) if len(found) > before else kept + len(segment.strip(b"\r\n"))
            check(kept <= 3 * _MOST + len(segment), "bytes without end are kept", kept)
    except FrameError:
        return found, True
    return found, False


def stomp(data: bytes) -> None:
    """However a stream is cut, its frames are the same, and none is longer than the limit. Each is
    read as it was when it is written anew, unless the version cannot express it."""
    version = VERSIONS[data[0] % 3] if data else "1.0"
    stream = data[1:]
    found = _frames(version, pieces(data))
    one_by_one = _frames(version, [stream[at : at + 1] for at in range(len(stream))])
    check(found == one_by_one, found, one_by_one)
    for frame in found[0]:
        check(len(frame.body) <= _MOST, frame)
        _check_anew(frame, version)


def _check_anew(frame: Frame, version: str) -> None:
    can = writable(frame.headers, version) == frame.headers
    try:
        written = encode(frame, version)
    except FrameError:
        handshake = frame.command in ("CONNECT", "STOMP", "CONNECTED")
        check(handshake or not can, "it could not be written", frame)
        return
    headers = dict(frame.headers)
    if frame.body or "content-length" in headers:
        headers["content-length"] = str(len(frame.body))
    [again] = FrameCutter(version, 1 << 16).feed(written)
    check(again == Frame(frame.command, headers, frame.body), frame, again)


# Telnet

_MOST_SUBNEGOTIATION = 40


def _tokens(segments: Sequence[bytes]) -> list[object]:
    """What telnet's sequences and the text between them are; text is in single bytes."""
    reader = TelnetReader(_MOST_SUBNEGOTIATION)
    found: list[object] = []
    for segment in segments:
        for token in reader.read(segment):
            found += [*token] if isinstance(token, bytes) else [token]
    return found


def _check_negotiation(token: Negotiation, options: Options) -> None:
    """The answer is one word about the same option, and to the same word again there is none."""
    answer = options.receive(token)
    check(len(answer) in (0, 3), token, answer)
    check(not answer or answer[2] == token.option, token, answer)
    if answer and answer[1] in (0xFB, 0xFD):
        check(options.receive(token) == b"", token, "it is answered without end")


def telnet(data: bytes) -> None:
    """However a stream is cut, the same is read of it, typed, shown and answered, and no more is
    answered than can be. Subnegotiations are short."""
    stream = data[1:]
    segments = pieces(data)
    found = _tokens(segments)
    check(found == _tokens([stream]), found)
    options = Options((1, 3), (3, 31))
    options.offer()
    for token in found:
        if isinstance(token, Subnegotiation):
            check(len(token.data) < _MOST_SUBNEGOTIATION, token)
        elif isinstance(token, TelnetCommand):
            check(0xEC <= token.code < 0xFF, token)
        elif isinstance(token, Negotiation):
            _check_negotiation(token, options)
    outcomes = []
    for each in (segments, [stream], [stream[at : at + 1] for at in range(len(stream))]):
        typist = Typist()
        typist.take(*each)
        outcomes.append(typist.outcome())
    check(all(one == other for one, other in pairwise(outcomes)), outcomes)
    check(len(outcomes[0].sent) <= 24 + 8 * len(stream), outcomes[0].sent)


# The PROXY protocol


class _Behind(Factory):
    """Notes who comes through a proxy, and what they send."""

    noisy = False

    def __init__(self) -> None:
        self.peers: list[IAddress] = []
        self.heard = b""

    def buildProtocol(self, address: IAddress) -> Protocol:  # type: ignore[override]
        self.peers.append(address)
        behind = self

        class Hearing(Protocol):
            def dataReceived(self, data: bytes) -> None:
                behind.heard += data

        return Hearing()


def _through_proxy(segments: Sequence[bytes]) -> tuple[list[IAddress], bytes, bool]:
    clock, behind = Clock(), _Behind()
    factory = ProxiedFactory(behind, ("192.0.2.9",), clock)
    wire = _Wire(peerAddress=IPv4Address("TCP", "192.0.2.9", 5))
    connection: Any = factory.buildProtocol(wire.getPeer())
    connection.makeConnection(wire)
    for segment in segments:
        if wire.aborted:
            break
        connection.dataReceived(segment)
    connection.connectionLost(Failure(ConnectionDone()))
    check(not clock.getDelayedCalls(), "a deadline stays")
    return behind.peers, behind.heard, wire.aborted


def proxy(data: bytes) -> None:
    """However a stream is cut, the same person is behind it, and the same is heard of them: nothing
    without a whole header, and all that is behind one. A header of that person is read alike."""
    stream = data[1:]
    found = _through_proxy(pieces(data))
    check(found == _through_proxy([stream]), found)
    peers, heard, aborted = found
    check(not (peers and aborted), found)
    try:
        header = parse(stream)
    except ValueError:
        header = None
        check(aborted or not stream, stream)
    if header is None:
        check(not peers and not heard, found)
        return
    check(heard == stream[header.length :], heard)
    peer = header.peer
    if peer is not None:
        check(peers == [peer], peers)
        again = parse(_header(peer))
        check(again is not None and again.peer == peer, peer)


def _header(peer: Any) -> bytes:
    address = ip_address(peer.host).packed
    family = 0x11 if len(address) == 4 else 0x21
    content = address + address + struct.pack("!HH", peer.port, 1)
    return SIGNATURE + struct.pack("!BBH", 0x21, family, len(content)) + content


# HTTP


class _Page(PageCase):
    """The operators' page, which stays for all inputs."""

    def runTest(self) -> None: ...


_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")

_STATUSES = frozenset(
    b"100 200 204 206 302 303 304 400 401 403 404 405 408 411 413 414 415 416".split()
) | {b"421", b"429", b"431", b"503"}

_MOST_ANSWERED = 100_000  # Bytes of one answer: all files of the page are shorter.


@implementer(ILogObserver)
class _Failures:
    """The errors that were logged, which nobody expects."""

    def __init__(self) -> None:
        self.found: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.found.append(event)


class Http:
    """Requests to the page: each is answered by a status that the page may give and never by an
    error of ours, answers are bounded, and a connection leaves nothing behind."""

    def __init__(self) -> None:
        self._case = _Page()
        self._case.setUp()
        self._failures = _Failures()
        globalLogPublisher.addObserver(self._failures)

    def close(self) -> None:
        globalLogPublisher.removeObserver(self._failures)
        self._case.doCleanups()

    def __call__(self, data: bytes) -> None:
        site, clock = self._case.page.site, self._case.clock
        browser = self._case.browser()
        channel, transport = browser.channel, browser.transport
        for piece in pieces(data):
            if transport.disconnecting:
                break
            channel.dataReceived(piece)
            clock.advance(0)
        for _ in range(20):
            clock.advance(0.01)
        said = transport.value()
        browser.close()
        clock.advance(1.0)
        check(not self._failures.found, self._failures.found)
        check(not site.connections, "a connection is not forgotten")
        statuses = _STATUS.findall(said)
        check(not said or _STATUS.match(said), said[:100])
        check(set(statuses) <= _STATUSES, statuses)
        check(len(said) <= _MOST_ANSWERED * max(1, len(statuses)), len(said))


# Cursors


@paged
@read_only
def _numbers(caller: Caller, page: Page, first: str = "0") -> Part:
    """All numbers, from one on."""
    begin = (page.last or 0) + 1
    return page.part("number", [(each, each) for each in range(begin, begin + page.limit)])


_COUNTING = Service(
    "counting",
    commands=(CommandTable(Command("numbers <user> [<first>]", Role.APP, rule=_numbers)),),
)


class Cursors:
    """Cursors of `more`: one that a server did not write is refused. One that it wrote is answered
    by the next part, whatever stands around its letters; another user's is not."""

    def __init__(self) -> None:
        self._service = MemoryService(_COUNTING)
        self._ann, self._bob = self._service.people("ann", "bob").values()
        self._peer = self._service.at_home(self._ann)
        reply = self._peer.ask(f"numbers {self._ann}")
        self._cursor: str = reply["more"]
        self._next = self._ask(self._ann, self._cursor)["number"]

    def close(self) -> None:
        self._service.close()

    def _ask(self, token: str, cursor: str) -> Mapping[str, Any]:
        self._service.clock.advance(0.001)
        reply = self._peer.ask(f"more {token} {cursor}")
        return reply

    def __call__(self, data: bytes) -> None:
        for cursor in self._made_of(data):
            if not cursor or " " in cursor or "\n" in cursor:
                continue
            for token in (self._ann, self._bob):
                reply = self._ask(token, cursor)
                if reply["status"] == 0:
                    check(token == self._ann, "of another user", cursor)
                    check(reply["number"] == self._next, "another part", cursor)
                else:
                    check(reply["code"] in ("cursor-expired", "wrong-usage"), reply)

    def _made_of(self, data: bytes) -> Iterator[str]:
        """Cursors: the data as text, and a real one with some letters replaced, as pairs of bytes
        say, the place and the letter."""
        yield data.decode("utf-8", "replace").replace("\r", "")
        letters = [*self._cursor]
        for place, letter in zip(data[::2], data[1::2], strict=False):
            letters[place % len(letters)] = chr(letter)
        yield "".join(letters)


TARGETS: Mapping[str, Callable[[], Target]] = {
    "line": lambda: lines,
    "stomp": lambda: stomp,
    "telnet": lambda: telnet,
    "proxy": lambda: proxy,
    "http": Http,
    "cursors": Cursors,
}
"""By name what makes the target, in the process that calls it."""
