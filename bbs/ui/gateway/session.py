"""One person at the gateway: what they type, and what they are shown.

The conversation is the client's (`bbs.ui.conversation`), as one user at a time. A visit reads
lines for it, one after the other, and has the screen that it shows itself on; while one is carried
out the next may be typed already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from bbs.client.client import ServiceClient
from bbs.client.replies import ServiceReply
from bbs.client.request import Typed
from bbs.core.errors import WrongCredentials
from bbs.core.values import UNITS, Rate
from bbs.limits.buckets import Buckets
from bbs.protocols.presentation import Presentation
from bbs.protocols.telnet import TelnetCommand
from bbs.ui.conversation import Conversation
from bbs.ui.gateway.editor import Editor, Key
from bbs.ui.gateway.keyboard import Actions, Keyboard, Line, LineQueue
from bbs.ui.gateway.peer import Encoding, Kind, Peer, named
from bbs.ui.gateway.screen import BELL, PROMPT, Display, Drawing, Pager, Screen, prompt
from bbs.ui.interfaces import GivenUp, OwnCommand, WrongUse
from bbs.ui.output import Times, waiting_line


def gateway_commands(
    peer: Peer, screen: Screen, use: Callable[[Encoding], None]
) -> Mapping[str, OwnCommand]:
    """Them, by name; `use` is told of another encoding."""

    def encoding(words: Sequence[str]) -> None:
        if len(words) > 1:
            raise WrongUse()
        if words:
            found = named(words[0])
            if found is None:
                raise WrongUse()
            use(found)
        screen.notice(f"Encoding: {peer.encoding.name}")

    def times(words: Sequence[str]) -> None:
        screen.stamps = _switched(words, screen.stamps)
        screen.notice(f"Times: {'on' if screen.stamps else 'off'}")

    def bell(words: Sequence[str]) -> None:
        screen.rings = _switched(words, screen.rings)
        screen.notice(f"Bell: {'on' if screen.rings else 'off'}")

    commands = (
        OwnCommand("encoding utf-8|big5", "how your terminal's characters are sent", encoding),
        OwnCommand("times [on|off]", "whether each message has its time", times),
        OwnCommand("bell [on|off]", "whether it rings when you are written to, or named", bell),
    )
    return {each.name: each for each in commands}


def _switched(words: Sequence[str], now: bool) -> bool:
    """What words after a command switch to; `now`, where there are none."""
    if not words:
        return now
    if len(words) > 1 or words[0] not in ("on", "off"):
        raise WrongUse()
    return words[0] == "on"


RATE = Rate(50, UNITS["second"])
"""Lines in the long run. What the gateway answers by itself nobody else counts, and a blank line
costs whoever sends it a byte."""

BURST = 300
"""Lines that are carried out as fast as may be, so that who pastes a page waits for nothing."""


class Pace:
    """The pace of one person."""

    __slots__ = ("_bucket", "_clock", "_over", "_pause")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._bucket = Buckets(RATE, clock, burst=BURST)
        self._pause: Deferred[None] | None = None
        self._over: IDelayedCall | None = None

    @property
    def pauses(self) -> bool:
        return self._pause is not None

    async def keep(self, others: int) -> None:
        """A line was carried out, behind which `others` wait: be back when the next may be.

        Without a turn of the reactor all would be carried out in one, and not these alone: the
        room that each leaves is taken by what has come and was not read yet.
        """
        wait = self._bucket.take("")
        if wait or others:
            self._pause = Deferred()
            self._over = self._clock.callLater(wait, self.end)
            await self._pause

    def end(self) -> None:
        """Pause no longer."""
        pause, self._pause = self._pause, None
        over, self._over = self._over, None
        if over is not None and over.active():
            over.cancel()
        if pause is not None:
            pause.callback(None)


SETTLING = 1.0
"""Seconds at most that the first line waits for telnet to answer: whether it will hide a password
should be known before one is asked for."""


class Settling:
    """Whether `peer` may still answer (`goes_on`); `changed` is called when that changes."""

    __slots__ = ("_changed", "_clock", "_end", "_peer", "goes_on")

    def __init__(self, clock: IReactorTime, peer: Peer, changed: Callable[[], None]) -> None:
        self.goes_on = False
        self._clock = clock
        self._peer = peer
        self._changed = changed
        self._end: IDelayedCall | None = None

    def look(self) -> None:
        """The peer may be known by now, or may have answered."""
        if self._peer.kind is Kind.TELNET and self._end is None:
            self._end = self._clock.callLater(SETTLING, self._over)
            self.goes_on = True
            self._changed()
        if self.goes_on and self._peer.settled:
            self._over()

    def stop(self) -> None:
        if self._end is not None and self._end.active():
            self._end.cancel()
        self._end = None

    def _over(self) -> None:
        self.goes_on = False
        self._changed()


MOST_FAILURES = 5
"""Wrong passwords, one after the other, after which a visit ends."""

GREETING = """\
{} Press Enter to begin.
login NAME to log in, register NAME to make an account; help lists all commands."""


@dataclass(frozen=True)
class Host:
    """The service that people come to: its name, what they read first, a sentence, and what is
    shown and done for it where its servers do not tell that."""

    name: str
    greeting: str
    presentation: Presentation = field(default_factory=Presentation)


class Visit:
    """`send` gets bytes for the peer; `over` is called when the visit has come to its end, which
    it has told the peer. `max_line` is in bytes, and `wall` the clock by which days begin."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: ServiceClient,
        host: Host,
        max_line: int,
        send: Callable[[bytes], None],
        over: Callable[[], None],
        wall: Callable[[], float],
    ) -> None:
        self.peer = Peer(send, max_line, clock.seconds)
        self.lines = LineQueue(max_line)
        self.on_asked: Callable[[], None] = lambda: None
        """Called for each line that asks for something, when its turn has come."""
        self._client = client
        self._host = host
        self._over = over
        self._display = Display(self.peer.write)
        self._question = ""
        self._running: Deferred[bool] | None = None
        self._settling = Settling(clock, self.peer, self._look_whether_held)
        self._drawing = Drawing(clock, self._display, self._look)
        self._pace = Pace(clock)
        self._failures = 0
        self._blocked = False
        self._begun = False
        self._ended = False
        self._screen = Screen(
            client.vocabulary,
            Times(wall),
            Pager(self._rows, self._display.height),
            show=self._show,
            ring=lambda: self.peer.write(BELL),
            replied=self._replied,
            ask=lambda prompt: Deferred.fromCoroutine(self._ask_password(prompt)),
            changed=self._changed,
        )
        own = gateway_commands(self.peer, self._screen, self._use)
        self._conversation = Conversation(client, self._screen, alone=True, own=own)
        actions = Actions(
            say=self._show,
            draw=self._drawing.now,
            busy=lambda: self._at_work,
            give_up=self._give_up,
            talks=self._talks,
            leave=lambda: self.end("Bye!"),
            completions=self._conversation.completions,
            pages=lambda: bool(self._screen.pager),
            turn=self._turn,
        )
        self._keyboard = Keyboard(self.peer, self._display, self.lines, max_line, actions)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is expected but from the peer: nobody is logged in to whom messages
        come."""
        return not (self._at_work and not self._question) and not self._client.users

    # From the connection

    def begin(self) -> None:
        """Greet the peer, if that is not done yet."""
        if self._begun:
            return
        self._begun = True
        self._show(GREETING.format(self._host.greeting))
        Deferred.fromCoroutine(self._run()).addErrback(
            lambda failure: self._log.failure("a visit broke off", failure)
        )

    def received(self, data: bytes) -> bool:
        """Take bytes from the peer; whether somebody typed some of them."""
        typed = False
        for each in self.peer.receive(data):
            self.begin()
            self._look_at_peer()
            if self._ended:
                return typed
            if isinstance(each, TelnetCommand):
                typed |= self._keyboard.command(each.code)
            else:
                typed |= self._keyboard.typed(each)
        self.begin()
        self._look_at_peer()
        self._drawing.soon()
        return typed

    def hold(self, blocked: bool) -> None:
        """Whether the peer takes no more for now; then no line is carried out."""
        self._blocked = blocked
        self._look_whether_held()

    def input_ended(self) -> None:
        """The peer sends no more; what it sent is still carried out."""
        self._keyboard.ended()

    def end(self, words: str) -> None:
        """End the visit, and say why."""
        if not self._ended:
            self._display.show(words)
            self._over()
            self.close()

    def close(self) -> Deferred[None]:
        """Let go of everything; nothing is shown any more."""
        self._ended = True
        self._drawing.end()
        self._settling.stop()
        self.lines.clear()
        self.lines.end()
        self._give_up()
        self._pace.end()
        return self._conversation.close()

    def forget(self) -> None:
        """It is closed, and nobody calls it any more: let nothing of it refer to it.

        Parts that refer to each other wait for the garbage collector. When thousands leave at a
        time, that holds up everybody else for a second until it has found them all.
        """
        del self._keyboard, self._conversation, self._client, self._screen
        del self._drawing, self._settling

    # Lines

    async def _run(self) -> None:
        while (line := await self.lines.next()) is not None:
            text = self._text(line)
            self._keyboard.remember(text)
            if text.strip():
                self.on_asked()
            if not await self._carry_out(text):
                break
            if not self._ended:
                await self._pace.keep(len(self.lines))
        self.end("Bye!")

    @property
    def _at_work(self) -> bool:
        """Whether a line is carried out, or some wait for their turn behind one that was."""
        return self._running is not None or (self._pace.pauses and bool(self.lines))

    async def _carry_out(self, line: str) -> bool:
        try:
            self._running = self._conversation.carry_out(line)
            return await self._running
        except Exception:
            self._log.failure("a line was not carried out")
            self._show("That did not work, for a reason that the gateway's log has.")
        finally:
            self._running = None
            self._keyboard.line_is_over()
            self._drawing.soon()
        return True

    def _talks(self) -> bool:
        at_once = not (self._at_work or self.lines.held)
        return at_once and self._conversation.talk is not None

    def _give_up(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def _text(self, line: Line) -> str:
        return line if isinstance(line, str) else self.peer.encoding.decode(line)

    # What the peer is

    def _look_at_peer(self) -> None:
        peer, display = self.peer, self._display
        self._settling.look()
        display.edits = peer.edits_here
        if peer.encoding is not display.encoding:
            self._use(peer.encoding)
        if peer.columns != display.columns:
            display.resized(peer.columns)
        if peer.is_obtrusive:
            self.end("Too much negotiation. Bye!")

    def _look_whether_held(self) -> None:
        held = self._settling.goes_on or self._blocked or bool(self._screen.pager)
        self.lines.held = held
        self._drawing.soon()

    def _use(self, encoding: Encoding) -> None:
        self.peer.encoding = self._display.encoding = encoding
        self._keyboard.use(encoding)

    # What is drawn

    def _look(self) -> tuple[str, Editor | None]:
        """What stands below everything else: words, and the line being typed."""
        if self._screen.pager:
            return PROMPT, None
        at_work = self._at_work or self.lines.held
        if self._question or (at_work and not self._display.edits):
            words = self._question  # `_changed` tells a pipe what is waited for, in lines
        else:
            words = prompt(self._host.name, self._conversation, at_work)
        return words, self._keyboard.visible_line

    def _show(self, text: str) -> None:
        self._drawing.show(text)
        self._look_whether_held()

    def _rows(self) -> int:
        """Those of a window that is shown pages, 0 for none."""
        return self.peer.rows if self._display.edits else 0

    def _turn(self, pressed: str | Key) -> None:
        """A key was pressed at the end of a page."""
        leaves = pressed in (Key.INTERRUPT, Key.END_OF_INPUT, "q", "Q")
        if leaves:
            self._display.clear()
        self._screen.turn(leaves)
        self._look_whether_held()

    # What the screen asks of the visit

    def _replied(self, request: Typed, reply: ServiceReply) -> None:
        if request.name != "login":
            return
        if reply.ok:
            self._failures = 0
        elif reply.code == WrongCredentials.code:
            self._failures += 1
            if self._failures == MOST_FAILURES:
                self._show("Too many wrong passwords.")
                self._conversation.end()

    async def _ask_password(self, prompt: str) -> str:
        self._question = prompt if self.peer.edits_here else f"(it will show) {prompt}"
        self._keyboard.asked = True
        self._drawing.soon()
        try:
            line = await self.lines.next()
        finally:
            self._question = ""
            self._keyboard.asked = False
        if line is None:
            raise GivenUp
        return self._text(line)

    def _changed(self) -> None:
        if self._ended:
            return
        waiting = self._conversation.status.waiting
        if waiting and not self._display.edits:
            self._show(waiting_line(waiting))
        self._drawing.soon()
