"""The board's database for tests, on SQLite and on MySQL.

`on_both_databases` makes a second class of the same tests, which runs on the MySQL or MariaDB at
`BBS_TEST_MYSQL_URL`, and is skipped without one: in a new database of this process, emptied before
each test. It is reached by the driver in C. What the other one has to be held to as well is in
`tests/storage/`, `tests/integration/test_mysql.py` and `test_freezing.py`; `on_every_driver` makes
a third class of it.
"""

from __future__ import annotations

import atexit
import os
import secrets
import sys
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from unittest import mock
from urllib.parse import urlsplit

import peewee
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people import friendships
from bbs.commands.service import Service
from bbs.rules.auth import Caller
from bbs.storage.database import Database
from bbs.storage.engines import IN_C, IN_PYTHON, connect_to
from bbs.storage.models import MODELS
from bbs.testing import rules
from bbs.testing.rules import SESSIONS, START
from tests.services import needed

__all__ = [
    "SESSIONS",
    "START",
    "DatabaseCase",
    "RulesCase",
    "on_both_databases",
    "on_every_driver",
]

_Case = TypeVar("_Case", bound="type[DatabaseCase]")


class DatabaseCase(rules.DatabaseCase):
    """A test with the board's database."""

    service = board


class RulesCase(DatabaseCase, rules.RulesCase):
    """A test of the board's rules."""

    def befriend(self, one: Caller, other: Caller) -> None:
        """Make two people friends."""
        self.call(friendships.invite, one, other.name)
        self.call(friendships.accept, other, one.name)

    def waiting_bytes(self, caller: Caller) -> int:
        """The bytes that wait for somebody, as they are counted; fails unless they are that."""
        inbox = Inbox.get(Inbox.user == caller.id)
        there = (
            MessageRow.select(MessageRow.text)
            .join(Delivery)
            .where((Delivery.user == caller.id) & (MessageRow.id > inbox.delivered))
        )
        self.assertEqual(inbox.waiting, sum(len(each.text.encode()) for each in there))
        return int(inbox.waiting)


class OnMySQL(DatabaseCase):
    """The same on MySQL or MariaDB."""

    shared_url: ClassVar[str | None] = None
    """The database of all tests that begin with today's tables: making them takes a while."""

    def database_url(self) -> str:
        return (self.migrated and OnMySQL.shared_url) or fresh_mysql_url()

    def migrate(self, service: Service | None = None) -> None:
        if OnMySQL.shared_url is None:
            super().migrate(service)
            OnMySQL.shared_url = by_driver(self.url, IN_C)
        empty_tables(self.database)


class OnMySQLInPython(OnMySQL):
    """The same by PyMySQL."""

    def database_url(self) -> str:
        return by_driver(super().database_url(), IN_PYTHON)


def on_both_databases(case: _Case) -> _Case:
    """Run the tests of `case` on MySQL too, as a class beside it, named `…OnMySQL`."""
    _add_class(case, OnMySQL)
    return case


def on_every_driver(case: _Case) -> _Case:
    """Run the tests of `case` on MySQL too, by each driver, as classes beside it."""
    _add_class(case, OnMySQL)
    _add_class(case, OnMySQLInPython)
    return case


def _add_class(case: type[DatabaseCase], where: type[OnMySQL]) -> None:
    name = f"{case.__name__}{where.__name__}"
    members = {"__module__": case.__module__, "__qualname__": name, "__doc__": case.__doc__}
    setattr(sys.modules[case.__module__], name, type(name, (where, case), members))


def sqlite_url(folder: str) -> str:
    """An SQLite database in `folder`, which is made."""
    os.makedirs(folder)
    return f"sqlite:///{os.path.abspath(folder)}/bbs.sqlite3"


def fresh_mysql_url(driver: str = IN_C) -> str:
    """A new database without tables on the tests' server, until the process ends. `driver` is the
    URL's scheme."""
    server = needed("BBS_TEST_MYSQL_URL")
    name = f"bbs_test_{secrets.token_hex(8)}"
    execute_once(server, f"CREATE DATABASE {name}")
    atexit.register(execute_once, server, f"DROP DATABASE IF EXISTS {name}")
    return by_driver(f"{server.rpartition('/')[0]}/{name}", driver)


def by_driver(url: str, driver: str) -> str:
    """The same MySQL, by the driver that this scheme names."""
    return urlsplit(url)._replace(scheme=driver).geturl()


def install_driver_in_c(
    case: SynchronousTestCase, module: str | None, version: str = "26.10.0"
) -> None:
    """Until the end of the test, have only a driver in C of this text and version; None for none
    at all."""
    folder = Path(case.mktemp()).absolute()
    about = folder / "mysql_connector_python-1.dist-info" / "METADATA"
    about.parent.mkdir(parents=True)
    about.write_text(f"Name: mysql-connector-python\nVersion: {version}\n")
    loaded = ("_mysql_connector", "bbs.storage.mysql_native")
    modules: dict[str, Any] = {key: each for key, each in sys.modules.items() if key not in loaded}
    if module is None:
        modules["_mysql_connector"] = None
    else:
        (folder / "_mysql_connector.py").write_text(module)
    case.patch(sys, "path", [str(folder), *sys.path])
    patched = mock.patch.dict(sys.modules, modules, clear=True)
    patched.start()
    case.addCleanup(patched.stop)


def execute_once(url: str, statement: str) -> None:
    """Run one SQL statement on a connection of its own."""
    database = connect_to(url)
    database.connect()
    try:
        database.execute_sql(statement)
    finally:
        database.close()


def analyze(database: peewee.Database) -> None:
    """Have MySQL's planner count the rows, as it does by itself a while after tables are filled."""
    if isinstance(database, peewee.MySQLDatabase):
        for table in (*MODELS, *board.models):
            database.execute_sql(f"ANALYZE TABLE {table._meta.table_name}").fetchall()


def empty_tables(database: Database) -> None:
    """Remove every row but the schema's version."""
    with database.peewee.atomic():
        for model in reversed((*MODELS, *board.models)):
            model.delete().execute()
