"""The history of the operators' pages: points of the last hour, and events with their sentences.

A rule stores its events in its own transaction. The next id is found under the lock of the fleet's
lease (`membership.locked_leader`), which every rule that stores events holds. Therefore events are
committed in the order of their ids, and a page that reads behind the last id misses none. Events
outside of rules, such as a lost broker, are stored by the first login server that sees them.

Everybody may read the sentences: they count users and never name them, and do not quote a provider.
The first page that is due writes a point of the fleet; each page writes its own points in addition.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import peewee

from bbs.core.values import Counter
from bbs.rules.membership import locked_leader
from bbs.storage.database import long_read, read_only, rows
from bbs.storage.models import LoginServer, News, Point
from bbs.storage.statements import statement

LATE = "what happens reaches people late, or not at all"  # For a broker that is away, by default.


class EventKind(StrEnum):
    """What happened, as stored."""

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
"""The events that begin a state, each with the event that ends it."""


@dataclass(frozen=True)
class FleetEvent:
    """An event of the operators' page."""

    kind: EventKind
    at: float  # Seconds since the epoch.
    server: str = ""  # Its id.
    detail: str = ""  # In the sentence: how many servers, or what one did (`servers.explain`).
    number: float | None = None  # In the sentence.


def sentence(event: FleetEvent, counters: Iterable[Counter] = ()) -> str:
    """Say what happened, in a service with these `counters`."""
    if event.kind is EventKind.BROKER_AWAY:
        return broker_away(counters, " later")
    count = int(event.number or 0)
    return _SENTENCES[event.kind].format(
        name=short(event.server),
        detail=event.detail or _VERBS.get(event.kind, ""),
        after="" if event.number is None else f" after {event.number:.1f} s",
        people="1 person waits" if count == 1 else f"{count} people wait",
    )


_VERBS = {
    EventKind.DRAINING: "drains",
    EventKind.LOST: "is lost",
    EventKind.GONE: "is gone",
}
"""What a server does for which nothing else is known."""

