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
    removed_by=("leave-group", "delete-group"),
    removed_by_events={"left": "you_left"},
    within="any group",
)
GROUPS = Choices(
    "any group",
    label="group",
    ask="list-group",
    lists={"list-group": "group", "groups": "group"},
    key="group",
    removed_by=("delete-group",),
    added_by_events={"invite": "group"},
    shared=True,
)
MEMBERS = Choices(
    "member",
    lists={"list-member": "member"},
    added_by_events={"joined": "id"},
    removed_by_events={"left": "id"},
)
BLOCKED = Choices(
    "blocked", lists={"list-block": "block"}, added_by=("block",), removed_by=("unblock",)
)

GROUP_LINES = tuple(
    Line(f"{{group:text}}  {state}members {{members}}{owner}{topic}", when=when)
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

face = Presentation(
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
        "groups": "Lists all groups with topic, owner and members, your own first.",
        "set-topic": "Sets the topic of a group that you own; without a text it removes it.",
        "close-group": "Lets nobody join a group that you own, unless you invite them.",
        "open-group": "Lets everybody join a group that you own.",
        "invite-group": "Lets somebody join a group that you own, and tells them.",
        "kick": "Removes a member from a group that you own.",
        "give-group": "Makes a member the owner of a group that you own.",
        "delete-group": "Deletes a group that you own, with its posts.",
    },
    # As irssi and other chats, and Unix, call them.
    aliases={"msg": "send", "friends": "list-friend", "w": "who"},
    choices=(FRIENDS, INVITATIONS, JOINED, GROUPS, MEMBERS, BLOCKED),
    complete={
        "accept-invite id": ("invitation",),
        "decline-invite id": ("invitation",),
        "block id": ("invitation", "friend"),
        "unblock id": ("blocked",),
        "history name": ("group", "friend"),
        "join-group group": ("any group", "-group"),
        "create-group group": (),
        "invite-group id": ("friend",),
        "kick id": ("member",),
        "give-group id": ("member",),
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
        Line("{id:text}  online", when={"online": True}, has=("last",)),
        Line("{id:text}  offline since {last:time}", when={"online": False}),
        Line("{id:text}  offline", when={"online": False}, has=("last",)),
        *GROUP_LINES,
    ),
    events={name: Line(time="time") for name in ("joined", "left", "topic")},
    chats=(ChatEvent("message"), ChatEvent("sent", own=True)),
    talks=(
        Talk(
            "friend",
            send="send",
            choices="friend",
            history="history",
            line="<<<{sender}->{to}: {text}>>>",
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
