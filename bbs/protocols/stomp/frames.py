"""STOMP frames: bytes off the wire cut into frames, and frames turned into bytes.

STOMP 1.0, 1.1 and 1.2 (https://stomp.github.io/stomp-specification-1.2.html). `FrameCutter` takes
bytes in any segmentation; `encode` is the way back. Neither knows a socket or a reactor.

What comes from `stomper` (0.4.3): the list of commands, and `stomper.Frame.pack()`, which lays the
frame out. It is right about both and about nothing else that is needed here, so this module does
the rest itself:

* `Frame.pack()` escapes nothing: headers are given to it escaped for the version.
* Its bodies are text: `pack()` is given an empty one, and the bytes are put in before the NUL.
* `unpack_frame()` drops blank lines, outer spaces and NULs from bodies, trims and never unescapes
  headers, and lets the last of repeated headers win, where the first must: it is not used.
* `StompBuffer` counts characters where content-length counts bytes, expects a line feed behind
  every NUL, and loses a frame that arrives behind a heart-beat: it is not used.
* `connect()` asks for 1.1 alone, the frame functions know no receipts, and there is no STOMP
  command: frames are built from `Frame`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import stomper

__all__ = [
    "HEARTBEAT",
    "VERSIONS",
    "Frame",
    "FrameCutter",
    "FrameError",
    "encode",
    "escape",
    "writable",
]

HEARTBEAT = b"\n"
"""What either side sends to show that it is alive while it has nothing to say."""

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
_LINE_ENDS = re.compile(rb"[\r\n]*")


class FrameError(ValueError):
    """Bytes that are not STOMP, or a frame that the version cannot express."""


@dataclass(frozen=True)
class Frame:
    """One frame, its headers unescaped; the body is bytes, whatever they mean."""

    command: str
    headers: Mapping[str, str] = field(default_factory=dict)
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
        self._buffer = bytearray()
        self._scanned = 0
        self._head: Frame | None = None
        self._length: int | None = None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take `data` in at once; the frames that are whole with it are cut as they are iterated.

        Iterating raises FrameError where the bytes are no STOMP or too many; there is no way to go
        on after that.
        """
        self._buffer += data
        return iter(self._cut, None)

    def _cut(self) -> Frame | None:
        if self._head is None:
            self._cut_head()
        if self._head is None:
            return None
        return self._cut_body(self._head)

    def _cut_head(self) -> None:
        # Line ends between frames are heart-beats, or the decoration of the frame before.
        start = _LINE_ENDS.match(self._buffer)
        if start is not None and start.end():
            del self._buffer[: start.end()]
        found = _HEAD_END.search(self._buffer, max(0, self._scanned - 2))
        size = len(self._buffer) if found is None else found.start()
        if size > self.max_frame:
            raise FrameError(f"headers of more than {self.max_frame} bytes")
        if found is None:
            self._scanned = len(self._buffer)
            return
        if found[0] == b"\0":
            raise FrameError("a frame that ends within its headers")
        head = _parse_head(bytes(self._buffer[: found.start()]), self.version)
        del self._buffer[: found.end()]
        self._scanned = 0
        self._length = _content_length(head)
        self._head = head

    def _cut_body(self, head: Frame) -> Frame | None:
        length = self._length
        if length is None:
            length = self._buffer.find(b"\0", self._scanned)
            self._scanned = len(self._buffer)
        size = len(self._buffer) if length < 0 else length
        if size > self.max_frame:
            raise FrameError(f"a body of more than {self.max_frame} bytes")
        if length < 0 or len(self._buffer) <= length:
            return None
        if self._buffer[length]:
            raise FrameError("no NUL after content-length bytes of body")
        body = bytes(self._buffer[:length])
        del self._buffer[: length + 1]
        self._head, self._scanned = None, 0
        return Frame(head.command, head.headers, body)


def _parse_head(data: bytes, version: str) -> Frame:
    try:
        command, *lines = data.decode().split("\n")
    except UnicodeDecodeError:
        raise FrameError("headers that are not UTF-8") from None
    command = command.removesuffix("\r")
    if command not in _COMMANDS:
        raise FrameError(f"no such command: {command[:40]!r}")
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
    return Frame(command, headers)


def _content_length(head: Frame) -> int | None:
    text = head.headers.get("content-length")
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
