"""What comes above the line being typed: written in turns, so that typing stays alive.

Each time the line is taken off the screen, what is new is written, and the line is drawn again
below it. With ten thousand messages at once that would be all there is; so there is a pause
between two turns, and a turn takes only so much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from prompt_toolkit.formatted_text import fragment_list_len
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from bbs.client.vocabulary import Vocabulary
from bbs.ui.talk import history_command
from bbs.ui.terminal import looks
from bbs.ui.terminal.interfaces import Fragments
from bbs.ui.text import visible

PAUSE = 0.05
"""Seconds from one turn to the next: 20 a second, more than an eye follows."""

TURN = 250
"""Lines at most in a turn: some milliseconds, so that a key is never waited for."""

MOST_HELD = 10_000
MOST_CHARACTERS = 4 * 1024 * 1024
"""What is kept of what comes while somebody reads something else, whichever is reached first: they
may do so for days. The latest stay."""


class Above:
    """Hands `write` what was added, in turns; `vocabulary` knows where what is left out is still to
    be had."""

    def __init__(
        self,
        clock: IReactorTime,
        vocabulary: Vocabulary,
        write: Callable[[Sequence[Fragments]], None],
    ) -> None:
        self._vocabulary = vocabulary
        self._clock = clock
        self._write = write
        self._waiting: deque[Fragments] = deque()
        self._turn: IDelayedCall | None = None
        self._last = clock.seconds() - PAUSE
        self._held = False
        self._size = 0
        """Characters that have come while it is held, and wait."""
        self._left_out = 0

    def add(self, fragments: Fragments) -> None:
        """Show this after all that was added before: at once, if the last turn was a while ago."""
        self._waiting.append(fragments)
        if self._held:
            self._size += fragment_list_len(list(fragments))
            while len(self._waiting) > MOST_HELD or self._size > MOST_CHARACTERS:
                self._size -= fragment_list_len(list(self._waiting.popleft()))
                self._left_out += 1
        self._plan()

    def hold(self) -> None:
        """Write nothing until `let_go`: somebody reads something else."""
        self._held, self._size = True, sum(fragment_list_len(list(one)) for one in self._waiting)

    def let_go(self) -> None:
        """Go on with what has come meanwhile."""
        self._held = False
        self._tell_left_out()
        self._plan()

    def flush(self) -> None:
        """Write all that is left, now."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._tell_left_out()
        if self._waiting:
            self._write(list(self._waiting))
            self._waiting.clear()

    def _tell_left_out(self) -> None:
        if self._left_out:
            count, self._left_out = self._left_out, 0
            history = history_command(self._vocabulary)
            where = f"; {visible(history)} NAME has messages" if history else ""
            words = f"{count:,} came before these and are left out here{where}."
            self._waiting.appendleft(looks.notice(words))

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
