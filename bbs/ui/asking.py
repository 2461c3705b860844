"""Keys that are meant only when they are pressed twice.

Ctrl-C would lose a half-typed line, Ctrl-D would end with something unsent. The first press asks,
in words; the same key again, with nothing else changed, is the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

CLEAR = "Ctrl-C again clears the line."
HOW_TO_END = "exit or Ctrl-D ends."


@dataclass(frozen=True)
class Press:
    """A key, and all that would be lost by it."""

    key: str
    line: str
    under_way: str = ""


class Asking:
    """Remembers what was asked last; `say` shows a question."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._asked: Press | None = None

    def confirmed(self, press: Press, question: str) -> bool:
        """Whether this was asked and is pressed again; else it is asked now."""
        if press == self._asked:
            self._asked = None
            return True
        self.once(press, question)
        return False

    def once(self, press: Press, words: str) -> None:
        """Say this, unless it was the last that was said."""
        if press != self._asked:
            self._asked = press
            self._say(words)
