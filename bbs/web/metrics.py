"""`/metrics`, for Prometheus and what reads its formats: OpenMetrics, or Prometheus' own text.

A scrape gets what was seen last. Scrapes ask the database nothing, and are answered while the
database is away: `bbs_database_up` is 0 then. Names follow Prometheus' conventions (base units,
`_total`). Every login server says the same of the fleet, but counts and measures from its own
start: take the `max`, and of a counter the `max` of its rate. There are no people and no ids of
servers in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from zope.interface import implementer

from bbs.core import tracing
from bbs.core.values import ERRORS, State, Trouble
from bbs.web.certificates import first_ends
from bbs.web.context import PageContext
from bbs.web.lacks import spare_places
from bbs.web.poller import IMeter, Poller
from bbs.web.rates import Launched, ServiceRates
from bbs.web.snapshot import (
    Cause,
    PageView,
    causes_of,
    free_places,
    longest_wait,
    people,
    states,
)

FORMATS = re.compile(r"\bversion=(0\.0\.4|1\.0\.0)\b")
"""The versions of the formats that exist. The encoder accepts any number from 1 on, and each would
be another text to make."""

# Bounds of histograms, in seconds.

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LAUNCH = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0)
"""A child process takes a second, a machine in a cloud a minute."""
REQUEST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Most take milliseconds; a login waits until there is a place."""
PLACE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""A place is free, or on a server that is launched first."""


@implementer(IMeter)
class Metrics:
    """The measurements of this process, and what `poller` sees of the service."""

    poller: Poller

    def __init__(self, context: PageContext) -> None:
        self._policy = context.policy
        self._counters = context.counters
        self._logins = context.logins
        self._registry = registry = CollectorRegistry()
        # This reads a few lines of /proc, which are made in memory.
        ProcessCollector(registry=registry)
        program = {"service": context.service, "version": context.version}
        Info("bbs", "The program", registry=registry).info(program)

        def histogram(name: str, meaning: str, bounds: Sequence[float]) -> Histogram:
            return Histogram(name, meaning, buckets=bounds, registry=registry)

        meaning = "How late the reactor is"
        self._lag = histogram("bbs_reactor_lag_seconds", meaning, FAST)
        meaning = "Transactions of this process, with the wait for a thread"
        self._call_times = histogram("bbs_database_call_seconds", meaning, FAST)
        meaning = "How long people waited for a place at this login server"
        self._places = histogram("bbs_place_seconds", meaning, PLACE)
        meaning = "Launches, from the decision until people may be placed"
        self._launches = histogram("bbs_fleet_launch_seconds", meaning, LAUNCH)
        self._failures = Counter(
            "bbs_fleet_launch_failures", "Launches that failed", registry=registry
        )
        self._requests = Histogram(
            "bbs_request_seconds",
            "Requests to this login server, until they were answered",
            labelnames=["command"],
            buckets=REQUEST,
            registry=registry,
        )
        # By command: to look one up by labels takes as long as to count.
        self._commands: dict[str, Histogram] = {}
        registry.register(self)

    def encoder(self, accept: str) -> tuple[Callable[[], bytes], str]:
        """The function that makes the answer to a scrape that accepts `accept`, and its media
        type."""
        try:
            encode, media_type = choose_encoder(accept)
        except TypeError:  # A malformed version.
            media_type = ""
        if not FORMATS.search(media_type):
            encode, media_type = choose_encoder("")
        return partial(encode, self._registry), media_type

    def launched(self, ready: Sequence[Launched], failed: int) -> None:
        for each in ready:
            self._launches.observe(each.seconds, exemplar_of(each.trace))
        self._failures.inc(failed)

    def lagged(self, seconds: float) -> None:
        self._lag.observe(seconds)

    def answered(self, seconds: float) -> None:
        self._call_times.observe(seconds, exemplar_of(tracing.current()))

    def requested(self, command: str, seconds: float) -> None:
        histogram = self._commands.get(command)
        if histogram is None:
            histogram = self._commands[command] = self._requests.labels(command)
        histogram.observe(seconds, exemplar_of(tracing.current()))

    def placed(self, seconds: float) -> None:
        self._places.observe(seconds, exemplar_of(tracing.current()))

    # Collector, as a registry calls it

    def collect(self) -> Iterator[Any]:
        view, rates = self.poller.view(), self.poller.rates
        totals = {name: counts.total for name, counts in rates.counted.items()}
        for name, meaning, total in self._counts(rates, totals):
            yield CounterMetricFamily(name, meaning, total)
        for name, meaning, value in self._gauges(view):
            yield GaugeMetricFamily(f"bbs_{name}", meaning, value)
        yield _labelled(
            CounterMetricFamily,
            "bbs_fleet_counted",
            "What the service counts, on all servers, while this login server ran",
            "counter",
            totals,
        )
        yield _labelled(
            CounterMetricFamily,
            "bbs_fleet_errors",
            "Requests and connections that failed, on all servers, while this one ran",
            "kind",
            {kind: rates.troubles[trouble].total for trouble, kind in ERRORS.items()},
        )
        yield _labelled(
            GaugeMetricFamily,
            "bbs_fleet_certificate_expires_timestamp_seconds",
            "When the first certificate of all login or app servers ends",
            "kind",
            first_ends(view.overview),
        )
        there = states(view.overview.servers)
        counts = {str(state): there.get(state, 0) for state in State if state is not State.GONE}
        yield _labelled(GaugeMetricFamily, "bbs_fleet_servers", "App servers", "state", counts)
        present = {*causes_of(view, self._policy)}
        yield _labelled(
            GaugeMetricFamily,
            "bbs_fleet_alarm",
            "Whether operators have to act, and why",
            "cause",
            {cause: cause in present for cause in Cause},
        )

    def _counts(
        self, rates: ServiceRates, totals: Mapping[str, float]
    ) -> Iterator[tuple[str, str, float]]:
        yield "bbs_logins", "People let in by this login server", self._logins()
        meaning = "People let in by all login servers, while this one ran"
        yield "bbs_fleet_logins", meaning, rates.logins.total
        for each in self._counters:
            if each.metric:
                yield each.metric, each.help, totals[each.name]
        meaning = "Wrong passwords at all login servers, while this one ran"
        yield "bbs_fleet_failed_logins", meaning, rates.troubles[Trouble.FAILED_LOGINS].total
        meaning = "People moved so that fewer servers were needed, while this login server ran"
        yield "bbs_fleet_moves", meaning, rates.moves.total

    def _gauges(self, view: PageView) -> Iterator[tuple[str, str, float]]:
        seen = view.overview
        places = sum(each.capacity for each in seen.servers if each.state is State.READY)
        yield "database_up", "Whether the database answers", view.database
        yield "broker_up", "Whether a broker is connected", view.broker
        yield "brokers_connected", "Brokers that are connected", view.brokers.connected
        yield "brokers_wanted", "Brokers that should be connected", view.brokers.wanted
        yield "fleet_seen_timestamp_seconds", "When the fleet was seen last", view.seen_at
        yield "fleet_servers_maximum", "App servers allowed", self._policy.maximum
        yield "fleet_places", "Places on app servers that are ready", places
        yield "fleet_places_free", "Free places", free_places(view)
        yield "fleet_places_spare", "Places to be kept free", spare_places(seen, self._policy)
        yield "fleet_people", "People with a place", people(view)
        yield "fleet_connected_people", "People who listen", seen.connected
        yield "fleet_away_people", "People logged in without a place", seen.away
        yield "fleet_waiting_people", "People without a place", seen.waiting
        yield "fleet_longest_wait_seconds", "How long the first waits", longest_wait(view) or 0.0
        if view.disk is not None:
            meaning = "Bytes that are free on the disk of the database"
            yield "database_disk_free_bytes", meaning, view.disk.free
        if seen.backed_up is not None:
            meaning = "When a backup of the database last succeeded"
            yield "backup_timestamp_seconds", meaning, seen.backed_up
        clocks = [(each.ahead, each.database_ahead) for each in seen.clocks]
        off = max((abs(value) for pair in clocks for value in pair), default=0.0)
        yield "clock_off_seconds", "By how much the most wrong clock is wrong", off
        refused = seen.refusal is not None
        yield "fleet_launch_refused", "Whether the provider refuses launches", refused


def _labelled(
    family: type[Any], name: str, meaning: str, label: str, values: Mapping[str, float]
) -> Any:
    metric = family(name, meaning, labels=[label])
    for each, value in values.items():
        metric.add_metric([each], value)
    return metric


def exemplar_of(context: str) -> dict[str, str] | None:
    """The exemplar that leads from a figure to the trace `context` (W3C's form); None if the trace
    is not kept."""
    if not context:
        return None
    _, trace, span, flags = context.split("-")
    return {"trace_id": trace, "span_id": span} if int(flags, 16) & tracing.SAMPLED else None
