"""What expires in a simulated fleet: rows as old as it suits, the sweeps that remove them, and what
the database itself notices when one goes that is not old by the true time.

The sweeps are those of a login server (`bbs.daemons.composition.sweeps_of`), with those that the
fleet's controller adds. Whatever a sweep removes is compared with when it was truly used, stored or
ended, which the database notes beside what the servers' clocks stamp.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from bbs.board import board
from bbs.board.messages.tables import MessageRow
from bbs.core.clock import TOLERANCE
from bbs.core.values import State
from bbs.daemons.composition import sweeps_of
from bbs.rules.auth import Sessions
from bbs.scaling.housekeeping import GONE_KEPT, Sweep
from bbs.storage.models import Server, Session, User

if TYPE_CHECKING:
    from lab.simulation.fleet import Fleet

DAY, HOUR = 86400.0, 3600.0

TTL, KEPT = 7 * DAY, 30 * DAY
"""Seconds for which sessions live unused, and for which messages are kept, as by default."""

OFF = 2 * HOUR + TOLERANCE
"""Seconds by which rows may go too soon: login servers are an hour ahead and behind in some rounds,
and that much is believed of one that starts."""

NEARLY = OFF + HOUR
"""Seconds by which a row is younger or older than what expires."""

WATCH_SWEEPS = f"""
CREATE TABLE truth (id TEXT PRIMARY KEY, at REAL);
CREATE TRIGGER logged_in AFTER INSERT ON session
BEGIN INSERT OR REPLACE INTO truth VALUES ('session ' || NEW.digest, seconds_now()); END;
CREATE TRIGGER used AFTER UPDATE OF used ON session WHEN NOT is_swept()
BEGIN INSERT OR REPLACE INTO truth VALUES ('session ' || NEW.digest, seconds_now()); END;
CREATE TRIGGER session_swept AFTER DELETE ON session WHEN is_swept() AND OLD.used > 0
BEGIN
INSERT INTO violation
SELECT 'a session was swept ' || round(seconds_now() - at) || ' s after its use'
FROM truth WHERE id = 'session ' || OLD.digest AND seconds_now() - at < {TTL - OFF};
END;
CREATE TRIGGER message_stored AFTER INSERT ON message
BEGIN INSERT OR REPLACE INTO truth VALUES ('message ' || NEW.id, seconds_now()); END;
CREATE TRIGGER message_swept AFTER DELETE ON message
BEGIN
INSERT INTO violation SELECT 'a message was swept after ' || round(seconds_now() - at) || ' s'
FROM truth WHERE id = 'message ' || OLD.id AND seconds_now() - at < {KEPT - OFF};
END;
CREATE TRIGGER server_inserted AFTER INSERT ON server
BEGIN INSERT OR REPLACE INTO truth VALUES ('server ' || NEW.id, seconds_now()); END;
CREATE TRIGGER server_ended AFTER UPDATE OF state ON server
BEGIN INSERT OR REPLACE INTO truth VALUES ('server ' || NEW.id, seconds_now()); END;
CREATE TRIGGER server_swept AFTER DELETE ON server WHEN EXISTS (SELECT 1 FROM lease)
BEGIN
INSERT INTO violation
SELECT 'a server was forgotten ' || round(seconds_now() - at) || ' s after its end: ' || OLD.id
FROM truth WHERE id = 'server ' || OLD.id AND seconds_now() - at < {GONE_KEPT - OFF}
AND OLD.ended < seconds_now() + {GONE_KEPT - OFF};
END;
"""
"""What no sweep may do at any moment: the database itself notices. (Sessions that a copy of a
database has ended were last used at 0, and no restored database has a lease yet. Servers that ended
days ahead, by the clock of a fleet that was started anew with a wrong one, are of no use for
estimates once it is right, and go.)"""

_numbers = count(1)


class Sweeping:
    """The sweeps of one fleet, which its database can tell from what people do."""

    def __init__(self) -> None:
        self._under_way = False
        sweeps = sweeps_of(board, KEPT, Sessions(ttl=TTL))
        self.sweeps: Mapping[str, Sweep] = {
            kind: partial(self._carry_out, sweep) for kind, sweep in sweeps.items()
        }

    def watch(self, connection: sqlite3.Connection) -> None:
        """Tell a database whether a sweep is under way."""
        connection.create_function("is_swept", 0, lambda: self._under_way)

    def _carry_out(self, sweep: Callable[[float], int], now: float) -> int:
        self._under_way = True
        try:
            return sweep(now)
        finally:
            self._under_way = False


def add_rows(fleet: Fleet, now: float) -> None:
    """Add rows of somebody who never asks anything: of each kind one that is new, one that is
    nearly old, and one that has just become old."""
    fleet.database.use()
    ages = {
        "session": (0.0, TTL - NEARLY, TTL + NEARLY),
        "message": (0.0, KEPT - NEARLY, KEPT + NEARLY),
        "server": (GONE_KEPT - NEARLY, GONE_KEPT + NEARLY),
    }
    kinds: Mapping[str, Callable[[float], object]] = {
        "session": _session,
        "message": _message,
        "server": _server,
    }
    for kind, add in kinds.items():
        for age in ages[kind]:
            id = add(now - age)
            fleet.database.connection.execute(
                "UPDATE truth SET at = ? WHERE id = ?", (now - age, f"{kind} {id}")
            )


def _session(used: float) -> object:
    sleeper = {"password_hash": "", "channel": "sleeper", "created": used}
    user, _ = User.get_or_create(name="sleeper", defaults=sleeper)
    return Session.create(digest=f"slept {next(_numbers)}", user=user, used=used).digest


def _message(stored: float) -> object:
    return MessageRow.create(sender="x", target="y", to_group=False, text="z", stored=stored).id


def _server(ended: float) -> object:
    return Server.create(
        id=f"ended {next(_numbers)}",
        state=State.GONE,
        scope="",
        capacity=1,
        created=ended,
        ended=ended,
    ).id


def left_behind(fleet: Fleet, now: float) -> list[str]:
    """What is old by the true time, and still there: nothing, once all clocks are right for some
    minutes."""
    fleet.database.use()
    found: Mapping[str, Any] = {
        "sessions": Session.select().where(Session.used < now - TTL - NEARLY),
        "messages": MessageRow.select().where(MessageRow.stored < now - KEPT - NEARLY),
        "ended servers": Server.select().where(Server.ended < now - GONE_KEPT - NEARLY),
    }
    return [
        f"{fleet.name}: {many} {kind} are old, and no sweep removes them"
        for kind, query in found.items()
        if (many := query.count())
    ]
