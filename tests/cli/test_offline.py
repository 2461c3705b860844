"""The database for commands that run without a reactor."""

from __future__ import annotations

import peewee
import pymysql

from bbs.board.models import Group
from bbs.cli import offline
from bbs.storage import models
from bbs.storage.engines import DatabaseRefused, without_password
from bbs.testing.database_suite import raised
from tests.database_case import DatabaseCase, on_both_databases


@on_both_databases
class Connected(DatabaseCase):
    def test_a_connection(self) -> None:
        with offline.connected(self.url) as database:
            self.assertEqual(Group.select().count(), 0)
        self.assertTrue(database.is_closed())

    def test_trouble_is_told_in_one_line(self) -> None:
        def trouble() -> None:
            with offline.connected(self.url):
                raise raised(pymysql.OperationalError(1045, "Access denied"))

        error = self.assertRaises(DatabaseRefused, trouble)
        self.assertEqual(str(error), f"database {without_password(self.url)}: Access denied")
        self.assertTrue(models.database.is_closed())

    def test_none_there(self) -> None:
        def trouble() -> None:
            with offline.connected("sqlite:////no/such/folder/bbs.sqlite3"):
                pass

        self.assertRaises(DatabaseRefused, trouble)


@on_both_databases
class CarryOut(DatabaseCase):
    """A rule in a transaction of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.tried = 0

    def rule(self, trouble: Exception, until: int) -> str:
        """Store something, and fail until it was tried so often."""
        self.tried += 1
        Group.insert(name=f"attempt {self.tried}", channel="").execute()
        if self.tried < until:
            raise trouble
        return "done"

    def stored(self) -> list[str]:
        return [group.name for group in Group.select()]

    def test_one_that_lost_is_tried_again(self) -> None:
        for trouble in (
            raised(pymysql.OperationalError(1213, "Deadlock found")),
            peewee.IntegrityError("UNIQUE constraint failed"),
        ):
            with self.subTest(trouble), offline.connected(self.url) as database:
                Group.delete().execute()
                self.tried = 0
                self.assertEqual(offline.carry_out(database, self.rule, trouble, 3), "done")
                self.assertEqual(self.stored(), ["attempt 3"])

    def test_but_not_for_ever(self) -> None:
        deadlock = raised(pymysql.OperationalError(1213, "Deadlock found"))
        with offline.connected(self.url) as database:
            with self.assertRaises(peewee.OperationalError):
                offline.carry_out(database, self.rule, deadlock, 100)
            self.assertEqual((self.tried, self.stored()), (offline.ATTEMPTS, []))

    def test_a_mistake_is_told_at_once(self) -> None:
        def mistaken() -> None:
            self.tried += 1
            models.database.execute_sql("SELECT no_function(1)")

        with offline.connected(self.url) as database:
            with self.assertRaises(peewee.OperationalError):
                offline.carry_out(database, mistaken)
            self.assertEqual(self.tried, 1)
