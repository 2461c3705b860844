"""What clients know of the board beside its commands: the names that they complete, talks, events
and what waits for somebody who logs in.

Servers up to version 0.3.0 send no presentation: with those, clients go by their own, for the
commands that such servers know. Later servers send theirs, so these lists never change."""

from __future__ import annotations

from bbs.board.groups import commands as groups
from bbs.board.messages import commands as messages
from bbs.board.people import commands as people
from bbs.board.posts import commands as posts
from bbs.framework import (
    Choices,
    Notice,
    Presentation,
    Talk,
)

FIRST = (
    people.INVITE,
    people.LIST_INVITE,
    people.ACCEPT_INVITE,
    people.LIST_FRIEND,
    posts.POST,
    posts.RECEIVE_POST,
    messages.SEND,
    groups.CREATE_GROUP,
    groups.LIST_GROUP,
    groups.LIST_JOINED,
    groups.JOIN_GROUP,
    messages.SEND_GROUP,
)
"""The commands that servers of version 0.1.0 know, which do not know `commands`."""

LATER = (
    messages.HISTORY,
    messages.HISTORY_GROUP,
    people.WHO,
    people.UNFRIEND,
    people.DECLINE_INVITE,
    people.BLOCK,
    people.UNBLOCK,
    people.LIST_BLOCK,
    groups.LEAVE_GROUP,
    groups.LIST_MEMBER,
)
"""The commands that servers up to version 0.3.0 know beside these."""

INVITATIONS = Choices(
    "invitation",
    ask=people.LIST_INVITE.name,
    lists={people.LIST_INVITE.name: "invite"},
    removed_by=(
        people.ACCEPT_INVITE.name,
        people.DECLINE_INVITE.name,
        people.DECLINE_ALL.name,
        people.BLOCK.name,
    ),
    added_by_events={"invite": "from", "invite group": ""},
    removed_by_events={"friend": "with"},
)
FRIENDS = Choices(
    "friend",
    ask=people.LIST_FRIEND.name,
    lists={people.LIST_FRIEND.name: "friend", people.WHO.name: "friend"},
    parameters=("friend",),
    added_by=(people.ACCEPT_INVITE.name,),
    removed_by=(people.UNFRIEND.name, people.BLOCK.name),
    added_by_events={"friend": "with"},
    lookalike_events={
        "invite": "from",
        "message": "from",
        "joined": "id",
        "post": "from",
        "reply": "from",
    },
    lookalike_lists={people.LIST_INVITE.name: "invite", groups.LIST_MEMBER.name: "member"},
)
JOINED = Choices(
    "group",
    ask=groups.LIST_JOINED.name,
    lists={groups.LIST_JOINED.name: "group"},
    parameters=("group",),
    added_by=(groups.CREATE_GROUP.name, groups.JOIN_GROUP.name),
    removed_by=(groups.LEAVE_GROUP.name, groups.DELETE_GROUP.name),
    removed_by_events={"left": "you_left"},
    within="any group",
)
GROUPS = Choices(
    "any group",
    label="group",
    ask=groups.LIST_GROUP.name,
    lists={groups.LIST_GROUP.name: "group", groups.ALL_GROUPS.name: "group"},
    key="group",
    removed_by=(groups.DELETE_GROUP.name,),
    added_by_events={"invite group": "group"},
    shared=True,
)
MEMBERS = Choices(
    "member",
    lists={groups.LIST_MEMBER.name: "member"},
    added_by_events={"joined": "id"},
    removed_by_events={"left": "id"},
)
POSTS = Choices(
    "post number",
    label="post",
    lists=dict.fromkeys(
        [
            posts.UNREAD_POSTS.name,
            posts.RECEIVE_POST.name,
            posts.MY_POSTS.name,
            posts.THREAD.name,
            posts.GROUP_POSTS.name,
            posts.REPLY.name,
            posts.POST_GROUP.name,
        ],
        "post",
    ),
    key="post",
    parameters=("post",),
    removed_by=(posts.DELETE_POST.name,),
    added_by_events={"post": "post", "reply": "post"},
    removed_by_events={"deleted": "post"},
    recent=True,
)
BLOCKED = Choices(
    "blocked",
    lists={people.LIST_BLOCK.name: "block"},
    added_by=(people.BLOCK.name,),
    removed_by=(people.UNBLOCK.name,),
)

presentation = Presentation(
    next_steps=("invite NAME", "talk NAME", "help"),
    choices=(FRIENDS, INVITATIONS, JOINED, GROUPS, MEMBERS, BLOCKED, POSTS),
    talks=(
        Talk(
            "friend",
            send=messages.SEND.name,
            sent_by=(messages.MAIL.name,),
            choices="friend",
            history=messages.HISTORY.name,
            line="<<<{sender}->{to}: {text}>>>",
            presence=people.WHO.name,
        ),
        Talk(
            "group",
            send=messages.SEND_GROUP.name,
            choices="group",
            history=messages.HISTORY_GROUP.name,
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
        Notice("waiting.posts", "{} new post: posts", "{} new posts: posts", most=1000),
        Notice("new.messages", "{} message waits", "{} messages wait", most=1000),
        Notice(
            "new.invitations",
            "{} invitation waits: list-invite",
            "{} invitations wait: list-invite",
            most=1000,
        ),
        Notice("new.posts", "{} new post: posts", "{} new posts: posts", most=1000),
    ),
    notices_by=posts.NEW.name,
    after="waiting.after",
)
