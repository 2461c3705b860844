"""Accounts, their passwords and sessions: who exists, who is logged in, and who may not log in."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import peewee

from bbs.core.errors import NotLoggedIn, Refusal, WrongCredentials
from bbs.core.values import PASSWORD_BYTES
from bbs.rules import auth, placement
from bbs.rules.auth import Caller, Sessions
from bbs.rules.names import as_stored, is_valid_name, normalized
from bbs.storage.database import for_update, read_only, rows
from bbs.storage.models import Session, Suspension, User
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


class AccountSuspended(Refusal):
    """Operators let nobody log in to the account: told to who knows its password alone."""

    text = "This account is suspended"


def check_not_suspended(user: int, now: float) -> None:
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


class RegistrationClosed(Refusal):
    """Operators want no new accounts here."""

    text = "Registration is closed"


class InvalidId(Refusal):
    """The name of a new account is none that anybody may have (`is_valid_name`)."""

    text = "Invalid id"


class AlreadyUsed(Refusal):
    """Another account has the name."""

    text = "{} is already used"


class PasswordTooShort(Refusal):
    """A new password has fewer characters than operators want."""

    text = "Password too short"


class PasswordTooLong(Refusal):
    """A new password has more bytes than any may have."""

    text = "Password too long"


TOKEN_BYTES = 20
"""Randomness in a token: 160 bits, where OWASP's session guide asks for 128 at least."""

CHANNEL_BYTES = 16
"""Randomness in the name of a topic."""

ENDED_AT_ONCE = 500
"""Stale sessions that one transaction ends at the most."""

MOST_SESSIONS = 32
"""A user's, unless it is said: the default of `[limits] sessions_per_user`."""


def new_channel() -> str:
    """The random part of a topic's name: letters and digits only."""
    return secrets.token_hex(CHANNEL_BYTES)


def new_token() -> str:
    """A token for a session; keep only its digest."""
    return secrets.token_hex(TOKEN_BYTES)


@statement
def _named(name: str) -> peewee.Select:
    return User.select(User.id, User.password_hash).where(User.name == name)


@statement
def _named_locked(name: str) -> peewee.Select:
    query: peewee.Select = for_update(
        User.select(User.id, User.password_hash, User.seen).where(User.name == name)
    )
    return query


@statement
def _add_user(name: str, password_hash: str, channel: str, now: float) -> peewee.Insert:
    return User.insert(name=name, password_hash=password_hash, channel=channel, created=now)


@statement
def _other_sessions(user: int, token_digest: str, kept: int) -> peewee.Select:
    """Those of `user` beyond the `kept` latest used, the one of `token_digest` apart."""
    query: peewee.Select = (
        Session.select(Session.digest)
        .where((Session.user == user) & (Session.digest != token_digest))
        .order_by(Session.used.desc())
        .offset(kept)
        .limit(ENDED_AT_ONCE)
    )
    return query


@statement
def _add_session(token_digest: str, user: int, now: float) -> peewee.Insert:
    # Replaced, as an attempt that seemed to fail while it committed may have stored it.
    return Session.insert(digest=token_digest, user=user, used=now).on_conflict_replace()


def check_name(name: str) -> str:
    """The form in which a new account called `name` is stored.

    :raises InvalidId: nobody may be called so.
    """
    form = normalized(name)
    if not is_valid_name(form):
        raise InvalidId()
    return form


def check_password(password: str, minimum: int) -> None:
    """Raise unless `password` may become somebody's, of `minimum` characters at least.

    :raises PasswordTooShort: it has fewer.
    :raises PasswordTooLong: it has more than `PASSWORD_BYTES`.
    """
    if len(password) < minimum:
        raise PasswordTooShort()
    if len(password.encode(errors="replace")) > PASSWORD_BYTES:
        raise PasswordTooLong()


@read_only
def check_free(name: str) -> None:
    """Raise unless `name` may be registered, before anybody troubles to hash a password."""
    form = check_name(name)
    # One that is in another form is of a time when names were stored as they were typed.
    if any(
        _named(each) for each in dict.fromkeys((form, name, unicodedata.normalize("NFD", form)))
    ):
        raise AlreadyUsed(name)


def register(
    name: str, password_hash: str, now: float, on_register: Callable[[int], object] | None = None
) -> None:
    """Create an account; `on_register` is called with its id, in the same transaction."""
    check_free(name)
    user = _add_user(normalized(name), password_hash, new_channel(), now)
    if on_register:
        on_register(user)


@read_only
def password_hash(name: str) -> str | None:
    """What the password of `name` must match; None for nobody."""
    for _, stored in _named(as_stored(name)):
        return str(stored)
    return None


OnLogin = Callable[[int, float | None], Mapping[str, object]]
"""`Service.on_login`."""


