"""What somebody types, made into lines: by the keys of a telnet, or cut from what a pipe sends.

Lines wait in a queue for whoever carries them out, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from bbs.ui.completion import Completion
from bbs.ui.gateway.editor import Editor, Key, Keys
from bbs.ui.gateway.peer import Encoding, Kind, Peer
from bbs.ui.gateway.screen import Display
from bbs.ui.interfaces import GivenUp
from bbs.ui.output import visible
from bbs.ui.prompts import CLEAR, HOW_TO_END, Asking, Press, questions, without_password

MOST_WAITING = 64
"""Complete lines that may wait for their turn before no more is read, as on the other ports."""

Line = str | bytes
"""A pipe's lines are bytes until their turn comes: one before them may change the encoding."""


class Answer(str):
    """A line that was typed out of sight, as a password: for a question, and for nothing else."""

    __slots__ = ()


class LineQueue:
    """Lines for one reader. While `held` is set none is given out.

    It is full when more wait than may, or more than `most` bytes. `on_room` is called when lines
    were taken from it.
    """

    __slots__ = ("_ended", "_held", "_lines", "_most", "_reader", "_size", "on_room")

    def __init__(self, most: int) -> None:
        self.on_room: Callable[[], None] = lambda: None
        self._most = most
        self._size = 0
        # No deque: an empty one takes ten times the memory, and most are empty.
        self._lines: list[Line] = []
        self._reader: Deferred[Line | None] | None = None
        self._held = False
        self._ended = False

    @property
    def is_full(self) -> bool:
        return len(self._lines) >= MOST_WAITING or self._size > self._most

    @property
    def held(self) -> bool:
        return self._held

    @held.setter
    def held(self, held: bool) -> None:
        self._held = held
        self._give()

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines)

    def add(self, line: Line) -> None:
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

    def next(self) -> Deferred[Line | None]:
        """The next line, None behind the last. May be cancelled."""
        reader: Deferred[Line | None] = Deferred(self._withdraw)
        self._reader = reader
        self._give()
        return reader

    def give_up(self) -> None:
        """Have the reader fail with `GivenUp`, if there is one."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.errback(GivenUp())

    def _give(self) -> None:
        if self._reader is not None and not self._held and (self._lines or self._ended):
            reader, self._reader = self._reader, None
            reader.callback(self._take() if self._lines else None)

    def _take(self) -> Line:
        line = self._lines.pop(0)
        self._size -= len(line)
        self.on_room()
        return line

    def _withdraw(self, _: Deferred[Line | None]) -> None:
        self._reader = None


class LineCutter:
    """Cuts bytes at LF. Of a line over `most` bytes nothing is kept: None stands in its place."""

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
        """What a line has begun with; it begins anew."""
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

_COMMANDS: Mapping[int, Key] = {
    0xEC: Key.END_OF_INPUT,  # end of file (RFC 1184)
    0xF3: Key.INTERRUPT,  # break
    0xF4: Key.INTERRUPT,  # interrupt process
    0xF7: Key.BACKSPACE,  # erase character
    0xF8: Key.KILL_LINE,  # erase line
}
_ARE_YOU_THERE = 0xF6


@dataclass(frozen=True)
class Actions:
    """What keys do beside editing.

    `say` shows words, `draw` the line as it is. `busy` tells whether a line is being carried out,
    and `give_up` waits for it no more. `talks` tells whether a line that is entered now is said to
    somebody, unless it begins with a slash. `leave` ends the session. `completions` has what the
    end of a text may become. While there are `pages` left of a list, `turn` gets each key.
    """

    say: Callable[[str], None]
    draw: Callable[[], None]
    busy: Callable[[], bool]
    give_up: Callable[[], None]
    talks: Callable[[], bool]
    leave: Callable[[], None]
    completions: Callable[[str], Sequence[Completion]]
    pages: Callable[[], bool]
    turn: Callable[[str | Key], None]


class Keyboard:
    """Gives `lines` what comes from `peer`."""

    __slots__ = (
        "_actions",
        "_answers",
        "_asking",
        "_cutter",
        "_decoder",
        "_display",
        "_hidden",
        "_keys",
        "_lines",
        "_most",
        "_peer",
        "_shown",
        "asked",
    )

    def __init__(
        self, peer: Peer, display: Display, lines: LineQueue, most: int, actions: Actions
    ) -> None:
        self.asked = False
        """Whether a password is asked for right now."""
        self._answers = 0  # that will be asked for by what was entered, and are not typed yet
        self._peer = peer
        self._display = display
        self._lines = lines
        self._most = most
        self._actions = actions
        self._asking = Asking(actions.say)
        self._keys = Keys()
        self._decoder = peer.encoding.decoder()
        self._cutter = LineCutter(most)
        self._shown = Editor(most)
        self._hidden = Editor(most)

    @property
    def visible_line(self) -> Editor | None:
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
            self._actions.say(NOT_SENT.format(unasked))
        if not any(isinstance(line, str) and questions(line, users=False) for line in self._lines):
            self._expect(0)

    def remember(self, line: str) -> None:
        """A line was no password, and can be called back; what follows `login NAME` is left out."""
        self._shown.remember(without_password(line))

    def use(self, encoding: Encoding) -> None:
        """What is typed comes in another encoding from now on."""
        self._decoder = encoding.decoder()

    def typed(self, text: bytes) -> bool:
        """Take text from the peer; whether there is any."""
        if self._peer.kind is Kind.TELNET:
            # A line may have begun before it was known that this is telnet.
            for each in self._keys.read(self._decoder.decode(self._cutter.rest() + text)):
                self._pressed(each)
            return bool(text)
        for line in self._cutter.feed(text):
            if line is None:
                self._too_long()
            else:
                self._display.entered()
                self._lines.add(line)
        return bool(text)

    def command(self, code: int) -> bool:
        """Take one of telnet's commands; whether it is a key, as most of them are (RFC 854)."""
        if code == _ARE_YOU_THERE:
            self._actions.say(HERE)
        elif code in _COMMANDS:
            self._pressed(_COMMANDS[code])
        return code in _COMMANDS

    def ended(self) -> None:
        """Nothing more is typed. A pipe's last line may lack its end."""
        if rest := self._cutter.rest():
            self._lines.add(rest)
        self._lines.end()

    def _pressed(self, pressed: str | Key) -> None:
        if self._actions.pages():
            return self._actions.turn(pressed)
        line = self._hidden if self._hides else self._shown
        if isinstance(pressed, str):
            was_overlong = line.overlong
            line.insert(pressed)
            if line.overlong and not was_overlong:
                self._too_long()
            return
        match pressed:
            case Key.ENTER:
                self._enter(line)
            case Key.INTERRUPT:
                self._interrupt(line)
            case Key.END_OF_INPUT:
                self._end_of_input(line)
            case Key.TAB if not self._hides and line.position <= MOST_COMPLETED:
                self._complete(line)
            case Key.REDRAW:
                self._display.clear_screen()
            case _:
                line.press(pressed)

    def _too_long(self) -> None:
        self._actions.say(TOO_LONG.format(self._most))

    def _enter(self, line: Editor) -> None:
        if self._display.edits:
            self._actions.draw()
        self._display.entered()
        overlong, text = line.overlong, line.take()
        if overlong:
            return
        if self._hides:
            self._answers = max(0, self._answers - 1)
            self._lines.add(Answer(text))
        else:
            said = self._actions.talks() and not text.startswith("/")
            self._answers = 0 if said else questions(text, users=False)
            self._lines.add(text)

    def _expect(self, answers: int) -> None:
        self._answers = answers
        self._hidden.take()

    def _interrupt(self, line: Editor) -> None:
        if self.asked:
            self._display.entered()
            self._lines.give_up()
        elif self._actions.busy() or self._hides:
            if unsent := self._lines.clear():
                self._actions.say(NOT_SENT.format(unsent))
            self._expect(0)
            self._actions.give_up()
        elif not line.text:
            self._actions.say(HOW_TO_END)
        elif self._asking.confirmed(Press("c-c", line.text), CLEAR):
            line.take()

    def _end_of_input(self, line: Editor) -> None:
        under_way = "a line" if self._actions.busy() else ""
        if self._hides:
            self._interrupt(line)
        elif line.position < len(line.text):
            line.press(Key.DELETE)
        else:
            press = Press("c-d", line.text, under_way)
            unsent = line.text or under_way
            if not unsent or self._asking.confirmed(press, UNSENT):
                self._actions.leave()

    def _complete(self, line: Editor) -> None:
        """Go on as far as is clear, else show what there is."""
        begun = line.text[: line.position]
        found = self._actions.completions(begun)
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
            self._asking.once(Press("tab", begun), "  ".join(shown))
