"""The seam between a conversation's face and the line in which somebody types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from prompt_toolkit.formatted_text import OneStyleAndTextTuple
from twisted.internet.defer import Deferred
from zope.interface import Interface

Fragments = Sequence[OneStyleAndTextTuple]
"""One or more lines with their styles, without the end of the last."""


class SetAside(Exception):
    """The prompt was taken off the screen before Enter."""


class IEditor(Interface):
    """Shows one prompt at a time, and lines above it."""

    def raw() -> AbstractContextManager[None]:
        """For as long as nothing but prompts is read: what is typed between two of them, a
        password perhaps, is not shown by the terminal itself."""

    def line() -> Deferred[str]:
        """What is typed until Enter. Fails with `SetAside`, and with EOFError when nothing can be
        typed any more."""

    def password(prompt: Callable[[], str]) -> Deferred[str]:
        """The same, hidden; fails with `GivenUp` too, when somebody will not say it. `prompt`
        gives the words before it, which `redraw` shows anew."""

    def set_aside() -> None:
        """Take the prompt away, if there is one; the next `line` goes on with the same text. What
        was typed of a password is forgotten."""

    def end() -> None:
        """Leave the prompt, if there is one, as it is: nothing more is asked for."""

    def redraw() -> None:
        """Draw the prompt anew, as what it tells of has changed."""

    def print(lines: Sequence[Fragments]) -> None:
        """Write lines above the prompt, which stays as it is."""
