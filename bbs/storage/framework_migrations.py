"""Migrations of the framework's tables: a step from each version of the schema to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import peewee

from bbs.core.values import NAME_LENGTH, REBALANCE, Cause, DrainCause, LossCause, State
from bbs.storage import models
from bbs.storage.models import LoginServer, News, Place, Server, Waiter
from bbs.storage.schema import SchemaVersion, ServiceVersion, Step

if TYPE_CHECKING:
    from bbs.storage.migrations import Migrator


FIRST_SERVICE = "bbs"  # The service of every database that is too old to name its service.


def _to_2(migrator: Migrator) -> None:
    """Add the provider's id and kind of an app server, and why the provider refuses launches."""
    kind = peewee.CharField(64, null=True)
    migrator.add_columns("server", instance_id=peewee.CharField(64, null=True), kind=kind)
    until = peewee.DoubleField(null=True)
    migrator.add_columns("lease", refusal=peewee.TextField(null=True), refused_until=until)


def _to_3(migrator: Migrator) -> None:
    """Add what operators see and do. Counts and times are null in rows of a server of an older
    version, which may run meanwhile."""
    migrator.add_columns("server", messages=peewee.BigIntegerField(null=True))
    migrator.add_columns("login_server", logins=peewee.BigIntegerField(null=True))
    migrator.add_columns("waiter", since=peewee.DoubleField(null=True))
    migrator.create_table(models.Action)


def _to_4(migrator: Migrator) -> None:
    """Add the service that the database belongs to, and the counts of servers by name."""
    migrator.add_columns("server", counts=peewee.TextField(null=True))
    migrator.add_columns("login_server", counts=peewee.TextField(null=True))
    migrator.create_table(ServiceVersion)
    if not ServiceVersion.select().exists():
        ServiceVersion.insert(name=FIRST_SERVICE, version=1).execute()


def _to_5(migrator: Migrator) -> None:
    """Add the secret that proves hints."""
    migrator.create_table(models.Secret)


def _to_6(migrator: Migrator) -> None:
    """Add who is away, what operators do to users, and the history of the operators' page."""
    migrator.add_columns("user", seen=peewee.DoubleField(null=True))
    migrator.add_columns("place", away=Place.away, asked=Place.asked)
    migrator.add_columns("server", figures=peewee.TextField(null=True))
    migrator.add_columns("login_server", figures=peewee.TextField(null=True))
    person = peewee.CharField(NAME_LENGTH, null=True)
    migrator.add_columns("action", person=person, detail=peewee.CharField(250, null=True))
    migrator.create_table(Place)  # For its index: it finds users who wait, and skips those away.
    for model in (models.Suspension, models.OutboxEntry, models.Point, News):
        migrator.create_table(model)


def _to_7(migrator: Migrator) -> None:
    """Add why a server is kept or drains, its launch strategy, and who was moved lately."""
    migrator.add_columns("server", warned=Server.warned, shelved=Server.shelved, way=Server.way)
    migrator.add_columns("place", moved=Place.moved)
    migrator.create_table(Server)  # For its index: full servers are not read to find room.


def _to_8(migrator: Migrator) -> None:
    """Add the versions of servers, which of them are to be replaced, traces of users who wait for
    them, and the oldest programs that can work on the schema."""
    added = {"version": Server.version, "replace_asked": Server.replace_asked}
    migrator.add_columns("server", **added, trace=Server.trace)
    migrator.add_columns("login_server", version=LoginServer.version)
    migrator.add_columns("waiter", trace=Waiter.trace)
    migrator.add_columns("service_version", reached=ServiceVersion.reached)
    migrator.add_columns("schema_version", reached=SchemaVersion.reached)


def _to_9(migrator: Migrator) -> None:
    """Add why servers drain or were lost, as a value."""
    migrator.add_columns("server", cause=Server.cause)
    fill_causes()


def _to_10(migrator: Migrator) -> None:
    """Add events as values, in addition to the words that older versions show."""
    added = {"kind": News.kind, "server": News.server, "detail": News.detail}
    migrator.add_columns("news", **added, number=News.number)


def _to_11(migrator: Migrator) -> None:
    """Add where users log in from."""
    migrator.add_columns("place", origin=Place.origin)
    migrator.create_table(models.KnownNetwork)


