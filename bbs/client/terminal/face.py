"""One person at this terminal: a `Conversation`, shown above the line that is being typed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from bbs.addresses import Address
from bbs.client.asking import HOW_TO_END
from bbs.client.conversation import Conversation
from bbs.client.library import BBSClient
from bbs.client.passwords import questions
from bbs.client.screen import GivenUp, IScreen
from bbs.client.terminal import looks
from bbs.client.terminal.above import Above
from bbs.client.terminal.interfaces import IEditor, SetAside
from bbs.client.terminal.keys import lines_of
from bbs.client.terminal.prompt import Situation, prompt
from bbs.client.terminal.work import Line, Work
from bbs.client.text import OLDER, visible
from bbs.client.typed import Typed
from bbs.client.values import ChatMessage, Reply, ServiceEvent

GREETING = "Connected to {}. help lists the commands, Tab completes them; exit or Ctrl-D ends."


@dataclass(frozen=True)
class _Question:
    prompt: str
    answer: Deferred[str]


@implementer(IScreen)
class Face:
    """`editor` makes the editor for this face. `password` answers for whoever is asked for one,
    where it is not None."""

    def __init__(
        self,
        clock: IReactorTime,
        client: BBSClient,
        login_server: Address,
        editor: Callable[[Face], IEditor],
        password: str | None = None,
    ) -> None:
        self._login_server = login_server
        self._password = password
        self._client = client
        self.conversation = Conversation(client, self)
        self.work = Work(self._carry_out, self.leave)
        self._editor = editor(self)
        self._above = Above(clock, self._editor.print)
        self._question: _Question | None = None
        self._hidden = False
        self._connecting: Deferred[None] = Deferred()
        self._over = False

    async def run(self) -> None:
        """Until the person ends it; `Unreachable` when there is no service to begin with."""
        self._connecting = self._client.connect()
        await self._connecting
        self.notice(GREETING.format(self._login_server))
        self._above.flush()
        with self._editor.raw():
            while not self._over:
                try:
                    await self._next_prompt()
                except SetAside:
                    pass
                except EOFError:
                    self._over = True
            self._above.flush()

    async def _next_prompt(self) -> None:
        if self._question is None and self.work.questioner is None:
            return self._entered(await self._editor.line())
        # Before the question comes too: somebody fast types the password behind the line.
        self._hidden = True
        try:
            answer: str | GivenUp = await self._editor.password(self._question_words)
        except GivenUp as problem:
            answer = problem
        finally:
            self._hidden = False
        return self._answered(answer)

    def _entered(self, text: str) -> None:
        texts = text.split("\n")
        pasted = len(texts) > 1
        self.work.add(Line(each, pasted, self._questions(each, pasted)) for each in texts)

    def _questions(self, text: str, as_text: bool) -> int:
        said = self.conversation.talk is not None and (as_text or not self.is_command(text))
        # What is under way may begin or end a talk: then it is better to hide too much.
        if self._password is not None or (said and not self.work.under_way):
            return 0
        return questions(text)

    def _question_words(self) -> str:
        if self._question is not None:
            return self._question.prompt
        line = self.work.questioner
        name = line.text.rstrip(" ").rpartition(" ")[2] if line is not None else ""
        return f"Password for {visible(name)}, once asked: "

    def _answered(self, answer: str | GivenUp) -> None:
        question, self._question = self._question, None
        line = self.work.line if question is not None else self.work.questioner
        if line is not None and line.questions:
            line.questions -= 1
        if question is not None:
            question.answer.callback(Failure(answer) if isinstance(answer, GivenUp) else answer)
        elif isinstance(answer, GivenUp):
            self.interrupt()
        elif line is not None:
            line.answers.append(answer)

    def _carry_out(self, line: Line) -> Deferred[bool]:
        def over(result: bool | Failure) -> bool | Failure:
            self._asks_no_more(line)
            return result

        return self.conversation.carry_out(line.text, line.as_text).addBoth(over)

    def _asks_no_more(self, line: Line | None) -> None:
        unanswered = line is not None and line.questions
        if line is not None:
            line.questions = 0
        # What was half typed for that line is for no other.
        over = unanswered or self.work.questioner is None
        if over and self._hidden and self._question is None:
            self._editor.set_aside()

    def leave(self) -> None:
        """End it; while the service is still being looked for, `run` fails with CancelledError."""
        self._over = True
        self._connecting.cancel()
        self._editor.end()

    def interrupt(self) -> None:
        """Ctrl-C, where that loses no line: wait no more for what is under way."""
        if not self.work.under_way:
            self.notice(HOW_TO_END)
        elif unsent := self.work.give_up():
            self.notice(f"Not sent: {lines_of(unsent)} behind it.")

    # What the editor draws

    def prompt(self, columns: int) -> str:
        conversation = self.conversation
        return prompt(
            Situation(
                self._login_server,
                conversation.current,
                conversation.talk,
                conversation.status,
                conversation.unread,
                conversation.unread_elsewhere,
            ),
            columns,
        )

    def is_command(self, line: str) -> bool:
        """Whether a line is a command, and not what somebody says in a talk."""
        return not self.conversation.talk or (line[:1] == "/" and line[:2] != "//")

    # IScreen

    def reply(self, request: Typed, reply: Reply) -> None:
        self._above.add(looks.reply(reply))

    def message(self, user: str, message: ChatMessage, for_you: bool) -> None:
        self._above.add(looks.message(user, message, len(self.conversation.users) > 1))

    def past(self, user: str, messages: Sequence[ChatMessage], older: bool) -> None:
        if older:
            self.notice(OLDER)
        for message in messages:
            self._above.add(looks.message(user, message, len(self.conversation.users) > 1))

    def event(self, user: str, event: ServiceEvent) -> None:
        self._above.add(looks.event(user, event, len(self.conversation.users) > 1))

    def notice(self, text: str) -> None:
        self._above.add(looks.notice(text))

    def problem(self, text: str) -> None:
        self._above.add(looks.problem(text))

    def ask_password(self, prompt: str) -> Deferred[str]:
        if self._password is not None:
            return succeed(self._password)
        if self.work.line is not None and self.work.line.answers:
            return succeed(self.work.line.answers.popleft())
        question = _Question(prompt, Deferred(self._withdraw))
        self._question = question
        if self._hidden:
            self._editor.redraw()
        else:
            self._editor.set_aside()
        return question.answer

    def changed(self) -> None:
        self._editor.redraw()

    def _withdraw(self, _: Deferred[str]) -> None:
        self._question = None
        self._asks_no_more(self.work.line)
