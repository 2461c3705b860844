"""Migrations of the framework's tables: a step from each version of the schema to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import peewee

from bbs.core.values import NAME_LENGTH, Cause, DrainCause, LossCause, State
from bbs.storage.models import (
    Action,
    LoginServer,
    News,
    OutboxEntry,
    Place,
    Point,
    Secret,
    Server,
    Suspension,
    Waiter,
)
from bbs.storage.schema import SchemaVersion, ServiceVersion, Step

if TYPE_CHECKING:
    from bbs.storage.migrations import Migrator


FIRST_SERVICE = "bbs"
"""The service whose all databases are that are too old to say whose they are."""


def _to_2(migrator: Migrator) -> None:
    """Add the provider's words for an app server, and why it launches none."""
    migrator.add_columns(
        "server", instance_id=peewee.CharField(64, null=True), kind=peewee.CharField(64, null=True)
    )
    migrator.add_columns(
        "lease", refusal=peewee.TextField(null=True), refused_until=peewee.DoubleField(null=True)
    )


def _to_3(migrator: Migrator) -> None:
    """Add what operators see and do. Counts and times are null where a server of an older version,
    which may go on running meanwhile, writes none."""
    migrator.add_columns("server", messages=peewee.BigIntegerField(null=True))
    migrator.add_columns("login_server", logins=peewee.BigIntegerField(null=True))
    migrator.add_columns("waiter", since=peewee.DoubleField(null=True))
    migrator.create_table(Action)


def _to_4(migrator: Migrator) -> None:
    """Add whose database this is, and what servers count, by name."""
    migrator.add_columns("server", counts=peewee.TextField(null=True))
    migrator.add_columns("login_server", counts=peewee.TextField(null=True))
    migrator.create_table(ServiceVersion)
    if not ServiceVersion.select().exists():
        ServiceVersion.insert(name=FIRST_SERVICE, version=1).execute()


def _to_5(migrator: Migrator) -> None:
    """Add the secret that proves hints."""
    migrator.create_table(Secret)


def _to_6(migrator: Migrator) -> None:
    """Add who is there and who is merely logged in, what operators do to people, and what the page
    remembers."""
    migrator.add_columns("user", seen=peewee.DoubleField(null=True))
    migrator.add_columns("place", away=Place.away, asked=Place.asked)
    migrator.add_columns("server", figures=peewee.TextField(null=True))
    migrator.add_columns("login_server", figures=peewee.TextField(null=True))
    migrator.add_columns(
        "action",
        person=peewee.CharField(NAME_LENGTH, null=True),
        detail=peewee.CharField(250, null=True),
    )
    migrator.create_table(Place)  # For its index: who waits is not looked for among who is away.
    for model in (Suspension, OutboxEntry, Point, News):
        migrator.create_table(model)


def _to_7(migrator: Migrator) -> None:
    """Add why a server is kept or given up, by which way it is launched, where there is room, and
    who was moved lately."""
    migrator.add_columns("server", warned=Server.warned, shelved=Server.shelved, way=Server.way)
    migrator.add_columns("place", moved=Place.moved)
    migrator.create_table(Server)  # For its index: full servers are not read to find room.


def _to_8(migrator: Migrator) -> None:
    """Add which version servers run, which are to be replaced, traces of those who wait for them,
    and which programs can work on what was reached."""
    added = {
        "version": Server.version,
        "replace_asked": Server.replace_asked,
        "trace": Server.trace,
    }
    migrator.add_columns("server", **added)
    migrator.add_columns("login_server", version=LoginServer.version)
    migrator.add_columns("waiter", trace=Waiter.trace)
    migrator.add_columns("service_version", reached=ServiceVersion.reached)
    migrator.add_columns("schema_version", reached=SchemaVersion.reached)


def _to_9(migrator: Migrator) -> None:
    """Add why servers are given up or were lost, as a value."""
    migrator.add_columns("server", cause=Server.cause)
    fill_causes()


def _to_10(migrator: Migrator) -> None:
    """Add what happened as values, beside the words that older versions show."""
    added = {"kind": News.kind, "server": News.server, "detail": News.detail}
    migrator.add_columns("news", **added, number=News.number)


STEPS: Mapping[int, Step] = dict(
    enumerate((_to_2, _to_3, _to_4, _to_5, _to_6, _to_7, _to_8, _to_9, _to_10), start=2)
)
"""By the version that each leads to."""


def fill_causes() -> None:
    """Derive the cause of every server from its `state` and its `reason`.

    Versions up to 0.3.0 write only these two, and leave whatever cause is there. One of them may
    keep the fleet while newer login servers run on the same database. Therefore the causes are
    derived when the column is added, and again by every login server of this version that takes
    the lease, before it decides anything. While it holds the lease no older version writes a
    reason. Causes that this version wrote stay as they are, and so does the cause of a server that
    ended with words that say nothing, such as `drained`.

    Only this function may derive a cause from words. The function can go when schema 9 is the
    oldest whose programs can work on the database.
    """
    drains = Server.state == State.DRAINING
    ended = Server.state.in_([State.LOST, State.GONE])
    # The provider's own words can be anything.
    warned = [(Server.reason == Server.warned, DrainCause.WARNED.value)]
    drain = peewee.Case(None, [*warned, *_told(_DRAINS)], DrainCause.WARNED.value)
    end = peewee.Case(None, _told(_ENDS), Server.cause)
    right = peewee.Case(None, [(drains, drain), (ended, end)], "")
    Server.update(cause=right).where(Server.cause != right).execute()


def _told(causes: Sequence[tuple[str, Cause]]) -> list[tuple[peewee.Expression, str]]:
    return [(Server.reason.ilike(words), cause.value) for words, cause in causes]


_DRAINS: Sequence[tuple[str, DrainCause]] = (
    ("consolidated: %", DrainCause.CONSOLIDATION),
    ("replaced: %", DrainCause.REPLACEMENT),
    ("idle for %", DrainCause.IDLE),
    ("asked for", DrainCause.OPERATOR),
)
"""The cause by the words of a server that drains: the first pattern that fits."""


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
"""The cause by the words of a server that is lost or gone."""
