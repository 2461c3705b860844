"""`/metrics`: what Prometheus and its like read, in OpenMetrics or in Prometheus' own text.

Answered from what was seen last, so a scrape asks the database nothing and is answered while it is
away: `bbs_database_up` is 0 then. Names follow Prometheus' conventions (base units, `_total`). What
is said of the fleet is the same at every login server that is scraped, but that each counts and
measures from its own start: take the `max`, of a counter the `max` of its rate. No people, and no
server's id, are in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from zope.interface import implementer

from bbs import __version__
from bbs.core import tracing
from bbs.core.values import ERRORS, State, Trouble
from bbs.web.poller import IMeter, Poller
from bbs.web.rates import Launched
from bbs.web.snapshot import (
    Alarm,
    Cause,
    PageView,
    ServiceInfo,
    alarms,
    free_places,
    longest_wait,
    people,
    spare_places,
)

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Bounds for what should take milliseconds, in seconds."""

VERSIONS = re.compile(r"\bversion=(0\.0\.4|1\.0\.0)\b")
"""The versions of the formats that there are. The encoder takes any number from 1 on for one, and
each would be a text of its own to make."""

LAUNCH = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0)
"""Bounds for launches: a child process takes a second, a machine in a cloud a minute."""

REQUEST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bounds for requests: most take milliseconds, and a login as long as there is no place."""

PLACE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Bounds for places: one that is free, or one on a server that is launched first."""


