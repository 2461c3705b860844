"""Threads: replies to posts, the posts of groups, and who has read what.

A thread begins with a post in somebody's feed or in a group. Each reader has one number for each
feed (`Relationship.read`), group (`Membership.read`) and thread (`ThreadReader`): what comes behind
it is unread. Nothing is missed by that, as a transaction that adds to one of these locks the
writer's inbox, the group or the first post before its post gets an id, so that the ids of each rise
in the order of commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import peewee

from bbs.board import announcements, errors, groups, posts, relationships
from bbs.board.models import (
    LENGTHS,
    Block,
    Contribution,
    Group,
    Membership,
    PostRow,
    Relationship,
    RemovedPost,
    ThreadReader,
    chunks,
    padded,
)
from bbs.board.posts import Published
from bbs.board.user_stats import MOST_COUNTED, missed
from bbs.framework import (
    Caller,
    Page,
    Part,
    Place,
    User,
    as_stored,
    asks,
    costs,
    paged,
    question,
    read_only,
    statement,
    stores_text,
    together,
)
