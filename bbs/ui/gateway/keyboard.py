"""What somebody types, made into lines: by the keys of a telnet, or cut from what a pipe sends.

Lines wait in a queue for whoever carries them out, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from twisted.internet.defer import Deferred

from bbs.ui.gateway.editor import EditBuffer, EditKey, KeyReader
from bbs.ui.gateway.peer import Encoding, GatewayPeer, PeerKind
from bbs.ui.gateway.screen import GatewayScreen, IGatewaySession
from bbs.ui.interfaces import PromptCancelled
from bbs.ui.output import visible
from bbs.ui.prompts import (
    CLEAR,
    HOW_TO_END,
    KeyConfirmation,
    KeyPress,
    count_questions,
    without_password,
)

MOST_WAITING = 64
"""Complete lines that may wait for their turn before no more is read, as on the other ports."""

InputLine = str | bytes
"""A pipe's lines are bytes until their turn comes: one before them may change the encoding."""


class Answer(str):
    """A line that was typed out of sight, as a password: for a question, and for nothing else."""

    __slots__ = ()


class InputQueue:
    """Lines for one reader. While it is `held` none is given out.

    It is full when more wait than may, or more than `most` bytes. `on_room` is called when lines
    were taken from it.
    """

    __slots__ = ("_ended", "_lines", "_most", "_reader", "_size", "held", "on_room")

    def __init__(self, most: int) -> None:
        self.on_room: Callable[[], None] = lambda: None
        self._most = most
        self._size = 0
        # No deque: an empty one takes ten times the memory, and most are empty.
        self._lines: list[InputLine] = []
        self._reader: Deferred[InputLine | None] | None = None
        self.held = False
        self._ended = False

    @property
    def is_full(self) -> bool:
        return len(self._lines) >= MOST_WAITING or self._size > self._most

    def hold(self, held: bool) -> None:
        """Give no line out, or go on."""
        self.held = held
        self._give()

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[InputLine]:
        return iter(self._lines)

    def add(self, line: InputLine) -> None:
        self._lines.append(line)
        self._size += len(line)
        self._give()

    def end(self) -> None:
        """No more lines come: the reader gets None behind the last."""
        self._ended = True
        self._give()

    def clear(self) -> int:
        """Forget what waits: so many lines."""
        count = len(self._lines)
        self._lines.clear()
        self._size = 0
        self.on_room()
        return count

    def skip_answers(self) -> int:
        """Forget the answers that would be next: so many."""
        count = 0
        while self._lines and isinstance(self._lines[0], Answer):
            self._take()
            count += 1
        return count

    def next(self) -> Deferred[InputLine | None]:
        """The next line, None behind the last. May be cancelled."""
        reader: Deferred[InputLine | None] = Deferred(self._withdraw)
        self._reader = reader
        self._give()
        return reader

    def give_up(self) -> None:
        """Have the reader fail with `PromptCancelled`, if there is one."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.errback(PromptCancelled())

    def _give(self) -> None:
        if self._reader is not None and not self.held and (self._lines or self._ended):
            reader, self._reader = self._reader, None
            reader.callback(self._take() if self._lines else None)

    def _take(self) -> InputLine:
        line = self._lines.pop(0)
        self._size -= len(line)
        self.on_room()
        return line

    def _withdraw(self, _: Deferred[InputLine | None]) -> None:
        self._reader = None


class LineCutter:
    """Cuts bytes at LF. A line over `most` bytes is not kept: None stands in its place."""

    __slots__ = ("_begun", "_most", "_overlong")

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun = bytearray()
        self._overlong = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """The lines that are complete with these bytes, and None as soon as one is too long."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            yield from self._add(end)
            if not self._overlong:
                yield bytes(self._begun)
            self.rest()
        yield from self._add(rest)

    def rest(self) -> bytes:
        """Take what a line has begun with."""
        begun = bytes(self._begun)
        self._begun.clear()
        self._overlong = False
        return begun

    def _add(self, part: bytes) -> Iterator[None]:
        if not self._overlong:
            self._begun += part
            if len(self._begun) > self._most:
                self._begun.clear()
                self._overlong = True
                yield None


MOST_SHOWN = 50
"""Completions that are shown; a service may have thousands of groups."""

MOST_COMPLETED = 500
"""Characters before the cursor in which something is completed; behind them is a message."""

UNSENT = "Ctrl-D again ends all the same: something is not sent or not answered yet."
TOO_LONG = "Line too long: over {} bytes. Nothing of it is sent."
NOT_SENT = "Not sent: {} behind it."
HERE = "bbs is here."

_COMMANDS: Mapping[int, EditKey] = {
    0xEC: EditKey.END_OF_INPUT,  # end of file (RFC 1184)
    0xF3: EditKey.INTERRUPT,  # break
    0xF4: EditKey.INTERRUPT,  # interrupt process
    0xF7: EditKey.BACKSPACE,  # erase character
    0xF8: EditKey.KILL_LINE,  # erase line
}
_ARE_YOU_THERE = 0xF6


