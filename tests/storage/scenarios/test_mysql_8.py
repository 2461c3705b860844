"""What goes to a MySQL 8: no statement that it refuses, as far as that is seen without one."""

from __future__ import annotations

from typing import Any

import peewee
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.storage import models
from bbs.storage.mysql import MySQLDatabase
from bbs.storage.schema import SchemaVersion, ServiceVersion, create_table
from tests.storage.mysql_8 import RESERVED, refused
from tests.storage.tables import indexes_of

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


class Asked(MySQLDatabase):
    """A MySQL in which there is nothing yet, and which is asked in vain."""

    def __init__(self, database: str) -> None:
        super().__init__(database)
        self.statements: list[str] = []

    def execute_sql(self, sql: str, params: object = None) -> None:
        self.statements.append(sql)

    def get_indexes(self, table: str, schema: str | None = None) -> list[peewee.IndexMetadata]:
        return []


class Tables(SynchronousTestCase):
    """As they are made, which needs no server."""

    def definition(self, table: Any) -> list[str]:
        """The statements that make it."""
        proxy: Any = models.database
        before, asked = proxy.obj, Asked("bbs")
        proxy.initialize(asked)
        try:
            create_table(asked, table)
        finally:
            proxy.initialize(before)
        return asked.statements

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
            for fields, _ in indexes_of(table):
                self.assertLessEqual(sum(map(self.length, fields)), LONGEST_KEY)

    def length(self, field: Any) -> int:
        while isinstance(field, peewee.ForeignKeyField):
            field = field.rel_field
        if isinstance(field, peewee.CharField):
            return 4 * int(field.max_length)
        self.assertNotIsInstance(field, (peewee.TextField, peewee.BlobField))
        return 8
