"""The tables that every service has: one schema on SQLite, MySQL and MariaDB.

Names compare byte for byte on all of them (a binary collation on MySQL). Unique keys decide races;
every query of a command has an index (`tests/board/scenarios/test_explain.py` shows the plans). A
change here needs a step in `bbs/storage/framework_migrations.py`. A service defines its own tables,
with a version of their own.
"""

from __future__ import annotations

import peewee

from bbs.core.values import NAME_LENGTH, Bound, State

JOB_NAME_LENGTH = 150  # characters
TIMER_NAME_LENGTH = 100  # characters

database = peewee.DatabaseProxy()  # The process's database; `Database` in database.py sets it.


class RisingIdField(peewee.BigAutoField):
    """A key that is never used again; SQLite reuses other keys when the newest row is deleted."""

    rises = True

    def ddl(self, ctx: peewee.Context) -> peewee.NodeList:
        """The column's definition, for `ctx`: peewee calls this."""
        column = super().ddl(ctx)
        if isinstance(self.model._meta.database.obj, peewee.SqliteDatabase):
            return peewee.NodeList((column, peewee.SQL("AUTOINCREMENT")))
        return column


class Table(peewee.Model):
    """The base of all tables. The `bound` of a table's `Meta` is a `Bound` of its rows."""

    class Meta:
        database = database
        legacy_table_names = False


class User(Table):
    """An account, `created` at a time in seconds since the epoch. `channel` is the random part of
    its topic's name at the broker. `seen` is when its user last sent a request (seconds since the
    epoch, to a minute); null if not known."""

    id = RisingIdField()
    name = peewee.CharField(NAME_LENGTH, unique=True)
    password_hash = peewee.CharField(255)
    channel = peewee.CharField(32)
    created = peewee.DoubleField()
    seen = peewee.DoubleField(null=True)

    class Meta:
        bound = Bound(
            "any number, or none more with `registration` closed",
            of="service",
            share="`registrations`",
        )


class Suspension(Table):
    """A suspension: `user` cannot log in."""

    user = peewee.ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    user_id: int
    since = peewee.DoubleField()  # Seconds since the epoch.
    until = peewee.DoubleField(null=True)  # As `since`; null: until operators resume the account.
    reason = peewee.CharField(200, default="")  # For operators alone.

    class Meta:
        bound = Bound("one", of="account")


class Session(Table):
    """A login that has not ended; only the token's digest (SHA-256, hex) is stored."""

    digest = peewee.CharField(64, primary_key=True)
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    user_id: int
    used = peewee.DoubleField(index=True)

    class Meta:
        bound = Bound("`sessions_per_user`", of="account")


def _count() -> peewee.BigIntegerField:
    # The defaults are in SQL, as servers of an older version insert rows without these columns.
    return peewee.BigIntegerField(default=0, constraints=[peewee.SQL("DEFAULT 0")])


def _flag() -> peewee.BooleanField:
    return peewee.BooleanField(default=False, constraints=[peewee.SQL("DEFAULT 0")])


def _short_text(length: int) -> peewee.CharField:
    return peewee.CharField(length, default="", constraints=[peewee.SQL("DEFAULT ''")])


class Server(Table):
    """An app server, from the decision to launch it until some time after its end.

    Its heartbeats are in `HeartbeatRow`. `beats`, `counts` and `figures` are those of a server up
    to schema 12, and of a newer one while a login server of such a version runs, which watches
    them. They can go when schema 13 is the oldest whose programs can work on the database."""

    id = peewee.CharField(32, primary_key=True)
    state = peewee.CharField(10, default=State.LAUNCHING)
    scope = peewee.CharField(200)  # Names the provider that reports on it.
    host = peewee.CharField(255, null=True)
    port = peewee.IntegerField(null=True)
    capacity = peewee.IntegerField()
    taken = peewee.IntegerField(default=0)  # Its `Place`s, changed in one transaction with them.
    beats = peewee.BigIntegerField(default=0)
    created = peewee.DoubleField()
    ready = peewee.DoubleField(null=True)
    ended = peewee.DoubleField(null=True)
    leaving = peewee.BooleanField(default=False)
    drain_asked = peewee.BooleanField(default=False)
    reason = peewee.CharField(200, default="")  # The `cause` for people; decides nothing.
    instance_id = peewee.CharField(64, null=True)  # The provider's.
    kind = peewee.CharField(64, null=True)  # The provider's.
    messages = peewee.BigIntegerField(null=True)  # Nobody writes it, but 0.4.0 reads it.
    counts = peewee.TextField(null=True)
    figures = peewee.TextField(null=True)
    warned = peewee.CharField(200, null=True)  # Why the provider will soon take it away.
    shelved = _flag()  # In the warm pool: stopped after its boot, until many users come.
    way = peewee.CharField(200, null=True)  # The launch strategy, stored before its use.
    version = _short_text(40)  # Of bbs; "" until it has reported.
    replace_asked = _flag()  # Operators asked for another server in its place.
    trace = _short_text(64)  # Of the users whom it is launched for: W3C's `traceparent`.
    cause = _short_text(20)  # Why it drains, or was lost or ended: a `DrainCause` or `LossCause`.

    class Meta:
        bound = Bound(
            "`maximum`, and those that ended within a day",
            of="fleet",
            share="none: servers fill it",
        )
        indexes = ((("state", "taken"), False), (("state", "capacity"), False), (("ready",), False))


