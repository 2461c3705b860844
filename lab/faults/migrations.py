"""The upgrade of a database that an older version left, killed at every statement.

Somebody else ends the process, by SIGKILL, while it executes its n-th statement and when it has,
for every n. Then `bbs db upgrade` finishes, and what is there is what it is after an upgrade that
nobody interrupted.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from bbs.storage.engines import connect_to
from lab.bench.compare import checkout
from lab.faults.upgrade import ABOUT, DONE
from lab.faults.world import DRIVERS
from lab.rolling.versions import WHEELS, environ, unpack
from tests.database_case import by_driver, execute_once
from tests.paths import CHECKOUT
from tests.storage.scenarios.test_upgrade_0_1_0 import FIXTURES, load_dump

FIRST = "0.1.0"
"""The version whose databases are among the fixtures."""

LONGEST = 0.02
"""Seconds, at most, that a statement has been under way when its process is killed."""

PATIENCE = 90.0
"""Seconds that an upgrade may take: a server that has not noticed yet keeps its lock."""

Content = Mapping[str, object]


@dataclass
class Cuts:
    """What came of all of them."""

    database: str
    older: str
    statements: int = 0
    cuts: int = 0
    longest: float = 0.0
    """Seconds of the slowest upgrade that came after one."""
    complaints: list[str] = field(default_factory=list)

    def text(self) -> str:
        lines = [
            f"an upgrade from {self.older} on {self.database}, {self.statements} statements:"
            f" killed {self.cuts} times, {len(self.complaints)} not as an uninterrupted one,"
            f" the longest upgrade after it {self.longest:.2f} s"
        ]
        return "\n".join([*lines, *(f"  {each}" for each in self.complaints)])


class Old:
    """A database of an older version, as often as it is wanted: what 0.1.0 left, and where `tree`
    has the code of a later version, upgraded by that."""

    def __init__(
        self, database: str, folder: Path, server: str = "", tree: Path | None = None
    ) -> None:
        """:param server: the URL of a MySQL at which databases can be made."""
        self._tree = tree
        self._sqlite = database == "sqlite"
        self._server = server
        self._file = folder / "bbs.sqlite3"
        self._name = f"bbs_cut_{secrets.token_hex(6)}"
        self.url = (
            f"sqlite:///{self._file}"
            if self._sqlite
            else by_driver(f"{server.rpartition('/')[0]}/{self._name}", DRIVERS[database])
        )
        self.config = folder / "bbs.toml"
        self.config.write_text(f'[database]\nurl = "{self.url}"\n')
        self.config.chmod(0o600)

    def restore(self) -> None:
        """Have it as that version left it."""
        self.remove()
        if self._sqlite:
            shutil.copyfile(FIXTURES / "0.1.0.sqlite3", self._file)
        else:
            execute_once(self._server, f"CREATE DATABASE {self._name}")
            load_dump(self.url)
        if self._tree is not None:
            self.upgrade(self._tree).check_returncode()

    def upgrade(self, tree: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
        """Run `bbs db upgrade` of the code in `tree`."""
        return subprocess.run(
            [sys.executable, "-m", "bbs", "db", "upgrade", "--config", self.config],
            cwd=self.config.parent,
            env=_environment(tree),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def remove(self) -> None:
        if self._sqlite:
            for path in self._file.parent.glob(f"{self._file.name}*"):
                path.unlink()
        else:
            execute_once(self._server, f"DROP DATABASE IF EXISTS {self._name}")

    def content(self) -> Content:
        """Every row, and everything that makes the tables what they are."""
        database: Any = connect_to(self.url)
        database.connect()
        with closing(database):
            tables = sorted(set(database.get_tables()) - {"sqlite_sequence"})
            rows = {name: _rows(database, f"SELECT * FROM `{name}`") for name in tables}
            if self._sqlite:
                made = _rows(database, "SELECT name, sql FROM sqlite_master")
            else:
                made = [row for name in tables for row in _rows(database, _CREATE.format(name))]
            return {**rows, "how tables are made": made}


_CREATE = "SHOW CREATE TABLE `{}`"


def _rows(database: Any, sql: str) -> list[str]:
    return sorted(map(repr, database.execute_sql(sql)))


class Upgrade:
    """A process that upgrades, statement by statement."""

    def __init__(self, config: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lab.faults.upgrade", "--config", config],
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until(self, word: str, number: int) -> str:
        """Let it go on until it says this; the statement, or empty when it ended before."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(f"{word} {number} "):
                return line.strip()
            if line.startswith(ABOUT):
                self.go_on()
        return ""

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def count(self) -> int:
        """Let it come to its end; how many statements that were."""
        assert self._process.stdout is not None
        number = 0
        for line in self._process.stdout:
            if line.startswith(ABOUT):
                number += 1
                self.go_on()
        _, errors = self._process.communicate()
        if self._process.returncode:
            raise AssertionError(f"an upgrade that nobody interrupts fails: {errors}")
        return number


def _environment(tree: Path = CHECKOUT) -> Mapping[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BBS_")}
    return {**kept, **environ(tree)}


@contextmanager
def tree_of(older: str, folder: Path) -> Iterator[Path | None]:
    """The code of a version with a wheel, or of a commit; None for the version of the fixtures."""
    if older == FIRST:
        yield None
    elif older in (wheel.name.split("-")[1] for wheel in WHEELS.iterdir()):
        yield unpack(folder, older)
    else:
        with checkout(older, folder) as tree:
            yield tree


def cut_everywhere(
    database: str, server: str = "", seed: int = 1, every: int = 1, older: str = FIRST
) -> Cuts:
    """Kill an upgrade from the version `older` at each statement (at one of `every`, from one that
    the seed draws)."""
    found, random = Cuts(database, older), Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="bbs-cuts-") as folder,
        tree_of(older, Path(folder)) as tree,
    ):
        old = Old(database, Path(folder), server, tree)
        try:
            old.restore()
            before = old.content()
            found.statements = Upgrade(old.config).count()
            whole = old.content()
            if whole == before:
                raise AssertionError("this database needs no upgrade")
            for number in range(random.randint(1, every), found.statements + 1, every):
                for moment in (ABOUT, DONE):
                    _cut(old, found, number, moment, random.uniform(0, LONGEST), whole)
        finally:
            old.remove()
    return found


def _cut(old: Old, found: Cuts, number: int, moment: str, seconds: float, whole: Content) -> None:
    old.restore()
    upgrade = Upgrade(old.config)
    where = upgrade.until(moment, number)
    if moment == ABOUT:
        upgrade.go_on()
        time.sleep(seconds)
    upgrade.kill()
    found.cuts += 1
    if not where:
        found.complaints.append(f"it ended before statement {number}")
        return
    began = time.monotonic()
    finished = old.upgrade()
    found.longest = max(found.longest, time.monotonic() - began)
    if finished.returncode:
        found.complaints.append(f"killed when {where[:200]}: {finished.stderr.strip()}")
        return
    content = old.content()
    differing = [name for name in {**whole, **content} if whole.get(name) != content.get(name)]
    if differing:
        found.complaints.append(f"killed when {where[:200]}: another {', '.join(differing)}")
