"""Notices that the database has gone back to an earlier state while servers run.

A backup that is loaded under a running service changes everything that servers know of their
database. Each server looks for that in the transaction that writes its heartbeat; what it looks at,
and what is done then, is in `bbs.rules.restores`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from bbs.core.errors import Unavailable
from bbs.rules import fleets, restores
from bbs.rules.restores import Listening, Look
from bbs.storage.database import Database

P = ParamSpec("P")
T = TypeVar("T")

KEPT_AT_ONCE = 50  # Sessions that one transaction keeps.

WATCHED = 1800
"""Looks, an hour of them by default, in which the rest of a dump may be loaded after a server has
noticed the first part of it."""

_log = Logger()


class Lineage:
    """What the server with the id `server` knows of its database.

    :param wall: the time, in seconds since the epoch.
    :param listening: returns the sessions of those who listen here, which live.
    """

    def __init__(
        self,
        database: Database,
        server: str,
        wall: Callable[[], float],
        listening: Callable[[], Sequence[Listening]] = lambda: (),
    ) -> None:
        self._database = database
        self._server = server
        self._wall = wall
        self._listening = listening
        self._known: Look | None = None
        self._lock = DeferredLock()
        self._is_unfinished = False  # It has gone back, and not all is done about it.
        self._made = ""  # When the table of the sessions that have ended was made.
        self._watched = 0  # How many more looks see whether it was made anew.

    async def beat(self, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Run `rule`, which writes the server's heartbeat, or returns False, in a transaction that
        also looks at the database; returns its result. Raises Unavailable as `Database.run`
        does."""
        run: Any = self._database.run  # A type checker cannot follow the arguments.
        look = restores.beat_and_look
        seen: Look
        result: T
        before = self._known
        result, seen = await run(look, self._server, rule, *arguments, **keywords)
        beats = seen.beats if result is False else (seen.beats or 0) + 1
        try:
            await self._in_turn(before, replace(seen, beats=beats), seen)
        except Unavailable:
            if result is False:  # The server would end before those who listen here are kept.
                raise
        return result  # The next heartbeat goes on.

    async def look(self) -> None:
        """Look whether the database has gone back since the last heartbeat. If so, the sessions of
        those who listen live again when this returns. Raises Unavailable, also if that is not
        done yet."""
        before = self._known
        seen = await self._database.run(restores.look, self._server)
        await self._in_turn(before, seen, seen)

    def _in_turn(self, before: Look | None, known: Look, seen: Look) -> Deferred[None]:
        return self._lock.run(lambda: Deferred.fromCoroutine(self._note(before, known, seen)))

    async def _note(self, before: Look | None, known: Look, seen: Look) -> None:
        """Note what was `seen`, and that it is `known` now; `before` is what was known as the
        database was asked. Raises Unavailable if the database is away before all is done; the next
        call goes on."""
        # A look beside a heartbeat may be answered after it, with what there was before it.
        is_late = self._known is not before
        if is_late and self._known and before and self._known.ended > before.ended:
            return  # All has been done meanwhile.
        if before is not None and (self._is_unfinished or await self._is_back(before, seen)):
            self._is_unfinished = True  # Heartbeats may soon be as many again as they were.
            era, ended = await self._begin_anew(before, seen)
            self._is_unfinished = False
            known = replace(known, era=era, ended=ended)
        elif before is not None and seen.ended > before.ended:
            await self._watch()
            await self._keep()
        elif is_late:
            return
        self._database.note_ids(known.era, known.ids)
        self._known = known

    async def _is_back(self, before: Look, seen: Look) -> bool:
        if seen.is_before(before) or await self._are_sessions_anew():
            return True
        if seen.beats is not None or before.beats is None:
            return False
        # The row is gone: the fleet took this server for dead, or the database is from before it.
        # Whoever has begun an era, so that no id is given again, may not have ended sessions yet.
        return seen.era > before.era or await self._database.run(
            restores.gives_again, self._database.ids
        )

    async def _are_sessions_anew(self) -> bool:
        """Whether sessions were loaded after those that there were had ended."""
        if not self._watched:
            return False
        self._watched -= 1
        # Between its removal and its making, the table does not exist.
        return await self._database.run(restores.sessions_made) not in ("", self._made)

    async def _watch(self) -> None:
        """Look from now on whether the sessions are loaded, which are about to end."""
        self._made = await self._database.run(restores.sessions_made)
        self._watched = WATCHED

    async def _begin_anew(self, before: Look, seen: Look) -> tuple[int, int]:
        """Begin an era, and end the sessions, unless others have; returns both."""
        run = self._database.run
        await self._watch()
        era = seen.era if seen.era > before.era else await self._database.begin_era()
        ended, is_mine = await run(restores.claim_end, before.ended, self._wall())
        kept = await self._keep()
        if is_mine:
            await run(fleets.note_loaded)
            count = 0
            while some := await run(restores.end_some, ended):
                count += some
            _log.error(
                "the database has gone back to an earlier state, as after a dump was loaded: ids go"
                " on above all that were given, and {count} sessions have ended, as some may have"
                " ended since; {kept} users who listen here stay logged in",
                count=count,
                kept=kept,
            )
        return era, ended

    async def _keep(self) -> int:
        listening = [*self._listening()]
        kept = 0
        for start in range(0, len(listening), KEPT_AT_ONCE):
            some = listening[start : start + KEPT_AT_ONCE]
            kept += await self._database.run(restores.keep, some, self._wall())
        return kept
