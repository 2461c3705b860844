"""The commands for groups: membership, and what their owners do."""

from __future__ import annotations

from bbs.board.groups import errors, groups, ownership, records
from bbs.board.people import errors as of_people
from bbs.board.people.commands import notify
from bbs.board.people.errors import LooksLikeAnother
from bbs.framework import Ask, Command, Event, Line, Listing, Reply, Role, success


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


GROUP_LIST = Listing("group", "No groups")

GROUP_LINES = tuple(
    Line(
        f"{{group:text}}  {state}members {{members}}{owner}{topic}",
        when=when,
        shown=f"{{group:text}} ({state}members {{members}}{owner}){topic}",
    )
    for owner, states in (
        (
            ", owner {owner:text}",
            (
                ("joined, private, ", {"member": True, "private": True}),
                ("joined, ", {"member": True}),
                ("you are invited, ", {"invited": True}),
                ("private, ", {"private": True}),
                ("", {}),
            ),
        ),
        ("", (("joined, ", {"member": True}), ("", {}))),
    )
    for state, when in states
    for topic in ("  {topic:text}", "")
)
"""An entry of `groups`: in the first of these that fits, as topic and owner may be null."""


OWNERS = (errors.NoSuchTarget, errors.NotTheOwner)
"""The refusals that all commands of owners share."""

CREATE_GROUP = Command(
    "create-group <user> <group>",
    Role.APP,
    then=hear_group,
    rule=groups.create,
    bounded="two rows",
    refuses=(
        errors.InvalidGroup,
        errors.GroupExists,
        LooksLikeAnother,
        errors.TooManyGroups,
        errors.TooManyJoined,
    ),
    group="Groups",
    help="Creates a group, with you in it.",
    done="Made the group {group}, with you in it. Try: talk {group}",
    complete={"group": ()},
)

JOIN_GROUP = Command(
    "join-group <user> <group>",
    Role.APP,
    then=tell_joined,
    rule=groups.join,
    refuses=(
        errors.NoSuchGroup,
        errors.AlreadyMember,
        errors.PrivateGroup,
        errors.GroupFull,
        errors.TooManyJoined,
    ),
    group="Groups",
    help="Joins a group.",
    done="You are in {group} now. Try: talk {group}",
    complete={"group": ("any group", "-group")},
)

LEAVE_GROUP = Command(
    "leave-group <user> <group>",
    Role.APP,
    then=tell_left,
    rule=groups.leave,
    refuses=(errors.NotMember,),
    group="Groups",
    help="Leaves a group.",
    done="You have left {group}.",
)

LIST_GROUP = Command(
    "list-group <user>",
    Role.APP,
    rule=groups.all_groups,
    reply=records.GroupNames,
    refuses=(),
    group="Groups",
    help="Lists all groups.",
    shown=(GROUP_LIST,),
)

LIST_JOINED = Command(
    "list-joined <user>",
    Role.APP,
    rule=groups.joined,
    reply=records.GroupNames,
    refuses=(),
    group="Groups",
    help="Lists the groups that you are in.",
    shown=(GROUP_LIST,),
)

LIST_MEMBER = Command(
    "list-member <user> <group>",
    Role.APP,
    rule=groups.members,
    reply=records.Members,
    refuses=(errors.NotMember,),
    group="Groups",
    help="Lists the members of a group of yours, in the order joined.",
    shown=(Listing("member", "No members"),),
)

ALL_GROUPS = Command(
    "groups <user>",
    Role.APP,
    rule=groups.described,
    reply=records.Groups,
    refuses=(),
    group="Groups",
    help="Lists all groups with topic, owner and members, your own first.",
    shown=(GROUP_LIST, *GROUP_LINES),
)

