"""The tables that every service has: one schema on SQLite and on MySQL and MariaDB.

Names compare byte for byte on both (a binary collation on MySQL). Unique keys decide races; every
query that a command makes has an index (`tests/integration/test_explain.py` shows the plans).
A change here needs a step in `bbs/storage/framework_migrations.py`. A service's own tables are its
own, with a version of their own.
"""

from __future__ import annotations

import peewee

from bbs.core.values import NAME_LENGTH, State

database = peewee.DatabaseProxy()
"""The process's one database; `bbs.storage.database.Database` sets it."""


class RisingIdField(peewee.BigAutoField):
    """A key that never comes back, even when the newest row is deleted: SQLite reuses others."""

    def ddl(self, ctx: peewee.Context) -> peewee.NodeList:
        """The column's definition."""
        column = super().ddl(ctx)
        if isinstance(self.model._meta.database.obj, peewee.SqliteDatabase):
            return peewee.NodeList((column, peewee.SQL("AUTOINCREMENT")))
        return column


class Table(peewee.Model):
    """The base of all tables."""

    class Meta:
        database = database
        legacy_table_names = False


class User(Table):
    """An account. `channel` is the random part of its topic's name at the broker.

    `seen` is when its user last asked something (seconds since the epoch), to a minute; null for
    somebody who has not since there is this column."""

    id = RisingIdField()
    name = peewee.CharField(NAME_LENGTH, unique=True)
    password_hash = peewee.CharField(255)
    channel = peewee.CharField(32)
    created = peewee.DoubleField()
    seen = peewee.DoubleField(null=True)


class Suspension(Table):
    """Nobody logs in as `user`, `since` when and `until` when (seconds since the epoch; null: until
    operators resume the account), for a `reason` that is for operators alone."""

    user = peewee.ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    user_id: int
    since = peewee.DoubleField()
    until = peewee.DoubleField(null=True)
    reason = peewee.CharField(200, default="")


class Session(Table):
    """A login that has not ended; only the token's digest (SHA-256, hex) is kept."""

    digest = peewee.CharField(64, primary_key=True)
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    user_id: int
    used = peewee.DoubleField(index=True)


def _count() -> peewee.BigIntegerField:
    """A count that is 0 in the rows of servers of an older version, which do not know it."""
    return peewee.BigIntegerField(default=0, constraints=[peewee.SQL("DEFAULT 0")])


def _flag() -> peewee.BooleanField:
    """A flag that is false in such rows."""
    return peewee.BooleanField(default=False, constraints=[peewee.SQL("DEFAULT 0")])


def _word(length: int) -> peewee.CharField:
    """A short text that is empty in such rows."""
    return peewee.CharField(length, default="", constraints=[peewee.SQL("DEFAULT ''")])


class Server(Table):
    """An app server, from the decision to launch it until a while after its end.

    `scope` names the provider that can speak of it; `beats` counts its heartbeats, so that whoever
    watches needs no clock in common with it; `taken` counts its `Place`s and is changed with them,
    in the same transaction. `instance_id` and `kind` are the provider's words for it. `counts` is
    what its service counted since it started, by name (JSON), as of its last heartbeat; `messages`
    is what servers of version 0.1.0 write instead. `figures` is what every server tells of itself
    beside that, as JSON too. `warned`: why its provider will soon take it away, if it has said so.
    `shelved`: it is launched to be stopped once it has booted, and started when a crowd comes.
    `way`: by which of its ways the provider is asked to launch it, in the provider's words; it is
    written down before the provider asks by it. `version` is that of bbs which it runs, "" of
    what is older than 0.3.0. `replace_asked`: operators asked for another in its place. `trace`: of
    whom it is launched for, as W3C's `traceparent`. `cause`: why it drains, or why it was lost or
    has ended (`bbs.core.values.DrainCause`, `LossCause`), "" where there is nothing to say;
    `reason` says the same to people, and decides nothing.
    """

    id = peewee.CharField(32, primary_key=True)
    state = peewee.CharField(10, default=State.LAUNCHING)
    scope = peewee.CharField(200)
    host = peewee.CharField(255, null=True)
    port = peewee.IntegerField(null=True)
    capacity = peewee.IntegerField()
    taken = peewee.IntegerField(default=0)
    beats = peewee.BigIntegerField(default=0)
    created = peewee.DoubleField()
    ready = peewee.DoubleField(null=True)
    ended = peewee.DoubleField(null=True)
    leaving = peewee.BooleanField(default=False)
    drain_asked = peewee.BooleanField(default=False)
    reason = peewee.CharField(200, default="")
    instance_id = peewee.CharField(64, null=True)
    kind = peewee.CharField(64, null=True)
    messages = peewee.BigIntegerField(null=True)
    counts = peewee.TextField(null=True)
    figures = peewee.TextField(null=True)
    warned = peewee.CharField(200, null=True)
    shelved = _flag()
    way = peewee.CharField(200, null=True)
    version = _word(40)
    replace_asked = _flag()
    trace = _word(64)
    cause = _word(20)

    class Meta:
        indexes = ((("state", "taken"), False), (("state", "capacity"), False), (("ready",), False))


