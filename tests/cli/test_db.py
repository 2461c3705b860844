"""`bbs db`: what an operator is told."""

from __future__ import annotations

import os

from bbs.board import board
from bbs.cli import db
from bbs.storage import migrations
from bbs.storage.engines import without_password
from bbs.storage.migrations import OLDEST, VERSION
from tests.cli.case import CommandCase
from tests.database_case import execute_once, on_both_databases


@on_both_databases
class Db(CommandCase):
    main = staticmethod(db.main)
    migrated = False

    def test_upgrading(self) -> None:
        shown = without_password(self.url)
        self.assertEqual(
            self.bbs("upgrade"),
            (0, f"{shown}: schema 0 -> {VERSION}; bbs 0 -> {board.version}\n", ""),
        )
        self.assertEqual(
            self.bbs("upgrade"),
            (0, f"{shown}: schema {VERSION}, as before; bbs {board.version}, as before\n", ""),
        )

    def test_status(self) -> None:
        self.bbs("upgrade")
        told = (
            f"{without_password(self.url)}: schema {VERSION}, this program's is {VERSION};"
            f" bbs {board.version}, this program's is {board.version};"
            f" programs of schema {OLDEST} and bbs {board.version} can work on it, too\n"
        )
        self.assertEqual(self.bbs("status"), (0, told, ""))

    def test_a_newer_one_that_is_good_for_this_program(self) -> None:
        self.bbs("upgrade")
        execute_once(self.url, f"UPDATE schema_version SET version = {VERSION}, reached = 99")
        execute_once(self.url, "UPDATE service_version SET version = 1, reached = 98")
        told = (
            f"{without_password(self.url)}: schema 99, this program's is {VERSION};"
            f" bbs 98, this program's is {board.version};"
            f" programs of schema {VERSION} and bbs 1 can work on it, too\n"
        )
        self.assertEqual(self.bbs("status"), (0, told, ""))
        self.assertEqual(
            self.bbs("upgrade"),
            (0, f"{without_password(self.url)}: schema 99, as before; bbs 98, as before\n", ""),
        )

    def test_a_newer_one(self) -> None:
        self.bbs("upgrade")
        execute_once(self.url, "UPDATE schema_version SET version = 99")
        told = (
            f"{without_password(self.url)}: schema 99, this program's is {VERSION};"
            f" bbs {board.version}, this program's is {board.version}\n"
        )
        self.assertEqual(self.bbs("status"), (0, told, ""))
        self.assertEqual(
            self.bbs("upgrade"),
            (
                1,
                "",
                "bbs db: the database has schema 99, newer than this program's"
                f" {VERSION}: upgrade bbs\n",
            ),
        )

    def test_one_of_another_service(self) -> None:
        self.bbs("upgrade")
        execute_once(self.url, "UPDATE service_version SET name = 'lobby'")
        for action in ("status", "upgrade"):
            self.assertEqual(
                self.bbs(action),
                (
                    1,
                    "",
                    "bbs db: the database is the service lobby's, and bbs needs one of its own\n",
                ),
            )

    def test_a_key_that_is_wrong(self) -> None:
        self.patch(os, "environ", {**os.environ, "BBS_DATABASE_POOL_SIZE": "many"})
        code, output, errors = self.bbs("status")
        self.assertEqual((code, output), (1, ""))
        self.assertRegex(errors, r"\Abbs db: .*database\.pool_size.*\n\Z")

    def test_wrong_usage(self) -> None:
        for arguments in ((), ("downgrade",), ("status", "--color")):
            code, output, errors = self.bbs(*arguments)
            self.assertEqual((code, output), (2, ""))
            self.assertIn("usage: bbs db", errors)


class InAFolder(CommandCase):
    """The database of a `bbs up`."""

    main = staticmethod(db.main)
    migrated = False

    def test_by_its_name(self) -> None:
        del os.environ["BBS_DATABASE_URL"]
        folder = self.mktemp()
        os.makedirs(folder)
        code, output, errors = self.bbs("status", "--data", folder)
        self.assertEqual((code, output), (1, ""))
        self.assertIn("no such file", errors)
        self.assertEqual(self.bbs("upgrade", "--data", folder)[0], 0)
        self.assertTrue(os.path.exists(os.path.join(folder, "bbs.sqlite3")))
        code, output, errors = self.bbs("status", "--data", folder)
        self.assertEqual((code, errors), (0, ""))
        self.assertIn(f"schema {migrations.VERSION}", output)
