"""What a person at the gateway sees: text, long lists a window at a time, and below it all the line
being typed.

Where the terminal leaves editing to the gateway, the line is one row, in which a long line moves
sideways; so it can be taken away and drawn again whenever something else is to be shown. Where a
terminal (or a pipe) edits lines itself, nothing but the prompt is ours.

Long lists come a window at a time where the window's height is known and the line is edited here;
what is said meanwhile is shown at once, above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import Attribute, Interface, implementer

from bbs.client.catalog import CommandCatalog
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply
from bbs.client.request import ClientRequest
from bbs.protocols.presentation import Presentation
from bbs.ui.completion import Completion
from bbs.ui.conversation import Conversation
from bbs.ui.gateway.editor import EditBuffer, EditKey
from bbs.ui.gateway.peer import UTF8, Encoding, is_plain
from bbs.ui.interfaces import IScreen
from bbs.ui.output import (
    OLDER,
    Stamp,
    Timestamps,
    event_entry,
    message_line,
    reply_entries,
    visible,
    waiting_line,
)

USUAL_COLUMNS = 80
"""What a terminal has that does not say (RFC 1073 has 0 for that)."""

FEWEST_COLUMNS = 4
"""A narrower line is drawn as if it had so many: there is nothing to be seen in it anyway."""

MOST_IN_COLUMN = 3
"""Characters, on average, that share a column: marks without an end are no writing."""

_CLEAR_TO_END = "\x1b[K"
_CLEAR_BELOW = "\x1b[J"
_CLEAR_SCREEN = "\x1b[H\x1b[2J"


class LineDisplay:
    """One screen. `write` gets what is to appear there, with LF for the end of a line."""

    __slots__ = ("_column", "_drawn", "_start", "_write", "columns", "edits", "encoding", "rows")

    def __init__(self, write: Callable[[str], None]) -> None:
        self.columns = 0
        self.rows = 0
        self.edits = False
        """Whether the line being typed is drawn here."""
        self.encoding: Encoding = UTF8
        self._write = write
        self._drawn = ""
        self._column = 0
        self._start = 0

    def show(self, text: str) -> None:
        """Show lines above the line being typed, which is away until it is drawn again."""
        self.clear()
        self._write(f"{text}\n")

    def clear(self) -> None:
        """Take the line being typed away."""
        if self._drawn:
            self._write(f"\r{_CLEAR_TO_END}" if self.edits else "\n")
        self._forget()

    def entered(self) -> None:
        """The line being typed was ended: it stays, and what follows is below it."""
        if self.edits:
            self._write("\n")
        self._forget()

    def resized(self, columns: int) -> None:
        """The screen has so many columns now; what a terminal made of the old row is taken away."""
        self.columns = columns
        if self._drawn and self.edits:
            self._write(f"\r{_CLEAR_BELOW}")
            self._forget()

    def ring(self) -> None:
        """Ring the terminal's bell."""
        self._write("\a")

    def clear_screen(self) -> None:
        if self.edits:
            self._write(_CLEAR_SCREEN)
            self._forget()

    def draw(self, prompt: str, line: EditBuffer | None) -> None:
        """Draw the line being typed, where it is not drawn like that already; None: one of which
        there is nothing to see."""
        if not self.edits:
            if not self._drawn:
                self._write(prompt)
                self._drawn = prompt
            return
        row, column = self._row(prompt, line)
        if (row, column) == (self._drawn, self._column):
            return
        if row.startswith(self._drawn) and self._column == self._width(self._drawn):
            self._write(row[len(self._drawn) :])
        else:
            self._write(f"\r{row}{_CLEAR_TO_END}")
        self._drawn, self._column = row, column
        if column < self._width(row):
            self._write(f"\r\x1b[{column}C" if column else "\r")

    @property
    def page_rows(self) -> int:
        """The rows of a window that is shown pages; 0 for none."""
        return self.rows if self.edits else 0

    def height(self, line: str) -> int:
        """How many rows a line takes."""
        columns = max(FEWEST_COLUMNS, self.columns or USUAL_COLUMNS)
        return max(1, -(-self._width(line) // columns))

    def _forget(self) -> None:
        self._drawn, self._column = "", 0

    def _row(self, prompt: str, line: EditBuffer | None) -> tuple[str, int]:
        """The row, and the column of the cursor in it."""
        # The last column stays empty: a character there leaves the cursor in one of two places.
        room = max(FEWEST_COLUMNS, self.columns or USUAL_COLUMNS) - 1
        # What is typed has half of the row, if it needs that much; of a long prompt the end says
        # more.
        typed = line.text if line else ""
        if len(prompt) + len(typed) <= room and is_plain(prompt) and is_plain(typed):
            if line is None:
                return prompt, len(prompt)
            self._start = 0
            return prompt + typed, len(prompt) + line.position
        typed_room = self._width("".join(self._fitting(typed, room // 2)))
        prompt = "".join(reversed(self._fitting(reversed(prompt), room - typed_room)))
        if line is None:
            return prompt, self._width(prompt)
        text, position = line.text, line.position
        room -= self._width(prompt)
        if self._fits(text, room):
            self._start = 0
        elif not self._in_sight(text, position, room):
            seen = self._fitting(reversed(text[:position]), room // 2)
            self._start = position - len(seen)
        before = prompt + "".join(self._fitting(text[self._start : position], room))
        column = self._width(before)
        room -= column - self._width(prompt)
        return before + "".join(self._fitting(text[position:], room)), column

    def _in_sight(self, text: str, position: int, room: int) -> bool:
        """Whether the cursor is in a row that begins where the last one did, and something that is
        before it too."""
        before = text[self._start : position]
        return bool(before) and self._fits(before, room)

    def _fits(self, text: str, room: int) -> bool:
        return len(self._fitting(text, room)) == len(text)

    def _fitting(self, characters: Iterable[str], room: int) -> list[str]:
        """How the first of some characters look, as many as fit in so many columns."""
        looks = []
        for character in islice(characters, MOST_IN_COLUMN * room):
            look = self.encoding.shown(character)
            room -= self._width(look)
            if room < 0:
                break
            looks.append(look)
        return looks

    def _width(self, text: str) -> int:
        return self.encoding.width(text)


def prompt_text(host: str, conversation: Conversation, at_work: bool) -> str:
    """The words before the line being typed: who speaks to whom, `ann> ` or `ann>bob> `; while a
    line is carried out, what that waits for."""
    if at_work:
        waiting = conversation.status.waiting
        return f"{waiting_line(waiting)} " if waiting else ""
    user = host if conversation.current is None else visible(conversation.current)
    talk = f"{visible(conversation.talk.name)}> " if conversation.talk else " "
    return f"{user}>{talk}"


class IGatewaySession(Interface):
    """A session at the gateway, as its screen and its keyboard use it."""

    is_busy: bool = Attribute("Whether a line is being carried out.")
    talks: bool = Attribute("Whether a line that is entered now is said, unless a slash begins it.")

    def prompt() -> tuple[str, EditBuffer | None]:
        """What stands below everything else: words, and the line being typed."""

    def hold_lines() -> None:
        """Hold lines back, or let them go, as pages that are left have it."""

    def replied(request: ClientRequest, reply: ServiceReply) -> None:
        """Note an answer of the service's that was shown."""

    def ask_password(prompt: str) -> Deferred[str]:
        """As `IScreen` has it."""

    def changed() -> None:
        """As `IScreen` has it."""

    def completions(line: str) -> Sequence[Completion]:
        """The completions of the end of a text."""

    def give_up() -> None:
        """Wait no more for the line that is being carried out."""

    def leave() -> None:
        """End the session as the person wishes."""


FEWEST_ROWS = 4
"""Rows of the smallest window in which something is shown by pages."""

PROMPT = "-- more -- any key goes on, q leaves "


class Pager:
    """What is left of a list, of which `display` shows pages."""

    __slots__ = ("_display", "_left")

    def __init__(self, display: LineDisplay) -> None:
        self._display = display
        # The last comes first, so that a page is taken off the end.
        self._left: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._left)

    def begin(self, lines: Sequence[str]) -> Sequence[str]:
        """What to show of these lines at first; what is left waits for `turn`. Behind a list that
        is not shown to its end nothing is shown at all."""
        if self._left:
            self._left[:0] = reversed(lines)
            return ()
        room = self._display.page_rows
        if room < FEWEST_ROWS or self._fitting(lines, room) == len(lines):
            return lines
        self._left = [*reversed(lines)]
        return self.turn()

    def turn(self) -> Sequence[str]:
        """The next page; all that is left, where the window has no pages any more."""
        room = self._display.page_rows
        count = len(self._left)
        if room >= FEWEST_ROWS:
            count = max(1, self._fitting([*reversed(self._left[-room:])], room))
        return [self._left.pop() for _ in range(min(count, len(self._left)))]

    def leave(self) -> None:
        """Nobody wants to see the rest."""
        self._left.clear()

    def _fitting(self, lines: Sequence[str], rows: int) -> int:
        """How many lines fit in a window, whose last row is the prompt's."""
        room = rows - 1
        for count, line in enumerate(lines):
            room -= self._display.height(line)
            if room < 0:
                return count
        return len(lines)


@implementer(IScreen)
class GatewayScreen:
    """What one person reads on `display`: replies, messages and words, with their times, above the
    prompt of `session`."""

    __slots__ = (
        "_clock",
        "_over",
        "_pager",
        "_session",
        "_soon",
        "_times",
        "_vocabulary",
        "display",
        "rings",
        "stamps",
    )

    def __init__(
        self,
        clock: IReactorTime,
        vocabulary: CommandCatalog,
        times: Timestamps,
        display: LineDisplay,
        session: IGatewaySession,
    ) -> None:
        self.display = display
        self.stamps = True
        """Whether what was said has its time before it."""
        self.rings = False
        """Whether the bell rings when somebody writes to the person, or names them."""
        self._clock = clock
        self._vocabulary = vocabulary
        self._times = times
        self._session = session
        self._pager = Pager(display)
        self._soon: IDelayedCall | None = None
        self._over = False

    def show(self, text: str) -> None:
        """Show lines above the line being typed."""
        if not self._over:
            self.display.show(text)
            self.draw_soon()

    def draw_soon(self) -> None:
        """Draw the line when everything else that is to be shown now has been."""
        if self._soon is None and not self._over:
            self._soon = self._clock.callLater(0, self.draw)

    def draw(self) -> None:
        """Draw the line being typed as it is."""
        self._cancel()
        if not self._over:
            self.display.draw(*self._session.prompt())

    def end(self) -> None:
        """Nothing is drawn any more."""
        self._over = True
        self._cancel()

    def _cancel(self) -> None:
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        self._soon = None

    # IScreen

    def reply(self, request: ClientRequest, reply: ServiceReply) -> None:
        entries = reply_entries(self._presentation, reply, request.user, self._times.since)
        self._page([line for each in entries for line in self._stamped(each.text, each.time)])
        self._session.replied(request, reply)

    def message(self, user: str, message: ChatMessage, for_you: bool) -> None:
        line = message_line(self._presentation, message, user)
        self.show("\n".join(self._stamped(line, message.time)))
        if for_you and self.rings:
            self.display.ring()

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
        self.show("\n".join(lines))

    def notice(self, text: str) -> None:
        self._page(text.split("\n"))

    def problem(self, text: str) -> None:
        self.show(text)

    def ask_password(self, prompt: str) -> Deferred[str]:
        return self._session.ask_password(prompt)

    def changed(self) -> None:
        self._session.changed()

    @property
    def _presentation(self) -> Presentation:
        return self._vocabulary.presentation

    # Pages

    @property
    def has_pages(self) -> bool:
        """Whether a list has pages left: then `turn` gets each key."""
        return bool(self._pager)

    def turn(self, pressed: str | EditKey) -> None:
        """Show the next page of what is left, or leave that."""
        if pressed in (EditKey.INTERRUPT, EditKey.END_OF_INPUT, "q", "Q"):
            self.display.clear()
            self._pager.leave()
        elif page := self._pager.turn():
            self.show("\n".join(page))
        self._session.hold_lines()

    def _page(self, lines: Sequence[str]) -> None:
        if page := self._pager.begin(lines):
            self.show("\n".join(page))
            self._session.hold_lines()

    def _stamped(self, line: str, time: float | None) -> Sequence[str]:
        return _beside(self._times.stamp(time) if self.stamps else Stamp(), line)


def _beside(stamp: Stamp, line: str) -> Sequence[str]:
    """A line with its time before it, and a line before that where another day begins."""
    said = f"{stamp.time} {line}" if stamp.time else line
    return [f"--- {stamp.day} ---", said] if stamp.day else [said]