@dataclass(frozen=True)
class Begun(placement.Search):
    """What a login came to; `members` are the service's of the reply."""

    members: Mapping[str, object] = field(default_factory=dict)


def log_in(
    name: str,
    verified: str,
    token_digest: str,
    new_hash: str | None,
    now: float,
    look: placement.Look,
    most_sessions: int = MOST_SESSIONS,
    on_login: OnLogin | None = None,
) -> placement.Search:
    """Begin a session and take a place for `name`, whose password matched the hash `verified`.

    Without a place there is no session either. `new_hash` replaces the stored one; `look` as in
    `places.enter`. Of more than `most_sessions` those longest unused end. `on_login` is called with
    the user's id, and when the user was last there before; a `Begun` has what it returned.

    :raises WrongCredentials: there is no such user any more, or the password has been changed.
    :raises AccountSuspended: operators let nobody log in there, perhaps since the password was
        looked at.
    """
    found = _named_locked(as_stored(name))
    if not found or found[0][1] != verified:
        raise WrongCredentials()
    user, _, seen = found[0]
    check_not_suspended(user, now)
    search = placement.enter(user, look)
    if search.seat:
        _add_session(token_digest, user, now)
        auth.see(user, now)
        beyond = _other_sessions(user, token_digest, most_sessions - 1)
        if beyond:
            Session.delete().where(Session.digest.in_([row[0] for row in beyond])).execute()
        if new_hash:
            User.update(password_hash=new_hash).where(User.id == user).execute()
        if on_login:
            return Begun(search.seat, members=on_login(user, seen))
    return search


def undo_log_in(token_digest: str) -> None:
    """End a session whose user gave up before hearing of it, and go offline without another."""
    session = Session.get_or_none(Session.digest == token_digest)
    if session is not None:
        session.delete_instance()
        _go_offline_without_session(session.user_id)


def log_out(caller: Caller) -> Caller:
    """End all sessions of `caller`, and give the place back."""
    _go_offline(caller.id)
    auth.see(caller.id, caller.now)
    return caller


def delete(
    caller: Caller, on_delete: Callable[[int], int] | None = None, *, begun: bool = False
) -> bool:
    """Log `caller` out and remove the account; the foreign keys take what belongs to it along.

    :param on_delete: called with the user's id, in the same transaction: it removes a part of what
        is too much for one, and returns how much. While it finds something the account stays.
    :param begun: whether this has been called for the caller before.
    :returns: whether the account is removed; else this is to be called again.
    :raises NotLoggedIn: somebody else has ended the caller's sessions before it was begun.
    """
    _lock(caller.id)
    if not begun and not Session.select().where(Session.user == caller.id).exists():
        raise NotLoggedIn()
    _go_offline(caller.id)
    if on_delete and on_delete(caller.id):
        return False
    User.delete().where(User.id == caller.id).execute()
    return True


def end_stale_sessions(sessions: Sessions, now: float, most: int = ENDED_AT_ONCE) -> int:
    """End sessions unused for their time to live, and give back places of users who have no other.

    Sessions from the future, which a clock made that has been set back since, count as used now:
    they are not dead, and live no longer than others.

    Returns how many it changed; `most` of each in one transaction, so that nobody waits long for
    it.
    """
    ahead = Session.used > now + sessions.slack
    moved = rows(Session.select(Session.digest).where(ahead).limit(most))
    Session.update(used=now).where(Session.digest.in_([row[0] for row in moved]) & ahead).execute()
    unused = Session.used < now - sessions.ttl
    stale = rows(
        Session.select(Session.digest, Session.user, Session.used)
        .where(unused)
        .order_by(Session.used)
        .limit(most)
    )
    Session.delete().where(Session.digest.in_([row[0] for row in stale]) & unused).execute()
    last_used = {user: used for _, user, used in stale}
    for user in sorted(last_used):
        _go_offline_without_session(user)
        _see_first(user, last_used[user])
    return len(stale) + len(moved)


@statement
def _see_first(user: int, used: float) -> peewee.Update:
    """When a session of before there was `User.seen` was last used is all that is known of it."""
    return User.update(seen=used).where((User.id == user) & User.seen.is_null())


def _lock(user: int) -> None:
    """Until the transaction ends nobody else begins or ends a session of `user`, so that who has
    one has a place, and who has none holds none."""
    for_update(User.select(User.id).where(User.id == user)).first()


def _go_offline(user: int) -> None:
    _lock(user)
    Session.delete().where(Session.user == user).execute()
    placement.give_back(user)


def _go_offline_without_session(user: int) -> None:
    _lock(user)
    if not Session.select(Session.digest).where(Session.user == user).exists():
        placement.give_back(user)
