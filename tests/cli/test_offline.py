"""The database and the data folder for commands that run without a reactor."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import peewee
import pymysql
from twisted.trial.unittest import SynchronousTestCase

from bbs.board.groups.tables import Group
from bbs.cli import offline
from bbs.cli.offline import open_folder
from bbs.config import ConfigError
from bbs.scaling.data_folder import Unusable
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

    def test_no_folder_for_a_new_one(self) -> None:
        def trouble() -> None:
            with offline.connected("sqlite:////no/such/folder/bbs.sqlite3", create=True):
                pass

        error = self.assertRaises(DatabaseRefused, trouble)
        self.assertIn("unable to open database file: no folder /no/such/folder", str(error))

    def test_somebody_elses(self) -> None:
        """The folder of a `bbs up` is closed to others: whether there is a file is not known."""

        def denied(path: str) -> None:
            raise PermissionError(13, "Permission denied", path)

        def trouble() -> None:
            with offline.connected("sqlite:///bbs-data/bbs.sqlite3"):
                pass

        self.patch(os, "stat", denied)
        error = self.assertRaises(DatabaseRefused, trouble)
        told = "Permission denied: run this as the user who runs the service"
        self.assertEqual(str(error), f"database sqlite:///bbs-data/bbs.sqlite3: {told}")

    def test_none_there(self) -> None:
        for url in ("sqlite:////no/such/folder/bbs.sqlite3", "sqlite:///a%00b"):

            def trouble(url: str = url) -> None:
                with offline.connected(url):
                    pass

            self.assertIn("no such file", str(self.assertRaises(DatabaseRefused, trouble)))


class Chosen(SynchronousTestCase):
    """The database of a command, by the folder where it is typed and by its options."""

    def setUp(self) -> None:
        self.here = Path(self.mktemp()).absolute()
        self.here.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.here)
        others = {name: value for name, value in os.environ.items() if not name.startswith("BBS_")}
        self.patch(os, "environ", others)

    def touch(self, *names: str) -> None:
        for name in names:
            path = self.here / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def names(self, url: str) -> str:
        """The path of a configuration that names a database."""
        (self.here / "other.toml").write_text(f'[database]\nurl = "{url}"\n')
        return "other.toml"

    def chosen(self, config: str | None = None, data: str | None = None) -> tuple[str, str]:
        """The database, and the security log that gets what was done to it."""
        found = offline.configuration(config, data, "bbs")
        url = found.database.url
        return url.replace(f"sqlite:///{self.here}/", ""), found.log.security

    def test_that_of_a_bbs_up_here(self) -> None:
        self.assertEqual(self.chosen(), ("bbs-data/bbs.sqlite3", ""))
        self.touch("bbs-data/bbs.sqlite3", "bbs-data/logs/security.log")
        log = "bbs-data/logs/security.log"
        self.assertEqual(self.chosen(), ("bbs-data/bbs.sqlite3", f"{self.here}/{log}"))
        (self.here / "page.toml").write_text("[web]\nlisten = 'tcp:1'\n")
        self.assertEqual(self.chosen("page.toml")[0], "bbs-data/bbs.sqlite3")
        self.assertEqual(self.chosen(data="bbs-data"), ("bbs-data/bbs.sqlite3", log))

    def test_that_of_a_login_server_here(self) -> None:
        """One by twistd has `bbs-data` for its app servers' files."""
        self.touch("bbs.sqlite3", "bbs-data/run/x.toml")
        self.assertEqual(self.chosen(), ("sqlite:///bbs.sqlite3", ""))

    def test_two_of_them(self) -> None:
        self.touch("bbs.sqlite3", "bbs-data/bbs.sqlite3")
        error = self.assertRaises(ConfigError, self.chosen)
        self.assertIn("two databases here, bbs-data/bbs.sqlite3 and bbs.sqlite3: ", str(error))
        self.assertEqual(self.chosen(data=".")[0], "bbs.sqlite3")
        self.assertEqual(self.chosen(data="bbs-data")[0], "bbs-data/bbs.sqlite3")

    def test_a_configuration_of_another(self) -> None:
        config = self.names("mysql://ann:s3cret@db/bbs")
        log = "bbs-data/logs/security.log"
        self.touch("bbs-data/lock", log)
        self.assertEqual(self.chosen(config), ("mysql://ann:s3cret@db/bbs", log))
        # From now on it is the folder of another service.
        self.touch("bbs-data/bbs.sqlite3")
        self.assertEqual(self.chosen(config), ("mysql://ann:s3cret@db/bbs", ""))
        for folder in ("bbs-data", "nowhere"):
            error = str(self.assertRaises(ConfigError, self.chosen, config, folder))
            self.assertEqual(
                error,
                f"--data is {folder}, with the database {folder}/bbs.sqlite3, and other.toml has"
                " another one, mysql://ann:***@db/bbs: leave out one of them",
            )
        # A `bbs up` on such a database keeps only its logs there.
        (self.here / "bbs-data/bbs.sqlite3").unlink()
        self.assertEqual(self.chosen(config, "bbs-data"), ("mysql://ann:s3cret@db/bbs", log))

    def test_a_configuration_of_the_same(self) -> None:
        config = self.names("sqlite:///bbs-data/bbs.sqlite3")
        self.touch("bbs-data/bbs.sqlite3")
        self.assertEqual(self.chosen(config, "./bbs-data")[0], "sqlite:///bbs-data/bbs.sqlite3")

    def test_a_variable_of_another(self) -> None:
        self.patch(os, "environ", {**os.environ, "BBS_DATABASE_URL": "sqlite:///x.sqlite3"})
        error = self.assertRaises(ConfigError, self.chosen, None, "bbs-data")
        self.assertIn("BBS_DATABASE_URL has another one, sqlite:///x.sqlite3", str(error))


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


