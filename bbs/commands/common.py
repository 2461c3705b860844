"""The commands that every service has on each server, and the table of all its commands."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Any

from bbs import __version__
from bbs.commands import accounts
from bbs.commands.context import Ask, success
from bbs.commands.extensions import Extension
from bbs.commands.service import Service, ServiceUnusable, usage_of
from bbs.core import tracing
from bbs.core.errors import Refusal
from bbs.core.plugins import plugins
from bbs.delivery.bus import MAX_ID
from bbs.delivery.feed import Cursor, Feed, Mailbox
from bbs.protocols.commands import Command, CommandTable, Role, UnknownCommand, WrongUsage
from bbs.protocols.line import Reply
from bbs.rules.auth import Caller, costs
from bbs.rules.pagination import FIRST, Continuation, CursorExpired, Cursors, Page, Part, part_of
from bbs.storage.database import is_read_only, long_read, marked_as

PROTOCOL = 2
"""The version of the protocol: 1 had neither `commands` nor `code`."""

commands = CommandTable()


@commands.command("help", Role.EITHER, harmless=True, bounded="the service's own commands")
async def show_help(ask: Ask) -> Reply:
    return success(ask.home.table.help(ask.home.role))


@commands.command("ping", Role.EITHER, harmless=True, bounded="one word")
async def ping(ask: Ask) -> Reply:
    return success("Pong!")


@commands.command("quit", Role.EITHER, harmless=True, bounded="one word")
async def leave(ask: Ask) -> Reply:
    return Reply(success("Bye!").body, close=True)


@commands.command("events", Role.EITHER, harmless=True, bounded="one word")
async def events(ask: Ask) -> Reply:
    """Ask for progress events on this connection."""
    ask.home.watchers.add(ask.connection)
    return success()


@commands.command(
    "commands", Role.EITHER, harmless=True, listed=False, bounded="the service's own commands"
)
async def describe(ask: Ask) -> Reply:
    """Describe the service, for clients that were not written for it."""
    members = {
        "status": 0,
        "service": ask.home.service.name,
        "version": __version__,
        "protocol": PROTOCOL,
        **({"traceparent": True} if tracing.recording else {}),
        "commands": [usage_of(command) for command in ask.home.table if command.listed],
        **ask.home.described,
    }
    return Reply(members)


@commands.command(
    "traceparent <context>", Role.EITHER, harmless=True, listed=False, bounded="one word"
)
async def traceparent(ask: Ask, context: str) -> Reply:
    """Make the next request on this connection part of the client's trace. A server that keeps no
    traces has no such command."""
    if not tracing.recording:
        raise UnknownCommand(ask.command.name)
    if not tracing.is_traceparent(context):
        raise WrongUsage(ask.command.usage)
    is_trusted = ask.connection.peer_host in ask.home.charges.trusted
    ask.home.traces.give(ask.connection, context, is_trusted)
    return success()


LISTEN = "listen <user> [<id>]"


def _listen_command(feed: Feed | None) -> CommandTable:
    """Make `listen` for a service whose durable events come from `feed`."""
    commands = CommandTable()

    def open_mailbox(caller: Caller, after: str | None = None) -> Mailbox:
        if after is not None and not (re.fullmatch("[0-9]{1,19}", after) and int(after) <= MAX_ID):
            raise WrongUsage(LISTEN)
        if feed is None:
            return Mailbox(Cursor(caller.id, 0), resumes=True)
        return feed.open(caller, None if after is None else int(after))

    rule = marked_as(feed.open if feed else None, open_mailbox)

    @commands.command(
        LISTEN,
        Role.APP,
        rule=rule,
        harmless=True,
        by_itself=True,
        bounded="100 channels; more, and each 16 KiB or 100 events that are sent until the listener"
        " has all that there was, are a command each when they are sent",
    )
    async def listen(ask: Ask, mailbox: Mailbox) -> Reply:
        """Send the user's events on this connection, beginning right after the reply."""
        start = await ask.home.app.listeners.open(ask.user, mailbox, ask.connection)
        return Reply(success().body, after=start)

    return commands


MORE = "more <user> <cursor>"


