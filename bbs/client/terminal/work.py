"""Lines that were typed, carried out one after the other while the next are typed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.logger import Logger


class Work:
    """`carry_out` does what a line says and fires with False when that was the last; then `over`
    is called."""

    _log = Logger()

    def __init__(
        self, carry_out: Callable[[str], Deferred[bool]], over: Callable[[], None]
    ) -> None:
        self.under_way = ""
        self._carry_out = carry_out
        self._over = over
        self._lines: deque[str] = deque()
        self._running: Deferred[bool] | None = None

    @property
    def unsent(self) -> int:
        """How many lines have not had their turn."""
        return len(self._lines)

    def add(self, lines: Iterable[str]) -> None:
        """Carry these out too; blank ones say nothing."""
        self._lines.extend(line for line in lines if line.strip(" "))
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
            self.under_way = self._lines.popleft()
            self._running = self._carry_out(self.under_way)
            try:
                goes_on = await self._running
            except Exception:
                self._log.failure("a line was not carried out")
                goes_on = True
            self._running, self.under_way = None, ""
            if not goes_on:
                self._lines.clear()
                self._over()
