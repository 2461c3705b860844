"""What connected people hear after a restore.

    python -m tests.load.restore                      # SQLite, and MariaDB at BBS_TEST_MYSQL_URL
    python -m tests.load.restore --on sqlite --client TREE --service TREE

Twenty people are connected by real clients: ten by `bbs client` of this checkout, ten by that of an
older tree (`--client`, by default the wheel of the version before). Each writes to the next one.

- sqlite: a backup, more messages, the service stops, `bbs restore --force`, it starts.
- mariadb: a dump, more messages, and the dump is loaded while all go on writing.

Everything that is acknowledged afterwards has to be heard, once. `--service` has the service run
the code of another tree, for comparison. Sessions are tried as well: one that was ended after the
backup must not live, and those of who is connected must. The exit code is 1 if anything is amiss.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from tests.database_case import execute_once
from tests.integration.service import as_toml
from tests.load.rolling import versions
from tests.paths import CHECKOUT
from tests.services.servers import free_port

PEOPLE = 20
BEFORE, LOST, AFTER = 60, 200, 200  # Messages in all.
PATIENCE = 90.0  # Seconds for the start of a service, or until clients are there again.
QUIET = 4.0  # Seconds in which nothing more is heard.
PAUSE = 0.02  # Seconds between two looks, and two messages.
ANY = "100000/minute"

_HEARD = re.compile(r"<<<(?P<sender>\w+)->(?P<reader>\w+): (?P<text>[\w-]+)>>>")


class Client:
    """`bbs client` of a tree of code, with several people logged in."""

    def __init__(self, tree: Path | None, port: int, people: Sequence[str], folder: Path) -> None:
        self.people = people
        self.replies: list[str] = []
        self.heard: Counter[tuple[str, str]] = Counter()
        """The texts that each reader was shown."""
        self._process = subprocess.Popen(  # nosec B603
            [sys.executable, "-m", "bbs", "client", "127.0.0.1", str(port)],
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
            found = _HEARD.fullmatch(line.strip())
            if found:
                self.heard[found["reader"], found["text"]] += 1
            else:
                self.replies.append(line.strip())

    def ask(self, line: str) -> str:
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
                    "fleet.minimum": 2,
                    "app.capacity": PEOPLE,
                    "web.listen": "",
                    "telnet.listen": "",
                    **{f"limits.{each}": ANY for each in rates},
                }
            )
        )
        self.up: subprocess.Popen[bytes] | None = None
        self.start()
        self._make_friends()
        half = PEOPLE // 2
        self.clients = [
            Client(None, self.port, self.names[:half], folder),
            Client(client, self.port, self.names[half:], folder),
        ]
        self.sent = 0

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

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [*zip(self.names, [*self.names[1:], self.names[0]], strict=True)]

    def write(self, what: str, count: int) -> set[tuple[str, str]]:
        """So many messages, each to the next person; returns those that were acknowledged."""
        acknowledged = set()
        for _ in range(count):
            name, other = self.pairs[self.sent % PEOPLE]
            client = next(each for each in self.clients if name in each.people)
            text = f"{what}-{self.sent}"
            self.sent += 1
            if client.ask(f"send {name} {other} {text}") == "Success!":
                acknowledged.add((other, text))
            time.sleep(PAUSE)
        return acknowledged

    def heard(self) -> Counter[tuple[str, str]]:
        return self.clients[0].heard + self.clients[1].heard

    def wait(self, messages: set[tuple[str, str]]) -> None:
        """Until all are heard, or nothing more is."""
        last, quiet_since = -1, time.monotonic()
        while time.monotonic() - quiet_since < QUIET and messages - self.heard().keys():
            total = sum(self.heard().values())
            if total != last:
                last, quiet_since = total, time.monotonic()
            time.sleep(PAUSE)
        time.sleep(1.0)  # What comes twice.

    def wait_for_clients(self) -> list[str]:
        """Until all are served again; returns who has to log in, and does so."""
        again = []
        for client in self.clients:
            for name in client.people:
                if "log" in _served(client, name).lower():
                    again.append(name)
                    client.ask(f"login {name} secret")
        time.sleep(3.0)  # Listeners find their servers by themselves.
        return again

    def end(self) -> None:
        for client in getattr(self, "clients", ()):
            client.end()
        self.stop()


def _served(client: Client, name: str) -> str:
    """What somebody is told once the service is there."""
    end = time.monotonic() + PATIENCE
    while "unavailable" in (said := client.ask(f"list-friend {name}")).lower():
        if time.monotonic() > end:
            raise SystemExit(f"not within {PATIENCE:g} s: {name} is served")
        time.sleep(PAUSE)
    return said


def report(trial: Trial, messages: set[tuple[str, str]], again: Sequence[str]) -> bool:
    heard = trial.heard()
    half = trial.names[: PEOPLE // 2]
    print(f"    {len(messages)} acknowledged afterwards; had to log in again: {len(again)}")
    right = True
    for whose, new in (("this checkout's client", True), ("the older client", False)):
        some = [each for each in messages if (each[0] in half) is new]
        lost = sum(not heard[each] for each in some)
        twice = sum(heard[each] > 1 for each in some)
        right = right and not lost and not twice
        print(f"    {whose}: {len(some)} messages, {lost} not heard, {twice} heard twice")
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
    trial = Trial(folder, f"sqlite:///{folder}/data/bbs.sqlite3", service, client)
    try:
        victim = trial.log_in("victim")
        trial.wait(trial.write("before", BEFORE))
        copy = folder / "copy.sqlite3"
        trial.run("backup", str(copy), "--config", str(trial.config))
        end_session(trial, victim)
        trial.wait(trial.write("lost", LOST))
        trial.stop()
        options = ("--force", "--config", str(trial.config), "--data", str(trial.data))
        said = trial.run("restore", str(copy), *options)
        print("    " + said.strip().replace("\n", "\n    "))
        trial.start()
        again = trial.wait_for_clients()
        messages = trial.write("after", AFTER)
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


def on_mariadb(folder: Path, service: Path | None, client: Path | None) -> bool:
    with mariadb() as url:
        trial = Trial(folder, url, service, client)
        try:
            victim = trial.log_in("victim")
            trial.wait(trial.write("before", BEFORE))
            parts = urlsplit(url)
            place = ["-h", str(parts.hostname), "-P", str(parts.port), "-u", str(parts.username)]
            there = [*place, f"-p{parts.password}", parts.path[1:]]
            dump = folder / "dump.sql"
            with dump.open("wb") as file:
                tool = ["mariadb-dump", "--single-transaction", *there]
                subprocess.run(tool, stdout=file, check=True)  # nosec B603 B607
            end_session(trial, victim)
            trial.wait(trial.write("lost", LOST))
            writer = Thread(target=trial.write, args=("meanwhile", 30))
            writer.start()
            with dump.open("rb") as file:
                subprocess.run(["mariadb", *there], stdin=file, check=True)  # nosec B603 B607
            print(f"    {shlex.join(['mariadb', there[-1]])} < dump.sql, under the service")
            writer.join()
            messages = trial.write("after", AFTER // 2)
            again = trial.wait_for_clients()
            messages |= trial.write("later", AFTER // 2)
            trial.wait(messages)
            right = report(trial, messages, again)
            return try_ended(trial, victim) and right
        finally:
            trial.end()


TRIALS: Mapping[str, Callable[[Path, Path | None, Path | None], bool]] = {
    "sqlite": on_sqlite,
    "mariadb": on_mariadb,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.restore", description=__doc__)
    parser.add_argument("--on", choices=[*TRIALS], help="one database alone")
    parser.add_argument("--client", type=Path, help="the tree of an older client")
    parser.add_argument("--service", type=Path, help="the tree that the service runs")
    options = parser.parse_args()
    right = True
    with tempfile.TemporaryDirectory(prefix="bbs-restore-") as folder:
        client = options.client or versions.unpack(Path(folder))
        for name, trial in TRIALS.items():
            if options.on in (None, name):
                print(f"{name}:", flush=True)
                there = Path(folder) / name
                there.mkdir()
                right = trial(there, options.service, client) and right
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
