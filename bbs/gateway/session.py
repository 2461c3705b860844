"""One person at the gateway: what they type, and what they are shown.

The conversation is the client's (`bbs.client.conversation`), as one user at a time. A visit reads
lines for it, one after the other, and is the screen that it shows itself on; while one is carried
out the next may be typed already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from bbs.client.conversation import Conversation
from bbs.client.library import BBSClient
from bbs.client.screen import GivenUp, IScreen
from bbs.client.talk import OwnCommand, WrongUse
from bbs.client.text import OLDER, event_line, message_line, reply_lines, visible, waiting_line
from bbs.client.typed import Typed
from bbs.client.values import ChatMessage, Reply, ServiceEvent
from bbs.errors import WrongCredentials
from bbs.gateway import encodings
from bbs.gateway.display import Display
from bbs.gateway.keyboard import Actions, Keyboard
from bbs.gateway.lines import Line, LineQueue
from bbs.gateway.pace import Pace
from bbs.gateway.peer import Kind, Peer
from bbs.protocols.telnet.reader import Command

SETTLING = 1.0
"""Seconds at most that the first line waits for telnet to answer: whether it will hide a password
should be known before one is asked for."""

MOST_FAILURES = 5
"""Wrong passwords, one after the other, after which a visit ends."""

GREETING = """\
{} Press Enter to begin.
login NAME to log in, register NAME to make an account; help lists all commands."""


@dataclass(frozen=True)
class Host:
    """The service that people come to: its name, and what they read first, a sentence."""

    name: str
    greeting: str


@implementer(IScreen)
class Visit:
    """`send` gets bytes for the peer; `over` is called when the visit has come to its end, which
    it has told the peer. `max_line` is in bytes."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: BBSClient,
        host: Host,
        max_line: int,
        send: Callable[[bytes], None],
        over: Callable[[], None],
    ) -> None:
        self.peer = Peer(send, max_line, clock.seconds)
        self.lines = LineQueue(max_line)
        self.on_asked: Callable[[], None] = lambda: None
        """Called for each line that asks for something, when its turn has come."""
        self._clock = clock
        self._client = client
        self._host = host
        self._over = over
        self._display = Display(self.peer.write)
        self._question = ""
        self._running: Deferred[bool] | None = None
        self._settling: IDelayedCall | None = None
        self._drawing: IDelayedCall | None = None
        self._pace = Pace(clock)
        self._failures = 0
        self._settles = False
        self._blocked = False
        self._begun = False
        self._ended = False
        encoding = OwnCommand(
            "encoding utf-8|big5", "how your terminal's characters are sent", self._set_encoding
        )
        self._conversation = Conversation(client, self, alone=True, own={"encoding": encoding})
        actions = Actions(
            say=self.notice,
            draw=self._draw,
            busy=lambda: self._at_work,
            give_up=self._give_up,
            talks=self._talks,
            leave=lambda: self.end("Bye!"),
            completions=self._conversation.completions,
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
            if isinstance(each, Command):
                typed |= self._keyboard.command(each.code)
            else:
                typed |= self._keyboard.typed(each)
        self.begin()
        self._look_at_peer()
        self._draw_soon()
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
        for call in (self._settling, self._drawing):
            if call is not None and call.active():
                call.cancel()
        self._settling = self._drawing = None
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
        del self._keyboard, self._conversation, self._client

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
            self.problem("That did not work, for a reason that the gateway's log has.")
        finally:
            self._running = None
            self._keyboard.line_is_over()
            self._draw_soon()
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
        if peer.kind is Kind.TELNET and self._settling is None:
            self._settling = self._clock.callLater(SETTLING, self._settled)
            self._settles = True
            self._look_whether_held()
        if self._settles and peer.settled:
            self._settled()
        display.edits = peer.edits_here
        if peer.encoding is not display.encoding:
            self._use(peer.encoding)
        if peer.columns != display.columns:
            display.resized(peer.columns)
        if peer.is_obtrusive:
            self.end("Too much negotiation. Bye!")

    def _settled(self) -> None:
        self._settles = False
        self._look_whether_held()

    def _look_whether_held(self) -> None:
        self.lines.held = self._settles or self._blocked
        self._draw_soon()

    def _set_encoding(self, words: Sequence[str]) -> None:
        if len(words) > 1:
            raise WrongUse()
        if words:
            encoding = encodings.named(words[0])
            if encoding is None:
                raise WrongUse()
            self._use(encoding)
        self.notice(f"Encoding: {self.peer.encoding.name}")

    def _use(self, encoding: encodings.Encoding) -> None:
        self.peer.encoding = self._display.encoding = encoding
        self._keyboard.use(encoding)

    # What is drawn

    def _prompt(self) -> str:
        """The words before the line being typed: who speaks to whom, `ann> ` or `ann>bob> `; while
        a line is carried out, what that waits for."""
        at_work = self._at_work or self.lines.held
        if self._question or (at_work and not self._display.edits):
            return self._question  # `changed` tells a pipe what is waited for, in lines
        conversation = self._conversation
        if at_work:
            waiting = conversation.status.waiting
            return f"{waiting_line(waiting)} " if waiting else ""
        user = self._host.name if conversation.current is None else visible(conversation.current)
        talk = f"{visible(conversation.talk.name)}> " if conversation.talk else " "
        return f"{user}>{talk}"

    def _draw_soon(self) -> None:
        """Draw the line being typed when everything else that is to be shown now has been."""
        if self._drawing is None and not self._ended:
            self._drawing = self._clock.callLater(0, self._draw)

    def _draw(self) -> None:
        if self._drawing is not None and self._drawing.active():
            self._drawing.cancel()
        self._drawing = None
        if not self._ended:
            self._display.draw(self._prompt(), self._keyboard.visible_line)

    def _show(self, text: str) -> None:
        if not self._ended:
            self._display.show(text)
            self._draw_soon()

    # IScreen

    def reply(self, request: Typed, reply: Reply) -> None:
        self._show("\n".join(reply_lines(reply)))
        if request.name != "login":
            return
        if reply.ok:
            self._failures = 0
        elif reply.code == WrongCredentials.code:
            self._failures += 1
            if self._failures == MOST_FAILURES:
                self._show("Too many wrong passwords.")
                self._conversation.end()

    def message(self, user: str, message: ChatMessage, for_you: bool) -> None:
        self._show(message_line(message))

    def past(self, user: str, messages: Sequence[ChatMessage], older: bool) -> None:
        lines = [message_line(each, user) for each in messages]
        self._show("\n".join([OLDER, *lines] if older else lines))

    def event(self, user: str, event: ServiceEvent) -> None:
        self._show(event_line(event))

    def notice(self, text: str) -> None:
        self._show(text)

    def problem(self, text: str) -> None:
        self._show(text)

    def ask_password(self, prompt: str) -> Deferred[str]:
        return Deferred.fromCoroutine(self._ask_password(prompt))

    async def _ask_password(self, prompt: str) -> str:
        self._question = prompt if self.peer.edits_here else f"(it will show) {prompt}"
        self._keyboard.asked = True
        self._draw_soon()
        try:
            line = await self.lines.next()
        finally:
            self._question = ""
            self._keyboard.asked = False
        if line is None:
            raise GivenUp
        return self._text(line)

    def changed(self) -> None:
        if self._ended:
            return
        waiting = self._conversation.status.waiting
        if waiting and not self._display.edits:
            self._show(waiting_line(waiting))
        self._draw_soon()


"""As `GatewayConnection` calls it."""
