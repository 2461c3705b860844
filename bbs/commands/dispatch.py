"""From a line to a reply: the checks that every request goes through, in their order.

`docs/protocol.md`, section 3: command known, token live, number of arguments, served here, the
command's own rules. Everything from the token on happens in one transaction, one hop to a thread
of the database. Nothing here knows a command by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from twisted.internet.defer import Deferred
from zope.interface import implementer

from bbs.commands.accounts import locate
from bbs.commands.ask import (
    AppServerParts,
    Ask,
    AskLoginServer,
    Home,
    LoginServerParts,
    Moved,
    failure,
    success,
)
from bbs.commands.coroutines import begin
from bbs.errors import Refusal
from bbs.protocols.commands import Command, Request, Role, WrongUsage
from bbs.protocols.line import IConnection, IRequestHandler, Reply
from bbs.rules import callers
from bbs.storage.database import is_read_only, read_only

_TOKEN = re.compile(f"[0-9a-f]{{{2 * accounts.TOKEN_BYTES}}}")


@dataclass(frozen=True)
class _Outcome:
    caller: callers.Caller
    served: bool
    result: object = None


@implementer(IRequestHandler)
class Dispatcher:
    """Answers the requests of a server's connections."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._guards = {command: self._guard(command) for command in home.table}

    # IRequestHandler

    def handle(self, line: str, connection: IConnection) -> Reply | Deferred[Reply]:
        return begin(self._answer(line, connection))

    def is_whole(self, line: str) -> bool:
        return self._home.table.is_whole(line, _TOKEN.fullmatch)

    def connection_lost(self, connection: IConnection) -> None:
        self._home.watchers.discard(connection)
        if isinstance(self._home.parts, AppServerParts):
            self._home.parts.listeners.connection_lost(connection)

    async def _answer(self, line: str, connection: IConnection) -> Reply:
        try:
            request = self._home.table.parse(line)
            ask = Ask(self._home, request.command, connection, self._home.seconds())
            if request.command.takes_user:
                return await self._for_user(request, ask)
            return await self._for_anybody(request, ask)
        except Refusal as error:
            return failure(error, connection)

    async def _for_anybody(self, request: Request, ask: Ask) -> Reply:
        command = request.command
        if request.usage_error:
            raise WrongUsage(command.usage)
        if not command.served_by(self._home.role):
            raise AskLoginServer()
        return await _reply(ask, request, None)

    async def _for_user(self, request: Request, ask: Ask) -> Reply:
        outcome = await self._home.database.run(self._guards[request.command], request, ask.now)
        ask = replace(ask, caller=outcome.caller)
        if outcome.caller.touch:
            self._touch(outcome.caller.touch, ask.now)
        if not outcome.served:
            raise await self._redirect(ask)
        return await _reply(ask, request, outcome.result)

    def _guard(self, command: Command) -> Callable[[Request, float], _Outcome]:
        """The whole of a command's transaction."""
        home, parts, rule = self._home, self._home.parts, command.rule
        served, by_place = command.served_by(home.role), command.role is Role.APP

        def guard(request: Request, now: float) -> _Outcome:
            caller = callers.identify(request.token, home.sessions, now)
            if request.usage_error:
                raise WrongUsage(command.usage)
            if not served or (by_place and not _has_place(caller, parts)):
                return _Outcome(caller, served=False)
            return _Outcome(caller, True, rule(caller, *request.arguments) if rule else None)

        return guard if rule and not is_read_only(rule) else read_only(guard)

    async def _redirect(self, ask: Ask) -> Refusal:
        """Where to send a user's request that is not served here. A login server finds a place for
        who has none; an app server sends to it who asks for what is its own, too."""
        if self._home.role is Role.LOGIN:
            return Moved((await locate(ask)).address)
        if ask.command.role is Role.LOGIN or ask.user.seat is None:
            return AskLoginServer()
        return Moved(ask.user.seat.address)

    def _touch(self, digest: str, now: float) -> None:
        noted = self._home.database.run(callers.touch, digest, now)
        noted.addErrback(lambda failure: failure.trap(Refusal))


def _has_place(caller: callers.Caller, parts: LoginServerParts | AppServerParts) -> bool:
    """Whether the caller is served by this server."""
    here = parts.server_id if isinstance(parts, AppServerParts) else None
    return caller.seat is not None and caller.seat.server == here


async def _reply(ask: Ask, request: Request, result: object) -> Reply:
    """What the command's handler makes of the rule's `result`, or of the arguments without a rule.
    A reply follows from a result that is none: None is `Success!`, a mapping is its members."""
    command = request.command
    if command.handler is not None:
        arguments = (result,) if command.rule else request.arguments
        result = await command.handler(ask, *arguments)
    if result is None:
        return success()
    if isinstance(result, Mapping) and "status" not in result:
        result = Reply({"status": 0, **result})
    if not isinstance(result, Reply):
        raise TypeError(f"{command.name} made {type(result).__name__} of a request, and no reply")
    if result.body.get("status") not in (0, 1) or "event" in result.body:
        raise ValueError(f"{command.name} made a reply that clients take for something else")
    return result
