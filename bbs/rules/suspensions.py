"""Accounts that operators have suspended: nobody logs in there."""

from __future__ import annotations

import peewee

from bbs.core.errors import Refusal
from bbs.storage.models import Suspension
from bbs.storage.statements import statement


class AccountSuspended(Refusal):
    """Operators let nobody log in to the account: told to who knows its password alone."""

    text = "This account is suspended"


def check(user: int, now: float) -> None:
    """Raise if the account `user` is suspended at `now` (seconds since the epoch). A suspension
    that has run out is as none.

    :raises AccountSuspended: it is.
    """
    if _in_force(user, now):
        raise AccountSuspended()


@statement
def _in_force(user: int, now: float) -> peewee.Select:
    return Suspension.select(Suspension.user).where(
        (Suspension.user == user) & (Suspension.until.is_null() | (Suspension.until > now))
    )
