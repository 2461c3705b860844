"""The tables that every service has: one schema on SQLite, MySQL and MariaDB.

Names compare byte for byte on all of them (a binary collation on MySQL). Unique keys decide races;
every query of a command has an index (`tests/integration/test_explain.py` shows the plans). A
change here needs a step in `bbs/storage/framework_migrations.py`. A service defines its own tables,
with a version of their own.
"""

from __future__ import annotations

import peewee

from bbs.core.values import NAME_LENGTH, State

database = peewee.DatabaseProxy()  # The process's database; `Database` in database.py sets it.


class RisingIdField(peewee.BigAutoField):
    """A key that is never used again; SQLite reuses other keys when the newest row is deleted."""

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
    """An account. `channel` is the random part of its topic's name at the broker. `seen` is when
    its user last sent a request (seconds since the epoch, to a minute); null if not known."""

    id = RisingIdField()
    name = peewee.CharField(NAME_LENGTH, unique=True)
    password_hash = peewee.CharField(255)
    channel = peewee.CharField(32)
    created = peewee.DoubleField()
    seen = peewee.DoubleField(null=True)


class Suspension(Table):
    """A suspension: `user` cannot log in from `since` until `until` (seconds since the epoch; null:
    until operators resume the account). The `reason` is for operators alone."""

    user = peewee.ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    user_id: int
    since = peewee.DoubleField()
    until = peewee.DoubleField(null=True)
    reason = peewee.CharField(200, default="")


class Session(Table):
    """A login that has not ended; only the token's digest (SHA-256, hex) is stored."""

    digest = peewee.CharField(64, primary_key=True)
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    user_id: int
    used = peewee.DoubleField(index=True)


def _count() -> peewee.BigIntegerField:
    # The defaults are in SQL, as servers of an older version insert rows without these columns.
    return peewee.BigIntegerField(default=0, constraints=[peewee.SQL("DEFAULT 0")])


def _flag() -> peewee.BooleanField:
    return peewee.BooleanField(default=False, constraints=[peewee.SQL("DEFAULT 0")])


def _short_text(length: int) -> peewee.CharField:
    return peewee.CharField(length, default="", constraints=[peewee.SQL("DEFAULT ''")])


class Server(Table):
    """An app server, from the decision to launch it until some time after its end.

    `scope` names the provider that reports on it. `beats` counts its heartbeats, so that a watcher
    needs no common clock. `taken` counts its `Place`s and changes in the same transaction.
    `instance_id` and `kind` are the provider's. `counts` is what its service counted since it
    started, by name (JSON), as of its last heartbeat; servers of version 0.1.0 write `messages`
    instead. `figures` is what every server counts, as JSON too. `warned`: why its provider will
    soon take it away, if the provider has said so. `shelved`: it is in the warm pool: launched to
    be stopped once it has booted, and started when many users come. `way`: the launch strategy, in
    the provider's words; it is stored before the provider uses it. `version` is the version of bbs
    that it runs, "" if older than 0.3.0. `replace_asked`: operators asked for another server in its
    place. `trace`: the trace of the users whom it is launched for, as W3C's `traceparent`. `cause`:
    why it drains, was lost or has ended (`bbs.core.values.DrainCause`, `LossCause`), or "";
    `reason` says so to people, and decides nothing.
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
    version = _short_text(40)
    replace_asked = _flag()
    trace = _short_text(64)
    cause = _short_text(20)

    class Meta:
        indexes = ((("state", "taken"), False), (("state", "capacity"), False), (("ready",), False))


class Place(Table):
    """The place of a user who is logged in. `server` is null while a new one is being found, and
    for a user who is `away`: without a place until the next command. `asked` counts logins and
    requests for the place, so that a watcher sees that the user has been there. `moved`: when the
    user was last moved to another server so that one could end, in seconds since the epoch.

    Servers older than the column `away` leave it at 0."""

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
    """A login server that runs. `logins` counts logins since it started; `counts` and `figures` are
    as an app server's. `version` is the version of bbs that it runs."""

    id = peewee.CharField(32, primary_key=True)
    identity = peewee.CharField(200)
    beats = peewee.BigIntegerField(default=0)
    logins = peewee.BigIntegerField(null=True)
    counts = peewee.TextField(null=True)
    figures = peewee.TextField(null=True)
    version = _short_text(40)


class Waiter(Table):
    """A user who has waited at `login_server` for a place since `since`, and is offline. The
    transaction that gives the place removes the row, so that no user is counted twice. `trace` is
    that of the login, as W3C's `traceparent`."""

    id = peewee.CharField(32, primary_key=True)
    login_server = peewee.ForeignKeyField(LoginServer, on_delete="CASCADE")
    name = peewee.CharField(NAME_LENGTH)
    since = peewee.DoubleField(null=True)
    trace = _short_text(64)


class Lease(Table):
    """The lease of the login server that controls the fleet. The holder counts `beats` up, or loses
    it. `refusal` is why its provider launches nothing; it is not asked before `refused_until`."""

    name = peewee.CharField(20, primary_key=True)
    holder = peewee.CharField(32)
    identity = peewee.CharField(200)
    beats = peewee.BigIntegerField(default=0)
    refusal = peewee.TextField(null=True)
    refused_until = peewee.DoubleField(null=True)


class Action(Table):
    """An act of an operator: the time (`at`), the `address` that it came from, the server
    (`target`) or `person` (a name) concerned, and a `detail`. The act's transaction writes the row,
    which stays."""

    id = RisingIdField()
    at = peewee.DoubleField()
    operator = peewee.CharField(NAME_LENGTH)
    address = peewee.CharField(64)
    action = peewee.CharField(20)
    target = peewee.CharField(32)
    person = peewee.CharField(NAME_LENGTH, null=True)
    detail = peewee.CharField(250, null=True)


class OutboxEntry(Table):
    """A notice that an operator has done something to the user who listens on `channel`: the
    fleet's controller tells the app servers to look, and removes the row."""

    id = RisingIdField()
    channel = peewee.CharField(32)

    class Meta:
        table_name = "notice"


class Point(Table):
    """One point in the last hour of the operators' page: the series of the fleet by name (JSON), or
    with a `login_server` (id) its own series. Few are kept."""

    id = RisingIdField()
    at = peewee.DoubleField(index=True)
    login_server = peewee.CharField(32, default="")
    series = peewee.TextField()


class News(Table):
    """One event of the operators' page, at the time `at` (seconds since the epoch), stored by the
    transaction that acts. Few are kept.

    `kind` is what happened (`bbs.rules.page_history.EventKind`), to `server`; `detail` and `number`
    complete the sentence. Versions up to 0.3.0 write `text` alone, and read it of every row; it can
    go when schema 10 is the oldest whose programs can work on the database.
    """

    id = RisingIdField()
    at = peewee.DoubleField()
    text = peewee.TextField()
    kind = _short_text(20)
    server = _short_text(32)
    detail = _short_text(250)
    number = peewee.DoubleField(null=True)


class Secret(Table):
    """A secret (hex) that the servers of the service share."""

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