class Place(Table):
    """A user is online, and has this place. `server` is null while a new one is being found, and
    for who is `away`: logged in, and without a place until the next command. `asked` counts logins
    and the like, so that whoever watches the place sees that its user has been there. `moved`: when
    its user was last moved to another server so that one could end, in seconds since the epoch.

    Servers of before there was `away` do not know it, and leave it at 0."""

    user = peewee.ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    user_id: int
    server = peewee.ForeignKeyField(Server, null=True, on_delete="SET NULL")
    server_id: str | None
    away = _flag()
    asked = _count()
    moved = peewee.DoubleField(null=True)

    class Meta:
        indexes = ((("server", "away"), False),)


class LoginServer(Table):
    """A login server that runs. `logins` counts those that it let in since it started, `counts` is
    what its service counted, and `figures` what it tells beside, as an app server's. `version` is
    that of bbs which it runs."""

    id = peewee.CharField(32, primary_key=True)
    identity = peewee.CharField(200)
    beats = peewee.BigIntegerField(default=0)
    logins = peewee.BigIntegerField(null=True)
    counts = peewee.TextField(null=True)
    figures = peewee.TextField(null=True)
    version = _word(40)


class Waiter(Table):
    """Somebody offline who waits at `login_server` for a place, `since` when. The transaction that
    gives the place removes the row, so nobody is ever counted both here and there. `trace` is of
    the login that waits, as W3C's `traceparent`."""

    id = peewee.CharField(32, primary_key=True)
    login_server = peewee.ForeignKeyField(LoginServer, on_delete="CASCADE")
    name = peewee.CharField(NAME_LENGTH)
    since = peewee.DoubleField(null=True)
    trace = _word(64)


class Lease(Table):
    """The lease of the login server that keeps the fleet. The holder counts `beats` up; one that
    stops counting loses it.

    `refusal` is why its provider launches nothing, and is not asked again before `refused_until`.
    """

    name = peewee.CharField(20, primary_key=True)
    holder = peewee.CharField(32)
    identity = peewee.CharField(200)
    beats = peewee.BigIntegerField(default=0)
    refusal = peewee.TextField(null=True)
    refused_until = peewee.DoubleField(null=True)


class Action(Table):
    """An act of an operator: `at` when, from which `address`, to which server (`target`) or to
    which `person` (a name), and how (`detail`).

    A row is written by the transaction that does it, and stays.
    """

    id = RisingIdField()
    at = peewee.DoubleField()
    operator = peewee.CharField(NAME_LENGTH)
    address = peewee.CharField(64)
    action = peewee.CharField(20)
    target = peewee.CharField(32)
    person = peewee.CharField(NAME_LENGTH, null=True)
    detail = peewee.CharField(250, null=True)


class OutboxEntry(Table):
    """Something has been done to the user who listens on `channel`: whoever keeps the fleet tells
    the app servers to look, and removes the row."""

    id = RisingIdField()
    channel = peewee.CharField(32)

    class Meta:
        table_name = "notice"


class Point(Table):
    """One point of the operators' page's last hour: the series of the fleet by name (JSON), or with
    a `login_server`'s id those of its own. Few are kept."""

    id = RisingIdField()
    at = peewee.DoubleField(index=True)
    login_server = peewee.CharField(32, default="")
    series = peewee.TextField()


class News(Table):
    """One event of the operators' page, `at` when (seconds since the epoch), stored by the
    transaction that acts. Few are kept.

    `kind` is what happened (`bbs.rules.page_history.EventKind`), to which `server`; `detail` and
    `number` are what else there is to say. Versions up to 0.3.0 write `text` alone, and read it of
    every row; it can go when schema 10 is the oldest whose programs can work on the database.
    """

    id = RisingIdField()
    at = peewee.DoubleField()
    text = peewee.TextField()
    kind = _word(20)
    server = _word(32)
    detail = _word(250)
    number = peewee.DoubleField(null=True)


class Secret(Table):
    """A secret of the servers of the service (hex)."""

    name = peewee.CharField(20, primary_key=True)
    value = peewee.CharField(64)


MODELS: tuple[type[Table], ...] = (
    User,
    Suspension,
    Session,
    Server,
    Place,
    LoginServer,
    Waiter,
    Lease,
    Action,
    OutboxEntry,
    Point,
    News,
    Secret,
)
"""In an order in which they can be made."""
