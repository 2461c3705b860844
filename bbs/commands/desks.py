"""What the handlers of each kind of server work with; the composition roots fill them in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bbs.commands.dispatch import Ask
from bbs.commands.redirects import AskLoginServer, Moved, where_served
from bbs.delivery.bus import Bus
from bbs.delivery.listeners import Listeners
from bbs.errors import Refusal
from bbs.limits.attempts import Attempts
from bbs.passwords import Hasher
from bbs.protocols.commands import CommandTable, Role
from bbs.protocols.line import IConnection
from bbs.rules import accounts, places
from bbs.scaling.waiting import WaitingRoom
from bbs.storage.database import Database


@dataclass
class Tally:
    """What a server has done since it started; its heartbeats tell the others."""

    logins: int = 0
    messages: int = 0


@dataclass
class LoginDesk:
    """A login server's."""

    table: CommandTable
    database: Database
    bus: Bus
    sessions: accounts.Sessions
    seconds: Callable[[], float]
    hasher: Hasher
    registrations: Attempts
    failed_by_account: Attempts
    failed_by_address: Attempts
    waiting_room: WaitingRoom
    watchers: set[IConnection]
    gateway_secret: str = field(default="", repr=False)
    tally: Tally = field(default_factory=Tally)

    role = Role.LOGIN
    server_id: str | None = None

    async def locate(self, ask: Ask) -> places.Seat:
        """Where the caller is served, waiting for a place if theirs is gone."""
        caller = ask.user
        if caller.seat:
            return caller.seat

        async def take(look: places.Look) -> places.Search:
            return await self.database.run(places.take, caller.user, look)

        return await self.waiting_room.seat(caller.name, ask.connection, take)

    async def redirect(self, ask: Ask) -> Refusal:
        """To the caller's app server."""
        if ask.caller is None:
            return AskLoginServer()
        return Moved((await self.locate(ask)).address)

    def connection_lost(self, connection: IConnection) -> None:
        """A peer has gone."""
        self.watchers.discard(connection)


@dataclass
class AppDesk:
    """An app server's. `server_id` is known once it has joined the fleet."""

    table: CommandTable
    database: Database
    bus: Bus
    sessions: accounts.Sessions
    seconds: Callable[[], float]
    watchers: set[IConnection]
    listeners: Listeners = field(init=False)
    server_id: str | None = None
    tally: Tally = field(default_factory=Tally)

    role = Role.APP

    async def redirect(self, ask: Ask) -> Refusal:
        """To the caller's app server, or to the login server, which finds one."""
        if ask.caller is None or ask.command.role is Role.LOGIN:
            return AskLoginServer()
        return where_served(ask.caller)

    def connection_lost(self, connection: IConnection) -> None:
        """A peer has gone."""
        self.watchers.discard(connection)
        self.listeners.connection_lost(connection)