OURS = (
    "lock",
    "bbs.log",
    "bbs.log.1",
    "bbs.sqlite3",
    "bbs.sqlite3-wal",
    "bbs.sqlite3-shm",
    "bbs.sqlite3-turn",
    "operator-password",
    "run/app-1.toml",
    "logs/app-1.log",
    "logs/app-1.log.2",
    "logs/security.log",
)


class DataFolder(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(os.umask, os.umask(0o022))
        self.folder = Path(self.mktemp()).absolute()

    def fill(self, *names: str) -> None:
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def open(self) -> list[str]:
        """The paths that were mended, within the folder."""
        lock, mended = open_folder(str(self.folder), "bbs")
        lock.close()
        return [os.path.relpath(path, self.folder) for path in mended]

    def refused(self, *words: str) -> None:
        error = self.assertRaises(Unusable, self.open)
        for word in words:
            self.assertIn(word, str(error))

    def mode(self, name: str = "") -> int:
        return stat.S_IMODE((self.folder / name).lstat().st_mode)

    def test_a_new_one(self) -> None:
        self.assertEqual(self.open(), [])
        self.assertEqual((self.mode(), self.mode("lock")), (0o700, 0o600))

    def test_what_others_could_read_is_set_right(self) -> None:
        self.fill(*OURS)
        self.assertEqual(sorted(self.open()), sorted((".", "run", "logs", *OURS)))
        self.assertEqual({self.mode(name) for name in OURS}, {0o600})
        self.assertEqual({self.mode(name) for name in ("", "run", "logs")}, {0o700})
        self.assertEqual(self.open(), [])

    def test_each_bit_for_others_is_one_too_many(self) -> None:
        self.fill("bbs.sqlite3")
        for bit in (0o040, 0o020, 0o004, 0o002, 0o001):
            (self.folder / "bbs.sqlite3").chmod(0o600 | bit)
            self.assertIn("bbs.sqlite3", self.open())
            self.assertEqual(self.mode("bbs.sqlite3"), 0o600)

    def test_what_else_is_there_stays(self) -> None:
        """A folder may be one in which its owner has other things."""
        self.fill("other", "below/other", "logs/other")
        self.open()
        self.assertEqual({self.mode(n) for n in ("other", "below/other", "logs/other")}, {0o644})
        self.assertEqual(self.mode("below"), 0o755)

    def test_a_link_is_not_followed(self) -> None:
        elsewhere = Path(self.mktemp()).absolute()
        elsewhere.mkdir()
        (elsewhere / "security.log").touch()
        self.folder.mkdir()
        for name in ("bbs.log", "operator-password"):
            (self.folder / name).symlink_to(elsewhere / "security.log")
        for name in ("logs", "run"):
            (self.folder / name).symlink_to(elsewhere)
        self.assertEqual(self.open(), ["."])
        self.assertEqual(stat.S_IMODE(elsewhere.stat().st_mode), 0o755)
        self.assertEqual(stat.S_IMODE((elsewhere / "security.log").stat().st_mode), 0o644)

    def test_a_link_to_the_folder_is(self) -> None:
        elsewhere = Path(self.mktemp()).absolute()
        elsewhere.mkdir()
        self.folder.symlink_to(elsewhere)
        self.open()
        self.assertEqual(stat.S_IMODE(elsewhere.stat().st_mode), 0o700)

    def test_what_is_no_file_stays(self) -> None:
        """A pipe or a socket is there for somebody, and to open it may wait for ever."""
        self.folder.mkdir()
        os.mkfifo(self.folder / "bbs.pipe", 0o666)
        self.assertEqual(self.open(), ["."])
        self.assertEqual(self.mode("bbs.pipe"), 0o644)

    def test_somebody_elses(self) -> None:
        self.fill("bbs.sqlite3")
        self.patch(os, "geteuid", lambda: os.getuid() + 1)
        self.refused(str(self.folder), "belongs to another user")
        self.assertEqual(self.mode(), 0o755)
        self.folder.chmod(0o700)
        self.refused(str(self.folder / "bbs.sqlite3"), "belongs to another user")
        self.assertEqual(self.mode("bbs.sqlite3"), 0o644)
        (self.folder / "bbs.sqlite3").chmod(0o600)
        self.assertEqual(self.open(), [])

    def test_everybodys(self) -> None:
        self.folder.mkdir()
        self.folder.chmod(0o1777)
        self.refused("everybody's")
        self.assertEqual(self.mode(), 0o1777)

    def test_what_its_owner_cannot_open(self) -> None:
        if not os.getuid():
            real: Any = os.open

            def denied(path: str, *how: Any, **where: Any) -> int:
                if path == "bbs.log":
                    raise PermissionError(13, "Permission denied")
                opened: int = real(path, *how, **where)
                return opened

            self.patch(os, "open", denied)
        self.fill("bbs.log")
        (self.folder / "bbs.log").chmod(0o044)
        self.refused("bbs.log", "Permission denied")

    def test_another_has_it(self) -> None:
        lock, _ = open_folder(str(self.folder), "bbs")
        self.addCleanup(lock.close)
        self.refused("another bbs up uses the data folder", str(self.folder))

    def test_a_file(self) -> None:
        self.folder.touch()
        self.refused("cannot write to the data folder", str(self.folder), "it is a file")