class Pagination:
    """The commands of a service whose lists come in parts; `secret` is for `Cursors`."""

    def __init__(self, secret: bytes) -> None:
        self._cursors = Cursors(secret)
        self._lists: dict[str, tuple[Command, Callable[..., Part]]] = {}

    def with_cursors(self, command: Command) -> Command:
        """Return `command`; if its rule is paged, its replies have the cursor of the next part.

        :raises ValueError: its rule is paged, and not marked as read-only.
        """
        part, rule = part_of(command.rule), command.rule
        if part is None or rule is None:
            return command
        if not is_read_only(rule):
            raise ValueError(f"the rule of {command.name} is paged, so it must be read_only too")
        name, add_cursor = command.name, self._add_cursor
        self._lists[name] = command, part

        @wraps(rule)
        def first(caller: Caller, *arguments: str) -> Part:
            return add_cursor(caller, name, arguments, part(caller, FIRST, *arguments))

        takes_many: Any = getattr(rule, "each", None)

        def each(calls: Sequence[tuple[Any, ...]]) -> list[Part | Refusal]:
            return [
                part if isinstance(part, Refusal) else add_cursor(caller, name, arguments, part)
                for part, (caller, *arguments) in zip(takes_many(calls), calls, strict=True)
            ]

        if takes_many:
            first.each = each  # type: ignore[attr-defined]
        return replace(command, rule=first)

    def more(self) -> Command:
        """Make the command that answers with the next part."""

        # The list may be any of them, and some are long.
        @costs(commands=Part.price)
        @long_read
        def more(caller: Caller, cursor: str) -> Part:
            where = self._cursors.read(caller.id, cursor, caller.now)
            command, part = self._lists.get(where.command, (None, None))
            count = len(where.arguments)
            if not command or not part or not command.minimum <= count <= command.maximum:
                raise CursorExpired()  # A server of another version wrote it.
            found = part(caller, Page(where.last), *where.arguments)
            return self._add_cursor(caller, where.command, where.arguments, found)

        return Command(MORE, Role.EITHER, rule=more, listed=False, harmless=True)

    def _add_cursor(self, caller: Caller, name: str, arguments: Sequence[str], part: Part) -> Part:
        if part.last is not None:
            where = Continuation(name, arguments, part.last)
            part["more"] = self._cursors.write(caller.id, where, caller.now)
            if part.backwards:
                part["backwards"] = True
        return part


def all_commands(service: Service, secret: bytes | None = None) -> CommandTable:
    """Make the table of all commands of `service`, whichever server serves them: those of every
    service, its own, and those of plugins. Each entry point of the group `NAME.commands` names a
    plugin's `CommandTable`.

    All servers of the service share `secret`, so that each accepts the cursors of the others.
    Without it only this table accepts its cursors.

    :raises ServiceUnusable: a name of one of the service's commands is taken.
    :raises PluginUnusable: a plugin does not import, names no table, or has a name that is taken.
    """
    table = CommandTable()
    lists = Pagination(secrets.token_bytes() if secret is None else secret)
    behind = (*_listen_command(service.feed), *commands, lists.more())
    owners = {each.name: "every service" for each in (*accounts.commands, *behind)}

    def include(added: object, owner: str) -> None:
        if not isinstance(added, CommandTable):
            raise TypeError("it is not a CommandTable")
        for command in added:
            if command.name in owners:
                where = owners[command.name]
                raise ValueError(f"the command {command.name} already exists, in {where}")
            owners[command.name] = owner
            table.declare(lists.with_cursors(command))

    def include_all(part: Service | Extension, owner: str) -> None:
        for each in part.commands:
            include(each, owner)

    for command in accounts.commands:
        table.declare(lists.with_cursors(command))
    try:
        include_all(service, "the service")
    except ValueError as error:
        raise ServiceUnusable(f"the service {service.name}: {error}") from error
    for command in behind:
        table.declare(lists.with_cursors(command))
    for extension in service.extensions:
        owner = f"the extension {extension.name}"
        try:
            include_all(extension, owner)
        except ValueError as error:
            raise ServiceUnusable(f"the service {service.name}: {owner}: {error}") from error
    for plugin in plugins(f"{service.name}.commands"):
        plugin.use(partial(include, owner=f"plugin {plugin.name} of {plugin.distribution}"))
    return table
