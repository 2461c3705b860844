"""The app of one person at a terminal: a `Conversation`, shown above the input line.

The prompt says who speaks. The line below says who is there, what is unread, and what helps:

    ann> good morning
    bob here · new: carol 2, #chess 1 · PgUp history · /help

A terminal without room for that line has it in the prompt, as far as it fits:

    ann→bob [carol 2, #chess 1]>
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from prompt_toolkit.formatted_text import split_lines
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.client.client import ServiceClient
from bbs.client.errors import ClientError, Refused
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply
from bbs.client.request import ClientRequest
from bbs.core.addresses import Address
from bbs.core.errors import NotLoggedIn
from bbs.ui.chat import (
    Partner,
    history_command,
    is_said,
    own_message,
    partner_of,
    said_text,
)
from bbs.ui.completion import Completion, completions, hint
from bbs.ui.conversation import GAVE_UP, LEAVING, Conversation, Status
from bbs.ui.interfaces import IScreen, PromptCancelled, UsageError
from bbs.ui.output import OLDER, visible, waiting_words
from bbs.ui.prompts import HOW_TO_END, TOO_SOON, changes_password, count_questions
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
from bbs.ui.terminal.remembered import (
    REMEMBER,
    RememberedSession,
    keep_session,
    session_commands,
)
from bbs.ui.terminal.scrollback import HistorySource, Left, Overlay, Scrollback
from bbs.ui.terminal.settings import Attention
from bbs.ui.terminal.theme import Theme, width
from bbs.ui.unsent import unsent_lines
from bbs.ui.unshown import UnshownLines
from bbs.ui.wording import problem_words


@dataclass
class QueuedLine:
    """A line that was entered. `as_text`: in a talk it is a message, whatever it begins with.
    `questions` counts the passwords that it will ask for and that are not entered yet; `answers`
    are those that were entered early. `said`: it is a message to the partner of the talk.
    `resumes`: nobody typed it; it goes on with the session that is remembered."""

    text: str
    as_text: bool = False
    questions: int = 0
    answers: deque[str] = field(default_factory=deque)
    said: bool = False
    resumes: bool = False


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

    def drop(self) -> Sequence[str]:
        """Drop the waiting lines, and return them."""
        dropped = [line.text for line in self._lines]
        self._lines.clear()
        return dropped

    def give_up(self) -> Sequence[str]:
        """Cancel the line that is being carried out, and drop the waiting ones; returns these."""
        dropped = self.drop()
        if self._running is not None:
            self._running.cancel()
        return dropped

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
                self._owner.leave()  # It shows what is left.
                self._lines.clear()


@dataclass(frozen=True)
class PromptState:
    """The content of a prompt; `elsewhere` counts the unread messages of other users here."""

    user: str | None = None
    talk: Partner | None = None
    status: Status = field(default_factory=Status)
    unread: Mapping[Partner, int] = field(default_factory=dict)
    elsewhere: int = 0


ROOM = 30  # columns left for typing; half of the columns if there are fewer than twice as many


def prompt_text(state: PromptState, columns: int, has_hint: bool = False) -> str:
    """The longest prompt that fits; a name that is too long is cut. `has_hint`: `hint_text` says
    the rest below it."""
    room = max(1, columns // 2, columns - ROOM)
    for text in [_user(state)] if has_hint else _from_long_to_short(state):
        if width(text) + 2 <= room:
            return f"{text}> "
    return f"{_cut(_user(state) if has_hint else _speaker(state), room - 2)}> "


def hint_text(state: PromptState, presence: str = "", begins: str = "") -> str:
    """The line below the prompt, while no command is typed: who is there (`presence`, the
    partner's, in one word), what is unread, and what helps; `begins` begins a talk."""
    talk, listed = state.talk, _unread(state)
    is_new = state.user is not None and state.status.server is None
    parts = [_trouble(state.status) or ("connecting" if is_new else "")]
    if talk is not None and not talk.talk.room and presence:
        parts.append(f"{visible(talk.name)} {visible(presence)}")
    elif talk is not None:
        parts.append(f"{'in' if talk.talk.room else 'to'} {partner_name(talk)}")
    parts.append(f"new: {listed}" if listed else "")
    if talk is not None:
        parts += ["PgUp history" if talk.talk.history else "", "/help"]
    elif state.user is None:
        parts += ["login NAME", "register NAME", "help"]
    else:
        parts += [begins, "help"]
    return " · ".join(filter(None, parts))


def partner_name(talk: Partner) -> str:
    return f"{'#' if talk.talk.room else ''}{visible(talk.name)}"


def _unread(state: PromptState) -> str:
    counts = [f"{partner_name(talk)} {count}" for talk, count in state.unread.items()]
    return ", ".join([*counts, *([f"others {state.elsewhere}"] if state.elsewhere else [])])


def _from_long_to_short(state: PromptState) -> Iterator[str]:
    speaker, trouble, listed = _speaker(state), _trouble(state.status), _unread(state)
    total = sum(state.unread.values()) + state.elsewhere
    if trouble:
        yield f"{speaker}, {trouble} [{listed}]" if listed else f"{speaker}, {trouble}"
        yield f"{speaker}, {trouble}"
        yield f"{speaker}, {trouble.partition(',')[0]}"
        yield f"{speaker}, {'waiting' if state.status.waiting else trouble}"
    yield f"{speaker} [{listed}]" if listed else speaker
    yield f"{speaker} [{total}]" if total else speaker
    yield speaker


def _user(state: PromptState) -> str:
    return "" if state.user is None else visible(state.user)


def _speaker(state: PromptState) -> str:
    return f"{_user(state)}→{partner_name(state.talk)}" if state.talk else _user(state)


def _trouble(status: Status) -> str:
    if status.waiting is not None:
        return waiting_words(status.waiting)
    return "reconnecting" if status.lost else ""


def _cut(text: str, room: int) -> str:
    while text and width(text) >= room:
        text = text[:-1]
    return f"{text}…" if room > 0 else ""


GREETING = """\
Connected to {}.
login NAME to log in, register NAME to make an account; help lists all commands."""

GREETING_AGAIN = """\
Connected to {}.
login to log in as {}, login NAME as somebody else; help lists all commands."""

GREETING_BACK = "Connected to {}."


def _joined(lines: Sequence[Fragments]) -> Fragments:
    """Lines as one text."""
    return [*chain.from_iterable((("", "\n"), *each) for each in lines)][1:]


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
    asked: float = 0.0  # when, in seconds of the clock


@implementer(IScreen, ITerminalApp)
@dataclass(eq=False, repr=False)
class TerminalApp:
    """One person's app, with `theme` as its look. `_password` answers password prompts, if it is
    not None. `attention` is the signal of a message for the person, and `pager` the person's own,
    for long lists. `last_name` is the user whom `login` alone means. `remembered` is the session
    for the next start."""

    _clock: IReactorTime
    _client: ServiceClient
    _login_server: Address
    _make_editor: Callable[[TerminalApp], IEditor]
    _password: str | None = None
    _: KW_ONLY
    theme: Theme
    attention: Attention = Attention.HIGHLIGHT
    pager: IPager | None = None
    last_name: str = ""
    remembered: RememberedSession | None = None
    for_programs: bool = field(default=False, init=False)
    _unshown: UnshownLines[Fragments] = field(default_factory=UnshownLines)
    _past: tuple[str, Partner] | None = None
    _looks_back: bool = False
    _question: _Question | None = None  # its answer is typed hidden
    _line_question: _Question | None = None  # the next line answers it
    _hidden: bool = False
    _over: bool = False
    unsent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        own = session_commands(self.remembered, lambda: self.conversation)
        self.conversation = Conversation(self._client, self, builtins=own)
        self._first_name, self._tells_of_sessions = self.last_name, False
        self._changes: Deferred[Any] = succeed(None)
        self.queue = LineQueue(self)
        self._editor = self._make_editor(self)
        self._scrollback = Scrollback(self._clock, self._client.vocabulary, self._editor)
        self._overlay = Overlay(self._editor, self._scrollback, self.pager)
        self._connecting: Deferred[None] = Deferred()

    async def run(self) -> None:
        """Run until the person ends it; `Unreachable` if the service does not answer at the
        start."""
        self._connecting = self._client.connect()
        await self._connecting
        host, name = visible(self._login_server.host), visible(self.last_name)
        if self.remembered is not None and self.remembered.is_kept:
            self.notice(GREETING_BACK.format(host))
            self.queue.add([QueuedLine("login", resumes=True)])
        else:
            self.notice(GREETING_AGAIN.format(host, name) if name else GREETING.format(host))
        self._scrollback.flush()
        with self._editor.raw():
            try:
                while not self._over:
                    with suppress(SetAside):
                        await self._next_prompt()
            except Exception as problem:  # Of a fault too, the person reads what is not sent.
                self.leave()
                self._scrollback.flush()
                if not isinstance(problem, EOFError):
                    raise
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
        question, texts = self._line_question, text.split("\n")
        if question is not None:
            if self._clock.seconds() - question.asked < TOO_SOON:
                return self.conversation.drop(texts)
            self._line_question = None
            return question.answer.callback(text)
        if self.last_name and self.is_command(text) and text.strip(" /") == "login":
            text = f"/login {self.last_name}"
            texts = [text]
        pasted = len(texts) > 1
        self.queue.add(
            QueuedLine(
                each, pasted, self._questions(each, pasted), said=self._goes_to_partner(each)
            )
            for each in texts
        )

    def _goes_to_partner(self, line: str) -> bool:
        """Whether a line that is entered now is a message, and all lines before it are."""
        talk = self.conversation.talk
        return talk is not None and is_said(line) and all(each.said for each in self.queue.lines)

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
            if line.resumes:
                goes_on = await self._resume()
            else:
                goes_on = await self.conversation.carry_out(line.text, line.as_text)
        finally:
            self._end_questions(line)
        changes, self._changes = self._changes, succeed(None)
        try:
            await changes
        except CancelledError:
            self.notice(GAVE_UP)
        except UsageError as problem:
            self.problem(str(problem))
        if self._tells_of_sessions:
            self._tells_of_sessions = False
            self.notice(REMEMBER)
        # The person has to leave a list before the next line is carried out.
        with suppress(CancelledError):  # The client ends meanwhile.
            await self._overlay.finished()
        return goes_on

    # The session for the next start

    @property
    def _remembered_user(self) -> str:
        return self.remembered.user if self.remembered is not None else ""

    async def _resume(self) -> bool:
        """Go on with the session that is remembered; one that has ended is forgotten."""
        user, remembered = self._remembered_user, self.remembered
        ended = "cannot be read"
        try:
            await self._client.learn()
            if remembered is None or remembered.service != self._client.vocabulary.service:
                ended = "is of another service"
            elif token := await remembered.load():
                await self.conversation.resume(user, token)
                self.last_name = user
                return True
        except CancelledError:
            self.notice(GAVE_UP)
            return True
        except ClientError as problem:
            is_over = isinstance(problem, Refused) and problem.reply.code == NotLoggedIn.code
            if not is_over:
                self.problem(problem_words(problem))
                return True
            ended = "has ended"
            self._forget(user)
        self.last_name = self.last_name or user
        self.notice(f"The session of {visible(user)} {ended}. Try: login {visible(user)}")
        return True

    def _remember_login(self, user: str) -> None:
        """Remember the new session of a user who is remembered; tell those who come again how."""
        remembered = self.remembered
        if remembered is None or not remembered.is_secure or self._password is not None:
            return
        if user == remembered.user:
            kept = keep_session(remembered, self.conversation, user)
            self._changes = Deferred.fromCoroutine(kept)
        elif user == self._first_name and remembered.is_new:
            self._tells_of_sessions = True
            self._forget("")

    def _forget(self, user: str) -> None:
        if self.remembered is not None:
            self._changes = Deferred.fromCoroutine(self.remembered.forget(user))

    def _end_questions(self, line: QueuedLine | None) -> None:
        unanswered = line is not None and line.questions
        if line is not None:
            line.questions = 0
        # A partly typed password for that line is not for another.
        over = unanswered or self.queue.questioner is None
        if over and self._hidden and self._question is None:
            self._editor.set_aside()

    def leave(self) -> None:
        """End the app; while it still looks for the service, `run` fails with CancelledError.
        Unsent lines are shown, and kept in `unsent`."""
        if self._over:
            return
        self._over = True
        self.conversation.drop(self.queue.give_up())
        self.unsent += unsent_lines(self._editor.draft().split("\n"))  # It stays on the screen.
        self._connecting.cancel()
        self._overlay.end()
        self._editor.end()

    def interrupt(self) -> None:
        if not self.queue.under_way:
            self.notice(HOW_TO_END)
        else:
            self.conversation.drop(self.queue.give_up())

    # ITerminalApp

    def prompt(self, columns: int, has_hint: bool) -> str:
        if self._line_question is not None:
            return self._line_question.prompt
        return prompt_text(self._state(), columns, has_hint)

    def hint(self, line: str) -> str:
        if self._line_question is not None:
            return ""
        talks = self._client.vocabulary.presentation.open_talks
        begins = "talk NAME" if any(each.choices for each in talks) else "talk" if talks else ""
        usual = hint_text(self._state(), self.conversation.presence, begins)
        return hint(self.conversation, line) or usual

    def _state(self) -> PromptState:
        conversation = self.conversation
        user, talk, status = conversation.current, conversation.talk, conversation.status
        return PromptState(user, talk, status, conversation.unread, conversation.unread_elsewhere)

    def show_own(self, line: str) -> bool:
        user, talk = self.conversation.current, self.conversation.talk
        if user is None or talk is None or "\n" in line or not self._goes_to_partner(line):
            return False
        self._scrollback.add(self.theme.own(user, own_message(user, talk, said_text(line))))
        return True

    def completions(self, line: str) -> Sequence[Completion]:
        return () if self._line_question else completions(self.conversation, line)

    def is_command(self, line: str) -> bool:
        return not (self.conversation.talk and is_said(line))

    def context(self, line: str, as_text: bool) -> InputContext:
        talk = self.conversation.talk
        said = talk is not None and (as_text or not self.is_command(line))
        # A line before it may begin a talk: then it is better to keep too little.
        begins = any(begins_talk(each.text) for each in self.queue.lines)
        said = said or (begins and line[:1] != "/") or self._line_question is not None
        return InputContext(None if talk is None else (self.conversation.current, talk), said)

    def _partner(self, user: str, message: ChatMessage) -> Partner:
        return partner_of(self._client.vocabulary.presentation, user, message)

    # IScreen

    def reply(self, request: ClientRequest, reply: ServiceReply) -> None:
        if reply.ok and request.name == "login":
            self.last_name = request.words[1]
            self._remember_login(self.last_name)
        elif reply.ok and request.name in LEAVING and request.user == self._remembered_user:
            self._forget("")
        lines = [*split_lines(self.theme.reply(reply, request.user))]
        self._show(
            _joined(self._unshown.before(request, reply, lines)), partial(self._left, request)
        )

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
        if self._over:
            self.unsent.append(text)
        self._scrollback.add(theme.problem(text))

    def queued(self) -> int:
        return self.queue.unsent

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

    def ask_line(self, prompt: str) -> Deferred[str]:
        def withdraw(_: Deferred[str]) -> None:
            self._line_question = None
            self._editor.set_aside()

        self._line_question = _Question(prompt, Deferred(withdraw), self._clock.seconds())
        self._editor.set_aside()
        return self._line_question.answer

    def discard_lines(self) -> None:
        self.conversation.drop(self.queue.drop())

    def changed(self) -> None:
        self._editor.redraw()

    def _show(self, lines: Fragments, left: Left = lambda lines: None) -> None:
        """Show lines above the prompt, or page them if they are a long answer."""
        answers = self.queue.line is not None and not self._hidden and self._question is None
        if answers and self._overlay.add_long(lines, left):
            self._editor.set_aside()
        else:
            self._scrollback.add(lines)

    def _left(self, request: ClientRequest, lines: Sequence[Fragments]) -> None:
        words = self._unshown.keep(request, lines)
        if words and not self._over:
            self._scrollback.add(theme.notice(words))

    def look_back(self) -> None:
        """Open the history of the talk, or of the conversation that was shown last."""
        user, talk = self.conversation.current, self.conversation.talk
        past = (user, talk) if user is not None and talk is not None else self._past
        if past is None or past[0] not in self.conversation.users:
            history = history_command(self._client.vocabulary)
            ways = f" Try: talk NAME, or {visible(history)} NAME" if history else ""
            self.notice(f"There is nothing to read back yet.{ways}")
        elif not past[1].talk.history:
            self.notice("The service keeps nothing to read back.")
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
