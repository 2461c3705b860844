"""The script face: commands from standard input, one after the other, and what they print.

Whoever logs in is listened for before the next command is carried out, so that nothing sent from
then on is missed; messages are printed as they come.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from bbs.client.commands import Typed
from bbs.client.due import Due
from bbs.client.library import BBSClient
from bbs.client.routing import PATIENCE, WAITING_DEADLINE
from bbs.client.text import (
    help_lines,
    message_line,
    problem_line,
    reply_lines,
    waiting_line,
)
from bbs.client.values import BadReply, ClientError, Lost, Message, Unreachable, Waiting

SETTLE_TIME = 1.0
"""Seconds at most that messages still on their way are waited for."""

LISTEN_PATIENCE = PATIENCE + WAITING_DEADLINE
"""Seconds at most until a user is listened for; another app server may be started meanwhile."""


class Script:
    """Carries out a script: `next_line` gives its lines and then None, `write` takes what prints.

    Two commands are the client's own: `help` tells the commands of both kinds of server, and
    `events` has a login that waits for an app server tell where it stands. `listen` means what is
    done anyway.
    """

    def __init__(
        self,
        clock: IReactorTime,
        client: BBSClient,
        next_line: Callable[[], Awaitable[str | None]],
        write: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._client = client
        self._next_line = next_line
        self._write = write
        self._due = Due()

    async def run(self) -> None:
        """Until `exit`, `quit` or the end of the input; `Unreachable` when the service is lost."""
        await self._client.connect()
        while (line := await self._next_line()) is not None:
            if not line.strip(" "):
                continue
            request = Typed.parse(line)
            if request.words == ("exit",):
                break
            await self._carry_out(request)
            if request.words == ("quit",):
                break
        await self._settle(self._client.users)

    async def _carry_out(self, request: Typed) -> None:
        name, listening = request.command.name, request.user in self._client.users
        if name == "help":
            for line in help_lines():
                self._write(line)
        elif name == "events":
            self._client.on_waiting(self._show_waiting)
            self._write("Success!")
        elif name == "listen" and listening and len(request.words) <= 3:
            if await self._listen(request.user):
                self._write("Success!")
        else:
            if name in ("logout", "delete") and listening:
                await self._settle((request.user,))
            await self._ask(request)

    async def _ask(self, request: Typed) -> None:
        users = self._client.users
        # Before the request, as the message may come before the reply does.
        self._due.expect(request, users)
        try:
            reply = await self._client.request(request.line)
            lines, ok = reply_lines(reply), reply.ok
        except (Lost, BadReply) as problem:
            lines, ok = [problem_line(problem)], False
        for line in lines:
            self._write(line)
        if not ok:
            self._due.withdraw(request, users)
        elif request.command.name == "login":
            await self._listen(request.words[1])
        elif request.command.name in ("logout", "delete"):
            self._due.offline(request.user)
        elif request.command.name == "join-group":
            self._due.outside(request.user, request.words[2:])

    async def _listen(self, user: str) -> bool:
        listening = self._client.listen(user, self._show_message)
        try:
            await listening.addTimeout(LISTEN_PATIENCE, self._clock)
        except TimeoutError:
            raise Unreachable(f"no server to listen for {user} at") from None
        except ClientError as problem:
            self._write(problem_line(problem))
            return False
        return True

    async def _settle(self, users: Collection[str]) -> None:
        """Wait until nothing is due to these users, but not for long."""
        settled = Deferred.fromCoroutine(self._settled(users))
        with suppress(TimeoutError, ClientError):
            await settled.addTimeout(SETTLE_TIME, self._clock)

    async def _settled(self, users: Collection[str]) -> None:
        for user in users:
            if groups := self._due.groups(user):
                joined = await self._client.list_joined(user)
                self._due.outside(user, groups.difference(joined))
        await self._due.settled(users)

    def _show_message(self, user: str, message: Message) -> None:
        self._due.arrived(user, message)
        self._write(message_line(message))

    def _show_waiting(self, waiting: Waiting) -> None:
        self._write(waiting_line(waiting))
