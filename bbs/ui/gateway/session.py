"""The session of one person at the gateway.

A session carries out one line after the other in a `Conversation`; the next may be typed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from bbs.client.client import ServiceClient
from bbs.client.replies import ServiceReply
from bbs.client.request import ClientRequest
from bbs.core.errors import WrongCredentials
from bbs.core.values import UNITS, Rate
from bbs.limits.rate_limits import Buckets
from bbs.protocols.presentation import Presentation
from bbs.protocols.telnet import TelnetCommand
from bbs.ui.completion import Completion, completions
from bbs.ui.conversation import Conversation
from bbs.ui.gateway.editor import EditBuffer
from bbs.ui.gateway.keyboard import InputLine, InputQueue, Keyboard
from bbs.ui.gateway.peer import Encoding, GatewayPeer, IGatewayTransport, PeerKind, named
from bbs.ui.gateway.screen import PROMPT, GatewayScreen, IGatewaySession, LineDisplay, prompt_text
from bbs.ui.interfaces import BuiltinCommand, PromptCancelled, UsageError
from bbs.ui.output import Timestamps, waiting_line


def gateway_commands(
    peer: GatewayPeer, screen: GatewayScreen, use: Callable[[Encoding], None]
) -> Mapping[str, BuiltinCommand]:
    """The gateway's own commands, by name; `use` switches to another encoding."""

    def encoding(words: Sequence[str]) -> None:
        if len(words) > 1:
            raise UsageError()
        if words:
            found = named(words[0])
            if found is None:
                raise UsageError()
            use(found)
        screen.notice(f"Encoding: {peer.encoding.name}")

    def times(words: Sequence[str]) -> None:
        screen.stamps = _switched(words, screen.stamps)
        screen.notice(f"Times: {'on' if screen.stamps else 'off'}")

    def bell(words: Sequence[str]) -> None:
        screen.rings = _switched(words, screen.rings)
        screen.notice(f"Bell: {'on' if screen.rings else 'off'}")

    commands = (
        BuiltinCommand("encoding utf-8|big5", "how your terminal's characters are sent", encoding),
        BuiltinCommand("times [on|off]", "whether each message has its time", times),
        BuiltinCommand("bell [on|off]", "whether it rings when you are written to, or named", bell),
    )
    return {each.name: each for each in commands}


def _switched(words: Sequence[str], now: bool) -> bool:
    """The state that the words after a command ask for; `now` if there are none."""
    if not words:
        return now
    if len(words) > 1 or words[0] not in ("on", "off"):
        raise UsageError()
    return words[0] == "on"


RATE = Rate(50, UNITS["second"])
"""Lines of one person in the long run. No server counts the commands that the gateway answers by
itself, and a blank line costs its sender only a byte."""

BURST = 300
"""Lines that are carried out without a pause, such as a pasted page."""


class LinePace:
    """The pace at which one person's lines are carried out; `pause` fires when one may be."""

    __slots__ = ("_bucket", "_clock", "pause")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._bucket = Buckets(RATE, clock, burst=BURST)
        self.pause: Deferred[None] | None = None

    async def wait(self, others: int) -> None:
        """Wait after a line until the next may be carried out; `others` are queued. Without a turn
        of the reactor, all of them would be carried out in one, and more: each makes room for
        unread input."""
        wait = self._bucket.take("")
        if wait or others:
            self.pause = deferLater(self._clock, wait)
            with suppress(CancelledError):
                await self.pause
            self.pause = None

    def end(self) -> None:
        if self.pause is not None:
            self.pause.cancel()


NEGOTIATION_DEADLINE = 1.0
"""Seconds at most that the first line waits for telnet's answer whether it hides passwords."""

MOST_FAILURES = 5  # consecutive wrong passwords that end a session

GREETING = """\
{} Press Enter to begin.
login NAME to log in, register NAME to make an account; help lists all commands."""


@dataclass(frozen=True)
class Host:
    """A gateway's service; `presentation` is for servers that do not send one."""

    name: str
    greeting: str
    presentation: Presentation = field(default_factory=Presentation)


