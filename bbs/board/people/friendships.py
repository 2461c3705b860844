"""Friendships, from invitation to end, and which friends are online."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import peewee

from bbs.board import inboxes
from bbs.board.lists import LENGTHS, chunks, padded
from bbs.board.people import blocks, errors, heard, relationships
from bbs.board.people.tables import STATUS_LENGTH, Relationship, Status, Told
from bbs.board.posts.tables import PostRow
from bbs.framework import (
    Caller,
    Page,
    Part,
    Place,
    User,
    is_here,
    last_use,
    paged,
    read_only,
    setting,
)
from bbs.framework.fast import (
    ListCall,
    asks,
    bulk,
    by_index,
    gathered,
    has_round_trips,
    statement,
    together,
)
from bbs.framework.limits import Rate, costs, price_of
from bbs.framework.names import as_stored

FRIENDS = setting(1000, "of a user", minimum=0, share="all: it is nobody else's")
INVITATIONS = setting(
    Rate.parse("60/hour"), "people whom a user may invite", share="all: it is nobody else's"
)
"""Keys of `[limits]`."""

MOST_INVITATIONS = 100  # unanswered invitations of one user, and of others to one user

PRICE_OF_INVITING = 2
"""Commands that an invitation costs, to a group too: it takes 15 statements, twice as many as most
commands that write."""

SHARE_OF_INVITATIONS = MOST_INVITATIONS // 4
"""Those of people whom the invited has declined before: they cannot take all the room again that
the invited has made."""

MOST_DECLINED = 3
"""How often the same person may be declined: they invite no more then until that is forgotten. Who
declines twice, by mistake or for a while, may be invited a third time and accept."""

FORGOTTEN_AFTER, FORGOTTEN_AT_ONCE = 86_400.0, 256
"""Seconds until it is forgotten when somebody was told or declined, as long as the longest period
of a rate, and how many of these one transaction removes."""

DECLINED_AT_ONCE = 1024
"""Invitations that one `decline-all` removes. There are no more than 100 now, but older servers
have let any number wait."""

ONLINE, OFFLINE = "online", "offline"
"""The phases of a position in `who`: friends online come first."""

HERE, AWAY, OUT = "here", "away", "out"
"""The states in `who`: here, with a session alone, and without any."""

MOST_TOLD = 100  # Friends who are told of a new status.

_CONTROLS = ("Cc", "Zl", "Zp")  # Categories of characters that no status has.

MOST_LISTED = 2000
"""Friends of several callers that one query finds, as the database reads all of them to group them.
With more, one query for each caller reads as many as the reply has."""

AROUND = 96
"""Bytes of a friend on the wire in addition to the name and the status: 76 for the other members
and their names, 18 for a time."""


@dataclass(frozen=True)
class Notification:
    """An event for people who listen on `channel` and have asked for such events. `servers` are
    those of their places, if they are known."""

    channel: str
    event: Mapping[str, object]
    servers: tuple[str | None] | None = None


@costs(commands=PRICE_OF_INVITING)
@asks(relationships.correspondent)
def invite(caller: Caller, name: str) -> Notification | None:
    """Invite `name` to be a friend; returns the notification for them, unless they were told of
    one of that name lately, or of many (`bbs.board.people.heard`)."""
    [(other, channel, stands, _, blocked_by, server, blocked)] = relationships.correspondent(
        caller, as_stored(name)
    )
    if other is None:
        raise errors.NoSuchUser(name)
    if other == caller.id:
        raise errors.InvitesSelf()
    if blocked_by is not None:
        raise errors.TakesNothing(name)
    if blocked is not None:
        raise errors.YouHaveBlocked(name)
    if stands == Relationship.FRIEND:
        raise errors.AlreadyFriends(name)
    if stands == Relationship.INVITED:
        raise errors.AlreadyInvited()
    if stands == Relationship.INVITED_BY:
        raise errors.InvitedBy(name)
    inboxes.lock([caller.id, other])
    blocks.check(caller, other, name)
    telling = _check_invitation(caller, other, name)
    _relate(caller.id, Relationship.INVITED, other, Relationship.INVITED_BY, *telling.notes)
    if not telling.is_due:
        return None
    text = f"{caller.name} invites you"
    event = {"event": "invite", "from": caller.name, "text": text}
    return Notification(channel, event, (server,))


@asks(relationships.correspondent)
def accept(caller: Caller, name: str) -> Notification:
    """Accept the invitation of `name`; returns the notification for them."""
    [(other, channel, stands, *_, server, _)] = relationships.correspondent(caller, as_stored(name))
    if stands != Relationship.INVITED_BY:
        raise errors.NotInvitedBy(name)
    inboxes.lock([caller.id, other])
    [[(newest,)]] = _check_room(caller, other, name, _newest_post.of())
    if not relationships.end(caller.id, Relationship.INVITED_BY, other, Relationship.INVITED):
        # Another connection has accepted the invitation meanwhile.
        raise errors.NotInvitedBy(name)
    # New rows, whose ids give the friendship its place in the order.
    # An inviter who was accepted is heard again when the friendship has ended.
    told = (_forget_pair.of(other, caller.id), heard.forget_name(caller.id, name))
    # What either posted before counts as read; whoever posts needs the lock on the inbox first.
    read = newest or 0
    _relate(caller.id, Relationship.FRIEND, other, Relationship.FRIEND, *told, read=read)
    text = f"{caller.name} is your friend now"
    event = {"event": "friend", "with": caller.name, "text": text}
    return Notification(channel, event, (server,))


@asks(relationships.correspondent)
def decline(caller: Caller, name: str) -> None:
    """Decline the invitation of `name`, who hears nothing of it, and may invite again, less than
    `MOST_DECLINED` times."""
    if not _end(caller, name, Relationship.INVITED_BY, Relationship.INVITED, _note_declined):
        raise errors.NotInvitedBy(name)


class Declined(NamedTuple):
    """How many invitations were declined."""

    number: int

    def price(self) -> int:
        """A command for each 50 invitations that are declined: each is a row of both."""
        return price_of(0, 2 * self.number)


@costs(commands=Declined.price)
def decline_all(caller: Caller) -> Declined:
    """Decline all invitations, `DECLINED_AT_ONCE` at the most; nobody hears of it."""
    inboxes.lock([caller.id])
    inviters = sorted([other for (other,) in _inviters(caller.id, DECLINED_AT_ONCE)])
    for several in map(padded, chunks(inviters, LENGTHS[-1])):
        together(
            _remove_from.of(caller.id, Relationship.INVITED_BY, several),
            _remove_to.of(several, Relationship.INVITED, caller.id),
            _note_declined.of(several, caller.id, caller.now),
        )
    return Declined(len(inviters))


@asks(relationships.correspondent)
def unfriend(caller: Caller, name: str) -> None:
    if not _end(caller, name, Relationship.FRIEND, Relationship.FRIEND):
        raise errors.NotFriends(name)


@paged
@read_only
def invitations(caller: Caller, page: Page) -> Part:
    invited = _names(caller.id, Relationship.INVITED_BY, page.last or 0, page.limit)
    return page.part("invite", invited)


@paged
@read_only
@bulk(ListCall)
def friends(calls: Sequence[ListCall]) -> list[Part]:
    if len(calls) > 1 and has_round_trips() and all(page.last is None for _, page in calls):
        users = padded([caller.id for caller, _ in calls])
        found: dict[int, list[Any]] = dict(_all_names(users, Relationship.FRIEND, MOST_LISTED))
        if sum(map(len, found.values())) < MOST_LISTED:
            return [page.part("friend", sorted(found.get(user.id, ()))) for user, page in calls]
    return [
        page.part("friend", _names(user.id, Relationship.FRIEND, page.last or 0, page.limit))
        for user, page in calls
    ]


@paged
@read_only
def who(caller: Caller, page: Page) -> Part:
    """The caller's friends, those online first, each oldest friendship first.

    A friend who comes or goes between two parts may be in the list twice, or not at all.
    """
    phase, last = page.last or (ONLINE, 0)
    found = []
    if phase == ONLINE:
        online = _online(caller.id, Relationship.FRIEND, last, page.limit)
        found = [((ONLINE, row[0]), _online_entry(caller, *row[1:])) for row in online]
        last = 0
    if len(found) < page.limit:
        offline = _offline(caller.id, Relationship.FRIEND, last, page.limit - len(found))
        found += [((OFFLINE, row[0]), _entry(caller, OUT, *row[1:])) for row in offline]
    texts = [entry["id"] + entry["status"] for _, entry in found]
    size = sum([len(text.encode()) + AROUND for text in texts])
    return page.part("friend", found, size=size)


def _online_entry(
    caller: Caller, name: str, seen: float | None, status: str | None, used: float | None
) -> dict[str, Any]:
    state = HERE if is_here(caller.now, seen, used) else AWAY
    return _entry(caller, state, name, seen, status)


def _entry(
    caller: Caller, state: str, name: str, seen: float | None, status: str | None
) -> dict[str, Any]:
    # A time in the future is from a clock that was set since, or from another machine.
    last = None if seen is None else min(seen, caller.now)
    online = state != OUT
    return {"id": name, "online": online, "last": last, "state": state, "status": status or ""}


class NewStatus(NamedTuple):
    """The event of a new status, and the channels of friends who are online, each with the
    server of the place. No channels if the status is as before."""

    event: Mapping[str, object]
    channels: Sequence[tuple[str, str | None]]

    def price(self) -> int:
        """A delivery for each friend who is told."""
        return len(self.channels)


@costs(deliveries=NewStatus.price)
def set_status(caller: Caller, text: str = "") -> NewStatus:
    """Set what `who` shows of the caller to friends, or clear it without a `text`. Returns whom to
    tell, `MOST_TOLD` friends at the most.

    :raises InvalidStatus: the text is too long, or has control characters.
    """
    text = text.strip()
    if len(text) > STATUS_LENGTH or any(unicodedata.category(each) in _CONTROLS for each in text):
        raise errors.InvalidStatus(STATUS_LENGTH)
    before, friends = together(
        _status.of(caller.id), _to_tell.of(caller.id, Relationship.FRIEND, MOST_TOLD)
    )
    said = f"{caller.name}'s status: {text}" if text else f"{caller.name} has cleared the status"
    event = {
        "event": "status",
        "from": caller.name,
        "status": text,
        "text": said,
        "time": caller.now,
    }
    if [(text,)] == before or not (text or before):
        return NewStatus(event, ())
    _set_status(caller.id, text) if text else _clear_status(caller.id)
    return NewStatus(event, friends)


def forget_told(now: float) -> int:
    """Forget when people were told of invitations, `FORGOTTEN_AT_ONCE` of them, if that no longer
    matters; returns how many."""
    old = [number for (number,) in _told_before(now - FORGOTTEN_AFTER, FORGOTTEN_AT_ONCE)]
    if old:
        _forget_told(padded(old))
    return len(old)


def _end(caller: Caller, name: str, kind: str, others_kind: str, note: Any = None) -> bool:
    """End a relationship of the caller with `name`, and `note` that; returns whether there was
    one."""
    [(other, _, stands, *_)] = relationships.correspondent(caller, as_stored(name))
    if stands != kind:
        return False
    inboxes.lock([caller.id, other])
    notes = [note.of([other], caller.id, caller.now)] if note else []
    return relationships.end(caller.id, kind, other, others_kind, *notes)


class Telling(NamedTuple):
    """The statements that note an invitation, and whether the other `is_due` to be told of it."""

    notes: Sequence[Any]
    is_due: bool


def _check_invitation(caller: Caller, other: int, name: str) -> Telling:
    """Refuse an invitation that is one too many; returns what is noted of it."""
    told, lately, heard_of, invited, invited_by = _check_room(
        caller,
        other,
        name,
        *looks_at_telling(caller, other),
        _one_of_many.of(caller.id, Relationship.INVITED, MOST_INVITATIONS - 1),
        _one_of_many.of(other, Relationship.INVITED_BY, MOST_INVITATIONS - 1),
    )
    if invited:
        raise errors.TooManyInvitations()
    if invited_by or (told and _is_declined(other, told[0][-1])):
        raise errors.HasTooManyInvitations(name)
    return telling(caller, other, told, lately, heard_of)


def _is_declined(user: int, times: int) -> bool:
    """Whether somebody whom `user` has declined so many times may not invite them now."""
    return times >= MOST_DECLINED or (
        times > 0
        and bool(_one_of_declined(user, Relationship.INVITED_BY, SHARE_OF_INVITATIONS - 1))
    )


def looks_at_telling(caller: Caller, other: int) -> list[Any]:
    """Three statements whose results `telling` takes."""
    rate, now = caller.quotas.invitations, caller.now
    return [
        _told.of(caller.id, other),
        # Times ahead are from a clock that was set back since, or from another machine.
        _lately.of(caller.id, now - rate.period, now + rate.period),
        heard.look(caller, other),
    ]


def telling(
    caller: Caller,
    other: int,
    told: Sequence[Any],
    lately: Sequence[Any],
    heard_of: Sequence[Any],
) -> Telling:
    """What is noted of an invitation, of which the other is told, unless they were told of another
    of the caller's within `heard.QUIET`, or of many from the caller's network.

    :raises InvitesTooMany: the caller has made as many invitations as the quota allows.
    """
    rate, now = caller.quotas.invitations, caller.now
    if int(lately[0][0] or 0) >= rate.count:
        raise errors.InvitesTooMany()
    is_due = heard.is_due(caller, heard_of)
    notes = [heard.note(caller, other)] if is_due else []
    if not told:
        return Telling([_tell.of(caller.id, other, now), *notes], is_due)
    number, at, times, last, _ = told[0]
    # Those before count less the longer ago they were, as they have one time for all.
    share = max(0.0, 1.0 - abs(now - max(at, last or at)) / rate.period)
    times = 1 + int(times * share)
    # Servers of version 7 note here alone that they told somebody.
    if is_due and abs(now - at) < heard.QUIET:
        is_due, notes = False, []
    return Telling([_tell_again.of(number, now if is_due else at, times, now), *notes], is_due)


def _check_room(caller: Caller, other: int, name: str, *looks: Any) -> list[Any]:
    """Refuse if the caller or the other, called `name`, may have no more friends; returns the
    results of `looks`, other statements."""
    most = caller.quotas.friends
    own, others, *found = together(
        _one_of_many.of(caller.id, Relationship.FRIEND, max(0, most - 1)),
        _one_of_many.of(other, Relationship.FRIEND, max(0, most - 1)),
        *looks,
    )
    if own or not most:
        raise errors.TooManyFriends()
    if others:
        raise errors.HasTooManyFriends(name)
    return found


def _relate(user: int, kind: str, other: int, others_kind: str, *notes: Any, read: int = 0) -> None:
    """Relate two people, who have read each other's posts up to the id `read`, and execute the
    statements `notes`."""
    # In one order for both sides: two people who invite each other at once meet at the unique key,
    # and do not lock each other's row.
    added = sorted([(user, other, kind, read), (other, user, others_kind, read)])
    together(_add.of_each(added), *notes)


@statement
def _add(user: int, other: int, kind: str, read: int) -> peewee.Insert:
    return Relationship.insert(user=user, other=other, kind=kind, read=read)


@statement
def _newest_post() -> peewee.Select:
    return PostRow.select(peewee.fn.MAX(PostRow.id))


@statement
def _inviters(user: int, limit: int) -> peewee.Select:
    own = (Relationship.user == user) & (Relationship.kind == Relationship.INVITED_BY)
    return Relationship.select(Relationship.other).where(own).limit(limit)


@statement
def _remove_from(user: int, kind: str, others: Sequence[int]) -> peewee.Delete:
    own = (Relationship.user == user) & (Relationship.kind == kind)
    return Relationship.delete().where(own & Relationship.other.in_(others))


@statement
def _remove_to(users: Sequence[int], kind: str, other: int) -> peewee.Delete:
    theirs = Relationship.user.in_(users) & (Relationship.kind == kind)
    return Relationship.delete().where(theirs & (Relationship.other == other))


@statement
def _told(user: int, other: int) -> peewee.Select:
    columns = (Told.id, Told.at, Told.times, Told.last, Told.declined)
    return Told.select(*columns).where((Told.user == user) & (Told.other == other))


@statement
def _lately(user: int, since: float, until: float) -> peewee.Select:
    """How many invitations of the user's count in this time. There are few rows: each is somebody
    whom the user invited within a day."""
    moments = [(each > since) & (each < until) for each in (Told.at, Told.last)]
    lately = (Told.user == user) & (moments[0] | moments[1])
    return by_index(Told.select(peewee.fn.SUM(Told.times)).where(lately), Told.user, Told.other)


@statement
def _tell(user: int, other: int, now: float) -> peewee.Insert:
    return Told.insert(user=user, other=other, at=now)


@statement
def _tell_again(number: int, at: float, times: int, now: float) -> peewee.Update:
    return Told.update(at=at, times=times, last=now).where(Told.id == number)


@statement
def _note_declined(users: Sequence[int], other: int, now: float) -> peewee.Update:
    declined = Told.update(declined=Told.declined + 1, last=now)
    return declined.where(Told.user.in_(users) & (Told.other == other))


@statement
def _one_of_declined(user: int, kind: str, before: int) -> peewee.Select:
    """Somebody who has invited the user after the user had declined them, if there are more than
    `before`."""
    told = (Told.user == Relationship.other) & (Told.other == Relationship.user)
    invited = Relationship.select(Relationship.id).join(Told, on=told)
    own = (Relationship.user == user) & (Relationship.kind == kind) & (Told.declined > 0)
    return invited.where(own).limit(1).offset(before)


@statement
def _forget_pair(user: int, other: int) -> peewee.Delete:
    return Told.delete().where((Told.user == user) & (Told.other == other))


@statement
def _told_before(moment: float, limit: int) -> peewee.Select:
    is_over = (Told.at < moment) & (Told.last.is_null() | (Told.last < moment))
    return Told.select(Told.id).where(is_over).limit(limit)


@statement
def _forget_told(numbers: Sequence[int]) -> peewee.Delete:
    return Told.delete().where(Told.id.in_(numbers))


@statement
def _one_of_many(user: int, kind: str, before: int) -> peewee.Select:
    """A relationship of the user's, if there are more than `before`: no longer list is read."""
    return (
        Relationship.select(Relationship.id)
        .where((Relationship.user == user) & (Relationship.kind == kind))
        .limit(1)
        .offset(before)
    )


