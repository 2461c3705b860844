"""What comes above the line being typed: written in turns, so that typing stays alive.

Each time the line is taken off the screen, what is new is written, and the line is drawn again
below it. With ten thousand messages at once that would be all there is; so there is a pause
between two turns, and a turn takes only so much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from bbs.client.terminal.interfaces import Fragments

PAUSE = 0.05
"""Seconds from one turn to the next: 20 a second, more than an eye follows."""

TURN = 250
"""Lines at most in a turn: some milliseconds, so that a key is never waited for."""


class Above:
    """Hands `write` what was added, in turns."""

    def __init__(self, clock: IReactorTime, write: Callable[[Sequence[Fragments]], None]) -> None:
        self._clock = clock
        self._write = write
        self._waiting: deque[Fragments] = deque()
        self._turn: IDelayedCall | None = None
        self._last = clock.seconds() - PAUSE
        self._held = False

    def add(self, fragments: Fragments) -> None:
        """Show this after all that was added before: at once, if the last turn was a while ago."""
        self._waiting.append(fragments)
        self._plan()

    def hold(self) -> None:
        """Write nothing until `let_go`: somebody reads something else."""
        self._held = True

    def let_go(self) -> None:
        """Go on with what has come meanwhile."""
        self._held = False
        self._plan()

    def flush(self) -> None:
        """Write all that is left, now."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._waiting:
            self._write(list(self._waiting))
            self._waiting.clear()

    def _plan(self) -> None:
        if self._turn is None and self._waiting and not self._held:
            pause = max(0.0, self._last + PAUSE - self._clock.seconds())
            self._turn = self._clock.callLater(pause, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        if self._held:
            return
        count = min(TURN, len(self._waiting))
        self._write([self._waiting.popleft() for _ in range(count)])
        self._last = self._clock.seconds()
        self._plan()
