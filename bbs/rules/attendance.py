"""Who is connected, as a service's `on_connect` and `on_disconnect` are told: a row for each user
who listens at an app server, a lease that this server renews.

The row comes and goes in the transaction of the hook, so for each user the two are called by turns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

import peewee

from bbs.storage.database import read_only, rows
from bbs.storage.models import ConnectedUser
from bbs.storage.statements import statement

LEASE = 60.0  # Seconds from a renewal until a user counts as gone.

AT_ONCE = 100  # users whom one transaction renews, and who are looked for at a time

Hook = Callable[[int, float], object]
"""A rule for a user's id, and the time (seconds since the epoch)."""


class Hooks(NamedTuple):
    """What is called, in this order, in the transaction in which somebody connects or has gone."""

    on_connect: tuple[Hook, ...]
    on_disconnect: tuple[Hook, ...]

    def connect(self, user: int, server: str, now: float) -> None:
        """Note that `user` listens at `server`; somebody new is told to the service."""
        row = {"server": server, "until": now + LEASE}
        if not ConnectedUser.update(**row).where(ConnectedUser.user == user).execute():
            # Two servers at once: one loses the race for the key, and runs again.
            ConnectedUser.insert(user=user, **row).execute()
            _call(self.on_connect, user, now)

    def disconnect(self, user: int, server: str, now: float) -> None:
        """Note that `user` listens at `server` no more, unless another server has the user."""
        if _leave(user, server):
            _call(self.on_disconnect, user, now)

    def lapse(self, user: int, now: float) -> None:
        """Note that the server of `user` has gone without a word, unless another has the user."""
        if _lapse(user, now):
            _call(self.on_disconnect, user, now)


def renew(users: Collection[int], server: str, now: float) -> set[int]:
    """Renew the leases of users who listen at `server`; returns those without a lease, as they
    counted as gone meanwhile."""
    _renew([*users], server, now + LEASE)
    there = ConnectedUser.select(ConnectedUser.user).where(ConnectedUser.user.in_([*users]))
    return {*users} - {user for (user,) in rows(there)}


@read_only
def lapsed(now: float) -> list[int]:
    """Users whose lease is over, at most `AT_ONCE`."""
    over = ConnectedUser.select(ConnectedUser.user).where(ConnectedUser.until <= now)
    return [user for (user,) in rows(over.order_by(ConnectedUser.until).limit(AT_ONCE))]


def postpone(user: int, now: float) -> None:
    """Have a user count as gone later, as the service's rule has failed."""
    ConnectedUser.update(until=now + LEASE).where(ConnectedUser.user == user).execute()


def named(rule: Callable[..., object], hooks: tuple[Hook, ...]) -> Callable[..., object]:
    """`rule`, which the log of slow rules calls as the service's own."""
    call: partial[object] = partial(rule)
    call.stands_for = hooks[0] if hooks else rule  # type: ignore[attr-defined]
    return call


def _call(hooks: tuple[Hook, ...], user: int, now: float) -> None:
    for hook in hooks:
        hook(user, now)


@statement
def _leave(user: int, server: str) -> peewee.Delete:
    return ConnectedUser.delete().where(
        (ConnectedUser.user == user) & (ConnectedUser.server == server)
    )


@statement
def _lapse(user: int, now: float) -> peewee.Delete:
    return ConnectedUser.delete().where((ConnectedUser.user == user) & (ConnectedUser.until <= now))


@statement
def _renew(users: list[int], server: str, until: float) -> peewee.Update:
    return ConnectedUser.update(until=until).where(
        ConnectedUser.user.in_(users) & (ConnectedUser.server == server)
    )
