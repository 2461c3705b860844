"""Lines on their way to whoever carries them out, one at a time, and how a pipe's are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred

from bbs.ui.screen import GivenUp

MOST_WAITING = 64
"""Complete lines that may wait for their turn before no more is read, as on the other ports."""

Line = str | bytes
"""A pipe's lines are bytes until their turn comes: one before them may change the encoding."""


class Answer(str):
    """A line that was typed out of sight, as a password: for a question, and for nothing else."""

    __slots__ = ()


class LineQueue:
    """Lines for one reader. While `held` is set none is given out.

    It is full when more wait than may, or more than `most` bytes. `on_room` is called when lines
    were taken from it.
    """

    __slots__ = ("_ended", "_held", "_lines", "_most", "_reader", "_size", "on_room")

    def __init__(self, most: int) -> None:
        self.on_room: Callable[[], None] = lambda: None
        self._most = most
        self._size = 0
        # No deque: an empty one takes ten times the memory, and most are empty.
        self._lines: list[Line] = []
        self._reader: Deferred[Line | None] | None = None
        self._held = False
        self._ended = False

    @property
    def is_full(self) -> bool:
        return len(self._lines) >= MOST_WAITING or self._size > self._most

    @property
    def held(self) -> bool:
        return self._held

    @held.setter
    def held(self, held: bool) -> None:
        self._held = held
        self._give()

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines)

    def add(self, line: Line) -> None:
        self._lines.append(line)
        self._size += len(line)
        self._give()

    def end(self) -> None:
        """No more lines come: the reader gets None behind the last."""
        self._ended = True
        self._give()

    def clear(self) -> int:
        """Forget what waits: so many lines."""
        count = len(self._lines)
        self._lines.clear()
        self._size = 0
        self.on_room()
        return count

    def skip_answers(self) -> int:
        """Forget the answers that would be next: so many."""
        count = 0
        while self._lines and isinstance(self._lines[0], Answer):
            self._take()
            count += 1
        return count

    def next(self) -> Deferred[Line | None]:
        """The next line, None behind the last. May be cancelled."""
        reader: Deferred[Line | None] = Deferred(self._withdraw)
        self._reader = reader
        self._give()
        return reader

    def give_up(self) -> None:
        """Have the reader fail with `GivenUp`, if there is one."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.errback(GivenUp())

    def _give(self) -> None:
        if self._reader is not None and not self._held and (self._lines or self._ended):
            reader, self._reader = self._reader, None
            reader.callback(self._take() if self._lines else None)

    def _take(self) -> Line:
        line = self._lines.pop(0)
        self._size -= len(line)
        self.on_room()
        return line

    def _withdraw(self, _: Deferred[Line | None]) -> None:
        self._reader = None


class LineCutter:
    """Cuts bytes at LF. Of a line over `most` bytes nothing is kept: None stands in its place."""

    __slots__ = ("_begun", "_most", "_overlong")

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun = bytearray()
        self._overlong = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """The lines that are complete with these bytes, and None as soon as one is too long."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            yield from self._add(end)
            if not self._overlong:
                yield bytes(self._begun)
            self.rest()
        yield from self._add(rest)

    def rest(self) -> bytes:
        """What a line has begun with; it begins anew."""
        begun = bytes(self._begun)
        self._begun.clear()
        self._overlong = False
        return begun

    def _add(self, part: bytes) -> Iterator[None]:
        if not self._overlong:
            self._begun += part
            if len(self._begun) > self._most:
                self._begun.clear()
                self._overlong = True
                yield None
