"""Work in the background: its lease, when each piece of it ran last, and events that rules tell."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple, ParamSpec, TypeVar

from bbs.core.values import RESERVED_EVENTS
from bbs.rules import accounts
from bbs.rules.membership import LeaseSeen, Member, seen_lease
from bbs.storage.database import for_update
from bbs.storage.models import BackgroundJob, Lease, OutboxEntry

P = ParamSpec("P")
T = TypeVar("T")

LEASE = "background"  # Its name.

MOST_TOLD = 60_000  # characters, all of ASCII, of an event that a rule tells: a column's on MySQL

EARLY = 0.01
"""Seconds by which a run may come early: clocks of servers differ, and timers are not exact."""


class NotHolder(Exception):
    """Another server holds the lease."""


def renew(me: Member) -> LeaseSeen:
    """Renew the lease if `me` holds it, and return it; one of nobody if it is free."""
    own = (Lease.name == LEASE) & (Lease.holder == me.id)
    Lease.update(beats=Lease.beats + 1).where(own).execute()
    return seen_lease(LEASE) or LeaseSeen("", "", 0)


def take(me: Member) -> bool:
    """Take the lease if it is free; False if another server has just done so."""
    row = {"name": LEASE, "holder": me.id, "identity": me.identity}
    Lease.insert(**row).on_conflict_ignore().execute()
    lease = seen_lease(LEASE)
    return lease is not None and lease.holder == me.id


def take_over(me: Member, lapsed: LeaseSeen) -> bool:
    """Take the lease from a holder whose lease is still as `lapsed`; False if it has changed."""
    is_unchanged = (Lease.name == LEASE) & (Lease.holder == lapsed.holder)
    is_unchanged &= Lease.beats == lapsed.beats
    row = {"holder": me.id, "identity": me.identity, "beats": lapsed.beats + 1}
    return bool(Lease.update(**row).where(is_unchanged).execute())


def release(me: Member) -> None:
    """Free the lease, if `me` holds it."""
    Lease.delete().where((Lease.name == LEASE) & (Lease.holder == me.id)).execute()


class Claim(NamedTuple):
    """Whether a job `is_due`, and the seconds until it is due next."""

    is_due: bool
    pause: float


def claim(me: Member, job: str, seconds: float, now: float) -> Claim:
    """Note that a job, which is to run every so many `seconds`, runs `now` (seconds since the
    epoch), if it is due.

    :raises NotHolder: `me` does not hold the lease.
    """
    _check(me)
    last = BackgroundJob.get_or_none(BackgroundJob.name == job)
    due = now if last is None else last.ran + seconds
    if now < due - EARLY and now >= due - seconds:  # A clock that was set back is no reason.
        return Claim(False, due - now)
    # The next run keeps to the interval, unless runs were missed.
    ran = due if 0 <= now - due < seconds else now
    BackgroundJob.insert(name=job, ran=ran).on_conflict_replace().execute()
    return Claim(True, ran + seconds - now)


def fenced(me: Member, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Call a rule while `me` holds the lease.

    :raises NotHolder: `me` does not hold it.
    """
    _check(me)
    return rule(*arguments, **keywords)


def tell_soon(channel: str, event: Mapping[str, object]) -> None:
    """Have the connections that listen to `channel` told `event` within a second of the end of the
    transaction, if it is stored: for rules that no command calls, such as a sweep, and so have no
    `Ask.tell`. What is said there of channels and events holds here.

    :raises ValueError: the channel is malformed, the event has no name or one of the framework's
        own, is not JSON, or has more than 60,000 characters of JSON with the channel.
    """
    name = event.get("event")
    if not isinstance(name, str) or not name or name in RESERVED_EVENTS:
        raise ValueError(f"a service cannot have an event with the name {name!r}")
    if not accounts.CHANNEL.fullmatch(channel):
        raise accounts.not_a_channel(channel)
    try:
        told = json.dumps([channel, event], allow_nan=False)
    except TypeError as error:
        raise ValueError(f"the event {name} is not JSON: {error}") from error
    if len(told) > MOST_TOLD:
        raise ValueError(f"the event {name} is longer than {MOST_TOLD} characters of JSON")
    # The release of 0.4.0 knows the column `channel` alone: nobody hears this one.
    OutboxEntry.insert(channel="none", event=told).execute()


def _check(me: Member) -> None:
    """Lock the lease, so that nobody takes it over before the end of the transaction."""
    lease = Lease.select(Lease.holder).where(Lease.name == LEASE)
    if [*for_update(lease).tuples()] != [(me.id,)]:
        raise NotHolder()
