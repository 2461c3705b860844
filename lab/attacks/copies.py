"""Copies of a database that are damaged or crafted, and what `bbs restore` makes of them.

    python -m lab.attacks --only copies [--seed N] [--inputs N]

Each copy is drawn by a seed: bytes flipped in a page of each kind, a column, table or index less, a
trigger or a view more, rows without those that they refer to, values of another type, versions that
are none, a file cut short, and what is no file at all. A third of them have the checksum of the
whole copy beside them, as `bbs backup` writes it. The present database of the service is there
throughout, and has to stay as it is when a copy is refused.
"""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from bbs.board import board
from bbs.cli import Program, database
from bbs.storage import sqlite_backup
from lab.attacks import patches
from lab.attacks.attacker import NICENESS
from lab.attacks.filling import Template
from lab.attacks.tools import answer_jobs
from lab.attacks.values import Attack, Outcome

BOARD = Program("bbs", lambda: board)

MOST = 500  # Copies in a run, however many inputs there may be: each takes 60 ms.
FEWEST = 30  # Copies in a run, however few seconds it has.

SEALED = 3  # One copy in so many has the checksum of the whole one.

PEOPLES = (
    *("user", "session", "suspension", "known_network", "relationship", "block", "post"),
    *("chat_group", "membership", "message", "inbox", "delivery"),
)
"""Tables that a restored database has as they were."""

PARENTS = ("user", "message", "chat_group", "server", "login_server")

VERSIONS: Sequence[object] = (
    *(-5, 0, -(2**63), 2**63 - 1, 2**40, 99, 3.5, "eleven", "11; DROP TABLE user", "", b"\x0b"),
)

SCHEMA = (
    "CREATE TRIGGER theirs AFTER INSERT ON message BEGIN DELETE FROM message; END",
    "CREATE TRIGGER theirs AFTER UPDATE ON inbox BEGIN DELETE FROM session; END",
    "CREATE VIEW theirs AS SELECT * FROM user",
    "CREATE TABLE theirs (a REFERENCES user (id))",
    "CREATE UNIQUE INDEX theirs ON session (user_id)",
    "CREATE VIRTUAL TABLE theirs USING fts5 (a)",
    "ALTER TABLE user ADD COLUMN theirs AS (abs(id))",
    "DROP INDEX user_name",
    "DROP INDEX message_stored",
    "DROP TABLE block",
    "DROP TABLE known_network",
)

REWRITTEN = (
    ('"name" VARCHAR(100) NOT NULL', '"name" VARCHAR(100)', "user"),
    ('"created" REAL NOT NULL', '"created" TEXT NOT NULL', "user"),
    ("AUTOINCREMENT", "", "message"),
    ("ON DELETE CASCADE", "", "session"),
    ('"text" TEXT NOT NULL', '"text" TEXT NOT NULL COLLATE NOCASE', "message"),
    ('"text" TEXT NOT NULL', '"text" TEXT NOT NULL CHECK (length("text") < 3000)', "message"),
    ('REFERENCES "user"', 'REFERENCES "chat_group"', "session"),
)
"""A piece of a table's definition, and what it is made."""

VALUES = (
    "UPDATE user SET created = 'yesterday'",
    "UPDATE user SET name = CAST(x'ff' || name AS TEXT)",
    "UPDATE message SET text = CAST(x'c328' AS TEXT) WHERE id = (SELECT MAX(id) FROM message)",
    "UPDATE message SET text = x'00'",
    "UPDATE inbox SET delivered = 'none'",
    "UPDATE session SET used = x'00'",
    "UPDATE sqlite_sequence SET seq = 9223372036854775807",
    "UPDATE sqlite_sequence SET seq = 'many'",
)


