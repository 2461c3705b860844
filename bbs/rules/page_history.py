"""What the operators' pages remember together: their last hour, and what happened.

One login server at a time writes down what it saw of the whole fleet: the one that holds a lease,
as with the fleet's keeper, but another one. Each writes its own series beside. Heartbeats are
counts; whoever watches one measures with its own clock for how long it has not moved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bbs.rules import membership
from bbs.rules.membership import LeaseSeen
from bbs.storage.database import long_read, read_only, rows
from bbs.storage.models import Lease, LoginServer, News, Point

NARRATOR = "page"
"""The name of the lease."""

HOUR = 3600.0
"""Seconds of points that are kept."""

SLACK = 60.0
"""Seconds more, as clocks differ a little."""

POINTS_READ = 360
"""Points of a series at the most: an hour's, one each ten seconds."""

NEWS_KEPT = 100
"""Sentences that are kept, the latest."""

OF_FLEET = ""
"""Instead of a login server's id: the series of the whole fleet."""

Series = Mapping[str, Any]
"""What a point says: values by the name of their series, and what else the page makes of it."""


@dataclass(frozen=True)
class Sentence:
    """What happened, `at` when (seconds since the epoch). Ids rise."""

    id: int
    at: float
    text: str


@dataclass(frozen=True)
class Moment:
    """The point `id`: what was measured `at` when (seconds since the epoch)."""

    id: int
    at: float
    series: Series


@dataclass(frozen=True)
class Remembered:
    """What a page begins with, oldest first: the fleet's hour, the one of the login server that
    this one follows on (its own is yet to come), and the latest news."""

    fleet: tuple[Moment, ...]
    own: tuple[Moment, ...]
    news: tuple[Sentence, ...]


@long_read
def recall(me: str, now: float) -> Remembered:
    """What is remembered for the page of the login server `me`.

    A login server that starts has a new id. So its own series goes on with that of one which runs
    no more, and of several with that of the one which was there last.
    """
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
    return Remembered(
        fleet=_series(OF_FLEET, now),
        own=_series(before[0], now) if before else (),
        news=news_behind(0),
    )


@read_only
def moments_behind(point: int, now: float) -> tuple[Moment, ...]:
    """The fleet's points of the last hour with ids above `point`, oldest first."""
    return _series(OF_FLEET, now, point)


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


@read_only
def news_behind(id: int) -> tuple[Sentence, ...]:
    """The latest news with ids above `id`, oldest first."""
    latest = (
        News.select(News.id, News.at, News.text)
        .where(News.id > id)
        .order_by(News.id.desc())
        .limit(NEWS_KEPT)
    )
    return tuple(Sentence(*row) for row in reversed(rows(latest)))


@read_only
def narrator() -> LeaseSeen | None:
    """Who writes down what is seen of the fleet, if anybody does."""
    return membership.seen_lease(NARRATOR)


def narrate(me: str, lapsed: LeaseSeen | None) -> bool:
    """Whether `me` is to write down what is seen of the fleet from now on; this counts as a
    heartbeat. It is where nobody else does: nobody who runs, or whoever was seen as `lapsed` and
    has not moved since."""
    lease = Lease.get_or_none(Lease.name == NARRATOR)
    if lease is None:
        Lease.insert(name=NARRATOR, holder=me, identity="").execute()
        return True
    mine, name = lease.holder == me, Lease.name == NARRATOR
    free = lapsed is not None and (lease.holder, lease.beats) == (lapsed.holder, lapsed.beats)
    if not mine and not free and _runs(lease.holder):
        return False
    same = (Lease.holder == lease.holder) & (Lease.beats == lease.beats)
    return bool(
        Lease.update(holder=me, beats=lease.beats + 1, identity="").where(name & same).execute()
    )


def _runs(login_server: str) -> bool:
    return LoginServer.select().where(LoginServer.id == login_server).exists()


def write_points(
    me: str,
    lapsed: LeaseSeen | None,
    at: float,
    fleet: Series | None,
    own: Series,
    news: Sequence[Sentence] = (),
) -> int | None:
    """Write down what `me` measured `at` when: its `own` series, and if it narrates those of the
    `fleet` and `news`. What is older than an hour is removed then.

    :param fleet: None where the fleet could not be seen.
    :returns: the id of the fleet's point, 0 where there is none; None if somebody else narrates.
    """
    Point.insert(at=at, login_server=me, series=json.dumps(own)).execute()
    if not narrate(me, lapsed):
        return None
    add_news(news)
    # What is far ahead was written by a clock that was wrong, and would stay for long.
    Point.delete().where((Point.at < at - HOUR - SLACK) | (Point.at > at + HOUR)).execute()
    if fleet is None:
        return 0
    id: int = Point.insert(at=at, login_server=OF_FLEET, series=json.dumps(fleet)).execute()
    return id


def write_news(me: str, news: Sequence[Sentence]) -> bool:
    """Write down `news`, if `me` narrates; whether it does."""
    lease = Lease.get_or_none(Lease.name == NARRATOR)
    if lease is None or lease.holder != me:
        return False
    add_news(news)
    return True


def add_news(news: Sequence[Sentence]) -> None:
    """Write down `news`, and remove what is too old. To write it again is no error: nobody knows
    of a call that was given up whether it was carried out."""
    if not news:
        return
    entries = [{"id": each.id, "at": each.at, "text": each.text} for each in news]
    News.insert_many(entries).on_conflict_ignore().execute()
    oldest = News.select(News.id).order_by(News.id.desc()).offset(NEWS_KEPT - 1).limit(1)
    for (id,) in rows(oldest):
        News.delete().where(News.id < id).execute()
