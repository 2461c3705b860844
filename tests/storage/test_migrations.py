"""The schema: made, brought up to date, refused, by several at once, and after a sudden end."""

from __future__ import annotations

import re
import signal
import sqlite3
from itertools import cycle
from typing import Any, ClassVar

import peewee
from playhouse.migrate import MySQLMigrator, SqliteMigrator
from playhouse.migrate import migrate as apply

from bbs.board import board
from bbs.board.groups.tables import Group, Membership
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.migrations import AT_ONCE, MEMBERS_AT_ONCE
from bbs.board.posts.tables import PostRow
from bbs.rules import page_history
from bbs.rules.page_history import EventKind, FleetEvent
from bbs.storage import migrations, models
from bbs.storage.engines import LOCK_TIMEOUT, DatabaseRefused, connect_to
from bbs.storage.migrations import Migrator, migrator_of
from bbs.storage.models import Action, Lease, LoginServer, Server, Session, User, Waiter
from bbs.storage.mysql_servers import UPGRADING
from bbs.storage.partitions import NARROWEST, bounds_of, is_partitioned
from bbs.storage.schema import Schema, SchemaVersion, ServiceVersion, create_table
from tests.database_case import DatabaseCase, on_both_databases
from tests.storage.processes import PATIENCE
from tests.storage.tables import indexes_of, name_of
from tests.storage.upgrading import EVERY, SHORT, Upgrader, cut_off_after_each_change

ALL: tuple[Any, ...] = (*models.MODELS, *board.models, ServiceVersion, SchemaVersion)
"""In an order in which they can be made."""

BOARD_1 = Schema(board.name, tuple(board.models))
"""The board's tables, as if there had never been others: what says no version of a service's is
taken for version 1 of the board's."""


class MigrationCase(DatabaseCase):
    """A database without tables."""

    migrated = False

    def setUp(self) -> None:
        super().setUp()
        self.db: Any = self.database.peewee
        if self.on_mysql:
            # What a test asks of the schema may take longer than a command, on a busy server.
            self.db.connect_params.update(read_timeout=PATIENCE, write_timeout=PATIENCE)
        self.db.connect()

    def upgrade(self, version: int = 1, oldest: int = 0, **options: Any) -> tuple[int, int]:
        """Upgrade with the steps `to_2`, `to_3` and so on to what is good from `oldest` on."""
        names = [name for name in options if name.startswith("to_")]
        steps = {int(name.removeprefix("to_")): options.pop(name) for name in names}
        before, after = migrations.upgrade(
            self.db, BOARD_1, version, steps, oldest or version, **options
        )
        return before.framework, after.framework

    def add_user(self, name: str) -> int:
        number: int = User.insert(name=name, password_hash="", channel="", created=0.0).execute()
        return number

    def schema(self) -> dict[str, list[object]]:
        """Everything that makes the tables what they are."""
        return {
            name: [
                sorted(map(str, self.db.get_columns(name))),
                sorted(map(str, self.indexes(name))),
                sorted(self.foreign_keys(name)),
                self.is_partitioned(name),
            ]
            for name in sorted(set(self.db.get_tables()) - {"sqlite_sequence"})
        }

    def foreign_keys(self, table: str) -> list[str]:
        if not self.on_mysql:
            return [*map(str, self.db.get_foreign_keys(table))]
        # peewee asks the schema of all databases, which takes seconds where they are many.
        [(_, made)] = self.db.execute_sql(f"SHOW CREATE TABLE `{table}`").fetchall()
        return re.findall("FOREIGN KEY .*[^,\n]", made)

    def is_partitioned(self, table: str) -> bool:
        if not self.on_mysql:
            return False
        [(_, made)] = self.db.execute_sql(f"SHOW CREATE TABLE `{table}`").fetchall()
        return "PARTITION BY RANGE" in made

    def indexes(self, table: str) -> list[tuple[str, list[str], bool]]:
        return [(each.name, each.columns, each.unique) for each in self.db.get_indexes(table)]

    def upgrader(self, changes: int = 0) -> Upgrader:
        """Another process that upgrades."""
        upgrader = Upgrader(self.url, changes)
        self.addCleanup(upgrader.kill)
        self.assertEqual(upgrader.says(), "connected")
        return upgrader

    def upgrading(self) -> Upgrader:
        """One in the middle of its step."""
        upgrader = self.upgrader()
        self.assertEqual(upgrader.says(), "upgrading")
        return upgrader


