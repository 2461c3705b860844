"""Commands of both kinds of server, and what a service has in all."""

from __future__ import annotations

from bbs import __version__, tracing
from bbs.commands.ask import Ask, success
from bbs.commands.described import usage_of
from bbs.protocols.commands import CommandTable, Role, UnknownCommand, WrongUsage
from bbs.protocols.line import Reply

PROTOCOL = 2
"""The version of the protocol: 1 had neither `commands` nor `code`."""

commands = CommandTable()


@commands.command("help", Role.EITHER, harmless=True)
async def show_help(ask: Ask) -> Reply:
    """What this server serves."""
    return success(ask.home.table.help(ask.home.role))


@commands.command("ping", Role.EITHER, harmless=True)
async def ping(ask: Ask) -> Reply:
    """Whether anybody is there."""
    return success("Pong!")


@commands.command("quit", Role.EITHER, harmless=True)
async def leave(ask: Ask) -> Reply:
    """End the connection."""
    return Reply(success("Bye!").body, close=True)


@commands.command("events", Role.EITHER, harmless=True)
async def events(ask: Ask) -> Reply:
    """Ask for progress events on this connection."""
    ask.home.watchers.add(ask.connection)
    return success()


@commands.command("commands", Role.EITHER, harmless=True, listed=False)
async def describe(ask: Ask) -> Reply:
    """What this service has, for clients that were not written for it."""
    return Reply(
        {
            "status": 0,
            "service": ask.home.service.name,
            "version": __version__,
            "protocol": PROTOCOL,
            **({"traceparent": True} if tracing.is_on() else {}),
            "commands": [usage_of(command) for command in ask.home.table if command.listed],
            **ask.home.described,
        }
    )


@commands.command("traceparent <context>", Role.EITHER, harmless=True, listed=False)
async def traceparent(ask: Ask, context: str) -> Reply:
    """A client says of which trace its next request on this connection is part.

    A server that keeps no traces has no such command.
    """
    if not tracing.is_on():
        raise UnknownCommand(ask.command.name)
    if not tracing.is_traceparent(context):
        raise WrongUsage(ask.command.usage)
    connection = ask.connection
    ask.home.traces.give(connection, context, ask.home.charges.trusts(connection.peer_host))
    return success()
