"""Looks at the fleet: rows, heartbeats and the provider's list become one view of each server.

Measures how old launches are, and how long servers have been empty, by the watcher's own clock.

A row says when its launch was decided, by the wall clock of whoever decided it. That clock may have
been set since, or be wrong on another machine. An age is therefore measured by a clock that nobody
sets, from the moment at which the controller first saw the row. The row's stamp is only a hint of
how much time had passed by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from bbs import __version__
from bbs.core.values import DrainCause, Instance, State
from bbs.rules import fleet_transitions
from bbs.rules.fleet_admin import Blocker
from bbs.rules.membership import Observation, Watch
from bbs.rules.servers import OPERATOR, ServerRow
from bbs.scaling.context import FleetContext
from bbs.scaling.fleet_view import FleetView, Health, Launches, Machine, Owner, ServerView
from bbs.scaling.interfaces import IKeepsWarm
from bbs.scaling.inventory import Inventory


class Ages:
    """Remembers since when the controller has seen each server, in seconds of `reactor`'s clock.

    :param wall: the clock that stamps rows.
    :param most: the greatest age in seconds that a row's stamp is believed for. However wrong a
        clock is, it cannot make a new launch too old at once.
    """

    def __init__(self, reactor: IReactorTime, wall: Callable[[], float], most: float) -> None:
        self._reactor = reactor
        self._wall = wall
        self._most = most
        self.forget()

    def forget(self) -> None:
        """Begin anew: another controller has kept the fleet, and saw what this one did not."""
        self._began: dict[str, float] = {}
        self._idle_since: dict[str, float] = {}

    def see(self, rows: Collection[ServerRow]) -> None:
        """Look at `rows`, which are all servers as they are now."""
        now = self._reactor.seconds()
        before, idle_since = self._began, self._idle_since
        self._began = {
            row.id: before[row.id] if row.id in before else now - self._hint(row) for row in rows
        }
        self._idle_since = {
            row.id: idle_since.get(row.id, now)
            for row in rows
            if not row.taken and row.state is not State.LAUNCHING
        }

    def began(self, id: str) -> float:
        """When the launch of a server was decided; now, of one that is seen for the first time."""
        return self._began.setdefault(id, self._reactor.seconds())

    def begin_anew(self, id: str) -> None:
        """Count the server's age from now on."""
        self._began[id] = self._reactor.seconds()

    def age(self, id: str) -> float:
        """Seconds since the launch of a server was decided."""
        now: float = self._reactor.seconds()
        return now - self._began.setdefault(id, now)

    def idle(self, id: str) -> float:
        """Seconds for which a serving server has been seen empty."""
        now: float = self._reactor.seconds()
        return now - self._idle_since.get(id, now)

    def _hint(self, row: ServerRow) -> float:
        return min(max(0.0, self._wall() - row.created), self._most)


SETTLED_INTERVAL, UNSETTLED_INTERVAL = 30.0, 5.0
"""Seconds between looks at what a cloud has: while all is well, and while something changes. Who
is well the heartbeats say, for less; to read a list of 200 instances takes 40 ms of this process
(`ec2/answers.py`)."""

CANNOT_START = "this fleet cannot start it"

_log = Logger()


@dataclass(frozen=True)
class _Seen:
    """A view of a server, and of what it was made."""

    row: ServerRow
    instance: Instance
    view: ServerView


