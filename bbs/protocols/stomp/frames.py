"""STOMP frames: bytes off the wire cut into frames, and frames turned into bytes.

STOMP 1.0, 1.1 and 1.2 (https://stomp.github.io/stomp-specification-1.2.html). `FrameCutter` takes
bytes in any segmentation; `encode` is the way back. Neither knows a socket or a reactor.

What comes from `stomper` (0.4.3): the list of commands, and `stomper.Frame.pack()`, which lays the
frame out. Nothing else that is needed here is right in it, so this module does the rest itself:

* `Frame.pack()` escapes nothing: headers are given to it escaped for the version.
* Its bodies are text: `pack()` is given an empty one, and the bytes are put in before the NUL.
* `unpack_frame()` drops blank lines, outer spaces and NULs from bodies, trims and never unescapes
  headers, and lets the last of repeated headers win, where the first must: it is not used.
* `StompBuffer` counts characters where content-length counts bytes, expects a line feed behind
  every NUL, and loses a frame that arrives behind a heart-beat: it is not used.
* `connect()` asks for 1.1 alone, the frame functions know no receipts, and there is no STOMP
  command: frames are built from `Frame`.

SEND and MESSAGE frames without headers of the sender's own, of which there are most, are written
without it (`encode_plain_send`, and `Subscriber.message` in the broker).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import stomper

HEARTBEAT = b"\n"
"""Shows that its sender is alive, while it has nothing to say."""

VERSIONS = ("1.0", "1.1", "1.2")
"""The versions of STOMP that are spoken, oldest first."""

_COMMANDS = frozenset([*stomper.VALID_COMMANDS, "STOMP"])
# These agree on a version, so they are the same in each: nothing in them is escaped.
_HANDSHAKE = frozenset(["CONNECT", "STOMP", "CONNECTED"])

# Order matters: the backslash of an escape must not be escaped again.
_ESCAPES: Mapping[str, Mapping[str, str]] = {
    "1.0": {},
    "1.1": {"\\": "\\\\", "\n": "\\n", ":": "\\c"},
    "1.2": {"\\": "\\\\", "\n": "\\n", ":": "\\c", "\r": "\\r"},
}
_UNESCAPES = {
    version: {escape: character for character, escape in escapes.items()}
    for version, escapes in _ESCAPES.items()
}
_ESCAPE = re.compile(r"\\.?", re.DOTALL)

_HEAD_END = re.compile(rb"\n\r?\n|\0")
_LINE_END = (b"\n", b"\r")
_LINE_ENDS = re.compile(rb"[\r\n]*")


class FrameError(ValueError):
    """Malformed bytes, or a frame that the version cannot express."""


class Frame(NamedTuple):
    """One frame, its headers unescaped; the body is bytes, whatever they mean."""

    # A frozen dataclass takes three times as long to make, and one is made for each message.
    command: str
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""


def encode(frame: Frame, version: str = "1.2") -> bytes:
    """The bytes of `frame` in `version`, with a content-length whenever there is a body.

    Raises FrameError for a command that STOMP does not have, and for a header that `version` has no
    way to write: a line end in 1.0, a carriage return in 1.1, a NUL in any.
    """
    packer = stomper.Frame()
    try:
        packer.cmd = frame.command
    except stomper.FrameError:
        raise FrameError(f"no such command: {frame.command[:40]!r}") from None
    escapes = _escapes_for(frame.command, version, _ESCAPES)
    headers = dict(frame.headers)
    if frame.body or "content-length" in headers:
        headers["content-length"] = str(len(frame.body))
    packer.headers = {
        _escape(name, escapes, "\r\n\0:"): _escape(value, escapes, "\r\n\0")
        for name, value in headers.items()
    }
    head: bytes = packer.pack().removesuffix("\0\n").encode()
    return head + frame.body + b"\0\n"


def encode_plain_send(destination: str, body: bytes) -> bytes:
    """A SEND frame as `encode` gives it, with `destination` and content-length for all its headers.

    `destination` is one that `check_destination` lets pass: no version escapes anything there.
    """
    return b"SEND\ncontent-length:%d\ndestination:%b\n\n%b\0\n" % (
        len(body),
        destination.encode(),
        body,
    )


def escape(text: str) -> str:
    """`text` as STOMP 1.2 writes it in a header."""
    return _escape(text, _ESCAPES["1.2"], "")


def writable(headers: Mapping[str, str], version: str) -> Mapping[str, str]:
    """Those of `headers` that `version` has a way to write."""
    if version == "1.2":
        return headers
    # A NUL cannot be read from any version, so what is left are the characters without an escape.
    lost = "\r\n" if version == "1.0" else "\r"
    return {
        name: value
        for name, value in headers.items()
        if not any(character in name + value for character in lost)
        and not (version == "1.0" and ":" in name)
    }


class FrameCutter:
    """Cuts a stream of bytes into frames, however the bytes are segmented.

    `version` is that of the frames to come, and may be changed between two frames of one segment:
    frames are cut only as they are taken. `max_frame` bounds a frame's head and its body, each in
    bytes, and so what is buffered of an unfinished one.
    """

    def __init__(self, version: str = "1.0", max_frame: int = 1 << 20) -> None:
        self.version = version
        self.max_frame = max_frame
        # A segment of whole frames is cut as it came. Only what has to wait for more is copied.
        self._data: bytes | bytearray = b""
        # From here on nothing was cut yet, and from there on nothing was looked at.
        self._at = 0
        self._scanned = 0
        # The head of the frame whose body is still to come, and its content-length.
        self._head: tuple[str, Mapping[str, str]] | None = None
        self._length: int | None = None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take `data` in at once; the frames that are whole with it are cut as they are iterated.

        Iterating raises FrameError where the bytes are malformed or too many, and nothing can be
        read behind them.
        """
        if self._data:
            self._data += data
        else:
            self._data = data
        return iter(self._cut, None)

    def _cut(self) -> Frame | None:
        if self._head is None:
            if self._at == len(self._data):
                # All was cut: nothing is held of it.
                self._data, self._at, self._scanned = b"", 0, 0
                return None
            self._cut_head()
        frame = self._cut_body(self._head) if self._head is not None else None
        if frame is None:
            self._keep_rest()
        return frame

    def _keep_rest(self) -> None:
        """Hold no more than what waits for the rest of its frame."""
        at, self._at = self._at, 0
        if isinstance(self._data, bytes):
            self._data = bytearray(memoryview(self._data)[at:])
        else:
            del self._data[:at]
        self._scanned = max(0, self._scanned - at)

    def _cut_head(self) -> None:
        data, at = self._data, self._at
        # Line ends between frames are heart-beats, or the decoration of the frame before.
        if data[at : at + 1] in _LINE_END:
            at = self._at = _LINE_ENDS.match(data, at).end()  # type: ignore[union-attr]
        if at == len(data):
            return
        start = max(at, self._scanned - 2)
        end = data.find(b"\n\n", start)
        behind = end + 2
        if end < 0 or 0 in (head := data[at:end]) or 13 in head:
            # Not whole yet, or a NUL or a blank line of CR LF ends it sooner.
            found = _HEAD_END.search(data, start)
            end, behind = found.span() if found is not None else (len(data), 0)
            head = data[at:end]
        if end - at > self.max_frame:
            raise FrameError(f"headers of more than {self.max_frame} bytes")
        if not behind:
            self._scanned = end
            return
        if not data[end]:
            raise FrameError("a frame that ends within its headers")
        self._head = _parse_head(head, self.version)
        self._length = _content_length(self._head[1])
        self._at = self._scanned = behind

    def _cut_body(self, head: tuple[str, Mapping[str, str]]) -> Frame | None:
        data, at = self._data, self._at
        if self._length is None:
            end = data.find(b"\0", self._scanned)
            self._scanned = len(data)
        else:
            end = at + self._length
        if (len(data) if end < 0 else end) - at > self.max_frame:
            raise FrameError(f"a body of more than {self.max_frame} bytes")
        if not 0 <= end < len(data):
            return None
        if data[end]:
            raise FrameError("no NUL after content-length bytes of body")
        self._head = None
        # Nearly always there is a line end behind it.
        self._at = self._scanned = end + (2 if data[end + 1 : end + 2] == b"\n" else 1)
        return Frame(*head, bytes(data[at:end]))


