"""Cut bytes into STOMP frames, and write frames as bytes.

STOMP 1.0, 1.1 and 1.2 (https://stomp.github.io/stomp-specification-1.2.html). `FrameCutter` takes
bytes in any segmentation; `encode` is the way back. Neither uses a socket or a reactor.

`stomper` (0.4.3) gives the list of commands, and `stomper.Frame.pack()`, which lays the frame out:
`_pack` is the only place that calls it. It is never given bytes of a peer's to read, and its own
dependency `future` is not even imported on Python 3. The rest of it is not correct enough, so this
module does the rest itself:

* `Frame.pack()` escapes nothing: it gets headers that are escaped for the version.
* Its bodies are text: it gets an empty body, and the bytes are put in before the NUL.
* `unpack_frame()` drops blank lines, outer spaces and NULs from bodies, trims and never unescapes
  headers, and takes the last of repeated headers instead of the first: it is not used.
* `StompBuffer` counts characters where content-length counts bytes, expects a line feed after every
  NUL, and loses a frame after a heart-beat: it is not used.
* `connect()` requests only 1.1, the frame functions have no receipts, and there is no STOMP
  command: frames are built from `Frame`.

Most SEND and MESSAGE frames have no headers of the sender's own, and are written without `stomper`
(`encode_plain_send`, and `Subscriber.message` in the broker).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import stomper

HEARTBEAT = b"\n"
COPY = "copy-of"
"""The header with a name of a message's, where it goes through several brokers (`redundant.py`)."""

VERSIONS = ("1.0", "1.1", "1.2")  # oldest first

_COMMANDS = frozenset([*stomper.VALID_COMMANDS, "STOMP"])
# These frames negotiate the version, so nothing in them is escaped.
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
_LONGEST_END = 2  # Bytes of such an end before its last one.
_LINE_END = (b"\n", b"\r")
_LINE_ENDS = re.compile(rb"[\r\n]*")


class FrameError(ValueError):
    """Malformed bytes, or a frame that the version cannot express."""


class Frame(NamedTuple):
    """One frame, with unescaped headers, and bytes as its body."""

    # Making a frozen dataclass for each message would take three times as long.
    command: str
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes = b""


def encode(frame: Frame, version: str = "1.2") -> bytes:
    """The bytes of `frame` in `version`, with a content-length if there is a body.

    Raises FrameError for an unknown command, and for a header that cannot be written in `version`:
    a line end in 1.0, a carriage return in 1.1, a NUL in any.
    """
    escapes = _ESCAPES["1.0" if frame.command in _HANDSHAKE else version]
    headers = dict(frame.headers)
    if frame.body or "content-length" in headers:
        headers["content-length"] = str(len(frame.body))
    written = {
        _escape(name, escapes, "\r\n\0:"): _escape(value, escapes, "\r\n\0")
        for name, value in headers.items()
    }
    return _pack(frame.command, written) + frame.body + b"\0\n"


def _pack(command: str, headers: Mapping[str, str]) -> bytes:
    """Lay out the head of a frame, with `headers` that are escaped."""
    packer = stomper.Frame()
    try:
        packer.cmd = command
    except stomper.FrameError:
        raise FrameError(f"no such command: {command[:40]!r}") from None
    packer.headers = headers
    head: str = packer.pack().removesuffix("\0\n")
    return head.encode()


def encode_plain_send(destination: str, body: bytes, more: bytes = b"") -> bytes:
    """Write a SEND frame without other headers, for a `destination` that passes
    `check_destination`: no version escapes anything there. `more`: whole lines of headers in which
    none does either."""
    head = b"SEND\ncontent-length:%d\n%bdestination:%b\n\n%b\0\n"
    return head % (len(body), more, destination.encode(), body)


def escape(text: str) -> str:
    """Escape `text` for a header of STOMP 1.2."""
    return _escape(text, _ESCAPES["1.2"], "")


