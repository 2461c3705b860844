"""A database that version 0.1.0 left behind is upgraded in place, and nothing in it is lost:
`tests/fixtures/README.md` says what is in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import closing
from typing import Any, ClassVar

import pymysql

from bbs.board import board
from bbs.board.groups.tables import Group
from bbs.config import Configuration, Limits, Messages
from bbs.rules import fleet_admin
from bbs.storage import migrations
from bbs.storage.engines import DatabaseRefused, connect_to
from bbs.storage.migrations import Versions
from bbs.storage.models import Action, User
from bbs.storage.schema import SchemaVersion
from bbs.testing import MemoryService, Peer
from bbs.testing.service import QUICK
from tests.database_case import fresh_mysql_url, on_both_databases, sqlite_url
from tests.paths import FIXTURES
from tests.storage.tables import name_of
from tests.storage.test_migrations import MigrationCase
from tests.storage.upgrading import EVERY, cut_off_after_each_change

OLD, NEW = Versions(3, 1, "bbs"), Versions(migrations.VERSION, board.version, "bbs")

AGES = 1e9
"""Seconds within which nothing expires."""

THEIRS = ["user", "session", *map(name_of, board.models)]
"""Tables of what people have."""

Rows = Mapping[str, list[Mapping[str, object]]]


class FixtureCase(MigrationCase):
    """A test with a copy of that database, not yet upgraded."""

    def setUp(self) -> None:
        super().setUp()
        self.fill()
        known = json.loads((FIXTURES / "0.1.0.json").read_text(encoding="utf-8"))
        self.left = known["mysql" if self.on_mysql else "sqlite"]
        self.people: dict[str, Any] = self.left["people"]

    def fill(self) -> None:
        """Have the empty database as version 0.1.0 left it."""
        if self.on_mysql:
            load_dump(self.url)
        else:
            self.db.close()
            shutil.copyfile(FIXTURES / "0.1.0.sqlite3", self.url.removeprefix("sqlite:///"))
            self.db.connect()

    def reopen(self, url: str) -> None:
        """Go on with another database."""
        self.db.close()
        self.url = url
        self.database = self.open_database()
        self.db = self.database.peewee
        self.db.connect()

    def reopen_an_empty_one(self) -> None:
        self.reopen(fresh_mysql_url() if self.on_mysql else sqlite_url(self.mktemp()))

    def to_today(self) -> tuple[Versions, Versions]:
        return migrations.upgrade(self.db, board.schema)

    def everything(self) -> Rows:
        """Every row of every table."""
        tables = set(self.db.get_tables()) - {"sqlite_sequence"}
        return {table: self.rows_of(table) for table in tables}

    def rows_of(self, table: str) -> list[Mapping[str, object]]:
        cursor = self.db.execute_sql(f"SELECT * FROM {table}")
        names = [column[0] for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return in_order(found)

    def nothing_is_lost(self, before: Rows) -> None:
        """Check that what was there `before` is there, row by row and value by value."""
        after = self.everything()
        for table, rows in before.items():
            if table != "schema_version":
                columns = rows[0].keys() if rows else ()
                kept = [{name: row[name] for name in columns} for row in after[table]]
                self.assertEqual(in_order(kept), rows, table)


def without_what_is_new(listed: list[Any]) -> list[Any]:
    """What replies and events had in version 0.1.0; `time` is in none of it, and what it was is
    known of messages."""
    return [
        {name: value for name, value in each.items() if name not in ("time", "post", "former")}
        if isinstance(each, dict)
        else each
        for each in listed
    ]


def in_order(rows: list[dict[str, object]]) -> list[Mapping[str, object]]:
    """In one order, by all that is in each row."""
    return sorted(rows, key=lambda row: repr(sorted(row.items())))


def load_dump(url: str) -> None:
    """Load the dump into an empty database."""
    settings: Any = connect_to(url)
    with (
        closing(
            pymysql.connect(
                database=settings.database,
                **{**settings.connect_params, "read_timeout": None, "write_timeout": None},
            )
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute((FIXTURES / "0.1.0.mysql.sql").read_text(encoding="utf-8"))
        while cursor.nextset():
            pass
        connection.commit()


@on_both_databases
class Upgrade(FixtureCase):
    """The tables."""

    def test_every_row(self) -> None:
        before = self.everything()
        there = {table: len(rows) for table, rows in before.items()}
        self.assertEqual(there, self.left["rows"])
        self.assertEqual(self.to_today(), (OLD, NEW))
        self.nothing_is_lost(before)
        self.assertEqual(self.to_today(), (NEW, NEW))

    def test_the_schema_is_that_of_a_new_one(self) -> None:
        self.to_today()
        upgraded = self.schema()
        self.reopen_an_empty_one()
        self.to_today()
        self.assertEqual(upgraded, self.schema())

    def test_an_old_server_refuses_it(self) -> None:
        """It reads one row, and compares the version in it with its own, which is 3."""
        self.to_today()
        before = self.everything()
        rows = self.db.execute_sql("SELECT id, version FROM schema_version").fetchall()
        self.assertEqual([*rows], [(1, migrations.OLDEST)])
        self.assertGreater(SchemaVersion.select().first().version, OLD.framework)
        error = self.assertRaises(
            DatabaseRefused, migrations.upgrade, self.db, board.schema, OLD.framework
        )
        self.assertEqual(
            str(error),
            f"the database has schema {NEW.framework}, newer than this program's 3: upgrade bbs",
        )
        self.assertEqual(self.everything(), before)

    def test_cut_off_after_each_change_and_taken_up_again(self) -> None:
        """Whatever a server that died half-way has left, the next one finishes; `make soak` kills
        one at each statement."""
        before = self.everything()
        self.to_today()
        whole, new = self.everything(), self.schema()
        self.reopen_an_empty_one()
        self.fill()
        old, cuts = self.schema(), 0
        for _ in cut_off_after_each_change(self.db, board.schema):
            cuts += 1
            if self.on_mysql:
                self.nothing_is_lost(before)
            else:
                # There it is all or nothing.
                self.assertEqual(self.everything(), before)
                self.assertEqual(self.schema(), old)
        self.assertGreater(cuts, 30 if self.on_mysql else 30 // EVERY)
        self.assertEqual(self.everything(), whole)
        self.assertEqual(self.schema(), new)


class ServiceCase(FixtureCase):
    """A test with the service on it."""

    def setUp(self) -> None:
        super().setUp()
        (last,) = self.db.execute_sql("SELECT MAX(used) FROM session").fetchone()
        self.theirs = {name: rows for name, rows in self.everything().items() if name in THEIRS}
        self.db.close()
        self.memory = MemoryService(
            board,
            url=self.url,
            config=Configuration(
                limits=Limits(session_ttl=AGES), messages=Messages(message_retention=AGES)
            ),
            start=last + 1.0,
        )
        self.addCleanup(self.memory.close)
        self.memory.start()

    def log_in(self, name: str) -> str:
        """A new token, for the password of then."""
        peer = self.memory.peer()
        peer.say(f"login {name} {self.people[name]['password']}")
        self.memory.settle()
        [reply] = peer.heard()
        self.assertEqual(reply["status"], 0, f"{name}: {reply}")
        return str(reply["token"])

    def visit(self, name: str) -> tuple[str, Peer]:
        """A token, that of then if there is one, and a connection to the app server."""
        token = self.people[name]["token"]
        if token is None:
            # Those of then take 20 ms; that they are good is another test's.
            quick = QUICK.hash(self.people[name]["password"])
            User.update(password_hash=quick).where(User.name == name).execute()
            token = self.log_in(name)
        return token, self.memory.at_home(token)

    def yes(self, peer: Peer, line: str) -> dict[str, Any]:
        """What is replied to that line, which is a yes."""
        reply = peer.ask(line)
        self.assertEqual(reply["status"], 0, f"{line}: {reply}")
        return reply


@on_both_databases
class People(ServiceCase):
    """What the people in it find."""

    upgraded: ClassVar[tuple[str, Rows] | None] = None
    """On MySQL: the database of all of these tests and what is in it when it has been upgraded, as
    it takes a while to make tables."""

    def fill(self) -> None:
        if not self.on_mysql:
            super().fill()
        elif People.upgraded is None:
            super().fill()
            self.to_today()
            People.upgraded = self.url, self.everything()
        else:
            url, rows = People.upgraded
            self.reopen(url)
            self.put_back(rows)

    def put_back(self, rows: Rows) -> None:
        """Have these rows in the tables, and no others."""
        self.db.execute_sql("SET SESSION foreign_key_checks = 0")
        with self.db.atomic():
            for table, there in rows.items():
                self.db.execute_sql(f"DELETE FROM `{table}`")
                for row in there:
                    columns = ", ".join(f"`{name}`" for name in row)
                    marks = ", ".join(["%s"] * len(row))
                    insert = f"INSERT INTO `{table}` ({columns}) VALUES ({marks})"
                    self.db.execute_sql(insert, [*row.values()])

    def test_everybody_is_there_in_the_order_registered(self) -> None:
        names = [user.name for user in User.select().order_by(User.id)]
        self.assertEqual(names, [*self.people])

    def test_nothing_expires(self) -> None:
        """What is swept every minute finds nothing to remove; of a group that everybody has left
        it notes since when."""
        groups = [
            {name: value for name, value in each.items() if name != "empty_since"}
            for each in self.theirs["chat_group"]
        ]
        self.memory.advance(130.0)
        self.nothing_is_lost({**self.theirs, "chat_group": [*groups]})

    def test_live_tokens(self) -> None:
        """People who were online go on, each on the app server that they are told of."""
        live = {name: each["token"] for name, each in self.people.items() if each["token"]}
        self.assertEqual([*live], ["ann", "bob", "cat"])
        for token in live.values():
            told = self.yes(self.memory.peer(), f"locate {token}")
            self.assertIn("app_server", told)
            self.yes(self.memory.at_home(token), f"list-friend {token}")
            self.yes(self.memory.peer(), f"logout {token}")

    def test_passwords(self) -> None:
        """That of everybody, and no other."""
        for name in self.people:
            self.log_in(name)
        for name in ("ann", "bob"):
            refused = self.memory.peer().ask(f"login {name} not-the-password")
            self.assertEqual(refused["code"], "wrong-credentials")
        for name in self.left["deleted"]:
            refused = self.memory.peer().ask(f"login {name} gone")
            self.assertEqual(refused["code"], "wrong-credentials")

    def test_friends_invitations_groups_and_posts(self) -> None:
        for name, person in self.people.items():
            token, peer = self.visit(name)
            for command, member, known in (
                ("list-friend", "friend", "friends"),
                ("list-invite", "invite", "invitations"),
                ("list-joined", "group", "joined"),
                ("receive-post", "post", "posts"),
            ):
                told = without_what_is_new(self.yes(peer, f"{command} {token}")[member])
                self.assertEqual(told, person[known], f"{command} of {name}")
            self.assertEqual(self.yes(peer, f"list-group {token}")["group"], self.left["groups"])

    def test_groups_are_open_and_nobodys(self) -> None:
        token, peer = self.visit("ann")
        found = self.yes(peer, f"groups {token}")["group"]
        self.assertCountEqual([each["group"] for each in found], self.left["groups"])
        self.assertEqual({(each["owner"], each["private"]) for each in found}, {(None, False)})
        for each in found:
            refused = peer.ask(f"close-group {token} {each['group']}")
            self.assertEqual(refused["code"], "not-the-owner")
            if not each["member"]:
                self.yes(peer, f"join-group {token} {each['group']}")

    def test_posts_that_nobody_could_read_yet(self) -> None:
        unread = self.left["unread_posts"]
        self.assertEqual({post["id"] for post in unread}, {"dan"})
        token, peer = self.visit("dan")
        self.yes(peer, f"accept-invite {token} bob")
        token, peer = self.visit("bob")
        posts = self.yes(peer, f"receive-post {token}")["post"]
        found = [post for post in posts if post["id"] == "dan"]
        self.assertEqual({post["time"] for post in found}, {None})
        self.assertEqual(without_what_is_new(found), unread)

    def test_messages(self) -> None:
        """Who listens is sent what had not arrived, and who asks for all of it that before, too;
        each once, in order."""
        arrived = 0
        visits: list[Peer] = []
        for name, person in self.people.items():
            token, _ = self.visit(name)
            for line, events in (
                (f"listen {token}", person["undelivered"]),
                (f"listen {token} 0", person["delivered"] + person["undelivered"]),
                (f"listen {token}", []),
            ):
                listening = self.memory.at_home(token)
                self.yes(listening, line)
                self.memory.settle()
                found = without_what_is_new(listening.events())
                self.assertEqual(found, events, f"{line[:6]} of {name}")
                visits.append(listening)
            arrived += len(person["undelivered"])
        self.assertGreater(arrived, 0)
        self.memory.advance(5.0)
        self.assertEqual([visit.events() for visit in visits], [[]] * len(visits))

    def test_what_was_said_can_be_read_again(self) -> None:
        """Of people what was said to them and what they said, as long as the account is theirs."""
        found = 0
        for name, person in self.people.items():
            token, peer = self.visit(name)
            for friend in person["friends"]:
                history = self.yes(peer, f"history {token} {friend}")["history"]
                found += len(history)
                told = [each for each in without_what_is_new(history) if each["from"] == friend]
                heard = [
                    each
                    for each in person["delivered"] + person["undelivered"]
                    if each["from"] == friend and "to" in each
                ]
                self.assertEqual(told, heard[-len(told) :] if told else [], f"{friend} to {name}")
        self.assertGreater(found, 0)

    def test_what_people_do_next(self) -> None:
        """A message of today comes behind those of then, and to those who were friends then."""
        bob, _ = self.visit("bob")
        ann, peer = self.visit("ann")
        listening = self.memory.listening(bob)
        self.yes(peer, f"send {ann} bob and now?")
        self.memory.settle()
        *before, new = listening.events()
        self.assertEqual(without_what_is_new(before), self.people["bob"]["undelivered"])
        self.assertEqual((new["from"], new["message"]), ("ann", "and now?"))
        self.assertGreater(new["id"], self.left["last_ids"]["message"])

    def test_what_operators_did(self) -> None:
        told: list[Any] = []
        self.memory.database.run(fleet_admin.actions, 10).addCallback(told.extend)
        known = [
            {name: getattr(deed, name) for name in ("operator", "address", "action", "target")}
            for deed in reversed(told)
        ]
        self.assertEqual(known, self.left["actions"])


@on_both_databases
class Ids(ServiceCase):
    """Of those who are new."""

    def test_ids_are_never_given_again(self) -> None:
        """Not even those of a deleted account."""
        last = self.left["last_ids"]
        self.assertEqual(self.memory.peer().ask("register gil anew")["status"], 0)
        gil = User.get(User.name == "gil")
        self.assertGreater(gil.id, last["user"])
        now = self.memory.clock.seconds()
        self.memory.database.run(fleet_admin.launch, fleet_admin.By("olga", "test", now), 20, 10)
        self.assertGreater(Action.select().order_by(Action.id.desc()).get().id, last["action"])
        self.people["gil"] = {"password": "anew", "token": None}
        token, peer = self.visit("gil")
        for command, member in (("list-friend", "friend"), ("list-invite", "invite")):
            self.assertEqual(self.yes(peer, f"{command} {token}")[member], [])
        self.yes(peer, f"listen {token} 0")
        self.memory.settle()
        self.assertEqual(peer.events(), [])

    def test_nor_those_of_a_deleted_group(self) -> None:
        token, peer = self.visit("ann")
        ids = []
        for _ in range(2):
            self.yes(peer, f"create-group {token} another")
            ids.append(Group.get(Group.name == "another").id)
            self.yes(peer, f"delete-group {token} another")
        self.assertLess(*ids)
