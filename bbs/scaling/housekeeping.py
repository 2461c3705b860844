"""Housekeeping: removes what has expired, beside the rounds of the fleet's controller.

Removing millions of rows takes minutes. Small transactions do it, one at a time, and others have as
much time between them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger

from bbs.core.errors import Unavailable
from bbs.rules import fleet_transitions, fleets, page_history
from bbs.scaling.clock_check import ClockCheck
from bbs.scaling.events import FleetContext
from bbs.scaling.interfaces import IFleetController
from bbs.storage.database import long_write
from bbs.storage.partitions import Change, Retention

T = TypeVar("T")

HOUSEKEEPING_INTERVAL = 60.0  # seconds between the beginnings of sweeps for expired rows

SWEEP_PAUSE, LEAST_PAUSE = 1.0, 0.001
"""The pause after a transaction of a sweep: as a share of the time that it took, with its wait for
the database, and in seconds at least. Sweeps therefore take at most half of the database's time,
and less if others want it."""

GONE_KEPT = 86400.0  # seconds for which rows of ended servers are kept, for estimates

Sweep = Callable[[float], int]
"""A rule that removes some rows that have expired by now, in seconds since the epoch: so few that
nobody waits long. Repeated until the rule returns 0."""

_log = Logger()


class Housekeeping(Service):
    """Removes expired rows while this login server's `controller` leads the fleet, and checks that
    the database still belongs to this fleet.

    No round waits for it. Carries out one transaction at a time, taking `sweeps` and the tables of
    `retention` in turn, and gives way to others after each. If the lease is lost, the next one is
    refused.

    :param sweeps: by the kind of what they remove, as the log names it.
    :param check: of the clock: until it is right, nothing is removed.
    """

    def __init__(
        self,
        context: FleetContext,
        sweeps: Mapping[str, Sweep],
        controller: IFleetController,
        retention: Retention | None = None,
        check: ClockCheck | None = None,
    ) -> None:
        self._context = context
        self._sweeps: Mapping[str, Sweep] = {
            **sweeps,
            "ended servers": lambda now: fleet_transitions.forget_gone(now, GONE_KEPT),
            "heartbeats": lambda now: fleet_transitions.forget_heartbeats(),
            "events of the page": lambda now: page_history.forget_old_news(),
        }
        self._controller = controller
        self._check = check
        may_remove = self._may_remove = check.allows if check else lambda: True
        self._removed: Counter[str] = Counter()
        self._partitions = (
            [_PartitionChanges(context, retention, self._carry_out, may_remove, self._removed)]
            if retention
            else []
        )
        self._reactor = context.reactor
        self._next: IDelayedCall | None = None
        self._pause: Deferred[None] | None = None
        self._sweeping: Deferred[None] | None = None

    def startService(self) -> None:
        Service.startService(self)
        self._next = self._reactor.callLater(HOUSEKEEPING_INTERVAL, self._begin)

    def stopService(self) -> Deferred[None] | None:
        """Fires when no transaction is under way."""
        Service.stopService(self)
        if self._next is not None:
            self._next.cancel()
        if self._pause is not None:
            self._pause.cancel()
        return self._sweeping

    def _begin(self) -> None:
        self._next, due = None, self._reactor.seconds() + HOUSEKEEPING_INTERVAL
        self._sweeping = Deferred.fromCoroutine(self._sweep(due))
        self._sweeping.addErrback(
            lambda failure: _log.failure("housekeeping failed", failure=failure)
        )
        self._sweeping.addCallback(lambda _: self._ended(due))

    def _ended(self, due: float) -> None:
        self._sweeping = None
        if self.running:
            self._next = self._reactor.callLater(
                max(0.0, due - self._reactor.seconds()), self._begin
            )

    async def _sweep(self, due: float) -> None:
        """Sweep until nothing that has expired is left, or the next look at everything is due."""
        sweeps = (partial(self._removes_some, *each) for each in self._sweeps.items())
        left: deque[Callable[[], Awaitable[bool]]] = deque([*self._partitions, *sweeps])
        self._removed.clear()
        try:
            if self._controller.is_leader:
                await self._check_fleet()
                if self._check is not None:
                    await self._check.check()
            while left and self._goes_on(due):
                step = left.popleft()
                if await step():
                    left.append(step)
        except Unavailable:
            _log.debug("housekeeping without the database")
        except fleet_transitions.NotLeader:
            pass  # The controller's next round finds out as well.
        finally:
            self._log_removed()

    def _log_removed(self) -> None:
        if self._removed:
            counts = ", ".join(f"{count} {kind}" for kind, count in self._removed.items())
            _log.info("removed what had expired: {counts}", counts=counts)

    def _goes_on(self, due: float) -> bool:
        is_due = self._reactor.seconds() >= due
        return bool(self.running) and self._controller.is_leader and not is_due

    async def _removes_some(self, kind: str, sweep: Sweep) -> bool:
        """Carry out a sweep once; returns whether there may be more to remove."""
        if not self._may_remove():
            return False
        try:
            count = await self._carry_out(sweep)
            if count:
                self._removed[kind] += count
            return bool(count)
        except (Unavailable, fleet_transitions.NotLeader):
            raise
        except Exception:  # A service's sweep may raise anything; the others go on.
            _log.failure("a sweep failed, and will be called again")
            return False

    async def _carry_out(self, rule: Callable[[float], T]) -> T:
        """Carry out one transaction, and give way if it found something; returns its result."""
        began = self._reactor.seconds()
        fenced: Any = partial(fleet_transitions.while_leading, self._context.me, rule)
        fenced.stands_for = rule
        result: T = await self._context.database.run(long_write(fenced), self._context.clock())
        if result and self.running:
            took = self._reactor.seconds() - began
            self._pause = deferLater(self._reactor, max(LEAST_PAUSE, SWEEP_PAUSE * took))
            with suppress(CancelledError):
                await self._pause
            self._pause = None
        return result

    async def _check_fleet(self) -> None:
        mine = self._context.fleet_id
        fleet = await self._context.database.run(fleets.fleet_id)
        if fleet != mine:
            _log.error(
                "this is fleet {fleet} now, but this login server launches for fleet {mine}:"
                " restart it",
                fleet=fleet,
                mine=mine,
            )


class _PartitionChanges:
    """Makes partitions before they are needed, and drops those of which all rows have expired: step
    by step, each carried out by `carry_out` if it is a rule."""

    def __init__(
        self,
        context: FleetContext,
        retention: Retention,
        carry_out: Callable[[Callable[[float], Any]], Awaitable[Any]],
        may_remove: Callable[[], bool],
        removed: Counter[str],
    ) -> None:
        self._context = context
        self._retention = retention
        self._carry_out = carry_out
        self._may_remove = may_remove
        self._removed = removed
        self._change: Change | None = None
        """What is under way: then the first of `_rules` goes on at `_start`."""
        self._rules: deque[Callable[[int, int], int | None]] = deque()
        self._start = 0

    async def __call__(self) -> bool:
        """Take the next step; returns whether there may be another."""
        try:
            return await self._take_step()
        except (Unavailable, fleet_transitions.NotLeader):
            raise
        except Exception:  # A service's tables may be anything; its sweeps go on.
            _log.failure("partitions could not be changed; this is tried again every minute")
            self._change = None
            return False

    async def _take_step(self) -> bool:
        tables, database, change = self._retention.tables, self._context.database, self._change
        if change is not None and change.drops and not self._may_remove():
            change = self._change = None
        if change is None:
            before = self._context.clock() - self._retention.seconds
            may_drop = self._may_remove()
            self._change = await database.run(tables.next_change, before, may_drop)
            self._rules = deque(tables.release if self._change and self._change.drops else ())
            self._start = 0
            return self._change is not None
        if self._rules:
            rule = partial(_release, self._rules[0], change.bound, self._start)
            start: int | None = await self._carry_out(rule)
            if start is None:
                self._rules.popleft()
            self._start = start or 0
            return True
        await database.run_untimed(tables.carry_out, change)
        what = "dropped all expired rows" if change.drops else "made a partition for rows"
        _log.info("{what} with ids below {bound}", what=what, bound=change.bound)
        if change.drops:
            self._removed["partitions"] += 1
        self._change = None
        return True


def _release(
    rule: Callable[[int, int], int | None], bound: int, start: int, now: float
) -> int | None:
    return rule(bound, start)