_SENTENCES = {
    EventKind.LAUNCHING: "Server {name} is being launched.",
    EventKind.READY: "Server {name} is ready{after}.",
    EventKind.WARM: "Server {name} has booted, and stands by.",
    EventKind.DRAINING: "Server {name} {detail}.",
    EventKind.KEPT: "Server {name} is needed after all, and takes people.",
    EventKind.FAILED: "Server {name} could not be launched.",
    EventKind.LOST: "Server {name} {detail}.",
    EventKind.GONE: "Server {name} {detail}.",
    EventKind.LAUNCH_ASKED: "An operator asked to start server {name}.",
    EventKind.DRAIN_ASKED: "An operator asked to drain server {name}.",
    EventKind.REPLACE_ASKED: "An operator asked for others in place of {detail}.",
    EventKind.REPLACE_CANCELLED: "An operator asked to keep {detail}.",
    EventKind.PEOPLE_WAIT: "{people} for a place.",
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
    """Say that the broker is away, and which things arrive `how_late`."""
    arrivals = " and ".join(each.arrival for each in counters if each.arrival)
    return f"The broker is away: {arrivals + how_late if arrivals else LATE}."


def short(server: str) -> str:
    """Shorten a server's id for people."""
    return server[:8]


HOUR = 3600.0  # Seconds for which points are kept.
SLACK = 60.0  # Seconds more, as clocks differ a little.
POINTS_READ = 360  # Points of a series at most: those of an hour, one each ten seconds.
NEWS_KEPT = 100  # The latest events, which are kept.
AT_ONCE = 500  # Events that one statement stores: SQLite takes 32,766 values.
OF_FLEET = ""  # The series of the whole fleet, instead of a login server's id.

Series = Mapping[str, Any]  # The contents of a point: values by series, and other members.


@dataclass(frozen=True)
class StoredEvent:
    """A stored event. Ids rise."""

    id: int
    at: float  # Seconds since the epoch.
    text: str
    event: FleetEvent | None  # None for a kind of another version.


@dataclass(frozen=True)
class Moment:
    """The point with this `id`, measured `at` a time (seconds since the epoch)."""

    id: int
    at: float
    series: Series


@dataclass(frozen=True)
class Remembered:
    """The beginning of a page, oldest first."""

    fleet: tuple[Moment, ...]  # Its last hour.
    own: tuple[Moment, ...]  # The hour of the login server that this one continues.
    news: tuple[StoredEvent, ...]  # The latest.


@long_read
def recall(me: str, now: float) -> Remembered:
    """Read the history for the page of the login server `me`. A login server that starts has a new
    id: its own series continues that of the one that stopped last."""
    running = LoginServer.select(LoginServer.id)
    gone = (
        Point.select(Point.login_server)
        .where(
            Point.at.between(now - HOUR, now + SLACK)
            & (Point.login_server != OF_FLEET)
            & ((Point.login_server == me) | Point.login_server.not_in(running))
        )
        .order_by(Point.id.desc())
        .limit(1)
    )
    before = [name for (name,) in rows(gone)]
    own = _series(before[0], now) if before else ()
    return Remembered(_series(OF_FLEET, now), own, news_behind(0))


def write_points(
    me: str, behind: int, at: float, fleet: Series | None, own: Series
) -> tuple[Moment, ...]:
    """Store a point of `me`, its `own` series measured `at` a time. Also store a point of the
    `fleet`, unless another page has stored one behind the id `behind`; this removes old points.

    :param fleet: None if the fleet could not be observed.
    :returns: the fleet's points behind that id, of all pages.
    """
    Point.insert(at=at, login_server=me, series=json.dumps(own)).execute()
    locked_leader()  # If two pages do this at once, one finds the other's point.
    written = _series(OF_FLEET, at, behind)
    if written or fleet is None:
        return written
    # Points far in the future were written by a wrong clock, and would stay for long.
    Point.delete().where((Point.at < at - HOUR - SLACK) | (Point.at > at + HOUR)).execute()
    id: int = Point.insert(at=at, login_server=OF_FLEET, series=json.dumps(fleet)).execute()
    return (Moment(id, at, fleet),)


def _series(login_server: str, now: float, behind: int = 0) -> tuple[Moment, ...]:
    latest = (
        Point.select(Point.id, Point.at, Point.series)
        .where(
            Point.at.between(now - HOUR, now + SLACK)
            & (Point.login_server == login_server)
            & (Point.id > behind)
        )
        .order_by(Point.id.desc())
        .limit(POINTS_READ)
    )
    found = [Moment(id, at, json.loads(series)) for id, at, series in rows(latest)]
    return tuple(reversed(found))


def add(*events: FleetEvent) -> list[int]:
    """Store `events`, in the transaction that causes them; returns their ids."""
    if not events:
        return []
    [(last,)] = _last_id()
    # The ids are based on the time, so that they still rise when another database is restored.
    first = max((last or 0) + 1, int(events[-1].at * 1000))
    ids = [*range(first, first + len(events))]
    for some in peewee.chunked(map(_row, ids, events), AT_ONCE):
        News.insert_many(some).execute()
    return ids


def goes_on(kind: EventKind) -> bool:
    """Whether the state that `kind` begins has not ended, by the stored events."""
    return any(last == kind for _, last in rows(_pair(kind).limit(1)))


def add_seen(events: Sequence[FleetEvent], behind: int) -> list[int]:
    """Store events that only login servers see, unless another one has stored the same event behind
    the id `behind`, or as the last of its kind; returns the ids of their rows."""
    locked_leader()
    ids: list[int] = []
    for event in events:
        pair = rows(_pair(event.kind))
        same = [id for id, kind in pair if kind == event.kind and (id > behind or id == pair[0][0])]
        ids += same[:1] or add(event)
    return ids


@read_only
def news_behind(id: int) -> tuple[StoredEvent, ...]:
    """The latest news with ids above `id`, oldest first."""
    values = News.kind, News.server, News.detail, News.number
    behind = News.select(News.id, News.at, News.text, *values).where(News.id > id)
    latest = rows(behind.order_by(News.id.desc()).limit(NEWS_KEPT))
    return tuple(_stored(*row) for row in reversed(latest))


def forget_old_news() -> int:
    """Remove all news but the latest, and the beginnings of states that last; returns how many."""
    latest = {kind: rows(_pair(kind).limit(1)) for kind in OPPOSITES}
    lasting = [id for begin, found in latest.items() for id, kind in found if kind == begin]
    oldest = News.select(News.id).order_by(News.id.desc()).offset(NEWS_KEPT - 1).limit(1)
    return sum(
        int(News.delete().where((News.id < id) & News.id.not_in(lasting)).execute())
        for (id,) in rows(oldest)
    )


def _stored(
    id: int, at: float, text: str, kind: str, server: str, detail: str, number: float | None
) -> StoredEvent:
    event: FleetEvent | None = None
    with suppress(ValueError):  # A newer version may have others.
        event = FleetEvent(EventKind(kind), at, server, detail, number)
    return StoredEvent(id, at, text, event)


def _pair(kind: EventKind) -> Any:
    """Select the rows that begin or end the state of `kind`, newest first."""
    pair = next(pair for pair in OPPOSITES.items() if kind in pair)
    return News.select(News.id, News.kind).where(News.kind.in_(pair)).order_by(News.id.desc())


@statement
def _last_id() -> peewee.Select:
    return News.select(peewee.fn.MAX(News.id))


def _row(id: int, event: FleetEvent) -> dict[str, Any]:
    detail = event.detail[: News.detail.max_length]
    return {**asdict(event), "id": id, "text": sentence(event), "detail": detail}
