"""The app of one person at a terminal: a `Conversation`, shown above the input line.

The prompt says who speaks, where, and what is unread:

    127.0.0.1:22222, no user>
    ann, waiting for a server: place 3, about 24 s>
    ann@127.0.0.1:22223 [bob 2, #chess 1]>
    ann→#chess>

It is shorter in a narrow terminal, to leave room for typing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.client.client import ServiceClient
from bbs.client.errors import ClientError
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply
from bbs.client.request import ClientRequest
from bbs.core.addresses import Address
from bbs.ui.chat import Partner, history_command, is_said, partner_of
from bbs.ui.completion import Completion, completions, hint
from bbs.ui.conversation import Conversation, Status
from bbs.ui.interfaces import IScreen, PromptCancelled
from bbs.ui.output import OLDER, visible
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
from bbs.ui.wording import problem_words


@dataclass
class QueuedLine:
    """A line that was entered. `as_text`: in a talk it is a message, whatever it begins with.
    `questions` counts the passwords that it will ask for and that are not entered yet; `answers`
    are those that were entered early."""

    text: str
    as_text: bool = False
    questions: int = 0
    answers: deque[str] = field(default_factory=deque)


class LineQueue:
    """Lines for `owner`, which carries them out and leaves after the last."""

    _log = Logger()

    def __init__(self, owner: ILineOwner) -> None:
        self.line: QueuedLine | None = None
        self._owner = owner
        self._lines: deque[QueuedLine] = deque()
        self._running: Deferred[bool] | None = None

    @property
    def under_way(self) -> str:
        """The text of the line that is being carried out; empty if there is none."""
        return self.line.text if self.line is not None else ""

    @property
    def questioner(self) -> QueuedLine | None:
        """The first line that needs a password to be entered."""
        return next((line for line in self.lines if line.questions), None)

    @property
    def lines(self) -> Iterator[QueuedLine]:
        return (line for line in (self.line, *self._lines) if line is not None)

    @property
    def unsent(self) -> int:
        return len(self._lines)

    def add(self, lines: Iterable[QueuedLine]) -> None:
        """Carry out these lines too, except blank ones."""
        self._lines.extend(line for line in lines if line.text.strip(" "))
        if self._running is None:
            Deferred.fromCoroutine(self._work())

    def give_up(self) -> int:
        """Cancel the line that is being carried out and drop the waiting ones; returns how many."""
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
    """The content of a prompt; `elsewhere` counts the unread messages of other users here."""

    login_server: Address
    user: str | None = None
    talk: Partner | None = None
    status: Status = field(default_factory=Status)
    unread: Mapping[Partner, int] = field(default_factory=dict)
    elsewhere: int = 0


ROOM = 30  # columns left for typing; half of the columns if there are fewer than twice as many


def prompt_text(state: PromptState, columns: int) -> str:
    """The longest prompt that fits; a name that is too long is cut."""
    room = max(1, columns // 2, columns - ROOM)
    for text in _from_long_to_short(state):
        if width(text) + 2 <= room:
            return f"{text}> "
    return f"{_cut(_speaker(state), room - 2)}> "


def partner_name(talk: Partner) -> str:
    return f"{'#' if talk.talk.room else ''}{visible(talk.name)}"


def _from_long_to_short(state: PromptState) -> Iterator[str]:
    speaker, trouble, unread = _speaker(state), _trouble(state.status), state.unread
    counts = [f"{partner_name(talk)} {count}" for talk, count in unread.items()]
    others = [f"others {state.elsewhere}"] if state.elsewhere else []
    listed = ", ".join([*counts, *others])
    total = sum(unread.values()) + state.elsewhere
    long = f" [{listed}]" if listed else ""
    short = f" [{total}]" if total else ""
    if state.user is None and not trouble:
        yield f"{state.login_server}, no user{long}"
        yield f"no user{short}"
    elif trouble:
        yield f"{speaker}, {trouble}{long}"
        yield f"{speaker}, {trouble}"
        yield f"{speaker}, {trouble.partition(',')[0]}"
        yield f"{speaker}, {trouble.partition(' ')[0]}"
    elif state.talk is None and state.status.server is not None:
        yield f"{speaker}@{state.status.server}{long}"
    yield f"{speaker}{long}"
    yield f"{speaker}{short}"
    yield speaker


def _speaker(state: PromptState) -> str:
    user = "no user" if state.user is None else visible(state.user)
    return f"{user}→{partner_name(state.talk)}" if state.talk else user


def _trouble(status: Status) -> str:
    if status.waiting is None:
        return "server lost" if status.lost else ""
    seconds = status.waiting.seconds
    estimate = "" if seconds is None else f", about {seconds:.0f} s"
    return f"waiting for a server: place {status.waiting.position}{estimate}"


def _cut(text: str, room: int) -> str:
    while text and width(text) >= room:
        text = text[:-1]
    return f"{text}…" if room > 0 else ""


GREETING = "Connected to {}. help lists the commands, Tab completes them; exit or Ctrl-D ends."

OLDER_BY_KEY = "(older ones: Page Up)"

_CHANGE_QUESTIONS = ("Repeat the password", "New password", "Old password")
"""The questions of a change of password, last one first."""


def begins_talk(line: str) -> bool:
    """Whether a line begins a talk, in which the lines that follow are messages."""
    return line.lstrip(" /").partition(" ")[0] == "talk"


@dataclass(frozen=True)
class _Question:
    prompt: str
    answer: Deferred[str]


@implementer(IScreen, ITerminalApp)
@dataclass(eq=False, repr=False)
class TerminalApp:
    """One person's app, with `theme` as its look. `_password` answers password prompts, if it is
    not None. `attention` is the signal of a message for the person, and `pager` the person's own,
    for long lists."""

    _clock: IReactorTime
    _client: ServiceClient
    _login_server: Address
    _make_editor: Callable[[TerminalApp], IEditor]
    _password: str | None = None
    _: KW_ONLY
    theme: Theme
    attention: Attention = Attention.HIGHLIGHT
    pager: IPager | None = None
    _past: tuple[str, Partner] | None = None
    _looks_back: bool = False
    _question: _Question | None = None
    _hidden: bool = False
    _over: bool = False

    def __post_init__(self) -> None:
        self.conversation = Conversation(self._client, self)
        self.queue = LineQueue(self)
        self._editor = self._make_editor(self)
        self._scrollback = Scrollback(self._clock, self._client.vocabulary, self._editor)
        self._overlay = Overlay(self._editor, self._scrollback, self.pager)
        self._connecting: Deferred[None] = Deferred()

    async def run(self) -> None:
        """Run until the person ends it; `Unreachable` if there is no service at the start."""
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
        if self._overlay.is_needed:
            return await self._overlay.show()
        if self._question is None and self.queue.questioner is None:
            return self._enqueue(await self._editor.line())
        # Hide the input before the question comes too: fast typists type the password early.
        self._hidden = True
        try:
            answer: str | PromptCancelled = await self._editor.password(self._password_prompt)
        except PromptCancelled as problem:
            answer = problem
        finally:
            self._hidden = False
        return self._answer(answer)

    def _enqueue(self, text: str) -> None:
        texts = text.split("\n")
        pasted = len(texts) > 1
        self.queue.add(QueuedLine(each, pasted, self._questions(each, pasted)) for each in texts)

    def _questions(self, text: str, as_text: bool) -> int:
        said = self.conversation.talk is not None and (as_text or not self.is_command(text))
        # The line under way may begin or end a talk: then it is better to hide too much.
        if self._has_password(text) or (said and not self.queue.under_way):
            return 0
        return count_questions(text)

    def _has_password(self, line: str) -> bool:
        return self._password is not None and not changes_password(line)

    def _password_prompt(self) -> str:
        if self._question is not None:
            return self._question.prompt
        line = self.queue.questioner
        if line is not None and changes_password(line.text):
            return f"{_CHANGE_QUESTIONS[line.questions - 1]}, once asked: "
        name = line.text.rstrip(" ").rpartition(" ")[2] if line is not None else ""
        return f"Password for {visible(name)}, once asked: "

    def _answer(self, answer: str | PromptCancelled) -> None:
        question, self._question = self._question, None
        line = self.queue.line if question is not None else self.queue.questioner
        if line is not None and line.questions:
            line.questions -= 1
        if question is not None:
            result = Failure(answer) if isinstance(answer, PromptCancelled) else answer
            question.answer.callback(result)
        elif isinstance(answer, PromptCancelled):
            self.interrupt()
        elif line is not None:
            line.answers.append(answer)

    def carry_out(self, line: QueuedLine) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._carry_out(line))

    async def _carry_out(self, line: QueuedLine) -> bool:
        try:
            goes_on = await self.conversation.carry_out(line.text, line.as_text)
        finally:
            self._end_questions(line)
        # The person has to leave a list before the next line is carried out.
        await self._overlay.finished()
        return goes_on

    def _end_questions(self, line: QueuedLine | None) -> None:
        unanswered = line is not None and line.questions
        if line is not None:
            line.questions = 0
        # A partly typed password for that line is not for another.
        over = unanswered or self.queue.questioner is None
        if over and self._hidden and self._question is None:
            self._editor.set_aside()

    def leave(self) -> None:
        """End the app; while it still looks for the service, `run` fails with CancelledError."""
        self._over = True
        self._connecting.cancel()
        self._overlay.end()
        self._editor.end()

    def interrupt(self) -> None:
        if not self.queue.under_way:
            self.notice(HOW_TO_END)
        elif unsent := self.queue.give_up():
            self.notice(f"Not sent: {lines_of(unsent)} behind it.")

    # ITerminalApp

    def prompt(self, columns: int) -> str:
        conversation = self.conversation
        user, talk, status = conversation.current, conversation.talk, conversation.status
        unread, elsewhere = conversation.unread, conversation.unread_elsewhere
        state = PromptState(self._login_server, user, talk, status, unread, elsewhere)
        return prompt_text(state, columns)

    def hint(self, line: str) -> str:
        return hint(self.conversation, line)

    def completions(self, line: str) -> Sequence[Completion]:
        return completions(self.conversation, line)

    def is_command(self, line: str) -> bool:
        return not (self.conversation.talk and is_said(line))

    def context(self, line: str, as_text: bool) -> InputContext:
        talk = self.conversation.talk
        said = talk is not None and (as_text or not self.is_command(line))
        # A line before it may begin a talk: then it is better to keep too little.
        begins = any(begins_talk(each.text) for each in self.queue.lines)
        said = said or (begins and line[:1] != "/")
        return InputContext(None if talk is None else (self.conversation.current, talk), said)

    def _partner(self, user: str, message: ChatMessage) -> Partner:
        return partner_of(self._client.vocabulary.presentation, user, message)

    # IScreen

    def reply(self, request: ClientRequest, reply: ServiceReply) -> None:
        self._show(self.theme.reply(reply, request.user))

    def message(self, user: str, message: ChatMessage, for_you: bool) -> None:
        conversation = self.conversation
        partner = self._partner(user, message)
        is_open = user == conversation.current and partner == conversation.talk
        wanted = for_you and (message.group is not None or not is_open)
        several = len(conversation.users) > 1
        highlighted = wanted and self.attention.highlights
        line = self.theme.message(user, message, several, highlighted, is_open)
        self._scrollback.add(line)
        if wanted and self.attention.rings:
            self._editor.bell()

    def past(self, user: str, messages: Sequence[ChatMessage], older: bool) -> None:
        # The end is what is wanted, so these are not paged; a key leads back from there.
        self._past = (user, self._partner(user, messages[0]))
        if older:
            words = OLDER if self._editor.size() is None else OLDER_BY_KEY
            self._scrollback.add(theme.notice(words))
        for message in messages:
            self._scrollback.add(self.theme.message(user, message, False, in_talk=True))

    def event(self, user: str, event: ServiceEvent) -> None:
        self._scrollback.add(self.theme.event(user, event, len(self.conversation.users) > 1))

    def notice(self, text: str) -> None:
        self._show(theme.notice(text))

    def problem(self, text: str) -> None:
        self._scrollback.add(theme.problem(text))

    def ask_password(self, prompt: str) -> Deferred[str]:
        if self._password is not None and self._has_password(self.queue.under_way):
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

    def _show(self, lines: Fragments) -> None:
        """Show lines above the prompt, or page them if they are a long answer."""
        answers = self.queue.line is not None and not self._hidden and self._question is None
        if answers and self._overlay.add_long(lines):
            self._editor.set_aside()
        else:
            self._scrollback.add(lines)

    def look_back(self) -> None:
        """Open the history of the talk, or of the conversation that was shown last."""
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
        source = HistorySource(self._client, user, talk)
        draw = partial(self.theme.history, user)
        try:
            self._overlay.add_history(partner_name(talk), await source.part(None), source, draw)
        except ClientError as problem:
            self.problem(problem_words(problem))
        else:
            if not self._hidden:  # Else it comes after the password.
                self._editor.set_aside()
        finally:
            self._looks_back = False

    def _withdraw(self, _: Deferred[str]) -> None:
        self._question = None
        self._end_questions(self.queue.line)
