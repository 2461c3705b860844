"""Work in the background: each `Every` of a service and its timers, on one server of the fleet at
a time.

The server that holds a lease in the database runs the handlers of a service and its extensions.
The others look at the lease every second, and take it over once its holder is dead or silent. When
each handler ran last is in the database too, so the next holder keeps to the interval.

A holder that was frozen does not know that it has lost the lease. Every change of a handler's
therefore begins with a look at it, in the same transaction, and is refused then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, cast

from twisted.application.service import IService
from twisted.application.service import Service as TwistedService
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from bbs.commands.context import Ask, LoadedExtension, ServerContext
from bbs.commands.extensions import Every
from bbs.core.errors import Unavailable
from bbs.protocols.commands import Command, Role
from bbs.protocols.line import IConnection
from bbs.rules import background
from bbs.rules.membership import LeaseSeen, Member, Watch
from bbs.storage.database import Database, is_read_only

LOOK_INTERVAL = 1.0  # Seconds between looks at the lease, and between its holder's heartbeats.

LAPSE = 3.0
"""Seconds of silence after which a lease is taken over, if nothing proves sooner that its holder is
dead: its database may have been slow."""

STANDBY = 10.0
"""Seconds for which a login server leaves the lease to app servers, as it has people who log in:
the first ones boot within some seconds."""

STOP_PATIENCE = 5.0  # Seconds for which a server that stops waits for its handlers.

COMMAND = Command("background", Role.EITHER, listed=False)
"""Stands for the command of an `Ask` that belongs to no request."""

Look = Callable[[Callable[[], bool]], Awaitable[None]]
"""Carries out what is due, while the function that it gets says that it may go on."""

_log = Logger()


def background_ask(home: ServerContext, now: float, loaded: LoadedExtension | None = None) -> Ask:
    """An `Ask` that belongs to no request, of the service or of an extension."""
    home = replace(home, extensions={} if loaded is None else {COMMAND.name: loaded})
    return Ask(home, COMMAND, cast("IConnection", None), now)


def start_daemons(home: ServerContext) -> Sequence[IService]:
    """Start the Twisted services that the service has beside this server (`Service.daemons`)."""
    made = [make(background_ask(home, home.wall())) for make in home.service.daemons]
    daemons = [cast("IService", each) for each in made if each is not None]
    for daemon in daemons:
        daemon.startService()
    return daemons


class _FencedDatabase:
    """The database, as the holder `me` of the lease may change it."""

    def __init__(self, database: Database, me: Member) -> None:
        self._database = database
        self._me = me

    def run(self, rule: Callable[..., Any], *arguments: Any, **keywords: Any) -> Deferred[Any]:
        """As `Database.run`; NotHolder if a rule would change something for another holder."""
        if is_read_only(rule):
            return self._database.run(rule, *arguments, **keywords)
        fenced: Any = partial(background.fenced, self._me, rule)
        fenced.stands_for = rule
        return self._database.run(fenced, *arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


class Scheduler(TwistedService):
    """Runs the handlers in the background and the timers while this server, `me`, holds the lease.

    :param jobs: what runs, each with the extension that it belongs to, or None.
    :param looks: each is called every second, and carries out what is due then.
    :param standby: seconds for which the lease is left to others.
    :param certainly_dead: returns those of some process identities whose processes are dead; called
        on a thread by `in_thread`, as it reads files.
    """

    def __init__(
        self,
        home: ServerContext,
        jobs: Sequence[tuple[Every, LoadedExtension | None]],
        me: Member,
        reactor: IReactorTime,
        in_thread: Callable[..., Deferred[Any]],
        certainly_dead: Callable[[Sequence[str]], Collection[str]],
        standby: float = 0.0,
        looks: Sequence[Look] = (),
    ) -> None:
        self._database = home.database
        self._home = replace(home, database=cast("Database", _FencedDatabase(home.database, me)))
        self._jobs = jobs
        self._me = me
        self._reactor = reactor
        self._in_thread, self._certainly_dead = in_thread, certainly_dead
        self._standby, self._looks = standby, looks
        self._has_work = bool(jobs or looks)
        self._watch = Watch()
        self._next: IDelayedCall | None = None
        self._looking: Deferred[None] | None = None
        self._due: dict[str, IDelayedCall] = {}
        self._running: dict[str, Deferred[Any]] = {}
        self._looking_for_due: Deferred[None] | None = None
        self.is_holder = False

    def startService(self) -> None:
        TwistedService.startService(self)
        if self._has_work:
            self._next = self._reactor.callLater(0, self._look)

    def stopService(self) -> Deferred[None]:
        """Fires when no handler runs any more, and the lease is free."""
        self.halt()
        return Deferred.fromCoroutine(self._finish())

    def halt(self) -> None:
        """Begin nothing more, but keep the lease, as a process does that is killed."""
        TwistedService.stopService(self)
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._cancel_all()

    async def _finish(self) -> None:
        others = (self._looking, self._looking_for_due)
        running = [each for each in (*others, *self._running.values()) if each is not None]
        give_up = self._reactor.callLater(
            STOP_PATIENCE, lambda: [each.cancel() for each in running]
        )
        await DeferredList(running)
        if give_up.active():
            give_up.cancel()
        if self._has_work:
            with suppress(Unavailable):  # Without the database the lease lapses by itself.
                await self._database.run(background.release, self._me)

    def _look(self) -> None:
        self._next = self._reactor.callLater(LOOK_INTERVAL, self._look)
        if self._looking is None:
            self._looking = Deferred.fromCoroutine(self._hold())
            self._looking.addErrback(
                lambda failure: _log.failure("looking at the lease failed", failure=failure)
            )
            self._looking.addCallback(self._looked)

    def _looked(self, _: object) -> None:
        self._looking = None
        if self._looks and self._looking_for_due is None and self._may_run():
            # Much may be due, and the lease is to be renewed meanwhile.
            self._looking_for_due = Deferred.fromCoroutine(self._carry_out_due())
            self._looking_for_due.addErrback(
                lambda failure: _log.failure("looking for what is due failed", failure=failure)
            )
            self._looking_for_due.addCallback(self._carried_out)

    async def _carry_out_due(self) -> None:
        try:
            for look in self._looks:
                await look(self._may_run)
        except (Unavailable, CancelledError):
            return  # The next look is in a second, here or on another server.

    def _carried_out(self, _: object) -> None:
        self._looking_for_due = None

    def _may_run(self) -> bool:
        return bool(self.running and self.is_holder)

    async def _hold(self) -> None:
        """Hold the lease, or take it if it is free or its holder is gone."""
        try:
            lease = await self._database.run(background.renew, self._me)
            is_holder = lease.holder == self._me.id
            if not is_holder:
                self._watch.keep({lease.holder})
                silent = self._watch.silence(lease.holder, lease.beats, LOOK_INTERVAL)
                is_holder = await self._take(lease, silent)
        except Unavailable:
            return  # Another server takes over, if there is one.
        if is_holder and not self.is_holder and self.running:
            self.is_holder = True
            for every, loaded in self._jobs:
                self._plan(every, loaded, 0)
        elif not is_holder:
            self._step_down()

    async def _take(self, lease: LeaseSeen, silent: float) -> bool:
        """Take a lease that is free, or whose holder is gone; returns whether that was done."""
        if silent < self._standby:
            return False
        if not lease.holder:
            taken: bool = await self._database.run(background.take, self._me)
            return taken
        if silent < LAPSE + self._standby and not (silent and await self._is_dead(lease.identity)):
            return False
        _log.warn("the server with the background work is gone; this one takes over")
        taken = await self._database.run(background.take_over, self._me, lease)
        return taken

    async def _is_dead(self, identity: str) -> bool:
        return bool(identity and await self._in_thread(self._certainly_dead, [identity]))

    def _step_down(self) -> None:
        self.is_holder = False
        self._cancel_all()

    def _cancel_all(self) -> None:
        for due in self._due.values():
            due.cancel()
        self._due.clear()

    def _plan(self, every: Every, loaded: LoadedExtension | None, seconds: float) -> None:
        if self._may_run() and every.name not in self._running:
            due = self._reactor.callLater(seconds, self._begin, every, loaded)
            self._due[every.name] = due

    def _begin(self, every: Every, loaded: LoadedExtension | None) -> None:
        del self._due[every.name]
        began = self._reactor.seconds()
        running = Deferred.fromCoroutine(self._run(every, loaded))

        def ended(pause: float) -> None:
            del self._running[every.name]
            took = self._reactor.seconds() - began
            self._plan(every, loaded, max(0.0, pause - took))

        self._running[every.name] = running
        running.addCallback(ended)

    async def _run(self, every: Every, loaded: LoadedExtension | None) -> float:
        """Run a handler if it is due. Returns the seconds from now on until it is due next."""
        home, now, pause = self._home, self._home.wall(), every.seconds
        try:
            is_due, pause = await self._database.run(
                background.claim, self._me, every.name, every.seconds, now
            )
            if is_due:
                began = self._reactor.seconds()
                await every.handler(background_ask(home, now, loaded))
                home.database.slow.check("handler", every.name, self._reactor.seconds() - began)
        except background.NotHolder:
            self._step_down()
        except CancelledError:
            _log.warn("{name} was ended, as this server stops", name=every.name)
        except Unavailable:
            _log.warn("{name} waits for the database", name=every.name)
        except Exception:  # A handler may raise anything, and is called again.
            _log.failure("{name} failed, and will be called again", name=every.name)
        return pause
