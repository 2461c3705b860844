"""Declares the board as a service, with its commands for friends, posts, groups and messages."""

from __future__ import annotations

from bbs.board import (
    CLIENT,
    announcements,
    blocks,
    empty_groups,
    errors,
    expiry,
    former,
    friendships,
    groups,
    heard,
    history,
    messages,
    models,
    names,
    operating,
    ownership,
    posts,
    replies,
    threads,
    unread,
    user_stats,
)
from bbs.framework import Ask, Command, CommandTable, Counter, Feed, Reply, Role, Service, success

MESSAGES = "messages"  # the name of the board's counter


async def hear_group(ask: Ask, channel: str) -> Reply:
    """Let the caller's connections that listen hear the group from now on."""
    await ask.hear(channel)
    return success()


async def tell_joined(ask: Ask, joined: groups.GroupEvent) -> Reply:
    """Let the caller's connections that listen hear the group, and tell its members."""
    await ask.hear(joined.channel)
    return await tell_group(ask, joined)


async def tell_group(ask: Ask, news: groups.GroupEvent) -> Reply:
    """Tell the members of a group."""
    await ask.tell(news.channel, news.event, asked=True)
    return success()


async def tell_kicked(ask: Ask, kick: ownership.Kick) -> Reply:
    """Let the connections of somebody who was kicked hear the group no longer; tell them and the
    members."""
    await ask.unhear_for(kick.of_kicked, kick.channel)
    await ask.tell(kick.of_kicked, groups.to_gone(kick.event), asked=True)
    return await tell_group(ask, kick)


async def tell_left(ask: Ask, removal: groups.Removal) -> Reply:
    """Let the caller's connections that listen hear a group no longer, tell its members, and remove
    the rest of it if it has ended. Then nothing more comes on its channel, which servers leave with
    their next look at what their users hear."""
    ask.unhear(removal.channel)
    await tell_group(ask, removal)
    rest = removal.rest
    while rest is not None and not await ask.database.run(groups.remove, rest):
        pass  # Each removes a part.
    return success()


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


async def notify(ask: Ask, notification: friendships.Notification | None) -> Reply:
    if notification is not None:
        channel, servers = notification.channel, notification.servers
        await ask.tell(channel, notification.event, asked=True, servers=servers)
    return success()


async def publish(ask: Ask, post: posts.Published) -> Reply:
    """Tell those who may read a post of it, and the writer its number."""
    await tell_post(ask, post)
    return success(post=post.number)


async def tell_post(ask: Ask, post: posts.Published) -> Reply:
    """Tell those who may read a post of it."""
    await ask.tell_each(post.told, post.event)
    return success()


async def tell_status(ask: Ask, new: friendships.NewStatus) -> Reply:
    """Tell friends who are online of a new status."""
    await ask.tell_each(new.channels, new.event)
    return success()


async def note_read(ask: Ask, found: unread.Unread) -> Reply:
    """Note what a reader was given, before the reply: the next request is for the next posts."""
    if found.marks:
        await ask.database.run(unread.note, found.marks)
    return Reply({"status": 0, **found.part})


async def say_done(ask: Ask, done: object) -> Reply:
    """Say nothing of what a rule returned for its price alone."""
    return success()


def forget_user(user: int) -> int:
    """Remove a part of what somebody leaves who deletes the account, and keep the blocks of it;
    returns how much."""
    return (
        expiry.forget_reader(user)
        or posts.forget_contributions(user)
        or groups.pass_on_all(user)
        or former.keep_all(user)
    )


def sweep(now: float) -> int:
    """Remove a part of what no longer matters, or has lost its owner; returns how much."""
    return (
        friendships.forget_told(now)
        or posts.forget_unwritten()
        or empty_groups.forget_empty(now)
        or former.forget(now)
        or heard.forget(now)
    )


OWNERS = (errors.NoSuchTarget, errors.NotTheOwner, errors.NoSuchUser)
"""The refusals that all commands of owners share."""

