"""What a person at the gateway is shown: replies, messages and words, with their times.

Long lists come a window at a time where the window's height is known and the line is edited here;
what is said meanwhile is shown at once, above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from bbs.client.typed import Typed
from bbs.client.values import ChatMessage, ServiceEvent, ServiceReply
from bbs.client.vocabulary import Vocabulary
from bbs.protocols.presentation import Presentation
from bbs.ui.gateway.pager import Pager
from bbs.ui.screen import IScreen
from bbs.ui.text import OLDER, event_entry, message_line, reply_entries
from bbs.ui.times import Stamp, Times

BELL = "\a"


@implementer(IScreen)
class Screen:
    """`show` shows text above the line being typed, and `ring` rings the terminal's bell. `replied`
    is told of each answer that was shown; `ask` and `changed` are the visit's part of IScreen."""

    __slots__ = (
        "_ask",
        "_changed",
        "_replied",
        "_ring",
        "_show",
        "_times",
        "_vocabulary",
        "pager",
        "rings",
        "stamps",
    )

    def __init__(
        self,
        vocabulary: Vocabulary,
        times: Times,
        pager: Pager,
        *,
        show: Callable[[str], None],
        ring: Callable[[], None],
        replied: Callable[[Typed, ServiceReply], None],
        ask: Callable[[str], Deferred[str]],
        changed: Callable[[], None],
    ) -> None:
        self.pager = pager
        self._vocabulary = vocabulary
        self._times = times
        self._show = show
        self._ring = ring
        self._replied = replied
        self._ask = ask
        self._changed = changed
        self.stamps = True
        """Whether what was said has its time before it."""
        self.rings = False
        """Whether the bell rings when somebody writes to the person, or names them."""

    # IScreen

    def reply(self, request: Typed, reply: ServiceReply) -> None:
        entries = reply_entries(self._presentation, reply, request.user, self._times.since)
        self._page([line for each in entries for line in self._stamped(each.text, each.time)])
        self._replied(request, reply)

    def message(self, user: str, message: ChatMessage, for_you: bool) -> None:
        line = message_line(self._presentation, message, user)
        self._show("\n".join(self._stamped(line, message.time)))
        if for_you and self.rings:
            self._ring()

    def past(self, user: str, messages: Sequence[ChatMessage], older: bool) -> None:
        lines = [OLDER] if older else []
        for each in messages:
            lines += self._stamped(message_line(self._presentation, each, user), each.time)
        self._page(lines)

    def event(self, user: str, event: ServiceEvent) -> None:
        entry = event_entry(self._presentation, event, self._times.since)
        if entry.time is None and self.stamps:
            lines = _beside(self._times.now(), entry.text)
        else:
            lines = self._stamped(entry.text, entry.time)
        self._show("\n".join(lines))

    def notice(self, text: str) -> None:
        self._page(text.split("\n"))

    def problem(self, text: str) -> None:
        self._show(text)

    def ask_password(self, prompt: str) -> Deferred[str]:
        return self._ask(prompt)

    def changed(self) -> None:
        self._changed()

    @property
    def _presentation(self) -> Presentation:
        return self._vocabulary.presentation

    # Pages

    def turn(self, leaves: bool) -> None:
        """Show the next page of what is left, or leave that."""
        if leaves:
            self.pager.leave()
        elif page := self.pager.turn():
            self._show("\n".join(page))

    def _page(self, lines: Sequence[str]) -> None:
        if page := self.pager.begin(lines):
            self._show("\n".join(page))

    def _stamped(self, line: str, time: float | None) -> Sequence[str]:
        return _beside(self._times.stamp(time) if self.stamps else Stamp(), line)


def _beside(stamp: Stamp, line: str) -> Sequence[str]:
    """A line with its time before it, and a line before that where another day begins."""
    said = f"{stamp.time} {line}" if stamp.time else line
    return [f"--- {stamp.day} ---", said] if stamp.day else [said]
