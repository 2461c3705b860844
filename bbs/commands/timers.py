"""Runs the timers that are due (`bbs.rules.timers`), on the server with the background work.

Who runs a timer removes its row in the same transaction, so two servers that do so at once, as one
that was frozen and the next, harm nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from bbs.rules import timers
from bbs.rules.timers import Due, Timed
from bbs.storage.database import Database

_log = Logger()


class Timers:
    """The timers of a service, whose `rules` have these names.

    :param wall: the service's clock, in seconds since the epoch.
    """

    def __init__(
        self, rules: Mapping[str, Timed], database: Database, wall: Callable[[], float]
    ) -> None:
        self._rules, self._database, self._wall = rules, database, wall

    async def run_due(self, may_go_on: Callable[[], bool]) -> None:
        """Run what is due, one after the other, while `may_go_on` says so."""
        names, more = [*self._rules], True
        while more:
            found = await self._database.run(timers.due, self._wall(), names)
            for each in found:
                if not may_go_on():
                    return
                await self._run(each)
            # One that is set anew for this moment waits for the next look.
            more = len(found) == timers.AT_ONCE

    async def _run(self, timer: Due) -> None:
        rule = self._rules[timer.name]
        run: Any = partial(timers.run, timer.id, self._wall(), rule)
        run.stands_for = rule
        try:
            await self._database.run(run)
        except CancelledError:  # This server stops.
            raise
        except Exception:  # A rule may raise anything, and is called again.
            _log.failure("the timer {name} failed, and will be called again", name=timer.name)
            await self._database.run(timers.postpone, timer.id, self._wall())
