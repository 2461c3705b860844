"""The session of one person at the gateway.

A session carries out one line after the other in a `Conversation`; the next may be typed meanwhile.
The sessions of a gateway take turns in a `RunQueue`, so that a crowd holds up nobody else.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from bbs.client.catalog import CommandCatalog
from bbs.client.client import ServiceClient
from bbs.client.replies import ServiceReply
from bbs.client.request import ClientRequest
from bbs.core.addresses import networks
from bbs.core.errors import WrongCredentials
from bbs.core.values import UNITS, Rate
from bbs.limits.rate_limits import Buckets
from bbs.protocols.presentation import Presentation
from bbs.ui.chat import is_said, own_message, said_text
from bbs.ui.completion import Completion, completions
from bbs.ui.conversation import Conversation
from bbs.ui.gateway.editor import EditBuffer, EditKey
from bbs.ui.gateway.encodings import Encoding, named
from bbs.ui.gateway.interfaces import ITerminal, IWire
from bbs.ui.gateway.keyboard import Answer, InputLine, InputQueue, Keyboard
from bbs.ui.gateway.screen import PROMPT, GatewayScreen, IGatewaySession, LineDisplay, prompt_text
from bbs.ui.interfaces import BuiltinCommand, PromptCancelled, UsageError
from bbs.ui.output import Timestamps, waiting_words
from bbs.ui.prompts import TOO_SOON, count_questions
from bbs.ui.unsent import unsent_lines


def gateway_commands(
    terminal: ITerminal, screen: GatewayScreen, use: Callable[[Encoding], None]
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
        screen.notice(f"Encoding: {terminal.encoding.name}")

    def times(words: Sequence[str]) -> None:
        screen.stamps = _switched(words, screen.stamps)
        screen.notice(f"Times: {'on' if screen.stamps else 'off'}")

    def bell(words: Sequence[str]) -> None:
        screen.rings = _switched(words, screen.rings)
        screen.notice(f"Bell: {'on' if screen.rings else 'off'}")

    commands = (
        BuiltinCommand("encoding utf-8|big5", "Sets how your terminal sends characters.", encoding),
        BuiltinCommand("times [on|off]", "Shows the time of each message, or not.", times),
        BuiltinCommand("bell [on|off]", "Rings when somebody writes to you, or not.", bell),
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

AT_ONCE = 4
"""Lines of one person that are carried out in one turn: who types `help` and `exit` takes no memory
until the others of a crowd have had their turns."""


Work = Callable[[], object]

SLICE = 0.001
"""Seconds of one turn of the reactor in which work of visits begins. A piece of work takes 0.3 ms,
and the 32 events of a turn 2 ms. Somebody's request is an event too, and has waited for some turns
by the time it is answered: within 0.05 s."""


class RunQueue:
    """The work of all visits to a gateway. A turn of the reactor does some of it, for `SLICE`
    seconds. Without that, a crowd whose lines come together has all of them carried out in one
    turn: 4,000 times `help` held up everybody else for 2.9 s (decision 26).

    Networks take turns, the widest first (`addresses.networks`), and so do the addresses of one. So
    a crowd does not hold up who comes from elsewhere. Work of one address is done in its order.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._networks: OrderedDict[str, OrderedDict[str, deque[Work]]] = OrderedDict()
        self._count = 0
        self._is_scheduled = False

    def add(self, host: str, work: Work) -> None:
        """Call `work`, for a visit from `host`, in a later turn of the reactor."""
        network, _, host = networks(host)
        hosts = self._networks.get(network)
        if hosts is None:
            hosts = self._networks[network] = OrderedDict()
        if host in hosts:
            hosts[host].append(work)
        else:
            hosts[host] = deque((work,))
        self._count += 1
        if not self._is_scheduled:
            self._is_scheduled = True
            self._clock.callLater(0, self._run)

    def turn(self, host: str) -> Deferred[None]:
        """Fires when it is the turn of a visit from `host`; may be cancelled."""
        turn: Deferred[None] = Deferred()
        self.add(host, partial(turn.callback, None))
        return turn

    def _run(self) -> None:
        seconds = self._clock.seconds
        ends = seconds() + SLICE
        # Work that is added meanwhile waits for the next turn, also if this one has time left.
        for _ in range(self._count):
            with self._log.failuresHandled("a visit's work broke off"):
                self._next()()
            if seconds() >= ends:
                break
        self._is_scheduled = bool(self._count)
        if self._count:
            self._clock.callLater(0, self._run)

    def _next(self) -> Work:
        network, hosts = next(iter(self._networks.items()))
        host, waiting = next(iter(hosts.items()))
        work = waiting.popleft()
        self._count -= 1
        hosts.move_to_end(host)
        self._networks.move_to_end(network)
        if not waiting:
            del hosts[host]
        if not hosts:
            del self._networks[network]
        return work


