"""Declares the board as a service, with its commands for friends, posts, groups and messages."""

from __future__ import annotations

from bbs.board import (
    CLIENT,
    blocks,
    friends,
    groups,
    history,
    messages,
    models,
    names,
    posts,
    user_stats,
)
from bbs.framework import Ask, Command, CommandTable, Counter, Feed, Reply, Role, Service, success

MESSAGES = "messages"  # the name of the board's counter


async def hear_group(ask: Ask, channel: str) -> Reply:
    """Let the caller's connections that listen hear the group from now on."""
    await ask.hear(channel)
    return success()


async def forget_group(ask: Ask, channel: str) -> Reply:
    """Let the caller's connections that listen hear the group no longer."""
    ask.unhear(channel)
    return success()


async def hint(ask: Ask, sent: messages.Sent) -> Reply:
    """Hint a stored message: the app servers of its readers look for it."""
    ask.count(MESSAGES)
    if sent.readers:
        await ask.tell(sent.channel, sent.event.members, sent.after, here=sent.is_here)
    return success()


async def hint_direct(ask: Ask, sent: messages.Sent) -> Reply:
    """Hint a message to a friend, and show it on the sender's other connections."""
    reply = await hint(ask, sent)
    await ask.tell(ask.user.channel, {**sent.event.members, "event": "sent"}, asked=True)
    return reply


async def notify(ask: Ask, notification: friends.Notification | None) -> Reply:
    if notification is not None:
        await ask.tell(notification.channel, notification.event, asked=True)
    return success()


commands = CommandTable(
    Command("invite <user> <id>", Role.APP, notify, rule=friends.invite),
    Command("list-invite <user>", Role.APP, rule=friends.invitations),
    Command("accept-invite <user> <id>", Role.APP, notify, rule=friends.accept),
    Command("list-friend <user>", Role.APP, rule=friends.friends),
    Command("post <user> <message>", Role.APP, rest=True, rule=posts.post),
    Command("receive-post <user>", Role.APP, rule=posts.friends_posts),
    Command("send <user> <friend> <message>", Role.APP, hint_direct, rest=True, rule=messages.send),
    Command("create-group <user> <group>", Role.APP, hear_group, rule=groups.create),
    Command("list-group <user>", Role.APP, rule=groups.all_groups),
    Command("list-joined <user>", Role.APP, rule=groups.joined),
    Command("join-group <user> <group>", Role.APP, hear_group, rule=groups.join),
    Command(
        "send-group <user> <group> <message>", Role.APP, hint, rest=True, rule=messages.send_group
    ),
    Command("history <user> <name>", Role.APP, rule=history.history),
    Command("history-group <user> <group>", Role.APP, rule=history.of_group, listed=False),
    Command("who <user>", Role.APP, rule=friends.who),
    Command("unfriend <user> <friend>", Role.APP, rule=friends.unfriend),
    Command("decline-invite <user> <id>", Role.APP, rule=friends.decline),
    Command("decline-all <user>", Role.APP, rule=friends.decline_all),
    Command("block <user> <id>", Role.APP, rule=blocks.block),
    Command("unblock <user> <id>", Role.APP, rule=blocks.unblock),
    Command("list-block <user>", Role.APP, rule=blocks.blocks),
    Command("leave-group <user> <group>", Role.APP, forget_group, rule=groups.leave),
    Command("list-member <user> <group>", Role.APP, rule=groups.members),
)


board = Service(
    "bbs",
    commands=(commands,),
    models=models.MODELS,
    version=models.VERSION,
    steps=models.STEPS,
    oldest=models.OLDEST,
    feed=Feed(
        messages.open_mailbox, messages.fetch, messages.note_delivered, expire=messages.expire
    ),
    on_register=names.on_register,
    on_login=user_stats.on_login,
    on_delete=messages.forget_reader,
    settings=names.Board,
    sweep=friends.forget_told,
    person=user_stats.of_person,
    greeting="bbs, a bulletin board.",
    client=CLIENT,
    counters=(
        Counter(
            MESSAGES,
            metric="bbs_fleet_messages",
            help="Messages stored by all app servers, while this login server ran",
            member="messages_per_second",
            arrival="messages arrive",
        ),
    ),
)