@statement
def _names(user: int, kind: str, last: int, limit: int) -> peewee.Select:
    people = Relationship.select(Relationship.id, User.name)
    return _related(people.join(User, on=(Relationship.other == User.id)), user, kind, last, limit)


@statement
def _all_names(users: Sequence[int], kind: str, limit: int) -> peewee.Select:
    """The whole lists of several users, `limit` entries in all."""
    some = (
        Relationship.select(Relationship.user, Relationship.id, User.name)
        .join(User, on=(Relationship.other == User.id))
        .where(Relationship.user.in_(users) & (Relationship.kind == kind))
        .limit(limit)
        .alias("some")
    )
    entries = gathered(some.c.id, some.c.name)
    found: peewee.Select = Relationship.select(some.c.user_id, entries).from_(some)
    return found.group_by(some.c.user_id)


@statement
def _status(user: int) -> peewee.Select:
    return Status.select(Status.text).where(Status.user == user)


@statement
def _set_status(user: int, text: str) -> peewee.Insert:
    replaced: peewee.Insert = Status.insert(user=user, text=text).on_conflict_replace()
    return replaced


@statement
def _clear_status(user: int) -> peewee.Delete:
    return Status.delete().where(Status.user == user)


@statement
def _to_tell(user: int, kind: str, limit: int) -> peewee.Select:
    """The channels of friends who are online, each with the server of the place."""
    people = Relationship.select(User.channel, Place.server)
    placed = people.join(Place, on=(Place.user == Relationship.other))
    named = placed.join_from(Relationship, User, on=(User.id == Relationship.other))
    own = (Relationship.user == user) & (Relationship.kind == kind)
    return named.where(own).order_by(Relationship.id).limit(limit)


@statement
def _online(user: int, kind: str, last: int, limit: int) -> peewee.Select:
    people = Relationship.select(Relationship.id, User.name, User.seen, Status.text, last_use())
    placed = people.join(Place, on=(Place.user == Relationship.other))
    return _related(_named(placed), user, kind, last, limit)


@statement
def _offline(user: int, kind: str, last: int, limit: int) -> peewee.Select:
    people = Relationship.select(Relationship.id, User.name, User.seen, Status.text)
    placed = people.left_outer_join(Place, on=(Place.user == Relationship.other))
    return _related(_named(placed), user, kind, last, limit).where(Place.user.is_null())


def _named(people: Any) -> Any:
    """With their names and statuses."""
    named = people.join_from(Relationship, User, on=(User.id == Relationship.other))
    by_user = Status.user == Relationship.other
    return named.join_from(Relationship, Status, peewee.JOIN.LEFT_OUTER, on=by_user)


def _related(people: Any, user: int, kind: str, last: int, limit: int) -> peewee.Select:
    own = (Relationship.user == user) & (Relationship.kind == kind) & (Relationship.id > last)
    found: peewee.Select = people.where(own).order_by(Relationship.id).limit(limit)
    return found