@on_both_databases
class Upgrading(MigrationCase):
    def test_an_empty_database(self) -> None:
        self.assertEqual(migrations.current(self.db).framework, 0)
        self.assertEqual(self.upgrade(), (0, 1))
        self.assertEqual(migrations.current(self.db).framework, 1)
        tables = {name_of(model) for model in ALL}
        self.assertEqual(set(self.db.get_tables()) - {"sqlite_sequence"}, tables)

    def test_up_to_date(self) -> None:
        self.upgrade()
        user = self.add_user("ann")
        self.assertEqual(self.upgrade(), (1, 1))
        self.assertEqual([each.id for each in User.select()], [user])
        self.assertEqual(SchemaVersion.select().count(), 1)

    def test_every_model_has_its_indexes(self) -> None:
        self.upgrade()
        for model in ALL:
            there = [(columns, unique) for _, columns, unique in self.indexes(name_of(model))]
            for fields, unique in indexes_of(model):
                columns = [field.column_name for field in fields]
                if is_partitioned(self.db, model):
                    columns += [model._meta.partitioned_by] * (columns[-1] != "message_id")
                self.assertIn((columns, unique), there)

    def test_an_older_one_is_taken_there_step_by_step(self) -> None:
        migrator = (MySQLMigrator if self.on_mysql else SqliteMigrator)(self.db)
        self.upgrade()
        self.add_user("ann")
        taken: list[str] = []

        def add_color(given: Migrator) -> None:
            self.assertIs(given.database, self.db)
            taken.append("color")
            apply(migrator.add_column("user", "color", peewee.CharField(10, default="red")))

        def index_color(given: Migrator) -> None:
            taken.append("index")
            apply(migrator.add_index("user", ("color",)))

        self.assertEqual(self.upgrade(3, to_2=add_color, to_3=index_color), (1, 3))
        self.assertEqual(migrations.current(self.db).framework, 3)
        self.assertEqual(self.upgrade(3, to_2=add_color, to_3=index_color), (3, 3))
        self.assertEqual(taken, ["color", "index"])
        cursor = self.db.execute_sql("SELECT name, color FROM user")
        self.assertEqual([*cursor.fetchall()], [("ann", "red")])

    def test_a_new_one_takes_no_steps(self) -> None:
        self.assertEqual(self.upgrade(3), (0, 3))

    def test_a_step_that_fails_is_taken_again(self) -> None:
        self.upgrade()
        troubles = iter([ZeroDivisionError, KeyboardInterrupt])
        taken: list[int] = []

        def to_2(database: object) -> None:
            taken.append(2)

        def to_3(database: object) -> None:
            taken.append(3)
            for trouble in troubles:
                raise trouble

        self.assertRaises(ZeroDivisionError, self.upgrade, 3, to_2=to_2, to_3=to_3)
        self.assertRaises(KeyboardInterrupt, self.upgrade, 3, to_2=to_2, to_3=to_3)
        self.upgrade(3, to_2=to_2, to_3=to_3)
        # SQLite takes all steps in one transaction, MySQL cannot.
        self.assertEqual(taken, [2, 3, 3, 3] if self.on_mysql else [2, 3, 2, 3, 2, 3])
        self.assertEqual(migrations.current(self.db).framework, 3)

    def test_a_newer_one_is_refused_and_left_alone(self) -> None:
        self.upgrade(3)
        self.add_user("ann")
        before = self.schema()
        error = self.assertRaises(DatabaseRefused, self.upgrade)
        self.assertEqual(
            str(error), "the database has schema 3, newer than this program's 1: upgrade bbs"
        )
        self.assertEqual(self.schema(), before)
        self.assertEqual((migrations.current(self.db).framework, User.select().count()), (3, 1))

    def test_a_newer_one_that_is_good_for_this_program(self) -> None:
        """It goes on as it is, and so it stays for the program that brought it there."""
        self.upgrade(12, oldest=9)
        before = self.schema()
        for version in (11, 10, 9):
            self.assertEqual(self.upgrade(version, oldest=1), (12, 12))
        error = self.assertRaises(DatabaseRefused, self.upgrade, 8)
        self.assertEqual(
            str(error), "the database has schema 12, newer than this program's 8: upgrade bbs"
        )
        self.assertEqual(self.upgrade(12, oldest=9), (12, 12))
        self.assertEqual(self.schema(), before)
        there = migrations.current(self.db)
        self.assertEqual((there.framework, there.framework_from), (12, 9))
        # What a program reads that knows the one column alone.
        rows = self.db.execute_sql("SELECT id, version FROM schema_version").fetchall()
        self.assertEqual([version for _, version in rows], [9])

    def test_malformed_versions(self) -> None:
        """They are refused in words, at every start."""
        migrations.upgrade(self.db, board.schema)
        any_value = () if self.on_mysql else ("'eleven'", "3.5", "x'0b'", str(2**40))
        for table in ("schema_version", "service_version"):
            for version in ("0", "-5", *any_value):
                self.db.execute_sql(f"UPDATE {table} SET version = {version}")
                for read in (migrations.current, self.to_today):
                    error = self.assertRaises(DatabaseRefused, read, self.db)
                    self.assertIn(f"malformed version in {table}: (", str(error))
            self.db.execute_sql(f"UPDATE {table} SET version = 1")
        self.db.execute_sql("INSERT INTO schema_version (version, reached) VALUES (1, 1)")
        error = self.assertRaises(DatabaseRefused, migrations.current, self.db)
        told = "the database has a malformed version in schema_version: several rows"
        self.assertEqual(str(error), told)

    def test_users_without_a_version(self) -> None:
        """Nobody knows which steps their tables need."""
        for table in ("service_version", "schema_version"):
            migrations.upgrade(self.db, board.schema)
            self.add_user(table)
            self.db.execute_sql(f"DELETE FROM {table}")
            error = self.assertRaises(DatabaseRefused, self.to_today, self.db)
            self.assertIn("no version of bbs", str(error))
            User.delete().execute()

    def to_today(self, database: Any) -> None:
        migrations.upgrade(database, board.schema)

    def test_what_a_step_of_several_is_good_for(self) -> None:
        """Of one that is cut off behind a step, the next goes on with the one after it."""
        self.upgrade(8, oldest=8)
        seen: list[tuple[int, int]] = []

        def look(migrator: Migrator) -> None:
            there = migrations.current(self.db)
            seen.append((there.framework, there.framework_from))

        self.assertEqual(self.upgrade(11, oldest=10, to_9=look, to_10=look, to_11=look), (8, 11))
        self.assertEqual(seen, [(8, 8), (9, 9), (10, 10)])
        there = migrations.current(self.db)
        self.assertEqual((there.framework, there.framework_from), (11, 10))

    def test_the_connection_is_as_before(self) -> None:
        """Its deadlines hold again, and so do foreign keys."""
        seen: list[tuple[int, float | None]] = []

        def look(migrator: object = None) -> None:
            if self.on_mysql:
                [(number,)] = self.db.execute_sql("SELECT CONNECTION_ID()").fetchall()
                seen.append((number, self.db.connect_params["read_timeout"]))

        self.upgrade()
        look()
        self.upgrade(2, to_2=look)
        look()
        self.assertFalse(self.db.is_closed())
        if self.on_mysql:
            self.assertEqual([deadline for _, deadline in seen], [PATIENCE, None, PATIENCE])
            self.assertEqual(len({number for number, _ in seen}), 3)
        else:
            self.assertEqual(self.db.pragma("busy_timeout"), 1000 * LOCK_TIMEOUT)
            self.assertEqual(self.db.pragma("foreign_keys"), 1)
        self.assertRaises(
            peewee.IntegrityError, Session.insert(digest="d", user=1, used=0.0).execute
        )


