"""`bbs db`, `bbs backup` and `bbs restore`: the schema, a copy of a database that servers use, and
the way back.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.messages import messages
from bbs.cli import Program, database, user
from bbs.cli.database import backup, restore
from bbs.cli.offline import connected
from bbs.daemons import fleet
from bbs.delivery.feed import Cursor
from bbs.rules import accounts, auth, fleet_admin, fleets, user_admin
from bbs.storage import migrations, models, rising_ids, sqlite_backup
from bbs.storage.database import ConnectionLimit
from bbs.storage.engines import without_password
from bbs.storage.migrations import OLDEST, VERSION
from bbs.storage.models import (
    Lease,
    LoginServer,
    OutboxEntry,
    Place,
    Server,
    Suspension,
    User,
    Waiter,
)
from bbs.storage.schema import SchemaVersion, ServiceVersion
from lab.attacks.copies import Restorer
from tests.cli.case import BOARD, CommandCase
from tests.database_case import SESSIONS, RulesCase, execute_once, on_both_databases
from tests.paths import FIXTURES


class CopyCase(RulesCase):
    """A test with a database in use, in the data folder of a `bbs up`."""

    program = BOARD

    def setUp(self) -> None:
        super().setUp()
        others = {name: value for name, value in os.environ.items() if not name.startswith("BBS_")}
        self.patch(os, "environ", others)
        self.patch(os, "nice", lambda by: 0)  # This process has other tests to run.
        self.path = self.url.removeprefix("sqlite:///")
        self.data = os.path.dirname(self.path)
        self.elsewhere = os.path.abspath(self.mktemp())
        self.file = os.path.abspath(self.mktemp())

    def run_it(self, part: Any, *arguments: str) -> tuple[int, str, str]:
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                code = part(arguments, self.program)
            except SystemExit as end:
                code = int(end.code or 0)
        models.database.initialize(self.database.peewee)  # It has a process of its own, else.
        return code, output.getvalue(), errors.getvalue()

    def back_up(self, *arguments: str) -> str:
        """What a backup says that goes well."""
        code, output, errors = self.run_it(backup, self.file, "--data", self.data, *arguments)
        self.assertEqual((code, errors), (0, ""))
        return output

    def restore(self, *arguments: str, data: str | None = None, warning: str = "") -> str:
        """The same of restoring it, in another folder; with "" where the environment says."""
        code, output, errors = self.run_it(restore, self.file, *self.where(data), *arguments)
        self.assertEqual((code, errors), (0, warning.format(self.file)))
        return output

    def where(self, data: str | None) -> Sequence[str]:
        return () if data == "" else ("--data", data or self.elsewhere)

    UNPROVED = "bbs restore: there is no {}.sha256, so a changed text would not be noticed\n"

    def not_restored(self, reason: str, *arguments: str, data: str | None = None) -> None:
        where = self.where(data)
        said = self.run_it(restore, self.file, *where, *arguments)
        self.assertEqual(said, (1, "", f"bbs restore: {reason}\n"))
        self.assertEqual(self.left(data or self.elsewhere), [])

    def left(self, folder: str) -> list[str]:
        """What a command has left that is nobody's."""
        there = os.listdir(folder) if os.path.isdir(folder) else []
        return [name for name in there if ".part" in name]

    def when_opened(self, end: str, act: Callable[[sqlite3.Connection], object]) -> None:
        """`act` on each connection to a database in a file with this end of its name."""
        connect: Any = sqlite3.connect

        def opened(database: str, *arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(database, *arguments, **options)
            if database.partition("?")[0].endswith(end):
                act(connection)
            return connection

        self.patch(sqlite3, "connect", opened)

    @contextlib.contextmanager
    def there(self) -> Iterator[None]:
        """With the restored database in the place of the test's."""
        original, self.url = self.database, f"sqlite:///{self.elsewhere}/bbs.sqlite3"
        self.database = self.open_database()
        self.database.peewee.connect()
        try:
            yield
        finally:
            self.database.close()
            self.database = original
            models.database.initialize(original.peewee)


class BackingUp(CopyCase):
    def test_a_copy(self) -> None:
        self.person("ann")
        self.assertEqual(self.back_up(), f"{self.file}: {self.size()}, 1 person\n")
        self.assertEqual(stat.S_IMODE(os.stat(self.file).st_mode), 0o600)
        with closing(sqlite3.connect(self.file)) as copy:
            self.assertEqual(copy.execute("SELECT name FROM user").fetchall(), [("ann",)])
        self.assertEqual(self.left(os.path.dirname(self.file)), [])

    def size(self) -> str:
        return f"{os.path.getsize(self.file) / 2**20:.1f} MiB"

    def backed_up(self) -> float | None:
        """When the database was backed up last, as it says itself."""
        at: float | None = self.call(fleets.facts).backed_up
        return at

    def test_its_time_is_noted(self) -> None:
        self.assertIsNone(self.backed_up())
        before = time.time()
        self.back_up()
        at = self.backed_up()
        assert at is not None
        self.assertLessEqual(abs(at - before), 10)
        [action] = self.call(fleet_admin.actions, 9)
        self.assertEqual((action.action, action.detail), ("backup", os.path.basename(self.file)))
        with closing(sqlite3.connect(self.file)) as copy:
            self.assertEqual(copy.execute("SELECT count(*) FROM action").fetchone(), (0,))

    def test_one_that_fails_is_no_backup(self) -> None:
        code, _, _ = self.run_it(backup, "nowhere/x", "--data", self.data)
        self.assertEqual((code, self.backed_up()), (1, None))

    def test_a_database_that_takes_no_note(self) -> None:
        """The backup is made all the same."""
        self.when_opened("bbs.sqlite3", lambda it: it.execute("PRAGMA query_only = 1"))
        code, output, errors = self.run_it(backup, self.file, "--data", self.data)
        self.assertEqual((code, output), (0, f"{self.file}: {self.size()}, 0 people\n"))
        self.assertRegex(errors, r"\Abbs backup: the operators' page will not know of .*\n\Z")
        self.assertTrue(os.path.exists(self.file))

    def test_what_exists_stays(self) -> None:
        with open(self.file, "w", encoding="utf-8") as file:
            file.write("precious")
        said = self.run_it(backup, self.file, "--data", self.data)
        self.assertEqual(said, (1, "", f"bbs backup: {self.file} exists: --force replaces it\n"))
        with open(self.file, encoding="utf-8") as file:
            self.assertEqual(file.read(), "precious")
        self.back_up("--force")

    def test_what_is_no_file_stays(self) -> None:
        os.mkfifo(self.file)
        code, output, errors = self.run_it(backup, self.file, "--data", self.data, "--force")
        self.assertEqual((code, output), (1, ""))
        self.assertEqual(errors, f"bbs backup: {self.file} is not a regular file\n")
        self.assertTrue(stat.S_ISFIFO(os.stat(self.file).st_mode))

    def test_a_name_that_is_no_text(self) -> None:
        for part in (backup, restore):
            code, output, errors = self.run_it(part, "\udcff", "--data", self.data)
            self.assertEqual((code, output), (2, ""))
            self.assertIn("not UTF-8", errors)

    def test_what_comes_to_exist_meanwhile_stays(self) -> None:
        def write(part: sqlite3.Connection) -> None:
            Path(self.file).write_text("precious", encoding="utf-8")

        self.when_opened(".part", write)
        code, _, errors = self.run_it(backup, self.file, "--data", self.data)
        self.assertEqual(code, 1)
        self.assertIn("exists", errors)
        with open(self.file, encoding="utf-8") as file:
            self.assertEqual(file.read(), "precious")

    def test_never_over_the_database_itself(self) -> None:
        link = self.mktemp()
        os.symlink(self.path, link)
        for path in (self.path, link):
            said = self.run_it(backup, path, "--data", self.data, "--force")
            self.assertEqual(said, (1, "", f"bbs backup: {path} is the database itself\n"))

    def test_nobody_has_it_open_before(self) -> None:
        Path(f"{self.file}.part").write_text("somebody's", encoding="utf-8")
        self.patch(os, "geteuid", lambda: 12345)
        said = self.run_it(backup, self.file, "--data", self.data)
        self.assertEqual(said, (1, "", f"bbs backup: {self.file}.part belongs to another user\n"))
        self.assertEqual(Path(f"{self.file}.part").read_text(encoding="utf-8"), "somebody's")

    def test_a_full_disk(self) -> None:
        self.person("ann")
        self.when_opened(".part", lambda part: part.execute("PRAGMA max_page_count = 5"))
        said = self.run_it(backup, self.file, "--data", self.data)
        reason = f"cannot write {self.file}.part: No space left on device"
        self.assertEqual(said, (1, "", f"bbs backup: {reason}\n"))
        self.assertFalse(os.path.exists(self.file))
        self.assertEqual(self.left(os.path.dirname(self.file)), [])

    def test_a_folder_that_is_not_there(self) -> None:
        said = self.run_it(backup, "nowhere/x", "--data", self.data)
        reason = "cannot write nowhere/x.part: No such file or directory"
        self.assertEqual(said, (1, "", f"bbs backup: {reason}\n"))

    def test_its_checksum(self) -> None:
        """In the format of sha256sum, with odd names too, and for its owner alone."""
        for name in ("monday", "two words", "back\\slash", "a\nline"):
            self.file = os.path.join(self.data, name)
            self.back_up()
            done = subprocess.run(
                ["sha256sum", "--check", "--quiet", f"{name}.sha256"], cwd=self.data, check=False
            )
            self.assertEqual(done.returncode, 0)
            mode = os.stat(f"{self.file}.sha256").st_mode
            self.assertEqual((stat.S_IMODE(mode), self.left(self.data)), (0o600, []))
        self.person("ann")
        self.back_up("--force")
        self.restore()

    def test_a_checksum_that_is_there(self) -> None:
        """That of a backup which is gone makes way, and somebody's file does not."""
        checksum = Path(f"{self.file}.sha256")
        checksum.write_text(f"{'0' * 64}  monday.sqlite3\n", encoding="utf-8")
        self.back_up()
        self.restore()
        os.unlink(self.file)
        checksum.write_text("precious", encoding="utf-8")
        said = self.run_it(backup, self.file, "--data", self.data)
        reason = f"{checksum}: malformed: not the checksum of one file"
        self.assertEqual(said, (1, "", f"bbs backup: {reason}\n"))
        checksum.unlink()
        checksum.mkdir()
        said = self.run_it(backup, self.file, "--data", self.data, "--force")
        self.assertEqual(said, (1, "", f"bbs backup: {checksum} is not a regular file\n"))
        self.assertFalse(os.path.exists(self.file))

    def test_one_that_restore_would_refuse(self) -> None:
        """The copy is there all the same, as it has what people wrote."""
        self.database.close()
        alter(self.path, "CREATE VIEW theirs AS SELECT name FROM user")
        code, output, errors = self.run_it(backup, self.file, "--data", self.data)
        reason = f"{self.file}: it has the view theirs, which is not the service's"
        self.assertEqual((code, output), (1, f"{self.file}: {self.size()}, 0 people\n"))
        self.assertEqual(errors, f"bbs backup: restore would refuse this copy: {reason}\n")
        self.not_restored(reason)

    def test_a_journal_that_lies_next_to_the_part(self) -> None:
        """It is not played back into the copy, but goes."""
        self.person("ann")
        with closing(sqlite3.connect(self.path)) as there:
            there.execute("UPDATE user SET name = 'other'")
            there.commit()
            shutil.copyfile(f"{self.path}-wal", f"{self.file}.part-wal")
            there.execute("UPDATE user SET name = 'ann'")
            there.commit()
        self.back_up()
        with closing(sqlite3.connect(self.file)) as copy:
            self.assertEqual(copy.execute("SELECT name FROM user").fetchall(), [("ann",)])

    def test_two_at_the_same_time(self) -> None:
        with open(f"{self.file}.part", "w", encoding="utf-8") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            said = self.run_it(backup, self.file, "--data", self.data)
            reason = f"{self.file}.part: another process is writing it"
            self.assertEqual(said, (1, "", f"bbs backup: {reason}\n"))
            self.assertTrue(os.path.exists(f"{self.file}.part"))
        # What somebody left who was killed is in nobody's way.
        os.chmod(f"{self.file}.part", 0o644)
        self.back_up()
        self.assertEqual(stat.S_IMODE(os.stat(self.file).st_mode), 0o600)

    def test_an_older_schema_stays_as_it_is(self) -> None:
        """A backup is what one makes before an upgrade."""
        self.database.close()
        shutil.copyfile(FIXTURES / "0.1.0.sqlite3", self.path)
        self.back_up()
        with closing(sqlite3.connect(self.file)) as copy:
            self.assertEqual(copy.execute("SELECT version FROM schema_version").fetchone(), (3,))

    def test_what_is_no_database_of_ours(self) -> None:
        self.database.close()
        os.unlink(self.path)
        with closing(sqlite3.connect(self.path)) as other:
            other.execute("CREATE TABLE x (y)")
        said = self.run_it(backup, self.file, "--data", self.data)
        self.assertEqual(said, (1, "", f"bbs backup: {self.path}: not a database of bbs\n"))

    def test_a_damaged_database(self) -> None:
        """Every command says so in one line, though SQLite finds it while rows are read."""
        for number in range(300):
            self.account(f"person{number}")
        self.back_up()
        content = bytearray(Path(self.file).read_bytes())
        page = content.index(b"person150") // 4096 * 4096
        content[page : page + 4096] = b"\xff" * 4096
        os.mkdir(self.elsewhere, 0o700)
        Path(self.elsewhere, "bbs.sqlite3").write_bytes(content)
        for part, arguments, reason in (
            (user.main, ["list"], "malformed"),
            (backup, [self.file, "--force"], "damaged"),
        ):
            code, _, errors = self.run_it(part, *arguments, "--data", self.elsewhere)
            self.assertEqual(code, 1)
            self.assertRegex(errors, rf"\Abbs [^\n]*{reason}[^\n]*\n\Z")
        self.assertNotEqual(Path(self.file).read_bytes(), content)

    def test_it_ends_while_others_write(self) -> None:
        """And has one moment before it: of two rows that are written together both, or neither."""
        there = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(there.close)
        # As much as several steps of a copy.
        much = "x" * (4096 * sqlite_backup.PAGES * 5)
        there.execute("INSERT INTO point (at, login_server, series) VALUES (0.0, '', ?)", (much,))
        pauses: list[float] = []

        def write(seconds: float) -> None:
            pauses.append(seconds)
            self.assertLess(len(pauses), 100, "it begins anew with every change")
            there.execute("BEGIN")
            for table in ("notice", "secret"):
                columns = "id, channel" if table == "notice" else "name, value"
                values = (len(pauses), "x" * 500) if table == "notice" else (f"{len(pauses)}", "")
                there.execute(f"INSERT INTO {table} ({columns}) VALUES (?, ?)", values)
            there.execute("COMMIT")

        self.patch(time, "sleep", write)
        self.back_up()
        self.assertGreater(len(pauses), 5)
        with closing(sqlite3.connect(self.file)) as copy:
            self.assertEqual(
                copy.execute("SELECT COUNT(*) FROM notice").fetchone(),
                copy.execute("SELECT COUNT(*) FROM secret").fetchone(),
            )


class Damaged(CopyCase):
    """A database in use that has a value which no program of ours wrote."""

    def test_the_command_says_where(self) -> None:
        self.person("ann")
        self.database.close()
        damaged = f"bbs user: database sqlite:///{self.path}: damaged: "
        for statement, damage in (
            (
                "UPDATE user SET created = 'yesterday'",
                "a value in the table user is of another type: created",
            ),
            (
                "UPDATE user SET name = x'ff00'",
                "a value in the table user is of another type: name",
            ),
        ):
            alter(self.path, statement)
            code, _, errors = self.run_it(user.main, "list", "--data", self.data)
            self.assertEqual(
                (code, errors), (1, f"{damaged}{damage}: restore a backup, or correct it\n")
            )

    def test_an_error_of_ours_stays(self) -> None:
        def fail() -> None:
            with connected(self.url):
                raise TypeError("ours")

        self.assertRaises(TypeError, fail)


class Restoring(CopyCase):
    def test_on_another_machine(self) -> None:
        """People log in there, and what waited for them arrives."""
        ann, bob = self.people("ann", "bob")
        self.befriend(ann, bob)
        self.call(messages.send, ann, "bob", "hello")
        token = self.log_in("bob")
        self.back_up()
        self.call(messages.send, ann, "bob", "too late")
        told, logins = self.restore("--keep-sessions").splitlines()
        self.assertIn("is a new fleet now: bbs fleet adopt", told)
        self.assertEqual(logins, "sessions, passwords and suspensions are those of the backup")
        with self.there():
            self.assertEqual(Server.select().count(), 0)
            self.assertEqual(
                [(place.server_id, place.away) for place in Place.select()], [(None, True)] * 2
            )
            back = self.call(auth.identify, token, SESSIONS, self.now)
            cursor = Cursor(back.id, 0)
            found = self.call(messages.fetch, [cursor])[cursor]
            self.assertEqual([json.loads(event.line)["message"] for event in found], ["hello"])

    def logged_in(self, token: str) -> bool:
        """Whether the session with this token lives in the restored database."""
        with self.there():
            identified = self.database.run(auth.identify, token, SESSIONS, self.now)
            found: list[object] = []
            identified.addBoth(found.append)
            return isinstance(found[0], auth.Caller)

    def test_without_a_database_all_log_in_again(self) -> None:
        """Who logged out since the backup stays logged out, so nobody stays logged in."""
        self.people("ann", "bob")
        token = self.log_in("ann")
        self.back_up()
        told = self.restore().splitlines()
        needs = "everybody has to log in again: the backup's sessions may have ended since"
        self.assertEqual((len(told), told[-1]), (2, needs))
        self.assertFalse(self.logged_in(token))
        with self.there():
            self.assertEqual(Place.select().count(), 0)

    def replaced(self) -> list[str]:
        """What a restore says in the place of the database that is there."""
        self.database.peewee.close()
        told = self.restore("--force", data=self.data)
        self.elsewhere = self.data
        return told.splitlines()

    FORMER = "sessions, passwords and suspensions are those of the database that was replaced"

    def test_who_may_come_in_is_as_before(self) -> None:
        """What ended since the backup stays so, and what has begun goes on."""
        ann, bob, *_ = self.people("ann", "bob", "carol", "dave")
        tokens = {name: self.log_in(name) for name in ("ann", "bob", "carol", "dave")}
        by = fleet_admin.By("liz", "bbs user", self.now)
        self.call(user_admin.suspend, by, "dave", None, "")
        self.back_up()
        self.call(accounts.log_out, bob)
        carol = self.caller(tokens["carol"])
        self.call(accounts.change_password, carol, "hash of carol", "another")
        later = self.log_in("bob")
        self.call(user_admin.suspend, by, "ann")
        self.call(user_admin.resume, by, "dave")
        self.assertEqual(self.replaced()[-1], self.FORMER)
        with self.there():
            self.assertEqual(self.call(accounts.credentials, "carol").password_hash, "another")
            self.assertEqual([each.user_id for each in Suspension.select()], [ann.id])
            places = [each.user_id for each in Place.select().order_by(Place.user)]
            self.assertEqual(places, [bob.id, carol.id])
        live = [name for name, token in tokens.items() if self.logged_in(token)]
        self.assertEqual((live, self.logged_in(later)), (["carol"], True))

    def test_an_account_that_was_deleted_has_no_session(self) -> None:
        """Nor has somebody else with the name, whose account is gone now."""
        ann, bob = self.people("ann", "bob")
        token, other = self.log_in("ann"), self.log_in("bob")
        self.back_up()
        self.call(accounts.delete, ann)
        self.people("ann")
        later = self.log_in("ann")
        self.assertEqual(self.replaced()[-1], self.FORMER)
        live = [self.logged_in(each) for each in (token, later, other)]
        self.assertEqual(live, [False, False, True])
        with self.there():
            self.assertEqual([each.id for each in User.select()], [ann.id, bob.id])

    def test_no_id_is_given_again(self) -> None:
        """Nor one that was given in between, to anything."""
        ann, bob = self.people("ann", "bob")
        self.befriend(ann, bob)
        self.back_up()
        lost = self.call(messages.send, ann, "bob", "lost").event.id, self.person("carol").id
        self.restore("--keep-sessions")
        with self.there():
            self.ready_server(capacity=9)
            given = self.call(messages.send, ann, "bob", "new").event.id, self.person("dave").id
        for id, other in zip(given, lost, strict=True):
            self.assertTrue(other < id < 2**53, (other, id))

    def test_nor_with_a_clock_that_is_behind(self) -> None:
        """The database that is replaced says what it has given."""
        ann, bob = self.people("ann", "bob")
        self.befriend(ann, bob)
        self.back_up()
        beyond = round(time.time() * 10**6) + 2**45  # As by a clock that was a year ahead.
        self.call(rising_ids.begin_era, beyond / 10**6, {})
        lost = self.call(messages.send, ann, "bob", "lost").event.id
        self.replaced()
        with self.there():
            self.assertGreater(self.call(messages.send, ann, "bob", "new").event.id, lost)

    def test_again_from_the_same_backup(self) -> None:
        """What the first restored database has given is not given by the second."""
        ann, bob = self.people("ann", "bob")
        self.befriend(ann, bob)
        self.log_in("bob")
        self.back_up()
        ids = []
        for _ in range(2):
            self.restore("--keep-sessions")
            with self.there():
                ids.append(self.call(messages.send, ann, "bob", "new").event.id)
            shutil.rmtree(self.elsewhere)
        self.assertLess(ids[0], ids[1])

    def test_the_fleet_of_before_is_forgotten(self) -> None:
        LoginServer.insert(id="l", identity="x").execute()
        Waiter.insert(id="w", login_server="l", name="carol", since=1.0).execute()
        Lease.insert(name="fleet", holder="l", identity="x").execute()
        OutboxEntry.insert(channel="c").execute()
        key = self.call(fleets.hint_key)
        fleet = self.call(fleets.settle, self.now, False)
        self.back_up()
        self.restore()
        with self.there():
            for model in (LoginServer, Waiter, Lease, OutboxEntry, Server):
                self.assertEqual(model.select().count(), 0)
            self.assertNotEqual(self.call(fleets.hint_key), key)
            self.assertEqual(fleets.waiting_for_adopt(), fleets.SourceFleet(fleet.id, None))
            [deed] = self.call(fleet_admin.actions, 9)
            self.assertEqual((deed.action, deed.address), ("restore", "bbs restore"))
            self.assertEqual(deed.detail, os.path.basename(self.file))

    def test_it_is_for_its_owner_alone(self) -> None:
        self.back_up()
        os.chmod(self.file, 0o644)
        self.restore()
        for name in os.listdir(self.elsewhere):
            mode = os.stat(os.path.join(self.elsewhere, name)).st_mode
            self.assertEqual(stat.S_IMODE(mode), 0o600, name)
        self.assertEqual(stat.S_IMODE(os.stat(self.elsewhere).st_mode), 0o700)

    def test_by_root_it_is_for_the_folders_owner(self) -> None:
        """Who runs the servers can open all that there is."""
        given: list[str] = []
        self.patch(os, "geteuid", lambda: 0)
        self.patch(os, "chown", lambda path, user, group, follow_symlinks: given.append(str(path)))
        self.patch(
            os, "fchown", lambda fd, user, group: given.append(os.readlink(f"/proc/self/fd/{fd}"))
        )
        os.mkdir(self.elsewhere, 0o700)
        self.back_up()
        self.restore()
        self.assertEqual(
            [os.path.relpath(path, self.elsewhere) for path in given], ["lock", "bbs.sqlite3.part"]
        )

    def test_not_where_everybody_is(self) -> None:
        self.back_up()
        os.mkdir(self.elsewhere)
        os.chmod(self.elsewhere, 0o1777)
        code, _, errors = self.run_it(restore, self.file, "--data", self.elsewhere)
        reason = f"the data folder {self.elsewhere} is everybody's: name one of your own"
        self.assertEqual((code, errors), (1, f"bbs restore: {reason}\n"))

    def test_a_database_that_is_there_stays(self) -> None:
        self.back_up()
        self.restore()
        path = os.path.join(self.elsewhere, "bbs.sqlite3")
        before = os.stat(path).st_ino
        self.not_restored(f"{path} exists: --force replaces it")
        self.assertEqual(os.stat(path).st_ino, before)
        self.restore("--force")

    def test_what_one_of_before_had_beside_goes(self) -> None:
        """Else its changes would be taken for the new one's."""
        self.person("ann")
        self.back_up()
        os.makedirs(self.elsewhere, 0o700)
        path = os.path.join(self.elsewhere, "bbs.sqlite3")
        self.killed_after_a_change(path)
        self.restore("--force")
        self.assertEqual([end for end in sqlite_backup.BESIDE if os.path.exists(path + end)], [])
        with self.there():
            self.assertEqual([user.name for user in User.select()], ["ann"])

    def test_what_one_had_beside_that_is_gone(self) -> None:
        self.person("ann")
        self.back_up()
        os.makedirs(self.elsewhere, 0o700)
        path = os.path.join(self.elsewhere, "bbs.sqlite3")
        self.killed_after_a_change(path)
        os.unlink(path)
        self.restore()
        self.assertEqual([end for end in sqlite_backup.BESIDE if os.path.exists(path + end)], [])
        with self.there():
            self.assertEqual([user.name for user in User.select()], ["ann"])

    def killed_after_a_change(self, path: str) -> None:
        """What a server leaves that had no time to put its changes into the file."""
        with closing(sqlite3.connect(self.path)) as there:
            there.execute("PRAGMA wal_autocheckpoint = 0")
            there.execute("UPDATE user SET name = 'other'")
            there.commit()
            for end in ("", "-wal"):
                shutil.copyfile(self.path + end, path + end)

    def test_one_that_is_damaged_makes_way(self) -> None:
        self.person("ann")
        self.back_up()
        os.makedirs(self.elsewhere, 0o700)
        path = os.path.join(self.elsewhere, "bbs.sqlite3")
        self.killed_after_a_change(path)
        with open(path, "w", encoding="utf-8") as file:
            file.write("no database " * 1000)
        self.restore("--force")
        self.assertEqual([end for end in sqlite_backup.BESIDE if os.path.exists(path + end)], [])
        with self.there():
            self.assertEqual([user.name for user in User.select()], ["ann"])

    def test_not_where_a_bbs_up_runs(self) -> None:
        self.back_up()
        with open(os.path.join(self.data, "lock"), "w", encoding="utf-8") as lock:
            os.chmod(lock.name, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            told = f"another bbs up uses the data folder {self.data}: stop it first"
            self.not_restored(told, "--force", data=self.data)
            os.environ["BBS_DATABASE_URL"] = self.url
            told = f"the data folder {self.data} is in use: stop it first"
            self.not_restored(told, "--force", data="")

    def test_where_a_bbs_up_will_find_it(self) -> None:
        self.person("ann")
        self.back_up()
        os.mkdir(self.elsewhere)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.elsewhere)
        path = os.path.join(self.elsewhere, "bbs-data", "bbs.sqlite3")
        self.assertIn(f"to {path};", self.restore(data=""))
        self.assertEqual(stat.S_IMODE(os.stat("bbs-data").st_mode), 0o700)
        with open("bbs-data/lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            told = "another bbs up uses the data folder bbs-data: stop it first"
            self.not_restored(told, "--force", data="")

    def test_not_where_servers_run(self) -> None:
        self.back_up()
        os.environ["BBS_DATABASE_URL"] = self.url
        self.database.run(user_admin.search, 0.0)
        self.not_restored(f"servers run on {self.path}: stop them first", "--force", data="")
        self.database.close()
        self.restore("--force", data="")

    def test_garbage(self) -> None:
        damaged = f"{self.file}: not a database of bbs"
        for content in (b"", b"no database " * 1000, b"SQLite format 3\0" + b"\xff" * 5000):
            with open(self.file, "wb") as file:
                file.write(content)
            code, output, errors = self.run_it(restore, self.file, "--data", self.elsewhere)
            self.assertEqual((code, output), (1, ""))
            self.assertRegex(errors, r"\Abbs restore: [^\n]+\n\Z")
            self.assertIn(self.file, errors)
        os.unlink(self.file)
        self.not_restored(f"{self.file}: no such file")
        with closing(sqlite3.connect(self.file)) as other:
            other.execute("CREATE TABLE user (name)")
        self.not_restored(damaged)
        self.assertEqual(os.listdir(self.elsewhere), ["lock"])

    def test_what_is_cut_off_or_changed(self) -> None:
        for number in range(200):
            self.account(f"person{number}")
        self.back_up()
        whole = Path(self.file).read_bytes()
        for content in (
            whole[: len(whole) // 2],
            whole[:8192] + b"\xff" * 40_000 + whole[48_192:],
        ):
            Path(self.file).write_bytes(content)
            code, output, errors = self.run_it(restore, self.file, "--data", self.elsewhere)
            self.assertEqual((code, output), (1, ""))
            self.assertRegex(errors, r"damaged")
            self.assertEqual(os.listdir(self.elsewhere), ["lock"])

    def test_another_services(self) -> None:
        self.back_up()
        self.program = Program("chess", lambda: replace(board, name="chess"))
        said = self.run_it(restore, self.file, "--data", self.elsewhere)
        reason = "the database is the service bbs's, and chess needs one of its own"
        self.assertEqual(said, (1, "", f"chess restore: {self.file}: {reason}\n"))

    def test_a_newer_schema(self) -> None:
        SchemaVersion.update(version=99).execute()
        self.back_up()
        self.not_restored(
            f"{self.file}: the database has schema 99, newer than this program's"
            f" {migrations.VERSION}: upgrade bbs"
        )
        SchemaVersion.update(version=migrations.VERSION).execute()
        ServiceVersion.update(version=99).execute()
        self.back_up("--force")
        self.not_restored(
            f"{self.file}: the database has version 99 of bbs, newer than this program's"
            f" {board.version}: upgrade bbs"
        )

    def test_one_of_version_0_1_0(self) -> None:
        shutil.copyfile(FIXTURES / "0.1.0.sqlite3", self.file)
        with closing(sqlite3.connect(self.file)) as old:
            (count,) = old.execute("SELECT COUNT(*) FROM user").fetchone()
        before = Path(self.file).read_bytes()
        self.restore(warning=self.UNPROVED)
        self.assertEqual(Path(self.file).read_bytes(), before)
        with self.there():
            self.assertEqual(User.select().count(), count)
            self.assertEqual(
                migrations.current(self.database.peewee),
                migrations.Versions(migrations.VERSION, board.version, "bbs"),
            )
            self.assertEqual(Place.select().where(~Place.away).count(), 0)

    def test_over_what_is_not_a_file(self) -> None:
        """The copy is renamed into place, and would take a device's: a FIFO's here."""
        self.back_up()
        path = os.path.join(self.data, "fifo")
        os.mkfifo(path)
        for url, reason in (
            (f"sqlite:///{path}", f"{path} is not a regular file"),
            ("sqlite:///:memory:", "sqlite:///:memory: is not a file"),
        ):
            os.environ["BBS_DATABASE_URL"] = url
            said = self.run_it(restore, self.file, "--force")
            self.assertEqual(said, (1, "", f"bbs restore: {reason}\n"))
        self.assertTrue(stat.S_ISFIFO(os.stat(path).st_mode))

    def test_itself(self) -> None:
        self.file = self.path
        self.database.close()
        self.not_restored(f"{self.path} is the database itself", "--force", data=self.data)

    def test_a_full_disk(self) -> None:
        self.back_up()
        self.restore()
        status = os.statvfs(self.elsewhere)
        self.patch(os, "statvfs", lambda path: os.statvfs_result([*status[:4], 5, *status[5:]]))
        part = os.path.join(self.elsewhere, "bbs.sqlite3.part")
        self.not_restored(f"cannot write {part}: No space left on device", "--force")
        with self.there():
            self.assertEqual(User.select().count(), 0)


class RestoringWhatIsNotWhole(CopyCase):
    """What `bbs backup` did not make, or what happened to it since, is refused in words."""

    def setUp(self) -> None:
        super().setUp()
        ann, bob = self.people("ann", "bob")
        self.befriend(ann, bob)
        self.call(messages.send, ann, "bob", "hello")
        self.log_in("bob")
        self.back_up()
        os.unlink(f"{self.file}.sha256")

    def test_without_its_checksum(self) -> None:
        self.restore(warning=self.UNPROVED)

    def test_a_text_that_became_another(self) -> None:
        """Only the checksum tells."""
        self.back_up("--force")
        content = Path(self.file).read_bytes()
        self.assertIn(b"hello", content)
        Path(self.file).write_bytes(content.replace(b"hello", b"hallo"))
        self.not_restored(f"{self.file}: damaged: {self.file}.sha256 has another checksum")
        os.unlink(f"{self.file}.sha256")
        self.restore(warning=self.UNPROVED)

    def test_a_checksum_that_is_malformed(self) -> None:
        checksum = Path(f"{self.file}.sha256")
        for content in (b"", b"\xff", b"0" * 63 + b"  x\n", (b"0" * 64 + b"  x\n") * 2):
            checksum.write_bytes(content)
            self.not_restored(f"{checksum}: malformed: not the checksum of one file")
        checksum.unlink()
        os.mkfifo(checksum)
        self.not_restored(f"{checksum} is not a regular file")

    def test_what_is_changed(self) -> None:
        damaged = f"{self.file}: damaged: "
        for statement, reason in (
            ("ALTER TABLE message DROP COLUMN text", f"{damaged}it has no column message.text"),
            ("DROP INDEX message_stored", f"{damaged}it has no index of message on stored"),
            ("DROP TABLE block", f"{damaged}it has no table block"),
            ("DELETE FROM user", f"{damaged}a row of delivery refers to no row of user"),
            (
                "UPDATE user SET seen = 'x'",
                f"{damaged}a value in the table user is of another type: seen",
            ),
            (
                "UPDATE user SET name = CAST(x'ff' AS TEXT) WHERE name = 'ann'",
                f"{damaged}a text in the table user is not UTF-8",
            ),
            (f"UPDATE sqlite_sequence SET seq = {2**63 - 1}", f"{damaged}a table has no next id"),
            (
                "CREATE TRIGGER t AFTER INSERT ON message BEGIN DELETE FROM user; END",
                f"{self.file}: it has the trigger t, which is not the service's",
            ),
            (
                "CREATE TABLE theirs (a REFERENCES user (id))",
                f"{self.file}: it has the reference theirs.a, which is not the service's",
            ),
            (
                "CREATE UNIQUE INDEX theirs ON message (text)",
                f"{self.file}: it has the index of message on text, which is not the service's",
            ),
            (
                "ALTER TABLE user ADD COLUMN theirs AS (abs(id))",
                f"{damaged}its table user is defined in another way",
            ),
        ):
            whole = Path(self.file).read_bytes()
            alter(self.file, statement)
            self.not_restored(reason)
            Path(self.file).write_bytes(whole)

    def test_what_is_left_of_an_older_version(self) -> None:
        """Upgrades leave it for servers of the version before, and it is in nobody's way."""
        alter(
            self.file,
            "ALTER TABLE user ADD COLUMN old TEXT",
            "ALTER TABLE user ADD COLUMN older TEXT NOT NULL DEFAULT ''",
            "CREATE TABLE oldest (a PRIMARY KEY, b REFERENCES user (id) ON DELETE CASCADE)",
            "CREATE INDEX old ON message (text)",
            "ANALYZE",
        )
        self.restore(warning=self.UNPROVED)

    def test_a_table_that_is_defined_in_another_way(self) -> None:
        for old, new, thing in (
            ("ON DELETE CASCADE", "", "reference session.user_id"),
            ("AUTOINCREMENT", "", "table message"),
            ('"text" TEXT NOT NULL', '"text" TEXT', "column message.text"),
        ):
            whole = Path(self.file).read_bytes()
            table = "session" if "session" in thing else "message"
            alter(
                self.file,
                "PRAGMA writable_schema = on",
                f"UPDATE sqlite_master SET sql = replace(sql, '{old}', '{new}')"
                f" WHERE name = '{table}'",
            )
            self.not_restored(f"{self.file}: damaged: its {thing} is defined in another way")
            Path(self.file).write_bytes(whole)

    def test_malformed_versions(self) -> None:
        for version in ("-5", "0", "'eleven'", "3.5", str(2**63 - 1)):
            alter(self.file, f"UPDATE schema_version SET version = {version}")
            _, _, errors = self.run_it(restore, self.file, "--data", self.elsewhere)
            self.assertIn("malformed version in schema_version", errors)
            self.assertEqual(len(errors.splitlines()), 1)
        alter(self.file, "DELETE FROM schema_version")
        self.not_restored(f"{self.file}: not a database of bbs")

    def test_what_a_terminal_would_obey(self) -> None:
        alter(self.file, "CREATE VIEW '\x1b]0;title\x07\n' AS SELECT 1")
        shown = r"\x1b]0;title\x07\x0a"
        self.not_restored(f"{self.file}: it has the view {shown}, which is not the service's")

    def test_an_older_one(self) -> None:
        """It is upgraded before its tables are compared, and may be damaged then as well."""
        for statement, reason in (
            ("ALTER TABLE message DROP COLUMN target", "tables cannot be upgraded"),
            ("ALTER TABLE user DROP COLUMN channel", "damaged: it has no column user.channel"),
            ("DELETE FROM chat_group", "damaged: a row of membership refers to no row"),
            ("CREATE TRIGGER t UPDATE ON inbox BEGIN DELETE FROM user; END", "has the trigger t"),
        ):
            shutil.copyfile(FIXTURES / "0.1.0.sqlite3", self.file)
            alter(self.file, statement)
            code, _, errors = self.run_it(restore, self.file, "--data", self.elsewhere)
            self.assertEqual((code, len(errors.splitlines())), (1, 1))
            self.assertIn(reason, errors)

    def test_what_lies_next_to_it(self) -> None:
        """SQLite would play it back, into the backup too."""
        content = Path(self.file).read_bytes()
        for end in ("-wal", "-journal"):
            Path(self.file + end).write_bytes(b"x")
            self.not_restored(
                f"{self.file}{end} has changes that are not in {self.file}: bbs backup copies both"
            )
            Path(self.file + end).write_bytes(b"")
        self.restore(warning=self.UNPROVED)
        self.assertEqual(Path(self.file).read_bytes(), content)

    def test_what_is_not_a_file(self) -> None:
        length = os.path.getsize(self.file)
        os.truncate(self.file, 2**40)
        reason = f"damaged: it has {2**40} bytes, and should have {length}"
        self.not_restored(f"{self.file}: {reason}")
        os.unlink(self.file)
        for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)):
            make(self.file)
            self.not_restored(f"{self.file} is not a regular file")
            os.rename(self.file, self.mktemp())

    def test_copies_drawn_by_a_seed(self) -> None:
        """`python -m lab.attacks --only copies` has more of them."""
        folder = Path(self.mktemp())
        folder.mkdir()
        restorer = Restorer(folder, seed=7)
        for _ in range(20):
            restorer.try_one()
        self.assertEqual(restorer.words, [])
        self.assertGreater(restorer.found["refused"], 10)


def alter(path: str, *statements: str) -> None:
    """Change a database behind the service's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as there:
        for statement in statements:
            there.execute(statement)


class OnMySQL(SynchronousTestCase):
    """There is nothing to be had but advice, without a password in it."""

    def test_which_tool(self) -> None:
        url = "mysql://o%27bbs:secret@db.example:3307/b%20s"
        self.patch(os, "environ", {"BBS_DATABASE_URL": url})
        for part, tool in (
            (backup, "mariadb-dump --single-transaction"),
            (restore, "mariadb"),
        ):
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors):
                self.assertEqual(part(["x"], BOARD), 1)
            told = errors.getvalue()
            self.assertEqual(len(told.splitlines()), 1)
            self.assertIn(f"{tool} -h db.example -P 3307 -u 'o'\"'\"'bbs' -p 'b s' ", told)
            self.assertNotIn("secret", told)
        self.assertFalse(os.path.exists("x"))


@on_both_databases
class Db(CommandCase):
    main = staticmethod(database.db)
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
            f" programs of schema {OLDEST} and bbs {board.oldest} can work on it, too\n"
        )
        self.assertEqual(self.bbs("status"), (0, told, ""))

    def test_more_connections_than_the_database_takes(self) -> None:
        self.patch(fleet, "connection_limit", lambda: ConnectionLimit(151, "max_connections"))
        self.bbs("upgrade")
        code, output, errors = self.bbs("status")
        self.assertEqual((code, output.count("\n")), (0, 1))
        self.assertIn("168 connections, and the database takes 151 (max_connections)", errors)

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
            f" bbs {board.version}, this program's is {board.version};"
            f" programs of schema 99 and bbs {board.oldest} can work on it, too\n"
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

    main = staticmethod(database.db)
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
