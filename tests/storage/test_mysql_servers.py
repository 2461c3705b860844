"""Which server of a MySQL is used, and who may write to it: `bbs.storage.mysql_servers`."""

from __future__ import annotations

from typing import Any
from unittest import mock

import peewee
import pymysql
import pymysql.constants.ER as mysql_errors
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.database_urls import MalformedURL, MySQLURL, Place
from bbs.storage.engines import IN_PYTHON, connect_to
from bbs.storage.mysql_servers import SILENCE, UPGRADING, ServerFacts, Servers

A, B, C = (Place("127.0.0.1", port) for port in (1, 2, 3))

MARIADB = {
    "version": "11.8.3-MariaDB",
    "version_comment": "from Debian",
    "hostname": "one",
    "port": "3306",
    "read_only": "OFF",
    "tx_isolation": "REPEATABLE-READ",
    "log_bin": "OFF",
    "binlog_format": "MIXED",
    "auto_increment_increment": "1",
}
NODE = {
    **MARIADB,
    "wsrep_on": "ON",
    "wsrep_node_name": "n1",
    "wsrep_local_index": "0",
    "wsrep_incoming_addresses": "127.0.0.1:1,127.0.0.1:2",
    "auto_increment_increment": "2",
}
OTHER_NODE = {**NODE, "wsrep_node_name": "n2", "wsrep_local_index": "1"}


class URLs(SynchronousTestCase):
    def test_hosts(self) -> None:
        for hosts, places in (
            ("db", [("db", 3306)]),
            ("db:1,other:2", [("db", 1), ("other", 2)]),
            ("[::1]:1,[::2]", [("::1", 1), ("::2", 3306)]),
        ):
            parsed = MySQLURL.parse(f"mysql://bbs:a%2Cb%40c@{hosts}/board?tls_ca=/ca.pem")
            self.assertEqual([*map(tuple, parsed.places)], places)
            self.assertEqual((parsed.user, parsed.password), ("bbs", "a,b@c"))
            self.assertEqual((parsed.name, parsed.tls_ca), ("board", "/ca.pem"))

    def test_malformed(self) -> None:
        for hosts in ("db,db", "db:1,db:1", "db:0", "db:x,other", "db,,other", "db, other", "db;a"):
            self.assertRaises(ValueError, MySQLURL.parse, f"mysql://bbs:p@{hosts}/board")
        for rest in ("", "/", "/a/b", "/a?ssl=1", "/a#b"):
            self.assertRaises(ValueError, MySQLURL.parse, f"mysql://bbs:p@db{rest}")

    def test_the_reason_shows_nothing_of_the_url(self) -> None:
        for url, reason in (
            ("mysql://bbs:p@db, other/board", "host 2 is not HOST or HOST:PORT"),
            ("mysql://bbs:se/cret@db/board", "host 1 is not HOST or HOST:PORT"),
            ("mysql://bbs:p@db:99999/board", "host 1 is not HOST or HOST:PORT"),
            ("mysql://bbs:p@db,db/board", "a host is there twice"),
            ("mysql://bbs:p@db", "NAME is missing or has a /"),
            ("mysql://bbs:p@db/board?tls=1", "tls_ca is the only option"),
            ("mysql://bbs:p#w@db/board", "a # has to be %23"),
        ):
            error = self.assertRaises(MalformedURL, MySQLURL.parse, url)
            self.assertEqual(str(error), reason)


class Facts(SynchronousTestCase):
    def test_a_server(self) -> None:
        facts = ServerFacts.of(MARIADB)
        self.assertEqual((facts.product, facts.node), ("MariaDB", "one:3306"))
        self.assertEqual((facts.is_galera, facts.is_read_only, facts.step), (False, False, 1))
        self.assertEqual((facts.isolation, facts.objection), ("REPEATABLE-READ", ""))
        self.assertIn("MariaDB 11.8.3-MariaDB, one:3306; isolation REPEATABLE-READ", str(facts))

    def test_a_node_of_galera(self) -> None:
        facts = ServerFacts.of(OTHER_NODE)
        self.assertEqual(facts.node, "n2 (127.0.0.1:2)")
        assert facts.view is not None
        self.assertEqual(facts.view.addresses, ("127.0.0.1:1", "127.0.0.1:2"))
        self.assertTrue(facts.is_galera)
        self.assertIn("one of 2 nodes of Galera", str(facts))

    def test_products(self) -> None:
        for said, product in (
            ({"version": "8.0.36", "version_comment": "MySQL Community Server - GPL"}, "MySQL"),
            ({"version": "8.0.36-28", "version_comment": "Percona Server (GPL)"}, "Percona"),
            ({"version": "8.0.11-TiDB-v8.5.0", "version_comment": "TiDB Server"}, "TiDB"),
        ):
            self.assertEqual(ServerFacts.of({**MARIADB, **said}).product, product)

    def test_read_only(self) -> None:
        for name in ("read_only", "super_read_only", "innodb_read_only"):
            self.assertTrue(ServerFacts.of({**MARIADB, name: "ON"}).is_read_only, name)

    def test_what_nothing_can_rely_on(self) -> None:
        group = {"group_replication_group_name": "9d3c"}
        for said, words in (
            ({"version": "8.0.11-TiDB-v8.5.0"}, "it is TiDB"),
            ({**group, "group_replication_single_primary_mode": "OFF"}, "several primaries"),
            ({"log_bin": "ON", "binlog_format": "STATEMENT"}, "binlog_format is STATEMENT"),
        ):
            self.assertIn(words, ServerFacts.of({**MARIADB, **said}).objection)
        for fine in (
            {**group, "group_replication_single_primary_mode": "ON"},
            {"log_bin": "OFF", "binlog_format": "STATEMENT"},
            {"log_bin": "ON", "binlog_format": "ROW"},
        ):
            self.assertEqual(ServerFacts.of({**MARIADB, **fine}).objection, "")