class Keyboard:
    """Gives `lines` what comes from `peer`."""

    __slots__ = (
        "_answers",
        "_confirmation",
        "_cutter",
        "_decoder",
        "_hidden",
        "_keys",
        "_lines",
        "_most",
        "_peer",
        "_screen",
        "_session",
        "_shown",
        "asked",
    )

    def __init__(
        self,
        peer: GatewayPeer,
        screen: GatewayScreen,
        lines: InputQueue,
        most: int,
        session: IGatewaySession,
    ) -> None:
        self.asked = False
        """Whether a password is asked for right now."""
        self._answers = 0  # that will be asked for by what was entered, and are not typed yet
        self._peer = peer
        self._screen = screen
        self._lines = lines
        self._most = most
        self._session = session
        self._confirmation = KeyConfirmation()
        self._keys = KeyReader()
        self._decoder = peer.encoding.decoder()
        self._cutter = LineCutter(most)
        self._shown = EditBuffer(most)
        self._hidden = EditBuffer(most)

    @property
    def visible_line(self) -> EditBuffer | None:
        """The line being typed, None while it is not to be seen: a password is typed, perhaps
        before it is asked for. A line that was begun before comes back behind it."""
        return None if self._hides else self._shown

    @property
    def _hides(self) -> bool:
        return self.asked or self._answers > 0

    def line_is_over(self) -> None:
        """A line was carried out. Passwords that were typed for it, and that it did not ask for,
        must not be carried out in their turn."""
        if unasked := self._lines.skip_answers():
            self._screen.show(NOT_SENT.format(unasked))
        if not any(
            isinstance(line, str) and count_questions(line, users=False) for line in self._lines
        ):
            self._expect(0)

    def remember(self, line: str) -> None:
        """A line was no password, and can be called back; what follows `login NAME` is left out."""
        self._shown.remember(without_password(line))

    def use(self, encoding: Encoding) -> None:
        """Read another encoding from now on."""
        self._decoder = encoding.decoder()

    def typed(self, text: bytes) -> bool:
        """Take text from the peer; whether there is any."""
        if self._peer.kind is PeerKind.TELNET:
            # A line may have begun before it was known that this is telnet.
            for each in self._keys.read(self._decoder.decode(self._cutter.rest() + text)):
                self._pressed(each)
            return bool(text)
        for line in self._cutter.feed(text):
            if line is None:
                self._too_long()
            else:
                self._screen.display.entered()
                self._lines.add(line)
        return bool(text)

    def command(self, code: int) -> bool:
        """Take one of telnet's commands; whether it is a key, as most of them are (RFC 854)."""
        if code == _ARE_YOU_THERE:
            self._screen.show(HERE)
        elif code in _COMMANDS:
            self._pressed(_COMMANDS[code])
        return code in _COMMANDS

    def ended(self) -> None:
        """Nothing more is typed. A pipe's last line may lack its end."""
        if rest := self._cutter.rest():
            self._lines.add(rest)
        self._lines.end()

    def _pressed(self, pressed: str | EditKey) -> None:
        if self._screen.has_pages:
            return self._screen.turn(pressed)
        line = self._hidden if self._hides else self._shown
        if isinstance(pressed, str):
            was_overlong = line.overlong
            line.insert(pressed)
            if line.overlong and not was_overlong:
                self._too_long()
            return
        match pressed:
            case EditKey.ENTER:
                self._enter(line)
            case EditKey.INTERRUPT:
                self._interrupt(line)
            case EditKey.END_OF_INPUT:
                self._end_of_input(line)
            case EditKey.TAB if not self._hides and line.position <= MOST_COMPLETED:
                self._complete(line)
            case EditKey.REDRAW:
                self._screen.display.clear_screen()
            case _:
                line.press(pressed)

    def _too_long(self) -> None:
        self._screen.show(TOO_LONG.format(self._most))

    def _enter(self, line: EditBuffer) -> None:
        if self._screen.display.edits:
            self._screen.draw()
        self._screen.display.entered()
        overlong, text = line.overlong, line.take()
        if overlong:
            return
        if self._hides:
            self._answers = max(0, self._answers - 1)
            self._lines.add(Answer(text))
        else:
            said = self._session.talks and not text.startswith("/")
            self._answers = 0 if said else count_questions(text, users=False)
            self._lines.add(text)

    def _expect(self, answers: int) -> None:
        self._answers = answers
        self._hidden.take()

    def _interrupt(self, line: EditBuffer) -> None:
        if self.asked:
            self._screen.display.entered()
            self._lines.give_up()
        elif self._session.is_busy or self._hides:
            if unsent := self._lines.clear():
                self._screen.show(NOT_SENT.format(unsent))
            self._expect(0)
            self._session.give_up()
        elif not line.text:
            self._screen.show(HOW_TO_END)
        elif self._confirmation.confirms(KeyPress("c-c", line.text)):
            line.take()
        else:
            self._screen.show(CLEAR)

    def _end_of_input(self, line: EditBuffer) -> None:
        under_way = "a line" if self._session.is_busy else ""
        if self._hides:
            self._interrupt(line)
        elif line.position < len(line.text):
            line.press(EditKey.DELETE)
        else:
            press = KeyPress("c-d", line.text, under_way)
            unsent = line.text or under_way
            if not unsent or self._confirmation.confirms(press):
                self._session.leave()
            else:
                self._screen.show(UNSENT)

    def _complete(self, line: EditBuffer) -> None:
        """Go on as far as is clear, else show what there is."""
        begun = line.text[: line.position]
        found = self._session.completions(begun)
        if not found:
            return
        texts = [each.text for each in found]
        common = texts[0]
        while not all(text.startswith(common) for text in texts):
            common = common[:-1]
        more = common[len(begun) - found[0].start :]
        if more or len(texts) == 1:
            line.insert(f"{more} " if len(texts) == 1 else more)
        else:
            more_than_shown = [f"… {len(texts)} in all"] if len(texts) > MOST_SHOWN else []
            shown = [*map(visible, texts[:MOST_SHOWN]), *more_than_shown]
            if self._confirmation.is_new(KeyPress("tab", begun)):
                self._screen.show("  ".join(shown))
