"""From a line to a reply: the checks that every request goes through, in their order.

`docs/protocol.md`, section 3: command known, token live, number of arguments, served here, the
command's own rules. Everything from the token on happens in one transaction, one hop to a thread
of the database. Nothing here knows a command by name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from zope.interface import implementer

from bbs.commands.redirects import Moved
from bbs.errors import Refusal
from bbs.protocols.commands import Command, CommandTable, Request, Role, WrongUsage
from bbs.protocols.line import IConnection, IRequestHandler, Reply
from bbs.rules import accounts, places
from bbs.storage.database import Database, is_read_only, read_only


class Desk(Protocol):
    """What the handlers of one server's commands work with: see `LoginDesk` and `AppDesk`."""

    @property
    def role(self) -> Role:
        """Which kind of server this is."""

    @property
    def table(self) -> CommandTable:
        """Every command there is."""

    @property
    def database(self) -> Database:
        """Where the rules run."""

    @property
    def sessions(self) -> accounts.Sessions:
        """How long sessions live."""

    @property
    def seconds(self) -> Callable[[], float]:
        """The clock: seconds since the epoch."""

    @property
    def server_id(self) -> str | None:
        """The app server that this is, None for a login server."""

    async def redirect(self, ask: Ask) -> Refusal:
        """Where to send a request that is not served here."""

    def connection_lost(self, connection: IConnection) -> None:
        """A peer has gone."""


@dataclass(frozen=True)
class Ask:
    """One request on its way: what a handler may need to know beside its arguments."""

    desk: Any
    command: Command
    connection: IConnection
    now: float
    caller: accounts.Caller | None = None

    def address(self, seat: places.Seat) -> dict[str, object]:
        """Where `seat` is, for this request's sender."""
        return seat.address.seen_from(self.connection.local_host).as_json()

    @property
    def user(self) -> accounts.Caller:
        """The caller of a command that takes `<user>`."""
        if self.caller is None:
            raise LookupError("the command takes no <user>")
        return self.caller


def success(message: str = "Success!", **members: object) -> Reply:
    """A reply that the request was carried out."""
    return Reply({"status": 0, "message": message, **members})


def failure(error: Refusal, connection: IConnection) -> Reply:
    """A reply that the request was not carried out, and why."""
    if isinstance(error, Moved):
        error = Moved(error.address.seen_from(connection.local_host))
    body: dict[str, object] = {"status": 1, "message": error.message, "code": error.code}
    if isinstance(error, Moved):
        body["app_server"] = error.address.as_json()
    return Reply(body)


@dataclass(frozen=True)
class _Outcome:
    caller: accounts.Caller
    served: bool
    result: Any = None


@implementer(IRequestHandler)
class Dispatcher:
    """Answers the requests of a server's connections."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._guards = {command: self._guard(command) for command in desk.table}

    # IRequestHandler

    def handle(self, line: str, connection: IConnection) -> Deferred[Reply]:
        return Deferred.fromCoroutine(self._answer(line, connection))

    def connection_lost(self, connection: IConnection) -> None:
        self._desk.connection_lost(connection)

    async def _answer(self, line: str, connection: IConnection) -> Reply:
        try:
            request = self._desk.table.parse(line)
            ask = Ask(self._desk, request.command, connection, self._desk.seconds())
            if request.command.takes_user:
                return await self._for_user(request, ask)
            return await self._for_anybody(request, ask)
        except Refusal as error:
            return failure(error, connection)

    async def _for_anybody(self, request: Request, ask: Ask) -> Reply:
        command = request.command
        if request.usage_error:
            raise WrongUsage(command.usage)
        if not command.served_by(self._desk.role):
            raise await self._desk.redirect(ask)
        return await _reply(command.handler(ask, *request.arguments))

    async def _for_user(self, request: Request, ask: Ask) -> Reply:
        command = request.command
        outcome = await self._desk.database.run(self._guards[command], request, ask.now)
        ask = replace(ask, caller=outcome.caller)
        if outcome.caller.touch:
            self._touch(outcome.caller.touch, ask.now)
        if not outcome.served:
            raise await self._desk.redirect(ask)
        if command.rule:
            return await _reply(command.handler(ask, outcome.result))
        return await _reply(command.handler(ask, *request.arguments))

    def _guard(self, command: Command) -> Callable[[Request, float], _Outcome]:
        """The whole of a command's transaction."""
        desk, rule = self._desk, command.rule

        def guard(request: Request, now: float) -> _Outcome:
            caller = accounts.identify(request.token, desk.sessions, now)
            if request.usage_error:
                raise WrongUsage(command.usage)
            if not command.served_by(desk.role) or not self._serves(caller, command):
                return _Outcome(caller, served=False)
            return _Outcome(caller, True, rule(caller, *request.arguments) if rule else None)

        return guard if rule and not is_read_only(rule) else read_only(guard)

    def _serves(self, caller: accounts.Caller, command: Command) -> bool:
        """Whether this server has the caller's place, where the command asks for that."""
        if command.role is not Role.APP:
            return True
        return caller.seat is not None and caller.seat.server == self._desk.server_id

    def _touch(self, digest: str, now: float) -> None:
        noted = self._desk.database.run(accounts.touch, digest, now)
        noted.addErrback(lambda failure: failure.trap(Refusal))


async def _reply(handled: Awaitable[Reply]) -> Reply:
    return await handled
