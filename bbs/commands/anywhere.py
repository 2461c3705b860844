"""Commands of both servers."""

from __future__ import annotations

from bbs.commands.dispatch import Ask, success
from bbs.protocols.commands import CommandTable, Role
from bbs.protocols.line import Reply

commands = CommandTable()


@commands.command("help", Role.EITHER)
async def help(ask: Ask) -> Reply:
    """What this server serves."""
    return success(ask.desk.table.help(ask.desk.role))


@commands.command("ping", Role.EITHER)
async def ping(ask: Ask) -> Reply:
    """Whether anybody is there."""
    return success("Pong!")


@commands.command("quit", Role.EITHER)
async def quit(ask: Ask) -> Reply:
    """End the connection."""
    return Reply(success("Bye!").body, close=True)


@commands.command("events", Role.EITHER)
async def events(ask: Ask) -> Reply:
    """Ask for progress events on this connection."""
    ask.desk.watchers.add(ask.connection)
    return success()
