"""How people are served, and app servers launched, while many expired messages are removed.

    python -m lab.bench.while_sweeping [--database mysql] [--messages N] [--seconds S]
    python -m lab.bench.while_sweeping [--database mysql] [--messages N] --sizes

Two login servers on one database, which has so many messages that expire some time after the start.
Until then, and again while they are removed, `list-friend` of somebody who has a place is timed,
and every so often somebody logs in for whom a server has to be launched. A take-over is one login
server's that takes the other one for dead.

`--sizes` measures transactions of several sizes instead, on a database that nobody else uses.
The broker, and MySQL or MariaDB, are those of `BBS_TEST_ACTIVEMQ_URL` and `BBS_TEST_MYSQL_URL`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from bbs.board import board
from bbs.board.messages import expiry, messages
from bbs.config import Messages
from bbs.limits.password_hashing import OWASP
from bbs.storage import migrations, models
from bbs.storage.database import has_round_trips
from bbs.storage.engines import connect_to
from bbs.storage.partitions import SHARES, Change
from lab.bench.processes import (
    TWISTD,
    Failed,
    await_reply,
    connect_directly,
    environment,
    own_database,
    process,
    run_program,
    sqlite,
)
from lab.bench.while_waiting import PAUSE, Line, timed
from tests.services.servers import free_port, write_private

CONFIGURATION = """\
[login]
listen = "tcp:{port}:interface=127.0.0.1"
[app]
listen = "tcp:0:interface=127.0.0.1"
capacity = {capacity}
[database]
url = "{url}"
[broker]
url = "{broker}"
[fleet]
minimum = 1
maximum = 50
spare = 0
idle_grace = 9999.0
consolidate_after = 0
[limits]
registrations = "999999999/minute"
failed_logins = "99999999/minute"
logins = "999999999/minute"
[telnet]
listen = ""
[messages]
message_retention = {retention}
"""

CAPACITY = 2
PEOPLE = 1000  # Who wrote the messages to each other.
ONE_IN = 50  # One short message in so many counts for its sender, for all of them.
CHUNK = 10_000  # Messages that one transaction adds: statements must be answered in time.
START, LEAST = 30.0, 40.0  # Seconds for the start, and measured before the messages expire.
LAUNCHES = 15.0  # Seconds between two people for whom a server is launched.
PATIENCE = 3600.0
SIZES = (50, 100, 200, 500, 1000, 2000)
TAKES_OVER = "takes over"
DEAD = "is dead"


def fill(url: str, count: int, stored: float) -> None:
    """Add `count` messages, stored at a time in seconds since the epoch."""
    database: Any = connect_to(url)
    models.database.initialize(database)
    database.connect()
    try:
        migrations.upgrade(database, board.schema)
        if has_round_trips():
            # As if all had been written while they were kept, and a last one after them.
            for share in (1, 2, 3, 4, 5):
                expiry.PARTITIONS.carry_out(Change(1 + share * (count - 1) // SHARES))
        with database.atomic():
            values = [
                {"name": f"writer{n}", "password_hash": "", "channel": f"{n:032}", "created": 0.0}
                for n in range(PEOPLE)
            ]
            for start in range(0, PEOPLE, 100):
                models.User.insert_many(values[start : start + 100]).execute()
            database.execute_sql("INSERT INTO inbox (user_id, delivered) SELECT id, 0 FROM user")
            [(first,)] = database.execute_sql("SELECT MIN(id) FROM user").fetchall()
        for start in range(0, count, CHUNK):
            _add_messages(url, database, start, min(CHUNK, count - start), first, stored)
        sent = messages.SAMPLE * (count // ONE_IN) // PEOPLE
        _carry_out(
            url,
            database,
            f"UPDATE inbox SET sent = {sent}, delivered = (SELECT MAX(id) FROM message)",
            *("ANALYZE TABLE message", "ANALYZE TABLE delivery") * has_round_trips(),
        )
    finally:
        database.close()
        models.database.initialize(None)


def _add_messages(
    url: str, database: Any, start: int, count: int, first: int, stored: float
) -> None:
    numbers, number, head = f"seq_{start + 1}_to_{start + count}", "seq", ""
    if not has_round_trips():
        numbers = number = "n"
        head = (
            f"WITH RECURSIVE n(n) AS (SELECT {start + 1} UNION ALL SELECT n + 1 FROM n"
            f" WHERE n < {start + count}) "
        )
    sender, reader = (f"{first} + ({number} * {step}) % {PEOPLE}" for step in (1, 7))
    _carry_out(
        url,
        database,
        "INSERT INTO message (sender, target, to_group, text, stored, sent_by, sent_to, size)"
        f" {head}SELECT 'a', 'b', 0, 'Good morning, dear!', {stored!r}, {sender}, {reader},"
        f" CASE {number} % {ONE_IN} WHEN 0 THEN {messages.SAMPLE} ELSE 0 END FROM {numbers}",
        "INSERT INTO delivery (user_id, message_id) SELECT sent_to, id FROM message"
        " WHERE id > (SELECT COALESCE(MAX(message_id), 0) FROM delivery)",
    )


def _carry_out(url: str, database: Any, *statements: str) -> None:
    """Carry out statements in a transaction; on MySQL by a connection of their own, as the driver
    of servers gives up what takes long."""
    if not has_round_trips():
        with database.atomic():
            for each in statements:
                database.execute_sql(each)
        return
    with connect_directly(url) as connection, connection.cursor() as cursor:
        for each in statements:
            cursor.execute(each)
        connection.commit()


def measure_sizes(url: str, count: int) -> None:
    """Print what transactions of several sizes take."""
    before = time.time() - Messages().message_retention
    fill(url, count, before - 10.0)
    database: Any = connect_to(url)
    models.database.initialize(database)
    database.connect()
    print(f"{'messages':>9}{'ms p50':>9}{'ms most':>9}{'a second':>10}")
    for size in SIZES:
        took = []
        for _ in range(max(10, count // len(SIZES) // size // 2)):
            began = time.perf_counter()
            with database.atomic():
                found = expiry.expire(before, size, 4 * size)
            if found < size:
                raise Failed("there were too few messages: add more by --messages")
            took.append(time.perf_counter() - began)
        rate = size * len(took) / sum(took)
        print(f"{size:9}{1000 * median(took):9.1f}{1000 * max(took):9.1f}{rate:10.0f}", flush=True)
    database.close()


@contextmanager
def login_server(folder: Path, url: str, retention: float) -> Iterator[tuple[int, Path]]:
    """`twistd bbs-login`, with app servers of its own; gives its port and its log."""
    port, broker = free_port(), os.environ["BBS_TEST_ACTIVEMQ_URL"]
    folder.mkdir()
    text = CONFIGURATION.format(
        port=port, capacity=CAPACITY, url=url, broker=broker, retention=retention
    )
    write_private(folder / "bbs.toml", text)
    command = [*TWISTD, "--nodaemon", "--pidfile=", "bbs-login"]
    command += [f"--config={folder}/bbs.toml", f"--data={folder}"]
    log = folder / "login.log"
    with process(command, log, environment(), cwd=folder) as child:
        await_reply(port, child, log)
        yield port, log


class Bench:
    """`guest` measures, beside ten friends; the others are those for whom servers are launched."""

    def __init__(self, port: int) -> None:
        self._login = Line(port)
        self._number = 0
        self._login.ask("register", "guest", "guest")
        reply = self._login.ask("login", "guest", "guest")
        self._token = reply["token"]
        self._app = Line(reply["app_server"]["port"])
        self._stored = OWASP.hash("guest")

    def measure(self, goes_on: Callable[[], bool]) -> tuple[list[float], list[float]]:
        """The seconds of `list-friend`, and of logins that need a launch, as long as that lasts."""
        asked: list[float] = []
        launched: list[float] = []
        over = threading.Event()

        def launch() -> None:
            while not over.is_set():
                launched.append(timed(self._log_in)[1])
                over.wait(LAUNCHES)

        launching = threading.Thread(target=launch, daemon=True)
        launching.start()
        while goes_on():
            asked.append(timed(lambda: self._app.ask("list-friend", self._token))[1])
            time.sleep(PAUSE)
        over.set()
        launching.join(120)
        return asked, launched

    def _log_in(self) -> None:
        """So many people that a server is full, which the last one finds."""
        for _ in range(CAPACITY):
            self._number += 1
            name = f"late{self._number}"
            self._login.ask("register", name, name)
            self._login.ask("login", name, name)


class Left:
    """How many messages there are, about: from the first id on."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._database: Any = connect_to(url)
        self._database.connect()
        self._at = float("-inf")
        self.first: int | None = 0

    def look(self) -> int | None:
        """The first id; None if all are gone. Asked for once a second."""
        if time.monotonic() - self._at > 1.0:
            self._at = time.monotonic()
            [(self.first,)] = self._database.execute_sql("SELECT MIN(id) FROM message").fetchall()
        return self.first


