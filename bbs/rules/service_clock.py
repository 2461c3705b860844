"""What servers say against the service's clock in their heartbeats, and an operator's word for it.

The leader of the fleet reads this each minute, before rows that have expired are removed
(`bbs.scaling.clock_check`), and operators see it on their page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bbs.core.clock import AHEAD, DATABASE_AHEAD, UNPROVED
from bbs.rules import fleet_admin, servers
from bbs.rules.fleet_admin import By
from bbs.storage import clock
from bbs.storage.database import read_only, rows
from bbs.storage.models import HeartbeatRow, LoginServer, Server

LOGIN, APP = "login server", "app server"  # Kinds of servers.

ACCEPT = "accept-clock"  # The name of the action in `Action`.


def accept(by: By) -> float:
    """Record that `by` says that the database's clock is right; returns its time (seconds since the
    epoch). SQLite has none: there it is the clock of this machine, which `by` has read."""
    said = clock.said()
    right = by.now if said is None else said
    clock.note_check(right, 0.0)
    fleet_admin.record(by, ACCEPT)
    return right


@dataclass(frozen=True)
class Contradiction:
    """A running server of this `kind` says that its clock is so many seconds `ahead` of the
    service's (below 0: behind), or the database's `database_ahead`; or it is `unproved`."""

    id: str
    kind: str
    ahead: float
    database_ahead: float = 0.0
    unproved: bool = False

    @classmethod
    def of(cls, id: str, kind: str, figures: Mapping[str, int]) -> Contradiction | None:
        """What a server says in the figures of its last heartbeat; None if its clock is right."""
        values = [figures.get(name, 0) for name in (AHEAD, DATABASE_AHEAD, UNPROVED)]
        if not any(values):
            return None
        kind = "fleet process" if figures.get(servers.FLEET_ONLY) else kind
        return cls(id, kind, float(values[0]), float(values[1]), bool(values[2]))

    @property
    def name(self) -> str:
        """The server, in words."""
        return f"{self.kind} {self.id[:8]}"


NAMED = 3  # Servers with wrong clocks that a sentence names.


def in_words(said: Sequence[Contradiction]) -> str:
    """Say which clocks are wrong, and by how much; "" if none is. The words stay the same while the
    clocks are as wrong."""
    wrong = [each for each in said if each.ahead]
    apart = next((each.database_ahead for each in said if each.database_ahead), 0.0)
    words = [f"{each.name} is {_off(each.ahead)}" for each in wrong[:NAMED]]
    if len(wrong) > NAMED:
        words.append(f"{len(wrong) - NAMED} more are wrong")
    if words or apart:
        words.append(f"the database is {_off(apart)}" if apart else "the database is right")
    return ", ".join(words)


def explain(report: ClockReport) -> str:
    """Say what is wrong with the clock and what follows, in a line; "" if nothing is."""
    if wrong := in_words(report.contradictions):
        return f"a clock is wrong: {wrong}"
    if any(each.unproved for each in report.contradictions):
        return (
            "nothing that is old is removed for an hour: the service was off for a day or more, or"
            " its clock is wrong. If it is right, db clock accept begins at once"
        )
    return ""


def _off(seconds: float) -> str:
    size = abs(seconds)
    unit, name = next((each for each in _UNITS if size >= 2 * each[0]), _UNITS[-1])
    return f"{size / unit:.0f} {name} {'ahead' if seconds > 0 else 'behind'}"


_UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))


@dataclass(frozen=True)
class ClockReport:
    """What `count` running servers say of the clock: those that contradict it."""

    count: int
    contradictions: tuple[Contradiction, ...]

    @property
    def is_contradicted(self) -> bool:
        """Whether the wall clocks of half of the servers or more contradict the service's."""
        wrong = sum(bool(each.ahead) for each in self.contradictions)
        return wrong > 0 and 2 * wrong >= self.count


@read_only
def report() -> ClockReport:
    """Read what the running servers say of the clock, by their last heartbeats."""
    login = LoginServer.select(LoginServer.id, HeartbeatRow.figures).join(
        HeartbeatRow, on=(HeartbeatRow.server == LoginServer.id)
    )
    app = Server.select(Server.id, HeartbeatRow.figures).join(
        HeartbeatRow, on=(HeartbeatRow.server == Server.id)
    )
    app = app.where(Server.state.not_in(servers.NOT_RUNNING))
    count, found = 0, []
    for kind, query in ((LOGIN, login), (APP, app)):
        for id, figures in rows(query):
            count += 1
            # To look whether there is something to read costs less than to read all of thousands.
            if figures and any(name in figures for name in (AHEAD, DATABASE_AHEAD, UNPROVED)):
                said = Contradiction.of(id, kind, json.loads(figures))
                found += [said] if said else []
    return ClockReport(count, tuple(found))