class Place(Table):
    """The place of a user who is logged in. `server` is null while a new one is being found, and
    for a user who is `away`: without a place until the next command. `asked` counts logins and
    requests for the place, so that a watcher sees that the user has been there. `moved`: when the
    user was last moved to another server so that one could end, in seconds since the epoch.
    `origin` is the address that the login came from, as limits count it
    (`bbs.core.addresses.counted_as`); "" for a trusted one, and by a server older than the column.

    Servers older than the column `away` leave it at 0."""

    user = peewee.ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    user_id: int
    server = peewee.ForeignKeyField(Server, null=True, on_delete="SET NULL")
    server_id: str | None
    away = _flag()
    asked = _count()
    moved = peewee.DoubleField(null=True)
    origin = _short_text(64)

    class Meta:
        bound = Bound("one", of="account")
        indexes = ((("server", "away"), False),)


class KnownNetwork(Table):
    """A network that a user has logged in from: a right password or a device token proved it. The
    latest few of each user are kept; the limits on logins let them in before strangers."""

    user = peewee.ForeignKeyField(User, on_delete="CASCADE", index=False)
    user_id: int
    network = peewee.CharField(64)  # One of `bbs.core.addresses.networks`, of the middle width.
    used = peewee.DoubleField()  # Seconds since the epoch, to a day.

    class Meta:
        bound = Bound("16", of="account")
        primary_key = peewee.CompositeKey("user", "network")


class LoginServer(Table):
    """A login server that runs. `beats`, `logins`, `counts` and `figures` are as in `Server`."""

    id = peewee.CharField(32, primary_key=True)
    identity = peewee.CharField(200)
    beats = peewee.BigIntegerField(default=0)
    logins = peewee.BigIntegerField(null=True)  # Since it started.
    counts = peewee.TextField(null=True)
    figures = peewee.TextField(null=True)
    version = _short_text(40)  # Of bbs.

    class Meta:
        bound = Bound("one", of="login server", share="none: servers fill it")


class HeartbeatRow(Table):
    """The heartbeat of an app server or login server that runs: only that server writes it, so that
    a heartbeat waits for nobody who takes a place, and nobody waits for it.

    A login server without this row is of a version up to schema 12."""

    server = peewee.CharField(32, primary_key=True)  # The id of a `Server` or a `LoginServer`.
    beats = _count()  # Heartbeats: a watcher needs no common clock.
    node = _short_text(200)  # The database node that the server writes to; "" if it is not known.
    logins = peewee.BigIntegerField(null=True)  # Of a login server, since it started.
    counts = peewee.TextField(null=True)  # Its service's since it started, by name (JSON).
    figures = peewee.TextField(null=True)  # Counts that every server has (JSON).

    class Meta:
        bound = Bound("one", of="server", share="none: servers fill it")
        table_name = "heartbeat"


class Waiter(Table):
    """A user who waits offline. The transaction that gives the place also removes the row."""

    id = peewee.CharField(32, primary_key=True)
    login_server = peewee.ForeignKeyField(LoginServer, on_delete="CASCADE")  # The user waits there.
    name = peewee.CharField(NAME_LENGTH)
    since = peewee.DoubleField(null=True)  # Seconds since the epoch.
    trace = _short_text(64)  # Of the login, as W3C's `traceparent`.

    class Meta:
        bound = Bound("one", of="connection", share="`connections_per_address`")


class Lease(Table):
    """The lease of the login server that controls the fleet."""

    name = peewee.CharField(20, primary_key=True)
    holder = peewee.CharField(32)
    identity = peewee.CharField(200)
    beats = peewee.BigIntegerField(default=0)  # The holder counts it up, or loses the lease.
    refusal = peewee.TextField(null=True)  # Why its provider launches nothing.
    refused_until = peewee.DoubleField(null=True)  # It is not asked before.

    class Meta:
        bound = Bound("one", of="fleet", share="none: servers fill it")


class BackgroundJob(Table):
    """When a piece of work in the background `ran` last, in seconds since the epoch."""

    name = peewee.CharField(JOB_NAME_LENGTH, primary_key=True)
    ran = peewee.DoubleField()

    class Meta:
        bound = Bound("one", of="work in the background", share="none: servers fill it")


