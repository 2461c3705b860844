"""The command by which a connection gets a user's events."""

from __future__ import annotations

import re

from bbs.commands.ask import Ask, success
from bbs.delivery.bus import MAX_ID
from bbs.delivery.feed import Cursor, Feed, Mailbox
from bbs.protocols.commands import CommandTable, Role, WrongUsage
from bbs.protocols.line import Reply
from bbs.rules.callers import Caller
from bbs.storage.database import marked_as

LISTEN = "listen <user> [<id>]"


def listening(feed: Feed | None) -> CommandTable:
    """`listen`, where the service's durable events come from `feed`."""
    commands = CommandTable()

    def open_mailbox(caller: Caller, after: str | None = None) -> Mailbox:
        """Where listening begins; `after` as it was typed."""
        if after is not None and not (re.fullmatch("[0-9]{1,19}", after) and int(after) <= MAX_ID):
            raise WrongUsage(LISTEN)
        if feed is None:
            return Mailbox(Cursor(caller.id, 0), resumes=True)
        return feed.open(caller, None if after is None else int(after))

    rule = marked_as(feed.open if feed else None, open_mailbox)

    @commands.command(LISTEN, Role.APP, rule=rule, harmless=True, by_itself=True)
    async def listen(ask: Ask, mailbox: Mailbox) -> Reply:
        """Send the user's events on this connection, from behind the reply on."""
        start = await ask.home.app.listeners.open(ask.user, mailbox, ask.connection)
        return Reply(success().body, after=start)

    return commands
