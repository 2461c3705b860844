"""The input of one person: lines, from the keys of a terminal or the bytes of a pipe.

Lines wait in a queue until they are carried out, one at a time.
"""

from __future__ import annotations

from codecs import IncrementalDecoder
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from bbs.ui.gateway.editor import EditBuffer, EditKey, KeyReader
from bbs.ui.gateway.encodings import Encoding
from bbs.ui.gateway.interfaces import ITerminal
from bbs.ui.gateway.screen import GatewayScreen, IGatewaySession
from bbs.ui.interfaces import PromptCancelled
from bbs.ui.output import visible
from bbs.ui.prompts import CLEAR, HOW_TO_END, KeyConfirmation, count_questions, without_password
from bbs.ui.unsent import MOST_OF_OVERLONG, hidden_lines, overlong_line

MOST_WAITING = 64
"""Complete lines that may wait before no more is read, as on the other ports."""

InputLine = str | bytes
"""A pipe's lines are bytes until their turn comes: a line before them may change the encoding."""


class Answer(str):
    """A line that was typed hidden, as a password; it must not be used for anything else."""

    __slots__ = ()


@dataclass(slots=True, eq=False, repr=False)
class InputQueue:
    """Lines for one reader, who gets none while the queue is `held`. `MOST_WAITING` lines, or more
    than `_most` bytes, fill it; `on_room` is called when lines were taken."""

    _most: int
    on_room: Callable[[], None] = lambda: None
    _size: int = 0
    # No deque: an empty one takes ten times the memory, and most are empty.
    _lines: list[InputLine] = field(default_factory=list)
    _reader: Deferred[InputLine | None] | None = None
    held: bool = False
    _ended: bool = False

    @property
    def is_full(self) -> bool:
        return len(self._lines) >= MOST_WAITING or self._size > self._most

    def hold(self, held: bool) -> None:
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
        """Give the reader None after the last line."""
        self._ended = True
        self._give()

    def clear(self) -> list[InputLine]:
        """Drop all lines, and return them."""
        dropped, self._lines = self._lines, []
        self._size = 0
        self.on_room()
        return dropped

    def skip_answers(self) -> int:
        """Drop the answers at the front; returns how many."""
        count = 0
        while self._lines and isinstance(self._lines[0], Answer):
            self._take()
            count += 1
        return count

    def next(self) -> Deferred[InputLine | None]:
        """The next line, None after the last. May be cancelled."""
        reader: Deferred[InputLine | None] = Deferred(self._withdraw)
        self._reader = reader
        self._give()
        return reader

    def give_up(self) -> None:
        """Make the reader, if there is one, fail with `PromptCancelled`."""
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


class Overlong(bytes):
    """The first bytes of a line that is too long."""

    __slots__ = ()


@dataclass(slots=True, eq=False, repr=False)
class LineCutter:
    """Cuts bytes at LF. `Overlong` takes the place of a line of more than `_most` bytes."""

    _most: int
    _begun: bytearray = field(default_factory=bytearray)
    _overlong: bool = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that these bytes complete, and `Overlong` as soon as one is too long."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            yield from self._add(end)
            if not self._overlong:
                yield bytes(self._begun)
            self.rest()
        yield from self._add(rest)

    def rest(self) -> bytes:
        begun = bytes(self._begun)
        self._begun.clear()
        self._overlong = False
        return begun

    def _add(self, part: bytes) -> Iterator[Overlong]:
        if not self._overlong:
            self._begun += part
            if len(self._begun) > self._most:
                begun = Overlong(self._begun[: self._most])
                self._begun.clear()
                self._overlong = True
                yield begun


MOST_SHOWN = 50  # completions shown; a service may have thousands of groups

MOST_COMPLETED = 500
"""Characters before the cursor up to which words are completed; a longer line is a message."""

