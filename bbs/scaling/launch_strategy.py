"""Keeps the way in which each launch is asked for, if its provider has several (`IHasWays`). A
launch's row says its way before the provider is asked, and again before another way is tried."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import cast

from twisted.internet.defer import Deferred

from bbs.errors import Unavailable
from bbs.rules import keeping
from bbs.rules.servers import ServerRow
from bbs.scaling.context import FleetContext
from bbs.scaling.interfaces import IHasWays, LaunchFailed, ProviderUnavailable
from bbs.values import State


class LaunchStrategies:
    """The ways of the launches of `context.provider`, as long as this login server keeps the
    fleet."""

    def __init__(self, context: FleetContext) -> None:
        able = IHasWays.providedBy(context.provider)
        self._provider = cast("IHasWays", context.provider) if able else None
        self._scope = context.provider.scope
        self._run = context.database.run
        self._me = context.me
        self._lost: set[str] = set()
        """Launches that are given up, and of which a machine may have to be found."""
        if self._provider:
            self._provider.write_way = self._write

    def first(self, count: int, pooled: bool = False) -> Sequence[str]:
        """The way of each of `count` launches to come; empty if the provider has only one way."""
        return self._provider.ways(count, pooled) if self._provider else ()

    def know(self, ways: Mapping[str, str], asked: Collection[str] = ()) -> None:
        """Tell the provider which ways are written down, by launch id. Another controller may have
        asked for those in `asked`."""
        if self._provider:
            self._provider.know_ways(ways, asked)

    def read(self, launches: Collection[ServerRow], sure: Collection[str]) -> None:
        """Tell the provider the ways of all launches that it may be asked for, from their rows.
        Nobody else can have asked for those that are `sure`."""
        ours = {row.id: row.way for row in launches if row.way and row.scope == self._scope}
        self._lost = {row.id for row in launches if row.state is State.LOST}
        self.forget(ours)
        self.know(ours, ours.keys() - set(sure))

    def forget(self, kept: Collection[str] = ()) -> None:
        """Forget the ways of all launches but those `kept`."""
        if self._provider:
            self._provider.forget_ways(kept)

    def _write(self, launch_id: str, before: str | None, way: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._written(launch_id, before, way))

    async def _written(self, launch_id: str, before: str | None, way: str) -> None:
        try:
            if await self._run(keeping.note_way, self._me, launch_id, before, way):
                return
            if launch_id in self._lost:
                # The ways before have been refused, or are unknown by now, which does not change.
                raise LaunchFailed("it is given up, and not asked for in another way")
        except (Unavailable, keeping.NotKeeper):
            pass
        raise ProviderUnavailable("another way to launch it could not be written down")
