"""Lines that were typed, carried out one after the other while the next are typed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.logger import Logger


@dataclass
class Line:
    """A line that was entered. `as_text`: in a talk it is said, whatever it begins with.

    `questions` is how many passwords it will ask for that nobody has entered yet; `answers` are
    those that were entered before they were asked for.
    """

    text: str
    as_text: bool = False
    questions: int = 0
    answers: deque[str] = field(default_factory=deque)


class Work:
    """`carry_out` does what a line says and fires with False when that was the last; then `over`
    is called."""

    _log = Logger()

    def __init__(
        self, carry_out: Callable[[Line], Deferred[bool]], over: Callable[[], None]
    ) -> None:
        self.line: Line | None = None
        self._carry_out = carry_out
        self._over = over
        self._lines: deque[Line] = deque()
        self._running: Deferred[bool] | None = None

    @property
    def under_way(self) -> str:
        """The line that is being carried out; empty when none is."""
        return self.line.text if self.line is not None else ""

    @property
    def questioner(self) -> Line | None:
        """The first line, of that and those behind it, for which a password is to be entered."""
        return next((line for line in self.lines if line.questions), None)

    @property
    def lines(self) -> Iterator[Line]:
        """That which is being carried out, and those behind it."""
        return (line for line in (self.line, *self._lines) if line is not None)

    @property
    def unsent(self) -> int:
        """How many lines have not had their turn."""
        return len(self._lines)

    def add(self, lines: Iterable[Line]) -> None:
        """Carry these out too; blank ones say nothing."""
        self._lines.extend(line for line in lines if line.text.strip(" "))
        if self._running is None:
            Deferred.fromCoroutine(self._work())

    def give_up(self) -> int:
        """Wait no more for what is under way, and forget what is behind it: so many lines."""
        count = len(self._lines)
        self._lines.clear()
        if self._running is not None:
            self._running.cancel()
        return count

    async def _work(self) -> None:
        while self._lines:
            self.line = self._lines.popleft()
            self._running = self._carry_out(self.line)
            try:
                goes_on = await self._running
            except Exception:
                self._log.failure("a line was not carried out")
                goes_on = True
            self._running = self.line = None
            if not goes_on:
                self._lines.clear()
                self._over()