@on_both_databases
class TheStepsThatThereAre(MigrationCase):
    """From the schema of each version to today's: the same as a new one, and what was stored."""

    ADDED: ClassVar[dict[int, dict[str, list[str]]]] = {
        2: {"server": ["instance_id", "kind"], "lease": ["refusal", "refused_until"]},
        3: {"server": ["messages"], "login_server": ["logins"], "waiter": ["since"], "action": []},
        4: {"server": ["counts"], "login_server": ["counts"], "service_version": []},
        5: {"secret": []},
        6: {
            "user": ["seen"],
            "place": ["away", "asked"],
            "server": ["figures"],
            "login_server": ["figures"],
            "action": ["person", "detail"],
            "suspension": [],
            "notice": [],
            "point": [],
            "news": [],
        },
        7: {"server": ["warned", "shelved", "way"], "place": ["moved"]},
        8: {
            "server": ["version", "replace_asked", "trace"],
            "login_server": ["version"],
            "waiter": ["trace"],
            "schema_version": ["reached"],
            "service_version": ["reached"],
        },
        9: {"server": ["cause"]},
        10: {"news": ["kind", "server", "detail", "number"]},
        11: {"place": ["origin"], "known_network": []},
        12: {"background_job": [], "notice": ["event"]},
        13: {"database_writer": [], "heartbeat": []},
        14: {"service_clock": []},
        15: {"one_shot_timer": [], "connected_user": []},
    }
    """What each version brought: columns of tables that were there, and tables (no columns)."""

    def setUp(self) -> None:
        super().setUp()
        migrations.upgrade(self.db, board.schema)
        self.today = self.schema()
        self.add_user("ann")
        Server.insert(id="s1", scope="local:1", capacity=10, created=1.0, port=1).execute()
        Lease.insert(name="fleet", holder="me", identity="here", beats=7).execute()
        LoginServer.insert(id="l1", identity="here", beats=3).execute()
        Waiter.insert(id="w1", login_server="l1", name="bob").execute()

    def to_today(self) -> tuple[int, int]:
        before, after = migrations.upgrade(self.db, board.schema)
        return before.framework, after.framework

    def go_back(self, version: int) -> None:
        """Take away what came after `version`."""
        for number in range(migrations.VERSION, version, -1):
            for table, columns in self.ADDED[number].items():
                for index in self.db.get_indexes(table):
                    if {*columns} & {*index.columns}:
                        on = f" ON {table}" if self.on_mysql else ""
                        self.db.execute_sql(f"DROP INDEX {index.name}{on}")
                for column in columns:
                    self.db.execute_sql(f"ALTER TABLE {table} DROP COLUMN `{column}`")
                if not columns:
                    self.db.execute_sql(f"DROP TABLE {table}")
        reached = {"reached": version} if version >= migrations.REACHED else {}
        SchemaVersion.update(version=version, **reached).execute()

    def test_each_version(self) -> None:
        for version in range(1, migrations.VERSION):
            self.go_back(version)
            counted = "counts" in [each.name for each in self.db.get_columns("server")]
            named = "service_version" in self.db.get_tables()
            self.assertEqual((counted, named), (version >= 4, version >= 4))
            self.assertEqual("secret" in self.db.get_tables(), version >= 5)
            self.assertEqual(self.to_today(), (version, migrations.VERSION))
            self.assertEqual(self.schema(), self.today)
        self.assertEqual([(user.name, user.seen) for user in User.select()], [("ann", None)])
        server, lease = Server.get(), Lease.get()
        self.assertEqual((server.id, server.port, server.instance_id), ("s1", 1, None))
        self.assertEqual((lease.holder, lease.beats, lease.refusal), ("me", 7, None))
        login_server, waiter = LoginServer.get(), Waiter.get()
        self.assertEqual((server.messages, login_server.logins, waiter.since), (None, None, None))
        self.assertEqual((login_server.beats, waiter.name), (3, "bob"))

    def test_news_of_an_older_version(self) -> None:
        """They stay, and it goes on writing words alone beside today's."""
        self.go_back(9)
        writes = "INSERT INTO news (id, at, text) VALUES (%d, 1.5, 'Server s1 is ready.')"
        self.db.execute_sql(writes % 7)
        self.assertEqual(self.to_today(), (9, migrations.VERSION))
        self.db.execute_sql(writes % 8)
        with self.db.atomic():
            page_history.add(FleetEvent(EventKind.GONE, 0.5, "s1"))
        self.assertEqual(
            [(each.id, each.text, each.event) for each in page_history.news_behind(0)],
            [
                (7, "Server s1 is ready.", None),
                (8, "Server s1 is ready.", None),
                (500, "Server s1 is gone.", FleetEvent(EventKind.GONE, 0.5, "s1")),
            ],
        )

    def test_while_servers_are_at_work_on_the_tables(self) -> None:
        """The upgrade waits, and lets them get on in between: they are served on MySQL while a
        change of the schema does not wait for a lock, and on SQLite all the time."""
        self.go_back(7)
        other = connect_to(self.url)
        other.connect()
        self.addCleanup(other.close)
        other.execute_sql("BEGIN")
        other.execute_sql("SELECT * FROM server").fetchall()
        waited: list[float] = []

        def get_on(seconds: float) -> None:
            waited.append(seconds)
            other.execute_sql("COMMIT")

        before, after = migrations.upgrade(self.db, board.schema, sleep=get_on)
        self.assertEqual((before.framework, after.framework), (7, migrations.VERSION))
        # On Galera a change of the schema ends the transactions that are in its way.
        waits = self.on_mysql and not self.db.servers.is_galera
        self.assertEqual(waited, [migrations.RETRY_DELAY] if waits else [])
        self.assertEqual(self.schema(), self.today)

    def test_a_step_that_was_cut_off_is_taken_again(self) -> None:
        """As on MySQL, which keeps each statement of a step by itself."""
        self.go_back(1)
        self.db.execute_sql("ALTER TABLE server ADD COLUMN instance_id VARCHAR(64)")
        create_table(self.db, Action)
        self.assertEqual(self.to_today(), (1, migrations.VERSION))
        self.assertEqual(self.schema(), self.today)


