"""Commands of the app servers: friends, posts, groups and messages."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from bbs.board import friends, groups, messages, posts
from bbs.commands.dispatch import Ask, success
from bbs.protocols.commands import Command, CommandTable, Role, WrongUsage
from bbs.protocols.line import Reply
from bbs.rules.accounts import Caller
from bbs.storage.database import read_only

commands = CommandTable()

LISTEN = "listen <user> [<id>]"

MAX_ID = 2**63 - 1
"""The highest id of a message that the databases can hold."""


async def done(ask: Ask, result: object) -> Reply:
    """Carried out, and nothing more to say."""
    return success()


def listed(member: str) -> Callable[[Ask, list[object]], Awaitable[Reply]]:
    """Reply with the rule's list as `member`."""

    async def reply(ask: Ask, result: list[object]) -> Reply:
        return Reply({"status": 0, member: result})

    return reply


async def hear_group(ask: Ask, channel: str) -> Reply:
    """The caller's connections that listen hear the group from now on."""
    await ask.desk.listeners.hear_group(ask.user.user, channel)
    return success()


async def hint_user(ask: Ask, stored: messages.Stored) -> Reply:
    """The message is safe; its reader's app server should look."""
    ask.desk.tally.messages += 1
    ask.desk.bus.tell_user(stored.channel, stored.event)
    return success()


async def hint_group(ask: Ask, stored: messages.Stored) -> Reply:
    """The message is safe; the app servers of the group's members should look."""
    ask.desk.tally.messages += 1
    ask.desk.bus.tell_group(stored.channel, stored.event)
    return success()


@read_only
def open_mailbox(caller: Caller, after: str | None = None) -> messages.Mailbox:
    """Where listening begins; `after` as it was typed."""
    if after is None:
        return messages.open_mailbox(caller, None)
    if not re.fullmatch("[0-9]{1,19}", after) or int(after) > MAX_ID:
        raise WrongUsage(LISTEN)
    return messages.open_mailbox(caller, int(after))


async def listen(ask: Ask, mailbox: messages.Mailbox) -> Reply:
    """Send the user's events on this connection, from behind the reply on."""
    start = await ask.desk.listeners.open(ask.user, mailbox, ask.connection)
    return Reply(success().body, after=start)


for command in (
    Command("invite <user> <id>", Role.APP, done, rule=friends.invite),
    Command("list-invite <user>", Role.APP, listed("invite"), rule=friends.invitations),
    Command("accept-invite <user> <id>", Role.APP, done, rule=friends.accept),
    Command("list-friend <user>", Role.APP, listed("friend"), rule=friends.friends),
    Command("post <user> <message>", Role.APP, done, rest=True, rule=posts.post),
    Command("receive-post <user>", Role.APP, listed("post"), rule=posts.friends_posts),
    Command("send <user> <friend> <message>", Role.APP, hint_user, rest=True, rule=messages.send),
    Command("create-group <user> <group>", Role.APP, hear_group, rule=groups.create),
    Command("list-group <user>", Role.APP, listed("group"), rule=groups.all_groups),
    Command("list-joined <user>", Role.APP, listed("group"), rule=groups.joined),
    Command("join-group <user> <group>", Role.APP, hear_group, rule=groups.join),
    Command(
        "send-group <user> <group> <message>",
        Role.APP,
        hint_group,
        rest=True,
        rule=messages.send_group,
    ),
    Command(LISTEN, Role.APP, listen, rule=open_mailbox),
):
    commands.declare(command)
