"""The bulletin board: the first service on the framework.

`board` is the service, `BBSClient` its client library with the values that this gives, and
functions such as `friends` are for the rules of other packages. Each name is loaded on first use,
as the board's client needs no rules and no tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bbs.core.lazy import lazy

if TYPE_CHECKING:
    from bbs.board.client import (
        BBSClient,
        GroupInfo,
        Missed,
        News,
        Post,
        Presence,
        Reply,
        ThreadPost,
    )
    from bbs.board.lookups import (
        are_friends,
        friends,
        friends_online,
        group_channel,
        has_blocked,
        is_member,
        members,
        owner,
    )
    from bbs.board.service import board

__all__ = [
    "BBSClient",
    "GroupInfo",
    "Missed",
    "News",
    "Post",
    "Presence",
    "Reply",
    "ThreadPost",
    "are_friends",
    "board",
    "friends",
    "friends_online",
    "group_channel",
    "has_blocked",
    "is_member",
    "members",
    "owner",
]

_HOMES = {
    "bbs.board.client": "BBSClient GroupInfo Missed News Post Presence Reply ThreadPost",
    "bbs.board.lookups": (
        "are_friends friends friends_online group_channel has_blocked is_member members owner"
    ),
    "bbs.board.service": "board",
}

CLIENT = "bbs.board.client.face:face"  # the board's presentation

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
