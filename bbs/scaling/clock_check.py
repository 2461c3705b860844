"""The leader's check of the service's clock, without which nothing that is old is removed.

The leader compares the database's clock with the last check and the time that has passed since, and
with its own wall clock and those of the other servers. A contradiction is logged, and is an alarm
on the operators' page until the clock is right again. Then sweeps go on by themselves.

A process that starts cannot tell a machine that was off for a month from one whose clock is wrong
by a month. If nobody has checked the clock for more than a day, removal therefore waits for an
hour, or for the word of an operator.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from twisted.logger import Logger

from bbs.core.clock import DAY, beyond
from bbs.rules import fleet_transitions, service_clock
from bbs.rules.service_clock import LOGIN, ClockReport, Contradiction
from bbs.scaling.events import FleetContext
from bbs.storage.clock import note_check

PATIENCE = 3600.0
"""Seconds for which removal waits while nothing proves the clock; and those after which a step of
less than a day, which nobody contradicts, is taken for a correction."""

LOG_INTERVAL = 3600.0  # Seconds between two lines in the log that the clock is wrong.

NAMED = 3  # Servers with wrong clocks that one line names.

_log = Logger()


class ClockCheck:
    """Checks the clock of `context` while this server leads."""

    def __init__(self, context: FleetContext) -> None:
        self._context = context
        self._clock = context.clock
        self.forget()

    def forget(self) -> None:
        """Forget what was seen: another server leads."""
        self._report = ClockReport(0, ())
        self._seen: tuple[bool, bool, bool] | None = None
        self._logged = ""
        self._logged_at = float("-inf")
        self._base: float | None = None
        self._steady_since = 0.0

    def allows(self) -> bool:
        """Whether what is old may be removed."""
        return not self._trouble()

    async def look(self) -> None:
        """Look at the clock in each round: what has changed is stored at once.

        :raises NotLeader: another server leads.
        :raises Unavailable: the database is away.
        """
        self._wait(self._clock.steady())
        if self._state() != self._seen:
            await self.check()
        self._log_change(self._clock.steady())

    async def check(self) -> None:
        """Check the clock before what is old is removed: store it, and ask what the servers say.
        Raises as `look` does."""
        clock, seen = self._clock, self._state()
        rule = partial(_check, clock.apart, not clock.unproved)
        self._report = await self._context.database.run(
            fleet_transitions.while_leading, self._context.me, rule, clock()
        )
        self._seen = seen

    def _state(self) -> tuple[bool, bool, bool]:
        return bool(self._clock.apart), bool(self._clock.ahead), self._clock.unproved

    def _wait(self, now: float) -> None:
        """Take the clock for right once nothing has contradicted it for long enough."""
        clock = self._clock
        base = clock() + clock.apart - now  # The same while the database's clock is not set.
        if self._base is None or beyond(base - self._base):
            self._steady_since, self._base = now, base
        if now - self._steady_since < PATIENCE or abs(clock.apart) > DAY:
            return
        if (clock.unproved or clock.apart) and self._agrees():
            clock.accept()
            _log.warn("the clock counts as right from now on: nothing has contradicted it for long")

    def _agrees(self) -> bool:
        """Whether the wall clocks of all servers say what the database's says."""
        apart = self._clock.apart
        others = {each.id: each.ahead for each in self._report.contradictions}
        others.pop(self._context.me.id, None)
        wrong = [ahead for ahead in others.values() if beyond(ahead - apart)]
        if apart and len(others) + 1 < self._report.count:
            return False  # Some say what it was by the time that has passed.
        return not wrong and not beyond(self._clock.ahead - apart)

    def _trouble(self) -> str:
        """What is wrong, for the log; "" if nothing is."""
        clock = self._clock
        if clock.apart or clock.ahead or self._report.is_contradicted:
            return "wrong"
        return "unproved" if clock.unproved else ""

    def _log_change(self, now: float) -> None:
        others = any(each.ahead for each in self._report.contradictions)
        trouble = self._trouble() or ("others" if others else "")
        if trouble == self._logged and now - self._logged_at < LOG_INTERVAL:
            return
        if trouble:
            self._logged_at = now
            self._log_trouble(trouble)
        elif self._logged:
            _log.info("the clock is right: what is old is removed")
        self._logged = trouble

    def _log_trouble(self, trouble: str) -> None:
        clock = self._clock
        if trouble == "unproved":
            _log.warn(
                "the clock says {now}, and nobody has checked it for a day or more: nothing that is"
                " old is removed for an hour. If it is wrong, set it; if it is right, the command"
                " `db clock accept` begins at once",
                now=_shown(clock()),
            )
            return
        stops = "; nothing that is old is removed until it is right"
        removed = "" if trouble == "others" else stops
        _log.error(
            "the clock is wrong: {said}; by the last check and the time since it is {now}{removed}",
            said=", ".join(self._said()),
            now=_shown(clock()),
            removed=removed,
        )

    def _said(self) -> list[str]:
        """The times that servers with wrong clocks say, this one first, and the database's time."""
        clock, me = self._clock, self._context.me.id
        found = {each.id: each for each in self._report.contradictions if each.ahead}
        found.pop(me, None)
        if clock.ahead:
            own = Contradiction(me, LOGIN, clock.ahead)
            found = {me: own, **found}
        said = [f"{each.name} says {_shown(clock() + each.ahead)}" for each in found.values()]
        if len(said) > NAMED:
            said[NAMED:] = [f"{len(said) - NAMED} more are wrong"]
        database = clock() + (clock.apart if clock.has_own else 0.0)
        return [*said, f"the database {'' if said else 'says '}{_shown(database)}"]


def _check(apart: float, is_proved: bool, now: float) -> ClockReport:
    """Store the check, and read what the servers say."""
    if is_proved:
        note_check(now, apart)
    return service_clock.report()


def _shown(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, OSError, ValueError):  # A wrong clock may say anything.
        return f"{seconds:.0f} s"