@on_both_databases
class Together(MigrationCase):
    """Other processes upgrade the same database."""

    def test_one_of_them_does_it_and_the_others_wait(self) -> None:
        self.upgrade()
        first = self.upgrading()
        others = [self.upgrader() for _ in range(2)]
        # Longer than a command of theirs would wait for a lock, or for an answer.
        self.assertIsNone(others[0].says(3 * SHORT))
        first.tell("go on")
        said = [each.says() for each in (first, *others)]
        self.assertEqual(said, [(1, 2), (2, 2), (2, 2)])
        self.assertEqual([user.name for user in User.select()], ["step 0"])

    def test_a_new_database(self) -> None:
        said = [each.says() for each in [self.upgrader() for _ in range(3)]]
        self.assertEqual(sorted(said), [(0, 2), (2, 2), (2, 2)])

    def test_the_lock_of_one_that_was_killed_is_free(self) -> None:
        self.upgrade()
        self.upgrading().kill()
        other = self.upgrading()
        other.tell("go on")
        self.assertEqual(other.says(), (1, 2))

    def test_who_has_nothing_to_do_waits_for_nobody(self) -> None:
        self.upgrade()
        self.upgrading()
        self.assertEqual(self.upgrade(patience=0), (1, 1))
        self.assertEqual(self.is_marked(), self.on_mysql)

    def test_the_mark_of_one_that_was_killed_is_removed_at_the_next_start(self) -> None:
        self.upgrade()
        self.upgrading().kill()
        self.assertEqual(self.is_marked(), self.on_mysql)
        for _ in range(2):
            self.assertEqual(self.upgrade(patience=0), (1, 1))
            self.assertFalse(self.is_marked())

    def is_marked(self) -> bool:
        """Whether nodes of a cluster are told that an upgrade is at work."""
        mark = models.DatabaseWriter.name == UPGRADING
        return bool(models.DatabaseWriter.select().where(mark).exists())

    def test_one_that_takes_too_long(self) -> None:
        """Whoever waits says so in one line."""
        self.upgrade()
        self.upgrading()
        waiting = self.database.run_untimed(self.upgrade, 2, patience=0)
        error = self.failureResultOf(waiting, DatabaseRefused).value
        reason = "another server has been upgrading the schema for 0 s"
        expected = reason if self.on_mysql else f"database {self.url}: database is locked"
        self.assertEqual(str(error), expected)


@on_both_databases
class MadeInPart(MigrationCase):
    """What made the tables was cut off in the middle."""

    def test_the_next_one_makes_what_is_missing(self) -> None:
        migrations.upgrade(self.db, board.schema)
        whole = self.schema()
        for model in reversed(ALL):
            self.db.execute_sql(f"DROP TABLE {name_of(model)}")
        cuts = 0
        for _ in cut_off_after_each_change(self.db, board.schema):
            cuts += 1
            tables, there = {*self.db.get_tables()}, migrations.current(self.db)
            if not self.on_mysql:
                self.assertEqual(tables - {"sqlite_sequence"}, set())
            # What says that there is a version is there when its tables are.
            if there.framework:
                self.assertLessEqual({*map(name_of, models.MODELS)}, tables)
            if there.service:
                self.assertEqual(self.schema(), whole)
        self.assertGreater(cuts, len(ALL) if self.on_mysql else len(ALL) // EVERY)
        there = migrations.current(self.db)
        self.assertEqual((there.framework, there.service), (migrations.VERSION, board.version))
        self.assertEqual(self.schema(), whole)

    def test_by_a_signal(self) -> None:
        """On MySQL there is what was made before it, on SQLite nothing."""
        killed = self.upgrader(changes=10)
        self.assertEqual(killed.ended(), -signal.SIGKILL)
        self.assertEqual("user" in self.db.get_tables(), self.on_mysql)
        self.assertEqual(migrations.current(self.db).framework, 0)
        self.assertEqual(self.upgrade(), (0, 1))


class OnSQLite(MigrationCase):
    """What needs care on SQLite alone."""

    def test_a_step_that_rebuilds_a_table_keeps_the_rows_that_refer_to_it(self) -> None:
        self.upgrade()
        user = self.add_user("ann")
        Session.insert(digest="d", user=user, used=0.0).execute()
        migrator = SqliteMigrator(self.db)

        def rebuild(database: object) -> None:
            apply(migrator.alter_column_type("user", "name", peewee.CharField(200)))

        self.upgrade(2, to_2=rebuild)
        self.assertEqual([session.digest for session in Session.select()], ["d"])

    def test_readers_and_a_writer_do_not_wait_for_each_other(self) -> None:
        self.upgrade()
        self.assertEqual(self.db.pragma("journal_mode"), "wal")
        self.close_connection()
        self.db.connect()
        self.assertEqual(self.db.pragma("journal_mode"), "wal")
        self.assertEqual(self.db.pragma("synchronous"), 1)

    def test_another_that_turns_the_file_to_wal_is_waited_for(self) -> None:
        other = self.another_at_work()
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                other.execute("COMMIT")

        self.upgrade(sleep=sleep)
        self.assertEqual(pauses, [migrations.WAL_INTERVAL] * 3)
        self.assertEqual(self.db.pragma("journal_mode"), "wal")

    def test_but_not_for_ever(self) -> None:
        self.another_at_work()
        pauses: list[float] = []
        with self.assertRaisesRegex(peewee.OperationalError, "locked"):
            self.upgrade(sleep=pauses.append)
        self.assertEqual(len(pauses), migrations.WAL_ATTEMPTS - 1)

    def test_other_trouble_is_told_at_once(self) -> None:
        """As of a file that cannot be written."""
        self.another_at_work().execute("COMMIT")
        file = self.url.removeprefix("sqlite:///")
        self.db.close()
        self.db.init(f"file:{file}?mode=ro", uri=True)
        pauses: list[float] = []
        with self.assertRaisesRegex(peewee.OperationalError, "readonly"):
            self.upgrade(sleep=pauses.append)
        self.assertEqual(pauses, [])

    def another_at_work(self) -> sqlite3.Connection:
        """Another connection to the file, which is not in WAL yet, in a transaction that writes:
        SQLite lets nobody turn the file to WAL then, and has nobody wait."""
        other = sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)
        self.addCleanup(other.close)
        other.execute("CREATE TABLE theirs (a)")
        other.execute("BEGIN IMMEDIATE")
        return other