def fill(path: Path) -> None:
    """Add rows to a template's database, so that it has pages of each kind, free ones too."""
    with closing(sqlite3.connect(path)) as there, there:
        execute, many = there.execute, range(1, 200)
        for n in many:
            words = (n, f"honest{n}", "author", "word " * 20, float(n), n, 3)
            execute(
                "INSERT INTO message (id, sender, target, to_group, text, stored, sent_by, sent_to)"
                " VALUES (?, ?, ?, 0, ?, ?, ?, ?)",
                words,
            )
            execute("INSERT INTO delivery (user_id, message_id) VALUES (3, ?)", (n,))
            execute("INSERT INTO session VALUES (?, ?, 1.0)", (f"{n:064x}", n))
            length = 20_000 if n % 40 == 0 else 50
            execute("INSERT INTO post (author_id, text) VALUES (?, ?)", (n, "x" * length))
        execute(
            "INSERT INTO server (id, scope, capacity, created, state, taken, beats, leaving,"
            " drain_asked, reason) VALUES ('s', 'l', 9, 1.0, 'ready', 1, 1, 0, 0, '')"
        )
        execute("INSERT INTO place (user_id, server_id) VALUES (1, 's')")
        execute("INSERT INTO login_server (id, identity, beats) VALUES ('l', 'x', 1)")
        execute("INSERT INTO waiter (id, login_server_id, name) VALUES ('w', 'l', 'x')")
        made = execute("INSERT INTO chat_group (name, channel) VALUES ('crowd of copies', 'c')")
        execute("INSERT INTO membership (group_id, user_id) VALUES (?, 4)", (made.lastrowid,))
        execute("INSERT INTO block (user_id, other_id) VALUES (4, 5)")
        execute("DELETE FROM post WHERE id BETWEEN 60 AND 90")
    with closing(sqlite3.connect(path)) as there:
        there.execute("PRAGMA journal_mode = delete")


def flip(chance: Random, copy: Path) -> str:
    """Change a byte in a page of a kind that is drawn first."""
    content = bytearray(copy.read_bytes())
    size = int.from_bytes(content[16:18], "big")
    pages: dict[str, list[int]] = {"header": [0]}
    names = {2: "index", 5: "table", 10: "index leaf", 13: "table leaf"}
    for start in range(0, len(content), size):
        kind = "schema" if not start else names.get(content[start], "overflow or free")
        pages.setdefault(kind, []).append(start)
    kind = chance.choice(sorted(pages))
    start = chance.choice(pages[kind])
    # The beginning of a page says what is where in it.
    length = 100 if kind == "header" else chance.choice((12, 200, size))
    at = start + chance.randrange(length)
    content[at] ^= 1 << chance.randrange(8)
    copy.write_bytes(content)
    return f"a bit of byte {at} flipped, in a page of the kind {kind}"


def overwrite(chance: Random, copy: Path) -> str:
    """Put zeros or noise over a part."""
    content = bytearray(copy.read_bytes())
    length = chance.choice((512, 4096, 20_000))
    at = chance.randrange(len(content) - length)
    noise = chance.randbytes(length)
    zeros = any(content[at : at + length]) and chance.random() < 0.5
    content[at : at + length] = bytes(length) if zeros else noise
    copy.write_bytes(content)
    return f"{length} bytes from {at} on overwritten"


