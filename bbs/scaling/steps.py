"""What the fleet's keeper does about a step of the plan.

Each decision is one transaction, which checks the lease again; then the provider is asked. Ends
take their time in the background: nobody else waits for a server that is slow to die.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.bus import Bus
from bbs.database import Database
from bbs.errors import Unavailable
from bbs.rules import fleet
from bbs.rules.places import Move
from bbs.scaling import plan
from bbs.scaling.interfaces import Instance, IProvider, LaunchFailed
from bbs.scaling.plan import State

_log = Logger()


class Steps:
    """Takes steps for the keeper `me`, and counts the launches that failed in a row.

    :param on_places: called when there may be places for those who wait.
    :param on_change: called when a step wants another look to be taken soon.
    """

    def __init__(
        self,
        me: fleet.Member,
        database: Database,
        provider: IProvider,
        policy: plan.Policy,
        bus: Bus,
        on_places: Callable[[], None],
        on_change: Callable[[], None],
        reactor: Any,
    ) -> None:
        self.failures = 0
        self.last_failure = 0.0
        """When the last of them failed, in seconds since the epoch."""
        self._me = me
        self._database = database
        self._provider = provider
        self._policy = policy
        self._bus = bus
        self._on_places = on_places
        self._on_change = on_change
        self._reactor = reactor
        self._ending: dict[str, Deferred[None]] = {}

    async def take(
        self,
        step: plan.Step,
        rows: Mapping[str, fleet.ServerSeen],
        instances: Mapping[str, Instance],
    ) -> None:
        """Take `step`; the plan was made from `rows` and the provider's `instances`, by id."""
        run, me, now = self._database.run, self._me, self._reactor.seconds()
        match step:
            case plan.Launch(count):
                ids = await run(
                    fleet.add_launches,
                    me,
                    count,
                    self._provider.scope,
                    self._policy.capacity,
                    self._policy.maximum,
                    now,
                )
                _log.info("launching {count} servers", count=len(ids))
                await self.launch(ids)
            case plan.MarkReady(id):
                host = instances[id].host if id in instances else None
                moves = await run(fleet.mark_ready, me, id, host, now)
                self.failures = 0
                _log.info("server {server} is ready", server=id)
                self.tell(moves)
                self._bus.tell_fleet("ready")
                self._on_places()
            case plan.Lose(id, reason):
                _log.warn("server {server} is lost: {reason}", server=id, reason=reason)
                self.tell(await run(fleet.lose, me, id, reason))
                self._on_change()
            case plan.Drain(id, reason):
                drained = await run(fleet.drain, me, id, reason)
                if drained is not None:
                    _log.info("server {server} drains: {reason}", server=id, reason=reason)
                    self.tell(drained)
                    self._on_change()
            case plan.End(id, reason):
                failed = rows[id].state is State.LAUNCHING
                self._begin_end(id, reason, rows[id].created if failed else None)

    async def launch(self, ids: list[str]) -> None:
        """Ask the provider for the launches `ids`, which are written down."""
        asked = [Deferred.fromCoroutine(self._launch_one(id)) for id in ids]
        await gatherResults(asked)

    async def finish(self) -> None:
        """Wait for the ends that are under way."""
        await DeferredList(list(self._ending.values()))

    def tell(self, moves: list[Move]) -> None:
        """Hint to those who listen that they are served elsewhere now."""
        for move in moves:
            if move.seat:
                address = move.seat.address.as_json()
                self._bus.tell_user(move.channel, {"event": "moved", "app_server": address})

    async def _launch_one(self, id: str) -> None:
        try:
            await self._provider.launch(id)
        except LaunchFailed as error:
            _log.error("server {server} was not launched: {reason}", server=id, reason=str(error))
            self._begin_end(id, f"failed: {error}", self._reactor.seconds())

    def _begin_end(self, id: str, reason: str, launched: float | None) -> None:
        """End a server, in the background: it may take seconds, for which nobody else waits.

        `launched` is when a launch began that has failed, None for a server that had served.
        """

        def ended(result: object) -> None:
            del self._ending[id]
            if isinstance(result, Failure) and not result.check(Unavailable, fleet.NotKeeper):
                _log.failure("server {server} was not ended", failure=result, server=id)
            self._on_change()

        if id not in self._ending:
            self._ending[id] = Deferred.fromCoroutine(self._end(id, reason, launched))
            self._ending[id].addBoth(ended)

    async def _end(self, id: str, reason: str, launched: float | None) -> None:
        await self._provider.terminate(id)
        now = self._reactor.seconds()
        self.tell(await self._database.run(fleet.close, self._me, id, reason[:200], now))
        if launched is not None and launched >= self.last_failure:
            # Of launches made together the first counts for all.
            self.failures += 1
            self.last_failure = now
        _log.info("server {server} is gone: {reason}", server=id, reason=reason)
