"""The commands for people: friendships, invitations, statuses and blocks."""

from __future__ import annotations

from bbs.board.people import blocks, errors, friendships, records
from bbs.framework import Ask, Command, Event, Line, Listing, Reply, Role, success


async def notify(ask: Ask, notification: friendships.Notification | None) -> Reply:
    if notification is not None:
        channel, servers = notification.channel, notification.servers
        await ask.tell(channel, notification.event, asked=True, servers=servers)
    return success()


async def tell_status(ask: Ask, new: friendships.NewStatus) -> Reply:
    """Tell friends who are online of a new status."""
    await ask.tell_each(new.channels, new.event)
    return success()


async def say_done(ask: Ask, done: object) -> Reply:
    """Say nothing of what a rule returned for its price alone."""
    return success()


FRIEND_LIST = Listing("friend", "No friends")

_ONLINE = "{id:text}  online"
_OFFLINE, _LONG_OFFLINE = "{id:text}  offline since {last:time}", "{id:text}  offline"

WHO_LINES = (
    Line(_ONLINE, when={"state": "here", "status": ""}, shown="{id:text} is here"),
    Line(_ONLINE, when={"state": "here"}, shown="{id:text} is here: {status:text}"),
    Line(_ONLINE, when={"state": "away", "status": ""}, shown="{id:text} is away"),
    Line(_ONLINE, when={"state": "away"}, shown="{id:text} is away: {status:text}"),
    Line(
        _OFFLINE,
        when={"state": "out", "status": ""},
        shown="{id:text} is out, last here {last:time}",
    ),
    Line(
        _OFFLINE,
        when={"state": "out"},
        shown="{id:text} is out, last here {last:time}: {status:text}",
    ),
    Line(
        _LONG_OFFLINE, when={"state": "out", "status": ""}, has=("last",), shown="{id:text} is out"
    ),
    Line(
        _LONG_OFFLINE, when={"state": "out"}, has=("last",), shown="{id:text} is out: {status:text}"
    ),
    # Of servers up to version 0.3.0.
    Line(_ONLINE, when={"online": True}, has=("last",), shown="{id:text} is online"),
    Line(_OFFLINE, when={"online": False}, shown="{id:text} is offline, last here {last:time}"),
    Line(_LONG_OFFLINE, when={"online": False}, has=("last",), shown="{id:text} is offline"),
)
"""The entries of `who`. Scripts print whether somebody is online, and no more."""


INVITE = Command(
    "invite <user> <id>",
    Role.APP,
    then=notify,
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
    group="People",
    help="Asks somebody to be your friend.",
    done="Invited {id}. You can talk once {id} accepts.",
    failures={errors.TakesNothing: "{} does not accept invitations from you"},
)

LIST_INVITE = Command(
    "list-invite <user>",
    Role.APP,
    rule=friendships.invitations,
    reply=records.Invitations,
    refuses=(),
    group="People",
    help="Lists the people who have invited you, the oldest invitation first.",
    shown=(Listing("invite", "No invitations"),),
)

ACCEPT_INVITE = Command(
    "accept-invite <user> <id>",
    Role.APP,
    then=notify,
    rule=friendships.accept,
    bounded="two rows for two",
    refuses=(errors.NotInvitedBy, errors.TooManyFriends, errors.HasTooManyFriends),
    group="People",
    help="Makes you friends with somebody who has invited you.",
    aliases=("accept",),
    done="You and {id} are friends now. Try: talk {id}",
    complete={"id": ("invitation",)},
)

DECLINE_INVITE = Command(
    "decline-invite <user> <id>",
    Role.APP,
    rule=friendships.decline,
    bounded="two rows",
    refuses=(errors.NotInvitedBy,),
    group="People",
    help="Declines an invitation. The sender may invite you again.",
    done="Declined the invitation from {id}.",
    complete={"id": ("invitation",)},
)

DECLINE_ALL = Command(
    "decline-all <user>",
    Role.APP,
    then=say_done,
    rule=friendships.decline_all,
    refuses=(),
    group="People",
    help="Declines all invitations. The senders may invite you again.",
    done="Declined all invitations.",
)

LIST_FRIEND = Command(
    "list-friend <user>",
    Role.APP,
    rule=friendships.friends,
    reply=records.Friends,
    refuses=(),
    group="People",
    help="Lists your friends, the oldest friendship first.",
    aliases=("friends",),
    shown=(FRIEND_LIST,),
)

WHO = Command(
    "who <user>",
    Role.APP,
    rule=friendships.who,
    reply=records.Presence,
    refuses=(),
    group="People",
    help="Shows which friends are here, away or out, and what they say of themselves.",
    aliases=("w",),
    shown=(FRIEND_LIST, *WHO_LINES),
)

SET_STATUS = Command(
    "set-status <user> [<text>]",
    Role.APP,
    then=tell_status,
    rest=True,
    rule=friendships.set_status,
    refuses=(errors.InvalidStatus,),
    group="People",
    help="Sets the status that your friends see; without a text, clears it.",
    done="Your friends see: {text}",
    done_without={"text": "Your status is removed."},
)

UNFRIEND = Command(
    "unfriend <user> <friend>",
    Role.APP,
    rule=friendships.unfriend,
    bounded="two rows",
    refuses=(errors.NotFriends,),
    group="People",
    help="Ends a friendship. You can still read your messages.",
    done="{friend} is no longer your friend.",
)

BLOCK = Command(
    "block <user> <id>",
    Role.APP,
    rule=blocks.block,
    bounded="a row; what is ended are six rows at most",
    refuses=(errors.NoSuchUser, errors.BlocksSelf, errors.TooManyBlocked),
    group="People",
    help="Blocks somebody: no messages, no invitations, and no friendship.",
    done="Blocked {id}, who can no longer write to you or invite you.",
    complete={"id": ("invitation", "friend")},
)

UNBLOCK = Command(
    "unblock <user> <id>",
    Role.APP,
    rule=blocks.unblock,
    bounded="a row",
    refuses=(errors.NoSuchUser, errors.NotBlocked),
    group="People",
    help="Ends a block.",
    done="Unblocked {id}, who can invite you again.",
    complete={"id": ("blocked",)},
)

LIST_BLOCK = Command(
    "list-block <user>",
    Role.APP,
    rule=blocks.blocks,
    reply=records.Blocked,
    refuses=(),
    group="People",
    help="Lists the people whom you have blocked.",
    shown=(Listing("block", "Nobody is blocked"),),
)

EVENTS = (
    Event(
        "invite",
        records.Invitation,
        shown={
            # A form names a member once: clients of 0.4.0 refuse others.
            "": Line("{text:text}", shown="{from:text} wants to be your friend. Type: accept NAME"),
            "group": Line("{from:text} invites you to a group: join-group {group:text}"),
        },
    ),
    Event("friend", records.Friendship),
    Event(
        "status",
        records.StatusChange,
        shown=Line(time="time", many="{from:text} set {} statuses. Try: who"),
    ),
)