SET_TOPIC = Command(
    "set-topic <user> <group> [<text>]",
    Role.APP,
    then=tell_group,
    rest=True,
    rule=ownership.set_topic,
    refuses=(*OWNERS, errors.TopicTooLong),
    group="Groups",
    help="Sets the topic of a group that you own; without a text, removes it.",
    done="The topic of {group} is now: {text}",
    done_without={"text": "{group} has no topic now."},
)

INVITE_GROUP = Command(
    "invite-group <user> <group> <id>",
    Role.APP,
    then=notify,
    rule=ownership.invite,
    bounded="a row, and a note of when it was told",
    refuses=(
        *OWNERS,
        of_people.NoSuchUser,
        of_people.InvitesSelf,
        errors.AcceptsNoMessages,
        of_people.YouHaveBlocked,
        errors.IsMember,
        of_people.AlreadyInvited,
        errors.GroupHasTooManyInvitations,
        of_people.HasTooManyInvitations,
        of_people.InvitesTooMany,
    ),
    group="Groups",
    help="Lets somebody join a group that you own, and tells them.",
    done="Invited {id} to {group}.",
    complete={"id": ("friend",)},
    failures={
        of_people.NoSuchUser: "There is no user called {id}",
        errors.AcceptsNoMessages: "{id} does not accept invitations from you",
        of_people.YouHaveBlocked: "You have blocked {id}. Try: unblock {id}",
        of_people.AlreadyInvited: "You have invited {id} already",
        of_people.HasTooManyInvitations: "{id} has too many open invitations. Try again later.",
    },
)

KICK = Command(
    "kick <user> <group> <id>",
    Role.APP,
    then=tell_kicked,
    rule=ownership.kick,
    refuses=(*OWNERS, of_people.NoSuchUser, errors.KicksSelf, errors.IsNotMember),
    group="Groups",
    help="Removes a member from a group that you own.",
    done="{id} is no longer a member of {group}.",
    complete={"id": ("member",)},
    failures={of_people.NoSuchUser: "There is no user called {id}"},
)

CLOSE_GROUP = Command(
    "close-group <user> <group>",
    Role.APP,
    rule=ownership.close_group,
    bounded="a row",
    refuses=OWNERS,
    group="Groups",
    help="Makes your group private.",
    done="{group} is private now: only people whom you invite can join.",
)

OPEN_GROUP = Command(
    "open-group <user> <group>",
    Role.APP,
    rule=ownership.open_group,
    bounded="a row",
    refuses=OWNERS,
    group="Groups",
    help="Lets everybody join a group that you own.",
    done="{group} is open now: everybody can join.",
)

GIVE_GROUP = Command(
    "give-group <user> <group> <id>",
    Role.APP,
    rule=ownership.give,
    bounded="a row",
    refuses=(
        *OWNERS,
        of_people.NoSuchUser,
        errors.AlreadyOwner,
        errors.IsNotMember,
        errors.HasTooManyGroups,
    ),
    group="Groups",
    help="Makes a member the owner of a group that you own.",
    done="{id} owns {group} now.",
    complete={"id": ("member",)},
    failures={of_people.NoSuchUser: "There is no user called {id}"},
)

DELETE_GROUP = Command(
    "delete-group <user> <group>",
    Role.APP,
    then=tell_left,
    rule=ownership.delete,
    refuses=OWNERS,
    group="Groups",
    help="Deletes a group that you own, with its posts.",
    done="{group} is deleted.",
)

EVENTS = (
    Event("joined", records.Joined, shown=Line(time="time", by="id")),
    Event(
        "left",
        records.Left,
        shown={
            "": Line(time="time", by="id"),
            # Where a group was deleted, `id` is null, and everybody reads the event's own text.
            "by": Line(
                "{by:text} removed {id:text} from {you_left:text}",
                time="time",
                shown="{by:text} removed you from {you_left:text}",
                by="by",
            ),
        },
    ),
    Event("topic", records.Topic, shown=Line(time="time", by="id")),
)
"""The form of `left` with `by` is for the person who was removed. Others read the event's own
text."""
