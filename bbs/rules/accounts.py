"""Accounts and sessions: who exists, and who is asking."""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import peewee

from bbs.addresses import Address
from bbs.errors import NotLoggedIn, Refusal, WrongCredentials
from bbs.rules import places
from bbs.storage.database import for_update, read_only, rows
from bbs.storage.models import Place, Server, Session, User
from bbs.values import NAME_LENGTH


class InvalidId(Refusal):
    """The name of a new account is too long or holds a control character."""

    text = "Invalid id"


class AlreadyUsed(Refusal):
    """Another account has the name."""

    text = "{} is already used"


TOKEN_BYTES = 20
"""Randomness in a token: 160 bits, where OWASP's session guide asks for 128 at least."""

CHANNEL_BYTES = 16
"""Randomness in the name of a topic."""

TOUCH_SHARE = 0.01
"""A session's last use is noted when the note would move by this share of its life: reading
commands then hardly ever write."""

ENDED_AT_ONCE = 500
"""Stale sessions that one transaction ends at the most."""


@dataclass(frozen=True)
class Caller:
    """The user whose command is carried out, at `now` (seconds since the epoch).

    `channel` is the user's own: what is told there reaches the connections that listen for the
    user. The framework's own are `seat`, where the user is served, when that server is well; and
    `touch`, the digest of a session whose last use is worth noting.
    """

    id: int
    name: str
    channel: str
    now: float
    seat: places.Seat | None = None
    touch: str | None = None


@dataclass(frozen=True)
class Sessions:
    """How long sessions live, from `[limits] session_ttl`: seconds unused."""

    ttl: float


def is_valid_name(name: str) -> bool:
    """Whether people and groups may be called so: not too long, and no control character."""
    return len(name) <= NAME_LENGTH and not any(unicodedata.category(c) == "Cc" for c in name)


def new_channel() -> str:
    """The random part of a topic's name: letters and digits only."""
    return secrets.token_hex(CHANNEL_BYTES)


def new_token() -> str:
    """A token for a session; keep only its `digest`."""
    return secrets.token_hex(TOKEN_BYTES)


def digest(token: str) -> str:
    """What is stored of a token. It is random and long, so a plain hash gives nothing away."""
    return hashlib.sha256(token.encode()).hexdigest()


@read_only
def check_free(name: str) -> None:
    """Raise unless `name` may be registered, before anybody troubles to hash a password."""
    if not is_valid_name(name):
        raise InvalidId()
    if User.select(User.id).where(User.name == name).exists():
        raise AlreadyUsed(name)


def register(
    name: str, password_hash: str, now: float, on_register: Callable[[int], object] | None = None
) -> None:
    """Create an account; `on_register` is called with its id, in the same transaction."""
    check_free(name)
    user: int = User.insert(
        name=name, password_hash=password_hash, channel=new_channel(), created=now
    ).execute()
    if on_register:
        on_register(user)


@read_only
def password_hash(name: str) -> str | None:
    """What the password of `name` must match; None for nobody."""
    row = User.select(User.password_hash).where(User.name == name).tuples().first()
    return row[0] if row else None


def log_in(
    name: str, verified: str, token_digest: str, new_hash: str | None, now: float, look: places.Look
) -> places.Search:
    """Begin a session and take a place for `name`, whose password matched the hash `verified`.

    Without a place there is no session either. `new_hash` replaces the stored one; `look` as in
    `places.enter`.
    """
    user = for_update(User.select().where(User.name == name)).first()
    if user is None or user.password_hash != verified:
        raise WrongCredentials()
    search = places.enter(user.id, look)
    if search.seat:
        # Replaced, as an attempt that seemed to fail while it committed may have stored it.
        session = Session.insert(digest=token_digest, user=user.id, used=now)
        session.on_conflict_replace().execute()
        if new_hash:
            User.update(password_hash=new_hash).where(User.id == user.id).execute()
    return search


def undo_log_in(token_digest: str) -> None:
    """End a session whose user gave up before hearing of it, and go offline without another."""
    session = Session.get_or_none(Session.digest == token_digest)
    if session is not None:
        session.delete_instance()
        _go_offline_without_session(session.user_id)


@read_only
def identify(token: str | None, sessions: Sessions, now: float) -> Caller:
    """Who holds `token`."""
    query = (
        Session.select(
            Session.digest,
            Session.used,
            User.id,
            User.name,
            User.channel,
            Server.id,
            Server.host,
            Server.port,
            Server.state,
        )
        .join(User)
        .join(Place, peewee.JOIN.LEFT_OUTER, on=(Place.user == User.id))
        .join(Server, peewee.JOIN.LEFT_OUTER, on=(Place.server == Server.id))
        .where(Session.digest == digest(token or ""))
        .tuples()
    )
    row = query.first()
    if row is None or row[1] + sessions.ttl < now:
        raise NotLoggedIn()
    stored, used, user, name, channel, server, host, port, state = row
    return Caller(
        user,
        name,
        channel,
        now,
        places.Seat(server, Address(host, port)) if state in places.SERVING else None,
        stored if used + sessions.ttl * TOUCH_SHARE < now else None,
    )


def touch(token_digest: str, now: float) -> None:
    """Note that a session was used."""
    Session.update(used=now).where(Session.digest == token_digest).execute()


def log_out(caller: Caller) -> Caller:
    """End all sessions of `caller`, and give the place back."""
    _lock(caller.id)
    Session.delete().where(Session.user == caller.id).execute()
    places.give_back(caller.id)
    return caller


def delete(caller: Caller) -> Caller:
    """Log `caller` out and remove the account; the foreign keys take what belongs to it along."""
    log_out(caller)
    User.delete().where(User.id == caller.id).execute()
    return caller


def end_stale_sessions(sessions: Sessions, now: float) -> int:
    """End sessions unused for their time to live, and give back places of users who have no other.

    Returns how many ended; `ENDED_AT_ONCE` in one transaction, so that nobody waits long for it.
    """
    unused = Session.used < now - sessions.ttl
    stale = rows(Session.select(Session.digest, Session.user).where(unused).limit(ENDED_AT_ONCE))
    Session.delete().where(Session.digest.in_([row[0] for row in stale]) & unused).execute()
    for user in sorted({row[1] for row in stale}):
        _go_offline_without_session(user)
    return len(stale)


def _lock(user: int) -> None:
    """Until the transaction ends nobody else begins or ends a session of `user`, so that who has
    one has a place, and who has none holds none."""
    for_update(User.select(User.id).where(User.id == user)).first()


def _go_offline_without_session(user: int) -> None:
    _lock(user)
    if not Session.select(Session.digest).where(Session.user == user).exists():
        places.give_back(user)