class Room(models.Table):
    """A table of another service."""

    name = peewee.CharField(20)


def add_topic(migrator: Migrator) -> None:
    migrator.add_columns("room", topic=peewee.CharField(20, default=""))


@on_both_databases
class Services(MigrationCase):
    """A service has a version of its own, and a database of its own."""

    def test_steps_of_its_own(self) -> None:
        migrations.upgrade(self.db, Schema("lobby", (Room,)))
        Room.insert(name="one").execute()
        newer = Schema("lobby", (Room,), 2, {2: add_topic})
        before, after = migrations.upgrade(self.db, newer)
        self.assertEqual((before.service, after.service), (1, 2))
        self.assertEqual(before.framework, after.framework)
        rows = self.db.execute_sql("SELECT name, topic FROM room").fetchall()
        self.assertEqual([*rows], [("one", "")])
        # Taken again after it was cut off.
        add_topic(migrator_of(self.db))

    def test_of_a_newer_version(self) -> None:
        migrations.upgrade(self.db, Schema("lobby", (Room,), 2, {2: add_topic}))
        before = self.db.get_tables()
        error = self.assertRaises(
            DatabaseRefused, migrations.upgrade, self.db, Schema("lobby", (Room,))
        )
        self.assertEqual(
            str(error),
            "the database has version 2 of lobby, newer than this program's 1: upgrade lobby",
        )
        self.assertEqual(self.db.get_tables(), before)

    def test_of_a_newer_version_that_is_good_for_this_one(self) -> None:
        newer = Schema("lobby", (Room,), 3, {2: add_topic, 3: add_topic}, oldest=2)
        migrations.upgrade(self.db, newer)
        older = Schema("lobby", (Room,), 2, {2: add_topic})
        before, after = migrations.upgrade(self.db, older)
        self.assertEqual((before.service, after.service), (3, 3))
        self.assertEqual(migrations.newer(after, older), "lobby 3, this program's is 2")
        self.assertEqual(migrations.newer(after, newer), "")
        self.assertRaises(DatabaseRefused, migrations.upgrade, self.db, Schema("lobby", (Room,)))
        # One that has all rows is not enough: it has all of its columns, too.
        self.db.execute_sql("ALTER TABLE room DROP COLUMN name")
        self.assertRaises(DatabaseRefused, migrations.upgrade, self.db, older)

    def test_two_on_one_database(self) -> None:
        migrations.upgrade(self.db, Schema("lobby", (Room,)))
        error = self.assertRaises(DatabaseRefused, migrations.upgrade, self.db, board.schema)
        self.assertEqual(
            str(error), "the database is the service lobby's, and bbs needs one of its own"
        )
        self.assertNotIn("post", self.db.get_tables())

    def test_of_a_version_that_did_not_know_of_services(self) -> None:
        migrations.upgrade(self.db, board.schema)
        self.db.execute_sql("DROP TABLE service_version")
        SchemaVersion.update(version=3, reached=3).execute()
        error = self.assertRaises(
            DatabaseRefused, migrations.upgrade, self.db, Schema("lobby", (Room,))
        )
        self.assertEqual(
            str(error), "the database is the service bbs's, and lobby needs one of its own"
        )

    def test_a_step_that_fails(self) -> None:
        """It is said in one line; the step is taken again once it is mended."""

        def broken(migrator: Migrator) -> None:
            raise KeyError("one")

        migrations.upgrade(self.db, Schema("lobby", (Room,)))
        error = self.assertRaises(
            DatabaseRefused, migrations.upgrade, self.db, Schema("lobby", (Room,), 2, {2: broken})
        )
        self.assertEqual(str(error), "the step to version 2 of lobby failed: KeyError: 'one'")
        migrations.upgrade(self.db, Schema("lobby", (Room,), 2, {2: add_topic}))
        self.assertIn("topic", [column.name for column in self.db.get_columns("room")])

    def test_a_model_that_changed_without_a_step(self) -> None:
        migrations.upgrade(self.db, Schema("lobby"))
        error = self.assertRaises(
            DatabaseRefused, migrations.upgrade, self.db, Schema("lobby", (Room,))
        )
        self.assertEqual(
            str(error),
            "the database is of version 1 of lobby, and has no table room: a change of the models"
            " needs a new version and a step to it",
        )
        create_table(self.db, Room)
        migrations.upgrade(self.db, Schema("lobby", (Room,)))
        self.db.execute_sql("ALTER TABLE room RENAME COLUMN name TO title")
        error = self.assertRaises(
            DatabaseRefused, migrations.upgrade, self.db, Schema("lobby", (Room,))
        )
        self.assertIn("no column name in the table room", str(error))

    def test_the_rows_that_a_new_database_begins_with(self) -> None:
        def seed() -> None:
            Room.insert(name="hall").execute()

        seeded = Schema("lobby", (Room,), seed=seed)
        for _ in range(2):
            migrations.upgrade(self.db, seeded)
            self.assertEqual([each.name for each in Room.select()], ["hall"])

    def test_a_seed_that_fails(self) -> None:
        """Nothing of it is stored, and the next start seeds again."""

        def seed() -> None:
            Room.insert(name="hall").execute()
            raise KeyError("one")

        broken = Schema("lobby", (Room,), seed=seed)
        error = self.assertRaises(DatabaseRefused, migrations.upgrade, self.db, broken)
        self.assertEqual(str(error), "the seed of lobby failed: KeyError: 'one'")
        migrations.upgrade(self.db, Schema("lobby", (Room,)))
        self.assertEqual(Room.select().count(), 0)

    def test_what_is_no_schema(self) -> None:
        self.assertRaises(ValueError, Schema, "lobby", (Room,), 2)
        self.assertRaises(ValueError, Schema, "lobby", (Room,), 0)
        self.assertRaises(ValueError, Schema, "lobby", (User,))
        self.assertRaises(ValueError, Schema, "lobby", (Room,), 1, {}, 2)
        self.assertRaises(ValueError, Schema, "lobby", (Room,), 1, {}, -1)