def _parse_head(data: bytes | bytearray, version: str) -> tuple[str, Mapping[str, str]]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise FrameError("headers that are not UTF-8") from None
    command, *lines = text.split("\n")
    command = command.removesuffix("\r")
    if command not in _COMMANDS:
        raise FrameError(f"no such command: {command[:40]!r}")
    if "\\" not in text and "\r" not in text and version != "1.0":
        # Nearly all heads are of this kind, where nothing has to be looked at twice.
        try:
            plain = dict([line.split(":", 1) for line in lines])
        except ValueError:
            plain = {"": ""}
        if len(plain) == len(lines) and "" not in plain:
            return command, plain
    unescapes = _escapes_for(command, version, _UNESCAPES)
    headers: dict[str, str] = {}
    for line in lines:
        # CR LF is 1.2's; from older clients, which cannot mean anything else by it, it is taken too
        name, colon, value = line.removesuffix("\r").partition(":")
        if not colon or not name:
            raise FrameError(f"no header: {line[:40]!r}" if name else "a header without a name")
        if version == "1.0":
            # Later versions forbid to trim; 1.0's own examples write "login: <username>".
            name, value = name.strip(" "), value.strip(" ")
        # The first of repeated headers is the one that counts.
        headers.setdefault(_unescape(name, unescapes), _unescape(value, unescapes))
    return command, headers


def _content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise FrameError(f"a content-length of {text[:40]!r}")
    return int(text)


def _escapes_for(
    command: str, version: str, table: Mapping[str, Mapping[str, str]]
) -> Mapping[str, str]:
    return table["1.0"] if command in _HANDSHAKE else table[version]


def _escape(text: str, escapes: Mapping[str, str], forbidden: str) -> str:
    for character in forbidden:
        if character in text and character not in escapes:
            raise FrameError(f"a header with {character!r} in it cannot be written")
    for character, escape in escapes.items():
        text = text.replace(character, escape)
    return text


def _unescape(text: str, unescapes: Mapping[str, str]) -> str:
    if not unescapes or "\\" not in text:
        return text

    def character(match: re.Match[str]) -> str:
        try:
            return unescapes[match[0]]
        except KeyError:
            raise FrameError(f"no such escape: {match[0]!r}") from None

    return _ESCAPE.sub(character, text)