class TimerRow(Table):
    """A timer that has not run (`bbs.rules.timers`). The transaction that runs it removes the row.
    The table is named so that no service has one of that name already."""

    id = RisingIdField()
    due = peewee.DoubleField(index=True)  # Seconds since the epoch.
    name = peewee.CharField(TIMER_NAME_LENGTH)  # Under which its rule is declared.
    arguments = peewee.TextField()  # JSON.
    tries = peewee.IntegerField(default=0)  # Runs that failed.

    class Meta:
        bound = Bound(
            "one, until it has run", of="timer that a rule sets", share="as its rule allows"
        )
        table_name = "one_shot_timer"


class ConnectedUser(Table):
    """A user who listens at the app server `server`, for a service that wants to know
    (`bbs.rules.attendance`). The lease is good `until` then, in seconds since the epoch."""

    user = peewee.ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    user_id: int
    server = peewee.CharField(32)
    until = peewee.DoubleField(index=True)

    class Meta:
        bound = Bound("one", of="account")
        table_name = "connected_user"


class Action(Table):
    """An act of an operator. Its transaction writes the row, which stays."""

    id = RisingIdField()
    at = peewee.DoubleField()  # Seconds since the epoch.
    operator = peewee.CharField(NAME_LENGTH)
    address = peewee.CharField(64)  # Where the act came from.
    action = peewee.CharField(20)
    target = peewee.CharField(32)  # A server.
    person = peewee.CharField(NAME_LENGTH, null=True)  # The name of a user.
    detail = peewee.CharField(250, null=True)

    class Meta:
        bound = Bound("any number, which stay", of="operator", share="none: operators fill it")


class OutboxEntry(Table):
    """News for app servers: an operator has done something to the user who listens on
    `channel`, or a rule tells an event (`bbs.rules.background.tell_soon`). The fleet's controller
    tells it, and removes the row."""

    id = RisingIdField()
    channel = peewee.CharField(32)
    event = peewee.TextField(null=True)  # JSON: the channel, and the event.

    class Meta:
        bound = Bound(
            "one, until it is told", of="act of an operator", share="none: operators fill it"
        )
        table_name = "notice"


class Point(Table):
    """One point in the last hour of the operators' page. Few are kept."""

    id = RisingIdField()
    at = peewee.DoubleField(index=True)
    login_server = peewee.CharField(32, default="")  # Its id; "": the fleet's point.
    series = peewee.TextField()  # By name (JSON).

    class Meta:
        bound = Bound(
            "an hour, one in ten seconds", of="login server", share="none: servers fill it"
        )


class News(Table):
    """One event of the operators' page, stored by the transaction that acts. Few are kept. `text`
    is for programs that do not know its `kind`."""

    id = RisingIdField()
    at = peewee.DoubleField()  # Seconds since the epoch.
    text = peewee.TextField()
    kind = _short_text(20)  # A `bbs.rules.page_history.EventKind`.
    server = _short_text(32)  # Which it is about.
    detail = _short_text(250)  # Put into the sentence, as `number` is.
    number = peewee.DoubleField(null=True)

    class Meta:
        bound = Bound("the latest 100, and what lasts", of="fleet", share="none: servers fill it")


class Secret(Table):
    """A secret (hex) that the servers of the service share."""

    name = peewee.CharField(20, primary_key=True)
    value = peewee.CharField(64)

    class Meta:
        bound = Bound("one", of="use", share="none: servers fill it")


class DatabaseWriter(Table):
    """The one node of a cluster that servers write to, in a row of that name
    (`bbs.storage.mysql_servers`); a row whose lock an upgrade of the schema holds, and one that is
    there meanwhile."""

    name = peewee.CharField(20, primary_key=True)
    node = peewee.CharField(200)

    class Meta:
        bound = Bound("three", of="database", share="none: servers fill it")
        table_name = "database_writer"


class ClockRow(Table):
    """The service's clock, in one row of the name `SERVICE`, as the fleet's leader or an operator
    `checked` it last, in seconds since the epoch. The database's own was `apart`: so many seconds
    ahead of it. Sweeps go by this clock (`bbs.core.clock`)."""

    SERVICE = "service"

    name = peewee.CharField(20, primary_key=True)
    checked = peewee.DoubleField()
    apart = peewee.DoubleField(default=0.0)

    class Meta:
        table_name = "service_clock"
        bound = Bound("one", of="service", share="none: servers fill it")


MODELS: tuple[type[Table], ...] = (
    User,
    Suspension,
    Session,
    Server,
    Place,
    KnownNetwork,
    LoginServer,
    HeartbeatRow,
    Waiter,
    Lease,
    Action,
    OutboxEntry,
    Point,
    News,
    Secret,
    BackgroundJob,
    DatabaseWriter,
    ClockRow,
    TimerRow,
    ConnectedUser,
)
"""In an order in which they can be made."""