class Vote(models.Table):
    """A table of an extension."""

    choice = peewee.CharField(20)

    class Meta:
        table_name = "poll_vote"


def add_weight(migrator: Migrator) -> None:
    weight = peewee.IntegerField(default=1, constraints=[peewee.SQL("DEFAULT 1")])
    migrator.add_columns("poll_vote", weight=weight)


@on_both_databases
class Extensions(MigrationCase):
    """An extension has tables, and a version of its own, in the database of a service."""

    first = Schema("poll", (Vote,))
    second = Schema("poll", (Vote,), 2, {2: add_weight})

    def upgraded(self, *parts: Schema) -> dict[str, int]:
        """The versions of extensions after an upgrade with these installed."""
        _, there = migrations.upgrade(self.db, Schema("lobby", (Room,), parts=parts))
        return dict(there.extensions)

    def columns(self) -> list[str]:
        return [each.name for each in self.db.get_columns("poll_vote")]

    def test_installed_upgraded_removed_and_installed_again(self) -> None:
        self.assertEqual(self.upgraded(), {})
        Room.insert(name="one").execute()
        self.assertEqual(self.upgraded(self.first), {"poll": 1})
        Vote.insert(choice="yes").execute()
        self.assertEqual(self.upgraded(self.second), {"poll": 2})
        self.assertIn("weight", self.columns())
        self.assertEqual(self.upgraded(), {"poll": 2})
        self.assertEqual(self.upgraded(self.second), {"poll": 2})
        self.assertEqual([each.choice for each in Vote.select()], ["yes"])
        self.assertEqual([each.name for each in Room.select()], ["one"])

    def test_two_with_versions_of_their_own(self) -> None:
        other = Schema("other", (), 3, {2: add_weight, 3: add_weight})
        self.assertEqual(self.upgraded(self.first, other), {"other": 3, "poll": 1})

    def test_of_a_newer_version(self) -> None:
        self.upgraded(self.second)
        error = self.assertRaises(DatabaseRefused, self.upgraded, self.first)
        self.assertEqual(
            str(error),
            "the database has version 2 of the extension poll, newer than the installed 1:"
            " upgrade poll",
        )

    def test_a_step_that_was_cut_off(self) -> None:
        self.upgraded(self.first)

        def failing(migrator: Migrator) -> None:
            add_weight(migrator)
            raise KeyError("cut off")

        broken = Schema("poll", (Vote,), 2, {2: failing})
        error = self.assertRaises(DatabaseRefused, self.upgraded, broken)
        self.assertEqual(str(error), "the step to version 2 of poll failed: KeyError: 'cut off'")
        self.assertEqual(self.upgraded(self.second), {"poll": 2})

    def test_a_model_that_changed_without_a_step(self) -> None:
        self.upgraded(Schema("poll"))
        error = self.assertRaises(DatabaseRefused, self.upgraded, self.first)
        self.assertEqual(
            str(error),
            "the database is of version 1 of poll, and has no table poll_vote: a change of the"
            " models needs a new version and a step to it",
        )

    def test_names_that_are_taken(self) -> None:
        for parts, reason in (
            ((Schema("lobby"),), "lobby: the name of the extension lobby is taken"),
            ((self.first, self.second), "lobby: the name of the extension poll is taken"),
            ((self.first, Schema("b", (Vote,))), "b: the table poll_vote is taken"),
        ):
            error = self.assertRaises(ValueError, Schema, "lobby", (Room,), parts=parts)
            self.assertEqual(str(error), reason)


