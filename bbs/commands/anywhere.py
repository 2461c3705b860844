"""Commands of both kinds of server, and what a service has in all."""

from __future__ import annotations

from bbs import __version__
from bbs.commands.ask import Ask, success
from bbs.protocols.commands import CommandTable, Role
from bbs.protocols.line import Reply
from bbs.storage.database import is_read_only

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
            "commands": [
                {
                    "usage": command.usage,
                    "server": command.role.value,
                    "rest": command.rest,
                    "harmless": command.harmless or is_read_only(command.rule),
                }
                for command in ask.home.table
                if command.listed
            ],
        }
    )