UNSENT = "Ctrl-D again ends all the same: something is not sent or not answered yet."
TOO_LONG = "the line is over {} bytes"
HERE = "bbs is here."


@dataclass(slots=True, eq=False, repr=False)
class Keyboard:
    """Adds the input from a terminal to a queue of lines, of at most `_most` bytes each."""

    _terminal: ITerminal
    _screen: GatewayScreen
    _lines: InputQueue
    _most: int
    _session: IGatewaySession
    asked: bool = False  # a password is asked for right now
    _answers: int = 0  # passwords that the entered lines will ask for, and that are not typed yet
    _confirmation: KeyConfirmation = field(default_factory=KeyConfirmation)
    _keys: KeyReader = field(default_factory=KeyReader)
    _decoder: IncrementalDecoder = field(init=False)
    _cutter: LineCutter = field(init=False)
    _shown: EditBuffer = field(init=False)
    _hidden: EditBuffer = field(init=False)

    def __post_init__(self) -> None:
        self._decoder = self._terminal.encoding.decoder()
        self._cutter = LineCutter(self._most)
        self._shown, self._hidden = EditBuffer(self._most), EditBuffer(self._most)

    @property
    def visible_line(self) -> EditBuffer | None:
        """The line being typed; None during a password, even before it is asked for. A line that
        was begun before that returns afterwards."""
        return None if self._hides else self._shown

    @property
    def _hides(self) -> bool:
        return self.asked or self._answers > 0

    def line_is_over(self) -> None:
        """Drop passwords that the line did not ask for: they must not be carried out as lines."""
        if unasked := self._lines.skip_answers():
            self._screen.show(hidden_lines(unasked))
        if not any(
            isinstance(line, str) and count_questions(line, users=False) for line in self._lines
        ):
            self._expect(0)

    def remember(self, line: str) -> None:
        """Add a line to the history, without passwords."""
        self._shown.remember(without_password(line))

    def use(self, encoding: Encoding) -> None:
        self._decoder = encoding.decoder()

    def typed(self, text: bytes) -> bool:
        """Take text from the terminal; returns whether there is any."""
        if self._terminal.sends_keys:
            # A line may have begun before the terminal said that it sends keys.
            for each in self._keys.read(self._decoder.decode(self._cutter.rest() + text)):
                self._pressed(each)
            return bool(text)
        for line in self._cutter.feed(text):
            if isinstance(line, Overlong):
                self._too_long(self._terminal.encoding.decode(line[: 4 * MOST_OF_OVERLONG]))
            else:
                self._screen.display.entered()
                self._lines.add(line)
        return bool(text)

    def key(self, key: EditKey) -> bool:
        """Take a key that came beside text; returns whether a person pressed it."""
        if key is EditKey.ARE_YOU_THERE:
            self._screen.show(HERE)
            return False
        self._pressed(key)
        return True

    def ended(self) -> None:
        """End the input. A pipe's last line may lack its end."""
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
                self._too_long("" if self._hides else line.text)
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

    def _too_long(self, begun: str) -> None:
        self._screen.show(overlong_line(begun, TOO_LONG.format(self._most)))

    def _enter(self, line: EditBuffer) -> None:
        if self._screen.display.edits:
            self._screen.draw()
        overlong, text = line.overlong, line.take()
        if self._hides or overlong or not self._session.show_own(text):
            self._screen.display.entered()
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
            self._expect(0)
            self._session.give_up()
        elif not line.text:
            self._screen.show(HOW_TO_END)
        elif self._confirmation.confirms("c-c", line.text):
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
            unsent = line.text or under_way
            if not unsent or self._confirmation.confirms("c-d", line.text, under_way):
                self._session.leave()
            else:
                self._screen.show(UNSENT)

    def _complete(self, line: EditBuffer) -> None:
        """Complete the word as far as is clear, else show the possibilities."""
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
            if self._confirmation.is_new("tab", begun):
                self._screen.show("  ".join(shown))
