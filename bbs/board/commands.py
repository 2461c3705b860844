"""The board's commands and events, each declared once: what it does, refuses and answers, and what
people read of it. Clients get these words from `bbs/board/client/face.py`, which is generated.
"""

from __future__ import annotations

from bbs.board.groups import commands as groups
from bbs.board.messages import commands as messages
from bbs.board.people import commands as people
from bbs.board.posts import commands as posts
from bbs.framework import CommandTable

commands = CommandTable(
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
    messages.HISTORY,
    messages.HISTORY_GROUP,
    people.WHO,
    people.UNFRIEND,
    people.DECLINE_INVITE,
    people.DECLINE_ALL,
    people.BLOCK,
    people.UNBLOCK,
    people.LIST_BLOCK,
    groups.LEAVE_GROUP,
    groups.LIST_MEMBER,
    messages.MAIL,
    people.SET_STATUS,
    posts.NEW,
    posts.UNREAD_POSTS,
    posts.MY_POSTS,
    posts.THREAD,
    posts.REPLY,
    posts.DELETE_POST,
    posts.POST_GROUP,
    posts.GROUP_POSTS,
    groups.ALL_GROUPS,
    groups.SET_TOPIC,
    groups.CLOSE_GROUP,
    groups.OPEN_GROUP,
    groups.INVITE_GROUP,
    groups.KICK,
    groups.GIVE_GROUP,
    groups.DELETE_GROUP,
)
"""In the order in which they came, in which servers tell them."""

IN_HELP = (
    people.INVITE,
    people.LIST_INVITE,
    people.ACCEPT_INVITE,
    people.DECLINE_INVITE,
    people.DECLINE_ALL,
    people.LIST_FRIEND,
    people.WHO,
    people.SET_STATUS,
    people.UNFRIEND,
    people.BLOCK,
    people.UNBLOCK,
    people.LIST_BLOCK,
    posts.NEW,
    messages.SEND,
    messages.MAIL,
    messages.HISTORY,
    posts.POST,
    posts.UNREAD_POSTS,
    posts.RECEIVE_POST,
    posts.REPLY,
    posts.THREAD,
    posts.MY_POSTS,
    posts.DELETE_POST,
    groups.CREATE_GROUP,
    groups.JOIN_GROUP,
    groups.LEAVE_GROUP,
    groups.LIST_GROUP,
    groups.LIST_JOINED,
    groups.LIST_MEMBER,
    groups.ALL_GROUPS,
    messages.SEND_GROUP,
    posts.POST_GROUP,
    posts.GROUP_POSTS,
    groups.SET_TOPIC,
    groups.INVITE_GROUP,
    groups.KICK,
    groups.CLOSE_GROUP,
    groups.OPEN_GROUP,
    groups.GIVE_GROUP,
    groups.DELETE_GROUP,
    messages.HISTORY_GROUP,
)
"""In the order in which people read them, by heading."""

EVENTS = (*people.EVENTS, *messages.EVENTS, *posts.EVENTS, *groups.EVENTS)