commands = CommandTable(
    Command(
        "invite <user> <id>",
        Role.APP,
        notify,
        rule=friendships.invite,
        bounded="two rows, and a note of when it was told",
        refuses=(
            errors.NoSuchUser,
            errors.InvitesSelf,
            errors.TakesNothing,
            errors.YouHaveBlocked,
            errors.AlreadyFriends,
            errors.AlreadyInvited,
            errors.InvitedBy,
            errors.TooManyFriends,
            errors.HasTooManyFriends,
            errors.TooManyInvitations,
            errors.HasTooManyInvitations,
            errors.InvitesTooMany,
        ),
    ),
    Command(
        "list-invite <user>",
        Role.APP,
        rule=friendships.invitations,
        reply=replies.Invitations,
        refuses=(),
    ),
    Command(
        "accept-invite <user> <id>",
        Role.APP,
        notify,
        rule=friendships.accept,
        bounded="two rows for two",
        refuses=(errors.NotInvitedBy, errors.TooManyFriends, errors.HasTooManyFriends),
    ),
    Command(
        "list-friend <user>", Role.APP, rule=friendships.friends, reply=replies.Friends, refuses=()
    ),
    Command("post <user> <message>", Role.APP, tell_post, rest=True, rule=posts.post, refuses=()),
    Command(
        "receive-post <user>", Role.APP, rule=posts.friends_posts, reply=replies.Feed, refuses=()
    ),
    Command(
        "send <user> <friend> <message>",
        Role.APP,
        hint_direct,
        rest=True,
        rule=messages.send,
        bounded="a message and its delivery to one reader",
        refuses=(
            errors.NoSuchFriend,
            errors.TakesNothing,
            errors.NotFriends,
            errors.NotOnline,
            errors.InboxFull,
            errors.StoredTooMuch,
        ),
    ),
    Command(
        "create-group <user> <group>",
        Role.APP,
        hear_group,
        rule=groups.create,
        bounded="two rows",
        refuses=(
            errors.InvalidGroup,
            errors.GroupExists,
            errors.LooksLikeAnother,
            errors.TooManyGroups,
            errors.TooManyJoined,
        ),
    ),
    Command(
        "list-group <user>", Role.APP, rule=groups.all_groups, reply=replies.GroupNames, refuses=()
    ),
    Command(
        "list-joined <user>", Role.APP, rule=groups.joined, reply=replies.GroupNames, refuses=()
    ),
    Command(
        "join-group <user> <group>",
        Role.APP,
        tell_joined,
        rule=groups.join,
        refuses=(
            errors.NoSuchGroup,
            errors.AlreadyMember,
            errors.PrivateGroup,
            errors.GroupFull,
            errors.TooManyJoined,
        ),
    ),
    Command(
        "send-group <user> <group> <message>",
        Role.APP,
        hint,
        rest=True,
        rule=messages.send_group,
        refuses=(errors.NoSuchTarget, errors.NotMember, errors.StoredTooMuch),
    ),
    Command(
        "history <user> <name>",
        Role.APP,
        rule=history.history,
        reply=replies.History,
        refuses=(errors.NoSuchFriend, errors.NotFriends, errors.NotMember),
    ),
    Command(
        "history-group <user> <group>",
        Role.APP,
        rule=history.of_group,
        listed=False,
        reply=replies.History,
        refuses=(errors.NoSuchTarget, errors.NotMember),
    ),
    Command("who <user>", Role.APP, rule=friendships.who, reply=replies.Presence, refuses=()),
    Command(
        "unfriend <user> <friend>",
        Role.APP,
        rule=friendships.unfriend,
        bounded="two rows",
        refuses=(errors.NotFriends,),
    ),
    Command(
        "decline-invite <user> <id>",
        Role.APP,
        rule=friendships.decline,
        bounded="two rows",
        refuses=(errors.NotInvitedBy,),
    ),
    Command("decline-all <user>", Role.APP, say_done, rule=friendships.decline_all, refuses=()),
    Command(
        "block <user> <id>",
        Role.APP,
        rule=blocks.block,
        bounded="a row; what is ended are six rows at most",
        refuses=(errors.NoSuchUser, errors.BlocksSelf, errors.TooManyBlocked),
    ),
    Command(
        "unblock <user> <id>",
        Role.APP,
        rule=blocks.unblock,
        bounded="a row",
        refuses=(errors.NoSuchUser, errors.NotBlocked),
    ),
    Command("list-block <user>", Role.APP, rule=blocks.blocks, reply=replies.Blocked, refuses=()),
    Command(
        "leave-group <user> <group>",
        Role.APP,
        tell_left,
        rule=groups.leave,
        refuses=(errors.NotMember,),
    ),
    Command(
        "list-member <user> <group>",
        Role.APP,
        rule=groups.members,
        reply=replies.Members,
        refuses=(errors.NotMember,),
    ),
    Command(
        "mail <user> <friend> <message>",
        Role.APP,
        hint_direct,
        rest=True,
        rule=messages.mail,
        bounded="a message and its delivery to one reader",
        refuses=(
            errors.NoSuchFriend,
            errors.TakesNothing,
            errors.NotFriends,
            errors.InboxFull,
            errors.StoredTooMuch,
        ),
    ),
    Command(
        "set-status <user> [<text>]",
        Role.APP,
        tell_status,
        rest=True,
        rule=friendships.set_status,
        refuses=(errors.InvalidStatus,),
    ),
    Command("new <user>", Role.APP, rule=user_stats.summary, reply=replies.New, refuses=()),
    Command(
        "posts <user>", Role.APP, note_read, rule=unread.of_friends, reply=replies.Posts, refuses=()
    ),
    Command("my-posts <user>", Role.APP, rule=threads.own_posts, reply=replies.Posts, refuses=()),
    Command(
        "thread <user> <post>",
        Role.APP,
        rule=threads.thread,
        reply=replies.Posts,
        refuses=(errors.NoSuchPost,),
    ),
    Command(
        "reply <user> <post> <message>",
        Role.APP,
        publish,
        rest=True,
        rule=threads.reply,
        reply=replies.Published,
        refuses=(errors.NoSuchPost, errors.AcceptsNoMessages),
    ),
    Command(
        "delete-post <user> <post>",
        Role.APP,
        tell_post,
        rule=threads.delete_post,
        refuses=(errors.NoSuchPost, errors.NotYourPost),
    ),
    Command(
        "post-group <user> <group> <message>",
        Role.APP,
        publish,
        rest=True,
        rule=threads.post_in_group,
        reply=replies.Published,
        refuses=(errors.NoSuchTarget, errors.NotMember),
    ),
    Command(
        "group-posts <user> <group>",
        Role.APP,
        note_read,
        rule=unread.of_group,
        reply=replies.Posts,
        refuses=(errors.NoSuchTarget, errors.NotMember),
    ),
    Command("groups <user>", Role.APP, rule=groups.described, reply=replies.Groups, refuses=()),
    Command(
        "set-topic <user> <group> [<text>]",
        Role.APP,
        tell_group,
        rest=True,
        rule=ownership.set_topic,
        refuses=(*OWNERS, errors.TopicTooLong),
    ),
    Command(
        "close-group <user> <group>",
        Role.APP,
        rule=ownership.close_group,
        bounded="a row",
        refuses=(*OWNERS,),
    ),
    Command(
        "open-group <user> <group>",
        Role.APP,
        rule=ownership.open_group,
        bounded="a row",
        refuses=(*OWNERS,),
    ),
    Command(
        "invite-group <user> <group> <id>",
        Role.APP,
        notify,
        rule=ownership.invite,
        bounded="a row, and a note of when it was told",
        refuses=(
            *OWNERS,
            errors.InvitesSelf,
            errors.AcceptsNoMessages,
            errors.YouHaveBlocked,
            errors.IsMember,
            errors.AlreadyInvited,
            errors.GroupHasTooManyInvitations,
            errors.HasTooManyInvitations,
            errors.InvitesTooMany,
        ),
    ),
    Command(
        "kick <user> <group> <id>",
        Role.APP,
        tell_kicked,
        rule=ownership.kick,
        refuses=(*OWNERS, errors.KicksSelf, errors.IsNotMember),
    ),
    Command(
        "give-group <user> <group> <id>",
        Role.APP,
        rule=ownership.give,
        bounded="a row",
        refuses=(*OWNERS, errors.AlreadyOwner, errors.IsNotMember, errors.HasTooManyGroups),
    ),
    Command(
        "delete-group <user> <group>",
        Role.APP,
        tell_left,
        rule=ownership.delete,
        refuses=(*OWNERS,),
    ),
)


board = Service(
    "bbs",
    commands=(commands,),
    models=models.MODELS,
    version=models.VERSION,
    steps=models.STEPS,
    oldest=models.OLDEST,
    feed=Feed(
        messages.open_mailbox,
        messages.fetch,
        messages.note_delivered,
        expire=expiry.expire,
        channels=groups.channels_of,
        events=("message",),
        partitions=expiry.PARTITIONS,
    ),
    placed=(groups.KIND,),
    broadcast=announcements.BROADCAST,
    on_register=names.on_register,
    on_login=user_stats.on_login,
    on_delete=forget_user,
    settings=names.Board,
    sweep=sweep,
    person=user_stats.of_person,
    greeting="bbs, a bulletin board.",
    client=CLIENT,
    subcommands=operating.SUBCOMMANDS,
    lists=(operating.ANNOUNCEMENTS, operating.GROUPS),
    acts=(operating.REMOVE_POST,),
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