def writable(headers: Mapping[str, str], version: str) -> Mapping[str, str]:
    """The `headers` that can be written in `version`."""
    if version == "1.2":
        return headers
    # A NUL cannot have been read in any version, so these are the characters without an escape.
    lost = "\r\n" if version == "1.0" else "\r"
    return {
        name: value
        for name, value in headers.items()
        if not any(character in name + value for character in lost)
        and not (version == "1.0" and ":" in name)
    }


class FrameCutter:
    """Cuts a stream of bytes, in any segmentation, into frames.

    `version` is for the next frames, and may be changed between two frames of one segment: frames
    are cut only when they are taken. `max_frame` limits the bytes of a frame's head, and of its
    body, and so the buffer for an unfinished frame.
    """

    def __init__(self, version: str = "1.0", max_frame: int = 1 << 20) -> None:
        self.version = version
        self.max_frame = max_frame
        # A segment of whole frames is not copied, only an unfinished frame is.
        self._data: bytes | bytearray = b""
        self._at = 0  # The bytes before are cut.
        self._scanned = 0  # The bytes before are searched.
        # The head of the frame whose body is still to come, and its content-length.
        self._head: tuple[str, Mapping[str, str]] | None = None
        self._length: int | None = None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add `data` at once, and cut the frames that are now whole during iteration. Iteration
        raises FrameError if the bytes are malformed or too many; nothing after them can be read."""
        if self._data:
            self._data += data
        else:
            self._data = data
        return iter(self._cut, None)

    def _cut(self) -> Frame | None:
        if self._head is None:
            if self._at == len(self._data):
                self._data, self._at, self._scanned = b"", 0, 0
                return None
            self._cut_head()
        frame = self._cut_body(self._head) if self._head is not None else None
        if frame is None:
            self._keep_rest()
        return frame

    def _keep_rest(self) -> None:
        """Keep only the bytes of the unfinished frame."""
        at, self._at = self._at, 0
        if isinstance(self._data, bytes):
            self._data = bytearray(memoryview(self._data)[at:])
        else:
            del self._data[:at]
        self._scanned = max(0, self._scanned - at)

    def _cut_head(self) -> None:
        data, at = self._data, self._at
        # Line ends between frames are heart-beats, or follow the last frame.
        if data[at : at + 1] in _LINE_END:
            at = self._at = _LINE_ENDS.match(data, at).end()  # type: ignore[union-attr]
        if at == len(data):
            return
        start = max(at, self._scanned - 2)
        end = data.find(b"\n\n", start)
        behind = end + 2
        if end < 0 or 0 in (head := data[at:end]) or 13 in head:
            # The head is not whole, or a NUL or a blank line of CR LF ends it.
            found = _HEAD_END.search(data, start)
            end, behind = found.span() if found is not None else (len(data), 0)
            head = data[at:end]
        # Without an end, the last bytes may begin the line that ends the head.
        if end - at > self.max_frame + (0 if behind else _LONGEST_END):
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
        # Nearly always a line end follows.
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
        # Nearly all heads are of this simple kind.
        try:
            plain = dict([line.split(":", 1) for line in lines])
        except ValueError:
            plain = {"": ""}
        if len(plain) == len(lines) and "" not in plain:
            return command, plain
    unescapes = _UNESCAPES["1.0" if command in _HANDSHAKE else version]
    headers: dict[str, str] = {}
    for line in lines:
        # CR LF is from 1.2; in older versions, where it has no other meaning, it is accepted too
        name, colon, value = line.removesuffix("\r").partition(":")
        if not colon or not name:
            raise FrameError(f"no header: {line[:40]!r}" if name else "a header without a name")
        if version == "1.0":
            # The examples of 1.0 have "login: <username>"; later versions forbid trimming.
            name, value = name.strip(" "), value.strip(" ")
        # The first of repeated headers counts.
        headers.setdefault(_unescape(name, unescapes), _unescape(value, unescapes))
    return command, headers


def _content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise FrameError(f"a content-length of {text[:40]!r}")
    return int(text)


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
