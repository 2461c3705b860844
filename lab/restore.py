"""What connected people hear after a restore.

    python -m lab.restore                     # MariaDB is the one at BBS_TEST_MYSQL_URL
    python -m lab.restore --on sqlite --client 33f46f38 --service 33f46f38

Twenty people are connected by real clients: ten by `bbs client` of this checkout, ten by that of an
older one (`--client`, a commit or a folder; by default the wheel of the version before). Three app
servers have room for ten each. Everybody writes all the time, in turn: messages and mail to the
next one, to a group of five, and posts for both friends.

- sqlite: a backup, much more is written, the service stops, `bbs restore --force`, it starts.
- sqlite-load: the backup is loaded into the database while all write, as sqlite3's `.restore` does.
- mariadb: a dump, much more is written, and the dump is loaded while all write.
- mariadb-slowly: the same with a pause between tables, as a large dump takes minutes.
- mariadb-replaced: the dump has no row of the app servers, as all were replaced after it was made.

Everything that is acknowledged afterwards has to be heard, once. `--service` has the service run
the code of another commit or folder, for comparison. Sessions are tried as well: one that was ended
after the backup must not live, and those of who is connected must. The exit code is 1 if anything
is amiss.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from lab.rolling import versions
from tests.database_case import execute_once
from tests.integration.service import as_toml
from tests.paths import CHECKOUT
from tests.services.servers import free_port

PEOPLE = 20
CAPACITY = 10  # People of an app server.
GROUPS = 4
KINDS = "send", "mail", "send-group", "post"
BEFORE, LOST, AFTER = 80, 400, 240  # What is written, in all.
PATIENCE = 90.0  # Seconds for the start of a service, or until clients are there again.
QUIET = 6.0  # Seconds in which nothing more is heard.
PAUSE = 0.02  # Seconds between two looks, and what one client writes.
BETWEEN_TABLES = 1.5  # Seconds, of a dump that is loaded slowly.
ANY = "100000/minute"

ID_LENGTH = 32  # Of an app server.

Heard = tuple[str, str, str]
"""A kind, a reader and a text."""


class Client:
    """`bbs client` of a tree of code, with several people logged in."""

    def __init__(self, tree: Path | None, port: int, people: Sequence[str], folder: Path) -> None:
        self.people = people
        self.replies: list[dict[str, Any]] = []
        self.heard: Counter[tuple[str, str]] = Counter()
        """The texts that each reader was shown."""
        self.logged_out: list[str] = []
        self._process = subprocess.Popen(  # nosec B603
            [sys.executable, "-m", "bbs", "client", "--json", "127.0.0.1", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            env=environ(tree, folder),
        )
        Thread(target=self._read, daemon=True).start()
        for name in people:
            self.ask(f"login {name} secret")

    def _read(self) -> None:
        for line in self._process.stdout or ():
            found = json.loads(line)
            if "status" in found:
                self.replies.append(found)
            elif found["event"] == "message":
                self.heard[found["user"], found["message"]] += 1
            elif found["event"] == "logout":
                self.logged_out.append(found["user"])

    def ask(self, line: str) -> dict[str, Any]:
        """The reply to one line."""
        there = len(self.replies)
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        until(lambda: len(self.replies) > there, f"a reply to {line}")
        return self.replies[there]

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def until(condition: Callable[[], Any], what: str, within: float = PATIENCE) -> None:
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"not within {within:g} s: {what}")
        time.sleep(PAUSE)


def environ(tree: Path | None, folder: Path) -> Mapping[str, str]:
    own = {key: word for key, word in os.environ.items() if not key.startswith("BBS_")}
    path = versions.environ(tree) if tree else {"PYTHONPATH": str(CHECKOUT)}
    return {**own, **path, "XDG_STATE_HOME": str(folder / "state"), "PYTHONUNBUFFERED": "1"}


class Trial:
    """A service, and the people who are connected to it."""

    def __init__(self, folder: Path, url: str, service: Path | None, client: Path | None) -> None:
        self.folder, self.url, self.tree = folder, url, service
        self.port, self.data = free_port(), folder / "data"
        self.names = [f"p{number}" for number in range(PEOPLE)]
        self.config = folder / "bbs.toml"
        rates = ("failed_logins", "logins", "registrations", "commands", "deliveries")
        self.config.write_text(
            as_toml(
                {
                    "login.listen": f"tcp:{self.port}:interface=127.0.0.1",
                    "database.url": url,
                    "fleet.minimum": PEOPLE // CAPACITY + 1,
                    "app.capacity": CAPACITY,
                    "web.listen": "",
                    "telnet.listen": "",
                    **{f"limits.{each}": ANY for each in rates},
                }
            )
        )
        self.up: subprocess.Popen[bytes] | None = None
        self.start()
        self._make_friends()
        self._make_groups()
        half = PEOPLE // 2
        self.clients = [
            Client(None, self.port, self.names[:half], folder),
            Client(client, self.port, self.names[half:], folder),
        ]
        self.sent = 0
        self.refused: Counter[tuple[str, str, str]] = Counter()
        """What was not written, by time, kind and message."""
        self._turns = [*map(cycle, self._plans())]

    def start(self) -> None:
        argv = [sys.executable, "-m", "bbs", "up", "--config", str(self.config)]
        with (self.folder / "log").open("ab") as log:
            self.up = subprocess.Popen(  # nosec B603
                [*argv, "--port", str(self.port), "--data", str(self.data)],
                cwd=self.folder,
                env=environ(self.tree, self.folder),
                stdout=log,
                stderr=log,
            )
        until(self._is_ready, "the service is ready")

    def _is_ready(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def stop(self) -> None:
        assert self.up is not None
        self.up.terminate()
        self.up.wait()

    def run(self, *arguments: str) -> str:
        """What `bbs …` says, of the code that the service runs."""
        done = subprocess.run(  # nosec B603
            [sys.executable, "-m", "bbs", *arguments],
            cwd=self.folder,
            env=environ(self.tree, self.folder),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def replace_servers(self) -> None:
        """Have others take the place of all app servers."""
        before = self._ready_servers()
        self.run("fleet", "replace", "--config", str(self.config))
        until(self._have_others(before), "all app servers are replaced", 2 * PATIENCE)

    def _have_others(self, before: set[str]) -> Callable[[], bool]:
        def are_replaced() -> bool:
            ready = self._ready_servers()
            return bool(ready) and not ready & before

        return are_replaced

    def _ready_servers(self) -> set[str]:
        lines = self.run("fleet", "list", "--state", "ready", "--config", str(self.config))
        first = (line.split()[0] for line in lines.splitlines())
        return {each for each in first if len(each) == ID_LENGTH}

    def _ask(self, *requests: str) -> list[dict[str, Any]]:
        """The replies of the login server, on one connection."""
        with socket.create_connection(("127.0.0.1", self.port), 60) as wire:
            wire.settimeout(60)
            file = wire.makefile("rw", encoding="utf-8", newline="\n")
            replies = []
            for request in requests:
                file.write(request + "\n")
                file.flush()
                replies.append(json.loads(file.readline()))
        return replies

    def at_home(self, login: Mapping[str, Any], *requests: str) -> list[dict[str, Any]]:
        """The replies of somebody's app server."""
        place = login["app_server"]
        with socket.create_connection((place["host"], place["port"]), 60) as wire:
            wire.settimeout(60)
            file = wire.makefile("rw", encoding="utf-8", newline="\n")
            replies = []
            for request in requests:
                file.write(request + "\n")
                file.flush()
                replies.append(json.loads(file.readline()))
        return replies

    def log_in(self, name: str) -> dict[str, Any]:
        [reply] = self._ask(f"login {name} secret")
        assert reply["status"] == 0, reply
        return reply

    def log_out(self, login: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._ask(f"logout {login['token']}")

    def _make_friends(self) -> None:
        self._ask(*[f"register {name} secret" for name in (*self.names, "victim")])
        logins = {name: self.log_in(name) for name in self.names}
        for name, other in self.pairs:
            one, two = logins[name], logins[other]
            self.at_home(one, f"invite {one['token']} {other}")
            self.at_home(two, f"accept-invite {two['token']} {name}")

    def _make_groups(self) -> None:
        for number, name in enumerate(self.names):
            login = self.log_in(name)
            word = "create" if number < GROUPS else "join"
            [reply] = self.at_home(login, f"{word}-group {login['token']} {self._group(name)}")
            assert reply["status"] == 0, reply

    def _group(self, name: str) -> str:
        return f"g{self.names.index(name) % GROUPS}"

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [*zip(self.names, [*self.names[1:], self.names[0]], strict=True)]

    def _plans(self) -> Iterator[list[tuple[str, str]]]:
        """By client: who writes what kind, in turn."""
        for client in self.clients:
            yield [(name, kind) for kind in KINDS for name in client.people]

    def write(self, what: str, count: int) -> set[Heard]:
        """So much is written, by both clients at once; returns what has to be heard of it."""
        acknowledged: set[Heard] = set()
        writers = [
            Thread(target=self._write, args=(number, what, count // 2, acknowledged))
            for number in range(len(self.clients))
        ]
        for each in writers:
            each.start()
        for each in writers:
            each.join()
        return acknowledged

    def _write(self, number: int, what: str, count: int, acknowledged: set[Heard]) -> None:
        client = self.clients[number]
        for _ in range(count):
            name, kind = next(self._turns[number])
            self.sent += 1
            text = f"{what}-{number}-{kind}-{self.sent}"
            to, readers = self._readers(name, kind)
            said = client.ask(" ".join([kind, name, *to, text]))
            if said["status"] == 0:
                acknowledged |= {(kind, reader, text) for reader in readers}
            else:
                self.refused[what, kind, said["message"]] += 1
            time.sleep(PAUSE)

    def _readers(self, name: str, kind: str) -> tuple[Sequence[str], Sequence[str]]:
        """The arguments that say whom somebody writes to, and who reads it."""
        after, before = dict(self.pairs)[name], {two: one for one, two in self.pairs}[name]
        if kind == "post":
            return (), (after, before)
        if kind == "send-group":
            group = self._group(name)
            return (group,), [each for each in self.names if self._group(each) == group]
        return (after,), (after,)

    def heard(self) -> Counter[tuple[str, str]]:
        return self.clients[0].heard + self.clients[1].heard

    def wait(self, messages: set[Heard]) -> None:
        """Until all are heard, or nothing more is."""
        expected = {(reader, text) for kind, reader, text in messages if kind != "post"}
        last, quiet_since = -1, time.monotonic()
        while time.monotonic() - quiet_since < QUIET and expected - self.heard().keys():
            total = sum(self.heard().values())
            if total != last:
                last, quiet_since = total, time.monotonic()
            time.sleep(PAUSE)
        time.sleep(1.0)  # What comes twice.

    def read_posts(self) -> None:
        """Have everybody read posts, twice: each is unread once."""
        for client in self.clients:
            for name in [*client.people, *client.people]:
                for post in client.ask(f"posts {name}").get("post", ()):
                    client.heard[name, post["message"]] += 1

    def wait_for_clients(self) -> list[str]:
        """Until all are served again; returns who has to log in, and does so."""
        again = []
        for client in self.clients:
            for name in client.people:
                if _served(client, name).get("code") == "not-logged-in":
                    again.append(name)
                    client.ask(f"login {name} secret")
        time.sleep(3.0)  # Listeners find their servers by themselves.
        return again

    def end(self) -> None:
        for client in getattr(self, "clients", ()):
            client.end()
        self.stop()


def _served(client: Client, name: str) -> dict[str, Any]:
    """What somebody is told once the service is there."""
    end = time.monotonic() + PATIENCE
    while (said := client.ask(f"list-friend {name}")).get("code") == "unavailable":
        if time.monotonic() > end:
            raise SystemExit(f"not within {PATIENCE:g} s: {name} is served")
        time.sleep(PAUSE)
    return said


def report(trial: Trial, messages: set[Heard], again: Sequence[str]) -> bool:
    trial.read_posts()
    heard = trial.heard()
    out = sum(len(client.logged_out) for client in trial.clients)
    print(f"    had to log in again: {len(again)}; were told that their session has ended: {out}")
    for (when, kind, why), count in trial.refused.items():
        print(f"    {when}: {count} of {kind} refused: {why}")
    print(f"    {'to the client of':18}{'kind':12}{'to hear':>8}{'not heard':>12}{'twice':>8}")
    right = True
    for whose, client in zip(("this checkout", "the older one"), trial.clients, strict=True):
        for kind in KINDS:
            some = [each for each in messages if each[0] == kind and each[1] in client.people]
            lost = sum(not heard[each[1:]] for each in some)
            twice = sum(heard[each[1:]] > 1 for each in some)
            right = right and not lost and not twice
            print(f"    {whose:18}{kind:12}{len(some):8}{lost:12}{twice:8}", flush=True)
    return right


def end_session(trial: Trial, victim: Mapping[str, Any]) -> None:
    """Log out, at the login server."""
    [reply] = trial.log_out(victim)
    assert reply["status"] == 0, reply


def try_ended(trial: Trial, victim: Mapping[str, Any]) -> bool:
    """Whether the session that was ended after the backup stays so."""
    login = trial.log_in(trial.names[0])
    [reply] = trial.at_home({**login}, f"list-friend {victim['token']}")
    ended = reply.get("code") == "not-logged-in"
    print(f"    the session that had ended: {'ended' if ended else f'LIVES AGAIN: {reply}'}")
    return bool(ended)


def on_sqlite(folder: Path, service: Path | None, client: Path | None) -> bool:
    def restore(trial: Trial, copy: Path) -> set[Heard]:
        trial.stop()
        options = ("--force", "--config", str(trial.config), "--data", str(trial.data))
        said = trial.run("restore", str(copy), *options)
        print("    " + said.strip().replace("\n", "\n    "))
        trial.start()
        return set()

    url = f"sqlite:///{folder}/data/bbs.sqlite3"
    return _try(Trial(folder, url, service, client), _back_up, restore)


def load_on_sqlite(folder: Path, service: Path | None, client: Path | None) -> bool:
    path = f"{folder}/data/bbs.sqlite3"

    def load(trial: Trial, copy: Path) -> set[Heard]:
        def into() -> None:
            with (
                closing(sqlite3.connect(copy)) as source,
                closing(sqlite3.connect(path, timeout=PATIENCE)) as there,
            ):
                source.backup(there)

        return _under_the_service(trial, into)

    return _try(Trial(folder, f"sqlite:///{path}", service, client), _back_up, load)


def _back_up(trial: Trial) -> Path:
    copy = trial.folder / "copy.sqlite3"
    trial.run("backup", str(copy), "--config", str(trial.config))
    return copy


def _under_the_service(trial: Trial, load: Callable[[], None]) -> set[Heard]:
    """Load a copy while everybody writes; returns what has to be heard afterwards."""
    writer = Thread(target=trial.write, args=("meanwhile", 40))
    writer.start()
    load()
    print("    the copy is loaded under the service", flush=True)
    writer.join()
    return trial.write("at-once", AFTER // 2)


def _try(
    trial: Trial,
    copy: Callable[[Trial], Path],
    restore: Callable[[Trial, Path], set[Heard]],
    *,
    replaces: bool = False,
) -> bool:
    """Have the database go back to a `copy`, and see what is heard, and who is logged in."""
    try:
        victim = trial.log_in("victim")
        trial.wait(trial.write("before", BEFORE))
        file = copy(trial)
        end_session(trial, victim)
        if replaces:
            trial.replace_servers()
        trial.wait(trial.write("lost", LOST))
        messages = restore(trial, file)
        again = trial.wait_for_clients()
        messages |= trial.write("after", AFTER // 2)
        trial.wait(messages)
        right = report(trial, messages, again)
        return try_ended(trial, victim) and right
    finally:
        trial.end()


@contextmanager
def mariadb() -> Iterator[str]:
    """The URL of an empty database at BBS_TEST_MYSQL_URL."""
    server = os.environ["BBS_TEST_MYSQL_URL"]
    name = f"bbs_restore_{secrets.token_hex(4)}"
    execute_once(server, f"CREATE DATABASE {name}")
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        execute_once(server, f"DROP DATABASE IF EXISTS {name}")


def on_mariadb(
    folder: Path,
    service: Path | None,
    client: Path | None,
    pause: float = 0.0,
    replaces: bool = False,
) -> bool:
    with mariadb() as url:
        parts = urlsplit(url)
        place = ["-h", str(parts.hostname), "-P", str(parts.port), "-u", str(parts.username)]
        there = [*place, f"-p{parts.password}", parts.path[1:]]

        def dump(trial: Trial) -> Path:
            path = folder / "dump.sql"
            with path.open("wb") as file:
                tool = ["mariadb-dump", "--single-transaction", *there]
                subprocess.run(tool, stdout=file, check=True)  # nosec B603 B607
            return path

        def load(trial: Trial, path: Path) -> set[Heard]:
            def into() -> None:
                tool = subprocess.Popen(["mariadb", *there], stdin=subprocess.PIPE)  # nosec
                assert tool.stdin is not None
                with tool.stdin:
                    for table in path.read_bytes().split(TABLE):
                        tool.stdin.write(table + TABLE)
                        tool.stdin.flush()
                        time.sleep(pause)
                if tool.wait():
                    raise SystemExit("the dump could not be loaded")

            return _under_the_service(trial, into)

        return _try(Trial(folder, url, service, client), dump, load, replaces=replaces)


TABLE = b"UNLOCK TABLES;\n"
"""Ends each table of a dump."""


TRIALS: Mapping[str, Callable[[Path, Path | None, Path | None], bool]] = {
    "sqlite": on_sqlite,
    "sqlite-load": load_on_sqlite,
    "mariadb": on_mariadb,
    "mariadb-slowly": partial(on_mariadb, pause=BETWEEN_TABLES),
    "mariadb-replaced": partial(on_mariadb, replaces=True),
}


def tree(word: str, folder: Path) -> Path:
    """The folder `word`, or the commit of that name, unpacked into `folder`."""
    if Path(word).is_dir():
        return Path(word).resolve()
    there = folder / f"commit-{word}"
    if not there.exists():
        there.mkdir()
        made = ["git", "-C", str(CHECKOUT), "archive", word]
        packed = subprocess.run(made, capture_output=True, check=True).stdout  # nosec B603 B607
        subprocess.run(["tar", "-x", "-C", there], input=packed, check=True)  # nosec B603 B607
    return there


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.restore", description=__doc__)
    parser.add_argument("--on", choices=[*TRIALS], action="append", help="some trials alone")
    parser.add_argument("--client", help="the commit or folder of an older client")
    parser.add_argument("--service", help="the commit or folder that the service runs")
    options = parser.parse_args()
    right = True
    with tempfile.TemporaryDirectory(prefix="bbs-restore-") as folder:
        older = Path(folder)
        client = tree(options.client, older) if options.client else versions.unpack(older)
        service = tree(options.service, older) if options.service else None
        for name, trial in TRIALS.items():
            if name in (options.on or TRIALS):
                print(f"{name}:", flush=True)
                there = Path(folder) / name
                there.mkdir()
                right = trial(there, service, client) and right
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