class FleetObserver:
    """Follows what rounds see.

    Most servers of a large fleet serve as they did the last time, and their views are kept. Only
    the age in such a view grows stale, by at most the time for which rows are known; it only tells
    which of several equally empty servers is the youngest.

    :param inventory: what the provider has.
    :param ages: since when the controller knows of each launch.
    :param interval: seconds between heartbeats.
    """

    def __init__(
        self,
        context: FleetContext,
        inventory: Inventory,
        ages: Ages,
        interval: float,
    ) -> None:
        self._context = context
        self._provider = context.provider
        self._policy = context.policy
        self._can_start = IKeepsWarm.providedBy(context.provider)
        self._inventory = inventory
        self._ages = ages
        self._interval = interval
        self._version = context.me.version or __version__
        self._listening = Watch()
        self._orphans = 0
        self.forget()

    def forget(self) -> None:
        """Know nothing: somebody else has kept the fleet meanwhile."""
        self._seen: dict[str, _Seen] = {}
        self._standing: set[str] = set()
        """Warm servers whose machines were stopped when a list last showed them. Nobody else starts
        them."""
        self._nowhere: frozenset[str] = frozenset()

    async def look(
        self,
        seen: Observation,
        elapsed: float,
        dead: Collection[str] = (),
        launches: Callable[[], Launches] = lambda: Launches.WORK,
    ) -> FleetView:
        """The fleet as it is, with a recent list of the provider's if one can be had soon.

        :param elapsed: seconds since the last look, as far as they may be held against the silent.
        :param dead: the processes, by their identities, that are certainly dead.
        :param launches: whether launches work, as far as earlier ones tell; asked once all has been
            seen, as one may fail meanwhile.
        """
        silence = self._listening.silences(seen.beats, elapsed)
        await self._inventory.look(self._oldest(seen, silence), wait=not self._presses(seen))
        self._ages.see(seen.servers)
        await self._note_instances(seen.servers)
        servers = self._views(seen.servers, dead, silence)
        self._report_nowhere(servers.values())
        orphans = self._inventory.orphans(servers)
        self._orphans = sum(orphan.runs for orphan in orphans)
        broker = None if self._context.news.travels else Blocker.BROKER_AWAY
        return FleetView(
            servers=servers,
            orphans=orphans,
            launches=launches() if self._inventory.is_counted else Launches.UNCOUNTED,
            trouble=self._inventory.trouble or broker,
        )

    # The provider's list

    def _oldest(self, seen: Observation, silence: Mapping[str, float]) -> float:
        """How many seconds old the provider's list may be: a cloud is asked as rarely as need
        be."""
        if not self._provider.shared:
            return 0.0
        scope = self._provider.scope
        # Nothing can be wrong with the others, which are most, but that they fall silent.
        others = [row for row in seen.others if row.scope == scope]
        # The address of a launch is asked for as soon as it is made, not once it serves.
        if self._inventory.is_behind or any(map(self._lacks_address, others)):
            return 0.0
        silent = {id for id, seconds in silence.items() if seconds > 2 * self._interval}
        late = [row for row in seen.servers if row.id in silent] if silent else []
        if any(row.port and row.leaving for row in others) or any(
            row.port and row.scope == scope for row in late
        ):
            return self._interval
        unsettled = any(row.state not in (State.READY, State.WARM) for row in others)
        settled = not unsettled and not self._orphans and not self._stopping(others)
        return SETTLED_INTERVAL if settled else UNSETTLED_INTERVAL

    def _stopping(self, rows: Iterable[ServerRow]) -> bool:
        """Whether the machine of a warm server is not known to have stopped."""
        return any(row.state is State.WARM and row.id not in self._standing for row in rows)

    def _presses(self, seen: Observation) -> bool:
        """Whether somebody waits for a decision that needs no new list: for a launch, or for a
        server that has reported and whose address is known."""
        if any(map(self._lacks_address, seen.others)):
            return False
        served = [row for row in seen.others if row.state is State.LAUNCHING and row.port]
        return bool(seen.waiting) or any(row.host is not None for row in served)

    def _lacks_address(self, row: ServerRow) -> bool:
        """Whether a server lacks only an address, which the next list may tell."""
        lacks = row.state is State.LAUNCHING and row.port is not None and row.host is None
        return lacks and row.id not in self._nowhere

    async def _note_instances(self, rows: Iterable[ServerRow]) -> None:
        """Store what the provider calls its launches, for when it cannot be asked."""
        news = []
        for row in rows:
            instance = self._inventory.instances.get(row.id)
            if instance and row.state is State.WARM:
                instance = replace(instance, host=None)  # It will be another one.
            if instance and instance.instance_id:
                known = row.instance_id == instance.instance_id or self._is_another(row)
                if not known or (row.host is None and instance.host is not None):
                    news.append(instance)
        if news:
            await self._context.database.run(
                fleet_transitions.note_instances, self._context.me, news
            )

    def _is_another(self, row: ServerRow) -> bool:
        return self._inventory.is_another(row.id, row.instance_id)

    # The servers

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
                view = self._view(row, dead, silent)
                # An empty server grows idle, and one that does not serve yet grows old.
                if instance and beats and row.taken and row.state is State.READY:
                    self._seen[row.id] = _Seen(row, instance, view)
            views[row.id] = view
        if self._standing:
            warm = (id for id, view in views.items() if view.state is State.WARM)
            self._standing.intersection_update(warm)
        return views

    def _view(self, row: ServerRow, dead: Collection[str], silence: float) -> ServerView:
        instance = self._inventory.instances.get(row.id)
        owner = self._owner(row)
        machine = self._machine(row, owner, silence)
        if dead and row.launcher in dead:
            machine = Machine.ENDED
        evidence = instance.detail if instance and machine is Machine.ENDED else ""
        if row.state is State.WARM and not (owner is Owner.PROVIDER and self._can_start):
            evidence = CANNOT_START
        return ServerView(
            id=row.id,
            state=row.state,
            owner=owner,
            machine=machine,
            health=self._health(row, instance, silence),
            taken=row.taken,
            capacity=row.capacity,
            age=self._ages.age(row.id),
            # Only its operator ends a server that is run by hand.
            idle=0.0 if owner is Owner.OPERATOR else self._ages.idle(row.id),
            causes=self._causes(row, instance),
            pooled=row.shelved,
            version=row.version,
            instance_id=row.instance_id,
            evidence=evidence,
            warning=row.warned or "",
            created=row.created,
        )

    def _owner(self, row: ServerRow) -> Owner:
        if row.scope == self._provider.scope:
            return Owner.PROVIDER
        if row.scope == OPERATOR:
            return Owner.OPERATOR
        return Owner.ANOTHER if row.scope else Owner.NOBODY

    def _machine(self, row: ServerRow, owner: Owner, silence: float) -> Machine:
        if row.state is State.WARM:
            return self._standing_machine(row, owner)
        if owner is not Owner.PROVIDER:
            return Machine.UNKNOWN
        beats = silence <= 2 * self._interval
        if beats and self._is_another(row):
            return Machine.UNKNOWN
        machine = self._inventory.machine(row.id, spared=beats or row.state is State.LAUNCHING)
        if machine is Machine.STOPPED and not self._can_start:
            return Machine.ENDED
        return machine

    def _standing_machine(self, row: ServerRow, owner: Owner) -> Machine:
        """The machine of a warm server. If a list lacks it, earlier lists count."""
        if owner is not Owner.PROVIDER or not self._can_start:
            return Machine.ENDED
        machine = self._inventory.machine(row.id)
        if machine is Machine.STOPPED:
            self._standing.add(row.id)
        elif row.id in self._inventory.instances:
            self._standing.discard(row.id)
        return Machine.STOPPED if row.id in self._standing else machine

    def _health(self, row: ServerRow, instance: Instance | None, silence: float) -> Health:
        if row.port is None:
            return Health.UNHEARD
        if row.leaving:
            return Health.LEAVING
        if silence > self._policy.lost_after:
            return Health.SILENT
        # The provider tells the address, or the server itself.
        told = row.host if instance is None or instance.host is None else instance.host
        return Health.UNADDRESSED if told is None else Health.BEATING

    def _causes(self, row: ServerRow, instance: Instance | None) -> frozenset[DrainCause]:
        causes = set()
        if row.drain_asked:
            causes.add(DrainCause.OPERATOR)
        if row.warned:
            causes.add(DrainCause.WARNED)
        if row.state is State.DRAINING:
            if isinstance(row.cause, DrainCause):
                causes.add(row.cause)
        elif row.replace_asked:
            causes.add(DrainCause.REPLACEMENT)
        if row.state is State.WARM and instance and instance.version not in ("", self._version):
            causes.add(DrainCause.OUTDATED)
        return frozenset(causes)

    def _report_nowhere(self, servers: Iterable[ServerView]) -> None:
        """Log once of each server that has served for long without a known address. The server
        stays, as it beats; but no list is asked for at once because of it, nor waited for."""
        nowhere = frozenset(
            server.id
            for server in servers
            if server.state is State.LAUNCHING
            and server.health is Health.UNADDRESSED
            and server.age > self._policy.launch_timeout
        )
        for id in nowhere - self._nowhere:
            _log.error("server {server} serves, and nobody knows at which address", server=id)
        self._nowhere = nowhere
