"""The events of the operators' page, and the sentences that say them.

Everybody may read these: people are counted and never named, and a provider is not quoted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bbs.core.values import Counter

LATE = "what happens reaches people late, or not at all"
"""The words for a broker that is away, if no counter declares others."""


class EventKind(StrEnum):
    """What happened, as the column has it."""

    LAUNCHING = "launching"
    READY = "ready"
    WARM = "warm"
    DRAINING = "draining"
    KEPT = "kept"
    FAILED = "failed"
    LOST = "lost"
    GONE = "gone"
    LAUNCH_ASKED = "launch-asked"
    DRAIN_ASKED = "drain-asked"
    REPLACE_ASKED = "replace-asked"
    REPLACE_CANCELLED = "replace-cancelled"
    PEOPLE_WAIT = "people-wait"
    NOBODY_WAITS = "nobody-waits"
    LAUNCHES_REFUSED = "launches-refused"
    LAUNCHES_ACCEPTED = "launches-accepted"
    DATABASE_AWAY = "database-away"
    DATABASE_BACK = "database-back"
    BROKER_AWAY = "broker-away"
    BROKER_BACK = "broker-back"


OPPOSITES = {
    EventKind.PEOPLE_WAIT: EventKind.NOBODY_WAITS,
    EventKind.LAUNCHES_REFUSED: EventKind.LAUNCHES_ACCEPTED,
    EventKind.DATABASE_AWAY: EventKind.DATABASE_BACK,
    EventKind.BROKER_AWAY: EventKind.BROKER_BACK,
}
"""The events that begin something, and what ends each."""


@dataclass(frozen=True)
class Event:
    """What happened, `at` when (seconds since the epoch), to which `server` (its id), with the
    `detail` in words and the `number` that its sentence has."""

    kind: EventKind
    at: float
    server: str = ""
    detail: str = ""
    number: float | None = None


def sentence(event: Event, counters: Iterable[Counter] = ()) -> str:
    """Say what happened in a service that counts `counters`."""
    name = f"Server {short(event.server)}"
    why = f": {event.detail}." if event.detail else "."
    match event.kind:
        case EventKind.READY if event.number is not None:
            return f"{name} is ready after {event.number:.1f} s."
        case EventKind.DRAINING:
            return f"{name} drains{why}"
        case EventKind.LOST:
            return f"{name} is lost{why}"
        case EventKind.GONE:
            return f"{name} is gone{why}"
        case EventKind.LAUNCH_ASKED:
            return f"An operator asked to start server {short(event.server)}."
        case EventKind.DRAIN_ASKED:
            return f"An operator asked to drain server {short(event.server)}."
        case EventKind.REPLACE_ASKED:
            return f"An operator asked for others in place of {event.detail}."
        case EventKind.REPLACE_CANCELLED:
            return f"An operator asked to keep {event.detail}."
        case EventKind.PEOPLE_WAIT:
            return f"{_people(int(event.number or 0))} for a place."
        case EventKind.BROKER_AWAY:
            return broker_away(counters, " later")
        case kind if kind in _OF_SERVER:
            return f"{name} {_OF_SERVER[kind]}."
        case kind:
            return _OF_SERVICE[kind]


_OF_SERVER = {
    EventKind.LAUNCHING: "is being launched",
    EventKind.READY: "is ready",
    EventKind.WARM: "has booted, and stands by",
    EventKind.KEPT: "is needed after all, and takes people",
    EventKind.FAILED: "could not be launched",
}

_OF_SERVICE = {
    EventKind.NOBODY_WAITS: "Nobody waits for a place any more.",
    EventKind.LAUNCHES_REFUSED: "Nothing can be launched: the provider refuses it.",
    EventKind.LAUNCHES_ACCEPTED: "Servers can be launched again.",
    EventKind.DATABASE_AWAY: (
        "The database is away: nobody can log in, and the fleet is shown as last known."
    ),
    EventKind.DATABASE_BACK: "The database is back.",
    EventKind.BROKER_BACK: "The broker is back.",
}


def broker_away(counters: Iterable[Counter], how_late: str) -> str:
    """Say that the broker is away: what arrives meanwhile does so `how_late`."""
    arrivals = " and ".join(each.arrival for each in counters if each.arrival)
    return f"The broker is away: {arrivals + how_late if arrivals else LATE}."


def short(server: str) -> str:
    """A server's id as people tell it from others."""
    return server[:8]


def _people(count: int) -> str:
    return "1 person waits" if count == 1 else f"{count} people wait"
