"""Accounts, with their passwords, sessions and suspensions."""

from __future__ import annotations

import hmac
import math
import re
import secrets
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import peewee

from bbs.core.errors import NotLoggedIn, Refusal, WrongCredentials
from bbs.core.values import PASSWORD_BYTES
from bbs.rules import auth, placement
from bbs.rules.auth import Caller, Sessions
from bbs.rules.names import as_stored, is_valid_name, normalized
from bbs.storage.database import for_update, read_only, rows
from bbs.storage.models import KnownNetwork, Session, Suspension, User
from bbs.storage.statements import statement


@dataclass(frozen=True)
class Credentials:
    """The hash that a password is checked against, if there is such a user.

    :ivar networks: those that the user has logged in from, and when at last (s since the epoch, to
        a day), as `KnownNetwork` has them.
    """

    user: int = 0
    password_hash: str | None = field(default=None, repr=False)
    networks: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[tuple[int, str, str | None, float]]) -> Credentials:
        """Read a user with the networks, one a row: the last two are None if there are none."""
        if not rows:
            return cls()
        known = {network: used for _, _, network, used in rows if network is not None}
        return cls(rows[0][0], rows[0][1], known)

    def know(self, network: str, now: float) -> bool:
        """Whether the user has logged in from `network` lately."""
        return now - self.networks.get(network, -math.inf) < NETWORK_TTL

    def lack(self, network: str, now: float) -> bool:
        """Whether a login from `network` has to be noted: there was none for a day."""
        return now - self.networks.get(network, -math.inf) >= NETWORK_NOTED


@read_only
def own_credentials(caller: Caller) -> Credentials:
    """The caller's; NotLoggedIn if the account is gone."""
    found = Credentials.of(_own_credentials(caller.id))
    if not found.user:
        raise NotLoggedIn()
    return found


def change_password(caller: Caller, verified: str, new_hash: str) -> None:
    """Replace the caller's password, which matched the hash `verified`. All sessions of the user
    end but the caller's own, which keeps the place.

    :raises WrongCredentials: the password has been changed since.
    :raises NotLoggedIn: the caller's session has ended since.
    """
    # The lock holds up other transactions that begin or end a session of the user.
    found = _hash_locked(caller.id)
    if not found or not _is_live(caller.session, caller.id):
        raise NotLoggedIn()
    if found[0][0] != verified:
        raise WrongCredentials()
    _change(caller.id, new_hash)
    _end_others(caller.id, caller.session)


@statement
def _own_credentials(user: int) -> peewee.Select:
    return _with_networks().where(User.id == user)


@statement
def _credentials(name: str) -> peewee.Select:
    return _with_networks().where(User.name == name)


def _with_networks() -> peewee.Select:
    return User.select(User.id, User.password_hash, KnownNetwork.network, KnownNetwork.used).join(
        KnownNetwork, peewee.JOIN.LEFT_OUTER, on=(KnownNetwork.user == User.id)
    )


@statement
def _hash_locked(user: int) -> peewee.Select:
    return for_update(User.select(User.password_hash).where(User.id == user))


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
    """The account is suspended. The peer has sent the right password: others are not told."""

    text = "This account is suspended"


def check_not_suspended(user: int, now: float) -> None:
    """Raise AccountSuspended if the account is suspended at `now` (seconds since the epoch)."""
    if _suspension(user, now):
        raise AccountSuspended()


@statement
def _suspension(user: int, now: float) -> peewee.Select:
    return Suspension.select(Suspension.user).where(
        (Suspension.user == user) & (Suspension.until.is_null() | (Suspension.until > now))
    )


class RegistrationClosed(Refusal):
    text = "Registration is closed"  # By the configuration.


class InvalidId(Refusal):
    text = "Invalid id"  # The name of a new account is malformed (`is_valid_name`).


class AlreadyUsed(Refusal):
    text = "{} is already used"  # Another account has the name.


class PasswordTooShort(Refusal):
    text = "Password too short"  # It has fewer characters than the configuration requires.


class PasswordTooLong(Refusal):
    text = "Password too long"  # It has more than `PASSWORD_BYTES`.


TOKEN_BYTES = 20  # Random bytes in a token: 160 bits; OWASP's session guide asks for 128.
CHANNEL_BYTES = 16  # Random bytes in the name of a topic.
ENDED_AT_ONCE = 500  # Stale sessions that one transaction ends at most.
DAY = 86400.0
NETWORK_NOTED = DAY  # Seconds until a login from a known network is noted again.
NETWORK_TTL = 90 * DAY  # Seconds for which a user is known at a network after the last login.
MOST_NETWORKS = 16  # Networks that a user is known at.
DEVICE_BYTES = 8  # Random bytes in a device token: it is told from others, and proves nothing.
DEVICE_TTL = 90 * DAY  # Seconds for which a device token counts; each login issues a new one.
LONGEST_DEVICE_TOKEN = 200  # Characters; tokens have 94.
MOST_SESSIONS = 32  # Sessions of one user: the default of `[limits] sessions_per_user`.


