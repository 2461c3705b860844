"""The screen of a person at the gateway: output, long lists by pages, and the input line below.

If the terminal leaves editing to the gateway, the input line is one row, in which a long line
scrolls sideways; so it can be removed and drawn again around other output. Long lists then come by
pages, if the window's height is known, and messages are shown above them at once. If a terminal or
a pipe edits lines itself, only the prompt is drawn here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
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
from bbs.ui.gateway.encodings import UTF8, Encoding, is_plain
from bbs.ui.interfaces import IScreen
from bbs.ui.layout import MOST_COLUMNS, table_edge, wrapped_text
from bbs.ui.output import (
    OLDER,
    OutputLine,
    Stamp,
    Timestamps,
    event_entry,
    marked_for_people,
    message_entry,
    reply_entries,
    visible,
    waiting_words,
)
from bbs.ui.unshown import UnshownLines

USUAL_COLUMNS = 80  # assumed of a terminal that has not said (0, RFC 1073)
FEWEST_COLUMNS = 4  # assumed of narrower ones too, which show nothing useful anyway
MOST_IN_COLUMN = 3  # characters, on average, that share a column; more marks are no writing

_CLEAR_TO_END = "\x1b[K"
_CLEAR_BELOW = "\x1b[J"
_CLEAR_SCREEN = "\x1b[H\x1b[2J"


@dataclass(slots=True, eq=False, repr=False)
class LineDisplay:
    """One screen. `_write` gets its output, with LF for the end of a line."""

    _write: Callable[[str], None]
    columns: int = 0
    rows: int = 0
    edits: bool = False  # the input line is drawn here
    encoding: Encoding = UTF8
    _drawn: str = ""
    _column: int = 0
    _start: int = 0

    def show(self, text: str) -> None:
        """Show lines and remove the input line, until it is drawn again."""
        self.clear()
        self._write(f"{text}\n")

    def clear(self) -> None:
        if self._drawn:
            self._write(f"\r{_CLEAR_TO_END}" if self.edits else "\n")
        self._forget()

    def found(self, prompt: str) -> None:
        """Take note of a prompt that the last row has already."""
        self._drawn = prompt

    def entered(self) -> None:
        """Leave the input line on the screen, and go on below it."""
        if self.edits:
            self._write("\n")
        self._forget()

    def resized(self, columns: int) -> None:
        """Set the width, and remove what the terminal made of the old row."""
        self.columns = columns
        if self._drawn and self.edits:
            self._write(f"\r{_CLEAR_BELOW}")
            self._forget()

    def ring(self) -> None:
        self._write("\a")

    def clear_screen(self) -> None:
        if self.edits:
            self._write(_CLEAR_SCREEN)
            self._forget()

    def draw(self, prompt: str, line: EditBuffer | None) -> None:
        """Draw the input line, unless it is drawn so already; None: a hidden line."""
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

    def wrapped(self, text: str, edge: int | None = None) -> str:
        """A text in rows, wrapped between words where the window's width is known (`wrap`)."""
        columns = max(FEWEST_COLUMNS, self.columns or USUAL_COLUMNS) if self.edits else MOST_COLUMNS
        return wrapped_text(text, columns, self._width, edge)

    @property
    def page_rows(self) -> int:
        """The rows for a page; 0 if the window has no pages."""
        return self.rows if self.edits else 0

    def height(self, line: str) -> int:
        columns = max(FEWEST_COLUMNS, self.columns or USUAL_COLUMNS)
        return max(1, -(-self._width(line) // columns))

    def _forget(self) -> None:
        self._drawn, self._column = "", 0

    def _row(self, prompt: str, line: EditBuffer | None) -> tuple[str, int]:
        """The row, and the column of the cursor in it."""
        # The last column stays empty: a character there leaves the cursor in one of two places.
        room = max(FEWEST_COLUMNS, self.columns or USUAL_COLUMNS) - 1
        # The text has half of the row, if it needs that much; a long prompt shows its end.
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
        else:
            left = text[self._start : position]
            if not left or not self._fits(left, room):  # the cursor left the drawn part
                seen = self._fitting(reversed(text[:position]), room // 2)
                self._start = position - len(seen)
        before = prompt + "".join(self._fitting(text[self._start : position], room))
        column = self._width(before)
        room -= column - self._width(prompt)
        return before + "".join(self._fitting(text[position:], room)), column

    def _fits(self, text: str, room: int) -> bool:
        return len(self._fitting(text, room)) == len(text)

    def _fitting(self, characters: Iterable[str], room: int) -> list[str]:
        """The looks of the first characters, as many as fit into `room` columns."""
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


def prompt_text(host: str, conversation: Conversation | None, at_work: bool) -> str:
    """The prompt: who speaks to whom, `ann> ` or `ann>bob> `; while a line is carried out, its
    place in the queue for an app server."""
    if conversation is None:
        return "" if at_work else f"{host}> "
    if at_work:
        waiting = conversation.status.waiting
        return f"{waiting_words(waiting).capitalize()}. " if waiting else ""
    user = host if conversation.current is None else visible(conversation.current)
    talk = f"{visible(conversation.talk.name)}> " if conversation.talk else " "
    return f"{user}>{talk}"


class IGatewaySession(Interface):
    """A session at the gateway, for its screen and its keyboard."""

    is_pipe: bool = Attribute("Whether a program may write and read at the far end.")
    is_busy: bool = Attribute("Whether a line is being carried out.")
    talks: bool = Attribute("Whether a line that is entered now is a message (without a slash).")
    queued: int = Attribute("How many lines wait behind the one that is carried out.")

    def prompt() -> tuple[str, EditBuffer | None]:
        """The prompt, and the line being typed."""

    def show_own(line: str) -> bool:
        """Show a line that was entered as a message, if it goes to the partner at once and its row
        can be drawn again; returns whether it does."""

    def hold_lines() -> None:
        """Hold lines back while there are pages to show."""

    def replied(request: ClientRequest, reply: ServiceReply) -> None:
        """Note a reply that was shown."""

    def ask_password(prompt: str) -> Deferred[str]:
        """Read a password (`IScreen`)."""

    def ask_line(prompt: str) -> Deferred[str]:
        """Read the answer to a question (`IScreen`)."""

    def discard_lines() -> None:
        """Drop the lines that wait (`IScreen`)."""

    def changed() -> None:
        """Draw the prompt again (`IScreen`)."""

    def completions(line: str) -> Sequence[Completion]:
        """The completions of the end of a text."""

    def give_up() -> None:
        """Cancel the line that is being carried out, drop those that wait, and say so."""

    def leave() -> None:
        """End the session as the person wishes."""


FEWEST_ROWS = 4  # rows of the smallest window with pages

PROMPT = "-- more -- any key goes on, q leaves "


@dataclass(slots=True, eq=False, repr=False)
class Pager:
    """The rest of a list that is shown by pages."""

    _display: LineDisplay
    # In reverse order, so that a page is taken off the end.
    _left: list[str] = field(default_factory=list)
    _others: int = 0  # lines of later lists among them

    def __bool__(self) -> bool:
        return bool(self._left)

    def begin(self, lines: Sequence[str]) -> Sequence[str]:
        """The first page of these lines; none before an earlier list is shown to its end."""
        if self._left:
            self._left[:0] = reversed(lines)
            self._others += len(lines)
            return ()
        room = self._display.page_rows
        if room < FEWEST_ROWS or self._fitting(lines, room) == len(lines):
            return lines
        self._left, self._others = [*reversed(lines)], 0
        return self.turn()

    def turn(self) -> Sequence[str]:
        """The next page; all the rest, if the window has no pages any more."""
        room = self._display.page_rows
        count = len(self._left)
        if room >= FEWEST_ROWS:
            count = max(1, self._fitting([*reversed(self._left[-room:])], room))
        return [self._left.pop() for _ in range(min(count, len(self._left)))]

    def leave(self) -> Sequence[str]:
        """Show no more; returns the rest of the list itself, without what came behind it."""
        left, self._left = self._left[self._others :], []
        return left[::-1]

    def _fitting(self, lines: Sequence[str], rows: int) -> int:
        """How many lines fit into a window with a prompt in the last row."""
        room = rows - 1
        for count, line in enumerate(lines):
            room -= self._display.height(line)
            if room < 0:
                return count
        return len(lines)


@implementer(IScreen)
@dataclass(slots=True, eq=False, repr=False)
class GatewayScreen:
    """The output of one person, with times, above the session's prompt."""

    _clock: IReactorTime
    _vocabulary: CommandCatalog
    _times: Timestamps
    display: LineDisplay
    _session: IGatewaySession
    stamps: bool = True  # messages have their time before them
    rings: bool = False  # the bell rings for a message to the person alone, or with their name
    _pager: Pager = field(init=False)
    _paged: ClientRequest | None = None  # what the list in pages answers
    _unshown: UnshownLines[str] = field(default_factory=UnshownLines)
    _soon: IDelayedCall | None = None
    _over: bool = False

    def __post_init__(self) -> None:
        self._pager = Pager(self.display)

    def show(self, text: str) -> None:
        """Show lines above the input line."""
        if not self._over:
            self.display.show(text)
            self.draw_soon()

    def draw_soon(self) -> None:
        """Draw the input line after all other output of this turn of the reactor."""
        if self._soon is None and not self._over:
            self._soon = self._clock.callLater(0, self.draw)

    def draw(self) -> None:
        self._cancel()
        if not self._over:
            self.display.draw(*self._session.prompt())

    def end(self) -> None:
        self._over = True
        self._cancel()

    def _cancel(self) -> None:
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        self._soon = None

    # IScreen

    def reply(self, request: ClientRequest, reply: ServiceReply) -> None:
        presentation, short = self._presentation, self._times.short
        entries = reply_entries(presentation, reply, request.user, short, people=True)
        lines = [line for each in entries for line in self._stamped(each)]
        self._page(self._unshown.before(request, reply, lines), request)
        self._session.replied(request, reply)

    def message(self, user: str, message: ChatMessage, for_you: bool) -> None:
        entry = message_entry(message, user)
        self.show("\n".join(self._stamped(entry)))
        if for_you and self.rings:
            self.display.ring()

    def own(self, user: str, message: ChatMessage) -> None:
        """Show what `user` says in a talk now, in place of the row in which it was typed."""
        entry = message_entry(message, user, in_talk=True)
        stamp = self._times.now() if self.stamps else Stamp()
        self.show("\n".join(self._with_time(stamp, entry)))

    def past(self, user: str, messages: Sequence[ChatMessage], older: bool) -> None:
        lines = [OLDER] if older else []
        for each in messages:
            lines += self._stamped(message_entry(each, user, in_talk=True))
        self._page(lines)

    def event(self, user: str, event: ServiceEvent) -> None:
        entry = event_entry(self._presentation, event, self._times.short)
        if entry.time is None and self.stamps:
            lines = self._with_time(self._times.now(), entry)
        else:
            lines = self._stamped(entry)
        self.show("\n".join(lines))

    def notice(self, text: str) -> None:
        lines = (self.display.wrapped(each, table_edge(each)) for each in text.split("\n"))
        self._page([row for each in lines for row in each.split("\n")])

    def problem(self, text: str) -> None:
        self.show(self.display.wrapped(marked_for_people(text)))

    def ask_password(self, prompt: str) -> Deferred[str]:
        return self._session.ask_password(prompt)

    def ask_line(self, prompt: str) -> Deferred[str]:
        return self._session.ask_line(prompt)

    def discard_lines(self) -> None:
        self._session.discard_lines()

    def queued(self) -> int:
        return self._session.queued

    def changed(self) -> None:
        self._session.changed()

    @property
    def for_programs(self) -> bool:
        return self._session.is_pipe

    @property
    def _presentation(self) -> Presentation:
        return self._vocabulary.presentation

    @property
    def has_pages(self) -> bool:
        """Whether a list has more pages; then `turn` gets each key."""
        return bool(self._pager)

    def turn(self, pressed: str | EditKey) -> None:
        """Show the next page, or leave the list."""
        if pressed in (EditKey.INTERRUPT, EditKey.END_OF_INPUT, "q", "Q"):
            self.display.clear()
            left = self._pager.leave()
            if self._paged and (words := self._unshown.keep(self._paged, left)):
                self.notice(words)
        elif page := self._pager.turn():
            self.show("\n".join(page))
        self._session.hold_lines()

    def _page(self, lines: Sequence[str], request: ClientRequest | None = None) -> None:
        if not self._pager:
            self._paged = request
        if page := self._pager.begin(lines):
            self.show("\n".join(page))
            self._session.hold_lines()

    def _stamped(self, entry: OutputLine) -> Sequence[str]:
        return self._with_time(self._times.stamp(entry.time) if self.stamps else Stamp(), entry)

    def _with_time(self, stamp: Stamp, entry: OutputLine) -> Sequence[str]:
        """The rows of a line after its time, and one for the day before them where another day
        begins."""
        before = f"{stamp.time} " if stamp.time else ""
        edge = len(before) + entry.edge
        said = self.display.wrapped(f"{before}{entry.text}", edge or None).split("\n")
        return [f"--- {stamp.day} ---", *said] if stamp.day else said
