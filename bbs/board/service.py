"""Declares the board as a service, with its commands, tables, feed and what operators do."""

from __future__ import annotations

from bbs.board import CLIENT, names
from bbs.board.announcements import operators as of_announcements
from bbs.board.announcements import rules as announcements
from bbs.board.commands import EVENTS, commands
from bbs.board.groups import empty_groups, groups
from bbs.board.groups import operators as of_groups
from bbs.board.messages import expiry, messages
from bbs.board.messages.commands import MESSAGES
from bbs.board.migrations import MODELS, OLDEST, STEPS, VERSION
from bbs.board.people import former, friendships, heard
from bbs.board.posts import operators as of_posts
from bbs.board.posts import posts, user_stats
from bbs.board.quotas import Quotas
from bbs.framework import Service
from bbs.framework.feeds import Feed
from bbs.operators import Counter


def forget_user(user: int) -> int:
    """Remove a part of what somebody leaves who deletes the account, and keep the blocks of it;
    returns how much."""
    return (
        expiry.forget_reader(user)
        or posts.forget_contributions(user)
        or groups.pass_on_all(user)
        or former.keep_all(user)
    )


def sweep(now: float) -> int:
    """Remove a part of what no longer matters, or has lost its owner; returns how much."""
    return (
        friendships.forget_told(now)
        or posts.forget_unwritten()
        or empty_groups.forget_empty(now)
        or former.forget(now)
        or heard.forget(now)
    )


board = Service(
    "bbs",
    commands=(commands,),
    events=EVENTS,
    models=MODELS,
    version=VERSION,
    steps=STEPS,
    oldest=OLDEST,
    feed=Feed(
        messages.open_mailbox,
        messages.fetch,
        messages.note_delivered,
        expire=expiry.expire,
        channels=groups.channels_of,
        events=("message",),
        partitions=expiry.PARTITIONS,
    ),
    placed=(groups.KIND,),
    broadcast=announcements.BROADCAST,
    on_register=names.on_register,
    on_login=user_stats.on_login,
    on_delete=forget_user,
    settings=names.Board,
    limits=Quotas,
    sweep=sweep,
    person=user_stats.of_person,
    greeting="bbs, a bulletin board.",
    client=CLIENT,
    subcommands={
        **of_announcements.SUBCOMMANDS,
        **of_groups.SUBCOMMANDS,
        **of_posts.SUBCOMMANDS,
    },
    lists=(of_announcements.ANNOUNCEMENTS, of_groups.GROUPS),
    acts=(of_posts.REMOVE_POST,),
    counters=(
        Counter(
            MESSAGES,
            metric="bbs_fleet_messages",
            help="Messages stored by all app servers, while this login server ran",
            member="messages_per_second",
            arrival="messages arrive",
        ),
    ),
)