class Cursor:
    """A connection to a server that says this of itself; `node` is the row of the writer, in the
    one list that all nodes share."""

    def __init__(
        self,
        said: dict[str, str],
        row: list[str] | None = None,
        beats: int | None = 0,
        upgrading: int = 0,
    ) -> None:
        self.upgrading = upgrading
        self.said = said
        self.row = row
        self.beats = beats
        self._rows: list[tuple[Any, ...]] = []

    def execute(self, sql: str, values: tuple[str, ...] = ()) -> None:
        self._rows = []
        if sql.startswith("SHOW"):
            status = "SHOW STATUS" in sql
            named = {k: v for k, v in self.said.items() if f"'{k}'" in sql}
            assert named or not status
            self._rows = [*named.items()]
        elif "beats" in sql:
            assert values == (UPGRADING,)
            self._rows = [] if self.beats is None else [(self.upgrading, self.beats)]
            if self.beats is None:
                raise pymysql.ProgrammingError(mysql_errors.NO_SUCH_TABLE, "no such table")
        elif "database_writer" in sql and self.row is None:
            raise pymysql.ProgrammingError(mysql_errors.NO_SUCH_TABLE, "no such table")
        elif sql.startswith("SELECT node"):
            self._rows = [(node,) for node in self.row or []]
        elif sql.startswith("INSERT"):
            assert self.row == []
            self.row.append(values[1])
        elif sql.startswith("UPDATE"):
            node, _, before = values
            assert self.row == [before]
            self.row[:] = [node]

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows


class Choosing(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.servers = Servers([A, B, C], self.clock.seconds)

    def refused(
        self, said: dict[str, str], place: Place, row: list[str] | None = None, **signs: Any
    ) -> str:
        error = self.assertRaises(
            pymysql.OperationalError, self.servers.check, Cursor(said, row, **signs), place
        )
        self.assertEqual(error.args[0], mysql_errors.OPTION_PREVENTS_STATEMENT)
        return str(error.args[1])

    def test_the_one_in_use_is_tried_first(self) -> None:
        self.assertEqual([*self.servers.in_order()], [A, B, C])
        self.servers.check(Cursor(MARIADB), B)
        self.assertEqual([*self.servers.in_order()], [B, C, A])

    def test_a_change_ends_the_connections_of_all_threads(self) -> None:
        for said, place, change in (
            (MARIADB, A, 0),
            (MARIADB, A, 0),
            (MARIADB, B, 1),
            ({**MARIADB, "hostname": "two"}, B, 1),  # Its name leads elsewhere now.
        ):
            before = self.servers.generation
            with capturedLogs() as log:
                self.servers.check(Cursor(said), place)
            self.assertEqual(self.servers.generation - before, change)
            node = f"{said['hostname']}:3306; "
            told = [formatEvent(event) for event in log]
            self.assertEqual(
                [node in line and line.endswith(" now") for line in told], [True] * change
            )

    def test_one_that_serves_readers_only_is_not_taken(self) -> None:
        self.assertIn("one:3306 is read-only", self.refused({**MARIADB, "read_only": "ON"}, A))
        self.assertIsNone(self.servers.facts)

    def test_nor_one_that_nothing_can_rely_on(self) -> None:
        self.assertIn("TiDB", self.refused({**MARIADB, "version": "8.0.11-TiDB"}, A))

    def test_before_the_upgrade_there_is_no_table(self) -> None:
        self.servers.check(Cursor(NODE, None), A)
        self.assertTrue(self.servers.is_galera)

    def test_the_first_node_is_written_to(self) -> None:
        row: list[str] = []
        self.servers.check(Cursor(NODE, row), A)
        self.assertEqual(row, ["n1 (127.0.0.1:1)"])
        self.servers.check(Cursor(NODE, row), A)

    def test_another_one_of_the_cluster_is_refused(self) -> None:
        text = self.refused(OTHER_NODE, B, ["n1 (127.0.0.1:1)"])
        self.assertIn("would write to n2 (127.0.0.1:2), and others write to n1 (127.0.0.1:1)", text)

    def test_unless_the_first_one_is_out_of_the_group(self) -> None:
        row = ["n1 (127.0.0.1:1)"]
        alone = {**OTHER_NODE, "wsrep_local_index": "0", "wsrep_incoming_addresses": "127.0.0.1:2"}
        self.servers.check(Cursor(alone, row), B)
        self.assertEqual(row, ["n2 (127.0.0.1:2)"])

    def test_or_serves_readers_only(self) -> None:
        row = ["n1 (127.0.0.1:1)"]
        self.refused({**NODE, "read_only": "ON"}, A, row)
        self.servers.check(Cursor(OTHER_NODE, row), B)
        self.assertEqual(row, ["n2 (127.0.0.1:2)"])
        # When it is back, it is not written to beside the other one.
        self.assertIn("others write to n2", self.refused(NODE, A, row))

    def test_or_nobody_writes_to_it(self) -> None:
        """As after the whole service was stopped, and started with another node first."""
        row = ["n1 (127.0.0.1:1)"]
        self.refused(OTHER_NODE, B, row, beats=7)
        self.assertTrue(self.servers.may_wait)
        self.clock.advance(SILENCE - 1)
        self.refused(OTHER_NODE, B, row, beats=7)
        self.assertTrue(self.servers.may_wait)
        self.clock.advance(1)
        self.servers.check(Cursor(OTHER_NODE, row, 7), B)
        self.assertEqual(row, ["n2 (127.0.0.1:2)"])

    def test_a_heartbeat_is_a_sign_that_somebody_does(self) -> None:
        row = ["n1 (127.0.0.1:1)"]
        self.refused(OTHER_NODE, B, row, beats=7)
        self.clock.advance(1)
        self.refused(OTHER_NODE, B, row, beats=8)
        self.assertFalse(self.servers.may_wait)
        self.clock.advance(SILENCE - 1)
        self.refused(OTHER_NODE, B, row, beats=8)

    def test_an_upgrade_of_the_schema_may_beat_no_heart_for_long(self) -> None:
        """Before its end there may be no table of heartbeats."""
        signs: tuple[dict[str, Any], ...] = ({"beats": None}, {"beats": 7, "upgrading": 1})
        for each in signs:
            for _ in range(2):
                self.refused(OTHER_NODE, B, ["n1 (127.0.0.1:1)"], **each)
                self.assertFalse(self.servers.may_wait)
                self.clock.advance(SILENCE)

    def test_another_process_is_quicker(self) -> None:
        class Slow(Cursor):
            def execute(self, sql: str, values: tuple[str, ...] = ()) -> None:
                if sql.startswith("INSERT"):
                    assert self.row is not None
                    self.row.append("n1 (127.0.0.1:1)")
                    raise pymysql.IntegrityError(mysql_errors.DUP_ENTRY, "duplicate")
                super().execute(sql, values)

        error = self.assertRaises(
            pymysql.OperationalError, self.servers.check, Slow(OTHER_NODE, []), B
        )
        self.assertIn("others write to n1", error.args[1])


class SeveralAway(SynchronousTestCase):
    """No server serves writers: the error is of the one that says most."""

    def trouble(self, **said: Exception) -> str:
        """The error where servers at these hosts raise an error: as one connects, or answers."""

        def open_connection(options: dict[str, Any]) -> Any:
            error = said[options["host"]]
            if error.args[0] > 2000:
                raise error
            connection = mock.MagicMock()
            connection.cursor.return_value.__enter__.return_value.execute.side_effect = error
            return connection

        database: Any = connect_to(f"{IN_PYTHON}://bbs:p@{','.join(said)}/board")
        database._open = open_connection
        error = self.assertRaises(peewee.OperationalError, database.connect)
        return str(error.args[1])

    def test_one_that_answers_says_more_than_one_that_is_away(self) -> None:
        away = pymysql.OperationalError(2003, "Can't connect to MySQL server on 'one'")
        no_group = pymysql.OperationalError(1047, "WSREP has not yet prepared node")
        read_only = pymysql.OperationalError(1290, "two:3306: it is read-only")
        self.assertEqual(self.trouble(one=away), away.args[1])
        self.assertEqual(self.trouble(one=away, two=read_only, three=no_group), read_only.args[1])
        expected = "three:3306: WSREP has not yet prepared node"
        self.assertEqual(self.trouble(one=away, two=away, three=no_group), expected)
