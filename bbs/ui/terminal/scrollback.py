"""The output above the line being typed, and the lists and histories that replace that line.

Output is written in turns, so that typing stays possible. Each turn removes the input line, writes
the new lines and draws the input line again. Turns have a limited size and a pause between them,
to leave time for other work during a flood of ten thousand messages.

A list that is longer than the window, or the history of a conversation, replaces the input line
until the person leaves it; new output waits meanwhile.
"""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from prompt_toolkit.data_structures import Size
from prompt_toolkit.formatted_text import fragment_list_len, split_lines
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from bbs.client.catalog import CommandCatalog
from bbs.client.client import ServiceClient
from bbs.client.errors import Refused
from bbs.client.replies import ServiceReply
from bbs.ui.chat import Partner, chat_lines, history_command, history_line
from bbs.ui.output import visible
from bbs.ui.terminal import theme
from bbs.ui.terminal.history_view import DrawHistory, HistoryPart, HistoryView, IHistorySource
from bbs.ui.terminal.interfaces import Fragments, IEditor, IPager, IPrinter, More
from bbs.ui.terminal.theme import rows

PAUSE = 0.05  # seconds from one turn to the next: 20 a second, more than an eye follows
TURN = 250  # lines at most in a turn: some milliseconds, so that a key never has to wait

MOST_HELD = 10_000
"""The latest lines that wait while the person reads something else, which may take days."""

MOST_CHARACTERS = 4 * 1024 * 1024
"""Characters of the latest lines that wait, also for their turns: a server may send more than a
terminal takes."""


@dataclass(eq=False, repr=False)
class Scrollback:
    """Output that is printed in turns; the vocabulary names the command for lines left out."""

    _clock: IReactorTime
    _vocabulary: CommandCatalog
    _printer: IPrinter
    _waiting: deque[Fragments] = field(default_factory=deque)
    _turn: IDelayedCall | None = None
    _last: float = -PAUSE  # time of the last turn
    _held: bool = False
    _size: int = 0  # of the lines that wait, in characters
    _left_out: int = 0

    def add(self, fragments: Fragments) -> None:
        """Show lines after those added before: at once, if the last turn was a while ago."""
        self._waiting.append(fragments)
        self._size += fragment_list_len(list(fragments))
        most = MOST_HELD if self._held else len(self._waiting)
        while len(self._waiting) > 1 and (
            len(self._waiting) > most or self._size > MOST_CHARACTERS
        ):
            self._take()
            self._left_out += 1
        self._plan()

    def _take(self) -> Fragments:
        fragments = self._waiting.popleft()
        self._size -= fragment_list_len(list(fragments))
        return fragments

    def hold(self) -> None:
        """Write nothing until `release`, while the person reads something else."""
        self._held = True

    def release(self) -> None:
        self._held = False
        self._note_left_out()
        self._plan()

    def flush(self) -> None:
        """Write all waiting lines now."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._note_left_out()
        if self._waiting:
            self._printer.print(list(self._waiting))
            self._waiting.clear()
            self._size = 0

    def _note_left_out(self) -> None:
        if self._left_out:
            count, self._left_out = self._left_out, 0
            history = history_command(self._vocabulary)
            where = f" Try: {visible(history)} NAME" if history else ""
            words = f"Earlier lines that are not shown here: {count:,}.{where}"
            notice = theme.notice(words)
            self._waiting.appendleft(notice)
            self._size += fragment_list_len(list(notice))

    def _plan(self) -> None:
        if self._turn is None and (self._waiting or self._left_out) and not self._held:
            pause = max(0.0, self._last + PAUSE - self._clock.seconds())
            self._turn = self._clock.callLater(pause, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        if self._held:
            return
        self._note_left_out()
        count = min(TURN, len(self._waiting))
        self._printer.print([self._take() for _ in range(count)])
        self._last = self._clock.seconds()
        self._plan()


LESS = "FRX"
"""The default of `LESS`, as git has it: less ends by itself and leaves a single screen there."""


class PagerFailed(Exception):
    """A pager did not show the text, for the reason in the exception's text."""


