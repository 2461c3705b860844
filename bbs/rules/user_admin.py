"""What operators see of users, and do to them.

Operators see names and counts, and never a text. The transaction of an act also records it, and
stores a notice, which the fleet's controller sends to the servers (`bbs.scaling.events`). Two
operators who act on one user at the same time do so one after the other, as both lock the user's
row first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import peewee

from bbs.core.addresses import Address
from bbs.rules import accounts, fleet_admin, placement
from bbs.rules.auth import Caller
from bbs.rules.fleet_admin import By
from bbs.rules.names import as_stored, contains
from bbs.storage.database import for_update, long_read, rows
from bbs.storage.models import OutboxEntry, Place, Server, Session, Suspension, User
from bbs.storage.statements import Row, statement

PASSWORD, SUSPEND, RESUME, KICK, DELETE = "password", "suspend", "resume", "kick", "delete"
"""The names of the actions in `Action`."""

PEOPLE_AT_ONCE = 100  # Users in one part of a list by default.
MOST_REASON = 200  # Characters of the reason for a suspension that are stored.
LONGEST = 3650 * 86400.0  # Seconds of the longest suspension with an end: dates are limited.


class NoSuchPerson(Exception):
    """Unknown user name."""


class NotSuspended(Exception):
    """The user is not suspended."""


@dataclass(frozen=True)
class Suspended:
    """A suspension."""

    since: float  # Seconds since the epoch.
    until: float | None  # As `since`; None: until operators resume the account.
    reason: str  # For operators alone.


@dataclass(frozen=True, kw_only=True)
class Person:
    """A user with an account."""

    id: int
    name: str
    created: float  # Seconds since the epoch.
    seen: float | None  # When the user last sent a request, if known.
    online: bool  # The user has `sessions`.
    away: bool  # Online without a place, until the next command.
    server: str | None  # Serves the user, at `address`; None for one who waits.
    address: str | None
    sessions: int
    suspended: Suspended | None  # None: the user may log in.
    counts: Mapping[str, int] | None = None  # The service's, by name, if asked for.

    @property
    def state(self) -> str:
        """One of `online`, `waiting` for a place, `away`, `suspended` and `offline`."""
        if self.online:
            return "online" if self.server else "away" if self.away else "waiting"
        return "suspended" if self.suspended else "offline"


@dataclass(frozen=True)
class People:
    """A part of a list of users, by name; the next part begins behind the name `more`, if any."""

    people: tuple[Person, ...]
    more: str | None


@dataclass(frozen=True)
class ActionResult:
    """The result of an act: the stored name of the user, and how many sessions ended."""

    name: str
    sessions: int


@long_read
def search(
    now: float,
    text: str = "",
    *,
    online: bool = False,
    behind: str = "",
    limit: int = PEOPLE_AT_ONCE,
) -> People:
    """Find users with `text` in their names, all or those who are `online`, behind the name
    `behind`: at most `limit` of them, in the order of their names. The case of letters is ignored,
    on SQLite only in ASCII. Without a `text` this uses the index of names; with one it reads all
    names behind `behind`, until it has enough."""
    if not (_is_text(text) and _is_text(behind)):
        return People((), None)
    query = _people()
    if behind:
        query = query.where(User.name > behind)
    if text:
        query = query.where(contains(User.name, text))
    if online:
        # Few users are online: so the database begins with those.
        query = query.where(User.id.in_(Place.select(Place.user)))
    some = [_person(row, now) for row in rows(query.order_by(User.name).limit(limit + 1))]
    more = some[limit - 1].name if len(some) > limit else None
    return People(tuple(some[:limit]), more)


OfPerson = Callable[[int], Mapping[str, int]]  # `Service.person`.


@long_read
def show(now: float, name: str, count: OfPerson | None = None) -> Person:
    """Read the user `name`, with the service's counts by `count`; NoSuchPerson if unknown."""
    row = _find(name, lambda stored: rows(_people().where(User.name == stored)))
    person = _person(row, now)
    return replace(person, counts=dict(count(person.id)) if count else {})


def _people() -> Any:
    sessions = Session.select(peewee.fn.COUNT(Session.digest)).where(Session.user == User.id)
    return (
        User.select(
            *(User.id, User.name, User.created, User.seen),
            *(Place.user, Place.away, Place.server, Server.host, Server.port),
            *(Suspension.since, Suspension.until, Suspension.reason),
            sessions,
        )
        .join(Place, peewee.JOIN.LEFT_OUTER, on=(Place.user == User.id))
        .join(Server, peewee.JOIN.LEFT_OUTER, on=(Place.server == Server.id))
        .join(Suspension, peewee.JOIN.LEFT_OUTER, on=(Suspension.user == User.id))
    )