@on_both_databases
class TheBoardsSteps(MigrationCase):
    """From the tables of each version of the board to today's, on a database that has been used."""

    ADDED_BY_3: ClassVar[dict[str, list[str]]] = {
        "message": ["sent_by", "sent_to", "in_group"],
        "membership": ["after"],
        "post": ["stored"],
    }

    def setUp(self) -> None:
        super().setUp()
        migrations.upgrade(self.db, board.schema)
        self.today = self.schema()
        self.ann, self.bob = self.add_user("ann"), self.add_user("bob")
        for user in (self.ann, self.bob):
            Inbox.insert(user=user).execute()
        for text in ("ünï", "a\0b", "\N{GRINNING FACE}"):
            number = MessageRow.insert(
                sender="ann", target="bob", to_group=False, text=text, stored=0.0
            ).execute()
            Delivery.insert(user=self.bob, message=number).execute()
            PostRow.insert(author=self.ann, text=text).execute()
        self.first = MessageRow.select(peewee.fn.MIN(MessageRow.id)).scalar()
        Inbox.update(delivered=self.first).where(Inbox.user == self.bob).execute()
        self.go = Group.insert(name="go", channel="").execute()
        for member in (self.ann, self.bob):
            Membership.insert(group=self.go, user=member).execute()
        self.last = self.say("ann", "go", True, self.bob)

    def say(self, sender: str, target: str, to_group: bool, *readers: int, gap: int = 1) -> int:
        """Store a message without a text, as version 2 does, so many ids behind the last."""
        last = MessageRow.select(peewee.fn.MAX(MessageRow.id)).scalar() or 0
        number: int = MessageRow.insert(
            id=last + gap, sender=sender, target=target, to_group=to_group, text="", stored=5.0
        ).execute()
        for reader in readers:
            Delivery.insert(user=reader, message=number).execute()
        return number

    def go_back(self, version: int) -> None:
        """Take away what came after `version`."""
        self.go_back_to_6()
        if version == 6:
            pass
        elif version == 3:
            self.go_back_to_3()
        else:
            self.go_back_to_2()
        if version == 1:
            self.go_back_to_1()
        ServiceVersion.update(version=version, reached=version).execute()

    def go_back_to_6(self) -> None:
        if not self.on_mysql:
            return
        indexes = [
            f"DROP INDEX {name}, ADD INDEX {name} ({', '.join(columns[:-1])})"
            for name, columns, unique in self.indexes("message")
            if not unique
        ]
        for statement in (
            f"ALTER TABLE message {', '.join(indexes)}",
            "ALTER TABLE message REMOVE PARTITIONING",
            "ALTER TABLE delivery REMOVE PARTITIONING",
            "ALTER TABLE delivery ADD FOREIGN KEY (user_id) REFERENCES user (id) ON DELETE CASCADE,"
            " ADD FOREIGN KEY (message_id) REFERENCES message (id) ON DELETE CASCADE",
        ):
            self.db.execute_sql(statement)

    def go_back_to_3(self) -> None:
        if self.on_mysql:
            return  # It has no other keys.
        for statement in (
            "CREATE TABLE older (id INTEGER NOT NULL PRIMARY KEY, author_id INTEGER NOT NULL,"
            " text TEXT NOT NULL, stored REAL,"
            " FOREIGN KEY (author_id) REFERENCES user (id) ON DELETE CASCADE)",
            "INSERT INTO older SELECT id, author_id, text, stored FROM post",
            "DROP TABLE post",
            "ALTER TABLE older RENAME TO post",
            "CREATE INDEX post_author_id ON post (author_id)",
        ):
            self.db.execute_sql(statement)

    def go_back_to_2(self) -> None:
        self.go_back_to_3()
        execute = self.db.execute_sql
        for name, columns, _ in self.indexes("message"):
            if columns[0] in ("sent_by", "sent_to", "in_group"):
                execute(f"DROP INDEX {name}" + (" ON message" if self.on_mysql else ""))
        execute("DROP INDEX membership_group_id" + (" ON membership" if self.on_mysql else ""))
        for table, columns in self.ADDED_BY_3.items():
            for column in columns:
                execute(f"ALTER TABLE {table} DROP COLUMN `{column}`")
        execute("DROP TABLE block")

    def go_back_to_1(self) -> None:
        execute = self.db.execute_sql
        if self.on_mysql:
            [(key,)] = execute(
                "SELECT constraint_name FROM information_schema.key_column_usage WHERE"
                " table_schema = DATABASE() AND table_name = 'chat_group'"
                " AND column_name = 'creator_id'"
            ).fetchall()
            execute(f"ALTER TABLE chat_group DROP FOREIGN KEY {key}")
            execute("ALTER TABLE chat_group DROP COLUMN creator_id")
        else:
            # SQLite drops no column that refers to another table.
            self.db.pragma("foreign_keys", 0)
            execute("DROP TABLE chat_group")
            execute(
                "CREATE TABLE chat_group (id INTEGER NOT NULL PRIMARY KEY,"
                " name VARCHAR(100) NOT NULL, channel VARCHAR(32) NOT NULL)"
            )
            execute("CREATE UNIQUE INDEX chat_group_name ON chat_group (name)")
            execute("INSERT INTO chat_group (id, name, channel) VALUES (?, 'go', '')", (self.go,))
            self.db.pragma("foreign_keys", 1)
        for column in ("waiting", "posts", "post_bytes"):
            execute(f"ALTER TABLE inbox DROP COLUMN {column}")

    def test_what_is_there_is_counted(self) -> None:
        self.go_back(1)
        before, after = migrations.upgrade(self.db, board.schema)
        self.assertEqual((before.service, after.service), (1, board.version))
        self.check()

    def check(self) -> None:
        self.assertEqual(self.schema(), self.today)
        counted = [
            (each.user.id, each.delivered, each.waiting, each.posts, each.post_bytes)
            for each in Inbox.select().order_by(Inbox.user)
        ]
        self.assertEqual(counted, [(self.ann, 0, 0, 3, 12), (self.bob, self.first, 7, 0, 0)])
        self.assertIsNone(Group.get().creator)
        self.assertEqual([post.stored for post in PostRow.select()], [None] * 3)
        whose = (MessageRow.sent_by, MessageRow.sent_to, MessageRow.in_group)
        self.assertEqual(
            sorted({*MessageRow.select(*whose).tuples()}, key=str),
            [(self.ann, self.bob, None), (self.ann, None, self.go)],
        )
        # ann was sent nothing there, so what is there is not hers to read.
        since = [(each.user.id, each.after) for each in Membership.select().order_by(Membership.id)]
        self.assertEqual(since, [(self.ann, self.last), (self.bob, self.last - 1)])

    def test_whose_messages_are_whose(self) -> None:
        """As far as it is known: a name may be somebody else's by now, or nobody's."""
        User.insert(name="cat", password_hash="", channel="", created=6.0).execute()
        User.insert(name="dan", password_hash="", channel="", created=5.0).execute()
        dan = User.get(User.name == "dan").id
        expected = [
            (None, self.bob, None),
            (None, self.bob, None),
            (dan, self.bob, None),
            (self.ann, None, None),
            (self.ann, None, self.go),
            (self.bob, self.ann, None),
            (self.bob, None, None),
        ]
        # All in one piece, and each the last of one or the first of one.
        for gaps in (cycle([1]), cycle([1, AT_ONCE - 1])):
            Delivery.delete().execute()
            MessageRow.delete().execute()
            for sender, target, to_group, *readers in (
                ("cat", "bob", False, self.bob),
                ("eve", "bob", False, self.bob),
                ("dan", "bob", False, self.bob),
                ("ann", "eve", False),
                ("ann", "go", True, self.ann, self.bob),
                ("bob", "go", False, self.ann),
                ("bob", "nowhere", True, self.ann),
            ):
                self.say(sender, target, to_group, *readers, gap=next(gaps))
            self.go_back(2)
            migrations.upgrade(self.db, board.schema)
            whose = (MessageRow.sent_by, MessageRow.sent_to, MessageRow.in_group)
            found = [*MessageRow.select(*whose).order_by(MessageRow.id).tuples()]
            self.assertEqual(found, expected)

    def test_messages_get_partitions(self) -> None:
        """New messages are in the same ones as before."""
        self.go_back(6)
        before, there = self.schema(), [*MessageRow.select().order_by(MessageRow.id).dicts()]
        migrations.upgrade(self.db, board.schema)
        self.assertEqual(self.schema() == before, not self.on_mysql)
        self.assertEqual([*MessageRow.select().order_by(MessageRow.id).dicts()], there)
        bounds = [bounds_of(each) for each in (Delivery, MessageRow)]
        expected = [self.last + NARROWEST] if self.on_mysql else None
        self.assertEqual(bounds, [expected, expected])
        self.assertEqual(self.say("ann", "bob", False, self.bob), self.last + 1)

    def test_since_when_members_are_members(self) -> None:
        dan = self.add_user("dan")
        Membership.insert(group=self.go, user=dan).execute()
        chess = Group.insert(name="chess", channel="").execute()
        for member in (dan, self.bob):
            Membership.insert(group=chess, user=member).execute()
        second = self.say("ann", "chess", True, self.bob)
        third = self.say("ann", "go", True, self.bob, dan)
        newest = self.say("ann", "chess", True, self.ann)
        self.check_members(newest, second - 1, third - 1)

    def test_many_members_and_messages(self) -> None:
        """More than are looked at in one piece."""
        gap = AT_ONCE
        crowd = [self.add_user(f"one {number}") for number in range(MEMBERS_AT_ONCE)]
        dan = self.add_user("dan")
        chess = Group.insert(name="chess", channel="").execute()
        with self.db.atomic():
            for member in (*crowd, dan, self.bob):
                Membership.insert(group=chess, user=member).execute()
            Membership.insert(group=self.go, user=dan).execute()
        second = self.say("ann", "chess", True, self.bob, gap=gap)
        third = self.say("ann", "go", True, self.bob, dan, gap=gap)
        newest = self.say("ann", "chess", True, self.ann, gap=gap)
        self.check_members(newest, second - 1, third - 1)

    def check_members(self, newest: int, bob_in_chess: int, dan_in_go: int) -> None:
        self.go_back(2)
        migrations.upgrade(self.db, board.schema)
        since = {(each.group.name, each.user.name): each.after for each in Membership.select()}
        known = {
            ("go", "ann"): newest,
            ("go", "bob"): self.last - 1,
            ("go", "dan"): dan_in_go,
            ("chess", "dan"): newest,
            ("chess", "bob"): bob_in_chess,
        }
        self.assertEqual(since, {**dict.fromkeys(since, newest), **known})

    def test_nothing_was_ever_said(self) -> None:
        Delivery.delete().execute()
        MessageRow.delete().execute()
        self.go_back(2)
        migrations.upgrade(self.db, board.schema)
        self.assertEqual({each.after for each in Membership.select()}, {0})

    def test_cut_off_after_each_change_and_taken_up_again(self) -> None:
        """What was made before the cut is there on MySQL, and nothing of it on SQLite."""
        self.go_back(1)
        before, cuts = self.schema(), 0
        for _ in cut_off_after_each_change(self.db, board.schema):
            cuts += 1
            if self.on_mysql:
                self.assertIn(migrations.current(self.db).service, range(1, board.version + 1))
            else:
                self.assertEqual(migrations.current(self.db).service, 1)
                self.assertEqual(self.schema(), before)
        self.assertGreater(cuts, 12 if self.on_mysql else 12 // EVERY)
        self.check()

    def test_no_id_of_a_post_is_used_again(self) -> None:
        self.go_back(3)
        before, after = migrations.upgrade(self.db, board.schema)
        self.assertEqual((before.service, after.service), (3, board.version))
        self.assertEqual(self.schema(), self.today)
        newest = PostRow.select(peewee.fn.MAX(PostRow.id)).scalar()
        self.assertEqual(PostRow.select().count(), 3)
        PostRow.delete().where(PostRow.id == newest).execute()
        # As a server of version 3 does it, which runs beside.
        again = f"INSERT INTO post (author_id, text) VALUES ({self.ann}, 'again')"
        self.db.execute_sql(again)
        self.assertGreater(PostRow.select(peewee.fn.MAX(PostRow.id)).scalar(), newest)

    def test_nor_when_the_newest_is_gone_before_the_step(self) -> None:
        newest = PostRow.select(peewee.fn.MAX(PostRow.id)).scalar()
        PostRow.delete().where(PostRow.id == newest).execute()
        self.db.execute_sql("UPDATE service_version SET version = 5, reached = 5")
        migrations.upgrade(self.db, board.schema)
        added = PostRow.insert(author=self.ann, text="again").execute()
        self.assertGreater(added, newest)

    def test_rows_that_a_server_of_version_1_goes_on_making(self) -> None:
        cat = self.add_user("cat")
        self.db.execute_sql(f"INSERT INTO inbox (user_id, delivered) VALUES ({cat}, 0)")
        self.db.execute_sql("INSERT INTO chat_group (name, channel) VALUES ('chess', 'c')")
        inbox = Inbox.get(Inbox.user == cat)
        self.assertEqual((inbox.waiting, inbox.posts, inbox.post_bytes), (0, 0, 0))
        chess = Group.get(Group.name == "chess")
        self.assertIsNone(chess.creator)
        insert = f"INSERT INTO membership (group_id, user_id) VALUES ({chess.id}, {cat})"
        self.db.execute_sql(insert)
        self.assertIsNone(Membership.get(Membership.user == cat).after)
        self.db.execute_sql(
            "INSERT INTO message (sender, target, to_group, text, `stored`)"
            " VALUES ('cat', 'ann', 0, '', 1)"
        )
        message = MessageRow.select().order_by(MessageRow.id.desc()).get()
        self.assertEqual((message.sent_by, message.sent_to, message.in_group), (None, None, None))
