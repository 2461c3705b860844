"""A database that has gone back to an earlier state: a backup was put in its place.

Its ids go on above all that may have been given (`bbs.storage.rising_ids`). Its sessions have to be
mended, too: some of them were ended since the backup, and later ones are missing. Nothing in the
backup says which were ended, so all end, except where it is known better:

- App servers know who listens, and these sessions live. The servers keep them, or store them again,
for a user with the same id and channel, who is the same person.
- `bbs restore` compares the backup with the database that it replaces.

A server knows that its database has gone back when its own heartbeats are fewer than it wrote, when
an era or an end of sessions is gone that it knew, or when its row is gone and a table gives ids
again. One server begins the era and ends the sessions; the others find that at their next
heartbeat, as each looks at what `Look` has in the transaction that writes it.

A large dump is loaded for long, one table after the other. For a while, servers therefore check
whether sessions were loaded after they had ended; if so, it all begins again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, ParamSpec, TypeVar

import peewee

from bbs.storage import models, rising_ids
from bbs.storage.database import read_only
from bbs.storage.engines import creation
from bbs.storage.models import Place, Secret, Session, User
from bbs.storage.rising_ids import ERA, MICROSECONDS
from bbs.storage.statements import statement

P = ParamSpec("P")
T = TypeVar("T")

ENDED = "sessions from"
"""A row of `Secret`: the time, in microseconds since the epoch, before which all sessions have
ended but those that were kept."""

LOOK = "look"  # The key of a query in `TransactionGuard.kept`.

ENDED_AT_ONCE = 500  # Sessions that one statement ends.

BEHIND = 2
"""Heartbeats that may be missing in a cluster without a restore: the next node that is written to
may lack the last ones for a moment."""


@dataclass(frozen=True)
class Look:
    """What a server sees of its database before it writes a heartbeat: the first id of the era, the
    last end of sessions, its own heartbeats (None: it has no row), and by table the highest ids.
    Of the heartbeats some may be `missing` without a restore."""

    era: int = 0
    ended: int = 0
    beats: int | None = None
    ids: Mapping[str, int] = field(default_factory=dict)
    missing: int = 0

    def is_before(self, other: Look) -> bool:
        """Whether the database was in this state before that in which `other` found it."""
        missing = 0
        if self.beats is not None and other.beats is not None:
            missing = other.beats - self.beats
        return self.era < other.era or self.ended < other.ended or missing > self.missing


class Listening(NamedTuple):
    """A session (its token's digest) whose user listens, with the user's id and channel."""

    session: str
    user: int
    channel: str


def beat_and_look(
    server: str, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
) -> tuple[T, Look]:
    """Look at the database as the server with this id, and then call `rule`, which writes its
    heartbeat."""
    seen = look(server)
    return rule(*arguments, **keywords), seen


@read_only
def look(server: str) -> Look:
    database: Any = models.database.obj
    if LOOK not in database.kept:  # The tables are those that there were as the server started.
        database.kept[LOOK] = _make_look(database)
    sql, names = database.kept[LOOK]
    era, ended, beats, *ids = database.carry_out(sql, (server,), False).fetchone()
    known = {name: int(id) for name, id in zip(names, ids, strict=True) if id is not None}
    servers = getattr(database, "servers", None)
    missing = BEHIND if servers and servers.is_galera else 0
    return Look(int(era or 0), int(ended or 0), beats, known, missing)


def _make_look(database: Any) -> tuple[str, Sequence[str]]:
    tables = rising_ids.tables()
    # The names are this module's, and `param` is the driver's mark for a value.
    parts = [f"SELECT value FROM secret WHERE name = '{name}'" for name in (ERA, ENDED)]  # nosec B608
    parts.append(f"SELECT beats FROM heartbeat WHERE server = {database.param}")  # nosec B608
    parts += [rising_ids.highest_query(database, *each) for each in tables.items()]
    return f"SELECT {', '.join(f'({part})' for part in parts)}", [*tables]


@read_only
def gives_again(known: Mapping[str, int]) -> bool:
    """Whether a table will give an id again that it has given, as far as the highest ids are
    `known`."""
    given = rising_ids.given()
    return any(given[table] < id for table, id in known.items() if table in given)


@read_only
def sessions_made() -> str:
    """By whom and when the table of the sessions was made (`bbs.storage.engines.creation`): anew if
    a dump's were loaded. "" where that is not known."""
    return creation(models.database.obj, Session._meta.table_name)


def claim_end(before: int, now: float) -> tuple[int, bool]:
    """Note that sessions end `now` (seconds since the epoch), unless somebody has noted that since
    `before`, the last end that the caller knows. Returns the end, and whether the caller is to see
    to it."""
    Secret.update(name=Secret.name).execute()  # A lock, as in `rising_ids`.
    there = last_end()
    if there > before:
        return there, False
    ended = max(round(now * MICROSECONDS), before + 1)
    Secret.insert(name=ENDED, value=str(ended)).on_conflict_replace().execute()
    return ended, True


def end_some(ended: float) -> int:
    """End some sessions that were last used before `ended`; returns how many. Their last use is set
    to 1970: a sweep removes them, with what else there is of users without a session."""
    before = min(ended / MICROSECONDS, 1e300)  # MySQL knows no infinity.
    found = [session for (session,) in _unended(before, ENDED_AT_ONCE)]
    if found:
        Session.update(used=0.0).where(Session.digest.in_(found)).execute()
    return len(found)


@statement
def _unended(before: float, limit: int) -> peewee.Select:
    unended = (Session.used < before) & (Session.used > 0.0)
    return Session.select(Session.digest).where(unended).order_by(Session.used).limit(limit)


def keep(listening: Sequence[Listening], now: float) -> int:
    """Let sessions live on whose users listen, if these have accounts; returns how many."""
    kept = 0
    for session, user, channel in sorted(listening):
        same = (User.id == user) & (User.channel == channel)
        if User.select().where(same).exists():
            Session.insert(digest=session, user=user, used=now).on_conflict_replace().execute()
            # A user without a place is away, and is given a place as a listener.
            Place.insert(user=user, away=True).on_conflict_ignore().execute()
            kept += 1
    return kept


def begin_anew(now: float) -> int:
    """What the start of a server, or a command, does about a database that has gone back: begin an
    era, and end all sessions. Returns how many these were. (A rule without a deadline.)"""
    rising_ids.begin_era(now, {})
    claim_end(last_end(), now)
    count = 0
    while some := end_some(math.inf):  # Some may be from a clock that was ahead.
        count += some
    return count


def last_end() -> int:
    """The last end of sessions; 0 if there was none."""
    row = Secret.get_or_none(Secret.name == ENDED)
    return 0 if row is None else int(row.value)


FORMER = "former"
"""The name of the database that a restored one replaces, where SQLite has attached that. The
statements below write it out."""

_WHO_MAY_COME_IN = (
    # The users of both. A channel is random, so it tells users apart who were given the same id.
    "CREATE TEMP VIEW of_both AS SELECT was.id FROM former.user AS was"
    " JOIN main.user AS now ON now.id = was.id AND now.channel = was.channel",
    "DELETE FROM main.session",
    "INSERT INTO main.session (digest, user_id, used) SELECT digest, user_id, used"
    " FROM former.session WHERE user_id IN (SELECT id FROM of_both)",
    "UPDATE main.user SET password_hash = (SELECT was.password_hash FROM former.user AS was"
    " WHERE was.id = main.user.id) WHERE id IN (SELECT id FROM of_both)",
    "DELETE FROM main.suspension WHERE user_id IN (SELECT id FROM of_both)",
    "INSERT INTO main.suspension (user_id, since, until, reason) SELECT user_id, since, until,"
    " reason FROM former.suspension WHERE user_id IN (SELECT id FROM of_both)",
    "DROP VIEW of_both",
)


def former_ids() -> Mapping[str, int]:
    """The highest ids that the database to be replaced has given, by table. (SQLite alone.)"""
    found = models.database.execute_sql("SELECT name, seq FROM former.sqlite_sequence")
    return {str(table): int(last) for table, last in found.fetchall()}


def take_over_logins() -> None:
    """Let those come in, to a database that was restored, who may come in to the one that it
    replaces: the same sessions, passwords and suspensions, of users who are in both. (SQLite
    alone.)"""
    for sql in _WHO_MAY_COME_IN:
        models.database.execute_sql(sql)
    _correct_places()


def end_all() -> None:
    """End all sessions of a database that no server uses, by deleting them."""
    Session.delete().execute()
    _correct_places()


def _correct_places() -> None:
    """Let those have a place, on no server, who have a session."""
    Place.delete().where(Place.user.not_in(Session.select(Session.user))).execute()
    online = Session.select(Session.user, True).distinct()
    added = Place.insert_from(online, (Place.user, Place.away))
    added.on_conflict_ignore().execute()