CHANNEL = re.compile(r"[0-9a-f]{32}|[A-Za-z0-9]+\.[A-Za-z0-9]+")
"""The form of a channel: a user's (`new_channel`), or one of the service's own."""


def not_a_channel(text: str) -> ValueError:
    """Make the error for a text that cannot be a channel."""
    return ValueError(
        f"{text!r} is not a channel: a person's is Caller.channel or User.channel, and one of the"
        " service's own is KIND.NAME, of letters and digits"
    )


def new_channel() -> str:
    """Make the random part of a topic's name, of letters and digits only."""
    return secrets.token_hex(CHANNEL_BYTES)


def new_token() -> str:
    """Make a token for a session; store only its digest."""
    return secrets.token_hex(TOKEN_BYTES)


@statement
def _find_user(name: str) -> peewee.Select:
    return User.select(User.id, User.password_hash).where(User.name == name)


@statement
def _lock_user(name: str) -> peewee.Select:
    return for_update(User.select(User.id, User.password_hash, User.seen).where(User.name == name))


@statement
def _add_user(name: str, password_hash: str, channel: str, now: float) -> peewee.Insert:
    return User.insert(name=name, password_hash=password_hash, channel=channel, created=now)


@statement
def _other_sessions(user: int, token_digest: str, kept: int) -> peewee.Select:
    """Sessions of `user` other than that of `token_digest` and the `kept` latest used ones."""
    return (
        Session.select(Session.digest)
        .where((Session.user == user) & (Session.digest != token_digest))
        .order_by(Session.used.desc())
        .offset(kept)
        .limit(ENDED_AT_ONCE)
    )


@statement
def _add_session(token_digest: str, user: int, now: float) -> peewee.Insert:
    # An attempt that seemed to fail during its commit may have stored the row already.
    return Session.insert(digest=token_digest, user=user, used=now).on_conflict_replace()


def check_name(name: str) -> str:
    """Return the form in which a new account's name is stored; InvalidId if it is malformed."""
    form = normalized(name)
    if not is_valid_name(form):
        raise InvalidId()
    return form


def check_password(password: str, minimum: int) -> None:
    """Raise PasswordTooShort for fewer than `minimum` characters, or PasswordTooLong."""
    if len(password) < minimum:
        raise PasswordTooShort()
    if len(password.encode(errors="replace")) > PASSWORD_BYTES:
        raise PasswordTooLong()


@read_only
def check_free(name: str) -> None:
    """Raise InvalidId or AlreadyUsed unless `name` can be registered. Called before the password is
    hashed, which takes long."""
    form = check_name(name)
    # Older names were stored as they were typed, in any form.
    forms = dict.fromkeys((form, name, unicodedata.normalize("NFD", form)))
    if any(_find_user(each) for each in forms):
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
def credentials(name: str) -> Credentials:
    """What a login by `name` is checked against; without a user, if nobody has the name."""
    return Credentials.of(_credentials(as_stored(name)))


OnLogin = Callable[[int, float | None], Mapping[str, object]]  # `Service.on_login`.


@dataclass(frozen=True)
class LoginResult(placement.Search):
    """The result of a login; `members` are those that the service adds to the reply."""

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
    network: str = "",
) -> placement.Search:
    """Begin a session and take a place for `name`, whose password matched the hash `verified`.

    Without a place the session does not begin. `new_hash`, if any, replaces the stored one; `look`
    as in `placement.enter`. If the user then has more than `most_sessions`, those longest unused
    end. `on_login` is called with the user's id and when the user was last seen before; its result
    is in the `LoginResult`. `network`, if any, is noted as one that the user is known at.

    :raises WrongCredentials: the user is unknown, or the password has been changed meanwhile.
    :raises AccountSuspended: the account is suspended, perhaps since the password was checked.
    """
    found = _lock_user(as_stored(name))
    if not found or found[0][1] != verified:
        raise WrongCredentials()
    user, _, seen = found[0]
    check_not_suspended(user, now)
    search = placement.enter(user, look)
    if search.seat:
        _add_session(token_digest, user, now)
        auth.note_seen(user, now)
        excess = _other_sessions(user, token_digest, most_sessions - 1)
        if excess:
            Session.delete().where(Session.digest.in_([row[0] for row in excess])).execute()
        if new_hash:
            User.update(password_hash=new_hash).where(User.id == user).execute()
        if network:
            _note_network(user, network, now)
        if on_login:
            return LoginResult(search.seat, members=on_login(user, seen))
    return search


