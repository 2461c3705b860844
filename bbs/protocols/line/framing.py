"""Bytes in, lines out: how a request ends and how long it may be."""

from bbs.protocols.line.interfaces import LineLimits
from bbs.protocols.telnet.reader import IAC, TelnetFilter


class LineBuffer:
    """What one connection has received and nobody has taken yet.

    Lines stay uncut until their turn comes, so what waits costs no more than its bytes; and
    those are bounded if the caller adds nothing while `is_full`: a longest line and one read.
    """

    __slots__ = ("_bytes", "_limits", "_telnet", "waiting")

    def __init__(self, limits: LineLimits) -> None:
        self.waiting = 0
        """How many lines are complete."""
        self._limits = limits
        self._bytes = bytearray()
        self._telnet: TelnetFilter | None = None  # most connections never need one

    @property
    def is_full(self) -> bool:
        """Whether there is enough to do without reading on."""
        # A line of max_line bytes may have a CR behind it whose LF is yet to come.
        too_long = len(self._bytes) > self._limits.max_line + 1
        return too_long or self.waiting >= self._limits.max_pipelined

    @property
    def has_tail(self) -> bool:
        """Whether the last line has no end."""
        return bool(self._bytes) and not self._bytes.endswith(b"\n")

    def tail(self, most: int) -> bytes:
        """What there is of the last line, if that has no end; nothing if it is more than `most`
        bytes, which nobody copies."""
        begin = self._bytes.rfind(b"\n") + 1
        return bytes(self._bytes[begin:]) if len(self._bytes) - begin <= most else b""

    def add(self, data: bytes) -> bool:
        """Take the next bytes from the peer; whether a line ends in them."""
        if self._telnet is None and IAC in data:
            self._telnet = TelnetFilter()
        if self._telnet is not None:
            data = self._telnet.strip(data)
        self._bytes += data
        ends = data.count(b"\n")
        self.waiting += ends
        return ends > 0

    def end_tail(self) -> None:
        """Make a line of what has no line end."""
        if self.has_tail:
            self._bytes += b"\n"
            self.waiting += 1

    def take(self) -> bytes | None:
        """Cut off the next line, without its end; None if there is none yet.

        A line may be longer than max_line. One without an end is given as soon as that is
        certain, and is not cut off: nothing that comes behind it is to be read.
        """
        if not self._bytes:
            return None
        if self.waiting:
            end = self._bytes.index(b"\n")
            line = bytes(self._bytes[:end]).removesuffix(b"\r")
            del self._bytes[: end + 1]
            self.waiting -= 1
            return line
        return bytes(self._bytes) if self.is_full else None

    def clear(self) -> None:
        """Throw away what is left."""
        self._bytes.clear()
        self.waiting = 0
