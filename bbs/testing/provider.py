"""A provider in memory, which passes the contract of the real ones (`provider_contract.py`)."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import implementer

from bbs.core.values import Instance
from bbs.scaling.interfaces import IKeepsWarm, IProvider, LaunchFailed


@implementer(IProvider)
class MemoryProvider(Service):
    """A provider whose instances are entries in a mapping; `scope` is as `IProvider` has it.

    `launched` has the ids in the order of their launches. Set `refusal` to make launches fail with
    it, and `on_launch` to be called with the id of each server that starts.
    """

    shared = False
    when_changed: Callable[[], None] | None = None
    on_launch: Callable[[str], None] | None = None
    _log = Logger()

    def __init__(self, scope: str = "memory") -> None:
        self.scope = scope
        self.launched: list[str] = []
        self.refusal: LaunchFailed | None = None
        self._instances: dict[str, Instance] = {}

    def launch(self, launch_id: str) -> Deferred[None]:
        """Start an instance, or fail with `refusal`."""
        if launch_id in self._instances:
            return succeed(None)
        if self.refusal:
            return fail(self.refusal)
        if not self.running:
            return fail(LaunchFailed("the provider is not running"))
        self.launched.append(launch_id)
        self._instances[launch_id] = Instance(launch_id, "127.0.0.1", True, "in memory")
        if self.on_launch:
            self.on_launch(launch_id)
        self._tell()
        return succeed(None)

    def list(self) -> Deferred[Mapping[str, Instance]]:
        """Every instance that was ever launched."""
        return succeed(dict(self._instances))

    def terminate(self, launch_id: str) -> Deferred[None]:
        """End an instance at once."""
        if launch_id in self._instances:
            self.end(launch_id, "terminated")
        return succeed(None)

    def end(self, launch_id: str, detail: str = "ended by itself") -> None:
        """Let the instance of `launch_id`, which must be there, end by itself; `detail` says
        how."""
        instance = self._instances[launch_id]
        if instance.alive or instance.stopped:
            self._instances[launch_id] = Instance(launch_id, instance.host, False, detail)
            self._tell()

    def alive(self) -> set[str]:
        """The ids of the instances that live."""
        return {id for id, instance in self._instances.items() if instance.alive}

    def _tell(self) -> None:
        if self.when_changed:
            with self._log.failuresHandled("when_changed of the memory provider failed"):
                self.when_changed()


@implementer(IKeepsWarm)
class WarmMemoryProvider(MemoryProvider):
    """A provider that keeps stopped instances, too.

    Set `start_refusal` to make starts fail with it; `on_launch` is called for starts, too.
    """

    start_refusal: LaunchFailed | None = None

    def launch_to_stop(self, launch_id: str) -> Deferred[None]:
        """Launch an instance like any other."""
        return self.launch(launch_id)

    def stop(self, launch_id: str) -> Deferred[None]:
        """Stop an instance at once."""
        return self._become(launch_id, alive=False, detail="stopped")

    def start(self, launch_id: str) -> Deferred[None]:
        """Start an instance at once, or fail with `start_refusal`."""
        if self.start_refusal:
            return fail(self.start_refusal)
        if not self.running:
            return fail(LaunchFailed("the provider is not running"))
        return self._become(launch_id, alive=True, detail="in memory")

    def _become(self, launch_id: str, alive: bool, detail: str) -> Deferred[None]:
        instance = self._instances.get(launch_id)
        if instance is None or not (instance.alive or instance.stopped):
            return fail(LaunchFailed(f"{launch_id} has no running or stopped instance"))
        if instance.alive != alive:
            self._instances[launch_id] = replace(
                instance, alive=alive, stopped=not alive, detail=detail
            )
            if alive and self.on_launch:
                self.on_launch(launch_id)
            self._tell()
        return succeed(None)
