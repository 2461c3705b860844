"""The bulletin board: the first service on the framework.

The service is loaded when it is first used, as the board's client needs no rules and no tables. So
are the functions that other packages may call in their rules (`bbs.board.lookups`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

CLIENT = "bbs.board.client.face:face"  # the board's presentation


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"bbs.board has no {name}")
    module = "service" if name == "board" else "lookups"
    return getattr(import_module(f"bbs.board.{module}"), name)