def show(what: str, times: Sequence[float]) -> float:
    """Print milliseconds; returns the 99th percentile."""
    p99 = quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else max(times)
    figures = len(times), 1000 * median(times), 1000 * p99, 1000 * max(times)
    print("{:34}{:>9}{:>9.1f}{:>9.1f}{:>9.1f}".format(what, *figures), flush=True)
    return p99


def run(folder: Path, url: str, count: int, most: float) -> dict[str, float]:
    """Measure the sweep for so many seconds at `most`, and print it."""
    began, stored = time.monotonic(), time.time() - 86400.0
    fill(url, count, stored)
    print(f"{count} messages were added in {time.monotonic() - began:.0f} s", flush=True)
    expire_at = time.time() + START + LEAST
    with ExitStack() as stack:
        servers = [
            stack.enter_context(login_server(folder / name, url, expire_at - stored))
            for name in ("one", "two")
        ]
        bench, left = Bench(servers[0][0]), Left(url)
        first = left.look()
        if time.time() > expire_at - LEAST / 2:
            raise Failed("the messages expire too soon to measure before: the start took too long")
        print(f"{'ms':34}{'measured':>9}{'p50':>9}{'p99':>9}{'most':>9}")
        without = bench.measure(lambda: time.time() < expire_at)
        p99 = show("list-friend, without the sweep", without[0])
        show("two logins and a launch, without", without[1])
        while url.startswith("sqlite") and left.look() == first:
            time.sleep(0.1)  # Partitions are gone too soon: they are measured with what is before.
        began = time.monotonic()
        deadline = began + most
        during = bench.measure(lambda: left.look() is not None and time.monotonic() < deadline)
        lasted = time.monotonic() - began
        swept = count if left.first is None else left.first - int(first or 0)
        p99_then = show("list-friend, during the sweep", during[0])
        show("two logins and a launch, during", during[1])
        logs = "".join(log.read_text() for _, log in servers)
    figures = {
        "list-friend p99, ratio": p99_then / p99,
        "launch, ratio": median(during[1]) / median(without[1]),
        "take-overs": logs.count(TAKES_OVER) + logs.count(DEAD),
        "swept": swept,
        "swept a second": swept / lasted,
    }
    for name, value in figures.items():
        print(f"{name:34}{value:12.2f}")
    return figures


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.bench.while_sweeping", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--database", choices=("sqlite", "mysql"), default="sqlite")
    parser.add_argument("--messages", type=int, default=2_000_000, metavar="N")
    help = "how long to measure the sweep, at most"
    parser.add_argument("--seconds", type=float, default=PATIENCE, metavar="S", help=help)
    parser.add_argument("--sizes", action="store_true", help="measure sizes of transactions")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="bbs-sweeping-") as name, ExitStack() as stack:
        folder = Path(name)
        url = sqlite(folder)
        if options.database == "mysql":
            url = stack.enter_context(own_database(os.environ["BBS_TEST_MYSQL_URL"]))
        if options.sizes:
            measure_sizes(url, options.messages)
            return 0
        figures = run(folder, url, options.messages, options.seconds)
    if options.json:
        Path(options.json).write_text(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    run_program(main)