@dataclass(frozen=True)
class Host:
    """A gateway's service; `presentation` is for servers that do not send one."""

    name: str
    greeting: str
    presentation: Presentation = field(default_factory=Presentation)


class GatewayContext:
    """What all sessions of a gateway share. `max_line` is in bytes, and `wall` is the clock for
    people's days."""

    def __init__(
        self,
        clock: IReactorTime,
        host: Host,
        max_line: int,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        self.host = host
        self.max_line = max_line
        self.wall = wall
        self.queue = RunQueue(clock)
        self.vocabulary = CommandCatalog(host.presentation)
        self.lines = Buckets(RATE, clock, burst=BURST)
        self.numbers = count()
        self.greeting = GREETING.format(host.greeting)
        self.prompt = prompt_text(host.name, None, False)


class LinePace:
    """The pace at which one person's lines are carried out; `pause` fires when one may be."""

    __slots__ = ("_carried_out", "_context", "_host", "_number", "pause")

    def __init__(self, context: GatewayContext, host: str) -> None:
        self._context = context
        self._host = host
        self._number = next(context.numbers)
        self._carried_out = 0
        self.pause: Deferred[None] | None = None

    async def wait(self, others: int) -> None:
        """Wait after a line until the next may be carried out; `others` are queued. Without turns,
        all of them would be carried out in one, and more: each makes room for unread input."""
        context = self._context
        wait = context.lines.take(self._number)
        self._carried_out += 1
        if wait or (others and self._carried_out % AT_ONCE == 0):
            self.pause = deferLater(context.clock, wait) if wait else succeed(None)
            self.pause.addCallback(lambda _: context.queue.turn(self._host))
            with suppress(CancelledError):
                await self.pause
            self.pause = None

    def end(self) -> None:
        if self.pause is not None:
            self.pause.cancel()


MOST_FAILURES = 5  # consecutive wrong passwords that end a session

FAREWELL = 60.0  # seconds at most in which the lines of a person who has gone are carried out

TYPED_AHEAD = "what you typed after that"

GREETING = """\
{} Press Enter to begin.
login NAME to log in, register NAME to make an account; help lists all commands."""


@implementer(IGatewaySession)
class GatewaySession:
    """One person's session: they are at `host`, and sit at `terminal`, which hangs up at the end.
    `connect` makes the person's client of the service."""

    _log = Logger()

    def __init__(
        self,
        context: GatewayContext,
        host: str,
        wire: IWire,
        terminal: ITerminal,
        connect: Callable[[], ServiceClient],
    ) -> None:
        clock, max_line = context.clock, context.max_line
        self.terminal = terminal
        self.lines = InputQueue(max_line)
        self._context = context
        self._host = host
        self._wire = wire
        self._connect = connect
        self._display = LineDisplay(self.terminal.write)
        self._question = ""
        self._running: Deferred[bool] | None = None
        self._pace = LinePace(context, host)
        self._failures = 0
        self._unanswered = 0  # passwords of a pipe that the present line has not asked for yet
        self._blocked = self._ended = self._taking = False
        self._last_words: str | None = None
        self._gone: Deferred[None] | None = None
        self._deadline: IDelayedCall | None = None
        times = Timestamps(context.wall)
        self._screen = GatewayScreen(clock, context.vocabulary, times, self._display, self)
        self._conversation: Conversation | None = None
        self._keyboard = Keyboard(self.terminal, self._screen, self.lines, max_line, self)

    def _converse(self) -> Conversation:
        if self._conversation is None:
            own = gateway_commands(self.terminal, self._screen, self._use)
            client = self._connect()
            self._conversation = Conversation(client, self._screen, single_user=True, builtins=own)
        return self._conversation

    @property
    def is_idle(self) -> bool:
        """Whether nobody is logged in to get messages, and no line is carried out."""
        users = self._conversation.users if self._conversation else ()
        return not (self.is_busy and not self._question) and not users

    def begin(self, prompt: str, early: Iterable[bytes | EditKey]) -> None:
        """Take lines from now on, and what came before. The last row of the person, who was
        greeted, has this prompt, unless the terminal's own echo of an early line is there."""
        self._display.found(prompt)
        self._take(early)
        self._update_from_terminal()
        running = Deferred.fromCoroutine(self._run())
        running.addErrback(lambda failure: self._log.failure("a session broke off", failure))

    def received(self, tokens: Iterable[bytes | EditKey]) -> bool:
        """Take what came from the terminal; returns whether some of it was typed."""
        typed = self._take(self._updated(tokens))
        self._update_from_terminal()
        self._screen.draw_soon()
        return typed

    def _updated(self, tokens: Iterable[bytes | EditKey]) -> Iterator[bytes | EditKey]:
        for each in tokens:
            self._update_from_terminal()
            yield each

    def _take(self, tokens: Iterable[bytes | EditKey]) -> bool:
        typed, self._taking = False, True
        try:
            for each in tokens:
                if self._ended:
                    break
                if isinstance(each, EditKey):
                    typed |= self._keyboard.key(each)
                else:
                    typed |= self._keyboard.typed(each)
        finally:
            self._taking = False
        if self._last_words is not None:
            self._end(self._last_words)
        return typed

    def hold(self, blocked: bool) -> None:
        """Hold lines back while the terminal takes no more output."""
        self._blocked = blocked
        self.hold_lines()

    def input_ended(self) -> None:
        self._keyboard.ended()

    def end(self, words: str) -> None:
        """End the session with these words. What came together with the line that ends it is taken
        first, to say that it is not sent."""
        if self._taking and self._last_words is None:
            self._last_words = words
        elif not self._taking:
            self._end(words)

    def _end(self, words: str) -> None:
        if not self._ended:
            self._ended = True
            begun = self._keyboard.visible_line if self._display.edits else None
            unread = self._unread_lines()
            self.give_up()
            self._drop([*unread, begun.text if begun else ""])
            self._display.show(words)
            self.terminal.hang_up()
            self.close()

    def _unread_lines(self) -> Sequence[InputLine]:
        """What came too late to be taken: a pipe's lines, or a note where there were keys."""
        unread = self._wire.unread()
        if self.is_pipe:
            return unread.split(b"\n")
        return [TYPED_AHEAD] if unread or self.lines.is_full else []

    def hang_up(self, has_more: bool) -> Deferred[None]:
        """Release everything after the person has gone; fires when that is done. What the person
        entered is carried out first, as nobody could read that it was not. `has_more`: lines of it
        are still to be received, and `lines` to be ended then."""
        self._screen.end()
        conversation = self._conversation
        is_done = self._ended or not (self.is_busy or self.lines or has_more)
        if conversation is None or not conversation.users or is_done:
            return self.close()
        conversation.stop_listening()
        self._gone = Deferred()
        self._deadline = self._context.clock.callLater(FAREWELL, self.close)
        self.lines.hold(False)
        if not has_more:
            self.lines.end()
        return self._gone

    def close(self) -> Deferred[None]:
        """Release everything, and show nothing more."""
        self._ended = True
        self._screen.end()
        self.give_up()
        self.lines.end()
        self._pace.end()
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        closed = self._conversation.close() if self._conversation else succeed(None)
        gone, self._gone = self._gone, None
        return closed.addCallback(gone.callback) if gone is not None else closed

    def forget(self) -> None:
        """Break the cycles of references, after `close`: when thousands leave at a time, the
        garbage collector stops everybody else for a second to find them."""
        del self._keyboard, self._conversation, self._connect, self._screen
        del self._wire, self.terminal

    async def _run(self) -> None:
        while (line := await self.lines.next()) is not None:
            text = self._text(line)
            self._keyboard.remember(text)
            if text.strip():
                self._wire.has_asked()
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
        self._expect_answers(line, False)
        try:
            self._running = self._converse().carry_out(line)
            return await self._running
        except Exception:
            self._log.failure("a line was not carried out")
            self._screen.show("That did not work. The gateway's log has the reason.")
        finally:
            self._running = None
            self._unanswered = 0
            self._keyboard.line_is_over()
            self._screen.draw_soon()
        return True

    @property
    def is_pipe(self) -> bool:
        return self.terminal.is_pipe

    @property
    def talks(self) -> bool:
        at_once = not (self.is_busy or self.lines.held)
        talk = self._conversation.talk if self._conversation else None
        return at_once and talk is not None

    @property
    def queued(self) -> int:
        return sum(not isinstance(line, Answer) for line in self.lines)

    def show_own(self, line: str) -> bool:
        conversation = self._conversation
        if conversation is None or not (self.talks and is_said(line) and self._display.edits):
            return False
        user, talk = conversation.current, conversation.talk
        if user is None or talk is None:
            return False
        self._screen.own(user, own_message(user, talk, said_text(line)))
        return True

    def give_up(self) -> None:
        dropped = self.lines.clear()  # First, as the next would be carried out otherwise.
        if self._running is not None:
            self._running.cancel()
        self._drop(dropped)

    def _drop(self, lines: Iterable[InputLine]) -> None:
        """Say that these lines are not sent, without the passwords among them."""
        shown: list[str | None] = []
        for line in lines:
            text = self._text(line)
            is_answer = isinstance(line, Answer) or self._unanswered > 0
            shown.append(None if is_answer else text)
            self._expect_answers(text, is_answer)
        if self._conversation is not None:
            self._conversation.drop(shown)
        else:
            for words in unsent_lines(shown):
                self._screen.problem(words)

    def _expect_answers(self, text: str, is_answer: bool) -> None:
        """Count the lines of a pipe that are answers to the questions of a line before them."""
        if is_answer:
            self._unanswered = max(0, self._unanswered - 1)
        elif self.is_pipe:
            self._unanswered = count_questions(text, users=False)

    def leave(self) -> None:
        self.end("Bye!")

    def completions(self, line: str) -> Sequence[Completion]:
        return completions(self._converse(), line)

    def _text(self, line: InputLine) -> str:
        return line if isinstance(line, str) else self.terminal.encoding.decode(line)

    def _update_from_terminal(self) -> None:
        terminal, display = self.terminal, self._display
        display.edits, display.rows = terminal.edits_here, terminal.rows
        if terminal.encoding is not display.encoding:
            self._use(terminal.encoding)
        if terminal.columns != display.columns:
            display.resized(terminal.columns)
        if terminal.refused:
            self.end(terminal.refused)

    def hold_lines(self) -> None:
        self.lines.hold(self._blocked or self._screen.has_pages)
        self._screen.draw_soon()

    def _use(self, encoding: Encoding) -> None:
        self.terminal.encoding = self._display.encoding = encoding
        self._keyboard.use(encoding)

    def prompt(self) -> tuple[str, EditBuffer | None]:
        if self._screen.has_pages:
            return PROMPT, None
        at_work = self.is_busy or self.lines.held
        if self._question or (at_work and not self._display.edits):
            words = self._question  # a pipe gets its place in the queue in lines, from `changed`
        else:
            words = prompt_text(self._context.host.name, self._conversation, at_work)
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
                self._converse().end()

    def ask_password(self, prompt: str) -> Deferred[str]:
        return Deferred.fromCoroutine(self._ask_password(prompt))

    async def _ask_password(self, prompt: str) -> str:
        self._keyboard.asked = True
        try:
            answer = await self._answer(
                prompt if self.terminal.edits_here else f"(it will show) {prompt}"
            )
        finally:
            self._keyboard.asked = False
        self._unanswered = max(0, self._unanswered - 1)
        return answer

    def ask_line(self, prompt: str) -> Deferred[str]:
        return Deferred.fromCoroutine(self._ask_line(prompt))

    async def _ask_line(self, prompt: str) -> str:
        seconds = self._context.clock.seconds
        begun = seconds()
        while True:
            answer = await self._answer(prompt)
            if seconds() - begun >= TOO_SOON:
                return answer
            self._drop([answer])

    async def _answer(self, prompt: str) -> str:
        self._question = prompt
        self._screen.draw_soon()
        try:
            line = await self.lines.next()
        finally:
            self._question = ""
        if line is None:
            raise PromptCancelled
        return self._text(line)

    def discard_lines(self) -> None:
        dropped = self.lines.clear()
        self._keyboard.line_is_over()  # It expects no passwords of theirs any more.
        self._drop(dropped)

    def changed(self) -> None:
        if self._ended or self._conversation is None:
            return
        waiting = self._conversation.status.waiting
        if waiting and not self._display.edits:
            self._screen.show(f"{waiting_words(waiting).capitalize()}.")
        self._screen.draw_soon()