@implementer(IGatewaySession)
class GatewaySession:
    """One person's session over `transport`, which it closes at its end. `max_line` is in bytes;
    `times` formats times for the person."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: ServiceClient,
        host: Host,
        max_line: int,
        transport: IGatewayTransport,
        times: Timestamps,
    ) -> None:
        self.peer = GatewayPeer(transport, max_line, clock)
        self.lines = InputQueue(max_line)
        self._clock = clock
        self._client = client
        self._host = host
        self._transport = transport
        self._display = LineDisplay(self.peer.write)
        self._question = ""
        self._running: Deferred[bool] | None = None
        self._negotiation_end: IDelayedCall | None = None
        self._pace = LinePace(clock)
        self._failures = 0
        self._negotiates = self._blocked = self._begun = self._ended = False
        self._screen = GatewayScreen(clock, client.vocabulary, times, self._display, self)
        own = gateway_commands(self.peer, self._screen, self._use)
        self._conversation = Conversation(client, self._screen, single_user=True, builtins=own)
        self._keyboard = Keyboard(self.peer, self._screen, self.lines, max_line, self)

    @property
    def is_idle(self) -> bool:
        """Whether nobody is logged in to get messages, and no line is carried out."""
        return not (self.is_busy and not self._question) and not self._client.users

    def begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        self._screen.show(GREETING.format(self._host.greeting))
        running = Deferred.fromCoroutine(self._run())
        running.addErrback(lambda failure: self._log.failure("a session broke off", failure))

    def received(self, data: bytes) -> bool:
        """Take bytes from the peer; returns whether some of them were typed."""
        typed = False
        for each in self.peer.receive(data):
            self.begin()
            self._update_from_peer()
            if self._ended:
                return typed
            if isinstance(each, TelnetCommand):
                typed |= self._keyboard.command(each.code)
            else:
                typed |= self._keyboard.typed(each)
        self.begin()
        self._update_from_peer()
        self._screen.draw_soon()
        return typed

    def hold(self, blocked: bool) -> None:
        """Hold lines back while the peer takes no more output."""
        self._blocked = blocked
        self.hold_lines()

    def input_ended(self) -> None:
        self._keyboard.ended()

    def end(self, words: str) -> None:
        if not self._ended:
            self._display.show(words)
            self._transport.close()
            self.close()

    def close(self) -> Deferred[None]:
        """Release everything, and show nothing more."""
        self._ended = True
        self._screen.end()
        if self._negotiation_end is not None and self._negotiation_end.active():
            self._negotiation_end.cancel()
        self.lines.clear()
        self.lines.end()
        self.give_up()
        self._pace.end()
        return self._conversation.close()

    def forget(self) -> None:
        """Break the cycles of references, after `close`: when thousands leave at a time, the
        garbage collector stops everybody else for a second to find them."""
        del self._keyboard, self._conversation, self._client, self._screen
        del self._transport, self.peer

    async def _run(self) -> None:
        while (line := await self.lines.next()) is not None:
            text = self._text(line)
            self._keyboard.remember(text)
            if text.strip():
                self._transport.has_asked()
            if not await self._carry_out(text):
                break
            if not self._ended:
                await self._pace.wait(len(self.lines))
        self.end("Bye!")

    @property
    def is_busy(self) -> bool:
        """Whether a line is carried out, or lines wait in a pause after one."""
        return self._running is not None or (self._pace.pause is not None and bool(self.lines))

    async def _carry_out(self, line: str) -> bool:
        try:
            self._running = self._conversation.carry_out(line)
            return await self._running
        except Exception:
            self._log.failure("a line was not carried out")
            self._screen.show("That did not work, for a reason that the gateway's log has.")
        finally:
            self._running = None
            self._keyboard.line_is_over()
            self._screen.draw_soon()
        return True

    @property
    def talks(self) -> bool:
        at_once = not (self.is_busy or self.lines.held)
        return at_once and self._conversation.talk is not None

    def give_up(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def leave(self) -> None:
        self.end("Bye!")

    def completions(self, line: str) -> Sequence[Completion]:
        return completions(self._conversation, line)

    def _text(self, line: InputLine) -> str:
        return line if isinstance(line, str) else self.peer.encoding.decode(line)

    def _update_from_peer(self) -> None:
        peer, display = self.peer, self._display
        if peer.kind is PeerKind.TELNET and self._negotiation_end is None:
            self._negotiation_end = self._clock.callLater(NEGOTIATION_DEADLINE, self._negotiated)
            self._negotiates = True
            self.hold_lines()
        if self._negotiates and peer.settled:
            self._negotiated()
        display.edits, display.rows = peer.edits_here, peer.rows
        if peer.encoding is not display.encoding:
            self._use(peer.encoding)
        if peer.columns != display.columns:
            display.resized(peer.columns)
        if peer.is_obtrusive:
            self.end("Too much negotiation. Bye!")

    def _negotiated(self) -> None:
        self._negotiates = False
        self.hold_lines()

    def hold_lines(self) -> None:
        self.lines.hold(self._negotiates or self._blocked or self._screen.has_pages)
        self._screen.draw_soon()

    def _use(self, encoding: Encoding) -> None:
        self.peer.encoding = self._display.encoding = encoding
        self._keyboard.use(encoding)

    def prompt(self) -> tuple[str, EditBuffer | None]:
        if self._screen.has_pages:
            return PROMPT, None
        at_work = self.is_busy or self.lines.held
        if self._question or (at_work and not self._display.edits):
            words = self._question  # a pipe gets its place in the queue in lines, from `changed`
        else:
            words = prompt_text(self._host.name, self._conversation, at_work)
        return words, self._keyboard.visible_line

    def replied(self, request: ClientRequest, reply: ServiceReply) -> None:
        if request.name != "login":
            return
        if reply.ok:
            self._failures = 0
        elif reply.code == WrongCredentials.code:
            self._failures += 1
            if self._failures == MOST_FAILURES:
                self._screen.show("Too many wrong passwords.")
                self._conversation.end()

    def ask_password(self, prompt: str) -> Deferred[str]:
        return Deferred.fromCoroutine(self._ask_password(prompt))

    async def _ask_password(self, prompt: str) -> str:
        self._question = prompt if self.peer.edits_here else f"(it will show) {prompt}"
        self._keyboard.asked = True
        self._screen.draw_soon()
        try:
            line = await self.lines.next()
        finally:
            self._question = ""
            self._keyboard.asked = False
        if line is None:
            raise PromptCancelled
        return self._text(line)

    def changed(self) -> None:
        if self._ended:
            return
        waiting = self._conversation.status.waiting
        if waiting and not self._display.edits:
            self._screen.show(waiting_line(waiting))
        self._screen.draw_soon()
