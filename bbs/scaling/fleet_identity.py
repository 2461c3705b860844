"""Which fleet a login server is of, found out as it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from bbs.rules import fleets
from bbs.rules.fleets import FleetIdentity
from bbs.scaling.interfaces import IProvider
from bbs.storage.database import Database

LOOK = 0.5
"""Seconds between two looks at heartbeats."""

_log = Logger()


async def find(
    database: Database,
    reactor: IReactorTime,
    wall: Callable[[], float],
    patience: float,
    outlives: bool,
) -> FleetIdentity:
    """Which fleet the login server on `database` is of, whose app servers may outlive it, or not.

    Where that is not where it was, an app server that says within `patience` seconds that it lives
    shows that it has moved, and is no copy.
    """
    beating = False
    if await database.run_patiently(fleets.is_elsewhere):
        before = await database.run_patiently(fleets.beats)
        beating = bool(await _moved(database, reactor, patience, before, None, enough=1))
    fleet: FleetIdentity = await database.run_patiently(fleets.settle, wall(), beating)
    if fleet.copied and fleet.before and outlives:
        _log.warn(
            "this database is a copy of fleet {before}'s, or has been moved: it is fleet {fleet}"
            " now, and what the other has launched is neither counted nor ended, until `fleet"
            " adopt` says that this is {before} itself",
            before=fleet.before.id,
            fleet=fleet.id,
        )
    if outlives:
        _log.info("this is fleet {fleet}", fleet=fleet.id)
    return fleet


async def take_over(
    database: Database,
    provider: IProvider,
    reactor: IReactorTime,
    wall: Callable[[], float],
    patience: float,
) -> None:
    """Have `provider` speak of the servers that a version without ids of fleets launched, of those
    that say within `patience` seconds that they live: of others it is not known whose they are."""
    former: str = getattr(provider, "former_scope", "")
    if not former:
        return
    before = await database.run_patiently(fleets.beats, former)
    live = await _moved(database, reactor, patience, before, former, enough=len(before))
    if live:
        count = await database.run_patiently(fleets.take_over, former, provider.scope, live, wall())
        _log.info("{count} servers of before are this fleet's", count=count)


async def _moved(
    database: Database,
    reactor: IReactorTime,
    patience: float,
    before: Mapping[str, int],
    scope: str | None,
    enough: int,
) -> set[str]:
    """Those of `before` that have said that they live since: `enough` of them, or those that do
    within `patience` seconds."""
    moved: set[str] = set()
    end = reactor.seconds() + patience
    while len(moved) < min(enough, len(before)) and reactor.seconds() < end:
        slept: Deferred[None] = deferLater(reactor, LOOK, lambda: None)
        await slept
        now = await database.run_patiently(fleets.beats, scope)
        moved |= {id for id, count in before.items() if now.get(id, count) != count}
    return moved