def cut(chance: Random, copy: Path) -> str:
    """Shorten it, or add something to its end."""
    size = copy.stat().st_size
    length = chance.choice((0, 1, 99, 100, 4096, size // 2, size - 4096, size - 1, size + 4096))
    os.truncate(copy, length)
    return f"{length} of {size} bytes"


def _changed(copy: Path, *statements: str, values: Sequence[object] = ()) -> str:
    with closing(sqlite3.connect(copy, isolation_level=None)) as there:
        there.execute("PRAGMA foreign_keys = off")
        for statement in statements:
            there.execute(statement, values)
    return f"{'; '.join(statements)} {[*values] or ''}".strip()


def drop_column(chance: Random, copy: Path) -> str:
    """Take away a column that nothing else needs."""
    with closing(sqlite3.connect(copy)) as there:
        columns = [
            f"ALTER TABLE {table} DROP COLUMN {column}"
            for (table,) in there.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for _, column, *_ in there.execute(f"PRAGMA table_info({table})").fetchall()
        ]
    while True:
        with contextlib.suppress(sqlite3.OperationalError):  # It is part of a key or an index.
            return _changed(copy, chance.choice(columns))


def schema(chance: Random, copy: Path) -> str:
    return _changed(copy, chance.choice(SCHEMA))


def rewrite(chance: Random, copy: Path) -> str:
    """Change the definition of a table under its rows."""
    old, new, table = chance.choice(REWRITTEN)
    with closing(sqlite3.connect(copy, isolation_level=None)) as there:
        there.execute("PRAGMA writable_schema = on")
        changed = "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?"
        there.execute(changed, (old, new, table))
        there.execute("PRAGMA writable_schema = reset")
        made = there.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        assert new in made[0], made
    return f"{table}: {new!r} in place of {old!r}"


def dangle(chance: Random, copy: Path) -> str:
    return _changed(copy, f"DELETE FROM {chance.choice(PARENTS)}")


def value(chance: Random, copy: Path) -> str:
    return _changed(copy, chance.choice(VALUES))


def version(chance: Random, copy: Path) -> str:
    """Give it a version that is none, several, or no version."""
    table, columns = chance.choice(
        [("schema_version", "NULL, {0}, {0}"), ("service_version", "'other', {0}, {0}")]
    )
    statement, values = chance.choice(
        [
            *[(f"UPDATE {table} SET version = ?, reached = ?", (v, v)) for v in VERSIONS],
            (f"DELETE FROM {table}", ()),
            (f"INSERT INTO {table} VALUES ({columns.format(1)})", ()),
            ("UPDATE service_version SET name = char(27) || ']0;x' || char(7)", ()),
        ]
    )
    return _changed(copy, statement, values=values)


def replace(chance: Random, copy: Path) -> str:
    """Put something else in its place, or next to it."""
    what = chance.choice(("FIFO", "folder", "loop", "device", "TiB", "journal", "WAL"))
    if what in ("FIFO", "folder", "loop", "device"):
        copy.unlink()
    match what:
        case "FIFO":
            os.mkfifo(copy)
        case "folder":
            copy.mkdir()
        case "loop" | "device":
            copy.symlink_to(copy if what == "loop" else "/dev/zero")
        case "TiB":
            os.truncate(copy, 2**40)
        case "journal":
            Path(f"{copy}-journal").write_bytes(b"\xd9\xd5" * 999)
        case _:
            _leave_wal(copy)
    return what


def _leave_wal(copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as there:
        there.execute("PRAGMA journal_mode = wal")
        there.execute("DELETE FROM delivery")
        there.commit()
        wal = Path(f"{copy}-wal").read_bytes()
        shared = Path(f"{copy}-shm").read_bytes()
    Path(f"{copy}-wal").write_bytes(wal)
    Path(f"{copy}-shm").write_bytes(shared)


FLIPS = (flip, overwrite)
"""Damage to bytes. A checksum finds all of it. Without one restore takes what harms nothing: free
pages, the unused part of a page, counters of the header; and a value that became another of the
same type. It also takes a copy whose damage an upgrade mends: one without `reached` is older."""

WAYS = (*FLIPS * 3, cut, drop_column, schema, rewrite, dangle, value, version, replace)


class Restorer:
    """Gives one copy after the other to `bbs restore`, in `folder`, with a database in place."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._random = Random(seed)
        self.found: Counter[str] = Counter()
        self.words: list[str] = []
        self._data = folder / "restored"
        self._whole = folder / "whole.sqlite3"
        self._copy = folder / "copy.sqlite3"
        made = folder / "made.sqlite3"
        Template(folder).copy(made, posts=False, crowd=False)
        fill(made)
        for argv in ([self._whole], [folder / "present.sqlite3"]):
            self._run(database.backup, *argv, url=made)
        self._restore(folder / "present.sqlite3")
        self._rows, self._ids = self._contents(), self._next_ids()

    def _run(self, part: Any, *arguments: object, url: Path | None = None) -> tuple[int, str]:
        """The exit code of a part of the command, and what it says on standard error."""
        said = io.StringIO()
        others = {key: word for key, word in os.environ.items() if not key.startswith("BBS_")}
        os.environ.clear()
        os.environ.update(others, **({"BBS_DATABASE_URL": f"sqlite:///{url}"} if url else {}))
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = part([*map(str, arguments)], BOARD)
        return code, said.getvalue()

    def _restore(self, copy: Path, *options: str) -> tuple[int, str]:
        where = ("--keep-sessions", "--data", self._data)
        return self._run(database.restore, copy, *options, *where)

    def _next_ids(self) -> Mapping[str, int]:
        with closing(sqlite3.connect(self._data / "bbs.sqlite3")) as there:
            return dict(there.execute("SELECT * FROM sqlite_sequence").fetchall())

    def _contents(self) -> Mapping[str, list[Any]]:
        """What the present database has of people, and how it is made."""
        with closing(sqlite3.connect(self._data / "bbs.sqlite3")) as there:
            there.text_factory = bytes
            found = {
                table: sorted(there.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
                for table in PEOPLES
            }
            others = "SELECT name FROM sqlite_master WHERE type NOT IN ('table', 'index')"
            found[others] = sorted(there.execute(others).fetchall())
            there.text_factory = str
            return {**found, "made": sorted(sqlite_backup.definitions(there).items())}

    def _clear(self) -> None:
        for each in self._folder.glob("copy.sqlite3*"):
            if each.is_dir() and not each.is_symlink():
                each.rmdir()
            else:
                each.unlink()

    def try_one(self) -> None:
        """Draw a copy, restore it, and count what came of it."""
        self._clear()
        self._copy.write_bytes(self._whole.read_bytes())
        way = self._random.choice(WAYS)
        sealed = self._random.randrange(SEALED) == 0
        seal = Path(f"{self._whole}.sha256")
        if sealed and seal.exists():
            Path(f"{self._copy}.sha256").write_bytes(seal.read_bytes())
        what = f"{way.__name__}: {way(self._random, self._copy)}{', with the checksum' * sealed}"
        self.found["inputs"] += 1
        try:
            code, said = self._restore(self._copy, "--force")
        except Exception as error:
            return self._wrong("tracebacks", f"{what}: {type(error).__name__}: {error}")
        if code == 0:
            return self._taken(what, sealed, of_bytes=way in FLIPS)
        self.found["refused"] += 1
        if not said.startswith("bbs restore: ") or not said[:-1].isprintable():
            self._wrong("unclear", f"{what}: {said!r}")
        there = self._contents(), self._next_ids()
        if there != (self._rows, self._ids) or [*self._data.glob("*.part*")]:
            self._wrong("touched", what)

    def _taken(self, what: str, sealed: bool, of_bytes: bool) -> None:
        """One was restored: what harms nothing, what only a checksum would find, or damage."""
        try:
            there, ids = self._contents(), self._next_ids()
        except sqlite3.Error:
            there, ids = {}, {}
        if any(id >= ids.get(table, 0) for table, id in self._ids.items()):
            self._wrong("taken", f"{what}: ids did not rise")
        same = [*map(len, there.values())] == [*map(len, self._rows.values())]
        if sealed or not (there == self._rows or (of_bytes and same)):
            self._wrong("taken", what)
        else:
            self.found["harmless" if there == self._rows else "another text"] += 1
        again = self._folder / "present.sqlite3"
        self._restore(again, "--force")
        self._ids = self._next_ids()

    def _wrong(self, what: str, words: str) -> None:
        self.found[what] += 1
        self.words.append(f"{what}: {words}")


async def restore_copies(job: dict[str, Any]) -> dict[str, object]:
    """Do a job: give restore so many copies."""
    for name in job["without"]:
        patches.PATCHES[name]()
    over = time.monotonic() + job["seconds"]
    with tempfile.TemporaryDirectory(prefix="bbs-copies-") as folder:
        restorer = Restorer(Path(folder), job["seed"])
        for number in range(min(job["inputs"], MOST)):
            if number >= FEWEST and time.monotonic() > over:
                break
            restorer.try_one()
    return {"floods": [{**restorer.found, "wrong": restorer.words}]}


def _none_taken(outcome: Outcome) -> Sequence[str]:
    """Every damaged copy was refused in one line, and left the present database as it was."""
    (found,) = outcome.floods
    wrong = ("taken", "tracebacks", "unclear", "touched")
    said = [f"{found[each]} of {found['inputs']} copies: {each}" for each in wrong if each in found]
    return said + found["wrong"][:2] if found.get("refused") else [*said, "nothing was refused"]


COPIES = (
    Attack(
        "copies",
        f"{MOST} damaged copies of the database for restore",
        dialect="copies",
        limits=("copies",),
        shows=_none_taken,
    ),
)


if __name__ == "__main__":
    os.nice(NICENESS)
    answer_jobs(restore_copies)
