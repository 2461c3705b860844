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
    lookalike_events={"invite": "from", "message": "from", "joined": "id"},
    lookalike_lists={"list-invite": "invite", "list-member": "member"},
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
        Line("{id:text}  online", when={"online": True}, has=("last",)),
        Line("{id:text}  offline since {last:time}", when={"online": False}),
        Line("{id:text}  offline", when={"online": False}, has=("last",)),
    ),
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
