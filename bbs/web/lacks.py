"""What the fleet lacks: servers that should be ready, or launches that succeed.

Pure functions of what one look at the service shows, and `Shortage`, which remembers for how long
too few servers have been ready. Nobody needs to wait for a place: a fleet that cannot launch is ill
before the next person comes.
"""

from __future__ import annotations

from bbs.core.values import Policy, State
from bbs.rules.overview import Overview
from bbs.rules.servers import SPARE

FAILURES = 2
"""Launches that fail in a row before there is an alarm while people wait: the first may have failed
by chance."""

PATIENCE = 150.0
"""Seconds for which the fleet may lack servers before there is an alarm. A launch takes a second as
a process and a minute in a cloud. A look, a scrape and CloudWatch's period of a minute are added to
this, and whoever is on call should hear of it within five minutes."""

RETURNS = 60.0
"""Seconds for which enough servers have to be ready until a shortage is over. Servers that boot and
die again are one shortage, not many."""

REMEMBERED = 600.0
"""Seconds, beside the time-out of a launch, after which failures are of another time if nothing was
launched since. While servers are needed, launches are tried at least once a minute."""


def ready_servers(seen: Overview) -> int:
    return sum(server.state is State.READY for server in seen.servers)


def spare_places(seen: Overview, policy: Policy) -> int:
    """The number of places to keep free: as configured, or as the fleet controller forecasts."""
    if not policy.foresees:
        return policy.spare
    return max((each.figures.get(SPARE, 0) for each in seen.login_servers), default=0)


def is_short(seen: Overview, policy: Policy) -> bool:
    """Whether fewer servers are ready than the minimum."""
    return ready_servers(seen) < policy.minimum


def is_unready(seen: Overview, policy: Policy) -> bool:
    """Whether no server is ready, and none waits to be launched until somebody comes."""
    is_on_demand = policy.maximum and not policy.minimum
    return not is_on_demand and not ready_servers(seen)


def needs_servers(seen: Overview, policy: Policy) -> bool:
    """Whether another server should be ready: for people who wait, for the minimum, or for the
    places to be kept free."""
    if seen.waiting or is_short(seen, policy):
        return True
    free = sum(server.free for server in seen.servers)
    return ready_servers(seen) < policy.maximum and free < spare_places(seen, policy)


def launches_fail(seen: Overview, policy: Policy) -> bool:
    """Whether launches have failed for long enough to get up for, while servers are needed. Only a
    success, or an end of the need, ends that; the next launch may be under way or held back."""
    failed = seen.failures
    is_present = failed.count and abs(failed.ago) < policy.launch_timeout + REMEMBERED
    if not is_present or not needs_servers(seen, policy):
        return False
    return failed.lasted >= PATIENCE or bool(seen.waiting and failed.count >= FAILURES)


class Shortage:
    """Measures for how long too few servers have been ready.

    :ivar lasted: seconds since the present shortage began; 0 if there is none.
    """

    def __init__(self) -> None:
        self.lasted = 0.0
        self._is_present = False
        self._well_for = 0.0

    def note(self, is_short: bool, elapsed: float) -> None:
        """Note whether too few are ready now, `elapsed` seconds after the last note, as far as the
        fleet could be seen meanwhile."""
        self._well_for = 0.0 if is_short else self._well_for + elapsed
        if self._is_present:
            self.lasted += elapsed
        if is_short:
            self._is_present = True
        elif self._well_for >= RETURNS:
            self._is_present, self.lasted = False, 0.0
