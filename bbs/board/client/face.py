"""How clients present the board.

`LEGACY` has the commands of servers up to version 0.3.0, which send no presentation: later servers
send their own, so it never changes."""

from __future__ import annotations

from bbs.framework import (
    ChatEvent,
    Choices,
    Command,
    Legacy,
    Line,
    Listing,
    Notice,
    Presentation,
    Role,
    Talk,
)

LEGACY = Legacy(
    first=(
        Command("invite <user> <id>", Role.APP),
        Command("list-invite <user>", Role.APP, harmless=True),
        Command("accept-invite <user> <id>", Role.APP),
        Command("list-friend <user>", Role.APP, harmless=True),
        Command("post <user> <message>", Role.APP, rest=True),
        Command("receive-post <user>", Role.APP, harmless=True),
        Command("send <user> <friend> <message>", Role.APP, rest=True),
        Command("create-group <user> <group>", Role.APP),
        Command("list-group <user>", Role.APP, harmless=True),
        Command("list-joined <user>", Role.APP, harmless=True),
        Command("join-group <user> <group>", Role.APP),
        Command("send-group <user> <group> <message>", Role.APP, rest=True),
    ),
    later=(
        Command("history <user> <name>", Role.APP, harmless=True),
        Command("history-group <user> <group>", Role.APP, harmless=True, listed=False),
        Command("who <user>", Role.APP, harmless=True),
        Command("unfriend <user> <friend>", Role.APP),
        Command("decline-invite <user> <id>", Role.APP),
        Command("block <user> <id>", Role.APP),
        Command("unblock <user> <id>", Role.APP),
        Command("list-block <user>", Role.APP, harmless=True),
        Command("leave-group <user> <group>", Role.APP),
        Command("list-member <user> <group>", Role.APP, harmless=True),
    ),
)


INVITATIONS = Choices(
    "invitation",
    ask="list-invite",
    lists={"list-invite": "invite"},
    removed_by=("accept-invite", "decline-invite", "decline-all", "block"),
    added_by_events={"invite": "from"},
    removed_by_events={"friend": "with"},
)
FRIENDS = Choices(
    "friend",
    ask="list-friend",
    lists={"list-friend": "friend", "who": "friend"},
    parameters=("friend",),
    added_by=("accept-invite",),
    removed_by=("unfriend", "block"),
    added_by_events={"friend": "with"},
)
JOINED = Choices(
    "group",
    ask="list-joined",
    lists={"list-joined": "group"},
    parameters=("group",),
    added_by=("create-group", "join-group"),
    removed_by=("leave-group",),
    within="any group",
)
GROUPS = Choices(
    "any group", label="group", ask="list-group", lists={"list-group": "group"}, shared=True
)
BLOCKED = Choices(
    "blocked", lists={"list-block": "block"}, added_by=("block",), removed_by=("unblock",)
)

DONE = {
    "invite": "Invited {id}. You can talk once {id} accepts.",
    "accept-invite": "You and {id} are friends now. Try: talk {id}",
    "decline-invite": "Declined the invitation from {id}.",
    "decline-all": "Declined all invitations.",
    "unfriend": "{friend} is no longer your friend.",
    "block": "Blocked {id}, who can no longer write to you or invite you.",
    "unblock": "Unblocked {id}, who can invite you again.",
    "post": "Posted to all your friends.",
    "send": "Sent to {friend}.",
    "create-group": "Made the group {group}, with you in it. Try: talk {group}",
    "join-group": "You are in {group} now. Try: talk {group}",
    "leave-group": "You have left {group}.",
    "send-group": "Sent to {group}.",
}
"""What people read after a command. A new command needs one entry here."""

FAILURES = {
    "no-such-user": "There is no user called {}",
    "history no-such-user": "You have no friend or group called {}",
    "invites-self": "You cannot invite yourself",
    "already-friends": "{} is your friend already",
    "already-invited": "You have invited {} already",
    "invited-by": "{} has invited you. Try: accept-invite {}",
    "not-invited-by": "{} has not invited you",
    "too-many-friends": "You have too many friends. End a friendship first: unfriend NAME",
    "has-too-many-friends": "{} has too many friends already",
    "too-many-invitations": "You have too many open invitations. Accept or decline some first.",
    "has-too-many-invitations": "{} has too many open invitations. Try again later.",
    "invites-too-many": "You have invited too many people. Try again later.",
    "not-friends": "{} is not your friend",
    "not-online": "{} is not online",
    "stored-too-much": "Too many of your messages are not read yet. Try again later.",
    "inbox-full": "The inbox of {} is full. Try again later.",
    "takes-nothing": "{} does not accept messages from you",
    "invite takes-nothing": "{} does not accept invitations from you",
    "you-have-blocked": "You have blocked {}. Try: unblock {}",
    "blocks-self": "You cannot block yourself",
    "too-many-blocked": "You have blocked too many people. Unblock somebody first.",
    "not-blocked": "{} is not blocked",
    "invalid-group": "{} cannot be a name. Use at most 100 characters, without spaces.",
    "group-exists": "There is already a group called {}",
    "too-many-groups": "You have made too many groups already",
    "too-many-joined": "You are in too many groups. Leave one first.",
    "no-such-group": "There is no group called {}",
    "already-member": "You are a member of {} already",
    "group-full": "{} has too many members already",
    "not-member": "You are not a member of {}",
}
"""What people read instead of a failure's message, by its code, or by command and code: `{}` is
the command's first argument. A new code needs one entry here."""

