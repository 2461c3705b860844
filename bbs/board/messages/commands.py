"""The commands for messages: to a friend, to a group, and earlier ones."""

from __future__ import annotations

from bbs.board.groups import errors as of_groups
from bbs.board.messages import errors, history, messages, records
from bbs.board.people import errors as of_people
from bbs.framework import Ask, ChatEvent, Command, Event, Listing, Reply, Role, success

MESSAGES = "messages"  # the name of the board's counter

HISTORY_LIST = Listing("history", "No messages", backwards=True, recent=True)


async def hint(ask: Ask, sent: messages.Sent) -> Reply:
    """Hint a stored message: the app servers of its readers look for it."""
    ask.count(MESSAGES)
    if sent.readers:
        await ask.tell(sent.channel, sent.event.members, sent.after, servers=sent.servers)
    return success()


async def hint_direct(ask: Ask, sent: messages.Sent) -> Reply:
    """Hint a message to a friend, and show it on the sender's other connections."""
    reply = await hint(ask, sent)
    await ask.tell(ask.user.channel, {**sent.event.members, "event": "sent"}, asked=True)
    return reply


SEND = Command(
    "send <user> <friend> <message>",
    Role.APP,
    then=hint_direct,
    rest=True,
    rule=messages.send,
    bounded="a message and its delivery to one reader",
    refuses=(
        errors.NoSuchFriend,
        of_people.TakesNothing,
        of_people.NotFriends,
        errors.NotOnline,
        errors.InboxFull,
        errors.StoredTooMuch,
    ),
    group="Messages",
    help="Sends one message to a friend who is online.",
    aliases=("msg",),
    done="Sent to {friend}.",
)

MAIL = Command(
    "mail <user> <friend> <message>",
    Role.APP,
    then=hint_direct,
    rest=True,
    rule=messages.mail,
    bounded="a message and its delivery to one reader",
    refuses=(
        errors.NoSuchFriend,
        of_people.TakesNothing,
        of_people.NotFriends,
        errors.InboxFull,
        errors.StoredTooMuch,
    ),
    group="Messages",
    help="Sends one message to a friend, who gets it at the next login if not online.",
    done="Sent to {friend}. It waits if {friend} is not online.",
)

HISTORY = Command(
    "history <user> <name>",
    Role.APP,
    rule=history.history,
    reply=records.History,
    refuses=(errors.NoSuchFriend, of_people.NotFriends, of_groups.NotMember),
    group="Messages",
    help="Shows the last 50 messages with a friend or in a group.",
    complete={"name": ("group", "friend")},
    failures={errors.NoSuchFriend: "You have no friend or group called {}"},
    shown=(HISTORY_LIST,),
)

SEND_GROUP = Command(
    "send-group <user> <group> <message>",
    Role.APP,
    then=hint,
    rest=True,
    rule=messages.send_group,
    refuses=(of_groups.NoSuchTarget, of_groups.NotMember, errors.StoredTooMuch),
    group="Groups",
    help="Sends one message to everybody in a group who is online.",
    done="Sent to {group}.",
)

HISTORY_GROUP = Command(
    "history-group <user> <group>",
    Role.APP,
    rule=history.of_group,
    listed=False,
    reply=records.History,
    refuses=(of_groups.NoSuchTarget, of_groups.NotMember),
    shown=(HISTORY_LIST,),
)

EVENTS = (
    Event("message", records.Message, chat=ChatEvent("message")),
    Event("sent", records.Message, chat=ChatEvent("sent", own=True)),
)
