"""When a person's line is drawn: below everything that is shown, once all of that has been."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from bbs.ui.conversation import Conversation
from bbs.ui.gateway.display import Display
from bbs.ui.gateway.editor import Editor
from bbs.ui.text import visible, waiting_line


def prompt(host: str, conversation: Conversation, at_work: bool) -> str:
    """The words before the line being typed: who speaks to whom, `ann> ` or `ann>bob> `; while a
    line is carried out, what that waits for."""
    if at_work:
        waiting = conversation.status.waiting
        return f"{waiting_line(waiting)} " if waiting else ""
    user = host if conversation.current is None else visible(conversation.current)
    talk = f"{visible(conversation.talk.name)}> " if conversation.talk else " "
    return f"{user}>{talk}"


class Drawing:
    """Draws on `display` what `look` says: the words before the line, and the line."""

    __slots__ = ("_clock", "_display", "_look", "_over", "_soon")

    def __init__(
        self,
        clock: IReactorTime,
        display: Display,
        look: Callable[[], tuple[str, Editor | None]],
    ) -> None:
        self._clock = clock
        self._display = display
        self._look = look
        self._soon: IDelayedCall | None = None
        self._over = False

    def show(self, text: str) -> None:
        """Show lines above the line being typed."""
        if not self._over:
            self._display.show(text)
            self.soon()

    def soon(self) -> None:
        """Draw the line when everything else that is to be shown now has been."""
        if self._soon is None and not self._over:
            self._soon = self._clock.callLater(0, self.now)

    def now(self) -> None:
        """Draw the line."""
        self._cancel()
        if not self._over:
            self._display.draw(*self._look())

    def end(self) -> None:
        """Nothing is drawn any more."""
        self._over = True
        self._cancel()

    def _cancel(self) -> None:
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        self._soon = None
