"""One person at this terminal: a `Conversation`, shown above the line that is being typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from bbs.client.commands import Typed
from bbs.client.conversation import Conversation
from bbs.client.library import BBSClient
from bbs.client.screen import GivenUp, IScreen
from bbs.client.terminal import looks
from bbs.client.terminal.above import Above
from bbs.client.terminal.interfaces import IEditor, SetAside
from bbs.client.terminal.keys import HOW_TO_END, lines_of
from bbs.client.terminal.prompt import Situation, prompt
from bbs.client.terminal.work import Work
from bbs.client.values import Address, Message, Reply

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
        self.work = Work(self.conversation.carry_out, self.leave)
        self._editor = editor(self)
        self._above = Above(clock, self._editor.print)
        self._question: _Question | None = None
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
        question = self._question
        if question is None:
            line = await self._editor.line()
            return self.work.add(line.split("\n"))
        try:
            answer = await self._editor.password(question.prompt)
        except GivenUp as problem:
            self._question = None
            question.answer.errback(problem)
        else:
            self._question = None
            question.answer.callback(answer)

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

    def message(self, user: str, message: Message) -> None:
        self._above.add(looks.message(user, message, len(self.conversation.users) > 1))

    def notice(self, text: str) -> None:
        self._above.add(looks.notice(text))

    def problem(self, text: str) -> None:
        self._above.add(looks.problem(text))

    def ask_password(self, prompt: str) -> Deferred[str]:
        if self._password is not None:
            return succeed(self._password)
        question = _Question(prompt, Deferred(self._withdraw))
        self._question = question
        self._editor.set_aside()
        return question.answer

    def changed(self) -> None:
        self._editor.redraw()

    def _withdraw(self, _: Deferred[str]) -> None:
        self._question = None
        self._editor.set_aside()