face = Presentation(
    done=DONE,
    failures=FAILURES,
    next_steps=("invite NAME", "talk NAME", "help"),
    help={
        "invite": "Asks somebody to be your friend.",
        "list-invite": "Lists the people who have invited you, the oldest invitation first.",
        "accept-invite": "Makes you friends with somebody who has invited you.",
        "decline-invite": "Declines an invitation. The sender may invite you again.",
        "decline-all": "Declines all invitations. The senders may invite you again.",
        "list-friend": "Lists your friends, the oldest friendship first.",
        "who": "Shows which of your friends are online, and when the others were last here.",
        "unfriend": "Ends a friendship. You can still read your messages.",
        "block": "Blocks somebody: no messages, no invitations, and no friendship.",
        "unblock": "Ends a block.",
        "list-block": "Lists the people whom you have blocked.",
        "post": "Posts something for all your friends.",
        "receive-post": "Shows the latest posts of your friends.",
        "send": "Sends one message to a friend who is online.",
        "history": "Shows the last 50 messages with a friend or in a group.",
        "create-group": "Creates a group, with you in it.",
        "list-group": "Lists all groups.",
        "list-joined": "Lists the groups that you are in.",
        "join-group": "Joins a group.",
        "leave-group": "Leaves a group.",
        "list-member": "Lists the members of a group of yours, in the order joined.",
        "send-group": "Sends one message to everybody in a group who is online.",
    },
    groups={
        "People": (
            "invite",
            "list-invite",
            "accept-invite",
            "decline-invite",
            "decline-all",
            "list-friend",
            "who",
            "unfriend",
            "block",
            "unblock",
            "list-block",
        ),
        "Messages": ("send", "history"),
        "Posts": ("post", "receive-post"),
        "Groups": (
            "create-group",
            "join-group",
            "leave-group",
            "list-group",
            "list-joined",
            "list-member",
            "send-group",
        ),
    },
    # As irssi and other chats, and Unix, call them.
    aliases={"msg": "send", "friends": "list-friend", "w": "who"},
    choices=(FRIENDS, INVITATIONS, JOINED, GROUPS, BLOCKED),
    complete={
        "accept-invite id": ("invitation",),
        "decline-invite id": ("invitation",),
        "block id": ("invitation", "friend"),
        "unblock id": ("blocked",),
        "history name": ("group", "friend"),
        "join-group group": ("any group", "-group"),
        "create-group group": (),
    },
    lists=(
        Listing("invite", "No invitations"),
        Listing("friend", "No friends"),
        Listing("group", "No groups"),
        Listing("post", "No posts", backwards=True),
        Listing("history", "No messages", backwards=True, recent=True),
        Listing("block", "Nobody is blocked"),
        Listing("member", "No members"),
    ),
    lines=(
        Line("{id:text}: {message:text}", time="time"),
        Line(
            "{id:text}  online",
            when={"online": True},
            has=("last",),
            shown="{id:text} is online",
        ),
        Line(
            "{id:text}  offline since {last:time}",
            when={"online": False},
            shown="{id:text} is offline, last here {last:time}",
        ),
        Line(
            "{id:text}  offline",
            when={"online": False},
            has=("last",),
            shown="{id:text} is offline",
        ),
    ),
    chats=(ChatEvent("message"), ChatEvent("sent", own=True)),
    talks=(
        Talk(
            "friend",
            send="send",
            choices="friend",
            history="history",
            line="<<<{sender}->{to}: {text}>>>",
            presence="who",
        ),
        Talk(
            "group",
            send="send-group",
            choices="group",
            history="history-group",
            room=True,
            line="<<<{sender}->GROUP<{to}>: {text}>>>",
        ),
    ),
    notices=(
        Notice(
            "waiting.invitations",
            "{} invitation waits: list-invite",
            "{} invitations wait: list-invite",
        ),
        Notice(
            "waiting.messages",
            "{} message came while you were away",
            "{} messages came while you were away",
            most=1000,
        ),
    ),
    after="waiting.after",
    legacy=LEGACY,
)
