"""Observes the fleet: rows, heartbeats and the provider's list become one view of each server.

A cloud's list hangs, fails and lags behind the truth. Without a list, nothing is held against any
server. Absence counts only after lists have shown it for `CONSISTENCY_GRACE`. Even then it only
means that people need another place: the machine may still run, and its end is certain when the
provider says so.

A row's stamp is by the wall clock of the controller that decided the launch, which may have been
set since, or be wrong. An age is therefore measured by a clock that nobody sets, from when this
controller first saw the row; the stamp is only a hint of the time before that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from bbs import __version__
from bbs.core.values import REBALANCE, DrainCause, Instance, State
from bbs.rules import fleet_transitions, servers
from bbs.rules.fleet_admin import Blocker
from bbs.rules.membership import Observation, Watch
from bbs.rules.servers import OPERATOR, ServerRow
from bbs.scaling.events import FleetContext
from bbs.scaling.fleet_view import FleetView, Health, Launches, Machine, Orphan, Owner, ServerView
from bbs.scaling.interfaces import (
    IFleetController,
    IKeepsWarm,
    IKnowsInstances,
    IProvider,
    ProviderUnavailable,
)
from bbs.scaling.pools import pools_of

SETTLED_INTERVAL, UNSETTLED_INTERVAL = 30.0, 5.0
"""Seconds between looks at a cloud: while all is well, and while something changes. Heartbeats cost
less, and say which servers are well. Reading a list of 200 instances takes up to 40 ms of this
process."""

CONSISTENCY_GRACE = 60.0
"""Seconds for which lists of a shared provider must show what looks like a leak or a loss, counted
from the last call that could have changed it."""

PATIENCE = 1.0
"""Seconds for which a round waits for a list; it goes on without, and the list is heard later."""

FIRST_LIST = 30.0
"""Seconds for which nothing is launched before the first list of a shared provider. Rows do not
know what runs when a fleet has just been adopted, but people are to be served even if no list comes
for an hour."""

STALE = 120.0
"""Seconds after which a list is too old for what can wait: four times its age while all is well."""

CANNOT_START = "this fleet cannot start it"

_log = Logger()


@dataclass(frozen=True)
class _Seen:
    row: ServerRow
    instance: Instance
    view: ServerView


class FleetObserver:
    """Observes the fleet, and remembers it from one look to the next; `interval`: seconds between
    heartbeats.

    Most servers of a large fleet serve as they did last time, and their views are reused. Only the
    age in such a view grows stale, by at most the time for which rows are known; it only tells
    which of several equally empty servers is the youngest.
    """

    def __init__(
        self, context: FleetContext, inventory: Inventory, ages: Ages, interval: float
    ) -> None:
        self._context = context
        self._provider = context.provider
        self._lost_after = context.policy.lost_after
        self._launch_timeout = context.policy.launch_timeout
        self._can_start = IKeepsWarm.providedBy(context.provider)
        scope = context.provider.scope
        self._zones = pools_of(context.provider)
        self._owners = {"": Owner.NOBODY, OPERATOR: Owner.OPERATOR, scope: Owner.PROVIDER}
        self._inventory = inventory
        self._ages = ages
        self._interval = interval
        self._version = context.me.version or __version__
        self._heartbeats = Watch()
        self._orphans = 0
        self.forget()

    def forget(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._stopped: set[str] = set()
        """Warm servers whose machines were stopped when last listed. Nobody else starts them."""
        self._unreachable: frozenset[str] = frozenset()

    async def look(
        self,
        seen: Observation,
        elapsed: float,
        dead: Collection[str] = (),
        launches: Callable[[], Launches] = lambda: Launches.WORK,
    ) -> FleetView:
        """The fleet as it is, with a recent list of the provider's if one comes soon.

        :param elapsed: seconds since the last look, as far as they count as silence.
        :param dead: identities of processes that are certainly dead.
        :param launches: whether launches work; asked last, as a launch may fail meanwhile.
        """
        silence = self._heartbeats.silences(seen.beats, elapsed)
        await self._inventory.look(*self._wanted_list(seen, silence))
        await self._note_instances(seen.servers)
        self._ages.see(seen.servers)
        servers = self._views(seen.servers, dead, silence)
        self._report_unreachable(servers.values())
        orphans = self._inventory.orphans(servers)
        self._orphans = sum(orphan.runs for orphan in orphans)
        broker = None if self._context.news.is_connected else Blocker.BROKER_AWAY
        return FleetView(
            servers=servers,
            orphans=orphans,
            launches=launches() if self._inventory.is_counted else Launches.UNCOUNTED,
            trouble=self._inventory.trouble or broker,
        )

    def _wanted_list(self, seen: Observation, silence: Mapping[str, float]) -> tuple[float, bool]:
        """How many seconds old the provider's list may be, as a cloud is asked as rarely as
        possible; and whether to wait for a new one. Nobody waits for it while a decision is needed
        that it would not change: a launch, or a server that has reported and whose address is
        known."""
        if not self._provider.shared:
            return 0.0, True
        scope, others = self._provider.scope, seen.others
        reported = [row for row in others if row.state is State.LAUNCHING and row.port]
        # Such a server lacks only its address, which the next list may tell.
        lacking = [r for r in reported if r.host is None and r.id not in self._unreachable]
        presses = seen.waiting or any(row.host is not None for row in reported)
        wait = bool(lacking) or not presses
        # The address of a launch is asked for as soon as it is made, not once it serves.
        if self._inventory.is_behind or any(row.scope == scope for row in lacking):
            return 0.0, wait
        # All that can be wrong with the others, which are most, is that they fall silent.
        ours = [row for row in others if row.scope == scope]
        silent = {id for id, seconds in silence.items() if seconds > 2 * self._interval}
        late = [r for r in seen.servers if r.id in silent and r.scope == scope] if silent else []
        if any(r.port and r.leaving for r in ours) or any(r.port for r in late):
            return self._interval, wait
        settled = not self._orphans and all(
            row.state is State.READY or (row.state is State.WARM and row.id in self._stopped)
            for row in ours
        )
        return SETTLED_INTERVAL if settled else UNSETTLED_INTERVAL, wait

    async def _note_instances(self, rows: Iterable[ServerRow]) -> None:
        """Store what the provider calls its launches, for when it cannot be asked."""
        news = []
        for row in rows:
            instance = self._inventory.instances.get(row.id)
            if not instance or not instance.instance_id:
                continue
            if row.state is State.WARM:
                instance = replace(instance, host=None)  # The next start gives it another.
            known = row.instance_id == instance.instance_id or self._inventory.is_another(
                row.id, row.instance_id
            )
            if not known or (row.host is None and instance.host is not None):
                news.append(instance)
        if news:
            run, me = self._context.database.run, self._context.me
            await run(fleet_transitions.note_instances, me, news)

    def _views(
        self, rows: Iterable[ServerRow], dead: Collection[str], silence: Mapping[str, float]
    ) -> Mapping[str, ServerView]:
        before, self._seen = self._seen, {}
        views = {}
        for row in rows:
            instance, silent = self._inventory.instances.get(row.id), silence.get(row.id, 0.0)
            known = before.get(row.id)
            # Identity, not equality: that costs next to nothing.
            same = known and known.row is row and known.instance is instance
            beats = silent <= self._interval and not dead
            if known and same and beats:
                view, self._seen[row.id] = known.view, known
            else:
                view = self._view(row, instance, dead, silent)
                # The views of empty servers, and of those that do not serve yet, change with time.
                if instance and beats and row.taken and row.state is State.READY:
                    self._seen[row.id] = _Seen(row, instance, view)
            views[row.id] = view
        if self._stopped:
            self._stopped &= {id for id, view in views.items() if view.state is State.WARM}
        return views

    def _view(
        self, row: ServerRow, instance: Instance | None, dead: Collection[str], silence: float
    ) -> ServerView:
        owner = self._owners.get(row.scope, Owner.ANOTHER)
        machine = self._machine(row, instance, owner, silence)
        if dead and row.launcher in dead:
            machine = Machine.ENDED
        evidence = instance.detail if instance and machine is Machine.ENDED else ""
        if row.state is State.WARM and not (owner is Owner.PROVIDER and self._can_start):
            evidence = CANNOT_START
        age, idle = self._ages.seen[row.id]
        pool = servers.pool_of(row.way) if row.way else ""
        return ServerView(
            id=row.id,
            state=row.state,
            owner=owner,
            machine=machine,
            health=self._health(row, instance, silence),
            taken=row.taken,
            capacity=row.capacity,
            age=age,
            # A server that is run by hand is ended by its operator alone.
            idle=0.0 if owner is Owner.OPERATOR else idle,
            causes=self._causes(row, instance),
            pooled=row.shelved,
            version=row.version,
            instance_id=row.instance_id,
            evidence=evidence,
            warning=row.warned or "",
            created=row.created,
            pool=pool,
            zone=(instance and instance.zone) or self._zones.get(pool, ""),
        )

    def _machine(
        self, row: ServerRow, instance: Instance | None, owner: Owner, silence: float
    ) -> Machine:
        if row.state is State.WARM:
            ours = owner is Owner.PROVIDER and self._can_start
            return self._warm_machine(row.id, instance) if ours else Machine.ENDED
        if owner is not Owner.PROVIDER:
            return Machine.UNKNOWN
        if instance and instance.alive:
            return Machine.RUNS
        beats = silence <= 2 * self._interval
        if beats and self._inventory.is_another(row.id, row.instance_id):
            return Machine.UNKNOWN
        machine = self._inventory.machine(row.id, spared=beats or row.state is State.LAUNCHING)
        if machine is Machine.STOPPED and not self._can_start:
            return Machine.ENDED
        return machine

    def _warm_machine(self, id: str, instance: Instance | None) -> Machine:
        """The machine of a warm server; if a list lacks it, earlier lists count."""
        machine = self._inventory.machine(id)
        if machine is Machine.STOPPED:
            self._stopped.add(id)
        elif instance:
            self._stopped.discard(id)
        return Machine.STOPPED if id in self._stopped else machine

    def _health(self, row: ServerRow, instance: Instance | None, silence: float) -> Health:
        if row.port is None:
            return Health.UNHEARD
        if row.leaving:
            return Health.LEAVING
        if silence > self._lost_after:
            return Health.SILENT
        # The provider knows the address, or the server itself.
        host = row.host if instance is None or instance.host is None else instance.host
        return Health.UNADDRESSED if host is None else Health.BEATING

    def _causes(self, row: ServerRow, instance: Instance | None) -> frozenset[DrainCause]:
        causes = set()
        if row.drain_asked:
            causes.add(DrainCause.OPERATOR)
        if row.warned:
            is_hint = row.warned == REBALANCE
            causes.add(DrainCause.RECOMMENDED if is_hint else DrainCause.WARNED)
        if row.state is State.DRAINING:
            if isinstance(row.cause, DrainCause):
                causes.add(row.cause)
        elif row.replace_asked:
            causes.add(DrainCause.REPLACEMENT)
        if row.state is State.WARM and instance and instance.version not in ("", self._version):
            causes.add(DrainCause.OUTDATED)
        return frozenset(causes)

    def _report_unreachable(self, servers: Iterable[ServerView]) -> None:
        """Log once of each server that has long served without a known address. No list is asked
        for at once or waited for because of it."""
        unreachable = frozenset(
            server.id
            for server in servers
            if server.state is State.LAUNCHING
            and server.health is Health.UNADDRESSED
            and server.age > self._launch_timeout
        )
        for id in unreachable - self._unreachable:
            _log.error("server {server} serves, but its address is unknown", server=id)
        self._unreachable = unreachable


class Inventory:
    """Remembers the last list of `provider`. If a list comes after its round stopped waiting,
    `controller` begins another round. `away` is why the provider does not answer, "" if it does."""

    def __init__(
        self, provider: IProvider, controller: IFleetController, reactor: IReactorTime
    ) -> None:
        self.instances: Mapping[str, Instance] = {}  # by launch id
        self._provider = provider
        self._controller = controller
        self._reactor = reactor
        self._listing = False
        self.away = ""
        self._tenure = 0  # Lists asked for in an earlier tenure are ignored.
        self.forget()

    def forget(self) -> None:
        """Forget everything: another controller may have launched and ended since."""
        self.instances = {}
        self._tenure += 1
        self._asked_at: float | None = None
        self._since: float | None = None
        self._missing: dict[str, float] = {}
        self._void: set[str] = set()
        self._orphans: dict[str, float] = {}

    async def look(self, oldest: float, wait: bool = True) -> None:
        """Get a list at most `oldest` seconds old, if one comes soon. Without `wait`, a new list of
        a shared provider is heard later, unless it is the first."""
        now = self._reactor.seconds()
        if self._since is None:
            self._since = now
        recent = self._asked_at is not None and now - self._asked_at < oldest
        if self._listing or recent:
            return
        if not wait and self._asked_at is not None and self._provider.shared:
            Deferred.fromCoroutine(self._list()).addBoth(self._heard, now)
            return
        listed: Deferred[None] = Deferred()

        def end(_: object = None) -> None:
            if not listed.called:
                listed.callback(None)
            else:
                self._controller.look_soon()

        patience = self._reactor.callLater(PATIENCE, listed.callback, None)
        Deferred.fromCoroutine(self._list()).addBoth(end)
        await listed
        if patience.active():
            patience.cancel()

    def _heard(self, _: object, since: float) -> None:
        # Without a new list, another round at once would ask again at once.
        if self._asked_at is not None and self._asked_at >= since:
            self._controller.look_soon()

    @property
    def is_counted(self) -> bool:
        """Whether it is known how many machines run, or the first list is overdue."""
        if not self._provider.shared or self._asked_at is not None:
            return True
        since = self._since
        return since is not None and self._reactor.seconds() - since >= FIRST_LIST

    @property
    def trouble(self) -> Blocker | None:
        """Why the list is not good enough for what can wait; None if it is."""
        if self.away:
            return Blocker.PROVIDER_AWAY
        last = self._asked_at
        if self._provider.shared and (last is None or self._reactor.seconds() - last > STALE):
            return Blocker.PROVIDER_SILENT
        return None

    @property
    def is_behind(self) -> bool:
        """Whether something was launched since the last list, and all calls are answered: the next
        list then shows where all of it is."""
        last = self._asked_at
        asked = [moment for id, moment in self._missing.items() if id not in self._void]
        return last is not None and last < max(asked, default=last) < float("inf")

    def asking(self, launch_id: str) -> None:
        """Note that a launch is being asked for: until `asked`, its absence means nothing."""
        self._missing[launch_id] = float("inf")
        self._void.discard(launch_id)

    def asked(self, launch_id: str, is_void: bool = False) -> None:
        """Note that a launch was asked for; `is_void`: no instance has come of it, or can."""
        self._missing[launch_id] = self._reactor.seconds()
        if is_void:
            self._void.add(launch_id)

    def stopped(self, launch_id: str) -> None:
        """Note that the provider has accepted to stop a machine, before the next list shows it."""
        instance = self.instances.get(launch_id)
        if IKnowsInstances.providedBy(self._provider):  # It also knows whether the address stays.
            instance = cast("IKnowsInstances", self._provider).instance_of(launch_id) or instance
        if instance:
            stopped = replace(instance, alive=False, stopped=True)
            self.instances = {**self.instances, launch_id: stopped}

    def machine(self, launch_id: str, spared: bool = False) -> Machine:
        """The state of a launch's machine. A `spared` machine is never missing or ended by absence:
        it can be asked for again, or its heartbeat shows that it lives."""
        instance = self.instances.get(launch_id)
        if instance:
            if instance.alive:
                return Machine.RUNS
            return Machine.STOPPED if is_there(instance) else Machine.ENDED
        if not self._provider.shared:
            return Machine.UNKNOWN
        absent = 0.0
        if self._asked_at is not None:  # For a spared one too: this notes since when it is absent.
            absent = self._asked_at - self._missing.setdefault(launch_id, self._asked_at)
        if spared:
            return Machine.UNKNOWN
        if launch_id in self._void:
            return Machine.ENDED
        return Machine.MISSING if absent >= CONSISTENCY_GRACE else Machine.UNKNOWN

    def is_another(self, launch_id: str, instance_id: str | None) -> bool:
        """Whether the list has only an ended instance of this launch, other than the one its server
        runs on: two controllers launched it, and the second instance was ended."""
        instance = self.instances.get(launch_id)
        if instance is None or instance.alive or not instance.instance_id:
            return False
        return instance_id not in (None, instance.instance_id)

    def orphans(self, servers: Collection[str]) -> Sequence[Orphan]:
        """The instances of this fleet that run or are stopped, and belong to none of `servers`, the
        ids of all live servers. All that is known of other servers is forgotten."""
        self._missing = {id: since for id, since in self._missing.items() if id in servers}
        self._void.intersection_update(servers)
        last = self._asked_at
        if not self._provider.shared or last is None:
            return ()
        self._orphans = {
            id: self._orphans.get(id, last)
            for id, instance in self.instances.items()
            if is_there(instance) and instance.ours and id not in servers
        }
        return [
            Orphan(id, self.instances[id].alive, last - since >= CONSISTENCY_GRACE)
            for id, since in self._orphans.items()
        ]

    def orphaned(self, launch_id: str) -> float:
        """Seconds for which lists have shown an instance as an orphan, up to the latest list."""
        latest = self._asked_at or 0.0
        return latest - self._orphans.get(launch_id, latest)

    async def _list(self) -> None:
        self._listing, asked_at, tenure = True, self._reactor.seconds(), self._tenure
        try:
            instances = await self._provider.list()
            if tenure != self._tenure:
                return
            self.instances, self._asked_at = instances, asked_at
            for id in self.instances.keys() & self._missing.keys():
                if self._missing[id] <= asked_at:
                    del self._missing[id]
            if self.away:
                _log.info("the provider is back")
            self.away = ""
        except ProviderUnavailable as error:
            if not self.away:
                _log.error("the provider is away: {trouble}", trouble=str(error))
            self.away = str(error) or "it does not answer"
        except Exception:
            _log.failure("could not list the instances")
        finally:
            self._listing = False


def is_there(instance: Instance) -> bool:
    """Whether an instance has not ended; a stopped one has not."""
    return instance.alive or instance.stopped


class Ages:
    """Remembers since when the controller has seen each server, and seen it empty, in seconds of
    `reactor`'s clock. `wall` stamps rows; a stamp is believed for an age of `most` seconds, so that
    a wrong clock cannot make a new launch too old at once."""

    def __init__(self, reactor: IReactorTime, wall: Callable[[], float], most: float) -> None:
        self._reactor = reactor
        self._wall = wall
        self._most = most
        self.forget()

    def forget(self) -> None:
        self._began: dict[str, float] = {}
        self._idle_since: dict[str, float] = {}
        self.seen: Mapping[str, tuple[float, float]] = {}
        """The age of each server at the last look, and how long it had served nobody."""

    def see(self, rows: Collection[ServerRow]) -> None:
        now, wall = self._reactor.seconds(), self._wall()
        before, idle_since = self._began, self._idle_since
        self._began = {
            row.id: before[row.id]
            if row.id in before
            else now - min(max(0.0, wall - row.created), self._most)
            for row in rows
        }
        self._idle_since = {
            row.id: idle_since.get(row.id, now)
            for row in rows
            if not row.taken and row.state is not State.LAUNCHING
        }
        idle_since = self._idle_since
        self.seen = {id: (now - t, now - idle_since.get(id, now)) for id, t in self._began.items()}

    def began(self, id: str) -> float:
        """When the launch of a server was decided; now, if the server is new."""
        return self._began.setdefault(id, self._reactor.seconds())

    def begin_anew(self, id: str) -> None:
        self._began[id] = self._reactor.seconds()

    def age(self, id: str) -> float:
        return self._reactor.seconds() - self.began(id)
