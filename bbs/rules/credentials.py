"""The password of somebody who is logged in, and how it becomes another."""

from __future__ import annotations

import peewee

from bbs.core.errors import NotLoggedIn, WrongCredentials
from bbs.rules.auth import Caller
from bbs.storage.database import for_update, read_only
from bbs.storage.models import Session, User
from bbs.storage.statements import statement


@read_only
def own_hash(caller: Caller) -> str:
    """What the caller's password must match.

    :raises NotLoggedIn: the account is gone.
    """
    for (stored,) in _hash(caller.id):
        return str(stored)
    raise NotLoggedIn()


def change_password(caller: Caller, verified: str, new_hash: str) -> None:
    """Have the caller's password, which matched the hash `verified`, be another; all sessions of
    the user end but the caller's own, which keeps the place.

    :raises WrongCredentials: somebody has changed the password since.
    :raises NotLoggedIn: somebody has ended the caller's session since.
    """
    # Whoever begins or ends a session of the user waits meanwhile.
    found = _hash_locked(caller.id)
    if not found or not _is_live(caller.session, caller.id):
        raise NotLoggedIn()
    if found[0][0] != verified:
        raise WrongCredentials()
    _change(caller.id, new_hash)
    _end_others(caller.id, caller.session)


@statement
def _hash(user: int) -> peewee.Select:
    return User.select(User.password_hash).where(User.id == user)


@statement
def _hash_locked(user: int) -> peewee.Select:
    query: peewee.Select = for_update(User.select(User.password_hash).where(User.id == user))
    return query


@statement
def _is_live(token_digest: str, user: int) -> peewee.Select:
    return Session.select(Session.digest).where(
        (Session.digest == token_digest) & (Session.user == user)
    )


@statement
def _change(user: int, new_hash: str) -> peewee.Update:
    return User.update(password_hash=new_hash).where(User.id == user)


@statement
def _end_others(user: int, token_digest: str) -> peewee.Delete:
    return Session.delete().where((Session.user == user) & (Session.digest != token_digest))
