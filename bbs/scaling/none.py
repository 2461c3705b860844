"""The provider of a fleet whose app servers an operator runs by hand: it launches nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from bbs.scaling.interfaces import IProvider, LaunchRefused
from bbs.values import Instance


@implementer(IProvider)
class NoProvider(Service):
    """Refuses every launch."""

    scope = "none"
    shared = False
    when_changed: Callable[[], None] | None = None

    def launch(self, launch_id: str) -> Deferred[None]:
        """Fails with `LaunchRefused`."""
        return fail(LaunchRefused("fleet.provider is none: run twistd bbs-app yourself"))

    def list(self) -> Deferred[Mapping[str, Instance]]:
        """Nothing."""
        return succeed({})

    def terminate(self, launch_id: str) -> Deferred[None]:
        """There is nothing to end: a server whose row is gone ends by itself."""
        return succeed(None)