def _to_12(migrator: Migrator) -> None:
    """Add when work in the background ran last, and the events that rules tell."""
    migrator.create_table(models.BackgroundJob)
    migrator.add_columns("notice", event=models.OutboxEntry.event)


def _to_13(migrator: Migrator) -> None:
    """Add the node of the database that is written to, and the heartbeats of servers, which then
    leave the rows of the servers alone."""
    migrator.create_table(models.DatabaseWriter)
    migrator.create_table(models.HeartbeatRow)


def _to_14(migrator: Migrator) -> None:
    """Add the time up to which the service's clock is known to be right."""
    migrator.create_table(models.ClockRow)


def _to_15(migrator: Migrator) -> None:
    """Add the timers that rules set, and who is connected."""
    migrator.create_table(models.TimerRow)
    migrator.create_table(models.ConnectedUser)


_STEPS = (
    *(_to_2, _to_3, _to_4, _to_5, _to_6, _to_7, _to_8),
    *(_to_9, _to_10, _to_11, _to_12, _to_13, _to_14, _to_15),
)

STEPS: Mapping[int, Step] = dict(enumerate(_STEPS, start=2))
"""Each step by the version that it leads to."""


RECOMMENDED = DrainCause.RECOMMENDED.value


def fill_causes() -> None:
    """Derive the cause of every server from its `state` and its `reason`.

    Versions up to 0.3.0 write only these two, and leave the cause as it is. One of them may control
    the fleet while newer login servers run on the same database. Therefore the causes are derived
    when the column is added, and again by every login server of this version that takes the lease,
    before it decides anything. While it holds the lease no older version writes a reason. Causes
    that this version wrote stay as they are, and so does the cause of a server that ended for an
    unspecific reason, such as `drained`.

    Only this function may derive a cause from words. The function can go when schema 9 is the
    oldest whose programs can work on the database.
    """
    drains = Server.state == State.DRAINING
    ended = Server.state.in_([State.LOST, State.GONE])
    # The provider's own words can be anything.
    warned = [
        # A version that knows recommendations drained it, as its cause says.
        ((Server.reason == REBALANCE) & (Server.cause == RECOMMENDED), RECOMMENDED),
        (Server.reason == Server.warned, DrainCause.WARNED.value),
    ]
    drain = peewee.Case(None, [*warned, *_match_reasons(_DRAINS)], DrainCause.WARNED.value)
    end = peewee.Case(None, _match_reasons(_ENDS), Server.cause)
    cause = peewee.Case(None, [(drains, drain), (ended, end)], "")
    Server.update(cause=cause).where(Server.cause != cause).execute()


def _match_reasons(causes: Sequence[tuple[str, Cause]]) -> list[tuple[peewee.Expression, str]]:
    return [(Server.reason.ilike(words), cause.value) for words, cause in causes]


_DRAINS: Sequence[tuple[str, DrainCause]] = (
    ("consolidated: %", DrainCause.CONSOLIDATION),
    ("replaced: %", DrainCause.REPLACEMENT),
    ("idle for %", DrainCause.IDLE),
    ("asked for", DrainCause.OPERATOR),
)
"""The cause of a server that drains, by its reason: the first pattern that matches counts."""

_ENDS: Sequence[tuple[str, Cause]] = (
    ("failed: not ready %", LossCause.LATE),
    ("failed: %", LossCause.FAILED),
    ("refused: %", LossCause.REFUSED),
    ("ended", LossCause.ENDED),
    ("ended: %", LossCause.ENDED),
    ("it has said that it stops", LossCause.LEFT),
    ("silent for more than %", LossCause.SILENT),
    ("cannot be started: %", LossCause.UNSTARTABLE),
    ("beyond fleet.warm", DrainCause.SURPLUS),
    ("of another version", DrainCause.OUTDATED),
    ("runs on the shelf", DrainCause.UNSTOPPABLE),
    ("replaced%", DrainCause.REPLACEMENT),
    ("asked for", DrainCause.OPERATOR),
    ("idle for %", DrainCause.IDLE),
    ("consolidated: %", DrainCause.CONSOLIDATION),
)
"""The cause of a server that is lost or gone, by its reason."""