def _note_network(user: int, network: str, now: float) -> None:
    """Note a login from `network`, and forget those unused for long, or of which there are more
    than `MOST_NETWORKS`."""
    _add_network(user, network, now)
    latest = _networks(user)
    kept = [name for name, used in latest[:MOST_NETWORKS] if used > now - NETWORK_TTL]
    if len(kept) < len(latest):
        KnownNetwork.delete().where(
            (KnownNetwork.user == user) & KnownNetwork.network.not_in(kept)
        ).execute()


@statement
def _add_network(user: int, network: str, now: float) -> peewee.Insert:
    return KnownNetwork.insert(user=user, network=network, used=now).on_conflict_replace()


@statement
def _networks(user: int) -> peewee.Select:
    return (
        KnownNetwork.select(KnownNetwork.network, KnownNetwork.used)
        .where(KnownNetwork.user == user)
        .order_by(KnownNetwork.used.desc(), KnownNetwork.network)
    )


class DeviceTokens:
    """Device tokens: they show that somebody at this device has logged in as a user before.

    A token gives no access. A login with it is a known user's to the limits on logins, wherever it
    comes from: so strangers who guess a name's password do not lock its owner out. The token is an
    HMAC over the user's id, the time of issue and a random number, and has no row. A digest of the
    password's hash is in it too, so it ends when the password changes.

    :param secret: of the service; the key is derived from it.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"device tokens", "sha256")
        self._shown: dict[object, str] = {}  # by connection

    def issue(self, user: int, password_hash: str, now: float) -> str:
        """Make a token for the device that `user` has logged in from."""
        head = f"{int(now):x}-{secrets.token_hex(DEVICE_BYTES)}"
        return f"{head}-{self._proof(head, user, password_hash)}"

    def show(self, connection: object, token: str) -> None:
        """Take the token that a peer shows, to be verified when it logs in. Nothing is said about
        it, so it tells a guesser nothing."""
        if len(token) <= LONGEST_DEVICE_TOKEN:
            self._shown[connection] = token

    def forget(self, connection: object) -> None:
        self._shown.pop(connection, None)

    def verify(self, connection: object, found: Credentials, now: float) -> str:
        """The device of which the peer has shown a token of that user that has not ended; "" if it
        has shown none."""
        head, _, proof = self._shown.get(connection, "").rpartition("-")
        issued = re.match("([0-9a-f]{1,12})-", head)
        if not issued or found.password_hash is None:
            return ""
        is_right = hmac.compare_digest(
            proof.encode(), self._proof(head, found.user, found.password_hash).encode()
        )
        is_live = is_right and now - int(issued[1], 16) < DEVICE_TTL
        return f"device {head}" if is_live else ""

    def _proof(self, head: str, user: int, password_hash: str) -> str:
        text = f"{head} {user} {auth.digest(password_hash)}"
        return hmac.digest(self._key, text.encode(), "sha256").hex()


def undo_log_in(token_digest: str) -> None:
    """End a session whose user left before the reply; without another, the user goes offline."""
    session = Session.get_or_none(Session.digest == token_digest)
    if session is not None:
        session.delete_instance()
        _go_offline_without_session(session.user_id)


@auth.costs(commands=3)
def log_out(caller: Caller) -> Caller:
    """End all sessions of `caller`, and give the place back."""
    _go_offline(caller.id)
    auth.note_seen(caller.id, caller.now)
    return caller


def delete(
    caller: Caller, on_delete: Callable[[int], int] | None = None, *, begun: bool = False
) -> bool:
    """Log `caller` out and remove the account, with the rows that refer to it.

    :param on_delete: called with the user's id, in the same transaction: if there is too much for
        one transaction, it removes a part and returns how much. The account stays until it is 0.
    :param begun: whether this has been called for the caller before.
    :returns: whether the account is removed; otherwise this must be called again.
    :raises NotLoggedIn: the caller's sessions had ended before the first call.
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
    Sessions that were last used in the future, by a clock that was set back since, count as used
    now: they do not end, and live no longer than others. Returns how many sessions it changed, at
    most `most` of each kind, as one transaction must not take long."""
    ahead = Session.used > now + sessions.slack
    found = rows(Session.select(Session.digest).where(ahead).limit(most))
    Session.update(used=now).where(Session.digest.in_([row[0] for row in found]) & ahead).execute()
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
        _note_first_seen(user, last_used[user])
    return len(stale) + len(found)


@statement
def _note_first_seen(user: int, used: float) -> peewee.Update:
    # For sessions older than the column `User.seen`: only their last use is known.
    return User.update(seen=used).where((User.id == user) & User.seen.is_null())


def _lock(user: int) -> None:
    """Lock the sessions of `user` until the transaction ends. A user with a session then always has
    a place, and a user without one has none."""
    for_update(User.select(User.id).where(User.id == user)).first()


def _go_offline(user: int) -> None:
    _lock(user)
    Session.delete().where(Session.user == user).execute()
    placement.give_back(user)


def _go_offline_without_session(user: int) -> None:
    _lock(user)
    if not Session.select(Session.digest).where(Session.user == user).exists():
        placement.give_back(user)
