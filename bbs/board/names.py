"""New accounts, and names that look like others: the section `[board]` of the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import peewee

from bbs.board import inboxes
from bbs.board.lists import padded
from bbs.board.people import former
from bbs.board.people.errors import LooksLikeAnother
from bbs.framework import Table, User, for_update, setting
from bbs.framework.fast import statement, together
from bbs.framework.limits import Bound
from bbs.framework.names import skeletons

REFUSE = "refuse"


class Skeleton(Table):
    """What the name of `user` looks like: each of its skeletons, as `skeleton_digests` has them. An
    account that a server of version 5 makes while it runs beside has none."""

    digest = peewee.CharField(32)
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")

    class Meta:
        bound = Bound("two", of="account")
        primary_key = peewee.CompositeKey("digest", "user")


def skeleton_digests(name: str) -> Sequence[str]:
    """Digests of the skeletons of `name`, which may be longer than a database's key."""
    texts = [each.encode("utf-8", "replace") for each in sorted(skeletons(name))]
    return [blake2b(each, digest_size=16).hexdigest() for each in texts]


@dataclass(frozen=True)
class Board:
    """The board's section of the configuration."""

    lookalikes: str = setting(
        "allow",
        "or refuse: nobody registers a name that looks like one in use",
        choices=("allow", REFUSE),
        handed_on=False,  # App servers register nobody.
    )


_DEFAULTS = Board()


def on_register(user: int, settings: Board = _DEFAULTS) -> None:
    """Make the inbox of a new user, and store what the name looks like. Blocks of a former account
    of this name become blocks of the new one.

    :raises LooksLikeAnother: it looks like a name in use, and `settings` refuse that.
    """
    _, [(name,)], blocked = together(inboxes.make.of(user), _name.of(user), former.any_kept.of())
    digests = skeleton_digests(name)
    together(_add.of_each([(digest, user) for digest in digests]))
    # Two registrations at once have both stored theirs by now: one waits here for the other, or
    # loses a deadlock, and runs again.
    if settings.lookalikes == REFUSE and _others(padded(digests), user):
        raise LooksLikeAnother(name)
    if blocked:
        former.begin_again(user, name)


@statement
def _name(user: int) -> peewee.Select:
    return User.select(User.name).where(User.id == user)


@statement
def _add(digest: str, user: int) -> peewee.Insert:
    return Skeleton.insert(digest=digest, user=user)


@statement
def _others(digests: Sequence[str], user: int) -> peewee.Select:
    """Another user whose name looks like it."""
    found = Skeleton.select(Skeleton.user).where(Skeleton.digest.in_(digests))
    locked: peewee.Select = for_update(found.where(Skeleton.user != user).limit(1))
    return locked
