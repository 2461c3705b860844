"""What goes to a MySQL 8: no statement that it refuses, as far as that is seen without one."""

from __future__ import annotations

from typing import Any

import peewee
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.storage import models
from bbs.storage.connecting import connect_to
from bbs.storage.schema import MYSQL_TABLES, SchemaVersion, ServiceVersion
from tests.storage.mysql_8 import RESERVED, refused

TABLES: tuple[Any, ...] = (*models.MODELS, *board.models, SchemaVersion, ServiceVersion)

LONGEST_KEY = 3072
"""Bytes of an index of InnoDB's, where a character of utf8mb4 counts as four."""


class Statements(SynchronousTestCase):
    def test_what_is_refused(self) -> None:
        for sql, why in (
            ("SELECT rank FROM t", "rank is reserved"),
            ("SELECT 1 AS `rank`, 'system'", None),
            ("INSERT INTO message (text, stored) VALUES ('', 1)", "stored is reserved"),
            ("DELETE FROM t WHERE id IN (SELECT t.id FROM t)", "t is changed by"),
            ("UPDATE `t` SET a = (SELECT MAX(a) FROM `t` AS u)", "t is changed by"),
            ("UPDATE `t` SET a = (SELECT MAX(a) FROM `tt`) WHERE t.a = 1", None),
            ("DELETE FROM t RETURNING id", "RETURNING is"),
            ("ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT", "COLUMN IF NOT EXISTS is"),
            ("CREATE TABLE IF NOT EXISTS t (a INT)", None),
        ):
            found = refused(sql)
            self.assertEqual(found is None, why is None, sql)
            self.assertIn(why or "", found or "")

    def test_words_are_words(self) -> None:
        for word in RESERVED:
            self.assertRegex(word, r"^[A-Z_]+$")


class Tables(SynchronousTestCase):
    """As they are made, which needs no server."""

    def setUp(self) -> None:
        proxy: Any = models.database
        self.addCleanup(proxy.initialize, proxy.obj)
        proxy.initialize(connect_to("mysql://bbs:@127.0.0.1/bbs"))

    def definition(self, table: Any) -> list[str]:
        settings = table._meta.table_settings
        table._meta.table_settings = MYSQL_TABLES
        try:
            schema = table._schema
            queries = [schema._create_table(safe=True), *schema._create_indexes(safe=False)]
            return [query.query()[0] for query in queries]
        finally:
            table._meta.table_settings = settings

    def test_each_is_made(self) -> None:
        for table in TABLES:
            for sql in self.definition(table):
                self.assertIsNone(refused(sql), sql)
                # It gives MEDIUMTEXT no default, and MariaDB does.
                self.assertNotRegex(sql, r"(TEXT|BLOB|JSON)[^,]* DEFAULT ")

    def test_each_has_a_primary_key(self) -> None:
        """`sql_require_primary_key`, and replication by groups, want one."""
        for table in TABLES:
            self.assertIn("PRIMARY KEY", self.definition(table)[0])

    def test_indexes_are_of_columns_that_have_a_length(self) -> None:
        for table in TABLES:
            for index in table._meta.fields_to_index():
                self.assertLessEqual(sum(map(self.length, index._expressions)), LONGEST_KEY)

    def length(self, field: Any) -> int:
        while isinstance(field, peewee.ForeignKeyField):
            field = field.rel_field
        if isinstance(field, peewee.CharField):
            return 4 * int(field.max_length)
        self.assertNotIsInstance(field, (peewee.TextField, peewee.BlobField))
        return 8
