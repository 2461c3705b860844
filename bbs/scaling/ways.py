"""By which way each launch is asked for, where its provider has several (`IHasWays`): written down
with the launch, and again before another way is tried."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import cast

from twisted.internet.defer import Deferred

from bbs.errors import Unavailable
from bbs.rules import keeping
from bbs.rules.members import Member
from bbs.rules.servers import ServerRow
from bbs.scaling.interfaces import IHasWays, IProvider, ProviderUnavailable
from bbs.storage.database import Database


class Ways:
    """Those of `provider`, written down by `me` as long as it keeps the fleet."""

    def __init__(self, provider: IProvider, database: Database, me: Member) -> None:
        able = IHasWays.providedBy(provider)
        self._provider = cast("IHasWays", provider) if able else None
        self._scope = provider.scope
        self._database = database
        self._me = me
        if self._provider:
            self._provider.write_way = self._write

    def first(self, count: int, shelved: bool = False) -> Sequence[str]:
        """The way of each of so many launches to come; none, where there is but one."""
        return self._provider.ways(count, shelved) if self._provider else ()

    def know(self, ways: Mapping[str, str], asked: Collection[str] = ()) -> None:
        """These are written down, by launch id; those `asked` another keeper may have asked for."""
        if self._provider:
            self._provider.know_ways(ways, asked)

    def read(self, launching: Iterable[ServerRow], sure: Collection[str]) -> None:
        """What rows say of all launches that are not known to be made; nobody else can have asked
        for those that are `sure`."""
        ours = {row.id: row.way for row in launching if row.way and row.scope == self._scope}
        self.forget(ours)
        self.know(ours, ours.keys() - set(sure))

    def forget(self, kept: Collection[str] = ()) -> None:
        """All but those that are `kept`."""
        if self._provider:
            self._provider.forget_ways(kept)

    def _write(self, launch_id: str, before: str | None, way: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._written(launch_id, before, way))

    async def _written(self, launch_id: str, before: str | None, way: str) -> None:
        try:
            if await self._database.run(keeping.note_way, self._me, launch_id, before, way):
                return
        except (Unavailable, keeping.NotKeeper):
            pass
        raise ProviderUnavailable("another way to launch it could not be written down")
