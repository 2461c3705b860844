"""What operators see of people, and do to them.

They see who there is and how much of what, and never a text. What they do is recorded by the
transaction that does it, and so is the notice by which the servers come to hear of it: whoever
keeps the fleet takes it (`bbs.scaling.events`). Two operators who act on one person at the same
moment do it one after the other, as both lock that person's row first.
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
from bbs.rules.names import as_stored, normalized
from bbs.storage.database import for_update, long_read, rows
from bbs.storage.models import OutboxEntry, Place, Server, Session, Suspension, User
from bbs.storage.statements import statement

PASSWORD, SUSPEND, RESUME, KICK, DELETE = "password", "suspend", "resume", "kick", "delete"
"""The actions, as `Action` has them."""

PEOPLE_AT_ONCE = 100
"""People in one part of a list, unless more or fewer are asked for."""

MOST_REASON = 200
"""Characters of the reason for a suspension that are kept."""


LONGEST = 3650 * 86400.0
"""Seconds of the longest suspension that has an end: calendars end, too."""


class NoSuchPerson(Exception):
    """Nobody has this name."""


class NotSuspended(Exception):
    """There is no suspension to end."""


@dataclass(frozen=True)
class Suspended:
    """Who is kept from logging in: `since` and `until` when (seconds since the epoch; None: until
    operators resume the account), and why, in words for operators alone."""

    since: float
    until: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody with an account, since `created`; `seen` is when the person last asked something
    (both seconds since the epoch), None where that is not known.

    Who is `online` has `sessions`; who is `away` has no place on a server meanwhile, and needs
    none. `server` is where the place is, at `address`; None for somebody who waits for one.
    `suspended` is None for who may log in. `counts` is what the service counts of one person, by
    name; None where that was not asked for.
    """

    id: int
    name: str
    created: float
    seen: float | None
    online: bool
    away: bool
    server: str | None
    address: str | None
    sessions: int
    suspended: Suspended | None
    counts: Mapping[str, int] | None = None

    @property
    def state(self) -> str:
        """In a word: `online`, `waiting` for a place, `away`, `suspended` or `offline`."""
        if self.online:
            return "online" if self.server else "away" if self.away else "waiting"
        return "suspended" if self.suspended else "offline"


@dataclass(frozen=True)
class People:
    """A part of a list of people, by name; the next begins behind the name `more`, None where
    nobody follows."""

    people: tuple[Person, ...]
    more: str | None


@dataclass(frozen=True)
class Done:
    """What an operator did: to whom, by the name as it is stored, and how many sessions ended."""

    name: str
    sessions: int


# --- what operators see ---


@long_read
def search(
    now: float,
    text: str = "",
    *,
    online: bool = False,
    behind: str = "",
    limit: int = PEOPLE_AT_ONCE,
) -> People:
    """People with `text` in their names, only those who are `online` if so asked, behind the name
    `behind`: `limit` of them at the most, in the order of their names.

    Large and small letters are the same, on SQLite those of ASCII. Without a text the names' index
    has them in order; with one all names behind `behind` are looked at, until there are enough.
    """
    if not (_is_text(text) and _is_text(behind)):
        return People((), None)
    query = _people()
    if behind:
        query = query.where(User.name > behind)
    if text:
        forms = {text, normalized(text)}
        found: Any = peewee.fn.INSTR(peewee.fn.LOWER(User.name), normalized(text).lower()) > 0
        for form in sorted(forms):
            found |= peewee.fn.INSTR(User.name, form) > 0
        query = query.where(found)
    if online:
        # Few are online of many: so the database begins with those.
        query = query.where(User.id.in_(Place.select(Place.user)))
    some = [_person(row, now) for row in rows(query.order_by(User.name).limit(limit + 1))]
    more = some[limit - 1].name if len(some) > limit else None
    return People(tuple(some[:limit]), more)


@long_read
def show(now: float, name: str, count: Callable[[int], Mapping[str, int]] | None = None) -> Person:
    """The person called `name`, with what `count`, the service's, counts of one.

    :raises NoSuchPerson: nobody is called so.
    """
    stored = _stored(name)
    found = rows(_people().where(User.name == stored))
    if not found or found[0][1] != stored:
        raise NoSuchPerson()
    person = _person(found[0], now)
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
        away=placement.says_away(server, away),
        server=server,
        address=str(Address(host or "", port)) if port else None,
        sessions=sessions,
        suspended=Suspended(since, until, reason) if suspended else None,
    )