def _person(row: tuple[Any, ...], now: float) -> Person:
    id, name, created, seen, placed, away, server, host, port, since, until, reason, sessions = row
    suspended = since is not None and (until is None or until > now)
    return Person(
        id=id,
        name=name,
        created=created,
        seen=seen,
        online=placed is not None,
        away=placement.is_row_away(server, away),
        server=server,
        address=str(Address(host or "", port)) if port else None,
        sessions=sessions,
        suspended=Suspended(since, until, reason) if suspended else None,
    )


# --- what operators do; each function raises NoSuchPerson for an unknown name ---


def set_password(by: By, name: str, password_hash: str) -> ActionResult:
    """Replace the user's password by one with this hash; all sessions end."""
    person = _locked(name)
    User.update(password_hash=password_hash).where(User.id == person.id).execute()
    return _end_sessions(by, person, PASSWORD)


def suspend(by: By, name: str, until: float | None = None, reason: str = "") -> ActionResult:
    """Suspend the user `until` then (seconds since the epoch; None: until `resume`), for a `reason`
    of at most `MOST_REASON` characters; all sessions end. This replaces an earlier suspension."""
    person, reason = _locked(name), reason[:MOST_REASON]
    Suspension.insert(
        user=person.id, since=by.now, until=until, reason=reason
    ).on_conflict_replace().execute()
    how = "until resumed"
    if until is not None:
        how = f"until {datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return _end_sessions(by, person, SUSPEND, f"{how}: {reason}" if reason else how)


def resume(by: By, name: str) -> ActionResult:
    """Let the user log in again; NotSuspended if the user can already, at the time in `by`."""
    person = _locked(name)
    there = rows(Suspension.select(Suspension.until).where(Suspension.user == person.id))
    if not there or (there[0][0] is not None and there[0][0] <= by.now):
        raise NotSuspended()
    Suspension.delete().where(Suspension.user == person.id).execute()
    fleet_admin.record(by, RESUME, person=person.name)
    return ActionResult(person.name, 0)


def kick(by: By, name: str) -> ActionResult:
    """End all sessions of the user, who can log in again."""
    return _end_sessions(by, _locked(name), KICK)


def delete(
    by: By, name: str, on_delete: Callable[[int], int] | None = None
) -> tuple[ActionResult, int | None]:
    """Remove the account as the user's own `delete` does: in parts, if there is much. All sessions
    end with the first part.

    :param on_delete: the service's; see `bbs.rules.accounts.delete`.
    :returns: the result; and None, or the argument of `go_on_deleting`, to be called until that
        returns True.
    """
    person = _locked(name)
    done = _end_sessions(by, person, DELETE)
    removed = accounts.delete(person, on_delete, begun=True)
    return done, None if removed else person.id


def go_on_deleting(user: int, on_delete: Callable[[int], int] | None = None) -> bool:
    """Remove another part of an account that is being deleted; returns whether it is gone. This
    uses the id, as the user may have deleted the account, and another user have the name."""
    found = rows(User.select(User.name, User.channel, User.seen).where(User.id == user))
    return not found or accounts.delete(_as_caller(user, *found[0]), on_delete, begun=True)


@statement
def _named_locked(name: str) -> peewee.Select:
    return for_update(
        User.select(User.id, User.name, User.channel, User.seen).where(User.name == name)
    )


def _named(name: str) -> list[Row]:
    columns = (User.id, User.name, User.channel, User.seen)
    return rows(User.select(*columns).where(User.name == name))


def _locked(name: str) -> Caller:
    """Lock the user `name` until the transaction ends: against logins and other operators."""
    return _as_caller(*_find(name, _named_locked))


def caller_named(name: str, now: float, *, locked: bool = True) -> Caller:
    """A caller for a rule that an operator runs in the place of the user `name`, at `now` (seconds
    since the epoch).

    :param locked: whether the user is locked until the transaction ends.
    :raises NoSuchPerson: nobody has this name.
    """
    user, stored, channel, _ = _find(name, _named_locked if locked else _named)
    return Caller(user, stored, channel, now)


def _as_caller(user: int, name: str, channel: str, seen: float | None) -> Caller:
    """A caller for a user in whose place an operator acts: `seen` must stay as it was."""
    return Caller(user, name, channel, seen or 0.0)


def _find(name: str, read: Callable[[str], list[Row]]) -> Row:
    """Find a row with `name` in its second column. The name in the row is compared again: MySQL
    ignores trailing blanks, and a command line does not strip them."""
    stored = as_stored(name) if _is_text(name) else None
    found = read(stored) if stored is not None else []
    if not found or found[0][1] != stored:
        raise NoSuchPerson()
    return found[0]


def _end_sessions(by: By, person: Caller, action: str, detail: str | None = None) -> ActionResult:
    """Log the user out, record the act, and store a notice for the servers."""
    count = Session.delete().where(Session.user == person.id).execute()
    placement.give_back(person.id)
    fleet_admin.record(by, action, person=person.name, detail=detail)
    OutboxEntry.insert(channel=person.channel).execute()
    return ActionResult(person.name, count)


def _is_text(text: str) -> bool:
    """Whether `text` can be encoded: one from a shell or from JSON may have lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
