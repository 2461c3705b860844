"""Knows what the provider has launched, as far as lists tell.

A cloud's list hangs, fails and lags behind the truth: a launch that it does not show may be there.
While no list can be had, nothing is held against any server. Absence counts only when list after
list has shown it for `CONSISTENCY_GRACE`. Even then it only means that people need another place:
the machine may still run, and its end is certain when the provider says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from bbs.core.values import Instance
from bbs.rules.fleet_admin import Blocker
from bbs.scaling.fleet_view import Machine, Orphan
from bbs.scaling.interfaces import IFleetController, IProvider, ProviderUnavailable

CONSISTENCY_GRACE = 60.0
"""Seconds for which a shared provider's list must go on to say what looks like a leak or a loss,
since the last call that could have changed it."""

PATIENCE = 1.0
"""Seconds for which a round waits for a list; it goes on without, and the list is heard later."""

FIRST_LIST = 30.0
"""Seconds for which nothing is launched before the first list of a provider that others share. The
rows do not know of what runs when a fleet has just been adopted, and who waits is to be served also
where no list can be had for an hour."""

STALE = 120.0
"""Seconds after which a list is too old for what can wait: four times as old as it gets while all
is well."""

_log = Logger()


class Inventory:
    """What `provider` has, as it last said.

    :param controller: is asked for a round when a list has come for which nobody waited any more.
    """

    def __init__(
        self, provider: IProvider, controller: IFleetController, reactor: IReactorTime
    ) -> None:
        self.instances: Mapping[str, Instance] = {}
        """By launch id, as last listed."""
        self._provider = provider
        self._controller = controller
        self._reactor = reactor
        self._listing = False
        self._available = True
        self._tenure = 0
        """How often all was forgotten: what was asked for before tells nothing any more."""
        self.forget()

    def forget(self) -> None:
        """Know nothing: somebody else may have launched and ended since."""
        self.instances = {}
        self._tenure += 1
        self._asked_at: float | None = None
        self._since: float | None = None
        self._missing: dict[str, float] = {}
        self._void: set[str] = set()
        self._orphans: dict[str, float] = {}

    async def look(self, oldest: float, wait: bool = True) -> None:
        """Have a list no more than `oldest` seconds old, if that can be had soon. Unless it is to
        `wait`, that is heard later, where there is one already and others share the provider."""
        now = self._reactor.seconds()
        if self._since is None:
            self._since = now
        recent = self._asked_at is not None and now - self._asked_at < oldest
        if self._listing or recent:
            return
        if not wait and self._asked_at is not None and self._provider.shared:
            Deferred.fromCoroutine(self._list()).addBoth(lambda _: self._heard(now))
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

    def _heard(self, since: float) -> None:
        # Where none came, another round at once would ask again at once.
        if self._asked_at is not None and self._asked_at >= since:
            self._controller.look_soon()

    @property
    def is_counted(self) -> bool:
        """Whether it is known how many run, or has been asked for in vain for long enough."""
        if not self._provider.shared or self._asked_at is not None:
            return True
        since = self._since
        return since is not None and self._reactor.seconds() - since >= FIRST_LIST

    @property
    def trouble(self) -> Blocker | None:
        """Why what the provider has is not known well enough for what can wait."""
        if not self._available:
            return Blocker.PROVIDER_AWAY
        last = self._asked_at
        if self._provider.shared and (last is None or self._reactor.seconds() - last > STALE):
            return Blocker.PROVIDER_SILENT
        return None

    @property
    def is_behind(self) -> bool:
        """Whether something was launched since the last list, and all that was asked for has been
        answered: then the next list tells of them all where they are."""
        last = self._asked_at
        asked = [moment for id, moment in self._missing.items() if id not in self._void]
        return last is not None and last < max(asked, default=last) < float("inf")

    def asking(self, launch_id: str) -> None:
        """A launch is being asked for: until `asked`, its absence means nothing."""
        self._missing[launch_id] = float("inf")
        self._void.discard(launch_id)

    def asked(self, launch_id: str, nothing: bool = False) -> None:
        """A launch was asked for; `nothing` has ever come of it, or can."""
        self._missing[launch_id] = self._reactor.seconds()
        if nothing:
            self._void.add(launch_id)

    def stopped(self, launch_id: str) -> None:
        """The provider has accepted to stop it, which counts before the next list shows it."""
        instance = self.instances.get(launch_id)
        if instance:
            told = replace(instance, alive=False, stopped=True)
            self.instances = {**self.instances, launch_id: told}

    def machine(self, launch_id: str, spared: bool = False) -> Machine:
        """The state of a launch's machine. A `spared` one is never missing or ended by absence: it
        can be asked for again, or its heartbeat shows that it lives."""
        instance = self.instances.get(launch_id)
        if instance:
            if instance.alive:
                return Machine.RUNS
            return Machine.STOPPED if is_there(instance) else Machine.ENDED
        # Also for a spared one: this notes since when it is absent.
        missing = self._provider.shared and self._is_missing(launch_id)
        if spared or not self._provider.shared:
            return Machine.UNKNOWN
        if launch_id in self._void:
            return Machine.ENDED
        return Machine.MISSING if missing else Machine.UNKNOWN

    def _is_missing(self, launch_id: str) -> bool:
        if self._asked_at is None:
            return False
        since = self._missing.setdefault(launch_id, self._asked_at)
        return self._asked_at - since >= CONSISTENCY_GRACE

    def is_another(self, launch_id: str, instance_id: str | None) -> bool:
        """Whether the list has only an instance of this launch that has ended, and is not the one
        that its server is known to run on: two controllers launched it, and one too many was
        ended."""
        instance = self.instances.get(launch_id)
        if instance is None or instance.alive or not instance.instance_id:
            return False
        return instance_id not in (None, instance.instance_id)

    def orphans(self, servers: Collection[str]) -> Sequence[Orphan]:
        """The instances of this fleet that run, or are stopped, and belong to none of `servers`,
        the ids of those that live. What is known of others than `servers` is forgotten."""
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
        """Seconds for which lists have shown that an instance is an orphan, up to the latest."""
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
            self._noticed(None)
        except ProviderUnavailable as error:
            self._noticed(str(error))
        except Exception:
            _log.failure("listing the instances went wrong")
        finally:
            self._listing = False

    def _noticed(self, trouble: str | None) -> None:
        if self._available != (trouble is None):
            self._available = trouble is None
            if trouble is None:
                _log.info("the provider is back")
            else:
                _log.error("the provider is away: {trouble}", trouble=trouble)


def is_there(instance: Instance) -> bool:
    """Whether an instance has not ended. It may be stopped."""
    return instance.alive or instance.stopped
