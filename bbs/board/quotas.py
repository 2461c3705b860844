"""How much the board keeps of one user: its keys of `[limits]`, each declared by its part."""

from __future__ import annotations

from dataclasses import dataclass

from bbs.board.groups.groups import GROUPS, MEMBERS
from bbs.board.messages.messages import INBOX, STORED
from bbs.board.people.friendships import FRIENDS, INVITATIONS
from bbs.board.posts.posts import POSTS
from bbs.framework.limits import Limits, Rate


@dataclass(frozen=True)
class Quotas(Limits):
    """`[limits]` of the board, in the order in which operators read them."""

    friends: int = FRIENDS
    groups: int = GROUPS
    members: int = MEMBERS
    inbox: int = INBOX
    posts: int = POSTS
    stored: int = STORED
    invitations: Rate = INVITATIONS