@implementer(IMeter)
class Metrics:
    """Measures, and tells what it measured and what `lookout` sees of the service `standing`.

    :param logins: how many people this login server has let in.
    """

    lookout: Poller

    def __init__(self, standing: ServiceInfo, logins: Callable[[], int]) -> None:
        self._policy = standing.policy
        self._counters = standing.counters
        self._logins = logins
        self._registry = registry = CollectorRegistry()
        # It reads a few lines of /proc, which are made in memory.
        ProcessCollector(registry=registry)
        program = {"service": standing.service, "version": __version__}
        Info("bbs", "The program", registry=registry).info(program)
        self._lag = Histogram(
            "bbs_reactor_lag_seconds", "How late the reactor is", buckets=FAST, registry=registry
        )
        self._answers = Histogram(
            "bbs_database_call_seconds",
            "Transactions of this process, with the wait for a thread",
            buckets=FAST,
            registry=registry,
        )
        self._requests = Histogram(
            "bbs_request_seconds",
            "Requests to this login server, until they were answered",
            labelnames=["command"],
            buckets=REQUEST,
            registry=registry,
        )
        self._commands: dict[str, Histogram] = {}
        """Those of commands, which to look up by labels takes as long as to count."""
        self._places = Histogram(
            "bbs_place_seconds",
            "How long people waited for a place at this login server",
            buckets=PLACE,
            registry=registry,
        )
        self._launches = Histogram(
            "bbs_fleet_launch_seconds",
            "Launches, from the decision until people may be placed",
            buckets=LAUNCH,
            registry=registry,
        )
        self._failures = Counter(
            "bbs_fleet_launch_failures", "Launches that failed", registry=registry
        )
        registry.register(self)

    def encoder(self, accept: str) -> tuple[Callable[[], bytes], str]:
        """What makes the answer to a scrape that takes `accept`, and its media type."""
        try:
            encode, media_type = choose_encoder(accept)
        except TypeError:  # For a version that is none.
            media_type = ""
        if not VERSIONS.search(media_type):
            encode, media_type = choose_encoder("")
        return partial(encode, self._registry), media_type

    # IMeter

    def launched(self, ready: Sequence[Launched], failed: int) -> None:
        for each in ready:
            self._launches.observe(each.seconds, exemplar_of(each.trace))
        self._failures.inc(failed)

    def lagged(self, seconds: float) -> None:
        self._lag.observe(seconds)

    def answered(self, seconds: float) -> None:
        self._answers.observe(seconds, exemplar_of(tracing.current()))

    # Timing

    def requested(self, command: str, seconds: float) -> None:
        """A request was answered after so long."""
        timed = self._commands.get(command)
        if timed is None:
            timed = self._commands[command] = self._requests.labels(command)
        timed.observe(seconds, exemplar_of(tracing.current()))

    def placed(self, seconds: float) -> None:
        """Somebody was given a place after so long."""
        self._places.observe(seconds, exemplar_of(tracing.current()))

    # Collector, as a registry calls it

    def collect(self) -> Iterator[Any]:
        view = self.lookout.view()
        yield CounterMetricFamily(
            "bbs_logins", "People let in by this login server", self._logins()
        )
        yield CounterMetricFamily(
            "bbs_fleet_logins",
            "The same by all, while this one ran",
            self.lookout.tallies.logins.total,
        )
        totals = {name: counts.total for name, counts in self.lookout.tallies.counted.items()}
        for each in self._counters:
            if each.metric:
                yield CounterMetricFamily(each.metric, each.help, totals[each.name])
        counted = CounterMetricFamily(
            "bbs_fleet_counted",
            "What the service counts, on all servers, while this login server ran",
            labels=["counter"],
        )
        for name, total in totals.items():
            counted.add_metric([name], total)
        yield counted
        troubles = self.lookout.tallies.troubles
        yield CounterMetricFamily(
            "bbs_fleet_failed_logins",
            "Passwords that were wrong, at all login servers, while this one ran",
            troubles[Trouble.FAILED_LOGINS].total,
        )
        yield CounterMetricFamily(
            "bbs_fleet_moves",
            "People moved so that fewer servers were needed, while this login server ran",
            self.lookout.tallies.moves.total,
        )
        errors = CounterMetricFamily(
            "bbs_fleet_errors",
            "Requests and connections that failed, on all servers, while this one ran",
            labels=["kind"],
        )
        for trouble, kind in ERRORS.items():
            errors.add_metric([kind], troubles[trouble].total)
        yield errors
        for name, meaning, value in self._gauges(view):
            yield GaugeMetricFamily(f"bbs_{name}", meaning, value)
        servers = GaugeMetricFamily("bbs_fleet_servers", "App servers", labels=["state"])
        for state in State:
            if state is not State.GONE:
                servers.add_metric([state], _count(view, state))
        yield servers
        crying = {alarm.cause for alarm in self._alarms(view)}
        alarm = GaugeMetricFamily(
            "bbs_fleet_alarm",
            "Whether nothing is launched for who waits, and why",
            labels=["cause"],
        )
        for cause in Cause:
            alarm.add_metric([cause], cause in crying)
        yield alarm

    def _alarms(self, view: PageView) -> Iterator[Alarm]:
        return alarms(view.scene.overview, self._policy, view.measured.keeper_silence, False)

    def _gauges(self, view: PageView) -> Iterator[tuple[str, str, float]]:
        seen = view.scene.overview
        places = sum(each.capacity for each in seen.servers if each.state is State.READY)
        yield "database_up", "Whether the database answers", view.scene.database
        yield "broker_up", "Whether the broker is connected", view.scene.broker
        yield "fleet_seen_timestamp_seconds", "When the fleet was seen last", view.seen_at
        yield "fleet_servers_maximum", "App servers allowed", self._policy.maximum
        yield "fleet_places", "Places on app servers that are ready", places
        yield "fleet_places_free", "Those that are free", free_places(view)
        spare = spare_places(seen, self._policy)
        yield "fleet_places_spare", "Those to be kept free", spare
        yield "fleet_people", "People with a place", people(view)
        yield "fleet_connected_people", "People who listen", seen.connected
        yield "fleet_away_people", "People logged in without a place", seen.away
        yield "fleet_waiting_people", "People without a place", seen.waiting
        yield "fleet_longest_wait_seconds", "How long the first waits", longest_wait(view) or 0.0
        yield "fleet_launch_refused", "Whether nothing can be launched", seen.refusal is not None


def exemplar_of(context: str) -> dict[str, str] | None:
    """What leads from a figure to the trace `context` (W3C's form); None where nobody keeps it."""
    if not context:
        return None
    _, trace, span, flags = context.split("-")
    return {"trace_id": trace, "span_id": span} if int(flags, 16) & tracing.SAMPLED else None


def _count(view: PageView, state: State) -> int:
    return sum(server.state is state for server in view.scene.overview.servers)