@implementer(IPager)
@dataclass(eq=False, repr=False)
class ExternalPager:
    """The pager that a shell `command` runs, in an environment."""

    command: str
    _environ: Mapping[str, str]
    _process: asyncio.subprocess.Process | None = None
    _over: bool = False

    def show(self, text: str) -> Deferred[None]:
        """Show text (`IPager`); only on asyncio's loop."""
        return Deferred.fromFuture(asyncio.ensure_future(self._show(text)))

    async def _show(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        try:
            with _deaf_to_interrupts():
                environ = {"LESS": LESS, **self._environ}
                self._process = process = await asyncio.create_subprocess_shell(
                    self.command, stdin=asyncio.subprocess.PIPE, env=environ
                )
                if self._over:  # The client ended while the process started.
                    self.end()
                await process.communicate(data)
        except OSError as problem:
            raise PagerFailed(problem.strerror or "it could not be started") from problem
        finally:
            self._process = None
        # A signal means that the person left the pager by Ctrl-C.
        if 0 < (process.returncode or 0) < 128:
            raise PagerFailed(f"exit code {process.returncode}")

    def end(self) -> None:
        """End the pager and every later one, as the client ends."""
        self._over = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Leave Ctrl-C to the pager. A handler does that: the pager would inherit an ignored signal."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@implementer(IHistorySource)
@dataclass(frozen=True)
class HistorySource:
    """The conversation of `user`, who is logged in here, with `partner`."""

    client: ServiceClient
    user: str
    partner: Partner

    def part(self, cursor: str | None) -> Deferred[HistoryPart]:
        return Deferred.fromCoroutine(self._part(cursor))

    async def _part(self, cursor: str | None) -> HistoryPart:
        if cursor is None:
            line = history_line(self.user, self.partner)
            return self._read(await self.client.request(line, whole=False))
        return self._read(await self.client.following(self.user, cursor))

    def _read(self, reply: ServiceReply) -> HistoryPart:
        if not reply.ok:
            raise Refused(reply)
        return HistoryPart(chat_lines(self.client.vocabulary.presentation, reply), reply.cursor)


Left = Callable[[Sequence[Fragments]], None]
"""Takes the lines of a list that a person left."""


@dataclass(eq=False, repr=False)
class Overlay:
    """The lists and histories that replace the input line; `_pager` is the person's, if any."""

    _editor: IEditor
    _scrollback: Scrollback
    _pager: IPager | None
    _waiting: deque[Callable[[], Deferred[None]]] = field(default_factory=deque)
    _finished: Deferred[None] | None = None

    @property
    def is_needed(self) -> bool:
        return bool(self._waiting)

    def add_long(self, lines: Fragments, left: Left = lambda lines: None) -> bool:
        """Add lines if the window is too small for them; returns whether it is. `left` is called
        with those that were not shown when the person leaves."""
        size = self._editor.size()
        if size is None or _fits(split_lines(lines), size):
            return False
        self._waiting.append(lambda: Deferred.fromCoroutine(self._page(lines, left)))
        return True

    def add_history(
        self, title: str, first: HistoryPart, source: IHistorySource, draw: DrawHistory
    ) -> None:
        """Add a `HistoryView`, which is skipped without a window for it."""

        async def look() -> None:
            size = self._editor.size()
            if size is None:
                return
            view = HistoryView(title, first, source, draw, size.columns, max(1, size.rows - 1))
            view.page(-1)  # The last page is on the screen already.
            try:
                await self._editor.look_back(view)
            finally:
                view.close()

        self._waiting.append(lambda: Deferred.fromCoroutine(look()))

    async def show(self) -> None:
        """Show the next list or history until the person leaves it."""
        self._scrollback.flush()
        self._scrollback.hold()
        try:
            await self._waiting[0]()
        except Exception:
            self._remove_first()
            raise
        self._remove_first()

    def finished(self) -> Deferred[None]:
        """Fires when there is nothing more to show."""
        if not self._waiting:
            return succeed(None)
        if self._finished is None:
            self._finished = Deferred()
        return self._finished

    def end(self) -> None:
        """End the pager that runs, if one does."""
        if self._pager is not None:
            self._pager.end()

    def _remove_first(self) -> None:
        self._waiting.popleft()
        if not self._waiting:
            self._scrollback.release()
            finished, self._finished = self._finished, None
            if finished is not None:
                finished.callback(None)

    async def _page(self, lines: Fragments, left: Left) -> None:
        if self._pager is not None:
            try:
                with self._editor.lent():
                    await self._pager.show(f"{theme.as_text(lines)}\n")
                return
            except PagerFailed as problem:
                said = f"PAGER {self._pager.command}: {problem}. Lists are shown without it."
                self._editor.print([theme.problem(said)])
                self._pager = None
        await self._page_by_screens([*split_lines(lines)], left)

    async def _page_by_screens(self, lines: Sequence[Fragments], left: Left) -> None:
        shown, total, more = 0, len(lines), More.SCREEN
        while more is not More.LEAVE:
            size = self._editor.size() or Size(24, 80)
            room = size.rows - 1 if more is More.SCREEN else 1
            begin = shown
            while shown < total and (shown == begin or rows(lines[shown], size) <= room):
                room -= rows(lines[shown], size)
                shown += 1
            self._editor.print(lines[begin:shown])
            if shown == total:
                return
            more = await self._editor.more(f"-- more: {shown} of {total} --")
        left(lines[shown:])


def _fits(lines: Iterable[Fragments], size: Size) -> bool:
    """Whether a window of this size has room for the lines and the prompt."""
    room = size.rows
    for line in lines:
        room -= rows(line, size)
        if room <= 0:
            return False
    return True