# --- what they do ---


def set_password(by: By, name: str, password_hash: str) -> Done:
    """Have another password, of this hash, be the person's; all sessions end.

    :raises NoSuchPerson: nobody is called so. So it is with everything that is done.
    """
    person = _locked(name)
    User.update(password_hash=password_hash).where(User.id == person.id).execute()
    return _end_sessions(by, person, PASSWORD)


def suspend(by: By, name: str, until: float | None = None, reason: str = "") -> Done:
    """Nobody logs in as this person `until` then (seconds since the epoch; None: until `resume`),
    for a `reason`, of which `MOST_REASON` characters are kept; all sessions end. It takes the place
    of a suspension that there is."""
    person, reason = _locked(name), reason[:MOST_REASON]
    Suspension.insert(
        user=person.id, since=by.now, until=until, reason=reason
    ).on_conflict_replace().execute()
    how = "until resumed" if until is None else f"until {_utc(until)}"
    return _end_sessions(by, person, SUSPEND, f"{how}: {reason}" if reason else how)


def resume(by: By, name: str) -> Done:
    """Let the person log in again.

    :raises NotSuspended: the person may, by this operator's time.
    """
    person = _locked(name)
    there = rows(Suspension.select(Suspension.until).where(Suspension.user == person.id))
    if not there or (there[0][0] is not None and there[0][0] <= by.now):
        raise NotSuspended()
    Suspension.delete().where(Suspension.user == person.id).execute()
    fleet_admin.record(by, RESUME, person=person.name)
    return Done(person.name, 0)


def kick(by: By, name: str) -> Done:
    """End all sessions of the person, who may log in again."""
    return _end_sessions(by, _locked(name), KICK)


def delete(
    by: By, name: str, on_delete: Callable[[int], int] | None = None
) -> tuple[Done, int | None]:
    """Remove the account as its user's own `delete` does: in parts, where there is much. All
    sessions end with the first.

    :param on_delete: the service's; see `bbs.rules.accounts.delete`.
    :returns: what was done; and None, or what `go_on_deleting` is called with until it says that
        all is done.
    """
    person = _locked(name)
    done = _end_sessions(by, person, DELETE)
    removed = accounts.delete(person, on_delete, begun=True)
    return done, None if removed else person.id


def go_on_deleting(user: int, on_delete: Callable[[int], int] | None = None) -> bool:
    """Remove another part of an account that is being deleted; whether it is gone. By its id, as
    its user may have been quicker, and somebody else have the name."""
    found = rows(User.select(User.name, User.channel, User.seen).where(User.id == user))
    return not found or accounts.delete(_as_caller(user, *found[0]), on_delete, begun=True)


@statement
def _named_locked(name: str) -> peewee.Select:
    query: peewee.Select = for_update(
        User.select(User.id, User.name, User.channel, User.seen).where(User.name == name)
    )
    return query


def _locked(name: str) -> Caller:
    """The person called `name`; until the transaction ends nobody else logs in as that one, or
    does something to them."""
    stored = _stored(name)
    found = _named_locked(stored)
    if not found or found[0][1] != stored:
        raise NoSuchPerson()
    return _as_caller(*found[0])


def _as_caller(user: int, name: str, channel: str, seen: float | None) -> Caller:
    """Somebody in whose place an operator acts: the person was `seen` then, and is not now."""
    return Caller(user, name, channel, seen or 0.0)


def _stored(name: str) -> str:
    """What somebody is called whose name was given as `name`. What is found by it is looked at
    again: to MySQL a name with blanks behind it is the same, and no command line cuts them off."""
    if not _is_text(name):
        raise NoSuchPerson()
    return as_stored(name)


def _end_sessions(by: By, person: Caller, action: str, detail: str | None = None) -> Done:
    """Log the person out, record it, and leave a notice for the servers where the person is."""
    count = Session.delete().where(Session.user == person.id).execute()
    placement.give_back(person.id)
    fleet_admin.record(by, action, person=person.name, detail=detail)
    OutboxEntry.insert(channel=person.channel).execute()
    return Done(person.name, count)


def _utc(seconds: float) -> str:
    """When that is, as the record has it: at no place's own time."""
    at = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    return at.replace("+00:00", "Z")


def _is_text(text: str) -> bool:
    """Whether it can be somebody's name: what a shell or JSON gives may be no characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
