"""One person at this terminal: a `Conversation`, shown above the line that is being typed.

The words before that line say who speaks, where, and what waits to be read:

    127.0.0.1:22222, no user>
    ann, waiting for a server: place 3, about 24 s>
    ann@127.0.0.1:22223 [bob 2, #chess 1]>
    ann→#chess>

A narrow terminal gets fewer of them, so that there is room to type in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.client.client import ServiceClient
from bbs.client.errors import ClientError
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply, Waiting
from bbs.client.request import ClientRequest
from bbs.core.addresses import Address
from bbs.ui.chat import Partner, history_command, is_said, partner_of
from bbs.ui.completion import Completion
from bbs.ui.conversation import Conversation, Status
from bbs.ui.interfaces import IScreen, PromptCancelled
from bbs.ui.output import OLDER, problem_line, visible
from bbs.ui.prompts import HOW_TO_END, changes_password, count_questions
from bbs.ui.terminal import theme
from bbs.ui.terminal.interfaces import (
    Fragments,
    IEditor,
    ILineOwner,
    InputContext,
    IPager,
    ITerminalApp,
    SetAside,
)
from bbs.ui.terminal.keys import lines_of
from bbs.ui.terminal.scrollback import HistorySource, Overlay, Scrollback
from bbs.ui.terminal.settings import Attention
from bbs.ui.terminal.theme import Theme, width


@dataclass
class QueuedLine:
    """A line that was entered. `as_text`: in a talk it is said, whatever it begins with.

    `questions` is how many passwords it will ask for that nobody has entered yet; `answers` are
    those that were entered before they were asked for.
    """

    text: str
    as_text: bool = False
    questions: int = 0
    answers: deque[str] = field(default_factory=deque)


class LineQueue:
    """Lines that `owner` carries out, until one was the last; then it leaves."""

    _log = Logger()

    def __init__(self, owner: ILineOwner) -> None:
        self.line: QueuedLine | None = None
        self._owner = owner
        self._lines: deque[QueuedLine] = deque()
        self._running: Deferred[bool] | None = None

    @property
    def under_way(self) -> str:
        """The line that is being carried out; empty when none is."""
        return self.line.text if self.line is not None else ""

    @property
    def questioner(self) -> QueuedLine | None:
        """The first line, of that and those behind it, for which a password is to be entered."""
        return next((line for line in self.lines if line.questions), None)

    @property
    def lines(self) -> Iterator[QueuedLine]:
        """That which is being carried out, and those behind it."""
        return (line for line in (self.line, *self._lines) if line is not None)

    @property
    def unsent(self) -> int:
        """How many lines have not had their turn."""
        return len(self._lines)

    def add(self, lines: Iterable[QueuedLine]) -> None:
        """Carry these out too; blank ones say nothing."""
        self._lines.extend(line for line in lines if line.text.strip(" "))
        if self._running is None:
            Deferred.fromCoroutine(self._work())

    def give_up(self) -> int:
        """Wait no more for what is under way, and forget what is behind it: so many lines."""
        count = len(self._lines)
        self._lines.clear()
        if self._running is not None:
            self._running.cancel()
        return count

    async def _work(self) -> None:
        while self._lines:
            self.line = self._lines.popleft()
            self._running = self._owner.carry_out(self.line)
            try:
                goes_on = await self._running
            except Exception:
                self._log.failure("a line was not carried out")
                goes_on = True
            self._running = self.line = None
            if not goes_on:
                self._lines.clear()
                self._owner.leave()


@dataclass(frozen=True)
class PromptState:
    """What a prompt tells of; `elsewhere` counts what other users here have not read."""

    login_server: Address
    user: str | None = None
    talk: Partner | None = None
    status: Status = field(default_factory=Status)
    unread: Mapping[Partner, int] = field(default_factory=dict)
    elsewhere: int = 0


ROOM = 30
"""Columns that are left to type in; half of them all where there are fewer than twice as many."""


def prompt_text(situation: PromptState, columns: int) -> str:
    """The longest prompt for so many columns; a name that is too long is cut."""
    room = max(1, columns // 2, columns - ROOM)
    for text in _from_long_to_short(situation):
        if width(text) + 2 <= room:
            return f"{text}> "
    return f"{_cut(_who(situation), room - 2)}> "


def partner_name(talk: Partner) -> str:
    """A partner as the prompt and messages name them."""
    return f"{'#' if talk.is_room else ''}{visible(talk.name)}"


def _from_long_to_short(situation: PromptState) -> Iterator[str]:
    who, state, unread = _who(situation), _state(situation), situation.unread
    counts = [f"{partner_name(talk)} {count}" for talk, count in unread.items()]
    others = [f"others {situation.elsewhere}"] if situation.elsewhere else []
    listed = ", ".join([*counts, *others])
    total = sum(unread.values()) + situation.elsewhere
    long = f" [{listed}]" if listed else ""
    short = f" [{total}]" if total else ""
    if situation.user is None and not state:
        yield f"{situation.login_server}, no user{long}"
        yield f"no user{short}"
    elif state:
        yield f"{who}, {state}{long}"
        yield f"{who}, {state}"
        yield f"{who}, {state.partition(',')[0]}"
        yield f"{who}, {state.partition(' ')[0]}"
    elif situation.talk is None and situation.status.server is not None:
        yield f"{who}@{situation.status.server}{long}"
    yield f"{who}{long}"
    yield f"{who}{short}"
    yield who


def _who(situation: PromptState) -> str:
    user = "no user" if situation.user is None else visible(situation.user)
    return f"{user}→{partner_name(situation.talk)}" if situation.talk else user


def _state(situation: PromptState) -> str:
    """What is not as it should be; empty when all is well."""
    if situation.status.waiting is not None:
        return _waiting(situation.status.waiting)
    return "server lost" if situation.status.lost else ""


def _waiting(waiting: Waiting) -> str:
    estimate = "" if waiting.seconds is None else f", about {waiting.seconds:.0f} s"
    return f"waiting for a server: place {waiting.position}{estimate}"


def _cut(text: str, room: int) -> str:
    """As much of the beginning of `text` as leaves room for the mark that says so."""
    while text and width(text) >= room:
        text = text[:-1]
    return f"{text}…" if room > 0 else ""


GREETING = "Connected to {}. help lists the commands, Tab completes them; exit or Ctrl-D ends."

OLDER_BY_KEY = "(older ones: Page Up)"

_OF_A_CHANGE = ("The same once more", "New password", "Old password")
"""What is to be entered, by how many questions are left."""


def begins_talk(line: str) -> bool:
    """Whether a line has what is typed behind it be said to somebody."""
    return line.lstrip(" /").partition(" ")[0] == "talk"


@dataclass(frozen=True)
class _Question:
    prompt: str
    answer: Deferred[str]


@implementer(IScreen, ITerminalApp)
class TerminalApp:
    """`editor` makes the editor for this app, and `theme` is how things look on it. `password`
    answers for whoever is asked for one, where it is not None. `attention` is what happens at a
    message that is for one, and `pager` somebody's own, for long lists."""

    def __init__(
        self,
        clock: IReactorTime,
        client: ServiceClient,
        login_server: Address,
        editor: Callable[[TerminalApp], IEditor],
        password: str | None = None,
        *,
        theme: Theme,
        attention: Attention = Attention.HIGHLIGHT,
        pager: IPager | None = None,
    ) -> None:
        self._login_server = login_server
        self._password = password
        self._client = client
        self.conversation = Conversation(client, self)
        self.queue = LineQueue(self)
        self._editor = editor(self)
        self._scrollback = Scrollback(clock, client.vocabulary, self._editor)
        self._overlay = Overlay(self._editor, self._scrollback, pager)
        self._theme = theme
        self._attention = attention
        self._past: tuple[str, Partner] | None = None
        self._looks_back = False
        self._question: _Question | None = None
        self._hidden = False
        self._connecting: Deferred[None] = Deferred()
        self._over = False

    async def run(self) -> None:
        """Until the person ends it; `Unreachable` when there is no service to begin with."""
        self._connecting = self._client.connect()
        await self._connecting
        self.notice(GREETING.format(self._login_server))
        self._scrollback.flush()
        with self._editor.raw():
            while not self._over:
                try:
                    await self._next_prompt()
                except SetAside:
                    pass
                except EOFError:
                    self._over = True
            self._scrollback.flush()

    async def _next_prompt(self) -> None:
        if self._overlay.waits:
            return await self._overlay.read()
        if self._question is None and self.queue.questioner is None:
            return self._entered(await self._editor.line())
        # Before the question comes too: somebody fast types the password behind the line.
        self._hidden = True
        try:
            answer: str | PromptCancelled = await self._editor.password(self._question_words)
        except PromptCancelled as problem:
            answer = problem
        finally:
            self._hidden = False
        return self._answered(answer)

    def _entered(self, text: str) -> None:
        texts = text.split("\n")
        pasted = len(texts) > 1
        self.queue.add(QueuedLine(each, pasted, self._questions(each, pasted)) for each in texts)

    def _questions(self, text: str, as_text: bool) -> int:
        said = self.conversation.talk is not None and (as_text or not self.is_command(text))
        # The line under way may begin or end a talk: then it is better to hide too much.
        if self._answers_itself(text) or (said and not self.queue.under_way):
            return 0
        return count_questions(text)

    def _answers_itself(self, line: str) -> bool:
        return self._password is not None and not changes_password(line)

    def _question_words(self) -> str:
        if self._question is not None:
            return self._question.prompt
        line = self.queue.questioner
        if line is not None and changes_password(line.text):
            return f"{_OF_A_CHANGE[line.questions - 1]}, once asked: "
        name = line.text.rstrip(" ").rpartition(" ")[2] if line is not None else ""
        return f"Password for {visible(name)}, once asked: "

    def _answered(self, answer: str | PromptCancelled) -> None:
        question, self._question = self._question, None
        line = self.queue.line if question is not None else self.queue.questioner
        if line is not None and line.questions:
            line.questions -= 1
        if question is not None:
            question.answer.callback(
                Failure(answer) if isinstance(answer, PromptCancelled) else answer
            )
        elif isinstance(answer, PromptCancelled):
            self.interrupt()
        elif line is not None:
            line.answers.append(answer)

    def carry_out(self, line: QueuedLine) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._carried_out(line))

    async def _carried_out(self, line: QueuedLine) -> bool:
        def over(result: bool | Failure) -> bool | Failure:
            self._asks_no_more(line)
            return result

        goes_on = await self.conversation.carry_out(line.text, line.as_text).addBoth(over)
        # A list that is read has to be left before the next line is carried out.
        await self._overlay.finished()
        return goes_on

    def _asks_no_more(self, line: QueuedLine | None) -> None:
        unanswered = line is not None and line.questions
        if line is not None:
            line.questions = 0
        # A password that was half typed for that line is not for another.
        over = unanswered or self.queue.questioner is None
        if over and self._hidden and self._question is None:
            self._editor.set_aside()

    def leave(self) -> None:
        """End it; while the service is still being looked for, `run` fails with CancelledError."""
        self._over = True
        self._connecting.cancel()
        self._overlay.end()
        self._editor.end()

    def interrupt(self) -> None:
        """Ctrl-C, where that loses no line: wait no more for what is under way."""
        if not self.queue.under_way:
            self.notice(HOW_TO_END)
        elif unsent := self.queue.give_up():
            self.notice(f"Not sent: {lines_of(unsent)} behind it.")

    # What the editor draws

    def prompt(self, columns: int) -> str:
        conversation = self.conversation
        return prompt_text(
            PromptState(
                self._login_server,
                conversation.current,
                conversation.talk,
                conversation.status,
                conversation.unread,
                conversation.unread_elsewhere,
            ),
            columns,
        )

    def hint(self, line: str) -> str:
        return self.conversation.hint(line)

    def completions(self, line: str) -> Sequence[Completion]:
        return self.conversation.completions(line)

    def is_command(self, line: str) -> bool:
        return not (self.conversation.talk and is_said(line))

    def context(self, line: str, as_text: bool) -> InputContext:
        talk = self.conversation.talk
        said = talk is not None and (as_text or not self.is_command(line))
        # The line under way may begin a talk: then it is better to keep too little.
        begins = any(begins_talk(each.text) for each in self.queue.lines)
        said = said or (begins and line[:1] != "/")
        return InputContext(None if talk is None else (self.conversation.current, talk), said)

    def _partner(self, user: str, message: ChatMessage) -> Partner:
        return partner_of(self._client.vocabulary.presentation, user, message)

    # IScreen

    def reply(self, request: ClientRequest, reply: ServiceReply) -> None:
        self._show(self._theme.reply(reply, request.user))

    def message(self, user: str, message: ChatMessage, for_you: bool) -> None:
        conversation = self.conversation
        partner = self._partner(user, message)
        is_open = user == conversation.current and partner == conversation.talk
        wanted = for_you and (message.group is not None or not is_open)
        several = len(conversation.users) > 1
        highlighted = wanted and self._attention.highlights
        self._scrollback.add(self._theme.message(user, message, several, highlighted))
        if wanted and self._attention.rings:
            self._editor.bell()

    def past(self, user: str, messages: Sequence[ChatMessage], older: bool) -> None:
        # The end is what is wanted, so these are not paged, and a key goes back from there.
        self._past = (user, self._partner(user, messages[0]))
        if older:
            self._scrollback.add(
                theme.notice(OLDER if self._editor.size() is None else OLDER_BY_KEY)
            )
        for message in messages:
            self._scrollback.add(
                self._theme.message(user, message, len(self.conversation.users) > 1)
            )

    def event(self, user: str, event: ServiceEvent) -> None:
        self._scrollback.add(self._theme.event(user, event, len(self.conversation.users) > 1))

    def notice(self, text: str) -> None:
        self._show(theme.notice(text))

    def problem(self, text: str) -> None:
        self._scrollback.add(theme.problem(text))

    def ask_password(self, prompt: str) -> Deferred[str]:
        if self._password is not None and self._answers_itself(self.queue.under_way):
            return succeed(self._password)
        if self.queue.line is not None and self.queue.line.answers:
            return succeed(self.queue.line.answers.popleft())
        question = _Question(prompt, Deferred(self._withdraw))
        self._question = question
        if self._hidden:
            self._editor.redraw()
        else:
            self._editor.set_aside()
        return question.answer

    def changed(self) -> None:
        self._editor.redraw()

    # Reading

    def _show(self, lines: Fragments) -> None:
        """Lines above the one that is typed; where they are an answer that is longer than the
        window, they are paged."""
        answers = self.queue.line is not None and not self._hidden and self._question is None
        if answers and self._overlay.takes(lines):
            self._editor.set_aside()
        else:
            self._scrollback.add(lines)

    def look_back(self) -> None:
        """Have somebody read in the conversation that they are in, or have asked for last."""
        user, talk = self.conversation.current, self.conversation.talk
        past = (user, talk) if user is not None and talk is not None else self._past
        if past is None or past[0] not in self.conversation.users:
            history = history_command(self._client.vocabulary)
            ways = f" before talk NAME, or {visible(history)} NAME" if history else ""
            self.notice(f"There is nothing to read back in{ways}.")
        elif not past[1].talk.history:
            self.notice("There is nothing to read back in.")
        elif not self._looks_back:
            self._looks_back = True
            Deferred.fromCoroutine(self._look_back(*past))

    async def _look_back(self, user: str, talk: Partner) -> None:
        back = HistorySource(self._client, user, talk)
        draw = partial(self._theme.back_in, user)
        try:
            self._overlay.look_back(partner_name(talk), await back.part(None), back, draw)
        except ClientError as problem:
            self.problem(problem_line(problem))
        else:
            if not self._hidden:  # Else it comes when the password is entered.
                self._editor.set_aside()
        finally:
            self._looks_back = False

    def _withdraw(self, _: Deferred[str]) -> None:
        self._question = None
        self._asks_no_more(self.queue.line)
